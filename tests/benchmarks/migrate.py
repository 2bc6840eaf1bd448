# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a migration: PYTHONPATH=playbooks/collections python -m tests.benchmarks.migrate --help

A file store that MLflow 2.18.0 serves is copied to two empty servers of MLflow 3.17.2 on PostgreSQL with basic authentication: by the role
migrate, and by mlflow-export-import as it is on the Python package index. It prints seconds, runs a second and what arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from tests.benchmarks.access import start_server
from tests.integration.conftest import _uv, build_mlflow_environment
from tests.integration.plugins.migration import playbook
from tests.integration.plugins.migration.conftest import seed, serve
from tests.integration.plugins.conftest import ADMIN_PASSWORD, stop
from tests.integration.postgres import Postgres

SOURCE, DESTINATION = "2.18.0", "3.17.2"
THEIRS = "mlflow-export-import==1.2.0"


class Arrived(t.NamedTuple):
    seconds: float
    problem: str


def ours(source: str, target: str, folder: Path, compare: str, parallel: int) -> tuple[Arrived, dict[str, t.Any]]:
    """The whole play, looking and comparing included, and its report."""
    report = folder / "report.json"
    given = {
        "migrate_source_tracking_uri": source, "migrate_tracking_uri": target, "migrate_username": "admin",
        "migrate_password": ADMIN_PASSWORD, "migrate_compare": compare, "migrate_report_path": str(report),
        "migrate_max_parallel": parallel,
    }  # fmt: skip
    began = time.monotonic()
    done = playbook.run(folder, given, seconds=7200)
    seconds = time.monotonic() - began
    found = json.loads(report.read_text()) if report.exists() else {}
    return Arrived(seconds, "" if done.returncode == 0 else done.stdout[-2000:]), found


def theirs(source: str, target: str, folder: Path) -> Arrived:
    """export-all from the source, import-all to the destination."""
    environment = folder / "export-import"
    subprocess.run([_uv(), "venv", "--quiet", "--python", "3.11", str(environment)], check=True)
    # It imports pkg_resources, which newer setuptools have not, and tabulate, which it does not ask for.
    packages = [THEIRS, f"mlflow=={SOURCE}", "sqlalchemy<2.1", "setuptools<80", "tabulate"]
    subprocess.run(
        [_uv(), "pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), *packages], check=True
    )
    login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN_PASSWORD}
    began = time.monotonic()
    for command, uri, option in (("export-all", source, "--output-dir"), ("import-all", target, "--input-dir")):
        done = subprocess.run(
            [str(environment / "bin" / command), option, str(folder / "exported")], check=False, text=True,
            env=os.environ | login | {"MLFLOW_TRACKING_URI": uri}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        (folder / f"{command}.log").write_text(done.stdout, encoding="utf-8")
        if done.returncode:
            return Arrived(time.monotonic() - began, f"{command} ends with {done.returncode}: {done.stdout[-600:]}")
    return Arrived(time.monotonic() - began, "")


def totals(url: str, login: bool) -> dict[str, t.Any]:
    """What a server holds."""
    options = {
        "tracking_uri": url,
        "detail": "content",
        **({"username": "admin", "password": ADMIN_PASSWORD} if login else {}),
    }
    module = "ansible_collections.mlops.mlflow_aws.plugins.modules.mlflow_content_info"
    done = subprocess.run(
        [sys.executable, "-m", module], input=json.dumps({"ANSIBLE_MODULE_ARGS": options}), text=True, capture_output=True,
        cwd=playbook.ROOT, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["totals"]


def tell(name: str, arrived: Arrived, runs: int, found: dict[str, t.Any]) -> None:
    rate = f"{runs / arrived.seconds:.1f} runs/s"
    counts = ", ".join(
        f"{found[key]} {key}"
        for key in ("experiments", "runs", "metrics", "params", "artifacts", "registered_models", "versions")
    )
    print(f"{name:<32} {arrived.seconds:>7.1f} s  {rate:>12}  {counts}", flush=True)
    if arrived.problem:
        print(f"  {arrived.problem}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default, of_what in (
        ("experiments", 50, "number of experiments"),
        ("runs", 40, "runs of each experiment"),
        ("values", 100, "values of metrics of each run"),
        ("megabytes", 1024, "megabytes of artifacts in all"),
        ("models", 20, "registered models, of three versions each"),
        ("parallel", 4, "runs that the role carries at a time"),
        ("workers", 2, "workers of each server"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=of_what)
    asked = parser.parse_args()
    sizes = (asked.experiments, asked.runs, asked.values, asked.megabytes, asked.models)
    runs = asked.experiments * asked.runs
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        # The server of PostgreSQL may run as another user.
        folder.chmod(0o755)
        mlflow = build_mlflow_environment(SOURCE)
        for name in ("source", "ours", "theirs"):
            (folder / name).mkdir()
        seed(str(folder / "source" / "mlruns"), mlflow, folder / "source", sizes)
        source, serving = serve(SOURCE, mlflow, folder / "source", files=True, workers=asked.workers)
        started = [serving]
        try:
            tell("held by the source", Arrived(1, ""), runs, totals(source.url, login=False))
            for name in ("ours", "theirs"):
                postgres = Postgres(folder / name / "postgres", 0)
                postgres.start()
                try:
                    process, url = start_server(DESTINATION, asked.workers, postgres, folder / name)
                    started.append(process)
                    if name == "ours":
                        arrived, report = ours(source.url, url, folder / name, "none", asked.parallel)
                        tell("role migrate, whole play", arrived, runs, totals(url, login=True))
                        print(
                            f"  of which copying: {report.get('seconds')} s, {report.get('runs_per_second')} runs/s",
                            flush=True,
                        )
                        arrived, report = ours(source.url, url, folder / name, "hashes", asked.parallel)
                        tell("again, with all hashes compared", arrived, runs, totals(url, login=True))
                        print(
                            f"  {report.get('compared')} compared, {len(report.get('differences', []))} differ",
                            flush=True,
                        )
                    else:
                        arrived = theirs(source.url, url, folder / name)
                        tell(THEIRS, arrived, runs, totals(url, login=True))
                    stop(started.pop())
                finally:
                    postgres.stop()
        finally:
            for process in started:
                stop(process)


if __name__ == "__main__":
    main()
