# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that scale an ECS service, against an in-process Application Auto Scaling."""

from __future__ import annotations

import types
import typing as t

import pytest
from botocore.exceptions import ClientError

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import scaling_target
from ansible_collections.mlops.mlflow_aws.plugins.modules import ecs_service_autoscaling, ecs_service_autoscaling_info
from local_aws import autoscaling_alarms
from local_aws.autoscaling import AutoScaling
from local_aws.autoscaling_api import OPERATIONS, Api, RequestError

OWNER = {"owner": "us"}
WHERE = {"cluster": "demo", "service": "web"}
WANTED = {**WHERE, "owner_tags": OWNER, "tags": {**OWNER, "cost": 12}}
HOURS = {"timezone": "Europe/London", "weekdays": "MON-FRI", "start": "8:00", "stop": "19:30"}
TARGET = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount", "ResourceId": "service/demo/web"}
pytestmark = pytest.mark.usefixtures("aws_environment")


class Scaling(AutoScaling):
    """With one service in the place of ECS's."""

    def __init__(self) -> None:
        super().__init__()
        deployment = types.SimpleNamespace(desired_count=2)
        self.service: t.Any = types.SimpleNamespace(name="web", desired_count=2, primary=deployment)

    def service_of(self, _target: t.Any) -> t.Any:
        return self.service


class Client:
    """boto3's client over the operations, which keeps a list of the writes."""

    def __init__(self, scaling: Scaling) -> None:
        self.api = Api(scaling, "123456789012", "eu-west-2")
        self.scaling = scaling
        self.writes: list[str] = []

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool = False, **asked: t.Any) -> t.Any:
            # Small pages, so that more than one is read.
            page = {"MaxResults": 1} if operation.startswith("describe_") else {}
            try:
                answer = OPERATIONS[operation](self.api, {**page, **asked})
            except RequestError as error:
                raise ClientError({"Error": {"Code": error.code, "Message": str(error)}}, operation) from None
            if not operation.startswith(("describe_", "list_")):
                self.writes.append(operation)
            return answer

        return call


class CloudWatch:
    def __init__(self) -> None:
        self.alarms: dict[str, t.Any] = {}

    def put_metric_alarm(self, name: str, **_more: t.Any) -> None:
        self.alarms[name] = types.SimpleNamespace(name=name, alarm_arn=f"arn:aws:cloudwatch:::alarm:{name}")

    def delete_alarms(self, names: list[str]) -> None:
        for name in names:
            del self.alarms[name]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made, cloudwatch = Client(Scaling()), CloudWatch()
    monkeypatch.setattr(scaling_target, "connect", lambda _module: made)
    monkeypatch.setattr(autoscaling_alarms, "cloudwatch", lambda _target: cloudwatch)
    return made


def test_life(run_module: t.Callable, client: Client) -> None:
    wanted = {**WANTED, "memory_target": 80, "office_hours": HOURS}
    predicted = run_module(ecs_service_autoscaling, wanted, check=True)
    assert predicted["changed"] and client.writes == [] and predicted["scaling"]["min_count"] is None
    made = run_module(ecs_service_autoscaling, wanted)
    assert made["changed"] and made["diff"] == predicted["diff"]
    assert sorted(made["diff"]["after"]) == [
        "policy cpu", "policy memory", "scalable_target", "schedule office-close", "schedule office-open",
    ]  # fmt: skip
    scaling = made["scaling"]
    assert [scaling[key] for key in ("min_count", "max_count", "cpu_target", "memory_target")] == [2, 4, 60, 80]
    assert len(scaling["alarms"]) == 4
    assert [one["schedule"] for one in scaling["schedules"]] == [
        "cron(30 19 ? * MON-FRI *)", "cron(0 8 ? * MON-FRI *)",
    ]  # fmt: skip
    client.writes.clear()
    for check in (True, False):
        again = run_module(ecs_service_autoscaling, wanted, check=check)
        assert not again["changed"] and again["scaling"] == scaling
    found = run_module(ecs_service_autoscaling_info, WHERE)
    assert found["scaling"] == scaling and found["tags"] == {"owner": "us", "cost": "12"}
    assert client.writes == []

    gone = run_module(ecs_service_autoscaling, {**WANTED, "state": "absent"})
    assert gone["changed"] and client.writes == ["deregister_scalable_target"]
    assert not run_module(ecs_service_autoscaling, {**WANTED, "state": "absent"})["changed"]
    assert run_module(ecs_service_autoscaling_info, WHERE)["scaling"]["scalable_target_arn"] is None


@pytest.mark.parametrize(
    ("change", "writes"),
    [
        ({"max_count": 6}, ["register_scalable_target"]),
        ({"tags": OWNER}, ["untag_resource"]),
        ({"tags": {**OWNER, "cost": 13}}, ["tag_resource"]),
        ({"cpu_target": 70}, ["put_scaling_policy"]),
        ({"scale_in_cooldown": 1, "scale_out_cooldown": 2}, ["put_scaling_policy"]),
        ({"cpu_target": 0, "memory_target": 70}, ["delete_scaling_policy", "put_scaling_policy"]),
        ({"schedules": []}, ["delete_scheduled_action"]),
        (
            {"schedules": [{"name": "night", "schedule": "cron(0 23 * * ? *)", "timezone": "UTC", "min_count": 1}]},
            ["put_scheduled_action"],
        ),
    ],
)
def test_each_change_writes_what_it_must(run_module: t.Callable, client: Client, change: dict, writes: list) -> None:
    night = {"name": "night", "schedule": "cron(0 22 * * ? *)", "min_count": 1}
    first = {**WANTED, "schedules": [night]}
    run_module(ecs_service_autoscaling, first)
    client.writes.clear()
    predicted = run_module(ecs_service_autoscaling, {**first, **change}, check=True)
    assert predicted["changed"] and client.writes == []
    done = run_module(ecs_service_autoscaling, {**first, **change})
    assert client.writes == writes and done["diff"] == predicted["diff"]
    assert not run_module(ecs_service_autoscaling, {**first, **change})["changed"]


def test_what_a_schedule_has_set_stays_and_anything_else_does_not(run_module: t.Callable, client: Client) -> None:
    wanted = {**WANTED, "office_hours": HOURS}
    run_module(ecs_service_autoscaling, wanted)
    client.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=0)
    assert not run_module(ecs_service_autoscaling, wanted)["changed"]
    back = run_module(ecs_service_autoscaling, WANTED)
    assert back["diff"]["before"]["count"] == [0, 0] and back["diff"]["after"]["count"] == [2, 4]
    assert client.scaling.service.desired_count == 2


def test_what_somebody_else_scales_is_not_touched(run_module: t.Callable, client: Client) -> None:
    client.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=1)
    client.writes.clear()
    for state in ("present", "absent"):
        refused = run_module(ecs_service_autoscaling, {**WANTED, "state": state})
        assert refused["failed"] and "does not carry the tags owner=us" in refused["msg"]
    assert client.writes == []


def test_policies_that_are_not_ours_to_read_are_shown_as_far_as_they_go(run_module: t.Callable, client: Client) -> None:
    """A step scaling policy has no target; it is removed by the next run."""
    run_module(ecs_service_autoscaling, WANTED)
    target = next(iter(client.scaling.targets.values()))
    steps = types.SimpleNamespace(
        **{**vars(target.policies["cpu"]), "name": "steps", "configuration": {}, "alarms": {}}
    )
    target.policies = {"steps": steps}
    assert run_module(ecs_service_autoscaling_info, WHERE)["scaling"]["cpu_target"] is None
    mended = run_module(ecs_service_autoscaling, WANTED)
    assert mended["diff"]["before"] == {"policy steps": "present", "policy cpu": "absent"}


def test_refusals_of_aws_and_of_the_rules_are_one_line(run_module: t.Callable, client: Client) -> None:
    client.scaling.service = None
    refused = run_module(ecs_service_autoscaling, WANTED)
    assert refused["msg"].startswith("Scaling of service web in cluster demo: AWS: ")
    assert "ECS service doesn't exist: service/demo/web" in refused["msg"]
    refused = run_module(ecs_service_autoscaling, {**WANTED, "min_count": 9})
    assert refused["msg"] == "min_count = 9: is above the maximum of 4; lower it, or raise the maximum"
