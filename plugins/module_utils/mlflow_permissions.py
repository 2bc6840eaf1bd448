# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what, in words that both generations of MLflow's permission API share. Everything here is pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_versions

EXPERIMENT, REGISTERED_MODEL = "experiment", "registered_model"
# Every permission of any version, weakest first.
PERMISSIONS = ("DENY", "NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE")
# Names that begin like this are the server's: it keeps a user's own grants in the role __user_<id>__.
RESERVED_ROLES = "__user_"
# Roles live in workspaces; without the feature there is this one, and requests that name none mean it.
WORKSPACE = "default"

_OWN_ROLE = re.compile(r"^__user_\d+__$")


class Resource(t.NamedTuple):
    """type: experiment or registered_model, or another that a server with roles knows. id: number of the experiment as
    text, name of the model, or * on a server with roles."""

    type: str
    id: str


class Grant(t.NamedTuple):
    """grant_id: role_permission_id where the server has one."""

    resource: Resource
    permission: str
    grant_id: int | None = None


class UserAccess(t.NamedTuple):
    """A user with the grants of its own; `roles` names the others that it has."""

    username: str
    user_id: int | None
    is_admin: bool
    grants: tuple[Grant, ...] = ()
    roles: tuple[str, ...] = ()


class RoleAccess(t.NamedTuple):
    name: str
    role_id: int | None
    description: str = ""
    grants: tuple[Grant, ...] = ()
    members: tuple[str, ...] = ()


def grant_on(grants: t.Iterable[Grant], resource: Resource) -> Grant | None:
    return next((grant for grant in grants if grant.resource == resource), None)


def strongest(permissions: t.Iterable[str]) -> str:
    """What several permissions on one resource come to: DENY wins, else the strongest (MLflow's own rule)."""
    known = list(permissions)
    return "DENY" if "DENY" in known else max(known, key=PERMISSIONS.index)


def is_own_role(name: str) -> bool:
    return _OWN_ROLE.match(name) is not None


def permission_problem(permission: str, version: str) -> str | None:
    """Why a server of this version does not take the permission for a grant; None if it does."""
    known = mlflow_versions.permissions(version)
    if permission in known:
        return None
    instead = {"NO_PERMISSIONS": "DENY", "DENY": "NO_PERMISSIONS"}.get(permission)
    advice = f"use {instead}" if instead in known else "remove the grant" if instead else "use one of these"
    return f"MLflow {version} cannot grant {permission}; it knows {', '.join(known)}; {advice}"


# --- what the servers answer -----------------------------------------------------------------------------------------


def user_of_resources(user: t.Mapping[str, t.Any]) -> UserAccess:
    """From users/get of a server up to 3.12, which lists the user's permissions."""
    grants = [
        Grant(Resource(EXPERIMENT, str(one["experiment_id"])), str(one["permission"]))
        for one in user.get("experiment_permissions") or []
    ]
    grants += [
        Grant(Resource(REGISTERED_MODEL, str(one["name"])), str(one["permission"]))
        for one in user.get("registered_model_permissions") or []
    ]
    return UserAccess(str(user["username"]), user.get("id"), bool(user.get("is_admin")), tuple(grants))


def user_of_roles(user: t.Mapping[str, t.Any]) -> UserAccess:
    """From users/list of a server from 3.13 on, which lists the user's roles with what they grant.

    It lists those of all workspaces, where the same model and role names may be in use again: a grant of another
    workspace taken for one of this would be changed there."""
    roles = [one for one in user.get("roles") or [] if one.get("workspace", WORKSPACE) == WORKSPACE]
    own = [one for one in roles if is_own_role(str(one["name"]))]
    grants = tuple(grant for one in own for grant in role_grants(one))
    names = tuple(str(one["name"]) for one in roles if not is_own_role(str(one["name"])))
    return UserAccess(str(user["username"]), user.get("id"), bool(user.get("is_admin")), grants, names)


def role_grants(role: t.Mapping[str, t.Any]) -> tuple[Grant, ...]:
    return tuple(
        Grant(Resource(str(one["resource_type"]), str(one["resource_pattern"])), str(one["permission"]), int(one["id"]))
        for one in role.get("permissions") or []
    )


def role_of_answer(role: t.Mapping[str, t.Any], members: t.Iterable[str] = ()) -> RoleAccess:
    return RoleAccess(
        str(role["name"]), int(role["id"]), str(role.get("description") or ""), role_grants(role), tuple(members)
    )
