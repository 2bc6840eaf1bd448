# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out the checks of mlflow_checks on a server."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_checks,
    mlflow_errors,
    mlflow_traces,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_versions
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import (
    FAILED,
    PASSED,
    SKIPPED,
    Result,
    Verdict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import API, Answer, Client, Login
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
FILE_NAME = "mlflow-health.bin"
# Seconds between two looks at a server that is not up yet.
POLL = 2.0
# Kinds of errors after which no other check need try.
NO_WAY_IN = ("refused", "name", "tls")


class Wrong(Exception):
    """A check that ends early; holds its verdict."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.verdict = Verdict(FAILED, message, remedy)


class Trace(t.NamedTuple):
    run_id: str
    artifact_uri: str


def process_runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


class HealthRun:
    """One verification. `results` grows check by check; `found_version` is what the server says of itself."""

    def __init__(
        self, client: Client, wanted_version: str | None, experiment: str, artifact_size: int, write: bool
    ) -> None:
        self.client = client
        self.wanted_version = wanted_version
        self.experiment = experiment
        self.artifact_size = artifact_size
        self.write = write
        self.results: list[Result] = []
        self.found_version: str | None = None
        self.reachable = True
        self._mark = mlflow_traces.mark(socket.gethostname(), os.getpid(), secrets.token_hex(8))
        self._experiment_id: str | None = None
        self._trace: Trace | None = None
        self._wrote = False

    def wait(self, deadline: float) -> None:
        """Return once the server is alive and its database answers, or at `deadline` (monotonic seconds): the checks
        tell the rest."""
        while time.monotonic() < deadline and not self._ready():
            time.sleep(max(0.0, min(POLL, deadline - time.monotonic())))

    def _ready(self) -> bool:
        self.client.until = time.monotonic()
        try:
            if self.client.send("GET", "/health").status != 200:
                return False
            # A refused password does not get better by waiting.
            return self._search(self.client.login).status < 500
        except MlflowError as error:
            return error.kind == "tls"
        finally:
            self.client.until = None

    def run(self, names: t.Sequence[str]) -> list[Result]:
        """Carry out the checks named, in their own order, and remove every trace."""
        self._limit_repeating()
        try:
            for name in mlflow_checks.CHECKS:
                if name in names:
                    self._check(name)
        finally:
            if self._wrote:
                self._limit_repeating()
                self._check(mlflow_checks.CLEANUP)
        return self.results

    def _limit_repeating(self) -> None:
        # A server that always says 503 shall not cost the whole retry_timeout once a check.
        self.client.until = time.monotonic() + self.client.retry_timeout

    def _check(self, name: str) -> None:
        started = time.monotonic()
        sent = False
        if name in mlflow_checks.WRITE_CHECKS and not self.write:
            verdict = Verdict(SKIPPED, "check mode writes nothing")
        elif not self.reachable and name != mlflow_checks.CLEANUP:
            verdict = Verdict(SKIPPED, "the server cannot be reached")
        else:
            sent = True
            verdict = self._judge(getattr(self, f"_{name}"))
        latency = round((time.monotonic() - started) * 1000, 1) if sent else None
        clean = [self.client.mask(text) for text in (verdict.message, verdict.remedy)]
        self.results.append(Result(name, verdict.status, latency, *clean))

    def _judge(self, check: t.Callable[[], Verdict]) -> Verdict:
        try:
            return check()
        except Wrong as wrong:
            return wrong.verdict
        except MlflowError as error:
            if error.kind in NO_WAY_IN or (error.status is None and check == self._liveness):
                self.reachable = False
            return Verdict(FAILED, str(error), mlflow_errors.remedy(error))

    def _search(self, login: Login | None) -> Answer:
        return self.client.send(
            "POST", API + "experiments/search", body={"max_results": 1}, login=login, repeatable=True
        )

    def _liveness(self) -> Verdict:
        return mlflow_checks.liveness(self.client.send("GET", "/health"))

    def _auth_required(self) -> Verdict:
        return mlflow_checks.auth_required(self._search(None))

    def _wrong_password_refused(self) -> Verdict:
        return mlflow_checks.wrong_password(self._search(Login(self.client.login.username, secrets.token_urlsafe(24))))

    def _default_passwords_refused(self) -> Verdict:
        own = self.client.login
        if own.password in mlflow_versions.PUBLISHED_PASSWORDS:
            message = f"user {own.username!r} logs in with a password that MLflow was shipped with and everybody knows"
            return Verdict(FAILED, message, mlflow_checks.SHIPPED_REMEDY)
        verdict = Verdict(PASSED, "")
        for username in dict.fromkeys(("admin", own.username)):
            for password in mlflow_versions.PUBLISHED_PASSWORDS:
                verdict = mlflow_checks.shipped_password(username, self._search(Login(username, password)))
                if verdict.status != PASSED:
                    return verdict
        return verdict

    def _admin_login(self) -> Verdict:
        return mlflow_checks.admin_login(self._search(self.client.login))

    def _version(self) -> Verdict:
        return mlflow_checks.version(self._ask_version(), self.wanted_version)

    def _ask_version(self) -> Answer:
        answer = self.client.send("GET", "/version", login=self.client.login)
        if answer.status == 200 and mlflow_versions.parse(answer.text):
            self.found_version = answer.text.strip()
        return answer

    def _wrong_host_refused(self) -> Verdict:
        if self.found_version is None:
            self._ask_version()
        answer = self.client.send(
            "GET",
            API + "experiments/get",
            {"experiment_id": "0"},
            headers={"Host": mlflow_checks.WRONG_HOST},
            login=self.client.login,
        )
        return mlflow_checks.wrong_host(answer, self.found_version)

    def _default_experiment(self) -> Verdict:
        answer = self.client.send("GET", API + "experiments/get", {"experiment_id": "0"}, login=self.client.login)
        return mlflow_checks.default_experiment(answer)

    def _tracking_write_read(self) -> Verdict:
        trace = self._start()
        nonce = secrets.token_hex(8)
        # Halves and quarters come back from any database exactly.
        metric = secrets.randbelow(1 << 30) / 4
        written = {"metric": metric, "parameter": nonce, "tag": f"{nonce} \u00fc"}
        self.client.call(
            "POST",
            "runs/log-batch",
            body={
                "run_id": trace.run_id,
                "metrics": [{"key": "metric", "value": metric, "timestamp": int(time.time() * 1000), "step": 1}],
                "params": [{"key": "parameter", "value": written["parameter"]}],
                "tags": [{"key": "tag", "value": written["tag"]}],
            },
            repeatable=True,
        )
        data = self.client.call("GET", "runs/get", {"run_id": trace.run_id}).get("run", {}).get("data", {})
        found = {one["key"]: one.get("value") for kind in ("metrics", "params", "tags") for one in data.get(kind, [])}
        wrong = mlflow_checks.difference(written, found)
        if wrong:
            raise Wrong(wrong, "check that all tasks use the same database")
        if trace.run_id not in [run["info"]["run_id"] for run in self._marked_runs()]:
            raise Wrong("a search does not find the run just written", "check that all tasks use the same database")
        return Verdict(PASSED, "a run with a metric, a parameter and a tag came back as written")

    def _artifact_round_trip(self) -> Verdict:
        trace = self._start()
        root = mlflow_traces.artifact_root(trace.artifact_uri)
        if root is None:
            scheme = trace.artifact_uri.split(":", 1)[0]
            remedy = (
                "start it with --artifacts-destination and without --default-artifact-root, or leave"
                " artifact_round_trip out"
            )
            raise Wrong(f"the server sends clients to {scheme}: for artifacts and is no proxy for them", remedy)
        path = f"{ARTIFACTS}/{mlflow_address.artifact_path(root)}/{FILE_NAME}"
        content = secrets.token_bytes(self.artifact_size)
        kind = {"Content-Type": "application/octet-stream"}
        stored = self.client.send("PUT", path, data=content, headers=kind, login=self.client.login, repeatable=True)
        if stored.status != 200:
            self._refuse_beyond_ascii(stored)
            raise self.client.error(stored, "PUT", path)
        fetched = self.client.send(
            "GET", path, login=self.client.login, largest=self.artifact_size + mlflow_errors.LONGEST * 100
        )
        if fetched.status != 200:
            raise self.client.error(fetched, "GET", path)
        if hashlib.sha256(fetched.data).digest() != hashlib.sha256(content).digest():
            raise Wrong(
                f"{len(content)} bytes were stored, {len(fetched.data)} others came back",
                "check what stands between server and bucket",
            )
        return Verdict(PASSED, f"{len(content)} bytes came back from the artifact store with the same SHA-256")

    def _refuse_beyond_ascii(self, answer: Answer) -> None:
        if answer.status == 401:
            if self.found_version is None:
                self._ask_version()
            limit = mlflow_versions.login_limit(*self.client.login, self.found_version)
            if limit:
                raise Wrong(limit, "give the user a name and a password of ASCII characters")

    def _start(self) -> Trace:
        """The run that everything is written to; made when first needed, marked from its first moment."""
        if self._trace is None:
            experiment_id = self._find_experiment()
            self._wrote = True
            body = {
                "experiment_id": experiment_id,
                "run_name": mlflow_traces.RUN_NAME,
                "start_time": int(time.time() * 1000),
                "tags": [{"key": mlflow_traces.TAG, "value": self._mark}],
            }
            # Should it be made twice, the mark finds both in the end.
            info = self.client.call("POST", "runs/create", body=body, repeatable=True)["run"]["info"]
            self._trace = Trace(info["run_id"], info["artifact_uri"])
        return self._trace

    def _find_experiment(self) -> str:
        if self._experiment_id is None:
            experiment = self.client.call("GET", "experiments/get-by-name", {"experiment_name": self.experiment})[
                "experiment"
            ]
            if experiment.get("lifecycle_stage") != "active":
                raise Wrong(
                    f"experiment {self.experiment!r} is deleted", "restore it, or name another as experiment_name"
                )
            self._experiment_id = str(experiment["experiment_id"])
        return self._experiment_id

    def _marked_runs(self) -> list[dict[str, t.Any]]:
        body = {
            "experiment_ids": [self._find_experiment()],
            "filter": mlflow_traces.search_filter(),
            "run_view_type": "ACTIVE_ONLY",
            "max_results": 100,
        }
        return self.client.call("POST", "runs/search", body=body, repeatable=True).get("runs", [])

    def _cleanup(self) -> Verdict:
        """Remove this check's run and those of checks that were killed."""
        now = int(time.time() * 1000)
        old = 0
        # Its own first: what others left must not keep it from cleaning up after itself.
        for run in sorted(self._marked_runs(), key=lambda run: mlflow_traces.tag_of(run) != self._mark):
            mine = mlflow_traces.tag_of(run) == self._mark
            if mine or mlflow_traces.is_left_behind(run, self._mark, now, process_runs):
                self._remove(run["info"])
                old += not mine
        if any(mlflow_traces.tag_of(run) == self._mark for run in self._marked_runs()):
            raise Wrong("the run that was deleted is still there", "delete it by hand: it is called mlflow-health")
        also = f", and {old} left behind by checks that were killed" if old else ""
        return Verdict(PASSED, f"the run is deleted and its artifacts are removed{also}")

    def _remove(self, info: dict[str, t.Any]) -> None:
        root = mlflow_traces.artifact_root(info.get("artifact_uri", ""))
        if root is not None:
            folder = mlflow_traces.folder_to_remove(root, info["run_id"])
            path = f"{ARTIFACTS}/{mlflow_address.artifact_path(folder)}"
            deleted = self.client.send("DELETE", path, login=self.client.login, repeatable=True)
            if deleted.status not in (200, 404):
                raise self.client.error(deleted, "DELETE", path)
            listed = self.client.send("GET", ARTIFACTS, {"path": folder}, login=self.client.login)
            rest = listed.json()
            if listed.status == 200 and isinstance(rest, dict) and rest.get("files"):
                raise Wrong(f"artifacts remain in {folder}", "allow the server s3:DeleteObject on the artifact prefix")
        # The run goes last, so that whoever comes after a kill still finds the artifacts through it.
        self.client.call("POST", "runs/delete", body={"run_id": info["run_id"]}, repeatable=True)
