#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_availability
version_added: "0.1.0"
short_description: Measure for how long an MLflow server does not answer while something else goes on
description:
  - Asks for the default experiment again and again, logged in, so that the load balancer, a task, the user store and the tracking
    store have to work for an answer, and nothing is repeated. Anything but 200 is a failure.
  - Runs beside what it measures, with C(async) and C(poll=0), until O(stop_file) is there or its folder is gone.
  - C(/health) answers 200 with the database down and without a login, so that it would measure something else.
  - Wraps C(GET experiments/get) of the MLflow REST API.
options:
  stop_file:
    description: File whose appearance ends the measurement.
    type: path
    required: true
  interval:
    description: Seconds from the start of one request to that of the next, if the server answers in time.
    type: float
    default: 0.5
  duration:
    description: Seconds after which the measurement ends by itself.
    type: int
    default: 3600
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
  - mlops.mlflow_aws.read_only
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Make a folder for the measurement
  ansible.builtin.tempfile:
    state: directory
  register: folder

- name: Start to measure
  mlops.mlflow_aws.mlflow_availability:
    tracking_uri: https://mlflow.example.com
    username: admin
    password: "{{ mlflow_admin_password }}"
    stop_file: "{{ folder.path }}/stop"
  async: 3600
  poll: 0
  register: measurement

- name: Do what a server may not survive
  ansible.builtin.wait_for:
    timeout: 3

- name: Stop to measure
  ansible.builtin.file:
    path: "{{ folder.path }}"
    state: absent

- name: Read what was measured
  ansible.builtin.async_status:
    jid: "{{ measurement.ansible_job_id }}"
  register: measured
  until: measured is finished
  retries: 60
  delay: 1
"""

RETURN = r"""
requests:
  description: Requests sent.
  returned: success
  type: int
  sample: 482
failures:
  description: Requests without an answer, or with another than 200.
  returned: success
  type: int
  sample: 0
downtime_seconds:
  description: Seconds of all outages, each from the last good answer to the next.
  returned: success
  type: float
  sample: 0.0
longest_seconds:
  description: Seconds of the longest outage.
  returned: success
  type: float
  sample: 0.0
slowest_seconds:
  description: Seconds of the slowest good answer, null if there was none.
  returned: success
  type: float
  sample: 0.41
outages:
  description: The outages in their order.
  returned: success
  type: list
  elements: dict
  contains:
    since:
      description: Seconds from the first request to the last good answer.
      type: float
    seconds:
      description: How long it lasted.
      type: float
    requests:
      description: Requests that failed.
      type: int
    error:
      description: Why the first of them failed.
      type: str
"""

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client, mlflow_errors, mlflow_outages

PATH = mlflow_client.API + "experiments/get"


def ask(client: mlflow_client.Client) -> str:
    """What is wrong with the answer, empty for nothing."""
    try:
        answer = client.send("GET", PATH, {"experiment_id": "0"}, login=client.login)
    except mlflow_errors.MlflowError as error:
        return mlflow_errors.explain(error)
    return "" if answer.status == 200 else mlflow_errors.explain(client.error(answer, "GET", PATH))


def measure(client: mlflow_client.Client, params: dict[str, t.Any]) -> list[mlflow_outages.Sample]:
    began = time.monotonic()
    folder = os.path.dirname(params["stop_file"]) or "."
    samples: list[mlflow_outages.Sample] = []
    while True:
        start = time.monotonic() - began
        error = ask(client)
        samples.append(mlflow_outages.Sample(start, time.monotonic() - began, error))
        if os.path.exists(params["stop_file"]) or not os.path.isdir(folder):
            return samples
        rest = start + params["interval"] - (time.monotonic() - began)
        if time.monotonic() - began + max(rest, 0) > params["duration"]:
            return samples
        if rest > 0:
            time.sleep(rest)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "stop_file": {"type": "path", "required": True},
            "interval": {"type": "float", "default": 0.5},
            "duration": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    if module.params["interval"] <= 0:
        module.fail_json(msg=f"interval: {module.params['interval']} seconds is no time; give more than 0")
    try:
        # A request that is repeated until it succeeds would measure nothing.
        client = mlflow_client.Client(dict(module.params, retry_timeout=0))
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **mlflow_outages.summary(measure(client, module.params)))


if __name__ == "__main__":
    main()
