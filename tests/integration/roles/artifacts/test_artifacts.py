# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role artifacts on a local AWS."""

from __future__ import annotations

import json
import time
import typing as t
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

LONDON = {"LocationConstraint": "eu-west-2"}


@pytest.fixture
def s3(local_aws: t.Any) -> t.Any:
    return local_aws.client("s3")


def lifecycle(s3: t.Any) -> dict[str, dict]:
    """What each rule of the bucket does, by its name."""
    rules = s3.get_bucket_lifecycle_configuration(Bucket="own-artifacts")["Rules"]
    return {
        rule["ID"]: {key: value for key, value in rule.items() if key not in ("ID", "Status", "Filter")} for rule in rules
    }


def test_own_bucket(run_role: t.Callable, s3: t.Any) -> None:
    variables = {
        "artifacts_name": "own",
        "artifacts_bucket": "own-artifacts",
        "artifacts_create_bucket": True,
        "artifacts_prefix": "/team//mlflow/",
        "artifacts_tags": {"team": "a"},
    }
    runs = [run_role("artifacts", variables, check=check) for check in (True, False, True, False)]
    assert [run.rc for run in runs] == [0] * 4, runs[1].stdout
    assert [run.changed for run in runs] == [1, 1, 0, 0], runs[3].stdout
    assert [bool(run.writes) for run in runs] == [False, True, False, False]
    assert runs[1].outputs == {
        "bucket": "own-artifacts",
        "bucket_arn": "arn:aws:s3:::own-artifacts",
        "prefix": "team/mlflow",
        "artifact_root": "s3://own-artifacts/team/mlflow",
        "kms_key": None,
        "versioning": "Enabled",
        "owned": True,
    }
    assert all(run.outputs == runs[1].outputs for run in runs)
    assert run_role("artifacts", variables, "info").outputs == runs[1].outputs

    assert s3.get_bucket_versioning(Bucket="own-artifacts")["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket="own-artifacts")["PublicAccessBlockConfiguration"].values())
    ownership = s3.get_bucket_ownership_controls(Bucket="own-artifacts")["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    rule = s3.get_bucket_encryption(Bucket="own-artifacts")["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    statement = json.loads(s3.get_bucket_policy(Bucket="own-artifacts")["Policy"])["Statement"][0]
    assert statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    assert lifecycle(s3) == {"abort-uploads": {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}}
    short = run_role("artifacts", {**variables, "artifacts_abort_upload_days": 0, "artifacts_noncurrent_days": 30})
    assert (short.rc, short.writes) == (0, ["s3:PutBucketLifecycleConfiguration"]), short.stdout
    assert lifecycle(s3)["expire-noncurrent"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    never = run_role("artifacts", {**variables, "artifacts_abort_upload_days": 0})
    assert (never.rc, never.writes) == (0, ["s3:DeleteBucketLifecycle"]), never.stdout

    for content in (b"one", b"two"):
        s3.put_object(Bucket="own-artifacts", Key="team/mlflow/model", Body=content)
    s3.delete_object(Bucket="own-artifacts", Key="team/mlflow/model")
    kept = run_role("artifacts", variables, "absent")
    assert (kept.rc, kept.changed, kept.writes) == (0, 0, [])
    doomed = {**variables, "artifacts_delete_bucket": True}
    gone = run_role("artifacts", doomed, "absent")
    assert (gone.rc, gone.changed) == (0, 1), gone.stdout
    again = run_role("artifacts", doomed, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])
    nothing = run_role("artifacts", variables, "info").outputs
    assert nothing == {**dict.fromkeys(("bucket", "bucket_arn", "prefix", "artifact_root", "kms_key", "versioning")), "owned": False}


ORIGIN = "https://mlflow.example.com"


def asked(url: str, method: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what a browser would get."""
    request = urllib.request.Request(url, method=method, data=body, headers={key.replace("_", "-"): one for key, one in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_scripts_of_our_pages_alone_use_signed_addresses(run_role: t.Callable, s3: t.Any) -> None:
    variables = {"artifacts_name": "cors", "artifacts_bucket": "cors-artifacts", "artifacts_create_bucket": True}
    on = {**variables, "artifacts_cors_origins": [ORIGIN], "artifacts_transition_days": 60, "artifacts_transition_class": "STANDARD_IA"}
    runs = [run_role("artifacts", on, check=check) for check in (True, False, True, False)]
    assert [run.changed for run in runs] == [1, 1, 0, 0], runs[3].stdout
    rules = s3.get_bucket_lifecycle_configuration(Bucket="cors-artifacts")["Rules"]
    assert [one.get("Transitions") for one in rules] == [None, [{"Days": 60, "StorageClass": "STANDARD_IA"}]]

    where = {"Bucket": "cors-artifacts", "Key": "model.bin"}
    put, get = (s3.generate_presigned_url(operation, Params=where, ExpiresIn=300) for operation in ("put_object", "get_object"))
    wants = {"Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "content-type"}
    status, headers, _body = asked(put, "OPTIONS", Origin=ORIGIN, **wants)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, ORIGIN) and "PUT" in headers["Access-Control-Allow-Methods"]
    status, headers, body = asked(put, "OPTIONS", Origin="https://evil.example.com", **wants)
    assert status == 403 and b"This CORS request is not allowed" in body and "Access-Control-Allow-Origin" not in headers
    status, headers, _body = asked(put, "PUT", b"weights", Origin=ORIGIN, Content_Type="application/octet-stream")
    assert (status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Expose-Headers"][:4]) == (200, ORIGIN, "ETag")
    status, headers, body = asked(get, "GET", Origin="https://evil.example.com")
    assert (status, body) == (200, b"weights") and "Access-Control-Allow-Origin" not in headers
    brief = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=1)
    time.sleep(2.5)
    status, _headers, body = asked(brief, "GET")
    assert status == 403 and b"Request has expired" in body

    off = run_role("artifacts", variables)
    assert (off.rc, sorted(off.writes)) == (0, ["s3:DeleteBucketCors", "s3:PutBucketLifecycleConfiguration"]), off.stdout
    status, _headers, body = asked(put, "OPTIONS", Origin=ORIGIN, **wants)
    assert status == 403 and b"CORS is not enabled for this bucket" in body
    asleep = run_role("artifacts", {**on, "artifacts_transition_class": "GLACIER"})
    assert asleep.rc == 2 and asleep.writes == [] and "its objects must be restored" in " ".join(asleep.stdout.split())


def test_what_an_existing_bucket_lacks_is_told_and_not_changed(run_role: t.Callable, s3: t.Any) -> None:
    s3.create_bucket(Bucket="told-artifacts", CreateBucketConfiguration=LONDON)
    variables = {"artifacts_name": "told", "artifacts_bucket": "told-artifacts", "artifacts_cors_origins": [ORIGIN]}
    run = run_role("artifacts", variables)
    assert (run.rc, run.changed, run.writes) == (0, 0, []), run.stdout
    assert f"scripts of pages at {ORIGIN} cannot use signed addresses" in " ".join(run.stdout.split())


def test_drift_is_mended_and_other_statements_are_kept(run_role: t.Callable, s3: t.Any) -> None:
    variables = {"artifacts_name": "drift", "artifacts_bucket": "drift-artifacts", "artifacts_create_bucket": True}
    assert run_role("artifacts", variables).rc == 0
    theirs = {
        "Sid": "Readers",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutBucketAcl",
        "Resource": "arn:aws:s3:::drift-artifacts",
    }
    s3.put_bucket_policy(Bucket="drift-artifacts", Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]}))
    s3.put_bucket_versioning(Bucket="drift-artifacts", VersioningConfiguration={"Status": "Suspended"})
    run = run_role("artifacts", variables)
    assert sorted(run.writes) == ["s3:PutBucketPolicy", "s3:PutBucketVersioning"], run.stdout
    statements = json.loads(s3.get_bucket_policy(Bucket="drift-artifacts")["Policy"])["Statement"]
    assert [one["Sid"] for one in statements] == ["Readers", "DenyInsecureTransport"]


def test_existing_bucket_is_only_looked_at(run_role: t.Callable, s3: t.Any) -> None:
    s3.create_bucket(Bucket="given-artifacts", CreateBucketConfiguration=LONDON)
    variables = {"artifacts_name": "given", "artifacts_bucket": "given-artifacts"}
    run = run_role("artifacts", variables)
    assert (run.rc, run.changed, run.writes) == (0, 0, []), run.stdout
    assert run.outputs["owned"] is False and run.outputs["artifact_root"] == "s3://given-artifacts/mlflow-artifacts"
    refused = run_role("artifacts", {**variables, "artifacts_delete_bucket": True}, "absent")
    assert refused.rc == 2 and refused.writes == []
    assert "Bucket given-artifacts: it exists but does not carry the tags" in refused.stdout
    s3.put_bucket_tagging(Bucket="given-artifacts", Tagging={"TagSet": [{"Key": "owner", "Value": "others"}]})
    refused = run_role("artifacts", {**variables, "artifacts_create_bucket": True})
    assert refused.rc == 2 and refused.writes == []
    assert "to use it as it is set artifacts_create_bucket to false" in refused.stdout
    s3.head_bucket(Bucket="given-artifacts")


def test_bucket_of_an_interrupted_run_is_taken_up(run_role: t.Callable, s3: t.Any) -> None:
    s3.create_bucket(Bucket="half-artifacts", CreateBucketConfiguration=LONDON)
    variables = {"artifacts_name": "half", "artifacts_bucket": "half-artifacts", "artifacts_create_bucket": True}
    assert run_role("artifacts", variables).rc == 0
    assert run_role("artifacts", variables).changed == 0


def test_missing_bucket_is_refused(run_role: t.Callable, s3: t.Any) -> None:
    run = run_role("artifacts", {"artifacts_name": "none", "artifacts_bucket": "no-such-bucket-here"})
    assert run.rc == 2 and run.writes == []
    assert "Bucket no-such-bucket-here: there is no such bucket; create it" in run.stdout
    with pytest.raises(ClientError):
        s3.head_bucket(Bucket="no-such-bucket-here")
