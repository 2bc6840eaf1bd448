#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_office_hours_info
version_added: "0.1.0"
short_description: Look at the office hours of an RDS instance
description:
  - Finds the schedules that M(mlops.mlflow_aws.rds_office_hours) keeps. Missing ones are no error.
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
- name: Look at the office hours of the database
  mlops.mlflow_aws.rds_office_hours_info:
    name: web-dev
  register: hours
"""

RETURN = r"""
schedules:
  description: The schedules that there are.
  returned: success
  type: list
  elements: dict
  sample:
    - name: start
      schedule: cron(45 7 ? * MON-FRI *)
      timezone: Europe/London
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, scaling_database, schedule_groups


def main() -> None:
    module = AnsibleAWSModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    found = scaling_database.DatabaseHours(
        schedule_groups.connect(module, "iam"), schedule_groups.connect(module, "scheduler"), name
    )
    with aws_changes.one_line_failures(module, "scheduler", f"Office hours of the database of {name}"):
        found.find()
        module.exit_json(changed=False, schedules=found.summary())


if __name__ == "__main__":
    main()
