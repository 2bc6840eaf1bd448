# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules would be told to make a network as EC2 describes it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import network_arguments, network_inventory

OURS = [{"Key": "mlflow-deployment", "Value": "fraud"}, {"Key": "managed-by", "Value": "mlops.mlflow_aws"}]
TAGS = {"mlflow-deployment": "fraud", "managed-by": "mlops.mlflow_aws"}


def permission(first, last, *ranges, protocol="tcp", description="Clients"):
    peers = [{"CidrIp": one, "Description": description} for one in ranges]
    return {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "IpRanges": peers}


def test_ports_with_the_same_ranges_are_one_rule():
    told = network_arguments.rules([permission(443, 443, "b", "a"), permission(80, 80, "a", "b")], {})
    assert told == [{"proto": "tcp", "ports": [80, 443], "cidr_ip": ["a", "b"], "rule_desc": "Clients"}]


def test_what_one_rule_cannot_tell_is_several():
    told = network_arguments.rules(
        [permission(80, 80, "a", "b"), permission(443, 443, "a"), permission(80, 80, "c", description="Others"), permission(53, 54, "a", protocol="udp")],
        {},
    )
    assert len(told) == 4
    assert {"proto": "tcp", "ports": [80, 443], "cidr_ip": ["a"], "rule_desc": "Clients"} in told
    assert {"proto": "tcp", "ports": [80], "cidr_ip": ["b"], "rule_desc": "Clients"} in told
    assert {"proto": "udp", "ports": ["53-54"], "cidr_ip": ["a"], "rule_desc": "Clients"} in told


PEERS = st.sets(st.sampled_from("abcdef"), min_size=1)


@given(st.dictionaries(st.tuples(st.integers(1, 5), st.sampled_from(["Clients", "Others"])), PEERS, min_size=1))
def test_rules_tell_every_port_and_range_once_and_nothing_else(wanted):
    permissions = [permission(port, port, *sorted(peers), description=text) for (port, text), peers in wanted.items()]
    told = [
        (port, rule["rule_desc"], peer)
        for rule in network_arguments.rules(permissions, {})
        for port in rule["ports"]
        for peer in rule["cidr_ip"]
    ]
    assert sorted(told) == sorted((port, text, peer) for (port, text), peers in wanted.items() for peer in peers)


def test_peers_among_our_groups_have_their_names():
    pair = {"GroupId": "sg-ecs", "Description": "MLflow tasks"}
    stranger = {"GroupId": "sg-other"}
    prefixes = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{"PrefixListId": "pl-s3"}]}
    egress = [{"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [pair, stranger]}, prefixes]
    group = {"GroupId": "sg-alb", "GroupName": "fraud-alb", "Description": "LB", "Tags": OURS, "IpPermissionsEgress": egress}
    tasks = {"GroupId": "sg-ecs", "GroupName": "fraud-ecs", "Description": "Tasks"}
    told = network_arguments.security_group(group, [group, tasks])
    assert told["tags"] == TAGS and told["rules"] == []
    assert len(told["rules_egress"]) == 3
    for rule in (
        {"proto": "tcp", "ports": [5000], "rule_desc": "MLflow tasks", "group_name": "fraud-ecs", "group_desc": "Tasks"},
        {"proto": "tcp", "ports": [5000], "group_id": "sg-other"},
        {"proto": "tcp", "ports": [443], "ip_prefix": "pl-s3"},
    ):
        assert rule in told["rules_egress"]


def test_all_ports_of_all_protocols_are_a_rule_that_no_role_tells():
    assert network_arguments.rules([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}], {}) == [
        {"proto": "-1", "ports": ["None-None"], "cidr_ip": ["0.0.0.0/0"]}
    ]


def test_routes_that_aws_keeps_are_not_told():
    table = {
        "Tags": OURS,
        "Associations": [{"SubnetId": "subnet-2"}, {"SubnetId": "subnet-1"}, {"Main": True}],
        "Routes": [
            {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"},
            {"DestinationPrefixListId": "pl-s3", "GatewayId": "vpce-1"},
            {"DestinationCidrBlock": "10.9.0.0/16", "GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation", "State": "active"},
            {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "Origin": "CreateRoute", "State": "active"},
            {"DestinationCidrBlock": "192.0.2.0/24", "InstanceOwnerId": "1", "InstanceId": "i-1", "NetworkInterfaceId": "eni-1"},
        ],
    }
    assert network_arguments.route_table(table) == {
        "tags": TAGS,
        "subnets": ["subnet-1", "subnet-2"],
        "routes": [{"dest": "0.0.0.0/0", "gateway_id": "nat-1"}, {"dest": "192.0.2.0/24", "gateway_id": "i-1"}],
    }


def test_route_tables_are_told_in_the_order_of_their_names_and_their_tags_once():
    def table(name, **more):
        return {"Tags": [*OURS, {"Key": "Name", "Value": name}], "Associations": [], "Routes": [], **more}

    assert network_arguments.route_tables([]) == {"route_tables": [], "tags": []}
    told = network_arguments.route_tables([table("fraud-public"), table("fraud-private", Associations=[{"SubnetId": "subnet-1"}])])
    assert told == {
        "route_tables": [
            {"name": "fraud-private", "routes": [], "subnets": ["subnet-1"]},
            {"name": "fraud-public", "routes": [], "subnets": []},
        ],
        "tags": [TAGS],
    }
    other = {**table("fraud-x"), "Tags": [{"Key": "Name", "Value": "fraud-x"}]}
    assert network_arguments.route_tables([table("fraud-public"), other])["tags"] == [TAGS, {}]


def test_what_is_going_away_is_not_told():
    def gateway(state, allocation):
        addresses = [{"AllocationId": allocation}] if allocation else []
        return {"NatGatewayId": "nat", "SubnetId": "subnet-1", "State": state, "Tags": OURS, "NatGatewayAddresses": addresses}

    def told(*gateways):
        found = dict.fromkeys(("vpcs", "internet_gateways", "route_tables", "endpoints", "groups"), [])
        found["subnets"] = [{"SubnetId": "subnet-1", "AvailabilityZone": "a", "CidrBlock": "10.0.0.0/24", "Tags": OURS}]
        found["addresses"] = [{"AllocationId": "eipalloc-1", "Tags": OURS}]
        found["nat_gateways"] = list(gateways)
        return network_arguments.of_network(network_inventory.ours("fraud", found), [])["ec2_vpc_nat_gateway"]

    assert told(gateway("deleting", "eipalloc-1")) == {}
    assert told(gateway("deleted", "eipalloc-1"), gateway("pending", "eipalloc-1")) == {"a": {"tags": TAGS, "address_tags": TAGS}}
    assert told(gateway("pending", None)) == {"a": {"tags": TAGS, "address_tags": {}}}
