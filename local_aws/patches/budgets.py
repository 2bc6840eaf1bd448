# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's Budgets, with updates, subscribers and tags.

moto 5.2.5 keeps budgets and notifications, any of them, knows neither UpdateBudget nor subscribers nor tags, and tells a
forecast that nobody made. Nothing is spent on the local AWS, so nobody is ever notified: a budget has spent 0.0 and has no
forecast, as a new one on AWS. The API: https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from moto.budgets.exceptions import DuplicateRecordException, NotFoundException
from moto.budgets.models import Budget, Notification, budgets_backends
from moto.budgets.models import BudgetsBackend as BACKEND
from moto.budgets.responses import BudgetsResponse as RESPONSE
from moto.core.exceptions import JsonRESTError
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.core.utils import unix_time
from moto.resourcegroupstaggingapi import models as tagging

from ..runtime import Runtime
from . import add, replace

KNOWN = {
    "BudgetName", "BudgetLimit", "CostFilters", "CostTypes", "TimeUnit", "TimePeriod", "BudgetType", "LastUpdatedTime",
}  # fmt: skip
# Where the Resource Groups Tagging API knows what has no region.
GLOBAL_REGIONS = ("us-east-1", "cn-northwest-1")
# "up to ten notifications"; "one SNS subscriber and up to 10 email subscribers": API_budgets_Notification.html
MOST_NOTIFICATIONS, MOST_OF_KIND = 10, {"EMAIL": 10, "SNS": 1}


class TaggableBudgets(BACKEND, TaggableResourcesMixin):
    SERVICE_NAMESPACE = "budgets"
    # moto finds a service's addresses by where its backend is defined.
    __module__ = BACKEND.__module__

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for name, budget in list(self.budgets[self.account_id].items()):
            arn = f"arn:{self.partition}:budgets::{self.account_id}:budget/{name}"
            yield TaggedResource(arn, dict(_tags(budget)), "budgets:budget")


def apply(_runtime: Runtime) -> None:
    replace(budgets_backends, "backend", TaggableBudgets)
    _patch_budgets()
    _patch_notifications()
    _patch_tags()
    _patch_tagging_api()


def _invalid(message: str) -> JsonRESTError:
    return JsonRESTError("InvalidParameterException", message)


def _tags(budget: Any) -> dict[str, str]:
    return budget.__dict__.setdefault("local_aws_tags", {})


def _checked(budget: dict[str, Any]) -> dict[str, Any]:
    """A monthly cost budget with its amount as AWS tells it, or why it is refused."""
    unsupported = sorted(key for key, value in budget.items() if key not in KNOWN and value)
    if unsupported or budget.get("BudgetType") != "COST" or budget.get("TimeUnit") != "MONTHLY":
        what = ", ".join(unsupported) or f"{budget.get('TimeUnit')} {budget.get('BudgetType')}"
        raise _invalid(f"{what}: the local AWS has monthly cost budgets with a BudgetLimit only.")
    if not re.fullmatch(r"(?!.*/action/)[^:\\]{1,100}", budget["BudgetName"]):
        raise _invalid(f"Invalid budget name: {budget['BudgetName']}")
    limit = budget.get("BudgetLimit")
    if not limit:
        raise _invalid("Unable to create/update budget - please provide one of the followings: Budget Limit")
    if not re.fullmatch(r"([0-9]*\.)?[0-9]+", str(limit["Amount"])) or float(limit["Amount"]) <= 0 or limit["Unit"] != "USD":
        raise _invalid("Unable to create/update budget - the budget limit must be an amount above 0 in USD.")
    return {**budget, "BudgetLimit": {"Amount": str(float(limit["Amount"])), "Unit": limit["Unit"]}}


def _patch_budgets() -> None:
    plain_create, plain_dict = BACKEND.create_budget, Budget.to_dict

    def create_budget(self: Any, account_id: str, budget: dict, notifications: list[dict]) -> None:
        budget = _checked(budget)
        plain_create(self, account_id, budget, [])
        try:
            for one in notifications:
                self.create_notification(account_id, budget["BudgetName"], one["Notification"], one["Subscribers"])
        except JsonRESTError:
            self.delete_budget(account_id, budget["BudgetName"])
            raise

    def to_dict(self: Any) -> dict[str, Any]:
        return {**plain_dict(self), "CalculatedSpend": {"ActualSpend": {"Amount": "0.0", "Unit": "USD"}}}

    def update_budget(self: Any) -> str:
        account_id, given = self._get_param("AccountId"), _checked(self._get_param("NewBudget"))
        budget = _budget(self.backend, account_id, given["BudgetName"])
        # "UpdateBudget" replaces it, but for what belongs to its past.
        budget.budget = {"TimePeriod": budget.budget["TimePeriod"], **given, "LastUpdatedTime": unix_time()}
        return "{}"

    plain_response = RESPONSE.create_budget

    def create_response(self: Any) -> str:
        answer = plain_response(self)
        budget = _budget(self.backend, self._get_param("AccountId"), self._get_param("Budget")["BudgetName"])
        _tags(budget).update({one["Key"]: one["Value"] for one in self._get_param("ResourceTags", [])})
        return answer

    replace(BACKEND, "create_budget", create_budget, ("self", "account_id", "budget", "notifications"))
    replace(Budget, "to_dict", to_dict, ("self",))
    replace(RESPONSE, "create_budget", _own_account(create_response), ("self",))
    add(RESPONSE, "update_budget", _own_account(update_budget))
    for name in ("describe_budget", "describe_budgets", "delete_budget"):
        replace(RESPONSE, name, _own_account(getattr(RESPONSE, name)), ("self",))


def _own_account(method: Callable[[Any], str]) -> Callable[[Any], str]:
    def asked(self: Any) -> str:
        if self._get_param("AccountId") != self.current_account:
            raise JsonRESTError("AccessDeniedException", f"Account {self._get_param('AccountId')} is not accessible.")
        return method(self)

    return asked


def _budget(backend: Any, account_id: str, name: str) -> Any:
    if name not in backend.budgets[account_id]:
        raise NotFoundException(f"Unable to get budget: {name} - the budget doesn't exist.")
    return backend.budgets[account_id][name]


def _key(details: dict[str, Any]) -> tuple:
    kind, comparison = details.get("NotificationType"), details.get("ComparisonOperator")
    return kind, comparison, float(details.get("Threshold", 0)), details.get("ThresholdType") or "PERCENTAGE"


def _notification(budget: Any, details: dict[str, Any]) -> Any:
    for one in budget.notifications:
        if _key(one.details) == _key(details):
            return one
    raise NotFoundException("Unable to find the notification - it doesn't exist.")


def _check_subscribers(subscribers: list[dict[str, str]]) -> None:
    if not subscribers:
        raise _invalid("Notification must have at least one subscriber.")
    for kind, most in MOST_OF_KIND.items():
        if sum(one.get("SubscriptionType") == kind for one in subscribers) > most:
            raise JsonRESTError("CreationLimitExceededException", f"A notification has at most {most} {kind} subscribers.")
    for one in subscribers:
        good = {"EMAIL": r"[^@\s]+@[^@\s]+", "SNS": r"arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+(\.fifo)?"}[one["SubscriptionType"]]
        if not re.fullmatch(good, one["Address"]):
            raise _invalid(f"{one['Address']} is not an address for {one['SubscriptionType']}.")
        if subscribers.count(one) > 1:
            raise DuplicateRecordException("subscriber", one["Address"])


def _patch_notifications() -> None:
    def create_notification(
        self: Any, account_id: str, budget_name: str, notification: dict[str, Any], subscribers: list[dict[str, str]]
    ) -> None:
        budget = _budget(self, account_id, budget_name)
        if len(budget.notifications) >= MOST_NOTIFICATIONS:
            raise JsonRESTError("CreationLimitExceededException", "A budget has at most 10 notifications.")
        if any(_key(one.details) == _key(notification) for one in budget.notifications):
            raise DuplicateRecordException("notification", str(notification.get("Threshold")))
        _check_subscribers(subscribers)
        kept = {"ThresholdType": "PERCENTAGE", **notification, "NotificationState": "OK"}
        budget.notifications.append(Notification(kept, subscribers))

    def delete_notification(self: Any, account_id: str, budget_name: str, notification: dict[str, Any]) -> None:
        budget = _budget(self, account_id, budget_name)
        budget.notifications.remove(_notification(budget, notification))

    def found(response: Any) -> Any:
        budget = _budget(response.backend, response._get_param("AccountId"), response._get_param("BudgetName"))
        return _notification(budget, response._get_param("Notification"))

    def describe_subscribers(self: Any) -> str:
        return json.dumps({"Subscribers": found(self).subscribers})

    def create_subscriber(self: Any) -> str:
        notification = found(self)
        subscribers = [*notification.subscribers, self._get_param("Subscriber")]
        _check_subscribers(subscribers)
        notification.subscribers = subscribers
        return "{}"

    def delete_subscriber(self: Any) -> str:
        notification, subscriber = found(self), self._get_param("Subscriber")
        if subscriber not in notification.subscribers:
            raise NotFoundException("Unable to delete subscriber - the subscriber doesn't exist.")
        subscribers = [one for one in notification.subscribers if one != subscriber]
        _check_subscribers(subscribers)
        notification.subscribers = subscribers
        return "{}"

    def describe_notifications(self: Any, account_id: str, budget_name: str) -> list[dict[str, Any]]:
        return list(_budget(self, account_id, budget_name).get_notifications())

    parameters = ("self", "account_id", "budget_name")
    replace(BACKEND, "create_notification", create_notification, (*parameters, "notification", "subscribers"))
    replace(BACKEND, "delete_notification", delete_notification, (*parameters, "notification"))
    replace(BACKEND, "describe_notifications_for_budget", describe_notifications, parameters)
    add(RESPONSE, "describe_subscribers_for_notification", _own_account(describe_subscribers))
    add(RESPONSE, "create_subscriber", _own_account(create_subscriber))
    add(RESPONSE, "delete_subscriber", _own_account(delete_subscriber))


def _patch_tags() -> None:
    def tagged(response: Any) -> dict[str, str]:
        _arn, _unused, name = response._get_param("ResourceARN").partition(":budget/")
        return _tags(_budget(response.backend, response.current_account, name))

    def list_tags_for_resource(self: Any) -> str:
        return json.dumps({"ResourceTags": [{"Key": key, "Value": value} for key, value in tagged(self).items()]})

    def tag_resource(self: Any) -> str:
        tagged(self).update({one["Key"]: one["Value"] for one in self._get_param("ResourceTags")})
        return "{}"

    def untag_resource(self: Any) -> str:
        tags = tagged(self)
        for key in self._get_param("ResourceTagKeys"):
            tags.pop(key, None)
        return "{}"

    for method in (list_tags_for_resource, tag_resource, untag_resource):
        add(RESPONSE, method.__name__, method)


def _patch_tagging_api() -> None:
    """What has no region is found in one region alone; moto finds it in all."""
    plain = tagging.iter_taggable_backends

    def iter_taggable_backends(account_id: str, region_name: str) -> Iterator[Any]:
        for backend in plain(account_id, region_name):
            if not isinstance(backend, BACKEND) or region_name in GLOBAL_REGIONS:
                yield backend

    replace(tagging, "iter_taggable_backends", iter_taggable_backends, ("account_id", "region_name"))
