# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Fargate accepts in a task definition, and what the local AWS cannot run.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
"""

from __future__ import annotations

import re
from typing import Any

GIB = 1024


def _steps(first: int, last: int, step: int) -> frozenset[int]:
    return frozenset(range(first, last + 1, step))


# CPU units -> memory sizes in MiB.
SIZES: dict[int, frozenset[int]] = {
    256: frozenset({512, GIB, 2 * GIB}),
    512: _steps(GIB, 4 * GIB, GIB),
    1024: _steps(2 * GIB, 8 * GIB, GIB),
    2048: _steps(4 * GIB, 16 * GIB, GIB),
    4096: _steps(8 * GIB, 30 * GIB, GIB),
    8192: _steps(16 * GIB, 60 * GIB, 4 * GIB),
    16384: _steps(32 * GIB, 120 * GIB, 8 * GIB),
}

# Parts of a container definition that need a container engine. `user`, `ulimits`,
# `linuxParameters` and `systemControls` are kept and described, but a plain process group does not enforce them.
UNSUPPORTED_CONTAINER_KEYS = (
    "credentialSpecs", "dependsOn", "disableNetworking", "dnsSearchDomains", "dnsServers", "dockerSecurityOptions",
    "environmentFiles", "extraHosts", "firelensConfiguration", "hostname", "links",
    "repositoryCredentials", "resourceRequirements", "restartPolicy", "volumesFrom", "workingDirectory",
)

WRITABLE_MOUNT = "/tmp"
# GiB of a task's storage without EphemeralStorage, and what that may say. How much a task writes is not limited here.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EphemeralStorage.html
DEFAULT_STORAGE = 20
STORAGE = range(21, 200 + 1)


def cpu_units(value: str) -> int | None:
    """CPU units of "512" or "0.5 vCPU"; None if it is neither."""
    if re.fullmatch(r"\d+", value):
        return int(value)
    match = re.fullmatch(r"(\d*\.?\d+)\s*vcpu", value.strip(), re.IGNORECASE)
    return round(float(match.group(1)) * 1024) if match else None


def memory_mib(value: str) -> int | None:
    """MiB of "1024" or "1 GB"; None if it is neither."""
    if re.fullmatch(r"\d+", value):
        return int(value)
    match = re.fullmatch(r"(\d*\.?\d+)\s*gb", value.strip(), re.IGNORECASE)
    return round(float(match.group(1)) * 1024) if match else None


def size_error(cpu: str | None, memory: str | None) -> str | None:
    """AWS's message for a pair that Fargate does not offer, or None."""
    if not cpu or not memory:
        missing = "cpu" if not cpu else "memory"
        return f"Fargate requires that '{missing}' be defined at the task level."
    units, mib = cpu_units(str(cpu)), memory_mib(str(memory))
    if units in SIZES and mib in SIZES[units]:
        return None
    return (
        f"No Fargate configuration exists for given values: {units or cpu} CPU, {mib or memory} memory. "
        "See the Amazon ECS documentation for the valid values."
    )


def storage_error(storage: dict[str, Any] | None) -> str | None:
    """AWS's message for a size of the storage that Fargate does not offer, or None."""
    size = (storage or {}).get("sizeInGiB")
    if storage is None or size in STORAGE:
        return None
    return f"Invalid 'ephemeralStorage' setting: sizeInGiB {size} is not between {STORAGE[0]} and {STORAGE[-1]}."


def definition_error(
    containers: list[dict[str, Any]], execution_role: str | None, volumes: list[dict[str, Any]] | None
) -> str | None:
    """One line saying why Fargate, or the local AWS, refuses these containers; None if all is well."""
    names = [container.get("name") for container in containers]
    if len(set(names)) != len(names):
        return "Invalid 'containerDefinitions' setting: container names must be unique."
    if not any(container.get("essential", True) for container in containers):
        return "Invalid setting for containers: at least one container must be essential."
    error = _volume_error(containers, volumes or [])
    for container in containers:
        error = error or _container_error(container, execution_role)
    return error


def _volume_error(containers: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> str | None:
    """The local AWS has empty volumes, each of one container, at /tmp: where TMPDIR leads it elsewhere."""
    names = {volume.get("name") for volume in volumes}
    for volume in volumes:
        if any(value for key, value in volume.items() if key != "name"):
            return f"Volume '{volume.get('name')}' is not supported by the local AWS: it has empty volumes only."
    mounts = [(container.get("name"), mount) for container in containers for mount in container.get("mountPoints") or []]
    for container, mount in mounts:
        if mount.get("sourceVolume") not in names:
            return f"Invalid 'mountPoints' of container '{container}': unknown volume '{mount.get('sourceVolume')}'."
        if mount.get("containerPath") != WRITABLE_MOUNT or mount.get("readOnly"):
            return (
                f"The mount at '{mount.get('containerPath')}' of container '{container}' is not supported by the local "
                f"AWS: it mounts at {WRITABLE_MOUNT} only, to be written to."
            )
    if len({mount["sourceVolume"] for _name, mount in mounts}) < len(mounts):
        return "A volume that two containers share is not supported by the local AWS."
    return None


def _container_error(container: dict[str, Any], execution_role: str | None) -> str | None:
    name = container.get("name")
    for key in UNSUPPORTED_CONTAINER_KEYS:
        if container.get(key):
            return f"'{key}' of container '{name}' is not supported by the local AWS: remove it."
    if container.get("privileged"):
        return f"Fargate does not support privileged containers: '{name}'."
    if container.get("secrets") and not execution_role:
        return "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
    if not 0 <= int(container.get("stopTimeout") or 0) <= 120:
        return f"Invalid 'stopTimeout' of container '{name}': Fargate allows at most 120 seconds."
    for mapping in container.get("portMappings") or []:
        host_port = mapping.get("hostPort")
        if host_port and host_port != mapping.get("containerPort"):
            return "When networkMode=awsvpc, the host ports and container ports in port mappings must match."
    return _logging_error(container, execution_role)


def _logging_error(container: dict[str, Any], execution_role: str | None) -> str | None:
    logging = container.get("logConfiguration")
    if not logging:
        return None
    if logging.get("logDriver") != "awslogs":
        return (
            f"Log driver '{logging.get('logDriver')}' of container '{container.get('name')}' is not supported by the "
            "local AWS: use awslogs."
        )
    options = logging.get("options") or {}
    for option in ("awslogs-group", "awslogs-region", "awslogs-stream-prefix"):
        if not options.get(option):
            return f"Log driver awslogs requires options: {option} for container '{container.get('name')}'."
    for option in ("awslogs-datetime-format", "awslogs-multiline-pattern"):
        if options.get(option):
            return f"Log option '{option}' is not supported by the local AWS: remove it."
    if not execution_role:
        return "Fargate requires task definition to have execution role ARN to support log driver awslogs."
    return None
