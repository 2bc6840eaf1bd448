# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_access: its plan against generated states, the module against servers that answer as four versions of MLflow do."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_access_apply,
    mlflow_access_plan,
    mlflow_access_target,
    mlflow_access_wanted,
    mlflow_permissions,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_target import Live
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import (
    Grant,
    Resource,
    RoleAccess,
    UserAccess,
)
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_access
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .conftest import Reply, refusal
from .permissions import LikeMlflowWithPermissions

PASSWORD = "a-fine-passphrase"
VERSIONS = ["2.18.0", "3.12.0", "3.13.0", "3.17.2"]

# --- the plan --------------------------------------------------------------------------------------------------------

NAMES = ["ada", "bob", "cyd", "admin"]
GROUPS = ["team", "ops"]
EXPERIMENTS = {"one": "1", "one more": "2", "other": "3"}
MODELS = ["m-a", "m-b"]
DEFAULTS = {"update_password": "on_create", "max_parallel": 2}
RESOURCES = [Resource("experiment", number) for number in EXPERIMENTS.values()]
RESOURCES += [Resource("registered_model", name) for name in MODELS] + [Resource("prompt", "p")]


@st.composite
def lives(draw, version):
    roles_known = version >= "3.13"
    permissions = st.sampled_from(["READ", "EDIT", "MANAGE"])

    def grants():
        chosen = draw(st.lists(st.sampled_from(RESOURCES), unique=True, max_size=4))
        kept = [one for one in chosen if roles_known or one.type != "prompt"]
        return tuple(Grant(one, draw(permissions), 7 if roles_known else None) for one in kept)

    there = ["admin", *draw(st.lists(st.sampled_from(NAMES[:3]), unique=True))]
    users = {name: UserAccess(name, 1, name == "admin" or draw(st.booleans()), grants()) for name in there}
    roles = {} if roles_known else None
    for name in draw(st.lists(st.sampled_from([*GROUPS, "stray"]), unique=True)) if roles_known else []:
        members = draw(st.lists(st.sampled_from(there), unique=True))
        roles[name] = RoleAccess(name, 5, draw(st.sampled_from(["", "a"])), grants(), tuple(sorted(members)))
        for member in members:
            users[member] = users[member]._replace(roles=(*users[member].roles, name))
    works = {name: draw(st.booleans()) for name in there}
    return Live(version, users, roles, EXPERIMENTS, frozenset(MODELS), works, version >= "3.10")


@st.composite
def options(draw, version):
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    users = []
    for name in names:
        user = {"name": name, "password": PASSWORD, "update_password": draw(st.sampled_from(["on_create", "always"]))}
        user["state"] = draw(st.sampled_from(["present", "present", "absent"])) if name != "admin" else "present"
        user["admin"] = draw(st.sampled_from([None, True, False])) if name != "admin" else None
        users.append(user)
    present = [one["name"] for one in users if one["state"] == "present"]
    groups = []
    for name in draw(st.lists(st.sampled_from(GROUPS), unique=True)):
        members = draw(st.none() | st.lists(st.sampled_from(present or ["admin"]), unique=True))
        description = draw(st.sampled_from([None, "", "b"]))
        groups.append({"name": name, "members": members, "description": description, "state": "present"})
    holders = [("user", name) for name in present] + [("group", one["name"]) for one in groups]
    grants = []
    for kind, name in draw(st.lists(st.sampled_from(holders), max_size=6)) if holders else []:
        asked = st.sampled_from(["one", "one*", "*", "other"]).map(lambda one: {"experiment": one})
        asked |= st.sampled_from(["1", "3"]).map(lambda one: {"experiment_id": one})
        asked |= st.sampled_from(["m-a", "m-*", "nothing*"]).map(lambda one: {"registered_model": one})
        permission = draw(st.sampled_from(["READ", "EDIT", None]))
        state = "present" if permission else "absent"
        grants.append({kind: name, **draw(asked), "permission": permission, "state": state})
    prune = draw(st.sampled_from(["none", "listed", *(["all"] if version >= "3.10" else [])]))
    protected = draw(st.sampled_from([[], ["b*"], ["stray", "cyd"]]))
    return {**DEFAULTS, "users": users, "groups": groups, "grants": grants, "prune": prune, "protected": protected}


def planned(asked, live):
    wanted = mlflow_access_wanted.read(asked)
    target, problems, _warnings = mlflow_access_target.resolve(wanted, live)
    changes, more = mlflow_access_plan.plan(wanted, target, live, "admin")
    return wanted, target, changes, [*problems, *more]


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_predicted_leaves_nothing_to_do(version, data):
    live, asked = data.draw(lives(version)), data.draw(options(version))
    wanted, target, changes, problems = planned(asked, live)
    assume(not problems)
    after = mlflow_access_plan.predict(live, changes)
    assert planned(asked, after)[2:] == ([], [])
    assert [change.phase for change in changes] == sorted(change.phase for change in changes)
    assert after.users["admin"].is_admin
    for name, grants in target.users.items():
        has = {one.resource: one.permission for one in after.users[name].grants}
        assert all(has.get(resource) == permission for resource, permission in grants.items())
    if wanted.prune == "none":
        assert not {change.action for change in changes if change.user in wanted.users} & {"remove_member"}
        asked_for = {user.name for user in wanted.users.values() if not user.present}
        assert {change.user for change in changes if change.action == "delete_user"} <= asked_for
    for change in changes:
        removes = change.action in ("delete_user", "delete_group")
        name = change.user or change.group
        declared_absent = name in wanted.users and not wanted.users[name].present
        assert not (removes and wanted.is_protected(name)) or declared_absent
        assert change.action != "delete_user" or name != "admin"


@given(st.lists(st.sampled_from(mlflow_permissions.PERMISSIONS), min_size=1))
def test_denial_wins_then_the_strongest(permissions):
    strongest = mlflow_permissions.strongest(permissions)
    if "DENY" in permissions:
        assert strongest == "DENY"
    else:
        assert mlflow_permissions.PERMISSIONS.index(strongest) == max(map(mlflow_permissions.PERMISSIONS.index, permissions))


def test_problems_are_counted_after_ten():
    refused = mlflow_access_wanted.Refused([f"problem {number}" for number in range(13)])
    assert str(refused).endswith("problem 9; and 3 more problems of this kind")


# --- the module ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=VERSIONS)
def mlflow(request, http):
    mlflow = LikeMlflowWithPermissions(http, request.param, page=2)
    for name in ("access one", "access two", "other"):
        mlflow.experiments_create(None, {"name": name, "tags": []})
    for name in ("model-a", "model-b", "model-c"):
        mlflow.registered_models_create(None, {"name": name})
    return mlflow


@pytest.fixture
def access(run_module, connection):
    """access(**options) runs the module; no result may show a password."""

    def run(check=False, **options):
        result = run_module(mlflow_access, connection | options, check=check)
        shown = json.dumps({key: value for key, value in result.items() if key != "invocation"})
        assert PASSWORD not in shown and connection["password"] not in shown
        return result

    return run


def users(*names, **more):
    return [{"name": name, "password": f"{PASSWORD} of {name}", **more} for name in names]


TEAM = {
    "users": [*users("ada", "bob"), *users("eve", admin=True)],
    "groups": [{"name": "team", "members": ["ada", "bob"], "description": "all"}],
    "grants": [
        {"group": "team", "experiment": "access *", "permission": "EDIT"},
        {"user": "ada", "experiment": "access one", "permission": "MANAGE"},
        {"user": "bob", "registered_model": "model-a", "permission": "READ"},
        {"user": "bob", "experiment_id": "3", "permission": "READ"},
    ],
}


def test_check_run_check_run(access, mlflow):
    predicted = access(check=True, **TEAM)
    assert predicted["changed"] and mlflow.calls == []
    made = access(**TEAM)
    assert made["changes"] == predicted["changes"] and made["diff"] == predicted["diff"]
    writes = [one for one in mlflow.http.requests if one.method != "GET"]
    assert len(writes) == len(made["changes"]) and made["requests"] <= len(made["changes"]) + 20
    for check in (True, False):
        again = access(check=check, **TEAM)
        assert not again["changed"] and again["changes"] == [] and again["summary"] == {}


def test_changed_and_pruned(access, mlflow):
    access(**TEAM)
    if mlflow.has_roles:
        mlflow.set_grant("ada", "prompt", "a prompt", "READ", True)
    changed = {
        "prune": "listed",
        "users": [{"name": "ada"}, {"name": "bob", "password": "another passphrase", "update_password": "always"}],
        "groups": [{"name": "team", "members": ["ada"], "description": "few"}],
        "grants": [
            {"group": "team", "experiment": "access one", "permission": "READ"},
            {"user": "bob", "experiment": "*", "permission": "READ"},
            {"user": "bob", "experiment": "other", "state": "absent"},
        ],
    }
    predicted = access(check=True, **changed)
    made = access(**changed)
    assert made["changes"] == predicted["changes"] and not access(**changed)["changed"]
    assert mlflow.users["bob"]["password"] == "another passphrase"
    kinds = {(key[0], key[1]) for key in mlflow.grants}
    assert ("bob", "registered_model") not in kinds and (("ada", "prompt") in kinds) == mlflow.has_roles
    left = access(users=[{"name": name, "state": "absent"} for name in ("ada", "bob", "eve", "nobody")])
    assert left["summary"]["delete_user"] == 3 and set(mlflow.users) == {"admin"}
    groups = access(groups=[{"name": "team", "state": "absent"}])
    assert groups["summary"] == ({"delete_group": 1} if mlflow.has_roles else {})


def test_everything_else_goes(access, mlflow):
    access(**TEAM)
    result = access(prune="all", users=[{"name": "ada"}], protected=["e*"])
    if mlflow.minor < (3, 10):
        assert "cannot list its users" in result["msg"]
        return
    assert set(mlflow.users) == {"admin", "ada", "eve"} and mlflow.roles == {}
    assert not access(prune="all", users=[{"name": "ada"}], protected=["e*"])["changed"]


def test_own_password_comes_last(access, mlflow):
    new = "the new one of the admin"
    options = {"users": [{"name": "admin", "password": new, "update_password": "always"}, *users("ada", "bob")]}
    made = access(**options)
    assert made["changes"][-1] == {"action": "set_password", "user": "admin"}
    assert mlflow.users["admin"]["password"] == new
    assert not access(password=new, **options)["changed"]


def test_what_failed_half_way_is_told_and_finished(access, mlflow):
    broken = "/api/2.0/mlflow/users/create"

    def refuse_bob(request):
        return refusal(400, "BAD_REQUEST", "no") if request.json["username"] == "bob" else None

    mlflow.override[broken] = refuse_bob
    failed = access(users=users("ada", "bob", "cyd"), max_parallel=1)
    assert failed["failed"] and failed["changed"] and "BAD_REQUEST" in failed["msg"]
    assert failed["changes"] == [{"action": "create_user", "user": "ada"}] and set(mlflow.users) == {"admin", "ada"}
    del mlflow.override[broken]
    assert access(users=users("ada", "bob", "cyd"))["summary"] == {"create_user": 2}


def test_progress_is_told(access, mlflow, tmp_path):
    path = tmp_path / "progress"
    access(progress_path=str(path), users=users("ada", "bob"))
    assert path.read_text().startswith("2 of 2 changes, ") and list(tmp_path.iterdir()) == [path]
    assert "its folder does not exist" in access(progress_path="/no/such/folder/file")["msg"]


def test_progress_is_not_told_too_often(tmp_path, monkeypatch):
    progress = mlflow_access_apply.Progress(str(tmp_path / "progress"), 1000)
    for _change in range(3):
        progress.step()
    assert (tmp_path / "progress").read_text().startswith("1 of 1000")


def test_warnings(access, mlflow):
    result = access(
        users=[{"name": "üser", "password": PASSWORD}],
        grants=[{"user": "üser", "experiment": "nothing*", "permission": "READ"}],
    )
    warnings = json.dumps(result["warnings"])
    assert "'nothing*' matches no experiment" in warnings
    assert ("only ASCII" in warnings) == (mlflow_versions.parse(mlflow.version) >= mlflow_versions.ASCII_LOGIN)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"users": users("a:b")}, "holds a colon"),
        ({"users": [{"name": "ada", "password": ""}]}, "password of 'ada': it is empty"),
        ({"users": users("ada", "ada")}, "'ada' is there twice"),
        ({"users": [{"name": "ada"}]}, "'ada' does not exist and has no password"),
        ({"users": [{"name": "ada", "password": "password1234"}]}, "shipped with"),
        ({"users": [{"name": "admin", "state": "absent"}]}, "nobody may delete themselves"),
        ({"users": [{"name": "admin", "admin": False}]}, "would lock itself out"),
        ({"groups": [{"name": "t"}, {"name": "t"}]}, "'t' is there twice"),
        ({"groups": [{"name": " "}]}, "is empty or holds a control character"),
        ({"groups": [{"name": "__user_1__"}]}, "as MLflow's own roles do"),
        ({"groups": [{"name": "t", "members": ["nobody"]}]}, "neither in users nor on the server"),
        (
            {"users": [{"name": "x", "state": "absent"}], "groups": [{"name": "t", "members": ["x"]}]},
            "member 'x' of 't' is to be absent",
        ),
        ({"grants": [{"user": "nobody", "experiment": "other", "permission": "READ"}]}, "neither in users"),
        ({"grants": [{"group": "t", "experiment": "other", "permission": "READ"}]}, "is not in groups"),
        (
            {"groups": [{"name": "t", "state": "absent"}], "grants": [{"group": "t", "experiment": "other", "permission": "READ"}]},
            "group 't' is to be absent",
        ),
        ({"grants": [{"user": "admin", "permission": "READ"}]}, "number 1 needs exactly one of"),
        ({"grants": [{"user": "admin", "experiment": "other"}]}, "has no permission"),
        ({"grants": [{"user": "admin", "experiment": "othr", "permission": "READ"}]}, "did you mean 'other'"),
        ({"grants": [{"user": "admin", "experiment_id": "99", "permission": "READ"}]}, "no active experiment"),
        ({"grants": [{"user": "admin", "registered_model": "none", "permission": "READ"}]}, "check the spelling"),
        (
            {
                "grants": [
                    {"user": "admin", "experiment": "*", "permission": "READ"},
                    {"user": "admin", "experiment": "o*", "permission": "EDIT"},
                ]
            },
            "is to have READ and EDIT on experiment 3 (other)",
        ),
        ({"max_parallel": 0}, "give 1 or more"),
        ({"password": "not the password"}, "check username and password"),
    ],
)
def test_refusals_change_nothing(access, mlflow, options, reason):
    refused = access(**options)
    assert refused["failed"] and reason in refused["msg"] and "\n" not in refused["msg"]
    assert refused["changes"] == [] and mlflow.calls == []


def test_permissions_that_a_server_does_not_know(access, mlflow):
    known = {"2.18.0": "NO_PERMISSIONS", "3.12.0": "NO_PERMISSIONS", "3.17.2": "DENY"}.get(mlflow.version)
    for permission in ("NO_PERMISSIONS", "DENY"):
        result = access(grants=[{"user": "admin", "experiment": "other", "permission": permission}], check=True)
        assert bool(result.get("failed")) == (permission != known)
        if result.get("failed"):
            assert f"cannot grant {permission}; it knows" in result["msg"]


def test_short_passwords(access, mlflow):
    result = access(users=[{"name": "ada", "password": "short"}])
    assert bool(result.get("failed")) == mlflow.new and "short" not in result.get("msg", "").replace("shorter", "")


def test_a_server_that_is_not_mlflow(access, mlflow):
    mlflow.override["/version"] = Reply(200, b"what?")
    assert "does not tell a version of MLflow" in access()["msg"]


def test_who_is_no_admin(access, mlflow):
    mlflow.users["ada"] = {"id": 2, "password": PASSWORD, "is_admin": False, "permissions": []}
    assert "'ada' is not an admin" in access(username="ada", password=PASSWORD)["msg"]
