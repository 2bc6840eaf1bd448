#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: budgets_budget
version_added: "0.1.0"
short_description: Keep a monthly cost budget, and who hears that it is used up
description:
  - Keeps a budget of AWS Budgets in US dollars a month for what carries certain tags, and exactly the given notifications
    and subscribers.
  - AWS counts by tags only those that are activated as cost allocation tags, in the billing console of the account that
    pays, and only from then on.
  - Budgets belong to the account and to no region. AWS computes what was spent a few times a day.
  - Wraps C(CreateBudget), C(UpdateBudget), C(CreateNotification), C(CreateSubscriber), their kin and the tagging of
    budgets, and C(GetCallerIdentity) of STS, for budgets are asked for by account.
options:
  name:
    description: Name of the budget.
    type: str
    required: true
  state:
    description:
      - Whether it shall be there.
      - With V(absent), credentials that AWS refuses to show any budget get a warning and not an error, because many an
        account keeps its billing closed and has no budget either.
    type: str
    choices: [present, absent]
    default: present
  monthly_usd:
    description: The budget, in US dollars a month. Required with O(state=present).
    type: float
  cost_tags:
    description: Tags, as users give them, of which what counts must carry one; empty for all that the account costs.
    type: dict
    default: {}
  thresholds:
    description: Percentages of the budget at which subscribers are told that so much was spent.
    type: list
    elements: float
    default: [80, 100]
  forecast_thresholds:
    description: Percentages of the budget at which subscribers are told that so much will be spent, by AWS's forecast.
    type: list
    elements: float
    default: [100]
  email_subscribers:
    description: Up to ten addresses that are told.
    type: list
    elements: str
    default: []
  sns_topic_arn:
    description: ARN of an SNS topic that is told and lets C(budgets.amazonaws.com) publish; empty for none.
    type: str
    default: ""
  variable_names:
    description: What users call the options, for messages.
    type: dict
    default: {}
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
- name: Hear early when the web costs more than 150 dollars a month
  mlops.mlflow_aws.budgets_budget:
    name: web
    monthly_usd: 150
    cost_tags:
      team: web
    thresholds: [50, 80, 100]
    email_subscribers: [web@example.com]
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
budget:
  description:
    - The budget as it is, null if there is none; in check mode as it was.
    - C(actual_usd) and C(forecast_usd) are null as long as AWS has not computed them.
  returned: success
  type: dict
  sample:
    arn: arn:aws:budgets::123456789012:budget/web
    monthly_usd: 150.0
    actual_usd: 41.12
    forecast_usd: 133.4
    thresholds: [50.0, 80.0, 100.0]
    forecast_thresholds: [100.0]
    email_subscribers: [web@example.com]
    sns_topic_arn: null
"""

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, budget_live, budget_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure


def argument_spec() -> dict:
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "monthly_usd": {"type": "float"},
        "cost_tags": {"type": "dict", "default": {}},
        "thresholds": {"type": "list", "elements": "float", "default": [80, 100]},
        "forecast_thresholds": {"type": "list", "elements": "float", "default": [100]},
        "email_subscribers": {"type": "list", "elements": "str", "default": []},
        "sns_topic_arn": {"type": "str", "default": ""},
        "variable_names": {"type": "dict", "default": {}},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def check_options(params: dict) -> None:
    """ValueError for what AWS would refuse half way."""
    found = Findings(params["variable_names"])
    budget_rules.check(params, found)
    if found.problems:
        raise ValueError(failure(found.problems))


def look(module: AnsibleAWSModule, live: budget_live.LiveBudget) -> None:
    """Who may see no budget has none to remove, as far as they can know."""
    try:
        live.find()
    except is_boto3_error_code("AccessDeniedException"):
        if module.params["state"] == "present":
            raise
        module.warn(f"Budget {live.name}: AWS shows these credentials no budgets; if there is one, remove it by hand")


def run(module: AnsibleAWSModule, live: budget_live.LiveBudget) -> None:
    params = module.params
    present = params["state"] == "present"
    if present:
        check_options(params)
    look(module, live)
    live.check_owner(aws_changes.text_tags(params["owner_tags"]))
    options = {**params, "cost_tags": aws_changes.text_tags(params["cost_tags"])}
    changes = live.plan_present(options, aws_changes.text_tags(params["tags"])) if present else live.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        live.find()
    module.exit_json(changed=bool(changes), budget=live.described(), diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ["monthly_usd"])],
        supports_check_mode=True,
    )
    name = module.params["name"]
    with aws_changes.one_line_failures(module, "budgets", f"Budget {name}"):
        run(module, budget_live.connect(module, name))


if __name__ == "__main__":
    main()
