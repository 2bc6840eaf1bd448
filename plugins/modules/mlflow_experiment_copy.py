#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_experiment_copy
version_added: "0.1.0"
short_description: Copy an experiment from one MLflow server to another
description:
  - Copies an experiment with its tags, its runs (name, user, status, times, parameters, tags, metrics with their whole
    history, datasets, artifacts, lifecycle) and, between servers of MLflow 3, its logged models.
  - Only what is missing, unfinished or changed at the source since is written. A run that the source has changed is
    brought up to date; C(migration.complete) of its copy tells what it was like.
  - The default experiment, C(0), goes into that of the destination, which every server has.
  - Wraps C(/api/2.0/mlflow/) of MLflow 2.x and 3.x, C(/get-artifact) of the source and C(mlflow-artifacts) of the
    destination, which must be started with C(--artifacts-destination), as the role
    P(mlops.mlflow_aws.ecs_mlflow#role) does.
options:
  name:
    description: Name of the experiment at the source.
    type: str
  experiment_id:
    description: ID of the experiment at the source.
    type: str
  destination_name:
    description: Name of a new experiment at the destination. Without it, that at the source.
    type: str
  on_clash:
    description:
      - What to do if the destination has an experiment of that name, deleted or not, that is no copy of this one.
      - V(fail) refuses, V(rename) copies to C(<name>-migrated), V(skip) leaves the experiment out.
    type: str
    choices: [fail, rename, skip]
    default: fail
  with_deleted:
    description: Whether deleted runs, and a deleted experiment, are copied too. The copies end deleted.
    type: bool
    default: false
  refresh:
    description: Whether runs that are complete are copied again, for artifacts that changed without their run.
    type: bool
    default: false
  largest_artifact_mib:
    description:
      - MiB of the largest file that the destination takes; a larger one is refused before anything is written.
      - V(0) does not ask.
    type: int
    default: 0
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.mlflow_source
  - mlops.mlflow_aws.planned
notes:
  - The server sets times of creation and owners anew. With basic authentication, the user logged in as may C(MANAGE)
    the copy, and nobody else but admins may see it.
  - Artifacts in which MLflow has written an ID, such as C(MLmodel), are carried as they are.
seealso:
  - module: mlops.mlflow_aws.mlflow_registered_model_copy
  - module: mlops.mlflow_aws.mlflow_content_info
  - module: mlops.mlflow_aws.mlflow_access
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Copies of experiments
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: See to it that there is something to copy
      mlops.mlflow_aws.mlflow_experiment:
        name: churn

    # The source may be any other server, such as http://localhost:5000, which wants no login.
    - name: Copy an experiment of the same server under another name
      mlops.mlflow_aws.mlflow_experiment_copy:
        source_tracking_uri: https://mlflow.example.com
        source_username: admin
        source_password: "{{ mlflow_admin_password }}"
        name: churn
        destination_name: churn before the clean-up
        max_parallel: 8
"""

RETURN = r"""
experiment:
  description: The experiment at the destination, null if it is left out.
  returned: success
  type: dict
  contains:
    experiment_id:
      description: Its ID there, null for one that check mode would create.
      type: str
      sample: "7"
    name:
      description: Its name there.
      type: str
      sample: churn
    source_experiment_id:
      description: Its ID at the source.
      type: str
      sample: "3"
    source_name:
      description: Its name at the source.
      type: str
      sample: churn
    runs:
      description:
        - IDs of the runs at the source to those at the destination, as far as they are there.
        - In check mode without those that would be copied.
      type: dict
      sample:
        9f1c0e5d7a6b4c3d8e2f1a0b9c8d7e6f: 0a1b2c3d4e5f60718293a4b5c6d7e8f9
    logged_models:
      description: IDs of the logged models in the same way.
      type: dict
      sample: {}
copied:
  description: How much was copied, or would be in check mode. C(metrics) counts values.
  returned: success
  type: dict
  sample:
    runs: 40
    params: 200
    tags: 160
    metrics: 4000
    datasets: 40
    logged_models: 0
    artifacts: 80
    artifact_bytes: 20971520
losses:
  description: What could not be carried, a line each.
  returned: success
  type: list
  elements: str
  sample:
    - "experiment 'churn': its 12 traces stay behind, since MLflow has no way to carry them"
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
  sample: 480
changes:
  description:
    - What was done, or would be done in check mode.
    - On failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description:
        - C(create_experiment), C(restore_experiment), C(set_tag), C(copy_run), C(finish_run), C(delete_run),
          C(restore_run), C(copy_logged_model) or C(delete_experiment).
      type: str
    name:
      description: Name of the experiment that is created.
      type: str
    key:
      description: Key of the tag.
      type: str
    run_id:
      description: ID of the run at the source.
      type: str
    model_id:
      description: ID of the logged model at the source.
      type: str
  sample:
    - action: copy_run
      run_id: 9f1c0e5d7a6b4c3d8e2f1a0b9c8d7e6f
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_client,
    mlflow_copy_experiment,
    mlflow_copy_plan,
    mlflow_copy_servers,
    mlflow_module,
)

MIB = 1024 * 1024


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    params = module.params
    source, target = mlflow_copy_servers.source(params), mlflow_copy_servers.destination(params)
    if params["largest_artifact_mib"] < 0:
        raise ValueError(
            f"largest_artifact_mib: {params['largest_artifact_mib']} is less than none; give 0 for any size"
        )
    job = mlflow_copy_experiment.Job(
        source,
        target,
        mlflow_copy_servers.source_name(params, source),
        params["on_clash"],
        params["with_deleted"],
        params["refresh"],
        params["max_parallel"],
        params["largest_artifact_mib"] * MIB,
        module.tmpdir,
    )
    experiment = mlflow_copy_experiment.find(source, params)
    look = mlflow_copy_experiment.Look(job, experiment, params["destination_name"] or experiment.name)
    changes, copied = look.changes(), look.totals()
    current = look.place.current
    experiment_id = current.experiment_id if current else None
    if changes and not module.check_mode:
        experiment_id = mlflow_copy_experiment.Carrier(look, done).carry()
    found = {
        "experiment_id": experiment_id,
        "name": look.place.name,
        "source_experiment_id": experiment.experiment_id,
        "source_name": experiment.name,
        "runs": look.run_ids,
        "logged_models": look.model_ids,
    }
    after = {"experiment": look.place.name, **copied}
    return {
        "changed": bool(changes),
        "changes": changes,
        "copied": copied,
        "experiment": None if look.place.skipped else found,
        "losses": look.losses,
        "left_out": look.left_out,
        "requests": source.requests + target.requests,
        "diff": {"before": {"copied": {}}, "after": {"copied": after}} if changes else {"before": {}, "after": {}},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            **mlflow_copy_servers.source_spec(),
            "name": {"type": "str"},
            "experiment_id": {"type": "str"},
            "destination_name": {"type": "str"},
            "on_clash": {"type": "str", "choices": list(mlflow_copy_plan.POLICIES), "default": mlflow_copy_plan.FAIL},
            "with_deleted": {"type": "bool", "default": False},
            "refresh": {"type": "bool", "default": False},
            "largest_artifact_mib": {"type": "int", "default": 0},
        },
        required_one_of=[("name", "experiment_id")],
        mutually_exclusive=[("name", "experiment_id"), ("source_token", "source_password")],
        required_together=[("source_username", "source_password")],
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
