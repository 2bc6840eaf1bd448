# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of AWS's APIs as the facts of a diagnosis: what is missing in an answer has its empty value. Everything here is pure."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import ecs_rules

# Who stops a task that has done nothing wrong: ECS to scale or to deploy, or a person.
ASKED_FOR = ("ServiceSchedulerInitiated", "UserInitiated")


def seconds(moment: t.Any) -> float:
    """A time as seconds since the epoch, 0 where there is none."""
    return moment.timestamp() if isinstance(moment, datetime.datetime) else 0.0


def whole(value: t.Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def service(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """An item of DescribeServices; events newest first."""
    network = (answer.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    balancer = next(iter(answer.get("loadBalancers") or []), {})
    return {
        "status": answer.get("status", ""),
        "desired": whole(answer.get("desiredCount")),
        "running": whole(answer.get("runningCount")),
        "pending": whole(answer.get("pendingCount")),
        "task_definition": answer.get("taskDefinition", ""),
        "deployments": [
            {
                "id": one.get("id", ""),
                "status": one.get("status", ""),
                "task_definition": one.get("taskDefinition", ""),
                "rollout_state": one.get("rolloutState", ""),
                "created_at": seconds(one.get("createdAt")),
            }
            for one in answer.get("deployments") or []
        ],
        "events": [
            {"at": seconds(one.get("createdAt")), "message": str(one.get("message", ""))}
            for one in answer.get("events") or []
        ],
        "subnets": network.get("subnets") or [],
        "security_groups": network.get("securityGroups") or [],
        "public_ip": network.get("assignPublicIp") == "ENABLED",
        "target_group_arn": balancer.get("targetGroupArn"),
        "container_port": whole(balancer.get("containerPort")),
        "tags": ecs_rules.tags_from_api(answer.get("tags")),
    }


def definition(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """A task definition; its first container is MLflow's."""
    container = next(iter(answer.get("containerDefinitions") or []), {})
    options = (container.get("logConfiguration") or {}).get("options") or {}
    return {
        "arn": answer.get("taskDefinitionArn", ""),
        "revision": whole(answer.get("revision")),
        "cpu": whole(answer.get("cpu")),
        "memory": whole(answer.get("memory")),
        "execution_role_arn": answer.get("executionRoleArn") or "",
        "task_role_arn": answer.get("taskRoleArn") or "",
        "image": str(container.get("image", "")),
        "environment": {one.get("name", ""): str(one.get("value", "")) for one in container.get("environment") or []},
        "secrets": [
            {"name": one.get("name", ""), "value_from": str(one.get("valueFrom", ""))}
            for one in container.get("secrets") or []
        ],
        "log_group": options.get("awslogs-group") or "",
    }


def secret_reference(value_from: str) -> tuple[str, str]:
    """(ARN or name of the secret, key in its JSON or empty) of a container's `valueFrom`."""
    parts = value_from.split(":")
    if not value_from.startswith("arn:") or len(parts) < 8:
        return value_from, ""
    return ":".join(parts[:7]), parts[7]


def failure(task: dict[str, t.Any]) -> str:
    """Why a stopped task failed, in one line; empty when it ended as asked."""
    reason = str(task.get("stoppedReason") or "")
    if "health check" in reason:
        return reason
    if task.get("stopCode") in ASKED_FOR:
        return ""
    return ecs_rules.task_failure(task) or ""


def task(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """An item of DescribeTasks, running or stopped; `log` holds its last lines and is filled in later."""
    return {
        "id": str(answer.get("taskArn", "")).rsplit("/", 1)[-1],
        "arn": str(answer.get("taskArn", "")),
        "task_definition": answer.get("taskDefinitionArn", ""),
        "status": answer.get("lastStatus", ""),
        "health": answer.get("healthStatus", "UNKNOWN"),
        "started_by": answer.get("startedBy") or "",
        "started_at": seconds(answer.get("startedAt")),
        "stopped_at": seconds(answer.get("stoppedAt")),
        "failure": failure(answer),
        "log": [],
    }


def target(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """An item of DescribeTargetHealth."""
    health, where = answer.get("TargetHealth") or {}, answer.get("Target") or {}
    return {
        "id": where.get("Id", ""),
        "port": whole(where.get("Port")),
        "state": health.get("State", ""),
        "reason": health.get("Reason") or "",
        "description": health.get("Description") or "",
    }


def target_group(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "arn": answer.get("TargetGroupArn", ""),
        "path": answer.get("HealthCheckPath") or "",
        "port": str(answer.get("HealthCheckPort") or "traffic-port"),
        "protocol": answer.get("HealthCheckProtocol") or "HTTP",
        "codes": (answer.get("Matcher") or {}).get("HttpCode") or "",
    }


def database(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """An item of DescribeDBInstances; sizes in GiB."""
    endpoint = answer.get("Endpoint") or {}
    groups = answer.get("VpcSecurityGroups") or []
    subnets = (answer.get("DBSubnetGroup") or {}).get("Subnets") or []
    parameters = next(iter(answer.get("DBParameterGroups") or []), {})
    return {
        "id": answer.get("DBInstanceIdentifier", ""),
        "status": answer.get("DBInstanceStatus", ""),
        "address": endpoint.get("Address") or "",
        "port": whole(endpoint.get("Port")),
        "engine_version": answer.get("EngineVersion", ""),
        "instance_class": answer.get("DBInstanceClass", ""),
        "allocated": whole(answer.get("AllocatedStorage")),
        "pending": sorted(answer.get("PendingModifiedValues") or {}),
        "parameters": parameters.get("ParameterApplyStatus") or "",
        "security_groups": [one.get("VpcSecurityGroupId", "") for one in groups],
        "subnets": [one.get("SubnetIdentifier", "") for one in subnets],
        "tags": {one.get("Key", ""): one.get("Value", "") for one in answer.get("TagList") or []},
        "events": [],
        "connections": None,
        "free_storage": None,
    }


def certificate(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """What DescribeCertificate tells."""
    return {
        "arn": answer.get("CertificateArn", ""),
        "domain": answer.get("DomainName", ""),
        "status": answer.get("Status", ""),
        "reason": answer.get("FailureReason") or "",
        "ends_at": seconds(answer.get("NotAfter")),
    }
