#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_alarms
version_added: "0.1.0"
short_description: Keep a set of CloudWatch alarms whose names begin alike
description:
  - Keeps exactly the given alarms among those that carry the owner's tags and whose names begin with the prefix.
    Alarms of others are not touched, and one that has the name of ours is refused.
  - Alarms on single metrics only, without metric math and anomaly detection.
  - Unlike M(amazon.aws.cloudwatch_metric_alarm) it keeps tags, works without a metric alarm for each task, and shows
    what changes.
  - Wraps C(DescribeAlarms), C(PutMetricAlarm), C(DeleteAlarms) and the tagging of alarms.
options:
  prefix:
    description: What all names begin with, such as V(web/).
    type: str
    required: true
  alarms:
    description: The alarms that shall be there. Others of the owner with this prefix are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the alarm, after the prefix.
        type: str
        required: true
      description:
        description: What it means and what to do about it.
        type: str
        required: true
      namespace:
        description: Namespace of the metric.
        type: str
        required: true
      metric:
        description: Name of the metric.
        type: str
        required: true
      dimensions:
        description: Names and values of all dimensions of the metric.
        type: dict
        default: {}
      statistic:
        description: V(SampleCount), V(Average), V(Sum), V(Minimum), V(Maximum), or a percentile such as V(p99).
        type: str
        default: Average
      period:
        description: Seconds over which the statistic is taken, V(10), V(20), V(30) or a multiple of 60.
        type: int
        default: 60
      evaluation_periods:
        description: How many periods are looked at.
        type: int
        default: 1
      datapoints_to_alarm:
        description: How many of them must breach the threshold; V(0) is all.
        type: int
        default: 0
      comparison:
        description: What breaches the threshold.
        type: str
        choices:
          - GreaterThanOrEqualToThreshold
          - GreaterThanThreshold
          - LessThanThreshold
          - LessThanOrEqualToThreshold
        default: GreaterThanThreshold
      threshold:
        description: The threshold, in the unit of the metric.
        type: float
        required: true
      treat_missing_data:
        description: What a period without data is.
        type: str
        choices: [breaching, notBreaching, ignore, missing]
        default: missing
  alarm_actions:
    description: ARNs of what is told of an alarm.
    type: list
    elements: str
    default: []
  ok_actions:
    description: ARNs of what is told when all is well again.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Watch the web servers
  mlops.mlflow_aws.cloudwatch_alarms:
    prefix: web/
    alarms:
      - name: cpu
        description: The servers are busy. Add one.
        namespace: AWS/ECS
        metric: CPUUtilization
        dimensions:
          ClusterName: web
          ServiceName: web
        evaluation_periods: 5
        threshold: 85
    alarm_actions: [arn:aws:sns:eu-west-2:123456789012:web-alarms]
    tags:
      team: web
    owner_tags:
      team: web

- name: Watch nothing any more
  mlops.mlflow_aws.cloudwatch_alarms:
    prefix: web/
    owner_tags:
      team: web
"""

RETURN = r"""
alarm_names:
  description: Names of the alarms that there are or, in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [web/cpu]
firing:
  description: Names of those that were in the state ALARM before the run and are kept.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, cloudwatch_rules

COMPARISONS = [
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanThreshold",
    "LessThanOrEqualToThreshold",
]


class Alarms:
    """The alarms that AWS has with a prefix, by name, and their tags."""

    def __init__(self, cloudwatch, prefix: str) -> None:
        self._cloudwatch = cloudwatch
        pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix)
        self.found = {one["AlarmName"]: one for page in pages for one in page["MetricAlarms"]}
        self.tags = {name: self._tags_of(one["AlarmArn"]) for name, one in self.found.items()}

    def _tags_of(self, arn: str) -> dict:
        answer = self._cloudwatch.list_tags_for_resource(ResourceARN=arn, aws_retry=True)
        return boto3_tag_list_to_ansible_dict(answer["Tags"])

    def check_owner(self, names: list, owner_tags: dict) -> None:
        for name in names:
            if name in self.found and not aws_changes.carries(self.tags[name], owner_tags):
                raise ValueError(aws_changes.not_ours(f"Alarm {name}", owner_tags, "choose another prefix"))

    def plan(self, wanted: dict, tags: dict, owner_tags: dict) -> aws_changes.Changes:
        """`wanted` has the arguments of PutMetricAlarm by name."""
        changes = aws_changes.Changes()
        for name, arguments in sorted(wanted.items()):
            self._plan_one(changes, name, arguments, tags)
        superfluous = sorted(
            name
            for name in self.found
            if name not in wanted and aws_changes.carries(self.tags[name], owner_tags)
        )  # fmt: skip
        for name in superfluous:
            # One call for all would fail for all when one is gone.
            changes.want(
                name,
                cloudwatch_rules.described(self.found[name]),
                None,
                lambda name=name: self._cloudwatch.delete_alarms(AlarmNames=[name], aws_retry=True),
            )
        return changes

    def _plan_one(self, changes: aws_changes.Changes, name: str, arguments: dict, tags: dict) -> None:
        before = self.found.get(name)
        if before is None:
            listed = ansible_dict_to_boto3_tag_list(tags)
            changes.want(name, None, dict(arguments, tags=tags), lambda: self._put(name, arguments, Tags=listed))
            return
        changes.want(name, cloudwatch_rules.described(before), arguments, lambda: self._put(name, arguments))
        arn = before["AlarmArn"]
        changes.want_tags(
            f"tags of {name}",
            self.tags[name],
            tags,
            lambda add: self._cloudwatch.tag_resource(
                ResourceARN=arn, Tags=ansible_dict_to_boto3_tag_list(add), aws_retry=True
            ),
            lambda keys: self._cloudwatch.untag_resource(ResourceARN=arn, TagKeys=keys, aws_retry=True),
        )

    def _put(self, name: str, arguments: dict, **tags) -> None:
        self._cloudwatch.put_metric_alarm(AlarmName=name, aws_retry=True, **arguments, **tags)


def argument_spec() -> dict:
    alarm = {
        "name": {"type": "str", "required": True},
        "description": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "metric": {"type": "str", "required": True},
        "dimensions": {"type": "dict", "default": {}},
        "statistic": {"type": "str", "default": "Average"},
        "period": {"type": "int", "default": 60},
        "evaluation_periods": {"type": "int", "default": 1},
        "datapoints_to_alarm": {"type": "int", "default": 0},
        "comparison": {"type": "str", "choices": COMPARISONS, "default": "GreaterThanThreshold"},
        "threshold": {"type": "float", "required": True},
        "treat_missing_data": {
            "type": "str",
            "choices": ["breaching", "notBreaching", "ignore", "missing"],
            "default": "missing",
        },
    }
    return {
        "prefix": {"type": "str", "required": True},
        "alarms": {"type": "list", "elements": "dict", "default": [], "options": alarm},
        "alarm_actions": {"type": "list", "elements": "str", "default": []},
        "ok_actions": {"type": "list", "elements": "str", "default": []},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    for alarm in params["alarms"]:
        refused = cloudwatch_rules.problem(alarm)
        if refused:
            raise ValueError(refused)
    owner_tags = aws_changes.text_tags(params["owner_tags"])
    wanted = {params["prefix"] + one["name"]: cloudwatch_rules.wanted(one, params) for one in params["alarms"]}
    cloudwatch = module.client("cloudwatch", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    alarms = Alarms(cloudwatch, params["prefix"])
    alarms.check_owner(sorted(wanted), owner_tags)
    changes = alarms.plan(wanted, aws_changes.text_tags(params["tags"]), owner_tags)
    if changes and not module.check_mode:
        changes.apply()
    firing = sorted(name for name, one in alarms.found.items() if name in wanted and one["StateValue"] == "ALARM")
    module.exit_json(changed=bool(changes), alarm_names=sorted(wanted), firing=firing, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    with aws_changes.one_line_failures(module, "cloudwatch", f"Alarms {module.params['prefix']}"):
        run(module)


if __name__ == "__main__":
    main()
