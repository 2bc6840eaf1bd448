#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kms_deployment_key
version_added: "0.1.0"
short_description: Keep a KMS key of one's own that rotates, and give it up when nothing needs it any more
description:
  - Keeps a symmetric key C(alias/<name>) with automatic rotation, and a key policy without wildcards. The account administers it and,
    where its IAM policies say so, uses it through Amazon S3, AWS Secrets Manager and Amazon RDS; CloudWatch Logs uses it for
    O(log_groups), O(publishers) for encrypted topics.
  - A key that is disabled or scheduled for deletion is recovered. One that an interrupted run left without an alias is found by its tags.
  - With O(state=absent) a key is only scheduled for deletion, and not while a database, a snapshot or a bucket is there that could not be
    read without it.
  - Unlike M(amazon.aws.kms_key) it knows the rotation period, looks before it deletes, predicts in check mode exactly what a run would
    change, and touches only keys that carry the owner's tags.
  - Wraps C(CreateKey), C(CreateAlias), C(EnableKeyRotation), C(PutKeyPolicy), C(ScheduleKeyDeletion), C(CancelKeyDeletion), C(EnableKey)
    and the tagging of AWS KMS.
options:
  name:
    description: Name of the key, without C(alias/).
    type: str
    required: true
  state:
    description:
      - V(present) keeps the key usable and as told.
      - V(absent) schedules it for deletion, or keeps it for what needs it.
    type: str
    choices: [present, absent]
    default: present
  description:
    description: What the key is for.
    type: str
    default: ""
  rotation_days:
    description: Days after which KMS makes new key material, V(90) to V(2560). What was encrypted before stays readable.
    type: int
    default: 365
  log_groups:
    description: Names of log groups that CloudWatch Logs may use the key for; V(*) stands for any characters.
    type: list
    elements: str
    default: []
  publishers:
    description: Services of AWS that may publish to topics that the key encrypts, on behalf of this account.
    type: list
    elements: str
    default: []
  bucket:
    description:
      - Bucket that the key encrypts, empty for none. It is written down as a tag of the key, which from then on is not deleted as long as
        the bucket exists.
    type: str
    default: ""
  deletion_window_days:
    description: Days, V(7) to V(30), for which a key that is scheduled for deletion can be recovered.
    type: int
    default: 30
  force:
    description: Whether to schedule deletion though something needs the key. B(What it has encrypted is lost with it.)
    type: bool
    default: false
  kept_for:
    description: What else needs the key, for people, beside what the module finds.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Predicts from the same plan that a run carries out; what the same run would remove first still counts as needing the key.
    support: full
  diff_mode:
    description: Shows the state before and after.
    support: full
  idempotent:
    description: A second run makes no change.
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
- name: Keep a key that rotates twice a year
  mlops.mlflow_aws.kms_deployment_key:
    name: web
    rotation_days: 180
    log_groups: [/ecs/web]
    publishers: [cloudwatch.amazonaws.com]
    tags:
      team: web
    owner_tags:
      team: web

- name: Schedule it for deletion, unless something needs it
  mlops.mlflow_aws.kms_deployment_key:
    name: web
    state: absent
    owner_tags:
      team: web
"""

RETURN = r"""
key_arn:
  description: ARN of the key, in check mode a made-up one if a run would make it; null when there is none.
  returned: success
  type: str
  sample: arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
key_state:
  description: State of the key after the run, V(Enabled), V(Disabled) or V(PendingDeletion); null when there is none.
  returned: success
  type: str
  sample: Enabled
deletion_date:
  description: When the key is deleted; null if it is not scheduled for deletion, and in check mode.
  returned: success
  type: str
  sample: "2026-12-28T10:00:00+00:00"
needed_by:
  description: With O(state=absent), what needs the key, for people.
  returned: success
  type: list
  elements: str
  sample: [the snapshot web-db-final-20261123-101500, the bucket web-artifacts]
"""

import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, kms_keys, kms_rules, sns_rules

PENDING = "PendingDeletion"


class Key:
    """The key as KMS has it, and the calls that change it."""

    def __init__(self, kms: t.Any, params: dict[str, t.Any], where: kms_keys.Place) -> None:
        self._kms = kms
        self.params = params
        self._where = where
        self._alias = f"alias/{params['name']}"
        self.metadata: dict[str, t.Any] | None = None
        self.has_alias = False
        self.tags: dict[str, str] = {}

    @property
    def id(self) -> str:
        return t.cast(dict, self.metadata)["KeyId"]

    @property
    def state(self) -> str | None:
        return self.metadata["KeyState"] if self.metadata else None

    def find(self, tagging: t.Any, owner_tags: dict[str, str]) -> None:
        """By its alias, or else by its tags; ValueError if the alias leads to a key that is not ours."""
        self.metadata = kms_keys.describe(self._kms, self._alias)
        self.has_alias = self.metadata is not None
        if self.metadata is None:
            self.metadata = kms_keys.orphan(tagging, self._kms, owner_tags)
        if self.metadata is None:
            return
        self.tags = kms_keys.tags(self._kms, self.id)
        if not aws_changes.carries(self.tags, owner_tags):
            remedy = "choose another name, or remove the alias"
            raise ValueError(aws_changes.not_ours(f"Key {self._alias} ({self.metadata['Arn']})", owner_tags, remedy))

    # --- what is to be done ---

    def plan_present(self) -> aws_changes.Changes:
        changes, params = aws_changes.Changes(), self.params
        policy = kms_rules.policy(*self._where, params["log_groups"], params["publishers"])
        tags = kms_rules.wanted_tags(self.tags, params["tags"], params["bucket"])
        text = json.dumps(policy)
        if self.metadata is None:
            changes.want("key", None, {"policy": policy, "tags": tags}, lambda: self._create(text, tags))
        else:
            self._plan_state(changes)
            changes.want("description", self.metadata.get("Description", ""), params["description"], self._describe)
            kept = self._kms.get_key_policy(KeyId=self.id, PolicyName="default", aws_retry=True)["Policy"]
            if sns_rules.comparable(kept) != sns_rules.comparable(text):
                changes.want("policy", json.loads(kept), policy, lambda: self._put_policy(text))
            changes.want_tags("tags", self.tags, tags, self._tag, self._untag)
        changes.want("rotation_days", self._rotation(), params["rotation_days"], self._rotate)
        changes.want("alias", self._alias if self.has_alias else None, self._alias, self._name)
        return changes

    def _plan_state(self, changes: aws_changes.Changes) -> None:
        # Its deletion called off, a key is disabled.
        if self.state == PENDING:
            changes.want(
                "deletion", "scheduled", None, lambda: self._kms.cancel_key_deletion(KeyId=self.id, aws_retry=True)
            )
        changes.want("state", self.state, "Enabled", lambda: self._kms.enable_key(KeyId=self.id, aws_retry=True))

    def plan_absent(self, needed_by: list[str]) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.metadata and (self.params["force"] or not needed_by):
            changes.want("state", self.state, PENDING, self._schedule_deletion)
        return changes

    def _rotation(self) -> int | None:
        """Days between two rotations; None without rotation, and for a key that is pending deletion, which KMS does not tell of."""
        if self.metadata is None or self.state == PENDING:
            return None
        status = self._kms.get_key_rotation_status(KeyId=self.id, aws_retry=True)
        return status.get("RotationPeriodInDays", 365) if status["KeyRotationEnabled"] else None

    # --- how ---

    def _create(self, policy: str, tags: dict[str, str]) -> None:
        self.metadata = self._kms.create_key(
            Description=self.params["description"],
            KeySpec="SYMMETRIC_DEFAULT",
            KeyUsage="ENCRYPT_DECRYPT",
            Policy=policy,
            Tags=kms_keys.tag_list(tags),
            aws_retry=True,
        )["KeyMetadata"]

    def _describe(self) -> None:
        self._kms.update_key_description(KeyId=self.id, Description=self.params["description"], aws_retry=True)

    def _put_policy(self, policy: str) -> None:
        self._kms.put_key_policy(KeyId=self.id, PolicyName="default", Policy=policy, aws_retry=True)

    def _rotate(self) -> None:
        self._kms.enable_key_rotation(
            KeyId=self.id, RotationPeriodInDays=self.params["rotation_days"], aws_retry=True
        )

    def _name(self) -> None:
        self._kms.create_alias(AliasName=self._alias, TargetKeyId=self.id, aws_retry=True)

    def _tag(self, tags: dict[str, str]) -> None:
        self._kms.tag_resource(KeyId=self.id, Tags=kms_keys.tag_list(tags), aws_retry=True)

    def _untag(self, keys: list[str]) -> None:
        self._kms.untag_resource(KeyId=self.id, TagKeys=keys, aws_retry=True)

    def _schedule_deletion(self) -> None:
        days = self.params["deletion_window_days"]
        self._kms.schedule_key_deletion(KeyId=self.id, PendingWindowInDays=days, aws_retry=True)

    def told(self, changes: aws_changes.Changes, check_mode: bool) -> dict[str, t.Any]:
        """What the module returns about the key, in check mode as it would be."""
        present = self.params["state"] == "present"
        if check_mode and changes:
            arn = self.metadata["Arn"] if self.metadata else kms_rules.key_arn(*self._where, kms_rules.UNMADE)
            return {"key_arn": arn, "key_state": "Enabled" if present else PENDING, "deletion_date": None}
        if changes:
            self.metadata = kms_keys.describe(self._kms, self.id)
        shown = kms_rules.summary(self.metadata, self.metadata)
        return {"key_arn": shown["key_arn"], "key_state": shown["state"], "deletion_date": shown["deletion_date"]}


def argument_spec() -> dict[str, t.Any]:
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "description": {"type": "str", "default": ""},
        "rotation_days": {"type": "int", "default": 365},
        "log_groups": {"type": "list", "elements": "str", "default": []},
        "publishers": {"type": "list", "elements": "str", "default": []},
        "bucket": {"type": "str", "default": ""},
        "deletion_window_days": {"type": "int", "default": 30},
        "force": {"type": "bool", "default": False},
        "kept_for": {"type": "list", "elements": "str", "default": []},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule) -> None:
    params = dict(module.params, tags=aws_changes.text_tags(module.params["tags"]))
    refused = kms_rules.problem(params)
    if refused:
        raise ValueError(refused)
    key = Key(kms_keys.connect(module), params, kms_keys.place(module))
    key.find(
        kms_keys.connect(module, "resourcegroupstaggingapi"), aws_changes.text_tags(params["owner_tags"])
    )
    needed_by: list[str] = []
    if params["state"] == "present":
        changes = key.plan_present()
    else:
        if key.metadata and key.state != PENDING:
            rds, s3 = kms_keys.connect(module, "rds"), kms_keys.connect(module, "s3")
            needed_by = params["kept_for"] + kms_keys.needed_by(rds, s3, key.metadata["Arn"], key.tags)
        changes = key.plan_absent(needed_by)
    if changes and not module.check_mode:
        changes.apply()
    told = key.told(changes, module.check_mode)
    module.exit_json(changed=bool(changes), needed_by=needed_by, diff=changes.diff, **told)


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    with aws_changes.one_line_failures(module, "kms", f"Key alias/{module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
