# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that runs by the clock, against an in-process IAM and EventBridge Scheduler."""

from __future__ import annotations

import json
import typing as t

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import schedule_groups
from ansible_collections.mlops.mlflow_aws.plugins.modules import ecs_scheduled_task, ecs_scheduled_task_info

OWNER = {"owner": "us"}
ECS, ROLE = "arn:aws:ecs:eu-west-2:123456789012", "arn:aws:iam::123456789012:role"
WANTED = {
    "name": "web-gc",
    "schedule": "cron(0 3 ? * SUN *)",
    "timezone": "Europe/London",
    "cluster_arn": f"{ECS}:cluster/web",
    "task_definition_arn": f"{ECS}:task-definition/web",
    "role_arns": [f"{ROLE}/web-task", f"{ROLE}/web-execution"],
    "container": "web",
    "command": ["gc"],
    "environment": {"DAYS": 30},
    "subnets": ["subnet-2", "subnet-1"],
    "security_groups": ["sg-1"],
    "owner_tags": OWNER,
    "tags": OWNER,
}
ABSENT = {"name": "web-gc", "state": "absent", "owner_tags": OWNER}
pytestmark = pytest.mark.usefixtures("aws_environment")


class Client:
    """A client that keeps a list of its writes."""

    def __init__(self, client: t.Any, writes: list[str]) -> None:
        self.client, self.writes = client, writes

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool, **arguments: t.Any) -> t.Any:
            if not operation.startswith(("get_", "list_")):
                self.writes.append(operation)
            return getattr(self.client, operation)(**arguments)

        return call


@pytest.fixture
def writes() -> list[str]:
    return []


@pytest.fixture
def clients(aws_environment: None, writes: list, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, Client]]:
    with mock_aws():
        made = {one: Client(boto3.client(one, region_name="eu-west-2"), writes) for one in ("iam", "scheduler")}
        monkeypatch.setattr(schedule_groups, "connect", lambda _module, service: made[service])
        yield made


def test_life(run_module: t.Callable, clients: dict, writes: list) -> None:
    assert run_module(ecs_scheduled_task_info, {"name": "web-gc"})["schedule"] is None
    predicted = run_module(ecs_scheduled_task, WANTED, check=True)
    assert predicted["changed"] and writes == [] and predicted["schedule"] is None
    made = run_module(ecs_scheduled_task, WANTED)
    assert made["diff"] == predicted["diff"]
    assert writes == ["create_role", "put_role_policy", "create_schedule_group", "create_schedule"]
    assert made["schedule"] == {
        "arn": "arn:aws:scheduler:eu-west-2:123456789012:schedule/web-gc/run",
        "schedule": "cron(0 3 ? * SUN *)",
        "timezone": "Europe/London",
        "command": ["gc"],
        "environment": {"DAYS": "30"},
        "role_arn": f"{ROLE}/web-gc",
    }
    assert run_module(ecs_scheduled_task_info, {"name": "web-gc"})["schedule"] == made["schedule"]
    writes.clear()
    # Their order is nobody's business.
    for options in (WANTED, {**WANTED, "subnets": ["subnet-1", "subnet-2"]}):
        for check in (True, False):
            assert not run_module(ecs_scheduled_task, options, check=check)["changed"]
    assert run_module(ecs_scheduled_task, ABSENT, check=True)["changed"] and writes == []
    gone = run_module(ecs_scheduled_task, ABSENT)
    assert gone["changed"] and gone["schedule"] is None
    assert writes == ["delete_schedule_group", "delete_role_policy", "delete_role"]
    assert not run_module(ecs_scheduled_task, ABSENT)["changed"]


def test_the_task_and_what_its_role_may(run_module: t.Callable, clients: dict) -> None:
    run_module(ecs_scheduled_task, WANTED)
    target = clients["scheduler"].client.get_schedule(GroupName="web-gc", Name="run")["Target"]
    assert target["Arn"] == WANTED["cluster_arn"] and target["EcsParameters"] == {
        "TaskDefinitionArn": WANTED["task_definition_arn"],
        "TaskCount": 1,
        "LaunchType": "FARGATE",
        "PropagateTags": "TASK_DEFINITION",
        "NetworkConfiguration": {
            "awsvpcConfiguration": {
                "Subnets": ["subnet-2", "subnet-1"], "SecurityGroups": ["sg-1"], "AssignPublicIp": "DISABLED"
            }
        },
    }  # fmt: skip
    assert json.loads(target["Input"]) == {
        "containerOverrides": [{"name": "web", "command": ["gc"], "environment": [{"name": "DAYS", "value": "30"}]}]
    }
    policy = clients["iam"].client.get_role_policy(RoleName="web-gc", PolicyName="task")["PolicyDocument"]
    run, hand_over, tag = policy["Statement"]
    assert run["Action"] == "ecs:RunTask" and run["Condition"] == {"ArnEquals": {"ecs:cluster": WANTED["cluster_arn"]}}
    assert run["Resource"] == [f"{ECS}:task-definition/web", f"{ECS}:task-definition/web:*"]
    assert hand_over["Action"] == "iam:PassRole" and hand_over["Resource"] == sorted(WANTED["role_arns"])
    assert tag["Action"] == "ecs:TagResource" and tag["Resource"] == f"{ECS}:task/web/*"


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"schedule": "rate(7 days)"}, ["update_schedule"]),
        ({"timezone": "UTC"}, ["update_schedule"]),
        ({"command": ["other"]}, ["update_schedule"]),
        ({"environment": {}}, ["update_schedule"]),
        ({"subnets": ["subnet-1"]}, ["update_schedule"]),
        ({"assign_public_ip": True}, ["update_schedule"]),
        ({"task_definition_arn": f"{ECS}:task-definition/other"}, ["put_role_policy", "update_schedule"]),
        ({"role_arns": [f"{ROLE}/web-task"]}, ["put_role_policy"]),
        ({"tags": {**OWNER, "cost": 12}}, ["tag_role", "tag_resource"]),
    ],
)
def test_each_change_writes_what_it_must(
    run_module: t.Callable, clients: dict, writes: list, change: dict, written: list
) -> None:
    run_module(ecs_scheduled_task, WANTED)
    writes.clear()
    predicted = run_module(ecs_scheduled_task, {**WANTED, **change}, check=True)
    assert predicted["changed"] and writes == []
    assert run_module(ecs_scheduled_task, {**WANTED, **change})["diff"] == predicted["diff"]
    assert writes == written
    assert not run_module(ecs_scheduled_task, {**WANTED, **change})["changed"]


def test_what_was_switched_off_by_hand_is_switched_on(run_module: t.Callable, clients: dict, writes: list) -> None:
    run_module(ecs_scheduled_task, WANTED)
    scheduler = clients["scheduler"].client
    found = scheduler.get_schedule(GroupName="web-gc", Name="run")
    kept = ("ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target")
    scheduler.update_schedule(GroupName="web-gc", Name="run", State="DISABLED", **{key: found[key] for key in kept})
    writes.clear()
    run_module(ecs_scheduled_task, WANTED)
    assert writes == ["update_schedule"]


@pytest.mark.parametrize("kind", ["group", "role"])
def test_what_is_not_ours_is_not_touched(run_module: t.Callable, clients: dict, writes: list, kind: str) -> None:
    if kind == "group":
        clients["scheduler"].client.create_schedule_group(Name="web-gc")
    else:
        clients["iam"].client.create_role(RoleName="web-gc", AssumeRolePolicyDocument="{}")
    for options in (WANTED, ABSENT):
        refused = run_module(ecs_scheduled_task, options)
        assert refused["failed"] and "does not carry the tags owner=us" in refused["msg"]
    assert writes == []


def test_bad_options_are_refused_before_anything_is_asked(run_module: t.Callable, clients: dict) -> None:
    wrong = {
        "schedule": "cron(0 3 * * SUN *)",
        "timezone": "Mars/Olympus",
        "cluster_arn": "web",
        "task_definition_arn": f"{ECS}:task-definition/web:3",
        "variable_names": {"schedule": "tidy_up_schedule"},
    }
    refused = run_module(ecs_scheduled_task, {**WANTED, **wrong})["msg"]
    for message in (
        "tidy_up_schedule = 'cron(0 3 * * SUN *)': says both or neither of day-of-month and day-of-week",
        "timezone = 'Mars/Olympus': is not a time zone",
        "cluster_arn = 'web': is not the ARN of an ECS cluster",
        "web:3': is not the ARN of a task definition without a revision",
    ):
        assert message in refused
    assert "subnets" in run_module(ecs_scheduled_task, {"name": "web-gc", "owner_tags": OWNER})["msg"]
