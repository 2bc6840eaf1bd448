# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Permissions across 3.13, while a server before it and one since then run on the same databases: nothing is lost."""
from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_breaking_changes import SCHEMAS
from tests.integration.launcher.conftest import Launcher, Server
from tests.integration.postgres import Postgres

PASSWORD = "quite-a-long-password"
GRANTS = """
SELECT username, resource_type, resource_pattern, permission FROM role_permissions
JOIN user_role_assignments USING (role_id) JOIN users ON users.id = user_id ORDER BY 1, 2, 3"""
LEFT = """
SELECT count(*) FROM (SELECT proname FROM pg_proc WHERE proname LIKE 'launcher%' UNION ALL
SELECT tgname FROM pg_trigger WHERE tgname LIKE 'launcher%' UNION ALL
SELECT relname FROM pg_class WHERE relname LIKE 'launcher%') AS ours"""


class Api:
    """A server as one of its users."""

    def __init__(self, server: Server, username: str = "admin") -> None:
        self.server, self.username = server, username

    def call(self, method: str, path: str, expected: int = 200, api: str = "2.0", **values: str) -> dict[str, Any]:
        body = None
        if method == "GET":
            path += "?" + urllib.parse.urlencode(values)
        else:
            body = json.dumps(values).encode()
        password = None if self.username == "admin" else PASSWORD
        status, answer = self.server.request(
            f"/api/{api}/mlflow/{path}", method=method, body=body, username=self.username, password=password,
            headers={"Content-Type": "application/json"})
        assert status == expected, f"{method} {path} {values}: {status} {answer[:300]!r}"
        return json.loads(answer or b"{}") if status == 200 else {}

    def create_experiment(self, name: str) -> str:
        return self.call("POST", "experiments/create", name=name)["experiment_id"]

    def permit(self, username: str, experiment_id: str, permission: str) -> None:
        self.call("POST", "experiments/permissions/create", username=username, experiment_id=experiment_id,
                  permission=permission)

    def permission_of(self, username: str, experiment_id: str) -> str:
        answer = self.call("GET", "experiments/permissions/get", username=username, experiment_id=experiment_id)
        return answer["experiment_permission"]["permission"]


def grants(postgres: Postgres, launcher: Launcher) -> set[tuple]:
    return set(postgres.query(GRANTS, database=f"{launcher.database}_auth"))


def left(postgres: Postgres, launcher: Launcher) -> int:
    return postgres.query(LEFT, database=f"{launcher.database}_auth")[0][0]


def populate(server: Server) -> str:
    """Three users, and permissions of every kind on experiment 1 and models; returns the ID of the experiment."""
    admin = Api(server)
    experiment_id = admin.create_experiment("first")
    for name, permission in (("ann", "EDIT"), ("bob", "NO_PERMISSIONS"), ("o'cy %s", "READ")):
        admin.call("POST", "users/create", username=name, password=PASSWORD)
        admin.permit(name, experiment_id, permission)
    admin.call("POST", "registered-models/create", name="churn")
    admin.call("POST", "registered-models/permissions/create", name="churn", username="ann", permission="NO_PERMISSIONS")
    admin.call("POST", "registered-models/permissions/create", name="churn", username="bob", permission="MANAGE")
    return experiment_id


CARRIED = {("ann", "experiment", "1", "EDIT"), ("bob", "experiment", "1", "DENY"), ("o'cy %s", "experiment", "1", "READ"),
           ("ann", "registered_model", "churn", "DENY"), ("bob", "registered_model", "churn", "MANAGE"),
           ("admin", "experiment", "1", "MANAGE"), ("admin", "registered_model", "churn", "MANAGE")}


def test_two_versions_side_by_side_lose_no_permission(launcher_of: Callable, postgres_server: Postgres):
    old = launcher_of("2.18.0")
    old.migrate()
    old_server = old.serve(LAUNCHER_DEFAULT_PERMISSION="READ")
    old_server.wait_until_healthy()
    populate(old_server)
    before = Api(old_server)

    new = launcher_of("3.17.2", old.database)
    log = new.migrate()
    assert "2 refusals are grants of DENY" in log and "refused: 'bob' on experiment '1'" in log, log
    assert grants(postgres_server, new) == CARRIED
    new_server = new.serve(LAUNCHER_DEFAULT_PERMISSION="READ")

    # What the older version writes from here on MLflow itself would lose.
    before.permit("ann", "0", "NO_PERMISSIONS")
    before.call("PATCH", "experiments/permissions/update", username="bob", experiment_id="1", permission="EDIT")
    before.call("DELETE", "experiments/permissions/delete", username="o'cy %s", experiment_id="1")
    before.call("PATCH", "registered-models/permissions/update", name="churn", username="ann", permission="READ")
    by_ann = Api(old_server, "ann").create_experiment("of ann")
    before.call("POST", "users/create", username="late", password=PASSWORD)
    before.permit("late", "1", "MANAGE")
    now = grants(postgres_server, new)
    assert now == {
        ("admin", "experiment", "1", "MANAGE"), ("admin", "registered_model", "churn", "MANAGE"),
        ("ann", "experiment", "0", "DENY"), ("ann", "experiment", "1", "EDIT"), ("ann", "experiment", by_ann, "MANAGE"),
        ("ann", "registered_model", "churn", "READ"), ("bob", "experiment", "1", "EDIT"),
        ("bob", "registered_model", "churn", "MANAGE"), ("late", "experiment", "1", "MANAGE")}

    new_server.wait_until_healthy()
    after = Api(new_server)
    Api(new_server, "ann").call("GET", "experiments/get", 403, experiment_id="0")
    # And the other way round: the older version obeys what the newer one writes.
    by_bob = Api(new_server, "bob").create_experiment("of bob")
    assert before.permission_of("bob", by_bob) == "MANAGE"
    after.call("POST", "users/permissions/grant", api="3.0", username="late", resource_type="experiment",
               resource_id=by_bob, permission="DENY")
    assert before.permission_of("late", by_bob) == "NO_PERMISSIONS"
    after.call("POST", "users/permissions/revoke", api="3.0", username="late", resource_type="experiment",
               resource_id=by_bob)
    before.call("GET", "experiments/permissions/get", 404, username="late", experiment_id=by_bob)
    after.call("DELETE", "users/delete", username="late")
    before.call("DELETE", "users/delete", username="o'cy %s")
    assert ("late",) not in {row[:1] for row in grants(postgres_server, new)}

    old_server.stop()
    expected = grants(postgres_server, new)
    code, log = new.run("settle")
    assert code == 0 and "settled; the older version wrote" in log, log
    assert "kept: 'bob' has EDIT on experiment '1'" in log and f"kept: 'ann' has MANAGE on experiment '{by_ann}'" in log
    assert left(postgres_server, new) == 0
    assert grants(postgres_server, new) == expected
    # Nothing is left to settle, and a later migration brings nothing back.
    after.call("POST", "users/permissions/revoke", api="3.0", username="ann", resource_type="registered_model",
               resource_id="churn")
    assert "wrote 0 permissions" in new.run("settle")[1]
    assert "refusals" not in new.migrate()
    assert ("ann", "registered_model", "churn", "READ") not in grants(postgres_server, new)


def served(launcher_of: Callable, version: str) -> tuple[Launcher, Server]:
    launcher = launcher_of(version)
    launcher.migrate()
    server = launcher.serve(LAUNCHER_DEFAULT_PERMISSION="READ")
    server.wait_until_healthy()
    return launcher, server


@pytest.mark.long
def test_killed_anywhere_it_is_taken_up_again(launcher_of: Callable, postgres_server: Postgres):
    old, server = served(launcher_of, "2.18.0")
    populate(server)
    new = launcher_of("3.17.2", old.database)
    code, log = new.run("settle")
    assert code == 0 and "wrote 0 permissions" in log
    for seconds in (4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0):
        process, _log = new.start("migrate")
        time.sleep(seconds)
        process.kill()
        process.wait()
        # Whatever is there by now, the older version obeys and changes it.
        assert Api(server).permission_of("bob", "1") == "NO_PERMISSIONS"
        Api(server).call("PATCH", "experiments/permissions/update", username="ann", experiment_id="1", permission="READ")
        Api(server).call("PATCH", "experiments/permissions/update", username="ann", experiment_id="1", permission="EDIT")
    runs = [new.start("migrate") for _run in range(2)]
    assert [process.wait(180) for process, _log in runs] == [0, 0], [log.read_text() for _process, log in runs]
    assert grants(postgres_server, new) == CARRIED

    for seconds in (0.2, 0.4, 0.6, 0.8):
        process, _log = new.start("settle")
        time.sleep(seconds)
        process.kill()
        process.wait()
    runs = [new.start("settle") for _run in range(2)]
    assert [process.wait(180) for process, _log in runs] == [0, 0], [log.read_text() for _process, log in runs]
    assert left(postgres_server, new) == 0 and grants(postgres_server, new) == CARRIED


@pytest.mark.long
def test_settling_before_the_migration_is_over_is_refused(launcher_of: Callable, postgres_server: Postgres):
    launcher = launcher_of("3.17.2")
    launcher.migrate()
    postgres_server.execute("CREATE TABLE launcher_mirror (id serial, old_row jsonb, wanted text)", database=f"{launcher.database}_auth")
    code, log = launcher.run("settle")
    assert code == 65 and "run `migrate` first" in log


@pytest.mark.long
def test_grants_on_prompts_stay_with_their_prompts(launcher_of: Callable, postgres_server: Postgres):
    old, server = served(launcher_of, "2.22.5")
    admin = Api(server)
    admin.call("POST", "users/create", username="ann", password=PASSWORD)

    def prompt(name: str) -> None:
        tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
        admin.call("POST", "registered-models/create", name=name, tags=tags)
        admin.call("POST", "registered-models/permissions/create", name=name, username="ann", permission="EDIT")

    prompt("greeting")
    new = launcher_of("3.17.2", old.database)
    new.migrate()
    assert ("ann", "prompt", "greeting", "EDIT") in grants(postgres_server, new)
    prompt("farewell")
    assert new.run("settle")[0] == 0
    expected = {(user, "prompt", name, permission) for name in ("greeting", "farewell")
                for user, permission in (("ann", "EDIT"), ("admin", "MANAGE"))}  # fmt: skip
    assert grants(postgres_server, new) == expected


HEADS = """
import sys
from alembic.script import ScriptDirectory
import mlflow
root = mlflow.__path__[0]
for part in ("store/db_migrations", "server/auth/db/migrations"):
    print(*ScriptDirectory(f"{root}/{part}").get_heads())
"""


@pytest.mark.long
@pytest.mark.parametrize("version", SCHEMAS)
def test_the_table_of_schemas_is_true(mlflow_env: Callable, version: str):
    done = subprocess.run([mlflow_env(version) / "bin/python", "-c", HEADS], capture_output=True, text=True, timeout=120, check=True)
    assert tuple(done.stdout.split()) == SCHEMAS[version]


@pytest.mark.long
@pytest.mark.parametrize("version", ["2.22.5", "3.17.1"])
def test_the_versions_in_between_serve(launcher_of: Callable, version: str):
    _launcher, server = served(launcher_of, version)
    assert server.request("/api/2.0/mlflow/experiments/search?max_results=1")[0] == 200
    assert server.request("/version")[1].decode() == version
