# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that ask an MLflow server for something from its database, all the time."""

from __future__ import annotations

import base64
import json
import threading
import time
import typing as t
import urllib.error
import urllib.request


class Load:
    """`with Load(uri, login, clients, pause):` counts the requests and keeps what went wrong, one line each."""

    def __init__(self, uri: str, login: tuple[str, str], clients: int = 2, pause: float = 0.1) -> None:
        self._request = urllib.request.Request(
            f"{uri}/api/2.0/mlflow/experiments/search",
            json.dumps({"max_results": 1}).encode(),
            {"Content-Type": "application/json",
             "Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()},
        )  # fmt: skip
        self._pause = pause
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _client in range(clients)]
        self.sent = 0
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: t.Any) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=90)

    def reach(self, count: int, timeout: float = 600) -> None:
        """Go on until so many requests were sent."""
        deadline = time.monotonic() + timeout
        while self.sent < count:
            assert time.monotonic() < deadline, f"{self.sent} of {count} requests after {timeout:.0f} s"
            time.sleep(0.2)

    def _ask(self) -> None:
        while not self._over.wait(self._pause):
            started, wrong = time.monotonic(), ""
            try:
                with urllib.request.urlopen(self._request, timeout=60) as answer:
                    assert "experiments" in json.load(answer)
            except (OSError, ValueError, AssertionError) as error:
                wrong = f"{time.strftime('%H:%M:%S')} after {time.monotonic() - started:.1f} s: {error!r}"
            with self._lock:
                self.sent += 1
                self.failures += [wrong] if wrong else []
