# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules of amazon.aws would have to be told to make the parts of a network as they are.

Who compares this with what is to be told need not run a module to learn that nothing is to be done.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.network_inventory import GONE, allocation_id, name_of, tags_of

# Keys of EC2's lists of peers in a permission: where the peer's name is, and the option of ec2_security_group for it.
PEERS = {
    "IpRanges": ("CidrIp", "cidr_ip"),
    "Ipv6Ranges": ("CidrIpv6", "cidr_ipv6"),
    "PrefixListIds": ("PrefixListId", "ip_prefix"),
    "UserIdGroupPairs": ("GroupId", "group_id"),
}
LISTED = ("cidr_ip", "cidr_ipv6")


def security_group(group: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """``tags``, ``rules`` and ``rules_egress`` of a group; peers among ``groups`` are named as the groups are."""
    names = {one["GroupId"]: {"group_name": one["GroupName"], "group_desc": one["Description"]} for one in groups}
    return {
        "tags": tags_of(group),
        "rules": rules(group.get("IpPermissions", []), names),
        "rules_egress": rules(group.get("IpPermissionsEgress", []), names),
    }


def rules(permissions: list[dict[str, Any]], names: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Rules, each with as many ports and ranges as can be told in one."""
    ports_of: dict[tuple[str, str, str | None, str], set[int | str]] = defaultdict(set)
    for permission in permissions:
        for key, (place, option) in PEERS.items():
            for peer in permission.get(key, []):
                told = permission["IpProtocol"], option, peer.get("Description"), peer[place]
                ports_of[told].add(_ports(permission))
    peers_of: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for (protocol, option, description, peer), ports in sorted(ports_of.items(), key=str):
        alone = None if option in LISTED else peer
        in_order = tuple(sorted(ports, key=lambda port: (isinstance(port, str), port)))
        peers_of[protocol, option, description, in_order, alone].append(peer)
    return [
        {
            "proto": protocol,
            "ports": list(ports),
            **({"rule_desc": description} if description else {}),
            **({option: peers} if option in LISTED else names.get(peers[0]) or {option: peers[0]}),
        }
        for (protocol, option, description, ports, _alone), peers in peers_of.items()
    ]


def _ports(permission: dict[str, Any]) -> int | str:
    first, last = permission.get("FromPort"), permission.get("ToPort")
    return first if isinstance(first, int) and first == last else f"{first}-{last}"


def route_table(table: dict[str, Any]) -> dict[str, Any]:
    """``tags``, ``routes`` and ``subnets`` of a table, without the routes that AWS keeps itself."""
    routes = [
        {
            "dest": route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock"),
            "gateway_id": next((value for key, value in sorted(route.items()) if _leads_out(key)), None),
        }
        for route in table.get("Routes", [])
        # Gateway endpoints and virtual private gateways bring their own; the way inside the VPC comes with the table.
        if "DestinationPrefixListId" not in route
        and route.get("Origin") != "EnableVgwRoutePropagation"
        and route.get("GatewayId") != "local"
    ]
    subnets = [one["SubnetId"] for one in table.get("Associations", []) if "SubnetId" in one]
    return {"tags": tags_of(table), "routes": routes, "subnets": sorted(subnets)}


def route_tables(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """``route_tables`` in the order of their names, and ``tags``: each set of them, beside their names, that a table has."""
    told = [{"name": name_of(one), **route_table(one)} for one in sorted(tables, key=name_of)]
    tags = [{key: value for key, value in one.pop("tags").items() if key != "Name"} for one in told]
    return {"route_tables": told, "tags": [one for place, one in enumerate(tags) if one not in tags[:place]]}


def _leads_out(key: str) -> bool:
    return key.endswith("Id") and not key.startswith(("Destination", "InstanceOwner"))


def of_network(ours: dict[str, list[dict[str, Any]]], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """By module what it would be told; ``ours`` as in ``network_inventory.summary``, ``groups`` all that have our names."""
    zones = {one["SubnetId"]: one["AvailabilityZone"] for one in ours["subnets"]}
    addresses = {one["AllocationId"]: tags_of(one) for one in ours["addresses"]}
    return {
        "ec2_vpc_net": [{"cidr_block": one["CidrBlock"], "tags": tags_of(one), **_dns(one)} for one in ours["vpcs"]],
        "ec2_vpc_igw": [
            {"vpc_id": attachment["VpcId"], "tags": tags_of(one)}
            for one in ours["internet_gateways"]
            for attachment in one.get("Attachments", [])
        ],
        "ec2_vpc_subnet": [
            {
                "cidr": one["CidrBlock"],
                "az": one["AvailabilityZone"],
                "tags": tags_of(one),
                "map_public": one.get("MapPublicIpOnLaunch", False),
                "assign_instances_ipv6": one.get("AssignIpv6AddressOnCreation", False),
            }
            for one in ours["subnets"]
        ],
        "ec2_vpc_nat_gateway": {
            zones[one["SubnetId"]]: {"tags": tags_of(one), "address_tags": addresses.get(allocation_id(one), {})}
            for one in ours["nat_gateways"]
            if one["State"] not in GONE and one["SubnetId"] in zones
        },
        "ec2_vpc_route_tables": route_tables(ours["route_tables"]),
        "ec2_vpc_endpoint": [
            {"route_table_ids": sorted(one.get("RouteTableIds", [])), "tags": tags_of(one)}
            for one in ours["endpoints"]
            if one["State"].lower() not in GONE and one["VpcEndpointType"] == "Gateway"
        ],
        "ec2_security_group": {one["GroupName"]: security_group(one, groups) for one in ours["groups"]},
    }


def _dns(vpc: dict[str, Any]) -> dict[str, bool]:
    return {"dns_support": vpc.get("EnableDnsSupport"), "dns_hostnames": vpc.get("EnableDnsHostnames")}
