# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May a role do this? The identity policies of moto's IAM, read as IAM reads them, without conditions.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
An explicit Deny wins, then any Allow, else no. Conditions are taken as met: the local AWS has no request context.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any


def matches(pattern: str, value: str, ignore_case: bool = False) -> bool:
    """IAM's wildcards: `*` any characters, `?` one."""
    parts = [".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern]
    return re.fullmatch("".join(parts), value, re.IGNORECASE | re.DOTALL if ignore_case else re.DOTALL) is not None


def listed(value: Any) -> list[Any]:
    """What a policy gives as one value or as a list of them."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def covers(statement: dict[str, Any], action: str, resource: str) -> bool:
    """Whether a statement is about `action` on the ARN `resource`, whoever asks."""
    if "NotAction" in statement:
        if any(matches(pattern, action, True) for pattern in listed(statement["NotAction"])):
            return False
    elif not any(matches(pattern, action, True) for pattern in listed(statement.get("Action"))):
        return False
    if "NotResource" in statement:
        return not any(matches(pattern, resource) for pattern in listed(statement["NotResource"]))
    return any(matches(pattern, resource) for pattern in listed(statement.get("Resource")))


def allowed(policies: Iterable[str], action: str, resource: str) -> bool:
    """Whether these policy documents (JSON text) allow `action` on the ARN `resource`."""
    allow = False
    for policy in policies:
        for statement in listed(json.loads(policy).get("Statement")):
            if not covers(statement, action, resource):
                continue
            if statement.get("Effect") == "Deny":
                return False
            allow = allow or statement.get("Effect") == "Allow"
    return allow


def trusts(trust_policy: str | dict[str, Any], service: str) -> bool:
    """Whether a role's trust policy lets a service of AWS assume it."""
    document = json.loads(trust_policy) if isinstance(trust_policy, str) else trust_policy
    for statement in listed(document.get("Statement")):
        principal = statement.get("Principal")
        services = listed(principal.get("Service")) if isinstance(principal, dict) else listed(principal)
        if statement.get("Effect") == "Allow" and (service in services or "*" in services):
            return True
    return False


class Role:
    """One IAM role of moto, found by ARN; `Role.find` answers None if there is no such role."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def find(cls, account_id: str, role_arn: str) -> Role | None:
        from moto.iam.models import iam_backends

        backend = iam_backends[account_id]["aws"]
        return next((cls(role) for role in list(backend.roles.values()) if role.arn == role_arn), None)

    def trusts(self, service: str) -> bool:
        """Whether a service of AWS may assume it."""
        return trusts(self._model.assume_role_policy_document, service)

    def may(self, action: str, resource: str) -> bool:
        """Whether the role's inline and attached policies allow this."""
        documents = list(self._model.policies.values())
        documents += [policy.document for policy in self._model.managed_policies.values()]
        texts = (document if isinstance(document, str) else json.dumps(document) for document in documents)
        return allowed(texts, action, resource)

    def session_arn(self, session: str) -> str:
        """The ARN under which AWS names an assumed role in its refusals."""
        arn = re.sub(r"^(arn:[^:]+):iam:", r"\1:sts:", self._model.arn).replace(":role/", ":assumed-role/")
        head, _unused, name = arn.partition(":assumed-role/")
        return f"{head}:assumed-role/{name.rsplit('/', 1)[-1]}/{session}"
