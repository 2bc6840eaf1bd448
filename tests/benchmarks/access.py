# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure mlflow_access on real servers: PYTHONPATH=playbooks/collections python -m tests.benchmarks.access --help

For each version of MLflow, on PostgreSQL, it prints of a first apply, of a run without changes and of its check mode:
seconds, changes, requests, requests for each change, and the peak memory of the module's process.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.request
from pathlib import Path

from tests.integration.conftest import build_mlflow_environment
from tests.integration.plugins.conftest import ADMIN_PASSWORD, AUTH_INI, PREPARE, start, stop, wait_for
from tests.integration.postgres import Postgres, free_port

ROOT = Path(__file__).resolve().parents[2]
MODULE = "ansible_collections.mlops.mlflow_aws.plugins.modules.mlflow_access"
# As the product sets it; MLflow 2 takes no notice.
CACHE_SECONDS = 60


class Run(t.NamedTuple):
    seconds: float
    changes: int
    requests: int
    megabytes: float


def run_module(options: dict[str, t.Any], folder: Path) -> Run:
    """One run of the module in a process of its own."""
    arguments = folder / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}), encoding="utf-8")
    started = time.monotonic()
    with (folder / "result.json").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", MODULE, str(arguments)], stdout=out, cwd=ROOT)
        _pid, status, usage = os.wait4(process.pid, 0)
    # Popen must not wait for what has been waited for.
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if result.get("failed"):
        sys.exit(f"{result['msg']} (after {len(result.get('changes', []))} changes and {seconds:.0f} s)")
    return Run(seconds, len(result["changes"]), result["requests"], usage.ru_maxrss / 1024)


def make_experiments(url: str, count: int) -> None:
    login = base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
    for number in range(count):
        body = json.dumps({"name": f"experiment {number:03}"}).encode()
        request = urllib.request.Request(f"{url}/api/2.0/mlflow/experiments/create", body, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()


def wanted(users: int, experiments: int, grants: int) -> dict[str, t.Any]:
    """Options for so many users, with the grants spread over users and experiments."""
    names = [f"user-{number:04}" for number in range(users)]
    permissions = ("READ", "EDIT", "MANAGE")
    return {
        "users": [{"name": name, "password": f"a password of {name}"} for name in names],
        "grants": [
            {
                "user": names[number % users],
                "experiment": f"experiment {(number % users + number // users) % experiments:03}",
                "permission": permissions[number % len(permissions)],
            }
            for number in range(grants)
        ],
    }


def start_server(version: str, workers: int, postgres: Postgres, folder: Path) -> tuple[subprocess.Popen, str]:
    """(process, address) of a server on empty databases."""
    login = f"{postgres.username}:{postgres.password}@{postgres.host}:{postgres.port}"
    uris = []
    for name in ("tracking", "auth"):
        database = f"{name}_{version.replace('.', '_')}"
        postgres.create_database(database)
        uris.append(f"postgresql+psycopg2://{login}/{database}")
    python, port = build_mlflow_environment(version) / "bin" / "python", free_port()
    ini, log = folder / "ini", folder / "log"
    password = ADMIN_PASSWORD.replace("%", "%%")
    ini.write_text(AUTH_INI.format(uri=uris[1], password=password, cache=CACHE_SECONDS), encoding="utf-8")
    environment = os.environ | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-a-benchmark",
        "MLFLOW_BACKEND_STORE_URI": uris[0],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    # Empty databases are prepared by one process alone; several race.
    if version.startswith("2."):
        subprocess.run([str(python), "-c", PREPARE, uris[0]], check=True, env=environment, capture_output=True)
    options = ["--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port)]
    command = [str(python), "-m", "mlflow", "server", *options, "--artifacts-destination", str(folder / "artifacts")]
    url = f"http://127.0.0.1:{port}"
    for count in sorted({1, workers}):
        process = start([*command, "--workers", str(count)], log, env=environment, cwd=folder)
        wait_for(f"{url}/health", process, log)
        if count != workers:
            stop(process)
    return process, url


def measure(version: str, sizes: argparse.Namespace) -> t.Iterator[tuple[str, Run]]:
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        # The server of PostgreSQL may run as another user.
        folder.chmod(0o755)
        postgres = Postgres(folder / "postgres", 0)
        postgres.start()
        try:
            process, url = start_server(version, sizes.workers, postgres, folder)
            try:
                make_experiments(url, sizes.experiments)
                connection = {"tracking_uri": url, "username": "admin", "password": ADMIN_PASSWORD, "timeout": 120}
                options = connection | wanted(sizes.users, sizes.experiments, sizes.grants)
                options["max_parallel"] = sizes.max_parallel
                yield "first apply", run_module(options, folder)
                yield "no change", run_module(options, folder)
                yield "check mode", run_module(options | {"_ansible_check_mode": True}, folder)
            finally:
                stop(process)
        finally:
            postgres.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", nargs="+", default=["3.17.2", "2.18.0"], help="versions of MLflow")
    for name, default, of_what in (
        ("users", 1000, "users"),
        ("experiments", 100, "experiments"),
        ("grants", 5000, "grants to users, at most users x experiments"),
        ("max-parallel", 4, "requests at a time"),
        ("workers", 2, "workers of the server"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"number of {of_what}")
    sizes = parser.parse_args()
    print(
        f"{sizes.users} users, {sizes.experiments} experiments, {sizes.grants} grants,"
        f" {sizes.max_parallel} requests at a time, {sizes.workers} workers"
    )
    print(f"{'MLflow':<8} {'run':<12} {'seconds':>8} {'changes':>8} {'requests':>9} {'a change':>9} {'peak MB':>8}")
    for version in sizes.versions:
        for name, run in measure(version, sizes):
            ratio = f"{run.requests / run.changes:.3f}" if run.changes else "-"
            print(
                f"{version:<8} {name:<12} {run.seconds:>8.1f} {run.changes:>8} {run.requests:>9} {ratio:>9}"
                f" {run.megabytes:>8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
