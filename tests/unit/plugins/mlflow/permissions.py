# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments, models, permissions and roles as MLflow 2.18, 3.12, 3.13 and 3.17 answer them. The integration tests run the
same modules against those servers."""

from __future__ import annotations

import itertools
import typing as t

from .conftest import HTML_404, HttpServer, LikeMlflow, Reply, Request, json_reply, refusal


def exists(what: str) -> Reply:
    return refusal(400, "RESOURCE_ALREADY_EXISTS", f"{what} already exists")


def missing(what: str) -> Reply:
    return refusal(404, "RESOURCE_DOES_NOT_EXIST", f"{what} not found")


class LikeMlflowWithPermissions(LikeMlflow):
    def __init__(self, http: HttpServer, version: str = "3.17.2", page: int | None = None) -> None:
        super().__init__(http, version)
        self.numbers = itertools.count(1)
        self.page = page
        self.experiments: dict[str, dict[str, t.Any]] = {"0": self.experiment}
        self.models: dict[str, dict[str, t.Any]] = {}
        # (user or role ID, kind, ID of the resource) -> {"id", "permission"}
        self.grants: dict[tuple[t.Any, str, str], dict[str, t.Any]] = {}
        self.roles: dict[int, dict[str, t.Any]] = {}

    @property
    def minor(self) -> tuple[int, int]:
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def has_roles(self) -> bool:
        return self.minor >= (3, 13)

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/api/3.0/mlflow/"):
            if not self.knows(request.login) or not self.has_roles:
                return HTML_404
            name = request.path.replace("/api/3.0/mlflow/", "").replace("/", "_")
            return getattr(self, name)(request, request.query if request.method == "GET" else request.json)
        return super().answer(request)

    # --- resources ---------------------------------------------------------------------------------------------------

    def listed(self, key: str, found: list[dict], asked: dict) -> Reply:
        start = int(asked.get("page_token") or 0)
        end = start + (self.page or int(asked["max_results"]))
        token = {"next_page_token": str(end)} if end < len(found) else {}
        return json_reply({key: found[start:end], **token} if found else {})

    def experiments_search(self, request: Request, asked: dict) -> Reply:
        if "view_type" not in asked:
            return super().experiments_search(request, asked)
        found = [one for one in self.experiments.values() if one["lifecycle_stage"] == "active"]
        return self.listed("experiments", found, asked)

    def experiments_get_by_name(self, request: Request, asked: dict) -> Reply:
        named = [one for one in self.experiments.values() if one["name"] == asked["experiment_name"]]
        return json_reply({"experiment": named[0]}) if named else missing("experiment")

    def experiments_get(self, request: Request, asked: dict) -> Reply:
        one = self.experiments.get(asked["experiment_id"])
        return json_reply({"experiment": one}) if one else missing("experiment")

    def experiments_create(self, request: Request, asked: dict) -> Reply:
        number = str(next(self.numbers))
        location = asked.get("artifact_location") or f"mlflow-artifacts:/{number}"
        self.experiments[number] = {
            "experiment_id": number,
            "name": asked["name"],
            "artifact_location": location,
            "lifecycle_stage": "active",
            "tags": asked["tags"],
        }
        return json_reply({"experiment_id": number})

    def experiments_delete(self, request: Request, asked: dict) -> Reply:
        self.experiments[asked["experiment_id"]]["lifecycle_stage"] = "deleted"
        return json_reply({})

    def experiments_restore(self, request: Request, asked: dict) -> Reply:
        self.experiments[asked["experiment_id"]]["lifecycle_stage"] = "active"
        return json_reply({})

    def experiments_set_experiment_tag(self, request: Request, asked: dict) -> Reply:
        return self.tagged(self.experiments[asked["experiment_id"]], asked, asked["value"])

    def experiments_delete_experiment_tag(self, request: Request, asked: dict) -> Reply:
        return self.tagged(self.experiments[asked["experiment_id"]], asked, None)

    def tagged(self, owner: dict, asked: dict, value: str | None) -> Reply:
        kept = [tag for tag in owner.get("tags", []) if tag["key"] != asked["key"]]
        owner["tags"] = kept + ([] if value is None else [{"key": asked["key"], "value": value}])
        return json_reply({})

    def registered_models_search(self, request: Request, asked: dict) -> Reply:
        return self.listed("registered_models", list(self.models.values()), asked)

    def registered_models_get(self, request: Request, asked: dict) -> Reply:
        one = self.models.get(asked["name"])
        return json_reply({"registered_model": one}) if one else missing("model")

    def registered_models_create(self, request: Request, asked: dict) -> Reply:
        self.models[asked["name"]] = {**asked, "aliases": [], "versions": {"1", "2"} if "v" in asked["name"] else set()}
        self.models[asked["name"]]["versions"] = sorted(self.models[asked["name"]]["versions"])
        return json_reply({"registered_model": self.models[asked["name"]]})

    def registered_models_update(self, request: Request, asked: dict) -> Reply:
        self.models[asked["name"]]["description"] = asked["description"]
        return json_reply({})

    def registered_models_delete(self, request: Request, asked: dict) -> Reply:
        del self.models[asked["name"]]
        return json_reply({})

    def registered_models_set_tag(self, request: Request, asked: dict) -> Reply:
        return self.tagged(self.models[asked["name"]], asked, asked["value"])

    def registered_models_delete_tag(self, request: Request, asked: dict) -> Reply:
        return self.tagged(self.models[asked["name"]], asked, None)

    def registered_models_alias(self, request: Request, asked: dict) -> Reply:
        model = self.models[asked["name"]]
        model["aliases"] = [one for one in model["aliases"] if one["alias"] != asked["alias"]]
        if request.method == "POST":
            model["aliases"].append({"alias": asked["alias"], "version": asked["version"]})
        return json_reply({})

    def model_versions_get(self, request: Request, asked: dict) -> Reply:
        known = asked["version"] in self.models.get(asked["name"], {}).get("versions", [])
        return json_reply({"model_version": {}}) if known else missing("version")

    # --- permissions up to 3.12 --------------------------------------------------------------------------------------

    def user(self, name: str) -> Reply:
        one = self.users[name]
        user = {"id": one["id"], "username": name, "is_admin": one["is_admin"]}
        if not self.has_roles:
            keys = {"experiment": "experiment_id", "registered_model": "name"}
            for kind, key in keys.items():
                user[f"{kind}_permissions"] = [
                    {key: resource, "permission": grant["permission"]}
                    for (holder, of_kind, resource), grant in self.grants.items()
                    if holder == name and of_kind == kind
                ]
        return json_reply({"user": user})

    def users_delete(self, request: Request, asked: dict) -> Reply:
        name = asked["username"]
        mine = [key for key in self.grants if key[0] == name]
        if mine and not self.new:
            return refusal(400, "BAD_REQUEST", "(psycopg2.errors.NotNullViolation) null value in column user_id")
        for key in mine:
            del self.grants[key]
        for role in self.roles.values():
            role["members"].discard(name)
        return super().users_delete(request, asked)

    def set_grant(self, holder: t.Any, kind: str, resource: str, permission: str, new: bool) -> Reply:
        key = (holder, kind, resource)
        if new and key in self.grants:
            return exists("permission")
        if not new and key not in self.grants:
            return missing("permission")
        number = next(self.numbers) if new else self.grants[key]["id"]
        self.grants[key] = {"id": number, "permission": permission}
        return json_reply({})

    def _by_kind(self, kind: str, key: str, verb: str, asked: dict) -> Reply:
        if self.has_roles:
            return HTML_404
        holder = (asked["username"], kind, asked[key])
        if verb != "delete":
            return self.set_grant(*holder, asked["permission"], verb == "create")
        return json_reply({}) if self.grants.pop(holder, None) else missing("permission")

    def experiments_permissions_create(self, request: Request, asked: dict) -> Reply:
        return self._by_kind("experiment", "experiment_id", "create", asked)

    def experiments_permissions_update(self, request: Request, asked: dict) -> Reply:
        return self._by_kind("experiment", "experiment_id", "update", asked)

    def experiments_permissions_delete(self, request: Request, asked: dict) -> Reply:
        return self._by_kind("experiment", "experiment_id", "delete", asked)

    def registered_models_permissions_create(self, request: Request, asked: dict) -> Reply:
        return self._by_kind("registered_model", "name", "create", asked)

    def registered_models_permissions_update(self, request: Request, asked: dict) -> Reply:
        return self._by_kind("registered_model", "name", "update", asked)

    def registered_models_permissions_delete(self, request: Request, asked: dict) -> Reply:
        return self._by_kind("registered_model", "name", "delete", asked)

    # --- grants and roles from 3.13 on -------------------------------------------------------------------------------

    def permissions_of(self, holder: t.Any) -> list[dict]:
        return [
            {"id": grant["id"], "role_id": 0, "resource_type": kind, "resource_pattern": resource, **grant}
            for (of, kind, resource), grant in self.grants.items()
            if of == holder
        ]

    def users_list(self, request: Request, asked: dict) -> Reply:
        if self.minor < (3, 10):
            return HTML_404
        found = []
        for name, one in self.users.items():
            user: dict[str, t.Any] = {"id": one["id"], "username": name}
            if self.has_roles:
                own = {"name": f"__user_{one['id']}__", "id": 1000 + one["id"], "permissions": self.permissions_of(name)}
                others = [self.role(role) for role in self.roles.values() if name in role["members"]]
                user.update(is_admin=one["is_admin"], roles=[own, *others])
            found.append(user)
        return json_reply({"users": found})

    def users_permissions_grant(self, request: Request, asked: dict) -> Reply:
        return self.set_grant(
            asked["username"], asked["resource_type"], asked["resource_id"], asked["permission"], True
        )

    def users_permissions_revoke(self, request: Request, asked: dict) -> Reply:
        key = (asked["username"], asked["resource_type"], asked["resource_id"])
        return json_reply({}) if self.grants.pop(key, None) else missing("grant")

    def role(self, role: dict) -> dict:
        return {
            "id": role["id"],
            "name": role["name"],
            "workspace": "default",
            "description": role["description"],
            "permissions": self.permissions_of(role["id"]),
        }

    def roles_list(self, request: Request, asked: dict) -> Reply:
        own = {"name": "__user_1__", "id": 1001, "description": None, "permissions": []}
        return json_reply({"roles": [own, *map(self.role, self.roles.values())]})

    def roles_create(self, request: Request, asked: dict) -> Reply:
        if any(role["name"] == asked["name"] for role in self.roles.values()):
            return exists("role")
        number = next(self.numbers)
        self.roles[number] = {
            "id": number, "name": asked["name"], "description": asked["description"], "members": set()
        }  # fmt: skip
        return json_reply({"role": self.role(self.roles[number])})

    def roles_update(self, request: Request, asked: dict) -> Reply:
        self.roles[asked["role_id"]]["description"] = asked["description"]
        return json_reply({})

    def roles_delete(self, request: Request, asked: dict) -> Reply:
        if self.roles.pop(asked["role_id"], None) is None:
            return missing("role")
        self.grants = {key: grant for key, grant in self.grants.items() if key[0] != asked["role_id"]}
        return json_reply({})

    def roles_assign(self, request: Request, asked: dict) -> Reply:
        self.roles[asked["role_id"]]["members"].add(asked["username"])
        return json_reply({})

    def roles_unassign(self, request: Request, asked: dict) -> Reply:
        members = self.roles[asked["role_id"]]["members"]
        if asked["username"] not in members:
            return missing("assignment")
        members.discard(asked["username"])
        return json_reply({})

    def roles_permissions_add(self, request: Request, asked: dict) -> Reply:
        return self.set_grant(
            asked["role_id"], asked["resource_type"], asked["resource_pattern"], asked["permission"], True
        )

    def numbered(self, number: int) -> tuple | None:
        return next((key for key, grant in self.grants.items() if grant["id"] == number), None)

    def roles_permissions_update(self, request: Request, asked: dict) -> Reply:
        key = self.numbered(asked["role_permission_id"])
        return self.set_grant(*key, asked["permission"], False) if key else missing("permission")

    def roles_permissions_remove(self, request: Request, asked: dict) -> Reply:
        key = self.numbered(asked["role_permission_id"])
        if key is None:
            return missing("permission")
        del self.grants[key]
        return json_reply({})
