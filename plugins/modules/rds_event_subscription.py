#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_event_subscription
version_added: "0.1.0"
short_description: Hear of what happens to RDS databases
description:
  - Keeps a subscription to the events of DB instances, which RDS publishes to an SNS topic.
  - The policy of the topic must let C(events.rds.amazonaws.com) publish, as that of a topic of M(mlops.mlflow_aws.sns_alarm_topic)
    does when it is one of O(mlops.mlflow_aws.sns_alarm_topic#module:publishers).
  - A subscription that is to be different is removed and made anew, so that an event in between is not told.
  - Wraps C(CreateEventSubscription), C(DeleteEventSubscription), C(DescribeEventSubscriptions), C(ListTagsForResource),
    C(AddTagsToResource) and C(RemoveTagsFromResource) of the Amazon RDS API.
options:
  name:
    description: Name of the subscription, 1 to 255 letters, digits and hyphens.
    type: str
    required: true
  state:
    description: Whether there is such a subscription.
    type: str
    choices: [present, absent]
    default: present
  topic_arn:
    description: ARN of the SNS topic; required with O(state=present).
    type: str
  db_instance_ids:
    description: Identifiers of the DB instances to hear of; all of the account and region when empty.
    type: list
    elements: str
    default: []
  event_categories:
    description: Categories of events, such as V(failure); all when empty.
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
- name: Hear of failures of the database
  mlops.mlflow_aws.rds_event_subscription:
    name: web-database
    topic_arn: arn:aws:sns:eu-west-2:123456789012:web-alarms
    db_instance_ids: [web-db]
    event_categories: [failure, maintenance]
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
subscription_name:
  description: Name of the subscription, null when there is none.
  returned: success
  type: str
  sample: web-database
"""

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes

MISSING = ["SubscriptionNotFound", "SubscriptionNotFoundFault"]
POLL_SECONDS = 2
GONE_SECONDS = 120


def told(found: dict[str, t.Any]) -> dict[str, t.Any]:
    """What a subscription is, as CreateEventSubscription names it."""
    return {
        "SnsTopicArn": found["SnsTopicArn"],
        "SourceType": found.get("SourceType"),
        "SourceIds": sorted(found.get("SourceIdsList") or []),
        "EventCategories": sorted(found.get("EventCategoriesList") or []),
        "Enabled": found["Enabled"],
    }


def wanted(params: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "SnsTopicArn": params["topic_arn"],
        "SourceType": "db-instance",
        "SourceIds": sorted(set(params["db_instance_ids"])),
        "EventCategories": sorted(set(params["event_categories"])),
        "Enabled": True,
    }


class Subscription:
    """The subscription as AWS has it, None in `found` if it has none."""

    def __init__(self, rds: t.Any, name: str) -> None:
        self.rds = rds
        self.name = name
        self.found = self._find()
        self.tags: dict[str, str] = {}
        if self.found:
            answer = rds.list_tags_for_resource(ResourceName=self.found["EventSubscriptionArn"], aws_retry=True)
            self.tags = boto3_tag_list_to_ansible_dict(answer["TagList"])

    def _find(self) -> dict[str, t.Any] | None:
        try:
            answer = self.rds.describe_event_subscriptions(SubscriptionName=self.name, aws_retry=True)
        except is_boto3_error_code(MISSING):
            return None
        return next(iter(answer["EventSubscriptionsList"]), None)

    def plan(self, want: dict[str, t.Any] | None, tags: dict[str, str]) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.found and want and told(self.found) == want:
            arn = self.found["EventSubscriptionArn"]
            changes.want_tags(
                "tags",
                self.tags,
                tags,
                lambda added: self.rds.add_tags_to_resource(
                    ResourceName=arn, Tags=ansible_dict_to_boto3_tag_list(added), aws_retry=True
                ),
                lambda keys: self.rds.remove_tags_from_resource(ResourceName=arn, TagKeys=keys, aws_retry=True),
            )
            return changes
        before = told(self.found) if self.found else None
        changes.want("subscription", before, want, lambda: self._replace(want, tags))
        return changes

    def _replace(self, want: dict[str, t.Any] | None, tags: dict[str, str]) -> None:
        if self.found:
            self.rds.delete_event_subscription(SubscriptionName=self.name, aws_retry=True)
        if want is None:
            return
        self._wait_gone()
        self.rds.create_event_subscription(
            SubscriptionName=self.name, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True, **want
        )

    def _wait_gone(self) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        while self._find() is not None:
            if time.monotonic() >= deadline:
                raise ValueError(f"Event subscription {self.name}: the former one was not gone after {GONE_SECONDS} s; run again")
            time.sleep(POLL_SECONDS)


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    tags, owner_tags = (aws_changes.text_tags(params[option]) for option in ("tags", "owner_tags"))
    subscription = Subscription(module.client("rds", retry_decorator=AWSRetry.jittered_backoff(retries=8)), params["name"])
    if subscription.found and not aws_changes.carries(subscription.tags, owner_tags):
        raise ValueError(
            aws_changes.not_ours(f"Event subscription {params['name']}", owner_tags, "choose another name")
        )
    present = params["state"] == "present"
    changes = subscription.plan(wanted(params) if present else None, tags)
    if not module.check_mode:
        changes.apply()
    module.exit_json(changed=bool(changes), subscription_name=params["name"] if present else None, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "topic_arn": {"type": "str"},
            "db_instance_ids": {"type": "list", "elements": "str", "default": []},
            "event_categories": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "present", ["topic_arn"])],
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "rds", f"Event subscription {module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
