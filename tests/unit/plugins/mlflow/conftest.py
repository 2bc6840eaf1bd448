# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real HTTP for unit tests: a server that answers what a test tells it, and one that behaves like MLflow with basic
authentication."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
import typing as t
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest


class Request(t.NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    data: bytes
    # All values of names that are given several times.
    several: dict[str, list[str]] = {}

    @property
    def json(self) -> t.Any:
        return json.loads(self.data)

    @property
    def login(self) -> tuple[str, str] | None:
        value = self.headers.get("authorization", "")
        if not value.startswith("Basic "):
            return None
        name, _colon, password = base64.b64decode(value[6:]).decode("utf-8").partition(":")
        return name, password


class Reply(t.NamedTuple):
    """delay in s before it; drip: s between its bytes; reset: cut the connection; promised: bytes more than are
    sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}
    delay: float = 0
    drip: float = 0
    reset: bool = False
    promised: int = 0
    garbage: bool = False


def json_reply(answer: t.Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})


class HttpServer:
    """Answers each request by `behave`, and remembers them all."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replies: list[Reply] = []
        self.behave: t.Callable[[Request], Reply] = lambda request: (
            self.replies.pop(0) if self.replies else Reply(500, b"nothing told")
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                several = parse_qs(parts.query, keep_blank_values=True)
                query = {key: values[0] for key, values in several.items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, parts.path, query, headers, self.rfile.read(length), several)
                outer.requests.append(request)
                self.reply(outer.behave(request))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def reply(self, reply: Reply) -> None:
                time.sleep(reply.delay)
                if reply.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                if reply.garbage:
                    self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + reply.promised))
                self.end_headers()
                if not reply.drip:
                    self.wfile.write(reply.body)
                for number in range(len(reply.body) if reply.drip else 0):
                    time.sleep(reply.drip)
                    self.wfile.write(reply.body[number : number + 1])

            def log_message(self, format: str, *args: t.Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: t.Any, client_address: t.Any) -> None:
                """Clients that go away in the middle are part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
HTML_404 = Reply(
    404,
    b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>",
    {"Content-Type": "text/html"},
)


def refusal(status: int, code: str, message: str) -> Reply:
    return json_reply({"error_code": code, "message": message}, status)


class LikeMlflow:
    """Users, runs and artifacts as MLflow 2.18 and 3.17 answer them (seen on real servers; the integration tests use
    those).

    `override`: path -> reply or function of the request, to misbehave. `calls`: (method, path) of what was written.
    """

    def __init__(self, http: HttpServer, version: str = "3.17.2") -> None:
        self.http = http
        self.version = version
        self.users: dict[str, dict[str, t.Any]] = {
            "admin": {"id": 1, "password": "the-admin-has-this-one", "is_admin": True, "permissions": []}
        }
        self.experiment = {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active"}
        self.artifact_uri = "mlflow-artifacts:/0/{run_id}/artifacts"
        self.runs: dict[str, dict[str, t.Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.auth = True
        self.override: dict[str, t.Any] = {}
        http.behave = self.answer

    @property
    def new(self) -> bool:
        return self.version.startswith("3")

    @property
    def calls(self) -> list[tuple[str, str]]:
        reads = ("/search", "/get")
        return [
            (one.method, one.path) for one in self.http.requests if one.method != "GET" and not one.path.endswith(reads)
        ]

    def answer(self, request: Request) -> Reply:
        path = request.path
        if path in self.override:
            told = self.override[path]
            reply = told(request) if callable(told) else told
            if reply is not None:
                return reply
        if path == "/health":
            return Reply(200, b"OK")
        if self.new and request.headers["host"].endswith(".invalid"):
            return Reply(403, b"Invalid Host header - possible DNS rebinding attack detected")
        if self.auth and not self.knows(request.login):
            return Reply(401, b"You are not authenticated.", {"WWW-Authenticate": 'Basic realm="mlflow"'})
        if path == "/version":
            return Reply(200, self.version.encode())
        if path.startswith(ARTIFACTS):
            return self.artifact(request)
        handler = getattr(self, path.replace("/api/2.0/mlflow/", "").replace("/", "_").replace("-", "_"), None)
        if handler is None or (path.startswith("/api/2.0/mlflow/users") and not self.auth):
            return HTML_404
        return handler(request, request.query if request.method == "GET" else request.json)

    def knows(self, login: tuple[str, str] | None) -> bool:
        return login is not None and self.users.get(login[0], {}).get("password") == login[1]

    def user(self, name: str) -> Reply:
        one = self.users[name]
        user = {"id": one["id"], "username": name, "is_admin": one["is_admin"]}
        if not self.new:
            user["experiment_permissions"] = [
                {"experiment_id": key, "permission": "READ"} for kind, key in one["permissions"] if kind == "e"
            ]
            user["registered_model_permissions"] = [
                {"name": key, "permission": "READ"} for kind, key in one["permissions"] if kind == "m"
            ]
        return json_reply({"user": user})

    def missing(self, name: str) -> Reply | None:
        return (
            None
            if name in self.users
            else refusal(404, "RESOURCE_DOES_NOT_EXIST", f"User with username={name} not found")
        )

    def users_get(self, request: Request, asked: dict) -> Reply:
        if asked["username"] != request.login[0] and not self.users[request.login[0]]["is_admin"]:
            return Reply(403, b"Permission denied")
        return self.missing(asked["username"]) or self.user(asked["username"])

    def users_create(self, request: Request, asked: dict) -> Reply:
        if asked["username"] in self.users:
            detail = (
                "Error: (sqlite3.IntegrityError) UNIQUE [SQL: INSERT] [parameters: ('x',"
                " 'scrypt:32768:8:1$salt$hash', 0)]"
            )
            return refusal(
                400, "RESOURCE_ALREADY_EXISTS", f"User (username={asked['username']}) already exists. {detail}"
            )
        if self.new and len(asked["password"]) < 12:
            return refusal(400, "INVALID_PARAMETER_VALUE", "Password must be at least 12 characters.")
        number = max(one["id"] for one in self.users.values()) + 1
        self.users[asked["username"]] = {
            "id": number,
            "password": asked["password"],
            "is_admin": False,
            "permissions": [],
        }
        return self.user(asked["username"])

    def users_update_password(self, request: Request, asked: dict) -> Reply:
        if self.new and asked["username"] == request.login[0] and asked.get("current_password") != request.login[1]:
            return refusal(
                400, "INVALID_PARAMETER_VALUE", "Current password is required when changing your own password."
            )
        self.users[asked["username"]]["password"] = asked["password"]
        return json_reply({})

    def users_update_admin(self, request: Request, asked: dict) -> Reply:
        self.users[asked["username"]]["is_admin"] = asked["is_admin"]
        return json_reply({})

    def users_delete(self, request: Request, asked: dict) -> Reply:
        absent = self.missing(asked["username"])
        if absent:
            return absent
        if not self.new and self.users[asked["username"]]["permissions"]:
            return refusal(400, "BAD_REQUEST", "(psycopg2.errors.NotNullViolation) null value in column user_id")
        del self.users[asked["username"]]
        return json_reply({})

    def _remove_permission(self, kind: str, name: str, key: str) -> Reply:
        permissions = self.users[name]["permissions"]
        if (kind, key) not in permissions:
            return refusal(404, "RESOURCE_DOES_NOT_EXIST", "no such permission")
        permissions.remove((kind, key))
        return json_reply({})

    def experiments_permissions_delete(self, request: Request, asked: dict) -> Reply:
        return self._remove_permission("e", asked["username"], asked["experiment_id"])

    def registered_models_permissions_delete(self, request: Request, asked: dict) -> Reply:
        return self._remove_permission("m", asked["username"], asked["name"])

    def experiments_search(self, request: Request, asked: dict) -> Reply:
        return json_reply({"experiments": [self.experiment]})

    def experiments_get(self, request: Request, asked: dict) -> Reply:
        return json_reply({"experiment": self.experiment})

    def experiments_get_by_name(self, request: Request, asked: dict) -> Reply:
        if asked["experiment_name"] != self.experiment["name"]:
            return refusal(
                404, "RESOURCE_DOES_NOT_EXIST", f"Could not find experiment with name {asked['experiment_name']}"
            )
        return self.experiments_get(request, asked)

    def runs_create(self, request: Request, asked: dict) -> Reply:
        return json_reply({"run": self.add_run(asked["tags"], asked["start_time"])})

    def add_run(self, tags: list, start_time: int) -> dict:
        run_id = uuid.uuid4().hex
        uri = self.artifact_uri.format(run_id=run_id)
        info = {"run_id": run_id, "artifact_uri": uri, "start_time": start_time, "lifecycle_stage": "active"}
        self.runs[run_id] = {"info": info, "data": {"tags": list(tags)}}
        return self.runs[run_id]

    def runs_log_batch(self, request: Request, asked: dict) -> Reply:
        data = self.runs[asked["run_id"]]["data"]
        for kind in ("metrics", "params", "tags"):
            data[kind] = data.get(kind, []) + asked[kind]
        return json_reply({})

    def runs_get(self, request: Request, asked: dict) -> Reply:
        return json_reply({"run": self.runs[asked["run_id"]]})

    def runs_search(self, request: Request, asked: dict) -> Reply:
        assert asked["filter"] == "tags.mlflow_health LIKE '%'"
        active = [run for run in self.runs.values() if run["info"]["lifecycle_stage"] == "active"]
        found = [run for run in active if any(tag["key"] == "mlflow_health" for tag in run["data"]["tags"])]
        # MLflow leaves an empty list out.
        return json_reply({"runs": found} if found else {})

    def runs_delete(self, request: Request, asked: dict) -> Reply:
        self.runs[asked["run_id"]]["info"]["lifecycle_stage"] = "deleted"
        return json_reply({})

    def artifact(self, request: Request) -> Reply:
        path = unquote(request.path[len(ARTIFACTS) :]).strip("/")
        if request.method == "PUT":
            self.artifacts[path] = request.data
            return json_reply({})
        if request.method == "DELETE":
            self.artifacts = {name: data for name, data in self.artifacts.items() if not name.startswith(path)}
            return json_reply({})
        if not path:
            files = [{"path": name} for name in self.artifacts if name.startswith(request.query["path"])]
            return json_reply({"files": files} if files else {})
        return (
            Reply(200, self.artifacts[path])
            if path in self.artifacts
            else refusal(404, "RESOURCE_DOES_NOT_EXIST", "no such artifact")
        )


@pytest.fixture
def http() -> t.Iterator[HttpServer]:
    server = HttpServer()
    yield server
    server.close()


@pytest.fixture(params=["2.18.0", "3.17.2"])
def mlflow(request: pytest.FixtureRequest, http: HttpServer) -> LikeMlflow:
    return LikeMlflow(http, request.param)


@pytest.fixture
def connection(http: HttpServer) -> dict[str, t.Any]:
    """Options that reach `http` as admin."""
    return {
        "tracking_uri": http.url,
        "username": "admin",
        "password": "the-admin-has-this-one",
        "timeout": 5,
        "retry_timeout": 2,
    }


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between tries are short; the list receives what they would have been."""
    from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client

    pauses: list[float] = []
    real_sleep = time.sleep

    class Clock:
        """The client's view of time only: the server of the tests keeps the real one."""

        monotonic = staticmethod(time.monotonic)
        time = staticmethod(time.time)

        @staticmethod
        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            real_sleep(0.001)

    monkeypatch.setattr(mlflow_client, "time", Clock)
    return pauses
