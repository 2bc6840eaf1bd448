#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secretsmanager_generated_secrets
version_added: "0.1.0"
short_description: Generate secrets once and keep them in AWS Secrets Manager
description:
  - Makes JSON secrets of which one key holds a random value. The value is made inside the module and stored at once;
    it passes through no variable, result, diff or log.
  - A value that is stored is never overwritten. A secret that is scheduled for deletion is recovered with its value.
  - All secrets are checked before the first one is written.
  - Wraps C(DescribeSecret), C(GetSecretValue), C(CreateSecret), C(UpdateSecret), C(PutSecretValue), C(RestoreSecret),
    C(TagResource), C(UntagResource) and C(DeleteSecret) of the AWS Secrets Manager API.
options:
  secrets:
    description: The secrets.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      description:
        description: Description given to a new secret.
        type: str
        default: ""
      key:
        description: Key of the JSON object that holds the generated value.
        type: str
        default: password
      fields:
        description:
          - Further keys of the JSON object and their values, such as a user name. They are not secret.
          - The module refuses to change them in a secret that exists.
        type: dict
        default: {}
      value:
        description:
          - Value to store instead of a generated one, when the secret is made. Empty means a generated one.
          - The module refuses one that differs from what is stored.
        type: str
      length:
        description: Number of letters and digits of a generated value.
        type: int
        default: 40
      minimum_length:
        description: Characters that a given value must have at least.
        type: int
        default: 1
      maximum_length:
        description: Characters that a given value may have at most.
        type: int
        default: 4096
      forbidden_characters:
        description: Characters that a given value must not have.
        type: str
        default: ""
      ascii_only:
        description: Whether a given value must be made of printable ASCII characters.
        type: bool
        default: false
  kms_key:
    description:
      - ARN of the KMS key that encrypts the secrets; empty for AWS's own, C(aws/secretsmanager). What is stored is encrypted anew.
      - Without it the key is left as it is.
    type: str
  state:
    description:
      - V(present) makes the secrets that are missing.
      - V(absent) schedules them for deletion.
    type: str
    choices: [present, absent]
    default: present
  recovery_window_days:
    description: Days for which a deleted secret can be recovered, 7 to 30, or 0 to delete it at once and for good.
    type: int
    default: 30
attributes:
  check_mode:
    description: Predicts what a run would change. What a secret scheduled for deletion holds cannot be compared.
    support: full
  diff_mode:
    description: Shows existence, scheduled deletion and tags, never a value.
    support: full
  idempotent:
    description: Writes nothing when the secrets are there.
    support: full
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Keep a database password and a signing key
  mlops.mlflow_aws.secretsmanager_generated_secrets:
    secrets:
      - name: web/database
        fields:
          username: web
      - name: web/signing-key
        key: secret_key
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
arns:
  description:
    - The ARN of each secret by its name, null where there is none and in check mode where a run would create it.
  returned: success
  type: dict
  sample:
    web/database: arn:aws:secretsmanager:eu-west-2:123456789012:secret:web/database-AbCdEf
"""

import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, secret_values, user_secrets

# DeleteSecret, RecoveryWindowInDays
RECOVERY_WINDOWS = {0, *range(7, 31)}


class Secret:
    """One secret as it is and as it should be, and the client to change it with."""

    def __init__(self, wanted: dict[str, t.Any], client: t.Any) -> None:
        self.wanted = wanted
        self.name: str = wanted["name"]
        self.client = client
        self.arn: str | None = None
        self.tags: dict[str, str] = {}
        self.state = "absent"
        self.kms_key = ""
        self.rotating = False

    def find(self, owner_tags: dict[str, str]) -> None:
        """Read what there is; ValueError if it is not ours."""
        try:
            found = self.client.describe_secret(SecretId=self.name, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            return
        self.arn = found["ARN"]
        self.tags = boto3_tag_list_to_ansible_dict(found.get("Tags", []))
        self.kms_key = found.get("KmsKeyId") or ""
        self.rotating = user_secrets.version_at(found.get("VersionIdsToStages"), user_secrets.PENDING) is not None
        self.state = "scheduled for deletion" if found.get("DeletedDate") else "present"
        if not aws_changes.carries(self.tags, owner_tags):
            remedy = "choose another name, or tag or remove it by hand"
            raise ValueError(aws_changes.not_ours(f"Secret {self.name}", owner_tags, remedy))

    def new_text(self) -> str:
        value = self.wanted["value"] or secret_values.generate(self.wanted["length"])
        return json.dumps({**self.wanted["fields"], self.wanted["key"]: value})

    def create(self, tags: dict[str, str], kms_key: str | None) -> None:
        key = {"KmsKeyId": kms_key} if kms_key else {}
        self.arn = self.client.create_secret(
            Name=self.name,
            Description=self.wanted["description"],
            SecretString=self.new_text(),
            Tags=ansible_dict_to_boto3_tag_list(tags),
            aws_retry=True,
            **key,
        )["ARN"]

    def check_stored(self) -> bool:
        """Whether a value is stored; ValueError if it is not the wanted kind of value."""
        try:
            stored = self.client.get_secret_value(SecretId=self.name, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            return False  # made by hand, without a first version
        wanted = self.wanted
        try:
            secret_values.compare(self.name, stored.get("SecretString"), wanted["key"], wanted["fields"], wanted["value"])
        except ValueError:
            if self.rotating:
                raise ValueError(f"Secret {self.name}: its rotation is unfinished; complete that first, then run this again") from None
            raise
        return True

    def restore(self) -> None:
        self.client.restore_secret(SecretId=self.name, aws_retry=True)
        if not self.check_stored():
            self.store()

    def store(self) -> None:
        self.client.put_secret_value(SecretId=self.name, SecretString=self.new_text(), aws_retry=True)

    def encrypt(self, kms_key: str) -> None:
        self.client.update_secret(SecretId=self.name, KmsKeyId=kms_key, aws_retry=True)

    def tag(self, tags: dict[str, str]) -> None:
        self.client.tag_resource(SecretId=self.name, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True)

    def untag(self, keys: list[str]) -> None:
        self.client.untag_resource(SecretId=self.name, TagKeys=keys, aws_retry=True)

    def delete(self, recovery_window_days: int) -> None:
        when: dict[str, t.Any] = {"ForceDeleteWithoutRecovery": True}
        if recovery_window_days:
            when = {"RecoveryWindowInDays": recovery_window_days}
        self.client.delete_secret(SecretId=self.name, aws_retry=True, **when)


def plan_present(
    changes: aws_changes.Changes, secret: Secret, tags: dict[str, str], kms_key: str | None
) -> None:
    if secret.state == "absent":
        changes.want(secret.name, "absent", "present", lambda: secret.create(tags, kms_key))
        return
    if secret.state == "present":
        stored = "present" if secret.check_stored() else "without a value"
        changes.want(secret.name, stored, "present", secret.store)
    else:
        changes.want(secret.name, secret.state, "present", secret.restore)
    if kms_key is not None:
        changes.want(f"{secret.name} key", secret.kms_key, kms_key, lambda: secret.encrypt(kms_key))
    changes.want_tags(f"{secret.name} tags", secret.tags, tags, secret.tag, secret.untag)


def plan_absent(changes: aws_changes.Changes, secret: Secret, recovery_window_days: int) -> None:
    if secret.state != "absent":
        after = "scheduled for deletion" if recovery_window_days else "absent"
        changes.want(secret.name, secret.state, after, lambda: secret.delete(recovery_window_days))


def check_options(params: dict[str, t.Any]) -> None:
    if params["recovery_window_days"] not in RECOVERY_WINDOWS:
        raise ValueError(
            f"recovery_window_days = {params['recovery_window_days']}: AWS keeps a deleted secret for 7 to 30 days,"
            " or not at all; give 0 or 7 to 30"
        )
    for wanted in params["secrets"]:
        if wanted["value"]:
            secret_values.check(
                f"The {wanted['key']} given for {wanted['name']}",
                wanted["value"],
                minimum=wanted["minimum_length"],
                maximum=wanted["maximum_length"],
                forbidden=wanted["forbidden_characters"],
                ascii_only=wanted["ascii_only"],
            )


def run(module: AnsibleAWSModule) -> None:
    params, changes = module.params, aws_changes.Changes()
    tags, owner_tags = aws_changes.text_tags(params["tags"]), aws_changes.text_tags(params["owner_tags"])
    client = module.client("secretsmanager", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    secrets = [Secret(wanted, client) for wanted in params["secrets"]]
    check_options(params)
    for secret in secrets:
        secret.find(owner_tags)
        if params["state"] == "present":
            plan_present(changes, secret, tags, params["kms_key"])
        else:
            plan_absent(changes, secret, params["recovery_window_days"])
    if not module.check_mode:
        changes.apply()
    arns = {secret.name: secret.arn if params["state"] == "present" else None for secret in secrets}
    module.exit_json(changed=bool(changes), arns=arns, diff=changes.diff)


def main() -> None:
    secret = {
        "name": {"type": "str", "required": True},
        "description": {"type": "str", "default": ""},
        "key": {"type": "str", "default": "password", "no_log": False},
        "fields": {"type": "dict", "default": {}},
        "value": {"type": "str", "no_log": True},
        "length": {"type": "int", "default": 40},
        "minimum_length": {"type": "int", "default": 1},
        "maximum_length": {"type": "int", "default": 4096},
        "forbidden_characters": {"type": "str", "default": ""},
        "ascii_only": {"type": "bool", "default": False},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "secrets": {"type": "list", "elements": "dict", "required": True, "options": secret, "no_log": False},
            "kms_key": {"type": "str", "no_log": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "recovery_window_days": {"type": "int", "default": 30},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "secretsmanager", "Secrets"):
        run(module)


if __name__ == "__main__":
    main()
