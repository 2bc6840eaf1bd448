# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_health on real servers behind what stands in front of them, and on servers set up otherwise."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health

from tests.certificates import Authority
from tests.integration.deployment import proxy as proxies
from tests.integration.plugins.conftest import ADMIN_PASSWORD, AUTH_INI, CACHE_SECONDS, start, stop, wait_for
from tests.integration.postgres import free_port

QUICK = ["liveness", "tls", "admin_login"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def verify(server, run_module):
    def run(uri, **options):
        given = {"tracking_uri": uri, "retry_timeout": 1, "artifact_size": 2 * 2**20} | options
        result = run_module(mlflow_health, server.connection | given)
        assert "\n" not in result.get("msg", "")
        return {one["name"]: one for one in result["checks"]}

    return run


def told(found):
    """Name -> message and remedy of what failed."""
    return {name: f"{one['message']}; {one['remedy']}" for name, one in found.items() if one["status"] == "failed"}


def with_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_everything_passes_over_tls_with_a_redirect(server, verify, authority):
    def to_https(request, forward):
        return proxies.Response(301, {"Location": secure + request.path}, b"")

    with (
        proxies.proxy(server.url, context=with_tls(authority.issue("127.0.0.1"))) as secure,
        proxies.proxy(server.url, to_https) as plain,
    ):
        options = {"ca_path": str(authority.path), "http_redirect": True, "http_port": urlsplit(plain).port}
        found = verify(secure, **options, checks=[*QUICK, "http_redirect", "ui", "artifact_round_trip"])
        assert told(found) == {} and found["tls"]["status"] == found["http_redirect"]["status"] == "passed"
        with proxies.proxy(server.url) as open_door:
            found = verify(secure, **options | {"http_port": urlsplit(open_door).port, "checks": ["http_redirect"]})
            assert "without encryption" in told(found)["http_redirect"]


@pytest.mark.parametrize(
    ("host", "days", "trusted", "words"),
    [
        ("127.0.0.1", -2, True, ["expired", "renew"]),
        ("mlflow.example.com", 90, True, ["for mlflow.example.com, not for 127.0.0.1"]),
        ("127.0.0.1", 90, False, ["issuer (Test CA) is not known", "ca_path"]),
    ],
)
def test_a_certificate_that_clients_refuse_is_named(server, verify, authority, tmp_path, host, days, trusted, words):
    ca = authority if trusted else Authority(tmp_path, "Another CA")
    with proxies.proxy(server.url, context=with_tls(authority.issue(host, days))) as secure:
        found = verify(secure, ca_path=str(ca.path), checks=QUICK)
        assert set(told(found)) == {"liveness", "tls"} and found["admin_login"]["status"] == "skipped"
        assert all(word in told(found)["tls"] for word in words), told(found)


def test_a_certificate_that_ends_soon_is_named_before_it_does(server, verify, authority):
    with proxies.proxy(server.url, context=with_tls(authority.issue("127.0.0.1", 6.5))) as secure:
        found = verify(secure, ca_path=str(authority.path), checks=QUICK)
        assert set(told(found)) == {"tls"} and "in 6 days, fewer than 14" in told(found)["tls"]
        assert told(verify(secure, ca_path=str(authority.path), checks=QUICK, certificate_days=5)) == {}


def test_a_proxy_that_answers_pages(server, verify):
    with proxies.proxy(server.url, lambda request, forward: proxies.html(200, "Sign in")) as uri:
        found = verify(uri)
    assert {"liveness", "auth_required", "admin_login", "ui", "tracking_write_read"} <= set(told(found))
    assert all('titled "Sign in"' in words for words in told(found).values())


def test_a_redirect_to_an_identity_provider(server, verify):
    def way(request, forward):
        return proxies.Response(302, {"Location": "https://login.example.com/authorize"}, b"")

    with proxies.proxy(server.url, way) as uri:
        found = verify(uri)
    assert {"liveness", "auth_required", "admin_login", "ui"} <= set(told(found))
    assert all("https://login.example.com/authorize" in words for words in told(found).values())


def test_a_proxy_that_sends_a_host_of_its_own(server, verify):
    def way(request, forward):
        return forward(request._replace(headers=request.headers | {"Host": "mlflow.internal.example.com"}))

    with proxies.proxy(server.url, way) as uri:
        found = verify(uri, checks=["liveness", "admin_login"])
    if server.version.startswith("2."):
        assert told(found) == {}
    else:
        assert set(told(found)) == {"admin_login"} and "MLFLOW_SERVER_ALLOWED_HOSTS" in told(found)["admin_login"]


def test_a_wrong_prefix(server, verify):
    found = verify(f"{server.url}/mlflow", checks=["liveness", "admin_login", "ui"])
    assert set(told(found)) == {"liveness", "admin_login", "ui"}
    assert "404" in told(found)["liveness"] and "path prefix" in told(found)["liveness"]


def test_what_is_too_slow_is_named_with_figures(server, run_module):
    options = {"checks": ["liveness", "admin_login"], "warn_ms": 1, "latency_budgets": {"admin_login": {"fail_ms": 2}}}
    result = run_module(mlflow_health, server.connection | options)
    assert result["failed"] and "more than 2 ms" in result["msg"]
    assert [one["status"] for one in result["checks"]] == ["warned", "failed"]


@pytest.fixture
def lenient(tmp_path, mlflow_env):
    """lenient(version, permission) starts a server on SQLite that gives everybody this permission; answers its URL."""
    started = []

    def run(version, permission):
        ini, port = tmp_path / "auth.ini", free_port()
        password = ADMIN_PASSWORD.replace("%", "%%")
        settings = AUTH_INI.format(uri=f"sqlite:///{tmp_path}/auth.db", password=password, cache=CACHE_SECONDS)
        ini.write_text(settings.replace("NO_PERMISSIONS", permission), encoding="utf-8")
        python = mlflow_env(version) / "bin" / "python"
        environment = {
            "PATH": f"{python.parent}:/usr/bin:/bin",
            "MLFLOW_AUTH_CONFIG_PATH": str(ini),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests",
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/tracking.db",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        options = ["--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command = [str(python), "-m", "mlflow", "server", *options, "--artifacts-destination", str(tmp_path / "files")]
        process = start(command, tmp_path / "log", env=environment, cwd=tmp_path)
        started.append(process)
        wait_for(f"http://127.0.0.1:{port}/health", process, tmp_path / "log")
        return f"http://127.0.0.1:{port}"

    yield run
    for process in started:
        stop(process)


@pytest.mark.long
@pytest.mark.parametrize("version", ["2.18.0", "3.17.2"])
@pytest.mark.parametrize("permission", ["READ", "EDIT"])
def test_a_server_that_gives_everybody_a_permission(lenient, run_module, version, permission):
    connection = {"tracking_uri": lenient(version, permission), "username": "admin", "password": ADMIN_PASSWORD}
    result = run_module(mlflow_health, connection | {"multipart": True})
    statuses = {one["name"]: one["status"] for one in result["checks"]}
    failed = {name for name, status in statuses.items() if status == "failed"}
    # Up to 3.12 a permission given to a user counts instead of the default, from 3.13 on the default is the least.
    writes = {"reader_denied"} if permission == "EDIT" and not version.startswith("2.") else set()
    assert failed == {"stranger_denied"} | writes, result["msg"]
    assert f"default_permission is {permission}" in result["msg"] and statuses["artifact_multipart"] == "skipped"
    meant = run_module(mlflow_health, connection | {"expected_default_permission": permission})
    assert "failed" not in meant, meant["msg"]
