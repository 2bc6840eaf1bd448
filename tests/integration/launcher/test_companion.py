# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`companion create` and `companion drop`: a second login that a server works with while the first one's password changes."""
from __future__ import annotations

import json
from collections.abc import Callable

import psycopg2
import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.secret_rotations import scram_verifier

from tests.integration.launcher.conftest import Launcher
from tests.integration.postgres import Postgres

NAME, PASSWORD = "mlflow_companion", "companion-password-0123456789"


def companion(launcher: Launcher, verb: str, password: str = PASSWORD, **more: str) -> str:
    code, log = launcher.run(f"companion {verb}", LAUNCHER_COMPANION_USERNAME=NAME,
                             LAUNCHER_COMPANION_VERIFIER=scram_verifier(password, b"0123456789abcdef"), **more)
    assert code == 0, log
    assert password not in log and "SCRAM" not in log
    return log


@pytest.mark.parametrize("version", [pytest.param("2.18.0", marks=pytest.mark.long), "3.17.2"])
def test_a_server_works_with_the_companion_which_owns_nothing_and_goes(
        version: str, launcher_of: Callable[..., Launcher], postgres_server: Postgres):
    launcher = launcher_of(version)
    launcher.migrate()
    companion(launcher, "create", "an-earlier-password")
    assert f"{NAME!r} may log in and work with the data" in companion(launcher, "create")
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        postgres_server.connect(launcher.database, NAME, "an-earlier-password")

    server = launcher.serve(LAUNCHER_DB_USERNAME=NAME, LAUNCHER_DB_PASSWORD=PASSWORD)
    server.wait_until_healthy()
    kind = {"Content-Type": "application/json"}

    def call(method: str, path: str, body: dict) -> dict:
        status, answer = server.request(f"/api/2.0/mlflow/{path}", method=method, body=json.dumps(body).encode(), headers=kind)
        assert status == 200, (path, answer)
        return json.loads(answer)

    experiment = call("POST", "experiments/create", {"name": "written by the companion"})["experiment_id"]
    run = call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    call("POST", "runs/log-batch", {"run_id": run, "metrics": [{"key": "m", "value": 1, "timestamp": 1}],
                                    "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "1"}]})
    call("POST", "registered-models/create", {"name": "model"})
    call("POST", "model-versions/create", {"name": "model", "source": f"runs:/{run}/model", "run_id": run})
    call("POST", "users/create", {"username": "ada", "password": "password-of-ada"})
    call("PATCH", "users/update-admin", {"username": "ada", "is_admin": True})
    call("DELETE", "users/delete", {"username": "ada"})
    call("POST", "runs/delete", {"run_id": run})
    call("DELETE", "registered-models/delete", {"name": "model"})
    code, log = launcher.run("migrate", LAUNCHER_DB_USERNAME=NAME, LAUNCHER_DB_PASSWORD=PASSWORD)
    assert code == 0, log
    server.stop()

    # It may not change the schema.
    other = postgres_server.connect(launcher.database, NAME, PASSWORD)
    try:
        for statement in ("CREATE TABLE mine (id int)", "ALTER TABLE runs ADD COLUMN mine int", "TRUNCATE runs"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                other.cursor().execute(statement)
    finally:
        other.close()
    assert f"removed the login {NAME!r}" in companion(launcher, "drop")
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        postgres_server.connect(launcher.database, NAME, PASSWORD)
    assert postgres_server.query("SELECT 1 FROM pg_roles WHERE rolname = %s", NAME) == []
    assert f"there is no login {NAME!r}" in companion(launcher, "drop")


@pytest.mark.parametrize(("changes", "message"), [
    ({"LAUNCHER_COMPANION_USERNAME": ""}, "LAUNCHER_COMPANION_USERNAME is '': give the name of a login of its own"),
    ({"LAUNCHER_COMPANION_USERNAME": "mlflow"}, "LAUNCHER_COMPANION_USERNAME is 'mlflow'"),
    ({"LAUNCHER_COMPANION_VERIFIER": "a-password"}, "is not what PostgreSQL stores of a password"),
])
def test_what_is_no_companion_is_refused(launcher_of: Callable[..., Launcher], changes: dict[str, str], message: str):
    given = {"LAUNCHER_COMPANION_USERNAME": NAME, "LAUNCHER_COMPANION_VERIFIER": scram_verifier(PASSWORD, b"salt"), **changes}
    code, log = launcher_of("3.17.2").run("companion create", **given)
    assert code == 78 and message in log and "a-password" not in log and log.count("\n") == 1
