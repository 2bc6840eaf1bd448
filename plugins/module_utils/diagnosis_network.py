# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether security groups and routes let tasks reach what they need, and the load balancer the tasks. Everything here is pure.

`facts["network"]` holds EC2's own answers: groups, subnets, route_tables, nat_gateways, endpoints. What is not known counts as open.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.diagnosis_cause import Cause

ANYWHERE = "0.0.0.0/0"
HTTPS = 443
# Services of AWS that a task in a network without the internet reaches by endpoints.
NEEDED = ("logs", "secretsmanager")
OF_ECR = ("ecr.api", "ecr.dkr")
GROUPS = "deploy again: site.yml sets the rules of its security groups"


def causes(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    network, service = facts["network"], facts["service"]
    if network is None or service is None:
        return
    yield from _between_groups(facts, network, service)
    yield from _ways_out(facts, network, service)


def admits(
    permissions: t.Iterable[dict[str, t.Any]], port: int, groups: t.Collection[str], ranges: t.Sequence[str]
) -> bool:
    """Whether rules of a security group (IpPermissions) let TCP to `port` through, from or to one of `groups` or all `ranges`."""
    for rule in permissions:
        if not _covers(rule, port):
            continue
        if any(pair.get("GroupId") in groups for pair in rule.get("UserIdGroupPairs") or []):
            return True
        if rule.get("PrefixListIds"):
            return True
        allowed = [one.get("CidrIp", "") for one in rule.get("IpRanges") or []]
        if allowed and ranges and all(any(_within(one, other) for other in allowed) for one in ranges):
            return True
    return False


def _covers(rule: dict[str, t.Any], port: int) -> bool:
    protocol = str(rule.get("IpProtocol", ""))
    if protocol == "-1":
        return True
    first, last = rule.get("FromPort"), rule.get("ToPort")
    return protocol in ("tcp", "6") and isinstance(first, int) and isinstance(last, int) and first <= port <= last


def _within(inner: str, outer: str) -> bool:
    try:
        return ipaddress.IPv4Network(inner).subnet_of(ipaddress.IPv4Network(outer))
    except ValueError:
        return False


def rules_of(network: dict[str, t.Any], ids: t.Collection[str], direction: str) -> list[dict[str, t.Any]] | None:
    """The IpPermissions or IpPermissionsEgress of all these groups together; None if one of them is not known."""
    found = {group.get("GroupId"): group for group in network["groups"]}
    if not ids or not set(ids) <= found.keys():
        return None
    return [rule for one in ids for rule in found[one].get(direction) or []]


def ranges_of(network: dict[str, t.Any], ids: t.Collection[str]) -> list[str]:
    return [one.get("CidrBlock", "") for one in network["subnets"] if one.get("SubnetId") in ids]


def _between_groups(facts: dict[str, t.Any], network: dict[str, t.Any], service: dict[str, t.Any]) -> t.Iterator[Cause]:
    ours, database = service["security_groups"], facts["database"]
    missing = sorted(set(ours) - {group.get("GroupId") for group in network["groups"]})
    if missing:
        yield Cause(
            "security_group_missing",
            90,
            f"The security group {', '.join(missing)} of the tasks does not exist",
            GROUPS,
            [],
        )
        return
    if database and database["port"] and database["security_groups"]:
        port, theirs = database["port"], database["security_groups"]
        inward, outward = rules_of(network, theirs, "IpPermissions"), rules_of(network, ours, "IpPermissionsEgress")
        if inward is not None and not admits(inward, port, ours, ranges_of(network, service["subnets"])):
            yield Cause(
                "database_closed", 88, f"The security group of the database does not let the tasks in on port {port}", GROUPS,
                [f"{', '.join(theirs)} has no rule for TCP {port} from {', '.join(ours)}"],
            )  # fmt: skip
        if outward is not None and not admits(outward, port, theirs, ranges_of(network, database["subnets"])):
            yield Cause(
                "database_closed", 87, f"The security group of the tasks does not let them out to the database on port {port}", GROUPS,
                [f"{', '.join(ours)} has no rule for TCP {port} to {', '.join(theirs)}"],
            )  # fmt: skip
    balancer = (facts["load_balancer"] or {}).get("security_groups") or []
    port = service["container_port"]
    inward, outward = rules_of(network, ours, "IpPermissions"), rules_of(network, balancer, "IpPermissionsEgress")
    zones = ranges_of(network, (facts["load_balancer"] or {}).get("subnets") or [])
    if port and balancer and inward is not None and not admits(inward, port, balancer, zones):
        yield Cause(
            "tasks_closed", 88, f"The security group of the tasks does not let the load balancer in on port {port}", GROUPS,
            [f"{', '.join(ours)} has no rule for TCP {port} from {', '.join(balancer)}"],
        )  # fmt: skip
    if port and outward is not None and not admits(outward, port, ours, ranges_of(network, service["subnets"])):
        yield Cause(
            "tasks_closed", 87, f"The security group of the load balancer does not let it out to the tasks on port {port}", GROUPS,
            [f"{', '.join(balancer)} has no rule for TCP {port} to {', '.join(ours)}"],
        )  # fmt: skip
    outward = rules_of(network, ours, "IpPermissionsEgress")
    if outward is not None and not any(_covers(rule, HTTPS) for rule in outward):
        yield Cause(
            "no_way_out", 86, "The security group of the tasks does not let them out on port 443: not to S3, Secrets Manager and packages", GROUPS,
            [f"{', '.join(ours)} has no rule for TCP 443"],
        )  # fmt: skip


def route_table(network: dict[str, t.Any], subnet: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """The route table of a subnet: its own, else the main one of its VPC; None if neither is known."""
    main = None
    for table in network["route_tables"]:
        for association in table.get("Associations") or []:
            if association.get("SubnetId") == subnet.get("SubnetId"):
                return table
            if association.get("Main") and table.get("VpcId") == subnet.get("VpcId"):
                main = table
    return main


def internet_fault(network: dict[str, t.Any], table: dict[str, t.Any], public_ip: bool) -> str:
    """Why what has this route table does not reach the internet; empty if it does."""
    route = next((one for one in table.get("Routes") or [] if one.get("DestinationCidrBlock") == ANYWHERE), None)
    where = table.get("RouteTableId", "")
    if route is None:
        return f"route table {where} has no default route"
    if route.get("State") == "blackhole":
        return f"the default route of {where} leads to something that is gone"
    if str(route.get("GatewayId", "")).startswith("igw-") and not public_ip:
        return f"the default route of {where} leads to an internet gateway, and the tasks have no public address"
    states = {one.get("NatGatewayId"): one.get("State") for one in network["nat_gateways"]}
    nat = route.get("NatGatewayId")
    if nat and states.get(nat, "gone") != "available":
        return f"the default route of {where} leads to NAT gateway {nat}, which is {states.get(nat, 'gone')}"
    return ""


def has_endpoint(network: dict[str, t.Any], service: str, table_id: str = "") -> bool:
    """Whether an endpoint of the VPC leads to a service of AWS: an interface, or a gateway in this route table."""
    for one in network["endpoints"]:
        if (
            not str(one.get("ServiceName", "")).endswith(f".{service}")
            or str(one.get("State", "")).lower() != "available"
        ):
            continue
        if one.get("VpcEndpointType") != "Gateway" or table_id in (one.get("RouteTableIds") or []):
            return True
    return False


def _ways_out(facts: dict[str, t.Any], network: dict[str, t.Any], service: dict[str, t.Any]) -> t.Iterator[Cause]:
    definition = facts["definition"] or {"image": "", "environment": {}}
    # Packages and images of other registries come by the internet only.
    own_image = ".dkr.ecr." in definition["image"]
    needs_internet = bool(definition["environment"].get("LAUNCHER_REQUIREMENTS")) or (
        bool(definition["image"]) and not own_image
    )
    for subnet in network["subnets"]:
        table = route_table(network, subnet) if subnet.get("SubnetId") in service["subnets"] else None
        fault = internet_fault(network, table, service["public_ip"]) if table else ""
        if not table or not fault:
            continue
        table_id, name = table.get("RouteTableId", ""), subnet.get("SubnetId", "")
        seen = [f"subnet {name}: {fault}"]
        if not has_endpoint(network, "s3", table_id):
            yield Cause(
                "no_way_to_s3",
                89,
                f"Tasks in {name} have no way to S3: no default route and no endpoint",
                "give their route table an S3 gateway endpoint, or a default route (site.yml makes both)",
                seen,
            )
        if needs_internet:
            yield Cause(
                "no_way_to_internet", 88, f"Tasks in {name} have no way to the internet, from where their image or packages come",
                "give their route table a default route to a NAT gateway that is available (site.yml makes it), or use an image in ECR with"
                " MLflow in it (ecs_mlflow_install: false)", seen,
            )  # fmt: skip
        lacking = [one for one in (*NEEDED, *(OF_ECR if own_image else ())) if not has_endpoint(network, one)]
        if lacking and not needs_internet:
            yield Cause(
                "no_endpoint",
                87,
                f"Tasks in {name} have no way to {', '.join(lacking)}: no default route and no endpoint",
                "make interface endpoints for them (network_nat_mode: none does), or a default route",
                seen,
            )
