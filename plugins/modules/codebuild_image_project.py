#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: codebuild_image_project
version_added: "0.1.0"
short_description: Keep a CodeBuild project that builds container images
description:
  - Keeps a project without a source, with Docker in it, and an IAM role that may write the project's log and push to one
    repository of ECR, and nothing else. M(mlops.mlflow_aws.codebuild_build) runs its builds.
  - The log group is not made here.
  - Wraps C(CreateProject), C(UpdateProject), C(DeleteProject) and C(BatchGetProjects) of the AWS CodeBuild API, and C(CreateRole) and
    C(PutRolePolicy) of IAM.
options:
  name:
    description: Name of the project and of the IAM role, at most 64 characters.
    type: str
    required: true
  state:
    description: V(absent) removes project and role. A build that runs ends without having pushed.
    type: str
    choices: [present, absent]
    default: present
  description:
    description: What the project is for.
    type: str
    default: ""
  repository_arn:
    description: ARN of the ECR repository that the builds push to. Required with O(state=present).
    type: str
  log_group:
    description: Name of the log group of the builds. Required with O(state=present).
    type: str
  cpu_architecture:
    description: Processor architecture of the images.
    type: str
    choices: [X86_64, ARM64]
    default: X86_64
  compute_type:
    description: Size of the machine that builds.
    type: str
    choices: [BUILD_GENERAL1_SMALL, BUILD_GENERAL1_MEDIUM, BUILD_GENERAL1_LARGE]
    default: BUILD_GENERAL1_SMALL
  timeout_minutes:
    description: Minutes after which CodeBuild ends a build, 5 to 2160.
    type: int
    default: 30
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
- name: Keep a project that builds the images of web
  mlops.mlflow_aws.codebuild_image_project:
    name: web-image
    repository_arn: arn:aws:ecr:eu-west-2:123456789012:repository/web
    log_group: /aws/codebuild/web-image
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
project:
  description: The project as it is, null if there is none; in check mode as it was.
  returned: success
  type: dict
  sample:
    name: web-image
    arn: arn:aws:codebuild:eu-west-2:123456789012:project/web-image
    role_arn: arn:aws:iam::123456789012:role/web-image
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, codebuild_projects


def run(module: AnsibleAWSModule, found: codebuild_projects.ImageProject) -> None:
    params = module.params
    if not 5 <= params["timeout_minutes"] <= 2160:
        raise ValueError(f"timeout_minutes = {params['timeout_minutes']}: CodeBuild takes 5 to 2160 minutes; give such a number")
    found.find()
    found.check_owner(aws_changes.text_tags(params["owner_tags"]))
    present = params["state"] == "present"
    changes = found.plan_present(params, aws_changes.text_tags(params["tags"])) if present else found.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    module.exit_json(changed=bool(changes), project=found.described(), diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "description": {"type": "str", "default": ""},
            "repository_arn": {"type": "str"},
            "log_group": {"type": "str"},
            "cpu_architecture": {"type": "str", "choices": ["X86_64", "ARM64"], "default": "X86_64"},
            "compute_type": {
                "type": "str",
                "choices": ["BUILD_GENERAL1_SMALL", "BUILD_GENERAL1_MEDIUM", "BUILD_GENERAL1_LARGE"],
                "default": "BUILD_GENERAL1_SMALL",
            },
            "timeout_minutes": {"type": "int", "default": 30},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "present", ["repository_arn", "log_group"])],
        supports_check_mode=True,
    )
    name = module.params["name"]
    found = codebuild_projects.ImageProject(
        codebuild_projects.connect(module, "codebuild"), codebuild_projects.connect(module, "iam"), name
    )
    with aws_changes.one_line_failures(module, "codebuild", f"CodeBuild project {name}"):
        run(module, found)


if __name__ == "__main__":
    main()
