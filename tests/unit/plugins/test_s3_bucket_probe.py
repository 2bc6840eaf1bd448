# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module s3_bucket_probe, against S3's answers and against an S3 that honours If-Match."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.modules import s3_bucket_probe

pytestmark = pytest.mark.usefixtures("aws_environment")
OPTIONS = {"bucket": "fraud-models-test", "prefix": "mlflow-artifacts", "region": "eu-west-2"}
HERE = {"x-amz-bucket-region": "eu-west-2"}


def refusal(status, code="", headers=None):
    response = {
        "Error": {"Code": code or str(status), "Message": "text"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return ClientError(response, "Call")


def success(headers=None):
    return {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": headers or {}}}


class S3:
    """Answers each operation with what it was given; records calls."""

    def __init__(self, **answers):
        self.answers = {
            "head_bucket": success(HERE),
            "list_objects_v2": success(),
            "put_object": refusal(404, "NoSuchKey"),
            "delete_object": success(),
            **answers,
        }
        self.calls = []

    def __getattr__(self, operation):
        def call(**arguments):
            self.calls.append((operation, arguments))
            answer = self.answers[operation]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def probe(s3, **options):
    found = s3_bucket_probe.Probe(
        s3,
        "eu-west-2",
        {**OPTIONS, "must_exist": True, "variable_names": {}, "variable_prefix": "preflight_", **options},
    )
    found.run()
    return found


@pytest.mark.parametrize("answer", [refusal(404, "NoSuchKey"), refusal(412, "PreconditionFailed")])
def test_a_usable_bucket(answer):
    s3 = S3(put_object=answer)
    found = probe(s3)
    assert found.found.problems == [] and found.exists and found.bucket_region == "eu-west-2"
    assert [name for name, _arguments in s3.calls] == ["head_bucket", "list_objects_v2", "put_object"]
    assert s3.calls[1][1] == {"Bucket": "fraud-models-test", "Prefix": "mlflow-artifacts/", "MaxKeys": 1}
    assert s3.calls[2][1]["IfMatch"] == s3_bucket_probe.NO_OBJECT_HAS_THIS_ETAG


CASES = [
    ({"head_bucket": refusal(404)}, {}, "there is no such bucket", "create it"),
    (
        {"head_bucket": refusal(301, headers={"x-amz-bucket-region": "us-west-2"})},
        {},
        "the bucket is in us-west-2",
        "deploy to us-west-2",
    ),
    (
        {"head_bucket": success({"x-amz-bucket-region": "us-west-2"})},
        {"must_exist": False},
        "the bucket is in us-west-2",
        "deploy to",
    ),
    ({"head_bucket": refusal(403, headers=HERE)}, {}, "not accessible", "s3:ListBucket"),
    ({"head_bucket": refusal(403, headers=HERE)}, {"must_exist": False}, "the name is taken", "choose another name"),
    ({"head_bucket": refusal(400)}, {}, "HeadBucket answers 400", "S3 console"),
    (
        {"list_objects_v2": refusal(403, "AccessDenied")},
        {},
        "listing s3://fraud-models-test/mlflow-artifacts/ is denied",
        "s3:ListBucket",
    ),
    (
        {"put_object": refusal(403, "AccessDenied")},
        {"prefix": ""},
        "writing to s3://fraud-models-test/ is denied",
        "s3:PutObject",
    ),
]


@pytest.mark.parametrize(("answers", "options", "reason", "remedy"), CASES)
def test_what_is_wrong_is_named(answers, options, reason, remedy):
    problems = probe(S3(**answers), **options).found.problems
    assert len(problems) == 1 and problems[0].startswith("preflight_bucket = 'fraud-models-test': ")
    assert reason in problems[0] and remedy in problems[0].split("; ", 1)[1]


def test_a_free_name_is_fine_when_the_bucket_will_be_created():
    s3 = S3(head_bucket=refusal(404))
    found = probe(s3, must_exist=False)
    assert found.found.problems == [] and not found.exists and len(s3.calls) == 1


@pytest.mark.parametrize(
    ("operation", "action"),
    [("head_bucket", "s3:HeadBucket"), ("list_objects_v2", "s3:ListObjectsV2"), ("put_object", "s3:PutObject")],
)
def test_no_answer_is_a_problem_of_its_own(operation, action):
    error = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
    problems = probe(S3(**{operation: error})).found.problems
    assert len(problems) == 1 and problems[0].startswith("AWS endpoint: ") and action in problems[0]


def test_where_the_condition_is_not_honoured_nothing_is_left():
    s3 = S3(put_object=success())
    assert probe(s3).found.problems == []
    assert s3.calls[-1] == ("delete_object", {"Bucket": "fraud-models-test", "Key": s3.calls[-2][1]["Key"]})


@mock_aws
def test_the_module_changes_nothing(run_module):
    s3 = boto3.client("s3", region_name="eu-west-2")
    s3.create_bucket(Bucket="fraud-models-test", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    for check in (True, False):
        result = run_module(s3_bucket_probe, OPTIONS, check=check)
        assert result["exists"] and result["bucket_region"] == "eu-west-2" and result["changed"] is False
    assert s3.list_objects_v2(Bucket="fraud-models-test")["KeyCount"] == 0


@mock_aws
def test_the_module_fails_with_one_line(run_module):
    result = run_module(s3_bucket_probe, OPTIONS)
    assert result["failed"] and result["msg"].startswith("bucket = 'fraud-models-test': there is no such bucket; ")
