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
  - The checks that only read are C(liveness) (C(/health) answers OK), C(tls) (the certificate is for this host, from a
    known issuer and not about to expire), C(http_redirect) (what answers without TLS sends to HTTPS), C(auth_required)
    (401 without credentials), C(wrong_password_refused), C(default_passwords_refused) (those that MLflow was shipped
    with), C(admin_login) (the API and its database answer to the credentials given), C(version), C(wrong_host_refused)
    (MLflow 3.5 and newer), C(ui) (the first page and a file that it needs are served) and C(default_experiment).
  - Those that write are C(tracking_write_read) (a run with a metric, a parameter and a tag is written to the database
    and read back over several connections), C(artifact_round_trip) (an artifact is stored and fetched through the
    server), C(artifact_multipart) (an artifact is stored in parts past the server), C(stranger_denied) (a user without
    permissions is denied a read) and C(reader_denied) (a user with C(READ) is denied a write). C(cleanup) follows
    whenever something was written.
options:
  checks:
    description:
      - Checks to carry out; all of them if not given.
    type: list
    elements: str
    choices:
      - liveness
      - tls
      - http_redirect
      - auth_required
      - wrong_password_refused
      - default_passwords_refused
      - admin_login
      - version
      - wrong_host_refused
      - ui
      - default_experiment
      - tracking_write_read
      - artifact_round_trip
      - artifact_multipart
      - stranger_denied
      - reader_denied
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
      - Name of an existing experiment to write the run to, and to give the reader C(READ) on.
    type: str
    default: Default
  reads:
    description:
      - How often C(tracking_write_read) reads what it wrote, 1 to 100. Each read has a connection of its own, so that a
        load balancer hands them to different tasks.
    type: int
    default: 3
  artifact_size:
    description:
      - Size in bytes of the artifact to store, at most 268435456 (256 MiB), since it is held in memory.
    type: int
    default: 1048576
  multipart:
    description:
      - Whether C(artifact_multipart) uploads in parts. The server decides where the parts go, normally to S3, which
        must be reachable from here.
      - If not given, only when O(checks) names C(artifact_multipart), because clients do so only with
        C(MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=true); the check is C(skipped) otherwise, and where the server does not
        offer it.
    type: bool
  multipart_size:
    description:
      - Size in bytes of the artifact to store in parts, more than 5242880 (5 MiB), which is the size of one part, and
        at most 268435456 (256 MiB).
    type: int
    default: 6291456
  certificate_days:
    description:
      - Days that the certificate must be valid for; C(tls) fails if fewer are left.
    type: int
    default: 14
  http_redirect:
    description:
      - Whether the host must answer without TLS and send to HTTPS, with HTTP 301 or 308.
      - If not given, what answers must do so, but it is fine if nothing answers; a O(tracking_uri) with a port of its
        own is not checked, unless O(checks) names C(http_redirect).
      - V(false) does not ask.
    type: bool
  sign_on:
    description:
      - Whether a load balancer in front sends those who bring no password to an identity provider. Then C(auth_required)
        wants that redirect, and everything else is asked for with the password.
    type: bool
    default: false
  http_port:
    description:
      - Port of the host for HTTP without TLS.
    type: int
    default: 80
  expected_default_permission:
    description:
      - What a user without permissions is meant to be able to do, as C(default_permission) of the server says;
        C(stranger_denied) fails if it is more or less. V(USE) counts as V(READ) and V(MANAGE) as V(EDIT).
    type: str
    choices:
      - NO_PERMISSIONS
      - READ
      - USE
      - EDIT
      - MANAGE
    default: NO_PERMISSIONS
  warn_ms:
    description:
      - Milliseconds after which a check that passed becomes C(warned). If not given, none does.
    type: int
  fail_ms:
    description:
      - Milliseconds after which a check that passed becomes C(failed). If not given, none does.
    type: int
  latency_budgets:
    description:
      - Names of checks with a C(warn_ms), a C(fail_ms) or both of their own, which count instead of O(warn_ms) and
        O(fail_ms). C(cleanup) has a budget only here.
    type: dict
  junit_path:
    description:
      - File to write the results to as JUnit XML, whatever they are. Its folder must exist; the file is replaced.
      - Check mode writes none.
    type: path
extends_documentation_fragment:
  - mlops.mlflow_aws.mlflow
attributes:
  check_mode:
    description: Changes nothing.
    details:
      - Carries out the checks that only read; those that write are C(skipped).
    support: partial
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Never reports a change, because it removes its own traces.
    support: full
notes:
  - The run is written to an experiment that exists, so that no experiment is ever made. It is deleted at the end, its
    artifacts are removed from the artifact store, the temporary user C(mlflow-health-<number>) of C(stranger_denied)
    and C(reader_denied) is deleted, and so is what earlier verifications of the same experiment left that were killed.
    Two verifications at once leave each other alone.
  - MLflow's API can only mark a run as deleted. The few rows that remain in the database of each check go with the next
    C(mlflow gc). A versioned bucket keeps earlier versions of the artifact as its lifecycle rules say.
  - C(stranger_denied) and C(reader_denied) need the login of an admin.
  - C(tls) judges the certificate also with O(validate_certs=false); an unknown issuer or a wrong host is then only
    C(warned), too few days are C(failed) all the same. Where requests go through a proxy of the environment, it is
    C(skipped).
  - With C(auth_cache_ttl_seconds) set on the server, a shipped password that was just replaced may be accepted for that
    time.
seealso:
  - module: mlops.mlflow_aws.mlflow_user
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Verify the tracking server
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: https://mlflow.example.com
      username: admin
      password: "{{ mlflow_admin_password }}"
  tasks:
    - name: Wait up to five minutes for the new server, then verify it
      mlops.mlflow_aws.mlflow_health:
        wait_timeout: 300
      register: health

    - name: Show the checks
      ansible.builtin.debug:
        msg: "{{ health.table }}"

    - name: Ask only whether strangers are kept out
      mlops.mlflow_aws.mlflow_health:
        checks:
          - auth_required
          - wrong_password_refused
          - default_passwords_refused
          - stranger_denied

    - name: Fail on what takes long, and tell the CI server
      mlops.mlflow_aws.mlflow_health:
        warn_ms: 10000
        fail_ms: 30000
        latency_budgets:
          artifact_round_trip:
            fail_ms: 60000
        junit_path: /tmp/mlflow-health.xml
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
      description: C(passed), C(warned), C(failed) or C(skipped). Only C(failed) fails the task.
      type: str
    latency_ms:
      description: Milliseconds that the check took, all its requests together; null if it was skipped.
      type: float
    message:
      description: What was seen.
      type: str
    remedy:
      description: What to do about a failure or a warning; empty otherwise.
      type: str
  sample:
    - name: liveness
      status: passed
      latency_ms: 2.1
      message: the server is alive
      remedy: ""
table:
  description: The same for people, in aligned lines.
  returned: always
  type: list
  elements: str
  sample:
    - CHECK     STATUS  MS  SEEN
    - liveness  passed   2  the server is alive
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

import datetime
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_checks,
    mlflow_client,
    mlflow_health_access,
    mlflow_health_budget,
    mlflow_health_multipart,
    mlflow_health_report,
    mlflow_health_run,
    mlflow_health_session,
)

LARGEST_ARTIFACT = 256 * 1024 * 1024
DEFAULTS = mlflow_health_session.Settings._field_defaults
NOTHING = {"checks": [], "table": [], "version": None, "waited": 0.0}


def _ranges(params: dict[str, t.Any]) -> t.Iterator[tuple[str, str, int, int]]:
    """option, unit, least, most"""
    yield "artifact_size", "bytes", 1, LARGEST_ARTIFACT
    yield "multipart_size", "bytes", mlflow_health_multipart.PART + 1, LARGEST_ARTIFACT
    yield "reads", "reads", 1, 100
    yield "certificate_days", "days", 0, 3650
    yield "http_port", "as a port", 1, 65535
    yield "wait_timeout", "seconds", 0, 86400


def refuse(params: dict[str, t.Any]) -> None:
    """Raises ValueError with one line for what the argument spec cannot refuse."""
    for option, unit, least, most in _ranges(params):
        if not least <= params[option] <= most:
            raise ValueError(f"{option}: {params[option]} {unit}; give {least} to {most}")
    if params["checks"] == []:
        raise ValueError("checks: an empty list would verify nothing; name checks or leave the option out")
    if params["junit_path"]:
        mlflow_health_report.refuse_path("junit_path", params["junit_path"])


def settings(params: dict[str, t.Any], write: bool) -> mlflow_health_session.Settings:
    """What to verify; a check that is asked for by name is not left out."""
    named = params["checks"] or []
    given = {name: params[name] for name in DEFAULTS if name != "write"}
    for option, check in (("multipart", "artifact_multipart"), ("http_redirect", "http_redirect")):
        if given[option] is None and check in named:
            given[option] = True
    wanted = given["expected_default_permission"]
    given["expected_default_permission"] = mlflow_health_access.SAME_TO_A_RUN.get(wanted, wanted)
    return mlflow_health_session.Settings(**given, write=write)


def argument_spec() -> dict[str, dict[str, t.Any]]:
    spec: dict[str, dict[str, t.Any]] = {
        "checks": {"type": "list", "elements": "str", "choices": list(mlflow_checks.CHECKS)},
        "wait_timeout": {"type": "int", "default": 0},
        "warn_ms": {"type": "int"},
        "fail_ms": {"type": "int"},
        "latency_budgets": {"type": "dict"},
        "junit_path": {"type": "path"},
        "version": {"type": "str"},
        "experiment_name": {"type": "str", "default": "Default"},
        "reads": {"type": "int", "default": 3},
        "artifact_size": {"type": "int", "default": 1024 * 1024},
        "multipart": {"type": "bool"},
        "multipart_size": {"type": "int", "default": 6 * 1024 * 1024},
        "certificate_days": {"type": "int", "default": 14},
        "http_redirect": {"type": "bool"},
        "http_port": {"type": "int", "default": 80},
        "sign_on": {"type": "bool", "default": False},
        "expected_default_permission": {
            "type": "str",
            "choices": list(mlflow_health_access.PERMISSIONS),
            "default": "NO_PERMISSIONS",
        },
    }
    return {**mlflow_client.argument_spec(), **spec}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    started = time.monotonic()
    began = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    try:
        refuse(params)
        budgets = mlflow_health_budget.budgets(params["warn_ms"], params["fail_ms"], params["latency_budgets"])
        client = mlflow_client.Client(params)
    except ValueError as error:
        module.fail_json(msg=str(error), **NOTHING)
    health = mlflow_health_run.HealthRun(client, settings(params, write=not module.check_mode), budgets)
    health.wait(started + params["wait_timeout"])
    waited = round(time.monotonic() - started, 1)
    results = health.run(params["checks"] or mlflow_checks.CHECKS)
    facts = {
        "checks": [one._asdict() for one in results],
        "table": mlflow_health_report.table(results),
        "version": health.session.found_version,
        "waited": waited,
    }
    for one in results:
        if one.status == mlflow_checks.WARNED:
            module.warn(f"{one.name}: {one.message}; {one.remedy}")
    failure = mlflow_checks.summary(client.base, results)
    if params["junit_path"] and not module.check_mode:
        try:
            content = mlflow_health_report.junit(client.base, results, began)
            mlflow_health_report.write(params["junit_path"], content)
        except OSError as error:
            reason = f"junit_path: {params['junit_path']} cannot be written: {error.strerror}"
            module.fail_json(msg="; ".join(filter(None, (reason, failure))), **facts)
    if failure:
        module.fail_json(msg=failure, **facts)
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
