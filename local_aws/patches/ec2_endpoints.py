# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's VPC endpoints, of which the interface ones take their time, have network interfaces, and refuse what AWS refuses.

The API: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpcEndpoint.html
"""

from __future__ import annotations

import inspect
import threading
from typing import Any

from moto.ec2 import models
from moto.ec2.exceptions import EC2ClientError, InvalidSecurityGroupNotFoundError
from moto.ec2.responses.vpcs import VPCs

from ..ec2_addresses import free_private_address
from ..runtime import Runtime
from . import replace

BACKEND = models.EC2Backend
LIVING = ("pending", "available")


def _is_interface(endpoint: Any) -> bool:
    return endpoint.vpc_endpoint_type == "Interface"


def _check_groups(backend: Any, group_ids: list[str]) -> None:
    for group_id in group_ids:
        if backend.get_security_group_from_id(group_id) is None:
            raise InvalidSecurityGroupNotFoundError(group_id)


def _refuse_second_name(backend: Any, endpoint: Any) -> None:
    """A VPC has one private name for a service."""
    for other in backend.vpc_end_points.values():
        same = (other.vpc_id, other.service_name) == (endpoint.vpc_id, endpoint.service_name)
        if other is not endpoint and same and other.private_dns_enabled and other.state in LIVING:
            raise EC2ClientError(
                "InvalidParameter",
                f"private-dns-enabled cannot be set because there is already a conflicting DNS domain for "
                f"{endpoint.service_name} in the VPC {endpoint.vpc_id}",
            )


def _renew_interfaces(backend: Any, endpoint: Any) -> None:
    """One network interface in each subnet, which wears the endpoint's groups."""
    found = {backend.enis[one].subnet.id: one for one in endpoint.network_interface_ids if one in backend.enis}
    for subnet_id in set(found) - set(endpoint.subnet_ids):
        backend.enis.pop(found.pop(subnet_id))
    for subnet_id in endpoint.subnet_ids:
        if subnet_id not in found:
            subnet = backend.get_subnet(subnet_id)
            address = free_private_address(backend, subnet)
            text = f"VPC Endpoint Interface {endpoint.id}"
            interface = backend.create_network_interface(
                subnet, address, group_ids=endpoint.security_group_ids, description=text
            )
            found[subnet_id] = interface.id
    endpoint.network_interface_ids = [found[subnet_id] for subnet_id in endpoint.subnet_ids]
    groups = [backend.get_security_group_from_id(group_id) for group_id in endpoint.security_group_ids]
    for interface_id in endpoint.network_interface_ids:
        backend.enis[interface_id]._group_set = groups


def apply(runtime: Runtime) -> None:
    plain_create, plain_modify = BACKEND.create_vpc_endpoint, BACKEND.modify_vpc_endpoint
    plain_delete, plain_answer = BACKEND.delete_vpc_endpoints, VPCs.modify_vpc_endpoint
    signature = inspect.signature(plain_create)
    for name in ("endpoint_type", "private_dns_enabled", "service_name", "security_group_ids", "subnet_ids"):
        if name not in signature.parameters:
            raise TypeError(f"moto's EC2Backend takes no {name} now: the patch must be looked at")

    def later(endpoint: Any, state: str, then: Any = None) -> None:
        def work() -> None:
            runtime.stopping.wait(runtime.latency.duration("interface_endpoint"))
            if then:
                then()
            endpoint.state = state

        threading.Thread(target=work, daemon=True).start()

    def create(self: Any, *arguments: Any, **more: Any) -> Any:
        bound = signature.bind(self, *arguments, **more)
        asked = bound.arguments
        # The default is Gateway, which has no private DNS.
        asked["endpoint_type"] = asked.get("endpoint_type") or "Gateway"
        if asked["endpoint_type"] == "Gateway":
            asked["private_dns_enabled"] = False
            return plain_create(*bound.args, **bound.kwargs)
        self.describe_vpc_endpoint_services([asked["service_name"]], [], 0, None, self.region_name)
        _check_groups(self, asked.get("security_group_ids") or [])
        subnet_ids = list(asked.get("subnet_ids") or [])
        for subnet_id in subnet_ids:
            self.get_subnet(subnet_id)
        asked["subnet_ids"] = []
        endpoint = plain_create(*bound.args, **bound.kwargs)
        try:
            if endpoint.private_dns_enabled:
                _refuse_second_name(self, endpoint)
        except EC2ClientError:
            self.vpc_end_points.pop(endpoint.id)
            self.tags.pop(endpoint.id, None)
            raise
        endpoint.subnet_ids = subnet_ids
        _renew_interfaces(self, endpoint)
        endpoint.state = "pending"
        later(endpoint, "available")
        return endpoint

    def modify(self: Any, vpc_id: str, *arguments: Any, **more: Any) -> None:
        _check_groups(self, more.get("add_security_groups") or [])
        for subnet_id in more.get("add_subnets") or []:
            self.get_subnet(subnet_id)
        plain_modify(self, vpc_id, *arguments, **more)
        endpoint = self.get_vpc_end_point(vpc_id)
        if _is_interface(endpoint):
            _renew_interfaces(self, endpoint)

    def answer(self: Any) -> Any:
        private_dns = self._get_bool_param("PrivateDnsEnabled")
        done = plain_answer(self)
        if private_dns is not None:
            endpoint = self.ec2_backend.get_vpc_end_point(self._get_param("VpcEndpointId"))
            if private_dns:
                _refuse_second_name(self.ec2_backend, endpoint)
            endpoint.private_dns_enabled = private_dns
        return done

    def delete(self: Any, vpce_ids: list[str] | None = None) -> None:
        interfaces = [
            endpoint
            for endpoint in map(self.vpc_end_points.get, vpce_ids or [])
            if endpoint is not None and _is_interface(endpoint)
        ]
        plain_delete(self, [one for one in vpce_ids or [] if one not in {endpoint.id for endpoint in interfaces}])
        for endpoint in interfaces:
            if endpoint.state in LIVING:
                endpoint.state = "deleting"
                later(endpoint, "deleted", lambda gone=endpoint: release(self, gone))

    def release(backend: Any, endpoint: Any) -> None:
        for interface_id in endpoint.network_interface_ids:
            backend.enis.pop(interface_id, None)
        backend.tags.pop(endpoint.id, None)
        backend.vpc_end_points.pop(endpoint.id, None)

    replace(BACKEND, "create_vpc_endpoint", create)
    replace(BACKEND, "modify_vpc_endpoint", modify)
    replace(BACKEND, "delete_vpc_endpoints", delete, ("self", "vpce_ids"))
    replace(VPCs, "modify_vpc_endpoint", answer)
