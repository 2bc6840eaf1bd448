#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_access
version_added: "0.1.0"
short_description: Apply all users, groups and grants of an MLflow server
description:
  - Makes the users, groups and grants of an MLflow server with basic authentication what is declared, in one task, for
    thousands of them.
  - Speaks both generations of MLflow's permission API, permissions of single resources up to 3.12 and grants and roles
    from 3.13 on.
  - A group is a role of that name from 3.13 on. Before, what it is granted is granted to each of its members; where a
    user gets several permissions on one resource, the strongest counts, as it does with roles, and V(DENY) beats them
    all.
  - Everything that cannot be done is refused before the first change. When a change fails, those that were made are
    returned in RV(changes), and the next run does the rest.
  - Wraps C(users/), C(experiments/permissions/) and C(registered-models/permissions/) of C(/api/2.0/mlflow/), and
    C(users/permissions/) and C(roles/) of C(/api/3.0/mlflow/). The user logged in as must be an admin.
options:
  users:
    description: Users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user; without colons and control characters.
        type: str
        required: true
      password:
        description:
          - Password of the user. Needed to create a user.
          - MLflow 3 wants at least 12 characters. Passwords that MLflow was shipped with are refused.
        type: str
      admin:
        description: Whether the user is an admin, who may do everything. Left alone if not given.
        type: bool
      update_password:
        description: As O(update_password), for this user.
        type: str
        choices: [on_create, always]
      state:
        description: Whether the user exists.
        type: str
        choices: [present, absent]
        default: present
  groups:
    description: Groups of users.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group; names beginning with C(__user_) are the server's.
        type: str
        required: true
      members:
        description:
          - Names of users, from O(users) or on the server.
          - Others remain in the group, unless O(prune) says otherwise. If not given, its members are left alone.
          - Needed before MLflow 3.13 if the group has O(grants), because such a server does not know who is in it.
        type: list
        elements: str
      description:
        description: Description of the role. Left alone if not given, and without meaning before MLflow 3.13.
        type: str
      state:
        description:
          - Whether the group exists.
          - Before MLflow 3.13 there is nothing to remove; what its members were granted is undeclared then, see
            O(prune).
        type: str
        choices: [present, absent]
        default: present
  grants:
    description:
      - What users and groups may do. Each has one of O(grants[].user) and O(grants[].group), and one of
        O(grants[].experiment), O(grants[].experiment_id) and O(grants[].registered_model).
      - A grant by name or ID goes before one by pattern. Two of the same kind that differ are refused.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: Name of a user, from O(users) or on the server.
        type: str
      group:
        description: Name of a group from O(groups).
        type: str
      experiment:
        description:
          - Name of an active experiment, or a pattern with C(*), C(?) and C([..]) for all that there are when the task
            runs.
        type: str
      experiment_id:
        description: ID of an active experiment.
        type: str
      registered_model:
        description: Name of a registered model, or a pattern.
        type: str
      permission:
        description:
          - What is permitted. Needed unless O(grants[].state=absent).
          - V(USE) exists from MLflow 3.9 on, V(DENY) from 3.17 on, V(NO_PERMISSIONS) up to 3.12.
        type: str
        choices: [READ, USE, EDIT, MANAGE, NO_PERMISSIONS, DENY]
      state:
        description: Whether the grant exists.
        type: str
        choices: [present, absent]
        default: present
  update_password:
    description:
      - V(on_create) gives passwords to new users and leaves those of existing users alone.
      - V(always) asks the server, with one request a user, whether the password lets the user in, and sets it only if
        not.
    type: str
    choices: [on_create, always]
    default: on_create
  prune:
    description:
      - What of the undeclared is removed.
      - V(none) removes only what has O(users[].state=absent), O(groups[].state=absent) or O(grants[].state=absent).
      - V(listed) also removes undeclared grants on experiments and models from O(users) and O(groups), and undeclared
        members from groups with O(groups[].members). This takes from users the V(MANAGE) that MLflow gave them on what
        they created, unless it is declared.
      - V(all) also deletes users and groups that are not named. Refused where the server cannot list its users (before
        MLflow 3.10).
      - The user logged in as and what O(protected) names are never pruned.
    type: str
    choices: [none, listed, all]
    default: none
  protected:
    description: Names and patterns of users and groups that O(prune) does not touch.
    type: list
    elements: str
    default: []
  max_parallel:
    description: Number of requests at a time. MLflow computes a password hash several times for each.
    type: int
    default: 4
  progress_path:
    description:
      - File that tells about once a second how many changes have been made. Its folder must exist. If it cannot be
        written, the task is refused before the first change.
    type: path
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
attributes:
  check_mode:
    description: Predicts from the same plan that a run carries out.
    support: full
  diff_mode:
    description: Shows the users and groups that differ, before and after; of a password only that it changes.
    support: full
  idempotent:
    description: A second run makes no change.
    support: full
notes:
  - Names of experiments and models that do not exist are refused. Make them first, with
    M(mlops.mlflow_aws.mlflow_experiment) and M(mlops.mlflow_aws.mlflow_registered_model).
  - What everybody may do without a grant is the server's C(default_permission).
  - MLflow 3 lets users beyond ASCII in name or password log in, but refuses them (401) where artifacts are uploaded and
    downloaded. The module warns when it sets such a password.
  - With C(auth_cache_ttl_seconds) set on the server, a password that was replaced may be accepted by other workers for
    that time.
seealso:
  - module: mlops.mlflow_aws.mlflow_user
  - module: mlops.mlflow_aws.mlflow_permission
  - module: mlops.mlflow_aws.mlflow_role
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Access to the tracking server
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: Make the experiments
      mlops.mlflow_aws.mlflow_experiment:
        name: "{{ item }}"
      loop: [scoring-baseline, scoring-boosted, pricing]

    - name: Apply two teams with separate experiments
      mlops.mlflow_aws.mlflow_access:
        users:
          - name: ada
            password: "{{ ada_password }}"
          - name: grace
            password: "{{ grace_password }}"
          - name: alan
            password: "{{ alan_password }}"
        groups:
          - name: scoring
            members: [ada, grace]
        grants:
          - group: scoring
            experiment: scoring-*
            permission: EDIT
          - user: alan
            experiment: pricing
            permission: MANAGE
          - user: alan
            experiment: scoring-baseline
            permission: READ

    - name: Take everything from those three that is not declared, and delete who has left
      mlops.mlflow_aws.mlflow_access:
        prune: listed
        users:
          - name: ada
          - name: grace
          - name: alan
            state: absent
        groups:
          - name: scoring
            members: [ada]
        grants:
          - group: scoring
            experiment: scoring-*
            permission: READ
"""

RETURN = r"""
changes:
  description:
    - What was done, or would be done in check mode, phase after phase.
    - On failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description:
        - C(create_user), C(set_password), C(set_admin), C(delete_user), C(create_group), C(set_description),
          C(add_member), C(remove_member), C(delete_group), C(grant), C(change_grant) or C(revoke).
      type: str
    user:
      description: The user that it is about.
      type: str
    group:
      description: The group that it is about.
      type: str
    resource_type:
      description: C(experiment) or C(registered_model), of grants.
      type: str
    resource_id:
      description: ID of the experiment or name of the model, of grants.
      type: str
    permission:
      description: The permission that is given, of C(grant) and C(change_grant).
      type: str
    admin:
      description: The new admin flag, of C(set_admin).
      type: bool
  sample:
    - action: create_user
      user: ada
    - action: grant
      user: ada
      resource_type: experiment
      resource_id: "3"
      permission: EDIT
summary:
  description: Number of changes by action.
  returned: always
  type: dict
  sample:
    create_user: 1
    grant: 1
requests:
  description: Number of HTTP requests that were sent.
  returned: always
  type: int
  sample: 7
version:
  description: Version of MLflow that the server gives, null if it was not reached.
  returned: always
  type: str
  sample: 3.17.2
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_access_apply,
    mlflow_access_plan,
    mlflow_access_target,
    mlflow_access_wanted,
    mlflow_client,
    mlflow_errors,
    mlflow_module,
    mlflow_permissions_api,
)


class Run:
    """One run of the module; `facts` is what is known of it at any time."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.client: mlflow_client.Client | None = None
        self.version: str | None = None
        self.changes: list[mlflow_access_plan.Change] = []

    @property
    def facts(self) -> dict[str, t.Any]:
        return {
            "changed": bool(self.changes),
            "changes": [change.facts() for change in self.changes],
            "summary": mlflow_access_plan.summary(self.changes),
            "requests": self.client.requests if self.client else 0,
            "version": self.version,
        }

    def run(self) -> dict[str, t.Any]:
        """The diff. Raises ValueError and MlflowError."""
        params = self.module.params
        wanted = mlflow_access_wanted.read(params)
        _refuse_progress_path(params["progress_path"])
        client = self.client = mlflow_client.Client(params)
        passwords = {one["name"]: one["password"] for one in params["users"] if one.get("password") is not None}
        for name, password in passwords.items():
            client.keep_secret(name, password)
        me = mlflow_module.admin(client, "access")
        dialect = mlflow_permissions_api.dialect(client)
        self.version = dialect.version
        live = mlflow_access_apply.look(client, dialect, wanted, passwords, params["max_parallel"])
        changes = self._plan(wanted, live, me, passwords)
        diff = mlflow_access_plan.diff(live, mlflow_access_plan.predict(live, changes), changes)
        if self.module.check_mode:
            self.changes = changes
        else:
            apply = mlflow_access_apply.Apply(client, dialect, live, passwords, params["max_parallel"])
            self.changes = apply.done
            apply.run(changes, mlflow_access_apply.Progress(params["progress_path"], len(changes)))
            # All are done: in the order of the plan, as check mode shows them.
            self.changes = changes
        return diff

    def _plan(
        self,
        wanted: mlflow_access_wanted.Wanted,
        live: mlflow_access_target.Live,
        me: str,
        passwords: dict[str, str],
    ) -> list[mlflow_access_plan.Change]:
        """The changes; Refused if anything stands against them."""
        target, problems, warnings = mlflow_access_target.resolve(wanted, live)
        changes, more = mlflow_access_plan.plan(wanted, target, live, me)
        sets = (mlflow_access_plan.CREATE_USER, mlflow_access_plan.SET_PASSWORD)
        to_set = [str(change.user) for change in changes if change.action in sets and change.user in passwords]
        bad, limits = mlflow_access_wanted.judge_passwords(passwords, to_set, live.version)
        problems += [*more, *bad]
        if problems:
            raise mlflow_access_wanted.Refused(problems)
        for warning in [*warnings, *limits]:
            self.module.warn(warning)
        return changes


def _refuse_progress_path(path: str | None) -> None:
    if path and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise ValueError(f"progress_path: {path}; its folder does not exist; make it first")


def argument_spec() -> dict[str, t.Any]:
    state = {"type": "str", "choices": ["present", "absent"], "default": "present"}
    update_password = {"type": "str", "choices": ["on_create", "always"], "no_log": False}
    user = {
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "no_log": True},
        "admin": {"type": "bool"},
        "update_password": update_password,
        "state": state,
    }
    group = {
        "name": {"type": "str", "required": True},
        "members": {"type": "list", "elements": "str"},
        "description": {"type": "str"},
        "state": state,
    }
    grant = {
        "user": {"type": "str"},
        "group": {"type": "str"},
        "experiment": {"type": "str"},
        "experiment_id": {"type": "str"},
        "registered_model": {"type": "str"},
        "permission": {"type": "str", "choices": ["READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS", "DENY"]},
        "state": state,
    }
    return {
        **mlflow_client.argument_spec(),
        "users": {"type": "list", "elements": "dict", "default": [], "options": user},
        "groups": {"type": "list", "elements": "dict", "default": [], "options": group},
        "grants": {"type": "list", "elements": "dict", "default": [], "options": grant},
        "update_password": {**update_password, "default": "on_create"},
        "prune": {"type": "str", "choices": ["none", "listed", "all"], "default": "none"},
        "protected": {"type": "list", "elements": "str", "default": []},
        "max_parallel": {"type": "int", "default": 4},
        "progress_path": {"type": "path"},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run = Run(module)
    try:
        diff = run.run()
    except ValueError as error:
        module.fail_json(msg=str(error), **run.facts)
    except mlflow_errors.MlflowError as error:
        module.fail_json(msg=mlflow_errors.explain(error), status=error.status, **run.facts)
    module.exit_json(diff=diff, **run.facts)


if __name__ == "__main__":
    main()
