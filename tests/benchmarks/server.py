# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what settings make of the server, through the load balancer: python -m tests.benchmarks.server [--version 3.17.2 2.18.0].

Each row is a deployment of its own size; rates are requests answered a second, the median of the rounds, and the first row of a version,
the server as MLflow comes, is what the others are set against.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import statistics
import threading
import time
import typing as t
import urllib.parse

from tests.benchmarks.runs import Account, account

CLIENTS = 8
ARTIFACT = b"\x00" * 4 * 1024**2
CACHE, WORKERS, TASKS, POOL = "ecs_mlflow_auth_cache_ttl_seconds", "mlflow_workers", "ecs_mlflow_desired_count", "preflight_db_pool_size"
ROWS: list[dict[str, int]] = [
    {CACHE: 0, WORKERS: 2, TASKS: 1, POOL: 5},
    {CACHE: 60, WORKERS: 2, TASKS: 1, POOL: 5},
    {CACHE: 60, WORKERS: 1, TASKS: 1, POOL: 5},
    {CACHE: 60, WORKERS: 4, TASKS: 1, POOL: 5},
    {CACHE: 60, WORKERS: 2, TASKS: 1, POOL: 1},
    {CACHE: 60, WORKERS: 2, TASKS: 2, POOL: 5},
]
Request = t.Tuple[str, str, bytes, str]


class Server:
    """A deployment's server and its admin."""

    def __init__(self, uri: str, login: tuple[str, str]) -> None:
        parts = urllib.parse.urlsplit(uri)
        self._address = parts.hostname or "", parts.port or 80
        self._authorization = "Basic " + base64.b64encode(":".join(login).encode()).decode()

    def ask(self, connection: http.client.HTTPConnection, request: Request) -> bytes:
        method, path, body, kind = request
        connection.request(method, path, body, {"Authorization": self._authorization, "Content-Type": kind})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, f"{method} {path}: {answer.status} {content[:200]!r}"
        return content

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=120)

    def api(self, path: str, document: dict) -> dict:
        return json.loads(self.ask(self.connect(), api_request(path, document)))

    def rate(self, request: Request, seconds: float) -> float:
        """Requests answered a second by so many clients that never pause."""
        answered, deadline = [0] * CLIENTS, time.monotonic() + seconds

        def client(place: int) -> None:
            connection = self.connect()
            while time.monotonic() < deadline:
                self.ask(connection, request)
                answered[place] += 1

        threads = [threading.Thread(target=client, args=(place,)) for place in range(CLIENTS)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(answered), "a client got no answer"
        return sum(answered) / (time.monotonic() - started)


def api_request(path: str, document: dict) -> Request:
    return "POST", f"/api/2.0/mlflow/{path}", json.dumps(document).encode(), "application/json"


def measured(one: Account, seconds: float, rounds: int) -> dict[str, float]:
    server = Server(one.outputs()["tracking_uri"], one.admin())
    run = server.api("runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
    metrics = [{"key": f"m{place}", "value": 0.5, "timestamp": 1, "step": 1} for place in range(10)]
    requests = {
        "search": api_request("experiments/search", {"max_results": 10}),
        "log-batch": api_request("runs/log-batch", {"run_id": run, "metrics": metrics}),
        "4 MiB up": ("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a", ARTIFACT, "application/octet-stream"),
    }
    # Workers start one by one, and a cache is warm when each of them has seen the login.
    server.rate(requests["search"], seconds)
    return {name: statistics.median(server.rate(request, seconds) for _round in range(rounds)) for name, request in requests.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", nargs="+", default=["3.17.2", "2.18.0"])
    parser.add_argument("--seconds", type=float, default=10, help="how long each rate is measured")
    parser.add_argument("--rounds", type=int, default=5, help="how often; the median counts")
    chosen = parser.parse_args()
    print("version  cache s  workers  tasks  pool   search/s   ratio  log-batch/s   ratio  4 MiB up/s   ratio")
    for version in chosen.version:
        with account() as one:
            first: dict[str, float] = {}
            for row in ROWS:
                one.play("site", "-e", json.dumps({"mlflow_version": version, **row}))
                rates = measured(one, chosen.seconds, chosen.rounds)
                first = first or rates
                shown = "  ".join(f"{rate:>10.1f}  {rate / first[name]:>5.1f}x" for name, rate in rates.items())
                print(f"{version:<8} {row[CACHE]:>6} {row[WORKERS]:>8} {row[TASKS]:>6} {row[POOL]:>5}  {shown}", flush=True)


if __name__ == "__main__":
    main()
