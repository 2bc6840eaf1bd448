# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A monthly budget: the decisions, and the modules against an AWS Budgets of this file's own."""

from __future__ import annotations

import copy
import typing as t

import pytest
from botocore.exceptions import ClientError

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import budget_live, budget_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.modules import budgets_budget, budgets_budget_info

OWNER = {"owner": "us"}
TOPIC = "arn:aws:sns:eu-west-2:123456789012:web-alarms"
WANTED = {
    "name": "web",
    "monthly_usd": 150,
    "cost_tags": {"team": "web"},
    "thresholds": [80, 100],
    "email_subscribers": ["b@example.com", "a@example.com"],
    "owner_tags": OWNER,
    "tags": OWNER,
}
ABSENT = {"name": "web", "state": "absent", "owner_tags": OWNER}
pytestmark = pytest.mark.usefixtures("aws_environment")


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "told so"}}, "DescribeBudget")


class Budgets:
    """One account's budgets, as AWS answers: a page holds one entry, amounts come back with fewer digits."""

    def __init__(self) -> None:
        self.budgets: dict[str, dict] = {}
        self.tags: dict[str, list] = {}
        self.told: dict[str, list[dict]] = {}
        self.writes: list[str] = []
        self.refused = ""

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool, **arguments: t.Any) -> t.Any:
            if not operation.startswith(("describe_", "list_")):
                self.writes.append(operation)
            return copy.deepcopy(getattr(self, f"_{operation}")(**copy.deepcopy(arguments)) or {})

        if operation.startswith("_"):
            raise AttributeError(operation)
        return call

    def _describe_budget(self, AccountId: str, BudgetName: str) -> dict:
        if self.refused:
            raise refusal(self.refused)
        if AccountId != "123456789012" or BudgetName not in self.budgets:
            raise refusal("NotFoundException")
        return {"Budget": self.budgets[BudgetName]}

    def _create_budget(self, AccountId: str, Budget: dict, NotificationsWithSubscribers: list, ResourceTags: list) -> None:
        name = Budget["BudgetName"]
        self._update_budget(AccountId, Budget)
        self.told[name] = [{**one, "Subscribers": [*one["Subscribers"]]} for one in NotificationsWithSubscribers]
        self.tags[f"arn:aws:budgets::{AccountId}:budget/{name}"] = ResourceTags

    def _update_budget(self, AccountId: str, NewBudget: dict) -> None:
        limit = NewBudget["BudgetLimit"]
        limit["Amount"] = str(float(limit["Amount"]))
        spent = {"ActualSpend": {"Amount": "41.1234", "Unit": "USD"}}
        self.budgets[NewBudget["BudgetName"]] = {**NewBudget, "CalculatedSpend": spent}

    def _delete_budget(self, AccountId: str, BudgetName: str) -> None:
        del self.budgets[BudgetName], self.told[BudgetName]

    @staticmethod
    def _page(key: str, entries: list, token: str | None) -> dict:
        number = int(token or 0)
        more = {"NextToken": str(number + 1)} if number + 1 < len(entries) else {}
        return {key: entries[number : number + 1], **more}

    def _describe_notifications_for_budget(self, AccountId: str, BudgetName: str, NextToken: str | None = None) -> dict:
        found = [{**one["Notification"], "NotificationState": "OK"} for one in self.told[BudgetName]]
        return self._page("Notifications", found, NextToken)

    def _one(self, name: str, notification: dict) -> dict:
        return next(one for one in self.told[name] if one["Notification"] == notification)

    def _describe_subscribers_for_notification(
        self, AccountId: str, BudgetName: str, Notification: dict, NextToken: str | None = None
    ) -> dict:
        return self._page("Subscribers", self._one(BudgetName, Notification)["Subscribers"], NextToken)

    def _create_notification(self, AccountId: str, BudgetName: str, Notification: dict, Subscribers: list) -> None:
        self.told[BudgetName].append({"Notification": Notification, "Subscribers": Subscribers})

    def _delete_notification(self, AccountId: str, BudgetName: str, Notification: dict) -> None:
        self.told[BudgetName].remove(self._one(BudgetName, Notification))

    def _create_subscriber(self, AccountId: str, BudgetName: str, Notification: dict, Subscriber: dict) -> None:
        self._one(BudgetName, Notification)["Subscribers"].append(Subscriber)

    def _delete_subscriber(self, AccountId: str, BudgetName: str, Notification: dict, Subscriber: dict) -> None:
        told = self._one(BudgetName, Notification)["Subscribers"]
        told.remove(Subscriber)
        assert told, "AWS keeps the last subscriber"

    def _list_tags_for_resource(self, ResourceARN: str) -> dict:
        return {"ResourceTags": self.tags[ResourceARN]}

    def _tag_resource(self, ResourceARN: str, ResourceTags: list) -> None:
        new = {one["Key"] for one in ResourceTags}
        self.tags[ResourceARN] = [one for one in self.tags[ResourceARN] if one["Key"] not in new] + ResourceTags

    def _untag_resource(self, ResourceARN: str, ResourceTagKeys: list) -> None:
        self.tags[ResourceARN] = [one for one in self.tags[ResourceARN] if one["Key"] not in ResourceTagKeys]


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> Budgets:
    made = Budgets()
    monkeypatch.setattr(
        budget_live, "connect", lambda _module, name: budget_live.LiveBudget(made, name, "123456789012", "aws")
    )
    return made


def test_life(run_module: t.Callable, budgets: Budgets) -> None:
    assert run_module(budgets_budget_info, {"name": "web"})["budget"] is None
    predicted = run_module(budgets_budget, WANTED, check=True)
    assert predicted["changed"] and budgets.writes == [] and predicted["budget"] is None
    made = run_module(budgets_budget, WANTED)
    assert made["diff"] == predicted["diff"] and budgets.writes == ["create_budget"]
    assert made["budget"] == {
        "arn": "arn:aws:budgets::123456789012:budget/web",
        "monthly_usd": 150.0,
        "actual_usd": 41.12,
        "forecast_usd": None,
        "thresholds": [80.0, 100.0],
        "forecast_thresholds": [100.0],
        "email_subscribers": ["a@example.com", "b@example.com"],
        "sns_topic_arn": None,
    }
    kept = budgets.budgets["web"]
    assert (kept["BudgetType"], kept["TimeUnit"]) == ("COST", "MONTHLY")
    assert kept["CostFilters"] == {"TagKeyValue": ["user:team$web"]}
    assert run_module(budgets_budget_info, {"name": "web"})["budget"] == made["budget"]
    budgets.writes.clear()
    for check in (True, False):
        assert not run_module(budgets_budget, WANTED, check=check)["changed"]
    assert run_module(budgets_budget, ABSENT, check=True)["changed"] and budgets.writes == []
    gone = run_module(budgets_budget, ABSENT)
    assert gone["changed"] and gone["budget"] is None and budgets.writes == ["delete_budget"]
    assert not run_module(budgets_budget, ABSENT)["changed"]


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"monthly_usd": 150.5}, ["update_budget"]),
        ({"cost_tags": {}}, ["update_budget"]),
        ({"thresholds": [100]}, ["delete_notification"]),
        ({"thresholds": [50, 80, 100]}, ["create_notification"]),
        ({"forecast_thresholds": [120]}, ["delete_notification", "create_notification"]),
        ({"email_subscribers": ["a@example.com"]}, ["delete_subscriber"] * 3),
        ({"sns_topic_arn": TOPIC}, ["create_subscriber"] * 3),
        ({"email_subscribers": ["a@example.com"], "sns_topic_arn": TOPIC}, ["delete_subscriber", "create_subscriber"] * 3),
        ({"email_subscribers": ["c@example.com"]}, ["delete_notification", "create_notification"] * 3),
        ({"tags": {**OWNER, "cost": 12}}, ["tag_resource"]),
    ],
)
def test_each_change_writes_what_it_must(
    run_module: t.Callable, budgets: Budgets, change: dict, written: list
) -> None:
    run_module(budgets_budget, WANTED)
    budgets.writes.clear()
    wanted = {**WANTED, **change}
    predicted = run_module(budgets_budget, wanted, check=True)
    assert predicted["changed"] and budgets.writes == []
    run = run_module(budgets_budget, wanted)
    assert run["diff"] == predicted["diff"] and budgets.writes == written
    assert run["budget"]["sns_topic_arn"] == wanted.get("sns_topic_arn")
    assert run["budget"]["email_subscribers"] == sorted(wanted["email_subscribers"])
    assert not run_module(budgets_budget, wanted)["changed"]
    budgets.writes.clear()
    run_module(budgets_budget, WANTED)
    assert budgets.writes and not run_module(budgets_budget, WANTED)["changed"]


def test_a_notification_that_somebody_added_by_hand_goes(run_module: t.Callable, budgets: Budgets) -> None:
    run_module(budgets_budget, WANTED)
    by_hand = {"NotificationType": "ACTUAL", "ComparisonOperator": "LESS_THAN", "Threshold": 5.0, "ThresholdType": "ABSOLUTE_VALUE"}
    told = [{"SubscriptionType": "EMAIL", "Address": "x@example.com"}]
    budgets._create_notification("123456789012", "web", by_hand, told)
    budgets.writes.clear()
    run = run_module(budgets_budget, WANTED)
    assert budgets.writes == ["delete_notification"]
    assert run["diff"]["before"] == {"notification ACTUAL LESS_THAN 5": ["email x@example.com"]}


def test_what_is_not_ours_is_not_touched(run_module: t.Callable, budgets: Budgets) -> None:
    run_module(budgets_budget, {**WANTED, "owner_tags": {}, "tags": {}})
    budgets.writes.clear()
    for options in (WANTED, ABSENT):
        refused = run_module(budgets_budget, options)
        assert refused["failed"] and "Budget web: it exists but does not carry the tags owner=us" in refused["msg"]
    assert budgets.writes == []


def test_where_billing_is_closed_only_a_removal_goes_on(run_module: t.Callable, budgets: Budgets) -> None:
    budgets.refused = "AccessDeniedException"
    refused = run_module(budgets_budget, WANTED)
    assert refused["failed"] and "AWS permissions: budgets:DescribeBudget is denied" in refused["msg"]
    gone = run_module(budgets_budget, ABSENT)
    assert not gone.get("failed") and not gone["changed"] and gone["budget"] is None
    budgets.refused = "ThrottlingException"
    assert run_module(budgets_budget, ABSENT)["failed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"monthly_usd": 0}, "monthly_usd = 0: is no amount of money"),
        ({"monthly_usd": float("nan")}, "monthly_usd = nan: is no amount of money"),
        ({"thresholds": [0]}, "thresholds = 0: is not a percentage of the budget"),
        ({"forecast_thresholds": [1001]}, "forecast_thresholds = 1001: is not a percentage of the budget"),
        ({"thresholds": [80, 80]}, "says something twice"),
        ({"thresholds": list(range(1, 11))}, "are 11 with the forecast's"),
        ({"thresholds": [], "forecast_thresholds": []}, "without a threshold nobody is ever told"),
        ({"email_subscribers": ["ops"]}, "email_subscribers = 'ops': is no address"),
        ({"email_subscribers": ["a@b.c", "a@b.c"]}, "names somebody twice"),
        ({"email_subscribers": [f"{number}@b.c" for number in range(11)]}, "AWS writes to at most 10"),
        ({"sns_topic_arn": "alarms"}, "sns_topic_arn = 'alarms': is not the ARN of an SNS topic"),
        ({"email_subscribers": []}, "without a subscriber nobody is told"),
    ],
)
def test_what_cannot_work_is_refused(change: dict, message: str) -> None:
    found = Findings()
    budget_rules.check({**WANTED, "forecast_thresholds": [100], "sns_topic_arn": "", **change}, found)
    assert len(found.problems) == 1 and message in found.problems[0], found.problems


def test_bad_options_are_refused_before_anything_is_asked(run_module: t.Callable, budgets: Budgets) -> None:
    budgets.refused = "AccessDeniedException"
    wrong = {**WANTED, "monthly_usd": -1, "variable_names": {"monthly_usd": "budget_monthly_usd"}}
    assert "budget_monthly_usd = -1.0: is no amount of money" in run_module(budgets_budget, wrong)["msg"]


def test_the_account_is_that_of_the_credentials() -> None:
    class Caller:
        @staticmethod
        def get_caller_identity(aws_retry: bool) -> dict:
            return {"Account": "210987654321", "Arn": "arn:aws-cn:iam::210987654321:user/ops"}

    module = type("Module", (), {"client": lambda _self, service, retry_decorator: Caller()})()
    assert budget_live.connect(module, "web").arn == "arn:aws-cn:budgets::210987654321:budget/web"
