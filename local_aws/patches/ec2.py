# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's EC2, with NAT gateways that take their time and deletions that mind what depends on them.

The API: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
"""

from __future__ import annotations

import inspect
import threading
from typing import Any

from moto.ec2 import models
from moto.ec2.exceptions import DependencyViolationError, EC2ClientError, FlowLogAlreadyExists
from moto.ec2.models.flow_logs import FlowLogsBackend
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.network_acls import NetworkAcl
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE

from ..ec2_addresses import free_private_address
from ..runtime import Runtime
from . import replace

BACKEND = models.EC2Backend
# CreateTags, ResourceType: what AWS calls them; moto has names of its own, under which no module finds its tags again.
RESOURCE_TYPES = {"nat": "natgateway", "eipalloc": "elastic-ip"}


def apply(runtime: Runtime) -> None:
    for prefix, name in RESOURCE_TYPES.items():
        if prefix not in EC2_PREFIX_TO_RESOURCE:
            raise AttributeError(f"moto has no resource type for {prefix} any more: the patch for it must be looked at")
        EC2_PREFIX_TO_RESOURCE[prefix] = name
    _patch_nat_gateways(runtime)
    _patch_deletions()
    _patch_creations()
    _patch_flow_logs()
    _patch_network_acls()


def _patch_network_acls() -> None:
    def filter_value(self: Any, filter_name: str) -> Any:
        return self.id if filter_name == "network-acl-id" else plain(self, filter_name)

    plain = replace(NetworkAcl, "get_filter_value", filter_value)


def _patch_flow_logs() -> None:
    def create(self: Any, **options: Any) -> Any:
        # moto takes bucket and prefix for the name of the bucket.
        place, ids = options["log_destination"] or "", options["resource_ids"]
        if any(one.resource_id in ids and one.log_destination == place for one in self.flow_logs.values()):
            raise FlowLogAlreadyExists()
        made, refused = plain_create(self, **{**options, "log_destination": place.partition("/")[0] or None})
        for one in made:
            one.log_destination = place
        return made, refused

    plain_create = replace(
        FlowLogsBackend,
        "create_flow_logs",
        create,
        (
            "self",
            "resource_type",
            "resource_ids",
            "traffic_type",
            "deliver_logs_permission_arn",
            "log_destination_type",
            "log_destination",
            "log_group_name",
            "log_format",
            "max_aggregation_interval",
        ),
    )


class NatGatewayNotFound(EC2ClientError):
    def __init__(self, identifier: str) -> None:
        super().__init__("NatGatewayNotFound", f"The Nat Gateway {identifier} was not found")


def _patch_nat_gateways(runtime: Runtime) -> None:
    plain_create, plain_describe = NatGatewayBackend.create_nat_gateway, NatGatewayBackend.describe_nat_gateways

    def later(seconds: float, gateway: Any, state: str, then: Any = None) -> None:
        def work() -> None:
            runtime.stopping.wait(seconds)
            # First the consequences: who sees the state may rely on them.
            if then:
                then()
            gateway.state = state

        threading.Thread(target=work, daemon=True).start()

    def create(self: Any, *arguments: Any, **more: Any) -> Any:
        gateway = plain_create(self, *arguments, **more)
        # moto's address is any, AWS's is one of the subnet.
        address = free_private_address(self, gateway._eni.subnet)
        gateway._eni.private_ip_address = gateway.private_ip = gateway.address_set[0]["privateIp"] = address
        gateway.state = "pending"
        later(runtime.latency.duration("nat_create"), gateway, "available")
        return gateway

    def describe(self: Any, filters: Any, nat_gateway_ids: list[str] | None) -> list[Any]:
        found = plain_describe(self, filters, nat_gateway_ids)
        for name, values in (filters or {}).items():
            if name.startswith("tag:"):
                found = [one for one in found if one.get_filter_value(name) in values]
        missing = set(nat_gateway_ids or []) - set(self.nat_gateways)
        if missing:
            raise NatGatewayNotFound(missing.pop())
        return found

    def delete(self: Any, nat_gateway_id: str) -> Any:
        gateway = self.nat_gateways.get(nat_gateway_id)
        if gateway is None:
            raise NatGatewayNotFound(nat_gateway_id)
        if gateway.state in ("deleting", "deleted"):
            return gateway
        gateway.state = "deleting"

        def release() -> None:
            # The address belongs to the gateway until it is gone (DeleteNatGateway).
            for address in gateway.address_set:
                if address.get("associationId"):
                    self.disassociate_address(association_id=address["associationId"])
            self.enis.pop(gateway._eni.id, None)
            # It stays describable for an hour, but is no resource any more.
            self.tags.pop(gateway.id, None)

        later(runtime.latency.duration("nat_delete"), gateway, "deleted", release)
        return gateway

    replace(NatGatewayBackend, "create_nat_gateway", create)
    replace(NatGatewayBackend, "describe_nat_gateways", describe, ("self", "filters", "nat_gateway_ids"))
    replace(NatGatewayBackend, "delete_nat_gateway", delete, ("self", "nat_gateway_id"))


def _patch_deletions() -> None:
    plain_subnet, plain_group, plain_detach = (
        BACKEND.delete_subnet,
        BACKEND._delete_security_group,
        BACKEND.detach_internet_gateway,
    )
    plain_vpc = BACKEND.delete_vpc

    def delete_subnet(self: Any, subnet_id: str) -> Any:
        if any(eni.subnet.id == subnet_id for eni in self.enis.values()):
            raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
        return plain_subnet(self, subnet_id)

    def delete_group(self: Any, vpc_id: str | None, group_id: str) -> Any:
        groups = [group for in_vpc in self.groups.values() for group in in_vpc.values() if group.id != group_id]
        rules = [rule for group in groups for rule in [*group.ingress_rules, *group.egress_rules]]
        named = any(rule.source_group.get("GroupId") == group_id for rule in rules)
        worn = any(group_id in [one.id for one in eni.group_set] for eni in self.enis.values())
        if named or worn:
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        return plain_group(self, vpc_id, group_id)

    def detach(self: Any, internet_gateway_id: str, vpc_id: str) -> Any:
        in_use = ("pending", "available", "deleting")
        if any(one.vpc_id == vpc_id and one.state in in_use for one in self.nat_gateways.values()):
            raise DependencyViolationError(
                f"Network {vpc_id} has some mapped public address(es). "
                "Please unmap those public address(es) before detaching the gateway."
            )
        return plain_detach(self, internet_gateway_id, vpc_id)

    def delete_vpc(self: Any, vpc_id: str) -> Any:
        attached = any(one.vpc and one.vpc.id == vpc_id for one in self.internet_gateways.values())
        groups = any(one.name != "default" for one in self.groups.get(vpc_id, {}).values())
        endpoints = any(one.vpc_id == vpc_id and one.state != "deleted" for one in self.vpc_end_points.values())
        if attached or groups or endpoints:
            raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
        gone = plain_vpc(self, vpc_id)
        # Its default network ACL came with it.
        for acl_id in [acl.id for acl in self.network_acls.values() if acl.vpc_id == vpc_id]:
            self.network_acls.pop(acl_id)
            self.tags.pop(acl_id, None)
        return gone

    replace(BACKEND, "delete_subnet", delete_subnet, ("self", "subnet_id"))
    replace(BACKEND, "_delete_security_group", delete_group, ("self", "vpc_id", "group_id"))
    replace(BACKEND, "detach_internet_gateway", detach, ("self", "internet_gateway_id", "vpc_id"))
    replace(BACKEND, "delete_vpc", delete_vpc, ("self", "vpc_id"))

    plain_release = BACKEND.release_address

    def release(self: Any, address: str | None = None, allocation_id: str | None = None) -> None:
        found = self.address_by_ip([address]) if address else self.address_by_allocation([allocation_id])
        if found[0].association_id:
            raise EC2ClientError("InvalidIPAddress.InUse", f"Address {found[0].public_ip} is in use.")
        plain_release(self, address, allocation_id)

    replace(BACKEND, "release_address", release, ("self", "address", "allocation_id"))


def _patch_creations() -> None:
    plain_route = BACKEND.create_route
    signature = inspect.signature(plain_route)
    if "nat_gateway_id" not in signature.parameters:
        raise TypeError("moto's EC2Backend takes no nat_gateway_id now: the patch must be looked at")

    def create_route(self: Any, *arguments: Any, **more: Any) -> Any:
        gateway = signature.bind(self, *arguments, **more).arguments.get("nat_gateway_id")
        if gateway and (gateway not in self.nat_gateways or self.nat_gateways[gateway].state == "deleted"):
            raise EC2ClientError("InvalidNatGatewayID.NotFound", f"The natGateway ID '{gateway}' does not exist")
        return plain_route(self, *arguments, **more)

    replace(BACKEND, "create_route", create_route)
