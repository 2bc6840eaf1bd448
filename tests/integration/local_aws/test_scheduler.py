# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EventBridge Scheduler on a local AWS: it stops and starts a real database."""

from __future__ import annotations

import datetime
import json
import socket
import time
import typing as t

import botocore.exceptions
import pytest

from tests.integration import aws

DATABASE = "sleepy-db"
WINDOW = {"Mode": "OFF"}


class Account:
    def __init__(self, running: aws.LocalAws) -> None:
        self.rds, self.iam, self.scheduler = (running.client(one) for one in ("rds", "iam", "scheduler"))
        self.folder = running.directory
        self.rds.create_db_instance(
            DBInstanceIdentifier=DATABASE, Engine="postgres", DBInstanceClass="db.t3.micro", AllocatedStorage=20,
            MasterUsername="mlflow", MasterUserPassword="not-a-real-password",
        )  # fmt: skip
        self.scheduler.create_schedule_group(Name="sleepy", Tags=[{"Key": "team", "Value": "a"}])
        self.role = self.make_role("sleepy-scheduler", "scheduler.amazonaws.com")

    def make_role(self, name: str, service: str) -> str:
        version = {"Version": "2012-10-17"}
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        document = json.dumps({**version, "Statement": [trust]})
        return self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]

    def allow(self, *actions: str) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": f"arn:aws:rds:*:*:db:{DATABASE}"}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        self.iam.put_role_policy(RoleName="sleepy-scheduler", PolicyName="rds", PolicyDocument=json.dumps(document))

    def target(self, action: str, **more: t.Any) -> dict:
        arn, asked = f"arn:aws:scheduler:::aws-sdk:rds:{action}", {"DbInstanceIdentifier": DATABASE}
        return {"Arn": arn, "RoleArn": self.role, "Input": json.dumps(asked), **more}

    def schedule(self, name: str, action: str, seconds: float) -> None:
        """So many seconds from now, by the clock of another time zone."""
        moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=9, seconds=seconds)
        self.scheduler.create_schedule(
            GroupName="sleepy", Name=name, ScheduleExpression=f"at({moment:%Y-%m-%dT%H:%M:%S})",
            ScheduleExpressionTimezone="Asia/Tokyo", FlexibleTimeWindow=WINDOW, Target=self.target(action),
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
    account.schedule("denied", "stopDBInstance", seconds=1)
    log = account.folder / "daemon.log"
    while "its role may not rds:StopDBInstance" not in log.read_text():
        time.sleep(0.1)
    assert account.instance()["DBInstanceStatus"] == "available" and account.answers()
    account.allow("rds:StartDBInstance", "rds:StopDBInstance")
    account.schedule("stop", "stopDBInstance", seconds=1)
    account.until("stopped")
    assert not account.answers()
    account.schedule("start", "startDBInstance", seconds=1)
    account.until("available")
    assert account.answers()


def test_what_is_not_there_or_not_served_is_refused(account: Account) -> None:
    other = account.make_role("other", "ecs-tasks.amazonaws.com")
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
    ):
        with pytest.raises(botocore.exceptions.ClientError, match=message):
            account.scheduler.create_schedule(**{**good, **wrong})
    with pytest.raises(account.scheduler.exceptions.ConflictException):
        account.scheduler.create_schedule_group(Name="sleepy")
    account.scheduler.delete_schedule_group(Name="sleepy")
    for operation in (account.scheduler.get_schedule_group, account.scheduler.delete_schedule_group):
        with pytest.raises(account.scheduler.exceptions.ResourceNotFoundException):
            operation(Name="sleepy")
