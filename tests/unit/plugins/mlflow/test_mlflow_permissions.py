# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both dialects of permissions: what answers mean, which versions grant what, and how many requests it takes."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_client,
    mlflow_permissions,
    mlflow_permissions_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import Grant, Resource
from hypothesis import given
from hypothesis import strategies as st

from .permissions import LikeMlflowWithPermissions

EXPERIMENT, MODEL = Resource("experiment", "0"), Resource("registered_model", "m")
VERSIONS = ["2.18.0", "3.12.0", "3.13.0", "3.17.2"]
WORKSPACES = st.sampled_from(["default", "other", "third"])


@pytest.fixture
def dialect(http, connection):
    def of(version):
        mlflow = LikeMlflowWithPermissions(http, version)
        mlflow.users["ada"] = {"id": 2, "password": "adas-fine-passphrase", "is_admin": False, "permissions": []}
        client = mlflow_client.Client(connection | {"validate_certs": True, "timeout": 5, "retry_timeout": 0})
        return mlflow_permissions_api.dialect(client)

    return of


def permitted(number, permission):
    return {"id": number, "resource_type": "registered_model", "resource_pattern": "m", "permission": permission}


def role(name, workspace, *permissions):
    return {"id": 1, "name": name, "workspace": workspace, "permissions": list(permissions)}


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_grant_in_another_workspace_is_not_taken_for_one_in_this():
    """As 3.17.2 with MLFLOW_ENABLE_WORKSPACES answers: each workspace has a role __user_2__ of its own."""
    roles = [
        role("__user_2__", "other", permitted(5, "READ")),
        role("__user_2__", "default", permitted(6, "EDIT")),
        role("team", "other"),
        role("readers", "default"),
    ]
    user = mlflow_permissions.user_of_roles({"id": 2, "username": "ada", "is_admin": False, "roles": roles})
    assert user.grants == (Grant(MODEL, "EDIT", 6),) and user.roles == ("readers",)


@given(st.lists(st.tuples(WORKSPACES, st.sampled_from(["__user_2__", "team"]), st.integers(1, 99))))
def test_what_is_told_of_a_user_is_told_of_this_workspace(listed):
    roles = [role(name, workspace, permitted(number, "READ")) for workspace, name, number in listed]
    user = mlflow_permissions.user_of_roles({"username": "ada", "roles": roles})
    here = [(name, number) for workspace, name, number in listed if workspace == "default"]
    assert [grant.grant_id for grant in user.grants] == [number for name, number in here if name != "team"]
    assert len(user.roles) == len([name for name, _number in here if name == "team"])


@pytest.mark.parametrize(
    ("name", "own"), [("__user_7__", True), ("__user_7", False), ("__user_x__", False), ("a__user_7__", False)]
)
def test_names_of_the_servers_own_roles(name, own):
    assert mlflow_permissions.is_own_role(name) is own


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("2.18.0", "NO_PERMISSIONS READ EDIT MANAGE"),
        ("3.8.1", "NO_PERMISSIONS READ EDIT MANAGE"),
        ("3.9.0", "NO_PERMISSIONS READ USE EDIT MANAGE"),
        ("3.12.0", "NO_PERMISSIONS READ USE EDIT MANAGE"),
        ("3.13.0", "READ USE EDIT MANAGE"),
        ("3.16.0", "READ USE EDIT MANAGE"),
        ("3.17.2", "DENY READ USE EDIT MANAGE"),
    ],
)
def test_what_a_version_grants(version, known):
    for permission in mlflow_permissions.PERMISSIONS:
        problem = mlflow_permissions.permission_problem(permission, version)
        assert (problem is None) == (permission in known.split())
        if problem:
            told = known.replace(" ", ", ")
            assert problem.startswith(f"MLflow {version} cannot grant {permission}; it knows {told}; ")


@pytest.mark.parametrize(
    ("permission", "version", "advice"),
    [
        ("NO_PERMISSIONS", "3.17.2", "use DENY"),
        ("DENY", "3.12.0", "use NO_PERMISSIONS"),
        ("NO_PERMISSIONS", "3.13.0", "remove the grant"),
        ("USE", "2.18.0", "use one of these"),
    ],
)
def test_what_to_use_instead(permission, version, advice):
    assert mlflow_permissions.permission_problem(permission, version).endswith(f"; {advice}")


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", [EXPERIMENT, MODEL])
def test_each_change_is_one_request(dialect, http, version, resource):
    spoken = dialect(version)

    def cost(call, *arguments):
        before = len(http.requests)
        call(*arguments)
        return len(http.requests) - before

    def own():
        return mlflow_permissions.grant_on(spoken.read_users(["ada"])["ada"].grants, resource)

    assert cost(spoken.set_permission, "ada", resource, "READ", None) == 1
    read = own()
    assert read.permission == "READ" and (read.grant_id is not None) == spoken.has_roles
    assert cost(spoken.set_permission, "ada", resource, "EDIT", read) == 1 and own().permission == "EDIT"
    assert cost(spoken.remove_permission, "ada", own()) == 1 and own() is None
    assert cost(spoken.remove_permission, "ada", read) == 1, "gone already is fine"


@pytest.mark.parametrize(("version", "requests"), [("3.12.0", 3), ("3.13.0", 1), ("3.17.2", 1)])
def test_reading_everybody(dialect, http, version, requests):
    """Up to 3.12 the list tells names only, and each of the two users is asked for."""
    spoken = dialect(version)
    before = len(http.requests)
    assert set(spoken.read_users(None)) == {"admin", "ada"} and len(http.requests) - before == requests


def test_reading_roles_costs_one_request_beside_the_users(dialect, http):
    spoken = dialect("3.17.2")
    spoken.assign("ada", spoken.create_role("team", "all"))
    users = spoken.read_users(None)
    before = len(http.requests)
    assert spoken.read_roles(users)["team"].members == ("ada",) and len(http.requests) - before == 1


def test_missing_users_are_left_out(dialect):
    for version in VERSIONS:
        assert set(dialect(version).read_users(["ada", "nobody"])) == {"ada"}
