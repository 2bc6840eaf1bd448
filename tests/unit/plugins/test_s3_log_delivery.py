# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets that services of AWS write logs to, decided and against an in-process AWS."""

from __future__ import annotations

import json
import typing as t

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import s3_lifecycle, s3_log_delivery
from ansible_collections.mlops.mlflow_aws.plugins.modules import s3_private_bucket

ACCOUNT = "123456789012"
OWNER = {"owner": "us"}
WANTED = {
    "name": "web-logs",
    "owner_tags": OWNER,
    "tags": OWNER,
    "log_delivery": ["access_logs", "flow_logs"],
    "account_id": ACCOUNT,
    "expire_days": 90,
}
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def s3(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        yield boto3.client("s3", region_name="eu-west-2")


def options(**changes: t.Any) -> dict[str, t.Any]:
    plain = {"log_delivery": ["access_logs", "flow_logs"], "account_id": ACCOUNT, "log_prefix": "", "expire_days": 1}
    return {**plain, **changes}


def test_each_service_writes_logs_of_this_account_only() -> None:
    access, flow, look = s3_log_delivery.statements(options(log_prefix="a/b"), "arn:aws-cn:s3:::logs", "cn-north-1")
    assert access["Principal"] == {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}
    assert access["Resource"] == flow["Resource"] == f"arn:aws-cn:s3:::logs/a/b/AWSLogs/{ACCOUNT}/*"
    assert (access["Action"], flow["Action"], look["Action"]) == ("s3:PutObject", "s3:PutObject", "s3:GetBucketAcl")
    assert flow["Principal"] == look["Principal"] == {"Service": "delivery.logs.amazonaws.com"}
    assert flow["Condition"]["StringEquals"]["aws:SourceAccount"] == ACCOUNT
    assert flow["Condition"]["ArnLike"] == look["Condition"]["ArnLike"]
    assert look["Condition"]["ArnLike"] == {"aws:SourceArn": f"arn:aws-cn:logs:cn-north-1:{ACCOUNT}:*"}
    assert {one["Sid"] for one in (access, flow, look)} == set(s3_log_delivery.SIDS)
    assert s3_log_delivery.statements(options(log_delivery=["access_logs"]), "arn:aws:s3:::logs", "eu-west-2") == [
        {**access, "Resource": f"arn:aws:s3:::logs/AWSLogs/{ACCOUNT}/*"}
    ]
    assert s3_log_delivery.statements(options(log_delivery=[]), "arn:aws:s3:::logs", "eu-west-2") == []


def kept(rules: list[dict], **days: int) -> list[dict]:
    return s3_lifecycle.merged(rules, {**dict.fromkeys(s3_lifecycle.RULES, 0), "transition_class": "STANDARD_IA", **days})


def test_lifecycle_rules_of_others_stay() -> None:
    theirs = {"ID": "theirs", "Status": "Disabled"}
    made = kept([theirs], expire_days=7)
    assert made[0] == theirs and made[1]["Expiration"] == {"Days": 7}
    assert kept(made, expire_days=7) == made
    told = [{**made[1], "Filter": {}}, theirs]
    assert kept(told, expire_days=7) == told
    narrowed = [{**made[1], "Filter": {"Prefix": "a"}}, theirs]
    assert kept(narrowed, expire_days=7) == made
    assert kept(made, expire_days=8)[1]["Expiration"] == {"Days": 8}
    assert kept(made) == [theirs] and kept([theirs]) == [theirs] and kept(kept([], expire_days=1)) == []


def test_uploads_and_old_versions_have_rules_of_their_own() -> None:
    both = kept([], abort_upload_days=7, noncurrent_days=30)
    assert [rule["ID"] for rule in both] == ["abort-uploads", "expire-noncurrent"]
    assert both[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7} and "Expiration" not in both[0]
    assert both[1]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert "Days" not in both[1]["Expiration"], "what is current must stay"
    assert kept(both, abort_upload_days=7) == both[:1]
    assert kept(both[::-1], abort_upload_days=7, noncurrent_days=30) == both[::-1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "Logs"}, "Bucket Logs: the name holds something other than lower-case letters"),
        ({"account_id": ""}, "account_id = '': it has not 12 digits"),
        ({"log_prefix": "/a"}, "log_prefix = '/a'"),
        ({"log_prefix": "a*"}, "log_prefix = 'a*'"),
        ({"log_prefix": "AWSLogs"}, "adds AWSLogs itself"),
        ({"expire_days": -1}, "expire_days = -1: it is no number of days"),
        ({"noncurrent_days": 2**31}, "noncurrent_days = 2147483648: it is no number of days"),
        ({"log_delivery": ["all"]}, "log_delivery"),
    ],
)
def test_bad_input_is_refused(s3: t.Any, run_module: t.Callable, wrong: dict, message: str) -> None:
    refused = run_module(s3_private_bucket, {**WANTED, **wrong})
    assert refused["failed"] and message in refused["msg"]
    assert s3.list_buckets()["Buckets"] == []


def test_log_bucket_is_made_left_alone_and_changed(s3: t.Any, run_module: t.Callable) -> None:
    assert run_module(s3_private_bucket, WANTED, check=True)["changed"]
    assert run_module(s3_private_bucket, WANTED)["changed"]
    again = run_module(s3_private_bucket, WANTED)
    assert not again["changed"] and again["diff"] == {"before": {}, "after": {}}
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket="web-logs", ServerSideEncryptionConfiguration={"Rules": [rule]})
    fewer = {**WANTED, "log_delivery": ["access_logs"], "expire_days": 30}
    changed = run_module(s3_private_bucket, fewer)
    assert set(changed["diff"]["after"]) == {"encryption", "policy", "lifecycle"}
    sids = [one["Sid"] for one in json.loads(s3.get_bucket_policy(Bucket="web-logs")["Policy"])["Statement"]]
    assert sids == ["DenyInsecureTransport", "AccessLogDelivery"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket="web-logs")["Rules"]
    assert [rule["Expiration"] for rule in rules] == [{"Days": 30}]
    forever = run_module(s3_private_bucket, {**fewer, "expire_days": 0})
    assert forever["changed"] and list(forever["diff"]["after"]) == ["lifecycle"]
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket="web-logs")


def test_what_is_not_ours_is_not_taken(s3: t.Any, run_module: t.Callable) -> None:
    s3.create_bucket(Bucket="web-logs", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    s3.put_object(Bucket="web-logs", Key="a", Body=b"1")
    refused = run_module(s3_private_bucket, WANTED)
    assert refused["msg"].endswith("so it is not ours to touch; choose another name")
