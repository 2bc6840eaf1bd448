# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's S3, whose bucket policies mind their conditions and whose listings mind delete markers.

moto ignores Condition, so that a policy which demands TLS denies everything. Here what is understood is judged, and a
policy with a condition that is not understood is refused.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html
"""

from __future__ import annotations

import json
import re
from typing import Any

from moto.iam.access_control import IAMPolicy
from moto.s3 import models, responses
from moto.s3.exceptions import InvalidBucketName, S3ClientError

from ..runtime import Runtime
from . import replace

# Requests never leave this machine, which counts as the newest TLS.
FACTS = {"aws:securetransport": "true", "s3:tlsversion": "1.3"}
OPERATORS = {
    "bool": lambda fact, wanted: fact == wanted.lower(),
    "numericlessthan": lambda fact, wanted: float(fact) < float(wanted),
    "numericgreaterthanequals": lambda fact, wanted: float(fact) >= float(wanted),
}


# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET_NAME = re.compile(
    r"(?!xn--|sthree-|amzn-s3-demo-)(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
)
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class NotUnderstood(S3ClientError):
    code = 400

    def __init__(self, condition: str) -> None:
        super().__init__("MalformedPolicy", f"The local AWS cannot judge the policy condition {condition}.")


def apply(_runtime: Runtime) -> None:
    plain_put, plain_permission = models.S3Backend.put_bucket_policy, models.FakeBucket.get_permission

    def put(self: Any, bucket_name: str, policy: bytes) -> Any:
        for statement in statements(policy):
            holds(statement)
        return plain_put(self, bucket_name, policy)

    def permission(self: Any, action: str, resource: str) -> Any:
        if self.policy is None:
            return plain_permission(self, action, resource)
        met = {**json.loads(self.policy), "Statement": [one for one in statements(self.policy) if holds(one)]}
        return IAMPolicy(json.dumps(met)).is_action_permitted(action, resource)

    plain_list = models.S3Backend.list_objects

    def list_objects(self: Any, bucket: Any, prefix: Any, delimiter: Any, marker: Any, max_keys: Any) -> Any:
        # A prefix with nothing but deleted objects is none (ListObjectsV2, CommonPrefixes); moto counts delete markers.
        keys, prefixes, truncated, following = plain_list(self, bucket, prefix, delimiter, marker, max_keys)
        if prefixes and bucket.is_versioned:
            living = [name for name, key in bucket.keys.items() if not isinstance(key, models.FakeDeleteMarker)]
            prefixes = [one for one in prefixes if any(name.startswith(one) for name in living)]
        return keys, prefixes, truncated, following

    plain_key = responses.S3Response._key_response

    def key_response(self: Any, request: Any, full_url: str) -> Any:
        status, headers, body = plain_key(self, request, full_url)
        # moto says no more than 403 where a policy denies.
        return status, headers, body or (DENIED if status == 403 else body)

    replace(responses.S3Response, "_key_response", key_response, ("self", "request", "full_url"))
    plain_create = models.S3Backend.create_bucket

    def create_bucket(self: Any, bucket_name: str, *arguments: Any, **more: Any) -> Any:
        if not BUCKET_NAME.fullmatch(bucket_name) or bucket_name.endswith(("-s3alias", "--ol-s3")):
            raise InvalidBucketName()
        return plain_create(self, bucket_name, *arguments, **more)

    replace(
        models.S3Backend, "create_bucket", create_bucket, ("self", "bucket_name", "region_name", "bucket_namespace")
    )
    parameters = ("self", "bucket", "prefix", "delimiter", "marker", "max_keys")
    replace(models.S3Backend, "list_objects", list_objects, parameters)
    replace(models.S3Backend, "put_bucket_policy", put, ("self", "bucket_name", "policy"))
    replace(models.FakeBucket, "get_permission", permission, ("self", "action", "resource"))


def statements(policy: bytes | str) -> list[dict[str, Any]]:
    found = json.loads(policy).get("Statement", [])
    return found if isinstance(found, list) else [found]


def holds(statement: dict[str, Any]) -> bool:
    """Whether every condition of a statement is met; NotUnderstood for one that cannot be judged."""
    results = []
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            fact, judge = FACTS.get(key.lower()), OPERATORS.get(operator.lower())
            if fact is None or judge is None:
                raise NotUnderstood(f"{operator} {key}")
            wanted = values if isinstance(values, list) else [values]
            results.append(any(judge(fact, str(one)) for one in wanted))
    return all(results)
