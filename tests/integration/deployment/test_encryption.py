# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment with a KMS key of its own: what it encrypts, and when the key stays and goes."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.integration.deployment.conftest import LIVE, Deployment

pytestmark = pytest.mark.long
NAME = "mlflow-demo"
SEALED = {
    "mlflow_encryption": True,
    "monitoring_subscriptions": [{"protocol": "email", "endpoint": "ops@example.com"}],
    "rds_log_exports": ["postgresql"],
    "access_users": [{"name": "ada"}],
}
PARTS = ["secrets", "logs", "artifacts", "alarms"]


def keys_of(deployment: Deployment) -> dict[str, str | None]:
    """The key that each part is encrypted with; None for one of AWS's."""
    logs, sns = deployment.client("logs"), deployment.client("sns")
    secrets = deployment.client("secretsmanager").list_secrets()["SecretList"]
    found = {one["Name"].removeprefix(f"{NAME}/"): one.get("KmsKeyId") for one in secrets}
    for group in logs.describe_log_groups(logGroupNamePrefix="/")["logGroups"]:
        found[group["logGroupName"]] = group.get("kmsKeyId")
    for topic in sns.list_topics()["Topics"]:
        found["alarms"] = sns.get_topic_attributes(TopicArn=topic["TopicArn"])["Attributes"].get("KmsMasterKeyId") or None
    bucket = deployment.outputs()["bucket"]
    rule = deployment.client("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    found["artifacts"] = rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID")
    (database,) = deployment.client("rds").describe_db_instances()["DBInstances"]
    found["database"] = database["KmsKeyId"]
    return found


def play(deployment: Deployment, playbook: str, *options: str, **variables: t.Any) -> str:
    deployment.variables = {**LIVE, **variables}
    done = deployment.play(playbook, *options)
    assert done.returncode == 0, done.stdout[-6000:]
    return " ".join(done.stdout.split())


def refused(deployment: Deployment, **variables: t.Any) -> str:
    """What a run says that must write nothing."""
    deployment.variables, calls = {**LIVE, **variables}, len(deployment.aws.api_calls())
    run = deployment.play("site")
    assert run.returncode != 0 and deployment.aws.writes(calls) == [], run.stdout[-4000:]
    return " ".join(run.stdout.split())


def unchanged(deployment: Deployment, changed: t.Callable, **variables: t.Any) -> None:
    deployment.variables, calls = {**LIVE, **variables}, len(deployment.aws.api_calls())
    run = deployment.play("site")
    assert (run.returncode, changed(run), deployment.aws.writes(calls)) == (0, 0, []), run.stdout[-4000:]


def test_everything_is_encrypted_with_the_key_from_the_first_run_to_the_last(
    local_aws_factory: t.Callable, tmp_path: t.Any, changed: t.Callable
) -> None:
    with local_aws_factory() as aws:
        deployment = Deployment(aws, "local", NAME, tmp_path)
        play(deployment, "site", **SEALED)
        kms, s3 = deployment.client("kms"), deployment.client("s3")
        key = kms.describe_key(KeyId=f"alias/{NAME}")["KeyMetadata"]["Arn"]
        found = keys_of(deployment)
        assert set(found.values()) == {key} and {"admin", "users/ada", f"/ecs/{NAME}", "alarms"} <= set(found), found
        # The verification has put an artifact there by way of a task.
        versions = s3.list_object_versions(Bucket=deployment.outputs()["bucket"])["Versions"]
        at = {"Bucket": deployment.outputs()["bucket"], "Key": versions[0]["Key"], "VersionId": versions[0]["VersionId"]}
        assert s3.get_object(**at)["SSEKMSKeyId"] == key
        unchanged(deployment, changed, **SEALED)
        said = refused(deployment, **{**SEALED, "mlflow_encryption": False})
        assert f"it is encrypted with {key}, and RDS cannot change that, so the key cannot go" in said, said[-3000:]

        confirmed = {**SEALED, "confirm_destroy": NAME, "rds_delete_protected": True, "rds_final_snapshot": True}
        said = play(deployment, "destroy", **confirmed)
        assert f"The KMS key {key} is kept" in said and "the snapshot" in said and "the bucket" in said, said[-3000:]
        for snapshot in deployment.client("rds").describe_db_snapshots()["DBSnapshots"]:
            assert snapshot["KmsKeyId"] == key
            deployment.client("rds").delete_db_snapshot(DBSnapshotIdentifier=snapshot["DBSnapshotIdentifier"])
        play(deployment, "destroy", **{**confirmed, "artifacts_delete_bucket": True})
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_a_live_deployment_takes_the_key_for_all_but_the_database_and_gives_it_back(
    local_aws_factory: t.Callable, tmp_path: t.Any, changed: t.Callable
) -> None:
    with local_aws_factory() as aws:
        deployment = Deployment(aws, "local", NAME, tmp_path)
        before = {name: value for name, value in SEALED.items() if name != "mlflow_encryption"}
        play(deployment, "site", **before)
        plain = keys_of(deployment)
        assert "leave the database out of encryption_parts" in refused(deployment, **SEALED)
        parts = {**SEALED, "encryption_parts": PARTS}
        play(deployment, "site", **parts)
        key = deployment.client("kms").describe_key(KeyId=f"alias/{NAME}")["KeyMetadata"]["Arn"]
        found = keys_of(deployment)
        assert found.pop("database") == plain["database"] and set(found.values()) == {key}, json.dumps(found)
        unchanged(deployment, changed, **parts)
        said = play(deployment, "site", **before)
        assert f"The KMS key {key} is kept" in said and keys_of(deployment) == plain, said[-3000:]
        unchanged(deployment, changed, **before)
