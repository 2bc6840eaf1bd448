# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of HTTPS, against real handshakes with certificates of a test CA."""

from __future__ import annotations

import ssl
import urllib.request

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_health_certificate, mlflow_health_tls
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_certificate import Certificate, Look
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import Authority

from .conftest import HttpServer, Reply
from .health_server import Verified

DAY = 86400


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure(authority):
    """secure(host, days) starts a server like MLflow with a certificate; answers its HttpServer."""
    servers = []

    def start(host="127.0.0.1", days=90.0, by=authority):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*by.issue(host, days))
        server = HttpServer()
        server.server.socket = context.wrap_socket(
            server.server.socket, server_side=True, do_handshake_on_connect=False
        )
        server.url = server.url.replace("http:", "https:")
        Verified(server)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def check(run_module, connection, authority):
    def run(server, checks=("tls",), **options):
        given = {"tracking_uri": server.url, "ca_path": str(authority.path), "checks": list(checks)}
        result = run_module(mlflow_health, connection | given | options)
        return {one["name"]: one for one in result["checks"]}

    return run


def test_a_good_certificate(check, secure):
    found = check(secure())["tls"]
    assert found["status"] == "passed" and found["latency_ms"] > 0
    assert found["message"] == "the certificate is valid for 127.0.0.1, signed by Test CA, for 89 more days"


@pytest.mark.parametrize(
    ("host", "days", "said"),
    [
        ("127.0.0.1", -2, ["has expired on 20", "2 days ago", "renew the certificate"]),
        ("127.0.0.1", 5.5, ["expires on 20", "in 5 days, fewer than 14", "renew the certificate"]),
        ("mlflow.example.com", 90, ["is for mlflow.example.com, not for 127.0.0.1", "in tracking_uri"]),
        ("192.0.2.1", -1, ["is for 192.0.2.1, not for 127.0.0.1", "has expired on"]),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(check, secure, host, days, said):
    found = check(secure(host, days))["tls"]
    assert found["status"] == "failed"
    for words in said:
        assert words in f"{found['message']}; {found['remedy']}"


def test_everything_that_is_wrong_is_named_at_once(check, secure, tmp_path):
    found = check(secure("other.example.com", -3, Authority(tmp_path, "Nobody")))["tls"]
    assert found["status"] == "failed"
    for words in ("has expired", "issuer (Nobody) is not known here: unable to get local", "is for other.example.com"):
        assert words in found["message"]


def test_the_certificate_is_told_although_nothing_else_can_be_asked(check, secure, tmp_path):
    found = check(secure(by=Authority(tmp_path, "Nobody")), ["liveness", "tls", "admin_login"])
    assert {name: one["status"] for name, one in found.items()} == {
        "liveness": "failed",
        "tls": "failed",
        "admin_login": "skipped",
    }
    assert "ca_path" in found["tls"]["remedy"]


def test_days_that_must_be_left_can_be_told(check, secure):
    server = secure(days=30.5)
    assert check(server)["tls"]["status"] == "passed"
    assert "fewer than 31" in check(server, certificate_days=31)["tls"]["message"]


def test_who_does_not_check_certificates_is_warned_of_host_and_issuer_only(check, secure, tmp_path):
    nobody = Authority(tmp_path, "Nobody")
    found = check(secure("other.example.com", 90, nobody), ["liveness", "tls"], validate_certs=False)
    assert found["liveness"]["status"] == "passed" and found["tls"]["status"] == "warned"
    assert check(secure("127.0.0.1", 3, nobody), validate_certs=False)["tls"]["status"] == "failed"


def test_a_port_that_speaks_no_tls(check, http):
    Verified(http)
    http.url = http.url.replace("http:", "https:")
    found = check(http, timeout=3)["tls"]
    assert found["status"] == "failed" and f"check that port {http.port} speaks TLS" in found["remedy"]


def test_a_file_without_certificates(check, secure, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    found = check(secure(), ca_path=str(path))["tls"]
    assert found["status"] == "failed" and f"ca_path: {path} holds no certificates" in found["message"]


def test_nobody_listens(check, http, closed_port):
    http.url = f"https://127.0.0.1:{closed_port}"
    found = check(http, retry_timeout=0)["tls"]
    assert found["status"] == "failed" and "refused" in found["message"] and "that port" in found["remedy"]


def test_a_proxy_of_the_environment_decides_what_is_seen(check, secure, monkeypatch):
    server = secure()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert "a proxy of the environment" in check(server)["tls"]["message"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert check(server)["tls"]["status"] == "passed"
    assert urllib.request.getproxies()["https"]


def test_a_certificate_that_is_another_the_next_time_or_for_no_server(monkeypatch):
    def refuse_all(host, port, context, timeout):
        if context.verify_mode == ssl.CERT_NONE:
            return {}, b""
        error = ssl.SSLCertVerificationError("no")
        error.verify_code, error.verify_message = 26, "unsuitable certificate purpose"
        raise error

    monkeypatch.setattr(mlflow_health_tls, "_peer", refuse_all)
    monkeypatch.setattr(mlflow_health_tls, "_trusting", lambda der, check_host: ssl.create_default_context())
    found = mlflow_health_tls.look("h", 1, ssl.create_default_context(), 1)
    assert found == Look("", "", "unsuitable certificate purpose", None)
    verdict = mlflow_health_certificate.judge(found, "h", 0, 14, True)
    assert verdict.status == "failed" and "unsuitable certificate purpose" in verdict.message


GOOD = Certificate(0, 100 * DAY, ("h",), "CA")


@pytest.mark.parametrize(
    ("look", "now", "status", "message"),
    [
        (Look("", "", "", GOOD), 50 * DAY, "passed", "for 50 more days"),
        (Look("", "", "", GOOD), 86 * DAY, "passed", "for 14 more days"),
        (Look("", "", "", GOOD), 86 * DAY + 1, "failed", "in 13 days, fewer than 14"),
        (Look("", "", "", GOOD), 100 * DAY, "failed", "has expired on 1970-04-11, 0 days ago"),
        (Look("", "", "", GOOD._replace(begins=9 * DAY)), 5 * DAY, "failed", "not valid before 1970-01-10"),
        (Look("", "", "", None), 0, "failed", "cannot be read"),
        (Look("", "mismatch", "", None), 0, "failed", "is for other names, not for h"),
        (Look("unknown", "", "", None), 0, "failed", "issuer is not known here: unknown"),
    ],
)
def test_certificates_are_judged(look, now, status, message):
    verdict = mlflow_health_certificate.judge(look, "h", now, 14, True)
    assert verdict.status == status and message in verdict.message and bool(verdict.remedy) == (status == "failed")


def test_a_certificate_without_a_name_of_its_issuer():
    peer = {"notBefore": "Jan  1 00:00:00 2024 GMT", "notAfter": "Jan  2 00:00:00 2024 GMT"}
    assert mlflow_health_certificate.certificate(peer).issuer == "nobody"
    peer["issuer"] = ((("organizationName", "Corp"),),)
    assert mlflow_health_certificate.certificate(peer).issuer == "Corp"


# HTTP without TLS


REDIRECTS = [
    (301, "https://h/health", "passed", "sends to https (HTTP 301)"),
    (308, "https://H:443/health", "passed", "sends to https"),
    (302, "https://h/health", "failed", "only for now (HTTP 302)"),
    (301, "https://sso.example.com/login", "failed", "sends to another host: https://sso.example.com/login"),
    (301, "http://h/login", "failed", "not to https"),
    (301, "https://[h", "failed", "not to https"),
    (301, "", "failed", "sends to nowhere"),
    (200, "", "failed", "without encryption"),
    (401, "", "failed", "without encryption"),
    (404, "", "failed", "gives HTTP 404"),
    (503, "", "failed", "gives HTTP 503"),
]


@pytest.mark.parametrize(("status", "location", "verdict", "message"), REDIRECTS)
def test_redirects_are_judged(status, location, verdict, message):
    found = mlflow_health_tls.redirect(Answer(status, {"location": location}, b""), "http://h", "h")
    assert found.status == verdict and message in found.message and bool(found.remedy) == (verdict == "failed")


@given(status=st.integers(100, 599).filter(lambda number: number not in (301, 308)), location=st.text())
def test_nothing_else_passes_as_a_redirect(status, location):
    assert mlflow_health_tls.redirect(Answer(status, {"location": location}, b""), "http://h", "h").status == "failed"


def test_the_redirect_is_asked_for_without_a_password(check, secure, http):
    server = secure()
    http.behave = lambda request: Reply(301, b"", {"Location": f"{server.url}{request.path}"})
    found = check(server, ["http_redirect"], http_port=http.port)["http_redirect"]
    assert found["status"] == "passed", found
    assert [(one.path, one.login) for one in http.requests] == [("/health", None)]


def test_when_the_redirect_is_asked_for(check, secure, http, closed_port):
    Verified(http)
    assert "is not https" in check(http, ["http_redirect"])["http_redirect"]["message"]
    server = secure()
    assert check(server, ["http_redirect"], http_redirect=False)["http_redirect"]["status"] == "skipped"
    found = check(server, ["http_redirect"], http_port=closed_port)["http_redirect"]
    assert found["status"] == "failed" and "refused" in found["message"]


@pytest.mark.parametrize(
    ("uri", "asked", "status", "message"),
    [
        ("https://127.0.0.1:8443", None, "skipped", "a port of its own"),
        ("https://127.0.0.1", None, "skipped", "nothing answers at http://127.0.0.1:"),
        ("https://127.0.0.1:443/prefix", True, "failed", "/prefix/health: the connection is refused"),
        ("https://[::1]", None, "skipped", "nothing answers at http://[::1]:"),
    ],
)
def test_nothing_answers_without_tls(connection, closed_port, uri, asked, status, message):
    from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_health_run

    client = mlflow_health_run.Client(connection | {"tracking_uri": uri, "validate_certs": True})
    settings = mlflow_health_run.Settings(http_redirect=asked, http_port=closed_port)
    found = mlflow_health_run.HealthRun(client, settings).run(["http_redirect"])[0]
    assert found.status == status and message in found.message
