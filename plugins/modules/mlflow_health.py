#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_health
version_added: "0.1.0"
short_description: Verify that an MLflow server works and is locked
description:
  - Checks an MLflow server through the address its users have, from being alive to storing an artifact, and fails if
    any check fails.
  - Every check is tried, also after another has failed, unless the server cannot be reached at all.
  - The checks are C(liveness) (C(/health) answers OK), C(auth_required) (401 without credentials),
    C(wrong_password_refused), C(default_passwords_refused) (those that MLflow was shipped with), C(admin_login) (the
    API and its database answer to the credentials given), C(version), C(wrong_host_refused) (MLflow 3.5 and newer),
    C(default_experiment), C(tracking_write_read) (a run with a metric, a parameter and a tag is written and read back)
    and C(artifact_round_trip) (an artifact is stored and fetched through the server). C(cleanup) follows whenever
    something was written.
options:
  checks:
    description:
      - Checks to carry out; all of them if not given.
    type: list
    elements: str
    choices:
      - liveness
      - auth_required
      - wrong_password_refused
      - default_passwords_refused
      - admin_login
      - version
      - wrong_host_refused
      - default_experiment
      - tracking_write_read
      - artifact_round_trip
  version:
    description:
      - Version of MLflow that the server must have, such as V(3.17.2). If not given, any version passes.
    type: str
  wait_timeout:
    description:
      - Seconds to wait for the server to be alive and its database to answer before the checks begin. They begin in any
        case.
      - V(0) does not wait.
    type: int
    default: 0
  experiment_name:
    description:
      - Name of an existing experiment to write the run to.
    type: str
    default: Default
  artifact_size:
    description:
      - Size in bytes of the artifact to store, at most 268435456 (256 MiB), since it is held in memory.
    type: int
    default: 1048576
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
attributes:
  check_mode:
    description: Changes nothing.
    details:
      - Carries out the checks that only read; those that write a run are C(skipped).
    support: partial
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Never reports a change, because it removes its own traces.
    support: full
notes:
  - The run is written to an experiment that exists, so that no experiment is ever made. It is deleted at the end, its
    artifacts are removed from the artifact store, and so are the runs of earlier checks that were killed.
  - MLflow's API can only mark a run as deleted. The few rows that remain in the database of each check go with the next
    C(mlflow gc). A versioned bucket keeps earlier versions of the artifact as its lifecycle rules say.
  - With C(auth_cache_ttl_seconds) set on the server, a shipped password that was just replaced may be accepted for that
    time.
seealso:
  - module: mlops.mlflow_aws.mlflow_user
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Wait up to five minutes for the new server, then verify it
  mlops.mlflow_aws.mlflow_health:
    tracking_uri: https://mlflow.example.com
    username: admin
    password: "{{ mlflow_admin_password }}"
    version: 3.17.2
    wait_timeout: 300

- name: Ask only whether strangers are kept out
  mlops.mlflow_aws.mlflow_health:
    tracking_uri: https://mlflow.example.com
    username: admin
    password: "{{ mlflow_admin_password }}"
    checks:
      - auth_required
      - wrong_password_refused
      - default_passwords_refused
"""

RETURN = r"""
checks:
  description: The checks in the order in which they were carried out, on failure too.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
    status:
      description: C(passed), C(failed) or C(skipped).
      type: str
    latency_ms:
      description: Milliseconds that the check took, all its requests together; null if it sent none.
      type: float
    message:
      description: What was seen.
      type: str
    remedy:
      description: What to do about a failure; empty otherwise.
      type: str
  sample:
    - name: liveness
      status: passed
      latency_ms: 2.1
      message: the server is alive
      remedy: ""
version:
  description: Version of MLflow that the server gives, null if it was not asked or did not say.
  returned: always
  type: str
  sample: 3.17.2
waited:
  description: Seconds waited for the server before the checks.
  returned: always
  type: float
  sample: 12.5
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_checks, mlflow_client, mlflow_health_run

LARGEST_ARTIFACT = 256 * 1024 * 1024


def refuse(params: dict[str, t.Any]) -> None:
    """Raises ValueError with one line for what the argument spec cannot refuse."""
    if not 1 <= params["artifact_size"] <= LARGEST_ARTIFACT:
        raise ValueError(f"artifact_size: {params['artifact_size']} bytes; give 1 to {LARGEST_ARTIFACT}")
    if params["wait_timeout"] < 0:
        raise ValueError(f"wait_timeout: {params['wait_timeout']} seconds; give 0 or more")
    if params["checks"] == []:
        raise ValueError("checks: an empty list would verify nothing; name checks or leave the option out")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **mlflow_client.argument_spec(),
            "checks": {"type": "list", "elements": "str", "choices": list(mlflow_checks.CHECKS)},
            "version": {"type": "str"},
            "wait_timeout": {"type": "int", "default": 0},
            "experiment_name": {"type": "str", "default": "Default"},
            "artifact_size": {"type": "int", "default": 1024 * 1024},
        },
        supports_check_mode=True,
    )
    params = module.params
    started = time.monotonic()
    try:
        refuse(params)
        client = mlflow_client.Client(params)
    except ValueError as error:
        module.fail_json(msg=str(error), checks=[], version=None, waited=0.0)
    health = mlflow_health_run.HealthRun(
        client, params["version"], params["experiment_name"], params["artifact_size"], write=not module.check_mode
    )
    health.wait(started + params["wait_timeout"])
    waited = round(time.monotonic() - started, 1)
    results = health.run(params["checks"] or mlflow_checks.CHECKS)
    facts = {"checks": [one._asdict() for one in results], "version": health.found_version, "waited": waited}
    if any(one.status == mlflow_checks.FAILED for one in results):
        module.fail_json(msg=mlflow_checks.summary(client.base, results), **facts)
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
