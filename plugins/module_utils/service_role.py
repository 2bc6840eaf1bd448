# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IAM role with which a service of AWS acts on a deployment's behalf: what there is, what is to be done."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes


class ServiceRole:
    """The IAM role `name` with the inline policy `policy_name` and no other."""

    def __init__(self, iam: t.Any, name: str, policy_name: str, purpose: str) -> None:
        self.iam, self.name, self.policy_name, self.purpose = iam, name, policy_name, purpose
        self.found: dict | None = None
        self.policy: dict | None = None

    @property
    def arn(self) -> str | None:
        return self.found["Arn"] if self.found else None

    @property
    def tags(self) -> dict[str, str]:
        return boto3_tag_list_to_ansible_dict((self.found or {}).get("Tags", []))

    def find(self) -> None:
        self.found = self._ask(self.iam.get_role, "Role")
        self.policy = self._ask(self.iam.get_role_policy, "PolicyDocument", PolicyName=self.policy_name) if self.found else None

    def _ask(self, operation: t.Callable, key: str, **arguments: t.Any) -> t.Any:
        try:
            return operation(RoleName=self.name, **arguments, aws_retry=True)[key]
        except is_boto3_error_code("NoSuchEntity"):
            return None

    def plan_present(self, changes: aws_changes.Changes, trust: dict, access: dict, tags: dict[str, str]) -> None:
        """`trust` is the policy that says who assumes the role, `access` the one that says what it may do."""
        if self.found is None:
            changes.want("role", "absent", "present", lambda: self._create(trust, tags))
        else:
            changes.want(
                "trust of the role", self.found["AssumeRolePolicyDocument"], trust,
                lambda: self.iam.update_assume_role_policy(
                    RoleName=self.name, PolicyDocument=json.dumps(trust), aws_retry=True
                ),
            )  # fmt: skip
            changes.want_tags(
                "tags of the role", self.tags, tags,
                lambda new: self.iam.tag_role(RoleName=self.name, Tags=ansible_dict_to_boto3_tag_list(new), aws_retry=True),
                lambda keys: self.iam.untag_role(RoleName=self.name, TagKeys=keys, aws_retry=True),
            )  # fmt: skip
        changes.want(
            "policy of the role", self.policy, access,
            lambda: self.iam.put_role_policy(
                RoleName=self.name, PolicyName=self.policy_name, PolicyDocument=json.dumps(access), aws_retry=True
            ),
        )  # fmt: skip

    def _create(self, trust: dict, tags: dict[str, str]) -> None:
        self.iam.create_role(
            RoleName=self.name,
            AssumeRolePolicyDocument=json.dumps(trust),
            Description=self.purpose,
            Tags=ansible_dict_to_boto3_tag_list(tags),
            aws_retry=True,
        )

    def plan_absent(self, changes: aws_changes.Changes) -> None:
        if self.policy:
            changes.want(
                "policy of the role", "present", "absent",
                lambda: self.iam.delete_role_policy(RoleName=self.name, PolicyName=self.policy_name, aws_retry=True),
            )  # fmt: skip
        if self.found:
            changes.want("role", "present", "absent", lambda: self.iam.delete_role(RoleName=self.name, aws_retry=True))
