# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what, the web pages, uploads in parts, and what is removed in the end."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_health_access,
    mlflow_health_multipart,
    mlflow_health_ui,
    mlflow_permissions_api,
    mlflow_traces,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health
from hypothesis import given
from hypothesis import strategies as st

from .conftest import ARTIFACTS, Reply, json_reply, refusal
from .health_server import API, MPU, Dialect, Verified

ACCESS = ["stranger_denied", "reader_denied"]
OK, FORBIDDEN = Answer(200, {}, b"{}"), Answer(403, {}, b"Permission denied")
HOST = Answer(403, {}, b"Invalid Host header - possible DNS rebinding attack detected")
PAGE = Answer(403, {}, b"<!doctype html><title>Blocked</title>")
LOGIN = Answer(401, {}, b"")


@pytest.fixture(params=["2.18.0", "3.17.2"])
def mlflow(request, http, monkeypatch):
    server = Verified(http, request.param)
    monkeypatch.setattr(mlflow_permissions_api, "dialect", lambda client: Dialect(server))
    return server


@pytest.fixture
def check(run_module, connection, mlflow):
    def run(checks, **options):
        result = run_module(mlflow_health, connection | {"checks": checks, "retry_timeout": 0} | options)
        assert not result.get("changed") and connection["password"] not in json.dumps(result)
        return {one["name"]: one for one in result["checks"]}

    return run


def statuses(found):
    return {name: one["status"] for name, one in found.items()}


def left(mlflow):
    active = [run for run in mlflow.runs.values() if run["info"]["lifecycle_stage"] == "active"]
    return active, mlflow.artifacts, mlflow.uploads, [name for name in mlflow.users if name != "admin"]


NOTHING = ([], {}, {}, [])

# Users


@pytest.mark.parametrize(
    ("expected", "read", "write", "status", "message"),
    [
        ("NO_PERMISSIONS", FORBIDDEN, None, "passed", "is denied a read"),
        ("NO_PERMISSIONS", OK, FORBIDDEN, "failed", "default_permission is READ, not NO_PERMISSIONS"),
        ("NO_PERMISSIONS", OK, OK, "failed", "may read and write: the server's default_permission is EDIT or more"),
        ("READ", OK, FORBIDDEN, "passed", "may read and is denied a write, as was expected"),
        ("READ", FORBIDDEN, None, "failed", "may not even read"),
        ("READ", OK, OK, "failed", "EDIT or more, not READ"),
        ("EDIT", OK, OK, "passed", "may read and write, as was expected"),
        ("EDIT", OK, FORBIDDEN, "failed", "is READ, not EDIT"),
        ("NO_PERMISSIONS", LOGIN, None, "failed", "cannot log in"),
        ("NO_PERMISSIONS", HOST, None, "failed", "Invalid Host header"),
        ("NO_PERMISSIONS", PAGE, None, "failed", 'titled "Blocked"'),
        ("READ", OK, PAGE, "failed", 'titled "Blocked"'),
    ],
)
def test_strangers_are_judged(expected, read, write, status, message):
    verdict = mlflow_health_access.stranger(expected, read, write)
    assert verdict.status == status and message in verdict.message and bool(verdict.remedy) == (status == "failed")


@pytest.mark.parametrize(
    ("read", "writes", "status", "message"),
    [
        (OK, {"write": FORBIDDEN}, "passed", "may read and is denied a write"),
        (OK, {"write": OK, "store": FORBIDDEN}, "failed", "may write"),
        (OK, {"write": OK, "store": OK}, "failed", "may write and store"),
        (FORBIDDEN, {"write": FORBIDDEN}, "failed", "is denied a read"),
        (LOGIN, {"write": FORBIDDEN}, "failed", "cannot log in to read"),
        (OK, {"write": FORBIDDEN, "store": PAGE}, "failed", 'titled "Blocked"'),
    ],
)
def test_readers_are_judged(read, writes, status, message):
    verdict = mlflow_health_access.reader(read, writes)
    assert verdict.status == status and message in verdict.message and bool(verdict.remedy) == (status == "failed")


@given(status=st.integers(201, 599).filter(lambda number: number != 403), data=st.binary(max_size=50))
def test_an_odd_answer_never_counts_as_denied(status, data):
    odd = Answer(status, {}, data)
    assert mlflow_health_access.stranger("NO_PERMISSIONS", odd, None).status == "failed"
    assert mlflow_health_access.reader(OK, {"write": odd}).status == "failed"


def test_one_temporary_user_serves_both_and_goes(check, mlflow):
    found = check(ACCESS)
    assert statuses(found) == dict.fromkeys([*ACCESS, "cleanup"], "passed") and left(mlflow) == NOTHING
    created = [one.json for one in mlflow.http.requests if one.path == API + "users/create"]
    assert len(created) == 1 and created[0]["username"].startswith("mlflow-health-")
    assert len(created[0]["password"]) >= 20 and created[0]["password"].isascii()
    assert created[0]["password"] not in json.dumps(found)
    assert found["cleanup"]["message"].startswith("the run and the temporary user are deleted")


def test_a_server_where_everybody_may_write(check, mlflow):
    mlflow.default_permission = "EDIT"
    found = check(ACCESS)
    assert found["stranger_denied"]["status"] == "failed" and "EDIT or more" in found["stranger_denied"]["message"]
    # Up to 3.12 a permission given to a user counts instead of the default, from 3.13 on the default is the least.
    assert found["reader_denied"]["status"] == ("failed" if mlflow.new else "passed")
    assert left(mlflow) == NOTHING
    meant = check(ACCESS, expected_default_permission="EDIT")
    assert statuses(meant) == {"stranger_denied": "passed", "reader_denied": "skipped", "cleanup": "passed"}
    assert check(ACCESS, expected_default_permission="MANAGE").keys() == meant.keys()
    assert check(["reader_denied"], expected_default_permission="EDIT").keys() == {"reader_denied"}


def test_a_server_where_everybody_may_read(check, mlflow):
    mlflow.default_permission = "READ"
    assert "default_permission is READ" in check(ACCESS)["stranger_denied"]["message"]
    assert "failed" not in statuses(check(ACCESS, expected_default_permission="READ")).values()


def test_who_is_no_admin_is_told(check, mlflow):
    mlflow.override[API + "users/create"] = Reply(403, b"Permission denied")
    found = check(ACCESS)
    assert statuses(found) == {"stranger_denied": "failed", "reader_denied": "failed", "cleanup": "passed"}
    assert "log in as an admin" in found["stranger_denied"]["remedy"] and left(mlflow) == NOTHING


def test_a_user_that_was_made_although_the_answer_was_lost(check, mlflow, quick):
    def lose(request):
        del mlflow.override[API + "users/create"]
        mlflow.answer(request)
        return Reply(504, b"gateway timeout")

    mlflow.override[API + "users/create"] = lose
    assert set(statuses(check(ACCESS, retry_timeout=5)).values()) == {"passed"} and left(mlflow) == NOTHING


def test_a_user_that_cannot_be_made(check, mlflow):
    mlflow.override[API + "users/create"] = refusal(500, "INTERNAL_ERROR", "no")
    assert check(ACCESS)["stranger_denied"]["message"].endswith("INTERNAL_ERROR: no") and left(mlflow) == NOTHING


def test_artifacts_that_do_not_pass_the_server_are_not_tried_by_the_reader(check, mlflow):
    mlflow.artifact_uri = "s3://bucket/{run_id}/artifacts"
    assert "failed" not in statuses(check(ACCESS)).values()


# What killed verifications left


def test_users_and_uploads_of_killed_checks_go_with_their_run(check, mlflow):
    now = int(time.time() * 1000)
    marks = {
        "killed": mlflow_traces.mark(socket.gethostname(), os.getpid(), "0065a0b1-0123456789abcdef"),
        "at work": mlflow_traces.mark("another-host", 7, "0065a0b2-0123456789abcdef"),
    }
    for number, mark in enumerate(marks.values()):
        run = mlflow.add_run([{"key": mlflow_traces.TAG, "value": mark}], now)
        folder = f"0/{run['info']['run_id']}/artifacts"
        run["data"]["tags"].append({"key": mlflow_traces.UPLOAD_TAG, "value": f"{folder} upload-{number}"})
        mlflow.uploads[f"upload-{number}"] = {1: b"x"}
        user = {"id": 50 + number, "password": "p", "is_admin": False, "permissions": [("e", "0")]}
        mlflow.users[mlflow_traces.user_of(mark)] = user
    found = check(["tracking_write_read"])
    assert found["cleanup"]["message"].endswith("and 1 left behind by checks that were killed")
    active, _artifacts, uploads, users = left(mlflow)
    assert [mlflow_traces.tag_of(run) for run in active] == [marks["at work"]]
    assert list(uploads) == ["upload-1"] and users == ["mlflow-health-0065a0b2-0123456789abcdef"]


def test_a_tag_that_names_an_upload_elsewhere_is_not_followed(check, mlflow):
    mark = mlflow_traces.mark(socket.gethostname(), os.getpid(), "old")
    tags = [{"key": mlflow_traces.TAG, "value": mark}, {"key": mlflow_traces.UPLOAD_TAG, "value": "0/other upload-0"}]
    mlflow.add_run(tags, int(time.time() * 1000))
    mlflow.uploads["upload-0"] = {}
    assert check(["tracking_write_read"])["cleanup"]["status"] == "passed" and list(mlflow.uploads) == ["upload-0"]


def test_old_users_whose_run_is_gone_are_removed_where_the_server_lists_users(check, mlflow):
    old = f"mlflow-health-{int(time.time()) - 1000:08x}-0123456789abcdef"
    young = f"mlflow-health-{int(time.time()):08x}-0123456789abcdef"
    for name in (old, young, "mlflow-health-ada"):
        mlflow.users[name] = {"id": 9, "password": "p", "is_admin": False, "permissions": []}
    found = check(ACCESS)
    assert (old in mlflow.users) is not mlflow.new and {young, "mlflow-health-ada"} <= mlflow.users.keys()
    assert ("1 left behind" in found["cleanup"]["message"]) is mlflow.new


# Web pages


def test_the_pages_are_looked_at(check, mlflow):
    found = check(["ui"])["ui"]
    assert found["status"] == "passed" and found["message"] == "the first page and main.2.css (7 bytes) are served"


def html(body):
    return Reply(200, b"<!doctype html><html>" + body, {"Content-Type": "text/html"})


CSS = "/static-files/static/css/main.2.css"


@pytest.mark.parametrize(
    ("path", "reply", "message", "remedy"),
    [
        ("/", Reply(500, b"Internal Server Error"), "the first page expected, got HTTP 500", "server's log"),
        ("/", Reply(200, b"{}", {"Content-Type": "application/json"}), "no HTML (application/json)", "login page"),
        ("/", html(b"<title>Sign in</title>"), 'titled "Sign in"', "login page"),
        ("/", html(b'<script></script><script src="https://cdn.x/static-files/a">'), "from https://cdn.x", "rewrites"),
        ("/", Reply(302, b"", {"Location": "https://sso.example.com/"}), "sso.example.com", "check scheme"),
        (CSS, Reply(404, b"<html>"), "main.2.css expected, got HTTP 404", "static-files/ included"),
        (CSS, Reply(200, b"", {"Content-Type": "text/css"}), "main.2.css is empty", "static-files/ included"),
        (CSS, html(b"hello"), "comes as text/html, not as css", "static-files/ included"),
        (CSS, Reply(200, b"body"), "comes as nothing, not as css", "static-files/ included"),
    ],
)
def test_pages_that_are_wrong(check, mlflow, path, reply, message, remedy):
    mlflow.ui[path] = reply
    found = check(["ui"])["ui"]
    assert found["status"] == "failed" and message in found["message"] and remedy in found["remedy"]


def test_a_script_will_do_where_there_is_no_style_sheet(check, mlflow):
    icon, script = b'<link rel="icon" href="static-files/i.ico">', b'<script src="/static-files/static/js/main.1.js">'
    mlflow.ui["/"] = html(icon + script)
    assert check(["ui"])["ui"]["message"].startswith("the first page and main.1.js (2 bytes)")


def test_pages_below_a_prefix(check, mlflow):
    answer = mlflow.answer
    mlflow.http.behave = lambda request: answer(request._replace(path=request.path.removeprefix("/prefix")))
    uri = f"{mlflow.http.url}/prefix"
    assert check(["ui"], tracking_uri=uri)["ui"]["status"] == "passed"
    assert [one.path for one in mlflow.http.requests] == ["/prefix/", f"/prefix{CSS}"]
    mlflow.ui["/"] = html(b'<link rel="stylesheet" href="/static-files/static/css/main.2.css">')
    found = check(["ui"], tracking_uri=uri)["ui"]
    assert found["status"] == "failed" and "outside the prefix" in found["message"]


@given(st.text())
def test_any_page_can_be_read(page):
    assert mlflow_health_ui.static_file(page) is None or "static-files/" in page


# Uploads in parts

PARTS = ["artifact_multipart"]
SIZE = 5 * 2**20 + 10


def test_an_artifact_is_uploaded_in_parts(check, mlflow):
    found = check(PARTS, multipart_size=SIZE)
    assert statuses(found) == {"artifact_multipart": "passed", "cleanup": "passed"} and left(mlflow) == NOTHING
    assert f"{SIZE} bytes came back with the same SHA-256 after an upload in 2 parts" in json.dumps(found)
    sent = [len(one.data) for one in mlflow.http.requests if one.path.startswith("/s3/")]
    assert sent == [5 * 2**20, 10]


def test_a_server_that_takes_no_parts(check, mlflow):
    mlflow.offers_parts = False
    found = check(PARTS)
    assert found["artifact_multipart"]["status"] == "skipped" and left(mlflow) == NOTHING


def test_parts_are_not_sent_unless_asked_for(check, mlflow):
    found = check(PARTS, multipart=False)
    assert statuses(found) == {"artifact_multipart": "skipped"} and mlflow.runs == {}


def create(**answer):
    return json_reply({"upload_id": "u", **answer})


@pytest.mark.parametrize(
    ("act", "reply", "message", "remedy"),
    [
        ("create", refusal(500, "INTERNAL_ERROR", "AccessDenied"), "AccessDenied", "s3:PutObject"),
        ("create", create(), "signs no address", "between"),
        ("create", create(credentials=[1, 2]), "signs no address", "between"),
        ("create", create(credentials=[{"url": "http://127.0.0.1:1/x?secret"}]), "signs no address", "between"),
        ("create", create(credentials=[{"url": "ftp://h/x?secret"}] * 2), "address that is none", "MLFLOW_S3_ENDPOINT"),
        (
            "create",
            create(credentials=[{"url": "http://127.0.0.1:1/x?secret"}] * 2),
            "PUT http://127.0.0.1:1/x: the connection is refused",
            "let clients reach 127.0.0.1:1",
        ),
        ("complete", refusal(500, "INTERNAL_ERROR", "EntityTooSmall"), "EntityTooSmall", "s3:PutObject"),
    ],
)
def test_uploads_that_fail(check, mlflow, act, reply, message, remedy):
    answer = mlflow.answer
    mlflow.http.behave = lambda request: reply if request.path.startswith(MPU + act) else answer(request)
    found = check(PARTS, multipart_size=SIZE)
    assert statuses(found) == {"artifact_multipart": "failed", "cleanup": "passed"}
    told = found["artifact_multipart"]
    assert message in told["message"] and remedy in told["remedy"] and "secret" not in json.dumps(found)
    assert left(mlflow) == NOTHING


@pytest.mark.parametrize(
    ("reply", "message"),
    [(Reply(403, b"<Error><Code>AccessDenied</Code></Error>"), "HTTP 403: <Error>"), (Reply(200), "no ETag")],
)
def test_parts_that_are_refused_are_thrown_away(check, mlflow, reply, message):
    mlflow.override["/s3/x"] = reply
    found = check(PARTS, multipart_size=SIZE)
    assert message in found["artifact_multipart"]["message"] and left(mlflow) == NOTHING


def test_parts_that_come_back_changed(check, mlflow):
    answer = mlflow.answer

    def spoil(request):
        stored = request.method == "GET" and request.path.startswith(f"{ARTIFACTS}/")
        return Reply(200, b"other") if stored else answer(request)

    mlflow.http.behave = spoil
    found = check(PARTS, multipart_size=SIZE)
    assert "others came back" in found["artifact_multipart"]["message"] and left(mlflow) == NOTHING


def test_the_storage_is_trusted_by_the_system_and_by_ca_path(connection, tmp_path):
    from tests.certificates import Authority

    path = Authority(tmp_path).path
    client = mlflow_health_multipart.Client(connection | {"validate_certs": True, "ca_path": str(path)})
    storage = mlflow_health_multipart.Storage(client, "https://bucket.example.com/key?signature")
    assert storage.base == "https://bucket.example.com" and client.base == connection["tracking_uri"]
    subjects = json.dumps(storage._tls().get_ca_certs())
    assert "Test CA" in subjects


def test_a_server_whose_version_nobody_knows(check, mlflow, monkeypatch):
    def unknown(client):
        raise ValueError("tracking_uri: it does not tell a version")

    monkeypatch.setattr(mlflow_permissions_api, "dialect", unknown)
    found = check(ACCESS)
    assert statuses(found) == {"stranger_denied": "passed", "reader_denied": "failed", "cleanup": "failed"}
    assert "does not tell a version" in found["reader_denied"]["message"] and left(mlflow) == NOTHING
