# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flow log module against an in-process AWS."""

from __future__ import annotations

import typing as t

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.modules import ec2_vpc_flow_log

OWNER = {"owner": "us", "deployment": "web"}
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def ec2(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        s3 = boto3.client("s3", region_name="eu-west-2")
        for bucket in ("web-logs", "other-logs"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
        yield boto3.client("ec2", region_name="eu-west-2")


@pytest.fixture
def want(ec2: t.Any) -> dict[str, t.Any]:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    return {"vpc_id": vpc, "bucket": "web-logs", "owner_tags": OWNER, "tags": {**OWNER, "cost": 12}}


def found(ec2: t.Any) -> list[dict[str, t.Any]]:
    return ec2.describe_flow_logs()["FlowLogs"]


def test_make_leave_alone_change_and_remove(ec2: t.Any, want: dict, run_module: t.Callable) -> None:
    check = run_module(ec2_vpc_flow_log, want, check=True)
    assert check["changed"] and check["flow_log_id"] is None and found(ec2) == []
    made = run_module(ec2_vpc_flow_log, want)
    (log,) = found(ec2)
    assert made["changed"] and made["flow_log_id"] == log["FlowLogId"]
    assert (log["LogDestination"], log["TrafficType"]) == ("arn:aws:s3:::web-logs", "ALL")
    assert log["MaxAggregationInterval"] == 600
    assert {"Key": "cost", "Value": "12"} in log["Tags"]
    for checking in (True, False):
        again = run_module(ec2_vpc_flow_log, want, check=checking)
        assert not again["changed"] and again["flow_log_id"] == log["FlowLogId"] and again["diff"]["after"] == {}
    tagged = run_module(ec2_vpc_flow_log, {**want, "tags": {**OWNER, "more": "1"}})
    assert tagged["flow_log_id"] == log["FlowLogId"] and set(tagged["diff"]["after"]) == {"tags"}
    assert {tag["Key"] for tag in found(ec2)[0]["Tags"]} == {*OWNER, "more"}

    moved = run_module(ec2_vpc_flow_log, {**want, "bucket": "other-logs", "max_aggregation_interval": 60})
    (log,) = found(ec2)
    assert moved["flow_log_id"] == log["FlowLogId"] and log["LogDestination"] == "arn:aws:s3:::other-logs"
    # To the same place: the old one must have gone before.
    rejects = run_module(ec2_vpc_flow_log, {**want, "bucket": "other-logs", "traffic_type": "REJECT"})
    assert rejects["changed"] and [one["TrafficType"] for one in found(ec2)] == ["REJECT"]

    doomed = {"state": "absent", "owner_tags": OWNER}
    assert run_module(ec2_vpc_flow_log, doomed, check=True)["changed"] and len(found(ec2)) == 1
    assert run_module(ec2_vpc_flow_log, doomed)["flow_log_id"] is None
    assert not run_module(ec2_vpc_flow_log, doomed)["changed"] and found(ec2) == []


def test_flow_logs_of_others_stay(ec2: t.Any, want: dict, run_module: t.Callable) -> None:
    tags = [{"ResourceType": "vpc-flow-log", "Tags": [{"Key": "deployment", "Value": "web"}]}]
    ec2.create_flow_logs(
        ResourceIds=[want["vpc_id"]], ResourceType="VPC", TrafficType="ALL", LogDestinationType="s3",
        LogDestination="arn:aws:s3:::other-logs", TagSpecifications=tags,
    )  # fmt: skip
    assert run_module(ec2_vpc_flow_log, want)["changed"] and len(found(ec2)) == 2
    run_module(ec2_vpc_flow_log, {"state": "absent", "owner_tags": OWNER})
    assert [one["LogDestination"] for one in found(ec2)] == ["arn:aws:s3:::other-logs"]


def test_refusals_are_one_line(ec2: t.Any, want: dict, run_module: t.Callable) -> None:
    refused = run_module(ec2_vpc_flow_log, {**want, "bucket": "no-logs"})
    assert refused["msg"].startswith(f"Flow log of {want['vpc_id']} to arn:aws:s3:::no-logs: ")
    assert "check the bucket and its policy" in refused["msg"]
    refused = run_module(ec2_vpc_flow_log, {**want, "vpc_id": "vpc-00000000"})
    assert refused["msg"].startswith("Flow log: AWS: ec2:CreateFlowLogs failed")


@pytest.mark.parametrize(
    ("region", "prefix", "place"),
    [("eu-west-2", "", "arn:aws:s3:::web-logs"), ("cn-north-1", "a/b", "arn:aws-cn:s3:::web-logs/a/b")],
)
def test_destination(region: str, prefix: str, place: str) -> None:
    place_of = {"vpc_id": "vpc-1", "bucket": "web-logs", "prefix": prefix}
    params = {**place_of, "traffic_type": "ALL", "max_aggregation_interval": 60}
    assert ec2_vpc_flow_log.wanted(params, region)["LogDestination"] == place
    one = {"ResourceId": "vpc-1", "LogDestination": f"{place}/", "TrafficType": "ALL", "MaxAggregationInterval": 60}
    assert ec2_vpc_flow_log.told(one) == ec2_vpc_flow_log.wanted(params, region)
