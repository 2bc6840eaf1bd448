# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a schedule's target for ECS asks of RunTask."""

from __future__ import annotations

import json

import pytest

from local_aws.scheduler import BadTarget, run_task_parameters

FAMILY = "arn:aws:ecs:eu-west-2:123456789012:task-definition/web"
CLUSTER = "arn:aws:ecs:eu-west-2:123456789012:cluster/web"
NETWORK = {"Subnets": ["subnet-1"], "SecurityGroups": ["sg-1"], "AssignPublicIp": "DISABLED"}
TARGET = {
    "Arn": CLUSTER,
    "Input": json.dumps({"containerOverrides": [{"name": "web", "command": ["gc"]}]}),
    "EcsParameters": {
        "TaskDefinitionArn": FAMILY, "TaskCount": 1, "LaunchType": "FARGATE", "PropagateTags": "TASK_DEFINITION",
        "NetworkConfiguration": {"awsvpcConfiguration": NETWORK},
    },
}  # fmt: skip


def test_parameters_are_those_of_run_task():
    assert run_task_parameters(TARGET, "weekly") == {
        "cluster": CLUSTER, "taskDefinition": FAMILY, "count": 1, "launchType": "FARGATE", "propagateTags": "TASK_DEFINITION",
        "networkConfiguration": {
            "awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
        },
        "overrides": {"containerOverrides": [{"name": "web", "command": ["gc"]}]}, "startedBy": "chronos-schedule/weekly",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"EcsParameters": {}}, "TaskDefinitionArn must be specified"),
        ({"EcsParameters": {"TaskDefinitionArn": FAMILY, "PlatformVersion": "1.3.0"}}, "PlatformVersion are not supported"),
        ({"Input": "gc"}, "Invalid RequestJson"),
        ({"Input": "[]"}, "Invalid RequestJson"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(wrong, message):
    with pytest.raises(BadTarget, match=message):
        run_task_parameters({**TARGET, **wrong}, "weekly")
