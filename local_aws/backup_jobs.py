# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Backup at work: rules that are due make snapshots of DB instances, and recovery points end with their lifecycle.

https://docs.aws.amazon.com/aws-backup/latest/devguide/creating-a-backup.html
A job starts when its rule is due, anywhere in whose window AWS may start it. AWS deletes with its own role for AWS Backup.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from moto.rds.models import rds_backends

from . import rds_snapshots, schedules
from .backup_records import COMPLETED, RUNNING, Job, RecoveryPoint
from .ecs_permissions import Role
from .ecs_records import now

log = logging.getLogger(__name__)
SERVICE = "backup.amazonaws.com"
GIB = 2**30


def database(backend: Any, arn: str) -> Any | None:
    """The DB instance of an ARN in this account and region."""
    instances = rds_backends[backend.account_id][backend.region_name].databases
    return next((one for one in list(instances.values()) if one.arn == arn), None)


def missing_permission(role: Role, job: Job) -> str | None:
    """What AWS Backup must do with the role for this job, and may not.

    https://docs.aws.amazon.com/aws-backup/latest/devguide/security-iam-awsmanpol.html
    """
    snapshot = job.resource_arn.rsplit(":", 2)[0] + f":snapshot:{job.snapshot_name}"
    vault = job.vault.backup_vault_arn
    for action, resource in (
        ("backup:DescribeBackupVault", vault), ("backup:CopyIntoBackupVault", vault),
        ("rds:DescribeDBInstances", job.resource_arn), ("rds:ListTagsForResource", job.resource_arn),
        ("rds:CreateDBSnapshot", job.resource_arn), ("rds:CreateDBSnapshot", snapshot),
        ("rds:AddTagsToResource", snapshot), ("rds:DescribeDBSnapshots", snapshot),
    ):  # fmt: skip
        if not role.may(action, resource):
            return f"{action} on {resource}"
    return None


def start(backend: Any, job: Job) -> Job:
    """Keep the job and begin it; what is wrong with it is told by its state, as there may be nobody to answer."""
    backend.jobs[job.id] = job
    role = Role.find(backend.account_id, job.role_arn)
    instance = database(backend, job.resource_arn)
    missing = missing_permission(role, job) if role else None
    if role is None or not role.trusts(SERVICE):
        job.fail(f"IAM Role {job.role_arn} cannot be assumed by AWS Backup")
    elif missing:
        job.fail(f"Insufficient privileges to perform this action: {job.role_arn} may not {missing}")
    elif instance is None:
        job.fail(f"{job.resource_arn} does not exist")
    else:
        _take(backend, job, instance)
    if job.message:
        log.error("backup job %s of %s: %s", job.id, job.resource_name, job.message)
    return job


def _take(backend: Any, job: Job, instance: Any) -> None:
    rds = rds_backends[backend.account_id][backend.region_name]
    tags = {**{tag["Key"]: tag["Value"] for tag in instance.tags}, **job.tags}
    try:
        snapshot = rds.create_db_snapshot(
            instance.db_instance_identifier, job.snapshot_name, snapshot_type=rds_snapshots.MANAGED,
            tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )  # fmt: skip
    except Exception as error:  # what RDS answers is the job's to tell
        job.fail(getattr(error, "message", None) or str(error))
        return
    job.state = RUNNING
    job.point = RecoveryPoint(
        snapshot.arn, job.vault, job, snapshot.allocated_storage * GIB, snapshot.kms_key_id, snapshot.encrypted
    )
    backend.points[snapshot.arn] = job.point


def delete(backend: Any, point: RecoveryPoint) -> None:
    """The recovery point and its snapshot."""
    rds = rds_backends[backend.account_id][backend.region_name]
    backend.points.pop(point.arn, None)
    if point.job.snapshot_name in rds.database_snapshots:
        rds_snapshots.remove(rds, point.job.snapshot_name)


class BackupJobs:
    """Looks each second at what is due, what is done and what has expired."""

    interval = 1.0

    def __init__(self, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._checked = clock()

    def run_once(self) -> None:
        since, self._checked = self._checked, self._clock()
        for backend in _backends():
            for plan in list(backend.plans.values()):
                if plan.deletion_date is None:
                    self._start_due(backend, plan, since)
            for job in list(backend.jobs.values()):
                if job.state == RUNNING:
                    _finish(backend, job)
            for point in list(backend.points.values()):
                if point.status == COMPLETED and point.delete_at and point.delete_at <= self._checked:
                    log.info("recovery point %s has expired", point.arn)
                    delete(backend, point)

    def _start_due(self, backend: Any, plan: Any, since: datetime) -> None:
        created = datetime.fromtimestamp(plan.creation_date, timezone.utc)
        for rule in plan.backup_plan["Rules"]:
            schedule = schedules.parse(rule["ScheduleExpression"], rule["ScheduleExpressionTimezone"], created)
            if rule["TargetBackupVaultName"] not in backend.vaults:
                continue  # deleted since: there is no place for a job
            if schedule.due(max(since, created), self._checked):
                for selection, instance in _selected(backend, plan):
                    start(backend, job_of(backend, plan, rule, selection, instance.arn))


def job_of(backend: Any, plan: Any, rule: dict[str, Any], selection: Any, resource_arn: str) -> Job:
    by = {
        "BackupPlanId": plan.backup_plan_id, "BackupPlanArn": plan.backup_plan_arn,
        "BackupPlanName": plan.backup_plan["BackupPlanName"], "BackupPlanVersion": plan.version_id,
        "BackupRuleId": rule["RuleId"], "BackupRuleName": rule["RuleName"],
    }  # fmt: skip
    vault = backend.vaults[rule["TargetBackupVaultName"]]
    role_arn = selection.document["IamRoleArn"]
    return Job(vault, resource_arn, role_arn, rule.get("Lifecycle") or {}, rule.get("RecoveryPointTags") or {}, by)


def _selected(backend: Any, plan: Any) -> Iterator[tuple[Any, Any]]:
    """Each DB instance that the plan's selections take, once."""
    seen = set()
    for selection in list(backend.selections.values()):
        for instance in list(rds_backends[backend.account_id][backend.region_name].databases.values()):
            tags = {tag["Key"]: tag["Value"] for tag in instance.tags}
            if selection.plan_id == plan.backup_plan_id and instance.arn not in seen and selection.takes(instance.arn, tags):
                seen.add(instance.arn)
                yield selection, instance


def _finish(backend: Any, job: Job) -> None:
    """A job is done when its snapshot is."""
    rds = rds_backends[backend.account_id][backend.region_name]
    snapshot = rds.database_snapshots.get(job.snapshot_name)
    assert job.point is not None
    if snapshot is None or snapshot.status == "failed":
        delete(backend, job.point)
        job.fail("The snapshot failed")
    elif snapshot.status == "available":
        job.state, job.completed = COMPLETED, now()
        job.point.status = COMPLETED


def _backends() -> Iterator[Any]:
    from moto.backup.models import backup_backends

    for account in list(backup_backends.values()):
        yield from list(account.values())
