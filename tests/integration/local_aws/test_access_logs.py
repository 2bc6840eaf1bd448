# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access logs of the embedded load balancer: a real daemon, real requests, objects in a bucket."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import socket
import ssl
import time

import pytest

from tests.certificates import Authority
from tests.integration import aws
from tests.integration.local_aws.load_balancing import PORT, Account, Target, code_of, get, pairs

ACCOUNT = "123456789012"
LONDON = {"LocationConstraint": "eu-west-2"}
# Every field of an entry, as the regular expressions in AWS's own examples split them.
FIELD = re.compile(r'"[^"]*"|[^ "]+')
SECRETS = {"Authorization": "Basic dXNlcjpodW50ZXIy", "Cookie": "session=crumbs", "X-Token": "sesame"}


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory):
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state", LOCAL_AWS_ACCESS_LOG_SECONDS="1") as running:
        yield running


@pytest.fixture(scope="module")
def account(local_aws):
    return Account(local_aws.client)


@pytest.fixture(scope="module")
def s3(local_aws):
    return local_aws.client("s3")


@pytest.fixture
def target():
    for number in range(1, 200):
        with contextlib.suppress(OSError):
            server = Target(f"127.10.249.{number}")
            break
    server.address = server.server_address[0]
    yield server
    with contextlib.suppress(OSError):  # a test may have ended it
        server.end()


def let_in(s3, bucket, **changes):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/team/AWSLogs/{ACCOUNT}/*",
        **changes,
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def logs_to(bucket, prefix="team"):
    return pairs({"access_logs.s3.enabled": "true", "access_logs.s3.bucket": bucket, "access_logs.s3.prefix": prefix})


@pytest.fixture(scope="module")
def bucket(s3):
    s3.create_bucket(Bucket="access-logs", CreateBucketConfiguration=LONDON)
    let_in(s3, "access-logs")
    return "access-logs"


def entries(s3, bucket, balancer, count, seconds=10):
    """The fields of each entry of a load balancer, once there are `count`, oldest first; and the keys."""
    name = balancer.rpartition("/")[2]
    deadline = time.monotonic() + seconds
    while True:
        listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        keys = [one["Key"] for one in listed if f".{name}_" in one["Key"]]
        lines = []
        for key in keys:
            lines += gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).decode().splitlines()
        if len(lines) >= count:
            assert len(lines) == count, lines
            return sorted((FIELD.findall(line) for line in lines), key=lambda fields: fields[1]), keys
        assert time.monotonic() < deadline, lines
        time.sleep(0.2)


def test_requests_become_entries_of_an_object(account, s3, bucket, target, local_aws):
    group, _listener, balancer, address = account.served([target.address])
    account.await_states(group, {target.address: "healthy"})
    assert get(address)[0] == 200  # Not yet.
    account.elb.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=logs_to(bucket))
    test_file = s3.get_object(Bucket=bucket, Key=f"team/AWSLogs/{ACCOUNT}/ELBAccessLogTestFile")["Body"].read()
    assert re.fullmatch(rb"Enable AccessLog for ELB: lb-\d+ at 20\d\d-\S+Z", test_file)
    assert get(address, "/api?a=1", {**SECRETS, "User-Agent": 'a "b" {env.HOME} \u00e9'.encode()})[0] == 200
    account.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": target.address}])
    time.sleep(0.2)
    assert get(address, "/none", {"Host": "mlflow.example.com"})[0] == 503
    (first, second), keys = entries(s3, bucket, balancer, 2)

    name = balancer.partition(":loadbalancer/")[2]
    today = time.strftime("%Y/%m/%d", time.gmtime())
    for key in keys:
        assert re.fullmatch(
            rf"team/AWSLogs/{ACCOUNT}/elasticloadbalancing/eu-west-2/{today}/{ACCOUNT}_elasticloadbalancing_eu-west-2_"
            rf"{name.replace('/', '.')}_\d{{8}}T\d{{4}}Z_{address}_[0-9a-f]{{8}}\.log\.gz",
            key,
        )
    assert len(first) == len(second) == 33
    assert (first[0], first[2], first[4]) == ("http", name, f"{target.address}:5000")
    assert 0 <= float(first[6]) < 5 and (first[8], first[9]) == ("200", "200")
    assert first[12] == f'"GET http://{address}:{PORT}/api?a=1 HTTP/1.1"'
    assert first[13] == r'"a \x22b\x22 {env.HOME} \xC3\xA9"'
    assert (first[16], first[20], first[22]) == (group, "0", '"forward"')
    assert first[25:27] == [f'"{target.address}:5000"', '"200"']
    assert second[4:10] == ["-", "-1", "-1", "-1", "503", "-"]
    assert second[12] == f'"GET http://mlflow.example.com:{PORT}/none HTTP/1.1"'
    written = "".join(path.read_text() for path in (local_aws.directory / "load_balancers").glob("*/access.log"))
    assert "/api?a=1" in written
    assert not [value for value in (*SECRETS.values(), "dXNlcjpo", "crumbs") if value in written + str((first, second))]

    get(address, "/last")
    account.elb.modify_load_balancer_attributes(
        LoadBalancerArn=balancer, Attributes=pairs({"access_logs.s3.enabled": "false"})
    )
    get(address, "/off")
    time.sleep(1.5)
    assert "/last" in entries(s3, bucket, balancer, 3)[0][2][12]


def test_a_target_that_does_not_answer_is_told_from_one_that_errs(account, s3, bucket, target):
    group, _listener, balancer, address = account.served([target.address])
    account.await_states(group, {target.address: "healthy"})
    account.elb.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=logs_to(bucket))
    target.end()
    assert get(address)[0] == 502
    account.elb.delete_load_balancer(LoadBalancerArn=balancer)
    (only,), _keys = entries(s3, bucket, balancer, 1)
    assert only[4:10] == [f"{target.address}:5000", "-1", "-1", "-1", "502", "-"]


def test_redirects_and_https_are_told(account, s3, bucket, tmp_path, local_aws):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("mlflow.example.com")
    arn = local_aws.client("acm").import_certificate(
        Certificate=certificate.read_bytes(), PrivateKey=key.read_bytes()
    )["CertificateArn"]  # fmt: skip
    balancer, address = account.balancer()
    account.elb.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=logs_to(bucket))
    redirect = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "8443", "StatusCode": "HTTP_301"}}
    account.elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=PORT, DefaultActions=[redirect])
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}
    account.elb.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTPS", Port=8443, DefaultActions=[fixed],
        Certificates=[{"CertificateArn": arn}], SslPolicy="ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    )  # fmt: skip
    assert get(address, "/a")[0] == 301
    context = ssl.create_default_context(cafile=authority.path)
    with socket.create_connection((address, 8443)) as plain:
        with context.wrap_socket(plain, server_hostname="mlflow.example.com") as secure:
            connection = http.client.HTTPSConnection("mlflow.example.com")
            connection.sock = secure
            connection.request("GET", "/b")
            assert connection.getresponse().status == 404
    first, second = sorted(entries(s3, bucket, balancer, 2)[0])
    assert (first[0], first[8], first[22]) == ("http", "301", '"redirect"')
    assert first[23] == f'"https://{address}:8443/a"'
    assert (second[0], second[8], second[22]) == ("https", "404", '"fixed-response"')
    assert second[14].startswith("TLS_") and second[15] == "TLSv1.3"
    assert second[18:20] == ['"mlflow.example.com"', f'"{arn}"']


def test_buckets_that_do_not_let_the_logs_in_are_refused(account, s3, bucket, local_aws):
    balancer, _address = account.balancer()
    s3.create_bucket(Bucket="closed-logs", CreateBucketConfiguration=LONDON)
    local_aws.client("s3", "eu-west-3").create_bucket(
        Bucket="paris-logs", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
    )

    def refused(*arguments):
        code, message = code_of(
            account.elb.modify_load_balancer_attributes, LoadBalancerArn=balancer, Attributes=logs_to(*arguments)
        )
        assert code == "InvalidConfigurationRequest"
        return message

    denied = "Access Denied for bucket: closed-logs. Please check S3bucket permission"
    assert denied in refused("closed-logs")
    for changes in (
        {"Principal": {"Service": "delivery.logs.amazonaws.com"}},
        {"Effect": "Deny"},
        {"Action": "s3:GetObject"},
        {"Resource": "arn:aws:s3:::closed-logs/team/AWSLogs/999999999999/*"},
        {"Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}}},
    ):
        let_in(s3, "closed-logs", **changes)
        assert denied in refused("closed-logs"), changes
    let_in(s3, "closed-logs")
    assert denied in refused("closed-logs", "other")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket="closed-logs", ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert denied in refused("closed-logs")
    assert "does not exist" in refused("no-such-logs")
    assert "is not located in the same region" in refused("paris-logs")
    assert "must not include 'AWSLogs'" in refused(bucket, "AWSLogs/team")
    assert "access_logs.s3.bucket must be given" in refused("")
    found = account.elb.describe_load_balancer_attributes(LoadBalancerArn=balancer)["Attributes"]
    assert {"Key": "access_logs.s3.enabled", "Value": "false"} in found
    assert "Contents" not in s3.list_objects_v2(Bucket="closed-logs")
