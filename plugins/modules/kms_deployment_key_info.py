#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kms_deployment_key_info
version_added: "0.1.0"
short_description: Find the KMS key of a deployment, or see whether a given one can be used
description:
  - Finds the key C(alias/<name>) if it carries the owner's tags. Nothing missing is an error.
  - With O(key_arn) it looks at that key instead, and fails unless it is an enabled, symmetric key of the customer in this region and
    partition.
  - Wraps C(DescribeKey) and C(ListResourceTags) of AWS KMS.
options:
  name:
    description: Name of the key, without C(alias/).
    type: str
    required: true
  key_arn:
    description: ARN of an existing key to look at instead; empty for none.
    type: str
    default: ""
  owner_tags:
    description: Tags that the key C(alias/<name>) must carry.
    type: dict
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
- name: Find the key
  mlops.mlflow_aws.kms_deployment_key_info:
    name: web
    owner_tags:
      team: web
"""

RETURN = r"""
key:
  description: The key; every value is null when there is none.
  returned: success
  type: dict
  sample:
    key_arn: arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
    state: Enabled
    own_key_arn: arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
    deletion_date: null
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, kms_keys, kms_rules


def given(module: AnsibleAWSModule, kms: t.Any, arn: str) -> dict[str, t.Any]:
    """The metadata of the given key; ValueError unless it can encrypt the deployment."""
    refused = kms_rules.arn_problem(arn, *kms_keys.place(module))
    if refused:
        raise ValueError(refused)
    metadata = kms_keys.describe(kms, arn)
    refused = kms_rules.metadata_problem(arn, metadata)
    if refused:
        raise ValueError(refused)
    return t.cast(dict, metadata)


def run(module: AnsibleAWSModule) -> None:
    kms, arn = kms_keys.connect(module), module.params["key_arn"]
    in_use = given(module, kms, arn) if arn else None
    own = kms_keys.describe(kms, f"alias/{module.params['name']}")
    owner_tags = aws_changes.text_tags(module.params["owner_tags"])
    if own and not aws_changes.carries(kms_keys.tags(kms, own["KeyId"]), owner_tags):
        own = None
    module.exit_json(changed=False, key=kms_rules.summary(in_use or own, own))


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "key_arn": {"type": "str", "default": "", "no_log": False},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    named = module.params["key_arn"] or f"alias/{module.params['name']}"
    with aws_changes.one_line_failures(module, "kms", f"Key {named}"):
        run(module)


if __name__ == "__main__":
    main()
