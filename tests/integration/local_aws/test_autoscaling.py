# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Application Auto Scaling on a local AWS: real tasks come and go because of metrics and schedules."""

from __future__ import annotations

import datetime
import json
import sys
import time
import typing as t
import urllib.request

import botocore.exceptions
import pytest

from tests.integration import aws

IMAGE = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
WHERE = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}


def cpu(target: float, **more: t.Any) -> dict:
    metric = {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}
    return {"TargetValue": target, "PredefinedMetricSpecification": metric, **more}


def whole_minute() -> float:
    """When the minute that runs has begun; waits for the next one where it is about to end."""
    if time.time() % 60 > 50:
        time.sleep(60 - time.time() % 60)
    return time.time() // 60 * 60


class Account:
    """One cluster, and services of a cheap task in it."""

    def __init__(self, running: aws.LocalAws) -> None:
        self.aws = running
        self.ecs, self.scaling = running.client("ecs"), running.client("application-autoscaling")
        self.cloudwatch = running.client("cloudwatch")
        ec2 = running.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.4.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.4.0.0/24")["Subnet"]["SubnetId"]
        self.network = {"awsvpcConfiguration": {"subnets": [subnet]}}
        self.ecs.create_cluster(clusterName="demo")
        command = ["python", "-m", "http.server", "5000"]
        container = {"name": "web", "image": IMAGE, "command": command, "essential": True}
        self.ecs.register_task_definition(
            family="web", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
            containerDefinitions=[container],
        )  # fmt: skip

    def service(self, name: str, count: int) -> dict[str, str]:
        """A service with so many tasks; what names it to Application Auto Scaling."""
        self.ecs.create_service(
            cluster="demo", serviceName=name, taskDefinition="web", desiredCount=count, launchType="FARGATE",
            networkConfiguration=self.network,
        )  # fmt: skip
        return {**WHERE, "ResourceId": f"service/demo/{name}"}

    def counts(self, name: str) -> tuple[int, int, str]:
        found = self.ecs.describe_services(cluster="demo", services=[name])["services"][0]
        return found["desiredCount"], found["runningCount"], found["deployments"][0]["rolloutState"]

    def until(self, name: str, count: int) -> None:
        """Until so many tasks are wanted and run, and no deployment is in progress: it would put off a scale-in."""
        deadline = time.monotonic() + 30
        while (found := self.counts(name)) != (count, count, "COMPLETED"):
            assert time.monotonic() < deadline, f"{found} and not {count}"
            time.sleep(0.2)

    def push(self, name: str, value: float, until: float, minutes: int) -> None:
        """The CPU utilisation of the whole minutes before `until` (seconds since the epoch)."""
        data = [
            {"namespace": "AWS/ECS", "metric": "CPUUtilization", "unit": "Percent", "value": value,
             "dimensions": {"ClusterName": "demo", "ServiceName": name}, "timestamp": until - 60 * number - 30}
            for number in range(minutes)
        ]  # fmt: skip
        request = urllib.request.Request(f"{self.aws.endpoint_url}/local-aws/metrics", json.dumps(data).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer) == {"values": minutes}

    def refused(self, operation: str, **asked: t.Any) -> str:
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            getattr(self.scaling, operation)(**asked)
        return str(caught.value)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Account]:
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state") as running:
        yield Account(running)


def test_pushing_cpu_scales_from_two_to_four_and_back(account: Account) -> None:
    where = account.service("busy", 2)
    account.scaling.register_scalable_target(**where, MinCapacity=2, MaxCapacity=4)
    configuration = cpu(50, ScaleOutCooldown=0, ScaleInCooldown=0)
    made = account.scaling.put_scaling_policy(
        **where, PolicyName="cpu", PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )  # fmt: skip
    names = sorted(alarm["AlarmName"] for alarm in made["Alarms"])
    assert [name.rsplit("-", 5)[0] for name in names] == [
        "TargetTracking-service/demo/busy-AlarmHigh", "TargetTracking-service/demo/busy-AlarmLow",
    ]  # fmt: skip
    high, low = (account.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0] for name in names)
    assert (high["Threshold"], high["EvaluationPeriods"], high["Period"]) == (50, 3, 60)
    assert (low["Threshold"], low["EvaluationPeriods"], low["ComparisonOperator"]) == (45, 15, "LessThanThreshold")
    account.until("busy", 2)

    minute = whole_minute()
    account.push("busy", 96, minute, minutes=3)
    account.until("busy", 4)
    # The average of what was pushed for a minute counts: 13 for these three too.
    account.push("busy", -70, minute, minutes=3)
    account.push("busy", 13, minute - 180, minutes=13)
    account.until("busy", 2)

    told = account.scaling.describe_scaling_activities(ServiceNamespace="ecs", ResourceId=where["ResourceId"])
    assert [one["Description"] for one in told["ScalingActivities"]] == [
        "Setting desired count to 2.", "Setting desired count to 4.",
    ]  # fmt: skip
    account.scaling.delete_scaling_policy(**where, PolicyName="cpu")
    assert account.cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"] == []


def test_registering_brings_the_count_between_minimum_and_maximum(account: Account) -> None:
    where = account.service("bounds", 1)
    arn = account.scaling.register_scalable_target(**where, MinCapacity=2, MaxCapacity=3, Tags={"team": "a"})
    assert account.counts("bounds")[0] == 2
    account.scaling.register_scalable_target(**where, MaxCapacity=2)
    found = account.scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[where["ResourceId"]])
    target = found["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 2)
    assert target["ScalableTargetARN"] == arn["ScalableTargetARN"]
    account.scaling.tag_resource(ResourceARN=target["ScalableTargetARN"], Tags={"team": "b", "more": "c"})
    account.scaling.untag_resource(ResourceARN=target["ScalableTargetARN"], TagKeys=["more"])
    assert account.scaling.list_tags_for_resource(ResourceARN=target["ScalableTargetARN"])["Tags"] == {"team": "b"}
    tagged = account.aws.client("resourcegroupstaggingapi").get_resources(TagFilters=[{"Key": "team"}])
    assert [one["ResourceARN"] for one in tagged["ResourceTagMappingList"]] == [arn["ScalableTargetARN"]]


def test_a_schedule_changes_the_bounds_and_the_count(account: Account) -> None:
    where = account.service("office", 1)
    account.scaling.register_scalable_target(**where, MinCapacity=1, MaxCapacity=2)
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1, seconds=2)
    account.scaling.put_scheduled_action(
        **where, ScheduledActionName="close", Schedule=f"at({soon:%Y-%m-%dT%H:%M:%S})", Timezone="Etc/GMT-1",
        ScalableTargetAction={"MinCapacity": 0, "MaxCapacity": 0},
    )  # fmt: skip
    account.until("office", 0)
    found = account.scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[where["ResourceId"]])
    assert found["ScalableTargets"][0]["MaxCapacity"] == 0
    account.scaling.deregister_scalable_target(**where)
    assert account.scaling.describe_scheduled_actions(**where)["ScheduledActions"] == []


def test_what_is_not_there_or_not_served_is_refused_with_the_code_of_aws(account: Account) -> None:
    where = account.service("refused", 0)
    policy = {"PolicyName": "cpu", "PolicyType": "TargetTrackingScaling"}
    text = account.refused("put_scaling_policy", **where, **policy, TargetTrackingScalingPolicyConfiguration=cpu(50))
    assert "ObjectNotFoundException" in text and "No scalable target registered" in text
    gone = {**where, "ResourceId": "service/demo/gone"}
    assert "doesn't exist" in account.refused("register_scalable_target", **gone, MinCapacity=1, MaxCapacity=2)
    assert "Maximum capacity" in account.refused("register_scalable_target", **where, MinCapacity=3, MaxCapacity=2)
    account.scaling.register_scalable_target(**where, MinCapacity=0, MaxCapacity=2)
    for asked, message in (
        ({"PolicyType": "StepScaling"}, "StepScaling is not supported by the local AWS"),
        ({"TargetTrackingScalingPolicyConfiguration": {"TargetValue": 5.0, "PredefinedMetricSpecification": {
            "PredefinedMetricType": "ALBRequestCountPerTarget"}}}, "ALBRequestCountPerTarget is not supported"),
    ):  # fmt: skip
        assert message in account.refused("put_scaling_policy", **where, **(policy | asked))
    for schedule in ("cron(0 8 * * * *)", "cron(0 8 ? * MON-FRI)", "rate(1 minutes)", "at(tomorrow)", "8 o'clock"):
        asked = {"ScheduledActionName": "bad", "Schedule": schedule, "ScalableTargetAction": {"MinCapacity": 0}}
        assert "ValidationException" in account.refused("put_scheduled_action", **where, **asked)
    assert "ObjectNotFoundException" in account.refused("delete_scaling_policy", **where, PolicyName="none")
    assert "ObjectNotFoundException" in account.refused("delete_scheduled_action", **where, ScheduledActionName="none")
