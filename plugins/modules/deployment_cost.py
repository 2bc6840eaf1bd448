#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_cost
version_added: "0.1.0"
short_description: Estimate what an MLflow deployment costs a month
description:
  - Computes an itemised estimate from the settings of a deployment and from a dated price table that is part of this
    collection. Every price is told with its source.
  - Asks nobody and needs no credentials.
  - What has no price in the table is named in the result and not counted. A region that is not in the table is no
    failure; its estimate has no items.
options:
  region:
    description: AWS region, such as V(eu-west-2).
    type: str
    required: true
  task_count:
    description: Number of tasks.
    type: int
    default: 2
  task_max_count:
    description: Most tasks that automatic scaling may run; V(0) for always O(task_count).
    type: int
    default: 0
  task_cpu:
    description: CPU of a task, in CPU units (1024 are one vCPU).
    type: int
    default: 1024
  task_memory:
    description: Memory of a task, in MiB.
    type: int
    default: 2048
  task_cpu_architecture:
    description: Processor architecture of a task.
    type: str
    choices: [X86_64, ARM64]
    default: X86_64
  task_spot:
    description: >-
      Whether tasks run on Fargate Spot. Its price changes, so that the price on demand is counted, as the most it
      costs.
    type: bool
    default: false
  task_ephemeral_storage:
    description: Storage of a task, in GiB; 20 are free.
    type: int
    default: 20
  office_hours:
    description: >-
      Times outside of which there are no tasks, as C(weekdays) such as V(MON-FRI), C(start) and C(stop) such as
      V(08:00). Empty for tasks at all times.
    type: dict
    default: {}
  db_instance_class:
    description: Instance class of the database, such as V(db.t4g.small).
    type: str
    default: db.t3.small
  db_multi_az:
    description: Whether the database has a standby in another zone.
    type: bool
    default: false
  db_allocated_storage:
    description: Storage of the database, in GiB.
    type: int
    default: 20
  db_extra_backup_storage:
    description: Backups beyond the size of the database, in GiB; backups up to its size are free.
    type: int
    default: 0
  subnet_cidrs:
    description: Public subnets, by range or by id; one in every zone.
    type: list
    elements: str
    default: [10.0.0.0/24, 10.0.1.0/24]
  nat_mode:
    description: NAT gateways to pay for.
    type: str
    choices: [none, single, per_zone]
    default: single
  interface_endpoints:
    description: Number of interface endpoints, each of them in every zone.
    type: int
    default: 0
  public_load_balancer:
    description: Whether the load balancer has a public address in every zone.
    type: bool
    default: true
  load_balancer_capacity_units:
    description: Capacity units (LCU) that the load balancer uses on average.
    type: float
    default: 1
  secrets:
    description: Number of secrets.
    type: int
    default: 3
  logs:
    description: Logs a month, in GiB.
    type: float
    default: 1
  log_retention_days:
    description: How long logs are kept, in days; V(0) for ever.
    type: int
    default: 30
  artifacts:
    description: Artifacts kept in S3, in GiB; V(0) leaves them out.
    type: float
    default: 0
  alarms:
    description: Number of alarms.
    type: int
    default: 0
  dashboards:
    description: Number of dashboards.
    type: int
    default: 0
  metrics:
    description: Number of metrics that are not AWS's own.
    type: int
    default: 0
  waf_rules:
    description: Number of rules and rule groups of the web application firewall; V(0) for none.
    type: int
    default: 0
  kms_keys:
    description: Number of KMS keys of one's own.
    type: int
    default: 0
  hosted_zones:
    description: Number of hosted zones to pay for.
    type: int
    default: 0
  alternatives:
    description: Other options to compare with, as a name to the options that are different.
    type: dict
    default: {}
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Estimate what a deployment costs
  mlops.mlflow_aws.deployment_cost:
    region: eu-west-2
    task_count: 2
    task_cpu: 512
    task_memory: 1024
    db_instance_class: db.t3.micro
    alternatives:
      small:
        task_count: 1
  register: cost

- name: Show the sum and what a single task would cost
  ansible.builtin.debug:
    msg: "{{ cost.monthly_usd }} USD a month, with one task {{ cost.alternatives.small.monthly_usd }}"
"""

RETURN = r"""
currency:
  description: Currency of all prices.
  returned: success
  type: str
  sample: USD
region:
  description: The region.
  returned: success
  type: str
  sample: eu-west-2
price_date:
  description: Day on which the prices were looked up.
  returned: success
  type: str
  sample: "2026-11-23"
items:
  description: >-
    What is paid for, each with C(item), C(quantity), C(unit), C(unit_price), C(monthly_usd), C(note) and C(source).
  returned: success
  type: list
  elements: dict
monthly_usd:
  description: Sum of the items, null in a region without prices.
  returned: success
  type: float
  sample: 119.87
maximum_monthly_usd:
  description: The same with the most tasks at all times, null in a region without prices.
  returned: success
  type: float
  sample: 119.87
missing:
  description: What is not counted because there is no price for it, a line each.
  returned: success
  type: list
  elements: str
assumptions:
  description: What the estimate takes for granted, a line each.
  returned: success
  type: list
  elements: str
not_included:
  description: What depends on use alone, each with C(item), C(unit), C(unit_price) and C(source).
  returned: success
  type: list
  elements: dict
alternatives:
  description: The same results for each of O(alternatives).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.cost_estimate import DEFAULTS, check, estimate

ARGUMENTS = {
    "region": {"type": "str", "required": True},
    "task_count": {"type": "int", "default": 2},
    "task_max_count": {"type": "int", "default": 0},
    "task_cpu": {"type": "int", "default": 1024},
    "task_memory": {"type": "int", "default": 2048},
    "task_cpu_architecture": {"type": "str", "choices": ["X86_64", "ARM64"], "default": "X86_64"},
    "task_spot": {"type": "bool", "default": False},
    "task_ephemeral_storage": {"type": "int", "default": 20},
    "office_hours": {"type": "dict", "default": {}},
    "db_instance_class": {"type": "str", "default": "db.t3.small"},
    "db_multi_az": {"type": "bool", "default": False},
    "db_allocated_storage": {"type": "int", "default": 20},
    "db_extra_backup_storage": {"type": "int", "default": 0},
    "subnet_cidrs": {"type": "list", "elements": "str", "default": ["10.0.0.0/24", "10.0.1.0/24"]},
    "nat_mode": {"type": "str", "choices": ["none", "single", "per_zone"], "default": "single"},
    "interface_endpoints": {"type": "int", "default": 0},
    "public_load_balancer": {"type": "bool", "default": True},
    "load_balancer_capacity_units": {"type": "float", "default": 1},
    "secrets": {"type": "int", "default": 3, "no_log": False},
    "logs": {"type": "float", "default": 1},
    "log_retention_days": {"type": "int", "default": 30},
    "artifacts": {"type": "float", "default": 0},
    "alarms": {"type": "int", "default": 0},
    "dashboards": {"type": "int", "default": 0},
    "metrics": {"type": "int", "default": 0},
    "waf_rules": {"type": "int", "default": 0},
    "kms_keys": {"type": "int", "default": 0, "no_log": False},
    "hosted_zones": {"type": "int", "default": 0},
}


def compare(settings: dict, alternatives: dict) -> dict:
    """Estimates of ``settings`` changed by each of ``alternatives``; a ValueError names an option that is wrong."""
    compared = {}
    for name, different in alternatives.items():
        found = ArgumentSpecValidator(ARGUMENTS).validate({**settings, **different})
        if found.error_messages:
            raise ValueError(f"alternatives.{name}: {'; '.join(found.error_messages)}")
        compared[name] = _estimate(found.validated_parameters)
    return compared


def _estimate(parameters: dict) -> dict:
    settings = {option: parameters[option] for option in DEFAULTS}
    check(settings)
    return estimate(parameters["region"], settings)


def main() -> None:
    module = AnsibleModule(
        argument_spec={**ARGUMENTS, "alternatives": {"type": "dict", "default": {}}}, supports_check_mode=True
    )
    settings = {option: module.params[option] for option in ARGUMENTS}
    try:
        result = {**_estimate(settings), "alternatives": compare(settings, module.params["alternatives"])}
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
