#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_office_hours
version_added: "0.1.0"
short_description: Stop an RDS instance outside of office hours
description:
  - Keeps two schedules of EventBridge Scheduler in a schedule group of their own, and an IAM role that may start and
    stop this instance and nothing else.
  - RDS starts an instance by itself that was stopped for seven days.
  - Wraps C(CreateSchedule), C(UpdateSchedule), C(CreateScheduleGroup) and their kin of the EventBridge Scheduler API,
    and C(CreateRole) and C(PutRolePolicy) of IAM.
options:
  name:
    description: Name of the schedule group; the IAM role is called the same with C(-scheduler) behind it.
    type: str
    required: true
  state:
    description: V(absent) leaves the instance as it is, started or stopped.
    type: str
    choices: [present, absent]
    default: present
  db_instance_arn:
    description: ARN of the instance. Required with O(state=present).
    type: str
  office_hours:
    description:
      - Takes C(timezone), C(weekdays) such as V(MON-FRI), C(start) and C(stop) such as V(08:00), all as text. Required
        with O(state=present).
      - The instance starts a quarter of an hour before these hours and stops a quarter of an hour after them, so that
        what needs it is never without it.
    type: dict
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
- name: Keep the database of the developers for office hours
  mlops.mlflow_aws.rds_office_hours:
    name: web-dev
    db_instance_arn: arn:aws:rds:eu-west-2:123456789012:db:web-dev-db
    office_hours:
      timezone: Europe/London
      weekdays: MON-FRI
      start: "08:00"
      stop: "19:00"
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
schedules:
  description: The schedules that there are; in check mode those that there were.
  returned: success
  type: list
  elements: dict
  sample:
    - name: start
      schedule: cron(45 7 ? * MON-FRI *)
      timezone: Europe/London
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    scaling_database,
    scaling_rules,
    scaling_schedules,
    schedule_groups,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure


def argument_spec() -> dict:
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "db_instance_arn": {"type": "str"},
        "office_hours": {"type": "dict"},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def check_options(params: dict) -> None:
    """ValueError for what AWS would refuse half way."""
    found = Findings()
    scaling_rules.check_office_hours(params["office_hours"], found)
    if len(params["db_instance_arn"].split(":")) != 7:
        found.refuse("db_instance_arn", params["db_instance_arn"], "is not the ARN of an RDS instance", "give its ARN")
    if found.problems:
        raise ValueError(failure(found.problems))


def run(module: AnsibleAWSModule, found: scaling_database.DatabaseHours) -> None:
    params = module.params
    present = params["state"] == "present"
    if present:
        check_options(params)
    found.find()
    found.check_owner(aws_changes.text_tags(params["owner_tags"]))
    if present:
        hours, tags = params["office_hours"], aws_changes.text_tags(params["tags"])
        schedules = scaling_schedules.database_schedules(hours)
        changes = found.plan_present(params["db_instance_arn"], schedules, hours["timezone"], tags)
    else:
        changes = found.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    module.exit_json(changed=bool(changes), schedules=found.summary(), diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ["db_instance_arn", "office_hours"])],
        supports_check_mode=True,
    )
    name = module.params["name"]
    found = scaling_database.DatabaseHours(
        schedule_groups.connect(module, "iam"), schedule_groups.connect(module, "scheduler"), name
    )
    with aws_changes.one_line_failures(module, "scheduler", f"Office hours of the database of {name}"):
        run(module, found)


if __name__ == "__main__":
    main()
