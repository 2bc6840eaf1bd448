# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SNS topic that AWS's services tell of alarms, and who hears of it: what may be asked for. Talks to nobody."""

from __future__ import annotations

import json
import re
import typing as t

PROTOCOLS = ("email", "email-json", "http", "https", "sqs", "sms", "lambda")
# Protocol to what its endpoint looks like, as a pattern and in words.
MAIL = (r"[^@\s]+@[^@\s]+\.[^@\s.]+", "an address such as ops@example.com")
ENDPOINTS = {
    "email": MAIL,
    "email-json": MAIL,
    "http": (r"http://[^\s/]+\S*", "a URL such as http://alerts.example.com/sns"),
    "https": (r"https://[^\s/]+\S*", "a URL such as https://alerts.example.com/sns"),
    "sqs": (r"arn:[^:\s]+:sqs:[^:\s]+:\d{12}:[^:\s]+", "the ARN of a queue"),
    "sms": (r"\+[1-9]\d{6,14}", "a number such as +447700900000"),
    "lambda": (r"arn:[^:\s]+:lambda:[^:\s]+:\d{12}:function:\S+", "the ARN of a function"),
}
PENDING = "pending confirmation"


def problem(params: dict[str, t.Any]) -> str | None:
    """Why the topic cannot be as it is asked for."""
    for one in params["subscriptions"]:
        pattern, words = ENDPOINTS[one["protocol"]]
        if not re.fullmatch(pattern, one["endpoint"]):
            what = f"subscription {one['protocol']}: endpoint = {one['endpoint']}"
            return f"{what}: it is none of this protocol; give {words}"
    key = params["kms_key"]
    if key.startswith("alias/aws/") or ":alias/aws/" in key:
        return (
            f"kms_key = {key}: AWS's own key lets no alarm publish; "
            "give a key of yours whose policy lets the publishers use it"
        )
    return None


def topic_arn(caller: dict[str, str], region: str, name: str) -> str:
    """The ARN that a topic of this name has in the account of the answer of GetCallerIdentity."""
    return f"arn:{caller['Arn'].split(':')[1]}:sns:{region}:{caller['Account']}:{name}"


def policy(arn: str, publishers: list[str]) -> dict[str, t.Any]:
    """Only these services may publish, only on behalf of this account, only over TLS."""
    account = arn.split(":")[4]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Publish",
                "Effect": "Allow",
                "Principal": {"Service": sorted(publishers)},
                "Action": "sns:Publish",
                "Resource": arn,
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            },
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sns:Publish",
                "Resource": arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def comparable(document: str) -> t.Any:
    """A policy as it can be compared: AWS may write lists of one as text, in any order, and everybody in two ways."""
    try:
        statements = json.loads(document or "{}").get("Statement", [])
    except ValueError:
        return document
    return [_sorted(one) for one in statements]


def _sorted(value: t.Any) -> t.Any:
    if value == {"AWS": "*"}:
        return "*"
    if isinstance(value, dict):
        return {key: _sorted(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        found = sorted((_sorted(one) for one in value), key=str)
        return found[0] if len(found) == 1 else found
    return value
