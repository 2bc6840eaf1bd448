#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secretsmanager_user_passwords
version_added: "0.1.0"
short_description: Generate and rotate passwords of users, kept in AWS Secrets Manager
description:
  - Keeps one JSON secret with C(username) and C(password) for each user of some server, and tells the passwords to the
    task that sets them there.
  - A new password is stored with the staging label C(AWSPENDING) first. Once the server has taken it, a task with
    O(state=applied) makes it C(AWSCURRENT). A run that is interrupted in between is finished by the next one, and
    nobody is ever told a password that does not work.
  - The result holds passwords in plain text, so B(always set) C(no_log=true) on the task.
  - Wraps C(ListSecrets), C(BatchGetSecretValue), C(GetSecretValue), C(CreateSecret), C(UpdateSecret), C(PutSecretValue),
    C(UpdateSecretVersionStage), C(RestoreSecret), C(TagResource), C(UntagResource) and C(DeleteSecret) of the AWS
    Secrets Manager API.
options:
  prefix:
    description:
      - What the names of the secrets begin with; the name of the user follows. Characters that a secret's name cannot
        have are written C(=XX).
    type: str
    required: true
  users:
    description:
      - Names of the users.
      - With O(state=absent), if not given, all users that have a secret with this prefix and O(owner_tags).
    type: list
    elements: str
  rotate:
    description: Those of O(users) that get a new password although they have one, with O(state=present).
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) generates the passwords that are missing or to be rotated, and leaves them pending. A secret that is
        scheduled for deletion is recovered and gets a new password.
      - V(applied) makes pending passwords the current ones.
      - V(absent) schedules the secrets for deletion.
    type: str
    choices: [present, applied, absent]
    default: present
  length:
    description: Number of letters and digits of a generated password, 12 to 128.
    type: int
    default: 40
  kms_key:
    description:
      - ARN of the KMS key that encrypts the secrets; empty for AWS's own, C(aws/secretsmanager). What is stored is encrypted anew.
      - Without it the key is left as it is.
    type: str
  recovery_window_days:
    description: Days for which a deleted secret can be recovered, 7 to 30, or 0 to delete it at once and for good.
    type: int
    default: 30
attributes:
  check_mode:
    description: Predicts what a run would change. Passwords that a run would generate are made up and stored nowhere.
    support: full
  diff_mode:
    description: Shows existence, pending passwords and tags, never a password.
    support: full
  idempotent:
    description: With the exception of O(rotate), which makes a new password in each run.
    support: full
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: mlops.mlflow_aws.mlflow_access
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Keep passwords for two users
  mlops.mlflow_aws.secretsmanager_user_passwords:
    prefix: team-mlflow/users/
    users: [ada, grace]
    owner_tags:
      team: ml
    tags:
      team: ml
  register: kept
  no_log: true

# Here a task sets kept.passwords on the server.

- name: Make the passwords that the server has taken the current ones
  mlops.mlflow_aws.secretsmanager_user_passwords:
    prefix: team-mlflow/users/
    users: "{{ kept.pending }}"
    state: applied
    owner_tags:
      team: ml
"""

RETURN = r"""
passwords:
  description:
    - The password of each user, the pending one where there is one. Secret.
  returned: when O(state=present)
  type: dict
  sample:
    ada: correct horse battery staple
pending:
  description: Users whose password is pending after the run, in check mode as it would be.
  returned: success
  type: list
  elements: str
  sample: [ada]
generated:
  description: Users that got a new password in this run, in check mode would get one.
  returned: when O(state=present)
  type: list
  elements: str
  sample: [ada]
arns:
  description:
    - The ARN of each user's secret, null where there is none and in check mode where a run would create it.
  returned: success
  type: dict
  sample:
    ada: arn:aws:secretsmanager:eu-west-2:123456789012:secret:team-mlflow/users/ada-AbCdEf
"""

import functools
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, secret_values, user_secrets

# DeleteSecret, RecoveryWindowInDays
RECOVERY_WINDOWS = {0, *range(7, 31)}
# BatchGetSecretValue, SecretIdList
BATCH = 20


class UserSecret:
    """The secret of one user as ListSecrets shows it, and the calls that change it."""

    def __init__(self, client: t.Any, user: str, name: str, found: dict[str, t.Any] | None) -> None:
        self.client, self.user, self.name = client, user, name
        found = found or {}
        stages = found.get("SecretVersionsToStages")
        self.arn: str | None = found.get("ARN")
        self.kms_key = found.get("KmsKeyId") or ""
        self.deleted = bool(found.get("DeletedDate"))
        self.tags = boto3_tag_list_to_ansible_dict(found.get("Tags", []))
        self.current = user_secrets.version_at(stages, user_secrets.CURRENT)
        self.pending = user_secrets.version_at(stages, user_secrets.PENDING)
        self.password: str | None = None

    @property
    def state(self) -> str:
        """Of a secret that exists."""
        if self.deleted:
            return "scheduled for deletion"
        if self.pending:
            return "with a pending password"
        return "present" if self.current else "without a password"

    def create(self, tags: dict[str, str], kms_key: str | None) -> None:
        """Without a value, so that a value is never there without its label."""
        key = {"KmsKeyId": kms_key} if kms_key else {}
        self.arn = self.client.create_secret(
            Name=self.name,
            Description=f"Password of the MLflow user {self.user}"[:2048],
            Tags=ansible_dict_to_boto3_tag_list(tags),
            aws_retry=True,
            **key,
        )["ARN"]

    def store(self) -> None:
        self.client.put_secret_value(
            SecretId=self.name,
            SecretString=user_secrets.text(self.user, str(self.password)),
            VersionStages=[user_secrets.PENDING],
            aws_retry=True,
        )

    def restore(self) -> None:
        self.client.restore_secret(SecretId=self.name, aws_retry=True)

    def encrypt(self, kms_key: str) -> None:
        self.client.update_secret(SecretId=self.name, KmsKeyId=kms_key, aws_retry=True)

    def promote(self) -> None:
        """The pending version becomes the current one, and is pending no more."""
        # The first version of a secret is the current one from the start.
        if self.current != self.pending:
            self._label(user_secrets.CURRENT, MoveToVersionId=self.pending, RemoveFromVersionId=self.current)
        self._label(user_secrets.PENDING, RemoveFromVersionId=self.pending)

    def _label(self, label: str, **versions: t.Any) -> None:
        self.client.update_secret_version_stage(SecretId=self.name, VersionStage=label, aws_retry=True, **versions)

    def tag(self, tags: dict[str, str]) -> None:
        self.client.tag_resource(SecretId=self.name, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True)

    def untag(self, keys: list[str]) -> None:
        self.client.untag_resource(SecretId=self.name, TagKeys=keys, aws_retry=True)

    def delete(self, recovery_window_days: int) -> None:
        when: dict[str, t.Any] = {"ForceDeleteWithoutRecovery": True}
        if recovery_window_days:
            when = {"RecoveryWindowInDays": recovery_window_days}
        self.client.delete_secret(SecretId=self.name, aws_retry=True, **when)


def find(client: t.Any, params: dict[str, t.Any]) -> list[UserSecret]:
    """The secrets of the users asked for; ValueError if one is not ours."""
    prefix, owner_tags = params["prefix"], aws_changes.text_tags(params["owner_tags"])
    listed = list_secrets(client, prefix)
    users = params["users"]
    if users is None:
        # Only what is surely ours: nobody asked for it by name.
        users = [
            user
            for name, found in listed.items()
            if (user := user_secrets.user_name(prefix, name)) is not None
            and aws_changes.carries(boto3_tag_list_to_ansible_dict(found.get("Tags", [])), owner_tags)
        ]
    secrets = []
    for user in dict.fromkeys(users):
        name = user_secrets.secret_name(prefix, user)
        secret = UserSecret(client, user, name, listed.get(name))
        if secret.arn and not aws_changes.carries(secret.tags, owner_tags):
            remedy = "choose another prefix, or tag or remove it by hand"
            raise ValueError(aws_changes.not_ours(f"Secret {name}", owner_tags, remedy))
        secrets.append(secret)
    return secrets


def list_secrets(client: t.Any, prefix: str) -> dict[str, dict[str, t.Any]]:
    """Every secret whose name begins with `prefix`, by name, those scheduled for deletion too."""
    request: dict[str, t.Any] = {
        "Filters": [{"Key": "name", "Values": [prefix]}],
        "IncludePlannedDeletion": True,
        "MaxResults": 100,
    }
    found: dict[str, dict[str, t.Any]] = {}
    while True:
        page = client.list_secrets(aws_retry=True, **request)
        # The filter ignores case, and matches any word of a name.
        found.update({one["Name"]: one for one in page["SecretList"] if one["Name"].startswith(prefix)})
        if not page.get("NextToken"):
            return found
        request["NextToken"] = page["NextToken"]


def read(client: t.Any, secrets: list[UserSecret]) -> None:
    """Fill in the passwords that are stored."""
    alive = [secret for secret in secrets if secret.arn and not secret.deleted]
    settled = [secret for secret in alive if secret.current and not secret.pending]
    for start in range(0, len(settled), BATCH):
        names = {secret.name: secret for secret in settled[start : start + BATCH]}
        answer = client.batch_get_secret_value(SecretIdList=list(names), aws_retry=True)
        for problem in answer.get("Errors", []):
            raise ValueError(
                f"Secret {problem.get('SecretId')}: it cannot be read ({problem.get('ErrorCode')}); allow"
                " secretsmanager:GetSecretValue on it"
            )
        for one in answer["SecretValues"]:
            secret = names[one["Name"]]
            secret.password = user_secrets.password_in(secret.name, secret.user, one.get("SecretString"))
    for secret in alive:
        if secret.pending:
            one = client.get_secret_value(SecretId=secret.name, VersionId=secret.pending, aws_retry=True)
            secret.password = user_secrets.password_in(secret.name, secret.user, one.get("SecretString"))


def plan_present(
    changes: aws_changes.Changes, secret: UserSecret, params: dict[str, t.Any], tags: dict[str, str]
) -> bool:
    """Whether the user gets a new password."""
    rotate, kms_key = secret.user in params["rotate"], params["kms_key"]
    # An unfinished rotation is finished, not begun again: its password may be the one that works.
    new = secret.password is None or (rotate and not secret.pending)
    if new:
        secret.password = secret_values.generate(params["length"])
        if secret.arn is None:
            changes.want(secret.name, "absent", "without a password", lambda: secret.create(tags, kms_key))
        elif secret.deleted:
            changes.want(secret.name, secret.state, "without a password", secret.restore)
        changes.want(f"{secret.name} password", "as it was", "a new one, pending", secret.store)
    if secret.arn and kms_key is not None:
        changes.want(f"{secret.name} key", secret.kms_key, kms_key, lambda: secret.encrypt(kms_key))
    if secret.arn:
        changes.want_tags(f"{secret.name} tags", secret.tags, tags, secret.tag, secret.untag)
    return new


def plan_applied(changes: aws_changes.Changes, secrets: list[UserSecret]) -> None:
    for secret in secrets:
        if secret.pending and not secret.deleted:
            changes.want(secret.name, secret.state, "present", secret.promote)


def plan_absent(changes: aws_changes.Changes, secrets: list[UserSecret], recovery_window_days: int) -> None:
    after = "scheduled for deletion" if recovery_window_days else "absent"
    for secret in secrets:
        if secret.arn and not secret.deleted:
            changes.want(secret.name, secret.state, after, functools.partial(secret.delete, recovery_window_days))


def check_options(params: dict[str, t.Any]) -> None:
    if params["recovery_window_days"] not in RECOVERY_WINDOWS:
        raise ValueError(
            f"recovery_window_days = {params['recovery_window_days']}: AWS keeps a deleted secret for 7 to 30 days,"
            " or not at all; give 0 or 7 to 30"
        )
    if not 12 <= params["length"] <= 128:
        raise ValueError(f"length = {params['length']}: a password has 12 to 128 characters here; give such a number")
    if params["users"] is None and params["state"] != "absent":
        raise ValueError(f"users: missing, and state = {params['state']} needs it; name the users")
    strangers = [user for user in params["rotate"] if user not in (params["users"] or [])]
    if strangers:
        raise ValueError(f"rotate: {strangers[0]!r} is not one of users; name it there too")


def run(module: AnsibleAWSModule) -> None:
    params, changes = module.params, aws_changes.Changes()
    check_options(params)
    client = module.client("secretsmanager", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    secrets = find(client, params)
    result: dict[str, t.Any] = {"pending": []}
    if params["state"] == "present":
        read(client, secrets)
        tags = aws_changes.text_tags(params["tags"])
        generated = [
            secret.user
            for secret in secrets
            if plan_present(changes, secret, params, tags)
        ]
        waiting = [secret.user for secret in secrets if secret.user in generated or secret.pending]
        passwords = {secret.user: secret.password for secret in secrets}
        result = {"passwords": passwords, "generated": generated, "pending": waiting}
    elif params["state"] == "applied":
        plan_applied(changes, secrets)
    else:
        plan_absent(changes, secrets, params["recovery_window_days"])
    if not module.check_mode:
        changes.apply()
    arns = {secret.user: secret.arn if params["state"] != "absent" else None for secret in secrets}
    module.exit_json(changed=bool(changes), arns=arns, diff=changes.diff, **result)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "prefix": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "str"},
            "rotate": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "applied", "absent"], "default": "present"},
            "length": {"type": "int", "default": 40},
            "kms_key": {"type": "str", "no_log": False},
            "recovery_window_days": {"type": "int", "default": 30},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "secretsmanager", f"Secrets {module.params['prefix']}*"):
        run(module)


if __name__ == "__main__":
    main()
