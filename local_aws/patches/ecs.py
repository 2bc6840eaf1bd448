# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's ECS, with tasks that run and services that keep them running.

moto 5.2.5 starts no task for a service, lets a task advance one state per describe, drops half of CreateService and
answers 500 without security groups. Here its request handlers call the embedded ECS (tasks.py, services.py) instead;
clusters, task definitions and tags stay moto's. The API: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from moto.core.responses import ActionResult
from moto.ecs import models, responses
from moto.ecs.exceptions import ECSException, TaskDefinitionNotFoundException

from .. import ecs_cluster_api, ecs_service_api, ecs_task_api
from ..ecs_requests import RequestError
from ..services import ServiceScheduler
from ..tasks import TaskRunners
from . import replace

BACKEND = models.EC2ContainerServiceBackend
RESPONSE = responses.EC2ContainerServiceResponse


def _answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a refusal of ours into moto's exception with AWS's code."""

    @functools.wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except RequestError as error:
            raise ECSException(error.code, str(error)) from None

    return wrapped


def apply(runtime: Any) -> None:
    """Put the embedded ECS in place; AttributeError at start if moto has changed."""
    runners = TaskRunners(runtime, runtime.settings.folder / "tasks")
    scheduler = ServiceScheduler(runners)
    _patch_clusters(scheduler)
    _patch_task_definitions()
    _patch_tasks(runners)
    _patch_services(scheduler)
    _patch_tagged_resources()
    runtime.run_task = lambda backend, parameters: ecs_task_api.run_task(backend, runners, parameters)
    runtime.reconcilers.append(scheduler)
    runtime.closers.append(runners.close)


def _patch_clusters(scheduler: ServiceScheduler) -> None:
    plain_create, plain_describe = BACKEND.create_cluster, BACKEND.describe_clusters
    plain_delete = BACKEND.delete_cluster

    def create_cluster(self: Any, cluster_name: str, *args: Any, **kwargs: Any) -> Any:
        existing = self.clusters.get(cluster_name)
        # CreateCluster of an active cluster answers that cluster.
        if existing is None or existing.status != "ACTIVE":
            existing = plain_create(self, cluster_name, *args, **kwargs)
        return ecs_cluster_api.count(self, existing)

    def describe_clusters(self: Any, cluster_names: list[str]) -> Any:
        clusters, failures = plain_describe(self, cluster_names)
        return [ecs_cluster_api.count(self, cluster) for cluster in clusters], failures

    def delete_cluster(self: Any, cluster_str: str) -> Any:
        with scheduler.lock:
            ecs_cluster_api.check_empty(self, ecs_task_api.active_cluster(self, cluster_str))
            return ecs_cluster_api.count(self, plain_delete(self, cluster_str))

    def list_clusters(self: Any) -> list[str]:
        return [cluster.arn for cluster in self.clusters.values() if cluster.status == "ACTIVE"]

    replace(BACKEND, "create_cluster", create_cluster)
    replace(BACKEND, "describe_clusters", describe_clusters)
    replace(BACKEND, "delete_cluster", _answering(delete_cluster))
    replace(BACKEND, "list_clusters", list_clusters)


def _patch_task_definitions() -> None:
    plain_register, plain_describe = BACKEND.register_task_definition, BACKEND.describe_task_definition
    plain_response = RESPONSE.register_task_definition

    def register(self: Any, family: str, container_definitions: list[dict[str, Any]], **kwargs: Any) -> Any:
        sizes = ecs_cluster_api.check_registration({
            "requiresCompatibilities": kwargs.get("requires_compatibilities"),
            "networkMode": kwargs.get("network_mode"),
            "cpu": kwargs.get("cpu"),
            "memory": kwargs.get("memory"),
            "containerDefinitions": container_definitions,
            "executionRoleArn": kwargs.get("execution_role_arn"),
            "volumes": kwargs.get("volumes"),
            "ephemeralStorage": kwargs.get("ephemeral_storage"),
        })
        containers = ecs_cluster_api.normal_containers(container_definitions)
        return ecs_cluster_api.complete_definition(plain_register(self, family, containers, **kwargs | sizes))

    def register_response(self: Any) -> ActionResult:
        result = plain_response(self)
        tags = self._get_param("tags")
        if tags:
            result._result["tags"] = tags
        return result

    def describe(self: Any, task_definition_str: str) -> Any:
        name = task_definition_str.split("/")[-1]
        if ":" in name:
            return plain_describe(self, task_definition_str)
        # A family alone means its latest ACTIVE revision.
        definition = ecs_cluster_api.latest_active(self, name)
        if definition is None:
            raise TaskDefinitionNotFoundException()
        return definition

    replace(BACKEND, "register_task_definition", _answering(register))
    replace(BACKEND, "describe_task_definition", describe)
    replace(RESPONSE, "register_task_definition", register_response)


def _patch_tasks(runners: TaskRunners) -> None:
    def run_task(self: Any) -> ActionResult:
        tasks = ecs_task_api.run_task(self.ecs_backend, runners, self._get_params())
        return ActionResult({"tasks": [task.to_response() for task in tasks], "failures": []})

    def start_task(self: Any) -> ActionResult:
        raise RequestError("No Container Instances were found in your cluster.")

    def stop_task(self: Any) -> ActionResult:
        cluster, task, reason = (self._get_param(name) for name in ("cluster", "task", "reason"))
        record = ecs_task_api.stop_task(self.ecs_backend, runners, cluster, task, reason)
        return ActionResult({"task": record.to_response()})

    def describe_tasks(self: Any) -> ActionResult:
        cluster, names = self._get_param("cluster"), self._get_param("tasks", [])
        tasks, failures = ecs_task_api.describe_tasks(self.ecs_backend, cluster, names)
        _include_tags(self, responses.DESCRIBE_TASKS_TAGS)
        return ActionResult({"tasks": [task.to_response() for task in tasks], "failures": failures})

    def list_tasks(self: Any) -> ActionResult:
        tasks = ecs_task_api.list_tasks(self.ecs_backend, self._get_params())
        return ActionResult({"taskArns": [task.task_arn for task in tasks]})

    for method in (run_task, start_task, stop_task, describe_tasks, list_tasks):
        replace(RESPONSE, method.__name__, _answering(method))


def _include_tags(response: Any, key_path: str) -> None:
    if "TAGS" in response._get_param("include", []):
        response._include_in_response(key_path)
    else:
        response._exclude_from_response(key_path)


def _patch_services(scheduler: ServiceScheduler) -> None:
    def create_service(self: Any) -> ActionResult:
        with scheduler.lock:
            service = ecs_service_api.create_service(self.ecs_backend, self._get_params())
            return ActionResult({"service": service.to_response()})

    def update_service(self: Any) -> ActionResult:
        with scheduler.lock:
            service = ecs_service_api.update_service(self.ecs_backend, self._get_params())
            return ActionResult({"service": service.to_response()})

    def delete_service(self: Any) -> ActionResult:
        cluster, name, force = (self._get_param(key) for key in ("cluster", "service", "force"))
        with scheduler.lock:
            service = ecs_service_api.delete_service(self.ecs_backend, cluster, name, bool(force))
            return ActionResult({"service": service.to_response()})

    def describe_services(self: Any) -> ActionResult:
        cluster, names = self._get_param("cluster", "default"), self._get_param("services", [])
        with scheduler.lock:
            services, failures = self.ecs_backend.describe_services(cluster, names)
            _include_tags(self, responses.DESCRIBE_SERVICES_TAGS)
            return ActionResult({"services": [service.to_response() for service in services], "failures": failures})

    def list_services(self: Any) -> ActionResult:
        return ActionResult({"serviceArns": ecs_service_api.list_services(self.ecs_backend, self._get_params())})

    def no_task_sets(self: Any) -> ActionResult:
        raise RequestError("Task sets are not supported by the local AWS: use the deployment controller ECS.")

    def create_in_backend(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise RequestError("CloudFormation cannot make ECS services on the local AWS: call CreateService.")

    for method in (create_service, update_service, delete_service, describe_services, list_services):
        replace(RESPONSE, method.__name__, _answering(method))
    replace(RESPONSE, "create_task_set", _answering(no_task_sets))
    replace(BACKEND, "create_service", _answering(create_in_backend))


def _patch_tagged_resources() -> None:
    plain = BACKEND.iter_tagged_resources

    def iter_tagged_resources(self: Any) -> Iterator[Any]:
        """The tagging API does not list what is gone: stopped tasks, INACTIVE services and clusters."""
        gone = {service.arn for service in self.services.values() if service.status == "INACTIVE"}
        gone |= {cluster.arn for cluster in self.clusters.values() if cluster.status == "INACTIVE"}
        gone |= {arn for tasks in self.tasks.values() for arn, task in tasks.items() if task.last_status == "STOPPED"}
        return (resource for resource in plain(self) if resource.arn not in gone)

    replace(BACKEND, "iter_tagged_resources", iter_tagged_resources)
