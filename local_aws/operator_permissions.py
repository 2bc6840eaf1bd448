# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether whoever calls from outside may do it, by the policies that the instance was told; without any, everything.

An operation's own action is judged, not on which resource, under which conditions, and what AWS asks for beside it.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import requests
from .bucket_policies import permission
from .ecs_permissions import listed, matches
from .refusals import Codes, refusal

CODES = Codes("AccessDenied", "UnauthorizedOperation", "AccessDeniedException", "AccessDenied")
# "No permissions are required to perform this operation": API_GetCallerIdentity.html
FREE = {"sts:GetCallerIdentity"}
# Services whose prefix in policies is not the name that requests are signed for.
PREFIXES = {"tagging": "tag"}


def action_of(operation: str) -> str:
    """`s3:HeadBucket` -> `s3:ListBucket`: what policies call an operation.

    Of budgets they know two: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbudgetservice.html
    """
    service, name = operation.split(":", 1)
    if service == "budgets" and not name.endswith(("TagResource", "TagsForResource", "UntagResource")):
        return "budgets:ViewBudget" if name.startswith("Describe") else "budgets:ModifyBudget"
    return permission(name) if service == "s3" else f"{PREFIXES.get(service, service)}:{name}"


class OperatorPermissions:
    """WSGI middleware inside the recorder, which has told what the request is. `path` holds a JSON list of policies."""

    def __init__(self, application: Callable[..., Iterable[bytes]], path: Path, account_id: str) -> None:
        self._application = application
        self._user = f"arn:aws:iam::{account_id}:user/operator"
        self._allowed = [
            action
            for policy in json.loads(path.read_text(encoding="utf-8"))
            for statement in policy["Statement"]
            for action in listed(statement["Action"])
        ]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        operation, access_key = environ["local_aws.operation"], environ["local_aws.access_key"]
        action = action_of(f"{operation.service}:{operation.action}")
        # Tasks have keys of their own, which begin like this, and roles.
        if access_key.startswith("ASIA") or action in FREE or self._allows(action):
            return self._application(environ, start_response)
        message = (
            f"User: {self._user} is not authorized to perform: {action} because no identity-based policy allows the "
            f"{action} action"
        )
        answer, body = refusal(operation.service, requests.headers_of(environ), CODES, message)
        start_response("403 Forbidden", answer)
        return [body]

    def _allows(self, action: str) -> bool:
        return any(matches(allowed, action, ignore_case=True) for allowed in self._allowed)
