#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: temporary_mlflow_server
version_added: "0.1.0"
short_description: Serve a store of MLflow on this machine for as long as it is read
description:
  - Starts a server of MLflow on a free port of C(127.0.0.1) for a folder C(mlruns), a database of SQLite or any other store,
    so that what only a store holds can be copied to another server.
  - A database of SQLite is served from a copy, which is removed at the end, because newer versions of MLflow may change
    it as they start. Other stores are served as they are; give an MLflow of the version that wrote them.
  - A server that a run which was ended has left is found again, and used or ended.
options:
  store_uri:
    description:
      - URI of the store, such as V(/home/ada/mlruns), V(sqlite:////home/ada/mlflow.db) or C(postgresql\://...).
    type: str
    required: true
  artifacts:
    description:
      - Where the store's artifacts with addresses that begin with C(mlflow-artifacts\:) are, as C(--artifacts-destination)
        of the server that wrote them said. Not needed for artifacts at addresses of their own.
    type: str
  mlflow:
    description: Command C(mlflow), by its name on the path or as a path, or the virtual environment that holds it.
    type: str
    default: mlflow
  workers:
    description: Number of server processes.
    type: int
    default: 2
  wait_timeout:
    description: Seconds until the server must answer.
    type: int
    default: 120
  state:
    description: Whether the server runs.
    type: str
    choices: [started, stopped]
    default: started
attributes:
  check_mode:
    description: Starts and stops the server all the same, because nothing else can be read without it.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: A server that runs is left alone.
    support: full
notes:
  - Whoever can reach C(127.0.0.1) of this machine can read and write the store while it is served.
  - Linux only.
seealso:
  - module: mlops.mlflow_aws.mlflow_experiment_copy
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Serve what the laptop has collected
  mlops.mlflow_aws.temporary_mlflow_server:
    store_uri: /home/ada/project/mlruns
    mlflow: /home/ada/project/.venv
  register: served

- name: Stop serving it
  mlops.mlflow_aws.temporary_mlflow_server:
    store_uri: /home/ada/project/mlruns
    state: stopped
"""

RETURN = r"""
tracking_uri:
  description: Address of the server, null when it is stopped.
  returned: success
  type: str
  sample: http://127.0.0.1:40123
version:
  description: What C(mlflow --version) says, null when it is stopped.
  returned: success
  type: str
  sample: mlflow, version 2.18.0
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import temporary_server, temporary_server_process


def run(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    server = temporary_server_process.Server(params["store_uri"])
    if params["state"] == "stopped":
        return {"changed": server.stop(), "tracking_uri": None, "version": None}
    temporary_server.refuse(temporary_server.store(params["store_uri"]))
    path = temporary_server_process.executable(params["mlflow"])
    said = temporary_server_process.version(path)
    found = server.running()
    reused = found is not None and temporary_server_process.answers(found["port"])
    port = (
        found["port"]
        if found and reused
        else server.start(path, params["artifacts"], params["workers"], params["wait_timeout"])
    )
    return {"changed": not reused, "tracking_uri": f"http://{temporary_server.HOST}:{port}", "version": said}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # It may hold the password of a database.
            "store_uri": {"type": "str", "required": True, "no_log": True},
            "artifacts": {"type": "str"},
            "mlflow": {"type": "str", "default": "mlflow"},
            "workers": {"type": "int", "default": 2},
            "wait_timeout": {"type": "int", "default": 120},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
