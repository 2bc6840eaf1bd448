#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secretsmanager_secret_value
version_added: "0.1.0"
short_description: Read a secret, or one key of a JSON secret, from AWS Secrets Manager
description:
  - Reads a version of a secret, the current one unless another is asked for. Unlike a lookup it runs where the play's environment holds, with its
    credentials, region and endpoint.
  - The result holds the secret in plain text, so B(always set) C(no_log=true) on the task.
  - Wraps C(GetSecretValue) of the AWS Secrets Manager API.
options:
  secret_id:
    description: Name or ARN of the secret.
    type: str
    required: true
  key:
    description:
      - Key of the JSON object that the secret is; its value is returned.
      - Without it the whole text of the secret is returned.
    type: str
  version_stage:
    description: Staging label of the version, such as V(AWSPENDING) or V(AWSPREVIOUS).
    type: str
    default: AWSCURRENT
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Read the admin's password
  mlops.mlflow_aws.secretsmanager_secret_value:
    secret_id: team-mlflow/admin
    key: password
  register: admin_password
  no_log: true
"""

RETURN = r"""
value:
  description: The secret's text, or the value of O(key). Secret.
  returned: success
  type: str
  sample: correct horse battery staple
arn:
  description: ARN of the secret.
  returned: success
  type: str
  sample: arn:aws:secretsmanager:eu-west-2:123456789012:secret:team-mlflow/admin-AbCdEf
version_id:
  description: ID of the version that was read.
  returned: success
  type: str
  sample: 3c1e2f4a-5b6c-4d7e-8f90-a1b2c3d4e5f6
"""

import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes


def pick(text: str | None, key: str | None, secret_id: str) -> t.Any:
    """The value of `key` in the JSON `text`, or `text` itself without a key; ValueError, never with a secret in it."""
    if text is None:
        raise ValueError(f"secret_id = {secret_id}: the secret is binary; only text secrets can be read")
    if key is None:
        return text
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"secret_id = {secret_id}: the secret is not a JSON object; leave out key = {key}") from None
    if key not in content:
        keys = ", ".join(sorted(content)) or "none"
        raise ValueError(f"key = {key}: secret {secret_id} has no such key (it has: {keys}); name one of its keys")
    return content[key]


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "secret_id": {"type": "str", "required": True, "no_log": False},
            "key": {"type": "str", "no_log": False},
            "version_stage": {"type": "str", "default": "AWSCURRENT"},
        },
        supports_check_mode=True,
    )
    secret_id, key, label = (module.params[name] for name in ("secret_id", "key", "version_stage"))
    client = module.client("secretsmanager", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    with aws_changes.one_line_failures(module, "secretsmanager", f"secret_id = {secret_id}"):
        try:
            answer = client.get_secret_value(SecretId=secret_id, VersionStage=label, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            raise ValueError(
                f"secret_id = {secret_id}: there is no such secret, or it has no version {label}, in {module.region};"
                " check the name and the region"
            ) from None
        except is_boto3_error_code("InvalidRequestException"):
            raise ValueError(
                f"secret_id = {secret_id}: the secret is scheduled for deletion;"
                " deploy again or call RestoreSecret to get it back"
            ) from None
        value = pick(answer.get("SecretString"), key, secret_id)
        module.exit_json(changed=False, value=value, arn=answer["ARN"], version_id=answer["VersionId"])


if __name__ == "__main__":
    main()
