# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where moto answers otherwise than AWS: networks, secrets, buckets, tags, regions; and what is recorded of it all."""

from __future__ import annotations

import json
import time
import typing as t
import uuid

import boto3
import botocore.exceptions
import botocore.handlers
import pytest

from tests.integration.aws import LocalAws, local_aws
from tests.integration.local_aws.databases import create_database

TAGS = [{"Key": "mlflow-deployment", "Value": "demo"}]
TLS_ONLY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Deny", "Principal": "*", "Action": "s3:*",
            "Resource": ["arn:aws:s3:::tls-only", "arn:aws:s3:::tls-only/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def aws(tmp_path_factory) -> t.Iterator[LocalAws]:
    with local_aws(tmp_path_factory.mktemp("aws") / "state") as running:
        yield running


def refused(code: str, call: t.Callable[..., t.Any], **arguments: t.Any) -> str:
    """The text of the error that the call must answer with `code`."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def tagged(kind: str) -> list[dict]:
    return [{"ResourceType": kind, "Tags": TAGS}]


def test_a_network_comes_down_in_order_only(aws):
    ec2, rds = aws.client("ec2"), aws.client("rds")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tagged("vpc"))["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}",
            TagSpecifications=tagged("subnet"),
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]  # fmt: skip
    internet = ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway"))["InternetGateway"][
        "InternetGatewayId"
    ]
    ec2.attach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=address, TagSpecifications=tagged("natgateway"))[
        "NatGateway"
    ]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat["NatGatewayId"]], WaiterConfig={"Delay": 1})
    assert nat["NatGatewayAddresses"][0]["PrivateIp"] == "10.0.0.4"
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tagged("route-table"))["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat["NatGatewayId"])
    refused(
        "InvalidNatGatewayID.NotFound",
        ec2.create_route,
        RouteTableId=table,
        DestinationCidrBlock="1.0.0.0/8",
        NatGatewayId="nat-1",
    )
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        ServiceName="com.amazonaws.eu-west-2.s3",
        RouteTableIds=[table],
        TagSpecifications=tagged("vpc-endpoint"),
    )["VpcEndpoint"]
    assert (endpoint["VpcEndpointType"], endpoint["PrivateDnsEnabled"]) == ("Gateway", False)
    groups = [
        ec2.create_security_group(
            GroupName=name, Description="of a test", VpcId=vpc, TagSpecifications=tagged("security-group")
        )["GroupId"]
        for name in ("tasks", "database")
    ]
    source = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": groups[0]}]}
    ec2.authorize_security_group_ingress(GroupId=groups[1], IpPermissions=[source])
    group = {"DBSubnetGroupDescription": "of a test", "Tags": TAGS}
    refused(
        "DBSubnetGroupDoesNotCoverEnoughAZs",
        rds.create_db_subnet_group,
        DBSubnetGroupName="one",
        SubnetIds=subnets[:1],
        **group,
    )
    rds.create_db_subnet_group(DBSubnetGroupName="demo", SubnetIds=subnets, **group)
    create_database(aws, "net-db", DBSubnetGroupName="demo", VpcSecurityGroupIds=groups[1:], Tags=TAGS)

    def dependent(call: t.Callable[..., t.Any], **arguments: t.Any) -> None:
        refused("DependencyViolation", call, **arguments)

    kinds = {arn.split(":", 5)[5].split("/")[0].split(":")[0] for arn in tagged_arns(aws)}
    assert kinds == {
        "vpc", "subnet", "internet-gateway", "elastic-ip", "natgateway", "route-table", "vpc-endpoint",
        "security-group", "db", "subgrp",
    }  # fmt: skip
    refused("InvalidDBSubnetGroupStateFault", rds.delete_db_subnet_group, DBSubnetGroupName="demo")
    dependent(ec2.delete_security_group, GroupId=groups[0])  # named by the database's
    dependent(ec2.delete_security_group, GroupId=groups[1])  # worn by the database
    dependent(ec2.delete_subnet, SubnetId=subnets[0])
    rds.delete_db_instance(DBInstanceIdentifier="net-db", SkipFinalSnapshot=True)
    rds.get_waiter("db_instance_deleted").wait(
        DBInstanceIdentifier="net-db", WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    rds.delete_db_subnet_group(DBSubnetGroupName="demo")
    for one in reversed(groups):
        ec2.delete_security_group(GroupId=one)
    dependent(ec2.delete_subnet, SubnetId=subnets[0])  # where the NAT gateway is
    dependent(ec2.detach_internet_gateway, InternetGatewayId=internet, VpcId=vpc)
    refused("InvalidIPAddress.InUse", ec2.release_address, AllocationId=address)
    ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[nat["NatGatewayId"]], WaiterConfig={"Delay": 1})
    ec2.release_address(AllocationId=address)
    dependent(ec2.delete_internet_gateway, InternetGatewayId=internet)
    ec2.detach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=internet)
    dependent(ec2.delete_vpc, VpcId=vpc)  # subnets
    for subnet in subnets:
        ec2.delete_subnet(SubnetId=subnet)
    dependent(ec2.delete_vpc, VpcId=vpc)  # endpoint
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
    dependent(ec2.delete_vpc, VpcId=vpc)  # route table
    ec2.delete_route_table(RouteTableId=table)
    ec2.delete_vpc(VpcId=vpc)
    assert tagged_arns(aws) == []


def tagged_arns(aws: LocalAws) -> list[str]:
    pages = aws.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(
        TagFilters=[{"Key": "mlflow-deployment", "Values": ["demo"]}]
    )  # fmt: skip
    return [one["ResourceARN"] for page in pages for one in page["ResourceTagMappingList"]]


def test_a_secret_marked_for_deletion_is_out_of_use_until_restored(aws):
    secrets = aws.client("secretsmanager")
    arn = secrets.create_secret(Name="demo/admin", SecretString="one")["ARN"]
    secrets.delete_secret(SecretId="demo/admin", RecoveryWindowInDays=7)
    marked = "You can't perform this operation on the secret because it was marked for deletion."
    for call, arguments in (
        (secrets.get_secret_value, {}),
        (secrets.put_secret_value, {"SecretString": "two"}),
        (secrets.update_secret, {"SecretString": "two"}),
        (secrets.tag_resource, {"Tags": TAGS}),
        (secrets.delete_secret, {"RecoveryWindowInDays": 7}),
    ):
        for name in ("demo/admin", arn):
            assert refused("InvalidRequestException", call, SecretId=name, **arguments) == marked
    text = refused("InvalidRequestException", secrets.create_secret, Name="demo/admin", SecretString="two")
    assert "already scheduled for deletion" in text
    assert secrets.describe_secret(SecretId=arn)["DeletedDate"]
    assert secrets.list_secrets()["SecretList"] == []
    assert [one["Name"] for one in secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"]] == ["demo/admin"]
    secrets.restore_secret(SecretId="demo/admin")
    assert secrets.get_secret_value(SecretId="demo/admin")["SecretString"] == "one"
    refused("ResourceExistsException", secrets.create_secret, Name="demo/admin", SecretString="two")
    secrets.delete_secret(SecretId="demo/admin", RecoveryWindowInDays=7)
    secrets.delete_secret(SecretId="demo/admin", ForceDeleteWithoutRecovery=True)
    refused("ResourceNotFoundException", secrets.describe_secret, SecretId="demo/admin")


def bucket(aws: LocalAws, name: str) -> t.Any:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    return s3


def test_a_conditional_write_writes_nothing_where_nothing_is(aws):
    s3 = bucket(aws, "probed")
    etag = '"00000000000000000000000000000000"'
    refused("NoSuchKey", s3.put_object, Bucket="probed", Key="probe", Body=b"", IfMatch=etag)
    assert s3.list_objects_v2(Bucket="probed")["KeyCount"] == 0
    s3.put_object(Bucket="probed", Key="probe", Body=b"a")
    refused("PreconditionFailed", s3.put_object, Bucket="probed", Key="probe", Body=b"b", IfMatch=etag)


def test_a_policy_that_demands_tls_lets_its_owner_in(aws):
    s3 = bucket(aws, "tls-only")
    s3.put_bucket_policy(Bucket="tls-only", Policy=json.dumps(TLS_ONLY))
    s3.put_object(Bucket="tls-only", Key="a", Body=b"a")
    everything = {**TLS_ONLY["Statement"][0], "Action": "s3:PutObject"}  # type: ignore[dict-item]
    del everything["Condition"]
    s3.put_bucket_policy(Bucket="tls-only", Policy=json.dumps({**TLS_ONLY, "Statement": [everything]}))
    refused("AccessDenied", s3.put_object, Bucket="tls-only", Key="b", Body=b"b")


@pytest.mark.parametrize("name", ["Upper-Case", "under_score", "-dash-first", "10.0.0.1", "two..dots"])
def test_bucket_names_that_s3_refuses(aws, name):
    s3 = aws.client("s3")
    # botocore has rules of its own.
    s3.meta.events.unregister("before-parameter-build.s3", botocore.handlers.validate_bucket_name)
    refused(
        "InvalidBucketName",
        s3.create_bucket,
        Bucket=name,
        CreateBucketConfiguration={"LocationConstraint": "eu-west-2"},
    )


def test_a_bucket_tells_its_region_wherever_it_is_asked(aws):
    bucket(aws, "british")
    assert client(aws, "s3", "us-east-1").head_bucket(Bucket="british")["BucketRegion"] == "eu-west-2"
    assert aws.client("s3").get_bucket_location(Bucket="british")["LocationConstraint"] == "eu-west-2"


def client(aws: LocalAws, service: str, region: str) -> t.Any:
    keys = {name.lower(): aws.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    return boto3.client(service, region_name=region, endpoint_url=aws.endpoint_url, **keys)


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("ec2", "describe_vpcs", "AuthFailure"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
        ("ecs", "list_clusters", "InvalidSignatureException"),
        ("s3", "list_buckets", "AuthorizationHeaderMalformed"),
    ],
)
def test_a_region_that_does_not_exist_is_refused(aws, service, operation, code):
    refused(code, getattr(client(aws, service, "eu-nowhere-1"), operation))
    getattr(client(aws, service, "ap-southeast-2"), operation)()


def test_a_retention_that_logs_cannot_have(aws):
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="/ecs/demo")
    refused("InvalidParameterException", logs.put_retention_policy, logGroupName="/ecs/demo", retentionInDays=31)
    logs.put_retention_policy(logGroupName="/ecs/demo", retentionInDays=30)


def test_every_call_is_recorded_for_what_it_is_and_no_secret_is(aws):
    canary, before = f"canary-{uuid.uuid4().hex}", len(aws.api_calls())
    secrets, s3 = aws.client("secretsmanager"), bucket(aws, "recorded")
    secrets.create_secret(Name="recorded", SecretString=canary)
    secrets.get_secret_value(SecretId="recorded")
    refused("ResourceExistsException", secrets.create_secret, Name="recorded", SecretString=canary)
    s3.put_object(Bucket="recorded", Key="a/b", Body=canary.encode())
    s3.get_bucket_location(Bucket="recorded")
    aws.client("ec2").describe_vpcs()
    aws.client("rds").describe_db_instances()
    aws.client("resourcegroupstaggingapi").get_resources()
    calls = aws.api_calls()[before:]
    assert [(one["service"], one["action"], one["kind"], one["data_plane"], one["status"]) for one in calls] == [
        ("s3", "CreateBucket", "write", False, 200),
        ("secretsmanager", "CreateSecret", "write", False, 200),
        ("secretsmanager", "GetSecretValue", "read", False, 200),
        ("secretsmanager", "CreateSecret", "write", False, 400),
        ("s3", "PutObject", "write", True, 200),
        ("s3", "GetBucketLocation", "read", False, 200),
        ("ec2", "DescribeVpcs", "read", False, 200),
        ("rds", "DescribeDBInstances", "read", False, 200),
        ("tagging", "GetResources", "read", False, 200),
    ]
    assert aws.writes(before) == ["s3:CreateBucket", "secretsmanager:CreateSecret"]
    assert (calls[1]["resource"], calls[4]["resource"]) == ("Name=recorded", "recorded/a/b")
    assert {one["access_key"] for one in calls} == {"AKIATESTTESTTESTTEST"}
    assert all(one["time"].endswith("+00:00") and "Boto3" in one["agent"] for one in calls)
    assert canary not in (aws.directory / "api.jsonl").read_text() + (aws.directory / "daemon.log").read_text()


def test_a_nat_gateway_takes_its_time(tmp_path):
    class SlowAws(LocalAws):
        @property
        def environment(self) -> dict[str, str]:
            return {**super().environment, "LOCAL_AWS_LATENCY_SCALE": "0.02"}

    from tests.integration.aws import free_port

    slow = SlowAws(free_port(), tmp_path / "state")
    assert slow.command("up").returncode == 0
    try:
        ec2 = slow.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        started = time.monotonic()
        nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]
        assert nat["State"] == "pending"
        while ec2.describe_nat_gateways(NatGatewayIds=[nat["NatGatewayId"]])["NatGateways"][0]["State"] != "available":
            assert time.monotonic() - started < 15
            time.sleep(0.1)
        # 115 s, the median, times 0.02.
        assert time.monotonic() - started > 2.2
    finally:
        assert slow.command("down").returncode == 0
