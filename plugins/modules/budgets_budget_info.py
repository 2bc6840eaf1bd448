#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: budgets_budget_info
version_added: "0.1.0"
short_description: Look at a cost budget
description:
  - Finds a budget of AWS Budgets, what was spent of it, and who hears of it. A missing one is no error.
  - Wraps C(DescribeBudget), C(DescribeNotificationsForBudget), C(DescribeSubscribersForNotification) and
    C(ListTagsForResource) of the API of AWS Budgets, and C(GetCallerIdentity) of STS.
options:
  name:
    description: Name of the budget.
    type: str
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look what the web has cost this month
  mlops.mlflow_aws.budgets_budget_info:
    name: web
  register: web
"""

RETURN = r"""
budget:
  description:
    - The budget as it is, null if there is none.
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

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, budget_live


def main() -> None:
    module = AnsibleAWSModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    with aws_changes.one_line_failures(module, "budgets", f"Budget {name}"):
        live = budget_live.connect(module, name)
        live.find()
        module.exit_json(changed=False, budget=live.described())


if __name__ == "__main__":
    main()
