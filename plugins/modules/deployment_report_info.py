#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_report_info
version_added: "0.1.0"
short_description: Put together what a report of a deployment says
description:
  - Takes the outputs of the roles as they are, reads figures and what else the report shows, and returns the whole report as one structure,
    which the role P(mlops.mlflow_aws.report#role) writes as Markdown and HTML.
  - What is missing is shown as missing, and a figure that CloudWatch has no data of as V(no data). What may not be read is named in the
    report, which does without.
  - No secret is read, only the ARNs that O(parts) holds.
  - Wraps C(GetMetricData) and C(DescribeAlarms) of CloudWatch, C(DescribeDBInstances) and C(DescribeEvents) of Amazon RDS,
    C(DescribeLoadBalancers) and C(DescribeListeners) of Elastic Load Balancing, C(DescribeCertificate) of ACM, C(GetWebACLForResource) of
    AWS WAF and C(DescribeSubnets) of Amazon EC2.
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  hours:
    description: Hours that the figures and events are of, 1 to 168.
    type: int
    default: 24
  console:
    description: Whether the report links to the AWS console.
    type: bool
    default: true
  inventory:
    description: Path of the inventory, for the commands.
    type: str
    default: inventories/local
  environment:
    description: What C(make) calls the inventory; empty for commands without C(make).
    type: str
    default: ""
  limit:
    description: Whether the inventory has other deployments too, so that the commands must name this one.
    type: bool
    default: false
  parts:
    description: Outputs of the roles; an empty one is a part that is not there.
    type: dict
    required: true
    suboptions:
      network:
        description: C(network_outputs).
        type: dict
        default: {}
      load_balancer:
        description: C(alb_outputs).
        type: dict
        default: {}
      service:
        description: C(ecs_mlflow_outputs).
        type: dict
        default: {}
      database:
        description: C(rds_outputs).
        type: dict
        default: {}
      secrets:
        description: C(secrets_outputs), which are ARNs.
        type: dict
        default: {}
      artifacts:
        description: C(artifacts_outputs).
        type: dict
        default: {}
      backup:
        description: C(backup_outputs).
        type: dict
        default: {}
      monitoring:
        description: C(monitoring_outputs).
        type: dict
        default: {}
      scaling:
        description: C(scaling_outputs).
        type: dict
        default: {}
      budget:
        description: C(budget_outputs).
        type: dict
        default: {}
      cost:
        description: C(cost_outputs).
        type: dict
        default: {}
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look at the database
  mlops.mlflow_aws.rds_postgres_info:
    db_instance_identifier: fraud-scoring-mlflow-db
    region: eu-west-2
  register: database

- name: Put a report of the database together
  mlops.mlflow_aws.deployment_report_info:
    name: fraud-scoring-mlflow
    region: eu-west-2
    hours: 3
    parts:
      database: "{{ database.instance }}"
  register: told

- name: Show how it is
  ansible.builtin.debug:
    msg: "{{ told.report.verdict }}, {{ told.report.figures | map(attribute='value') | join(', ') }}"
"""

RETURN = r"""
report:
  description: What the report says, in the order of the page.
  returned: success
  type: dict
  contains:
    state:
      description: V(good), V(warn), V(bad), or V(off) where there is no deployment.
      type: str
    verdict:
      description: The state in words.
      type: str
    lines:
      description: What is not as it should be, a line each.
      type: list
      elements: str
    made:
      description: Between which moments the report was made; in this time the same deployment has the same report.
      type: str
    figures:
      description: Key figures with C(id), C(label), C(value), C(unit), C(detail), C(spark) and the C(alarm) that fires because of it.
      type: list
      elements: dict
    components:
      description: Parts with C(id), C(name), C(state), C(word), C(detail) and C(link).
      type: list
      elements: dict
    tasks:
      description: Tasks with C(id), C(state), C(word), C(address), C(zone), C(since) and C(link).
      type: list
      elements: dict
    alarms:
      description: Alarms with C(name), C(state), C(word), C(since), C(reason) and C(link).
      type: list
      elements: dict
    events:
      description: The latest events with C(time), C(source) and C(message), newest first.
      type: list
      elements: dict
    cost:
      description: The estimate with its dearest C(items).
      type: dict
    jobs:
      description: Commands with C(name), C(make) and C(playbook).
      type: list
      elements: dict
    pictures:
      description: The architecture as C(frames), C(boxes) and C(arrows) with their places, for a wide page and for a narrow one.
      type: list
      elements: dict
    unread:
      description: What was not looked at, and why.
      type: list
      elements: str
  sample:
    state: good
    verdict: Works
"""

import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    ecs_client,
    report_document,
    report_reader,
)

MOST_HOURS = 168
PARTS = (
    "network", "load_balancer", "service", "database", "secrets", "artifacts", "backup", "monitoring", "scaling", "budget", "cost",
)  # fmt: skip


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "hours": {"type": "int", "default": 24},
            "console": {"type": "bool", "default": True},
            "inventory": {"type": "str", "default": "inventories/local"},
            "environment": {"type": "str", "default": ""},
            "limit": {"type": "bool", "default": False},
            "parts": {
                "type": "dict",
                "required": True,
                # The outputs about secrets are their ARNs.
                "options": {part: {"type": "dict", "default": {}, "no_log": False} for part in PARTS},
            },
        },
        supports_check_mode=True,
    )
    params = module.params
    if not 1 <= params["hours"] <= MOST_HOURS:
        module.fail_json(msg=f"hours is {params['hours']}: a report is of 1 to {MOST_HOURS} hours; give another number")
    reader = report_reader.Reader(lambda service: ecs_client.connect(module, service), params, time.time())
    with aws_changes.one_line_failures(module, "aws", f"Report of {params['name']}"):
        facts = reader.read()
    asked = {key: params[key] for key in ("name", "console", "inventory", "environment", "limit", "hours", "parts")}
    module.exit_json(changed=False, report=report_document.document({**asked, **facts, "region": module.region}))


if __name__ == "__main__":
    main()
