# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task in its target groups, through moto's elbv2 backend.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .ecs_records import LoadBalancerTarget, TaskRecord


@dataclass(frozen=True)
class TargetHealth:
    """State of one target: initial, healthy, unhealthy, draining, unused or unavailable; why, in AWS's words."""

    state: str
    reason: str = ""


def _backend(task: TaskRecord) -> Any:
    from moto.elbv2.models import elbv2_backends

    return elbv2_backends[task.account_id][task.region_name]


def _targets(task: TaskRecord, target: LoadBalancerTarget) -> list[dict[str, Any]]:
    return [{"Id": task.address, "Port": target.container_port}]


def register(task: TaskRecord, target: LoadBalancerTarget) -> None:
    """Register the task's address; moto's error if the target group is gone."""
    _backend(task).register_targets(target.target_group_arn, _targets(task, target))


def deregister(task: TaskRecord, target: LoadBalancerTarget) -> bool:
    """Take the task's address out; False if it, or the target group, is gone already."""
    from moto.elbv2.exceptions import ELBClientError

    try:
        _backend(task).deregister_targets(target.target_group_arn, _targets(task, target))
    except ELBClientError:
        return False
    return True


def health(task: TaskRecord, target: LoadBalancerTarget) -> TargetHealth:
    """What the target group says of the task now; `unused` if it, or the group, is not there."""
    from moto.elbv2.exceptions import ELBClientError

    try:
        found = _backend(task).describe_target_health(target.target_group_arn, _targets(task, target))
    except ELBClientError:
        return TargetHealth("unused", "Target.NotRegistered")
    if not found:
        return TargetHealth("unused", "Target.NotRegistered")
    return TargetHealth(str(found[0].status), found[0].description or found[0].reason or "")
