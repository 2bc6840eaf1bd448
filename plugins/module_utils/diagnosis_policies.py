# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether policies of IAM and of buckets surely refuse something. Everything here is pure.

What depends on a condition is not judged: an Allow with one counts, a Deny with one does not.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
import typing as t


def _listed(value: t.Any) -> list[t.Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _matches(pattern: t.Any, value: str, ignore_case: bool = False) -> bool:
    parts = [".*" if char == "*" else "." if char == "?" else re.escape(char) for char in str(pattern)]
    return re.fullmatch("".join(parts), value, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


def statements(policy: t.Any) -> list[dict[str, t.Any]]:
    """The statements of a parsed policy document, whatever its shape."""
    found = policy.get("Statement") if isinstance(policy, dict) else None
    return [one for one in _listed(found) if isinstance(one, dict)]


def _speaks_of(statement: dict[str, t.Any], action: str, resource: str) -> bool:
    if "NotAction" in statement:
        if any(_matches(one, action, True) for one in _listed(statement["NotAction"])):
            return False
    elif not any(_matches(one, action, True) for one in _listed(statement.get("Action"))):
        return False
    if "NotResource" in statement:
        return not any(_matches(one, resource) for one in _listed(statement["NotResource"]))
    # An inline policy of a role always has a resource; a bucket's too.
    return any(_matches(one, resource) for one in _listed(statement.get("Resource")))


def _names(statement: dict[str, t.Any], arn: str) -> bool:
    """Whether a statement of a bucket's policy is about this role."""
    principal = statement.get("Principal")
    if principal is None:
        return False
    names = [str(one) for one in _listed(principal.get("AWS") if isinstance(principal, dict) else principal)]
    account = arn.split(":")[4] if arn.count(":") >= 5 else arn
    return any(one in ("*", arn, account) or one.endswith(f"::{account}:root") for one in names)


def denied(policies: t.Iterable[t.Any], action: str, resource: str) -> str:
    """How the policies of a role refuse it: "a Deny", "no Allow"; empty if they may allow it."""
    allowed = False
    for policy in policies:
        for statement in statements(policy):
            if not _speaks_of(statement, action, resource):
                continue
            if statement.get("Effect") == "Deny" and not statement.get("Condition"):
                return "a Deny"
            allowed = allowed or statement.get("Effect") == "Allow"
    return "" if allowed else "no Allow"


def denied_by_bucket(policy: t.Any, role_arn: str, action: str, resource: str) -> bool:
    """Whether a bucket's policy surely refuses a role something."""
    return any(
        statement.get("Effect") == "Deny"
        and not statement.get("Condition")
        and _names(statement, role_arn)
        and _speaks_of(statement, action, resource)
        for statement in statements(policy)
    )
