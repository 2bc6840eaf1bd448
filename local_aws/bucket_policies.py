# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bucket policies, judged for the one who asks. What cannot be judged raises NotUnderstood and is refused on put.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-policy-language-overview.html
Only an explicit Deny counts for signed requests, because identity policies are not enforced here: without a Deny the
owner's account may do anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .ecs_permissions import covers, listed, matches

# Requests never leave this machine, which counts as the newest TLS.
FACTS = {"aws:securetransport": "true", "s3:tlsversion": "1.3"}
CALLER = "aws:principalarn"
# What AWS's services tell of their requests. Elastic Load Balancing is not documented to tell any of it, and those
# that do deliver nothing here: a condition on one is not met.
OF_SERVICES = ("aws:sourceaccount", "aws:sourcearn", "s3:x-amz-acl")
ALLOW, DENY, NEITHER = "Allow", "Deny", "neither"


def _equal(fact: str, wanted: str) -> bool:
    return fact == wanted


def _alike(fact: str, wanted: str) -> bool:
    return matches(wanted, fact)


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "bool": lambda fact, wanted: fact == wanted.lower(),
    "numericlessthan": lambda fact, wanted: float(fact) < float(wanted),
    "numericgreaterthanequals": lambda fact, wanted: float(fact) >= float(wanted),
    "stringequals": _equal,
    "stringlike": _alike,
    "arnequals": _alike,
    "arnlike": _alike,
}
NEGATED = {f"{name[:-6]}notequals" if name.endswith("equals") else f"{name[:-4]}notlike": name
           for name in ("stringequals", "stringlike", "arnequals", "arnlike")}  # fmt: skip

# Operations whose permission is not called like them: "Actions, resources, and condition keys for Amazon S3".
PERMISSIONS = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteObjects": "DeleteObject",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketReplication": "PutReplicationConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}
VERSIONED = ("DeleteObject", "DeleteObjectTagging", "GetObject", "GetObjectAcl", "GetObjectTagging", "PutObjectTagging")


class NotUnderstood(ValueError):
    """Part of a policy that cannot be judged here."""


class Caller(NamedTuple):
    """`arn` is a role's, or the account's root; None for an unsigned request and for a service of AWS."""

    account: str
    arn: str | None
    service: str = ""


def permission(operation: str, version_id: str = "") -> str:
    """The permission that an operation of the API needs, such as s3:PutObject for UploadPart."""
    name = PERMISSIONS.get(operation, operation)
    if version_id and name in VERSIONED:
        name = name.replace("Object", "ObjectVersion", 1)
    return f"s3:{name}"


def statements(policy: bytes | str) -> list[dict[str, Any]]:
    """ValueError for what is no policy."""
    document = json.loads(policy)
    found = listed(document.get("Statement")) if isinstance(document, dict) else []
    if not found or not all(isinstance(one, dict) for one in found):
        raise ValueError("no policy")
    return found


def check(policy: bytes | str) -> None:
    """NotUnderstood names what cannot be judged; ValueError for what is no policy."""
    nobody = Caller("", None)
    for statement in statements(policy):
        if "Principal" not in statement:
            raise NotUnderstood("NotPrincipal" if "NotPrincipal" in statement else "statement without a Principal")
        _names(statement, nobody)
        _holds(statement, nobody)


def roles(policy: bytes | str) -> set[str]:
    """The ARNs of the roles that are principals of a policy that check() let pass."""
    found: set[str] = set()
    for statement in statements(policy):
        principal = statement.get("Principal")
        values = listed(principal.get("AWS")) if isinstance(principal, dict) else []
        found |= {one for one in values if ":role/" in one}
    return found


def verdict(policy: bytes | str, caller: Caller, action: str, resource: str) -> str:
    """ALLOW, DENY or NEITHER: what a policy says of `action` on the ARN `resource`; a Deny wins."""
    found = NEITHER
    for statement in statements(policy):
        if covers(statement, action, resource) and _names(statement, caller) and _holds(statement, caller):
            if statement.get("Effect") == DENY:
                return DENY
            found = ALLOW
    return found


def _names(statement: dict[str, Any], caller: Caller) -> bool:
    """Whether the caller is one of the statement's principals."""
    principal = statement.get("Principal")
    named = [("AWS", principal)] if isinstance(principal, str) else list((principal or {}).items())
    # All are looked at, so that none is let pass that cannot be judged.
    matches = [_is(caller, kind, value) for kind, values in named for value in listed(values)]
    return any(matches)


def _is(caller: Caller, kind: str, value: str) -> bool:
    if kind == "Service":
        return caller.service == value
    if kind != "AWS":
        raise NotUnderstood(f"Principal {kind} {value}")
    if value == "*":
        return True
    account = re.fullmatch(r"(?:arn:[^:]+:iam::)?(\d{12})(?::root)?", value)
    if account:
        return caller.arn is not None and caller.account == account[1]
    if not re.fullmatch(r"arn:[^:]+:iam::\d{12}:role/[^*]+", value):
        raise NotUnderstood(f"Principal {value}")
    return caller.arn == value


def _holds(statement: dict[str, Any], caller: Caller) -> bool:
    """Whether every condition of a statement is met."""
    results = []
    principal = statement.get("Principal")
    of_services = OF_SERVICES if isinstance(principal, dict) and set(principal) == {"Service"} else ()
    for operator, keys in (statement.get("Condition") or {}).items():
        name = NEGATED.get(operator.lower(), operator.lower())
        for key, values in keys.items():
            judge, about_caller = OPERATORS.get(name), key.lower() in (CALLER, *of_services)
            if judge is None or about_caller != name.startswith(("string", "arn")):
                raise NotUnderstood(f"condition {operator} {key}")
            fact = caller.arn if key.lower() == CALLER else FACTS.get(key.lower())
            if fact is None and not about_caller:
                raise NotUnderstood(f"condition {operator} {key}")
            met = fact is not None and any(judge(fact, str(one)) for one in listed(values))
            results.append(met != (operator.lower() in NEGATED))
    return all(results)
