# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run spends, in tasks and calls of AWS, against what spending.yml grants it."""

from __future__ import annotations

import collections
import pathlib
import typing as t

import yaml

GRANTED = pathlib.Path(__file__).with_name("spending.yml")
NOTED = pathlib.Path(__file__).parents[2] / "output/spending.yml"
ROOM = 1.05
# Asked until something is ready, so that how often depends on the machine.
POLLED = {
    "ec2:DescribeNatGateways",
    "ecs:DescribeClusters",
    "ecs:DescribeServices",
    "ecs:DescribeTasks",
    "ecs:ListTasks",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetHealth",
    "rds:DescribeDBInstances",
}


def spent(output: str, calls: list[dict]) -> dict[str, t.Any]:
    """`tasks`, and `reads` and `writes` by operation, of a run that printed `output`."""
    kinds: dict[str, collections.Counter[str]] = {"read": collections.Counter(), "write": collections.Counter()}
    for call in calls:
        operation = f"{call['service']}:{call['action']}"
        if "Ansible/" in call["agent"] and not call["data_plane"] and operation not in POLLED:
            kinds[call["kind"]][operation] += 1
    return {
        "tasks": output.count("\nTASK ["),
        "reads": dict(sorted(kinds["read"].items())),
        "writes": dict(sorted(kinds["write"].items())),
    }


def overspent(name: str, output: str, calls: list[dict]) -> list[str]:
    """What the run called `name` spends beyond what is granted, and on what."""
    now = spent(output, calls)
    note(name, now)
    granted = yaml.safe_load(GRANTED.read_text())[name]
    found = []
    if now["tasks"] > granted["tasks"] * ROOM:
        found.append(f"{now['tasks']} tasks, granted are {granted['tasks']}")
    for kind in ("reads", "writes"):
        total, limit = sum(now[kind].values()), sum(granted[kind].values())
        if total > limit * ROOM:
            more = {operation: count - granted[kind].get(operation, 0) for operation, count in now[kind].items()}
            culprits = ", ".join(f"{key} +{count}" for key, count in sorted(more.items(), key=lambda one: -one[1]) if count > 0)
            found.append(f"{total} {kind}, granted are {limit}: {culprits}")
    return found


def note(name: str, now: dict[str, t.Any]) -> None:
    """Write it where whoever means to grant more takes it from."""
    notes = yaml.safe_load(NOTED.read_text()) if NOTED.exists() else {}
    NOTED.parent.mkdir(exist_ok=True)
    NOTED.write_text(yaml.safe_dump({**notes, name: now}, width=120))
