# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operation of which AWS service a request is, and whether it may change anything.

https://docs.aws.amazon.com/general/latest/gr/signing-aws-api-requests.html and the operations' names in botocore's service models.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import botocore.loaders

READ_PREFIXES = (
    "AssumeRole", "BatchGet", "Check", "Decode", "Describe", "Estimate", "Filter", "Get", "Head", "List", "Lookup", "Query",
    "Search", "Select", "Simulate", "Test", "Validate",
)
OBJECT_WRITES = {
    "AbortMultipartUpload", "CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload", "DeleteObject", "DeleteObjects",
    "PutObject", "UploadPart", "UploadPartCopy",
}
# What names the thing a request is about; never the value of anything secret.
NAMING = re.compile(r"^(?!.*(secretstring|password|token|document|policy)).*(name|id|identifier|arn|family|service|cluster)$", re.I)


class Operation(NamedTuple):
    service: str
    action: str
    resource: str

    @property
    def kind(self) -> str:
        """`read`, or `write` for what may change something."""
        return "read" if self.action.startswith(READ_PREFIXES) else "write"

    @property
    def data_plane(self) -> bool:
        """Whether it writes objects rather than resources."""
        return self.service == "s3" and self.action in OBJECT_WRITES


def identify(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Operation:
    """`headers` has lower-case names; `body` may be empty for S3, whose operation does not depend on it."""
    arguments = parse_qs(query, keep_blank_values=True)
    service = _scope(headers, arguments)
    if service == "s3":
        return _s3(method, path, arguments, headers)
    target = headers.get("x-amz-target", "")
    if target:
        return Operation(service, target.rsplit(".", 1)[-1], _named(_json(body)))
    form = {key: values[0] for key, values in {**arguments, **parse_qs(body.decode("utf-8", "replace"))}.items()}
    if "Action" in form:
        return Operation(service, form["Action"], _named(form))
    return Operation(service, f"{method} {path}", path)


def _scope(headers: Mapping[str, str], arguments: Mapping[str, list[str]]) -> str:
    """The service in the credential scope of a signature; unsigned requests to S3 are all that is left."""
    signature = headers.get("authorization", "") or "Credential=" + arguments.get("X-Amz-Credential", [""])[0]
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", signature)
    return {"monitoring": "cloudwatch"}.get(scope.group(1), scope.group(1)) if scope else "s3"


def access_key(headers: Mapping[str, str], query: str) -> str:
    signature = headers.get("authorization", "") or "Credential=" + parse_qs(query).get("X-Amz-Credential", [""])[0]
    key = re.search(r"Credential=([^/]+)/", signature)
    return key.group(1) if key else ""


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
    level: int  # 0 service, 1 bucket, 2 object
    query: frozenset[str]
    headers: frozenset[str]


@functools.cache
def _s3_routes() -> list[_Route]:
    """Every S3 operation by what its request must have, the most particular first."""
    model = botocore.loaders.Loader().load_service_model("s3", "service-2")
    routes = []
    for name, operation in model["operations"].items():
        path, _unused, fixed = operation["http"]["requestUri"].partition("?")
        members = model["shapes"].get(operation.get("input", {}).get("shape", ""), {})
        required = {member: members["members"][member] for member in members.get("required", [])}
        located = [(shape.get("location"), shape.get("locationName", "")) for shape in required.values()]
        query = {key.partition("=")[0] for key in fixed.split("&") if key} | {one for where, one in located if where == "querystring"}
        headers = {one.lower() for where, one in located if where == "header" and "copy-source" in one.lower()}
        level = 2 if "{Key" in path else 1 if "{Bucket}" in path else 0
        routes.append(_Route(name, operation["http"]["method"], level, frozenset(query), frozenset(headers)))
    return sorted(routes, key=lambda route: (-len(route.query) - len(route.headers), route.action))


# Operations that look alike on the wire but for an optional marker: what the plain one is called.
_S3_PLAIN = {("GET", 1): "ListObjects", ("GET", 2): "GetObject", ("GET", 0): "ListBuckets"}


def _s3(method: str, path: str, arguments: Mapping[str, list[str]], headers: Mapping[str, str]) -> Operation:
    bucket, _unused, key = path.lstrip("/").partition("/")
    level = 2 if key else 1 if bucket else 0
    resource = f"{bucket}/{key}" if key else bucket
    if method == "GET" and arguments.get("list-type") == ["2"]:
        return Operation("s3", "ListObjectsV2", resource)
    for route in _s3_routes():
        if route.method == method and route.level == level and route.query <= set(arguments) and route.headers <= set(headers):
            plain = not route.query and not route.headers
            return Operation("s3", _S3_PLAIN.get((method, level), route.action) if plain else route.action, resource)
    return Operation("s3", f"{method} {level}", resource)
