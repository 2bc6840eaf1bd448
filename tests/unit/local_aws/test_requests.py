# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import boto3
import pytest
from botocore.awsrequest import AWSRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws import requests


def signed(service: str, **more) -> dict[str, str]:
    scope = f"AKIATESTTESTTESTTEST/20261123/eu-west-2/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host", **more}


def test_query_protocol():
    body = b"Action=CreateDBInstance&DBInstanceIdentifier=web-db&MasterUserPassword=geheim"
    operation = requests.identify("POST", "/", "", signed("rds"), body)
    assert operation == ("rds", "CreateDBInstance", "DBInstanceIdentifier=web-db")
    assert (operation.kind, operation.data_plane) == ("write", False)


def test_json_protocol():
    headers = signed("secretsmanager", **{"x-amz-target": "secretsmanager.PutSecretValue"})
    body = json.dumps({"SecretId": "web/db", "SecretString": "geheim"}).encode()
    assert requests.identify("POST", "/", "", headers, body) == ("secretsmanager", "PutSecretValue", "SecretId=web/db")


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]"])
def test_a_body_that_is_no_document_names_nothing(body):
    headers = signed("ecs", **{"x-amz-target": "Ecs.ListClusters"})
    assert requests.identify("POST", "/", "", headers, body) == ("ecs", "ListClusters", "")


# What botocore puts on the wire is told apart again: (operation, arguments).
S3 = [
    ("list_buckets", {}),
    ("create_bucket", {"Bucket": "bucket"}),
    ("head_bucket", {"Bucket": "bucket"}),
    ("delete_bucket", {"Bucket": "bucket"}),
    ("list_objects_v2", {"Bucket": "bucket"}),
    ("list_object_versions", {"Bucket": "bucket"}),
    ("get_bucket_policy", {"Bucket": "bucket"}),
    ("put_bucket_policy", {"Bucket": "bucket", "Policy": "{}"}),
    ("get_bucket_versioning", {"Bucket": "bucket"}),
    ("get_bucket_location", {"Bucket": "bucket"}),
    ("get_public_access_block", {"Bucket": "bucket"}),
    ("put_object", {"Bucket": "bucket", "Key": "a/b", "Body": b"x"}),
    ("get_object", {"Bucket": "bucket", "Key": "a/b"}),
    ("head_object", {"Bucket": "bucket", "Key": "a/b"}),
    ("delete_object", {"Bucket": "bucket", "Key": "a/b"}),
    ("copy_object", {"Bucket": "bucket", "Key": "a/b", "CopySource": "bucket/c"}),
    ("create_multipart_upload", {"Bucket": "bucket", "Key": "a/b"}),
    ("upload_part", {"Bucket": "bucket", "Key": "a/b", "PartNumber": 1, "UploadId": "u", "Body": b"x"}),
    (
        "complete_multipart_upload",
        {"Bucket": "bucket", "Key": "a/b", "UploadId": "u", "MultipartUpload": {"Parts": []}},
    ),
    ("abort_multipart_upload", {"Bucket": "bucket", "Key": "a/b", "UploadId": "u"}),
    ("get_object_tagging", {"Bucket": "bucket", "Key": "a/b"}),
]


@pytest.mark.parametrize(("method", "arguments"), S3, ids=[method for method, _arguments in S3])
def test_s3_operations_are_told_apart(method, arguments):
    client = boto3.client(
        "s3", region_name="eu-west-2", endpoint_url="http://127.0.0.1:1", aws_access_key_id="AKIATESTTESTTESTTEST",
        aws_secret_access_key="a-secret-access-key-for-unit-tests-only",
    )  # fmt: skip
    sent: list[AWSRequest] = []

    class Sent(Exception):
        pass

    def keep(request, **_more):
        sent.append(request)
        raise Sent

    client.meta.events.register("before-send.s3", keep)
    with pytest.raises(Sent):
        getattr(client, method)(**arguments)
    request = sent[0]
    address, _unused, query = request.url.removeprefix("http://127.0.0.1:1").partition("?")
    headers = {
        key.lower(): value.decode() if isinstance(value, bytes) else value for key, value in request.headers.items()
    }
    operation = requests.identify(request.method, address, query, headers, b"")
    expected = "".join(word.capitalize() for word in method.split("_"))
    assert operation.action.lower() == expected.lower()
    assert operation.kind == ("read" if method.startswith(("get", "list", "head")) else "write")
    assert operation.data_plane == (operation.kind == "write" and "Key" in arguments)


# The first request reads the service's model, which takes its time on a busy machine.
@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.binary(max_size=60))
def test_hostile_requests_are_never_a_crash(path, query, body):
    operation = requests.identify("POST", "/" + path, query, signed("ec2"), body)
    assert operation.kind in ("read", "write")


@pytest.mark.parametrize("name", ["SecretString", "MasterUserPassword", "ClientRequestToken", "PolicyDocument"])
def test_secrets_never_name_a_resource(name):
    assert not requests.NAMING.match(name)


def test_scope_of_a_signature_and_of_a_presigned_url():
    assert requests.scope(signed("s3"), "") == ("AKIATESTTESTTESTTEST", "eu-west-2", "s3")
    presigned = "X-Amz-Credential=ASIAX%2F20261123%2Feu-west-2%2Fs3%2Faws4_request"
    assert requests.scope({}, presigned) == ("ASIAX", "eu-west-2", "s3")
    assert requests.scope({}, "") is None


@pytest.mark.parametrize(
    ("service", "method", "path", "action", "kind"),
    [
        ("route53", "GET", "/2013-04-01/hostedzone/Z1/rrset", "ListResourceRecordSets", "read"),
        ("route53", "POST", "/2013-04-01/hostedzone/Z1/rrset/", "ChangeResourceRecordSets", "write"),
        ("route53", "GET", "/2013-04-01/hostedzonecount", "GetHostedZoneCount", "read"),
        ("backup", "PUT", "/backup-vaults/web", "CreateBackupVault", "write"),
        ("elasticfilesystem", "GET", "/2015-02-01/file-systems", "DescribeFileSystems", "read"),
        ("nosuchservice", "GET", "/x", "GET /x", "read"),
        ("nosuchservice", "POST", "/x", "POST /x", "write"),
        (
            "monitoring",
            "POST",
            "/service/GraniteServiceVersion20100801/operation/PutMetricAlarm",
            "PutMetricAlarm",
            "write",
        ),
    ],
)
def test_rest_services_are_told_by_their_paths(service, method, path, action, kind):
    operation = requests.identify(method, path, "", signed(service), b"")
    assert (operation.action, operation.kind) == (action, kind)


@pytest.mark.parametrize(
    ("service", "action", "kind"),
    [
        ("sts", "GetCallerIdentity", "read"),
        ("sts", "AssumeRole", "read"),
        ("logs", "FilterLogEvents", "read"),
        ("logs", "StartQuery", "read"),
        ("kms", "Decrypt", "read"),
        ("ecr", "BatchGetImage", "read"),
        ("secretsmanager", "GetRandomPassword", "read"),
        ("secretsmanager", "GetSecretValue", "read"),
        ("cognito-idp", "SignUp", "write"),
        ("ecs", "RunTask", "write"),
        ("iam", "CreateRole", "write"),
    ],
)
def test_what_changes_something_is_a_write(service, action, kind):
    assert requests.Operation(service, action, "").kind == kind
