#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_image_info
version_added: "0.1.0"
short_description: Look for an image in a private repository of ECR
description:
  - Finds the image that a tag names, with its digest, by which a task definition pins it. A missing one is no error.
  - Wraps C(DescribeRepositories) and C(DescribeImages) of the Amazon ECR API.
options:
  repository:
    description: Name of the repository.
    type: str
    required: true
  tag:
    description: Tag of the image.
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
- name: Look for the image of this release
  mlops.mlflow_aws.ecr_image_info:
    repository: web
    tag: "1.4"
  register: release
"""

RETURN = r"""
repository:
  description: The repository, null if there is none.
  returned: success
  type: dict
  sample:
    name: web
    arn: arn:aws:ecr:eu-west-2:123456789012:repository/web
    uri: 123456789012.dkr.ecr.eu-west-2.amazonaws.com/web
image:
  description: The image, null if there is none.
  returned: success
  type: dict
  contains:
    tag:
      description: The tag asked for.
      type: str
      sample: "1.4"
    digest:
      description: Digest of the image's manifest.
      type: str
      sample: sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0
    uri:
      description: What names this image and no other.
      type: str
      sample: 123456789012.dkr.ecr.eu-west-2.amazonaws.com/web@sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0
    pushed_at:
      description: When it was pushed, ISO 8601.
      type: str
      sample: "2026-11-29T08:00:00+00:00"
    size_mib:
      description: Its size as ECR bills it, in MiB.
      type: int
      sample: 260
    scan_status:
      description: How far ECR's scan is, null where it tells nothing.
      type: str
      sample: COMPLETE
    findings:
      description: How many vulnerabilities of each severity the scan found, null before it has ended.
      type: dict
      sample: {"MEDIUM": 2}
tags:
  description: The tags of all images in the repository, the newest first.
  returned: success
  type: list
  elements: str
  sample: ["1.4", "1.3"]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecr_repositories


def run(module: AnsibleAWSModule) -> None:
    ecr, name, tag = ecr_repositories.connect(module), module.params["repository"], module.params["tag"]
    repository = ecr_repositories.Repository(ecr, name)
    repository.found = ecr_repositories.find_repository(ecr, name)
    described = repository.described()
    images = ecr_repositories.find_images(ecr, name) if described else []
    images.sort(key=lambda one: one["imagePushedAt"], reverse=True)
    found = next((one for one in images if tag in one.get("imageTags", [])), None)
    module.exit_json(
        changed=False,
        repository=described,
        image=ecr_repositories.describe_image(described["uri"], found, tag) if described and found else None,
        tags=[one for image in images for one in image.get("imageTags", [])],
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={"repository": {"type": "str", "required": True}, "tag": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "ecr", f"ECR repository {module.params['repository']}"):
        run(module)


if __name__ == "__main__":
    main()
