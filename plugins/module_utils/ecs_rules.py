# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about ECS task definitions, services and tasks, as pure functions over the API's own dictionaries."""

from __future__ import annotations

import typing as t

# Lists whose order ECS does not keep, and what identifies an item in them.
_UNORDERED = {"environment": "name", "secrets": "name", "tags": "key", "portMappings": "containerPort"}


def _canonical(value: t.Any, key: str = "") -> t.Any:
    if isinstance(value, dict):
        return {name: _canonical(item, name) for name, item in value.items() if item not in (None, [], {})}
    if isinstance(value, list):
        items = [_canonical(item) for item in value]
        identity = _UNORDERED.get(key)
        return sorted(items, key=lambda item: str(item.get(identity))) if identity else items
    return value


def _only_asked(current: t.Any, desired: t.Any, key: str = "") -> t.Any:
    """The part of `current` that `desired` speaks of: ECS fills in defaults that nobody asked for."""
    if isinstance(current, dict) and isinstance(desired, dict):
        return {name: _only_asked(item, desired[name], name) for name, item in current.items() if name in desired}
    if isinstance(current, list) and isinstance(desired, list):
        identity = _UNORDERED.get(key)
        if identity:
            asked = {item.get(identity): item for item in desired}
            return [_only_asked(item, asked.get(item.get(identity), item)) for item in current]
        if len(current) == len(desired):
            return [_only_asked(one, other) for one, other in zip(current, desired)]
    return current


def comparable(current: dict | None, desired: dict) -> tuple[dict, dict]:
    """Both sides of a comparison, reduced to what `desired` speaks of; equal means nothing to do."""
    wanted = _canonical(desired)
    return _canonical(_only_asked(_canonical(current or {}), wanted)), wanted


def tags_to_api(tags: dict[str, str]) -> list[dict[str, str]]:
    """ECS spells its tags in lower case, unlike most of AWS."""
    return [{"key": key, "value": str(value)} for key, value in sorted(tags.items())]


def tags_from_api(tags: list[dict[str, str]] | None) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in tags or []}


def tag_changes(current: dict[str, str], desired: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Tags to set and tag keys to remove, in that order."""
    to_set = {key: value for key, value in desired.items() if current.get(key) != value}
    return to_set, sorted(set(current) - set(desired))


def carries(tags: dict[str, str], owner: dict[str, str]) -> bool:
    return all(tags.get(key) == value for key, value in owner.items())


def desired_count(service: dict | None, asked: int, least: int | None, most: int | None) -> int:
    """The number of tasks to ask for: of a service that something else scales, the one that it has.

    ValueError where `least` is above `most`.
    """
    if least is None or most is None:
        return asked
    if least > most:
        raise ValueError(f"min_count = {least}: it is above max_count = {most}; lower it, or raise max_count")
    return max(least, min(service["desiredCount"] if service else asked, most))


def capacity_strategy(spot: bool, on_demand_count: int = 0) -> list[dict[str, t.Any]]:
    """Where tasks run, as ECS has it. A provider of weight 0 gets no task at all, not even those of its base."""
    if not spot:
        return [{"capacityProvider": "FARGATE", "base": 0, "weight": 1}]
    if on_demand_count == 0:
        return [{"capacityProvider": "FARGATE_SPOT", "base": 0, "weight": 1}]
    return [
        {"capacityProvider": "FARGATE", "base": on_demand_count, "weight": 1},
        {"capacityProvider": "FARGATE_SPOT", "base": 0, "weight": 99},
    ]


def rollout_needs_push(service: dict) -> bool:
    """True when ECS has given up on the deployment in force: it starts no task until a new deployment is forced."""
    primary = primary_deployment(service)
    return primary is not None and primary.get("rolloutState") == "FAILED"


def primary_deployment(service: dict) -> dict | None:
    """The deployment in force."""
    return next((one for one in service.get("deployments", []) if one["status"] == "PRIMARY"), None)


class Verdict(t.NamedTuple):
    """`state` is steady, progressing or failed; `reason` says in one line why."""

    state: str
    reason: str


def rollout_verdict(service: dict, task_definition_arn: str, healthy_targets: int | None) -> Verdict:
    """Judge a service against the task definition it should run.

    `service` is an item of DescribeServices; `healthy_targets` counts healthy targets of its target group (None: it has none).
    """
    deployments = service.get("deployments", [])
    ours = [one for one in deployments if one["taskDefinition"] == task_definition_arn]
    newest = max(ours, key=lambda one: str(one.get("createdAt", "")), default=None)
    if newest is not None and newest.get("rolloutState") == "FAILED":
        return Verdict("failed", newest.get("rolloutStateReason") or "ECS deployment circuit breaker was triggered")
    primary = primary_deployment(service)
    if primary is None or primary["taskDefinition"] != task_definition_arn:
        in_force = primary["taskDefinition"].rsplit("/", 1)[-1] if primary else "nothing"
        return Verdict("failed", f"ECS went back to {in_force}")
    return _progress(service, primary, healthy_targets)


def restart_verdict(service: dict, deployment_id: str, healthy_targets: int | None) -> Verdict:
    """Judge a service by one deployment of it: a restart has the task definition of the deployment before it."""
    ours = next((one for one in service.get("deployments", []) if one["id"] == deployment_id), None)
    if ours is None:
        return Verdict("progressing", "ECS does not tell of the new deployment")
    if ours.get("rolloutState") == "FAILED":
        return Verdict("failed", ours.get("rolloutStateReason") or "ECS deployment circuit breaker was triggered")
    if ours["status"] != "PRIMARY":
        return Verdict("failed", "another deployment has taken its place")
    return _progress(service, ours, healthy_targets)


def _progress(service: dict, primary: dict, healthy_targets: int | None) -> Verdict:
    desired, deployments = service["desiredCount"], service.get("deployments", [])
    running = primary.get("runningCount", 0)
    if running < desired:
        return Verdict("progressing", f"{running} of {desired} tasks are running")
    if len(deployments) > 1 or primary.get("rolloutState", "COMPLETED") != "COMPLETED":
        return Verdict("progressing", "tasks of the earlier deployment are stopping")
    if healthy_targets is not None and healthy_targets < desired:
        return Verdict("progressing", f"{healthy_targets} of {desired} targets are healthy")
    return Verdict("steady", f"{running} of {desired} tasks are running")


def task_failure(task: dict) -> str | None:
    """Why a stopped task failed, or None when it ended as asked. `task` is an item of DescribeTasks."""
    if task.get("lastStatus") != "STOPPED":
        return None
    parts = []
    for container in task.get("containers", []):
        code = container.get("exitCode")
        if container.get("reason"):
            parts.append(f"container {container['name']}: {container['reason']}")
        elif code not in (0, None):
            parts.append(f"container {container['name']} exited with code {code}")
    if not parts and task.get("stopCode") != "TaskFailedToStart":
        return None
    reason = task.get("stoppedReason") or task.get("stopCode") or "stopped without a reason"
    # A container that could not be started often has the task's own reason.
    return "; ".join([reason, *(part for part in parts if not part.endswith(f": {reason}"))])


def log_streams(task_definition: dict, task_id: str) -> list[tuple[str, str]]:
    """(log group, log stream) of each container with the awslogs driver."""
    streams = []
    for container in task_definition.get("containerDefinitions", []):
        logging = container.get("logConfiguration") or {}
        options = logging.get("options", {})
        if logging.get("logDriver") == "awslogs" and "awslogs-stream-prefix" in options:
            stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{task_id}"
            streams.append((options["awslogs-group"], stream))
    return streams
