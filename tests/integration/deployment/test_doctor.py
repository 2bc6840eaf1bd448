# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor names the right cause first, says healthy of what is healthy before and after, writes nothing and tells no secret."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import time
import typing as t
from unittest import mock

import pytest
from ansible.module_utils import _internal, basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_diagnosis_info

from tests.integration.deployment import ailments, faults
from tests.integration.deployment.faults import Injection

LONG = pytest.mark.long


class Ailment(t.NamedTuple):
    """`cause`: id of the cause that must come first; `seen`: what its evidence must hold."""

    inject: Injection
    cause: str
    seen: str = ""


WRONG = "not-the-right-password"
AILMENTS = {
    "bucket policy denies the task role": Ailment(faults.denied("s3:*"), "bucket_denied", "Deny"),
    "database stopped": Ailment(faults.database_stopped, "database_stopped"),
    "no task wanted": Ailment(faults.no_task_runs, "no_task_wanted"),
    "load balancer without a listener": Ailment(faults.listener_gone, "listener_missing"),
    "wrong health check path": Ailment(ailments.wrong_health_check, "wrong_health_check", "/healthz"),
    "servers hang": Ailment(ailments.servers_hang, "servers_hang", "time"),
    "bucket gone": Ailment(faults.bucket_gone, "bucket_missing"),
    "bucket in another region": Ailment(ailments.bucket_abroad, "bucket_in_another_region"),
    "task role without its policy": Ailment(ailments.without_policy("task", restart=False), "bucket_denied", "s3:"),
    "execution role without its policy": Ailment(ailments.without_policy("execution", restart=True), "secret_denied", "GetSecretValue"),
    "wrong database password": Ailment(
        ailments.secret("database", lambda value: {**value, "password": WRONG}), "database_password", "password authentication failed"
    ),
    "secret without its key": Ailment(
        ailments.secret("server-key", lambda value: {"other": value["secret_key"]}), "secret_without_key", "LAUNCHER_SERVER_KEY"
    ),
    "secret scheduled for deletion": Ailment(ailments.secret_deleted, "secret_deleted", "LAUNCHER_SERVER_KEY"),
    "schema of a newer MLflow": Ailment(ailments.newer_schema, "schema_newer", "is newer than MLflow 3.17.2"),
    "connections used up": Ailment(ailments.connections_used_up, "too_many_connections", "connection"),
    "storage of the database used up": Ailment(ailments.storage_used_up, "database_storage_full", "FreeStorageSpace"),
    "security group of the database closed": Ailment(ailments.database_closed, "database_closed", "TCP 5432"),
    "no default route": Ailment(ailments.no_default_route, "no_way_to_internet", "has no default route"),
    "image that does not exist": Ailment(ailments.unstartable(ailments.image), "image_not_found", "CannotPullContainerError"),
    "image that does not exist, rolled back": Ailment(ailments.given_up(ailments.image), "image_not_found", "CannotPullContainerError"),
    "too little memory": Ailment(
        ailments.unstartable(faults.environment(LAUNCHER_WORKERS="4"), cpu="256", memory="512"), "out_of_memory", "OutOfMemoryError"
    ),
    "port twice in the database's address": Ailment(ailments.unstartable(ailments.port_twice), "database_port_twice", ":5432"),
    "environment that MLflow cannot have": Ailment(
        ailments.unstartable(faults.environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="true")), "wrong_environment", "JOB_EXECUTION"
    ),
    "packages that do not exist": Ailment(
        ailments.unstartable(faults.environment(LAUNCHER_REQUIREMENTS="mlflow==0.0.99")), "packages_not_found", "pip could not install"
    ),
    "wrong allowed hosts": Ailment(
        faults.redeployed(faults.environment(LAUNCHER_ALLOWED_HOSTS="mlflow.example.com")), "host_refused", "mlflow.example.com"
    ),
    "authentication off": Ailment(faults.redeployed(faults.without_basic_auth), "authentication_off", "auth_required"),
    "wrong admin password in Secrets Manager": Ailment(faults.wrong_password_in_secrets_manager, "admin_password", "401"),
    "default experiment deleted": Ailment(faults.default_experiment_deleted, "default_experiment_deleted"),
}  # fmt: skip
SAMPLE = {"bucket policy denies the task role", "database stopped"}


def diagnose(live, **options: t.Any) -> dict:
    """What deployment_diagnosis_info returns. It runs in this process, because importing boto3 takes longer than all it does."""
    given = {"name": live.name, "region": "eu-west-2", **options}
    told = io.StringIO()
    with (
        mock.patch.dict(os.environ, live.aws.environment), mock.patch.object(_internal, "is_controller", False),
        mock.patch.object(basic, "_ANSIBLE_ARGS", None), patch_module_args(given), contextlib.redirect_stdout(told),
        pytest.raises(SystemExit),
    ):  # fmt: skip
        deployment_diagnosis_info.main()
    return json.loads(told.getvalue().splitlines()[-1])


def healthy(live) -> dict:
    found = diagnose(live)
    assert found["healthy"] and found["causes"] == [] and found["symptoms"] == [], found["lines"]
    return found


def test_a_healthy_deployment_is_called_healthy(live):
    found = healthy(live)
    assert found["lines"][0].startswith(f"{live.name} is healthy: 2 of 2 tasks run")
    # What was not looked at is said.
    assert found["unread"] and found["lines"][-1].startswith("Not looked at: ")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in SAMPLE else LONG) for name in AILMENTS])
def test_the_cause_of_a_fault_is_named_first(live, tmp_path, name):
    ailment, admin = AILMENTS[name], live.admin()[1]
    with ailment.inject(live, tmp_path):
        calls, started = len(live.aws.api_calls()), time.monotonic()
        found = diagnose(live)
        seconds = time.monotonic() - started
        writes = [one for one in live.aws.api_calls()[calls:] if one["kind"] == "write" and "Ansible/" in one["agent"]]
    print(f"\n{name}: {seconds:.1f} s\n  " + "\n  ".join(found["lines"]))
    # Mended first, so that a fault which is not named does not spoil the tests after it, which begin on a healthy deployment.
    faults.until(lambda: diagnose(live)["healthy"], 120, "getting healthy again")
    assert not found["healthy"]
    first = found["causes"][0]
    assert first["id"] == ailment.cause, found["lines"]
    assert ailment.seen in " ".join([first["cause"], *first["evidence"]]), first
    assert first["remedy"] and all("\n" not in line for line in found["lines"])
    assert writes == []
    told = json.dumps(found)
    assert admin not in told and live.admin()[1] not in told and WRONG not in told


@LONG
def test_what_may_not_be_read_is_named_and_the_rest_goes_on(live):
    unasked = diagnose(live, ask_server=False)
    assert unasked["healthy"] and "the answers of MLflow: ask_server is false" in unasked["unread"]


@LONG
def test_nothing_is_there(account_without_deployment):
    found = diagnose(account_without_deployment, bucket="no-such-bucket-of-mlflow", db_engine_version="15.99")
    causes = [one["id"] for one in found["causes"]]
    assert causes[0] == "engine_version_not_offered" and "17" in found["causes"][0]["remedy"]
    assert set(causes) == {
        "engine_version_not_offered", "service_missing", "database_missing", "load_balancer_missing", "secret_missing", "bucket_missing",
    }  # fmt: skip
    assert diagnose(account_without_deployment)["causes"][0]["id"] == "service_missing"


@LONG
def test_the_playbook_tells_people_programs_and_cron(live, tmp_path):
    well = live.play("doctor", "-e", "doctor_fail=true")
    assert well.returncode == 0 and f"{live.name} is healthy" in well.stdout, well.stdout
    with faults.denied("s3:*")(live, tmp_path):
        told, cron = live.play("doctor"), live.play("doctor", "-e", "doctor_fail=true")
        environment = {**live.aws.environment, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        command = live.command("doctor", "-e", "doctor_format=json")
        program = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0 and f"{live.name} is sick: 1 cause" in told.stdout, told.stdout
    assert "changed=0" in told.stdout
    assert program.returncode == 0 and '"id": "bucket_denied"' in program.stdout, program.stdout
    assert cron.returncode != 0 and "is sick: The policy of the artifact bucket" in faults.in_one_line(cron.stdout)
