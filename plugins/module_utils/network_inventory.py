# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment's network looks like, read from the answers of EC2: what is ours, what only has our names."""

from __future__ import annotations

from typing import Any

OWNER_TAG = "mlflow-deployment"
MANAGER_TAG = "managed-by"
MANAGER = "mlops.mlflow_aws"
GROUPS = ("alb", "ecs", "rds", "endpoints")
GONE = ("deleted", "deleting", "failed")
ALIVE = ("pending", "available")
# Refuses what no other rule allows, and cannot be removed (NetworkAclEntry, RuleNumber).
LAST_ACL_RULE = 32767


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags") or resource.get("TagSet") or []}


def is_ours(resource: dict[str, Any], name: str) -> bool:
    """Whether ``resource`` carries both tags of the deployment ``name``."""
    tags = tags_of(resource)
    return tags.get(OWNER_TAG) == name and tags.get(MANAGER_TAG) == MANAGER


def name_of(resource: dict[str, Any]) -> str:
    return tags_of(resource).get("Name", "")


def foreign(name: str, groups: list[dict[str, Any]], vpcs: list[dict[str, Any]]) -> list[str]:
    """One line for each security group or VPC that has a name of the deployment ``name`` but not its tags."""
    lines = [
        f"security group {group['GroupName']!r} ({group['GroupId']}) of {group['VpcId']}"
        for group in groups
        if group["GroupName"] in {f"{name}-{kind}" for kind in GROUPS} and not is_ours(group, name)
    ]
    others = {vpc["VpcId"] for vpc in vpcs if name_of(vpc) == name and not is_ours(vpc, name)}
    lines += [f"VPC {name!r} ({vpc_id})" for vpc_id in sorted(others)]
    return [
        f"{line} has a name of deployment {name!r} but not its tags {OWNER_TAG}={name} and {MANAGER_TAG}={MANAGER}; "
        "rename or remove it, tag it if it belongs to the deployment, or choose another name"
        for line in lines
    ]


def allocation_id(gateway: dict[str, Any]) -> str | None:
    """That of a NAT gateway's address."""
    addresses = gateway.get("NatGatewayAddresses", [])
    return next((one["AllocationId"] for one in addresses if one.get("AllocationId")), None)


def nat_gateways(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """NAT gateways as ``nat_gateway_id, state, subnet_id, allocation_id, reason``, without those that are deleted."""
    return [
        {
            "nat_gateway_id": gateway["NatGatewayId"],
            "state": gateway["State"],
            "subnet_id": gateway["SubnetId"],
            "allocation_id": allocation_id(gateway),
            "reason": gateway.get("FailureMessage", ""),
        }
        for gateway in found
        if gateway["State"] != "deleted"
    ]


def ours(name: str, found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Of EC2's answers those that belong to the deployment ``name``."""
    return {kind: [item for item in items if is_ours(item, name)] for kind, items in found.items()}


def summary(name: str, found: dict[str, list[dict[str, Any]]], given: dict[str, Any]) -> dict[str, Any]:
    """The resources of the deployment ``name``, by what roles need of them.

    ``found`` holds EC2's answers as vpcs, subnets, internet_gateways, nat_gateways, addresses, route_tables,
    endpoints, flow_logs, groups, network_acls, prefix_lists. ``given`` holds vpc_id, public_subnet_ids and private_subnet_ids of an existing
    VPC, which is never ours.
    """
    owned = ours(name, found)
    vpc_id = given["vpc_id"] or next((vpc["VpcId"] for vpc in owned["vpcs"]), None)
    vpc = next((vpc for vpc in found["vpcs"] if vpc["VpcId"] == vpc_id), {})
    here = [group for group in found["groups"] if group["VpcId"] == vpc_id]
    subnets = [
        {
            "subnet_id": subnet["SubnetId"],
            "cidr": subnet["CidrBlock"],
            "zone": subnet["AvailabilityZone"],
            "kind": "public" if name_of(subnet).startswith(f"{name}-public-") else "private",
        }
        for subnet in sorted(owned["subnets"], key=name_of)
    ]
    gateways = nat_gateways(owned["nat_gateways"])
    endpoints = [one for one in owned["endpoints"] if one["State"].lower() not in GONE]
    users = {gateway["allocation_id"]: gateway["nat_gateway_id"] for gateway in gateways if gateway["state"] in ALIVE}
    return {
        "vpc_id": vpc_id if vpc else None,
        "vpc_cidr": vpc.get("CidrBlock"),
        "subnets": subnets,
        "zones": _zones(found["subnets"] if given["vpc_id"] else owned["subnets"], given),
        "internet_gateway_id": next((gateway["InternetGatewayId"] for gateway in owned["internet_gateways"]), None),
        "nat_gateways": gateways,
        "nat_of_zone": nat_of_zone(subnets, gateways),
        "addresses": [
            {
                "allocation_id": address["AllocationId"],
                "public_ip": address["PublicIp"],
                "nat_gateway_id": users.get(address["AllocationId"]),
            }
            for address in owned["addresses"]
        ],
        "route_tables": {name_of(table): table["RouteTableId"] for table in owned["route_tables"]},
        "s3_endpoint": next(
            (
                {"endpoint_id": endpoint["VpcEndpointId"], "route_table_ids": sorted(endpoint.get("RouteTableIds", []))}
                for endpoint in endpoints
                if endpoint["VpcEndpointType"] == "Gateway"
            ),
            None,
        ),
        "interface_endpoint_ids": sorted(
            endpoint["VpcEndpointId"] for endpoint in endpoints if endpoint["VpcEndpointType"] == "Interface"
        ),
        "flow_log_ids": sorted(log["FlowLogId"] for log in owned["flow_logs"]),
        "s3_prefix_list_id": next((prefixes["PrefixListId"] for prefixes in found["prefix_lists"]), None),
        "security_groups": {
            kind: group["GroupId"]
            for kind in GROUPS
            for group in owned["groups"]
            if group["GroupName"] == f"{name}-{kind}"
        },
        "default_security_group_id": next(
            (group["GroupId"] for group in here if group["GroupName"] == "default"), None
        ),
        "default_network_acl": next((_network_acl(acl) for acl in found["network_acls"] if acl["VpcId"] == vpc_id), None),
    }


def _network_acl(acl: dict[str, Any]) -> dict[str, Any]:
    """Its id, and whether it refuses anything that it did not when AWS made it."""
    ingress = [entry for entry in acl["Entries"] if not entry["Egress"] and entry["RuleNumber"] < LAST_ACL_RULE]
    return {"network_acl_id": acl["NetworkAclId"], "denies": any(entry["RuleAction"] == "deny" for entry in ingress)}


def _zones(subnets: list[dict[str, Any]], given: dict[str, Any]) -> list[str]:
    wanted = set(given["private_subnet_ids"])
    return sorted({subnet["AvailabilityZone"] for subnet in subnets if not wanted or subnet["SubnetId"] in wanted})


def outputs(live: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``network_outputs`` for a ``summary``; None and empty lists for what is not there."""
    subnets = live["subnets"]

    def ids(kind: str) -> list[str]:
        return [subnet["subnet_id"] for subnet in subnets if subnet["kind"] == kind]

    groups = live["security_groups"]
    return {
        "vpc_id": live["vpc_id"],
        "vpc_cidr": live["vpc_cidr"],
        "availability_zones": live["zones"],
        "public_subnet_ids": given["public_subnet_ids"] or ids("public"),
        "private_subnet_ids": given["private_subnet_ids"] or ids("private"),
        "internet_gateway_id": live["internet_gateway_id"],
        "nat_gateway_ids": [nat["nat_gateway_id"] for nat in live["nat_gateways"] if nat["state"] not in GONE],
        "s3_endpoint_id": live["s3_endpoint"]["endpoint_id"] if live["s3_endpoint"] else None,
        "interface_endpoint_ids": live["interface_endpoint_ids"],
        "flow_log_id": next(iter(live["flow_log_ids"]), None),
        **{f"{kind}_security_group_id": groups.get(kind) for kind in GROUPS},
    }


def interface_endpoints(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Interface endpoints as ``endpoint_id, service, state, reason``, without those that are deleted."""
    return [
        {
            "endpoint_id": endpoint["VpcEndpointId"],
            "service": endpoint["ServiceName"],
            "state": endpoint["State"].lower(),
            "reason": (endpoint.get("LastError") or {}).get("Message", ""),
        }
        for endpoint in found
        if endpoint["VpcEndpointType"] == "Interface" and endpoint["State"].lower() != "deleted"
    ]


def endpoint_fault(endpoints: list[dict[str, Any]]) -> str | None:
    """Why an interface endpoint will never be available; None while all may become so."""
    for endpoint in endpoints:
        if endpoint["state"] not in (*ALIVE, *GONE[:2]):
            return (
                f"interface endpoint {endpoint['endpoint_id']} for {endpoint['service']} is {endpoint['state']}: "
                f"{endpoint['reason'] or 'AWS gives no reason'}; mend the cause and run again, a new one is made then"
            )
    return None


def nat_fault(gateways: list[dict[str, Any]]) -> str | None:
    """Why a NAT gateway will never be available; None while all may become so.

    A failed one stays visible for an hour (EC2 DescribeNatGateways), so one with a successor does not count.
    """
    served = {gateway["subnet_id"] for gateway in gateways if gateway["state"] in ALIVE}
    for gateway in gateways:
        if gateway["state"] == "failed" and gateway["subnet_id"] not in served:
            return (
                f"NAT gateway {gateway['nat_gateway_id']} failed: {gateway['reason'] or 'AWS gives no reason'}; "
                "mend the cause and run again, a new one is made then"
            )
    return None


def nat_of_zone(subnets: list[dict[str, Any]], gateways: list[dict[str, Any]]) -> dict[str, str]:
    """Zone -> id of the NAT gateway in its public subnet."""
    zones = {subnet["subnet_id"]: subnet["zone"] for subnet in subnets}
    return {
        zones[gateway["subnet_id"]]: gateway["nat_gateway_id"]
        for gateway in gateways
        if gateway["state"] in ALIVE and gateway["subnet_id"] in zones
    }
