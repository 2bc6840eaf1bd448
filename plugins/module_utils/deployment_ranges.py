# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether address ranges, subnets, zones and ports of a deployment fit together."""

from __future__ import annotations

import ipaddress
import re
from itertools import combinations
from typing import Any

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

EVERYBODY = ipaddress.IPv4Network("0.0.0.0/0")
# RFC 1918, and what carriers and AWS's own networks share (RFC 6598).
PRIVATE = tuple(
    ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
KINDS = ("public_subnet_cidrs", "private_subnet_cidrs")
NAT_MODES = ("single", "per_zone", "none")
# What a task on Fargate calls before and while it runs; S3, the fifth, has a gateway endpoint
# (https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html).
NEEDED_ENDPOINTS = ("ecr.api", "ecr.dkr", "logs", "secretsmanager")
ECR_IMAGE = re.compile(r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.+")
ENDPOINT_SERVICE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")


def parse_cidr(text: str) -> ipaddress.IPv4Network:
    """The IPv4 network ``text`` stands for; ValueError with a reason in plain words if it is none."""
    if not re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text):
        raise ValueError("is not an IPv4 range in CIDR notation")
    try:
        return ipaddress.IPv4Network(text)
    except ipaddress.NetmaskValueError:
        raise ValueError("has a prefix length other than 0 to 32") from None
    except ValueError:
        pass
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError("is not an IPv4 range in CIDR notation") from None
    raise ValueError(f"has host bits set, the range is {network}")


def check_network(desired: dict[str, Any], found: Findings) -> None:
    """Checks VPC and subnet ranges (or the existing ids), zones, client ranges and ports of ``desired``."""
    if desired.get("vpc_id"):
        _check_existing(desired, found)
    else:
        _check_created(desired, found)
    _check_clients(desired, found)
    _check_way_out(desired, found)
    _check_ports(desired, found)


def _check_existing(desired: dict[str, Any], found: Findings) -> None:
    vpc_id = desired["vpc_id"]
    if not re.fullmatch(r"vpc-[0-9a-f]{8}([0-9a-f]{9})?", vpc_id):
        found.refuse(
            "vpc_id", vpc_id, "is not the id of a VPC", 'give an id like "vpc-0123456789abcdef0", or "" to create'
        )
    for option in ("public_subnet_ids", "private_subnet_ids"):
        ids = desired.get(option) or []
        if len(set(ids)) < 2:
            found.refuse(
                option,
                ids,
                "an existing VPC needs at least two subnets of each kind, in two zones",
                "name the subnets to use",
            )
        for subnet_id in ids:
            if not re.fullmatch(r"subnet-[0-9a-f]{8}([0-9a-f]{9})?", subnet_id):
                found.refuse(option, subnet_id, "is not the id of a subnet", 'give ids like "subnet-0123456789abcdef0"')


def _check_created(desired: dict[str, Any], found: Findings) -> None:
    for option in ("public_subnet_ids", "private_subnet_ids"):
        if desired.get(option):
            found.refuse(
                option,
                desired[option],
                "subnets were given without their VPC",
                f"set {found.name('vpc_id')} too, or leave the list empty",
            )
    vpc = _range("vpc_cidr", desired.get("vpc_cidr"), found)
    subnets: list[tuple[str, ipaddress.IPv4Network]] = []
    for option in KINDS:
        subnets += _subnets(option, desired.get(option), vpc, found)
    for (one_option, one), (other_option, other) in combinations(subnets, 2):
        if one.overlaps(other):
            found.refuse(
                other_option,
                str(other),
                f"overlaps {one} of {found.name(one_option)}",
                "give every subnet its own range",
            )
    _check_zones(desired, found)


def _range(option: str, text: str | None, found: Findings, longest: int = 28) -> ipaddress.IPv4Network | None:
    """The network, or None after a problem was noted. AWS takes /16 to /28 (EC2 CreateVpc, CreateSubnet)."""
    if text is None:
        return None
    try:
        network = parse_cidr(text)
    except ValueError as fault:
        found.refuse(option, text, str(fault), 'write it like "10.0.0.0/16"')
        return None
    if not 16 <= network.prefixlen <= longest:
        found.refuse(
            option, text, f"is a /{network.prefixlen}, AWS takes /16 to /{longest} here", "choose another size"
        )
        return None
    return network


def _subnets(
    option: str, texts: list[str] | None, vpc: ipaddress.IPv4Network | None, found: Findings
) -> list[tuple[str, ipaddress.IPv4Network]]:
    if texts is None:
        return []
    if len(texts) < 2:
        found.refuse(
            option, texts, "load balancer and database need subnets in two zones at least", "give two ranges or more"
        )
    # A load balancer's subnet is a /27 or larger (Elastic Load Balancing user guide, "Subnets").
    longest = 27 if option == "public_subnet_cidrs" else 28
    networks = [network for network in (_range(option, text, found, longest) for text in texts) if network]
    for network in networks:
        if vpc and not network.subnet_of(vpc):
            found.refuse(
                option,
                str(network),
                f"lies outside the VPC's range {vpc}",
                f"choose a part of {found.name('vpc_cidr')}",
            )
    return [(option, network) for network in networks]


def _check_zones(desired: dict[str, Any], found: Findings) -> None:
    counts = [len(desired[option]) for option in KINDS if desired.get(option) is not None]
    if len(set(counts)) > 1:
        found.refuse(
            "private_subnet_cidrs",
            desired["private_subnet_cidrs"],
            f"there are {counts[1]} private and {counts[0]} public subnets, one of each belongs in every zone",
            f"give as many as {found.name('public_subnet_cidrs')} has",
        )
    zones = desired.get("availability_zones") or []
    if len(set(zones)) < len(zones):
        found.refuse("availability_zones", zones, "names a zone twice", "name each zone once")
    elif zones and counts and len(zones) != max(counts):
        found.refuse(
            "availability_zones",
            zones,
            f"names {len(zones)} zones for {max(counts)} subnets of each kind",
            "name one zone for each pair of subnets, or none to have them chosen",
        )


def _check_clients(desired: dict[str, Any], found: Findings) -> None:
    cidrs = desired.get("client_cidrs")
    if cidrs is None:
        return
    if not cidrs:
        found.refuse("client_cidrs", cidrs, "nobody could reach the load balancer", "name at least one range")
    networks = []
    internal = desired.get("load_balancer_scheme") == "internal"
    for text in cidrs:
        try:
            network = parse_cidr(text)
        except ValueError as fault:
            found.refuse("client_cidrs", text, str(fault), 'write it like "203.0.113.0/24"')
            continue
        networks.append(network)
        if network == EVERYBODY and not internal and not desired.get("https"):
            found.warn(
                "client_cidrs",
                text,
                "everybody can connect, and passwords travel in plain HTTP",
                "name your own ranges",
            )
    if internal and networks and not any(_has_private(network) for network in networks):
        found.refuse(
            "client_cidrs",
            cidrs,
            "public addresses do not reach an internal load balancer",
            "name the ranges of your private networks, or make it internet-facing",
        )


def _check_way_out(desired: dict[str, Any], found: Findings) -> None:
    """How tasks reach AWS, images and packages."""
    services = desired.get("interface_endpoints") or []
    for service in services:
        if not ENDPOINT_SERVICE.fullmatch(service):
            found.refuse(
                "interface_endpoints",
                service,
                "is not the end of an endpoint's name",
                'write "logs" for com.amazonaws.<region>.logs',
            )
    if desired.get("vpc_id"):
        if services:
            found.refuse(
                "interface_endpoints",
                services,
                "endpoints are made in a VPC of the deployment's own only",
                "make them in your VPC yourself and name none here",
            )
        return
    if desired.get("nat_mode") != "none":
        return
    if missing := [service for service in NEEDED_ENDPOINTS if service not in services]:
        found.refuse(
            "interface_endpoints",
            services,
            f"without a NAT gateway tasks would not start: they do not reach {', '.join(missing)}",
            f"add what is missing, or set {found.name('nat_mode')} to single",
        )
    image = desired.get("image")
    if image and not ECR_IMAGE.fullmatch(image):
        found.refuse(
            "image",
            image,
            "without a NAT gateway tasks cannot pull it",
            f"name an image in your ECR, or set {found.name('nat_mode')} to single",
        )
    if desired.get("install"):
        found.refuse(
            "install",
            True,
            "without a NAT gateway tasks reach no package index",
            f"set it to false and use an image that has MLflow inside, or set {found.name('nat_mode')} to single",
        )


def _has_private(network: ipaddress.IPv4Network) -> bool:
    return any(network.overlaps(private) for private in PRIVATE)


def _check_ports(desired: dict[str, Any], found: Findings) -> None:
    # RDS refuses ports below 1150 (CreateDBInstance, Port).
    for option, lowest in (("listener_port", 1), ("container_port", 1024), ("database_port", 1150)):
        port = desired.get(option)
        if port is not None and not lowest <= port <= 65535:
            found.refuse(option, port, f"is not a port from {lowest} to 65535", "choose another port")
    mode = desired.get("nat_mode")
    if mode is not None and mode not in NAT_MODES:
        found.refuse("nat_mode", mode, "is not a way to reach the internet", f"choose one of {', '.join(NAT_MODES)}")
