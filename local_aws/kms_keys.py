# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""KMS keys as the services see them that encrypt with them: whether one can be used, and by whom.

https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html
"""

from __future__ import annotations

import json
from typing import Any

from .ecs_permissions import Role, listed, matches

STATES = {"Disabled": "is disabled", "PendingDeletion": "is pending deletion"}


def find(account_id: str, region: str, key_id: str) -> Any | None:
    """moto's key by ID, ARN or alias; None if there is none in this account and region."""
    from moto.kms.models import kms_backends

    parts = key_id.split(":")
    if len(parts) > 5 and (parts[3], parts[4]) != (region, account_id):
        return None
    backend = kms_backends[account_id][region]
    return backend.keys.get(backend.any_id_to_key_id(key_id))


def is_own(key_id: str | None) -> bool:
    """Whether it is a key of the customer's, and none of AWS's, which are always there."""
    return bool(key_id) and "alias/aws/" not in str(key_id)


def unusable(account_id: str, region: str, key_id: str) -> str | None:
    """Why nothing can be encrypted or decrypted with a key of the customer's; None if it can."""
    key = find(account_id, region, key_id)
    if key is None:
        return f"{key_id} does not exist"
    return f"{key.arn} {STATES[key.key_state]}." if key.key_state in STATES else None


def denied(account_id: str, role_arn: str, key_id: str, action: str) -> bool:
    """Whether a role's policies do not let it use a key: the key's own policy leaves that to IAM."""
    role = Role.find(account_id, role_arn)
    return role is None or not role.may(action, key_id)


def lets_service(key: Any, service: str, action: str, context: dict[str, str]) -> bool:
    """Whether the key's policy lets a service of AWS do this with this encryption context. Other conditions are not met."""
    found = False
    for statement in listed(json.loads(key.policy).get("Statement")):
        principal = statement.get("Principal")
        services = listed(principal.get("Service")) if isinstance(principal, dict) else listed(principal)
        if not {service, "*"} & set(services) or not _acts(statement, action) or not _holds(statement, context):
            continue
        if statement.get("Effect") == "Deny":
            return False
        found = True
    return found


def _acts(statement: dict[str, Any], action: str) -> bool:
    return any(matches(pattern, action, True) for pattern in listed(statement.get("Action")))


def _holds(statement: dict[str, Any], context: dict[str, str]) -> bool:
    for operator, wanted in (statement.get("Condition") or {}).items():
        for name, patterns in wanted.items():
            fact = context.get(name.removeprefix("kms:EncryptionContext:"))
            if fact is None or not operator.startswith(("Arn", "String")) or "Not" in operator:
                return False
            exact = operator == "StringEquals"
            if not any(fact == one if exact else matches(one, fact) for one in listed(patterns)):
                return False
    return True
