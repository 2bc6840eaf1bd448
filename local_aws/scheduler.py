# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EventBridge Scheduler: does what its schedules say, when they say it.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
A call that fails is logged and not tried again: the retries of AWS are not imitated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

from .ecs_permissions import Role
from .ecs_records import now
from .schedules import BadSchedule, parse

log = logging.getLogger(__name__)
SERVICE = "scheduler.amazonaws.com"
# As universal targets spell it, unlike the API of RDS.
IDENTIFIER = "DbInstanceIdentifier"


class Call(NamedTuple):
    """An IAM action, and the method of moto's RDS that carries it out."""

    action: str
    method: str


TARGETS = {
    "arn:aws:scheduler:::aws-sdk:rds:startDBInstance": Call("rds:StartDBInstance", "start_db_instance"),
    "arn:aws:scheduler:::aws-sdk:rds:stopDBInstance": Call("rds:StopDBInstance", "stop_db_instance"),
}


class BadTarget(ValueError):
    """What cannot be scheduled, in one line."""


def check(account_id: str, expression: str, zone: str | None, window: dict[str, Any], target: dict[str, Any]) -> None:
    """BadTarget or BadSchedule for what AWS refuses or this instance does not do."""
    parse(expression, zone, now())
    if (window or {}).get("Mode") != "OFF":
        raise BadTarget("A flexible time window is not supported by the local AWS: use Mode OFF.")
    if target.get("Arn") not in TARGETS:
        raise BadTarget(f"Target {target.get('Arn')} is not supported by the local AWS: use {' or '.join(TARGETS)}.")
    instance_of(target)
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


class Scheduler:
    """Looks each second at what is due."""

    interval = 1.0

    def __init__(self) -> None:
        self._checked = now()

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

    @staticmethod
    def _carry_out(backend: Any, schedule: Any) -> None:
        from moto.rds.models import rds_backends

        account_id, region = backend.account_id, backend.region_name
        call, identifier = TARGETS[schedule.target["Arn"]], instance_of(schedule.target)
        role = Role.find(account_id, schedule.target["RoleArn"])
        resource = f"arn:aws:rds:{region}:{account_id}:db:{identifier}"
        if role is None or not role.trusts(SERVICE):
            log.error("schedule %s: its role cannot be assumed", schedule.name)
        elif not role.may(call.action, resource):
            log.error("schedule %s: its role may not %s on %s", schedule.name, call.action, resource)
        else:
            log.info("schedule %s: %s of %s", schedule.name, call.action, identifier)
            try:
                getattr(rds_backends[account_id][region], call.method)(identifier)
            except Exception as error:  # what RDS answers is nobody's to hear
                log.error("schedule %s: %s: %s", schedule.name, call.action, error)


def _enabled() -> Iterator[tuple[Any, Any]]:
    from moto.scheduler.models import scheduler_backends

    for account in list(scheduler_backends.values()):
        for backend in list(account.values()):
            for group in list(backend.schedule_groups.values()):
                for schedule in list(group.schedules.values()):
                    if schedule.state == "ENABLED":
                        yield backend, schedule
