# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schedules that start and stop a database, and what their IAM role may do."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, schedule_groups

ACTIONS = {"start": "startDBInstance", "stop": "stopDBInstance"}


def access_policy(instance_arn: str) -> dict[str, t.Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["rds:StartDBInstance", "rds:StopDBInstance"], "Resource": instance_arn}
        ],
    }


class DatabaseHours(schedule_groups.ScheduleGroup):
    """The schedule group called `name` and the IAM role `<name>-scheduler`."""

    def __init__(self, iam: t.Any, scheduler: t.Any, name: str) -> None:
        purpose = f"EventBridge Scheduler starts and stops the database of {name} with it"
        super().__init__(iam, scheduler, name, f"{name}-scheduler", "database", tuple(ACTIONS), purpose)

    def plan_present(self, instance_arn: str, schedules: dict[str, str], zone: str, tags: dict) -> aws_changes.Changes:
        """`schedules` has a schedule for `start` and for `stop`."""
        partition, account_id = instance_arn.split(":")[1], instance_arn.split(":")[4]
        wanted = {
            kind: {
                "ScheduleExpression": expression,
                "ScheduleExpressionTimezone": zone,
                "Target": {
                    "Arn": f"arn:{partition}:scheduler:::aws-sdk:rds:{ACTIONS[kind]}",
                    "RoleArn": f"arn:{partition}:iam::{account_id}:role/{self.role.name}",
                    # The spelling of universal targets; the API of RDS says DBInstanceIdentifier.
                    "Input": json.dumps({"DbInstanceIdentifier": instance_arn.rsplit(":", 1)[-1]}),
                },
            }
            for kind, expression in schedules.items()
        }
        return self.plan_schedules(account_id, access_policy(instance_arn), wanted, tags)
