# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What RDS tells of its events, when it is asked and to their subscribers, and what a subscription may ask for.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.html
"""

from __future__ import annotations

import dataclasses
import json
import logging
from datetime import datetime, timedelta, timezone
from typing import Any

from moto.rds.exceptions import InvalidParameterValue, RDSClientError
from moto.sns.models import sns_backends

from . import topic_policies

log = logging.getLogger(__name__)
SERVICE = "events.rds.amazonaws.com"
# Of DB instances, the only kind of source that has events here ("Amazon RDS event categories and event messages").
CATEGORIES = (
    "availability", "backtrack", "backup", "configuration change", "creation", "deletion", "failover", "failure",
    "low storage", "maintenance", "notification", "read replica", "recovery", "restoration", "security", "security patching",
)  # fmt: skip
# What happens to an instance: number, category and message of its event.
EVENTS = {
    "created": ("0005", "creation", "DB instance created"),
    "deleted": ("0003", "deletion", "DB instance deleted"),
    "restarted": ("0006", "availability", "DB instance restarted"),
    "full": ("0007", "low storage", "Allocated storage has been exhausted. Allocate additional storage to resolve."),
    "modified": ("0014", "configuration change", "Finished applying modification to DB instance class"),
    "upgraded": ("0049", "maintenance", "Database instance patched"),
    "password": ("0016", "configuration change", "Reset master credentials"),
    "stopped": ("0087", "notification", "DB instance stopped"),
    "started": ("0088", "notification", "DB instance started"),
    "failed": ("0031", "failure", "DB instance put into failed state"),
}


# Minutes that DescribeEvents looks back unless it is told otherwise.
DURATION = 60


@dataclasses.dataclass(frozen=True)
class Event:
    """As moto's own are."""

    source_identifier: str
    source_arn: str
    event_categories: list[str]
    message: str
    source_type: str = "db-instance"
    date: datetime = dataclasses.field(default_factory=lambda: datetime.now(timezone.utc))


def within(events: list[Any], duration: Any, start: datetime | None, end: datetime | None) -> list[Any]:
    """The events of the time that DescribeEvents asks for, oldest first."""
    last = _aware(end) if end else datetime.now(timezone.utc)
    first = _aware(start) if start else last - timedelta(minutes=int(duration or DURATION))
    return sorted((one for one in events if first <= _aware(one.date) <= last), key=lambda one: _aware(one.date))


def _aware(moment: datetime) -> datetime:
    """moto's naive moments are UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def check(backend: Any, asked: dict[str, Any]) -> None:
    """Refuse a subscription as CreateEventSubscription does."""
    topic = sns_backends[backend.account_id][backend.region_name].topics.get(asked.get("sns_topic_arn"))
    if topic is None:
        raise RDSClientError("SNSTopicArnNotFound", f"SNS Topic ARN {asked.get('sns_topic_arn')} does not exist.")
    if not topic_policies.may_publish(topic.policy, SERVICE, _source_arn(backend, "*"), backend.account_id):
        raise RDSClientError("SNSNoAuthorization", "You do not have permission to publish to the SNS topic ARN.")
    if asked.get("source_type") != "db-instance":
        raise InvalidParameterValue(f"The local AWS has events of the source type db-instance only, not {asked.get('source_type')}")
    for category in asked.get("event_categories") or []:
        if category not in CATEGORIES:
            raise RDSClientError("SubscriptionCategoryNotFound", f"Event category {category} does not exist for db-instance.")
    for source in asked.get("source_ids") or []:
        if source not in backend.databases:
            raise RDSClientError("SourceNotFound", f"Source {source} not found.")


def tell(backend: Any, instance: Any, event: str) -> None:
    """Keep it, and publish to whoever subscribed; what cannot be told is logged, as there is nobody to answer."""
    number, category, words = EVENTS[event]
    name = instance.db_instance_identifier
    backend.events.append(Event(name, _source_arn(backend, name), [category], words))
    for subscription in list(backend.event_subscriptions.values()):
        wanted = subscription.event_categories or CATEGORIES
        if category not in wanted or (subscription.source_ids and name not in subscription.source_ids):
            continue
        topics = sns_backends[backend.account_id][backend.region_name]
        topic = topics.topics.get(subscription.sns_topic_arn)
        if topic is None:
            log.error("event subscription %s: there is no topic %s", subscription.subscription_name, subscription.sns_topic_arn)
        elif not topic_policies.may_publish(topic.policy, SERVICE, _source_arn(backend, name), backend.account_id):
            log.error("event subscription %s: the policy of %s does not let RDS publish", subscription.subscription_name, topic.arn)
        else:
            topics.publish(_message(backend, name, number, words), topic.arn, subject="RDS Notification Message")


def _source_arn(backend: Any, name: str) -> str:
    return f"arn:aws:rds:{backend.region_name}:{backend.account_id}:db:{name}"


def _message(backend: Any, name: str, number: str, words: str) -> str:
    console = f"https://console.aws.amazon.com/rds/home?region={backend.region_name}"
    events = "http://docs.amazonwebservices.com/AmazonRDS/latest/UserGuide/USER_Events.html"
    return json.dumps(
        {
            "Event Source": "db-instance",
            "Event Time": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S.%f}"[:-3],
            "Identifier Link": f"{console}#dbinstance:id={name}",
            "Source ID": name,
            "Source ARN": _source_arn(backend, name),
            "Event ID": f"{events}#RDS-EVENT-{number}",
            "Event Message": words,
        }
    )
