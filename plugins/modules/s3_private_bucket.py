#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_private_bucket
version_added: "0.1.0"
short_description: Make or remove a private, versioned, encrypted S3 bucket
description:
  - Keeps a bucket whose public access is blocked, whose objects belong to its owner (no ACLs), which is versioned,
    encrypts with keys of S3 (SSE-S3), or with a key of KMS (SSE-KMS), and refuses requests without TLS. Other statements of its policy are left alone.
  - On demand it lets services of AWS write logs of one account, and removes what is old. Lifecycle rules of others are left
    alone.
  - Touches a bucket that exists only if it carries O(owner_tags), or if it has neither tags nor objects, which is
    what an interrupted run leaves behind.
  - In check mode, unlike M(amazon.aws.s3_bucket), it predicts what a run would change.
options:
  name:
    description: Name of the bucket.
    type: str
    required: true
  state:
    description:
      - V(present) makes the bucket and sets it up.
      - V(absent) removes it B(with every object and version in it).
    type: str
    choices: [present, absent]
    default: present
  log_delivery:
    description:
      - Logs that services of AWS may write to the bucket, V(access_logs) of load balancers and V(flow_logs) of VPCs.
        Those of load balancers need a bucket that encrypts with keys of S3.
    type: list
    elements: str
    choices: [access_logs, flow_logs]
    default: []
  log_prefix:
    description: Prefix below which logs are written, without slashes at its ends; empty for none.
    type: str
    default: ""
  account_id:
    description: Account whose logs may be written; required with O(log_delivery).
    type: str
    default: ""
  expire_days:
    description: Days after which objects are removed, all their versions and unfinished uploads with them; V(0) to keep them.
    type: int
    default: 0
  abort_upload_days:
    description: Days after which an upload in parts that nobody finishes is removed; V(0) to keep it.
    type: int
    default: 0
  noncurrent_days:
    description: Days for which versions are kept that were overwritten or deleted; V(0) to keep them for ever.
    type: int
    default: 0
  transition_days:
    description: Days after which objects are moved to O(transition_class); V(0) to leave them.
    type: int
    default: 0
  transition_class:
    description:
      - Storage class for O(transition_days). V(INTELLIGENT_TIERING) costs what its use is worth; the others take money for
        each read, and V(ONEZONE_IA) keeps objects in one zone alone.
      - C(GLACIER) and C(DEEP_ARCHIVE) are refused, because their objects cannot be read before they are restored.
    type: str
    default: INTELLIGENT_TIERING
  cors_origins:
    description:
      - Origins of pages whose scripts may read and write objects at signed addresses, without wildcards. CORS rules of others
        are left alone.
    type: list
    elements: str
    default: []
  kms_key:
    description:
      - ARN of the KMS key that encrypts new objects, by way of a key of the bucket so that KMS is seldom asked. Empty for keys of S3, but
        a key of KMS that somebody chose stays.
      - What is stored keeps the key that it was encrypted with.
    type: str
    default: ""
  former_kms_key:
    description: ARN of a KMS key that is not to encrypt anything any more; without O(kms_key), keys of S3 take its place.
    type: str
    default: ""
attributes:
  check_mode:
    description: Predicts exactly what a run would change.
    support: full
  diff_mode:
    description: Shows the settings that change, before and after.
    support: full
  idempotent:
    description: Writes nothing when the bucket is as asked for.
    support: full
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Make the bucket
  mlops.mlflow_aws.s3_private_bucket:
    name: team-artifacts
    owner_tags:
      team: web
    tags:
      team: web

- name: Make a bucket for the access logs of load balancers, which keeps them for 90 days
  mlops.mlflow_aws.s3_private_bucket:
    name: team-logs
    log_delivery: [access_logs]
    account_id: "123456789012"
    expire_days: 90
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
arn:
  description: ARN of the bucket, null when absent.
  returned: success
  type: str
  sample: arn:aws:s3:::team-artifacts
kms_key:
  description: ARN, ID or alias of the KMS key that encrypts new objects after the run; empty for keys of S3.
  returned: success
  type: str
"""

import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import ansible_dict_to_boto3_tag_list
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    deployment_names,
    s3_buckets,
    s3_cors,
    s3_lifecycle,
    s3_log_delivery,
)

# A bucket that was just created, or a setting of it, is not seen everywhere at once.
RETRY = AWSRetry.jittered_backoff(retries=8, catch_extra_error_codes=["NoSuchBucket", "OperationAborted"])


def create(bucket: s3_buckets.Bucket) -> None:
    # CreateBucket refuses us-east-1 as a location: it is what no location means.
    where = {} if bucket.region == "us-east-1" else {
        "CreateBucketConfiguration": {"LocationConstraint": bucket.region}
    }  # fmt: skip
    try:
        bucket.client.create_bucket(Bucket=bucket.name, aws_retry=True, **where)
    except is_boto3_error_code("BucketAlreadyOwnedByYou"):
        pass  # the retry of a call whose answer was lost


def plan_present(
    bucket: s3_buckets.Bucket,
    exists: bool,
    tags: dict[str, str],
    encryption: tuple[str | None, str],
    params: dict[str, t.Any],
) -> aws_changes.Changes:
    changes, client = aws_changes.Changes(), bucket.client

    def put(operation: str, **settings: t.Any) -> t.Callable[[], t.Any]:
        return lambda: getattr(client, operation)(Bucket=bucket.name, aws_retry=True, **settings)

    changes.want("bucket", exists, True, lambda: create(bucket))
    # First of all the owner: from here on, an interrupted run is known as ours.
    changes.want(
        "tags",
        bucket.tags() if exists else {},
        tags,
        put("put_bucket_tagging", Tagging={"TagSet": ansible_dict_to_boto3_tag_list(tags)}),
    )
    changes.want(
        "public_access_block",
        bucket.public_access_block() if exists else None,
        s3_buckets.ALL_BLOCKED,
        put("put_public_access_block", PublicAccessBlockConfiguration=s3_buckets.ALL_BLOCKED),
    )
    changes.want(
        "object_ownership",
        bucket.object_ownership() if exists else None,
        "BucketOwnerEnforced",
        put("put_bucket_ownership_controls", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}),
    )
    sse = s3_buckets.encryption_by(encryption[1])
    changes.want("encryption", *encryption, put("put_bucket_encryption", ServerSideEncryptionConfiguration=sse))
    changes.want(
        "versioning",
        bucket.versioning() if exists else "Disabled",
        "Enabled",
        put("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"}),
    )
    policy = bucket.policy() if exists else None
    ours = [s3_buckets.tls_only_statement(bucket.arn), *s3_log_delivery.statements(params, bucket.arn, bucket.region)]
    wanted = s3_buckets.with_statements(policy, ours, s3_log_delivery.SIDS)
    changes.want("policy", policy, wanted, put("put_bucket_policy", Policy=json.dumps(wanted)))
    rules = bucket.lifecycle() if exists else []
    kept = s3_lifecycle.merged(rules, params)
    # AWS takes no configuration without rules.
    settled = {"LifecycleConfiguration": {"Rules": kept}} if kept else {}
    operation = "put_bucket_lifecycle_configuration" if kept else "delete_bucket_lifecycle"
    changes.want("lifecycle", rules, kept, put(operation, **settled))
    rules = bucket.cors() if exists else []
    kept = s3_cors.merged(rules, params["cors_origins"])
    settled = {"CORSConfiguration": {"CORSRules": kept}} if kept else {}
    changes.want("cors", rules, kept, put("put_bucket_cors" if kept else "delete_bucket_cors", **settled))
    return changes


def empty_and_delete(bucket: s3_buckets.Bucket) -> None:
    """Remove every version, delete marker and unfinished upload, 1,000 a call, then the bucket."""
    client = bucket.client
    # Not to be followed by markers: what is listed is deleted, so the first page is always the next one.
    while True:
        page = client.list_object_versions(Bucket=bucket.name, MaxKeys=1000, aws_retry=True)
        doomed = [
            {"Key": one["Key"], "VersionId": one["VersionId"]}
            for one in page.get("Versions", []) + page.get("DeleteMarkers", [])
        ]
        if not doomed:
            break
        answer = client.delete_objects(Bucket=bucket.name, Delete={"Objects": doomed, "Quiet": True}, aws_retry=True)
        for error in answer.get("Errors", []):
            raise ValueError(
                f"Bucket {bucket.name}: {error['Key']} cannot be deleted ({error['Code']});"
                " allow s3:DeleteObjectVersion, or lift what protects it"
            )
    try:
        client.delete_bucket(Bucket=bucket.name, aws_retry=True)
    except is_boto3_error_code(["NoSuchBucket", "404"]):
        pass


def check(name: str, params: dict[str, t.Any]) -> None:
    """ValueError for what AWS would refuse half way."""
    if params["kms_key"] and s3_log_delivery.ACCESS_LOGS in params["log_delivery"]:
        raise ValueError(
            f"kms_key = {params['kms_key']}: load balancers do not log to a bucket with a key of KMS; leave it empty"
        )
    fault = deployment_names.bucket_fault(name)
    if fault:
        raise ValueError(f"Bucket {name}: the name {fault}; give one that follows the S3 naming rules")
    s3_log_delivery.check(params)
    s3_lifecycle.check(params)
    s3_cors.check(params["cors_origins"])


def remedy(params: dict[str, t.Any]) -> str:
    if params["state"] == "absent":
        return "remove it by hand"
    if params["log_delivery"]:
        return "choose another name"
    return "to use it as it is set artifacts_create_bucket to false, or choose another name"


def run(module: AnsibleAWSModule) -> None:
    name, present = module.params["name"], module.params["state"] == "present"
    tags, owner_tags = (aws_changes.text_tags(module.params[option]) for option in ("tags", "owner_tags"))
    check(name, module.params)
    bucket = s3_buckets.Bucket(module.client("s3", retry_decorator=RETRY), name, module.region)
    exists = bucket.exists()
    if exists and not aws_changes.carries(found := bucket.tags_if_allowed(), owner_tags):
        if found or not bucket.is_empty() or not present:
            raise ValueError(aws_changes.not_ours(f"Bucket {name}", owner_tags, remedy(module.params)))
    kms_key = ""
    if present:
        before = bucket.encryption() if exists else None
        only_by_s3 = s3_log_delivery.ACCESS_LOGS in module.params["log_delivery"]
        keys = module.params["kms_key"], module.params["former_kms_key"]
        after = s3_buckets.encryption_after(before, *keys, only_by_s3)
        kms_key = after if after not in (s3_buckets.BY_S3, s3_buckets.BY_KMS) else ""
        changes = plan_present(bucket, exists, tags, (before, after), module.params)
    else:
        changes = aws_changes.Changes()
        changes.want("bucket", exists, False, lambda: empty_and_delete(bucket))
    if not module.check_mode:
        changes.apply()
    module.exit_json(
        changed=bool(changes), arn=bucket.arn if present else None, kms_key=kms_key, diff=changes.diff
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "log_delivery": {"type": "list", "elements": "str", "choices": ["access_logs", "flow_logs"], "default": []},
            "log_prefix": {"type": "str", "default": ""},
            "account_id": {"type": "str", "default": ""},
            "expire_days": {"type": "int", "default": 0},
            "abort_upload_days": {"type": "int", "default": 0},
            "noncurrent_days": {"type": "int", "default": 0},
            "transition_days": {"type": "int", "default": 0},
            "transition_class": {"type": "str", "default": "INTELLIGENT_TIERING"},
            "cors_origins": {"type": "list", "elements": "str", "default": []},
            "kms_key": {"type": "str", "default": "", "no_log": False},
            "former_kms_key": {"type": "str", "default": "", "no_log": False},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "s3", f"Bucket {module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
