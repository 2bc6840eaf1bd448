# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Schedules of EventBridge Scheduler in a group of their own, and the IAM role that they act with: what there is, what is to be done."""

from __future__ import annotations

import json
import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, service_role

POLL_SECONDS = 2.0
# A new role takes some seconds to be known everywhere; a group takes some to be gone.
SETTLE_SECONDS = 60.0


def connect(module: t.Any, service: str) -> t.Any:
    return module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=8))


def trust_policy(account_id: str) -> dict[str, t.Any]:
    """Only schedules of this account may act with the role."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "scheduler.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
            }
        ],
    }


def comparable(schedule: dict[str, t.Any] | None, wanted: dict[str, t.Any]) -> t.Any:
    """What is compared of a schedule: of the parameters of ECS, those that are wanted, for AWS may tell more."""
    if schedule is None:
        return "absent"
    target, ecs = schedule["Target"], wanted["Target"].get("EcsParameters", {})
    found = target.get("EcsParameters") or {}
    return {
        "schedule": schedule["ScheduleExpression"],
        "timezone": schedule.get("ScheduleExpressionTimezone", "UTC"),
        "state": schedule.get("State", "ENABLED"),
        "target": target["Arn"],
        "role": target["RoleArn"],
        "input": json.loads(target.get("Input") or "{}"),
        **({"ecs": {key: _in_order(found.get(key)) for key in ecs}} if ecs else {}),
    }


def _in_order(value: t.Any) -> t.Any:
    """Subnets and security groups have no order."""
    if isinstance(value, dict):
        return {key: _in_order(one) for key, one in value.items()}
    return sorted(value) if isinstance(value, list) else value


class ScheduleGroup:
    """The schedule group `name`, with the schedules `kinds`, and the IAM role `role_name` with one inline policy."""

    def __init__(
        self, iam: t.Any, scheduler: t.Any, name: str, role_name: str, policy_name: str, kinds: tuple[str, ...], purpose: str
    ) -> None:
        self.scheduler, self.name, self.kinds = scheduler, name, kinds
        self.role = service_role.ServiceRole(iam, role_name, policy_name, purpose)
        self.group: dict | None = None
        self.group_tags: dict[str, str] = {}
        self.schedules: dict[str, dict] = {}

    # --- looking ---------------------------------------------------------------------------------------------------

    def find(self) -> None:
        self.role.find()
        self.group = self._ask(self.scheduler.get_schedule_group, Name=self.name)
        if self.group and self.group["State"] == "DELETING":
            self._await_group_gone()
        self.group_tags, self.schedules = {}, {}
        if self.group:
            answer = self.scheduler.list_tags_for_resource(ResourceArn=self.group["Arn"], aws_retry=True)
            self.group_tags = boto3_tag_list_to_ansible_dict(answer.get("Tags", []))
            for kind in self.kinds:
                found = self._ask(self.scheduler.get_schedule, GroupName=self.name, Name=kind)
                if found:
                    self.schedules[kind] = found

    @staticmethod
    def _ask(operation: t.Callable, **arguments: t.Any) -> t.Any:
        try:
            return operation(**arguments, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            return None

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        """ValueError if the group or the role is somebody else's."""
        remedy = "choose another deployment name, or remove it by hand"
        for kind, found, tags in (
            (f"Schedule group {self.name}", self.group, self.group_tags),
            (f"IAM role {self.role.name}", self.role.found, self.role.tags),
        ):
            if found and not aws_changes.carries(tags, owner_tags):
                raise ValueError(aws_changes.not_ours(kind, owner_tags, remedy))

    def summary(self) -> list[dict[str, str]]:
        return [
            {"name": kind, "schedule": one["ScheduleExpression"], "timezone": one["ScheduleExpressionTimezone"]}
            for kind, one in sorted(self.schedules.items())
        ]

    # --- present ---------------------------------------------------------------------------------------------------

    def plan_schedules(
        self, account_id: str, access: dict[str, t.Any], schedules: dict[str, dict[str, t.Any]], tags: dict[str, str]
    ) -> aws_changes.Changes:
        """`access` is the policy of the role; `schedules` holds CreateSchedule's parameters of each kind."""
        changes = aws_changes.Changes()
        self.role.plan_present(changes, trust_policy(account_id), access, tags)
        self._plan_group(changes, tags)
        for kind, asked in schedules.items():
            wanted = {"State": "ENABLED", "FlexibleTimeWindow": {"Mode": "OFF"}, **asked}
            changes.want(
                f"schedule {kind}", comparable(self.schedules.get(kind), wanted), comparable(wanted, wanted),
                self._put(kind, wanted),
            )  # fmt: skip
        return changes

    def _plan_group(self, changes: aws_changes.Changes, tags: dict[str, str]) -> None:
        if self.group is None:
            changes.want(
                "schedule_group", "absent", "present",
                lambda: self.scheduler.create_schedule_group(
                    Name=self.name, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True
                ),
            )  # fmt: skip
            return
        arn = self.group["Arn"]
        changes.want_tags(
            "tags of the schedule group", self.group_tags, tags,
            lambda new: self.scheduler.tag_resource(
                ResourceArn=arn, Tags=ansible_dict_to_boto3_tag_list(new), aws_retry=True
            ),
            lambda keys: self.scheduler.untag_resource(ResourceArn=arn, TagKeys=keys, aws_retry=True),
        )  # fmt: skip

    def _put(self, kind: str, wanted: dict[str, t.Any]) -> t.Callable[[], None]:
        operation = self.scheduler.update_schedule if kind in self.schedules else self.scheduler.create_schedule

        def put() -> None:
            deadline = time.monotonic() + SETTLE_SECONDS
            while True:
                try:
                    operation(GroupName=self.name, Name=kind, **wanted, aws_retry=True)
                    return
                except is_boto3_error_code("ValidationException") as error:
                    # "The execution role you provide must allow ...": a new role is not known everywhere at once.
                    if "execution role" not in str(error) or time.monotonic() + POLL_SECONDS > deadline:
                        raise
                time.sleep(POLL_SECONDS)

        return put

    # --- absent ----------------------------------------------------------------------------------------------------

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.group:
            changes.want("schedule_group", "present", "absent", self._delete_group)
        self.role.plan_absent(changes)
        return changes

    def _delete_group(self) -> None:
        """AWS deletes the schedules with their group, in its own time."""
        self.scheduler.delete_schedule_group(Name=self.name, aws_retry=True)
        self._await_group_gone()

    def _await_group_gone(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            self.group = self._ask(self.scheduler.get_schedule_group, Name=self.name)
            if self.group is None:
                return
            if time.monotonic() + POLL_SECONDS > deadline:
                raise ValueError(f"Schedule group {self.name}: it is not gone after {SETTLE_SECONDS:.0f} s; run again")
            time.sleep(POLL_SECONDS)
