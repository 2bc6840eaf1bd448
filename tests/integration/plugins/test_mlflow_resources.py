# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_experiment, mlflow_registered_model, mlflow_permission, mlflow_role and mlflow_user_info on real servers."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_permissions_api
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    mlflow_experiment,
    mlflow_permission,
    mlflow_registered_model,
    mlflow_role,
    mlflow_user,
    mlflow_user_info,
)

PASSWORD = "a-fine-passphrase"


@pytest.fixture
def refused(run_module, server):
    """refused(module, {options}) is the message of a run that changed nothing."""

    def run(module, options):
        failed = run_module(module, server.connection | options)
        assert failed["failed"] and failed["changes"] == [] and not failed["changed"] and "\n" not in failed["msg"]
        return failed["msg"]

    return run


@pytest.fixture
def user(run_module, server):
    options = server.connection | {"name": "ada", "user_password": PASSWORD}
    run_module(mlflow_user, options)
    yield "ada"
    run_module(mlflow_user, options | {"state": "absent"})


def actions(done):
    return [change["action"] for change in done["changes"]]


def test_life_of_an_experiment(quartet, refused, server):
    name = {"name": "life of an experiment / ünit"}
    made = quartet(mlflow_experiment, name | {"tags": {"team": "a", "year": 2026}})
    assert actions(made) == ["create"] and made["experiment"]["tags"] == {"team": "a", "year": "2026"}
    changed = quartet(mlflow_experiment, name | {"tags": {"team": "b"}})
    assert changed["experiment"]["tags"] == {"team": "b", "year": "2026"}
    if server.version.startswith("2."):
        assert "MLflow 2.18.0 cannot remove tags" in refused(mlflow_experiment, name | {"tags": {}, "purge_tags": True})
    else:
        purged = quartet(mlflow_experiment, name | {"tags": {"team": "b"}, "purge_tags": True})
        assert purged["experiment"]["tags"] == {"team": "b"}
    assert "cannot be changed" in refused(mlflow_experiment, name | {"artifact_location": "s3://elsewhere/x"})
    gone = quartet(mlflow_experiment, name | {"state": "absent"})
    assert gone["experiment"]["lifecycle_stage"] == "deleted"
    assert "name of a deleted experiment" in refused(mlflow_experiment, name)
    back = quartet(mlflow_experiment, name | {"state": "restored", "tags": {"team": "c"}})
    assert actions(back) == ["restore", "set_tag"]
    assert back["experiment"]["experiment_id"] == made["experiment"]["experiment_id"]
    quartet(mlflow_experiment, name | {"state": "absent"})


def test_refused_experiments(refused):
    assert "there is no such experiment to restore" in refused(mlflow_experiment, {"name": "x", "state": "restored"})
    assert "is the default experiment" in refused(mlflow_experiment, {"name": "Default", "state": "absent"})
    assert "name: it is empty" in refused(mlflow_experiment, {"name": " "})


def test_an_experiment_with_its_own_artifact_location(quartet, run_module, server):
    options = {"name": "elsewhere", "artifact_location": f"s3://{server.bucket}/elsewhere"}
    made = quartet(mlflow_experiment, options)
    assert made["experiment"]["artifact_location"] == options["artifact_location"]
    assert not run_module(mlflow_experiment, server.connection | options)["changed"]


def test_life_of_a_registered_model(quartet, refused, client):
    name = {"name": "life of a model"}
    made = quartet(mlflow_registered_model, name | {"description": "one", "tags": {"team": "a", "year": 2026}})
    assert actions(made) == ["create"]
    changed = quartet(
        mlflow_registered_model, name | {"description": "two", "tags": {"team": "b"}, "purge_tags": True}
    )
    assert actions(changed) == ["set_description", "set_tag", "remove_tag"]
    assert "does not have" in refused(mlflow_registered_model, name | {"aliases": {"champion": 1}})
    run = client.call("POST", "runs/create", body={"experiment_id": "0"})["run"]["info"]
    version = name | {"source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    for _version in range(2):
        client.call("POST", "model-versions/create", body=version)
    aliased = quartet(mlflow_registered_model, name | {"aliases": {"champion": 1, "challenger": 2}})
    assert aliased["registered_model"]["aliases"] == {"champion": "1", "challenger": "2"}
    moved = quartet(mlflow_registered_model, name | {"aliases": {"champion": 2}, "purge_aliases": True})
    assert actions(moved) == ["set_alias", "remove_alias"]
    assert actions(quartet(mlflow_registered_model, name | {"state": "absent"})) == ["delete"]
    client.call("POST", "runs/delete", body={"run_id": run["run_id"]})


def test_refused_models(refused):
    assert "name: it is empty" in refused(mlflow_registered_model, {"name": ""})
    new = {"name": "new", "aliases": {"champion": 1}}
    assert "version 1, which model 'new' does not have" in refused(mlflow_registered_model, new)


def test_life_of_a_permission(quartet, run_module, server, client, user):
    run_module(mlflow_experiment, server.connection | {"name": "permitted"})
    run_module(mlflow_registered_model, server.connection | {"name": "permitted"})
    dialect = mlflow_permissions_api.dialect(client)
    for resource in ({"experiment": "permitted"}, {"registered_model": "permitted"}, {"experiment_id": "0"}):
        for permission in reversed(dialect.permissions):
            done = quartet(mlflow_permission, {"name": user, "permission": permission} | resource)
            assert done["permission"] == permission
        gone = quartet(mlflow_permission, {"name": user, "state": "absent"} | resource)
        assert gone["permission"] is None and actions(gone) == ["revoke"]
    assert dialect.read_users([user])[user].grants == ()


def test_a_user_with_permissions_can_be_deleted(quartet, run_module, server, user):
    """MLflow 2 refuses that; the module removes the permissions first."""
    run_module(mlflow_registered_model, server.connection | {"name": "left behind"})
    for resource in ({"experiment_id": "0"}, {"registered_model": "left behind"}):
        quartet(mlflow_permission, {"name": user, "permission": "READ"} | resource)
    done = run_module(mlflow_user, server.connection | {"name": user, "state": "absent"})
    assert done["changed"] and done["user"] is None


def test_refused_permissions(refused, client, server, user):
    run = {"name": user, "permission": "READ"}
    assert "did you mean 'Default'" in refused(mlflow_permission, run | {"experiment": "Defolt"})
    assert "there is no active experiment of that ID" in refused(mlflow_permission, run | {"experiment_id": "4711"})
    assert "there is no registered model of that name" in refused(mlflow_permission, run | {"registered_model": "none"})
    assert "there is no user of that name" in refused(mlflow_permission, run | {"name": "adb", "experiment_id": "0"})
    unknown = {"2.18.0": "USE", "3.12.0": "DENY"}.get(server.version, "NO_PERMISSIONS")
    message = refused(mlflow_permission, run | {"permission": unknown, "experiment_id": "0"})
    assert f"MLflow {server.version} cannot grant {unknown}; it knows" in message
    message = refused(mlflow_permission, run | {"experiment_id": "0", "password": "not the password"})
    assert "401" in message and "not the password" not in message


def test_what_is_gone_needs_no_permission_taken_away(quartet, run_module, server, user):
    run_module(mlflow_experiment, server.connection | {"name": "about to go"})
    quartet(mlflow_permission, {"name": user, "permission": "READ", "experiment": "about to go"})
    run_module(mlflow_experiment, server.connection | {"name": "about to go", "state": "absent"})
    quartet(mlflow_permission, {"name": user, "experiment": "about to go", "state": "absent"})
    for gone in ({"name": "nobody", "experiment_id": "0"}, {"name": user, "experiment": "never was"}):
        done = run_module(mlflow_permission, server.connection | gone | {"state": "absent"})
        assert not done.get("failed") and not done["changed"]


def test_a_prompt_is_no_model(refused, client, server, user):
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    body = {"name": f"prompt-{server.version}".replace(".", "-"), "tags": tags}
    client.call("POST", "registered-models/create", body=body)
    options = {"name": user, "permission": "READ", "registered_model": body["name"]}
    assert "is a prompt" in refused(mlflow_permission, options)


def test_a_user_who_is_no_admin_may_not(refused, user):
    login = {"username": user, "password": PASSWORD, "name": user, "experiment_id": "0", "permission": "MANAGE"}
    assert "'ada' is not an admin" in refused(mlflow_permission, login)


def test_life_of_a_role(quartet, refused, run_module, server, client, user):
    if not mlflow_permissions_api.dialect(client).has_roles:
        message = refused(mlflow_role, {"name": "team"})
        assert f"this is MLflow {server.version}, and roles need 3.13 or newer here; use groups" in message
        return
    for name in ("team one", "team two"):
        run_module(mlflow_experiment, server.connection | {"name": name})
    made = quartet(
        mlflow_role,
        {"name": "team", "members": [user], "permissions": [{"experiment": "team *", "permission": "EDIT"}]},
    )
    assert made["role"]["members"] == [user] and [one["permission"] for one in made["role"]["permissions"]] == ["EDIT"] * 2
    described = quartet(mlflow_role, {"name": "team", "description": "the team"})
    assert actions(described) == ["set_description"] and described["role"]["members"] == [user]
    exact = quartet(mlflow_role, {"name": "team", "permissions": [{"experiment": "team one", "permission": "READ"}]})
    assert sorted(actions(exact)) == ["change_grant", "revoke"]
    assert actions(quartet(mlflow_role, {"name": "team", "members": []})) == ["remove_member"]
    assert "there is no experiment" in refused(
        mlflow_role, {"name": "team", "permissions": [{"experiment": "nowhere", "permission": "READ"}]}
    )
    assert "neither in users nor on the server" in refused(mlflow_role, {"name": "team", "members": ["nobody"]})
    assert "as MLflow's own roles do" in refused(mlflow_role, {"name": "__user_7__"})
    assert quartet(mlflow_role, {"name": "team", "state": "absent"})["role"] is None


def test_users_can_be_looked_at(run_module, quartet, server, client, user):
    quartet(mlflow_permission, {"name": user, "permission": "EDIT", "experiment_id": "0"})
    found = run_module(mlflow_user_info, server.connection | {"name": user})
    permission = {"resource_type": "experiment", "resource_id": "0", "permission": "EDIT"}
    assert [one["permissions"] for one in found["users"]] == [[permission]] and found["version"] == server.version
    assert run_module(mlflow_user_info, server.connection | {"name": "nobody"})["users"] == []
    everybody = run_module(mlflow_user_info, server.connection)
    if mlflow_permissions_api.dialect(client).lists_users:
        assert {"admin", user} <= {one["username"] for one in everybody["users"]}
    else:
        assert "MLflow 2.18.0 cannot list its users" in everybody["msg"]
