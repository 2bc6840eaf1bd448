# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EventBridge Scheduler: does what its schedules say, when they say it.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_EcsParameters.html
A call that fails is logged and not tried again: the retries of AWS are not imitated.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

from .ecs_permissions import Role
from .ecs_records import now
from .schedules import BadSchedule, parse

log = logging.getLogger(__name__)
SERVICE = "scheduler.amazonaws.com"
# As universal targets spell it, unlike the API of RDS.
IDENTIFIER = "DbInstanceIdentifier"
# Given moto's ECS of a region and RunTask's parameters, the tasks that were started.
RunTask = Callable[[Any, dict[str, Any]], list[Any]]


class Call(NamedTuple):
    """An IAM action, and the method of moto's RDS that carries it out."""

    action: str
    method: str


DATABASES = {
    "arn:aws:scheduler:::aws-sdk:rds:startDBInstance": Call("rds:StartDBInstance", "start_db_instance"),
    "arn:aws:scheduler:::aws-sdk:rds:stopDBInstance": Call("rds:StopDBInstance", "stop_db_instance"),
}
CLUSTER = re.compile(r"arn:[^:]+:ecs:[^:]+:[^:]+:cluster/[A-Za-z0-9_-]+")
# Parameters of a target for ECS, and what RunTask calls them.
ECS = {
    "TaskDefinitionArn": "taskDefinition", "TaskCount": "count", "LaunchType": "launchType", "Group": "group",
    "CapacityProviderStrategy": "capacityProviderStrategy", "NetworkConfiguration": "networkConfiguration",
    "PropagateTags": "propagateTags", "Tags": "tags", "EnableExecuteCommand": "enableExecuteCommand",
}  # fmt: skip


class BadTarget(ValueError):
    """What cannot be scheduled, in one line."""


def check(account_id: str, expression: str, zone: str | None, window: dict[str, Any], target: dict[str, Any]) -> None:
    """BadTarget or BadSchedule for what AWS refuses or this instance does not do."""
    parse(expression, zone, now())
    if (window or {}).get("Mode") != "OFF":
        raise BadTarget("A flexible time window is not supported by the local AWS: use Mode OFF.")
    arn = target.get("Arn") or ""
    if CLUSTER.fullmatch(arn):
        run_task_parameters(target, "")
    elif arn in DATABASES:
        instance_of(target)
    else:
        known = " or ".join(DATABASES)
        raise BadTarget(f"Target {arn} is not supported by the local AWS: use {known}, or an ECS cluster.")
    role = Role.find(account_id, target.get("RoleArn") or "")
    if role is None or not role.trusts(SERVICE):
        raise BadTarget("The execution role you provide must allow AWS EventBridge Scheduler to assume the role.")


def instance_of(target: dict[str, Any]) -> str:
    """The DB instance that the input of a universal target names."""
    try:
        asked = json.loads(target.get("Input") or "{}")
    except ValueError:
        asked = None
    if not isinstance(asked, dict) or set(asked) != {IDENTIFIER} or not isinstance(asked[IDENTIFIER], str):
        raise BadTarget(f"Invalid RequestJson provided. Reason: Input must be an object with {IDENTIFIER} alone.")
    return asked[IDENTIFIER]


def run_task_parameters(target: dict[str, Any], name: str) -> dict[str, Any]:
    """What RunTask is asked for by a target with EcsParameters; its input are the overrides of the task."""
    given = target.get("EcsParameters") or {}
    if not given.get("TaskDefinitionArn"):
        raise BadTarget("EcsParameters with a TaskDefinitionArn must be specified for the ECS target.")
    unknown = sorted(key for key, value in given.items() if key not in ECS and value)
    if unknown:
        raise BadTarget(f"EcsParameters {', '.join(unknown)} are not supported by the local AWS.")
    network = dict((given.get("NetworkConfiguration") or {}).get("awsvpcConfiguration") or {})
    try:
        overrides = json.loads(target.get("Input") or "{}")
    except ValueError:
        overrides = None
    if not isinstance(overrides, dict):
        raise BadTarget("Invalid RequestJson provided. Reason: Input must be an object with the overrides of the task.")
    asked = {ECS[key]: value for key, value in given.items() if key in ECS}
    return {
        **asked,
        "cluster": target["Arn"],
        "networkConfiguration": {"awsvpcConfiguration": {key[0].lower() + key[1:]: network[key] for key in network}},
        "overrides": overrides,
        "startedBy": f"chronos-schedule/{name}",
    }


class Scheduler:
    """Looks each second at what is due."""

    interval = 1.0

    def __init__(self, run_task: RunTask) -> None:
        self._checked = now()
        self._run_task = run_task

    def run_once(self) -> None:
        since, self._checked = self._checked, now()
        for backend, schedule in _enabled():
            created = datetime.fromtimestamp(schedule.last_modified_date, timezone.utc)
            try:
                due = parse(schedule.schedule_expression, schedule.schedule_expression_timezone, created)
            except BadSchedule:
                continue  # refused when it was made
            if due.due(max(since, created), self._checked):
                self._carry_out(backend, schedule)

    def _carry_out(self, backend: Any, schedule: Any) -> None:
        role = Role.find(backend.account_id, schedule.target["RoleArn"])
        if role is None or not role.trusts(SERVICE):
            log.error("schedule %s: its role cannot be assumed", schedule.name)
            return
        carry_out = self._task if CLUSTER.fullmatch(schedule.target["Arn"]) else self._database
        try:
            carry_out(backend, schedule, role)
        except Exception as error:  # what the service answers is nobody's to hear
            log.error("schedule %s: %s", schedule.name, error)

    @staticmethod
    def _database(backend: Any, schedule: Any, role: Role) -> None:
        from moto.rds.models import rds_backends

        account_id, region = backend.account_id, backend.region_name
        call, identifier = DATABASES[schedule.target["Arn"]], instance_of(schedule.target)
        _require(role, call.action, f"arn:aws:rds:{region}:{account_id}:db:{identifier}")
        log.info("schedule %s: %s of %s", schedule.name, call.action, identifier)
        getattr(rds_backends[account_id][region], call.method)(identifier)

    def _task(self, backend: Any, schedule: Any, role: Role) -> None:
        """The role must be allowed to run this task, to tag it and to hand it its own roles."""
        from moto.ecs.models import ecs_backends

        asked = run_task_parameters(schedule.target, schedule.name)
        ecs = ecs_backends[backend.account_id][backend.region_name]
        _require(role, "ecs:RunTask", asked["taskDefinition"])
        definition = ecs.describe_task_definition(asked["taskDefinition"])
        for kind, own in (("executionRoleArn", definition.execution_role_arn), ("taskRoleArn", definition.task_role_arn)):
            if passed := asked["overrides"].get(kind) or own:
                _require(role, "iam:PassRole", passed)
        if asked.get("tags") or asked.get("propagateTags"):
            _require(role, "ecs:TagResource", asked["cluster"].replace(":cluster/", ":task/") + "/any")
        for task in self._run_task(ecs, asked):
            log.info("schedule %s: runs task %s", schedule.name, task.id)


def _require(role: Role, action: str, resource: str) -> None:
    if not role.may(action, resource):
        raise PermissionError(f"its role may not {action} on {resource}")


def _enabled() -> Iterator[tuple[Any, Any]]:
    from moto.scheduler.models import scheduler_backends

    for account in list(scheduler_backends.values()):
        for backend in list(account.values()):
            for group in list(backend.schedule_groups.values()):
                for schedule in list(group.schedules.values()):
                    if schedule.state == "ENABLED":
                        yield backend, schedule
