# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module deployment_check: what it hands to the rules and how it reports."""

from __future__ import annotations

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_rules import OPTIONS
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_check


def test_it_answers_what_was_chosen_and_warned(run_module):
    result = run_module(
        deployment_check,
        {
            "mlflow_version": "2.18.0",
            "mlflow_workers": 0,
            "task_cpu": "512",
            "task_memory": 1024,
            "desired_count": 2,
            "db_instance_class": "db.t3.micro",
        },
    )
    assert not result.get("failed") and result["changed"] is False
    assert (result["mlflow_workers"], result["db_pool_size"], result["db_max_overflow"]) == (3, 1, 1)
    assert result["db_max_connections"] == 80
    assert "known security holes" in result["findings"][0] and "rolling deployment" in result["findings"][1]
    assert "known security holes" in str(result["warnings"])


def test_it_fails_once_with_every_problem(run_module):
    options = {
        "name": "Fraud",
        "task_memory": "abc",
        "variable_prefix": "preflight_",
        "variable_names": {"name": "inventory_hostname"},
    }
    result = run_module(deployment_check, options, check=True)
    assert result["failed"] and result["msg"].splitlines()[0] == "2 problems, nothing was changed:"
    assert "- preflight_task_memory = 'abc': is not a whole number; write digits only, without a unit" in result["msg"]
    assert "- inventory_hostname = 'Fraud': " in result["msg"]


def test_every_rule_has_its_option(run_module):
    given = {option: [] for option in OPTIONS}
    problems = run_module(deployment_check, given)["msg"]
    for option in ("mlflow_workers", "db_name", "nat_mode", "log_retention_days"):
        assert f"- {option} = []: " in problems
