#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_one_off_task
version_added: "0.1.0"
short_description: Run one Fargate task to its end
description:
  - Starts one task of a task definition, with another command if asked for, and waits until it has stopped.
  - Fails when a container ends with a code other than 0 or the task cannot start, with the reason that ECS gives and the last
    lines that the task logged.
  - M(community.aws.ecs_task) starts a task without waiting for its end and without an opinion on how it ended.
  - Wraps C(RunTask) and C(DescribeTasks) of the Amazon ECS API and C(GetLogEvents) of CloudWatch Logs.
options:
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  task_definition:
    description: ARN, or family and revision, of the task definition.
    type: str
    required: true
  container:
    description: Name of the container that O(command) and O(environment) are for.
    type: str
  command:
    description: Command of the container for this run.
    type: list
    elements: str
  environment:
    description:
      - Plain environment variables of O(container) for this run, in addition to those of the task definition. Never secret ones,
        for everybody who may describe the task sees them.
    type: dict
  subnets:
    description: IDs of the subnets in one of which the task runs.
    type: list
    elements: str
    required: true
  security_groups:
    description: IDs of the security groups of the task.
    type: list
    elements: str
    required: true
  assign_public_ip:
    description: Whether the task gets a public address.
    type: bool
    default: false
  started_by:
    description: Who started it, as it shows in the task; at most 36 characters.
    type: str
    default: mlops.mlflow_aws
  tags:
    description: Tags of the task.
    type: dict
    default: {}
  log_lines:
    description: How many of the last lines that the task logged to return.
    type: int
    default: 20
  wait_timeout:
    description: Seconds until the task must have stopped.
    type: int
    default: 900
attributes:
  check_mode:
    description: Reports a change and starts nothing.
    support: full
  diff_mode:
    description: A run leaves nothing to compare.
    support: none
  idempotent:
    description: Each call runs a task.
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Prepare the databases
  mlops.mlflow_aws.ecs_one_off_task:
    cluster: web
    task_definition: web:3
    container: web
    command: [migrate]
    subnets: [subnet-0a1b2c3d4e5f60718]
    security_groups: [sg-0a1b2c3d4e5f60718]
    wait_timeout: 600
"""

RETURN = r"""
task_arn:
  description: ARN of the task, null in check mode.
  returned: success
  type: str
  sample: arn:aws:ecs:eu-west-2:123456789012:task/web/0f1e2d3c4b5a69788796a5b4c3d2e1f0
seconds:
  description: Seconds from the call to the end of the task.
  returned: success
  type: float
  sample: 64.2
log_tail:
  description: The last lines that the task logged, also returned on failure.
  returned: when the task ran
  type: list
  elements: str
  sample: ["Both databases are at the schema of MLflow 3.17.2"]
"""

import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecs_client, ecs_rules


def request(params: dict) -> dict:
    """The request of RunTask."""
    body = {
        "cluster": params["cluster"],
        "taskDefinition": params["task_definition"],
        "launchType": "FARGATE",
        "count": 1,
        "startedBy": params["started_by"][:36],
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": params["subnets"],
                "securityGroups": params["security_groups"],
                "assignPublicIp": "ENABLED" if params["assign_public_ip"] else "DISABLED",
            }
        },
        "tags": ecs_rules.tags_to_api(params["tags"]),
    }
    override: dict = {"command": params["command"]} if params["command"] else {}
    if params["environment"]:
        pairs = sorted(params["environment"].items())
        override["environment"] = [{"name": name, "value": str(value)} for name, value in pairs]
    if override:
        body["overrides"] = {"containerOverrides": [{"name": params["container"], **override}]}
    return body


def start(module: AnsibleAWSModule, ecs) -> str:
    answer = ecs.run_task(**request(module.params), aws_retry=True)
    if not answer["tasks"]:
        reasons = "; ".join(failure.get("reason", "no reason given") for failure in answer["failures"])
        module.fail_json(
            msg=f"A task of {module.params['task_definition']} could not be started in cluster"
            f" {module.params['cluster']}: {reasons}"
        )
    return answer["tasks"][0]["taskArn"]


def run(module: AnsibleAWSModule) -> None:
    ecs = ecs_client.connect(module, "ecs")
    logs = ecs_client.connect(module, "logs")
    started = time.monotonic()
    arn = start(module, ecs)

    def stopped() -> dict | None:
        task = ecs_client.describe_task(ecs, module.params["cluster"], arn)
        return task if task and task["lastStatus"] == "STOPPED" else None

    ended, task = ecs_client.poll(stopped, module.params["wait_timeout"])
    definition = ecs_client.describe_task_definition(ecs, module.params["task_definition"])
    tail = ecs_client.log_tail(logs, definition, arn, module.params["log_lines"])
    what = f"One-off task {arn.rsplit('/', 1)[-1]} of {module.params['task_definition'].rsplit('/', 1)[-1]}"
    if not ended:
        ecs.stop_task(cluster=module.params["cluster"], task=arn, reason="wait_timeout is over", aws_retry=True)
        reason = f"{what} had not ended after {module.params['wait_timeout']} s and was stopped; raise wait_timeout if it was busy"
        module.fail_json(msg=ecs_client.explain(reason, tail), task_arn=arn, log_tail=tail)
    failure = ecs_rules.task_failure(task)
    if failure:
        module.fail_json(msg=ecs_client.explain(f"{what} failed: {failure}", tail), task_arn=arn, log_tail=tail)
    module.exit_json(changed=True, task_arn=arn, seconds=round(time.monotonic() - started, 1), log_tail=tail)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "task_definition": {"type": "str", "required": True},
            "container": {"type": "str"},
            "command": {"type": "list", "elements": "str"},
            "environment": {"type": "dict"},
            "subnets": {"type": "list", "elements": "str", "required": True},
            "security_groups": {"type": "list", "elements": "str", "required": True},
            "assign_public_ip": {"type": "bool", "default": False},
            "started_by": {"type": "str", "default": "mlops.mlflow_aws"},
            "tags": {"type": "dict", "default": {}},
            "log_lines": {"type": "int", "default": 20},
            "wait_timeout": {"type": "int", "default": 900},
        },
        required_by={"command": ("container",), "environment": ("container",)},
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, task_arn=None, seconds=0.0, log_tail=[])
    with aws_changes.one_line_failures(module, "ecs", f"Task of {module.params['task_definition']}"):
        run(module)


if __name__ == "__main__":
    main()
