#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secretsmanager_secrets_info
version_added: "0.1.0"
short_description: Find secrets in AWS Secrets Manager by name prefix and tags, without reading them
description:
  - Lists secrets, except those scheduled for deletion. No value is read.
  - Wraps C(ListSecrets) of the AWS Secrets Manager API.
options:
  prefix:
    description: What the names of the secrets begin with.
    type: str
    required: true
  tags:
    description: Tags that the secrets carry.
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
- name: Find the secrets of a deployment
  mlops.mlflow_aws.secretsmanager_secrets_info:
    prefix: team-mlflow/
  register: secrets_found
"""

RETURN = r"""
arns:
  description: The ARN of each secret that was found, by its name.
  returned: success
  type: dict
  sample:
    team-mlflow/admin: arn:aws:secretsmanager:eu-west-2:123456789012:secret:team-mlflow/admin-AbCdEf
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes


@AWSRetry.jittered_backoff(retries=8)
def list_secrets(client, prefix: str) -> list[dict]:
    pages = client.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [prefix]}])
    return [one for page in pages for one in page["SecretList"]]


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={"prefix": {"type": "str", "required": True}, "tags": {"type": "dict", "default": {}}},
        supports_check_mode=True,
    )
    prefix, tags = module.params["prefix"], aws_changes.text_tags(module.params["tags"])
    with aws_changes.one_line_failures(module, "secretsmanager", f"Secrets {prefix}*"):
        found = list_secrets(module.client("secretsmanager"), prefix)
    # The filter ignores case, and matches any word of a name.
    arns = {
        one["Name"]: one["ARN"]
        for one in found
        if one["Name"].startswith(prefix)
        and aws_changes.carries(boto3_tag_list_to_ansible_dict(one.get("Tags", [])), tags)
    }
    module.exit_json(changed=False, arns=arns)


if __name__ == "__main__":
    main()
