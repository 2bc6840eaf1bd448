# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how fast the playbooks are, as ratios: make bench, or python -m tests.benchmarks.speed [overlap] [connection] [ten] [--times 5].

overlap     first run and teardown against the longest chain of modelled waits, with one database and with two (Multi-AZ), and the first
            run against the same playbook that waits for each thing before it starts the next
connection  without modelled waits: a first run, one that changes nothing, and check mode, under warm_local and under local
ten         ten deployments in one inventory against one
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import typing as t
from pathlib import Path

import yaml

from tests.benchmarks.deploy import LONGEST_CHAIN
from tests.benchmarks.runs import Run, account, chain_seconds
from tests.integration.aws import ROOT

# Without what keeps a deployment from being taken away.
STANDARD = {"mlflow_profile": "standard", "rds_deletion_protection": False, "alb_deletion_protection": False}
MULTI_AZ = {**STANDARD, "rds_multi_az": True}
# Deleting the database is the longest; the subnets that it lay in go after it, at once.
TEARDOWN_CHAIN = ("rds_delete",)
WARM, LOCAL = "mlops.mlflow_aws.warm_local", "local"
# What MLflow itself takes: it prepares its databases, starts, and answers the verification.
OF_MLFLOW = ("Prepare both databases and the admin user", "Run the tasks and wait until they are steady", "Verify MLflow at")
# What is waited for at once if nothing overlaps, by the task that starts it.
JOINS = {
    "Start the certificate": "Wait for the certificate",
    "Start the network": "Wait for the network",
    "Start the database": "Wait for the database",
    "Start the load balancer": "Wait for the load balancer",
}


def variables(**chosen: t.Any) -> tuple[str, str]:
    return "-e", json.dumps(chosen)


@contextlib.contextmanager
def without_overlap() -> t.Iterator[str]:
    """The name of a playbook as site.yml, but that each wait follows what it waits for."""
    (play,) = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    by_name = {task["name"]: task for task in play["tasks"]}
    ordered = []
    for task in play["tasks"]:
        if task["name"] not in JOINS.values():
            ordered.append(task)
        if task["name"] in JOINS:
            ordered.append(by_name[JOINS[task["name"]]])
    # Beside site.yml, because of the files that it names.
    with tempfile.NamedTemporaryFile("w", dir=ROOT / "playbooks", prefix=".", suffix=".yml") as file:
        yaml.safe_dump([{**play, "tasks": ordered}], file, sort_keys=False, width=1000)
        file.flush()
        yield Path(file.name).stem


def of_aws(run: Run) -> float:
    """Seconds of a run without those of MLflow itself."""
    return run.seconds - sum(seconds for name, seconds in run.seconds_of.items() if any(one in name for one in OF_MLFLOW))


def show(name: str, measured: list[float], against: float | None = None, what: str = "") -> float:
    """Print a line: the median, each measurement, the ratio. Answers the median."""
    median = statistics.median(measured)
    each = " ".join(f"{seconds:.1f}" for seconds in measured)
    ratio = f"{median / against:.2f} of {against:.1f} s {what}" if against else ""
    print(f"{name:<44} {median:>8.1f} s  ({each})  {ratio}".rstrip(), flush=True)
    return median


def overlap(times: int, scale: float) -> None:
    for name, chosen, created in (("single-AZ", STANDARD, "rds_create"), ("Multi-AZ", MULTI_AZ, "rds_create_multi_az")):
        chain = chain_seconds(scale, created, *LONGEST_CHAIN[1:])
        first, gone, serial = [], [], []
        for _time in range(times):
            with account(scale) as one:
                first.append(one.play("site", *variables(**chosen)).seconds)
                away = {**chosen, "confirm_destroy": "mlflow-demo", "rds_final_snapshot": False}
                gone.append(one.play("destroy", *variables(**away)).seconds)
            with account(scale) as one, without_overlap() as playbook:
                serial.append(one.play(playbook, *variables(**chosen)).seconds)
        median = show(f"{name}, scale {scale}: first run", first, chain, "longest chain")
        show(f"{name}, scale {scale}: first run without overlap", serial)
        print(f"{'':<44} {median / statistics.median(serial):>8.2f} of the run without overlap", flush=True)
        show(f"{name}, scale {scale}: teardown", gone, chain_seconds(scale, *TEARDOWN_CHAIN), "longest chain")


def connection(times: int) -> None:
    medians: dict[str, dict[str, float]] = {}
    for kind in (WARM, LOCAL):
        chosen = variables(ansible_connection=kind)
        rows: dict[str, list[Run]] = {"first run": [], "run without changes": [], "check mode": []}
        for _time in range(times):
            with account() as one:
                rows["first run"].append(one.play("site", *chosen))
                rows["run without changes"].append(one.play("site", *chosen))
                rows["check mode"].append(one.play("site", "--check", *chosen))
        for name, runs in rows.items():
            show(f"{kind.rpartition('.')[2]}: {name}", [run.seconds for run in runs])
            print(f"{'':<44} {runs[-1].tasks} tasks, {runs[-1].reads} reads, {runs[-1].writes} writes", flush=True)
        rows_of_aws = [of_aws(run) for run in rows["first run"]]
        show(f"{kind.rpartition('.')[2]}: first run without MLflow's part", rows_of_aws)
        medians[kind] = {name: statistics.median(run.seconds for run in runs) for name, runs in rows.items()}
    for name, seconds in medians[WARM].items():
        print(f"{name}: warm_local takes {seconds / medians[LOCAL][name]:.2f} of local", flush=True)


def ten(times: int) -> None:
    one = [_deployments(1) for _time in range(times)]
    median = show("one deployment", one)
    show("ten deployments in one inventory", [_deployments(10) for _time in range(times)], median, "one deployment")


def _deployments(count: int) -> float:
    """Seconds of a first run of so many small deployments."""
    with tempfile.TemporaryDirectory() as folder, account() as one:
        inventory = Path(folder)
        hosts = dict.fromkeys(f"mlflow-{number}" for number in range(count))
        (inventory / "hosts.json").write_text(json.dumps({"mlflow_deployments": {"hosts": hosts}}))
        (inventory / "group_vars").symlink_to(ROOT / "inventories/local/group_vars")
        return one.play("site", "-i", str(inventory), *variables(mlflow_workers=1, ecs_mlflow_desired_count=1)).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["overlap", "connection", "ten"], help="all of them by default")
    parser.add_argument("--times", type=int, default=5, help="how often each is measured; the median counts")
    parser.add_argument("--scale", type=float, default=1.0, help="of AWS's creation times, for overlap")
    chosen = parser.parse_args()
    if "overlap" in chosen.parts:
        overlap(chosen.times, chosen.scale)
    if "connection" in chosen.parts:
        connection(chosen.times)
    if "ten" in chosen.parts:
        ten(chosen.times)


if __name__ == "__main__":
    main()
