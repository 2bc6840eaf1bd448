# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_health on real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_checks, mlflow_client
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health


@pytest.fixture
def client(server):
    return mlflow_client.Client(server.connection | {"validate_certs": True, "timeout": 30, "retry_timeout": 5})


def active(client):
    """(names of active experiments, IDs of active runs)"""
    experiments = client.call("POST", "experiments/search", body={"max_results": 100})["experiments"]
    runs = client.call("POST", "runs/search", body={"experiment_ids": [one["experiment_id"] for one in experiments]})
    return [one["name"] for one in experiments], [one["info"]["run_id"] for one in runs.get("runs", [])]


def failed(result):
    return [one["name"] for one in result["checks"] if one["status"] == "failed"]


def test_a_healthy_server_passes_and_keeps_no_trace(server, run_module, client):
    for size in (1, 9 * 1024 * 1024):
        result = run_module(mlflow_health, server.connection | {"version": server.version, "artifact_size": size})
        assert "failed" not in result, result["msg"]
        assert [one["name"] for one in result["checks"]] == [*mlflow_checks.CHECKS, "cleanup"]
        skipped = [one["name"] for one in result["checks"] if one["status"] == "skipped"]
        assert skipped == (["wrong_host_refused"] if server.version.startswith("2.") else [])
        assert active(client) == (["Default"], []) and server.objects() == []
    everything = {"experiment_ids": ["0"], "run_view_type": "ALL"}
    assert client.call("POST", "runs/search", body=everything)["runs"][0]["info"]["lifecycle_stage"] == "deleted"


def test_check_mode_writes_nothing(server, run_module, client):
    everything = {"experiment_ids": ["0"], "run_view_type": "ALL"}
    before = len(client.call("POST", "runs/search", body=everything).get("runs", []))
    result = run_module(mlflow_health, server.connection, check=True)
    assert "failed" not in result and result["version"] == server.version
    assert len(client.call("POST", "runs/search", body=everything).get("runs", [])) == before and server.objects() == []


def test_a_wrong_password_and_a_wrong_version_are_named(server, run_module):
    result = run_module(mlflow_health, server.connection | {"password": "not-the-right-one"})
    assert failed(result) == [
        "admin_login",
        "version",
        "default_experiment",
        "tracking_write_read",
        "artifact_round_trip",
    ]
    assert "check username and password" in result["msg"] and "\n" not in result["msg"]
    result = run_module(mlflow_health, server.connection | {"version": "9.9.9", "checks": ["version"]})
    assert failed(result) == ["version"] and f"the server is MLflow {server.version}, not 9.9.9" in result["msg"]


def test_a_bucket_that_is_gone_is_named_and_the_run_removed(server, run_module, client):
    server.s3.delete_bucket(Bucket=server.bucket)
    try:
        result = run_module(mlflow_health, server.connection | {"retry_timeout": 1})
    finally:
        server.s3.create_bucket(Bucket=server.bucket)
    assert failed(result) == ["artifact_round_trip", "cleanup"]
    assert "NoSuchBucket" in result["msg"] or "HTTP 500" in result["msg"]
    result = run_module(mlflow_health, server.connection)
    assert "failed" not in result and "1 left behind" in result["checks"][-1]["message"]
    assert active(client) == (["Default"], []) and server.objects() == []


KILLED = """
import sys, time, json
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client, mlflow_health_run
client = mlflow_client.Client(json.loads(sys.argv[1]))
health = mlflow_health_run.HealthRun(client, None, "Default", 1000, write=True)
health._tracking_write_read(), health._artifact_round_trip()
print("written", flush=True)
time.sleep(60)
"""


def test_a_check_killed_half_way_is_cleaned_up_by_the_next(server, run_module, client):
    import json

    options = json.dumps(server.connection | {"validate_certs": True, "timeout": 30, "retry_timeout": 5})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", KILLED, options], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert len(active(client)[1]) == 1 and len(server.objects()) == 1
    result = run_module(mlflow_health, server.connection)
    assert "failed" not in result and "1 left behind" in result["checks"][-1]["message"]
    assert active(client) == (["Default"], []) and server.objects() == []


def test_two_checks_at_once_do_not_disturb_each_other(server, client):
    import json

    options = json.dumps({"ANSIBLE_MODULE_ARGS": server.connection})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "ansible_collections.mlops.mlflow_aws.plugins.modules.mlflow_health", options]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        for _number in range(2)
    ]
    for process in both:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, out + error
    assert active(client) == (["Default"], []) and server.objects() == []


def test_waiting_for_a_server_that_is_not_there_ends(run_module, server):
    started = time.monotonic()
    options = server.connection | {"tracking_uri": "http://127.0.0.1:9", "wait_timeout": 3, "retry_timeout": 0}
    result = run_module(mlflow_health, options)
    assert failed(result) == ["liveness"] and 3 <= time.monotonic() - started < 10 and result["waited"] >= 3
