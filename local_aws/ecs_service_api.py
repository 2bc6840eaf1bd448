# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CreateService, UpdateService, DeleteService, ListServices over the service scheduler.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html (and UpdateService, DeleteService)
"""

from __future__ import annotations

from typing import Any

from .ecs_requests import (
    RequestError, check_definition, check_launch, checked_load_balancers, checked_network, deployment_configuration,
)
from .ecs_service_records import ACTIVE, DRAINING, INACTIVE, ServiceRecord
from .ecs_task_api import active_cluster

UNSUPPORTED = ("serviceRegistries", "placementConstraints", "placementStrategy", "volumeConfigurations",
               "vpcLatticeConfigurations")
STORED_OPTIONS = ("platformVersion", "availabilityZoneRebalancing")


def _refuse_unsupported(parameters: dict[str, Any]) -> None:
    for name in UNSUPPORTED:
        if parameters.get(name):
            raise RequestError(f"{name} is not supported by the local AWS for services on Fargate.")
    if (parameters.get("serviceConnectConfiguration") or {}).get("enabled"):
        raise RequestError("Service Connect is not supported by the local AWS.")
    controller = (parameters.get("deploymentController") or {}).get("type") or "ECS"
    if controller != "ECS":
        raise RequestError(f"Deployment controller {controller} is not supported by the local AWS: use ECS.")
    if (parameters.get("schedulingStrategy") or "REPLICA") != "REPLICA":
        raise RequestError("The daemon scheduling strategy is not supported for services on Fargate.")


def find_service(backend: Any, cluster_name: str | None, name: str) -> ServiceRecord:
    """A service by name or ARN; moto's ServiceNotFoundException if there is none."""
    return backend._get_service(cluster_name or "default", name.split("/")[-1])


def create_service(backend: Any, parameters: dict[str, Any]) -> ServiceRecord:
    """Make a service; its scheduler starts tasks at its next pass."""
    _refuse_unsupported(parameters)
    cluster = active_cluster(backend, parameters.get("cluster"))
    name = parameters["serviceName"]
    definition = backend.describe_task_definition(parameters.get("taskDefinition") or "")
    existing = backend.services.get(f"{cluster.name}:{name}")
    if existing is not None and existing.status != INACTIVE:
        return _same_service(existing, parameters, definition)
    strategy = parameters.get("capacityProviderStrategy") or []
    launch_type = parameters.get("launchType")
    if not launch_type and not strategy:
        strategy = cluster.default_capacity_provider_strategy or []
    check_launch(launch_type, strategy)
    check_definition(definition)
    if (parameters.get("desiredCount") or 0) < 0:
        raise RequestError("desiredCount cannot be negative.")
    load_balancers = checked_load_balancers(backend, definition, parameters.get("loadBalancers"))
    grace = parameters.get("healthCheckGracePeriodSeconds")
    from moto.utilities.utils import get_partition

    service = ServiceRecord(
        account_id=backend.account_id,
        region_name=backend.region_name,
        partition=get_partition(backend.region_name),
        cluster_name=cluster.name,
        cluster_arn=cluster.arn,
        name=name,
        desired_count=int(parameters.get("desiredCount") or 0),
        task_definition=definition.arn,
        load_balancers=load_balancers,
        network_configuration=checked_network(backend, parameters.get("networkConfiguration")),
        deployment_configuration=deployment_configuration(parameters.get("deploymentConfiguration")),
        launch_type=launch_type,
        capacity_provider_strategy=strategy,
        health_check_grace_period=grace if grace is not None else (0 if load_balancers else None),
        enable_execute_command=bool(parameters.get("enableExecuteCommand")),
        propagate_tags=parameters.get("propagateTags") or "NONE",
        enable_ecs_managed_tags=bool(parameters.get("enableECSManagedTags")),
        tags=list(parameters.get("tags") or []),
        client_token=parameters.get("clientToken") or "",
        options={option: parameters.get(option) for option in STORED_OPTIONS},
    )
    service.new_deployment()
    backend.services[f"{cluster.name}:{name}"] = service
    return service


def _same_service(existing: ServiceRecord, parameters: dict[str, Any], definition: Any) -> ServiceRecord:
    """A repeated CreateService with the same values answers the service that is there."""
    if existing.status == DRAINING:
        raise RequestError("Unable to Start a service that is still Draining.")
    same = (
        existing.task_definition == definition.arn
        and existing.desired_count == int(parameters.get("desiredCount") or 0)
        and existing.load_balancers == list(parameters.get("loadBalancers") or [])
        and existing.client_token == (parameters.get("clientToken") or "")
    )
    if not same:
        raise RequestError("Creation of service was not idempotent.")
    return existing


def update_service(backend: Any, parameters: dict[str, Any]) -> ServiceRecord:
    """Change a service; a new task definition, network, load balancer or force makes a new deployment."""
    from moto.ecs.exceptions import ECSException

    _refuse_unsupported(parameters)
    service = find_service(backend, parameters.get("cluster"), parameters["service"])
    if service.status != ACTIVE:
        raise ECSException("ServiceNotActiveException", "Service was not ACTIVE.")
    definition = backend.describe_task_definition(parameters.get("taskDefinition") or service.task_definition)
    if parameters.get("taskDefinition"):
        check_definition(definition)
    network = service.network_configuration
    if parameters.get("networkConfiguration"):
        network = checked_network(backend, parameters["networkConfiguration"])
    load_balancers = service.load_balancers
    if parameters.get("loadBalancers") is not None:
        load_balancers = checked_load_balancers(backend, definition, parameters["loadBalancers"])
    strategy = parameters.get("capacityProviderStrategy")
    if strategy:
        check_launch(None, strategy)
    configuration = deployment_configuration(
        parameters.get("deploymentConfiguration"), service.deployment_configuration
    )
    redeploy = bool(parameters.get("forceNewDeployment")) or (
        (definition.arn, network, load_balancers, strategy or service.capacity_provider_strategy)
        != (service.task_definition, service.network_configuration, service.load_balancers,
            service.capacity_provider_strategy)
    )
    # Everything is checked: from here on nothing can fail half-way.
    service.task_definition, service.network_configuration = definition.arn, network
    service.load_balancers, service.deployment_configuration = load_balancers, configuration
    if strategy:
        service.capacity_provider_strategy, service.launch_type = strategy, None
    if parameters.get("desiredCount") is not None:
        service.desired_count = int(parameters["desiredCount"])
    if parameters.get("healthCheckGracePeriodSeconds") is not None:
        service.health_check_grace_period = int(parameters["healthCheckGracePeriodSeconds"])
    if parameters.get("enableExecuteCommand") is not None:
        service.enable_execute_command = bool(parameters["enableExecuteCommand"])
    if parameters.get("enableECSManagedTags") is not None:
        service.enable_ecs_managed_tags = bool(parameters["enableECSManagedTags"])
    if parameters.get("propagateTags"):
        service.propagate_tags = parameters["propagateTags"]
    service.options |= {option: parameters[option] for option in STORED_OPTIONS if parameters.get(option)}
    if redeploy:
        service.new_deployment()
    primary = service.primary
    if primary is not None:
        primary.desired_count = service.desired_count
    return service


def delete_service(backend: Any, cluster_name: str | None, name: str, force: bool) -> ServiceRecord:
    """Drain a service; the scheduler makes it INACTIVE when its last task has stopped."""
    from moto.ecs.exceptions import ServiceNotFoundException

    service = find_service(backend, cluster_name, name)
    if service.status == INACTIVE:
        raise ServiceNotFoundException()
    if service.desired_count > 0 and not force:
        raise RequestError("The service cannot be stopped while it is scaled above 0.")
    service.desired_count = 0
    for deployment in service.deployments:
        deployment.desired_count = 0
    service.status = DRAINING
    return service


def list_services(backend: Any, parameters: dict[str, Any]) -> list[str]:
    """ARNs of the services of a cluster that are not INACTIVE."""
    cluster = backend._get_cluster(parameters.get("cluster") or "default")
    return sorted(
        service.arn for service in list(backend.services.values())
        if service.cluster_name == cluster.name and service.status != INACTIVE
        and (parameters.get("launchType") or service.launch_type) == service.launch_type
        and (parameters.get("schedulingStrategy") or "REPLICA") == service.scheduling_strategy
    )
