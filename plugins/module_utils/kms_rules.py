# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A KMS key of a deployment: who may use it, which key may be used, and what still needs it. Talks to nobody."""

from __future__ import annotations

import re
import typing as t

# EnableKeyRotation, RotationPeriodInDays; ScheduleKeyDeletion, PendingWindowInDays
ROTATION_DAYS = (90, 2560)
DELETION_DAYS = (7, 30)
KEY_ARN = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):(\d{12}):key/[A-Za-z0-9-]+")
# A key may outlive its deployment because of a bucket: it carries a tag for each that it encrypts.
BUCKET_TAG = "mlflow-encrypts/"
# Stands in check mode for the key that a run would make.
UNMADE = "00000000-0000-0000-0000-000000000000"

ADMINISTRATION = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
USE = (
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
# Through these, and not directly, the principals of the account use the key.
THROUGH = ("rds", "s3", "secretsmanager")


def problem(params: dict[str, t.Any]) -> str | None:
    """Why the key cannot be as it is asked for, in one line; None if it can."""
    for option, (least, most), what in (
        ("rotation_days", ROTATION_DAYS, "KMS rotates a key after"),
        ("deletion_window_days", DELETION_DAYS, "KMS deletes a key after"),
    ):
        if not least <= params[option] <= most:
            return f"{option} = {params[option]}: {what} {least} to {most} days; give a number between them"
    return None


def key_arn(partition: str, region: str, account: str, key_id: str) -> str:
    return f"arn:{partition}:kms:{region}:{account}:key/{key_id}"


def policy(partition: str, region: str, account: str, log_groups: list[str], publishers: list[str]) -> dict[str, t.Any]:
    """The key policy: the account administers it and uses it through services, the log and alarm services use it for us.

    Root stands for the account: its IAM policies say who. https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html
    """
    root = {"AWS": f"arn:{partition}:iam::{account}:root"}
    through = [f"{service}.{region}.amazonaws.com" for service in THROUGH]
    ours = {"kms:CallerAccount": account, "kms:ViaService": through}
    statements = [
        _allow("Administration", root, ADMINISTRATION),
        _allow("UseThroughServices", root, USE, {"StringEquals": ours}),
        # RDS keeps using the key by itself, by a grant.
        _allow(
            "GrantToDatabase",
            root,
            ("kms:CreateGrant",),
            {
                "StringEquals": {**ours, "kms:ViaService": [f"rds.{region}.amazonaws.com"]},
                "Bool": {"kms:GrantIsForAWSResource": "true"},
            },
        ),
        # So does ECR, for as long as a repository exists: https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
        _allow(
            "GrantToRegistry",
            root,
            ("kms:CreateGrant", "kms:RetireGrant"),
            {"StringEquals": {**ours, "kms:ViaService": [f"ecr.{region}.amazonaws.com"]}},
        ),
    ]
    if log_groups:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        arns = [f"arn:{partition}:logs:{region}:{account}:log-group:{name}" for name in sorted(log_groups)]
        statements.append(
            _allow(
                "Logs",
                {"Service": f"logs.{region}.amazonaws.com"},
                ("kms:DescribeKey", *USE),
                {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": arns}},
            )
        )
    if publishers:
        # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
        statements.append(
            _allow(
                "Alarms",
                {"Service": sorted(publishers)},
                ("kms:Decrypt", "kms:GenerateDataKey"),
                {"StringEquals": {"aws:SourceAccount": account}},
            )
        )
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(
    sid: str, principal: dict[str, t.Any], actions: t.Iterable[str], condition: dict[str, t.Any] | None = None
) -> dict[str, t.Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": sorted(actions), "Resource": "*"}
    return {**statement, "Condition": condition} if condition else statement


def arn_problem(arn: str, partition: str, region: str, account: str) -> str | None:
    """Why a key of this ARN cannot be the deployment's, as far as the ARN tells."""
    found = KEY_ARN.fullmatch(arn)
    if not found:
        return f"key_arn = {arn}: it is not the ARN of a KMS key; give one like {key_arn(partition, region, account, '<ID>')}"
    if found[1] != partition or found[2] != region:
        return (
            f"key_arn = {arn}: the key is in {found[2]} ({found[1]}), the deployment is in {region} ({partition}); "
            f"give a key of {region}"
        )
    return None


def metadata_problem(arn: str, metadata: dict[str, t.Any] | None) -> str | None:
    """Why a key that KMS describes so cannot encrypt the deployment."""
    if metadata is None:
        return f"key_arn = {arn}: there is no such key; correct the ARN"
    if metadata["KeyManager"] != "CUSTOMER":
        return f"key_arn = {arn}: it is a key of AWS's, whose policy nobody can change; give a key of your own"
    if metadata["KeySpec"] != "SYMMETRIC_DEFAULT" or metadata["KeyUsage"] != "ENCRYPT_DECRYPT":
        kind = f"{metadata['KeySpec']} for {metadata['KeyUsage']}"
        return f"key_arn = {arn}: it is {kind}; give a symmetric key for encryption (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)"
    if metadata["KeyState"] != "Enabled":
        return f"key_arn = {arn}: the key is {metadata['KeyState']}, so that nothing can be encrypted; enable it, or give another"
    return None


def summary(metadata: dict[str, t.Any] | None, own: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """What others need to know about the key in use and the deployment's own; every value null where there is none."""
    metadata, when = metadata or {}, (metadata or {}).get("DeletionDate")
    return {
        "key_arn": metadata.get("Arn"),
        "own_key_arn": own["Arn"] if own else None,
        "state": metadata.get("KeyState"),
        "deletion_date": when.isoformat() if when else None,
    }


def buckets(tags: dict[str, str]) -> list[str]:
    """Names of the buckets that the key with these tags encrypts, or has encrypted."""
    return sorted(key.removeprefix(BUCKET_TAG) for key in tags if key.startswith(BUCKET_TAG))


def wanted_tags(current: dict[str, str], tags: dict[str, str], bucket: str) -> dict[str, str]:
    """The tags of the key; what it has once encrypted stays on it."""
    kept = {key: value for key, value in current.items() if key.startswith(BUCKET_TAG)}
    return {**kept, **tags, **({BUCKET_TAG + bucket: "artifacts"} if bucket else {})}
