# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that come before any service is asked, in the words and the protocol of the service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape


class Codes(NamedTuple):
    """What an error is called by S3, by EC2, by services that speak JSON, and by all others."""

    s3: str
    ec2: str
    json: str
    others: str


def refusal(service: str, headers: Mapping[str, str], codes: Codes, message: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of the error; `headers` are those of the request, by lower-case name."""
    kind, body = _body(service, headers, codes, message)
    # Services without targets name their errors in a header.
    return [("Content-Type", kind), ("Content-Length", str(len(body))), ("x-amzn-ErrorType", codes.json)], body


def _body(service: str, headers: Mapping[str, str], codes: Codes, message: str) -> tuple[str, bytes]:
    text = escape(message)
    if service == "s3":
        return "application/xml", f"<Error><Code>{codes.s3}</Code><Message>{text}</Message></Error>".encode()
    if service == "ec2":
        error = f"<Error><Code>{codes.ec2}</Code><Message>{text}</Message></Error>"
        return "text/xml", f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>".encode()
    if "x-amz-target" in headers or "json" in headers.get("content-type", "") or service in ("backup", "lambda", "scheduler"):
        document = {"__type": codes.json, "message": message}
        return "application/x-amz-json-1.1", json.dumps(document).encode()
    error = f"<Error><Type>Sender</Type><Code>{codes.others}</Code><Message>{text}</Message></Error>"
    return "text/xml", f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>".encode()
