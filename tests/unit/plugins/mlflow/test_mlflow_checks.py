# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How answers are judged, and which runs a killed check left behind."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_checks, mlflow_traces
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer
from hypothesis import given
from hypothesis import strategies as st

HOST_REFUSED = b"Invalid Host header - possible DNS rebinding attack detected"
HTML = b"<!doctype html><html><title>Sign in</title></html>"
BASIC = {"www-authenticate": 'Basic realm="mlflow"'}


def answer(status=200, data=b"", **headers):
    return Answer(status, headers, data if isinstance(data, bytes) else json.dumps(data).encode())


JUDGED = [
    (mlflow_checks.liveness(answer(200, b"OK")), "passed", "alive"),
    (mlflow_checks.liveness(answer(200, b"hello")), "failed", "not MLflow's"),
    (mlflow_checks.liveness(answer(200, HTML)), "failed", 'titled "Sign in" instead of JSON'),
    (mlflow_checks.liveness(answer(401), answer(404, HTML)), "failed", "not at this path (HTTP 404"),
    (mlflow_checks.liveness(answer(401), answer(401)), "failed", "asks for a password"),
    (mlflow_checks.liveness(answer(401)), "failed", "got HTTP 401"),
    (mlflow_checks.auth_required(answer(200, HTML)), "failed", "401 expected, got HTTP 200: an HTML page"),
    (mlflow_checks.wrong_password(answer(200, HTML)), "failed", "401 expected, got HTTP 200: an HTML page"),
    (mlflow_checks.shipped_password("admin", answer(200, HTML)), "failed", "401 expected, got HTTP 200: an HTML page"),
    (mlflow_checks.admin_login(answer(404, HTML)), "failed", "got HTTP 404: an HTML page"),
    (
        mlflow_checks.liveness(answer(404, b"<html><title>Nope</title>")),
        "failed",
        'HTTP 404: an HTML page titled "Nope"',
    ),
    (mlflow_checks.liveness(answer(301, b"", location="https://h/")), "failed", "redirects elsewhere"),
    (mlflow_checks.auth_required(Answer(401, BASIC, b"")), "passed", "refuses"),
    (mlflow_checks.auth_required(answer(401)), "failed", "without WWW-Authenticate"),
    (mlflow_checks.auth_required(answer(200, {})), "failed", "authentication is off"),
    (mlflow_checks.auth_required(answer(403, HOST_REFUSED)), "failed", "Invalid Host header"),
    (mlflow_checks.wrong_password(answer(401)), "passed", "wrong password"),
    (mlflow_checks.wrong_password(answer(200, {})), "failed", "accepted"),
    (mlflow_checks.wrong_password(answer(503, b"busy")), "failed", "401 expected, got HTTP 503: busy"),
    (mlflow_checks.shipped_password("admin", answer(401)), "passed", "refused"),
    (mlflow_checks.shipped_password("admin", answer(200, {})), "failed", "user 'admin' has a password"),
    (mlflow_checks.shipped_password("admin", answer(404, b"")), "failed", "HTTP 404"),
    (mlflow_checks.admin_login(answer(200, {"experiments": []})), "passed", "accepted"),
    (mlflow_checks.admin_login(answer(200, b"<html>login")), "failed", "experiments in JSON expected"),
    (mlflow_checks.admin_login(answer(401)), "failed", "experiments in JSON expected, got HTTP 401"),
    (mlflow_checks.version(answer(200, b"3.17.2"), "3.17.2"), "passed", "MLflow 3.17.2"),
    (mlflow_checks.version(answer(200, b"3.17.2"), None), "passed", "no version was asked for"),
    (mlflow_checks.version(answer(200, b"3.17.2"), "3.17.1"), "failed", "3.17.2, not 3.17.1"),
    (mlflow_checks.version(answer(200, b"<html>"), "3.17.1"), "failed", "a version from /version expected"),
    (mlflow_checks.wrong_host(answer(403, HOST_REFUSED), None), "passed", "MLflow refuses"),
    (mlflow_checks.wrong_host(answer(200, {}), "3.17.2"), "failed", "DNS rebinding"),
    (
        mlflow_checks.wrong_host(answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}), "3.17.2"),
        "failed",
        "DNS rebinding",
    ),
    (mlflow_checks.wrong_host(answer(404, b"no such site"), "3.17.2"), "passed", "stands in front"),
    (mlflow_checks.wrong_host(answer(200, {}), "2.18.0"), "skipped", "does not check Host"),
    (mlflow_checks.wrong_host(answer(401), "3.17.2"), "skipped", "credentials"),
    (mlflow_checks.wrong_host(answer(200, {}), None), "skipped", "version is unknown"),
    (
        mlflow_checks.default_experiment(answer(200, {"experiment": {"name": "Default", "lifecycle_stage": "active"}})),
        "passed",
        "exists",
    ),
    (
        mlflow_checks.default_experiment(answer(200, {"experiment": {"name": "D", "lifecycle_stage": "deleted"}})),
        "failed",
        "is deleted",
    ),
    (
        mlflow_checks.default_experiment(answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})),
        "failed",
        "RESOURCE_DOES_NOT_EXIST",
    ),
    (mlflow_checks.default_experiment(answer(200, [1])), "failed", "experiment 0 expected"),
]


@pytest.mark.parametrize(("verdict", "status", "message"), JUDGED)
def test_each_answer_is_judged(verdict, status, message):
    assert verdict.status == status and message in verdict.message
    assert bool(verdict.remedy) == (status == "failed")


@given(
    status=st.integers(200, 599).filter(lambda number: number not in (200, 401, 403, 400, 404, 421)),
    data=st.binary(max_size=100),
    headers=st.dictionaries(st.sampled_from(["location", "www-authenticate"]), st.text()),
)
def test_an_answer_that_nobody_expects_never_passes(status, data, headers):
    odd = Answer(status, headers, data)
    judges = [
        mlflow_checks.liveness(odd),
        mlflow_checks.auth_required(odd),
        mlflow_checks.wrong_password(odd),
        mlflow_checks.shipped_password("admin", odd),
        mlflow_checks.admin_login(odd),
        mlflow_checks.version(odd, None),
        mlflow_checks.default_experiment(odd),
        mlflow_checks.wrong_host(odd, "3.17.2"),
    ]
    assert {verdict.status for verdict in judges} == {"failed"}


def test_what_differs_is_named():
    assert mlflow_checks.difference({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}) == ""
    assert mlflow_checks.difference({"a": 1, "b": 2}, {"a": 2}) == "a, b did not come back as written"


def test_the_summary_is_one_line_with_every_remedy():
    results = [
        mlflow_checks.Result("liveness", "passed", 1.0, "fine", ""),
        mlflow_checks.Result("version", "failed", 1.0, "old", "deploy"),
        mlflow_checks.Result("cleanup", "failed", 1.0, "left", ""),
    ]
    assert (
        mlflow_checks.summary("http://h", results)
        == "MLflow at http://h fails 2 of 3 checks: version: old (deploy); cleanup: left"
    )


def test_nothing_failed():
    assert mlflow_checks.summary("http://h", [mlflow_checks.Result("ui", "warned", 1.0, "slow", "wait")]) == ""


NOW = 10_000_000_000
MINE = "host-a 100 aaaa"


def run(owner, age=1000):
    return {
        "info": {"run_id": "1", "start_time": NOW - age},
        "data": {"tags": [{"key": "x", "value": "y"}, {"key": "mlflow_health", "value": owner}]},
    }


@pytest.mark.parametrize(
    ("owner", "age", "alive", "left"),
    [
        ("host-a 100 bbbb", 1000, True, True),
        ("host-a 200 bbbb", 1000, False, True),
        ("host-a 200 bbbb", 1000, True, False),
        ("host-b 100 bbbb", 1000, False, False),
        ("host-b 100 bbbb", mlflow_traces.LONGEST_CHECK + 1, True, True),
        ("something else", 1000, False, False),
        ("host-a pid x", 1000, False, False),
    ],
)
def test_only_abandoned_runs_are_taken_away(owner, age, alive, left):
    assert mlflow_traces.is_left_behind(run(owner, age), MINE, NOW, lambda pid: alive) is left


@given(host=st.text())
def test_a_mark_needs_no_quoting(host):
    mark = mlflow_traces.mark(host, 1, "ab")
    assert mark.isascii() and mark.isprintable() and len(mark.split(" ")) == 3 and "'" not in mark and "%" not in mark


def test_a_run_without_the_mark():
    assert mlflow_traces.tag_of({"data": {}}) == ""
    assert mlflow_traces.user_of("") is None and mlflow_traces.user_of("host 1 ../../x") is None


def test_the_mark_tells_the_user_and_the_user_its_age():
    nonce = mlflow_traces.nonce(NOW / 1000, "0123456789abcdef")
    username = mlflow_traces.user_of(mlflow_traces.mark("h", 1, nonce))
    assert username == "mlflow-health-00989680-0123456789abcdef" and ":" not in username
    assert not mlflow_traces.is_old_user(username, NOW + mlflow_traces.LONGEST_CHECK)
    assert mlflow_traces.is_old_user(username, NOW + mlflow_traces.LONGEST_CHECK + 1)


@pytest.mark.parametrize(
    "username", ["mlflow-health", "mlflow-health-", "mlflow-health-ada", "00989680-0123456789abcdef", "admin"]
)
def test_users_of_others_are_never_taken_for_its_own(username):
    assert not mlflow_traces.is_old_user(username, 2**60)


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("mlflow-artifacts:/0/abc/artifacts", "0/abc/artifacts"),
        ("mlflow-artifacts://host:5000/0/abc/artifacts", "0/abc/artifacts"),
        ("http://h/api/2.0/mlflow-artifacts/artifacts/0/abc/artifacts", "0/abc/artifacts"),
        ("http://h/elsewhere/0", None),
        ("s3://bucket/prefix/0/abc/artifacts", None),
        ("/mlruns/0/abc/artifacts", None),
        ("mlflow-artifacts:/", None),
        ("", None),
    ],
)
def test_where_the_artifacts_are(uri, root):
    assert mlflow_traces.artifact_root(uri) == root


@pytest.mark.parametrize(
    ("root", "run_id", "folder"),
    [
        ("0/abc/artifacts", "abc", "0/abc"),
        ("abc/artifacts", "abc", "abc"),
        ("0/shared/artifacts", "abc", "0/shared/artifacts"),
        ("x", "abc", "x"),
    ],
)
def test_never_more_than_the_runs_own_folder_is_removed(root, run_id, folder):
    assert mlflow_traces.folder_to_remove(root, run_id) == folder
