#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_vpc_route_tables
version_added: "0.1.0"
short_description: Keep the route tables of a VPC
description:
  - Keeps any number of route tables, each known by its tag C(Name) and by O(owner_tags). Route tables of others are left alone.
  - A table has exactly the routes that are told, beside the one inside the VPC and those that gateway endpoints and virtual private
    gateways bring; a subnet that another table serves is given to the one that is told.
  - Unlike M(amazon.aws.ec2_vpc_route_table) it makes all tables in one call, does not pause five seconds for each, and predicts in
    check mode exactly what a run would change. It removes none; M(amazon.aws.ec2_vpc_route_table) does.
  - Wraps C(CreateRouteTable), C(CreateRoute), C(ReplaceRoute), C(DeleteRoute), C(AssociateRouteTable), C(ReplaceRouteTableAssociation),
    C(DisassociateRouteTable), C(CreateTags), C(DeleteTags) and C(DescribeRouteTables) of the Amazon EC2 API.
options:
  vpc_id:
    description: VPC of the tables.
    type: str
    required: true
  route_tables:
    description: The tables.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the table, which becomes its tag C(Name).
        type: str
        required: true
      routes:
        description: Routes out of the VPC.
        type: list
        elements: dict
        default: []
        suboptions:
          dest:
            description: IPv4 range in CIDR notation, such as V(0.0.0.0/0).
            type: str
            required: true
          gateway_id:
            description: ID of the internet gateway (C(igw-…)) or NAT gateway (C(nat-…)) that leads there.
            type: str
            required: true
      subnets:
        description: IDs of the subnets that the table serves. Others that it serves are left to the main route table of the VPC.
        type: list
        elements: str
        default: []
  tags:
    description: All tags of the tables, beside C(Name).
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Route public subnets to the internet gateway, and keep the private ones inside
  mlops.mlflow_aws.ec2_vpc_route_tables:
    vpc_id: vpc-0a1b2c3d4e5f60718
    route_tables:
      - name: web-public
        routes:
          - dest: 0.0.0.0/0
            gateway_id: igw-0a1b2c3d4e5f60718
        subnets: [subnet-0a1b2c3d4e5f60718]
      - name: web-private
        subnets: [subnet-0a1b2c3d4e5f60719]
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
route_table_ids:
  description: IDs of the tables by name; in check mode without those that a run would make.
  returned: success
  type: dict
  sample:
    web-public: rtb-0a1b2c3d4e5f60718
"""

import collections
import ipaddress
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, network_arguments

# The argument of CreateRoute and ReplaceRoute for a gateway, by how its ID begins.
GATEWAYS = {"igw": "GatewayId", "nat": "NatGatewayId"}
# What has just been made is not known everywhere at once.
RETRIED = ["InvalidRouteTableID.NotFound", "InvalidGatewayID.NotFound", "InvalidNatGatewayID.NotFound", "InvalidSubnetID.NotFound"]


def problem(tables: list[dict[str, t.Any]]) -> str | None:
    """What is wrong with the tables that are told, in one line."""
    for what, counted in (
        ("name", collections.Counter(table["name"] for table in tables)),
        ("subnet", collections.Counter(subnet for table in tables for subnet in table["subnets"])),
    ):
        for value, count in counted.items():
            if count > 1:
                return f"Route tables: the {what} {value} is told {count} times; tell it once"
    for table in tables:
        dests = [route["dest"] for route in table["routes"]]
        for route in table["routes"]:
            where = f"Route table {table['name']}: the route to {route['dest']}"
            try:
                ipaddress.IPv4Network(route["dest"])
            except ValueError as error:
                return f"{where} leads to no IPv4 range ({error}); tell one such as 0.0.0.0/0"
            if dests.count(route["dest"]) > 1:
                return f"{where} is told {dests.count(route['dest'])} times; tell it once"
            if route["gateway_id"].partition("-")[0] not in GATEWAYS:
                return f"{where} goes by {route['gateway_id'] or 'nothing'}; tell an internet gateway (igw-…) or a NAT gateway (nat-…)"
    return None


class RouteTables:
    """The route tables of a VPC, and the calls that change those with the owner's tags."""

    def __init__(self, ec2: t.Any, vpc_id: str, owner_tags: dict[str, str]) -> None:
        self._ec2 = ec2
        self._vpc_id = vpc_id
        pages = ec2.get_paginator("describe_route_tables").paginate(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
        found = pages.build_full_result()["RouteTables"]
        # Of two with one name the same one every time.
        ours = sorted(found, key=lambda table: table["RouteTableId"], reverse=True)
        tags_of = {table["RouteTableId"]: boto3_tag_list_to_ansible_dict(table["Tags"]) for table in found}
        ours = [table for table in ours if aws_changes.carries(tags_of[table["RouteTableId"]], owner_tags)]
        self._found = {tags_of[table["RouteTableId"]].get("Name"): table for table in ours}
        self.ids: dict[str, str] = {name: table["RouteTableId"] for name, table in self._found.items()}
        # Subnet -> table and association.
        self._served = {
            one["SubnetId"]: (table["RouteTableId"], one["RouteTableAssociationId"])
            for table in found
            for one in table["Associations"]
            if "SubnetId" in one
        }

    def plan(self, wanted: list[dict[str, t.Any]], tags: dict[str, str]) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        for table in wanted:
            self._plan_table(changes, table, tags)
        served = {subnet for table in wanted for subnet in table["subnets"]}
        told = {self.ids.get(table["name"]) for table in wanted}
        for subnet, (server, association) in self._served.items():
            if server in told and subnet not in served:
                changes.want(f"{subnet}: route table", server, None, self._leave(association))
        return changes

    def _plan_table(self, changes: aws_changes.Changes, table: dict[str, t.Any], tags: dict[str, str]) -> None:
        name, tags = table["name"], {**tags, "Name": table["name"]}
        found = self._found.get(name)
        told = network_arguments.route_table(found) if found else {"tags": None, "routes": [], "subnets": []}
        if found is None:
            changes.want(f"{name}: tags", None, tags, lambda: self._create(name, tags))
        else:
            changes.want_tags(f"{name}: tags", told["tags"], tags, self._tag(name), self._untag(name))
        self._plan_routes(changes, name, told["routes"], table["routes"])
        self._plan_subnets(changes, name, table["subnets"])

    def _plan_routes(
        self, changes: aws_changes.Changes, name: str, found: list[dict[str, str]], wanted: list[dict[str, str]]
    ) -> None:
        before = {route["dest"]: route["gateway_id"] for route in found}
        after = {route["dest"]: route["gateway_id"] for route in wanted}
        for dest in sorted({*before, *after}):
            change = self._route(name, dest, before.get(dest), after.get(dest))
            changes.want(f"{name}: route to {dest}", before.get(dest), after.get(dest), change)

    def _plan_subnets(self, changes: aws_changes.Changes, name: str, wanted: list[str]) -> None:
        table_id = self.ids.get(name)
        for subnet in wanted:
            server, association = self._served.get(subnet, (None, None))
            if server is None or server != table_id:
                changes.want(f"{subnet}: route table", server, table_id or name, self._serve(name, subnet, association))

    # --- how ---

    def _create(self, name: str, tags: dict[str, str]) -> None:
        specification = {"ResourceType": "route-table", "Tags": ansible_dict_to_boto3_tag_list(tags)}
        made = self._ec2.create_route_table(VpcId=self._vpc_id, TagSpecifications=[specification], aws_retry=True)
        self.ids[name] = made["RouteTable"]["RouteTableId"]

    def _route(self, name: str, dest: str, before: str | None, after: str | None) -> t.Callable[[], t.Any]:
        def change() -> None:
            place = {"RouteTableId": self.ids[name], _range(dest): dest}
            if after is None:
                self._ec2.delete_route(**place, aws_retry=True)
            else:
                call = self._ec2.create_route if before is None else self._ec2.replace_route
                call(**place, **{GATEWAYS[after.partition("-")[0]]: after}, aws_retry=True)

        return change

    def _serve(self, name: str, subnet: str, association: str | None) -> t.Callable[[], t.Any]:
        def serve() -> None:
            if association is None:
                self._ec2.associate_route_table(RouteTableId=self.ids[name], SubnetId=subnet, aws_retry=True)
            else:
                self._ec2.replace_route_table_association(
                    RouteTableId=self.ids[name], AssociationId=association, aws_retry=True
                )

        return serve

    def _leave(self, association: str) -> t.Callable[[], t.Any]:
        return lambda: self._ec2.disassociate_route_table(AssociationId=association, aws_retry=True)

    def _tag(self, name: str) -> t.Callable[[dict[str, str]], t.Any]:
        return lambda tags: self._ec2.create_tags(
            Resources=[self.ids[name]], Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True
        )

    def _untag(self, name: str) -> t.Callable[[list[str]], t.Any]:
        return lambda keys: self._ec2.delete_tags(
            Resources=[self.ids[name]], Tags=[{"Key": key} for key in keys], aws_retry=True
        )


def _range(dest: str) -> str:
    """The argument of the API for a destination; somebody may have added one of IPv6."""
    return "DestinationIpv6CidrBlock" if ":" in dest else "DestinationCidrBlock"


def run(module: AnsibleAWSModule) -> None:
    wanted: list[dict[str, t.Any]] = module.params["route_tables"]
    refused = problem(wanted)
    if refused:
        raise ValueError(refused)
    tags, owner_tags = (aws_changes.text_tags(module.params[option]) for option in ("tags", "owner_tags"))
    retry = AWSRetry.jittered_backoff(retries=8, catch_extra_error_codes=RETRIED)
    tables = RouteTables(module.client("ec2", retry_decorator=retry), module.params["vpc_id"], owner_tags)
    changes = tables.plan(wanted, tags)
    if not module.check_mode:
        changes.apply()
    names = [table["name"] for table in wanted if table["name"] in tables.ids]
    module.exit_json(changed=bool(changes), route_table_ids={name: tables.ids[name] for name in names}, diff=changes.diff)


def main() -> None:
    route = {"dest": {"type": "str", "required": True}, "gateway_id": {"type": "str", "required": True}}
    table = {
        "name": {"type": "str", "required": True},
        "routes": {"type": "list", "elements": "dict", "default": [], "options": route},
        "subnets": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "vpc_id": {"type": "str", "required": True},
            "route_tables": {"type": "list", "elements": "dict", "required": True, "options": table},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "ec2", f"Route tables of {module.params['vpc_id']}"):
        run(module)


if __name__ == "__main__":
    main()
