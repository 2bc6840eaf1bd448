# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics that ECS, load balancers and RDS publish, as far as they can be measured at what really runs.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from . import ecs_memory, elb_targets
from .ecs_fargate import cpu_units, memory_mib
from .ecs_records import RUNNING, TaskRecord
from .ecs_service_records import ACTIVE, ServiceRecord
from .target_health import HEALTHY, UNHEALTHY

UNITS_PER_CPU = 1024
GIB = 1024**3
# States of a database in which it takes connections.
SERVING = ("available", "backing-up", "modifying")
INSIGHTS = "ECS/ContainerInsights"


class Publisher:
    """Measures and publishes once in each `interval` (seconds)."""

    def __init__(self, runtime: Any) -> None:
        self.interval = runtime.settings.metric_seconds
        self._databases = runtime.settings.folder / "rds"
        self._processes = runtime.processes
        self._metrics = runtime.metrics
        # Task id to when it was looked at, and the processor seconds of each of its processes until then.
        self._looks: dict[str, tuple[float, dict[int, float]]] = {}

    def run_once(self) -> None:
        from moto.cloudwatch.models import cloudwatch_backends
        from moto.ecs.models import ecs_backends
        from moto.elbv2.models import elbv2_backends
        from moto.rds.models import rds_backends

        looks: dict[str, tuple[float, dict[int, float]]] = {}
        for backend in _each(ecs_backends):
            target = cloudwatch_backends[backend.account_id][backend.region_name]
            for service in list(backend.services.values()):
                if isinstance(service, ServiceRecord) and service.status == ACTIVE:
                    self._publish_service(target, backend, service, looks)
        self._looks = looks
        for backend in _each(elbv2_backends):
            target = cloudwatch_backends[backend.account_id][backend.region_name]
            for arn, balancer in set(elb_targets.users_of(backend)):
                if arn in backend.target_groups:
                    self._publish_group(target, backend.target_groups[arn], balancer)
        clients = _clients()
        for backend in _each(rds_backends):
            target = cloudwatch_backends[backend.account_id][backend.region_name]
            for instance in list(backend.databases.values()):
                if instance.status in SERVING:
                    self._publish_database(target, instance, clients)

    def _publish_service(self, target: Any, backend: Any, service: ServiceRecord, looks: dict) -> None:
        dimensions = {"ClusterName": service.cluster_name, "ServiceName": service.name}
        running = [task for task in service.tasks if task.last_status == RUNNING]
        processors, memories = [], []
        # Shares are of the task's size: one without has none.
        for task in (one for one in running if one.task_definition.cpu and one.task_definition.memory):
            pids = [
                pid
                for leader in self._processes.started(f"task-{task.id}-")
                for pid in self._processes.members(leader)
            ]  # fmt: skip
            looks[task.id] = time.monotonic(), _processor_seconds(pids)
            memories.append(_memory_percent(task, pids))
            if task.id in self._looks:
                processors.append(_processor_percent(task, self._looks[task.id], looks[task.id]))
        self._metrics.publish(target, "AWS/ECS", "CPUUtilization", dimensions, processors, "Percent")
        self._metrics.publish(target, "AWS/ECS", "MemoryUtilization", dimensions, memories, "Percent")
        if has_insights(backend.clusters[service.cluster_name]):
            for name, count in (("RunningTaskCount", len(running)), ("DesiredTaskCount", service.desired_count)):
                self._metrics.publish(target, INSIGHTS, name, dimensions, [float(count)], "Count")

    def _publish_group(self, target: Any, group: Any, balancer: Any) -> None:
        states = [elb_targets.health_of(one, True).state for one in list(group.targets.values())]
        if not states:
            return
        dimensions = {
            "LoadBalancer": balancer.arn.split(":loadbalancer/", 1)[1],
            "TargetGroup": group.arn.rsplit(":", 1)[1],
        }
        for name, state in (("HealthyHostCount", HEALTHY), ("UnHealthyHostCount", UNHEALTHY)):
            count = float(states.count(state))
            self._metrics.publish(target, "AWS/ApplicationELB", name, dimensions, [count], "Count")

    def _publish_database(self, target: Any, instance: Any, clients: Counter[tuple[str, int]]) -> None:
        dimensions = {"DBInstanceIdentifier": instance.db_instance_identifier}
        connections = float(clients[instance.local_address, int(instance.port)])
        self._metrics.publish(target, "AWS/RDS", "DatabaseConnections", dimensions, [connections], "Count")
        used = _size(self._databases / instance.dbi_resource_id)
        free = max(0.0, float(int(instance.allocated_storage) * GIB - used))
        self._metrics.publish(target, "AWS/RDS", "FreeStorageSpace", dimensions, [free], "Bytes")


def has_insights(cluster: Any) -> bool:
    return any(
        one.get("name") == "containerInsights" and one.get("value") in ("enabled", "enhanced")
        for one in cluster.settings or []
    )


def _each(backends: Any) -> Iterable[Any]:
    for account in list(backends.values()):
        yield from list(account.values())


def _clients() -> Counter[tuple[str, int]]:
    """How many connections there are to each address and port of this machine."""
    found = psutil.net_connections(kind="tcp4")
    return Counter(tuple(one.laddr) for one in found if one.laddr and one.status == psutil.CONN_ESTABLISHED)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; what goes away meanwhile does not count."""
    total = 0
    for parent, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _processor_seconds(pids: Iterable[int]) -> dict[int, float]:
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            found[pid] = times.user + times.system
    return found


def _processor_percent(
    task: TaskRecord, before: tuple[float, dict[int, float]], after: tuple[float, dict[int, float]]
) -> float:
    """Of the task's CPU units. What processes used that ended meanwhile is not seen."""
    used = sum(seconds - before[1].get(pid, 0.0) for pid, seconds in after[1].items())
    size = cpu_units(str((task.overrides or {}).get("cpu") or task.task_definition.cpu))
    return 100 * used / (after[0] - before[0]) / (size / UNITS_PER_CPU)


def _memory_percent(task: TaskRecord, pids: list[int]) -> float:
    limit = memory_mib(str((task.overrides or {}).get("memory") or task.task_definition.memory)) * ecs_memory.MIB
    return 100 * ecs_memory.used_bytes(pids, limit) / limit
