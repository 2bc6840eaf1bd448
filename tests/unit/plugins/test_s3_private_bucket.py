# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bucket modules against an in-process AWS, and against answers that it does not give."""

from __future__ import annotations

import json
import typing as t

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import s3_buckets
from ansible_collections.mlops.mlflow_aws.plugins.modules import s3_private_bucket, s3_private_bucket_info

OWNER = {"owner": "us"}
WANTED = {"name": "web-artifacts", "owner_tags": OWNER, "tags": {**OWNER, "cost": 12}}
LONDON = {"LocationConstraint": "eu-west-2"}
KEY = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def s3(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        yield boto3.client("s3", region_name="eu-west-2")


class Answering:
    """A client of which some operations answer as told (an exception is raised)."""

    def __init__(self, client: t.Any, **answers: t.Any) -> None:
        self.client = client
        self.answers = answers

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool = False, **arguments: t.Any) -> t.Any:
            if operation not in self.answers:
                return getattr(self.client, operation)(**arguments)
            answer = self.answers[operation]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def refusal(code: str, **headers: str) -> ClientError:
    answer = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPHeaders": headers}}
    return ClientError(t.cast(t.Any, answer), "HeadBucket")


@pytest.fixture
def answering(s3: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    def use(**answers: t.Any) -> None:
        monkeypatch.setattr(AnsibleAWSModule, "client", lambda *_args, **_options: Answering(s3, **answers))

    return use


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-2", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_partition(region: str, partition: str) -> None:
    assert s3_buckets.Bucket(None, "b", region).arn == f"arn:{partition}:s3:::b"


def test_policy_keeps_other_statements() -> None:
    theirs = {"Sid": "Readers", "Effect": "Allow"}
    stale = {"Sid": s3_buckets.TLS_ONLY, "Effect": "Deny"}
    policy = {"Version": "2012-10-17", "Statement": [stale, theirs]}
    ours = [s3_buckets.tls_only_statement("arn:aws:s3:::b")]
    wanted = s3_buckets.with_statements(policy, ours)
    assert wanted["Statement"] == [theirs, *ours]
    assert policy["Statement"] == [stale, theirs]
    assert s3_buckets.with_statements(wanted, ours) == wanted
    assert s3_buckets.with_statements({**wanted, "Statement": [*ours, theirs]}, ours)["Statement"] == [*ours, theirs]
    assert s3_buckets.with_statements(wanted, [], [s3_buckets.TLS_ONLY])["Statement"] == [theirs]


def test_make_then_leave_alone_then_remove(s3: t.Any, run_module: t.Callable) -> None:
    check = run_module(s3_private_bucket, WANTED, check=True)
    assert check["changed"] and check["arn"] == "arn:aws:s3:::web-artifacts"
    assert s3.list_buckets()["Buckets"] == []
    made = run_module(s3_private_bucket, WANTED)
    assert made["changed"] and made["diff"]["after"]["versioning"] == "Enabled"
    tags = {one["Key"]: one["Value"] for one in s3.get_bucket_tagging(Bucket="web-artifacts")["TagSet"]}
    assert tags == {"owner": "us", "cost": "12"}
    again = run_module(s3_private_bucket, WANTED)
    assert not again["changed"] and again["diff"] == {"before": {}, "after": {}}
    info = run_module(s3_private_bucket_info, {"name": "web-artifacts", "owner_tags": OWNER})
    assert (info["exists"], info["owned"], info["region"]) == (True, True, "eu-west-2")
    assert info["versioning"] == "Enabled"

    s3.delete_bucket_policy(Bucket="web-artifacts")
    for content in (b"1", b"2"):
        s3.put_object(Bucket="web-artifacts", Key="a", Body=content)
    s3.delete_object(Bucket="web-artifacts", Key="a")
    doomed = {**WANTED, "state": "absent"}
    assert run_module(s3_private_bucket, doomed, check=True)["changed"]
    gone = run_module(s3_private_bucket, doomed)
    assert gone["changed"] and gone["arn"] is None
    assert not run_module(s3_private_bucket, doomed)["changed"]
    info = run_module(s3_private_bucket_info, {"name": "web-artifacts", "owner_tags": OWNER})
    assert (info["exists"], info["owned"], info["arn"]) == (False, False, None)
    missing = run_module(s3_private_bucket_info, {"name": "web-artifacts", "owner_tags": OWNER, "must_exist": True})
    assert missing["msg"].startswith("Bucket web-artifacts: there is no such bucket")


def test_without_location_in_us_east_1(s3: t.Any, run_module: t.Callable) -> None:
    assert run_module(s3_private_bucket, {**WANTED, "region": "us-east-1"})["changed"]
    assert s3.get_bucket_location(Bucket="web-artifacts")["LocationConstraint"] is None


def test_weakened_settings_are_restored(s3: t.Any, run_module: t.Callable) -> None:
    run_module(s3_private_bucket, WANTED)
    s3.delete_public_access_block(Bucket="web-artifacts")
    s3.delete_bucket_ownership_controls(Bucket="web-artifacts")
    s3.put_bucket_versioning(Bucket="web-artifacts", VersioningConfiguration={"Status": "Suspended"})
    changed = run_module(s3_private_bucket, WANTED)["diff"]["before"]
    assert changed == {"public_access_block": None, "object_ownership": None, "versioning": "Suspended"}


def test_stronger_encryption_is_left_alone(s3: t.Any, run_module: t.Callable) -> None:
    run_module(s3_private_bucket, WANTED)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket="web-artifacts", ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert not run_module(s3_private_bucket, WANTED)["changed"]


def test_a_key_of_kms_comes_and_goes(s3: t.Any, run_module: t.Callable) -> None:
    sealed = {**WANTED, "kms_key": KEY}
    made = run_module(s3_private_bucket, sealed)
    assert made["changed"] and made["kms_key"] == KEY and made["diff"]["after"]["encryption"] == KEY
    rule = s3.get_bucket_encryption(Bucket="web-artifacts")["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert rule["BucketKeyEnabled"] and not run_module(s3_private_bucket, sealed)["changed"]
    look = {"name": "web-artifacts", "owner_tags": OWNER}
    assert run_module(s3_private_bucket_info, look)["kms_key"] == KEY
    # Not asked for any more it stays, unless it is to go.
    kept = run_module(s3_private_bucket, WANTED)
    assert not kept["changed"] and kept["kms_key"] == KEY
    back = run_module(s3_private_bucket, {**WANTED, "former_kms_key": KEY})
    assert back["diff"] == {"before": {"encryption": KEY}, "after": {"encryption": "AES256"}} and back["kms_key"] == ""
    assert run_module(s3_private_bucket_info, look)["kms_key"] == ""
    refused = run_module(s3_private_bucket, {**sealed, "log_delivery": ["access_logs"], "account_id": "123456789012"})
    assert refused["failed"] and "load balancers do not log to a bucket with a key of KMS" in refused["msg"]


def test_a_key_that_may_not_be_asked_for_is_none(s3: t.Any, answering: t.Callable, run_module: t.Callable) -> None:
    run_module(s3_private_bucket, {**WANTED, "kms_key": KEY})
    answering(get_bucket_encryption=refusal("AccessDenied"), get_bucket_versioning=refusal("AccessDenied"))
    found = run_module(s3_private_bucket_info, {"name": "web-artifacts", "owner_tags": OWNER})
    assert (found["kms_key"], found["versioning"]) == ("", None)


def test_what_an_interrupted_run_leaves_is_taken_up(s3: t.Any, run_module: t.Callable) -> None:
    s3.create_bucket(Bucket="web-artifacts", CreateBucketConfiguration=LONDON)
    assert run_module(s3_private_bucket, WANTED)["changed"]
    assert not run_module(s3_private_bucket, WANTED)["changed"]


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("content", ["tags", "object"])
def test_foreign_bucket_is_refused(s3: t.Any, run_module: t.Callable, state: str, content: str) -> None:
    s3.create_bucket(Bucket="web-artifacts", CreateBucketConfiguration=LONDON)
    if content == "tags":
        s3.put_bucket_tagging(Bucket="web-artifacts", Tagging={"TagSet": [{"Key": "owner", "Value": "them"}]})
    else:
        s3.put_object(Bucket="web-artifacts", Key="a", Body=b"1")
    refused = run_module(s3_private_bucket, {**WANTED, "state": state})
    assert refused["msg"].startswith("Bucket web-artifacts: it exists but does not carry the tags owner=us")
    s3.head_bucket(Bucket="web-artifacts")


def test_empty_untagged_bucket_is_not_removed(s3: t.Any, run_module: t.Callable) -> None:
    s3.create_bucket(Bucket="web-artifacts", CreateBucketConfiguration=LONDON)
    assert run_module(s3_private_bucket, {**WANTED, "state": "absent"})["failed"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusal("403"), "not accessible to these credentials"),
        (refusal("301", **{"x-amz-bucket-region": "us-east-2"}), "it is in us-east-2, the deployment is in eu-west-2"),
        (refusal("301"), "it is in another region"),
        ({"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "us-east-2"}}}, "it is in us-east-2"),
        (refusal("AccessDenied"), "s3:HeadBucket is denied"),
        (EndpointConnectionError(endpoint_url="http://s3"), "AWS endpoint"),
    ],
)
@pytest.mark.parametrize("module", [s3_private_bucket, s3_private_bucket_info])
def test_unusable_bucket(
    answering: t.Callable, run_module: t.Callable, module: t.Any, answer: t.Any, message: str
) -> None:
    answering(head_bucket=answer)
    options = {key: WANTED[key] for key in ("name", "owner_tags")}
    refused = run_module(module, options)
    assert refused["failed"] and message in refused["msg"] and "\n" not in refused["msg"]


def test_tags_that_may_not_be_read_are_not_ours(s3: t.Any, answering: t.Callable, run_module: t.Callable) -> None:
    s3.create_bucket(Bucket="web-artifacts", CreateBucketConfiguration=LONDON)
    answering(get_bucket_tagging=refusal("AccessDenied"))
    info = run_module(s3_private_bucket_info, {"name": "web-artifacts", "owner_tags": OWNER})
    assert (info["exists"], info["owned"]) == (True, False)


def test_lost_answers_do_no_harm(s3: t.Any, answering: t.Callable, run_module: t.Callable) -> None:
    s3.create_bucket(Bucket="web-artifacts", CreateBucketConfiguration=LONDON)
    answering(head_bucket=refusal("404"), create_bucket=refusal("BucketAlreadyOwnedByYou"))
    assert run_module(s3_private_bucket, WANTED)["changed"]
    answering(delete_bucket=refusal("NoSuchBucket"))
    assert run_module(s3_private_bucket, {**WANTED, "state": "absent"})["changed"]


def test_locked_object_is_named(s3: t.Any, answering: t.Callable, run_module: t.Callable) -> None:
    run_module(s3_private_bucket, WANTED)
    s3.delete_bucket_policy(Bucket="web-artifacts")
    s3.put_object(Bucket="web-artifacts", Key="a", Body=b"1")
    answering(delete_objects={"Errors": [{"Key": "a", "Code": "AccessDenied"}]})
    refused = run_module(s3_private_bucket, {**WANTED, "state": "absent"})
    assert refused["msg"].startswith("Bucket web-artifacts: a cannot be deleted (AccessDenied)")
    assert json.dumps(refused)
