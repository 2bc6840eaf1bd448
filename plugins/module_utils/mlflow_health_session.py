# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of one verification share: the server, the settings, and the run that all of them write to."""

from __future__ import annotations

import os
import secrets
import socket
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_permissions,
    mlflow_permissions_api,
    mlflow_traces,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import Wrong
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import API, Answer, Client, Login

MIB = 1024 * 1024


class Settings(t.NamedTuple):
    """What a verification shall do; the options of the same names say more. Sizes in bytes. http_redirect, multipart:
    None leaves it to the check."""

    version: str | None = None
    experiment_name: str = "Default"
    artifact_size: int = MIB
    multipart: bool | None = None
    multipart_size: int = 6 * MIB
    reads: int = 3
    certificate_days: int = 14
    http_redirect: bool | None = None
    http_port: int = 80
    expected_default_permission: str = "NO_PERMISSIONS"
    write: bool = True
    sign_on: bool = False


class Trace(t.NamedTuple):
    run_id: str
    artifact_uri: str


class Session:
    """found_version: what the server says of itself, None before it was asked. wrote: whether there is something to
    clean up."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.found_version: str | None = None
        self.wrote = False
        self.nonce = mlflow_traces.nonce(time.time(), secrets.token_hex(8))
        self.mark = mlflow_traces.mark(socket.gethostname(), os.getpid(), self.nonce)
        # The temporary user.
        self.guest: Login | None = None
        self.guest_may_exist = False
        self.guest_grant: mlflow_permissions.Grant | None = None
        self._experiment_id: str | None = None
        self._trace: Trace | None = None
        self._dialect: mlflow_permissions_api.Dialect | None = None

    def search(self, login: Login | None) -> Answer:
        """The cheapest call that needs a login and the database."""
        return self.client.send(
            "POST", API + "experiments/search", body={"max_results": 1}, login=login, repeatable=True
        )

    def ask_version(self) -> Answer:
        answer = self.client.send("GET", "/version", login=self.client.login)
        if answer.status == 200 and mlflow_versions.parse(answer.text):
            self.found_version = answer.text.strip()
        return answer

    def dialect(self) -> mlflow_permissions_api.Dialect:
        """How permissions are given on this server."""
        if self._dialect is None:
            try:
                self._dialect = mlflow_permissions_api.dialect(self.client)
            except ValueError as error:
                raise Wrong(str(error), "check that tracking_uri is MLflow") from None
        return self._dialect

    def experiment_id(self) -> str:
        """The number of the experiment to write to."""
        name = self.settings.experiment_name
        if self._experiment_id is None:
            answer = self.client.call("GET", "experiments/get-by-name", {"experiment_name": name})
            experiment = answer.get("experiment")
            if not isinstance(experiment, dict) or "experiment_id" not in experiment:
                raise Wrong("the answer holds no experiment", "check that tracking_uri is MLflow")
            if experiment.get("lifecycle_stage") != "active":
                raise Wrong(f"experiment {name!r} is deleted", "restore it, or name another as experiment_name")
            self._experiment_id = str(experiment["experiment_id"])
        return self._experiment_id

    def trace(self) -> Trace:
        """The run that everything is written to; made when first needed, marked from its first moment."""
        if self._trace is None:
            experiment_id = self.experiment_id()
            self.wrote = True
            body = {
                "experiment_id": experiment_id,
                "run_name": mlflow_traces.RUN_NAME,
                "start_time": int(time.time() * 1000),
                "tags": [{"key": mlflow_traces.TAG, "value": self.mark}],
            }
            # Should it be made twice, the mark finds both in the end.
            run = self.client.call("POST", "runs/create", body=body, repeatable=True).get("run", {})
            info = run.get("info") if isinstance(run, dict) else None
            if not isinstance(info, dict) or not {"run_id", "artifact_uri"} <= info.keys():
                raise Wrong("the answer holds no run", "check that tracking_uri is MLflow")
            self._trace = Trace(str(info["run_id"]), str(info["artifact_uri"]))
        return self._trace

    def marked_runs(self) -> list[dict[str, t.Any]]:
        """The runs of verifications in the experiment, newest first: this one's, and those of others."""
        body = {
            "experiment_ids": [self.experiment_id()],
            "filter": mlflow_traces.search_filter(),
            "run_view_type": "ACTIVE_ONLY",
            "max_results": 100,
        }
        return self.client.call("POST", "runs/search", body=body, repeatable=True).get("runs", [])
