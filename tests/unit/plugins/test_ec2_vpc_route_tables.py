# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module of route tables against an in-process AWS."""

from __future__ import annotations

import typing as t

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.modules import ec2_vpc_route_tables

OWNER = {"owner": "us", "deployment": "web"}
EVERYWHERE = "0.0.0.0/0"
pytestmark = pytest.mark.usefixtures("aws_environment")


class Vpc:
    """A VPC with three subnets, an internet gateway and two NAT gateways."""

    def __init__(self) -> None:
        self.ec2 = boto3.client("ec2", region_name="eu-west-2")
        self.id = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(VpcId=self.id, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"] for number in range(3)
        ]
        self.internet = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=self.internet, VpcId=self.id)
        self.nats = [
            self.ec2.create_nat_gateway(SubnetId=self.subnets[0], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
            for _number in range(2)
        ]

    def wanted(self, **more: t.Any) -> dict[str, t.Any]:
        first, second, third = self.subnets
        tables = [
            {"name": "web-public", "routes": [{"dest": EVERYWHERE, "gateway_id": self.internet}], "subnets": [first]},
            {"name": "web-private", "routes": [{"dest": EVERYWHERE, "gateway_id": self.nats[0]}], "subnets": [second, third]},
        ]
        return {"vpc_id": self.id, "route_tables": tables, "owner_tags": OWNER, "tags": {**OWNER, "cost": 12}, **more}

    def tables(self) -> dict[str, dict[str, t.Any]]:
        """Name -> routes by destination, subnets and tags, of the tables that have a name."""
        found = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.id]}])["RouteTables"]
        tags_of = [{tag["Key"]: tag["Value"] for tag in table["Tags"]} for table in found]
        return {
            tags["Name"]: {
                "id": table["RouteTableId"],
                "routes": {
                    route["DestinationCidrBlock"]: route.get("NatGatewayId") or route["GatewayId"] for route in table["Routes"]
                },
                "subnets": {one["SubnetId"] for one in table["Associations"] if "SubnetId" in one},
                "tags": tags,
            }
            for table, tags in zip(found, tags_of)
            if "Name" in tags
        }


@pytest.fixture
def vpc(aws_environment: None) -> t.Iterator[Vpc]:
    with mock_aws():
        yield Vpc()


def test_tables_are_made_once(vpc: Vpc, run_module: t.Callable) -> None:
    check = run_module(ec2_vpc_route_tables, vpc.wanted(), check=True)
    assert check["changed"] and check["route_table_ids"] == {} and vpc.tables() == {}
    made = run_module(ec2_vpc_route_tables, vpc.wanted())
    assert made["diff"] == check["diff"]
    assert made["diff"]["after"]["web-private: route to 0.0.0.0/0"] == vpc.nats[0]
    public, private = vpc.tables()["web-public"], vpc.tables()["web-private"]
    assert made["changed"] and made["route_table_ids"] == {"web-public": public["id"], "web-private": private["id"]}
    assert public["routes"] == {"10.0.0.0/16": "local", EVERYWHERE: vpc.internet}
    assert private["routes"] == {"10.0.0.0/16": "local", EVERYWHERE: vpc.nats[0]}
    assert (public["subnets"], private["subnets"]) == ({vpc.subnets[0]}, set(vpc.subnets[1:]))
    assert private["tags"] == {**OWNER, "cost": "12", "Name": "web-private"}
    for checking in (True, False):
        again = run_module(ec2_vpc_route_tables, vpc.wanted(), check=checking)
        assert not again["changed"] and again["diff"]["after"] == {}
        assert again["route_table_ids"] == made["route_table_ids"]


def test_routes_subnets_and_tags_follow(vpc: Vpc, run_module: t.Callable) -> None:
    before = run_module(ec2_vpc_route_tables, vpc.wanted())["route_table_ids"]
    wanted = vpc.wanted(tags={**OWNER, "more": "1"})
    public, private = wanted["route_tables"]
    # Another gateway, one route more, one less; a subnet from the private table to the public one, and one to none.
    private["routes"] = [{"dest": EVERYWHERE, "gateway_id": vpc.nats[1]}, {"dest": "192.0.2.0/24", "gateway_id": vpc.nats[0]}]
    public["routes"] = []
    public["subnets"], private["subnets"] = vpc.subnets[:2], []
    check = run_module(ec2_vpc_route_tables, wanted, check=True)
    assert vpc.tables()["web-public"]["routes"][EVERYWHERE] == vpc.internet
    changed = run_module(ec2_vpc_route_tables, wanted)
    assert changed["diff"] == check["diff"] and changed["route_table_ids"] == check["route_table_ids"] == before
    assert changed["diff"]["after"] == {
        "web-public: tags": {**OWNER, "more": "1", "Name": "web-public"},
        "web-public: route to 0.0.0.0/0": None,
        f"{vpc.subnets[1]}: route table": before["web-public"],
        "web-private: tags": {**OWNER, "more": "1", "Name": "web-private"},
        "web-private: route to 0.0.0.0/0": vpc.nats[1],
        "web-private: route to 192.0.2.0/24": vpc.nats[0],
        f"{vpc.subnets[2]}: route table": None,
    }
    tables = vpc.tables()
    assert tables["web-public"]["routes"] == {"10.0.0.0/16": "local"}
    assert tables["web-private"]["routes"] == {"10.0.0.0/16": "local", EVERYWHERE: vpc.nats[1], "192.0.2.0/24": vpc.nats[0]}
    assert (tables["web-public"]["subnets"], tables["web-private"]["subnets"]) == (set(vpc.subnets[:2]), set())
    assert tables["web-public"]["tags"] == {**OWNER, "more": "1", "Name": "web-public"}
    assert not run_module(ec2_vpc_route_tables, wanted)["changed"]


def test_what_somebody_broke_is_mended(vpc: Vpc, run_module: t.Callable) -> None:
    ids = run_module(ec2_vpc_route_tables, vpc.wanted())["route_table_ids"]
    vpc.ec2.delete_route(RouteTableId=ids["web-public"], DestinationCidrBlock=EVERYWHERE)
    main = vpc.ec2.create_route_table(VpcId=vpc.id)["RouteTable"]["RouteTableId"]
    (moved,) = (
        one["RouteTableAssociationId"]
        for one in vpc.ec2.describe_route_tables(RouteTableIds=[ids["web-public"]])["RouteTables"][0]["Associations"]
    )
    vpc.ec2.replace_route_table_association(AssociationId=moved, RouteTableId=main)
    vpc.ec2.delete_tags(Resources=[ids["web-private"]], Tags=[{"Key": "cost"}])
    mended = run_module(ec2_vpc_route_tables, vpc.wanted())
    assert mended["route_table_ids"] == ids
    assert mended["diff"]["before"][f"{vpc.subnets[0]}: route table"] == main
    assert not run_module(ec2_vpc_route_tables, vpc.wanted())["changed"]
    # A table that is gone is made anew.
    (doomed,) = vpc.ec2.describe_route_tables(RouteTableIds=[ids["web-private"]])["RouteTables"]
    for association in doomed["Associations"]:
        vpc.ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
    vpc.ec2.delete_route_table(RouteTableId=ids["web-private"])
    anew = run_module(ec2_vpc_route_tables, vpc.wanted())["route_table_ids"]
    assert anew["web-public"] == ids["web-public"] and anew["web-private"] != ids["web-private"]


def test_a_table_of_others_stays_as_it_is(vpc: Vpc, run_module: t.Callable) -> None:
    theirs = vpc.ec2.create_route_table(
        VpcId=vpc.id,
        TagSpecifications=[{"ResourceType": "route-table", "Tags": [{"Key": "Name", "Value": "web-public"}]}],
    )["RouteTable"]["RouteTableId"]
    ids = run_module(ec2_vpc_route_tables, vpc.wanted())["route_table_ids"]
    assert theirs not in ids.values()
    (table,) = vpc.ec2.describe_route_tables(RouteTableIds=[theirs])["RouteTables"]
    assert len(table["Routes"]) == 1 and table["Associations"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "web-private"}, "Route tables: the name web-private is told 2 times; tell it once"),
        ({"subnets": ["subnet-1", "subnet-1"]}, "Route tables: the subnet subnet-1 is told 2 times; tell it once"),
        (
            {"routes": [{"dest": "10.0.0.1/8", "gateway_id": "igw-1"}]},
            "Route table web-public: the route to 10.0.0.1/8 leads to no IPv4 range (10.0.0.1/8 has host bits set); tell one such as 0.0.0.0/0",
        ),
        (
            {"routes": [{"dest": EVERYWHERE, "gateway_id": "igw-1"}, {"dest": EVERYWHERE, "gateway_id": "nat-1"}]},
            "Route table web-public: the route to 0.0.0.0/0 is told 2 times; tell it once",
        ),
        (
            {"routes": [{"dest": EVERYWHERE, "gateway_id": "eni-1"}]},
            "Route table web-public: the route to 0.0.0.0/0 goes by eni-1; tell an internet gateway (igw-…) or a NAT gateway (nat-…)",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    vpc: Vpc, run_module: t.Callable, change: dict, message: str
) -> None:
    wanted = vpc.wanted()
    wanted["route_tables"][0].update(change)
    assert run_module(ec2_vpc_route_tables, wanted)["msg"] == message
    assert vpc.tables() == {}


def test_a_refusal_of_aws_is_one_line_and_a_second_run_goes_on(vpc: Vpc, run_module: t.Callable) -> None:
    wanted = vpc.wanted()
    wanted["route_tables"][1]["subnets"].append("subnet-00000000000000000")
    wanted["route_tables"][1]["routes"][0]["gateway_id"] = "igw-00000000000000000"
    refused = run_module(ec2_vpc_route_tables, wanted)
    assert refused["msg"].startswith(f"Route tables of {vpc.id}: AWS: ec2:") and "\n" not in refused["msg"]
    halfway = vpc.tables()["web-public"]["id"]
    assert run_module(ec2_vpc_route_tables, vpc.wanted())["route_table_ids"]["web-public"] == halfway
