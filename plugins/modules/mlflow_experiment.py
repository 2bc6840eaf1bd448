#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_experiment
version_added: "0.1.0"
short_description: Create, tag, delete and restore experiments of MLflow
description:
  - Sees to it that an experiment of an MLflow server exists, with the tags given, or is deleted.
  - Wraps C(/api/2.0/mlflow/experiments/) of MLflow 2.x and 3.x.
options:
  name:
    description: Name of the experiment.
    type: str
    required: true
  artifact_location:
    description:
      - Where a new experiment keeps its artifacts, a URI. Without it the server decides.
      - It cannot be changed afterwards; one that differs from that of an experiment that exists is refused.
    type: str
  tags:
    description: Tags to set.
    type: dict
  purge_tags:
    description:
      - Whether tags that are not in O(tags) are removed, but for those that begin with C(mlflow.). Without O(tags)
        none are.
      - Needs MLflow 3.2 or newer where there is something to remove.
    type: bool
    default: false
  state:
    description:
      - With V(present), a deleted experiment of that name is refused, because its runs would come back.
      - V(absent) marks the experiment and its runs as deleted; C(mlflow gc) removes them for good.
      - V(restored) is V(present), and takes a deleted experiment back with its runs. One that never was is refused.
    type: str
    choices: [present, absent, restored]
    default: present
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.planned
notes:
  - With basic authentication, who creates an experiment may C(MANAGE) it.
seealso:
  - module: mlops.mlflow_aws.mlflow_permission
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Experiments
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: See to it that the experiment exists
      mlops.mlflow_aws.mlflow_experiment:
        name: churn
        tags:
          team: scoring

    - name: Delete it
      mlops.mlflow_aws.mlflow_experiment:
        name: churn
        state: absent

    - name: Take it back with its runs
      mlops.mlflow_aws.mlflow_experiment:
        name: churn
        state: restored
"""

RETURN = r"""
experiment:
  description: The experiment after the run, null when there is none. In check mode, as it would be.
  returned: success
  type: dict
  contains:
    experiment_id:
      description: ID of the experiment, null for one that check mode would create.
      type: str
      sample: "3"
    name:
      description: Name of the experiment.
      type: str
      sample: churn
    artifact_location:
      description: Where its artifacts are, null where only the server knows.
      type: str
      sample: mlflow-artifacts:/3
    lifecycle_stage:
      description: C(active) or C(deleted).
      type: str
      sample: active
    tags:
      description: Its tags.
      type: dict
      sample:
        team: scoring
changes:
  description:
    - What was done, or would be done in check mode.
    - On failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: C(create), C(restore), C(set_tag), C(remove_tag) or C(delete).
      type: str
    key:
      description: Key of the tag.
      type: str
  sample:
    - action: create
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_client,
    mlflow_module,
    mlflow_resources,
    mlflow_resources_api,
    mlflow_tags,
    mlflow_users_api,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_module import Step
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import ACTIVE, DELETED, Experiment

DEFAULT_EXPERIMENT = "0"


def refuse(params: dict[str, t.Any], current: Experiment | None) -> None:
    """ValueError with one line for what cannot be made of `current`."""
    name, state, location = params["name"], params["state"], params["artifact_location"]
    if state == "absent":
        if current and current.experiment_id == DEFAULT_EXPERIMENT and current.lifecycle_stage == ACTIVE:
            raise ValueError(f"name: {name!r} is the default experiment, where runs without one go; leave it")
        return
    if current is None:
        if state == "restored":
            raise ValueError(f"name: {name!r}; there is no such experiment to restore; make it with state: present")
        return
    if state == "present" and current.lifecycle_stage == DELETED:
        raise ValueError(
            f"name: {name!r} is the name of a deleted experiment; take it back with state: restored, remove it for good"
            " with mlflow gc, or choose another name"
        )
    if location is not None and location.rstrip("/") != current.artifact_location.rstrip("/"):
        raise ValueError(
            f"artifact_location: {location}; experiment {name!r} keeps its artifacts at {current.artifact_location},"
            " which cannot be changed; leave the option out"
        )


def plan(client: mlflow_client.Client, params: dict[str, t.Any], current: Experiment | None) -> list[Step]:
    """The steps in order; nothing is asked or changed before they are made."""
    name, wants = params["name"], mlflow_tags.text(params["tags"])
    if params["state"] == "absent":
        if current is None or current.lifecycle_stage == DELETED:
            return []
        return [_step(client, {"action": "delete"}, "delete", {"experiment_id": current.experiment_id})]
    if current is None:
        tags = [{"key": key, "value": value} for key, value in wants.items()]
        location = {"artifact_location": params["artifact_location"]} if params["artifact_location"] else {}
        body = {"name": name, "tags": tags, **location}
        return [Step({"action": "create"}, lambda: client.call("POST", "experiments/create", body=body))]
    steps, number = [], {"experiment_id": current.experiment_id}
    if current.lifecycle_stage == DELETED:
        steps.append(_step(client, {"action": "restore"}, "restore", number))
    for key, value in mlflow_tags.to_set(current.tags, wants).items():
        facts = {"action": "set_tag", "key": key}
        steps.append(_step(client, facts, "set-experiment-tag", {**number, "key": key, "value": value}))
    for key in mlflow_tags.to_purge(current.tags, wants) if _purges(params) else []:
        facts = {"action": "remove_tag", "key": key}
        steps.append(_step(client, facts, "delete-experiment-tag", {**number, "key": key}))
    return steps


def _purges(params: dict[str, t.Any]) -> bool:
    return params["purge_tags"] and params["tags"] is not None


def _step(client: mlflow_client.Client, facts: dict[str, t.Any], path: str, body: dict[str, t.Any]) -> Step:
    return Step(facts, lambda: client.call("POST", f"experiments/{path}", body=body, repeatable=True))


def predict(params: dict[str, t.Any], current: Experiment | None) -> dict[str, t.Any] | None:
    """The experiment after the run, as the module returns it."""
    wants = mlflow_tags.text(params["tags"])
    if params["state"] == "absent":
        return None if current is None else {**current._asdict(), "lifecycle_stage": DELETED}
    if current is None:
        location = params["artifact_location"]
        return {
            "experiment_id": None,
            "name": params["name"],
            "artifact_location": location,
            "lifecycle_stage": ACTIVE,
            "tags": wants,
        }
    tags = mlflow_tags.after(current.tags, wants, _purges(params))
    return {**current._asdict(), "lifecycle_stage": ACTIVE, "tags": tags}


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    params = module.params
    if not params["name"].strip():
        raise ValueError("name: it is empty; give the name of the experiment")
    mlflow_resources.refuse_tags(params["tags"])
    client = mlflow_client.Client(params)
    current = mlflow_resources_api.find_experiment(client, params["name"])
    refuse(params, current)
    steps, after = plan(client, params, current), predict(params, current)
    if any(step.facts["action"] == "remove_tag" for step in steps):
        version = mlflow_users_api.version(client)
        if (mlflow_versions.parse(version) or (0, 0)) < mlflow_versions.DELETES_EXPERIMENT_TAGS:
            raise ValueError(
                f"purge_tags: MLflow {version} cannot remove tags of experiments, 3.2 and newer can; leave the option"
                " out"
            )
    result = mlflow_module.carry_out(module, steps, done)
    before = current._asdict() if current else {"lifecycle_stage": "absent"}
    diff = {"before": before, "after": after or {"lifecycle_stage": "absent"}}
    if steps and not module.check_mode:
        found = mlflow_resources_api.find_experiment(client, params["name"])
        after = found._asdict() if found else after
    return {**result, "experiment": after, "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "name": {"type": "str", "required": True},
            "artifact_location": {"type": "str"},
            "tags": {"type": "dict"},
            "purge_tags": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent", "restored"], "default": "present"},
        },
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
