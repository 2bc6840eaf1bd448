# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ECS knows of a task, and how DescribeTasks says it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from . import ecs_health
from .ecs_fargate import DEFAULT_STORAGE

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
PROVISIONING, PENDING, ACTIVATING, RUNNING = "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"
DEACTIVATING, STOPPING, DEPROVISIONING, STOPPED = "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"

ESSENTIAL_EXITED = "EssentialContainerExited"
FAILED_TO_START = "TaskFailedToStart"
USER_INITIATED = "UserInitiated"
SCHEDULER_INITIATED = "ServiceSchedulerInitiated"

PLATFORM_VERSION = "1.4.0"


def now() -> datetime:
    """The present, as AWS's JSON protocol wants it."""
    return datetime.now(timezone.utc)


@dataclass(eq=False)
class LoadBalancerTarget:
    """Where a service registers a task: `loadBalancers` of the service."""

    target_group_arn: str
    container_name: str
    container_port: int


@dataclass(eq=False)
class ContainerRecord:
    """One container of a task."""

    definition: dict[str, Any]
    arn: str
    last_status: str = PENDING
    exit_code: int | None = None
    reason: str | None = None
    health_status: str = ecs_health.UNKNOWN

    @property
    def name(self) -> str:
        return self.definition["name"]

    @property
    def essential(self) -> bool:
        return bool(self.definition.get("essential", True))

    def to_response(self, task: TaskRecord) -> dict[str, Any]:
        """Container of the ECS API; fields without a value are left out by the serializer."""
        definition = self.definition
        interfaces = []
        if task.address:
            interfaces = [{"attachmentId": task.attachment_id, "privateIpv4Address": task.address}]
        return {
            "containerArn": self.arn,
            "taskArn": task.task_arn,
            "name": self.name,
            "image": definition.get("image"),
            "lastStatus": self.last_status,
            "exitCode": self.exit_code,
            "reason": self.reason,
            "networkBindings": [],
            "networkInterfaces": interfaces,
            "healthStatus": self.health_status,
            "cpu": str(definition.get("cpu") or 0),
            "memory": str(definition["memory"]) if definition.get("memory") else None,
            "memoryReservation": (
                str(definition["memoryReservation"]) if definition.get("memoryReservation") else None
            ),
        }


@dataclass(eq=False)
class TaskRecord:
    """One task. `task_definition` is moto's; the other fields are those of the API."""

    account_id: str
    region_name: str
    partition: str
    cluster_name: str
    cluster_arn: str
    task_definition: Any
    group: str
    subnet_id: str
    security_groups: list[str]
    overrides: dict[str, Any] = field(default_factory=dict)
    started_by: str = ""
    tags: list[dict[str, str]] = field(default_factory=list)
    launch_type: str | None = None
    capacity_provider_name: str | None = None
    enable_execute_command: bool = False
    load_balancers: list[LoadBalancerTarget] = field(default_factory=list)
    availability_zone: str = ""
    container_instance_arn: str | None = None

    def __post_init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.attachment_id = str(uuid.uuid4())
        self.eni: Any = None
        self.address: str | None = None
        self.last_status = PROVISIONING
        self.desired_status = RUNNING
        self.stop_code: str | None = None
        self.stopped_reason: str | None = None
        self.version = 1
        self.created_at = now()
        self.times: dict[str, datetime] = {}
        self.containers = [
            ContainerRecord(definition, f"{self._arn('container')}/{self.id}/{uuid.uuid4()}")
            for definition in self.task_definition.container_definitions
        ]

    def _arn(self, kind: str) -> str:
        return f"arn:{self.partition}:ecs:{self.region_name}:{self.account_id}:{kind}/{self.cluster_name}"

    @property
    def task_arn(self) -> str:
        return f"{self._arn('task')}/{self.id}"

    @property
    def task_definition_arn(self) -> str:
        return self.task_definition.arn

    @property
    def is_live(self) -> bool:
        return self.desired_status == RUNNING

    @property
    def health_status(self) -> str:
        return ecs_health.combined([
            container.health_status for container in self.containers
            if container.essential and ecs_health.HealthCheck.of(container.definition.get("healthCheck"))
        ])

    def mark(self, moment: str) -> None:
        """Note the first time of `startedAt`, `stoppedAt` and the like."""
        self.times.setdefault(moment, now())

    def advance(self, status: str) -> None:
        """Enter a state of the task life cycle."""
        self.last_status = status
        self.version += 1

    def to_response(self) -> dict[str, Any]:
        """Task of the ECS API."""
        definition = self.task_definition
        overrides = self.overrides or {}
        return {
            "taskArn": self.task_arn,
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": definition.arn,
            "availabilityZone": self.availability_zone,
            "attachments": [self._attachment()],
            "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
            "containers": [container.to_response(self) for container in list(self.containers)],
            "overrides": {
                "containerOverrides": [{"name": container.name} for container in self.containers],
                "inferenceAcceleratorOverrides": [],
            } | overrides,
            "lastStatus": self.last_status,
            "desiredStatus": self.desired_status,
            "healthStatus": self.health_status,
            "connectivity": "CONNECTED" if self.address else None,
            "connectivityAt": self.times.get("connectivityAt"),
            "createdAt": self.created_at,
            "pullStartedAt": self.times.get("pullStartedAt"),
            "pullStoppedAt": self.times.get("pullStoppedAt"),
            "startedAt": self.times.get("startedAt"),
            "stoppingAt": self.times.get("stoppingAt"),
            "stoppedAt": self.times.get("stoppedAt"),
            "executionStoppedAt": self.times.get("executionStoppedAt"),
            "stopCode": self.stop_code,
            "stoppedReason": self.stopped_reason,
            "startedBy": self.started_by or None,
            "group": self.group,
            "launchType": self.launch_type,
            "capacityProviderName": self.capacity_provider_name,
            "platformVersion": PLATFORM_VERSION,
            "platformFamily": "Linux",
            "enableExecuteCommand": self.enable_execute_command,
            "ephemeralStorage": definition.ephemeral_storage or {"sizeInGiB": DEFAULT_STORAGE},
            "cpu": overrides.get("cpu") or definition.cpu,
            "memory": overrides.get("memory") or definition.memory,
            "tags": self.tags,
            "version": self.version,
        }

    def _attachment(self) -> dict[str, Any]:
        details = [{"name": "subnetId", "value": self.subnet_id}]
        if self.eni is not None:
            details += [
                {"name": "networkInterfaceId", "value": self.eni.id},
                {"name": "macAddress", "value": self.eni.mac_address},
                {"name": "privateIPv4Address", "value": self.address},
            ]
        status = "DELETED" if self.last_status == STOPPED else "ATTACHED" if self.eni is not None else "PRECREATED"
        return {
            "id": self.attachment_id, "type": "ElasticNetworkInterface", "status": status, "details": details,
        }
