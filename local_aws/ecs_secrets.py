# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `secrets` of a container, read from Secrets Manager when its task starts.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html (kms:Decrypt for keys of one's own)
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from . import kms_keys
from .ecs_permissions import Role

INITIALIZATION_ERROR = "ResourceInitializationError: unable to pull secrets or registry auth: "
RETRIEVAL_ERROR = (
    INITIALIZATION_ERROR + "execution resource retrieval failed: unable to retrieve secret from asm: "
    "service call has been retried 1 time(s): "
)


class SecretError(Exception):
    """The task cannot start: the text is AWS's stopped reason."""


@dataclass(frozen=True)
class SecretReference:
    """`valueFrom` taken apart: ARN or name, and the JSON key, version stage and version id that may follow an ARN."""

    secret_id: str
    json_key: str = ""
    version_stage: str = ""
    version_id: str = ""


def parse(value_from: str) -> SecretReference:
    """Take a `valueFrom` apart: arn:aws:secretsmanager:region:account:secret:name[:json-key:stage:version]."""
    parts = value_from.split(":")
    if not value_from.startswith("arn:"):
        return SecretReference(value_from)
    extra = parts[7:] + ["", "", ""]
    return SecretReference(":".join(parts[:7]), *extra[:3])


def pick(text: str, reference: SecretReference) -> str:
    """The value itself, or one key of the JSON object that it is. SecretError if the key is not there."""
    if not reference.json_key:
        return text
    try:
        document = json.loads(text)
    except ValueError:
        # Never the parser's own message: it may quote the secret.
        raise SecretError(
            RETRIEVAL_ERROR + f"invalid character in secret {reference.secret_id}: the value is not JSON, "
            f"so it has no key {reference.json_key}"
        ) from None
    if not isinstance(document, dict) or reference.json_key not in document:
        raise SecretError(
            RETRIEVAL_ERROR + f"retrieved secret from Secrets Manager did not contain json key {reference.json_key}"
        )
    value = document[reference.json_key]
    return value if isinstance(value, str) else json.dumps(value)


def _fetch_error(reference: SecretReference, detail: str) -> SecretError:
    return SecretError(
        RETRIEVAL_ERROR + f"failed to fetch secret {reference.secret_id} from secrets manager: {detail} "
        f"status code: 400, request id: {uuid.uuid4()}"
    )


def resolve(secrets: list[dict[str, str]], role: Role, account_id: str, region: str, session: str) -> dict[str, str]:
    """Environment variables of a container's `secrets` ([{name, valueFrom}]). SecretError says why not."""
    values: dict[str, str] = {}
    for secret in secrets:
        if ":ssm:" in secret["valueFrom"] or secret["valueFrom"].startswith("/"):
            raise SecretError(
                INITIALIZATION_ERROR + f"{secret['valueFrom']} is a Systems Manager parameter, which the local AWS "
                "does not read: keep the value in Secrets Manager"
            )
        reference = parse(secret["valueFrom"])
        values[secret["name"]] = pick(_read(reference, role, account_id, region, session), reference)
    return values


def _read(reference: SecretReference, role: Role, account_id: str, region: str, session: str) -> str:
    from moto.secretsmanager.models import secretsmanager_backends

    backend = secretsmanager_backends[account_id][region]
    stored: Any = backend.secrets[reference.secret_id] if reference.secret_id in backend.secrets else None
    # IAM decides before Secrets Manager looks: a role without permission learns nothing about existence.
    resource = stored.arn if stored else reference.secret_id
    if not role.may("secretsmanager:GetSecretValue", resource):
        raise _fetch_error(
            reference,
            f"AccessDeniedException: User: {role.session_arn(session)} is not authorized to perform: "
            f"secretsmanager:GetSecretValue on resource: {resource} because no identity-based policy allows the "
            "secretsmanager:GetSecretValue action",
        )
    if stored is None:
        raise _fetch_error(
            reference, "ResourceNotFoundException: Secrets Manager can't find the specified secret."
        )
    key_id = stored.kms_key_id
    # A key of AWS's lets everybody in the account decrypt whom Secrets Manager lets; one's own leaves it to IAM.
    if kms_keys.is_own(key_id):
        key = kms_keys.find(account_id, region, key_id)
        if not role.may("kms:Decrypt", key.arn if key else key_id):
            raise _fetch_error(reference, "AccessDeniedException: Access to KMS is not allowed")
    try:
        answer = backend.get_secret_value(
            secret_id=reference.secret_id,
            version_id=reference.version_id or None,
            version_stage=reference.version_stage or (None if reference.version_id else "AWSCURRENT"),
        )
    except Exception as error:  # moto's error classes differ by cause; their text is AWS's
        text = " ".join(str(getattr(error, "message", error)).split())
        kind = getattr(error, "error_type", type(error).__name__)
        raise _fetch_error(reference, f"{kind}: {text}") from None
    if "SecretString" not in answer:
        raise SecretError(RETRIEVAL_ERROR + f"secret {reference.secret_id} is binary: ECS needs a secret string")
    return answer["SecretString"]
