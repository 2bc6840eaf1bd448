#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_scheduled_task_info
version_added: "0.1.0"
short_description: Look at a Fargate task that runs by the clock
description:
  - Finds the schedule that M(mlops.mlflow_aws.ecs_scheduled_task) keeps. A missing one is no error.
  - Wraps C(GetScheduleGroup), C(GetSchedule) and C(ListTagsForResource) of the EventBridge Scheduler API, and
    C(GetRole) and C(GetRolePolicy) of IAM.
options:
  name:
    description: Name of the schedule group.
    type: str
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look when things are tidied up
  mlops.mlflow_aws.ecs_scheduled_task_info:
    name: web-tidy-up
  register: tidy_up
"""

RETURN = r"""
schedule:
  description: The schedule as it is, null if there is none.
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


def main() -> None:
    module = AnsibleAWSModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    found = scheduled_task.ScheduledTask(
        schedule_groups.connect(module, "iam"), schedule_groups.connect(module, "scheduler"), name
    )
    with aws_changes.one_line_failures(module, "scheduler", f"Scheduled task {name}"):
        found.find()
        module.exit_json(changed=False, schedule=found.described())


if __name__ == "__main__":
    main()
