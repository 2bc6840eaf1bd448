#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secretsmanager_rotation_schedule
version_added: "0.1.0"
short_description: Have AWS Secrets Manager rotate secrets by the clock
description:
  - Sets the Lambda function that rotates them and the days from one rotation to the next. Nothing is rotated at once; Secrets
    Manager only tries the function's step C(testSecret).
  - The function must exist and let Secrets Manager call it.
  - Secrets Manager remembers a function that rotates no more; it does nothing with it.
  - Wraps C(DescribeSecret), C(RotateSecret) and C(CancelRotateSecret) of the AWS Secrets Manager API.
options:
  secret_ids:
    description: Names or ARNs of the secrets. With O(state=absent) those that are not there, or are being deleted, are left out.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(absent) ends it. A version that Secrets Manager has only reserved for a rotation loses its label; a rotation that has
        begun is left for others to finish.
    type: str
    choices: [present, absent]
    default: present
  function_arn:
    description: ARN of the Lambda function. Required with O(state=present), as is O(days).
    type: str
  days:
    description: Days from one rotation to the next, 1 to 1000.
    type: int
  owner_tags:
    description: Tags that the secrets must carry for the module to touch them.
    type: dict
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: mlops.mlflow_aws.lambda_source_function
  - module: mlops.mlflow_aws.secretsmanager_rotation
notes:
  - In check mode a secret that is not there is no error, for a run may make it first.
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Rotate the password each quarter
  mlops.mlflow_aws.secretsmanager_rotation_schedule:
    secret_ids: [web/database]
    function_arn: arn:aws:lambda:eu-west-2:123456789012:function:web-rotation
    days: 90
    owner_tags:
      team: web
"""

RETURN = r"""
secrets:
  description: The secrets as they are, in the order of O(secret_ids); in check mode as they were.
  returned: success
  type: list
  elements: dict
  contains:
    secret_id:
      description: The secret, as it was asked for.
      type: str
      sample: web/database
    function_arn:
      description: ARN of the function that rotates it, null if none does.
      type: str
      sample: arn:aws:lambda:eu-west-2:123456789012:function:web-rotation
    days:
      description: Days from one rotation to the next, null if there are none.
      type: int
      sample: 90
    next_rotation:
      description: When it is going to be rotated at the latest, in ISO 8601; null if it is not.
      type: str
      sample: "2027-03-01T23:59:59+00:00"
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, user_secrets

OFF = {"function_arn": None, "days": None}


def rotating(found: dict[str, t.Any]) -> dict[str, t.Any]:
    """Which function rotates a secret, and how often. What Secrets Manager remembers of one that is off does not count."""
    if not found.get("RotationEnabled"):
        return OFF
    days = found.get("RotationRules", {}).get("AutomaticallyAfterDays")
    return {"function_arn": found.get("RotationLambdaARN"), "days": days}


class Schedule:
    """What rotates one secret; nothing if there is no such secret."""

    def __init__(self, client: t.Any, secret_id: str) -> None:
        self.client, self.secret_id = client, secret_id
        self.found: dict[str, t.Any] = {}

    def find(self, owner_tags: dict[str, str]) -> None:
        """ValueError if the secret is somebody else's."""
        try:
            found = self.client.describe_secret(SecretId=self.secret_id, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            return
        if not aws_changes.carries(boto3_tag_list_to_ansible_dict(found.get("Tags", [])), owner_tags):
            remedy = "let it be rotated by hand, or correct the name of the deployment"
            raise ValueError(aws_changes.not_ours(f"Secret {self.secret_id}", owner_tags, remedy))
        self.found = {} if found.get("DeletedDate") else found

    def plan_present(self, changes: aws_changes.Changes, function_arn: str, days: int, check_mode: bool) -> None:
        if not self.found and not check_mode:
            raise ValueError(f"Secret {self.secret_id}: there is no such secret, or it is scheduled for deletion; deploy first")
        wanted = {"function_arn": function_arn, "days": days}
        changes.want(f"rotation of {self.secret_id}", rotating(self.found), wanted, lambda: self._rotate(**wanted))

    def _rotate(self, function_arn: str, days: int) -> None:
        self.client.rotate_secret(
            SecretId=self.secret_id,
            RotationLambdaARN=function_arn,
            RotationRules={"AutomaticallyAfterDays": days},
            RotateImmediately=False,
            aws_retry=True,
        )

    def plan_absent(self, changes: aws_changes.Changes) -> None:
        changes.want(f"rotation of {self.secret_id}", rotating(self.found), OFF, self._cancel)

    def _cancel(self) -> None:
        self.client.cancel_rotate_secret(SecretId=self.secret_id, aws_retry=True)
        reserved = user_secrets.version_at(self.found.get("VersionIdsToStages"), user_secrets.PENDING)
        if reserved is None:
            return
        try:
            self.client.get_secret_value(SecretId=self.secret_id, VersionId=reserved, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            self.client.update_secret_version_stage(
                SecretId=self.secret_id, VersionStage=user_secrets.PENDING, RemoveFromVersionId=reserved, aws_retry=True
            )

    def described(self) -> dict[str, t.Any]:
        now = rotating(self.found)
        following = self.found.get("NextRotationDate") if now != OFF else None
        return {"secret_id": self.secret_id, **now, "next_rotation": following.isoformat() if following else None}


def run(module: AnsibleAWSModule) -> None:
    params, changes = module.params, aws_changes.Changes()
    if params["state"] == "present" and not 1 <= params["days"] <= 1000:
        raise ValueError(f"days = {params['days']}: is not from 1 to 1000; give such a number")
    client = module.client("secretsmanager", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    owner_tags = aws_changes.text_tags(params["owner_tags"])
    schedules = [Schedule(client, secret_id) for secret_id in params["secret_ids"]]
    for schedule in schedules:
        schedule.find(owner_tags)
        if params["state"] == "present":
            schedule.plan_present(changes, params["function_arn"], params["days"], module.check_mode)
        else:
            schedule.plan_absent(changes)
    if changes and not module.check_mode:
        changes.apply()
        for schedule in schedules:
            schedule.find(owner_tags)
    module.exit_json(changed=bool(changes), secrets=[one.described() for one in schedules], diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            # Names and ARNs, nothing secret.
            "secret_ids": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "function_arn": {"type": "str"},
            "days": {"type": "int"},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "present", ["function_arn", "days"])],
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "secretsmanager", "Rotation by the clock"):
        run(module)


if __name__ == "__main__":
    main()
