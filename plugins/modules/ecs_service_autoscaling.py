#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_service_autoscaling
version_added: "0.1.0"
short_description: Scale an ECS service by its load and by the clock
description:
  - Keeps the scalable target of one ECS service with its target tracking policies and scheduled actions. Policies and
    scheduled actions of the target that are not asked for are removed.
  - A scheduled action sets the minimum and maximum of the target itself. What one of the schedules asked for has set
    stays as it is until the next one, so that a run at night does not wake what sleeps.
  - M(community.aws.application_autoscaling_policy) knows no scheduled actions and no tags, and fails in check mode
    on an account without the service.
  - Wraps C(RegisterScalableTarget), C(PutScalingPolicy), C(PutScheduledAction) and their kin of the Application Auto
    Scaling API.
options:
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  service:
    description: Name of the service.
    type: str
    required: true
  state:
    description:
      - V(present) scales the service.
      - V(absent) leaves it with as many tasks as it has.
    type: str
    choices: [present, absent]
    default: present
  min_count:
    description: Fewest tasks, at least 1. A service with fewer gets more at once.
    type: int
    default: 2
  max_count:
    description: Most tasks. A service with more gets fewer at once.
    type: int
    default: 4
  cpu_target:
    description: Average CPU utilisation of the tasks that is aimed at, in percent; V(0) to leave it out.
    type: int
    default: 60
  memory_target:
    description: Average memory utilisation of the tasks that is aimed at, in percent; V(0) to leave it out.
    type: int
    default: 0
  scale_in_cooldown:
    description: Seconds after tasks were taken away before more are taken away.
    type: int
    default: 300
  scale_out_cooldown:
    description: Seconds for which tasks that were added count as having helped.
    type: int
    default: 120
  schedules:
    description: Changes of the minimum and maximum by the clock.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the scheduled action.
        type: str
        required: true
      schedule:
        description: When, as V(cron(0 8 ? * MON-FRI *\)), V(rate(2 hours\)) or V(at(2027-01-31T08:00:00\)).
        type: str
        required: true
      timezone:
        description: Time zone of IANA.
        type: str
        default: UTC
      min_count:
        description: Fewest tasks from then on.
        type: int
      max_count:
        description: Most tasks from then on.
        type: int
  office_hours:
    description:
      - Times outside of which there are no tasks, as two more schedules; empty for none.
      - Takes C(timezone), C(weekdays) such as V(MON-FRI), C(start) and C(stop) such as V(08:00), all as text.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Predicts exactly what a run would change, also where there is no service yet.
    support: full
  diff_mode:
    description: Shows what changes, before and after.
    support: full
  idempotent:
    description: Writes nothing when all is as asked for.
    support: full
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Two to six tasks by their CPU, none at night
  mlops.mlflow_aws.ecs_service_autoscaling:
    cluster: web
    service: web
    min_count: 2
    max_count: 6
    cpu_target: 60
    office_hours:
      timezone: Europe/London
      weekdays: MON-FRI
      start: "08:00"
      stop: "19:00"
    owner_tags:
      team: web
    tags:
      team: web

- name: Leave the service with the tasks that it has
  mlops.mlflow_aws.ecs_service_autoscaling:
    cluster: web
    service: web
    state: absent
    owner_tags:
      team: web
"""

RETURN = r"""
scaling:
  description: What there is; null for what does not exist, and in check mode what was before.
  returned: success
  type: dict
  sample:
    scalable_target_arn: arn:aws:application-autoscaling:eu-west-2:123456789012:scalable-target/0ec5a5b3f3a8c0de
    min_count: 2
    max_count: 6
    cpu_target: 60.0
    memory_target: null
    scale_in_cooldown: 300
    scale_out_cooldown: 120
    alarms:
      - TargetTracking-service/web/web-AlarmHigh-2f9fbd0f-8f4a-4f6e-9f6e-1d5a0ab1a0e5
      - TargetTracking-service/web/web-AlarmLow-7c2c43d0-61b5-4a5e-b5c5-3e8a2b1d4b5f
    schedules:
      - name: office-open
        schedule: cron(0 8 ? * MON-FRI *)
        timezone: Europe/London
        min_count: 2
        max_count: 6
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, scaling_target


def argument_spec() -> dict:
    schedule = {
        "name": {"type": "str", "required": True},
        "schedule": {"type": "str", "required": True},
        "timezone": {"type": "str", "default": "UTC"},
        "min_count": {"type": "int"},
        "max_count": {"type": "int"},
    }
    return {
        "cluster": {"type": "str", "required": True},
        "service": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "min_count": {"type": "int", "default": 2},
        "max_count": {"type": "int", "default": 4},
        "cpu_target": {"type": "int", "default": 60},
        "memory_target": {"type": "int", "default": 0},
        "scale_in_cooldown": {"type": "int", "default": 300},
        "scale_out_cooldown": {"type": "int", "default": 120},
        "schedules": {"type": "list", "elements": "dict", "default": [], "options": schedule},
        "office_hours": {"type": "dict", "default": {}},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule, found: scaling_target.ScalableTarget) -> None:
    params = dict(module.params, tags=aws_changes.text_tags(module.params["tags"]))
    found.find()
    found.check_owner(aws_changes.text_tags(params["owner_tags"]))
    changes = found.plan_present(params) if params["state"] == "present" else found.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    module.exit_json(changed=bool(changes), scaling=found.summary(), diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    found = scaling_target.ScalableTarget(
        scaling_target.connect(module), module.params["cluster"], module.params["service"]
    )
    with aws_changes.one_line_failures(module, "application-autoscaling", found.label):
        run(module, found)


if __name__ == "__main__":
    main()
