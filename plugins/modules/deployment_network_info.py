#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_network_info
version_added: "0.1.0"
short_description: Find the network of a deployment by its tags
description:
  - Finds VPC, subnets, gateways, elastic IP addresses, route tables, S3 endpoint and security groups that carry the
    tags C(mlflow-deployment) with the deployment's name and C(managed-by=mlops.mlflow_aws). Nothing missing is an
    error.
  - Fails if a security group or VPC has a name of the deployment but not its tags, so that nothing foreign is taken
    over or removed.
  - Can wait until the NAT gateways are available, or gone.
  - One process asks for all of them, where the modules of the C(amazon.aws) collection would take one task for each
    kind.
  - Wraps the C(Describe) calls of the Amazon EC2 API.
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  vpc_id:
    description: Id of an existing VPC that the deployment uses; empty if it has its own.
    type: str
    default: ""
  public_subnet_ids:
    description: Ids of the existing public subnets that the deployment uses.
    type: list
    elements: str
    default: []
  private_subnet_ids:
    description: Ids of the existing private subnets that the deployment uses.
    type: list
    elements: str
    default: []
  wait_for:
    description:
      - V(available) waits until no NAT gateway or interface endpoint of the deployment is pending, and fails if one failed.
      - V(deleted) waits until there is none.
      - V(none) does not wait. Nothing waits in check mode.
    type: str
    choices: [none, available, deleted]
    default: none
  wait_timeout:
    description: How long to wait, in seconds.
    type: int
    default: 600
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Find the network
  mlops.mlflow_aws.deployment_network_info:
    name: fraud-scoring-mlflow
  register: network

- name: Show the id of the VPC, null if there is none
  ansible.builtin.debug:
    var: network.outputs.vpc_id
"""

RETURN = r"""
region:
  description: Region that was asked.
  returned: success
  type: str
outputs:
  description: The outputs of the role P(mlops.mlflow_aws.network#role); null or empty for what is not there.
  returned: success
  type: dict
  sample:
    vpc_id: vpc-0123456789abcdef0
    vpc_cidr: 10.0.0.0/16
live:
  description: The resources with what is needed to change or remove them.
  returned: success
  type: dict
arguments:
  description:
    - The deployment's own resources as the arguments with which the module of the C(amazon.aws) collection would make them,
      by the module's name; a task whose arguments are among them has nothing to do.
    - Lists, or for what has a name or a zone a dictionary by that.
  returned: success
  type: dict
  sample:
    ec2_vpc_subnet:
      - az: eu-west-2a
        cidr: 10.0.0.0/24
        tags: {Name: fraud-scoring-mlflow-public-eu-west-2a}
        map_public: false
        assign_instances_ipv6: false
"""

import time
from typing import Any

try:
    import botocore.exceptions
except ImportError:
    pass  # handled by AnsibleAWSModule

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import network_arguments
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import network_inventory as inventory
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.aws_errors import explain
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import failure

POLL_SECONDS = 5


class Reader:
    """Asks EC2 for the network of one deployment."""

    def __init__(self, client: Any, name: str, given: dict[str, Any], region: str) -> None:
        self.client = client
        self.name = name
        self.given = given
        self.region = region
        self._by_tag = [{"Name": f"tag:{inventory.OWNER_TAG}", "Values": [name]}]
        self._action = ""
        # What the latest look at what is slow has found.
        self._slow: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None

    def read(self) -> dict[str, list[dict[str, Any]]]:
        """EC2's answers, as ``network_inventory.summary`` takes them."""
        # VPCs and groups are asked for by name too, to find foreign ones; everything else only by tag.
        gateways, endpoints = self._slow or self._look_at_slow()
        vpcs = self._all("describe_vpcs", "Vpcs", Filters=self._by_tag)
        if self.given["vpc_id"]:
            vpcs += self._all("describe_vpcs", "Vpcs", Filters=[{"Name": "vpc-id", "Values": [self.given["vpc_id"]]}])
        else:
            by_name = self._all("describe_vpcs", "Vpcs", Filters=[{"Name": "tag:Name", "Values": [self.name]}])
            vpcs = list({vpc["VpcId"]: vpc for vpc in vpcs + by_name}.values())
            self._add_dns(vpcs)
        return {
            "vpcs": vpcs,
            "subnets": self._subnets(),
            "internet_gateways": self._all("describe_internet_gateways", "InternetGateways", Filters=self._by_tag),
            "nat_gateways": gateways,
            "addresses": self._all("describe_addresses", "Addresses", Filters=self._by_tag),
            "route_tables": self._all("describe_route_tables", "RouteTables", Filters=self._by_tag),
            "endpoints": endpoints,
            "flow_logs": self._all("describe_flow_logs", "FlowLogs", Filter=self._by_tag),
            "groups": self._groups(vpcs),
            "network_acls": self._network_acls(vpcs),
            "prefix_lists": self._all(
                "describe_managed_prefix_lists",
                "PrefixLists",
                Filters=[{"Name": "prefix-list-name", "Values": [f"com.amazonaws.{self.region}.s3"]}],
            ),
        }

    def slow(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What takes its time: NAT gateways and interface endpoints."""
        self._slow = gateways, endpoints = self._look_at_slow()
        ours = inventory.ours(self.name, {"gateways": gateways, "endpoints": endpoints})
        return inventory.nat_gateways(ours["gateways"]), inventory.interface_endpoints(ours["endpoints"])

    def _look_at_slow(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        gateways = self._all("describe_nat_gateways", "NatGateways", Filter=self._by_tag)
        return gateways, self._all("describe_vpc_endpoints", "VpcEndpoints", Filters=self._by_tag)

    def explain(self, error: Exception) -> str:
        """One line about an error that the latest question raised."""
        return explain(error, self._action)

    def _add_dns(self, vpcs: list[dict[str, Any]]) -> None:
        """What EC2 tells of a VPC only when it is asked for each by itself."""
        for vpc in vpcs:
            if inventory.is_ours(vpc, self.name):
                for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
                    self._action = "ec2:DescribeVpcAttribute"
                    option = attribute[0].lower() + attribute[1:]
                    told = self.client.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=option, aws_retry=True)
                    vpc[attribute] = told[attribute]["Value"]

    def _subnets(self) -> list[dict[str, Any]]:
        if not self.given["vpc_id"]:
            return self._all("describe_subnets", "Subnets", Filters=self._by_tag)
        return self._all("describe_subnets", "Subnets", Filters=[{"Name": "vpc-id", "Values": [self.given["vpc_id"]]}])

    def _network_acls(self, vpcs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The default ones of the deployment's own VPC; that of an existing VPC is not ours to know."""
        ids = [vpc["VpcId"] for vpc in vpcs if inventory.is_ours(vpc, self.name) and not self.given["vpc_id"]]
        if not ids:
            return []
        filters = [{"Name": "vpc-id", "Values": ids}, {"Name": "default", "Values": ["true"]}]
        return self._all("describe_network_acls", "NetworkAcls", Filters=filters)

    def _groups(self, vpcs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        ids = [
            vpc["VpcId"] for vpc in vpcs if vpc["VpcId"] == self.given["vpc_id"] or inventory.is_ours(vpc, self.name)
        ]
        if not ids:
            return []
        names = [f"{self.name}-{kind}" for kind in inventory.GROUPS] + ["default"]
        return self._all(
            "describe_security_groups",
            "SecurityGroups",
            Filters=[{"Name": "vpc-id", "Values": ids}, {"Name": "group-name", "Values": names}],
        )

    def _all(self, operation: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
        self._action = "ec2:" + "".join(part.capitalize() for part in operation.split("_"))
        if self.client.can_paginate(operation):
            return self.client.get_paginator(operation).paginate(**arguments).build_full_result()[key]
        return getattr(self.client, operation)(aws_retry=True, **arguments)[key]


def wait_for(reader: Reader, state: str, timeout: int) -> str | None:
    """Waits until the slow ones are ``available`` or ``deleted``; the reason if that does not come about."""
    deadline = time.monotonic() + timeout
    while True:
        gateways, endpoints = reader.slow()
        if state == "available":
            underway = [one for one in gateways + endpoints if one["state"] == "pending"]
            if fault := inventory.nat_fault(gateways) or inventory.endpoint_fault(endpoints):
                return fault
        else:
            underway = [one for one in gateways if one["state"] != "failed"] + endpoints
        if not underway:
            return None
        if time.monotonic() >= deadline:
            states = ", ".join(
                f"NAT gateway {one['nat_gateway_id']} is {one['state']}"
                if "nat_gateway_id" in one
                else f"interface endpoint {one['endpoint_id']} is {one['state']}"
                for one in underway
            )
            return f"waited {timeout} s for all to be {state}, but {states}; run again, or raise wait_timeout"
        time.sleep(POLL_SECONDS)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "vpc_id": {"type": "str", "default": ""},
            "public_subnet_ids": {"type": "list", "elements": "str", "default": []},
            "private_subnet_ids": {"type": "list", "elements": "str", "default": []},
            "wait_for": {"type": "str", "choices": ["none", "available", "deleted"], "default": "none"},
            "wait_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    params = module.params
    given = {option: params[option] for option in ("vpc_id", "public_subnet_ids", "private_subnet_ids")}
    client = module.client("ec2", retry_decorator=AWSRetry.jittered_backoff())
    reader = Reader(client, params["name"], given, module.region)
    fault = None
    try:
        if params["wait_for"] != "none" and not module.check_mode:
            fault = wait_for(reader, params["wait_for"], params["wait_timeout"])
        found = reader.read()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        module.fail_json(msg=reader.explain(error))
    if fault:
        module.fail_json(msg=fault)
    # The existing VPC is meant to be somebody else's, whatever its name.
    refusals = inventory.foreign(params["name"], found["groups"], [] if given["vpc_id"] else found["vpcs"])
    if refusals:
        module.fail_json(msg=failure(refusals))
    live = inventory.summary(params["name"], found, given)
    module.exit_json(
        changed=False,
        region=module.region,
        live=live,
        arguments=network_arguments.of_network(inventory.ours(params["name"], found), found["groups"]),
        outputs=inventory.outputs(live, given),
    )


if __name__ == "__main__":
    main()
