# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role scaling on a local AWS."""

from __future__ import annotations

import sys
import typing as t

import pytest

IMAGE = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
TARGET = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
HOURS = {"timezone": "Europe/London", "weekdays": "MON-FRI", "start": "08:00", "stop": "19:30"}
DATABASE = "arn:aws:rds:eu-west-2:123456789012:db:life-db"
NIGHT = {"name": "night", "schedule": "cron(0 22 * * ? *)", "timezone": "Europe/Berlin", "min_count": 1}


@pytest.fixture
def scaling(local_aws: t.Any) -> t.Any:
    return local_aws.client("application-autoscaling")


@pytest.fixture(scope="module")
def service(local_aws: t.Any) -> t.Callable[[str], dict]:
    """`service(name)` makes a service that has one task; the role's variables for it."""
    ecs, ec2 = local_aws.client("ecs"), local_aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    ecs.create_cluster(clusterName="scaled")
    ecs.register_task_definition(
        family="idle", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        containerDefinitions=[{"name": "idle", "image": IMAGE, "command": ["sleep", "600"], "essential": True}],
    )  # fmt: skip

    def make(name: str) -> dict:
        ecs.create_service(
            cluster="scaled", serviceName=name, taskDefinition="idle", desiredCount=1, launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
        )  # fmt: skip
        return {"scaling_name": name, "scaling_cluster_name": "scaled", "scaling_service_name": name}

    return make


def test_life_of_scaling(run_role: t.Callable, local_aws: t.Any, scaling: t.Any, service: t.Callable) -> None:
    hours = {"scaling_office_hours": HOURS, "scaling_db_instance_arn": DATABASE}
    variables = {**service("life"), "scaling_tags": {"team": "a"}, **hours}
    check = run_role("scaling", variables, check=True)
    assert (check.rc, check.changed, check.writes) == (0, 2, []), check.stdout
    assert check.outputs["scalable_target_arn"] is None
    assert check.outputs["schedules"] == check.outputs["database_schedules"] == []

    create = run_role("scaling", variables)
    assert (create.rc, create.changed) == (0, 2), create.stdout
    assert "office-close" in create.stdout and "policy cpu" in create.stdout
    outputs = create.outputs
    assert (outputs["min_count"], outputs["max_count"], outputs["cpu_target"]) == (2, 4, 60)
    assert len(outputs["alarms"]) == 2 and outputs["memory_target"] is None
    assert [one["schedule"] for one in outputs["schedules"]] == [
        "cron(30 19 ? * MON-FRI *)", "cron(0 8 ? * MON-FRI *)",
    ]  # fmt: skip
    assert outputs["database_schedules"] == [
        {"name": "start", "schedule": "cron(45 7 ? * MON-FRI *)", "timezone": "Europe/London"},
        {"name": "stop", "schedule": "cron(45 19 ? * MON-FRI *)", "timezone": "Europe/London"},
    ]
    policy = local_aws.client("iam").get_role_policy(RoleName="life-scheduler", PolicyName="database")["PolicyDocument"]
    assert policy["Statement"] == [
        {"Effect": "Allow", "Action": ["rds:StartDBInstance", "rds:StopDBInstance"], "Resource": DATABASE}
    ]
    tags = scaling.list_tags_for_resource(ResourceARN=outputs["scalable_target_arn"])["Tags"]
    assert tags == {"mlflow-deployment": "life", "managed-by": "mlops.mlflow_aws", "team": "a"}
    found = local_aws.client("ecs").describe_services(cluster="scaled", services=["life"])["services"][0]
    assert found["desiredCount"] == 2

    for checking in (True, False):
        again = run_role("scaling", variables, check=checking)
        assert (again.rc, again.changed, again.writes, again.outputs) == (0, 0, [], outputs), again.stdout
    assert run_role("scaling", variables, "info").outputs == outputs

    # What a schedule has set stays until the next one.
    scaling.register_scalable_target(**TARGET, ResourceId="service/scaled/life", MinCapacity=0, MaxCapacity=0)
    asleep = run_role("scaling", variables)
    assert (asleep.changed, asleep.writes, asleep.outputs["max_count"]) == (0, [], 0), asleep.stdout

    changed = {
        **variables,
        "scaling_max_count": 6,
        "scaling_cpu_target": 0,
        "scaling_memory_target": 80,
        "scaling_scale_in_cooldown": 60,
        "scaling_scale_out_cooldown": 30,
        "scaling_schedules": [NIGHT],
        "scaling_office_hours": {},
        "scaling_tags": {},
    }
    assert run_role("scaling", changed, check=True).writes == []
    change = run_role("scaling", changed)
    assert (change.rc, change.changed) == (0, 2), change.stdout
    expected = {"min_count": 2, "max_count": 6, "cpu_target": None, "memory_target": 80, "scale_in_cooldown": 60,
                "scale_out_cooldown": 30, "schedules": [{**NIGHT, "max_count": None}],
                "database_schedules": []}  # fmt: skip
    assert {key: change.outputs[key] for key in expected} == expected
    assert all("AlarmHigh" in name or "AlarmLow" in name for name in change.outputs["alarms"])
    assert run_role("scaling", changed).writes == []

    would = run_role("scaling", changed, "absent", check=True)
    assert (would.changed, would.writes) == (1, [])
    gone = run_role("scaling", changed, "absent")
    assert (gone.rc, gone.changed) == (0, 1), gone.stdout
    again = run_role("scaling", changed, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])
    assert local_aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="TargetTracking-service/scaled/life")[
        "MetricAlarms"
    ] == []  # fmt: skip
    assert set(map(str, run_role("scaling", changed, "info").outputs.values())) == {"None", "[]"}


def test_bad_input_is_refused_before_the_first_write(run_role: t.Callable, service: t.Callable) -> None:
    wrong = {
        "scaling_min_count": 5,
        "scaling_cpu_target": 101,
        "scaling_schedules": [
            {"name": "a", "schedule": "cron(0 8 * * * *)", "timezone": "Mars/Olympus", "min_count": 1}
        ],
        "scaling_office_hours": {**HOURS, "stop": "07:00"},
    }
    run = run_role("scaling", {**service("bad"), **wrong})
    assert run.rc == 2 and run.writes == []
    for message in (
        "min_count = 5: is above the maximum of 4",
        "cpu_target = 101: is not a percentage",
        "says both or neither of day-of-month and day-of-week",
        "schedules = 'Mars/Olympus': is not a time zone",
        "office_hours = '07:00': is not after the start at 08:00",
    ):
        assert message in run.stdout, run.stdout


def test_half_made_is_completed(run_role: t.Callable, scaling: t.Any, service: t.Callable) -> None:
    variables = {**service("half"), "scaling_schedules": [NIGHT], "scaling_min_count": 1}
    assert run_role("scaling", variables).rc == 0
    where = {**TARGET, "ResourceId": "service/scaled/half"}
    scaling.delete_scaling_policy(**where, PolicyName="cpu")
    run = run_role("scaling", variables)
    assert (run.rc, run.writes) == (0, ["application-autoscaling:PutScalingPolicy"]), run.stdout


def test_what_is_not_ours_is_not_touched(run_role: t.Callable, scaling: t.Any, service: t.Callable) -> None:
    variables = service("foreign")
    scaling.register_scalable_target(**TARGET, ResourceId="service/scaled/foreign", MinCapacity=1, MaxCapacity=1)
    for entry in ("main", "absent"):
        run = run_role("scaling", variables, entry)
        assert run.rc == 2 and run.writes == [], run.stdout
        assert "Scaling of service foreign in cluster scaled: it exists but does not carry the tags" in run.stdout


def test_without_the_service_check_mode_predicts_and_a_run_says_what_is_missing(run_role: t.Callable) -> None:
    variables = {"scaling_name": "none", "scaling_cluster_name": "none", "scaling_service_name": "none"}
    check = run_role("scaling", variables, check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    run = run_role("scaling", variables)
    assert run.rc == 2 and run.writes == [] and "ECS service doesn't exist: service/none/none" in run.stdout
    assert run_role("scaling", variables, "absent").changed == 0
