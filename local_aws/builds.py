# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds of CodeBuild: the commands of an inline buildspec, run by a shell whose `docker` and `aws` are container_cli's.

Each command runs in a shell of its own, in one folder. The service role is really asked for: the log is written, and ECR
called, with what it allows. https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import buildspecs, image_store
from .container_logs import AwsLogs, LogDriverError, LogPump
from .ecs_container import SYSTEM_PATH
from .ecs_permissions import Role

log = logging.getLogger(__name__)
SERVICE = "codebuild.amazonaws.com"
LOOK_SECONDS = 0.2
# What has failed in one of these keeps the build from what follows, but for the end; what fails in BUILD does not keep it from POST_BUILD.
PREPARING = ("INSTALL", "PRE_BUILD")
PROGRAMS = ("docker", "aws")
ROOT = Path(__file__).resolve().parents[1]


def now() -> datetime:
    return datetime.now(timezone.utc)


class BuildLogs(AwsLogs):
    """The log stream of a build, named after it, written with the service role."""

    def __init__(self, account_id: str, region: str, group: str, stream: str, role: Role | None) -> None:
        options = {"awslogs-region": region, "awslogs-group": group, "awslogs-create-group": "true", "awslogs-stream-prefix": ""}
        super().__init__(account_id, options, "", stream, role)
        self._stream = stream


class Build:
    """One build, as BatchGetBuilds describes it; BuildRunner carries it out."""

    def __init__(self, project: dict[str, Any], buildspec: str, timeout_minutes: int, number: int, region: str) -> None:
        self.number, self.region = number, region
        self.name = str(uuid.uuid4())
        self.id = f"{project['name']}:{self.name}"
        self.project, self.buildspec, self.timeout_minutes = project, buildspec, timeout_minutes
        self.status, self.started, self.ended = "IN_PROGRESS", now(), None
        self.phases: list[dict[str, Any]] = []
        logs = (project.get("logsConfig") or {}).get("cloudWatchLogs") or {}
        self.log_group = logs.get("groupName") or f"/aws/codebuild/{project['name']}"
        self.log_stream = f"{logs['streamName']}/{self.name}" if logs.get("streamName") else self.name

    @property
    def arn(self) -> str:
        return self.project["arn"].rpartition(":")[0] + f":build/{self.id}"

    @property
    def log_arn(self) -> str:
        start = self.arn.replace(":codebuild:", ":logs:").partition(":build/")[0]
        return f"{start}:log-group:{self.log_group}:log-stream:{self.log_stream}"

    def enter(self, phase: str) -> dict[str, Any]:
        self.phases.append({"phaseType": phase, "startTime": now()})
        return self.phases[-1]

    def leave(self, status: str = "SUCCEEDED", code: str = "", message: str = "") -> None:
        phase = self.phases[-1]
        phase.update(phaseStatus=status, endTime=now(), contexts=[{"statusCode": code, "message": message}])
        phase["durationInSeconds"] = int((phase["endTime"] - phase["startTime"]).total_seconds())

    def described(self) -> dict[str, Any]:
        project = self.project
        return {
            "id": self.id,
            "arn": self.arn,
            "buildNumber": self.number,
            "startTime": self.started,
            **({"endTime": self.ended} if self.ended else {}),
            "currentPhase": self.phases[-1]["phaseType"] if self.phases else "SUBMITTED",
            "buildStatus": self.status,
            "buildComplete": self.ended is not None,
            "projectName": project["name"],
            "phases": [dict(phase) for phase in self.phases],
            "source": {**project["source"], "buildspec": self.buildspec},
            "artifacts": {"location": ""},
            "cache": {"type": "NO_CACHE"},
            "environment": project["environment"],
            "serviceRole": project["serviceRole"],
            "logs": {
                "groupName": self.log_group,
                "streamName": self.log_stream,
                "cloudWatchLogsArn": self.log_arn,
                "cloudWatchLogs": {"status": "ENABLED", "groupName": self.log_group},
            },
            "timeoutInMinutes": self.timeout_minutes,
            "queuedTimeoutInMinutes": project["queuedTimeoutInMinutes"],
            "encryptionKey": project["encryptionKey"],
        }


class Failed(Exception):
    """A phase ends so: its status, the code and the message of its context."""

    def __init__(self, code: str, message: str, status: str = "FAILED") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class BuildRunner(threading.Thread):
    """Carries one build out."""

    def __init__(self, runtime: Any, account_id: str, build: Build) -> None:
        super().__init__(name=f"build-{build.name[:8]}", daemon=True)
        self.build = build
        self._runtime, self._account_id = runtime, account_id
        self._folder = runtime.settings.folder / "builds" / build.name
        self._stopping = threading.Event()
        self._pump: LogPump | None = None
        self._write_fd = -1
        self._deadline = time.monotonic() + build.timeout_minutes * 60

    def request_stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        build = self.build
        try:
            self._carry_out()
        except Exception as error:  # a defect of the local AWS must end the build, not leave it half alive
            log.exception("build %s", build.id)
            build.leave("FAULT", "INTERNAL_ERROR", f"the local AWS failed: {type(error).__name__}; see the daemon log")
            build.status = "FAULT"
        finally:
            if self._pump:
                os.close(self._write_fd)
                self._pump.finish()
            build.enter("COMPLETED")
            build.ended = now()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _carry_out(self) -> None:
        build = self.build
        spec = buildspecs.Buildspec({}, {})

        def prepare() -> None:
            self._open_log()
            self._folder.mkdir(mode=0o700, parents=True)
            for name in ("source", "bin", "docker"):
                (self._folder / name).mkdir()
            self._put_programs()

        def read() -> None:
            nonlocal spec
            try:
                spec = buildspecs.parse(build.buildspec)
            except buildspecs.BadBuildspec as error:
                raise Failed("YAML_FILE_ERROR", str(error).removeprefix("YAML_FILE_ERROR: ")) from None

        begun = self._phases(("SUBMITTED", lambda: None), ("QUEUED", lambda: None), ("PROVISIONING", prepare), ("DOWNLOAD_SOURCE", read))
        ready = begun and self._phases(*((name, self._commands(spec, name)) for name in PREPARING))
        if ready:
            self._phases(("BUILD", self._commands(spec, "BUILD")))
            self._phases(("POST_BUILD", self._commands(spec, "POST_BUILD")))
        self._phases(("FINALIZING", lambda: None))
        if build.status == "IN_PROGRESS":
            build.status = "SUCCEEDED"

    def _phases(self, *phases: tuple[str, Callable[[], None]]) -> bool:
        """Go through phases until one fails; the first failure is the build's."""
        for name, act in phases:
            self.build.enter(name)
            try:
                if self._stopping.is_set() and name != "FINALIZING":
                    raise Failed("", "", "STOPPED")
                act()
            except Failed as failure:
                self.build.leave(failure.status, failure.code, str(failure))
                if self.build.status == "IN_PROGRESS":
                    self.build.status = failure.status
                return False
            self.build.leave()
        return True

    def _commands(self, spec: buildspecs.Buildspec, phase: str) -> Callable[[], None]:
        def run_all() -> None:
            for command in spec.commands[phase.lower()]:
                code = self._shell(command, spec.variables)
                if code:
                    raise Failed("COMMAND_EXECUTION_ERROR", f"Error while executing command: {command}. Reason: exit status {code}")

        return run_all

    # --- what a build runs in ---

    def _open_log(self) -> None:
        role = Role.find(self._account_id, self.build.project["serviceRole"])
        if role is None or not role.trusts(SERVICE):
            raise Failed("ACCESS_DENIED", "CodeBuild is not authorized to perform: sts:AssumeRole on service role")
        logs = BuildLogs(self._account_id, self.build.region, self.build.log_group, self.build.log_stream, role)
        try:
            logs.open()
        except LogDriverError as error:
            detail = str(error).partition("Cloudwatch log ")[2]
            raise Failed(
                "ACCESS_DENIED",
                "Service role does not allow AWS CodeBuild to create Amazon CloudWatch Logs log streams for build "
                f"{self.build.arn}. Error message: {detail}",
            ) from None
        read_fd, self._write_fd = os.pipe()
        self._pump = LogPump(read_fd, logs, f"build-{self.build.name}")
        self._pump.start()

    def _put_programs(self) -> None:
        for name in PROGRAMS:
            script = self._folder / "bin" / name
            program = f"exec {shlex.quote(sys.executable)} -m local_aws.container_cli {name} \"$@\""
            script.write_text(f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} {program}\n", encoding="utf-8")
            script.chmod(0o700)

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        build, settings = self.build, self._runtime.settings
        environment = build.project["environment"]
        declared = {one["name"]: one["value"] for one in environment.get("environmentVariables") or []}
        # What pip needs of this machine to reach its package index; containers do not get it.
        machine = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_CERT_")) or name.lower().endswith("_proxy")}
        docker = {"LOCAL_AWS_DOCKER": str(self._folder / "docker")} if environment.get("privilegedMode") else {}
        return {
            **machine,
            **docker,
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
            "PATH": f"{self._folder / 'bin'}:{SYSTEM_PATH}",
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "LOCAL_AWS_IMAGES": str(image_store.folder_of(settings.folder)),
            "AWS_ENDPOINT_URL": settings.endpoint_url,
            "AWS_REGION": build.region,
            "AWS_DEFAULT_REGION": build.region,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": settings.endpoint_url
            + self._runtime.credentials.issue(build.project["serviceRole"]),
            "CODEBUILD_BUILD_ID": build.id,
            "CODEBUILD_BUILD_ARN": build.arn,
            "CODEBUILD_SRC_DIR": str(self._folder / "source"),
            "CODEBUILD_START_TIME": str(int(build.started.timestamp() * 1000)),
            **declared,
            **variables,
        }

    def _shell(self, command: str, variables: dict[str, str]) -> int:
        shown = command if len(command) <= 300 else f"{command[:300]}..."
        os.write(self._write_fd, f"[Container] {now():%Y/%m/%d %H:%M:%S} Running command {shown}\n".encode())
        group = self._runtime.processes.start(
            f"build-{self.build.name}", ["/bin/sh", "-c", command], environment=self._environment(variables),
            folder=self._folder / "source", output=self._write_fd,
        )  # fmt: skip
        try:
            while group.poll() is None:
                if self._stopping.wait(LOOK_SECONDS) or self._runtime.stopping.is_set():
                    raise Failed("", "", "STOPPED")
                if time.monotonic() > self._deadline:
                    raise Failed("BUILD_TIMED_OUT", "Build has timed out.", "TIMED_OUT")
            return int(group.poll())
        finally:
            self._runtime.processes.terminate(group, grace=0)


class Builds:
    """All builds of the instance, by project and by ID."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._runners: dict[str, BuildRunner] = {}
        self._lock = threading.Lock()

    def start(self, account_id: str, project: dict[str, Any], region: str, buildspec: str, timeout_minutes: int) -> Build:
        with self._lock:
            number = sum(one.build.project["name"] == project["name"] for one in self._runners.values()) + 1
            # A change of the project does not change a build that runs.
            copy = json.loads(json.dumps(project, default=str))
            build = Build(copy, buildspec, timeout_minutes, number, region)
            runner = self._runners[build.id] = BuildRunner(self._runtime, account_id, build)
        runner.start()
        return build

    def find(self, name: str) -> Build | None:
        """A build by ID or ARN."""
        return next((one.build for one in self._runners.values() if name in (one.build.id, one.build.arn)), None)

    def of(self, project: str) -> list[Build]:
        """The builds of a project, the newest first."""
        return [one.build for one in reversed(list(self._runners.values())) if one.build.project["name"] == project]

    def stop(self, build: Build) -> None:
        self._runners[build.id].request_stop()

    def close(self, timeout: float = 20) -> None:
        """After `runtime.stopping` is set: wait until all builds have ended."""
        deadline = time.monotonic() + timeout
        for runner in list(self._runners.values()):
            runner.join(max(0.0, deadline - time.monotonic()))
