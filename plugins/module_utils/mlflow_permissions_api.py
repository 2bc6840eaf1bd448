# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Permissions on a server, in the dialect that it speaks: permissions of single resources up to MLflow 3.12, grants and
roles from 3.13 on. Both are mlflow/server/auth; every change is one request."""

from __future__ import annotations

import concurrent.futures
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_permissions,
    mlflow_users_api,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import API, API_3, Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import (
    EXPERIMENT,
    REGISTERED_MODEL,
    WORKSPACE,
    Grant,
    Resource,
    RoleAccess,
    UserAccess,
)


def dialect(client: Client) -> Dialect:
    """The dialect of the server, told by its version: one request."""
    version = mlflow_users_api.version(client)
    parsed = mlflow_versions.parse(version)
    if version is None or parsed is None:
        raise ValueError(
            f"tracking_uri: {client.base} does not tell a version of MLflow at /version; check host, port, prefix and"
            " the login"
        )
    return (Grants if parsed >= mlflow_versions.GRANTS else PerResource)(client, version)


class Dialect:
    """What both dialects have. Methods may be called from several threads."""

    has_roles = False

    def __init__(self, client: Client, version: str) -> None:
        self.client, self.version = client, version
        self.lists_users = (mlflow_versions.parse(version) or (0, 0)) >= mlflow_versions.LISTS_USERS
        self.permissions = mlflow_versions.permissions(version)

    def problem(self, permission: str) -> str | None:
        """Why this server cannot grant that; None if it can."""
        return mlflow_permissions.permission_problem(permission, self.version)

    def read_users(self, names: t.Iterable[str] | None, workers: int = 1) -> dict[str, UserAccess]:
        """The users of these names that exist, by name; None reads all, ValueError where the server cannot list."""
        raise NotImplementedError

    def set_permission(self, username: str, resource: Resource, permission: str, current: Grant | None) -> None:
        """Grant `permission` in the place of `current`."""
        raise NotImplementedError

    def remove_permission(self, username: str, grant: Grant) -> None:
        """Take a grant of the user's own away; one that is gone already is fine."""
        raise NotImplementedError

    def _list(self) -> list[dict[str, t.Any]]:
        if not self.lists_users:
            raise ValueError(f"MLflow {self.version} cannot list its users (3.10 and newer can); name the users")
        return self.client.call("GET", "users/list").get("users") or []

    def _gone(self, method: str, path: str, body: dict[str, t.Any], api: str = API) -> None:
        try:
            self.client.call(method, path, body=body, repeatable=True, api=api)
        except MlflowError as error:
            # The first try was done after all, or someone else was faster: it is gone either way.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


class PerResource(Dialect):
    """Up to 3.12: experiments/permissions and registered-models/permissions."""

    _PATHS = {
        EXPERIMENT: ("experiments/permissions", "experiment_id"),
        REGISTERED_MODEL: ("registered-models/permissions", "name"),
    }

    def read_users(self, names: t.Iterable[str] | None, workers: int = 1) -> dict[str, UserAccess]:
        if names is None:
            names = [str(user["username"]) for user in self._list()]
        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            found = list(pool.map(self._read, dict.fromkeys(names)))
        return {user.username: user for user in found if user is not None}

    def _read(self, username: str) -> UserAccess | None:
        try:
            answer = self.client.call("GET", "users/get", query={"username": username})
        except MlflowError as error:
            if error.status == 404 and error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return mlflow_permissions.user_of_resources(answer["user"])

    def set_permission(self, username: str, resource: Resource, permission: str, current: Grant | None) -> None:
        path, key = self._PATHS[resource.type]
        body = {"username": username, key: resource.id, "permission": permission}
        if current is None:
            self.client.call("POST", f"{path}/create", body=body)
        else:
            self.client.call("PATCH", f"{path}/update", body=body, repeatable=True)

    def remove_permission(self, username: str, grant: Grant) -> None:
        path, key = self._PATHS[grant.resource.type]
        self._gone("DELETE", f"{path}/delete", {"username": username, key: grant.resource.id})


class Grants(Dialect):
    """From 3.13 on: a grant is a permission of a role; a user's own are in a role that the server keeps for it."""

    has_roles = True

    def read_users(self, names: t.Iterable[str] | None, workers: int = 1) -> dict[str, UserAccess]:
        users = {user.username: user for user in map(mlflow_permissions.user_of_roles, self._list())}
        return users if names is None else {name: users[name] for name in names if name in users}

    def set_permission(self, username: str, resource: Resource, permission: str, current: Grant | None) -> None:
        if current is not None:
            self._update(current, permission)
            return
        body = {"username": username, "resource_type": resource.type, "resource_id": resource.id}
        self.client.call("POST", "users/permissions/grant", body={**body, "permission": permission}, api=API_3)

    def remove_permission(self, username: str, grant: Grant) -> None:
        body = {"username": username, "resource_type": grant.resource.type, "resource_id": grant.resource.id}
        self._gone("POST", "users/permissions/revoke", body, API_3)

    def read_roles(self, users: t.Mapping[str, UserAccess] | None = None) -> dict[str, RoleAccess]:
        """All roles but the server's own, by name. `users`, all of them, spare a request where they are known."""
        members: dict[str, list[str]] = {}
        for user in (self.read_users(None) if users is None else users).values():
            for name in user.roles:
                members.setdefault(name, []).append(user.username)
        answer = self.client.call("GET", "roles/list", query={"workspace": WORKSPACE}, api=API_3)
        roles = [one for one in answer.get("roles") or [] if not mlflow_permissions.is_own_role(str(one["name"]))]
        return {
            str(one["name"]): mlflow_permissions.role_of_answer(one, sorted(members.get(str(one["name"]), [])))
            for one in roles
        }

    def create_role(self, name: str, description: str = "") -> RoleAccess:
        body = {"name": name, "workspace": WORKSPACE, "description": description}
        return mlflow_permissions.role_of_answer(self.client.call("POST", "roles/create", body=body, api=API_3)["role"])

    def update_role(self, role: RoleAccess, description: str) -> None:
        body = {"role_id": role.role_id, "description": description}
        self.client.call("PATCH", "roles/update", body=body, repeatable=True, api=API_3)

    def delete_role(self, role: RoleAccess) -> None:
        self._gone("DELETE", "roles/delete", {"role_id": role.role_id}, API_3)

    def assign(self, username: str, role: RoleAccess) -> None:
        self.client.call("POST", "roles/assign", body={"username": username, "role_id": role.role_id}, api=API_3)

    def unassign(self, username: str, role: RoleAccess) -> None:
        self._gone("DELETE", "roles/unassign", {"username": username, "role_id": role.role_id}, API_3)

    def set_role_permission(self, role: RoleAccess, resource: Resource, permission: str, current: Grant | None) -> None:
        if current is not None:
            self._update(current, permission)
            return
        body = {"role_id": role.role_id, "resource_type": resource.type, "resource_pattern": resource.id}
        self.client.call("POST", "roles/permissions/add", body={**body, "permission": permission}, api=API_3)

    def remove_role_permission(self, role: RoleAccess, grant: Grant) -> None:
        self._gone("DELETE", "roles/permissions/remove", {"role_permission_id": grant.grant_id}, API_3)

    def _update(self, grant: Grant, permission: str) -> None:
        body = {"role_permission_id": grant.grant_id, "permission": permission}
        self.client.call("PATCH", "roles/permissions/update", body=body, repeatable=True, api=API_3)
