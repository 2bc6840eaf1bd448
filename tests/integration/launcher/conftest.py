# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher run as the container runs it: `python -c <source> serve|migrate`, on a real PostgreSQL and MLflow."""
from __future__ import annotations

import base64
import itertools
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.postgres import Postgres, free_port

SOURCE = (Path(__file__).resolve().parents[3] / "roles" / "ecs_mlflow" / "files" / "launcher.py").read_text()
ADMIN_PASSWORD = "correct-horse-battery"


class Server:
    """A served MLflow and its process group."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, password: str) -> None:
        self.process, self.port, self.log, self.password = process, port, log, password

    def request(self, path: str, *, method: str = "GET", body: bytes | None = None, password: str | None = None,
                username: str | None = "admin", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Answer status and body; `username=None` sends no credentials."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, method=method, data=body, headers=headers or {})
        if username is not None:
            login = f"{username}:{self.password if password is None else password}"
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def wait_until_healthy(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"exit code {self.process.returncode}:\n{self.log.read_text()}"
            try:
                if self.request("/health", username=None)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"not healthy in {seconds} s:\n{self.log.read_text()}")

    def stop(self, seconds: float = 60) -> None:
        self.process.terminate()
        self.process.wait(seconds)

    def group_is_empty(self, seconds: float = 3) -> bool:
        """Whether no process of the group is left, soon: Python's resource tracker ends just after its parent."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)


class Launcher:
    """Starts launchers of one MLflow version on one pair of databases."""

    def __init__(self, version: str, python: Path, postgres: Postgres, database: str, folder: Path) -> None:
        self.version, self.python, self.database, self.folder = version, python, database, folder
        self.environment = {
            "PATH": f"{python.parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LAUNCHER_MLFLOW_VERSION": version,
            "LAUNCHER_DB_HOST": postgres.host,
            "LAUNCHER_DB_PORT": str(postgres.port),
            "LAUNCHER_DB_NAME": database,
            "LAUNCHER_AUTH_DB_NAME": f"{database}_auth",
            "LAUNCHER_DB_USERNAME": postgres.username,
            "LAUNCHER_DB_PASSWORD": postgres.password,
            "LAUNCHER_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "LAUNCHER_SERVER_KEY": "0123456789abcdef0123456789abcdef",
            "LAUNCHER_ARTIFACT_ROOT": str(folder / "artifacts"),
            "LAUNCHER_HOST": "127.0.0.1",
            "LAUNCHER_WORKERS": "1",
        }
        self._numbers = itertools.count()
        self.servers: list[Server] = []

    def start(self, command: str, **changes: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"{command.replace(' ', '-')}-{next(self._numbers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.python), "-c", SOURCE, *command.split()], env=self.environment | changes, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        return process, log

    def run(self, command: str, **changes: str) -> tuple[int, str]:
        """Answer exit code and log."""
        process, log = self.start(command, **changes)
        try:
            code = process.wait(180)
        finally:
            process.kill()
        return code, log.read_text()

    def migrate(self, **changes: str) -> str:
        code, log = self.run("migrate", **changes)
        assert code == 0, log
        return log

    def serve(self, **changes: str) -> Server:
        port = free_port()
        process, log = self.start("serve", LAUNCHER_PORT=str(port), **changes)
        server = Server(process, port, log, changes.get("LAUNCHER_ADMIN_PASSWORD", ADMIN_PASSWORD))
        self.servers.append(server)
        return server

    def end(self) -> None:
        for server in self.servers:
            if not server.group_is_empty(0):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(10)


@pytest.fixture
def launcher_of(postgres_server: Postgres, mlflow_env: Callable[[str], Path],
                tmp_path: Path) -> Iterator[Callable[..., Launcher]]:
    """`launcher_of("3.17.2")` starts launchers on an empty database, `launcher_of("3.17.2", "name")` on that one."""
    made: list[Launcher] = []
    databases: set[str] = set()

    def make(version: str, database: str | None = None) -> Launcher:
        name = database or f"t{version.replace('.', '')}_{len(databases)}"
        if name not in databases:
            postgres_server.drop_database(f"{name}_auth")
            postgres_server.create_database(name)
            databases.add(name)
        launcher = Launcher(version, mlflow_env(version) / "bin" / "python", postgres_server, name, tmp_path)
        made.append(launcher)
        return launcher

    yield make
    for launcher in made:
        launcher.end()
    for name in databases:
        postgres_server.drop_database(name)
        postgres_server.drop_database(f"{name}_auth")


@pytest.fixture(params=["2.18.0", "3.17.2"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param
