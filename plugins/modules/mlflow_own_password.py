#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_own_password
version_added: "0.1.0"
short_description: Replace the password that one logs in to MLflow with
description:
  - Asks the server whether O(new_password) lets the user in already, and if not, logs in with O(password) and sets it. A run that
    was interrupted before it could note what it had done is therefore finished by the next one.
  - Wraps C(/api/2.0/mlflow/users/get) and C(users/update-password) of MLflow 2.x and 3.x.
options:
  new_password:
    description:
      - Password that the user is to have.
      - MLflow 3 wants at least 12 characters. Passwords that MLflow was shipped with are refused.
    type: str
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
attributes:
  check_mode:
    description: Predicts from what the server says of both passwords.
    support: full
  diff_mode:
    description: Shows whether the password changes, never a password.
    support: full
  idempotent:
    description: Changes nothing once the new password works.
    support: full
notes:
  - With C(auth_cache_ttl_seconds) set on the server, other workers may accept the replaced password for that time; see
    M(mlops.mlflow_aws.mlflow_refused_login).
seealso:
  - module: mlops.mlflow_aws.mlflow_user
  - module: mlops.mlflow_aws.mlflow_refused_login
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Replace the admin's password
  mlops.mlflow_aws.mlflow_own_password:
    tracking_uri: https://mlflow.example.com
    username: admin
    password: "{{ mlflow_admin_password }}"
    new_password: "{{ mlflow_next_admin_password }}"
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, empty when the new password works already.
  returned: always
  type: list
  elements: dict
  contains:
    action:
      description: C(set_password).
      type: str
  sample:
    - action: set_password
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


def judge(client: mlflow_client.Client, password: str) -> None:
    """ValueError, before anything is changed, if the server will not take the password."""
    problem = mlflow_versions.password_problem(password, mlflow_users_api.version(client))
    if problem:
        raise ValueError(f"new_password: {problem}")


def run(module: AnsibleModule, done: mlflow_module.Done) -> dict[str, t.Any]:
    name, password = module.params["username"], module.params["new_password"]
    mlflow_address.refuse_password("new_password", password)
    client = mlflow_client.Client(module.params)
    works = mlflow_users_api.password_works(client, name, password)
    steps = []
    if not works:
        mlflow_users_api.who_am_i(client)
        judge(client, password)
        change = mlflow_users.Change(mlflow_users.SET_PASSWORD)
        steps = [mlflow_module.Step(change.facts(), lambda: mlflow_users_api.apply(client, name, password, change))]
    diff = {"before": {"password": "as it was"}, "after": {"password": "a new one"}} if steps else {"before": {}, "after": {}}
    return {**mlflow_module.carry_out(module, steps, done), "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "new_password": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
