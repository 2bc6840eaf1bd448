# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the rotation of a secret has come, and the calls that bring it further.

AWSPENDING marks the value that is not yet known to be in use everywhere: before it is AWSCURRENT, and after that until
whoever uses the secret has it. So the labels alone tell an interrupted rotation from none. Where Secrets Manager itself
rotates the secret, it reserves a version without a value under that label: it is what the next value is stored in.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/getting-started.html#term_version
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, secret_values, user_secrets

SETTLED, PENDING, CURRENT = "settled", "pending", "current"
# PostgreSQL's own number, https://www.postgresql.org/docs/current/runtime-config-connection.html (scram_iterations)
SCRAM_ITERATIONS = 4096


def stage(current: str | None, pending: str | None) -> str:
    """`settled`: no rotation is under way; `pending`: a value waits; `current`: it is current, but not yet applied."""
    if pending is None:
        return SETTLED
    return CURRENT if pending == current else PENDING


def content(name: str, text: str | None, key: str) -> dict[str, t.Any]:
    """The JSON object in the text of a secret; ValueError, never with a secret in it."""
    secret_values.compare(name, text, key, {}, None)
    return json.loads(text or "")


def next_content(
    current: dict[str, t.Any], key: str, fields: t.Mapping[str, str], length: int
) -> dict[str, t.Any]:
    """What follows `current`: other `fields` if any are given, and a new value of `key`."""
    return {**current, **fields, key: secret_values.generate(length)}


def plain_fields(document: t.Mapping[str, t.Any], key: str) -> dict[str, t.Any]:
    """What a document holds beside the secret itself."""
    return {name: value for name, value in document.items() if name != key}


def scram_verifier(password: str, salt: bytes) -> str:
    """What PostgreSQL stores of an ASCII password (RFC 5803): it checks a login, but cannot be used to log in."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode("ascii")

    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{text(salt)}${text(stored)}:{text(server)}"


class Rotation:
    """One secret, with its versions that matter. `label` is what the next value carries."""

    def __init__(self, client: t.Any, secret_id: str, key: str, label: str = user_secrets.PENDING) -> None:
        self.client, self.secret_id, self.key, self.label = client, secret_id, key, label
        self.arn = ""
        self.reserved: str | None = None
        self.current: str | None = None
        self.pending: str | None = None

    def find(self, owner_tags: dict[str, str]) -> None:
        """Read what there is; ValueError if there is none, or it is not ours."""
        try:
            found = self.client.describe_secret(SecretId=self.secret_id, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            raise ValueError(f"Secret {self.secret_id}: there is no such secret; deploy first") from None
        if found.get("DeletedDate"):
            raise ValueError(f"Secret {self.secret_id}: it is scheduled for deletion; deploy again to recover it")
        if not aws_changes.carries(boto3_tag_list_to_ansible_dict(found.get("Tags", [])), owner_tags):
            remedy = "rotate it by hand, or correct the name of the deployment"
            raise ValueError(aws_changes.not_ours(f"Secret {self.secret_id}", owner_tags, remedy))
        stages = found.get("VersionIdsToStages")
        self.arn = found["ARN"]
        self.current = user_secrets.version_at(stages, user_secrets.CURRENT)
        self.pending = user_secrets.version_at(stages, self.label)
        if self.pending != self.current and self.pending is not None and self._text(self.pending) is None:
            self.reserved, self.pending = self.pending, None

    @property
    def stage(self) -> str:
        return stage(self.current, self.pending)

    def read(self, version: str | None) -> dict[str, t.Any] | None:
        """The content of a version, None without one."""
        if version is None:
            return None
        return content(self.secret_id, self._text(version), self.key)

    def _text(self, version: str) -> str | None:
        try:
            answer = self.client.get_secret_value(SecretId=self.secret_id, VersionId=version, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            return None
        return answer.get("SecretString", "")

    def store(self, document: dict[str, t.Any]) -> None:
        reserved = {"ClientRequestToken": self.reserved} if self.reserved else {}
        self.pending = self.client.put_secret_value(
            SecretId=self.secret_id,
            SecretString=json.dumps(document),
            VersionStages=[self.label],
            aws_retry=True,
            **reserved,
        )["VersionId"]

    def promote(self) -> None:
        """The pending version becomes the current one, in one step; it keeps its label."""
        self._label(user_secrets.CURRENT, MoveToVersionId=self.pending, RemoveFromVersionId=self.current)
        self.current = self.pending

    def settle(self) -> None:
        self._label(self.label, RemoveFromVersionId=self.pending)
        self.pending = None

    def _label(self, label: str, **versions: t.Any) -> None:
        self.client.update_secret_version_stage(
            SecretId=self.secret_id, VersionStage=label, aws_retry=True, **versions
        )
