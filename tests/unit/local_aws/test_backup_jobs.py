# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When AWS Backup acts and what it takes; the jobs themselves: tests/integration/local_aws/test_backup.py."""

from __future__ import annotations

import types
from datetime import datetime, timedelta, timezone

import pytest

from local_aws import backup_jobs
from local_aws.backup_records import COMPLETED, CREATING, RUNNING, Job, RecoveryPoint, Selection

ARN = "arn:aws:rds:eu-west-2:123456789012:db:web-db"
NOON = datetime(2026, 11, 28, 12, 0, 30, tzinfo=timezone.utc)
TAGS = {"team": "a", "stage": "live"}


def condition(kind: str, key: str, value: str) -> dict:
    return {"Conditions": {kind: [{"ConditionKey": f"aws:ResourceTag/{key}", "ConditionValue": value}]}}


def listed(*pairs: tuple[str, str]) -> dict:
    return {"ListOfTags": [{"ConditionType": "STRINGEQUALS", "ConditionKey": key, "ConditionValue": value} for key, value in pairs]}


@pytest.mark.parametrize(
    ("document", "takes"),
    [
        ({"Resources": [ARN]}, True),
        ({"Resources": [ARN + "2"]}, False),
        ({"Resources": ["arn:aws:rds:*:*:db:web-*"]}, True),
        ({"Resources": ["*"], "NotResources": [ARN]}, False),
        (listed(("team", "b"), ("stage", "live")), True),
        (listed(("team", "b")), False),
        (condition("StringEquals", "team", "a"), True),
        (condition("StringEquals", "other", "a"), False),
        (condition("StringNotEquals", "team", "a"), False),
        (condition("StringLike", "stage", "l*"), True),
        (condition("StringLike", "other", "*"), False),
        (condition("StringNotLike", "stage", "l*"), False),
        (condition("StringNotLike", "other", "l*"), True),
        ({"Resources": [ARN], **condition("StringEquals", "team", "b")}, False),
    ],
)
def test_what_a_selection_takes(document, takes):
    assert Selection("plan", document).takes(ARN, TAGS) is takes


class Backend:
    """AWS Backup with one plan, due each day at 12:01, whose selection takes everything."""

    account_id, region_name = "123456789012", "eu-west-2"

    def __init__(self) -> None:
        self.vault = types.SimpleNamespace(backup_vault_name="safe", backup_vault_arn="arn:safe")
        self.vaults = {"safe": self.vault}
        rule = {
            "RuleId": "1", "RuleName": "daily", "TargetBackupVaultName": "safe", "ScheduleExpression": "cron(1 12 * * ? *)",
            "ScheduleExpressionTimezone": "UTC", "Lifecycle": {"DeleteAfterDays": 2},
        }  # fmt: skip
        self.plan = types.SimpleNamespace(
            backup_plan_id="plan", backup_plan_arn="arn:plan", version_id="v", deletion_date=None,
            creation_date=(NOON - timedelta(days=9)).timestamp(), backup_plan={"BackupPlanName": "web", "Rules": [rule]},
        )  # fmt: skip
        self.plans = {"plan": self.plan}
        self.selections = {"1": Selection("plan", {"IamRoleArn": "arn:role", "SelectionName": "a"})}
        self.jobs, self.points = {}, {}

    def keep(self, made: datetime, status: str = COMPLETED, days: int | None = 2) -> RecoveryPoint:
        job = Job(self.vault, ARN, "arn:role", {"DeleteAfterDays": days} if days else {}, {}, {}, created=made)
        point = RecoveryPoint(f"arn:{job.id}", self.vault, job, 1, None, False, status)
        self.points[point.arn] = job.point = point
        return point


@pytest.fixture
def backend(monkeypatch):
    made = Backend()
    rds = types.SimpleNamespace(
        databases={"web-db": types.SimpleNamespace(arn=ARN, tags=[])}, database_snapshots={}, removed=[]
    )
    made.rds = rds
    monkeypatch.setattr(backup_jobs, "_backends", lambda: [made])
    monkeypatch.setattr(backup_jobs, "rds_backends", {made.account_id: {made.region_name: rds}})
    monkeypatch.setattr(backup_jobs.rds_snapshots, "remove", lambda rds, name: rds.removed.append(name))
    return made


@pytest.fixture
def started(monkeypatch) -> list[Job]:
    jobs: list[Job] = []
    monkeypatch.setattr(backup_jobs, "start", lambda _backend, job: jobs.append(job))
    return jobs


def run(*seconds: float) -> None:
    """One look each at so many seconds after noon, the first when the local AWS comes up."""
    moments = iter(NOON + timedelta(seconds=one) for one in (0, *seconds))
    jobs = backup_jobs.BackupJobs(lambda: next(moments))
    for _unused in seconds:
        jobs.run_once()


def test_a_rule_starts_one_job_for_each_database_when_it_is_due(backend, started):
    run(20, 29)
    assert started == []
    backend.selections["2"] = Selection("plan", {"IamRoleArn": "arn:other", "SelectionName": "b"})
    run(20, 31, 32, 95)
    assert [(job.resource_arn, job.role_arn, job.lifecycle) for job in started] == [(ARN, "arn:role", {"DeleteAfterDays": 2})]
    assert started[0].created_by["BackupPlanId"] == "plan" and started[0].created_by["BackupRuleName"] == "daily"


def test_neither_deleted_plans_nor_rules_without_vault_start_jobs(backend, started):
    backend.vaults.clear()
    run(31)
    backend.vaults["safe"] = backend.vault
    backend.plan.deletion_date = NOON.timestamp()
    run(31)
    assert started == []


def test_recovery_points_end_with_their_lifecycle(backend, started):
    old = backend.keep(NOON - timedelta(days=2))
    backend.rds.database_snapshots[old.job.snapshot_name] = None
    kept = [
        backend.keep(NOON - timedelta(days=1, hours=23)), backend.keep(NOON - timedelta(days=99), days=None),
        backend.keep(NOON - timedelta(days=3), CREATING),
    ]  # fmt: skip
    run(1)
    assert list(backend.points) == [point.arn for point in kept] and backend.rds.removed == [old.job.snapshot_name]


@pytest.mark.parametrize(("snapshot", "state"), [("available", COMPLETED), ("failed", "FAILED"), ("creating", RUNNING), (None, "FAILED")])
def test_a_job_ends_as_its_snapshot_does(backend, started, snapshot, state):
    point = backend.keep(NOON, CREATING)
    job = backend.jobs[point.job.id] = point.job
    job.state = RUNNING
    if snapshot:
        backend.rds.database_snapshots[job.snapshot_name] = types.SimpleNamespace(status=snapshot)
    run(1)
    assert job.state == state and (job.completed is None) == (state == RUNNING)
    assert (point.arn in backend.points) == (state != "FAILED")
