#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_permission
version_added: "0.1.0"
short_description: Permit one user of MLflow something on one experiment or registered model
description:
  - Sees to it that a user of an MLflow server with basic authentication has a permission of its own on an experiment
    or a registered model, or has none there.
  - Wraps C(experiments/permissions/) and C(registered-models/permissions/) of C(/api/2.0/mlflow/) up to MLflow 3.12,
    and C(users/permissions/) and C(roles/permissions/update) of C(/api/3.0/mlflow/) from 3.13 on. The user logged in as
    must be an admin.
options:
  name:
    description: Name of the user.
    type: str
    required: true
  experiment:
    description: Name of an active experiment.
    type: str
  experiment_id:
    description: ID of an active experiment.
    type: str
  registered_model:
    description: Name of a registered model.
    type: str
  permission:
    description:
      - What the user may do. Needed with O(state=present).
      - V(USE) exists from MLflow 3.9 on, V(DENY) from 3.17 on, V(NO_PERMISSIONS) up to 3.12.
    type: str
    choices: [READ, USE, EDIT, MANAGE, NO_PERMISSIONS, DENY]
  state:
    description:
      - Whether the user has a permission of its own there. Without one the server's C(default_permission) holds, and
        what the user's roles grant.
      - With V(absent), a user or resource that does not exist is fine, and a permission on a deleted experiment is
        removed.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.planned
notes:
  - An admin may do everything; the module warns when it is given a permission.
seealso:
  - module: mlops.mlflow_aws.mlflow_access
    description: All users, groups and grants in one task, with patterns.
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: One permission
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: See to it that there is somebody to permit something
      mlops.mlflow_aws.mlflow_user:
        name: ada
        user_password: "{{ ada_password }}"

    - name: Let the data scientist write to the default experiment
      mlops.mlflow_aws.mlflow_permission:
        name: ada
        experiment_id: "0"
        permission: EDIT

    - name: Let the data scientist write no more
      mlops.mlflow_aws.mlflow_permission:
        name: ada
        experiment: Default
        state: absent
"""

RETURN = r"""
permission:
  description: The user's own permission there after the run, null if there is none. In check mode, as it would be.
  returned: success
  type: str
  sample: EDIT
resource:
  description: What it is about, null for an experiment that does not exist.
  returned: success
  type: dict
  contains:
    type:
      description: C(experiment) or C(registered_model).
      type: str
    id:
      description: ID of the experiment or name of the model.
      type: str
  sample:
    type: experiment
    id: "3"
changes:
  description:
    - What was done, or would be done in check mode.
    - On failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: C(grant), C(change_grant) or C(revoke).
      type: str
    permission:
      description: The permission that is given.
      type: str
  sample:
    - action: grant
      permission: EDIT
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_client,
    mlflow_module,
    mlflow_permissions,
    mlflow_permissions_api,
    mlflow_resources,
    mlflow_resources_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_module import Step
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import Grant, Resource, UserAccess


def find_user(dialect: mlflow_permissions_api.Dialect, name: str, must_exist: bool) -> UserAccess:
    found = dialect.read_users([name])
    if name in found:
        return found[name]
    if not must_exist:
        return UserAccess(name, None, False)
    names = list(dialect.read_users(None)) if dialect.lists_users else []
    raise ValueError(mlflow_resources.unknown("name", "user", name, names))


def plan(
    dialect: mlflow_permissions_api.Dialect, name: str, resource: Resource, before: Grant | None, wanted: str | None
) -> list[Step]:
    """At most one step; `wanted` None takes the permission away."""
    if wanted == (before.permission if before else None):
        return []
    if wanted is None:
        gone = t.cast(Grant, before)
        return [Step({"action": "revoke"}, lambda: dialect.remove_permission(name, gone))]
    facts = {"action": "change_grant" if before else "grant", "permission": wanted}
    return [Step(facts, lambda: dialect.set_permission(name, resource, wanted, before))]


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    params = module.params
    name = params["name"]
    wanted = params["permission"] if params["state"] == "present" else None
    mlflow_address.refuse_username("name", name)
    client = mlflow_client.Client(params)
    mlflow_module.admin(client, "permissions")
    dialect = mlflow_permissions_api.dialect(client)
    problem = dialect.problem(wanted) if wanted else None
    if problem:
        raise ValueError(f"permission: {problem}")
    user = find_user(dialect, name, must_exist=wanted is not None)
    resource = (mlflow_resources_api.find if wanted else mlflow_resources_api.find_leftover)(client, params)
    before = None if resource is None else mlflow_permissions.grant_on(user.grants, resource)
    steps = [] if resource is None else plan(dialect, name, resource, before, wanted)
    result = mlflow_module.carry_out(module, steps, done)
    if user.is_admin and wanted:
        module.warn(f"name: {name!r} is an admin and may do everything, whatever the permission says")
    about = None if resource is None else resource._asdict()
    sides = {"before": before.permission if before else None, "after": wanted}
    return {
        **result,
        "permission": wanted,
        "resource": about,
        "diff": {side: {"user": name, **(about or {}), "permission": value} for side, value in sides.items()},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "name": {"type": "str", "required": True},
            "experiment": {"type": "str"},
            "experiment_id": {"type": "str"},
            "registered_model": {"type": "str"},
            "permission": {"type": "str", "choices": ["READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS", "DENY"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
        mutually_exclusive=[("experiment", "experiment_id", "registered_model")],
        required_one_of=[("experiment", "experiment_id", "registered_model")],
        required_if=[("state", "present", ("permission",))],
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
