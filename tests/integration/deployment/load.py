# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that ask an MLflow server for something from its database, or for its health, all the time."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
import typing as t
import urllib.error
import urllib.request


class Load:
    """`with Load(uri, login, clients, pause):` counts the requests and keeps what went wrong, one line each.

    Each client sends one request every `pause` seconds, and makes up for answers that came late. `probes` are clients more
    that ask for the health, which costs no password hash: MLflow without a cache of passwords answers 5 requests a second
    on two cores.
    """

    def __init__(self, uri: str, login: tuple[str, str], clients: int = 2, pause: float = 0.1, probes: int = 0) -> None:
        search = urllib.request.Request(
            f"{uri}/api/2.0/mlflow/experiments/search",
            json.dumps({"max_results": 1}).encode(),
            {"Content-Type": "application/json",
             "Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()},
        )  # fmt: skip
        health = urllib.request.Request(f"{uri}/health")
        self._pause = pause
        self._over = threading.Event()
        self._lock = threading.Lock()
        asked = [(search, b'"experiments"')] * clients + [(health, b"OK")] * probes
        self._threads = [
            threading.Thread(target=self._ask, args=(*one, pause * number / len(asked)), daemon=True) for number, one in enumerate(asked, 1)
        ]
        self._began = self._ended = 0.0
        self.sent = self.searches = 0
        self.failures: list[str] = []

    @classmethod
    def twenty_a_second(cls, uri: str, login: tuple[str, str], version: str) -> Load:
        """All of them searches, but from MLflow 2: for its health, beside as many searches as four clients are answered."""
        return cls(uri, login, clients=4 if version.startswith("2.") else 8, pause=0.4, probes=8 if version.startswith("2.") else 0)

    def __str__(self) -> str:
        seconds = (self._ended or time.monotonic()) - self._began
        return f"{self.sent} requests ({self.searches} searches) in {seconds:.0f} s, {self.sent / seconds:.1f} a second, {len(self.failures)} failed"

    def __enter__(self) -> Load:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: t.Any) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=90)
        self._ended = time.monotonic()

    def reach(self, count: int, timeout: float = 600) -> None:
        """Go on until so many requests were sent."""
        deadline = time.monotonic() + timeout
        while self.sent < count:
            assert time.monotonic() < deadline, f"{self.sent} of {count} requests after {timeout:.0f} s"
            time.sleep(0.2)

    def _ask(self, request: urllib.request.Request, expected: bytes, first: float) -> None:
        due = self._began + first
        while not self._over.wait(max(0.0, due - time.monotonic())):
            started, wrong = time.monotonic(), ""
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    content = answer.read()
                    assert expected in content, content
            except (OSError, http.client.HTTPException, AssertionError) as error:
                wrong = f"{time.strftime('%H:%M:%S')} {request.selector} after {time.monotonic() - started:.1f} s: {error!r}"
            due += self._pause
            with self._lock:
                self.sent += 1
                self.searches += request.data is not None
                self.failures += [wrong] if wrong else []
