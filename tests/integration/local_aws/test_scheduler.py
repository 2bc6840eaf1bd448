# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EventBridge Scheduler on a local AWS: it stops and starts a real database, and runs real tasks."""

from __future__ import annotations

import datetime
import json
import socket
import sys
import time
import typing as t

import botocore.exceptions
import pytest

from tests.integration import aws

DATABASE = "sleepy-db"
IMAGE = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
ECS = "arn:aws:ecs:eu-west-2:123456789012"
WINDOW = {"Mode": "OFF"}


class Account:
    def __init__(self, running: aws.LocalAws) -> None:
        self.client = running.client
        self.rds, self.iam, self.scheduler, self.ecs = (running.client(one) for one in ("rds", "iam", "scheduler", "ecs"))
        self.folder = running.directory
        self.rds.create_db_instance(
            DBInstanceIdentifier=DATABASE, Engine="postgres", DBInstanceClass="db.t3.micro", AllocatedStorage=20,
            MasterUsername="mlflow", MasterUserPassword="not-a-real-password",
        )  # fmt: skip
        self.scheduler.create_schedule_group(Name="sleepy", Tags=[{"Key": "team", "Value": "a"}])
        self.role = self.make_role("sleepy-scheduler", "scheduler.amazonaws.com")

    def make_task(self) -> dict:
        """A cluster and a task definition that prints its arguments; the target that runs it."""
        ec2, roles = self.client("ec2"), [self.make_role(f"tidy-{one}", "ecs-tasks.amazonaws.com") for one in ("execution", "task")]
        vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.0.0/24")["Subnet"]["SubnetId"]
        self.ecs.create_cluster(clusterName="tidy")
        self.ecs.register_task_definition(
            family="tidy", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
            executionRoleArn=roles[0], taskRoleArn=roles[1], tags=[{"key": "team", "value": "a"}],
            containerDefinitions=[{
                "name": "tidy", "image": IMAGE, "essential": True, "command": ["0"],
                "entryPoint": ["python", "-c", "import os, sys; sys.exit(int(sys.argv[1]) + int(os.environ['MORE']))"],
            }],
        )  # fmt: skip
        override = {"name": "tidy", "command": ["40"], "environment": [{"name": "MORE", "value": "2"}]}
        return {
            "Arn": f"{ECS}:cluster/tidy", "RoleArn": self.role, "Input": json.dumps({"containerOverrides": [override]}),
            "EcsParameters": {
                "TaskDefinitionArn": f"{ECS}:task-definition/tidy", "LaunchType": "FARGATE", "PropagateTags": "TASK_DEFINITION",
                "NetworkConfiguration": {"awsvpcConfiguration": {"Subnets": [subnet], "AssignPublicIp": "DISABLED"}},
            },
        }  # fmt: skip

    def make_role(self, name: str, service: str) -> str:
        version = {"Version": "2012-10-17"}
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        document = json.dumps({**version, "Statement": [trust]})
        return self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]

    def allow(self, *actions: str, on: str = f"arn:aws:rds:*:*:db:{DATABASE}") -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": on}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        self.iam.put_role_policy(RoleName="sleepy-scheduler", PolicyName="rds", PolicyDocument=json.dumps(document))

    def target(self, action: str, **more: t.Any) -> dict:
        arn, asked = f"arn:aws:scheduler:::aws-sdk:rds:{action}", {"DbInstanceIdentifier": DATABASE}
        return {"Arn": arn, "RoleArn": self.role, "Input": json.dumps(asked), **more}

    def schedule(self, name: str, target: dict, seconds: float) -> None:
        """So many seconds from now and up to one more, for an expression has whole seconds and one in the past is never
        due; by the clock of another time zone."""
        moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=9, seconds=seconds + 1)
        self.scheduler.create_schedule(
            GroupName="sleepy", Name=name, ScheduleExpression=f"at({moment:%Y-%m-%dT%H:%M:%S})",
            ScheduleExpressionTimezone="Asia/Tokyo", FlexibleTimeWindow=WINDOW, Target=target,
        )  # fmt: skip

    def instance(self) -> dict:
        return self.rds.describe_db_instances(DBInstanceIdentifier=DATABASE)["DBInstances"][0]

    def until(self, status: str) -> None:
        deadline = time.monotonic() + 60
        while (found := self.instance()["DBInstanceStatus"]) != status:
            assert time.monotonic() < deadline, f"{found} and not {status}"
            time.sleep(0.1)

    def answers(self) -> bool:
        endpoint = self.instance()["Endpoint"]
        with socket.socket() as probe:
            return probe.connect_ex((endpoint["Address"], endpoint["Port"])) == 0


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Account]:
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state") as running:
        yield Account(running)


def test_a_schedule_stops_and_starts_the_server_if_its_role_may(account: Account) -> None:
    account.until("available")
    account.allow("rds:StartDBInstance")
    account.schedule("denied", account.target("stopDBInstance"), seconds=1)
    log = account.folder / "daemon.log"
    while "its role may not rds:StopDBInstance" not in log.read_text():
        time.sleep(0.1)
    assert account.instance()["DBInstanceStatus"] == "available" and account.answers()
    account.allow("rds:StartDBInstance", "rds:StopDBInstance")
    account.schedule("stop", account.target("stopDBInstance"), seconds=1)
    account.until("stopped")
    assert not account.answers()
    account.schedule("start", account.target("startDBInstance"), seconds=1)
    account.until("available")
    assert account.answers()


def test_a_schedule_runs_a_task_if_its_role_may_and_may_hand_it_its_roles(account: Account) -> None:
    target = account.make_task()
    log = account.folder / "daemon.log"
    family, steps = f"{ECS}:task-definition/tidy", ("ecs:RunTask", "iam:PassRole", "ecs:TagResource")
    for number, action in enumerate(steps):
        account.allow("sts:GetCallerIdentity", *steps[:number], on="*")
        account.schedule(f"denied-{number}", target, seconds=1)
        deadline = time.monotonic() + 30
        while f"its role may not {action} on " not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
    assert f"its role may not ecs:RunTask on {family}" in log.read_text()
    assert account.ecs.list_tasks(cluster="tidy", desiredStatus="STOPPED")["taskArns"] == []
    account.allow(*steps, on="*")
    account.schedule("run", target, seconds=1)
    deadline = time.monotonic() + 120
    while not (arns := account.ecs.list_tasks(cluster="tidy", desiredStatus="STOPPED")["taskArns"]):
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
    task = account.ecs.describe_tasks(cluster="tidy", tasks=arns, include=["TAGS"])["tasks"][0]
    while task["lastStatus"] != "STOPPED":
        assert time.monotonic() < deadline, task
        task = account.ecs.describe_tasks(cluster="tidy", tasks=arns, include=["TAGS"])["tasks"][0]
    assert task["containers"][0]["exitCode"] == 42 and task["startedBy"] == "chronos-schedule/run"
    assert {"key": "team", "value": "a"} in task["tags"]


def test_what_is_not_there_or_not_served_is_refused(account: Account) -> None:
    other = account.make_role("other", "ecs-tasks.amazonaws.com")
    cluster, family = {"Arn": f"{ECS}:cluster/tidy", "RoleArn": account.role}, {"TaskDefinitionArn": f"{ECS}:task-definition/tidy"}
    good = {
        "GroupName": "sleepy", "Name": "bad", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": WINDOW,
        "Target": account.target("stopDBInstance"),
    }  # fmt: skip
    for wrong, message in (
        ({"GroupName": "none"}, "Schedule group none does not exist"),
        ({"ScheduleExpression": "cron(0 8 * * * *)"}, "ValidationException"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "not a valid timezone"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}}, "not supported by the local AWS"),
        ({"Target": account.target("deleteDBInstance")}, "not supported by the local AWS"),
        ({"Target": account.target("stopDBInstance", Input='{"DBInstanceIdentifier": "x"}')}, "DbInstanceIdentifier"),
        ({"Target": account.target("stopDBInstance", Input="x")}, "Invalid RequestJson"),
        ({"Target": account.target("stopDBInstance", RoleArn=other)}, "must allow AWS EventBridge Scheduler"),
        ({"Target": cluster}, "TaskDefinitionArn must be specified"),
        ({"Target": {**cluster, "EcsParameters": {**family, "PlatformVersion": "1.3.0"}}}, "PlatformVersion are not supported"),
        ({"Target": {**cluster, "EcsParameters": family, "Input": "x"}}, "Invalid RequestJson"),
    ):
        with pytest.raises(botocore.exceptions.ClientError, match=message):
            account.scheduler.create_schedule(**{**good, **wrong})
    with pytest.raises(account.scheduler.exceptions.ConflictException):
        account.scheduler.create_schedule_group(Name="sleepy")
    account.scheduler.delete_schedule_group(Name="sleepy")
    for operation in (account.scheduler.get_schedule_group, account.scheduler.delete_schedule_group):
        with pytest.raises(account.scheduler.exceptions.ResourceNotFoundException):
            operation(Name="sleepy")
