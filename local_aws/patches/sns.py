# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's SNS, whose deliveries cannot harm whoever publishes, and whose mail subscriptions wait for an answer.

moto 5.2.5 delivers to http(s) and sqs while the publisher waits, without a limit, and fails with the first subscriber
that fails; it confirms every subscription by itself, and gives the ARN of a topic's attributes anything it is told.
The API: https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

import requests
from moto.core.responses import ActionResult
from moto.sns import models, responses
from moto.sns.exceptions import SNSInvalidParameter

from ..runtime import Runtime
from . import replace

log = logging.getLogger(__name__)
PENDING = "PendingConfirmation"
# Nobody reads the mail that the local AWS does not send.
MAIL = ("email", "email-json")
PROTOCOLS = ("http", "https", *MAIL, "sms", "sqs", "application", "lambda", "firehose")
ENDPOINTS = {
    "http": r"http://\S+",
    "https": r"https://\S+",
    "email": r"[^@\s]+@[^@\s]+",
    "email-json": r"[^@\s]+@[^@\s]+",
    "sqs": r"arn:[^:]+:sqs:[^:]+:\d+:.+",
    "lambda": r"arn:[^:]+:lambda:[^:]+:\d+:.+",
}
DELIVERY_SECONDS = 15


def apply(_runtime: Runtime) -> None:
    _patch_delivery()
    _patch_subscriptions()


def _patch_delivery() -> None:
    plain = models.Subscription.publish

    def deliver(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            plain(self, *args, **kwargs)
        except Exception as error:  # whatever the subscriber does is no failure of the publisher
            log.warning("topic %s: %s %s was not reached: %s", self.topic.arn, self.protocol, self.endpoint, error)

    def publish(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.protocol in ("http", "https"):
            threading.Thread(target=deliver, args=(self, *args), kwargs=kwargs, daemon=True).start()
        else:
            deliver(self, *args, **kwargs)

    class Limited:
        """`requests` for moto's deliveries, with a limit in time."""

        @staticmethod
        def post(*args: Any, **kwargs: Any) -> requests.Response:
            answer = requests.post(*args, timeout=DELIVERY_SECONDS, **kwargs)
            answer.raise_for_status()
            return answer

    replace(models.Subscription, "publish", publish)
    replace(models, "requests", Limited)


def _patch_subscriptions() -> None:
    plain = models.SNSBackend.subscribe

    def subscribe(self: Any, topic_arn: str, endpoint: str, protocol: str) -> Any:
        if protocol not in PROTOCOLS:
            raise SNSInvalidParameter(f"Invalid parameter: Does not support this protocol string: {protocol}")
        if not re.fullmatch(ENDPOINTS.get(protocol, ".+"), endpoint or ""):
            raise SNSInvalidParameter(f"Invalid parameter: {protocol} endpoint")
        subscription = plain(self, topic_arn, endpoint, protocol)
        subscription.attributes["PendingConfirmation"] = protocol in MAIL
        return subscription

    def told(subscription: Any) -> dict[str, str]:
        return {
            "SubscriptionArn": PENDING if subscription.protocol in MAIL else subscription.arn,
            "Owner": subscription.owner,
            "Protocol": subscription.protocol,
            "Endpoint": subscription.endpoint,
            "TopicArn": subscription.topic_arn,
        }

    def subscribe_response(self: Any) -> ActionResult:
        result = plain_response(self)
        if self._get_param("Protocol") in MAIL and not self._get_bool_param("ReturnSubscriptionArn"):
            result._result["SubscriptionArn"] = "pending confirmation"
        return result

    def listing(plain_list: Any) -> Any:
        def listed(self: Any) -> ActionResult:
            result = plain_list(self)
            result._result["Subscriptions"] = [told(one) for one in result._result["Subscriptions"]]
            return result

        return listed

    response = responses.SNSResponse
    plain_response = response.subscribe
    replace(models.SNSBackend, "subscribe", subscribe, ("self", "topic_arn", "endpoint", "protocol"))
    replace(response, "subscribe", subscribe_response, ("self",))
    for name in ("list_subscriptions", "list_subscriptions_by_topic"):
        replace(response, name, listing(getattr(response, name)), ("self",))
