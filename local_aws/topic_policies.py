# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the policy of an SNS topic lets a service of AWS publish.

https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
"""

from __future__ import annotations

import fnmatch
import json
from typing import Any


def may_publish(policy: str, service: str, source_arn: str, account_id: str) -> bool:
    """Whether a topic's policy lets a service publish for a resource. What it cannot judge allows nothing."""
    context = {
        "aws:sourcearn": source_arn,
        "aws:sourceaccount": account_id,
        "aws:sourceowner": account_id,
        "aws:securetransport": "true",
    }
    applying = [one for one in _listed(json.loads(policy).get("Statement")) if _applies(one, service, context)]
    effects = {one.get("Effect") for one in applying}
    return "Allow" in effects and "Deny" not in effects


def _applies(statement: dict[str, Any], service: str, context: dict[str, str]) -> bool:
    principal = statement.get("Principal")
    named = principal if isinstance(principal, dict) else {"AWS": principal}
    if "*" not in _listed(named.get("AWS")) and service not in _listed(named.get("Service")):
        return False
    if not any(fnmatch.fnmatchcase("sns:publish", str(one).lower()) for one in _listed(statement.get("Action"))):
        return False
    return all(
        _holds(test, context.get(key.lower()), _listed(values))
        for test, keys in (statement.get("Condition") or {}).items()
        for key, values in keys.items()
    )


def _holds(test: str, value: str | None, wanted: list[Any]) -> bool:
    if value is None:
        return False
    if test == "Bool":
        return value in [str(one).lower() for one in wanted]
    if test in ("StringEquals", "ArnEquals"):
        return value in wanted
    return test in ("StringLike", "ArnLike") and any(fnmatch.fnmatchcase(value, str(one)) for one in wanted)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
