# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of conftest.py with what only a verification asks for: web pages, permissions, uploads in parts."""

from __future__ import annotations

import typing as t
from urllib.parse import unquote

from .conftest import ARTIFACTS, HttpServer, LikeMlflow, Reply, Request, json_reply, refusal

API = "/api/2.0/mlflow/"
MPU = "/api/2.0/mlflow-artifacts/mpu/"
PAGE = (
    b'<!doctype html><html><head><title>MLflow</title><script defer src="static-files/static/js/main.1.js"></script>'
    b'<link href="static-files/static/css/main.2.css" rel="stylesheet"></head><body></body></html>'
)
RANK = {"NO_PERMISSIONS": 0, "READ": 1, "EDIT": 2}


class Verified(LikeMlflow):
    """default_permission as in basic_auth.ini; in 3.13 and newer it is the least that everybody has. uploads: open
    ones, upload id -> part -> bytes. offers_parts: whether uploads in parts are offered."""

    def __init__(self, http: HttpServer, version: str = "3.17.2") -> None:
        super().__init__(http, version)
        self.default_permission = "NO_PERMISSIONS"
        self.offers_parts = True
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.ui: dict[str, Reply] = {
            "/": Reply(200, PAGE, {"Content-Type": "text/html; charset=utf-8"}),
            "/static-files/static/css/main.2.css": Reply(200, b"body {}", {"Content-Type": "text/css; charset=utf-8"}),
            "/static-files/static/js/main.1.js": Reply(200, b"1;", {"Content-Type": "text/javascript"}),
        }

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/s3/") and request.path not in self.override:
            assert "authorization" not in request.headers
            self.uploads[request.query["id"]][int(request.query["part"])] = request.data
            return Reply(200, b"", {"ETag": f'"{request.query["part"]}"'})
        known = not self.auth or self.knows(request.login)
        if known and request.path not in self.override:
            if request.path in self.ui:
                return self.ui[request.path]
            if request.path.startswith(MPU):
                return self.parts(request)
            if self.auth and not self.may(request):
                return Reply(403, b"Permission denied")
        return super().answer(request)

    def may(self, request: Request) -> bool:
        user = self.users[request.login[0]]
        if user["is_admin"]:
            return True
        needed = {"experiments/get": "READ", "runs/get": "READ", "runs/set-tag": "EDIT"}.get(request.path[len(API) :])
        if request.path.startswith(ARTIFACTS):
            needed = "EDIT" if request.method == "PUT" else "READ"
        granted = [permission for _kind, _key, permission in user.get("grants", [])]
        ranks = [RANK[one] for one in granted] or [RANK[self.default_permission]]
        if self.new:
            ranks.append(RANK[self.default_permission])
        return needed is None or max(ranks) >= RANK[needed]

    def runs_set_tag(self, request: Request, asked: dict) -> Reply:
        self.runs[asked["run_id"]]["data"]["tags"].append({"key": asked["key"], "value": asked["value"]})
        return json_reply({})

    def parts(self, request: Request) -> Reply:
        act, _slash, folder = request.path[len(MPU) :].partition("/")
        asked = request.json
        if not self.offers_parts:
            unsupported = "Multipart upload is not supported for the current artifact repository"
            return refusal(501, "NOT_IMPLEMENTED", unsupported)
        if act == "create":
            upload = f"upload-{len(self.uploads)}"
            self.uploads[upload] = {}
            credentials = [
                {"url": f"{self.http.url}/s3/x?id={upload}&part={number}", "part_number": number, "headers": {}}
                for number in range(1, asked["num_parts"] + 1)
            ]
            return json_reply({"upload_id": upload, "credentials": credentials})
        if asked["upload_id"] not in self.uploads:
            return refusal(500, "INTERNAL_ERROR", "NoSuchUpload")
        parts = self.uploads.pop(asked["upload_id"])
        if act == "complete":
            content = b"".join(parts[one["part_number"]] for one in asked["parts"])
            self.artifacts[f"{unquote(folder)}/{asked['path']}"] = content
        return json_reply({})


class Dialect:
    """Permissions of a Verified server, in place of mlflow_permissions_api.dialect(client)."""

    def __init__(self, server: Verified) -> None:
        self.server = server
        self.lists_users = self.has_roles = server.new

    def set_permission(self, username: str, resource: t.Any, permission: str, current: t.Any) -> None:
        assert current is None and resource.type == "experiment"
        user = self.server.users[username]
        user.setdefault("grants", []).append((resource.type, resource.id, permission))
        user["permissions"].append(("e", resource.id))

    def remove_permission(self, username: str, grant: t.Any) -> None:
        assert not self.has_roles
        self.server.users[username]["permissions"].remove(("e", grant.resource.id))

    def read_users(self, names: t.Any) -> dict[str, t.Any]:
        assert names is None and self.lists_users
        return dict.fromkeys(self.server.users)
