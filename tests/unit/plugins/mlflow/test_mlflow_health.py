# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module mlflow_health over real HTTP, against a server that answers as MLflow 2.18 and 3.17 do."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_checks,
    mlflow_health_cleanup,
    mlflow_health_run,
    mlflow_health_tracking,
    mlflow_permissions_api,
    mlflow_traces,
)
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health

from .conftest import ARTIFACTS, Reply, json_reply
from .health_server import Dialect, Verified

API = "/api/2.0/mlflow/"
ALL = [*mlflow_checks.CHECKS, "cleanup"]
# Not to be told on a server without TLS, or not asked for.
SKIPPED = {"tls", "http_redirect", "artifact_multipart"}
NEED_LOGIN = {"admin_login", "version", "ui", "default_experiment", *mlflow_checks.WRITE_CHECKS} - SKIPPED
WRITE = NEED_LOGIN & set(mlflow_checks.WRITE_CHECKS)


@pytest.fixture(params=["2.18.0", "3.17.2"])
def mlflow(request, http, monkeypatch):
    server = Verified(http, request.param)
    monkeypatch.setattr(mlflow_permissions_api, "dialect", lambda client: Dialect(server))
    return server


@pytest.fixture
def health(run_module, connection):
    def run(check=False, **options):
        result = run_module(mlflow_health, connection | {"artifact_size": 70000} | options, check=check)
        assert connection["password"] not in json.dumps(result)
        assert not result.get("changed")
        return result

    return run


def statuses(result):
    return {one["name"]: one["status"] for one in result["checks"]}


def failed(result):
    return [one["name"] for one in result["checks"] if one["status"] == "failed"]


def no_traces(mlflow):
    deleted = all(run["info"]["lifecycle_stage"] == "deleted" for run in mlflow.runs.values())
    return deleted and mlflow.artifacts == {} and mlflow.uploads == {} and not guests(mlflow)


def guests(mlflow):
    return [name for name in mlflow.users if name.startswith("mlflow-health-")]


def test_a_healthy_server(health, mlflow):
    result = health(version=mlflow.version)
    assert "failed" not in result and list(statuses(result)) == ALL
    skipped = {name for name, status in statuses(result).items() if status == "skipped"}
    assert skipped == (SKIPPED if mlflow.new else SKIPPED | {"wrong_host_refused"})
    assert result["version"] == mlflow.version and len(mlflow.runs) == 1 and no_traces(mlflow)
    for one in result["checks"]:
        assert (one["latency_ms"] is None) == (one["status"] == "skipped")
        assert one["message"] and one["remedy"] == ""
    assert len(result["table"]) == len(ALL) + 1 and result["table"][1].startswith("liveness ")


def test_check_mode_only_reads(health, mlflow):
    result = health(check=True)
    assert "failed" not in result and mlflow.calls == [] and mlflow.runs == {}
    assert {statuses(result)[name] for name in mlflow_checks.WRITE_CHECKS} == {"skipped"}
    assert "cleanup" not in statuses(result) and result["checks"][-1]["latency_ms"] is None


def test_some_checks_only(health, mlflow):
    assert list(statuses(health(checks=["version", "liveness"]))) == ["liveness", "version"]
    assert list(statuses(health(checks=["artifact_round_trip"]))) == ["artifact_round_trip", "cleanup"]
    assert health(checks=["wrong_host_refused"])["version"] == mlflow.version


def test_authentication_is_off(health, mlflow):
    mlflow.auth = False
    result = health()
    open_doors = {"auth_required", "wrong_password_refused", "default_passwords_refused"}
    assert open_doors <= set(failed(result)) <= open_doors | {"stranger_denied", "reader_denied", "cleanup"}
    assert "--app-name basic-auth" in result["msg"] and "\n" not in result["msg"]


def test_a_shipped_password(health, mlflow):
    mlflow.users["admin"]["password"] = "password1234"
    result = health(password="password1234", checks=["default_passwords_refused"])
    assert failed(result) == ["default_passwords_refused"] and "everybody knows" in result["msg"]
    mlflow.users["boss"] = {"id": 5, "password": "a-good-one-at-last", "is_admin": True, "permissions": []}
    result = health(username="boss", password="a-good-one-at-last", checks=["default_passwords_refused"])
    assert "user 'admin' has a password" in result["msg"]


def test_a_wrong_login_fails_what_needs_it_and_leaves_the_rest(health, mlflow):
    result = health(password="not-the-right-one")
    assert statuses(result)["liveness"] == statuses(result)["auth_required"] == "passed"
    assert set(failed(result)) == NEED_LOGIN
    assert "check username and password, and that what stands in front passes the Authorization" in result["msg"]


def test_the_wrong_version(health, mlflow):
    result = health(version="1.0.0")
    assert (
        failed(result) == ["version"] and f"MLflow {mlflow.version}, not 1.0.0" in result["msg"] and no_traces(mlflow)
    )


def test_a_host_that_is_not_checked(health, http):
    mlflow = Verified(http, "3.17.2")
    mlflow.override[API + "experiments/get"] = lambda request: mlflow.experiments_get(request, {})
    http.behave = lambda request: mlflow.answer(request._replace(headers=request.headers | {"host": "127.0.0.1"}))
    assert failed(health(checks=["wrong_host_refused"])) == ["wrong_host_refused"]


def test_a_proxy_that_sends_to_a_login_page(health, http):
    http.behave = lambda request: Reply(302, b"", {"Location": "https://sso.example.com/"})
    result = health()
    # The check of the Host is skipped, since the version is not known.
    assert set(failed(result)) >= set(ALL) - SKIPPED - {"cleanup", "wrong_host_refused"}
    assert "redirects elsewhere" in result["msg"] and "sso.example.com" in result["msg"]


def test_nobody_listens(health, closed_port):
    started = time.monotonic()
    result = health(tracking_uri=f"http://127.0.0.1:{closed_port}", retry_timeout=1)
    assert failed(result) == ["liveness"] and set(list(statuses(result).values())[1:]) == {"skipped"}
    assert "refused" in result["msg"] and time.monotonic() - started < 5


def test_a_database_that_is_down_does_not_take_the_deadline_once_a_check(health, mlflow):
    down = json_reply({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "database"}, 503)
    mlflow.http.behave = lambda request: Reply(200, b"OK") if request.path == "/health" else down
    started = time.monotonic()
    result = health(retry_timeout=1)
    assert statuses(result)["liveness"] == "passed" and "TEMPORARILY_UNAVAILABLE" in result["msg"]
    assert time.monotonic() - started < 5


def test_waiting_until_it_is_up(health, mlflow, monkeypatch):
    monkeypatch.setattr(mlflow_health_run, "POLL", 0.1)
    up = time.monotonic() + 1
    ready = mlflow.answer

    def start(request):
        left = up - time.monotonic()
        if left > 0.5:
            return Reply(503, b"no targets")
        if left > 0.2:
            return Reply(reset=True)
        return Reply(500, b"no database") if left > 0 and request.path != "/health" else ready(request)

    mlflow.http.behave = start
    result = health(wait_timeout=20, retry_timeout=0)
    assert "failed" not in result and 0.9 <= result["waited"] < 5


def test_waiting_ends_at_the_deadline_and_the_checks_tell_why(health, mlflow):
    mlflow.override["/health"] = Reply(503, b"no targets")
    result = health(wait_timeout=1, retry_timeout=0)
    assert failed(result) == ["liveness"] and 0.9 <= result["waited"] < 4


def test_a_refused_password_is_not_waited_for(health, mlflow):
    assert health(wait_timeout=30, password="not-the-right-one")["waited"] < 3


def test_a_write_that_does_not_come_back(health, mlflow):
    mlflow.override[API + "runs/log-batch"] = json_reply({})
    result = health()
    assert (
        failed(result) == ["tracking_write_read"]
        and "metric, parameter, tag did not come back as written in 3 of 3 reads" in result["msg"]
        and no_traces(mlflow)
    )


def test_a_run_that_a_search_does_not_find(health, mlflow):
    mlflow.override[API + "runs/search"] = json_reply({})
    assert "a search does not find" in health()["msg"]


def test_one_task_with_a_database_of_its_own(health, mlflow):
    http_answer, reads = mlflow.answer, []

    def answer(request):
        if request.path == API + "runs/get":
            reads.append(request)
            if len(reads) == 2:
                return json_reply({"run": {"data": {}}})
        return http_answer(request)

    mlflow.http.behave = answer
    assert "in 1 of 3 reads" in health(checks=["tracking_write_read"])["msg"]
    assert "failed" not in health(checks=["tracking_write_read"], reads=1) and len(reads) == 4


def test_an_artifact_that_comes_back_changed(health, mlflow):
    def spoil(request):
        if request.method == "GET" and not request.query:
            return Reply(200, b"other bytes")
        return None

    http_answer = mlflow.answer
    mlflow.http.behave = lambda request: (
        spoil(request) if request.path.startswith(ARTIFACTS) else None
    ) or http_answer(request)
    result = health()
    assert (
        failed(result) == ["artifact_round_trip"]
        and "70000 bytes were stored, 11 others came back" in result["msg"]
        and no_traces(mlflow)
    )


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_a_bucket_that_refuses(health, mlflow, method):
    http_answer = mlflow.answer
    denied = json_reply({"error_code": "INTERNAL_ERROR", "message": "AccessDenied"}, 500)

    def answer(request):
        whole = request.path.startswith(ARTIFACTS + "/")
        by_admin = request.login == ("admin", "the-admin-has-this-one")
        return denied if whole and by_admin and request.method == method else http_answer(request)

    mlflow.http.behave = answer
    result = health()
    assert (
        failed(result) == (["cleanup"] if method == "DELETE" else ["artifact_round_trip"])
        and "AccessDenied" in result["msg"]
        and "s3:PutObject, s3:GetObject" in result["msg"]
    )


def test_artifacts_that_cannot_be_removed_are_told(health, mlflow):
    http_answer = mlflow.answer
    mlflow.http.behave = lambda request: json_reply({}) if request.method == "DELETE" else http_answer(request)
    assert "artifacts remain in 0/" in health()["msg"]


def test_a_run_that_cannot_be_deleted_is_told(health, mlflow):
    mlflow.override[API + "runs/delete"] = json_reply({})
    assert failed(result := health()) == ["cleanup"] and "still there" in result["msg"]


def test_a_server_that_is_no_proxy_for_artifacts(health, mlflow):
    mlflow.artifact_uri = "s3://bucket/0/{run_id}/artifacts"
    result = health()
    assert failed(result) == ["artifact_round_trip"] and "sends clients to s3:" in result["msg"] and no_traces(mlflow)


def test_an_experiment_that_is_deleted_or_missing(health, mlflow):
    assert "Could not find experiment with name nowhere" in health(experiment_name="nowhere")["msg"]
    mlflow.experiment["lifecycle_stage"] = "deleted"
    result = health()
    assert set(failed(result)) == {"default_experiment", *WRITE}
    assert "experiment 'Default' is deleted" in result["msg"] and mlflow.runs == {}


def test_what_a_killed_check_left_is_removed_and_what_another_works_with_is_not(health, mlflow):
    now = int(time.time() * 1000)
    killed = mlflow.add_run(
        [{"key": "mlflow_health", "value": mlflow_traces.mark(socket.gethostname(), os.getpid(), "old")}], now
    )["info"]
    other = mlflow.add_run([{"key": "mlflow_health", "value": mlflow_traces.mark("another-host", 7, "new")}], now)[
        "info"
    ]
    mlflow.add_run([], now)
    for info in (killed, other):
        mlflow.artifacts[f"0/{info['run_id']}/artifacts/mlflow-health.bin"] = b"x"
    result = health()
    assert result["checks"][-1]["message"].endswith("and 1 left behind by checks that were killed")
    assert list(mlflow.artifacts) == [f"0/{other['run_id']}/artifacts/mlflow-health.bin"]
    assert [run["info"]["lifecycle_stage"] for run in mlflow.runs.values()] == [
        "deleted",
        "active",
        "active",
        "deleted",
    ]


def test_a_check_that_is_interrupted_cleans_up_too(connection, mlflow, monkeypatch):
    client = mlflow_health_run.Client(dict(connection, validate_certs=True, ca_path=None))
    health = mlflow_health_run.HealthRun(client, mlflow_health_run.Settings(artifact_size=100))

    def interrupt(written, found):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow_health_tracking.mlflow_checks, "difference", interrupt)
    with pytest.raises(KeyboardInterrupt):
        health.run(["tracking_write_read"])
    assert len(mlflow.runs) == 1 and no_traces(mlflow)


def test_a_run_made_twice_because_an_answer_was_lost_leaves_nothing(health, mlflow, quick):
    def lose(request):
        del mlflow.override[API + "runs/create"]
        mlflow.answer(request)
        return Reply(504, b"gateway timeout")

    mlflow.override[API + "runs/create"] = lose
    assert "failed" not in health() and len(mlflow.runs) == 2 and no_traces(mlflow)


def test_processes():
    assert mlflow_health_cleanup.process_runs(os.getpid()) and mlflow_health_cleanup.process_runs(1)
    assert not mlflow_health_cleanup.process_runs(2**22 + 5)
    assert mlflow_health_cleanup.process_runs(2**80)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"artifact_size": 0}, "artifact_size: 0 bytes"),
        ({"artifact_size": 2**40}, "artifact_size"),
        ({"wait_timeout": -1}, "wait_timeout: -1 seconds"),
        ({"reads": 0}, "reads: 0 reads; give 1 to 100"),
        ({"multipart_size": 5 * 2**20}, "multipart_size: 5242880 bytes; give 5242881 to"),
        ({"certificate_days": -1}, "certificate_days"),
        ({"http_port": 0}, "http_port"),
        ({"warn_ms": 0}, "warn_ms: 0 is no number of milliseconds"),
        ({"latency_budgets": {"everything": {"fail_ms": 1}}}, "latency_budgets.everything: there is no such check"),
        ({"junit_path": "/no/such/folder/health.xml"}, "the folder /no/such/folder does not exist"),
        ({"checks": []}, "would verify nothing"),
        ({"tracking_uri": "http://admin:pw@h"}, "give them as username and password"),
        ({"checks": ["everything"]}, "value of checks must be one or more of"),
    ],
)
def test_bad_options(run_module, connection, options, reason):
    assert reason in run_module(mlflow_health, connection | options)["msg"]


def test_a_login_beyond_ascii_that_is_refused_at_the_artifacts(health, mlflow):
    mlflow.users["admin"]["password"] = "beyond-ascii-ü"
    http_answer = mlflow.answer
    mlflow.http.behave = lambda request: Reply(401) if request.method == "PUT" else http_answer(request)
    for checks in (["version", "artifact_round_trip"], ["artifact_round_trip"]):
        message = health(password="beyond-ascii-ü", checks=checks)["msg"]
        assert ("only ASCII names" if mlflow.new else "refuses this user name and password") in message
    mlflow.users["admin"]["password"] = "the-admin-has-this-one"
    assert "refuses this user name and password" in health(checks=["artifact_round_trip"])["msg"]


def test_a_proxy_that_limits_uploads(health, mlflow):
    http_answer = mlflow.answer
    too_large = Reply(413, b"<html><title>413 Request Entity Too Large</title>")
    mlflow.http.behave = lambda request: too_large if len(request.data) > 9999 else http_answer(request)
    result = health()
    assert failed(result) == ["artifact_round_trip"] and "client_max_body_size" in result["msg"] and no_traces(mlflow)


def test_a_page_for_everything_accuses_nobody_of_open_doors(health, mlflow):
    page = b"<!doctype html><html><title>Sign in to Example Corp</title></html>"
    mlflow.http.behave = lambda request: Reply(200, page, {"Content-Type": "text/html"})
    result = health()
    assert set(failed(result)) >= set(ALL) - SKIPPED - {"cleanup", "wrong_host_refused"}
    for words in ("authentication is off", "is accepted", "shipped with and"):
        assert words not in result["msg"]
    for one in result["checks"]:
        assert one["status"] != "failed" or 'titled "Sign in to Example Corp"' in one["message"], one


@pytest.mark.parametrize(
    "odd", [{}, {"run": 5}, {"run": {}}, {"experiment": []}, {"runs": [5]}, {"runs": 5}, [], 5, None]
)
@pytest.mark.parametrize("path", ["experiments/get-by-name", "runs/create", "runs/get", "runs/search"])
def test_json_of_another_shape_is_a_failed_check(health, http, monkeypatch, path, odd):
    mlflow = Verified(http)
    monkeypatch.setattr(mlflow_permissions_api, "dialect", lambda client: Dialect(mlflow))
    mlflow.override[API + path] = json_reply(odd)
    result = health(checks=["tracking_write_read"], retry_timeout=0)
    assert "tracking_write_read" in failed(result) and "\n" not in result["msg"]


def test_a_wrong_prefix_is_told_from_a_wrong_password(health, mlflow):
    result = health(tracking_uri=f"{mlflow.http.url}/mlflow", checks=["liveness", "admin_login"])
    assert "HTTP 404" in result["msg"] and result["msg"].count("check the path prefix") == 2
