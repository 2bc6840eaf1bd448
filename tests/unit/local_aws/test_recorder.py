# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import threading

import pytest

from local_aws.operator_permissions import OperatorPermissions, action_of
from local_aws.recorder import Recorder
from local_aws.refusals import refusal
from local_aws.regions import CODES, Regions

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIATESTTESTTESTTEST/20261123/{region}/{service}/aws4_request, SignedHeaders=host"


def request(
    service: str, body: bytes = b"", region: str = "eu-west-2", method: str = "POST", path: str = "/", **more
) -> dict:
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": SIGNED.format(region=region, service=service),
        "HTTP_USER_AGENT": "Boto3/1.44",
        "wsgi.input": io.BytesIO(body),
        **more,
    }


def record(tmp_path, environ: dict, answer: str = "200 OK") -> tuple[dict, bytes]:
    """The line that a request leaves, and the body that the application saw."""
    seen = []

    def application(environ, start_response):
        seen.append(environ["wsgi.input"].read())
        start_response(answer, [])
        return [b"answer"]

    path = tmp_path / "api.jsonl"
    assert Recorder(application, path)(environ, lambda *_arguments: None) == [b"answer"]
    return json.loads(path.read_text().splitlines()[-1]), seen[0]


def test_a_call_leaves_a_line_and_reaches_the_application_whole(tmp_path):
    body = b"Action=CreateVpc&CidrBlock=10.0.0.0%2F16"
    line, seen = record(tmp_path, request("ec2", body, CONTENT_TYPE="application/x-www-form-urlencoded; charset=utf-8"))
    assert seen == body
    assert (line["service"], line["action"], line["kind"], line["status"]) == ("ec2", "CreateVpc", "write", 200)
    assert (line["access_key"], line["agent"]) == ("AKIATESTTESTTESTTEST", "Boto3/1.44")
    assert (tmp_path / "api.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_refused_call_is_recorded_as_such(tmp_path):
    environ = request("ecs", b"{}", HTTP_X_AMZ_TARGET="AmazonEC2ContainerServiceV20141113.CreateCluster")
    assert record(tmp_path, environ, "400 BAD REQUEST")[0]["status"] == 400


def test_secrets_leave_no_trace(tmp_path):
    body = json.dumps({"Name": "web/db", "SecretString": "geheim"}).encode()
    record(tmp_path, request("secretsmanager", body, HTTP_X_AMZ_TARGET="secretsmanager.CreateSecret"))
    text = (tmp_path / "api.jsonl").read_text()
    assert "Name=web/db" in text and "geheim" not in text


def test_an_object_is_not_read_before_the_application_reads_it(tmp_path):
    line, seen = record(tmp_path, request("s3", b"x" * 10, method="PUT", path="/bucket/key"))
    assert (line["action"], line["data_plane"], line["resource"]) == ("PutObject", True, "bucket/key")
    assert seen == b"x" * 10


def test_lines_of_many_threads_do_not_mix(tmp_path):
    path = tmp_path / "api.jsonl"
    recorder = Recorder(lambda _environ, start_response: start_response("200 OK", []) or [], path)
    threads = [
        threading.Thread(
            target=lambda: [recorder(request("s3", method="GET", path="/b/k"), lambda *_a: None) for _i in range(50)]
        )
        for _t in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["action"] for line in path.read_text().splitlines()] == ["GetObject"] * 400


@pytest.mark.parametrize(
    ("region", "passed"), [("eu-west-2", True), ("cn-north-1", True), ("eu-nowhere-1", False), ("EU-WEST-2", False)]
)
def test_only_regions_that_exist_get_through(region, passed):
    called, told = [], []
    application = Regions(lambda _environ, _start: called.append(1) or [])
    application(request("ec2", region=region), lambda status, _headers: told.append(status))
    assert (bool(called), told) == (passed, [] if passed else ["400 Bad Request"])


def test_an_unsigned_request_gets_through():
    environ = {**request("s3"), "HTTP_AUTHORIZATION": ""}
    assert Regions(lambda _environ, _start: [b"in"])(environ, lambda *_a: None) == [b"in"]


@pytest.mark.parametrize(
    ("service", "headers", "code"),
    [
        ("s3", {}, "AuthorizationHeaderMalformed"),
        ("ec2", {}, "AuthFailure"),
        ("rds", {}, "SignatureDoesNotMatch"),
        ("ecs", {"x-amz-target": "Ecs.ListClusters"}, "InvalidSignatureException"),
        ("backup", {"content-type": "application/json"}, "InvalidSignatureException"),
    ],
)
def test_a_refusal_is_in_the_words_of_the_service(service, headers, code):
    answer, body = refusal(service, headers, CODES, "Not <here>")
    assert code.encode() in body and dict(answer)["Content-Length"] == str(len(body))
    assert (b"Not <here>" in body) is (b"<" not in body[:1])


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("ecs:CreateCluster", "ecs:CreateCluster"),
        ("tagging:GetResources", "tag:GetResources"),
        ("s3:HeadBucket", "s3:ListBucket"),
        ("s3:DeleteObjects", "s3:DeleteObject"),
        ("s3:ListBuckets", "s3:ListAllMyBuckets"),
    ],
)
def test_what_policies_call_an_operation(operation, action):
    assert action_of(operation) == action


@pytest.mark.parametrize(
    ("target", "key", "answer"),
    [
        ("ListClusters", "AKIATESTTESTTESTTEST", "200 OK"),
        ("CreateCluster", "AKIATESTTESTTESTTEST", "403 Forbidden"),
        # A task's.
        ("CreateCluster", "ASIATESTTESTTESTTEST", "200 OK"),
    ],
)
def test_whoever_calls_may_do_what_the_policies_allow(tmp_path, target, key, answer):
    policies, told = tmp_path / "policies.json", []
    policies.write_text(json.dumps([{"Statement": [{"Action": ["ecs:List*"]}, {"Action": "sts:x"}]}]))

    def application(_environ, start_response):
        start_response("200 OK", [])
        return [b""]

    inside = OperatorPermissions(application, policies, "123456789012")
    environ = request("ecs", b"{}", HTTP_X_AMZ_TARGET=f"Amazon.{target}")
    environ["HTTP_AUTHORIZATION"] = environ["HTTP_AUTHORIZATION"].replace("AKIATESTTESTTESTTEST", key)
    body = b"".join(Recorder(inside, tmp_path / "api.jsonl")(environ, lambda status, _headers: told.append(status)))
    assert told == [answer]
    assert (b"is not authorized to perform: ecs:CreateCluster" in body) is (answer != "200 OK")
