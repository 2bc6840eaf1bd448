# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters and task definitions: what moto's answers lack.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Cluster.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
"""

from __future__ import annotations

from typing import Any

from .ecs_fargate import cpu_units, definition_error, memory_mib, size_error, storage_error
from .ecs_records import RUNNING, STOPPED, now
from .ecs_requests import RequestError
from .ecs_service_records import INACTIVE, ServiceRecord


def services_of(backend: Any, cluster_name: str) -> list[ServiceRecord]:
    """The services of a cluster that are not INACTIVE."""
    return [
        service for service in list(backend.services.values())
        if service.cluster_name == cluster_name and service.status != INACTIVE
    ]


def count(backend: Any, cluster: Any) -> Any:
    """Fill in a cluster's counters and the lists that AWS always answers."""
    tasks = [task for task in list(backend.tasks.get(cluster.name, {}).values()) if task.last_status != STOPPED]
    cluster.running_tasks_count = sum(task.last_status == RUNNING for task in tasks)
    cluster.pending_tasks_count = sum(task.last_status in ("PROVISIONING", "PENDING", "ACTIVATING") for task in tasks)
    cluster.active_services_count = len(services_of(backend, cluster.name))
    cluster.capacity_providers = cluster.capacity_providers or []
    cluster.default_capacity_provider_strategy = cluster.default_capacity_provider_strategy or []
    return cluster


def check_empty(backend: Any, cluster: Any) -> None:
    """Only a cluster without services and tasks can be deleted."""
    if services_of(backend, cluster.name):
        raise RequestError(
            "The Cluster cannot be deleted while Services are active.", "ClusterContainsServicesException"
        )
    if any(task.last_status != STOPPED for task in list(backend.tasks.get(cluster.name, {}).values())):
        raise RequestError("The Cluster cannot be deleted while Tasks are active.", "ClusterContainsTasksException")


def normal_containers(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Container definitions as ECS keeps them: hostPort and protocol of awsvpc port mappings filled in."""
    normal = []
    for container in containers:
        mappings = [
            {"hostPort": mapping["containerPort"], "protocol": "tcp"} | mapping
            for mapping in container.get("portMappings") or []
        ]
        normal.append(container | {"portMappings": mappings})
    return normal


def check_registration(request: dict[str, Any]) -> dict[str, Any]:
    """RegisterTaskDefinition's cpu and memory in ECS's units; RequestError for what Fargate refuses."""
    sizes = {"cpu": request.get("cpu"), "memory": request.get("memory")}
    storage = request.get("ephemeralStorage")
    if "FARGATE" not in (request.get("requiresCompatibilities") or []):
        if storage:
            raise RequestError("Ephemeral storage is supported for tasks on Fargate only.", "ClientException")
        return sizes
    if request.get("networkMode") != "awsvpc":
        raise RequestError(
            "Fargate only supports network mode 'awsvpc'.", "ClientException"
        )
    error = size_error(request.get("cpu"), request.get("memory")) or storage_error(storage)
    error = error or definition_error(
        request.get("containerDefinitions") or [], request.get("executionRoleArn"), request.get("volumes")
    )
    if error:
        raise RequestError(error, "ClientException")
    return {"cpu": str(cpu_units(str(sizes["cpu"]))), "memory": str(memory_mib(str(sizes["memory"])))}


def complete_definition(definition: Any) -> Any:
    """Fields of a registered task definition that moto leaves out."""
    definition.registered_at = now()
    definition.registered_by = f"arn:aws:iam::{definition.arn.split(':')[4]}:root"
    definition.requires_attributes = []
    return definition


def latest_active(backend: Any, family: str) -> Any | None:
    """The newest ACTIVE revision of a family."""
    revisions = backend.task_definitions.get(family, {})
    active = [revision for revision, definition in revisions.items() if definition.status == "ACTIVE"]
    return revisions[max(active)] if active else None
