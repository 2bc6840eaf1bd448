#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: application_load_balancer_info
version_added: "0.1.0"
short_description: Look at an application load balancer with its target group, or wait until it is active
description:
  - Finds the load balancer and the target group of one name. A missing one is no error, unlike with
    M(amazon.aws.elb_application_lb_info).
  - Wraps C(DescribeLoadBalancers), C(DescribeListeners), C(DescribeTargetGroups) and C(DescribeTags) of the Elastic
    Load Balancing API, version 2.
options:
  name:
    description: Name of the load balancer and of the target group.
    type: str
    required: true
  wait:
    description: Whether to wait until the load balancer is active. Check mode does not wait.
    type: bool
    default: false
  wait_timeout:
    description: Seconds until the load balancer must be active.
    type: int
    default: 600
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Wait for the load balancer
  mlops.mlflow_aws.application_load_balancer_info:
    name: web
    wait: true
  register: web
"""

RETURN = r"""
load_balancer:
  description: What there is; null for what does not exist.
  returned: success
  type: dict
  sample:
    alb_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:loadbalancer/app/web/50dc6c495c0c9188
    alb_dns_name: web-1234567890.eu-west-2.elb.amazonaws.com
    domain_name: null
    alb_hosted_zone_id: ZHURV8PSTC4K8
    state: active
    target_group_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:targetgroup/web/73e2d6bc24d8a067
    listener_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2
    certificate_arn: null
    access_logs: null
    tracking_uri: http://web-1234567890.eu-west-2.elb.amazonaws.com
    origins: [http://web-1234567890.eu-west-2.elb.amazonaws.com]
    hosts: [web-1234567890.eu-west-2.elb.amazonaws.com]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, elb_load_balancer


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    found = elb_load_balancer.LoadBalancer(elb_load_balancer.connect(module), module.params["name"])
    with aws_changes.one_line_failures(module, "elasticloadbalancing", f"Load balancer {found.name}"):
        if module.params["wait"] and not module.check_mode:
            found.await_active(module.params["wait_timeout"])
        found.find()
    module.exit_json(changed=False, load_balancer=found.summary())


if __name__ == "__main__":
    main()
