#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sns_alarm_topic
version_added: "0.1.0"
short_description: Keep an SNS topic that alarms are published to, with its subscriptions
description:
  - Keeps the topic, who may publish to it, its encryption and exactly the given subscriptions.
  - Only the given services of AWS may publish, on behalf of this account and over TLS.
  - Unlike M(community.aws.sns_topic) it looks at the account in check mode, says who has not confirmed yet, and touches
    only topics that carry the owner's tags.
  - Subscribers by mail, HTTP or text message must confirm what AWS sends them. What is not confirmed cannot be removed
    either; AWS forgets it after two days.
  - Wraps C(CreateTopic), C(SetTopicAttributes), C(Subscribe), C(Unsubscribe), C(DeleteTopic) and the tagging of topics.
options:
  name:
    description: Name of the topic.
    type: str
    required: true
  state:
    description: Whether it shall be there.
    type: str
    choices: [present, absent]
    default: present
  publishers:
    description: Services that may publish.
    type: list
    elements: str
    default: [cloudwatch.amazonaws.com]
  kms_key:
    description:
      - ID, ARN or alias of the KMS key that messages at rest are encrypted with; empty for none.
      - It must be a key of your own whose policy lets the publishers use it (C(kms:Decrypt), C(kms:GenerateDataKey)).
        With AWS's own key V(alias/aws/sns) no alarm arrives, so it is refused.
    type: str
    default: ""
  subscriptions:
    description: Who hears of it. Others are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      protocol:
        description: How messages are delivered.
        type: str
        choices: [email, email-json, http, https, sqs, sms, lambda]
        required: true
      endpoint:
        description: Where to, such as V(ops@example.com), a URL or an ARN.
        type: str
        required: true
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
- name: Tell the operators of alarms
  mlops.mlflow_aws.sns_alarm_topic:
    name: web-alarms
    subscriptions:
      - protocol: email
        endpoint: ops@example.com
      - protocol: https
        endpoint: https://alerts.example.com/sns
    tags:
      team: web
    owner_tags:
      team: web
"""

RETURN = r"""
topic_arn:
  description: ARN that the topic has or, in check mode, would have; null when it is absent.
  returned: success
  type: str
  sample: arn:aws:sns:eu-west-2:123456789012:web-alarms
pending:
  description: Endpoints that have not confirmed their subscription yet.
  returned: success
  type: list
  elements: str
  sample: [ops@example.com]
"""

import json

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, sns_rules


class Topic:
    """The topic as AWS has it."""

    def __init__(self, sns, arn: str) -> None:
        self._sns = sns
        self.arn = arn
        self.attributes: dict | None = None
        self.tags: dict = {}
        # (protocol, endpoint) to ARN, or to what AWS says instead of one as long as nobody has confirmed.
        self.subscriptions: dict = {}

    def find(self) -> None:
        try:
            self.attributes = self._sns.get_topic_attributes(TopicArn=self.arn, aws_retry=True)["Attributes"]
        except is_boto3_error_code(["NotFound", "NotFoundException"]):
            return
        answer = self._sns.list_tags_for_resource(ResourceArn=self.arn, aws_retry=True)
        self.tags = boto3_tag_list_to_ansible_dict(answer["Tags"])
        self.subscriptions = self._listed()

    def _listed(self) -> dict:
        pages = self._sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=self.arn)
        found = [one for page in pages for one in page["Subscriptions"] if one["SubscriptionArn"] != "Deleted"]
        return {(one["Protocol"], one["Endpoint"]): one["SubscriptionArn"] for one in found}

    def pending(self) -> list[str]:
        return sorted(endpoint for (_way, endpoint), arn in self.subscriptions.items() if not arn.startswith("arn:"))

    def check_owner(self, owner_tags: dict) -> None:
        if self.attributes is not None and not aws_changes.carries(self.tags, owner_tags):
            raise ValueError(aws_changes.not_ours(f"Topic {self.arn}", owner_tags, "choose another name"))

    def plan_present(self, params: dict) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        name, tags = params["name"], params["tags"]
        policy = sns_rules.policy(self.arn, params["publishers"])
        if self.attributes is None:
            attributes = {"Policy": json.dumps(policy)}
            if params["kms_key"]:
                attributes["KmsMasterKeyId"] = params["kms_key"]
            listed = ansible_dict_to_boto3_tag_list(tags)
            changes.want(
                "topic",
                None,
                {"name": name, "policy": policy, "kms_key": params["kms_key"], "tags": tags},
                lambda: self._sns.create_topic(Name=name, Attributes=attributes, Tags=listed, aws_retry=True),
            )
        else:
            self._plan_attributes(changes, policy, params)
        self._plan_subscriptions(changes, {(one["protocol"], one["endpoint"]) for one in params["subscriptions"]})
        return changes

    def _plan_attributes(self, changes: aws_changes.Changes, policy: dict, params: dict) -> None:
        attributes = self.attributes or {}
        text = json.dumps(policy)
        changes.want(
            "policy",
            sns_rules.comparable(attributes.get("Policy", "")),
            sns_rules.comparable(text),
            lambda: self._set("Policy", text),
        )
        changes.want(
            "kms_key",
            attributes.get("KmsMasterKeyId", ""),
            params["kms_key"],
            lambda: self._set("KmsMasterKeyId", params["kms_key"]),
        )
        changes.want_tags("tags", self.tags, params["tags"], self._tag, self._untag)

    def _plan_subscriptions(self, changes: aws_changes.Changes, wanted: set) -> None:
        for protocol, endpoint in sorted(wanted - set(self.subscriptions)):
            changes.want(
                f"subscription {protocol} {endpoint}",
                None,
                sns_rules.PENDING,
                lambda protocol=protocol, endpoint=endpoint: self._sns.subscribe(
                    TopicArn=self.arn, Protocol=protocol, Endpoint=endpoint, aws_retry=True
                ),
            )
        for key in sorted(set(self.subscriptions) - wanted):
            arn = self.subscriptions[key]
            # What nobody has confirmed has no ARN to remove it by.
            if arn.startswith("arn:"):
                changes.want(
                    f"subscription {key[0]} {key[1]}",
                    arn,
                    None,
                    lambda arn=arn: self._sns.unsubscribe(SubscriptionArn=arn, aws_retry=True),
                )

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        there = None if self.attributes is None else self.arn
        changes.want("topic", there, None, lambda: self._sns.delete_topic(TopicArn=self.arn, aws_retry=True))
        return changes

    def _set(self, name: str, value: str) -> None:
        self._sns.set_topic_attributes(TopicArn=self.arn, AttributeName=name, AttributeValue=value, aws_retry=True)

    def _tag(self, tags: dict) -> None:
        self._sns.tag_resource(ResourceArn=self.arn, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True)

    def _untag(self, keys: list) -> None:
        self._sns.untag_resource(ResourceArn=self.arn, TagKeys=keys, aws_retry=True)


def argument_spec() -> dict:
    subscription = {
        "protocol": {
            "type": "str",
            "choices": ["email", "email-json", "http", "https", "sqs", "sms", "lambda"],
            "required": True,
        },
        "endpoint": {"type": "str", "required": True},
    }
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "publishers": {"type": "list", "elements": "str", "default": ["cloudwatch.amazonaws.com"]},
        "kms_key": {"type": "str", "default": "", "no_log": False},
        "subscriptions": {"type": "list", "elements": "dict", "default": [], "options": subscription},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule) -> None:
    params = dict(module.params, tags=aws_changes.text_tags(module.params["tags"]))
    refused = sns_rules.problem(params)
    if refused:
        raise ValueError(refused)
    retry = AWSRetry.jittered_backoff(retries=8)
    caller = module.client("sts", retry_decorator=retry).get_caller_identity(aws_retry=True)
    topic = Topic(
        module.client("sns", retry_decorator=retry), sns_rules.topic_arn(caller, module.region, params["name"])
    )
    topic.find()
    topic.check_owner(aws_changes.text_tags(params["owner_tags"]))
    present = params["state"] == "present"
    changes = topic.plan_present(params) if present else topic.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        topic.subscriptions = {}
        if present:
            topic.find()
    pending = topic.pending() if present else []
    if pending:
        module.warn(f"Topic {params['name']}: {', '.join(pending)} must still confirm what AWS has sent")
    module.exit_json(
        changed=bool(changes), topic_arn=topic.arn if present else None, pending=pending, diff=changes.diff
    )


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    with aws_changes.one_line_failures(module, "sns", f"Topic {module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
