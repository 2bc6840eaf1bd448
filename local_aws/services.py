# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ECS service scheduler: keeps services at their desired count, rolls deployments out and back.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from . import ecs_loadbalancer, ecs_records
from .ecs_deployments import Population, breaker_threshold, next_step, recent_failures, start_delay
from .ecs_health import HEALTHY, UNHEALTHY, HealthCheck
from .ecs_records import RUNNING, STOPPED, TaskRecord, now
from .ecs_requests import RequestError, new_task, provider_for
from .ecs_service_records import ACTIVE, COMPLETED, DRAINING, FAILED, IN_PROGRESS, INACTIVE, PRIMARY
from .ecs_service_records import Deployment, ServiceRecord
from .tasks import TaskRunners

log = logging.getLogger(__name__)

# A task without any health check counts as started well when it has run this long.
SETTLE_SECONDS = 2.0
KEPT_SECONDS = 3600
INCONSISTENT = (
    "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the "
    "Amazon ECS Developer Guide."
)


class ServiceScheduler:
    """One pass over all services per call of `run_once`. `lock` guards services against API calls meanwhile."""

    def __init__(self, runners: TaskRunners) -> None:
        self.lock = threading.RLock()
        self._runners = runners

    def run_once(self) -> None:
        """Bring every service one step nearer to what it should be; forget what stopped an hour ago."""
        for backend in _backends():
            with self.lock:
                for service in list(backend.services.values()):
                    if isinstance(service, ServiceRecord):
                        self.reconcile(backend, service)
                _forget(backend)

    def reconcile(self, backend: Any, service: ServiceRecord) -> None:
        """Bring one service one step nearer."""
        ended = {task.id for task in service.tasks if task.last_status == STOPPED}
        for deployment in service.deployments:
            for task in list(deployment.tasks):
                self._judge(service, deployment, task)
        self._advance_rollout(service)
        if service.status == ACTIVE:
            self._move(backend, service)
        elif service.status == DRAINING:
            self._drain(service)
        for deployment in service.deployments:
            # Only those that were judged after their end: a failure must be counted.
            deployment.tasks = [task for task in deployment.tasks if task.id not in ended]

    # --- one task ---

    def _judge(self, service: ServiceRecord, deployment: Deployment, task: TaskRecord) -> None:
        """Stop a task that its health checks condemn; count one that failed."""
        if task.is_live and task.last_status == RUNNING and not self._in_grace(service, task):
            reason = self._unhealthy_reason(service, task)
            if reason:
                self._runners.stop(task, ecs_records.SCHEDULER_INITIATED, reason)
                self._count_failure(service, deployment, task)
        if task.stop_code in (ecs_records.ESSENTIAL_EXITED, ecs_records.FAILED_TO_START):
            self._count_failure(service, deployment, task)

    @staticmethod
    def _in_grace(service: ServiceRecord, task: TaskRecord) -> bool:
        """healthCheckGracePeriodSeconds: container and load balancer checks do not count so soon after the start."""
        started = task.times.get("startedAt")
        return started is None or now() - started < timedelta(seconds=service.health_check_grace_period or 0)

    @staticmethod
    def _unhealthy_reason(service: ServiceRecord, task: TaskRecord) -> str | None:
        if task.health_status == UNHEALTHY:
            service.event(f"(task {task.id}) failed container health checks.")
            return "Task failed container health checks"
        for target in task.load_balancers:
            health = ecs_loadbalancer.health(task, target)
            if health.state == "unhealthy":
                service.event(
                    f"(port {target.container_port}) is unhealthy in (target-group {target.target_group_arn}) due to "
                    f"(reason {health.reason})."
                )
                return f"Task failed ELB health checks in (target-group {target.target_group_arn})"
        return None

    @staticmethod
    def _count_failure(service: ServiceRecord, deployment: Deployment, task: TaskRecord) -> None:
        if task.id in deployment.counted:
            return
        deployment.counted.add(task.id)
        deployment.failed_tasks += 1
        deployment.updated_at = now()
        _throttle(deployment)
        service.steady_reported = False
        log.info("service %s: task %s: %s", service.name, task.id, task.stopped_reason)
        if deployment.failed_tasks >= 3 and not deployment.warned:
            deployment.warned = True
            service.event(INCONSISTENT)

    @staticmethod
    def _is_steady(task: TaskRecord) -> bool:
        """Whether a task runs and every health check that it has says so."""
        if not task.is_live or task.last_status != RUNNING:
            return False
        checked = any(
            container.essential and HealthCheck.of(container.definition.get("healthCheck"))
            for container in task.containers
        )
        if checked and task.health_status != HEALTHY:
            return False
        for target in task.load_balancers:
            # `unused`: the target group has no listener that sends it requests, so nothing checks it.
            if ecs_loadbalancer.health(task, target).state not in ("healthy", "unused"):
                return False
        if checked or task.load_balancers:
            return True
        return now() - task.times["startedAt"] >= timedelta(seconds=SETTLE_SECONDS)

    def _population(self, deployments: list[Deployment]) -> Population:
        live = [task for deployment in deployments for task in deployment.live]
        steady = sum(self._is_steady(task) for task in live)
        return Population(steady, len(live) - steady)

    # --- one service ---

    def _advance_rollout(self, service: ServiceRecord) -> None:
        """Complete, fail or roll back the primary deployment."""
        primary = service.primary
        if primary is None or service.status != ACTIVE:
            return
        old = [deployment for deployment in service.deployments if deployment is not primary]
        steady = self._population([primary]).steady
        if steady and primary.failed_tasks:
            # AWS counts consecutive failures: a task that runs well ends the series.
            primary.failed_tasks, primary.warned = 0, False
        if primary.rollout_state == IN_PROGRESS:
            enabled, rollback = service.breaker()
            if enabled and primary.failed_tasks >= breaker_threshold(service.desired_count):
                self._fail(service, primary, rollback)
                return
            if steady >= service.desired_count and not any(deployment.unfinished for deployment in old):
                primary.set_state(COMPLETED, f"ECS deployment {primary.id} completed.")
                service.last_completed = primary
                service.event(f"(deployment {primary.id}) deployment completed.")
        if primary.rollout_state in (COMPLETED, FAILED):
            service.deployments = [
                deployment for deployment in service.deployments if deployment is primary or deployment.unfinished
            ]
        self._report_steady(service, primary, steady)

    @staticmethod
    def _report_steady(service: ServiceRecord, primary: Deployment, steady: int) -> None:
        is_steady = (
            primary.rollout_state == COMPLETED and len(service.deployments) == 1
            and steady == service.desired_count and len(primary.unfinished) == service.desired_count
        )
        if is_steady and not service.steady_reported:
            service.event("has reached a steady state.")
        service.steady_reported = is_steady

    def _fail(self, service: ServiceRecord, failed: Deployment, rollback: bool) -> None:
        failed.set_state(FAILED, "ECS deployment circuit breaker: tasks failed to start.")
        service.event(f"(deployment {failed.id}) deployment failed: tasks failed to start.")
        good = service.last_completed
        if not rollback or good is None or good is failed:
            return
        service.event(f"(deployment {failed.id}) rolling back to (deployment {good.id}).")
        failed.status = ACTIVE
        service.task_definition = good.task_definition_arn
        service.network_configuration = good.network_configuration
        service.load_balancers = good.load_balancers
        if good in service.deployments:
            good.status = PRIMARY
            service.deployments.remove(good)
            service.deployments.insert(0, good)
        else:
            good = service.new_deployment()
        good.failed_tasks = 0
        good.desired_count = service.desired_count
        good.set_state(
            IN_PROGRESS, f"ECS deployment circuit breaker: rolling back to deploymentId {good.id}."
        )

    def _move(self, backend: Any, service: ServiceRecord) -> None:
        primary = service.primary
        if primary is None:
            return
        old = [deployment for deployment in service.deployments if deployment is not primary]
        minimum, maximum = service.percents()
        may_start = primary.rollout_state != FAILED and time.monotonic() >= primary.not_before
        step = next_step(
            service.desired_count, minimum, maximum, self._population([primary]), self._population(old), may_start
        )
        self._stop_some(service, [primary], step.stop_primary, steady=None)
        self._stop_some(service, old, step.stop_old_unsteady, steady=False)
        self._stop_some(service, old, step.stop_old_steady, steady=True)
        if step.start:
            self._start_some(backend, service, primary, step.start)

    def _stop_some(
        self, service: ServiceRecord, deployments: list[Deployment], count: int, steady: bool | None
    ) -> None:
        chosen: list[tuple[Deployment, TaskRecord]] = []
        for deployment in deployments:
            chosen += [
                (deployment, task) for task in deployment.live if steady is None or self._is_steady(task) == steady
            ]
        # Scale-in takes the tasks that serve nobody first, then the youngest.
        chosen.sort(key=lambda entry: (self._is_steady(entry[1]), -entry[1].created_at.timestamp()))
        for deployment, task in chosen[:count]:
            reason = f"Scaling activity initiated by (deployment {deployment.id})"
            if task.load_balancers and task.last_status == RUNNING:
                service.event("has begun draining connections on 1 tasks.")
            self._runners.stop(task, ecs_records.SCHEDULER_INITIATED, reason)
            service.event(f"has stopped 1 running tasks: (task {task.id}).")

    def _start_some(self, backend: Any, service: ServiceRecord, deployment: Deployment, count: int) -> None:
        started: list[TaskRecord] = []
        try:
            for _unused in range(count):
                task = new_task(
                    backend,
                    backend._get_cluster(service.cluster_name),
                    backend.describe_task_definition(deployment.task_definition_arn),
                    deployment.network_configuration,
                    group=f"service:{service.name}",
                    started_by=deployment.id,
                    launch_type=deployment.launch_type,
                    capacity_provider=provider_for(
                        deployment.capacity_provider_strategy,
                        [one.capacity_provider_name for one in [*deployment.live, *started]],
                    ),
                    subnet_index=len(deployment.live) + len(started),
                )
                task.load_balancers = service.targets()
                task.tags = _propagated_tags(service, task)
                task.enable_execute_command = service.enable_execute_command
                started.append(task)
        except RequestError as error:
            service.event(f"was unable to place a task. Reason: {error}")
            deployment.failed_tasks += 1
            _throttle(deployment)
        for task in started:
            deployment.tasks.append(task)
            self._runners.launch(task, service.event)
        if started:
            names = " ".join(f"(task {task.id})" for task in started)
            service.event(f"has started {len(started)} tasks: {names}.")
            service.steady_reported = False

    def _drain(self, service: ServiceRecord) -> None:
        """A deleted service stops its tasks and is INACTIVE when the last one has stopped."""
        self._stop_some(service, service.deployments, len(service.tasks), steady=None)
        if not any(deployment.unfinished for deployment in service.deployments):
            service.status = INACTIVE
            service.inactive_at = now()
            service.deployments = []


def _throttle(deployment: Deployment) -> None:
    moment = time.monotonic()
    deployment.failures = [*recent_failures(deployment.failures, moment), moment]
    deployment.not_before = moment + start_delay(len(deployment.failures))


def _propagated_tags(service: ServiceRecord, task: TaskRecord) -> list[dict[str, str]]:
    if service.propagate_tags == "SERVICE":
        tags = list(service.tags)
    elif service.propagate_tags == "TASK_DEFINITION":
        tags = list(task.task_definition.tags or [])
    else:
        tags = []
    if service.enable_ecs_managed_tags:
        tags += [
            {"key": "aws:ecs:clusterName", "value": service.cluster_name},
            {"key": "aws:ecs:serviceName", "value": service.name},
        ]
    return tags


def _backends() -> Iterator[Any]:
    from moto.ecs.models import ecs_backends

    for account in list(ecs_backends.values()):
        yield from list(account.values())


def _forget(backend: Any) -> None:
    """Stopped tasks stay describable for an hour, as on AWS; so do deleted services here."""
    oldest = now() - timedelta(seconds=KEPT_SECONDS)
    for tasks in backend.tasks.values():
        for arn in [arn for arn, task in tasks.items() if task.times.get("stoppedAt", now()) < oldest]:
            del tasks[arn]
    for key, service in list(backend.services.items()):
        if isinstance(service, ServiceRecord) and service.inactive_at and service.inactive_at < oldest:
            del backend.services[key]
