# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the KMS key of a deployment, and what there is that needs it. Reads only."""

from __future__ import annotations

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import ansible_dict_to_boto3_tag_list
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import kms_rules


class Place(t.NamedTuple):
    """Where the caller is."""

    partition: str
    region: str
    account: str


def connect(module: t.Any, service: str = "kms") -> t.Any:
    return module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=8))


def place(module: t.Any) -> Place:
    caller = connect(module, "sts").get_caller_identity(aws_retry=True)
    return Place(caller["Arn"].split(":")[1], module.region, caller["Account"])


def describe(kms: t.Any, key: str) -> dict[str, t.Any] | None:
    """The metadata of a key by ID, ARN or alias; None if there is none."""
    try:
        return kms.describe_key(KeyId=key, aws_retry=True)["KeyMetadata"]
    except is_boto3_error_code("NotFoundException"):
        return None


def tags(kms: t.Any, key_id: str) -> dict[str, str]:
    pages = kms.get_paginator("list_resource_tags").paginate(KeyId=key_id)
    return {one["TagKey"]: one["TagValue"] for page in pages for one in page["Tags"]}


def tag_list(values: dict[str, str]) -> list[dict[str, str]]:
    return ansible_dict_to_boto3_tag_list(values, "TagKey", "TagValue")


def orphan(tagging: t.Any, kms: t.Any, owner_tags: dict[str, str]) -> dict[str, t.Any] | None:
    """A key that carries the owner's tags, for want of an alias to find it by: a run was interrupted before it had one."""
    filters = [{"Key": key, "Values": [value]} for key, value in sorted(owner_tags.items())]
    pages = tagging.get_paginator("get_resources").paginate(ResourceTypeFilters=["kms:key"], TagFilters=filters)
    arns = sorted(one["ResourceARN"] for page in pages for one in page["ResourceTagMappingList"])
    found = [metadata for arn in arns if (metadata := describe(kms, arn))]
    # Tags are some seconds behind: a key that is gone may still be told.
    return min(found, key=lambda one: one["KeyState"] != "Enabled", default=None)


def needed_by(rds: t.Any, s3: t.Any, key_arn: str, key_tags: dict[str, str]) -> list[str]:
    """What there is that could not be read any more without the key, for people."""
    found = [
        f"the database {one['DBInstanceIdentifier']}"
        for page in rds.get_paginator("describe_db_instances").paginate()
        for one in page["DBInstances"]
        if one.get("KmsKeyId") == key_arn
    ]
    # Automated ones go with their database, which counts itself; those of AWS Backup are told when they are asked for only.
    found += [
        f"the snapshot {one['DBSnapshotIdentifier']}"
        for kind in ("manual", "awsbackup")
        for page in rds.get_paginator("describe_db_snapshots").paginate(SnapshotType=kind)
        for one in page["DBSnapshots"]
        if one.get("KmsKeyId") == key_arn
    ]
    return found + [f"the bucket {name}" for name in kms_rules.buckets(key_tags) if _exists(s3, name)]


def _exists(s3: t.Any, bucket: str) -> bool:
    try:
        s3.head_bucket(Bucket=bucket, aws_retry=True)
    except is_boto3_error_code("404"):
        return False
    except is_boto3_error_code(["301", "403"]):
        pass  # it is there, though not for us to see
    return True
