#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_service_tag
version_added: "0.1.0"
short_description: Set or remove one tag of an ECS service
description:
  - Leaves the service and its other tags alone.
  - M(community.aws.ecs_tag) needs C(ListTagsForResource) besides, and fails where the service is not there to be left without a tag.
  - Wraps C(DescribeServices), C(TagResource) and C(UntagResource) of the Amazon ECS API.
options:
  name:
    description: Name of the service.
    type: str
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  tag:
    description: Key of the tag.
    type: str
    required: true
  value:
    description: Value of the tag. Required with O(state=present).
    type: str
  state:
    description: Whether the service carries the tag.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Note who is on call
  mlops.mlflow_aws.ecs_service_tag:
    name: web
    cluster: web
    tag: on-call
    value: ada

- name: Note that nobody is
  mlops.mlflow_aws.ecs_service_tag:
    name: web
    cluster: web
    tag: on-call
    state: absent
"""

RETURN = r"""
service_arn:
  description: ARN of the service, null where there is none.
  returned: success
  type: str
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecs_client, ecs_rules


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    ecs = ecs_client.connect(module, "ecs")
    service = ecs_client.describe_service(ecs, params["cluster"], params["name"])
    present = params["state"] == "present"
    if service is None and present:
        module.fail_json(msg=f"Service {params['name']} in cluster {params['cluster']}: there is none; deploy it first")
    key = params["tag"]
    before = ecs_rules.tags_from_api((service or {}).get("tags")).get(key)
    after = params["value"] if present else None
    if before != after and not module.check_mode:
        if present:
            ecs.tag_resource(resourceArn=service["serviceArn"], tags=ecs_rules.tags_to_api({key: after}), aws_retry=True)
        else:
            ecs.untag_resource(resourceArn=service["serviceArn"], tagKeys=[key], aws_retry=True)
    module.exit_json(
        changed=before != after,
        service_arn=service["serviceArn"] if service else None,
        diff={"before": {key: before}, "after": {key: after}},
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "cluster": {"type": "str", "required": True},
            "tag": {"type": "str", "required": True},
            "value": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["value"])],
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "ecs", f"Service {module.params['name']} in cluster {module.params['cluster']}"):
        run(module)


if __name__ == "__main__":
    main()
