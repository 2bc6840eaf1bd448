# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RunTask and CreateService requests: what AWS refuses, and the task that an accepted one makes.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
"""

from __future__ import annotations

from typing import Any

from .ecs_records import TaskRecord

FARGATE_PROVIDERS = ("FARGATE", "FARGATE_SPOT")
NO_NETWORK = "Network Configuration must be provided when networkMode 'awsvpc' is specified."


class RequestError(Exception):
    """AWS refuses the request: error code and message."""

    def __init__(self, message: str, code: str = "InvalidParameterException") -> None:
        super().__init__(message)
        self.code = code


def check_launch(launch_type: str | None, strategy: list[dict[str, Any]] | None) -> None:
    """The local AWS has Fargate and no container instances."""
    if launch_type and strategy:
        raise RequestError("Specify either Launch Type or Capacity Provider Strategy, but not both.")
    if launch_type and launch_type not in ("EC2", "FARGATE", "EXTERNAL"):
        raise RequestError("launch type should be one of [EC2,FARGATE,EXTERNAL]")
    for entry in strategy or []:
        if entry.get("capacityProvider") not in FARGATE_PROVIDERS:
            raise RequestError(f"The specified capacity provider '{entry.get('capacityProvider')}' was not found.")
    if len([entry for entry in strategy or [] if entry.get("base")]) > 1:
        raise RequestError("Only one capacity provider in a capacity provider strategy can have a base defined.")
    if len(strategy or []) > 1 and not any(entry.get("weight") for entry in strategy or []):
        raise RequestError("At least one capacity provider of the strategy must have a weight greater than zero.")
    if not strategy and launch_type != "FARGATE":
        raise RequestError("No Container Instances were found in your cluster.")


def provider_for(strategy: list[dict[str, Any]], running: list[str | None]) -> str | None:
    """The capacity provider of the next task beside those `running`: bases first, then by weights.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
    """
    counts = {entry["capacityProvider"]: running.count(entry["capacityProvider"]) for entry in strategy}
    weighty = [entry for entry in strategy if entry.get("weight")] or strategy
    for entry in weighty:
        if counts[entry["capacityProvider"]] < (entry.get("base") or 0):
            return str(entry["capacityProvider"])

    def share(entry: dict[str, Any]) -> float:
        beyond = counts[entry["capacityProvider"]] - (entry.get("base") or 0)
        return (beyond + 1) / (entry.get("weight") or 1)

    return str(min(weighty, key=share)["capacityProvider"]) if weighty else None


def check_definition(definition: Any) -> None:
    """Only an active definition for Fargate can run."""
    if definition.status != "ACTIVE":
        raise RequestError("TaskDefinition is inactive", "ClientException")
    if "FARGATE" not in (definition.requires_compatibilities or []):
        raise RequestError("Task definition does not support launch_type FARGATE.")


def checked_network(backend: Any, network: dict[str, Any] | None) -> dict[str, Any]:
    """networkConfiguration as ECS describes it: defaults filled in, subnets and security groups exist."""
    from moto.ec2.models import ec2_backends

    given = (network or {}).get("awsvpcConfiguration")
    if not given:
        raise RequestError(NO_NETWORK)
    if not given.get("subnets"):
        raise RequestError("subnets can not be empty.")
    ec2 = ec2_backends[backend.account_id][backend.region_name]
    known = {subnet.id: subnet for zone in ec2.subnets.values() for subnet in zone.values()}
    for subnet_id in given["subnets"]:
        if subnet_id not in known:
            raise RequestError(
                f"Error retrieving subnet information for [{subnet_id}]: The subnet ID '{subnet_id}' does not exist "
                "(ErrorCode: InvalidSubnetID.NotFound)"
            )
    vpc_id = known[given["subnets"][0]].vpc_id
    if any(known[subnet_id].vpc_id != vpc_id for subnet_id in given["subnets"]):
        raise RequestError("All subnets must belong to the same VPC.")
    for group_id in given.get("securityGroups") or []:
        if group_id not in ec2.groups.get(vpc_id, {}):
            raise RequestError(
                f"Error retrieving security group information for [{group_id}]: The security group '{group_id}' does "
                "not exist (ErrorCode: InvalidGroup.NotFound)"
            )
    return {
        "awsvpcConfiguration": {
            "subnets": list(given["subnets"]),
            "securityGroups": list(given.get("securityGroups") or []),
            "assignPublicIp": given.get("assignPublicIp") or "DISABLED",
        }
    }


def check_overrides(definition: Any, overrides: dict[str, Any] | None) -> None:
    """Every overridden container must be in the task definition."""
    names = {container["name"] for container in definition.container_definitions}
    for entry in (overrides or {}).get("containerOverrides") or []:
        if entry.get("name") not in names:
            raise RequestError(f"Override for container named {entry.get('name')} is not a container in the "
                               "TaskDefinition.")
        if entry.get("environmentFiles") or entry.get("resourceRequirements"):
            raise RequestError(f"Override for container named {entry['name']}: environmentFiles and "
                               "resourceRequirements are not supported by the local AWS.")


def checked_load_balancers(
    backend: Any, definition: Any, load_balancers: list[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """loadBalancers of a service: each target group is attached to a load balancer, container and port exist."""
    from moto.elbv2.models import elbv2_backends

    elb = elbv2_backends[backend.account_id][backend.region_name]
    ports = {
        (container["name"], int(mapping["containerPort"]))
        for container in definition.container_definitions for mapping in container.get("portMappings") or []
    }
    names = {container["name"] for container in definition.container_definitions}
    for entry in load_balancers or []:
        arn, name, port = entry.get("targetGroupArn"), entry.get("containerName"), entry.get("containerPort")
        if not arn:
            raise RequestError("A service on Fargate needs loadBalancers with targetGroupArn.")
        group = elb.target_groups.get(arn)
        if group is None:
            raise RequestError(f"The target group {arn} does not exist.")
        if not group.load_balancer_arns:
            raise RequestError(f"The target group with targetGroupArn {arn} does not have an associated load balancer.")
        if group.target_type != "ip":
            raise RequestError(
                f"The provided target group {arn} has target type {group.target_type}, which is incompatible with the "
                "awsvpc network mode specified in the task definition."
            )
        if name not in names:
            raise RequestError(f"The container {name} does not exist in the task definition.")
        if (name, port) not in ports:
            raise RequestError(f"The container {name} did not have a container port {port} defined.")
    return list(load_balancers or [])


def deployment_configuration(given: dict[str, Any] | None, current: dict[str, Any] | None = None) -> dict[str, Any]:
    """deploymentConfiguration with what is not given taken from the current one, or from AWS's defaults."""
    base = current or {
        "deploymentCircuitBreaker": {"enable": False, "rollback": False},
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "strategy": "ROLLING",
        "bakeTimeInMinutes": 0,
    }
    merged = base | {key: value for key, value in (given or {}).items() if value is not None}
    if merged.get("strategy") != "ROLLING":
        raise RequestError(f"Deployment strategy {merged.get('strategy')} is not supported by the local AWS.")
    if (merged.get("alarms") or {}).get("enable"):
        raise RequestError("Deployment alarms are not supported by the local AWS.")
    minimum, maximum = merged["minimumHealthyPercent"], merged["maximumPercent"]
    if maximum < 100 or minimum < 0 or minimum > maximum or (minimum == 100 and maximum == 100):
        raise RequestError(
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments."
            if minimum == maximum == 100
            else f"Invalid deploymentConfiguration: minimumHealthyPercent {minimum}, maximumPercent {maximum}."
        )
    return merged


def new_task(
    backend: Any, cluster: Any, definition: Any, network: dict[str, Any], *, group: str, started_by: str = "",
    launch_type: str | None = None, capacity_provider: str | None = None,
    overrides: dict[str, Any] | None = None, tags: list[dict[str, str]] | None = None, subnet_index: int = 0,
) -> TaskRecord:
    """Make a task and put it into the backend; subnets are taken in turn. RequestError if the network is gone."""
    from moto.ec2.models import ec2_backends
    from moto.utilities.utils import get_partition

    configuration = checked_network(backend, network)["awsvpcConfiguration"]
    subnets = configuration["subnets"]
    subnet_id = subnets[subnet_index % len(subnets)]
    ec2 = ec2_backends[backend.account_id][backend.region_name]
    subnet = ec2.get_subnet(subnet_id)
    groups = configuration["securityGroups"] or [
        found.id for found in ec2.groups[subnet.vpc_id].values() if found.name == "default"
    ]
    task = TaskRecord(
        account_id=backend.account_id,
        region_name=backend.region_name,
        partition=get_partition(backend.region_name),
        cluster_name=cluster.name,
        cluster_arn=cluster.arn,
        task_definition=definition,
        group=group,
        subnet_id=subnet_id,
        security_groups=groups,
        overrides=overrides or {},
        started_by=started_by,
        tags=tags or [],
        launch_type=launch_type or "FARGATE",
        capacity_provider_name=capacity_provider,
        availability_zone=subnet.availability_zone,
    )
    backend.tasks.setdefault(cluster.name, {})[task.task_arn] = task
    return task
