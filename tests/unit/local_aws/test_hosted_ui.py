# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosted UI of a user pool over TLS, with the load balancer's side of a sign-on at it; no proxy."""

from __future__ import annotations

import dataclasses
import http.client
import json
import ssl
import typing as t
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3
import pytest
import requests
from moto import mock_aws
from moto.cognitoidp.models import cognitoidp_backends

from local_aws.addresses import Addresses
from local_aws.certificates import Authority
from local_aws.hosted_ui import Asked, HostedUi
from local_aws.hosted_ui_service import HostedUis
from local_aws.sign_on import Answer, Provider
from local_aws.sign_on_service import SignOnService

CALLBACK = "https://mlflow.example.com/oauth2/idpresponse"
ADA, PASSWORD = "ada@example.com", "Correct-horse-7"


@dataclasses.dataclass
class Pool:
    cognito: t.Any
    id: str
    client: dict
    ui: HostedUi

    @property
    def query(self) -> dict[str, str]:
        return {"client_id": self.client["ClientId"], "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid email"}

    def ask(self, method: str, path: str, form: dict | None = None, cookie: str = "", login: str = "", **query: str) -> Answer:
        asked = {**self.query, **query} if method == "GET" or path != "/oauth2/token" else {}
        return self.ui.answer(Asked(method, path, asked, form or {}, {"cognito": cookie} if cookie else {}, login))

    def sign_in(self, name: str = ADA, password: str = PASSWORD) -> Answer:
        return self.ask("POST", "/login", {"username": name, "password": password})


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Pool]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-access-key-for-unit-tests-only")
    with mock_aws():
        cognito = boto3.client("cognito-idp", region_name="eu-west-2")
        made = cognito.create_user_pool(
            PoolName="a", UsernameAttributes=["email"], UsernameConfiguration={"CaseSensitive": False}
        )["UserPool"]
        client = cognito.create_user_pool_client(
            UserPoolId=made["Id"], ClientName="a", GenerateSecret=True, AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthFlows=["code"], AllowedOAuthScopes=["openid", "email"], CallbackURLs=[CALLBACK],
            LogoutURLs=["https://mlflow.example.com/"],
        )["UserPoolClient"]  # fmt: skip
        cognito.admin_create_user(UserPoolId=made["Id"], Username=ADA, TemporaryPassword=PASSWORD)
        cognito.admin_set_user_password(UserPoolId=made["Id"], Username=ADA, Password=PASSWORD, Permanent=True)
        backend = cognitoidp_backends["123456789012"]["eu-west-2"]
        yield Pool(cognito, made["Id"], client, HostedUi(backend, made["Id"]))


def header(answer: Answer, name: str) -> str:
    return dict(answer.headers).get(name, "")


def code_of(answer: Answer) -> str:
    assert answer.status == 302 and header(answer, "Location").startswith(f"{CALLBACK}?code=")
    return parse_qs(urlsplit(header(answer, "Location")).query)["code"][0]


def session_of(answer: Answer) -> str:
    return header(answer, "Set-Cookie").partition(";")[0].removeprefix("cognito=")


def test_a_session_lasts_until_it_is_ended(pool: Pool) -> None:
    first = pool.ask("GET", "/oauth2/authorize", state="s")
    assert header(first, "Location").startswith("/login?") and "state=s" in header(first, "Location")
    assert pool.ask("GET", "/login").status == 200
    session = session_of(pool.sign_in("Ada@Example.com"))
    assert code_of(pool.ask("GET", "/oauth2/authorize", cookie=session))
    assert pool.ask("GET", "/logout", cookie=session, logout_uri="https://elsewhere/").status == 400
    session = session_of(pool.sign_in())
    assert header(pool.ask("GET", "/logout", cookie=session), "Location").startswith("/login?")
    assert header(pool.ask("GET", "/oauth2/authorize", cookie=session), "Location").startswith("/login?")
    out = pool.ask("GET", "/logout", logout_uri="https://mlflow.example.com/")
    assert (out.status, header(out, "Location")) == (302, "https://mlflow.example.com/")
    session = session_of(pool.sign_in())
    pool.cognito.admin_disable_user(UserPoolId=pool.id, Username=ADA)
    assert header(pool.ask("GET", "/oauth2/authorize", cookie=session), "Location").startswith("/login?")
    assert "User is disabled." in pool.sign_in().body


@pytest.mark.parametrize(("name", "password"), [(ADA, "wrong"), (ADA, ""), ("nobody@example.com", PASSWORD), ("", "")])
def test_wrong_users_stay_outside(pool: Pool, name: str, password: str) -> None:
    answer = pool.sign_in(name, password)
    assert answer.status == 200 and "Incorrect username or password." in answer.body and not header(answer, "Set-Cookie")


def test_what_a_user_wrote_is_shown_as_text(pool: Pool) -> None:
    answer = pool.ask("GET", "/login", state='"><script>alert(1)</script>')
    assert answer.status == 200 and "<script>" not in answer.body
    assert "<script>" not in pool.ask("GET", "/error", error="<script>").body


def test_a_temporary_password_is_changed_first(pool: Pool) -> None:
    pool.cognito.admin_create_user(UserPoolId=pool.id, Username="new@example.com", TemporaryPassword="Temporary-1")
    page = pool.sign_in("new@example.com", "Temporary-1")
    assert page.status == 200 and "Change password" in page.body
    challenge = page.body.partition('name="challenge" value="')[2].partition('"')[0]

    def change(new: str, again: str, given: str = challenge) -> Answer:
        form = {"challenge": given, "new_password": new, "confirm_password": again}
        return pool.ask("POST", "/changePassword", form)

    assert "do not match" in change(PASSWORD, "other").body
    assert "does not conform to policy" in change("short", "short").body
    assert "Your session has ended" in change(PASSWORD, PASSWORD, "made-up").body
    assert code_of(change(PASSWORD, PASSWORD))
    assert "Your session has ended" in change(PASSWORD + "x", PASSWORD + "x").body
    assert code_of(pool.sign_in("new@example.com"))


def test_other_ways_in_are_not_pretended(pool: Pool) -> None:
    for path in ("/signup", "/forgotPassword", "/oauth2/revoke", "/oauth2/idpresponse"):
        assert pool.ask("GET", path).status == 501
    for query in ({"identity_provider": "Google"}, {"code_challenge": "a"}, {"idp_identifier": "b"}):
        assert pool.ask("GET", "/oauth2/authorize", **query).status == 501
    assert pool.ask("GET", "/oauth2/authorize", identity_provider="COGNITO").status == 302
    pool.cognito.set_user_pool_mfa_config(
        UserPoolId=pool.id, MfaConfiguration="ON", SoftwareTokenMfaConfiguration={"Enabled": True}
    )
    answer = pool.sign_in()
    assert answer.status == 501 and "multi-factor authentication is not supported" in answer.body
    assert not header(answer, "Set-Cookie")
    pool.cognito.set_user_pool_mfa_config(UserPoolId=pool.id, MfaConfiguration="OFF")
    pool.cognito.admin_update_user_attributes(
        UserPoolId=pool.id, Username=ADA, UserAttributes=[{"Name": "email_verified", "Value": "true"}]
    )
    pool.cognito.admin_reset_user_password(UserPoolId=pool.id, Username=ADA)
    assert pool.sign_in().status == 501
    pool.cognito.update_user_pool_client(
        UserPoolId=pool.id, ClientId=pool.client["ClientId"], SupportedIdentityProviders=["Google"]
    )
    assert pool.ask("GET", "/login").status == 501
    assert pool.ask("GET", "/elsewhere").status == pool.ask("DELETE", "/login").status == 404


@pytest.mark.parametrize(
    ("query", "location"),
    [
        ({"client_id": "nobody"}, "/error?error=unauthorized_client"),
        ({"redirect_uri": "https://elsewhere/"}, "/error?error=redirect_mismatch&client_id="),
        ({"response_type": "token"}, f"{CALLBACK}?error=invalid_request"),
        ({"scope": "openid phone"}, f"{CALLBACK}?error=invalid_scope"),
    ],
)
def test_nobody_else_gets_a_code(pool: Pool, query: dict, location: str) -> None:
    session = session_of(pool.sign_in())
    for method, path in (("GET", "/oauth2/authorize"), ("GET", "/login"), ("POST", "/login"), ("POST", "/changePassword")):
        answer = pool.ask(method, path, {"username": ADA, "password": PASSWORD}, cookie=session, **query)
        assert answer.status == 302 and header(answer, "Location").startswith(location)
    pool.cognito.update_user_pool_client(
        UserPoolId=pool.id, ClientId=pool.client["ClientId"], AllowedOAuthFlowsUserPoolClient=False
    )
    assert header(pool.ask("GET", "/login"), "Location") == f"{CALLBACK}?error=unauthorized_client"


def test_tokens_are_for_the_client_with_its_secret(pool: Pool) -> None:
    client_id, secret = pool.client["ClientId"], pool.client["ClientSecret"]

    def token(code: str, /, **others: str) -> tuple[int, dict]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        form |= {"client_id": client_id, "client_secret": secret, **others}
        answer = pool.ask("POST", "/oauth2/token", form)
        return answer.status, json.loads(answer.body)

    for wrong, error in (
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_secret": ""}, "invalid_client"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"redirect_uri": "https://elsewhere/"}, "invalid_grant"),
        ({"code": "made-up"}, "invalid_grant"),
    ):
        assert token(code_of(pool.sign_in()), **wrong) == (400, {"error": error})
    code = code_of(pool.sign_in())
    status, tokens = token(code)
    assert status == 200 and token(code) == (400, {"error": "invalid_grant"})
    told = pool.ask("GET", "/oauth2/userInfo", login=f"Bearer {tokens['access_token']}")
    assert told.status == 200 and json.loads(told.body)["email"] == ADA
    for wrong in (tokens["id_token"], "made-up", ""):
        assert pool.ask("GET", "/oauth2/userInfo", login=f"Bearer {wrong}").status == 401
    code = code_of(pool.sign_in())
    pool.cognito.admin_disable_user(UserPoolId=pool.id, Username=ADA)
    assert token(code) == (400, {"error": "invalid_grant"})
    assert pool.ask("GET", "/oauth2/userInfo", login=f"Bearer {tokens['access_token']}").status == 401
    for login in ("Basic %%%", "Basic bm9ib2R5", "Basic /w=="):
        assert pool.ask("POST", "/oauth2/token", {}, login=login).status == 400


def test_a_load_balancer_signs_users_on_over_tls(pool: Pool, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    uis = HostedUis(Addresses(4781), authority)
    uis.open(pool.ui.backend, pool.id, "team-a")
    service = SignOnService()
    arn = f"arn:aws:cognito-idp:eu-west-2:123456789012:userpool/{pool.id}"
    config = {"UserPoolArn": arn, "UserPoolClientId": pool.client["ClientId"], "UserPoolDomain": "team-a", "Scope": "openid"}
    try:
        provider = uis.provider(config)
        assert provider.issuer == f"https://cognito-idp.eu-west-2.amazonaws.com/{pool.id}"
        assert provider.client_secret == pool.client["ClientSecret"] and provider.session_timeout == 604800
        service.publish({"rule": (provider, "balancer")})
        status, headers = balancer(service, "/ajax")
        assert status == 302 and headers["Location"].startswith(f"{uis.report()[0]['address']}/oauth2/authorize?")
        state = headers["Set-Cookie"].partition(";")[0]
        browser = requests.Session()
        # Where the environment names other certificates, they would be trusted instead.
        browser.trust_env = False
        browser.verify = str(authority.path)
        page = browser.get(headers["Location"], timeout=10)
        assert page.status_code == 200 and urlsplit(page.url).path == "/login"
        form = {"username": ADA, "password": PASSWORD}
        back = browser.post(page.url, form, allow_redirects=False, timeout=10).headers["Location"]
        status, headers = balancer(service, back.removeprefix("https://mlflow.example.com"), Cookie=state)
        assert (status, headers["Location"]) == (302, "https://mlflow.example.com/ajax")
        status, headers = balancer(service, "/ajax", Cookie=headers["Set-Cookie"].partition(";")[0])
        users = pool.cognito.list_users(UserPoolId=pool.id)["Users"][0]["Attributes"]
        assert status == 200 and headers["X-Amzn-Oidc-Identity"] in [one["Value"] for one in users]
        # Who trusts somebody else only does not talk to it.
        stranger = dataclasses.replace(provider, ca_path="")
        service.publish({"rule": (stranger, "balancer")})
        assert balancer(service, f"/oauth2/idpresponse?code=a&{state_query(state)}", Cookie=state)[0] == 561
        nowhere = uis.provider({**config, "UserPoolDomain": "team-b"})
        assert nowhere.token_endpoint == "https://team-b.auth.eu-west-2.amazoncognito.com/oauth2/token"
        connection = http.client.HTTPSConnection(
            urlsplit(page.url).netloc, context=ssl.create_default_context(cafile=authority.path), timeout=10
        )
        connection.putrequest("POST", "/login")
        connection.putheader("Content-Length", "70000")
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
    finally:
        service.close()
        uis.close(pool.ui.backend, "team-a")
    assert uis.report() == []


def state_query(cookie: str) -> str:
    return urlencode([("state", cookie.partition("=")[2])])


def balancer(service: SignOnService, uri: str, **headers: str) -> tuple[int, t.Any]:
    """What the proxy is told about a request of a client."""
    address, path = service.place("rule")
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "mlflow.example.com", "X-Forwarded-Uri": uri}
    answer = requests.get(f"http://{address}{path}", headers={**told, **headers}, allow_redirects=False, timeout=10)
    return answer.status_code, answer.headers


def test_a_pool_that_is_gone_serves_nobody(pool: Pool) -> None:
    pool.cognito.delete_user_pool(UserPoolId=pool.id)
    assert pool.ask("GET", "/login").status == 404


def test_providers_of_both_kinds_have_the_same_defaults() -> None:
    names = ("Issuer", "AuthorizationEndpoint", "TokenEndpoint", "UserInfoEndpoint", "ClientId")
    plain = Provider.from_api(dict.fromkeys(names, "a"))
    assert (plain.scope, plain.session_timeout, plain.ca_path) == ("openid", 604800, "")
