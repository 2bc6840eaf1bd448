#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_registered_model
version_added: "0.1.0"
short_description: Create, describe, tag, alias and delete registered models of MLflow
description:
  - Sees to it that a registered model of an MLflow server exists, with the description, tags and aliases given, or does
    not exist.
  - An option that is not given leaves that side of the model alone.
  - Wraps C(/api/2.0/mlflow/registered-models/) of MLflow 2.x and 3.x.
options:
  name:
    description: Name of the model. Newer servers, such as 3.12, refuse slashes and colons in it.
    type: str
    required: true
  description:
    description: Description of the model.
    type: str
  tags:
    description: Tags to set.
    type: dict
  purge_tags:
    description:
      - Whether tags that are not in O(tags) are removed, but for those that begin with C(mlflow.). Without O(tags)
        none are.
    type: bool
    default: false
  aliases:
    description:
      - Aliases to set, each with the number of a version that exists.
    type: dict
  purge_aliases:
    description: Whether aliases that are not in O(aliases) are removed. Without O(aliases) none are.
    type: bool
    default: false
  state:
    description:
      - Whether the model exists.
      - V(absent) deletes the model with all its versions, for good. Artifacts that runs logged stay with the runs.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.planned
notes:
  - With basic authentication, who creates a model may C(MANAGE) it.
seealso:
  - module: mlops.mlflow_aws.mlflow_permission
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Registered models
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: See to it that the model exists
      mlops.mlflow_aws.mlflow_registered_model:
        name: churn
        description: Who is about to leave
        tags:
          team: scoring

    - name: Delete it with all its versions
      mlops.mlflow_aws.mlflow_registered_model:
        name: churn
        state: absent
"""

RETURN = r"""
registered_model:
  description: The model after the run, null when there is none. In check mode, as it would be.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the model.
      type: str
      sample: churn
    description:
      description: Description of the model.
      type: str
      sample: Who is about to leave
    tags:
      description: Its tags.
      type: dict
      sample:
        team: scoring
    aliases:
      description: Number of the version by alias.
      type: dict
      sample:
        champion: "3"
changes:
  description:
    - What was done, or would be done in check mode.
    - On failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: C(create), C(set_description), C(set_tag), C(remove_tag), C(set_alias), C(remove_alias) or C(delete).
      type: str
    key:
      description: Key of the tag, or the alias.
      type: str
  sample:
    - action: create
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_client,
    mlflow_errors,
    mlflow_module,
    mlflow_resources,
    mlflow_resources_api,
    mlflow_tags,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_module import Step
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import Model

PATH = "registered-models"


def _purges(params: dict[str, t.Any], option: str) -> bool:
    return params[f"purge_{option}"] and params[option] is not None


def plan(client: mlflow_client.Client, params: dict[str, t.Any], current: Model | None) -> list[Step]:
    """The steps in order; nothing is asked or changed before they are made."""
    name, tags, aliases = params["name"], mlflow_tags.text(params["tags"]), mlflow_tags.text(params["aliases"])

    def step(action: str, method: str, path: str, what: str | None = None, **body: t.Any) -> Step:
        facts = {"action": action} if what is None else {"action": action, "key": what}
        again = action != "create"
        return Step(facts, lambda: client.call(method, PATH + path, body={"name": name, **body}, repeatable=again))

    if params["state"] == "absent":
        return [step("delete", "DELETE", "/delete")] if current else []
    steps = []
    if current is None:
        described = {"description": params["description"]} if params["description"] else {}
        listed = [{"key": key, "value": value} for key, value in tags.items()]
        steps.append(step("create", "POST", "/create", tags=listed, **described))
        has_tags, has_aliases = tags, {}
    else:
        has_tags, has_aliases = current.tags, current.aliases
        if params["description"] is not None and params["description"] != current.description:
            steps.append(step("set_description", "PATCH", "/update", description=params["description"]))
    for key, value in mlflow_tags.to_set(has_tags, tags).items():
        steps.append(step("set_tag", "POST", "/set-tag", key, key=key, value=value))
    for key in mlflow_tags.to_purge(has_tags, tags) if _purges(params, "tags") else []:
        steps.append(step("remove_tag", "DELETE", "/delete-tag", key, key=key))
    for alias, version in mlflow_tags.to_set(has_aliases, aliases).items():
        steps.append(step("set_alias", "POST", "/alias", alias, alias=alias, version=version))
    for alias in [one for one in has_aliases if one not in aliases] if _purges(params, "aliases") else []:
        steps.append(step("remove_alias", "DELETE", "/alias", alias, alias=alias))
    return steps


def predict(params: dict[str, t.Any], current: Model | None) -> dict[str, t.Any] | None:
    """The model after the run, as the module returns it."""
    if params["state"] == "absent":
        return None
    has = current or Model(params["name"], "", {}, {})
    wants = mlflow_tags.text(params["aliases"])
    aliases = {**({} if _purges(params, "aliases") else has.aliases), **wants}
    tags = mlflow_tags.after(has.tags, mlflow_tags.text(params["tags"]), _purges(params, "tags"))
    description = has.description if params["description"] is None else params["description"]
    return {"name": has.name, "description": description, "tags": tags, "aliases": aliases}


def find(client: mlflow_client.Client, name: str) -> Model | None:
    """The model; ValueError with one line for a name that this server refuses even to look for."""
    try:
        return mlflow_resources_api.find_model(client, name)
    except mlflow_errors.MlflowError as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise ValueError(f"name: {name!r}; this server refuses it; choose one without slashes and colons") from None
        raise


def refuse_missing_versions(client: mlflow_client.Client, params: dict[str, t.Any], current: Model | None) -> None:
    """ValueError with one line for an alias of a version that is not there."""
    if params["state"] == "absent":
        return
    wanted = mlflow_tags.to_set(current.aliases if current else {}, mlflow_tags.text(params["aliases"]))
    for alias, version in wanted.items():
        if current is None or not mlflow_resources_api.find_version(client, params["name"], version):
            raise ValueError(
                f"aliases: {alias!r} is to point to version {version}, which model {params['name']!r} does not have;"
                " register that version first"
            )


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    params = module.params
    if not params["name"].strip():
        raise ValueError("name: it is empty; give the name of the model")
    mlflow_resources.refuse_tags(params["tags"])
    mlflow_resources.refuse_aliases(params["aliases"])
    client = mlflow_client.Client(params)
    current = find(client, params["name"])
    refuse_missing_versions(client, params, current)
    after = predict(params, current)
    result = mlflow_module.carry_out(module, plan(client, params, current), done)
    before = current._asdict() if current else {"state": "absent"}
    return {**result, "registered_model": after, "diff": {"before": before, "after": after or {"state": "absent"}}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "name": {"type": "str", "required": True},
            "description": {"type": "str"},
            "tags": {"type": "dict"},
            "purge_tags": {"type": "bool", "default": False},
            "aliases": {"type": "dict"},
            "purge_aliases": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
