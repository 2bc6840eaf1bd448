# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out the checks of mlflow_checks on a server, one after the other."""

from __future__ import annotations

import secrets
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_checks,
    mlflow_errors,
    mlflow_health_access,
    mlflow_health_artifacts,
    mlflow_health_budget,
    mlflow_health_cleanup,
    mlflow_health_multipart,
    mlflow_health_tls,
    mlflow_health_tracking,
    mlflow_health_ui,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import (
    FAILED,
    PASSED,
    SKIPPED,
    Result,
    Verdict,
    Wrong,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import API, Answer, Client, Login
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_budget import Budget
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import Session, Settings

# Seconds between two looks at a server that is not up yet.
POLL = 2.0
# Kinds of errors after which no other check need try.
NO_WAY_IN = ("refused", "name", "tls")


class HealthRun:
    """One verification. `results` grows check by check."""

    def __init__(self, client: Client, settings: Settings, budgets: t.Mapping[str, Budget] | None = None) -> None:
        self.client = client
        self.settings = settings
        self.session = Session(client, settings)
        self.budgets = budgets or {}
        self.results: list[Result] = []
        # Why no other check need try; empty as long as the server can be reached.
        self.unreachable = ""
        themes: dict[str, t.Callable[[Session], Verdict]] = {
            "tls": mlflow_health_tls.tls,
            "http_redirect": mlflow_health_tls.http_redirect,
            "ui": mlflow_health_ui.ui,
            "tracking_write_read": mlflow_health_tracking.write_read,
            "artifact_round_trip": mlflow_health_artifacts.round_trip,
            "artifact_multipart": mlflow_health_multipart.round_trip,
            "stranger_denied": mlflow_health_access.stranger_denied,
            "reader_denied": mlflow_health_access.reader_denied,
            mlflow_checks.CLEANUP: mlflow_health_cleanup.cleanup,
        }
        self._themes = themes

    def wait(self, deadline: float) -> None:
        """Return once the server is alive and its database answers, or at `deadline` (monotonic seconds): the checks
        tell the rest."""
        while time.monotonic() < deadline and not self._ready():
            time.sleep(max(0.0, min(POLL, deadline - time.monotonic())))

    def _ready(self) -> bool:
        self.client.until = time.monotonic()
        try:
            if self.client.send("GET", "/health", login=self._door()).status != 200:
                return False
            # A refused password does not get better by waiting.
            return self.session.search(self.client.login).status < 500
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
            if self.session.wrote:
                self._limit_repeating()
                self._check(mlflow_checks.CLEANUP)
        return self.results

    def _limit_repeating(self) -> None:
        # A server that always says 503 shall not cost the whole retry_timeout once a check.
        self.client.until = time.monotonic() + self.client.retry_timeout

    def _check(self, name: str) -> None:
        started = time.monotonic()
        verdict = self._not_to_be_tried(name)
        latency = None
        if verdict is None:
            verdict = self._judge(name)
            latency = None if verdict.status == SKIPPED else round((time.monotonic() - started) * 1000, 1)
        verdict = mlflow_health_budget.judge(verdict, latency, self.budgets.get(name))
        clean = [self.client.mask(text) for text in (verdict.message, verdict.remedy)]
        self.results.append(Result(name, verdict.status, latency, *clean))

    def _not_to_be_tried(self, name: str) -> Verdict | None:
        if name in mlflow_checks.WRITE_CHECKS and not self.settings.write:
            return Verdict(SKIPPED, "check mode writes nothing")
        # A certificate that clients refuse is what the check of TLS is for.
        ask = name == mlflow_checks.CLEANUP or (name == "tls" and self.unreachable == "tls")
        if self.unreachable and not ask:
            return Verdict(SKIPPED, "the server cannot be reached")
        return None

    def _judge(self, name: str) -> Verdict:
        try:
            theme = self._themes.get(name)
            return theme(self.session) if theme else getattr(self, f"_{name}")()
        except Wrong as wrong:
            return wrong.verdict
        except MlflowError as error:
            if error.kind in NO_WAY_IN or (error.status is None and name == "liveness"):
                self.unreachable = error.kind
            return Verdict(FAILED, str(error), mlflow_errors.remedy(error))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            # JSON of another shape than MLflow's.
            what = f"the answer is not what MLflow gives ({type(error).__name__})"
            return Verdict(FAILED, what, "check that tracking_uri is MLflow itself and what stands in front of it")

    def _liveness(self) -> Verdict:
        answer = self.client.send("GET", "/health", login=self._door())
        again = self.client.send("GET", "/health", login=self.client.login) if answer.status == 401 else None
        return mlflow_checks.liveness(answer, again)

    def _auth_required(self) -> Verdict:
        answer = self.session.search(None)
        return mlflow_checks.sign_on_required(answer) if self.settings.sign_on else mlflow_checks.auth_required(answer)

    def _door(self) -> Login | None:
        """What opens /health: behind sign-on nothing is served to those who bring no password."""
        return self.client.login if self.settings.sign_on else None

    def _wrong_password_refused(self) -> Verdict:
        made_up = Login(self.client.login.username, secrets.token_urlsafe(24))
        return mlflow_checks.wrong_password(self.session.search(made_up))

    def _default_passwords_refused(self) -> Verdict:
        own = self.client.login
        if own.password in mlflow_versions.PUBLISHED_PASSWORDS:
            message = f"user {own.username!r} logs in with a password that MLflow was shipped with and everybody knows"
            return Verdict(FAILED, message, mlflow_checks.SHIPPED_REMEDY)
        verdict = Verdict(PASSED, "")
        for username in dict.fromkeys(("admin", own.username)):
            for password in mlflow_versions.PUBLISHED_PASSWORDS:
                answer = self.session.search(Login(username, password))
                verdict = mlflow_checks.shipped_password(username, answer)
                if verdict.status != PASSED:
                    return verdict
        return verdict

    def _admin_login(self) -> Verdict:
        return mlflow_checks.admin_login(self.session.search(self.client.login))

    def _version(self) -> Verdict:
        return mlflow_checks.version(self.session.ask_version(), self.settings.version)

    def _wrong_host_refused(self) -> Verdict:
        if self.session.found_version is None:
            self.session.ask_version()
        headers = {"Host": mlflow_checks.WRONG_HOST}
        return mlflow_checks.wrong_host(self._experiment_0(headers), self.session.found_version)

    def _default_experiment(self) -> Verdict:
        return mlflow_checks.default_experiment(self._experiment_0())

    def _experiment_0(self, headers: dict[str, str] | None = None) -> Answer:
        query = {"experiment_id": "0"}
        return self.client.send("GET", API + "experiments/get", query, headers=headers, login=self.client.login)
