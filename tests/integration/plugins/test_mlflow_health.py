# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_health on real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_checks,
    mlflow_client,
    mlflow_traces,
    mlflow_users_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health


@pytest.fixture
def client(server):
    return mlflow_client.Client(server.connection | {"validate_certs": True, "timeout": 30, "retry_timeout": 5})


def active_runs(client):
    """IDs of the active runs of all experiments."""
    experiments = client.call("POST", "experiments/search", body={"max_results": 100})["experiments"]
    runs = client.call("POST", "runs/search", body={"experiment_ids": [one["experiment_id"] for one in experiments]})
    return [one["info"]["run_id"] for one in runs.get("runs", [])]


def traces(server, client):
    """Everything that a verification might leave: users, roles, permissions, experiments, models, uploads."""
    users, roles = [], []
    if not server.version.startswith("2."):
        users = [one["username"] for one in client.call("GET", "users/list")["users"]]
        answer = client.send("GET", "/api/3.0/mlflow/roles/list", {"workspace": "default"}, login=client.login)
        roles = answer.json().get("roles") if answer.status == 200 else []

    def parts(upload):
        # Killed before it could write the ID down, a verification leaves an upload that holds nothing.
        which = {"Bucket": server.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        return server.s3.list_parts(**which).get("Parts")

    experiments = client.call("POST", "experiments/search", body={"max_results": 100, "view_type": "ALL"})
    names = [one["name"] for one in experiments["experiments"]]
    uploads = [one for one in server.s3.list_multipart_uploads(Bucket=server.bucket).get("Uploads", []) if parts(one)]
    models = client.call("GET", "registered-models/search").get("registered_models", [])
    return sorted(users), roles, sorted(names), models, uploads, active_runs(client), server.objects()


def failed(result):
    return [one["name"] for one in result["checks"] if one["status"] == "failed"]


def test_a_healthy_server_passes_and_keeps_no_trace(server, run_module, client):
    before = traces(server, client)
    for size in (1, 9 * 1024 * 1024):
        result = run_module(mlflow_health, server.connection | {"version": server.version, "artifact_size": size})
        assert "failed" not in result, result["msg"]
        assert [one["name"] for one in result["checks"]] == [*mlflow_checks.CHECKS, "cleanup"]
        skipped = {one["name"] for one in result["checks"] if one["status"] == "skipped"}
        unknown = {"wrong_host_refused"} if server.version.startswith("2.") else set()
        assert skipped == {"tls", "http_redirect", "artifact_multipart"} | unknown
        assert active_runs(client) == [] and server.objects() == []
    assert traces(server, client) == before
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
        "ui",
        "default_experiment",
        "tracking_write_read",
        "artifact_round_trip",
        "stranger_denied",
        "reader_denied",
    ]
    assert "check username and password" in result["msg"] and "\n" not in result["msg"]
    result = run_module(mlflow_health, server.connection | {"version": "9.9.9", "checks": ["version"]})
    assert failed(result) == ["version"] and f"the server is MLflow {server.version}, not 9.9.9" in result["msg"]


def test_a_bucket_that_is_gone_is_named_and_the_run_removed(server, run_module, client):
    asked = server.connection | {"checks": ["artifact_round_trip"]}
    server.s3.delete_bucket(Bucket=server.bucket)
    try:
        result = run_module(mlflow_health, asked | {"retry_timeout": 1})
    finally:
        server.s3.create_bucket(Bucket=server.bucket)
    assert failed(result) == ["artifact_round_trip", "cleanup"]
    assert "NoSuchBucket" in result["msg"] or "HTTP 500" in result["msg"]
    result = run_module(mlflow_health, asked)
    assert "failed" not in result and "1 left behind" in result["checks"][-1]["message"]
    assert active_runs(client) == [] and server.objects() == []


KILLED = """
import json, os, signal, sys
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client, mlflow_health_run
options, moment = json.loads(sys.argv[1]), int(sys.argv[2])
client = mlflow_client.Client(options)
settings = mlflow_health_run.Settings(artifact_size=1000, multipart=True)
health = mlflow_health_run.HealthRun(client, settings)
send, writes = mlflow_client.Client.send, []
def count(self, method, path, *args, **named):
    answer = send(self, method, path, *args, **named)
    reads = method == "GET" or path.endswith("/search")
    if not reads:
        writes.append(path)
        if len(writes) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    return answer
mlflow_client.Client.send = count
health.run(["tracking_write_read", "artifact_round_trip", "artifact_multipart", "stranger_denied", "reader_denied"])
print(len(writes))
"""


def killed(server, moment):
    """A verification that ends with its write number `moment`; how many it made if it came to an end."""
    options = json.dumps(server.connection | {"validate_certs": True, "timeout": 30, "retry_timeout": 5})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, options, str(moment)],
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
    )
    if done.returncode == 0:
        return int(done.stdout)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    return None


def temporary_users(server, client, runs):
    """The names that a killed verification may have left, by its runs: 2.18 does not list users."""
    names = [mlflow_traces.user_of(mlflow_traces.tag_of(run)) for run in runs]
    return [name for name in names if mlflow_users_api.read(client, name) is not None]


def marked_runs(client):
    body = {"experiment_ids": ["0"], "filter": mlflow_traces.search_filter(), "run_view_type": "ALL"}
    return client.call("POST", "runs/search", body=body).get("runs", [])


def test_a_check_killed_half_way_is_cleaned_up_by_the_next(server, run_module, client):
    before = traces(server, client)
    # With the user made and READ granted to it.
    assert killed(server, 11) is None
    assert len(active_runs(client)) == 1 and len(server.objects()) == 2
    assert len(temporary_users(server, client, marked_runs(client))) == 1
    result = run_module(mlflow_health, server.connection | {"checks": ["tracking_write_read"]})
    assert "failed" not in result and "1 left behind" in result["checks"][-1]["message"]
    assert traces(server, client) == before and temporary_users(server, client, marked_runs(client)) == []


@pytest.mark.long
def test_a_check_killed_at_any_write_is_cleaned_up_by_the_next(server, run_module, client):
    before = traces(server, client)
    moment, writes = 1, None
    while writes is None:
        writes = killed(server, moment)
        result = run_module(mlflow_health, server.connection | {"checks": ["tracking_write_read"]})
        assert "failed" not in result, (moment, result["msg"])
        runs = marked_runs(client)
        assert traces(server, client) == before and temporary_users(server, client, runs) == [], moment
        moment += 1
    assert writes >= 12


def test_an_artifact_in_parts(server, run_module, client):
    before = traces(server, client)
    result = run_module(
        mlflow_health, server.connection | {"checks": ["artifact_multipart"], "multipart_size": 11 * 1024 * 1024}
    )
    assert [one["status"] for one in result["checks"]] == ["passed", "passed"], result["msg"]
    assert "in 3 parts" in result["checks"][0]["message"] and traces(server, client) == before


def test_two_checks_at_once_do_not_disturb_each_other(server, client):
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
    assert active_runs(client) == [] and server.objects() == []


def test_waiting_for_a_server_that_is_not_there_ends(run_module, server):
    started = time.monotonic()
    options = server.connection | {"tracking_uri": "http://127.0.0.1:9", "wait_timeout": 3, "retry_timeout": 0}
    result = run_module(mlflow_health, options)
    assert failed(result) == ["liveness"] and 3 <= time.monotonic() - started < 10 and result["waited"] >= 3
