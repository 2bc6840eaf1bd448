# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_access on real servers: whole states, refusals, a failure half-way, and generated pairs of states."""

from __future__ import annotations

import random

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_access_apply,
    mlflow_access_plan,
    mlflow_access_target,
    mlflow_access_wanted,
    mlflow_permissions_api,
    mlflow_users_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    mlflow_access,
    mlflow_experiment,
    mlflow_registered_model,
)

PASSWORD = "a-fine-passphrase"
USERS = [f"u{number}" for number in range(4)]
EXPERIMENTS = ["access one", "access two", "other"]
MODELS = ["access-a", "access-b", "else"]
GROUPS = ["team", "others"]


@pytest.fixture
def dialect(client):
    return mlflow_permissions_api.dialect(client)


@pytest.fixture
def resources(run_module, server):
    for name in EXPERIMENTS:
        assert "failed" not in run_module(mlflow_experiment, server.connection | {"name": name})
    for name in MODELS:
        assert "failed" not in run_module(mlflow_registered_model, server.connection | {"name": name})


@pytest.fixture
def empty(run_module, server, resources):
    """Nobody but the admin, before and after."""

    def clear():
        absent = [{"name": name, "state": "absent"} for name in USERS]
        gone = [{"name": name, "state": "absent"} for name in GROUPS]
        done = run_module(mlflow_access, server.connection | {"users": absent, "groups": gone})
        assert "failed" not in done, done["msg"]

    clear()
    yield
    clear()


def users(*names, **more):
    return [{"name": name, "password": f"{PASSWORD} of {name}", **more} for name in names]


def works(client, name, password):
    return mlflow_users_api.password_works(client, name, password)


def state(live):
    """What of a server can be compared: no numbers that only the server gives."""

    def plain(grants):
        return {(grant.resource, grant.permission) for grant in grants}

    people = {name: (user.is_admin, plain(user.grants)) for name, user in live.users.items()}
    roles = {
        name: (role.description, plain(role.grants), set(role.members)) for name, role in (live.roles or {}).items()
    }
    return people, roles


def test_a_team_from_the_first_day_to_the_last(quartet, run_module, server, client, dialect, empty):
    declared = {
        "users": [*users("u0", "u1"), *users("u2", admin=True)],
        "groups": [{"name": "team", "members": ["u0", "u1"], "description": "all"}],
        "grants": [
            {"group": "team", "experiment": "access *", "permission": "EDIT"},
            {"user": "u0", "experiment": "access one", "permission": "MANAGE"},
            {"user": "u1", "registered_model": "access-a", "permission": "READ"},
        ],
    }
    made = quartet(mlflow_access, declared)
    assert made["summary"]["create_user"] == 3 and made["summary"]["set_admin"] == 1
    assert all(works(client, name, f"{PASSWORD} of {name}") for name in ("u0", "u1", "u2"))
    u0 = dialect.read_users(["u0"])["u0"]
    own = sorted(grant.permission for grant in u0.grants)
    assert own == (["MANAGE"] if dialect.has_roles else ["EDIT", "MANAGE"]), "the strongest counts"

    changed = quartet(
        mlflow_access,
        {
            "prune": "listed",
            "users": [{"name": "u0"}, {"name": "u1", "password": "another passphrase", "update_password": "always"}],
            "groups": [{"name": "team", "members": ["u0"]}],
            "grants": [{"group": "team", "experiment": "access one", "permission": "READ"}],
        },
    )
    assert changed["summary"]["set_password"] == 1
    assert works(client, "u1", "another passphrase") and not works(client, "u1", f"{PASSWORD} of u1")
    after = dialect.read_users(["u0", "u1", "u2"])
    assert after["u1"].grants == () and after["u2"].is_admin
    if not dialect.has_roles:
        assert [grant.permission for grant in after["u0"].grants] == ["READ"]

    if dialect.lists_users:
        everything = {"prune": "all", "protected": ["u*"]}
        kept = run_module(mlflow_access, server.connection | everything, check=True)
        assert not {change.get("user") for change in kept["changes"]} & set(USERS)
        pruned = quartet(mlflow_access, {"prune": "all", "users": [{"name": "u0"}]})
        assert {"u1", "u2"} <= {change.get("user") for change in pruned["changes"]}
        assert set(dialect.read_users(None)) == {"admin", "u0"}


def test_refusals_change_nothing(run_module, server, client, dialect, empty):
    run_module(mlflow_access, server.connection | {"users": users("u0")})
    before = dialect.read_users(USERS)
    grant = {"user": "u0", "experiment": "access one", "permission": "READ"}
    unknown = "DENY" if server.version in ("2.18.0", "3.12.0") else "NO_PERMISSIONS"
    refusals = [
        ({"users": users("a:b")}, "holds a colon"),
        ({"users": users("a\tb")}, "control character"),
        ({"users": users("u1", "u1")}, "'u1' is there twice"),
        ({"users": [{"name": "u1", "password": "password"}]}, "MLflow was shipped with"),
        ({"users": [{"name": "u1"}]}, "'u1' does not exist and has no password"),
        ({"users": [{"name": "admin", "state": "absent"}]}, "nobody may delete themselves"),
        ({"users": [{"name": "admin", "admin": False}]}, "would lock itself out"),
        ({"groups": [{"name": "team", "members": ["nobody"]}]}, "neither in users nor on the server"),
        ({"groups": [{"name": "__user_1__"}]}, "as MLflow's own roles do"),
        ({"grants": [grant | {"user": "nobody"}]}, "neither in users nor on the server"),
        ({"grants": [grant | {"experiment": "acces one"}]}, "did you mean 'access one'"),
        ({"grants": [grant | {"group": "team"}]}, "needs exactly one of user and group"),
        ({"grants": [{"user": "u0", "registered_model": "access-c", "permission": "READ"}]}, "did you mean"),
        ({"grants": [{"user": "u0", "experiment_id": "4711", "permission": "READ"}]}, "no active experiment"),
        ({"grants": [grant, grant | {"permission": "EDIT"}]}, "is to have READ and EDIT on experiment"),
        ({"grants": [grant | {"permission": unknown}]}, f"MLflow {server.version} cannot grant {unknown}"),
        ({"grants": [{"group": "nowhere", "experiment": "other", "permission": "READ"}]}, "is not in groups"),
        ({"max_parallel": 0}, "give 1 or more"),
        ({"progress_path": "/no/such/folder/file"}, "its folder does not exist"),
        ({"password": "not the password"}, "401"),
        ({"username": "u0", "password": f"{PASSWORD} of u0"}, "'u0' is not an admin"),
    ]
    if server.version != "2.18.0":
        refusals.append(({"users": [{"name": "u1", "password": "short"}]}, "wants at least 12"))
    if not dialect.lists_users:
        refusals.append(({"prune": "all"}, "cannot list its users"))
    for options, reason in refusals:
        # Something that could be done beside what cannot.
        beside = {"users": users("u3")} if "users" not in options else {}
        refused = run_module(mlflow_access, server.connection | beside | options)
        assert refused.get("failed") and reason in refused["msg"], (options, refused)
        assert refused["changes"] == [] and "\n" not in refused["msg"]
        assert PASSWORD not in refused["msg"] and "short'" not in refused["msg"]
    assert dialect.read_users(USERS) == before


def test_what_failed_half_way_is_finished_by_the_next_run(
    run_module, server, client, dialect, empty, monkeypatch, tmp_path
):
    """Somebody else creates a user after the module has looked."""
    progress = tmp_path / "progress"
    grants = [{"user": name, "experiment": "access one", "permission": "READ"} for name in ("u0", "u1", "u2")]
    wanted = {"users": users("u0", "u1", "u2"), "grants": grants, "max_parallel": 1, "progress_path": str(progress)}
    look = mlflow_access_apply.look

    def look_and_be_overtaken(*arguments):
        live = look(*arguments)
        client.call("POST", "users/create", body={"username": "u1", "password": PASSWORD})
        return live

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_access_apply, "look", look_and_be_overtaken)
        failed = run_module(mlflow_access, server.connection | wanted)
    assert failed["failed"] and failed["changed"] and "RESOURCE_ALREADY_EXISTS" in failed["msg"]
    assert failed["changes"] == [{"action": "create_user", "user": "u0"}]
    assert set(dialect.read_users(USERS)) == {"u0", "u1"}

    done = run_module(mlflow_access, server.connection | wanted)
    assert done["summary"] == {"create_user": 1, "grant": 3}
    assert progress.read_text().startswith("4 of 4 changes")


def random_state(rng, permissions):
    """Options of the module for some state of a small world."""
    declared = [
        {
            "name": name,
            "password": f"{PASSWORD} {rng.randrange(2)} of {name}",
            "update_password": rng.choice(["on_create", "always"]),
            **rng.choice([{}, {}, {"admin": True}, {"admin": False}]),
        }
        if rng.random() < 0.75
        else {"name": name, "state": "absent"}
        for name in USERS
    ]
    present = [one["name"] for one in declared if "state" not in one]
    groups = [
        {
            "name": name,
            "members": [user for user in present if rng.random() < 0.5],
            **rng.choice([{}, {"description": rng.choice("ab")}]),
        }
        if rng.random() < 0.7
        else {"name": name, "state": "absent"}
        for name in GROUPS
    ]
    holders = [{"user": name} for name in present]
    holders += [{"group": one["name"]} for one in groups if "state" not in one]
    grants = []
    for holder in holders:
        for _number in range(rng.randrange(4)):
            kind, names = rng.choice([("experiment", EXPERIMENTS), ("registered_model", MODELS)])
            resource = {kind: rng.choice([*names, "access*", "*"])}
            permission = {"permission": rng.choice(permissions)} if rng.random() < 0.9 else {"state": "absent"}
            grants.append({**holder, **resource, **permission})
    prune = rng.choice(["none", "listed"])
    return {"users": declared, "groups": groups, "grants": grants, "prune": prune}


def read_live(client, dialect, options):
    wanted = mlflow_access_wanted.read({"update_password": "on_create", "protected": [], "max_parallel": 4, **options})
    passwords = {one["name"]: one["password"] for one in options["users"] if "password" in one}
    return wanted, mlflow_access_apply.look(client, dialect, wanted, passwords, 4)


def filled(options):
    """With the defaults that the module would fill in."""
    return options | {
        kind: [{"state": "present", **one} for one in options[kind]] for kind in ("users", "groups", "grants")
    }


def pair_holds(run_module, server, client, dialect, rng):
    """Go to some state, then to another: as predicted, as planned, and no further. False if the pair contradicts
    itself."""
    for _step in range(2):
        options = random_state(rng, dialect.permissions)
        predicted = run_module(mlflow_access, server.connection | options, check=True)
        if predicted.get("failed"):
            assert "keep one of them" in predicted["msg"], predicted["msg"]
            return False
        wanted, live = read_live(client, dialect, filled(options))
        target, problems, _warnings = mlflow_access_target.resolve(wanted, live)
        changes, more = mlflow_access_plan.plan(wanted, target, live, "admin")
        assert not problems and not more
        done = run_module(mlflow_access, server.connection | options)
        assert "failed" not in done, done["msg"]
        assert done["changes"] == predicted["changes"] and done["diff"] == predicted["diff"]
        again = run_module(mlflow_access, server.connection | options)
        assert again["changes"] == [] and not again["changed"]
        _wanted, now = read_live(client, dialect, filled(options))
        assert state(now) == state(mlflow_access_plan.predict(live, changes))
    return True


def pairs_hold(count, seed, *arguments):
    rng, held = random.Random(seed), 0
    while held < count:
        held += pair_holds(*arguments, rng)


def test_pairs_of_states(run_module, server, client, dialect, empty):
    pairs_hold(4, 20261123, run_module, server, client, dialect)


@pytest.mark.long
def test_many_pairs_of_states(run_module, server, client, dialect, empty):
    pairs_hold(160, 4711, run_module, server, client, dialect)
