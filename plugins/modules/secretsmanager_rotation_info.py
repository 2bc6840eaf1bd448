#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secretsmanager_rotation_info
version_added: "0.1.0"
short_description: Tell how far the rotations of secrets in AWS Secrets Manager are
description:
  - Reads the staging labels of JSON secrets, and what they hold beside the secret value, such as a user name.
  - Wraps C(DescribeSecret) and C(GetSecretValue) of the AWS Secrets Manager API.
options:
  secrets:
    description: The secrets.
    type: list
    elements: dict
    required: true
    suboptions:
      secret_id:
        description: Name or ARN of a secret that is a JSON object.
        type: str
        required: true
      key:
        description: Key of the JSON object that holds the secret value. Everything else in the object is returned.
        type: str
        default: password
  owner_tags:
    description: Tags that the secrets must carry.
    type: dict
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: mlops.mlflow_aws.secretsmanager_rotation
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look whether a rotation is under way
  mlops.mlflow_aws.secretsmanager_rotation_info:
    secrets:
      - secret_id: web/database
      - secret_id: web/signing-key
        key: secret_key
    owner_tags:
      team: web
  register: rotations
"""

RETURN = r"""
rotations:
  description: One for each of O(secrets), in their order.
  returned: success
  type: list
  elements: dict
  contains:
    secret_id:
      description: The secret, as it was asked for.
      type: str
      sample: web/database
    stage:
      description:
        - V(settled) when no rotation is under way, V(pending) when a new value waits, V(current) when it is the current one but
          may not be in use everywhere.
      type: str
      sample: settled
    current:
      description: What the current version holds beside the secret value, null without one.
      type: dict
      sample: {username: web}
    pending:
      description: Likewise of the pending version.
      type: dict
      sample: null
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, secret_rotations
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.secret_rotations import Rotation


def look(client: t.Any, wanted: dict[str, t.Any], owner_tags: dict[str, str]) -> dict[str, t.Any]:
    rotation = Rotation(client, wanted["secret_id"], wanted["key"])
    rotation.find(owner_tags)

    def beside(version: str | None) -> dict[str, t.Any] | None:
        document = rotation.read(version)
        return None if document is None else secret_rotations.plain_fields(document, wanted["key"])

    return {
        "secret_id": wanted["secret_id"],
        "stage": rotation.stage,
        "current": beside(rotation.current),
        "pending": beside(rotation.pending),
    }


def main() -> None:
    secret = {
        "secret_id": {"type": "str", "required": True, "no_log": False},
        "key": {"type": "str", "default": "password", "no_log": False},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "secrets": {"type": "list", "elements": "dict", "required": True, "options": secret, "no_log": False},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    owner_tags = aws_changes.text_tags(module.params["owner_tags"])
    with aws_changes.one_line_failures(module, "secretsmanager", "Secrets"):
        client = module.client("secretsmanager", retry_decorator=AWSRetry.jittered_backoff(retries=8))
        rotations = [look(client, wanted, owner_tags) for wanted in module.params["secrets"]]
        module.exit_json(changed=False, rotations=rotations)


if __name__ == "__main__":
    main()
