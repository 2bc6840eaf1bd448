#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_scheduled_task
version_added: "0.1.0"
short_description: Run a Fargate task by the clock
description:
  - Keeps one schedule of EventBridge Scheduler in a schedule group of its own, and an IAM role that may run tasks of this
    family in this cluster and nothing else.
  - The task is always of the newest active revision of the family.
  - How a task ended is not told to anybody; what it logs is in the log group of its task definition.
  - Wraps C(CreateSchedule), C(UpdateSchedule), C(CreateScheduleGroup) and their kin of the EventBridge Scheduler API,
    and C(CreateRole) and C(PutRolePolicy) of IAM.
options:
  name:
    description: Name of the schedule group and of the IAM role, at most 64 characters.
    type: str
    required: true
  state:
    description: V(absent) leaves a task that runs alone.
    type: str
    choices: [present, absent]
    default: present
  schedule:
    description:
      - When, as V(cron(0 3 ? * SUN *\)), V(rate(7 days\)) or V(at(2027-01-31T03:00:00\)).
      - Required with O(state=present), as are O(cluster_arn), O(task_definition_arn), O(role_arns), O(container),
        O(command), O(subnets) and O(security_groups).
    type: str
  timezone:
    description: Time zone of IANA.
    type: str
    default: UTC
  cluster_arn:
    description: ARN of the ECS cluster.
    type: str
  task_definition_arn:
    description: ARN of the task definition, without a revision.
    type: str
  role_arns:
    description: ARNs of the execution role and of the task role of the task definition.
    type: list
    elements: str
  container:
    description: Name of the container whose command is replaced by O(command).
    type: str
  command:
    description: Command of the container.
    type: list
    elements: str
  environment:
    description: Environment variables of the container, beside those of the task definition. Nothing secret belongs here.
    type: dict
    default: {}
  subnets:
    description: IDs of the subnets in one of which the task runs.
    type: list
    elements: str
  security_groups:
    description: IDs of the security groups of the task.
    type: list
    elements: str
  assign_public_ip:
    description: Whether the task gets a public address.
    type: bool
    default: false
  variable_names:
    description: What users call the options, for messages.
    type: dict
    default: {}
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Tidy up on Sundays
  mlops.mlflow_aws.ecs_scheduled_task:
    name: web-tidy-up
    schedule: cron(0 3 ? * SUN *)
    timezone: Europe/London
    cluster_arn: arn:aws:ecs:eu-west-2:123456789012:cluster/web
    task_definition_arn: arn:aws:ecs:eu-west-2:123456789012:task-definition/web
    role_arns:
      - arn:aws:iam::123456789012:role/web-execution
      - arn:aws:iam::123456789012:role/web-task
    container: web
    command: [tidy-up]
    subnets: [subnet-0a1b2c3d4e5f60718]
    security_groups: [sg-0a1b2c3d4e5f60718]
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
schedule:
  description: The schedule as it is, null if there is none; in check mode as it was.
  returned: success
  type: dict
  sample:
    arn: arn:aws:scheduler:eu-west-2:123456789012:schedule/web-tidy-up/run
    schedule: cron(0 3 ? * SUN *)
    timezone: Europe/London
    command: [tidy-up]
    environment: {}
    role_arn: arn:aws:iam::123456789012:role/web-tidy-up
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, schedule_groups, scheduled_task
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure

NEEDED = (
    "schedule", "cluster_arn", "task_definition_arn", "role_arns", "container", "command", "subnets", "security_groups",
)  # fmt: skip


def argument_spec() -> dict:
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "schedule": {"type": "str"},
        "timezone": {"type": "str", "default": "UTC"},
        "cluster_arn": {"type": "str"},
        "task_definition_arn": {"type": "str"},
        "role_arns": {"type": "list", "elements": "str"},
        "container": {"type": "str"},
        "command": {"type": "list", "elements": "str"},
        "environment": {"type": "dict", "default": {}},
        "subnets": {"type": "list", "elements": "str"},
        "security_groups": {"type": "list", "elements": "str"},
        "assign_public_ip": {"type": "bool", "default": False},
        "variable_names": {"type": "dict", "default": {}},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def check_options(params: dict) -> None:
    """ValueError for what AWS would refuse half way."""
    found = Findings(params["variable_names"])
    scheduled_task.check(params, found)
    if found.problems:
        raise ValueError(failure(found.problems))


def run(module: AnsibleAWSModule, found: scheduled_task.ScheduledTask) -> None:
    params = module.params
    present = params["state"] == "present"
    if present:
        check_options(params)
    found.find()
    found.check_owner(aws_changes.text_tags(params["owner_tags"]))
    changes = found.plan_present(params, aws_changes.text_tags(params["tags"])) if present else found.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    module.exit_json(changed=bool(changes), schedule=found.described(), diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", list(NEEDED))],
        supports_check_mode=True,
    )
    name = module.params["name"]
    found = scheduled_task.ScheduledTask(
        schedule_groups.connect(module, "iam"), schedule_groups.connect(module, "scheduler"), name
    )
    with aws_changes.one_line_failures(module, "scheduler", f"Scheduled task {name}"):
        run(module, found)


if __name__ == "__main__":
    main()
