#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_role
version_added: "0.1.0"
short_description: Create, change and delete roles of MLflow
description:
  - Sees to it that a role of an MLflow server with basic authentication exists, with its permissions and members, or
    does not exist. Needs MLflow 3.13 or newer.
  - An option that is not given leaves that side of the role alone; a list that is given is exact.
  - Wraps C(/api/3.0/mlflow/roles/). The user logged in as must be an admin.
options:
  name:
    description: Name of the role; names beginning with C(__user_) are the server's.
    type: str
    required: true
  description:
    description: Description of the role.
    type: str
  permissions:
    description:
      - All that the role grants on experiments and registered models. Each has one of O(permissions[].experiment),
        O(permissions[].experiment_id) and O(permissions[].registered_model).
    type: list
    elements: dict
    suboptions:
      experiment:
        description: Name of an active experiment, or a pattern with C(*), C(?) and C([..]) for all that there are.
        type: str
      experiment_id:
        description: ID of an active experiment.
        type: str
      registered_model:
        description: Name of a registered model, or a pattern.
        type: str
      permission:
        description: What is permitted. V(DENY) exists from MLflow 3.17 on.
        type: str
        choices: [READ, USE, EDIT, MANAGE, DENY]
        required: true
  members:
    description: Names of all users that have the role.
    type: list
    elements: str
  state:
    description: Whether the role exists.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.planned
notes:
  - Permissions of other kinds, such as those on prompts and gateway endpoints, are left alone.
seealso:
  - module: mlops.mlflow_aws.mlflow_access
    description: Groups work on older servers too.
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: One role
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: See to it that there is somebody to have it
      mlops.mlflow_aws.mlflow_user:
        name: ada
        user_password: "{{ ada_password }}"

    - name: Let everybody in the team write to the default experiment and read every model that there is now
      mlops.mlflow_aws.mlflow_role:
        name: scoring
        description: The scoring team
        members: [ada]
        permissions:
          - experiment: Default
            permission: EDIT
          - registered_model: "*"
            permission: READ

    - name: Empty the team, and leave what it may do alone
      mlops.mlflow_aws.mlflow_role:
        name: scoring
        members: []

    - name: Delete the role
      mlops.mlflow_aws.mlflow_role:
        name: scoring
        state: absent
"""

RETURN = r"""
role:
  description: The role after the run, null when there is none. In check mode, as it would be.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the role.
      type: str
    description:
      description: Description of the role.
      type: str
    members:
      description: Names of the users that have it.
      type: list
      elements: str
    permissions:
      description: What it grants.
      type: list
      elements: dict
  sample:
    name: scoring
    description: The scoring team
    members: [ada]
    permissions:
      - resource_type: experiment
        resource_id: "0"
        permission: EDIT
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
        - C(create), C(set_description), C(add_member), C(remove_member), C(grant), C(change_grant), C(revoke) or
          C(delete).
      type: str
    user:
      description: The member, of C(add_member) and C(remove_member).
      type: str
    resource_type:
      description: C(experiment) or C(registered_model), of grants.
      type: str
    resource_id:
      description: ID of the experiment or name of the model, of grants.
      type: str
    permission:
      description: The permission that is given.
      type: str
  sample:
    - action: create
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_access_apply,
    mlflow_access_plan,
    mlflow_access_target,
    mlflow_access_wanted,
    mlflow_client,
    mlflow_module,
    mlflow_permissions,
    mlflow_permissions_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_wanted import GROUP, LISTED, Wanted
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import RoleAccess

# What the engine calls things, and what they are called here.
_LABELS = {"groups": "members", "grants": "permissions"}
_ACTIONS = {mlflow_access_plan.CREATE_GROUP: "create", mlflow_access_plan.DELETE_GROUP: "delete"}
# A role is a group that mlflow_access keeps exactly, and alone.
_ALONE = {"users": [], "update_password": "on_create", "prune": LISTED, "protected": [], "max_parallel": 1}


def wanted_of(params: dict[str, t.Any]) -> Wanted:
    group = {key: params[key] for key in ("name", "members", "description", "state")}
    grants = [{**one, GROUP: params["name"], "state": "present"} for one in params["permissions"] or []]
    if params["state"] == "absent":
        grants = []
    return mlflow_access_wanted.read({**_ALONE, "groups": [group], "grants": grants})


def facts(change: mlflow_access_plan.Change) -> dict[str, t.Any]:
    """As the module returns it."""
    return {**change._replace(group=None).facts(), "action": _ACTIONS.get(change.action, change.action)}


def refusal(problems: t.Sequence[str]) -> mlflow_access_wanted.Refused:
    labelled = [problem.partition(": ") for problem in problems]
    return mlflow_access_wanted.Refused([f"{_LABELS.get(label, label)}: {rest}" for label, _colon, rest in labelled])


def shown(role: RoleAccess | None) -> dict[str, t.Any] | None:
    if role is None:
        return None
    permissions = [
        {"resource_type": one.resource.type, "resource_id": one.resource.id, "permission": one.permission}
        for one in sorted(role.grants)
    ]
    return {
        "name": role.name,
        "description": role.description,
        "members": sorted(role.members),
        "permissions": permissions,
    }


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    params = module.params
    name = params["name"]
    if not name.strip() or not name.isprintable() or name.startswith(mlflow_permissions.RESERVED_ROLES):
        raise ValueError(
            f"name: {name!r} is empty, holds a control character or begins with {mlflow_permissions.RESERVED_ROLES}, as"
            " MLflow's own roles do; give the role another name"
        )
    wanted = wanted_of(params)
    client = mlflow_client.Client(params)
    me = mlflow_module.admin(client, "roles")
    dialect = mlflow_permissions_api.dialect(client)
    if not dialect.has_roles:
        raise ValueError(
            f"tracking_uri: this is MLflow {dialect.version}, and roles need 3.13 or newer here; use groups of"
            " mlops.mlflow_aws.mlflow_access, which grant the same to each member"
        )
    live = mlflow_access_apply.look(client, dialect, wanted, {}, 1)
    target, problems, warnings = mlflow_access_target.resolve(wanted, live)
    current = (live.roles or {}).get(name)
    if params["permissions"] is None and current:
        target.roles[name] = {grant.resource: grant.permission for grant in current.grants}
    changes, more = mlflow_access_plan.plan(wanted, target, live, me)
    if problems or more:
        raise refusal([*problems, *more])
    for warning in warnings:
        module.warn(warning)
    after = (mlflow_access_plan.predict(live, changes).roles or {}).get(name)
    if not module.check_mode:
        apply = mlflow_access_apply.Apply(client, dialect, live, {}, 1)
        try:
            apply.run(changes, mlflow_access_apply.Progress(None, len(changes)))
        finally:
            done += [facts(change) for change in apply.done]
    return {
        "changed": bool(changes),
        "changes": [facts(change) for change in changes],
        "role": shown(after),
        "diff": {"before": shown(current) or {"state": "absent"}, "after": shown(after) or {"state": "absent"}},
    }


def main() -> None:
    permission = {
        "experiment": {"type": "str"},
        "experiment_id": {"type": "str"},
        "registered_model": {"type": "str"},
        "permission": {"type": "str", "choices": ["READ", "USE", "EDIT", "MANAGE", "DENY"], "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "name": {"type": "str", "required": True},
            "description": {"type": "str"},
            "permissions": {
                "type": "list",
                "elements": "dict",
                "options": permission,
                "mutually_exclusive": [("experiment", "experiment_id", "registered_model")],
                "required_one_of": [("experiment", "experiment_id", "registered_model")],
            },
            "members": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
