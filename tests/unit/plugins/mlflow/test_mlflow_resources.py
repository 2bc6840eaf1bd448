# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_experiment, mlflow_registered_model, mlflow_permission, mlflow_role and mlflow_user_info over real HTTP."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_resources, mlflow_tags
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    mlflow_experiment,
    mlflow_permission,
    mlflow_registered_model,
    mlflow_role,
    mlflow_user_info,
)
from hypothesis import given
from hypothesis import strategies as st

from .conftest import refusal
from .permissions import LikeMlflowWithPermissions

TEXT = st.dictionaries(st.sampled_from(["a", "b", "mlflow.x"]), st.sampled_from(["1", "2"]))


@pytest.fixture(params=["2.18.0", "3.12.0", "3.13.0", "3.17.2"])
def mlflow(request, http):
    mlflow = LikeMlflowWithPermissions(http, request.param, page=1)
    mlflow.users["ada"] = {"id": 2, "password": "adas-fine-passphrase", "is_admin": False, "permissions": []}
    mlflow.experiments_create(None, {"name": "one", "tags": []})
    mlflow.registered_models_create(None, {"name": "one"})
    return mlflow


@pytest.fixture
def quartet(run_module, connection, mlflow):
    """quartet(module, **options): check, run, check, run; one request a change."""

    def run(module, **options):
        predicted = run_module(module, connection | options, check=True)
        assert "failed" not in predicted, predicted["msg"]
        written = len(mlflow.calls)
        done = run_module(module, connection | options)
        assert done["changed"] and len(mlflow.calls) - written == len(done["changes"])
        assert done["changes"] == predicted["changes"] and done["diff"] == predicted["diff"]
        for check in (True, False):
            again = run_module(module, connection | options, check=check)
            assert not again["changed"] and again["changes"] == []
        return done

    return run


@pytest.fixture
def refused(run_module, connection, mlflow):
    def run(module, **options):
        before = len(mlflow.calls)
        failed = run_module(module, connection | options)
        assert failed["failed"] and failed.get("changes", []) == [] and len(mlflow.calls) == before
        return failed["msg"]

    return run


def actions(done):
    return [change["action"] for change in done["changes"]]


# --- decisions -------------------------------------------------------------------------------------------------------


@given(TEXT, TEXT, st.booleans())
def test_tags_become_what_is_predicted(has, wants, purge):
    now = {**has, **mlflow_tags.to_set(has, wants)}
    for key in mlflow_tags.to_purge(has, wants) if purge else []:
        del now[key]
    assert now == mlflow_tags.after(has, wants, purge)
    assert mlflow_tags.to_set(now, wants) == {} and (not purge or mlflow_tags.to_purge(now, wants) == [])
    assert {key: value for key, value in has.items() if key.startswith("mlflow.") and key not in wants}.items() <= now.items()


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=10))
def test_names_that_may_have_been_meant_are_known_ones(name, names):
    meant = mlflow_resources.near(name, names)
    assert len(meant) <= 3 and set(meant) <= set(names)


def test_patterns():
    names = ["a-1", "a-2", "b", "A-1"]
    assert mlflow_resources.matching("a-*", names) == ["a-1", "a-2"]
    assert mlflow_resources.matching("[ab]*", names) == ["a-1", "a-2", "b"] and mlflow_resources.matching("?", names) == ["b"]
    assert [mlflow_resources.is_pattern(one) for one in ("a", "a*", "a?", "[a]")] == [False, True, True, True]


# --- experiments -----------------------------------------------------------------------------------------------------


def test_life_of_an_experiment(quartet, refused, mlflow):
    made = quartet(mlflow_experiment, name="new", tags={"team": "a", "year": 2026}, artifact_location="s3://b/x/")
    assert actions(made) == ["create"] and made["experiment"]["tags"] == {"team": "a", "year": "2026"}
    assert actions(quartet(mlflow_experiment, name="new", tags={"team": "b"})) == ["set_tag"]
    purge = {"name": "new", "tags": {"team": "b"}, "purge_tags": True}
    if mlflow.minor < (3, 2):
        assert "cannot remove tags of experiments" in refused(mlflow_experiment, **purge)
    else:
        assert actions(quartet(mlflow_experiment, **purge)) == ["remove_tag"]
    assert "which cannot be changed" in refused(mlflow_experiment, name="new", artifact_location="s3://b/y")
    gone = quartet(mlflow_experiment, name="new", state="absent")
    assert gone["experiment"]["lifecycle_stage"] == "deleted"
    assert "is the name of a deleted experiment" in refused(mlflow_experiment, name="new")
    back = quartet(mlflow_experiment, name="new", state="restored", tags={"team": "c"})
    assert actions(back) == ["restore", "set_tag"] and back["experiment"]["lifecycle_stage"] == "active"


def test_an_experiment_that_never_was(run_module, connection, refused, mlflow):
    assert run_module(mlflow_experiment, connection | {"name": "x", "state": "absent"})["experiment"] is None
    assert "no such experiment to restore" in refused(mlflow_experiment, name="x", state="restored")
    assert "is the default experiment" in refused(mlflow_experiment, name="Default", state="absent")
    assert "name: it is empty" in refused(mlflow_experiment, name=" ")


def test_an_experiment_made_half_way_is_told(run_module, connection, mlflow):
    mlflow.override["/api/2.0/mlflow/experiments/set-experiment-tag"] = refusal(500, "INTERNAL_ERROR", "no")
    run_module(mlflow_experiment, connection | {"name": "one", "state": "absent"})
    options = {"name": "one", "state": "restored", "tags": {"a": 1}, "retry_timeout": 0}
    failed = run_module(mlflow_experiment, connection | options)
    assert failed["failed"] and failed["changed"] and failed["changes"] == [{"action": "restore"}]


# --- models ----------------------------------------------------------------------------------------------------------


def test_life_of_a_model(quartet, refused, mlflow):
    """This server gives models with a v in their name two versions."""
    made = quartet(mlflow_registered_model, name="v", description="one", tags={"team": "a", "year": 2026})
    assert actions(made) == ["create"]
    changed = quartet(mlflow_registered_model, name="v", description="two", tags={"team": "b"}, purge_tags=True)
    assert actions(changed) == ["set_description", "set_tag", "remove_tag"]
    aliased = quartet(mlflow_registered_model, name="v", aliases={"champion": 1, "challenger": 2})
    assert aliased["registered_model"]["aliases"] == {"champion": "1", "challenger": "2"}
    moved = quartet(mlflow_registered_model, name="v", aliases={"champion": 2}, purge_aliases=True)
    assert actions(moved) == ["set_alias", "remove_alias"]
    assert "version 3, which model 'v' does not have" in refused(mlflow_registered_model, name="v", aliases={"a": 3})
    assert quartet(mlflow_registered_model, name="v", state="absent")["registered_model"] is None


def test_refused_models(refused, quartet, mlflow):
    assert "name: it is empty" in refused(mlflow_registered_model, name="")
    assert "does not have" in refused(mlflow_registered_model, name="new", aliases={"champion": 1})
    assert quartet(mlflow_registered_model, name="bare")["registered_model"]["description"] == ""


# --- permissions and roles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", [{"experiment": "one"}, {"experiment_id": "0"}, {"registered_model": "one"}])
def test_life_of_a_permission(quartet, resource):
    assert actions(quartet(mlflow_permission, name="ada", permission="READ", **resource)) == ["grant"]
    changed = quartet(mlflow_permission, name="ada", permission="EDIT", **resource)
    assert actions(changed) == ["change_grant"] and changed["permission"] == "EDIT"
    assert actions(quartet(mlflow_permission, name="ada", state="absent", **resource)) == ["revoke"]


def test_refused_permissions(refused, mlflow):
    run = {"name": "ada", "permission": "READ"}
    assert "did you mean 'one'" in refused(mlflow_permission, **run, experiment="ones")
    assert "no active experiment of that ID" in refused(mlflow_permission, **run, experiment_id="99")
    assert "no registered model of that name" in refused(mlflow_permission, **run, registered_model="two")
    near = "did you mean 'ada'" if mlflow.minor >= (3, 10) else "check the spelling"
    assert near in refused(mlflow_permission, **run | {"name": "adam"}, experiment_id="0")
    unknown = "DENY" if mlflow.minor < (3, 13) else "NO_PERMISSIONS"
    assert "cannot grant" in refused(mlflow_permission, **run | {"permission": unknown}, experiment_id="0")
    assert "holds a colon" in refused(mlflow_permission, **run | {"name": "a:b"}, experiment_id="0")
    assert "mutually exclusive" in refused(mlflow_permission, **run, experiment="one", experiment_id="0")


def test_what_is_gone_needs_no_permission_taken_away(quartet, run_module, connection, mlflow):
    quartet(mlflow_permission, name="ada", permission="READ", experiment="one")
    mlflow.experiments["1"]["lifecycle_stage"] = "deleted"
    quartet(mlflow_permission, name="ada", experiment="one", state="absent")
    for gone in ({"name": "eve", "experiment_id": "0"}, {"name": "ada", "experiment": "never was"}):
        done = run_module(mlflow_permission, connection | gone | {"state": "absent"})
        assert "failed" not in done and not done["changed"]


def test_a_prompt_is_no_model(refused, mlflow):
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    mlflow.registered_models_create(None, {"name": "prompt", "tags": tags})
    assert "is a prompt" in refused(mlflow_permission, name="ada", permission="READ", registered_model="prompt")


def test_an_admin_needs_no_permission(run_module, connection, mlflow):
    options = {"name": "admin", "permission": "READ", "experiment": "one"}
    result = run_module(mlflow_permission, connection | options)
    assert result["changed"] and "is an admin and may do everything" in str(result["warnings"])


def test_life_of_a_role(quartet, refused, run_module, connection, mlflow):
    if not mlflow.has_roles:
        assert "roles need 3.13 or newer here; use groups" in refused(mlflow_role, name="team")
        return
    permissions = [{"experiment": "*", "permission": "EDIT"}, {"registered_model": "one", "permission": "READ"}]
    made = quartet(mlflow_role, name="team", description="all", members=["ada"], permissions=permissions)
    assert actions(made)[0] == "create" and len(made["role"]["permissions"]) == 3
    assert actions(quartet(mlflow_role, name="team", description="few")) == ["set_description"]
    exact = quartet(mlflow_role, name="team", permissions=permissions[1:])
    assert actions(exact) == ["revoke", "revoke"] and exact["role"]["members"] == ["ada"]
    assert actions(quartet(mlflow_role, name="team", members=[])) == ["remove_member"]
    unknown = {"experiment": "none", "permission": "READ"}
    assert "no experiment of that name" in refused(mlflow_role, name="team", permissions=[unknown])
    assert refused(mlflow_role, name="team", members=["eve"]).startswith("members: member 'eve' of 'team' is neither")
    assert "begins with __user_" in refused(mlflow_role, name="__user_7__")
    assert "one of the following" in refused(mlflow_role, name="team", permissions=[{"permission": "READ"}])
    nothing = run_module(mlflow_role, connection | {"name": "new", "permissions": [unknown | {"experiment": "none*"}]})
    assert "matches no experiment" in str(nothing["warnings"])
    assert quartet(mlflow_role, name="team", state="absent", permissions=permissions)["role"] is None


def test_a_role_made_half_way_is_told(run_module, connection, mlflow):
    if not mlflow.has_roles:
        return
    mlflow.roles_assign = lambda request, asked: refusal(400, "BAD_REQUEST", "no")
    failed = run_module(mlflow_role, connection | {"name": "team", "members": ["ada"]})
    assert failed["failed"] and failed["changes"] == [{"action": "create"}]
    assert "BAD_REQUEST" in failed["msg"] and failed["changed"]


def test_users_are_told(run_module, connection, quartet, mlflow):
    quartet(mlflow_permission, name="ada", permission="READ", experiment="one")
    if mlflow.has_roles:
        quartet(mlflow_role, name="team", members=["ada"])
    ada = run_module(mlflow_user_info, connection | {"name": "ada"})["users"]
    permission = {"resource_type": "experiment", "resource_id": "1", "permission": "READ"}
    assert [one["permissions"] for one in ada] == [[permission]] and not ada[0]["is_admin"]
    assert ada[0]["roles"] == (["team"] if mlflow.has_roles else [])
    assert run_module(mlflow_user_info, connection | {"name": "eve"})["users"] == []
    everybody = run_module(mlflow_user_info, connection)
    if mlflow.minor < (3, 10):
        assert "cannot list its users" in everybody["msg"]
    else:
        assert [one["username"] for one in everybody["users"]] == ["ada", "admin"]


def test_another_error_than_missing_is_told(run_module, connection, mlflow):
    mlflow.override["/api/2.0/mlflow/experiments/get-by-name"] = refusal(400, "BAD_REQUEST", "no")
    assert "BAD_REQUEST" in run_module(mlflow_experiment, connection | {"name": "one"})["msg"]
    if not mlflow.has_roles:
        told = refusal(400, "BAD_REQUEST", "no")
        mlflow.override["/api/2.0/mlflow/users/get"] = lambda asked: told if asked.query["username"] == "ada" else None
        assert "BAD_REQUEST" in run_module(mlflow_user_info, connection | {"name": "ada"})["msg"]
    options = {"name": "ada", "permission": "READ", "experiment_id": "0", "state": "absent"}
    mlflow.override.clear()
    run_module(mlflow_permission, connection | options | {"state": "present"})
    path = "/api/3.0/mlflow/users/permissions/revoke" if mlflow.has_roles else "/api/2.0/mlflow/experiments/permissions/delete"
    if not mlflow.has_roles:
        mlflow.override[path] = refusal(400, "BAD_REQUEST", "no")
        assert "BAD_REQUEST" in run_module(mlflow_permission, connection | options)["msg"]
