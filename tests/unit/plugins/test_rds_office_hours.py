# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The office hours of a database, against an in-process IAM and EventBridge Scheduler."""

from __future__ import annotations

import json
import typing as t

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import schedule_groups
from ansible_collections.mlops.mlflow_aws.plugins.modules import rds_office_hours, rds_office_hours_info

OWNER = {"owner": "us"}
ARN = "arn:aws:rds:eu-west-2:123456789012:db:web-db"
HOURS = {"timezone": "Europe/London", "weekdays": "mon-fri", "start": "08:00", "stop": "19:00"}
WANTED = {
    "name": "web", "db_instance_arn": ARN, "office_hours": HOURS, "owner_tags": OWNER, "tags": {**OWNER, "cost": 12},
}  # fmt: skip
ABSENT = {"name": "web", "state": "absent", "owner_tags": OWNER}
pytestmark = pytest.mark.usefixtures("aws_environment")


class Client:
    """A client that keeps a list of its writes, and of which some operations answer as told first."""

    def __init__(self, client: t.Any, writes: list[str]) -> None:
        self.client, self.writes = client, writes
        self.answers: dict[str, list] = {}

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool = False, **arguments: t.Any) -> t.Any:
            told = self.answers.get(operation)
            answer = told.pop(0) if told else None
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                return answer
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
        monkeypatch.setattr(schedule_groups, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(schedule_groups, "SETTLE_SECONDS", 0.05)
        yield made


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "CreateSchedule")


def test_life(run_module: t.Callable, clients: dict, writes: list) -> None:
    predicted = run_module(rds_office_hours, WANTED, check=True)
    assert predicted["changed"] and writes == [] and predicted["schedules"] == []
    made = run_module(rds_office_hours, WANTED)
    assert made["diff"] == predicted["diff"]
    assert writes == ["create_role", "put_role_policy", "create_schedule_group", "create_schedule", "create_schedule"]
    assert made["schedules"] == [
        {"name": "start", "schedule": "cron(45 7 ? * MON-FRI *)", "timezone": "Europe/London"},
        {"name": "stop", "schedule": "cron(15 19 ? * MON-FRI *)", "timezone": "Europe/London"},
    ]
    target = clients["scheduler"].get_schedule(GroupName="web", Name="stop")["Target"]
    assert target["Arn"] == "arn:aws:scheduler:::aws-sdk:rds:stopDBInstance"
    assert json.loads(target["Input"]) == {"DbInstanceIdentifier": "web-db"}
    role = clients["iam"].get_role(RoleName="web-scheduler")["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"}
    }
    assert target["RoleArn"] == role["Arn"]
    writes.clear()
    for check in (True, False):
        assert not run_module(rds_office_hours, WANTED, check=check)["changed"]
    assert run_module(rds_office_hours_info, {"name": "web"})["schedules"] == made["schedules"]
    assert run_module(rds_office_hours, ABSENT, check=True)["changed"] and writes == []

    gone = run_module(rds_office_hours, ABSENT)
    assert gone["changed"] and gone["schedules"] == []
    assert writes == ["delete_schedule_group", "delete_role_policy", "delete_role"]
    assert not run_module(rds_office_hours, ABSENT)["changed"]


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"office_hours": {**HOURS, "stop": "20:00"}}, ["update_schedule"]),
        ({"office_hours": {**HOURS, "timezone": "UTC"}}, ["update_schedule", "update_schedule"]),
        ({"tags": OWNER}, ["untag_role", "untag_resource"]),
        ({"tags": {**OWNER, "cost": 13}}, ["tag_role", "tag_resource"]),
        ({"db_instance_arn": ARN + "2"}, ["put_role_policy", "update_schedule", "update_schedule"]),
    ],
)
def test_each_change_writes_what_it_must(
    run_module: t.Callable, clients: dict, writes: list, change: dict, written: list
) -> None:
    run_module(rds_office_hours, WANTED)
    writes.clear()
    predicted = run_module(rds_office_hours, {**WANTED, **change}, check=True)
    assert predicted["changed"] and writes == []
    assert run_module(rds_office_hours, {**WANTED, **change})["diff"] == predicted["diff"]
    assert writes == written
    assert not run_module(rds_office_hours, {**WANTED, **change})["changed"]


def test_what_was_changed_by_hand_is_mended(run_module: t.Callable, clients: dict, writes: list) -> None:
    run_module(rds_office_hours, WANTED)
    other = schedule_groups.trust_policy("210987654321")
    clients["iam"].update_assume_role_policy(RoleName="web-scheduler", PolicyDocument=json.dumps(other))
    clients["scheduler"].delete_schedule(GroupName="web", Name="stop")
    writes.clear()
    run_module(rds_office_hours, WANTED)
    assert writes == ["update_assume_role_policy", "create_schedule"]


def test_hours_at_the_edges_of_the_day(run_module: t.Callable, clients: dict) -> None:
    made = run_module(rds_office_hours, {**WANTED, "office_hours": {**HOURS, "start": "0:05", "stop": "23:50"}})
    assert [one["schedule"] for one in made["schedules"]] == ["cron(0 0 ? * MON-FRI *)", "cron(59 23 ? * MON-FRI *)"]


@pytest.mark.parametrize("kind", ["group", "role"])
def test_what_is_not_ours_is_not_touched(run_module: t.Callable, clients: dict, writes: list, kind: str) -> None:
    if kind == "group":
        clients["scheduler"].create_schedule_group(Name="web")
    else:
        clients["iam"].create_role(RoleName="web-scheduler", AssumeRolePolicyDocument="{}")
    writes.clear()
    for options in (WANTED, ABSENT):
        refused = run_module(rds_office_hours, options)
        assert refused["failed"] and "does not carry the tags owner=us" in refused["msg"]
    assert writes == []


def test_a_new_role_is_waited_for(run_module: t.Callable, clients: dict, writes: list) -> None:
    unknown = refusal("ValidationException", "The execution role you provide must allow AWS EventBridge Scheduler to")
    clients["scheduler"].answers["create_schedule"] = [unknown]
    assert run_module(rds_office_hours, WANTED)["changed"]
    clients["scheduler"].answers["update_schedule"] = [unknown] * 20
    later = {**WANTED, "office_hours": {**HOURS, "start": "09:00"}}
    late = run_module(rds_office_hours, later)
    assert "The execution role you provide must allow" in late["msg"]
    clients["scheduler"].answers["update_schedule"] = [refusal("ValidationException", "no such zone")]
    assert "no such zone" in run_module(rds_office_hours, later)["msg"]


def test_a_group_on_its_way_out_is_waited_for(run_module: t.Callable, clients: dict, writes: list) -> None:
    leaving = {"Name": "web", "Arn": "arn:group", "State": "DELETING"}
    gone = refusal("ResourceNotFoundException", "gone")
    clients["scheduler"].answers["get_schedule_group"] = [leaving, leaving, gone]
    assert run_module(rds_office_hours, WANTED)["changed"]
    clients["scheduler"].answers["get_schedule_group"] = [leaving] * 20
    assert "Schedule group web: it is not gone after" in run_module(rds_office_hours, WANTED)["msg"]


def test_bad_options_are_refused_before_anything_is_asked(run_module: t.Callable, clients: dict) -> None:
    wrong = {"db_instance_arn": "web-db", "office_hours": {**HOURS, "stop": "7"}}
    refused = run_module(rds_office_hours, {**WANTED, **wrong})
    assert "db_instance_arn = 'web-db': is not the ARN" in refused["msg"]
    assert "office_hours = '7': is not a time of day to stop at" in refused["msg"]
