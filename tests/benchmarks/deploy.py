# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure site.yml on an empty local AWS: make benchmark, or python -m tests.benchmarks.deploy [--scale 0 0.1].

For each scale of the modelled AWS creation times (0: none, 1: as slow as AWS) it prints the wall time of a first and of a second run,
the number of tasks, the API calls by read and write, and the ratio of the first run's wall time to the longest chain of modelled waits.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from local_aws.latency import Latency
from local_aws.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

# What must happen one after the other on AWS: the database, then the task that prepares it, then the service's tasks.
LONGEST_CHAIN = ("rds_create", "task_start", "ecs_service_create", "task_start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def longest_chain(scale: float) -> float:
    """Seconds of modelled waits that no playbook can avoid."""
    latency = Latency(Settings.from_environment({"LOCAL_AWS_LATENCY_SCALE": str(scale)}))
    return sum(latency.duration(kind) for kind in LONGEST_CHAIN)


def play(environment: dict[str, str], output: Path) -> tuple[float, int]:
    """Wall seconds of one run and the number of tasks in it."""
    started = time.monotonic()
    command = ["ansible-playbook", "playbooks/site.yml", "-e", f"mlflow_deployments_directory={output}"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(run.stdout[-4000:])
    return time.monotonic() - started, run.stdout.count("\nTASK [")


def measure(scale: float) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state")
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LOCAL_AWS_PORT": str(free_port()),
            "LOCAL_AWS_DIR": str(state),
            "LOCAL_AWS_LATENCY_SCALE": str(scale),
        }
        local_aws = [sys.executable, "-m", "local_aws"]
        subprocess.run([*local_aws, "up"], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        try:
            runs = []
            seen = 0
            for name in ("first run", "second run"):
                seconds, tasks = play(environment, Path(folder))
                calls = [json.loads(line) for line in (state / "api.jsonl").read_text().splitlines()]
                control = [one for one in calls[seen:] if not one.get("data_plane")]
                seen = len(calls)
                writes = sum(one["kind"] == "write" for one in control)
                runs.append({"run": name, "seconds": seconds, "tasks": tasks, "reads": len(control) - writes, "writes": writes})
            return {"scale": scale, "runs": runs, "chain": longest_chain(scale)}
        finally:
            subprocess.run([*local_aws, "down"], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, nargs="+", default=[0.0, 0.25], help="scales of AWS's creation times")
    print(f"{'scale':>6} {'run':<11} {'seconds':>8} {'tasks':>6} {'reads':>6} {'writes':>7} {'chain s':>8} {'ratio':>6}")
    for scale in parser.parse_args().scale:
        result = measure(scale)
        for run in result["runs"]:
            first = run["run"] == "first run" and result["chain"]
            ratio = f"{run['seconds'] / result['chain']:.2f}" if first else "-"
            print(
                f"{scale:>6} {run['run']:<11} {run['seconds']:>8.1f} {run['tasks']:>6} {run['reads']:>6} {run['writes']:>7}"
                f" {result['chain']:>8.1f} {ratio:>6}",
                flush=True,
            )


if __name__ == "__main__":
    main()
