#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_user
version_added: "0.1.0"
short_description: Create, change and delete users of MLflow
description:
  - Sees to it that a user of an MLflow server with basic authentication exists, with the password and the admin flag
    given, or does not exist.
  - An option that is not given leaves that side of the user alone.
  - Wraps C(/api/2.0/mlflow/users/) of MLflow 2.x and 3.x. The user logged in as must be an admin, except to change its
    own password.
options:
  name:
    description:
      - Name of the user to manage; spaces, slashes and Unicode are fine, a colon or a control character is refused,
        because such a user could never log in.
    type: str
    required: true
  user_password:
    description:
      - Password of the user to manage. Needed to create a user.
      - MLflow 3 wants at least 12 characters. Passwords that MLflow was shipped with are refused.
    type: str
  update_password:
    description:
      - V(on_create) gives O(user_password) to a new user and leaves an existing user's password alone.
      - V(always) asks the server whether O(user_password) lets the user in, and sets it only if not.
    type: str
    choices: [on_create, always]
    default: on_create
  admin:
    description:
      - Whether the user is an admin, who may do everything.
    type: bool
  state:
    description:
      - Whether the user exists.
      - With V(absent), permissions that keep MLflow 2 from deleting the user are removed first.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
attributes:
  check_mode:
    description: Predicts from the same plan that a run carries out.
    support: full
  diff_mode:
    description: Shows the user before and after; of the password only whether it changes.
    support: full
  idempotent:
    description: With the exception of a user that changes its own password, whose next login needs the new one.
    support: full
notes:
  - The user logged in as can neither be deleted nor lose its admin flag here.
  - MLflow 3 lets users beyond ASCII in name or password log in, but refuses them (401) where artifacts are uploaded and
    downloaded. The module warns when it sets such a password.
  - With C(auth_cache_ttl_seconds) set on the server, a password that was replaced may be accepted by other workers for
    that time. A task that sets the earlier password again within it may take it for the present one and change nothing.
seealso:
  - module: mlops.mlflow_aws.mlflow_health
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Users of the tracking server
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: See to it that the data scientist can log in
      mlops.mlflow_aws.mlflow_user:
        name: ada
        user_password: "{{ ada_password }}"

    - name: Set the password of the pipeline to the one in the vault
      mlops.mlflow_aws.mlflow_user:
        name: training-pipeline
        user_password: "{{ pipeline_password }}"
        update_password: always

    - name: Make a second admin
      mlops.mlflow_aws.mlflow_user:
        name: grace
        user_password: "{{ grace_password }}"
        admin: true

    - name: Delete the user who has left
      mlops.mlflow_aws.mlflow_user:
        name: charles
        state: absent
"""

RETURN = r"""
user:
  description: The user after the run, null when there is none. In check mode, as it would be.
  returned: success
  type: dict
  contains:
    username:
      description: Name of the user.
      type: str
      sample: ada
    id:
      description: Number of the user on the server, null for a user that check mode would create.
      type: int
      sample: 7
    is_admin:
      description: Whether the user is an admin.
      type: bool
      sample: false
changes:
  description:
    - What was done, in order, or would be done in check mode.
    - On failure, what was done before it.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: C(create), C(set_password), C(set_admin), C(remove_permission) or C(delete).
      type: str
    admin:
      description: The new admin flag, of C(set_admin).
      type: bool
    resource_type:
      description: C(experiment) or C(registered_model), of C(remove_permission).
      type: str
    resource_id:
      description: ID of the experiment or name of the model, of C(remove_permission).
      type: str
  sample:
    - action: create
    - action: set_admin
      admin: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_client,
    mlflow_module,
    mlflow_users,
    mlflow_users_api,
    mlflow_versions,
)


def desired_user(params: dict[str, t.Any]) -> mlflow_users.Desired:
    """What the task asks for, checked. Raises ValueError with one line."""
    mlflow_address.refuse_username("name", params["name"])
    password = params["user_password"]
    if password is not None:
        mlflow_address.refuse_password("user_password", password)
    desired = mlflow_users.Desired(
        params["name"], params["state"] == "present", password is not None, params["admin"], params["update_password"]
    )
    refusal = mlflow_users.refuse(desired, params["username"])
    if refusal:
        raise ValueError(refusal)
    return desired


def look(
    client: mlflow_client.Client, desired: mlflow_users.Desired, password: str | None
) -> mlflow_users.Current | None:
    """The user as it is, with what the plan has to know of its password."""
    me = mlflow_users_api.who_am_i(client)
    if desired.username == me.username:
        current: mlflow_users.Current | None = me
    elif me.is_admin:
        current = mlflow_users_api.read(client, desired.username)
    else:
        raise ValueError(
            f"username: {me.username!r} is not an admin, so it may not manage user {desired.username!r}; log in as an"
            " admin"
        )
    if current is not None and mlflow_users.needs_password_test(current, desired):
        works = mlflow_users_api.password_works(client, desired.username, str(password))
        current = current._replace(password_works=works)
    return current


def new_password(password: str | None, changes: list[mlflow_users.Change]) -> str | None:
    """The password that the changes will set, None if they set none."""
    sets = any(change.action in (mlflow_users.CREATE, mlflow_users.SET_PASSWORD) for change in changes)
    return password if sets else None


def judge_password(module: AnsibleModule, client: mlflow_client.Client, name: str, password: str) -> None:
    """Name the server's rules before anything is changed: ValueError with one line, or a warning."""
    version = mlflow_users_api.version(client)
    problem = mlflow_versions.password_problem(password, version)
    if problem:
        raise ValueError(f"user_password of {name!r}: {problem}")
    limit = mlflow_versions.login_limit(name, password, version)
    if limit:
        module.warn(f"user {name!r}: {limit}")


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    """Plan and apply; `done` receives each change as soon as it is made."""
    params = module.params
    name, password = params["name"], params["user_password"]
    desired = desired_user(params)
    client = mlflow_client.Client(params)
    if password is not None:
        client.keep_secret(name, password)
    before = look(client, desired, password)
    changes = mlflow_users.plan(before, desired)
    to_set = new_password(password, changes)
    if to_set is not None:
        judge_password(module, client, name, to_set)
    after = mlflow_users.predict(before, desired, changes)
    if not module.check_mode:
        for change in changes:
            mlflow_users_api.apply(client, name, password, change)
            done.append(change.facts())
        if changes and after is not None:
            after = mlflow_users_api.read(client, name)
    return {
        "changed": bool(changes),
        "user": mlflow_users.facts(after),
        "changes": [change.facts() for change in changes],
        "diff": mlflow_users.diff(before, after, changes),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "name": {"type": "str", "required": True},
            "user_password": {"type": "str", "no_log": True},
            "update_password": {
                "type": "str",
                "choices": ["on_create", "always"],
                "default": "on_create",
                "no_log": False,
            },
            "admin": {"type": "bool"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
