# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schedule that runs a Fargate task, and what its IAM role may do.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/tasks-scheduled-eventbridge-scheduler.html
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, schedule_groups, scaling_schedules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

KIND = "run"
CLUSTER = re.compile(r"arn:[a-z-]+:ecs:[a-z0-9-]+:\d{12}:cluster/[A-Za-z0-9_-]+")
FAMILY = re.compile(r"arn:[a-z-]+:ecs:[a-z0-9-]+:\d{12}:task-definition/[A-Za-z0-9_-]+")


def check(options: dict[str, t.Any], found: Findings) -> None:
    """Refuses what cannot work; `options` are those of M(mlops.mlflow_aws.ecs_scheduled_task)."""
    refused = scaling_schedules.problem(options["schedule"])
    if refused:
        found.refuse("schedule", options["schedule"], refused[0], refused[1])
    if not scaling_schedules.is_zone(options["timezone"]):
        found.refuse("timezone", options["timezone"], "is not a time zone", "write one such as Europe/London or UTC")
    for option, pattern, what in (
        ("cluster_arn", CLUSTER, "the ARN of an ECS cluster"),
        ("task_definition_arn", FAMILY, "the ARN of a task definition without a revision"),
    ):
        if not pattern.fullmatch(options[option]):
            found.refuse(option, options[option], f"is not {what}", "give one")


def access_policy(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run this family in this cluster, hand it its roles, tag the task; nothing else."""
    cluster, family = options["cluster_arn"], options["task_definition_arn"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "ecs:RunTask",
                # IAM judges by the ARN as it is asked for, which here is without a revision.
                "Resource": [family, f"{family}:*"],
                "Condition": {"ArnEquals": {"ecs:cluster": cluster}},
            },
            {
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": sorted(options["role_arns"]),
                "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            },
            {
                "Effect": "Allow",
                "Action": "ecs:TagResource",
                "Resource": cluster.replace(":cluster/", ":task/") + "/*",
                "Condition": {"StringEquals": {"ecs:CreateAction": "RunTask"}},
            },
        ],
    }


def schedule(options: dict[str, t.Any], role_arn: str) -> dict[str, t.Any]:
    """CreateSchedule's parameters. A revision is not named: the task is always of the newest."""
    override = {"name": options["container"], "command": options["command"]}
    environment = aws_changes.text_tags(options["environment"])
    if environment:
        override["environment"] = [{"name": key, "value": environment[key]} for key in sorted(environment)]
    return {
        "ScheduleExpression": options["schedule"],
        "ScheduleExpressionTimezone": options["timezone"],
        "Target": {
            "Arn": options["cluster_arn"],
            "RoleArn": role_arn,
            "Input": json.dumps({"containerOverrides": [override]}),
            "EcsParameters": {
                "TaskDefinitionArn": options["task_definition_arn"],
                "TaskCount": 1,
                "LaunchType": "FARGATE",
                "PropagateTags": "TASK_DEFINITION",
                "NetworkConfiguration": {
                    "awsvpcConfiguration": {
                        "Subnets": options["subnets"],
                        "SecurityGroups": options["security_groups"],
                        "AssignPublicIp": "ENABLED" if options["assign_public_ip"] else "DISABLED",
                    }
                },
            },
        },
    }


class ScheduledTask(schedule_groups.ScheduleGroup):
    """The schedule group and the IAM role that are both called `name`."""

    def __init__(self, iam: t.Any, scheduler: t.Any, name: str) -> None:
        purpose = f"EventBridge Scheduler runs the task of {name} with it"
        super().__init__(iam, scheduler, name, name, "task", (KIND,), purpose)

    def plan_present(self, options: dict[str, t.Any], tags: dict[str, str]) -> aws_changes.Changes:
        partition, account_id = options["cluster_arn"].split(":")[1], options["cluster_arn"].split(":")[4]
        wanted = schedule(options, f"arn:{partition}:iam::{account_id}:role/{self.role.name}")
        return self.plan_schedules(account_id, access_policy(options), {KIND: wanted}, tags)

    def described(self) -> dict[str, t.Any] | None:
        """What the schedule does, as it is now; null if there is none."""
        if KIND not in self.schedules:
            return None
        found = self.schedules[KIND]
        override = (json.loads(found["Target"].get("Input") or "{}").get("containerOverrides") or [{}])[0]
        return {
            "arn": found["Arn"],
            "schedule": found["ScheduleExpression"],
            "timezone": found["ScheduleExpressionTimezone"],
            "command": override.get("command"),
            "environment": {one["name"]: one["value"] for one in override.get("environment", [])},
            "role_arn": found["Target"]["RoleArn"],
        }
