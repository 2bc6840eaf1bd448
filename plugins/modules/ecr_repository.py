#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_repository
version_added: "0.1.0"
short_description: Keep a private repository of ECR for images
description:
  - Keeps one repository with its tags, scanning, encryption and a lifecycle policy that keeps the newest images.
  - M(community.aws.ecs_ecr) knows no tags, and in check mode fails where the repository is not there yet.
  - Wraps C(CreateRepository), C(PutImageScanningConfiguration), C(PutImageTagMutability), C(PutLifecyclePolicy), C(TagResource),
    C(DeleteRepository) and their kin of the Amazon ECR API.
options:
  name:
    description: Name of the repository.
    type: str
    required: true
  state:
    description: V(absent) removes the repository B(with all images in it).
    type: str
    choices: [present, absent]
    default: present
  scan_on_push:
    description: Whether ECR scans each image for known vulnerabilities when it is pushed.
    type: bool
    default: true
  immutable_tags:
    description: Whether a tag, once given, always names the same image.
    type: bool
    default: true
  kms_key:
    description: ARN of the KMS key that encrypts the images; empty for AWS's own. ECR never changes it.
    type: str
    default: ""
  keep_images:
    description: How many of the newest images ECR keeps; 0 for all.
    type: int
    default: 0
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
- name: Keep a repository for the images of web
  mlops.mlflow_aws.ecr_repository:
    name: web
    keep_images: 10
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
repository:
  description: The repository as it is, null if there is none; in check mode as it was.
  returned: success
  type: dict
  sample:
    name: web
    arn: arn:aws:ecr:eu-west-2:123456789012:repository/web
    uri: 123456789012.dkr.ecr.eu-west-2.amazonaws.com/web
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecr_repositories


def run(module: AnsibleAWSModule, found: ecr_repositories.Repository) -> None:
    params = module.params
    if params["keep_images"] < 0:
        raise ValueError(f"keep_images = {params['keep_images']}: is not a number of images; give 0 for all, or 1 or more")
    found.find()
    found.check_owner(aws_changes.text_tags(params["owner_tags"]))
    present = params["state"] == "present"
    changes = found.plan_present(params, aws_changes.text_tags(params["tags"])) if present else found.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    module.exit_json(changed=bool(changes), repository=found.described(), diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "scan_on_push": {"type": "bool", "default": True},
            "immutable_tags": {"type": "bool", "default": True},
            "kms_key": {"type": "str", "default": "", "no_log": False},
            "keep_images": {"type": "int", "default": 0},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    with aws_changes.one_line_failures(module, "ecr", f"ECR repository {name}"):
        run(module, ecr_repositories.Repository(ecr_repositories.connect(module), name))


if __name__ == "__main__":
    main()
