# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module deployment_network_info, against EC2 as moto answers it, and what it makes of the answers."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import network_inventory as inventory
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_network_info as module

pytestmark = pytest.mark.usefixtures("aws_environment")
NOTHING = {"vpc_id": "", "public_subnet_ids": [], "private_subnet_ids": []}
OURS = [{"Key": "mlflow-deployment", "Value": "fraud"}, {"Key": "managed-by", "Value": "mlops.mlflow_aws"}]


def tags(kind, name, ours=True):
    return [{"ResourceType": kind, "Tags": (OURS if ours else []) + [{"Key": "Name", "Value": name}]}]


@pytest.fixture
def ec2():
    with mock_aws():
        yield boto3.client("ec2", region_name="eu-west-2")


def make_vpc(ec2, ours=True, name="fraud"):
    return ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags("vpc", name, ours))["Vpc"]["VpcId"]


def make_subnet(ec2, vpc_id, kind, letter, number, ours=True):
    return ec2.create_subnet(
        VpcId=vpc_id,
        CidrBlock=f"10.0.{number}.0/24",
        AvailabilityZone=f"eu-west-2{letter}",
        TagSpecifications=tags("subnet", f"fraud-{kind}-eu-west-2{letter}", ours),
    )["Subnet"]["SubnetId"]


def make_group(ec2, vpc_id, kind, ours=True):
    return ec2.create_security_group(
        GroupName=f"fraud-{kind}",
        Description="x",
        VpcId=vpc_id,
        TagSpecifications=tags("security-group", f"fraud-{kind}", ours),
    )["GroupId"]


def find(run_module, **options):
    return run_module(module, {"name": "fraud", "region": "eu-west-2", **options})


def test_an_empty_account(run_module, ec2):
    result = find(run_module, wait_for="deleted")
    assert result["region"] == "eu-west-2" and result["changed"] is False
    assert not any(result["outputs"].values()) and set(result["outputs"]) == {
        "vpc_id",
        "vpc_cidr",
        "availability_zones",
        "public_subnet_ids",
        "private_subnet_ids",
        "internet_gateway_id",
        "nat_gateway_ids",
        "s3_endpoint_id",
        "interface_endpoint_ids",
        "flow_log_id",
        "alb_security_group_id",
        "ecs_security_group_id",
        "rds_security_group_id",
        "endpoints_security_group_id",
    }


def test_a_whole_network_and_nothing_of_the_neighbour(run_module, ec2):
    vpc_id = make_vpc(ec2)
    other = ec2.create_vpc(
        CidrBlock="10.0.0.0/16",
        TagSpecifications=[
            {
                "ResourceType": "vpc",
                "Tags": [
                    {"Key": "mlflow-deployment", "Value": "other"},
                    {"Key": "managed-by", "Value": "mlops.mlflow_aws"},
                ],
            }
        ],
    )["Vpc"]["VpcId"]
    make_group(ec2, other, "alb", ours=False)
    subnets = {
        (kind, letter): make_subnet(ec2, vpc_id, kind, letter, number)
        for number, (kind, letter) in enumerate([("public", "b"), ("public", "a"), ("private", "a"), ("private", "b")])
    }
    gateway = ec2.create_internet_gateway(TagSpecifications=tags("internet-gateway", "fraud"))["InternetGateway"][
        "InternetGatewayId"
    ]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip", "fraud-nat"))
    nat = ec2.create_nat_gateway(
        SubnetId=subnets["public", "a"],
        AllocationId=address["AllocationId"],
        TagSpecifications=tags("natgateway", "fraud"),
    )["NatGateway"]["NatGatewayId"]
    table = ec2.create_route_table(VpcId=vpc_id, TagSpecifications=tags("route-table", "fraud-public"))["RouteTable"][
        "RouteTableId"
    ]
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc_id,
        VpcEndpointType="Gateway",
        ServiceName="com.amazonaws.eu-west-2.s3",
        RouteTableIds=[table],
        TagSpecifications=tags("vpc-endpoint", "fraud-s3"),
    )["VpcEndpoint"]["VpcEndpointId"]
    inside = ec2.create_vpc_endpoint(
        VpcId=vpc_id,
        VpcEndpointType="Interface",
        ServiceName="com.amazonaws.eu-west-2.logs",
        SubnetIds=[subnets["private", "a"]],
        TagSpecifications=tags("vpc-endpoint", "fraud"),
    )["VpcEndpoint"]["VpcEndpointId"]
    groups = {kind: make_group(ec2, vpc_id, kind) for kind in inventory.GROUPS}

    result = find(run_module, wait_for="available")

    assert result["outputs"] == {
        "vpc_id": vpc_id,
        "vpc_cidr": "10.0.0.0/16",
        "availability_zones": ["eu-west-2a", "eu-west-2b"],
        "public_subnet_ids": [subnets["public", "a"], subnets["public", "b"]],
        "private_subnet_ids": [subnets["private", "a"], subnets["private", "b"]],
        "internet_gateway_id": gateway,
        "nat_gateway_ids": [nat],
        "s3_endpoint_id": endpoint,
        "interface_endpoint_ids": [inside],
        "flow_log_id": None,
        "alb_security_group_id": groups["alb"],
        "ecs_security_group_id": groups["ecs"],
        "rds_security_group_id": groups["rds"],
        "endpoints_security_group_id": groups["endpoints"],
    }
    live = result["live"]
    assert live["nat_of_zone"] == {"eu-west-2a": nat} and live["route_tables"] == {"fraud-public": table}
    assert live["addresses"] == [
        {"allocation_id": address["AllocationId"], "public_ip": address["PublicIp"], "nat_gateway_id": nat}
    ]
    assert live["s3_endpoint"] == {"endpoint_id": endpoint, "route_table_ids": [table]}
    assert live["default_network_acl"]["network_acl_id"].startswith("acl-") and not live["default_network_acl"]["denies"]
    told = result["arguments"]
    both = {"mlflow-deployment": "fraud", "managed-by": "mlops.mlflow_aws"}
    dns = {"dns_support": True, "dns_hostnames": False}
    assert told["ec2_vpc_net"] == [{"cidr_block": "10.0.0.0/16", "tags": {**both, "Name": "fraud"}, **dns}]
    assert told["ec2_vpc_igw"] == []
    assert told["ec2_vpc_nat_gateway"]["eu-west-2a"]["address_tags"] == {**both, "Name": "fraud-nat"}
    assert told["ec2_vpc_endpoint"] == [{"route_table_ids": [table], "tags": {**both, "Name": "fraud-s3"}}]
    assert set(told["ec2_security_group"]) == {f"fraud-{kind}" for kind in inventory.GROUPS} and len(told["ec2_vpc_subnet"]) == 4
    assert live["s3_prefix_list_id"].startswith("pl-") and live["default_security_group_id"].startswith("sg-")


def test_an_existing_network_stays_foreign(run_module, ec2):
    vpc_id = make_vpc(ec2, ours=False)
    ids = [make_subnet(ec2, vpc_id, "x", letter, number, ours=False) for number, letter in enumerate("abab")]
    group = make_group(ec2, vpc_id, "rds")
    result = find(run_module, vpc_id=vpc_id, public_subnet_ids=ids[:2], private_subnet_ids=ids[2:])
    assert result["outputs"]["vpc_id"] == vpc_id and result["outputs"]["rds_security_group_id"] == group
    assert result["outputs"]["public_subnet_ids"] == ids[:2] and result["outputs"]["private_subnet_ids"] == ids[2:]
    assert result["outputs"]["availability_zones"] == ["eu-west-2a", "eu-west-2b"]
    assert result["live"]["subnets"] == [] and result["live"]["security_groups"] == {"rds": group}


def test_an_existing_vpc_that_is_gone(run_module, ec2):
    assert find(run_module, vpc_id="vpc-00000000000000001")["outputs"]["vpc_id"] is None


def test_foreign_resources_with_our_names_are_refused(run_module, ec2):
    vpc_id = make_vpc(ec2, ours=False)
    message = find(run_module)["msg"]
    assert (
        message.startswith(f"VPC 'fraud' ({vpc_id}) has a name of deployment 'fraud' but not its tags")
        and "\n" not in message
    )
    group = make_group(ec2, vpc_id, "alb", ours=False)
    message = find(run_module, vpc_id=vpc_id)["msg"]
    assert f"security group 'fraud-alb' ({group}) of {vpc_id} has a name" in message


def gateway(state, number=1, subnet="subnet-1"):
    return {
        "NatGatewayId": f"nat-{number}",
        "State": state,
        "SubnetId": subnet,
        "Tags": OURS,
        "FailureMessage": "no address",
    }


def endpoint(state, reason=None):
    return {
        "VpcEndpointId": "vpce-1",
        "VpcEndpointType": "Interface",
        "ServiceName": "com.amazonaws.eu-west-2.logs",
        "State": state,
        "LastError": {"Message": reason} if reason else None,
    }


class Waiting:
    """A reader whose NAT gateways and endpoints take the next states at each look."""

    def __init__(self, *looks):
        self.looks = list(looks)

    def slow(self):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        gateways = [one for one in look if "NatGatewayId" in one]
        endpoints = [one for one in look if "VpcEndpointId" in one]
        return inventory.nat_gateways(gateways), inventory.interface_endpoints(endpoints)


@pytest.fixture
def no_sleep(monkeypatch):
    clock = iter(range(0, 10000, 5))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)


@pytest.mark.usefixtures("no_sleep")
def test_waiting_for_nat_gateways():
    assert module.wait_for(Waiting([gateway("pending")], [gateway("available")]), "available", 60) is None
    assert module.wait_for(Waiting([gateway("deleting")], [gateway("deleted")]), "deleted", 60) is None
    assert module.wait_for(Waiting([gateway("failed")]), "deleted", 60) is None
    assert module.wait_for(Waiting([gateway("deleting")]), "available", 60) is None
    both = ([gateway("pending"), endpoint("pending")], [gateway("available"), endpoint("pending")], [endpoint("available")])
    waiting = Waiting(*both)
    assert module.wait_for(waiting, "available", 60) is None and len(waiting.looks) == 1
    # The API writes states in capitals in places.
    assert module.wait_for(Waiting([endpoint("Deleting")], [endpoint("Deleted")]), "deleted", 60) is None
    assert module.wait_for(Waiting([endpoint("deleting")]), "available", 60) is None


@pytest.mark.usefixtures("no_sleep")
def test_waiting_ends_with_the_reason():
    fault = module.wait_for(Waiting([gateway("pending")], [gateway("failed")]), "available", 60)
    assert fault == "NAT gateway nat-1 failed: no address; mend the cause and run again, a new one is made then"
    fault = module.wait_for(Waiting([gateway("pending")]), "available", 30)
    assert fault.startswith("waited 30 s for all to be available, but NAT gateway nat-1 is pending; ")
    fault = module.wait_for(Waiting([endpoint("available")]), "deleted", 30)
    assert fault.startswith("waited 30 s for all to be deleted, but interface endpoint vpce-1 is available; ")
    fault = module.wait_for(Waiting([endpoint("failed", "no address left")]), "available", 30)
    assert fault == (
        "interface endpoint vpce-1 for com.amazonaws.eu-west-2.logs is failed: no address left; "
        "mend the cause and run again, a new one is made then"
    )


def test_a_failed_gateway_with_a_successor_does_not_count():
    gateways = inventory.nat_gateways([gateway("failed"), gateway("available", 2)])
    assert inventory.nat_fault(gateways) is None
    assert inventory.nat_fault(inventory.nat_gateways([gateway("failed"), gateway("available", 2, "subnet-2")]))


def test_a_wait_that_ends_badly_fails_the_module(run_module, ec2, monkeypatch):
    monkeypatch.setattr(module, "wait_for", lambda _reader, _state, _timeout: "it failed")
    assert find(run_module, wait_for="available")["msg"] == "it failed"
    checked = run_module(module, {"name": "fraud", "region": "eu-west-2", "wait_for": "available"}, check=True)
    assert not checked.get("failed")


def test_an_error_of_aws_is_explained(run_module, ec2, monkeypatch):
    def refuse(self, operation, _key, **_arguments):
        self._action = "ec2:DescribeVpcs"
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, operation)

    monkeypatch.setattr(module.Reader, "_all", refuse)
    assert find(run_module)["msg"].startswith("AWS permissions: ec2:DescribeVpcs is denied to these credentials")
