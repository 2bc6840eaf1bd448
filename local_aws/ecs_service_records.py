# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ECS knows of a service and its deployments, and how DescribeServices says it.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .ecs_records import PLATFORM_VERSION, LoadBalancerTarget, TaskRecord, now

ACTIVE, DRAINING, INACTIVE, PRIMARY = "ACTIVE", "DRAINING", "INACTIVE", "PRIMARY"
IN_PROGRESS, COMPLETED, FAILED = "IN_PROGRESS", "COMPLETED", "FAILED"
KEPT_EVENTS = 100


@dataclass(eq=False)
class Deployment:
    """One deployment of a service: a task definition and the network it runs in, as they were when it was made."""

    task_definition_arn: str
    network_configuration: dict[str, Any]
    launch_type: str | None
    capacity_provider_strategy: list[dict[str, Any]]
    load_balancers: list[dict[str, Any]]
    desired_count: int
    status: str = PRIMARY
    rollout_state: str = IN_PROGRESS

    def __post_init__(self) -> None:
        self.id = f"ecs-svc/{random.randint(10**18, 10**19 - 1)}"
        self.rollout_state_reason = f"ECS deployment {self.id} in progress."
        self.created_at = self.updated_at = now()
        self.failed_tasks = 0
        # Monotonic seconds of the latest failures, for the throttle.
        self.failures: list[float] = []
        # Monotonic seconds before which no task is started.
        self.not_before = 0.0
        self.tasks: list[TaskRecord] = []
        self.counted: set[str] = set()
        self.was_completed = False
        self.warned = False

    def set_state(self, state: str, reason: str) -> None:
        """Enter a rollout state."""
        self.rollout_state, self.rollout_state_reason, self.updated_at = state, reason, now()
        self.was_completed = self.was_completed or state == COMPLETED

    @property
    def live(self) -> list[TaskRecord]:
        return [task for task in self.tasks if task.is_live]

    @property
    def unfinished(self) -> list[TaskRecord]:
        return [task for task in self.tasks if task.last_status != "STOPPED"]

    def to_response(self) -> dict[str, Any]:
        """Deployment of the ECS API."""
        running = sum(task.last_status == "RUNNING" for task in self.live)
        return {
            "id": self.id,
            "status": self.status,
            "taskDefinition": self.task_definition_arn,
            "desiredCount": self.desired_count,
            "pendingCount": len(self.live) - running,
            "runningCount": running,
            "failedTasks": self.failed_tasks,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "launchType": self.launch_type,
            "capacityProviderStrategy": self.capacity_provider_strategy or None,
            "platformVersion": PLATFORM_VERSION,
            "platformFamily": "Linux",
            "networkConfiguration": self.network_configuration,
            "rolloutState": self.rollout_state,
            "rolloutStateReason": self.rollout_state_reason,
        }


@dataclass(eq=False)
class ServiceRecord:
    """One service. `options` keeps, under their API names, the fields that are only stored and described."""

    account_id: str
    region_name: str
    partition: str
    cluster_name: str
    cluster_arn: str
    name: str
    desired_count: int
    task_definition: str
    load_balancers: list[dict[str, Any]]
    network_configuration: dict[str, Any]
    deployment_configuration: dict[str, Any]
    launch_type: str | None = None
    capacity_provider_strategy: list[dict[str, Any]] = field(default_factory=list)
    health_check_grace_period: int | None = None
    enable_execute_command: bool = False
    propagate_tags: str = "NONE"
    enable_ecs_managed_tags: bool = False
    tags: list[dict[str, str]] = field(default_factory=list)
    client_token: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.status = ACTIVE
        self.created_at = now()
        self.inactive_at: datetime | None = None
        self.events: list[dict[str, Any]] = []
        self.deployments: list[Deployment] = []
        self.last_completed: Deployment | None = None
        self.steady_reported = False
        # What other parts of moto read from a service.
        self.scheduling_strategy = "REPLICA"
        self.task_sets: list[Any] = []

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:ecs:{self.region_name}:{self.account_id}:service/{self.cluster_name}/{self.name}"

    @property
    def physical_resource_id(self) -> str:
        return self.arn

    @property
    def primary(self) -> Deployment | None:
        return next((deployment for deployment in self.deployments if deployment.status == PRIMARY), None)

    @property
    def tasks(self) -> list[TaskRecord]:
        return [task for deployment in list(self.deployments) for task in list(deployment.tasks)]

    def percents(self) -> tuple[int, int]:
        """minimumHealthyPercent and maximumPercent."""
        configuration = self.deployment_configuration
        return configuration["minimumHealthyPercent"], configuration["maximumPercent"]

    def breaker(self) -> tuple[bool, bool]:
        """Whether the deployment circuit breaker is on, and whether it rolls back."""
        breaker = self.deployment_configuration["deploymentCircuitBreaker"]
        return bool(breaker.get("enable")), bool(breaker.get("rollback"))

    def new_deployment(self) -> Deployment:
        """Make a deployment of the service as it is now the primary one."""
        for deployment in self.deployments:
            if deployment.status == PRIMARY:
                deployment.status = ACTIVE
        deployment = Deployment(
            task_definition_arn=self.task_definition,
            network_configuration=self.network_configuration,
            launch_type=self.launch_type,
            capacity_provider_strategy=self.capacity_provider_strategy,
            load_balancers=self.load_balancers,
            desired_count=self.desired_count,
        )
        self.deployments.insert(0, deployment)
        self.steady_reported = False
        return deployment

    def targets(self) -> list[LoadBalancerTarget]:
        """The target groups that every task of the service is registered in."""
        return [
            LoadBalancerTarget(entry["targetGroupArn"], entry["containerName"], int(entry["containerPort"]))
            for entry in self.load_balancers if entry.get("targetGroupArn")
        ]

    def event(self, text: str) -> None:
        """Add to the service's events, newest first: `(service name) text`."""
        entry = {"id": str(uuid.uuid4()), "createdAt": now(), "message": f"(service {self.name}) {text}"}
        self.events.insert(0, entry)
        del self.events[KEPT_EVENTS:]

    def to_response(self) -> dict[str, Any]:
        """Service of the ECS API; fields without a value are left out by the serializer."""
        live = [task for task in self.tasks if task.is_live]
        running = sum(task.last_status == "RUNNING" for task in live)
        return {
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "loadBalancers": self.load_balancers,
            "serviceRegistries": [],
            "status": self.status,
            "desiredCount": self.desired_count,
            "runningCount": running,
            "pendingCount": len(live) - running,
            "launchType": self.launch_type,
            "capacityProviderStrategy": self.capacity_provider_strategy or None,
            "platformVersion": self.options.get("platformVersion") or "LATEST",
            "platformFamily": "Linux",
            "taskDefinition": self.task_definition,
            "deploymentConfiguration": self.deployment_configuration,
            "deployments": [deployment.to_response() for deployment in list(self.deployments)],
            "deploymentController": {"type": "ECS"},
            "roleArn": (
                f"arn:{self.partition}:iam::{self.account_id}:role/aws-service-role/ecs.amazonaws.com/"
                "AWSServiceRoleForECS"
            ),
            "events": list(self.events),
            "createdAt": self.created_at,
            "placementConstraints": [],
            "placementStrategy": [],
            "networkConfiguration": self.network_configuration,
            "healthCheckGracePeriodSeconds": self.health_check_grace_period,
            "schedulingStrategy": self.scheduling_strategy,
            "tags": self.tags,
            "createdBy": f"arn:{self.partition}:iam::{self.account_id}:root",
            "enableECSManagedTags": self.enable_ecs_managed_tags,
            "propagateTags": self.propagate_tags,
            "enableExecuteCommand": self.enable_execute_command,
            "availabilityZoneRebalancing": self.options.get("availabilityZoneRebalancing") or "DISABLED",
        }
