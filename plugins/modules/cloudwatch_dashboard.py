#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_dashboard
version_added: "0.1.0"
short_description: Keep a CloudWatch dashboard
description:
  - Keeps a dashboard with exactly the given body.
  - Dashboards cannot have tags. Whose one is, is told by a line in one of its text widgets, V(key=value) for each of
    O(owner_tags), sorted by key; a dashboard without this line is not touched.
  - Wraps C(GetDashboard), C(PutDashboard) and C(DeleteDashboards).
options:
  name:
    description: Name of the dashboard.
    type: str
    required: true
  state:
    description: Whether it shall be there.
    type: str
    choices: [present, absent]
    default: present
  body:
    description:
      - Structure of the dashboard, see
        U(https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html).
    type: dict
  owner_tags:
    description: What a text widget of the dashboard must say for the module to touch it.
    type: dict
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Show how busy the web servers are
  mlops.mlflow_aws.cloudwatch_dashboard:
    name: web
    body:
      widgets:
        - type: text
          x: 0
          y: 0
          width: 24
          height: 2
          properties:
            markdown: |
              # Web
              team=web
        - type: metric
          x: 0
          y: 2
          width: 12
          height: 6
          properties:
            title: Processor
            region: eu-west-2
            metrics:
              - [AWS/ECS, CPUUtilization, ClusterName, web, ServiceName, web]
    owner_tags:
      team: web
"""

RETURN = r"""
dashboard_name:
  description: Name that the dashboard has or, in check mode, would have; null when it is absent.
  returned: success
  type: str
  sample: web
"""

import json

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, cloudwatch_rules


def find(cloudwatch, name: str):
    """The body of the dashboard, None if there is none."""
    try:
        answer = cloudwatch.get_dashboard(DashboardName=name, aws_retry=True)
    except is_boto3_error_code(["ResourceNotFound", "DashboardNotFoundError"]):
        return None
    return cloudwatch_rules.parsed(answer["DashboardBody"])


def check_owner(name: str, body, owner_tags: dict) -> None:
    if body is not None and not cloudwatch_rules.is_marked(body, owner_tags):
        line = cloudwatch_rules.marks(owner_tags)
        raise ValueError(
            f"Dashboard {name}: it exists but no text widget of it has the line '{line}', so it is not ours to touch; "
            "choose another name"
        )


def put(module: AnsibleAWSModule, cloudwatch) -> None:
    name = module.params["name"]
    answer = cloudwatch.put_dashboard(
        DashboardName=name, DashboardBody=json.dumps(module.params["body"]), aws_retry=True
    )
    for one in answer.get("DashboardValidationMessages", []):
        module.warn(f"Dashboard {name}: {one.get('DataPath')}: {one.get('Message')}")


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    name, wanted = params["name"], params["body"] if params["state"] == "present" else None
    owner_tags = aws_changes.text_tags(params["owner_tags"])
    if wanted is not None and not cloudwatch_rules.is_marked(wanted, owner_tags):
        line = cloudwatch_rules.marks(owner_tags)
        raise ValueError(f"Dashboard {name}: body: it does not say whose it is; give a text widget the line '{line}'")
    cloudwatch = module.client("cloudwatch", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    before = find(cloudwatch, name)
    check_owner(name, before, owner_tags)
    changes = aws_changes.Changes()
    if wanted is not None:
        changes.want("body", before, wanted, lambda: put(module, cloudwatch))
    else:
        changes.want(
            "body", before, None, lambda: cloudwatch.delete_dashboards(DashboardNames=[name], aws_retry=True)
        )
    if changes and not module.check_mode:
        changes.apply()
    module.exit_json(changed=bool(changes), dashboard_name=name if wanted is not None else None, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "body": {"type": "dict"},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "present", ["body"])],
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "cloudwatch", f"Dashboard {module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
