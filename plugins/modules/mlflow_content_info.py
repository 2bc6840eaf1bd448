#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_content_info
version_added: "0.1.0"
short_description: Count what an MLflow server holds, and hash it to compare two servers
description:
  - Counts experiments, runs, metrics, artifacts, registered models and versions of an MLflow server, and hashes them
    without the IDs that the server gave, so that a copy can be compared with its source.
  - Wraps C(/api/2.0/mlflow/) of MLflow 2.x and 3.x.
options:
  username:
    description: Name of the user to log in as, where the server wants one.
    type: str
    required: false
  password:
    description: Password of that user.
    type: str
    required: false
  token:
    description: Bearer token that the server takes instead of name and password.
    type: str
  experiments:
    description: Names and patterns, as in a shell, of the experiments to look at.
    type: list
    elements: str
    default: ["*"]
  registered_models:
    description: Names and patterns, as in a shell, of the registered models and prompts to look at.
    type: list
    elements: str
    default: ["*"]
  with_deleted:
    description: Whether deleted experiments and runs count.
    type: bool
    default: false
  detail:
    description:
      - V(counts) counts what a few searches show.
      - V(content) reads the history of each metric and lists all artifacts, too.
      - V(hashes) downloads each artifact, too, and returns RV(digests).
    type: str
    choices: [counts, content, hashes]
    default: counts
  copied_from:
    description:
      - Looks only at complete copies from this source, the C(source_name) that they were copied with, and returns
        RV(digests) by the IDs that they have there.
    type: str
  requests_per_second:
    description: The most requests a second. V(0) sets no limit.
    type: float
    default: 0
  max_parallel:
    description: Number of requests at a time, 1 to 64.
    type: int
    default: 4
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.read_only
seealso:
  - module: mlops.mlflow_aws.mlflow_experiment_copy
  - module: mlops.mlflow_aws.mlflow_registered_model_copy
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Count what the server holds
  mlops.mlflow_aws.mlflow_content_info:
    tracking_uri: https://mlflow.example.com
    username: admin
    password: "{{ mlflow_admin_password }}"
    detail: content
  register: held

- name: Show the sums
  ansible.builtin.debug:
    msg: "{{ held.totals }}"
"""

RETURN = r"""
version:
  description: Version of MLflow, its first two numbers.
  returned: success
  type: str
  sample: "3.17"
address:
  description: Address of the server, as copies call their source if they are not told another name.
  returned: success
  type: str
  sample: http://localhost:5000
experiments:
  description: The experiments, by name. What O(detail) does not look at is null.
  returned: success
  type: list
  elements: dict
  contains:
    experiment_id:
      description: ID of the experiment.
      type: str
      sample: "3"
    source_experiment_id:
      description: Its ID at the source, with O(copied_from); else the same.
      type: str
      sample: "3"
    name:
      description: Its name.
      type: str
      sample: churn
    lifecycle_stage:
      description: C(active) or C(deleted).
      type: str
      sample: active
    runs:
      description: Number of runs.
      type: int
      sample: 40
    deleted_runs:
      description: How many of them are deleted.
      type: int
      sample: 0
    params:
      description: Number of parameters.
      type: int
      sample: 200
    tags:
      description: Number of tags of runs, without those of the server and of a migration.
      type: int
      sample: 160
    datasets:
      description: Number of datasets that runs read.
      type: int
      sample: 40
    logged_models:
      description: Number of logged models.
      type: int
      sample: 0
    metrics:
      description: Number of values of metrics, equal ones counted once.
      type: int
      sample: 4000
    artifacts:
      description: Number of artifacts.
      type: int
      sample: 80
    artifact_bytes:
      description: Bytes of all artifacts.
      type: int
      sample: 20971520
    largest_artifact:
      description: Bytes of the largest artifact.
      type: int
      sample: 1048576
registered_models:
  description: The registered models and prompts, by name, but those that versions of others are made of come before them.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the model.
      type: str
      sample: churn
    source_name:
      description: Its name at the source, with O(copied_from); else the same.
      type: str
      sample: churn
    versions:
      description: Number of versions.
      type: int
      sample: 3
    aliases:
      description: Number of aliases.
      type: int
      sample: 1
    prompt:
      description: Whether it is a prompt.
      type: bool
      sample: false
    made_of:
      description: Names of other registered models that versions of it are made of.
      type: list
      elements: str
      sample: []
totals:
  description: Sums of all, null for what O(detail) does not look at.
  returned: success
  type: dict
  sample:
    experiments: 50
    runs: 2000
    registered_models: 20
digests:
  description:
    - SHA-256 of everything that a copy carries, with O(detail=hashes), by C(experiment <ID>), C(run <ID>), C(ties <ID>)
      (of a run to logged models), C(logged_model <ID>), C(registered_model <name>), C(version <name>/<number>) and
      C(alias <name>/<alias>).
  returned: success
  type: dict
  sample:
    run 9f1c0e5d7a6b4c3d8e2f1a0b9c8d7e6f: 3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea
requests:
  description: Number of requests that the server got.
  returned: success
  type: int
  sample: 12
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_client,
    mlflow_copy_census,
    mlflow_copy_servers,
    mlflow_module,
)


def run(module: AnsibleModule, _done: mlflow_module.Done) -> dict[str, t.Any]:
    params = module.params
    client = mlflow_copy_servers.Reader(params)
    client.pace = mlflow_copy_servers.pace(params)
    census = mlflow_copy_census.Census(
        mlflow_copy_census.Ask(
            client,
            tuple(params["experiments"]),
            tuple(params["registered_models"]),
            params["with_deleted"],
            params["detail"],
            params["copied_from"],
            params["max_parallel"],
            module.tmpdir,
        )
    )
    version = mlflow_copy_servers.version(client)
    experiments, models = census.experiments(), census.models()
    return {
        "changed": False,
        "version": ".".join(map(str, version)),
        "address": client.base,
        "experiments": experiments,
        "registered_models": models,
        "totals": mlflow_copy_census.totals(experiments, models),
        "digests": census.digests,
        "requests": client.requests,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "token": {"type": "str", "no_log": True},
            "experiments": {"type": "list", "elements": "str", "default": ["*"]},
            "registered_models": {"type": "list", "elements": "str", "default": ["*"]},
            "with_deleted": {"type": "bool", "default": False},
            "detail": {
                "type": "str",
                "choices": list(mlflow_copy_census.DETAILS),
                "default": mlflow_copy_census.COUNTS,
            },
            "copied_from": {"type": "str"},
            "requests_per_second": {"type": "float", "default": 0},
            "max_parallel": {"type": "int", "default": 4},
        },
        mutually_exclusive=[("token", "password")],
        required_together=[("username", "password")],
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
