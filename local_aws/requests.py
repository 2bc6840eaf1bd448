# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operation of which AWS service a request is, and whether it may change anything.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html; the operations are those of botocore's models.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import botocore.exceptions
import botocore.loaders

READ_PREFIXES = (
    "AssumeRole",
    "BatchCheck",
    "BatchDescribe",
    "BatchGet",
    "Check",
    "Decode",
    "Describe",
    "Estimate",
    "Filter",
    "Get",
    "Head",
    "List",
    "Lookup",
    "Preview",
    "Query",
    "Search",
    "Select",
    "Simulate",
    "Test",
    "Validate",
)
# Cryptography and searches change nothing either, as CloudTrail's readOnly says.
READS = {
    ("kms", action)
    for action in ("Decrypt", "Encrypt", "ReEncrypt", "GenerateDataKey", "GenerateMac", "Sign", "Verify", "VerifyMac")
} | {("logs", "StartQuery"), ("logs", "StopQuery"), ("logs", "StartLiveTail")}
OBJECT_WRITES = {
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "DeleteObject",
    "DeleteObjects",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
}
# What names the thing a request is about; never the value of anything secret.
NAMING = re.compile(
    r"^(?!.*(secretstring|password|token|document|policy)).*(name|id|identifier|arn|family|service|cluster)$", re.I
)


# What services sign as, where it is not how they are called.
SERVICES = {"monitoring": "cloudwatch", "elasticfilesystem": "efs"}


class Operation(NamedTuple):
    service: str
    action: str
    resource: str

    @property
    def kind(self) -> str:
        """`read`, or `write` for what may change something."""
        unnamed = self.action.startswith(("GET ", "HEAD ", "OPTIONS "))
        harmless = self.action.startswith(READ_PREFIXES) or (self.service, self.action) in READS
        return "read" if unnamed or harmless else "write"

    @property
    def data_plane(self) -> bool:
        """Whether it writes objects rather than resources."""
        return self.service == "s3" and self.action in OBJECT_WRITES


class Scope(NamedTuple):
    """What a request's signature was made for."""

    access_key: str
    region: str
    service: str


def headers_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a WSGI request, by lower-case name."""
    headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    return {**headers, "content-type": environ.get("CONTENT_TYPE", "")}


def scope(headers: Mapping[str, str], query: str) -> Scope | None:
    """The scope of the signature in header or query, None for an unsigned request."""
    signature = headers.get("authorization", "") or "Credential=" + parse_qs(query).get("X-Amz-Credential", [""])[0]
    found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request", signature)
    return Scope(*found.groups()) if found else None


def identify(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Operation:
    """`headers` has lower-case names; `body` may be empty for REST services, whose operation does not depend on it."""
    arguments = parse_qs(query, keep_blank_values=True)
    signed = scope(headers, query)
    # Unsigned requests to S3 are all that is left.
    service = signed.service if signed else "s3"
    if service == "s3":
        return _s3(method, path, arguments, headers)
    service = SERVICES.get(service, service)
    rpc = re.fullmatch(r"/service/[^/]+/operation/(\w+)", path)
    if rpc:
        return Operation(service, rpc.group(1), "")
    target = headers.get("x-amz-target", "")
    if target:
        return Operation(service, target.rsplit(".", 1)[-1], _named(_json(body)))
    form = {key: values[0] for key, values in {**arguments, **parse_qs(body.decode("utf-8", "replace"))}.items()}
    if "Action" in form:
        return Operation(service, form["Action"], _named(form))
    return Operation(service, _routed(service, method, path, arguments, headers) or f"{method} {path}", path)


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _named(arguments: Mapping[str, Any]) -> str:
    """The first arguments that name something, `key=value`."""
    named = [f"{key}={value}" for key, value in arguments.items() if isinstance(value, str) and NAMING.match(key)]
    return " ".join(named[:3])


class _Route(NamedTuple):
    action: str
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    headers: frozenset[str]


@functools.cache
def _routes(service: str) -> list[_Route]:
    """Every operation of a REST service by what its request must have, the most particular first; none if unknown."""
    try:
        model = botocore.loaders.Loader().load_service_model(service, "service-2")
    except botocore.exceptions.UnknownServiceError:
        return []
    routes = []
    for name, operation in model["operations"].items():
        path, _unused, fixed = operation["http"]["requestUri"].partition("?")
        members = model["shapes"].get(operation.get("input", {}).get("shape", ""), {})
        required = {member: members["members"][member] for member in members.get("required", [])}
        located = [(shape.get("location"), shape.get("locationName", "")) for shape in required.values()]
        query = {key.partition("=")[0] for key in fixed.split("&") if key} | {
            one for where, one in located if where == "querystring"
        }
        headers = {one.lower() for where, one in located if where == "header" and "copy-source" in one.lower()}
        routes.append(_Route(name, operation["http"]["method"], _pattern(path), frozenset(query), frozenset(headers)))
    return sorted(
        routes, key=lambda one: (-len(one.query) - len(one.headers), -_literals(one.path.pattern), one.action)
    )


def _pattern(template: str) -> re.Pattern[str]:
    """`/{Bucket}/{Key+}`: a plain label is one part of a path, one with a plus, or of an ARN, the rest of it."""
    parts = re.split(r"(\{[^}]+\})", template.rstrip("/"))
    return re.compile(
        "".join((".+" if one.lower().endswith(("+}", "arn}")) else "[^/]+") if one.startswith("{") else re.escape(one) for one in parts)
    )


def _literals(pattern: str) -> int:
    return len(pattern.replace("[^/]+", "").replace(".+", ""))


def _routed(
    service: str, method: str, path: str, arguments: Mapping[str, list[str]], headers: Mapping[str, str]
) -> str | None:
    """The operation of a REST service, None if its model knows none like it."""
    for route in _routes(service):
        marked = route.method == method and route.query <= set(arguments) and route.headers <= set(headers)
        if marked and route.path.fullmatch(path.rstrip("/")):
            return route.action
    return None


# Operations of S3 that look alike on the wire, but for an optional marker or the body: what the plain one is called.
_S3_PLAIN = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
}


def _s3(method: str, path: str, arguments: Mapping[str, list[str]], headers: Mapping[str, str]) -> Operation:
    bucket, _unused, key = path.lstrip("/").partition("/")
    resource = f"{bucket}/{key}" if key else bucket
    # A key may end with a slash, which a route would ignore.
    action = _routed("s3", method, f"/{bucket}/key" if key else f"/{bucket}", arguments, headers)
    if action is None:
        return Operation("s3", f"{method} {'object' if key else 'bucket' if bucket else 'service'}", resource)
    return Operation("s3", _S3_PLAIN.get(action, action), resource)
