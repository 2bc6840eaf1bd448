# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a task, from PROVISIONING to STOPPED, driven by what really happens to its processes.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
One thread per task; a second one per container that has a health check.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import bytecode, ecs_loadbalancer, ecs_memory, ecs_records, ecs_secrets, image_store, images, read_only_root, registry
from .container_logs import AwsLogs, LogDriverError, NoLogs
from .ecs_container import (
    Container, ContainerError, base_environment, command_line, declared_environment, override_for,
)
from .ecs_fargate import memory_mib
from .ecs_health import UNHEALTHY
from .ecs_permissions import Role
from .ecs_records import TaskRecord

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
MEMORY_SECONDS = 2.0
# Docker probes at this pace while the start period lasts (its --health-start-interval); later at `interval`.
START_INTERVAL_SECONDS = 5.0
DRAIN_LOOK_SECONDS = 0.5
# A target group's longest deregistration delay: nothing drains longer.
LONGEST_DRAIN_SECONDS = 3600.0


class StartError(Exception):
    """The task cannot start; the text is its stopped reason."""


class TaskRunner(threading.Thread):
    """Runs one task until it is STOPPED."""

    def __init__(self, runtime: Any, task: TaskRecord, folder: Path, remover: images.Remover) -> None:
        super().__init__(name=f"task-{task.id[:8]}", daemon=True)
        self.task = task
        self._runtime = runtime
        self._folder = folder
        self._remover = remover
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._containers: list[Container] = []
        self._registered: list[ecs_records.LoadBalancerTarget] = []
        self._next_memory_look = 0.0
        self.on_event: Callable[[str], None] = lambda text: None

    def request_stop(self, code: str, reason: str) -> None:
        """Have the task stopped; the first reason given is the one that is kept."""
        with self._lock:
            if self.task.stop_code is None:
                self.task.stop_code, self.task.stopped_reason = code, reason
            self.task.desired_status = ecs_records.STOPPED
            self.task.mark("stoppingAt")
        self._stopping.set()

    def run(self) -> None:
        try:
            self._start()
            self._watch()
        except StartError as error:
            self._fail(str(error))
        except Exception as error:  # a defect of the local AWS must end the task, not leave it half alive
            log.exception("task %s", self.task.id)
            self._fail(f"InternalError: the local AWS failed: {type(error).__name__}; see the daemon log")
        finally:
            self._finish()

    def _fail(self, reason: str) -> None:
        for record in self.task.containers:
            record.reason = record.reason or reason
        self.request_stop(ecs_records.FAILED_TO_START, reason)

    @property
    def _halted(self) -> bool:
        return self._stopping.is_set() or self._runtime.stopping.is_set()

    def _start(self) -> None:
        task = self.task
        self._stopping.wait(self._runtime.latency.duration("task_start"))
        if self._halted:
            return
        self._attach_network()
        task.advance(ecs_records.PENDING)
        self._prepare_containers()
        if self._halted:
            return
        for container in self._containers:
            try:
                container.start()
            except (ContainerError, LogDriverError) as error:
                raise StartError(str(error)) from None
        task.advance(ecs_records.ACTIVATING)
        self._register_targets()
        task.mark("startedAt")
        task.advance(ecs_records.RUNNING)
        for container in self._containers:
            if container.check:
                name = f"health-{task.id[:8]}-{container.record.name}"
                threading.Thread(target=self._probe, args=(container,), name=name, daemon=True).start()

    def _attach_network(self) -> None:
        from moto.ec2.models import ec2_backends

        task = self.task
        port = next(iter(self._ports()), 0)
        task.address = self._runtime.addresses.allocate("task", port)
        task.eni = ec2_backends[task.account_id][task.region_name].create_network_interface(
            task.subnet_id, task.address, group_ids=task.security_groups,
            description=f"{task.cluster_arn.split(':cluster/')[0]}:attachment/{task.attachment_id}",
        )
        task.eni.status = "in-use"
        task.mark("connectivityAt")

    def _ports(self) -> list[int]:
        return [
            int(mapping["containerPort"])
            for record in self.task.containers for mapping in record.definition.get("portMappings") or []
        ]

    def _prepare_containers(self) -> None:
        task = self.task
        task.mark("pullStartedAt")
        execution_role = self._role("executionRoleArn", task.task_definition, "execution_role_arn")
        role = execution_role[1] if execution_role else None
        pulled = [self._pull(record.definition["image"], record.name, role) for record in task.containers]
        task.mark("pullStoppedAt")
        task_role = self._role("taskRoleArn", task.task_definition, "task_role_arn")
        for record, environment in zip(task.containers, pulled):
            override = override_for(task.overrides, record.name)
            folder = self._folder / record.name
            cache = images.package_cache(os.environ)
            # Images that were built are compiled.
            compiled = bytecode.prepare(environment.folder, folder / "bytecode", cache) if environment.files is None else {}
            variables = {
                **environment.variables,
                **compiled,
                **base_environment(environment.bin, folder, task.address or "", self._ports(), task.region_name),
            }
            variables["AWS_ENDPOINT_URL"] = self._runtime.settings.endpoint_url
            if task_role:
                variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = (
                    self._runtime.settings.endpoint_url + self._runtime.credentials.issue(task_role[0])
                )
            variables |= declared_environment(record.definition, override)
            variables |= self._secrets(record.definition.get("secrets") or [], execution_role)
            logs = self._logs(record, execution_role)
            cache.mkdir(parents=True, exist_ok=True)
            container = Container(
                self._runtime.processes, record, command_line(record.definition, override, environment), variables, folder,
                logs, f"task-{task.id}-{record.name}", [cache, *map(Path, compiled.values())],
            )
            self._containers.append(container)
            remarks = [environment.remark] if environment.remark else []
            if container.read_only and not read_only_root.version():
                remarks.append("this machine's kernel has no Landlock: the root file system is NOT read-only here")
            for remark in remarks:
                log.warning("task %s: %s", task.id, remark)
                logs.open()
                container.say(f"[local AWS] {remark}")

    def _pull(self, reference: str, container: str, role: Role | None) -> images.Environment:
        task = self.task
        try:
            if registry.is_own(reference):
                platform = getattr(task.task_definition, "runtime_platform", None) or {}
                store = image_store.folder_of(self._runtime.settings.folder)
                return registry.pull(
                    store, reference, task.account_id, role, task.id, platform.get("cpuArchitecture") or "X86_64"
                )
            return images.pull(reference, self._folder / container / "image")
        except images.ImageError as error:
            raise StartError(str(error)) from None

    def _role(self, key: str, definition: Any, attribute: str) -> tuple[str, Role] | None:
        arn = (self.task.overrides or {}).get(key) or getattr(definition, attribute, None)
        if not arn:
            return None
        role = Role.find(self.task.account_id, arn)
        if role is None or not role.trusts("ecs-tasks.amazonaws.com"):
            raise StartError(
                f"ECS was unable to assume the role '{arn}' that was provided for this task. Please verify that the "
                "role being passed has the proper trust relationship and permissions and that your IAM user has "
                "permissions to pass this role."
            )
        return arn, role

    def _secrets(self, secrets: list[dict[str, str]], role: tuple[str, Role] | None) -> dict[str, str]:
        if not secrets:
            return {}
        task = self.task
        if role is None:
            raise StartError(ecs_secrets.INITIALIZATION_ERROR + "the task has no execution role")
        try:
            return ecs_secrets.resolve(secrets, role[1], task.account_id, task.region_name, task.id)
        except ecs_secrets.SecretError as error:
            raise StartError(str(error)) from None

    def _logs(self, record: ecs_records.ContainerRecord, role: tuple[str, Role] | None) -> AwsLogs | NoLogs:
        configuration = record.definition.get("logConfiguration")
        if not configuration:
            return NoLogs()
        return AwsLogs(
            self.task.account_id, configuration["options"], record.name, self.task.id, role[1] if role else None
        )

    def _register_targets(self) -> None:
        for target in self.task.load_balancers:
            try:
                ecs_loadbalancer.register(self.task, target)
            except Exception as error:  # moto's error classes; the text says what is missing
                raise StartError(f"unable to register targets in {target.target_group_arn}: {error}") from None
            self._registered.append(target)
            self.on_event(f"registered 1 targets in (target-group {target.target_group_arn})")

    def _watch(self) -> None:
        while not self._halted:
            for container in self._containers:
                self._note_exit(container)
            self._check_memory()
            self._stopping.wait(LOOK_SECONDS)

    def _note_exit(self, container: Container) -> None:
        code = container.exit_code()
        if code is None or container.record.last_status == "STOPPED":
            return
        container.end()
        if container.record.essential:
            self.request_stop(ecs_records.ESSENTIAL_EXITED, "Essential container in task exited")

    def _check_memory(self) -> None:
        if time.monotonic() < self._next_memory_look:
            return
        self._next_memory_look = time.monotonic() + MEMORY_SECONDS
        task = self.task
        size = memory_mib(str((task.overrides or {}).get("memory") or task.task_definition.memory or ""))
        if size:
            pids = [pid for container in self._containers for pid in container.pids()]
            self._enforce(ecs_memory.used_bytes(pids, size * ecs_memory.MIB), size, self._containers)
        for container in self._containers:
            hard_limit = container.record.definition.get("memory")
            if hard_limit and hard_limit < (size or hard_limit + 1):
                used = ecs_memory.used_bytes(container.pids(), hard_limit * ecs_memory.MIB)
                self._enforce(used, hard_limit, [container])

    def _enforce(self, used: int, limit_mib: int, containers: list[Container]) -> None:
        if used <= limit_mib * ecs_memory.MIB:
            return
        for container in containers:
            container.say(
                f"[local AWS] {ecs_memory.OUT_OF_MEMORY}: {used // ecs_memory.MIB} MiB used of {limit_mib} MiB"
            )
            container.end()
            container.record.exit_code = 137
            container.record.reason = ecs_memory.OUT_OF_MEMORY
        log.warning("task %s: %d MiB used of %d MiB, killed", self.task.id, used // ecs_memory.MIB, limit_mib)
        if any(container.record.essential for container in containers):
            self.request_stop(ecs_records.ESSENTIAL_EXITED, ecs_memory.OUT_OF_MEMORY)

    def _probe(self, container: Container) -> None:
        check, health = container.check, container.health
        assert check is not None and health is not None
        while True:
            starting = container.age < check.start_period
            pause = min(check.interval, START_INTERVAL_SECONDS) if starting else check.interval
            if self._stopping.wait(pause) or container.exit_code() is not None or self._halted:
                return
            passed = container.run_check()
            if self._halted or container.exit_code() is not None:
                return
            container.record.health_status = health.record(passed, container.age)
            if health.status == UNHEALTHY and health.failures == check.retries:
                log.info("task %s: container %s is UNHEALTHY", self.task.id, container.record.name)

    def _finish(self) -> None:
        task = self.task
        started = task.last_status in (ecs_records.RUNNING, ecs_records.ACTIVATING)
        if started and self._registered:
            task.advance(ecs_records.DEACTIVATING)
            self._drain()
        if started:
            task.advance(ecs_records.STOPPING)
            self._stop_containers()
        for container in self._containers:
            if container.record.last_status != "STOPPED":
                container.end()
        for record in task.containers:
            record.last_status = "STOPPED"
        task.mark("executionStoppedAt")
        task.advance(ecs_records.DEPROVISIONING)
        self._detach_network()
        self._remover.remove(self._folder)
        task.mark("stoppedAt")
        task.desired_status = ecs_records.STOPPED
        task.advance(ecs_records.STOPPED)

    def _alive(self) -> list[Container]:
        return [container for container in self._containers if container.exit_code() is None]

    def _drain(self) -> None:
        """Leave the target groups; containers that still run get SIGTERM only when draining is over."""
        for target in self._registered:
            if ecs_loadbalancer.deregister(self.task, target):
                self.on_event(f"deregistered 1 targets in (target-group {target.target_group_arn})")
        deadline = time.monotonic() + LONGEST_DRAIN_SECONDS
        waiting = list(self._registered)
        while waiting and self._alive() and not self._runtime.stopping.is_set() and time.monotonic() < deadline:
            waiting = [target for target in waiting if ecs_loadbalancer.health(self.task, target).state == "draining"]
            if waiting:
                self._runtime.stopping.wait(DRAIN_LOOK_SECONDS)

    def _stop_containers(self) -> None:
        for container in self._alive():
            container.ask_to_stop()
        started = time.monotonic()
        while not self._runtime.stopping.is_set():
            late = [container for container in self._alive() if time.monotonic() - started < container.stop_timeout]
            if not late:
                return
            for container in self._containers:
                if container.exit_code() is not None and container.record.last_status != "STOPPED":
                    container.end()
            time.sleep(0.1)

    def _detach_network(self) -> None:
        from moto.ec2.models import ec2_backends

        task = self.task
        if task.eni is not None:
            ec2_backends[task.account_id][task.region_name].enis.pop(task.eni.id, None)


class TaskRunners:
    """All tasks of the local AWS that are not yet STOPPED."""

    def __init__(self, runtime: Any, folder: Path) -> None:
        self._runtime = runtime
        self._folder = folder
        self._remover = images.Remover()
        self._runners: dict[str, TaskRunner] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left_over in folder.iterdir():
            # A daemon that crashed deleted nothing.
            self._remover.remove(left_over)

    def launch(self, task: TaskRecord, on_event: Callable[[str], None] | None = None) -> None:
        """Start running a task."""
        self._runners = {task_id: runner for task_id, runner in self._runners.items() if runner.is_alive()}
        runner = TaskRunner(self._runtime, task, self._folder / task.id, self._remover)
        runner.on_event = on_event or runner.on_event
        self._runners[task.id] = runner
        runner.start()

    def stop(self, task: TaskRecord, code: str, reason: str) -> None:
        """Ask a task to stop; nothing happens if it has stopped."""
        runner = self._runners.get(task.id)
        if runner is not None and runner.is_alive():
            runner.request_stop(code, reason)

    def close(self, timeout: float = 20) -> None:
        """After `runtime.stopping` is set: wait until all tasks have ended. `down` deletes what is left of them."""
        deadline = time.monotonic() + timeout
        for runner in list(self._runners.values()):
            runner.join(max(0.0, deadline - time.monotonic()))
