#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_refused_login
version_added: "0.1.0"
short_description: Wait until MLflow refuses a login
description:
  - Proves that a password that was replaced lets nobody in any more. With C(auth_cache_ttl_seconds) set on the server (MLflow 3.12
    and newer) each worker that has seen it accepts it for that long.
  - Asks until the server has refused it O(refusals) times in a row, so that every worker has its say; fails when it still
    accepts it after O(wait_timeout) seconds.
  - Wraps C(/api/2.0/mlflow/users/get) of MLflow 2.x and 3.x.
options:
  wait_timeout:
    description: Seconds until the server must refuse the login.
    type: int
    default: 120
  refusals:
    description: Refusals in a row that count as proof. Take more than the server has workers.
    type: int
    default: 20
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.read_only
seealso:
  - module: mlops.mlflow_aws.mlflow_own_password
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Prove that the old password is worth nothing any more
  mlops.mlflow_aws.mlflow_refused_login:
    tracking_uri: https://mlflow.example.com
    username: admin
    password: "{{ mlflow_replaced_password }}"
"""

RETURN = r"""
seconds:
  description: Seconds until the proof was complete.
  returned: success
  type: float
  sample: 41.5
accepted:
  description: How often the login was still accepted meanwhile.
  returned: success
  type: int
  sample: 3
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client, mlflow_module, mlflow_users_api

POLL_SECONDS = 1.0


def run(module: AnsibleModule, _done: mlflow_module.Done) -> dict[str, t.Any]:
    params, started = module.params, time.monotonic()
    if params["refusals"] < 1:
        raise ValueError(f"refusals = {params['refusals']}: that proves nothing; give 1 or more")
    client = mlflow_client.Client(params)
    name, password = params["username"], params["password"]
    in_a_row = accepted = 0
    while in_a_row < params["refusals"]:
        if not mlflow_users_api.password_works(client, name, password):
            in_a_row += 1
            continue
        in_a_row, accepted = 0, accepted + 1
        if time.monotonic() - started > params["wait_timeout"]:
            raise ValueError(
                f"The server still lets {name!r} in with this password after {params['wait_timeout']} s: raise wait_timeout above"
                " the auth_cache_ttl_seconds of the server, or see whether the password was replaced at all"
            )
        time.sleep(POLL_SECONDS)
    return {"changed": False, "seconds": round(time.monotonic() - started, 1), "accepted": accepted}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "wait_timeout": {"type": "int", "default": 120},
            "refusals": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    mlflow_module.finish(module, run)


if __name__ == "__main__":
    main()
