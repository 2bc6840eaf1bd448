# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One S3 bucket as it is, read setting by setting, and what makes it private."""

from __future__ import annotations

import copy
import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict

TLS_ONLY = "DenyInsecureTransport"
ALL_BLOCKED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
# What encryption with keys of S3 and with keys of KMS is called; "aws:kms" alone is with AWS's own key of KMS.
BY_S3, BY_KMS = "AES256", "aws:kms"
NOTHING_SET = {
    "NoSuchTagSet",
    "NoSuchBucketPolicy",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchLifecycleConfiguration",
    "NoSuchCORSConfiguration",
}


def partition_of(region: str) -> str:
    """The ARN partition of a region."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def tls_only_statement(arn: str) -> dict:
    return {
        "Sid": TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def encryption_after(before: str | None, kms_key: str, former_kms_key: str, only_by_s3: bool) -> str:
    """What new objects are to be encrypted with, as Bucket.encryption() tells it."""
    if kms_key:
        return kms_key
    # A key of KMS that someone chose is no worse, but load balancers do not write with it.
    if before is None or only_by_s3 or before == former_kms_key:
        return BY_S3
    return before


def encryption_by(what: str) -> dict:
    """The configuration that encrypts with this."""
    if what == BY_S3:
        return {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": BY_S3}}]}
    by_key = {"SSEAlgorithm": BY_KMS, "KMSMasterKeyID": what}
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": by_key, "BucketKeyEnabled": True}]}


def with_statements(policy: dict | None, statements: list[dict], sids: t.Collection[str] = ()) -> dict:
    """The bucket policy with our statements in it, and no other called by their or these names.

    Statements of others stay as they are.
    """
    sids = {*sids, *(one["Sid"] for one in statements)}
    wanted = copy.deepcopy(policy) if policy else {"Version": "2012-10-17", "Statement": []}
    others = [one for one in wanted["Statement"] if one.get("Sid") not in sids]
    ours = [one for one in wanted["Statement"] if one.get("Sid") in sids]
    if len(ours) != len(statements) or any(one not in ours for one in statements):
        wanted["Statement"] = others + statements
    return wanted


class Bucket:
    """A bucket's name, the client of its region, and its settings as the API has them. Reads only."""

    def __init__(self, client: t.Any, name: str, region: str) -> None:
        self.client = client
        self.name = name
        self.region = region
        self.arn = f"arn:{partition_of(region)}:s3:::{name}"

    def exists(self) -> bool:
        """ValueError when it is there but not for us, or in another region."""
        try:
            answer = self.client.head_bucket(Bucket=self.name, aws_retry=True)
        except is_boto3_error_code("404"):
            return False
        except is_boto3_error_code("403"):
            raise ValueError(
                f"Bucket {self.name}: it exists but is not accessible to these credentials (HeadBucket answers 403);"
                " use a bucket of this account, or allow s3:ListBucket on it"
            ) from None
        except is_boto3_error_code("301") as moved:
            region = moved.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "another region")
            self._refuse_region(region)
        else:
            region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", self.region)
            if region != self.region:
                self._refuse_region(region)
        return True

    def _refuse_region(self, region: str) -> None:
        raise ValueError(
            f"Bucket {self.name}: it is in {region}, the deployment is in {self.region};"
            f" use a bucket in {self.region}, or deploy to {region}"
        )

    def _read(self, operation: str, key: str) -> t.Any:
        try:
            return getattr(self.client, operation)(Bucket=self.name, aws_retry=True).get(key)
        except is_boto3_error_code(list(NOTHING_SET)):
            return None

    def tags(self) -> dict[str, str]:
        return boto3_tag_list_to_ansible_dict(self._read("get_bucket_tagging", "TagSet") or [])

    def tags_if_allowed(self) -> dict[str, str]:
        """Tags, none if we may not read them: then the bucket is not ours."""
        try:
            return self.tags()
        except is_boto3_error_code("AccessDenied"):
            return {}

    def versioning(self) -> str:
        return self._read("get_bucket_versioning", "Status") or "Disabled"

    def versioning_if_allowed(self) -> str | None:
        """Enabled, Suspended or Disabled; None if we may not ask."""
        try:
            return self.versioning()
        except is_boto3_error_code("AccessDenied"):
            return None

    def encryption(self) -> str | None:
        """What new objects are encrypted with: a key of KMS, or the algorithm where it is a key of AWS's."""
        rules = (self._read("get_bucket_encryption", "ServerSideEncryptionConfiguration") or {}).get("Rules", [])
        default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
        return default.get("KMSMasterKeyID") or default.get("SSEAlgorithm")

    def kms_key_if_allowed(self) -> str:
        """The key of KMS that new objects are encrypted with; empty for none, and if we may not ask."""
        try:
            what = self.encryption()
        except is_boto3_error_code("AccessDenied"):
            return ""
        return what if what not in (None, BY_S3, BY_KMS) else ""

    def public_access_block(self) -> dict | None:
        return self._read("get_public_access_block", "PublicAccessBlockConfiguration")

    def object_ownership(self) -> str | None:
        controls = self._read("get_bucket_ownership_controls", "OwnershipControls")
        return controls["Rules"][0]["ObjectOwnership"] if controls else None

    def policy(self) -> dict | None:
        text = self._read("get_bucket_policy", "Policy")
        return json.loads(text) if text else None

    def lifecycle(self) -> list[dict]:
        return self._read("get_bucket_lifecycle_configuration", "Rules") or []

    def cors(self) -> list[dict]:
        return self._read("get_bucket_cors", "CORSRules") or []

    def cors_if_allowed(self) -> list[dict] | None:
        """Rules, None if we may not read them."""
        try:
            return self.cors()
        except is_boto3_error_code("AccessDenied"):
            return None

    def is_empty(self) -> bool:
        answer = self.client.list_object_versions(Bucket=self.name, MaxKeys=1, aws_retry=True)
        return not answer.get("Versions") and not answer.get("DeleteMarkers")
