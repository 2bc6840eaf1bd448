#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_account_check
version_added: "0.1.0"
short_description: Check that an AWS account can take a deployment, before anything is created
description:
  - Asks AWS who the caller is and whether region, zones, PostgreSQL version, database instance class and, where
    given, an existing VPC with its subnets are there. It only reads.
  - All problems are reported in one failure, one line for each, with variable, value, reason and remedy; missing or
    expired credentials are one of them.
  - It is one module so that one process asks everything and no task needs a rescue for its wording.
    M(amazon.aws.aws_caller_info) and M(amazon.aws.aws_az_info) give botocore's texts on failure, and no module asks
    for orderable instance classes.
  - Wraps C(GetCallerIdentity) of STS, C(DescribeAvailabilityZones), C(DescribeVpcs) and C(DescribeSubnets) of EC2,
    C(DescribeDBEngineVersions) and C(DescribeOrderableDBInstanceOptions) of RDS, and C(GetResources) of the Resource
    Groups Tagging API.
options:
  availability_zones:
    description: Names of the zones to use. When empty, the first O(zone_count) usable ones are chosen.
    type: list
    elements: str
    default: []
  zone_count:
    description: Number of zones to choose.
    type: int
    default: 2
  db_engine_version:
    description: Version of PostgreSQL, such as V(15.7), or V(15) for the newest minor version on offer.
    type: str
  db_instance_class:
    description: Instance class of the database, such as V(db.t3.micro). Needs O(db_engine_version).
    type: str
  vpc_id:
    description: Id of an existing VPC; empty if one will be created.
    type: str
    default: ""
  public_subnet_ids:
    description: Ids of existing public subnets in O(vpc_id).
    type: list
    elements: str
    default: []
  private_subnet_ids:
    description: Ids of existing private subnets in O(vpc_id).
    type: list
    elements: str
    default: []
  deployment_tags:
    description: Tags that the resources of the deployment carry, to tell which parts of it exist; empty not to ask.
    type: dict
    default: {}
  variable_names:
    description: What to call options in messages, as option to variable.
    type: dict
    default: {}
  variable_prefix:
    description: What to put before the name of every other option in messages.
    type: str
    default: ""
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Check the account
  mlops.mlflow_aws.aws_account_check:
    region: eu-west-2
    db_engine_version: "15"
    db_instance_class: db.t3.micro
  register: account

- name: Show what was chosen
  ansible.builtin.debug:
    msg: "PostgreSQL {{ account.db_engine_version }} in {{ account.availability_zones | join(' and ') }}"
"""

RETURN = r"""
account_id:
  description: Id of the AWS account.
  returned: success
  type: str
  sample: "123456789012"
caller_arn:
  description: ARN of the identity that the credentials belong to.
  returned: success
  type: str
partition:
  description: Partition of the region.
  returned: success
  type: str
  sample: aws
region:
  description: Region that was asked.
  returned: success
  type: str
  sample: eu-west-2
availability_zones:
  description: Zones to use, given or chosen; those of the subnets of an existing VPC.
  returned: success
  type: list
  elements: str
  sample: [eu-west-2a, eu-west-2b]
db_engine_version:
  description: Full version of PostgreSQL to use, null if none was asked for.
  returned: success
  type: str
  sample: "15.7"
deployed_services:
  description: AWS services, as ARNs name them, of which resources carry O(deployment_tags). AWS is some seconds behind.
  returned: success
  type: list
  elements: str
  sample: [acm, ecs, elasticloadbalancing, rds]
deployed_domain_name:
  description: Name by which clients reach the load balancer that carries O(deployment_tags); null if it has none.
  returned: success
  type: str
  sample: mlflow.example.com
"""

import os
from typing import Any

try:
    import boto3
    import botocore.config
    import botocore.exceptions
    import botocore.parsers
except ImportError:
    pass  # handled by AnsibleAWSModule

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, aws_offers, elb_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.aws_errors import GIVE, explain
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure


# Where resources without a region are looked for.
GLOBAL_REGIONS = {"aws": "us-east-1", "aws-cn": "cn-northwest-1"}


class AccountCheck:
    """Asks AWS and collects what speaks against the deployment. Refused questions become problems as well."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        self.module = module
        self.params = module.params
        self.found = Findings(module.params["variable_names"], module.params["variable_prefix"])
        self.result: dict[str, Any] = {
            "db_engine_version": None,
            "availability_zones": [],
            "deployed_services": [],
            "deployed_domain_name": None,
        }

    def run(self) -> None:
        # Each step makes the next one pointless if it fails; from the zones on all are asked.
        if self._profile() and self._region() and self._caller():
            if self.params["vpc_id"]:
                self._existing_network()
            else:
                self._zones()
            if self.params["db_engine_version"]:
                self._database()
            if self.params["deployment_tags"]:
                self._deployed()

    def _client(self, service: str, **options: Any) -> Any:
        return self.module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=5), **options)

    def _profile(self) -> bool:
        profile = self.params.get("profile")
        if not profile or profile in boto3.session.Session().available_profiles:
            return True
        self.found.problems.append(
            f"AWS credentials: there is no profile {profile!r} (AWS_PROFILE) in the AWS "
            f"configuration files; correct its name, or {GIVE}"
        )
        return False

    def _region(self) -> bool:
        session = boto3.session.Session()
        known = [
            region
            for partition in session.get_available_partitions()
            for region in session.get_available_regions("ec2", partition_name=partition)
        ]
        region = self.module.region
        environment = os.environ.get("AWS_REGION")
        if not aws_offers.check_region(region, known, environment, self.found):
            return False
        self.result.update(region=region, partition=session.get_partition_for_region(region))
        return True

    def _caller(self) -> bool:
        answer = self._ask("sts", "get_caller_identity", "sts:GetCallerIdentity")
        if answer is None:
            return False
        self.result.update(account_id=answer["Account"], caller_arn=answer["Arn"])
        return True

    def _zones(self) -> None:
        answer = self._ask(
            "ec2", "describe_availability_zones", "ec2:DescribeAvailabilityZones", AllAvailabilityZones=True
        )
        if answer is not None:
            self.result["availability_zones"] = aws_offers.choose_zones(
                self.params["availability_zones"], self.params["zone_count"], answer["AvailabilityZones"], self.found
            )

    def _existing_network(self) -> None:
        vpc_id = self.params["vpc_id"]
        vpcs = self._ask("ec2", "describe_vpcs", "ec2:DescribeVpcs", Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
        if vpcs is not None and not vpcs["Vpcs"]:
            self.found.refuse(
                "vpc_id", vpc_id, "there is no such VPC in this region", "name an existing VPC, or create one"
            )
            return
        kinds = {option: self.params[option] for option in ("public_subnet_ids", "private_subnet_ids")}
        every = sorted({subnet_id for ids in kinds.values() for subnet_id in ids})
        subnets = self._ask(
            "ec2", "describe_subnets", "ec2:DescribeSubnets", Filters=[{"Name": "subnet-id", "Values": every}]
        )
        if subnets is None:
            return
        for option, ids in kinds.items():
            zones = aws_offers.check_existing_subnets(vpc_id, option, ids, subnets["Subnets"], self.found)
            # The database lives in the private ones, which come last.
            self.result["availability_zones"] = zones

    def _database(self) -> None:
        wanted = self.params["db_engine_version"]
        answer = self._ask("rds", "describe_db_engine_versions", "rds:DescribeDBEngineVersions", Engine="postgres")
        if answer is None:
            return
        offered = [
            version["EngineVersion"]
            for version in answer["DBEngineVersions"]
            if version.get("Status", "available") == "available"
        ]
        version = aws_offers.choose_engine_version(wanted, offered, self.found)
        self.result["db_engine_version"] = version
        instance_class = self.params["db_instance_class"]
        if version is None or not instance_class:
            return
        options = self._orderable(version, DBInstanceClass=instance_class)
        if options == []:
            # Only now the whole list, some megabytes, is worth asking for: to name what is near.
            options = self._orderable(version)
        if options is not None:
            zones = self.result["availability_zones"]
            aws_offers.check_orderable(instance_class, version, zones, options, self.found)

    def _orderable(self, version: str, **only: str) -> list[dict[str, Any]] | None:
        answer = self._ask(
            "rds",
            "describe_orderable_db_instance_options",
            "rds:DescribeOrderableDBInstanceOptions",
            Engine="postgres",
            EngineVersion=version,
            Vpc=True,
            **only,
        )
        return None if answer is None else answer["OrderableDBInstanceOptions"]

    def _deployed(self) -> None:
        tags = aws_changes.text_tags(self.params["deployment_tags"])
        filters = [{"Key": key, "Values": [value]} for key, value in tags.items()]
        answer = self._ask("resourcegroupstaggingapi", "get_resources", "tag:GetResources", TagFilters=filters)
        for resource in (answer or {}).get("ResourceTagMappingList", []) + self._budgets(filters):
            service = resource["ResourceARN"].split(":")[2]
            domain = boto3_tag_list_to_ansible_dict(resource["Tags"]).get(elb_rules.DOMAIN_TAG)
            self.result["deployed_services"] = sorted({*self.result["deployed_services"], service})
            if domain and service == "elasticloadbalancing":
                self.result["deployed_domain_name"] = domain

    def _budgets(self, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Budgets have no region, and are found in one region only; who cannot ask there has made none."""
        region = GLOBAL_REGIONS.get(self.result["partition"])
        if region is None or region == self.result["region"]:
            return []
        hurried = botocore.config.Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        client = self._client("resourcegroupstaggingapi", region=region, config=hurried)
        try:
            answer = client.get_resources(TagFilters=filters, ResourceTypeFilters=["budgets"], aws_retry=True)
            return answer["ResourceTagMappingList"]
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return []

    def _ask(self, service: str, operation: str, action: str, **arguments: Any) -> dict[str, Any] | None:
        """All pages of the answer, or None after a problem was noted."""
        client = self._client(service)
        try:
            if client.can_paginate(operation):
                return client.get_paginator(operation).paginate(**arguments).build_full_result()
            return getattr(client, operation)(aws_retry=True, **arguments)
        except (
            botocore.exceptions.BotoCoreError,
            botocore.exceptions.ClientError,
            botocore.parsers.ResponseParserError,
        ) as error:
            self.found.problems.append(explain(error, action))
            return None


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "availability_zones": {"type": "list", "elements": "str", "default": []},
            "zone_count": {"type": "int", "default": 2},
            "db_engine_version": {"type": "str"},
            "db_instance_class": {"type": "str"},
            "vpc_id": {"type": "str", "default": ""},
            "public_subnet_ids": {"type": "list", "elements": "str", "default": []},
            "private_subnet_ids": {"type": "list", "elements": "str", "default": []},
            "deployment_tags": {"type": "dict", "default": {}},
            "variable_names": {"type": "dict", "default": {}},
            "variable_prefix": {"type": "str", "default": ""},
        },
        required_by={"db_instance_class": ["db_engine_version"]},
        supports_check_mode=True,
    )
    check = AccountCheck(module)
    check.run()
    if check.found.problems:
        module.fail_json(msg=failure(check.found.problems))
    module.exit_json(changed=False, **check.result)


if __name__ == "__main__":
    main()
