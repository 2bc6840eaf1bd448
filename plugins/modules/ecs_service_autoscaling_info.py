#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_service_autoscaling_info
version_added: "0.1.0"
short_description: Look at what scales an ECS service
description:
  - Finds the scalable target of one ECS service with its target tracking policies and scheduled actions. A missing one
    is no error.
  - Wraps C(DescribeScalableTargets), C(DescribeScalingPolicies), C(DescribeScheduledActions) and
    C(ListTagsForResource) of the Application Auto Scaling API.
options:
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  service:
    description: Name of the service.
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
- name: Look at what scales the service
  mlops.mlflow_aws.ecs_service_autoscaling_info:
    cluster: web
    service: web
  register: web
"""

RETURN = r"""
scaling:
  description: What there is; null for what does not exist.
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
    schedules: []
tags:
  description: Tags of the scalable target.
  returned: success
  type: dict
  sample:
    team: web
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, scaling_target


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={"cluster": {"type": "str", "required": True}, "service": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    found = scaling_target.ScalableTarget(
        scaling_target.connect(module), module.params["cluster"], module.params["service"]
    )
    with aws_changes.one_line_failures(module, "application-autoscaling", found.label):
        found.find()
        module.exit_json(changed=False, scaling=found.summary(), tags=found.tags)


if __name__ == "__main__":
    main()
