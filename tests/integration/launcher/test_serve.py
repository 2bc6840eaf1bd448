# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`serve`: it starts without a race, serves as `mlflow server` would, drains, and leaves nothing behind."""
from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/0/drain.bin"


def two_at_once(launcher_of: Callable, version: str) -> None:
    launcher = launcher_of(version)
    launcher.migrate()
    servers = [launcher.serve(LAUNCHER_WORKERS="2") for _unused in range(2)]
    for server in servers:
        server.wait_until_healthy()
    for server in servers:
        for _unused in range(8):
            assert server.request("/api/2.0/mlflow/experiments/search?max_results=5")[0] == 200
    for server in servers:
        server.stop()
        assert server.group_is_empty()
        assert "Traceback" not in server.log.read_text()


def test_two_servers_started_at_once_do_not_race(launcher_of: Callable, version: str):
    two_at_once(launcher_of, version)


@pytest.mark.long
@pytest.mark.parametrize("attempt", range(5))
def test_two_servers_started_at_once_do_not_race_five_times(launcher_of: Callable, version: str, attempt: int):
    two_at_once(launcher_of, version)


def slow_upload(port: int, password: str, body: bytes, seconds: float) -> bytes:
    """Send half of an artifact, wait, send the other half; answer what the server says."""
    login = base64.b64encode(f"admin:{password}".encode()).decode()
    head = (f"PUT {ARTIFACT} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Basic {login}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:len(body) // 2])
        time.sleep(seconds)
        connection.sendall(body[len(body) // 2:])
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def answers(port: int) -> bool:
    """Whether a new connection gets an answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return bool(connection.recv(1))
    except OSError:
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopping_server_finishes_its_requests(launcher_of: Callable, version: str, workers: str):
    launcher = launcher_of(version)
    launcher.migrate()
    server = launcher.serve(LAUNCHER_WORKERS=workers)
    server.wait_until_healthy()
    body = b"0123456789abcdef" * 65536
    with ThreadPoolExecutor() as pool:
        upload = pool.submit(slow_upload, server.port, server.password, body, 5)
        time.sleep(2)
        start = time.monotonic()
        server.process.terminate()
        time.sleep(1)
        assert not answers(server.port), "it still takes new connections"
        assert upload.result().split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    server.process.wait(20)
    print(f"{version}, {workers} workers: drained in {time.monotonic() - start:.1f} s")
    assert time.monotonic() - start < 15
    assert server.group_is_empty()
    stored = list((launcher.folder / "artifacts").rglob("drain.bin"))
    assert [path.read_bytes() == body for path in stored] == [True]


def test_authentication_is_on_and_the_middleware_too(launcher_of: Callable, version: str):
    launcher = launcher_of(version)
    launcher.migrate()
    server = launcher.serve(
        LAUNCHER_ALLOWED_HOSTS="mlflow.example,127.0.0.1:*", LAUNCHER_CORS_ORIGINS="https://mlflow.example")
    server.wait_until_healthy()
    search = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert server.request(search)[0] == 200
    assert server.request(search, username=None)[0] == 401
    for password in ("password", "password1234", "wrong-password"):
        assert server.request(search, password=password)[0] == 401
    wrong_host = server.request(search, headers={"Host": "evil.example"})[0]
    assert wrong_host == (403 if version.startswith("3.") else 200)
    if version.startswith("3."):
        create = "/api/2.0/mlflow/experiments/create"
        headers = {"Content-Type": "application/json", "Origin": "https://evil.example"}
        assert server.request(create, method="POST", body=b'{"name": "x"}', headers=headers)[0] == 403
        headers["Origin"] = "https://mlflow.example"
        assert server.request(create, method="POST", body=b'{"name": "x"}', headers=headers)[0] == 200
        jobs = server.request("/ajax-api/3.0/jobs/", method="POST", body=b"{}", username=None)
        assert jobs[0] in (401, 403, 404, 405)


def test_no_secret_in_arguments_or_log(launcher_of: Callable, version: str):
    launcher = launcher_of(version)
    launcher.migrate()
    server = launcher.serve()
    server.wait_until_healthy()
    server.request("/api/2.0/mlflow/experiments/search?max_results=1")
    secrets = [value for name, value in launcher.environment.items() if name.endswith(("_PASSWORD", "_KEY"))]
    arguments = Path(f"/proc/{server.process.pid}/cmdline").read_text()
    environment = Path(f"/proc/{server.process.pid}/environ").read_text()
    assert len(secrets) == 3 and not any(secret in arguments + server.log.read_text() for secret in secrets)
    assert "LAUNCHER_" not in environment and launcher.environment["LAUNCHER_ADMIN_PASSWORD"] not in environment


# Runs `mlflow server` up to the point where it starts the real server, and prints what it would start that with.
PROBE = """
import json, sys
import mlflow.server
def stop(command, *, extra_env, **_):
    print("PROBE" + json.dumps({"command": command, "environment": extra_env}), flush=True)
    sys.exit(0)
mlflow.server._exec_cmd = stop
from mlflow.cli import cli
cli(["server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", "5000", "--workers", "3"])
"""


def test_the_server_is_started_as_mlflow_server_would(launcher_of: Callable, version: str):
    """What a new MLflow adds to its workers' environment must be seen here."""
    launcher = launcher_of(version)
    launcher.migrate()
    server = launcher.serve(LAUNCHER_WORKERS="3")
    server.wait_until_healthy()
    entries = Path(f"/proc/{server.process.pid}/environ").read_text().split("\0")
    ours = dict(entry.split("=", 1) for entry in entries if entry)
    public = {name: value for name, value in ours.items() if not name.startswith("_MLFLOW")}
    public |= {"MLFLOW_BACKEND_STORE_URI": ours["_MLFLOW_SERVER_FILE_STORE"],
               "MLFLOW_ARTIFACTS_DESTINATION": ours["_MLFLOW_SERVER_ARTIFACT_DESTINATION"]}
    done = subprocess.run([str(launcher.python), "-c", PROBE], env=public, capture_output=True, text=True,
                          timeout=120, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("PROBE")), None)
    assert line, done.stdout + done.stderr
    theirs = json.loads(line.removeprefix("PROBE"))
    varying = {"_MLFLOW_SERVER_BOOT_ID"}
    # A worker that does not know that the admin exists looks; the cache of gateway secrets is left at its defaults.
    not_needed = {"_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED", "MLFLOW_SERVER_SECRETS_CACHE_TTL",
                  "MLFLOW_SERVER_SECRETS_CACHE_MAX_SIZE"}
    for name, value in theirs["environment"].items():
        if name not in varying | not_needed:
            assert ours.get(name) == value, name
    assert varying & set(theirs["environment"]) <= set(ours)
    known = set(theirs["environment"])
    assert {name for name in ours if name.startswith("_MLFLOW")} <= known
    arguments = Path(f"/proc/{server.process.pid}/cmdline").read_text().split("\0")
    # Unless clients are to reach S3, the same under another name.
    assert theirs["command"][-1].replace("mlflow.server.auth:", "launcher_proxied:") in arguments
    assert ("uvicorn" in arguments) == ("uvicorn" in theirs["command"])
