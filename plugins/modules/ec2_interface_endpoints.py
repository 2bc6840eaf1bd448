#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_interface_endpoints
version_added: "0.1.0"
short_description: Reach AWS services from inside a VPC
description:
  - Keeps one interface endpoint for each of the services named, and no other one that carries O(owner_tags). Interface endpoints
    of others, in the same VPC too, are left alone, and so are gateway endpoints.
  - Each has the service's private DNS name, so that who asks for the service finds the endpoint.
  - AWS takes a minute or two to make an endpoint or to remove one, which is not waited for.
  - Wraps C(CreateVpcEndpoint), C(ModifyVpcEndpoint), C(DeleteVpcEndpoints), C(DescribeVpcEndpoints) and
    C(DescribeVpcEndpointServices) of the Amazon EC2 API.
options:
  services:
    description:
      - Services to reach, as the end of their endpoint's name, such as V(logs) for C(com.amazonaws.eu-west-2.logs).
      - An empty list removes all endpoints.
    type: list
    elements: str
    required: true
  vpc_id:
    description: VPC of the endpoints, which must answer DNS questions (C(enableDnsSupport) and C(enableDnsHostnames)).
    type: str
  subnet_ids:
    description: Subnets in which each endpoint has a network interface, one in each zone at most.
    type: list
    elements: str
    default: []
  security_group_ids:
    description: Security groups of the network interfaces, which must let port 443 in.
    type: list
    elements: str
    default: []
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
- name: Reach Secrets Manager and CloudWatch Logs without the internet
  mlops.mlflow_aws.ec2_interface_endpoints:
    services: [logs, secretsmanager]
    vpc_id: vpc-0a1b2c3d4e5f60718
    subnet_ids: [subnet-0a1b2c3d4e5f60718]
    security_group_ids: [sg-0a1b2c3d4e5f60718]
    owner_tags:
      team: web
    tags:
      team: web

- name: Have none any more
  mlops.mlflow_aws.ec2_interface_endpoints:
    services: []
    owner_tags:
      team: web
"""

RETURN = r"""
endpoints:
  description: IDs of the endpoints by service, without those that check mode only predicts.
  returned: success
  type: dict
  sample:
    logs: vpce-0a1b2c3d4e5f60718
"""

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes

POLL_SECONDS = 5
GONE_SECONDS = 300
# An endpoint in another state is of no use: rejected, failed, expired (API reference, VpcEndpoint, State).
USABLE = ("pending", "available")


class Endpoints:
    """The interface endpoints that carry the owner's tags."""

    def __init__(self, ec2: t.Any, region: str, owner_tags: dict[str, str]) -> None:
        self.ec2 = ec2
        self.prefix = f"com.amazonaws.{region}."
        self.filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in owner_tags.items()]
        self.ids: dict[str, str] = {}
        self.found = self.read()

    def read(self) -> list[dict[str, t.Any]]:
        pages = self.ec2.get_paginator("describe_vpc_endpoints").paginate(Filters=self.filters)
        return [
            # The API reference writes the states in capitals, the API answers in small letters.
            {**one, "State": one["State"].lower()}
            for one in pages.build_full_result()["VpcEndpoints"]
            if one["VpcEndpointType"] == "Interface" and one["State"].lower() != "deleted"
        ]

    def plan(self, params: dict[str, t.Any], tags: dict[str, str]) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        kept: dict[str, dict[str, t.Any]] = {}
        for one in self.found:
            service = one["ServiceName"].removeprefix(self.prefix)
            fits = service in params["services"] and one["VpcId"] == params["vpc_id"] and one["State"] in USABLE
            if fits and service not in kept:
                kept[service] = one
            elif one["State"] != "deleting":
                changes.want(f"endpoint {service}", one["VpcEndpointId"], "absent", self._delete(one["VpcEndpointId"]))
        missing = [service for service in params["services"] if service not in kept]
        self._check(missing)
        for service, one in kept.items():
            self.ids[service] = one["VpcEndpointId"]
            self._plan_change(changes, service, one, params, tags)
        for service in missing:
            want = {
                "VpcId": params["vpc_id"],
                "SubnetIds": sorted(params["subnet_ids"]),
                "SecurityGroupIds": sorted(params["security_group_ids"]),
            }
            changes.want(f"endpoint {service}", "absent", want, self._create(service, want, tags))
        return changes

    def _check(self, services: list[str]) -> None:
        """ValueError if AWS has no such services here: known before the first write."""
        if not services:
            return
        names = [self.prefix + service for service in services]
        filters = [{"Name": "service-type", "Values": ["Interface"]}]
        offered = self.ec2.get_paginator("describe_vpc_endpoint_services").paginate(Filters=filters)
        known = {one["ServiceName"] for one in offered.build_full_result()["ServiceDetails"]}
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"Interface endpoint {unknown[0]}: AWS offers none of this name; see "
                f"https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html for names"
            )

    def _plan_change(
        self, changes: aws_changes.Changes, service: str, one: dict[str, t.Any], params: dict[str, t.Any], tags: dict[str, str]
    ) -> None:
        endpoint_id = one["VpcEndpointId"]
        subnets = (set(one["SubnetIds"]), set(params["subnet_ids"]))
        groups = ({group["GroupId"] for group in one["Groups"]}, set(params["security_group_ids"]))
        before = {
            "subnet_ids": sorted(subnets[0]),
            "security_group_ids": sorted(groups[0]),
            "private_dns": one["PrivateDnsEnabled"],
        }
        after = {"subnet_ids": sorted(subnets[1]), "security_group_ids": sorted(groups[1]), "private_dns": True}
        arguments: dict[str, t.Any] = {
            "AddSubnetIds": sorted(subnets[1] - subnets[0]),
            "RemoveSubnetIds": sorted(subnets[0] - subnets[1]),
            "AddSecurityGroupIds": sorted(groups[1] - groups[0]),
            "RemoveSecurityGroupIds": sorted(groups[0] - groups[1]),
        }
        if not one["PrivateDnsEnabled"]:
            arguments["PrivateDnsEnabled"] = True
        arguments = {key: value for key, value in arguments.items() if value}

        def modify() -> None:
            self.ec2.modify_vpc_endpoint(VpcEndpointId=endpoint_id, aws_retry=True, **arguments)

        changes.want(f"endpoint {service}", before, after, modify)
        changes.want_tags(
            f"tags of endpoint {service}",
            boto3_tag_list_to_ansible_dict(one["Tags"]),
            tags,
            lambda added: self.ec2.create_tags(
                Resources=[endpoint_id], Tags=ansible_dict_to_boto3_tag_list(added), aws_retry=True
            ),
            lambda keys: self.ec2.delete_tags(
                Resources=[endpoint_id], Tags=[{"Key": key} for key in keys], aws_retry=True
            ),
        )

    def _create(self, service: str, want: dict[str, t.Any], tags: dict[str, str]) -> t.Callable[[], None]:
        def create() -> None:
            # Only one endpoint has the private name, so an endpoint that is being removed must be gone first.
            if any(one["ServiceName"] == self.prefix + service for one in self.found):
                self._wait_gone(service)
            answer = self.ec2.create_vpc_endpoint(
                VpcEndpointType="Interface",
                ServiceName=self.prefix + service,
                PrivateDnsEnabled=True,
                TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": ansible_dict_to_boto3_tag_list(tags)}],
                aws_retry=True,
                **want,
            )
            self.ids[service] = answer["VpcEndpoint"]["VpcEndpointId"]

        return create

    def _wait_gone(self, service: str) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        while any(one["ServiceName"] == self.prefix + service for one in self.read()):
            if time.monotonic() >= deadline:
                raise ValueError(f"Interface endpoint {service}: the former one was not gone after {GONE_SECONDS} s; run again")
            time.sleep(POLL_SECONDS)

    def _delete(self, endpoint_id: str) -> t.Callable[[], None]:
        def delete() -> None:
            # It does not raise, it tells.
            answer = self.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint_id], aws_retry=True)
            for refused in answer.get("Unsuccessful", []):
                reason = refused["Error"].get("Message", "AWS gives no reason")
                raise ValueError(f"Interface endpoint {endpoint_id}: AWS does not remove it: {reason}; mend that and run again")

        return delete


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    tags, owner_tags = (aws_changes.text_tags(params[option]) for option in ("tags", "owner_tags"))
    if params["services"]:
        for option in ("vpc_id", "subnet_ids", "security_group_ids"):
            if not params[option]:
                raise ValueError(f"{option} is empty: interface endpoints need it; name it, or no services")
    endpoints = Endpoints(module.client("ec2", retry_decorator=AWSRetry.jittered_backoff(retries=8)), module.region, owner_tags)
    changes = endpoints.plan({**params, "services": list(dict.fromkeys(params["services"]))}, tags)
    if not module.check_mode:
        changes.apply()
    module.exit_json(changed=bool(changes), endpoints=endpoints.ids, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "services": {"type": "list", "elements": "str", "required": True},
            "vpc_id": {"type": "str"},
            "subnet_ids": {"type": "list", "elements": "str", "default": []},
            "security_group_ids": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "ec2", "Interface endpoints"):
        run(module)


if __name__ == "__main__":
    main()
