# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fails at run time ends in time with its reason; what served before goes on, and the next run recovers."""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest

from tests.integration.aws import local_aws
from tests.integration.deployment import faults
from tests.integration.deployment.conftest import LIVE, Deployment


NO_IMAGE = "public.ecr.aws/docker/library/python:2.7-slim"


def reason(run: subprocess.CompletedProcess[str]) -> str:
    """What a run failed with."""
    assert run.returncode != 0, run.stdout[-6000:]
    return faults.in_one_line(run.stdout)


def recovers(live) -> None:
    run = live.play("site")
    assert run.returncode == 0, run.stdout[-6000:]
    assert faults.serves(live)


@pytest.mark.long
def test_an_image_that_cannot_be_pulled_is_named_and_the_next_run_recovers(empty_account):
    empty_account.variables = dict(LIVE)
    said = reason(empty_account.play("site", "-e", f"ecs_mlflow_image={NO_IMAGE}"))
    assert "CannotPullContainerError" in said and NO_IMAGE in said
    recovers(empty_account)


@pytest.mark.long
def test_a_task_that_cannot_start_tells_why_and_leaves_the_service_alone(live):
    wrong = {"ecs_mlflow_environment": {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true"}}
    before = faults.service(live)["taskDefinition"]
    said = reason(live.play("site", "-e", json.dumps(wrong)))
    assert "exited with code 78" in said and "MLFLOW_SERVER_ENABLE_JOB_EXECUTION is true: remove it" in said
    assert faults.service(live)["taskDefinition"] == before and faults.serves(live)
    recovers(live)


@pytest.mark.long
def test_a_server_that_cannot_start_tells_why_and_the_old_one_goes_on(live):
    """The databases can be prepared; it is the server that has no such address."""
    wrong = {"ecs_mlflow_environment": {"LAUNCHER_HOST": "203.0.113.7"}}
    before = faults.service(live)["taskDefinition"]
    said = reason(live.play("site", "-e", json.dumps(wrong)))
    assert re.search(r"circuit breaker|went back to", said) and "203.0.113.7" in said, said
    faults.await_steady(live, before, 2)
    assert faults.serves(live)
    recovers(live)


@pytest.mark.long
def test_a_wrong_database_password_is_told_from_the_log_of_the_tasks(live):
    """Changed behind the deployment's back, it shows when a task is started anew."""
    with faults.wrong_secret(live, "database") as wrong:
        live.aws.kill_a_task(live.name)
        started = time.monotonic()
        said = reason(live.play("site", "-e", "ecs_mlflow_wait_timeout=40"))
        assert "not steady after 40 s" in said and "refuses the login" in said, said
        assert wrong not in said
        assert time.monotonic() - started < 180
        assert faults.serves(live)
    recovers(live)


@pytest.mark.long
def test_a_stopped_database_is_named_before_anything_waits_for_it(live, tmp_path):
    with faults.database_stopped(live, tmp_path):
        started = time.monotonic()
        said = reason(live.play("site"))
        assert f"{live.name}-db" in said and "stopped" in said and "start it" in said
        assert time.monotonic() - started < 120
    recovers(live)


@pytest.mark.long
def test_a_database_that_does_not_become_available_in_time(tmp_path, monkeypatch):
    """On an AWS at two fifths of its own pace a database takes 100 s."""
    monkeypatch.setenv("LOCAL_AWS_LATENCY_SCALE", "0.4")
    with local_aws(tmp_path / "state") as aws:
        variables = {**LIVE, "ecs_mlflow_desired_count": 1}
        slow = Deployment(aws, "local", "mlflow-demo", tmp_path / "deployments", variables=variables)
        started = time.monotonic()
        run = slow.play("site", "-e", "rds_wait_timeout=5")
        seconds = time.monotonic() - started
        said = reason(run)
        assert re.search(r"mlflow-demo-db.* not available but (creating|backing-up) after 5 s", said), said
        assert "run again or raise rds_wait_timeout" in said
        print(f"\nended after {seconds:.0f} s: {said}")
        recovers(slow)
