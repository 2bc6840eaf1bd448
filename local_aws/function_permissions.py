# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Lambda function may do what it asks of AWS, by the policies of its role, resource by resource.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
Conditions are taken as met. An operation whose resources are not known here is refused, whatever the role may.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from . import kms_keys, requests
from .credentials import Credentials
from .ecs_permissions import Role
from .recorder import body_of
from .refusals import Codes, refusal

CODES = Codes("AccessDenied", "UnauthorizedOperation", "AccessDeniedException", "AccessDenied")
FREE = {"sts:GetCallerIdentity"}
# An action and the ARN that it is asked for.
Need = tuple[str, str]


class Unknown(ValueError):
    """An operation that cannot be judged."""


def _secret(action: str, asked: dict[str, Any], account: str, region: str) -> list[Need]:
    from moto.secretsmanager.models import secretsmanager_backends

    named = str(asked.get("SecretId", ""))
    secret = secretsmanager_backends[account][region].secrets.get(named)
    arn = secret.arn if secret is not None else named
    needs = [(action, arn)]
    key = secret.kms_key_id if secret is not None else None
    if kms_keys.is_own(key) and action in ("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"):
        found = kms_keys.find(account, region, str(key))
        verbs = ["Decrypt"] + (["GenerateDataKey"] if action.endswith("PutSecretValue") else [])
        needs += [(f"kms:{verb}", found.arn if found else str(key)) for verb in verbs]
    return needs


def _ecs(action: str, asked: dict[str, Any], account: str, region: str) -> list[Need]:
    base = f"arn:aws:ecs:{region}:{account}"
    cluster = str(asked.get("cluster", "default")).rsplit("/", 1)[-1]
    name = action.partition(":")[2]
    if name in ("DescribeServices", "UpdateService"):
        services = asked.get("services") or [asked.get("service", "")]
        return [(action, f"{base}:service/{cluster}/{str(one).rsplit('/', 1)[-1]}") for one in services]
    if name == "DescribeClusters":
        return [(action, f"{base}:cluster/{str(one).rsplit('/', 1)[-1]}") for one in asked.get("clusters", ["default"])]
    if name == "ListTasks":
        return [(action, f"{base}:container-instance/{cluster}/any")]
    if name == "DescribeTasks":
        return [(action, f"{base}:task/{cluster}/{str(one).rsplit('/', 1)[-1]}") for one in asked.get("tasks", [])]
    if name in ("TagResource", "UntagResource"):
        return [(action, str(asked.get("resourceArn", "")))]
    if name == "RunTask":
        return _run_task(action, asked, account, region, f"{base}:task/{cluster}/any")
    raise Unknown(action)


def _run_task(action: str, asked: dict[str, Any], account: str, region: str, task: str) -> list[Need]:
    from moto.ecs.models import ecs_backends

    definition = ecs_backends[account][region].describe_task_definition(str(asked.get("taskDefinition", "")))
    needs, overrides = [(action, definition.arn)], asked.get("overrides") or {}
    for kind, own in (("executionRoleArn", definition.execution_role_arn), ("taskRoleArn", definition.task_role_arn)):
        if passed := overrides.get(kind) or own:
            needs.append(("iam:PassRole", passed))
    if asked.get("tags") or asked.get("propagateTags"):
        needs.append(("ecs:TagResource", task))
    return needs


def _database(action: str, asked: dict[str, Any], account: str, region: str) -> list[Need]:
    return [(action, f"arn:aws:rds:{region}:{account}:db:{asked.get('DBInstanceIdentifier', '*')}")]


JUDGED: dict[str, Callable[[str, dict[str, Any], str, str], list[Need]]] = {
    **{f"secretsmanager:{one}": _secret for one in (
        "DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage",
    )},
    **{f"ecs:{one}": _ecs for one in (
        "DescribeClusters", "DescribeServices", "DescribeTasks", "ListTasks", "RunTask", "TagResource", "UntagResource",
        "UpdateService",
    )},
    **{f"rds:{one}": _database for one in ("DescribeDBInstances", "ModifyDBInstance")},
}  # fmt: skip


def needs(operation: str, asked: dict[str, Any], account: str, region: str) -> list[Need]:
    """What a role must be allowed for an operation, `service:Name`, with these parameters. Unknown if that is not known."""
    if operation in FREE:
        return []
    if operation not in JUDGED:
        raise Unknown(operation)
    return JUDGED[operation](operation, asked, account, region)


def parameters(body: bytes) -> dict[str, Any]:
    """Of JSON or of a form."""
    try:
        document = json.loads(body or b"{}")
        return document if isinstance(document, dict) else {}
    except ValueError:
        return {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}


class FunctionPermissions:
    """WSGI middleware inside the recorder, which has told what the request is. Whoever is no function passes."""

    def __init__(self, application: Callable[..., Iterable[bytes]], credentials: Credentials, account_id: str) -> None:
        self._application, self._credentials, self._account = application, credentials, account_id

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        role_arn = self._credentials.function_role_of(environ["local_aws.access_key"])
        reason = self._refused(environ, role_arn) if role_arn else ""
        if not reason:
            return self._application(environ, start_response)
        service = environ["local_aws.operation"].service
        answer, body = refusal(service, requests.headers_of(environ), CODES, reason)
        start_response("403 Forbidden" if service != "secretsmanager" else "400 Bad Request", answer)
        return [body]

    def _refused(self, environ: dict[str, Any], role_arn: str) -> str:
        operation, headers = environ["local_aws.operation"], requests.headers_of(environ)
        scope = requests.scope(headers, environ.get("QUERY_STRING", ""))
        name, role = f"{operation.service}:{operation.action}", Role.find(self._account, role_arn)
        try:
            wanted = needs(name, parameters(body_of(environ)), self._account, scope.region if scope else "")
        except Unknown:
            return f"The local AWS cannot judge whether a function may {name}."
        for action, arn in wanted:
            if role is None or not role.may(action, arn):
                who = role.session_arn("function") if role else role_arn
                return (
                    f"User: {who} is not authorized to perform: {action} on resource: {arn} because no identity-based "
                    f"policy allows the {action} action"
                )
        return ""
