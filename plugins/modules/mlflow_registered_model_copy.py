#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_registered_model_copy
version_added: "0.1.0"
short_description: Copy a registered model from one MLflow server to another
description:
  - Copies a registered model with its description, tags and aliases, and its versions in their order and with their
    numbers, each with its description, tags, stage and source. Prompts of MLflow 3 are copied in the same way.
  - The files of a version are those of a run or a logged model. Copy the experiments first, with
    M(mlops.mlflow_aws.mlflow_experiment_copy) and the same O(source_name); the sources of the versions are rewritten to
    the copies.
  - Wraps C(/api/2.0/mlflow/registered-models/) and C(model-versions/) of MLflow 2.x and 3.x.
options:
  name:
    description: Name of the registered model at the source.
    type: str
    required: true
  destination_name:
    description: Name of a new registered model at the destination. Without it, that at the source.
    type: str
  on_clash:
    description:
      - What to do if the destination has a registered model of that name that is no copy of this one.
      - V(fail) refuses, V(rename) copies to C(<name>-migrated), V(skip) leaves the model out.
    type: str
    choices: [fail, rename, skip]
    default: fail
  unplaced_versions:
    description:
      - What to do with a version whose files have no place at the destination, such as one whose run is gone.
      - V(fail) refuses before anything is written, V(skip) leaves the version out and keeps its number free.
    type: str
    choices: [fail, skip]
    default: fail
  expected_experiments:
    description:
      - Names of experiments of the source that will have been copied before this model, for check mode before a
        migration. A run of another one is refused as not copied. A run without check mode takes no notice.
    type: list
    elements: str
    default: []
  with_deleted:
    description: Whether deleted runs are among what O(expected_experiments) will bring.
    type: bool
    default: false
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.mlflow_source
  - mlops.mlflow_aws.planned
seealso:
  - module: mlops.mlflow_aws.mlflow_experiment_copy
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Copies of registered models
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: See to it that there is something to copy
      mlops.mlflow_aws.mlflow_registered_model:
        name: churn

    # The source may be any other server, such as http://localhost:5000, which wants no login.
    - name: Copy a model of the same server under another name, after its experiments
      mlops.mlflow_aws.mlflow_registered_model_copy:
        source_tracking_uri: https://mlflow.example.com
        source_username: admin
        source_password: "{{ mlflow_admin_password }}"
        name: churn
        destination_name: churn before the clean-up
"""

RETURN = r"""
registered_model:
  description: The registered model at the destination, null if it is left out.
  returned: success
  type: dict
  contains:
    name:
      description: Its name there.
      type: str
      sample: churn
    source_name:
      description: Its name at the source.
      type: str
      sample: churn
    versions:
      description: Versions at the source to those at the destination. In check mode, as they would be.
      type: dict
      sample:
        "1": "1"
        "3": "3"
losses:
  description: What could not be carried, a line each.
  returned: success
  type: list
  elements: str
  sample: []
left_out:
  description: Keys of C(digests), as M(mlops.mlflow_aws.mlflow_content_info) returns them, at the source that the destination cannot have.
  returned: success
  type: list
  elements: str
  sample: []
requests:
  description: Number of requests that both servers got.
  returned: success
  type: int
  sample: 31
changes:
  description:
    - What was done, or would be done in check mode.
    - On failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: C(create_model), C(set_description), C(set_tag), C(copy_version), C(change_version) or C(set_alias).
      type: str
    name:
      description: Name of the model that is created.
      type: str
    key:
      description: Key of the tag.
      type: str
    version:
      description: Version at the source.
      type: int
    alias:
      description: The alias.
      type: str
  sample:
    - action: copy_version
      version: 1
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_client,
    mlflow_copy_model,
    mlflow_copy_plan,
    mlflow_copy_servers,
    mlflow_module,
)


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    params = module.params
    source, target = mlflow_copy_servers.source(params), mlflow_copy_servers.destination(params)
    job = mlflow_copy_model.Job(
        source,
        target,
        mlflow_copy_servers.source_name(params, source),
        params["on_clash"],
        params["unplaced_versions"],
        tuple(params["expected_experiments"]) if module.check_mode else (),
        params["with_deleted"],
    )
    look = mlflow_copy_model.Look(job, params["name"], params["destination_name"] or params["name"])
    changes, numbers = look.changes(), look.future_numbers()
    if changes and not module.check_mode:
        numbers = mlflow_copy_model.Carrier(look, done).carry()
    versions = {str(number): str(there) for number, there in sorted(numbers.items())}
    found = {"name": look.wanted, "source_name": look.name, "versions": versions}
    return {
        "changed": bool(changes),
        "changes": changes,
        "registered_model": None if look.skipped else found,
        "losses": look.losses,
        "left_out": look.left_out,
        "requests": source.requests + target.requests,
        "diff": {"before": {"changes": []}, "after": {"changes": changes}},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            **mlflow_copy_servers.source_spec(),
            "name": {"type": "str", "required": True},
            "destination_name": {"type": "str"},
            "on_clash": {"type": "str", "choices": list(mlflow_copy_plan.POLICIES), "default": mlflow_copy_plan.FAIL},
            "unplaced_versions": {"type": "str", "choices": ["fail", "skip"], "default": "fail"},
            "expected_experiments": {"type": "list", "elements": "str", "default": []},
            "with_deleted": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("source_token", "source_password")],
        required_together=[("source_username", "source_password")],
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
