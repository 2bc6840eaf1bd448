#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_user_info
version_added: "0.1.0"
short_description: Tell the users of MLflow, with what they may do
description:
  - Reads users of an MLflow server with basic authentication, with the permissions of their own and their roles.
  - Wraps C(users/get) and C(users/list) of C(/api/2.0/mlflow/). The user logged in as must be an admin.
options:
  name:
    description:
      - Name of one user. If there is no such user, RV(users) is empty.
      - If not given, all users; needs MLflow 3.10 or newer.
    type: str
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.read_only
seealso:
  - module: mlops.mlflow_aws.mlflow_user
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look at one user
  mlops.mlflow_aws.mlflow_user_info:
    tracking_uri: https://mlflow.example.com
    username: admin
    password: "{{ mlflow_admin_password }}"
    name: admin
  register: found
"""

RETURN = r"""
users:
  description: The users, by name.
  returned: success
  type: list
  elements: dict
  contains:
    username:
      description: Name of the user.
      type: str
      sample: ada
    id:
      description: Number of the user on the server.
      type: int
      sample: 7
    is_admin:
      description: Whether the user is an admin, who may do everything.
      type: bool
      sample: false
    permissions:
      description: Permissions of the user's own, not those of roles.
      type: list
      elements: dict
      contains:
        resource_type:
          description: C(experiment), C(registered_model) or another kind that the server knows.
          type: str
        resource_id:
          description: ID of the experiment or name of the model.
          type: str
        permission:
          description: What is permitted.
          type: str
      sample:
        - resource_type: experiment
          resource_id: "3"
          permission: EDIT
    roles:
      description: Names of the user's roles; empty before MLflow 3.13.
      type: list
      elements: str
      sample: [scoring]
version:
  description: Version of MLflow that the server gives.
  returned: success
  type: str
  sample: 3.17.2
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_client,
    mlflow_module,
    mlflow_permissions_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import UserAccess

# Requests at a time, where each user is one.
PARALLEL = 4


def facts(user: UserAccess) -> dict[str, t.Any]:
    """As the module returns it."""
    permissions = [
        {"resource_type": one.resource.type, "resource_id": one.resource.id, "permission": one.permission}
        for one in sorted(user.grants)
    ]
    return {
        "username": user.username,
        "id": user.user_id,
        "is_admin": user.is_admin,
        "permissions": permissions,
        "roles": sorted(user.roles),
    }


def run(module: AnsibleModule, _done: mlflow_module.Done) -> dict[str, t.Any]:
    name = module.params["name"]
    if name is not None:
        mlflow_address.refuse_username("name", name)
    client = mlflow_client.Client(module.params)
    mlflow_module.admin(client, "other users")
    dialect = mlflow_permissions_api.dialect(client)
    found = dialect.read_users(None if name is None else [name], PARALLEL)
    return {"changed": False, "users": [facts(found[one]) for one in sorted(found)], "version": dialect.version}


def main() -> None:
    module = AnsibleModule(
        argument_spec={**mlflow_client.argument_spec(), "name": {"type": "str"}}, supports_check_mode=True
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
