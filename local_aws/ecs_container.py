# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One container as a process group: its environment, its main process, its end.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from . import image_store, read_only_root
from .container_logs import AwsLogs, LogPump, NoLogs
from .ecs_fargate import WRITABLE_MOUNT
from .ecs_health import HealthCheck, HealthState
from .ecs_records import ContainerRecord
from .images import Environment

# What the official python images set.
IMAGE_ENVIRONMENT = {"LANG": "C.UTF-8"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ContainerError(Exception):
    """The container cannot start; the text is the task's stopped reason."""


def override_for(overrides: dict[str, Any], name: str) -> dict[str, Any]:
    """The containerOverrides entry of one container, or {}."""
    entries = (overrides or {}).get("containerOverrides") or []
    return next((entry for entry in entries if entry.get("name") == name), {})


def command_line(definition: dict[str, Any], override: dict[str, Any], image: Environment | None = None) -> list[str]:
    """entryPoint and command, of the image where the definition has none; without either, what the python image runs."""
    command, entrypoint = override.get("command") or definition.get("command"), definition.get("entryPoint")
    if image and not entrypoint:
        # An entry point of one's own takes the image's command away too.
        entrypoint, command = list(image.entrypoint), command or list(image.command)
    words = [*(entrypoint or []), *(command or [])] or ["python3"]
    return [image_store.inside(image.files, word) for word in words] if image and image.files else words


def declared_environment(definition: dict[str, Any], override: dict[str, Any]) -> dict[str, str]:
    """`environment` of the definition, overridden by that of RunTask."""
    entries = [*(definition.get("environment") or []), *(override.get("environment") or [])]
    return {entry["name"]: entry.get("value", "") for entry in entries}


def base_environment(image_bin: Path, private: Path, address: str, ports: list[int], region: str) -> dict[str, str]:
    """What the image and Fargate set, and nothing of the daemon's own environment."""
    return IMAGE_ENVIRONMENT | {
        "PATH": f"{image_bin}:{SYSTEM_PATH}",
        "HOME": str(private / "home"),
        "TMPDIR": str(private / "tmp"),
        "HOSTNAME": f"ip-{address.replace('.', '-')}",
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "LOCAL_AWS_TASK_ADDRESS": address,
        "LOCAL_AWS_TASK_PORTS": ",".join(str(port) for port in ports),
    }


def docker_exit_code(return_code: int) -> int:
    """Exit code as container engines report it: 128 + the signal for a killed process."""
    return return_code if return_code >= 0 else 128 - return_code


class Container:
    """A started container. Not thread-safe: its task's thread owns it; the health probe only runs commands."""

    def __init__(
        self, processes: Any, record: ContainerRecord, command: list[str], environment: dict[str, str],
        folder: Path, logs: AwsLogs | NoLogs, label: str, writable: list[Path],
    ) -> None:
        self.record = record
        self.stop_timeout = float(record.definition.get("stopTimeout") or 30)
        self.check = HealthCheck.of(record.definition.get("healthCheck"))
        self.health = HealthState(self.check) if self.check else None
        self._processes = processes
        self._command = command
        self._environment = environment
        self._folder = folder
        self._logs = logs
        self._label = label
        # Under a read-only root too: what is of this machine, not of the container.
        self._writable = writable
        self._group: Any = None
        self._pump: LogPump | None = None
        self.started = 0.0

    def start(self) -> None:
        """Start the main process. ContainerError if the program is not there."""
        path = shutil.which(self._command[0], path=self._environment["PATH"])
        if path is None:
            raise ContainerError(
                "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime "
                f'task: OCI runtime create failed: exec: "{self._command[0]}": executable file not found in $PATH'
            )
        for name in ("home", "tmp"):
            (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(one["containerPath"] == WRITABLE_MOUNT for one in self.record.definition.get("mountPoints") or []):
            self._writable.append(self._folder / "tmp")
        self._logs.open()
        read_fd, write_fd = os.pipe()
        try:
            self._group = self._processes.start(
                self._label, self._confined([path, *self._command[1:]]), environment=self._environment,
                folder=self._folder / "home", output=write_fd,
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        self._pump = LogPump(read_fd, self._logs, self._label)
        self._pump.start()
        self.started = time.monotonic()
        self.record.last_status = "RUNNING"

    @property
    def read_only(self) -> bool:
        """Whether its root file system is to be read-only."""
        return bool(self.record.definition.get("readonlyRootFilesystem"))

    def _confined(self, command: list[str]) -> list[str]:
        enforced = self.read_only and read_only_root.version()
        return read_only_root.wrapped(command, self._writable) if enforced else command

    def say(self, line: str) -> None:
        """Put a line of the runtime's own into the container's log."""
        self._logs.put([line], time.time())

    @property
    def age(self) -> float:
        """Seconds since the main process started."""
        return time.monotonic() - self.started

    def exit_code(self) -> int | None:
        """The main process's exit code, None while it runs (or never started)."""
        if self._group is None:
            return None
        code = self._group.poll()
        return None if code is None else docker_exit_code(code)

    def pids(self) -> list[int]:
        """The processes of the container that are alive."""
        return self._processes.members(self._group) if self._group is not None else []

    def ask_to_stop(self) -> None:
        """SIGTERM to the main process alone, as container engines do: it must pass it on."""
        if self._group is not None and self._group.poll() is None:
            os.kill(self._group.pid, signal.SIGTERM)

    def end(self) -> None:
        """Kill what is left of the container, write its last lines, note its exit code."""
        if self._group is not None:
            self._processes.terminate(self._group, grace=0)
            self.record.exit_code = self.exit_code()
        if self._pump is not None:
            self._pump.finish()
            self._pump = None
        self.record.last_status = "STOPPED"

    def run_check(self) -> bool:
        """Run the health check command once, in the container's environment; True if it exits 0 in time."""
        assert self.check is not None
        with open(os.devnull, "wb") as nowhere:
            try:
                group = self._processes.start(
                    f"{self._label}-health", self._confined(list(self.check.command)), environment=self._environment,
                    folder=self._folder / "home", output=nowhere.fileno(),
                )
            except OSError:
                return False
        deadline = time.monotonic() + self.check.timeout
        while group.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        passed = group.poll() == 0
        self._processes.terminate(group, grace=0)
        return passed
