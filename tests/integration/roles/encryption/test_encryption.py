# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role encryption on a local AWS: the life of a key, and of what is encrypted with it."""

from __future__ import annotations

import typing as t

import pytest

NAME = "sealed"
BUCKET = "sealed-artifacts"
KEY = {
    "encryption_name": NAME, "encryption_log_groups": [f"/ecs/{NAME}"], "encryption_bucket": BUCKET,
    "encryption_tags": {"team": "a"},
}  # fmt: skip


@pytest.mark.long
def test_life_of_a_key_and_of_what_it_encrypts(run_role: t.Callable, local_aws: t.Any) -> None:
    kms, s3, secretsmanager = (local_aws.client(one) for one in ("kms", "s3", "secretsmanager"))
    secrets = {"secrets_name": NAME}
    bucket = {"artifacts_name": NAME, "artifacts_bucket": BUCKET, "artifacts_create_bucket": True}
    assert run_role("secrets", secrets).rc == 0
    check = run_role("encryption", KEY, ("check", "main"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    made = run_role("encryption", KEY, ("check", "main"))
    assert (made.rc, made.changed) == (0, 1), made.stdout
    assert made.writes == ["kms:CreateKey", "kms:EnableKeyRotation", "kms:CreateAlias"]
    for checking in (True, False):
        again = run_role("encryption", KEY, check=checking)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == made.outputs
    assert run_role("encryption", {"encryption_name": NAME}, "info").outputs == made.outputs
    key = made.outputs["key_arn"]

    # Secrets that exist are encrypted anew; a bucket is made with the key.
    sealed = {**secrets, "secrets_kms_key": key}
    predicted, moved = run_role("secrets", sealed, check=True), run_role("secrets", sealed)
    assert predicted.changed == moved.changed == 1 and predicted.writes == []
    assert moved.writes == ["secretsmanager:UpdateSecret"] * 3, moved.stdout
    assert secretsmanager.describe_secret(SecretId=f"{NAME}/admin")["KmsKeyId"] == key
    assert run_role("secrets", sealed).writes == []
    bucket["artifacts_kms_key"] = key
    assert run_role("artifacts", bucket).outputs["kms_key"] == key
    assert run_role("artifacts", bucket).writes == []
    rule = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    assert rule["BucketKeyEnabled"]
    s3.put_object(Bucket=BUCKET, Key="model", Body=b"model")
    stored = s3.get_object(Bucket=BUCKET, Key="model")
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", key)

    # The bucket keeps the key. Where it is not to be used any more, both go back to AWS's own.
    kept = run_role("encryption", {"encryption_name": NAME}, "absent")
    assert (kept.rc, kept.changed, kept.writes) == (0, 0, []) and kept.outputs["needed_by"] == [f"the bucket {BUCKET}"]
    assert f"the bucket {BUCKET} could not be read without it" in " ".join(kept.stdout.split()), kept.stdout
    assert run_role("secrets", secrets).writes == ["secretsmanager:UpdateSecret"] * 3
    assert "KmsKeyId" not in secretsmanager.describe_secret(SecretId=f"{NAME}/admin")
    back = run_role("artifacts", {**bucket, "artifacts_kms_key": "", "artifacts_former_kms_key": key})
    assert back.writes == ["s3:PutBucketEncryption"] and back.outputs["kms_key"] is None, back.stdout

    # Without it, the key goes, and comes back as it was.
    doomed = {"artifacts_name": NAME, "artifacts_bucket": BUCKET, "artifacts_delete_bucket": True}
    assert run_role("artifacts", doomed, "absent").rc == 0
    gone = run_role("encryption", {"encryption_name": NAME, "encryption_deletion_window_days": 7}, "absent")
    assert gone.writes == ["kms:ScheduleKeyDeletion"] and gone.outputs["state"] == "PendingDeletion", gone.stdout
    assert run_role("encryption", {"encryption_name": NAME}, "absent").writes == []
    recovered = run_role("encryption", KEY)
    assert recovered.writes[:2] == ["kms:CancelKeyDeletion", "kms:EnableKey"], recovered.stdout
    assert recovered.outputs == made.outputs and kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_bad_input_and_keys_that_cannot_be_used(run_role: t.Callable, local_aws: t.Any) -> None:
    kms = local_aws.client("kms")
    given = kms.create_key()["KeyMetadata"]["Arn"]
    asymmetric = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    used = run_role("encryption", {"encryption_name": "given", "encryption_key_arn": given}, ("check", "main"))
    assert used.rc == 0 and used.writes == [], used.stdout
    assert (used.outputs["key_arn"], used.outputs["own_key_arn"]) == (given, None)
    kms.disable_key(KeyId=given)
    for variables, reason in (
        ({"encryption_rotation_days": 89}, "give a number between them"),
        ({"encryption_key_arn": given}, "enable it, or give another"),
        ({"encryption_key_arn": asymmetric}, "give a symmetric key"),
        ({"encryption_key_arn": given.replace("eu-west-2", "eu-west-1")}, "give a key of eu-west-2"),
    ):
        run = run_role("encryption", {"encryption_name": "bad", **variables}, "check")
        assert run.rc == 2 and run.writes == [] and reason in " ".join(run.stdout.split()), run.stdout
