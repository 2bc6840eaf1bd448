# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A budget of AWS Budgets with its notifications, subscribers and tags: what there is, and what is to be done."""

from __future__ import annotations

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, budget_rules


class LiveBudget:
    """The budget called `name` of the account `account_id`."""

    def __init__(self, client: t.Any, name: str, account_id: str, partition: str) -> None:
        self.client, self.name = client, name
        self.arn = f"arn:{partition}:budgets::{account_id}:budget/{name}"
        self._account, self._budget = {"AccountId": account_id}, {"AccountId": account_id, "BudgetName": name}
        self.found: dict | None = None
        self.tags: dict[str, str] = {}
        self.told: dict[budget_rules.Notice, set[tuple[str, str]]] = {}

    # --- looking ---------------------------------------------------------------------------------------------------

    def find(self) -> None:
        self.found, self.tags, self.told = None, {}, {}
        try:
            self.found = self.client.describe_budget(**self._budget, aws_retry=True)["Budget"]
        except is_boto3_error_code("NotFoundException"):
            return
        answer = self.client.list_tags_for_resource(ResourceARN=self.arn, aws_retry=True)
        self.tags = boto3_tag_list_to_ansible_dict(answer.get("ResourceTags", []))
        for one in self._all("describe_notifications_for_budget", "Notifications", **self._budget):
            notice = budget_rules.notice(one)
            told = self._all(
                "describe_subscribers_for_notification", "Subscribers", **self._budget, Notification=notice.to_api()
            )
            self.told[notice] = {(each["SubscriptionType"], each["Address"]) for each in told}

    def _all(self, operation: str, key: str, **arguments: t.Any) -> list[dict[str, t.Any]]:
        answers: list[dict[str, t.Any]] = []
        more: dict[str, str] = {}
        while True:
            answer = getattr(self.client, operation)(**arguments, **more, aws_retry=True)
            answers += answer.get(key, [])
            if not answer.get("NextToken"):
                return answers
            more = {"NextToken": answer["NextToken"]}

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        """ValueError if the budget is somebody else's."""
        if self.found and not aws_changes.carries(self.tags, owner_tags):
            remedy = "choose another deployment name, or remove it by hand"
            raise ValueError(aws_changes.not_ours(f"Budget {self.name}", owner_tags, remedy))

    def described(self) -> dict[str, t.Any] | None:
        """The budget as it is, null if there is none."""
        if self.found is None:
            return None
        spend = self.found.get("CalculatedSpend") or {}
        percents = {
            option: sorted(notice.threshold for notice in self.told if notice.kind == kind)
            for option, kind in budget_rules.KINDS.items()
        }
        everybody = set().union(*self.told.values())
        return {
            "arn": self.arn,
            "monthly_usd": float(self.found["BudgetLimit"]["Amount"]),
            "actual_usd": _amount(spend.get("ActualSpend")),
            "forecast_usd": _amount(spend.get("ForecastedSpend")),
            **percents,
            "email_subscribers": sorted(address for kind, address in everybody if kind == "EMAIL"),
            "sns_topic_arn": next((address for kind, address in everybody if kind == "SNS"), None),
        }

    # --- present ---------------------------------------------------------------------------------------------------

    def plan_present(self, options: dict[str, t.Any], tags: dict[str, str]) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        wanted, told = budget_rules.budget(self.name, options), budget_rules.subscribers(options)
        notices = sorted(budget_rules.notices(options))
        addresses = [budget_rules.subscriber_to_api(one) for one in sorted(told)]
        if self.found is None:
            changes.want(
                "budget", "absent", budget_rules.comparable(wanted),
                lambda: self.client.create_budget(
                    **self._account,
                    Budget=wanted,
                    NotificationsWithSubscribers=[
                        {"Notification": notice.to_api(), "Subscribers": addresses} for notice in notices
                    ],
                    ResourceTags=ansible_dict_to_boto3_tag_list(tags),
                    aws_retry=True,
                ),
            )  # fmt: skip
            return changes
        changes.want(
            "budget", budget_rules.comparable(self.found), budget_rules.comparable(wanted),
            lambda: self.client.update_budget(**self._account, NewBudget=wanted, aws_retry=True),
        )  # fmt: skip
        changes.want_tags(
            "tags of the budget", self.tags, tags,
            lambda new: self.client.tag_resource(
                ResourceARN=self.arn, ResourceTags=ansible_dict_to_boto3_tag_list(new), aws_retry=True
            ),
            lambda keys: self.client.untag_resource(ResourceARN=self.arn, ResourceTagKeys=keys, aws_retry=True),
        )  # fmt: skip
        # What is not wanted goes first: AWS has room for ten.
        for notice in sorted(set(self.told) - set(notices)):
            changes.want(_title(notice), budget_rules.shown(self.told[notice]), "absent", self._delete(notice))
        for notice in notices:
            before = self.told.get(notice)
            apply = self._create(notice, addresses) if before is None else self._tell(notice, before, told)
            changes.want(
                _title(notice), "absent" if before is None else budget_rules.shown(before), budget_rules.shown(told), apply
            )
        return changes

    def _create(self, notice: budget_rules.Notice, addresses: list[dict[str, str]]) -> t.Callable[[], t.Any]:
        return lambda: self.client.create_notification(
            **self._budget, Notification=notice.to_api(), Subscribers=addresses, aws_retry=True
        )

    def _delete(self, notice: budget_rules.Notice) -> t.Callable[[], t.Any]:
        return lambda: self.client.delete_notification(**self._budget, Notification=notice.to_api(), aws_retry=True)

    def _tell(
        self, notice: budget_rules.Notice, before: set[tuple[str, str]], after: set[tuple[str, str]]
    ) -> t.Callable[[], None]:
        which = {**self._budget, "Notification": notice.to_api()}

        def tell() -> None:
            if not before & after:  # the last subscriber cannot go
                self._delete(notice)()
                self._create(notice, [budget_rules.subscriber_to_api(one) for one in sorted(after)])()
                return
            for one in sorted(before - after):
                self.client.delete_subscriber(**which, Subscriber=budget_rules.subscriber_to_api(one), aws_retry=True)
            for one in sorted(after - before):
                self.client.create_subscriber(**which, Subscriber=budget_rules.subscriber_to_api(one), aws_retry=True)

        return tell

    # --- absent ----------------------------------------------------------------------------------------------------

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.found:
            changes.want(
                "budget", budget_rules.comparable(self.found), "absent",
                lambda: self.client.delete_budget(**self._budget, aws_retry=True),
            )  # fmt: skip
        return changes


def connect(module: t.Any, name: str) -> LiveBudget:
    """The budget `name` of the account that is asked. Budgets have no region; botocore knows where to ask for them."""
    # It takes few calls a second.
    backoff = AWSRetry.jittered_backoff(retries=8, catch_extra_error_codes=["ThrottlingException"])
    caller = module.client("sts", retry_decorator=backoff).get_caller_identity(aws_retry=True)
    client = module.client("budgets", retry_decorator=backoff)
    return LiveBudget(client, name, caller["Account"], caller["Arn"].split(":")[1])


def _title(notice: budget_rules.Notice) -> str:
    unit = "%" if notice.threshold_type == "PERCENTAGE" else ""
    return f"notification {notice.kind} {notice.comparison} {notice.threshold:g}{unit}"


def _amount(spend: dict[str, str] | None) -> float | None:
    return round(float(spend["Amount"]), 2) if spend else None
