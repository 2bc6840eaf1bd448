#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_monitoring_info
version_added: "0.1.0"
short_description: Look at the alarms, the topic, the event subscription and the dashboard of a deployment
description:
  - Finds what M(mlops.mlflow_aws.cloudwatch_alarms), M(mlops.mlflow_aws.sns_alarm_topic),
    M(mlops.mlflow_aws.rds_event_subscription) and M(mlops.mlflow_aws.cloudwatch_dashboard) keep. Never fails because something is missing.
  - Wraps C(DescribeAlarms), C(GetTopicAttributes), C(DescribeEventSubscriptions) and C(GetDashboard).
options:
  prefix:
    description: What the names of the alarms begin with.
    type: str
    required: true
  topic:
    description: Name of the topic.
    type: str
    required: true
  event_subscription:
    description: Name of the subscription to events of the database.
    type: str
    required: true
  dashboard:
    description: Name of the dashboard.
    type: str
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look at what watches the web servers
  mlops.mlflow_aws.deployment_monitoring_info:
    prefix: web/
    topic: web-alarms
    event_subscription: web-database
    dashboard: web
  register: watching
"""

RETURN = r"""
monitoring:
  description: What there is, with null for what does not exist.
  returned: success
  type: dict
  sample:
    topic_arn: arn:aws:sns:eu-west-2:123456789012:web-alarms
    alarm_names: [web/cpu]
    firing: []
    event_subscription_name: web-database
    dashboard_name: web
"""

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, sns_rules


def topic_arn(module: AnsibleAWSModule, retry):
    caller = module.client("sts", retry_decorator=retry).get_caller_identity(aws_retry=True)
    arn = sns_rules.topic_arn(caller, module.region, module.params["topic"])
    try:
        module.client("sns", retry_decorator=retry).get_topic_attributes(TopicArn=arn, aws_retry=True)
    except is_boto3_error_code(["NotFound", "NotFoundException"]):
        return None
    return arn


def dashboard_name(cloudwatch, name: str):
    try:
        cloudwatch.get_dashboard(DashboardName=name, aws_retry=True)
    except is_boto3_error_code(["ResourceNotFound", "DashboardNotFoundError"]):
        return None
    return name


def event_subscription_name(module: AnsibleAWSModule, retry):
    name = module.params["event_subscription"]
    rds = module.client("rds", retry_decorator=retry)
    try:
        rds.describe_event_subscriptions(SubscriptionName=name, aws_retry=True)
    except is_boto3_error_code(["SubscriptionNotFound", "SubscriptionNotFoundFault"]):
        return None
    return name


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "prefix": {"type": "str", "required": True},
            "topic": {"type": "str", "required": True},
            "event_subscription": {"type": "str", "required": True},
            "dashboard": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    retry = AWSRetry.jittered_backoff(retries=8)
    with aws_changes.one_line_failures(module, "cloudwatch", f"Monitoring {module.params['prefix']}"):
        cloudwatch = module.client("cloudwatch", retry_decorator=retry)
        pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=module.params["prefix"])
        states = {one["AlarmName"]: one["StateValue"] for page in pages for one in page["MetricAlarms"]}
        module.exit_json(
            changed=False,
            monitoring={
                "topic_arn": topic_arn(module, retry),
                "alarm_names": sorted(states),
                "firing": sorted(name for name, state in states.items() if state == "ALARM"),
                "event_subscription_name": event_subscription_name(module, retry),
                "dashboard_name": dashboard_name(cloudwatch, module.params["dashboard"]),
            },
        )


if __name__ == "__main__":
    main()
