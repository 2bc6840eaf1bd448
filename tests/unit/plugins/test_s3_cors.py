# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CORS rule and the storage class of a bucket: set, compared, removed, and refused."""

from __future__ import annotations

import typing as t

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import s3_cors, s3_lifecycle
from ansible_collections.mlops.mlflow_aws.plugins.modules import s3_private_bucket, s3_private_bucket_info

OWNER = {"owner": "us"}
BUCKET = "web-artifacts"
WANTED = {"name": BUCKET, "owner_tags": OWNER, "tags": OWNER}
ORIGIN, OTHER = "https://mlflow.example.com", "http://127.0.0.1:8080"
THEIRS = {"ID": "theirs", "AllowedOrigins": ["https://*.example.org"], "AllowedMethods": ["GET"]}
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def s3(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        yield boto3.client("s3", region_name="eu-west-2")


def test_our_rule_comes_first_and_those_of_others_stay() -> None:
    ours = s3_cors.rule([OTHER, ORIGIN, ORIGIN])
    assert ours["AllowedOrigins"] == [OTHER, ORIGIN]
    assert s3_cors.merged([THEIRS], [OTHER, ORIGIN]) == [ours, THEIRS]
    assert s3_cors.merged([THEIRS, ours], [ORIGIN, OTHER]) == [THEIRS, ours]
    assert s3_cors.merged([THEIRS, ours], [ORIGIN]) == [s3_cors.rule([ORIGIN]), THEIRS]
    assert s3_cors.merged([THEIRS, ours], []) == [THEIRS]
    assert s3_cors.merged([], []) == []
    with pytest.raises(ValueError, match="100 CORS rules of others"):
        s3_cors.merged([THEIRS] * 100, [ORIGIN])


@pytest.mark.parametrize("origin", ["*", "https://*.example.com", "mlflow.example.com", "https://a/b", "https://", "ftp://a"])
def test_what_is_no_origin_is_refused(origin: str, run_module: t.Callable) -> None:
    result = run_module(s3_private_bucket, {**WANTED, "cors_origins": [origin]})
    assert result["failed"] and f"cors_origins = {origin}: it is no single origin" in result["msg"]


def test_set_then_left_alone_then_removed(s3: t.Any, run_module: t.Callable) -> None:
    asked = {**WANTED, "cors_origins": [ORIGIN]}
    assert "cors" in run_module(s3_private_bucket, asked, check=True)["diff"]["after"]
    assert run_module(s3_private_bucket, asked)["changed"]
    assert s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"] == [s3_cors.rule([ORIGIN])]
    assert not run_module(s3_private_bucket, asked)["changed"]
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [THEIRS, s3_cors.rule([OTHER])]})
    assert run_module(s3_private_bucket, asked)["diff"]["after"]["cors"] == [s3_cors.rule([ORIGIN]), THEIRS]
    assert run_module(s3_private_bucket, WANTED)["changed"]
    assert [one["ID"] for one in s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"]] == ["theirs"]
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [s3_cors.rule([OTHER])]})
    assert run_module(s3_private_bucket, WANTED, check=True)["changed"]
    assert run_module(s3_private_bucket, WANTED)["diff"] == {"before": {"cors": [s3_cors.rule([OTHER])]}, "after": {"cors": []}}
    with pytest.raises(ClientError, match="NoSuchCORSConfiguration"):
        s3.get_bucket_cors(Bucket=BUCKET)


def test_what_a_bucket_of_others_lacks_is_told(s3: t.Any, run_module: t.Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    asked = {"name": BUCKET, "owner_tags": OWNER, "cors_origins": [ORIGIN]}
    told = run_module(s3_private_bucket_info, asked)
    assert told["cors_missing"] == [ORIGIN]
    assert '"AllowedOrigins": ["https://mlflow.example.com"]' in str(told["warnings"]) and "no CORS rule lets them" in str(told["warnings"])
    reading = {**s3_cors.rule([ORIGIN]), "AllowedMethods": ["GET"]}
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [reading]})
    assert run_module(s3_private_bucket_info, asked)["cors_missing"] == [ORIGIN]
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [s3_cors.rule(["https://*.example.com"])]})
    assert run_module(s3_private_bucket_info, asked)["cors_missing"] == []
    assert run_module(s3_private_bucket_info, {**asked, "name": "no-such-bucket"})["cors_missing"] == []

    class Closed:
        """May not read the CORS rules."""

        def __getattr__(self, operation: str) -> t.Callable:
            def call(aws_retry: bool = False, **arguments: t.Any) -> t.Any:
                if operation == "get_bucket_cors":
                    raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetBucketCors")
                return getattr(s3, operation)(**arguments)

            return call

    monkeypatch.setattr(AnsibleAWSModule, "client", lambda *_args, **_options: Closed())
    unknown = run_module(s3_private_bucket_info, asked)
    assert unknown["cors_missing"] == [ORIGIN] and "allow s3:GetBucketCORS" in str(unknown["warnings"])


def test_artifacts_move_to_another_class(s3: t.Any, run_module: t.Callable) -> None:
    asked = {**WANTED, "transition_days": 90, "noncurrent_days": 30}
    assert run_module(s3_private_bucket, asked)["changed"]
    rules = {one["ID"]: one for one in s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]}
    assert rules["transition"]["Transitions"] == [{"Days": 90, "StorageClass": "INTELLIGENT_TIERING"}]
    assert not run_module(s3_private_bucket, asked)["changed"]
    other = {**asked, "transition_class": "GLACIER_IR"}
    assert run_module(s3_private_bucket, other, check=True)["changed"] and run_module(s3_private_bucket, other)["changed"]
    assert list(run_module(s3_private_bucket, WANTED)["diff"]["before"]) == ["lifecycle"]


@pytest.mark.parametrize(
    ("days", "name", "fault"),
    [
        (90, "GLACIER", "transition_class = GLACIER: its objects must be restored, for hours, before anybody can read them"),
        (90, "DEEP_ARCHIVE", "transition_class = DEEP_ARCHIVE: its objects must be restored"),
        (90, "REDUCED_REDUNDANCY", "is not a storage class to move objects to; choose one of INTELLIGENT_TIERING, STANDARD_IA"),
        (29, "STANDARD_IA", "transition_days = 29: S3 moves objects to STANDARD_IA after 30 days at the earliest"),
        (-1, "INTELLIGENT_TIERING", "transition_days = -1: it is no number of days"),
    ],
)
def test_a_class_that_nothing_can_be_read_from_is_refused(days: int, name: str, fault: str) -> None:
    given = {**dict.fromkeys(s3_lifecycle.RULES, 0), "transition_days": days, "transition_class": name}
    with pytest.raises(ValueError, match=fault):
        s3_lifecycle.check(given)


def test_a_class_may_wait_for_its_days() -> None:
    for days, name in ((0, "STANDARD_IA"), (30, "STANDARD_IA"), (1, "GLACIER_IR")):
        s3_lifecycle.check({**dict.fromkeys(s3_lifecycle.RULES, 0), "transition_days": days, "transition_class": name})
