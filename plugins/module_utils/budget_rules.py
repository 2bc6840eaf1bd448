# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about a monthly cost budget: pure functions over options and the dictionaries of the API of AWS Budgets.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_Budget.html
"""

from __future__ import annotations

import math
import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

# "up to ten notifications", "one SNS subscriber and up to 10 email subscribers": API_budgets_Notification.html
MOST_NOTIFICATIONS, MOST_EMAILS = 10, 10
MOST_PERCENT = 1000
TOPIC = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+")
KINDS = {"thresholds": "ACTUAL", "forecast_thresholds": "FORECASTED"}


class Notice(t.NamedTuple):
    """When somebody is told: kind (ACTUAL or FORECASTED), comparison, threshold and what the threshold is of."""

    kind: str
    threshold: float
    comparison: str = "GREATER_THAN"
    threshold_type: str = "PERCENTAGE"

    def to_api(self) -> dict[str, t.Any]:
        return {
            "NotificationType": self.kind,
            "ComparisonOperator": self.comparison,
            "Threshold": self.threshold,
            "ThresholdType": self.threshold_type,
        }


def notice(found: dict[str, t.Any]) -> Notice:
    """A notification as AWS describes it."""
    return Notice(
        found["NotificationType"], float(found["Threshold"]), found["ComparisonOperator"],
        found.get("ThresholdType") or "PERCENTAGE",
    )  # fmt: skip


def check(options: dict[str, t.Any], found: Findings) -> None:
    """Refuses what cannot work; `options` are those of M(mlops.mlflow_aws.budgets_budget)."""
    amount = options["monthly_usd"]
    if not math.isfinite(amount) or amount < 0.01:
        found.refuse("monthly_usd", amount, "is no amount of money", "give US dollars a month, such as 150")
    given = [threshold for option in KINDS for threshold in options[option]]
    for option in KINDS:
        for threshold in options[option]:
            if not 0 < threshold <= MOST_PERCENT:
                found.refuse(option, threshold, "is not a percentage of the budget", f"give 1 to {MOST_PERCENT}")
        if len(set(options[option])) < len(options[option]):
            found.refuse(option, options[option], "says something twice", "give each percentage once")
    if not given:
        found.refuse("thresholds", [], "without a threshold nobody is ever told", "give percentages such as [80, 100]")
    if len(given) > MOST_NOTIFICATIONS:
        found.refuse(
            "thresholds", options["thresholds"], f"are {len(given)} with the forecast's",
            f"AWS tells at most {MOST_NOTIFICATIONS} of a budget: leave some out",
        )  # fmt: skip
    _check_subscribers(options, found)


def _check_subscribers(options: dict[str, t.Any], found: Findings) -> None:
    emails, topic = options["email_subscribers"], options["sns_topic_arn"]
    for address in emails:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address):
            found.refuse("email_subscribers", address, "is no address", "write one such as ops@example.com")
    if len(set(emails)) < len(emails):
        found.refuse("email_subscribers", emails, "names somebody twice", "name each once")
    if len(emails) > MOST_EMAILS:
        found.refuse("email_subscribers", emails, f"are {len(emails)}", f"AWS writes to at most {MOST_EMAILS}: use a list")
    if topic and not TOPIC.fullmatch(topic):
        found.refuse("sns_topic_arn", topic, "is not the ARN of an SNS topic", "give its ARN, or leave it empty")
    if not emails and not topic:
        found.refuse("email_subscribers", emails, "without a subscriber nobody is told", "name some, or an SNS topic")


def budget(name: str, options: dict[str, t.Any]) -> dict[str, t.Any]:
    """The budget as CreateBudget takes it."""
    return {
        "BudgetName": name,
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": f"{options['monthly_usd']:.2f}", "Unit": "USD"},
        "CostFilters": cost_filters(options["cost_tags"]),
    }


def cost_filters(tags: dict[str, str]) -> dict[str, list[str]]:
    """Only what carries these tags; AWS writes a tag that users gave as user:<key>$<value>."""
    return {"TagKeyValue": [f"user:{key}${value}" for key, value in sorted(tags.items())]} if tags else {}


def comparable(found: dict[str, t.Any]) -> dict[str, t.Any]:
    """What is compared of a budget: AWS writes 150.00 as 150.0, and no filter as none or an empty one."""
    limit = found.get("BudgetLimit") or {"Amount": "0", "Unit": "USD"}
    filters = found.get("CostFilters") or {}
    return {
        "monthly": f"{float(limit['Amount']):.2f} {limit['Unit']}",
        "filters": {key: sorted(values) for key, values in filters.items() if values},
        "kind": f"{found['TimeUnit']} {found['BudgetType']}",
    }


def notices(options: dict[str, t.Any]) -> set[Notice]:
    return {Notice(kind, float(threshold)) for option, kind in KINDS.items() for threshold in options[option]}


def subscribers(options: dict[str, t.Any]) -> set[tuple[str, str]]:
    """(EMAIL or SNS, address) of everybody who is told."""
    topic = {("SNS", options["sns_topic_arn"])} if options["sns_topic_arn"] else set()
    return {("EMAIL", address) for address in options["email_subscribers"]} | topic


def subscriber_to_api(subscriber: tuple[str, str]) -> dict[str, str]:
    return {"SubscriptionType": subscriber[0], "Address": subscriber[1]}


def shown(told: t.Iterable[tuple[str, str]]) -> list[str]:
    """Subscribers in diffs."""
    return sorted(f"{kind.lower()} {address}" for kind, address in told)
