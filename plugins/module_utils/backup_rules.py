# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about a backup plan of AWS Backup for one database: pure functions over options and the API's dictionaries."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import scaling_schedules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure

# The longest lifecycle that AWS Backup takes.
MOST_DAYS = 36500
# AWS starts a job some time in the first hour, and gives it up when it is not done so many minutes after the schedule.
START_WINDOW_MINUTES, COMPLETION_WINDOW_MINUTES = 60, 360
RULE = SELECTION = "database"


def check_options(params: dict[str, t.Any]) -> None:
    """ValueError for what AWS would refuse half way, or what would not do what it says."""
    found = Findings(prefix=params["variable_prefix"])
    arn, schedule = params["db_instance_arn"], params["schedule"]
    if not re.fullmatch(r"arn:[^:]+:rds:[^:]+:\d{12}:db:[^:*]+", arn):
        found.refuse("db_instance_arn", arn, "is not the ARN of an RDS instance", "give its ARN")
    refused = scaling_schedules.problem(schedule) if schedule.startswith("cron(") else None
    if not schedule.startswith("cron("):
        found.refuse(
            "schedule", schedule, "is no cron expression, the only kind that AWS Backup takes", "write cron(0 2 * * ? *)"
        )
    elif refused:
        found.refuse("schedule", schedule, *refused)
    elif not re.fullmatch(r"\d{1,2}", schedule[len("cron(") :].split()[0]):
        found.refuse("schedule", schedule, "is due more than once an hour", "give one minute, as in cron(0 2 * * ? *)")
    if not scaling_schedules.is_zone(params["timezone"]):
        found.refuse("timezone", params["timezone"], "is not a time zone", "write one such as Europe/London or UTC")
    days = params["retention_days"]
    if not 1 <= days <= MOST_DAYS:
        found.refuse("retention_days", days, "is not a number of days that AWS Backup keeps", f"give 1 to {MOST_DAYS}")
    if found.problems:
        raise ValueError(failure(found.problems))


# Without conditions: AWS Backup names no source when it assumes a role, and iam:PassRole does not reach other accounts.
TRUST_POLICY: dict[str, t.Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "backup.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


def access_policy(instance_arn: str, vault_arn: str) -> dict[str, t.Any]:
    """What AWS Backup needs to make snapshots of this instance, and nothing else.

    Of https://docs.aws.amazon.com/aws-backup/latest/devguide/security-iam-awsmanpol.html, "Customer managed policies",
    the part about DB instances. Expired snapshots AWS Backup deletes with its own service-linked role.
    """
    place, _colon, _name = instance_arn.rpartition(":db:")
    partition, account_id = instance_arn.split(":")[1], instance_arn.split(":")[4]
    snapshots = f"{place}:snapshot:awsbackup:*"
    keys = f"arn:{partition}:kms:{instance_arn.split(':')[3]}:{account_id}:key/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "rds:AddTagsToResource", "rds:CreateDBSnapshot", "rds:DescribeDBInstances", "rds:DescribeDBSnapshots",
                    "rds:ListTagsForResource",
                ],
                "Resource": [instance_arn, snapshots],
            },
            {"Effect": "Allow", "Action": "rds:DeleteDBSnapshot", "Resource": snapshots},
            {
                "Effect": "Allow",
                "Action": ["backup:CopyIntoBackupVault", "backup:DescribeBackupVault"],
                "Resource": vault_arn,
            },
            {"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": keys},
            {
                "Effect": "Allow",
                "Action": "kms:CreateGrant",
                "Resource": keys,
                "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            },
        ],
    }  # fmt: skip


def plan_document(name: str, schedule: str, timezone: str, retention_days: int) -> dict[str, t.Any]:
    """The backup plan as AWS is told of it."""
    return {
        "BackupPlanName": name,
        "Rules": [
            {
                "RuleName": RULE,
                "TargetBackupVaultName": name,
                "ScheduleExpression": schedule,
                "ScheduleExpressionTimezone": timezone,
                "StartWindowMinutes": START_WINDOW_MINUTES,
                "CompletionWindowMinutes": COMPLETION_WINDOW_MINUTES,
                "Lifecycle": {"DeleteAfterDays": retention_days},
            }
        ],
    }


def without_empty(value: t.Any) -> t.Any:
    """Without what is empty or false, which AWS may tell or leave out."""
    if isinstance(value, dict):
        kept = {key: without_empty(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


def comparable_plan(found: dict[str, t.Any] | None) -> t.Any:
    """What is compared of a plan: all that can be said of it, without what AWS adds."""
    if found is None:
        return "absent"
    rules = [{key: value for key, value in rule.items() if key != "RuleId"} for rule in found["Rules"]]
    return without_empty({**found, "Rules": sorted(rules, key=lambda one: one["RuleName"])})


def latest(items: list[dict[str, t.Any]], status: str = "") -> dict[str, t.Any]:
    """The youngest recovery point or job, or the youngest recovery point of a status; empty if there is none."""
    fitting = (one for one in items if not status or one["Status"] == status)
    return max(fitting, key=lambda one: one["CreationDate"], default={})
