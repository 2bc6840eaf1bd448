#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_vpc_flow_log
version_added: "0.1.0"
short_description: Log what flows through a VPC to an S3 bucket
description:
  - Keeps one flow log, which is known by O(owner_tags). Flow logs of others, on the same VPC too, are left alone.
  - AWS cannot change a flow log. One that is to be different is removed and made anew.
  - The policy of the bucket must let C(delivery.logs.amazonaws.com) write, as that of a bucket of
    M(mlops.mlflow_aws.s3_private_bucket) with O(mlops.mlflow_aws.s3_private_bucket#module:log_delivery) does.
  - Wraps C(CreateFlowLogs), C(DeleteFlowLogs) and C(DescribeFlowLogs) of the Amazon EC2 API.
options:
  state:
    description: Whether there is such a flow log.
    type: str
    choices: [present, absent]
    default: present
  vpc_id:
    description: VPC to log; required with O(state=present).
    type: str
  bucket:
    description: Bucket to log to; required with O(state=present).
    type: str
  prefix:
    description: Prefix in the bucket, without slashes at its ends; empty for none.
    type: str
    default: ""
  traffic_type:
    description: Which traffic is logged.
    type: str
    choices: [ALL, ACCEPT, REJECT]
    default: ALL
  max_aggregation_interval:
    description: Seconds of traffic in one record at most.
    type: int
    choices: [60, 600]
    default: 600
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
- name: Log what flows through the VPC
  mlops.mlflow_aws.ec2_vpc_flow_log:
    vpc_id: vpc-0a1b2c3d4e5f60718
    bucket: team-logs
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
flow_log_id:
  description: ID of the flow log, null when there is none.
  returned: success
  type: str
  sample: fl-0a1b2c3d4e5f60718
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.s3_buckets import partition_of


def told(found: dict[str, t.Any]) -> dict[str, t.Any]:
    """What a flow log is, as the API's own arguments name it."""
    return {
        "VPC": found["ResourceId"],
        "LogDestination": found.get("LogDestination", "").rstrip("/"),
        "TrafficType": found["TrafficType"],
        "MaxAggregationInterval": found["MaxAggregationInterval"],
    }


def wanted(params: dict[str, t.Any], region: str) -> dict[str, t.Any]:
    place = "/".join(part for part in (params["bucket"], params["prefix"]) if part)
    return {
        "VPC": params["vpc_id"],
        "LogDestination": f"arn:{partition_of(region)}:s3:::{place}",
        "TrafficType": params["traffic_type"],
        "MaxAggregationInterval": params["max_aggregation_interval"],
    }


class FlowLog:
    """The flow logs that carry the owner's tags: one, or more if somebody has added to it."""

    def __init__(self, ec2: t.Any, owner_tags: dict[str, str]) -> None:
        self.ec2 = ec2
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in owner_tags.items()]
        pages = ec2.get_paginator("describe_flow_logs").paginate(Filter=filters)
        self.found: list[dict[str, t.Any]] = pages.build_full_result()["FlowLogs"]
        self.flow_log_id: str | None = None

    def plan(self, want: dict[str, t.Any] | None, tags: dict[str, str]) -> aws_changes.Changes:
        """Changes after which there is exactly the one that is wanted, or none."""
        changes = aws_changes.Changes()
        kept = next((one for one in self.found if told(one) == want), None)
        # First of all: AWS refuses a second one to the same place.
        for one in self.found:
            if one is not kept:
                changes.want(f"flow log {one['FlowLogId']}", told(one), "absent", self._delete(one["FlowLogId"]))
        if kept:
            self.flow_log_id = kept["FlowLogId"]
            before = boto3_tag_list_to_ansible_dict(kept["Tags"])
            changes.want_tags("tags", before, tags, self._tag, self._untag)
        elif want:
            changes.want("flow log", "absent", want, lambda: self._create(want, tags))
        return changes

    def _create(self, want: dict[str, t.Any], tags: dict[str, str]) -> None:
        answer = self.ec2.create_flow_logs(
            ResourceType="VPC",
            ResourceIds=[want["VPC"]],
            LogDestinationType="s3",
            TagSpecifications=[{"ResourceType": "vpc-flow-log", "Tags": ansible_dict_to_boto3_tag_list(tags)}],
            aws_retry=True,
            **{key: value for key, value in want.items() if key != "VPC"},
        )
        for refused in answer.get("Unsuccessful", []):
            reason = refused["Error"].get("Message", "AWS gives no reason")
            raise ValueError(
                f"Flow log of {want['VPC']} to {want['LogDestination']}: {reason}; check the bucket and its policy"
            )
        self.flow_log_id = answer["FlowLogIds"][0]

    def _delete(self, flow_log_id: str) -> t.Callable[[], t.Any]:
        return lambda: self.ec2.delete_flow_logs(FlowLogIds=[flow_log_id], aws_retry=True)

    def _tag(self, tags: dict[str, str]) -> None:
        self.ec2.create_tags(Resources=[self.flow_log_id], Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True)

    def _untag(self, keys: list[str]) -> None:
        self.ec2.delete_tags(Resources=[self.flow_log_id], Tags=[{"Key": key} for key in keys], aws_retry=True)


def run(module: AnsibleAWSModule) -> None:
    tags, owner_tags = (aws_changes.text_tags(module.params[option]) for option in ("tags", "owner_tags"))
    flow_log = FlowLog(module.client("ec2", retry_decorator=AWSRetry.jittered_backoff(retries=8)), owner_tags)
    present = module.params["state"] == "present"
    changes = flow_log.plan(wanted(module.params, module.region) if present else None, tags)
    if not module.check_mode:
        changes.apply()
    module.exit_json(changed=bool(changes), flow_log_id=flow_log.flow_log_id, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "vpc_id": {"type": "str"},
            "bucket": {"type": "str"},
            "prefix": {"type": "str", "default": ""},
            "traffic_type": {"type": "str", "choices": ["ALL", "ACCEPT", "REJECT"], "default": "ALL"},
            "max_aggregation_interval": {"type": "int", "choices": [60, 600], "default": 600},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "present", ["vpc_id", "bucket"])],
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "ec2", "Flow log"):
        run(module)


if __name__ == "__main__":
    main()
