# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role budget on a local AWS."""

from __future__ import annotations

import typing as t

import pytest
from botocore.exceptions import ClientError

ACCOUNT = {"AccountId": "123456789012"}
NAME = "thrifty-mlflow"
VARIABLES = {"budget_name": NAME, "budget_tags": {"team": "a"}, "budget_monthly_usd": 150, "budget_subscribers": ["ops@example.com"]}
TOPIC = "arn:aws:sns:eu-west-2:123456789012:thrifty-mlflow-alarms"


@pytest.fixture
def budgets(local_aws: t.Any) -> t.Any:
    return local_aws.client("budgets")


def tagged(local_aws: t.Any, region: str) -> list[str]:
    found = local_aws.client("resourcegroupstaggingapi", region).get_resources(ResourceTypeFilters=["budgets"])
    return [one["ResourceARN"] for one in found["ResourceTagMappingList"]]


@pytest.mark.long
def test_life_of_a_budget(run_role: t.Callable, local_aws: t.Any, budgets: t.Any) -> None:
    check = run_role("budget", VARIABLES, ("check", "main"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    create = run_role("budget", VARIABLES)
    assert (create.rc, create.changed, create.writes) == (0, 1, ["budgets:CreateBudget"]), create.stdout
    # Nothing was spent, and nobody forecasts anything.
    assert create.outputs == {
        "budget_arn": f"arn:aws:budgets::123456789012:budget/{NAME}", "monthly_usd": 150.0, "actual_usd": 0.0,
        "forecast_usd": None, "thresholds": [80.0, 100.0], "forecast_thresholds": [100.0],
        "subscribers": ["ops@example.com"], "sns_topic_arn": None,
    }  # fmt: skip
    found = budgets.describe_budget(**ACCOUNT, BudgetName=NAME)["Budget"]
    assert found["CostFilters"] == {"TagKeyValue": [f"user:mlflow-deployment${NAME}"]}
    assert create.outputs["budget_arn"] in tagged(local_aws, "us-east-1")
    assert tagged(local_aws, "eu-west-2") == []
    for checking in (True, False):
        again = run_role("budget", VARIABLES, check=checking)
        assert (again.rc, again.changed, again.writes, again.outputs) == (0, 0, [], create.outputs), again.stdout

    changed = {**VARIABLES, "budget_monthly_usd": 200, "budget_thresholds": [90], "budget_sns_topic_arn": TOPIC, "budget_tags": {}}
    assert run_role("budget", changed, check=True).writes == []
    change = run_role("budget", changed)
    assert (change.rc, change.changed) == (0, 1), change.stdout
    assert (change.outputs["monthly_usd"], change.outputs["thresholds"], change.outputs["sns_topic_arn"]) == (200.0, [90.0], TOPIC)
    assert run_role("budget", changed).writes == []

    would = run_role("budget", changed, "absent", check=True)
    assert (would.changed, would.writes) == (1, [])
    gone = run_role("budget", changed, ("absent", "info"))
    assert (gone.rc, gone.changed, gone.writes) == (0, 1, ["budgets:DeleteBudget"]), gone.stdout
    assert set(map(str, gone.outputs.values())) == {"None", "[]"}
    again = run_role("budget", changed, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])


def test_what_cannot_work_or_is_not_ours_is_refused_before_the_first_write(run_role: t.Callable, budgets: t.Any) -> None:
    wrong = {**VARIABLES, "budget_monthly_usd": -5, "budget_thresholds": [0], "budget_subscribers": ["ops"]}
    run = run_role("budget", wrong, "check")
    assert run.rc == 2 and run.writes == []
    for message in ("budget_monthly_usd = -5.0: is no amount", "budget_thresholds = 0.0: is not", "budget_subscribers = 'ops': is no"):
        assert message in run.stdout, run.stdout
    foreign = {"BudgetName": "foreign", "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": "1", "Unit": "USD"}}
    budgets.create_budget(**ACCOUNT, Budget=foreign)
    for entry in ("main", "absent"):
        run = run_role("budget", {**VARIABLES, "budget_name": "foreign"}, entry)
        assert run.rc == 2 and run.writes == [], run.stdout
        assert "Budget foreign: it exists but does not carry the tags" in run.stdout


def test_what_the_local_aws_does_not_do_is_an_error(budgets: t.Any) -> None:
    good = {"BudgetName": "odd", "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": "1", "Unit": "USD"}}
    email = {"SubscriptionType": "EMAIL", "Address": "ops@example.com"}
    notice = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80}
    for wrong, message in (
        ({"BudgetType": "USAGE"}, "MONTHLY USAGE"),
        ({"TimeUnit": "DAILY"}, "DAILY COST"),
        ({"AutoAdjustData": {"AutoAdjustType": "FORECAST"}}, "AutoAdjustData"),
        ({"BudgetLimit": {"Amount": "0", "Unit": "USD"}}, "above 0"),
    ):
        with pytest.raises(ClientError, match=message):
            budgets.create_budget(**ACCOUNT, Budget={**good, **wrong})
    with pytest.raises(ClientError, match="AccessDenied"):
        budgets.create_budget(AccountId="210987654321", Budget=good)
    told = [{"Notification": notice, "Subscribers": [email]}]
    with pytest.raises(ClientError, match="DuplicateRecord"):
        budgets.create_budget(**ACCOUNT, Budget=good, NotificationsWithSubscribers=told * 2)
    budgets.create_budget(**ACCOUNT, Budget=good, NotificationsWithSubscribers=told)
    which = {**ACCOUNT, "BudgetName": "odd", "Notification": notice}
    with pytest.raises(ClientError, match="at least one subscriber"):
        budgets.delete_subscriber(**which, Subscriber=email)
    topics = [{"SubscriptionType": "SNS", "Address": f"{TOPIC}{number}"} for number in range(2)]
    budgets.create_subscriber(**which, Subscriber=topics[0])
    with pytest.raises(ClientError, match="CreationLimitExceeded"):
        budgets.create_subscriber(**which, Subscriber=topics[1])
    with pytest.raises(ClientError, match="NotFound"):
        budgets.delete_notification(**{**which, "Notification": {**notice, "Threshold": 90}})
    budgets.delete_budget(**ACCOUNT, BudgetName="odd")
    for operation in (budgets.describe_budget, budgets.describe_notifications_for_budget, budgets.delete_budget):
        with pytest.raises(ClientError, match="NotFound"):
            operation(**ACCOUNT, BudgetName="odd")
