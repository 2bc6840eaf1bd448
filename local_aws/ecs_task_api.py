# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RunTask, StopTask, DescribeTasks, ListTasks over real tasks.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (and StopTask, DescribeTasks, ListTasks)
"""

from __future__ import annotations

from typing import Any

from .ecs_records import RUNNING, STOPPED, USER_INITIATED, TaskRecord
from .ecs_requests import (
    NO_NETWORK, RequestError, check_definition, check_launch, check_overrides, checked_network, new_task,
    provider_for,
)
from .tasks import TaskRunners

MOST_TASKS = 10
MOST_DESCRIBED = 100


def run_task(backend: Any, runners: TaskRunners, parameters: dict[str, Any]) -> list[TaskRecord]:
    """Start `count` tasks. `parameters` are RunTask's, under their API names."""
    cluster = active_cluster(backend, parameters.get("cluster"))
    count = parameters.get("count") or 1
    if not 1 <= count <= MOST_TASKS:
        raise RequestError(f"Tasks count must be between 1 and {MOST_TASKS}.")
    launch_type, strategy = parameters.get("launchType"), parameters.get("capacityProviderStrategy")
    if not launch_type and not strategy:
        strategy = cluster.default_capacity_provider_strategy or None
    check_launch(launch_type, strategy)
    definition = backend.describe_task_definition(parameters["taskDefinition"])
    check_definition(definition)
    if not parameters.get("networkConfiguration"):
        raise RequestError(NO_NETWORK)
    network = checked_network(backend, parameters["networkConfiguration"])
    check_overrides(definition, parameters.get("overrides"))
    tags = list(parameters.get("tags") or [])
    if parameters.get("propagateTags") == "TASK_DEFINITION":
        given = {tag["key"] for tag in tags}
        tags += [tag for tag in definition.tags or [] if tag["key"] not in given]
    tasks: list[TaskRecord] = []
    for index in range(count):
        task = new_task(
            backend, cluster, definition, network,
            group=parameters.get("group") or f"family:{definition.family}",
            started_by=parameters.get("startedBy") or "",
            launch_type=launch_type,
            capacity_provider=provider_for(strategy or [], [one.capacity_provider_name for one in tasks]),
            overrides=parameters.get("overrides"),
            tags=list(tags),
            subnet_index=index,
        )
        tasks.append(task)
    for task in tasks:
        task.enable_execute_command = bool(parameters.get("enableExecuteCommand"))
        runners.launch(task)
    return tasks


def active_cluster(backend: Any, name: str | None) -> Any:
    """The cluster of a request; moto's ClusterNotFoundException if it is not there or was deleted."""
    from moto.ecs.exceptions import ClusterNotFoundException

    cluster = backend._get_cluster(name or "default")
    if cluster.status != "ACTIVE":
        raise ClusterNotFoundException()
    return cluster


def find_task(backend: Any, cluster_name: str | None, task: str) -> TaskRecord | None:
    """A task of a cluster by ARN or id."""
    cluster = backend._get_cluster(cluster_name or "default")
    task_id = task.split("/")[-1]
    records = list(backend.tasks.get(cluster.name, {}).values())
    return next((record for record in records if record.id == task_id), None)


def stop_task(
    backend: Any, runners: TaskRunners, cluster_name: str | None, task: str, reason: str | None
) -> TaskRecord:
    """Ask one task to stop: SIGTERM, stopTimeout, SIGKILL."""
    record = find_task(backend, cluster_name, task)
    if record is None:
        raise RequestError("The referenced task was not found.")
    runners.stop(record, USER_INITIATED, reason or "Task stopped by user")
    return record


def describe_tasks(
    backend: Any, cluster_name: str | None, tasks: list[str]
) -> tuple[list[TaskRecord], list[dict[str, str]]]:
    """The tasks found, and a MISSING failure for each other one."""
    cluster = backend._get_cluster(cluster_name or "default")
    if not tasks:
        raise RequestError("Tasks cannot be empty.")
    if len(tasks) > MOST_DESCRIBED:
        raise RequestError(f"Tasks must have at most {MOST_DESCRIBED} entries.")
    found, failures = [], []
    for name in tasks:
        record = find_task(backend, cluster_name, name)
        if record is not None:
            found.append(record)
        else:
            arn = name if name.startswith("arn:") else cluster.arn.replace(":cluster/", ":task/") + f"/{name}"
            failures.append({"arn": arn, "reason": "MISSING"})
    return found, failures


def list_tasks(backend: Any, parameters: dict[str, Any]) -> list[TaskRecord]:
    """Tasks by ListTasks's filters; without desiredStatus those that shall be RUNNING."""
    cluster = backend._get_cluster(parameters.get("cluster") or "default")
    desired = parameters.get("desiredStatus") or RUNNING
    if desired not in (RUNNING, STOPPED, "PENDING"):
        raise RequestError("Invalid desiredStatus.")
    if parameters.get("containerInstance"):
        return []
    service, family = parameters.get("serviceName"), parameters.get("family")
    if service:
        # ServiceNotFoundException if there is none.
        service = backend._get_service(cluster.name, service).name
    return [
        task for task in list(backend.tasks.get(cluster.name, {}).values())
        if task.desired_status == desired
        and (not service or task.group == f"service:{service}")
        and (not family or task.task_definition.family == family)
        and (not parameters.get("startedBy") or task.started_by == parameters["startedBy"])
        and (not parameters.get("launchType") or task.launch_type == parameters["launchType"])
    ]
