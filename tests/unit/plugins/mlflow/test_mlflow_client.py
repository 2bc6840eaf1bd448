# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a real HTTP server that behaves badly in every way it can."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.error

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client, Login
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.certificates import Authority

from .conftest import Reply, json_reply

GOOD = json_reply({"ok": 1})
BUSY = Reply(503, b"<html><h1>503 Service Temporarily Unavailable</h1>")


@pytest.fixture
def client(connection):
    return Client(dict(connection, validate_certs=True, ca_path=None))


def make(connection, **more):
    return Client(dict(connection, validate_certs=True, ca_path=None) | more)


def test_an_answer_is_read_and_the_request_is_what_mlflow_expects(client, http):
    http.replies = [GOOD]
    assert client.call("POST", "users/create", body={"username": "ü"}) == {"ok": 1}
    (request,) = http.requests
    assert (request.method, request.path) == ("POST", "/api/2.0/mlflow/users/create")
    assert request.headers["content-type"] == "application/json" and request.json == {"username": "ü"}
    assert request.login == ("admin", "the-admin-has-this-one")


def test_a_prefix_stands_before_every_path(connection, http):
    http.replies = [GOOD]
    make(connection, tracking_uri=http.url + "/team/").call("GET", "users/get", query={"username": "a&b=c/ü"})
    assert http.requests[0].path == "/team/api/2.0/mlflow/users/get" and http.requests[0].query == {
        "username": "a&b=c/ü"
    }


@given(
    name=st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters=":"), min_size=1, max_size=20
    ),
    password=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_login_arrives_as_it_was_given(connection, http, name, password):
    http.replies = [GOOD]
    make(connection, username=name, password=password).call("GET", "users/get", query={"username": name})
    assert http.requests[-1].login == (name, password) and http.requests[-1].query == {"username": name}


def test_without_a_login_nothing_is_sent_not_even_from_netrc(client, http, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login admin password from-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    http.replies = [GOOD]
    client.send("GET", "/version")
    assert "authorization" not in http.requests[0].headers


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_failure_is_ridden_out(client, http, quick, status):
    http.replies = [Reply(status, b"busy"), Reply(status, b"busy"), GOOD]
    assert client.call("GET", "x") == {"ok": 1}
    assert len(quick) == 2 and quick[0] < quick[1] * 2


def test_what_could_be_done_twice_is_not_sent_again(client, http, quick):
    http.replies = [BUSY, GOOD]
    with pytest.raises(MlflowError, match="HTTP 503: an HTML page titled"):
        client.call("POST", "users/create", body={})
    assert len(http.requests) == 1 and quick == []


def test_unless_the_caller_says_it_is_safe_or_the_server_did_nothing(client, http, quick):
    http.replies = [BUSY, GOOD, Reply(429, b""), GOOD]
    assert client.call("POST", "experiments/search", body={}, repeatable=True) == {"ok": 1}
    assert client.call("POST", "users/create", body={}) == {"ok": 1}


def test_retry_after_is_honoured(client, http, quick):
    http.replies = [Reply(503, b"", {"Retry-After": "1"}), GOOD]
    client.call("GET", "x")
    assert 1.0 <= quick[0] < 1.5


def test_a_retry_after_beyond_the_deadline_ends_it(client, http, quick):
    http.replies = [Reply(503, b"", {"Retry-After": "60"}), GOOD]
    assert client.send("GET", "/x").status == 503
    assert quick == []


def test_the_deadline_is_kept(connection, http):
    http.behave = lambda request: BUSY
    started = time.monotonic()
    assert make(connection, retry_timeout=1).send("GET", "/x").status == 503
    assert time.monotonic() - started < 1.5 and len(http.requests) >= 2


def test_an_outer_deadline_wins(client, http):
    http.behave = lambda request: BUSY
    client.until = time.monotonic()
    assert client.send("GET", "/x").status == 503
    assert len(http.requests) == 1


def test_nobody_listening(connection, closed_port, quick):
    client = make(connection, tracking_uri=f"http://127.0.0.1:{closed_port}", retry_timeout=1)
    with pytest.raises(MlflowError, match=r"the connection is refused \(\d+ tries\)") as caught:
        client.call("POST", "users/create", body={})
    assert caught.value.status is None and caught.value.kind == "refused" and len(quick) >= 2


def test_a_host_that_does_not_exist(connection):
    client = make(connection, tracking_uri="http://nowhere.invalid", retry_timeout=0)
    with pytest.raises(MlflowError, match="does not resolve") as caught:
        client.send("GET", "/x")
    assert caught.value.kind == "name"


def test_a_cut_connection_is_tried_again_when_that_is_safe(client, http, quick):
    http.replies = [Reply(reset=True), GOOD]
    assert client.call("GET", "x") == {"ok": 1}
    http.replies = [Reply(reset=True), GOOD]
    with pytest.raises(MlflowError) as caught:
        client.call("POST", "x", body={})
    assert caught.value.kind == "connection"


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_that_breaks_off_is_no_answer(connection, http, status):
    http.behave = lambda request: Reply(status, b'{"ok": 1}', promised=10)
    http.server.RequestHandlerClass.protocol_version = "HTTP/1.0"
    with pytest.raises(MlflowError, match="breaks off"):
        make(connection, retry_timeout=0).send("GET", "/x")


def test_something_that_is_not_http(connection, http):
    http.behave = lambda request: Reply(garbage=True)
    with pytest.raises(MlflowError, match="not HTTP"):
        make(connection, retry_timeout=0).send("GET", "/x")


def test_a_server_that_does_not_answer(connection, http):
    http.behave = lambda request: Reply(delay=1.5)
    with pytest.raises(MlflowError, match="no answer in time") as caught:
        make(connection, timeout=1, retry_timeout=0).send("GET", "/x")
    assert caught.value.kind == "timeout"


def test_a_server_that_trickles(connection, http):
    http.behave = lambda request: Reply(200, b"x" * 100, drip=0.2)
    started = time.monotonic()
    with pytest.raises(MlflowError, match="no answer in time"):
        make(connection, timeout=1, retry_timeout=0).send("GET", "/x")
    assert time.monotonic() - started < 3


def test_an_answer_without_end(connection, http):
    http.behave = lambda request: Reply(200, b"x" * 300000)
    with pytest.raises(MlflowError, match="larger than 200000 bytes"):
        make(connection, retry_timeout=0).send("GET", "/x", largest=200000)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_named_not_followed(client, http, status):
    http.replies = [Reply(status, b"", {"Location": f"{http.url}/login"}), GOOD]
    with pytest.raises(MlflowError, match="redirects elsewhere.*: http://127.0.0.1:.*/login") as caught:
        client.call("GET", "x")
    assert caught.value.kind == "redirect" and len(http.requests) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(200, b"<html><title>Welcome</title>"), 'an HTML page titled "Welcome"'),
        (Reply(200, b"[1]"), "no JSON object"),
        (Reply(200, b""), "no JSON object"),
        (Reply(200, b"\xff\xfe"), "no JSON object"),
        (Reply(404, b"<!doctype html><title>404 Not Found</title>"), "404 Not Found"),
        (Reply(403, b"Invalid Host header - possible DNS rebinding attack detected"), "Invalid Host header"),
        (
            json_reply({"error_code": "INVALID_PARAMETER_VALUE", "message": "too short"}, 400),
            "INVALID_PARAMETER_VALUE: too short",
        ),
    ],
)
def test_wrong_answers_are_named(client, http, reply, message):
    http.replies = [reply]
    with pytest.raises(MlflowError) as caught:
        client.call("GET", "x")
    assert message in str(caught.value) and caught.value.status == reply.status


def test_a_server_that_repeats_the_password_does_not_make_us_show_it(connection, http):
    http.behave = lambda request: Reply(
        400, f"login {request.login} header {request.headers['authorization']} {request.data}".encode()
    )
    client = make(connection)
    client.keep_secret("ada", "another:sécret")
    with pytest.raises(MlflowError) as caught:
        client.call("POST", "x", body={"password": "another:sécret"}, login=Login("ada", "another:sécret"))
    shown = str(caught.value) + repr(caught.value.args)
    assert "another" not in shown and "YWRhOmFub3RoZXI" not in shown
    with pytest.raises(MlflowError) as caught:
        client.call("POST", "x", body={})
    assert "the-admin-has" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timeout": 0}, "timeout: 0 seconds"),
        ({"retry_timeout": -1}, "retry_timeout: -1 seconds"),
        ({"ca_path": "/no/such/file.pem"}, "ca_path: /no/such/file.pem is no file"),
        ({"username": "a:b"}, "username: 'a:b' holds a colon"),
        ({"password": ""}, "password: it is empty"),
        ({"tracking_uri": "ftp://h"}, "tracking_uri: its scheme"),
    ],
)
def test_bad_options_are_refused(connection, options, reason):
    with pytest.raises(ValueError, match=reason):
        make(connection, **options)


def test_tls_is_checked_against_the_given_certificates(connection, http, tmp_path):
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    http.server.socket = context.wrap_socket(http.server.socket, server_side=True)
    http.behave = lambda request: GOOD
    https = http.url.replace("http://", "https://")
    with pytest.raises(MlflowError, match="no TLS connection") as caught:
        make(connection, tracking_uri=https).call("GET", "x")
    assert caught.value.kind == "tls"
    assert make(connection, tracking_uri=https, ca_path=str(authority.path)).call("GET", "x") == {"ok": 1}
    assert make(connection, tracking_uri=https, validate_certs=False).call("GET", "x") == {"ok": 1}


def test_a_ca_file_without_certificates(connection, tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(MlflowError, match="no TLS connection"):
        make(connection, ca_path=str(tmp_path / "ca.pem")).send("GET", "/x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (urllib.error.URLError(ConnectionRefusedError()), "refused"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "name"),
        (urllib.error.URLError("unknown url type"), "connection"),
        (urllib.error.URLError(ssl.SSLError("bad")), "tls"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (OSError(), "connection"),
    ],
)
def test_exceptions_are_sorted_by_what_they_mean(error, kind):
    found, message = mlflow_client.classify(error)
    assert found == kind and message
