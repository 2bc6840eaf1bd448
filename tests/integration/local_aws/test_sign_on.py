# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-on at a load balancer from outside: a real OpenID Connect provider, a client with cookies."""

from __future__ import annotations

import base64
import http.client
import json
import typing as t
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.certificates import Authority
from tests.integration import aws
from tests.integration.local_aws.load_balancing import Account, code_of
from tests.integration.local_aws.signing_on import DOMAIN, PORT, Browser, Guarded
from tests.oidc_provider import OidcProvider


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> t.Iterator[aws.LocalAws]:
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state", SSL_CERT_FILE=str(authority.path)) as running:
        yield running


@pytest.fixture(scope="module")
def provider(authority: Authority) -> t.Iterator[OidcProvider]:
    running = OidcProvider(authority, {"ada": "lovelace"})
    yield running
    running.end()


def sign_on(provider: OidcProvider, **others: t.Any) -> dict:
    config = {
        "Issuer": provider.url,
        "AuthorizationEndpoint": provider.endpoints["authorization_endpoint"],
        "TokenEndpoint": provider.endpoints["token_endpoint"],
        "UserInfoEndpoint": provider.endpoints["userinfo_endpoint"],
        "ClientId": provider.client_id,
        "ClientSecret": provider.client_secret,
    }
    return {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {**config, **others}}


@pytest.fixture(scope="module")
def guarded(local_aws: aws.LocalAws, authority: Authority, provider: OidcProvider) -> t.Iterator[Guarded]:
    made = Guarded(Account(local_aws.client), local_aws.client("acm"), authority, sign_on(provider))
    yield made
    made.target.end()


@pytest.fixture
def browser(guarded: Guarded, authority: Authority) -> Browser:
    return Browser(guarded.address, str(authority.path))


def log_in(browser: Browser, guarded: Guarded, user: str = "ada", password: str = "lovelace") -> tuple[int, t.Any, bytes]:
    """From a first request to the provider's answer to the login form."""
    status, headers, _body = browser.ask(f"{guarded.url}/ajax?page=1")
    assert status == 302
    return browser.ask(headers["Location"], {"username": user, "password": password})


def test_a_user_signs_on_and_the_target_learns_who_it_is(
    guarded: Guarded, browser: Browser, provider: OidcProvider
) -> None:
    seen = len(guarded.target.seen)
    status, headers, _body = log_in(browser, guarded)
    assert status == 302 and headers["Location"].startswith(f"{guarded.url}/oauth2/idpresponse?code=")
    status, headers, _body = browser.ask(headers["Location"])
    assert (status, headers["Location"]) == (302, f"{guarded.url}/ajax?page=1")
    assert len(guarded.target.seen) == seen, "nothing may reach the target before the sign-on"
    forged = {"X-Amzn-Oidc-Identity": "somebody else"}
    status, _headers, body = browser.ask(headers["Location"], **forged)
    assert status == 200 and body.decode() == guarded.target.server_address[0]
    told = guarded.target.seen[-1]
    assert told["X-Amzn-Oidc-Identity"] == "id-of-ada" and told["X-Amzn-Oidc-Accesstoken"] in provider.tokens
    header, claims, signature = told["X-Amzn-Oidc-Data"].split(".")
    assert json.loads(base64.urlsafe_b64decode(claims))["email"] == "ada@example.com"
    known = json.loads(base64.urlsafe_b64decode(header))
    assert known["signer"] == guarded.balancer and known["alg"] == "ES256"
    verify(guarded, known["kid"], f"{header}.{claims}", signature)
    with pytest.raises(InvalidSignature):
        verify(guarded, known["kid"], f"{header}.{claims[:-4]}AAAA", signature)


def verify(guarded: Guarded, key_id: str, signed: str, signature: str) -> None:
    """As targets do, with the public key that AWS serves."""
    endpoint = urlsplit(guarded.elb.meta.endpoint_url)
    connection = http.client.HTTPConnection(endpoint.hostname, endpoint.port)
    connection.request("GET", f"/local-aws/elb-public-keys/{key_id}")
    key = t.cast(ec.EllipticCurvePublicKey, serialization.load_pem_public_key(connection.getresponse().read()))
    raw = base64.urlsafe_b64decode(signature)
    r, s = (int.from_bytes(part, "big") for part in (raw[:32], raw[32:]))
    key.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))


def test_programs_pass_with_basic_authentication_only(guarded: Guarded, browser: Browser) -> None:
    assert browser.ask(f"{guarded.url}/", Authorization="Basic YTpi")[0] == 200
    assert browser.ask(f"{guarded.url}/", Authorization="Bearer YTpi")[0] == 302
    assert browser.ask(f"{guarded.url}/")[0] == 302


def test_wrong_users_stay_outside(guarded: Guarded, browser: Browser) -> None:
    status, _headers, body = log_in(browser, guarded, password="wrong")
    assert status == 200 and b"Wrong user name or password" in body


def test_answers_that_were_not_asked_for_are_refused(
    guarded: Guarded, browser: Browser, provider: OidcProvider, authority: Authority
) -> None:
    _status, headers, _body = log_in(browser, guarded)
    callback = headers["Location"]
    stranger = Browser(guarded.address, str(authority.path))
    assert stranger.ask(callback)[0] == 401, "a callback counts for the client that began only"
    state = parse_qs(urlsplit(callback).query)["state"][0]
    assert browser.ask(f"{guarded.url}/oauth2/idpresponse?state={state}&code=forged")[0] == 561
    provider.broken = True
    try:
        assert browser.ask(callback)[0] == 561
    finally:
        provider.broken = False
    forged = {"AWSELBAuthSessionCookie-0": "forged"}
    browser.cookies[f"{DOMAIN}:{PORT}"].update(forged)
    assert browser.ask(f"{guarded.url}/")[0] == 302


def test_the_client_secret_is_shown_to_nobody_and_kept(
    guarded: Guarded, browser: Browser, provider: OidcProvider
) -> None:
    assert provider.client_secret not in json.dumps(guarded.created)
    told = guarded.elb.describe_listeners(ListenerArns=[guarded.listener])["Listeners"][0]["DefaultActions"]
    assert provider.client_secret not in json.dumps(told)
    kept = sign_on(provider, UseExistingClientSecret=True, SessionTimeout=3600)
    kept["AuthenticateOidcConfig"].pop("ClientSecret")
    guarded.elb.modify_listener(ListenerArn=guarded.listener, DefaultActions=[kept, guarded.forward])
    _status, headers, _body = log_in(browser, guarded)
    assert browser.ask(headers["Location"])[0] == 302


@pytest.mark.parametrize(("mode", "status"), [("deny", 401), ("allow", 200), ("authenticate", 302)])
def test_what_happens_without_a_session(
    guarded: Guarded, browser: Browser, provider: OidcProvider, mode: str, status: int
) -> None:
    actions = [sign_on(provider, OnUnauthenticatedRequest=mode), guarded.forward]
    guarded.elb.modify_listener(ListenerArn=guarded.listener, DefaultActions=actions)
    assert browser.ask(f"{guarded.url}/")[0] == status


def test_what_cannot_be_served_is_refused(guarded: Guarded, provider: OidcProvider) -> None:
    elb = guarded.elb
    plain = code_of(elb.modify_listener, ListenerArn=guarded.plain, DefaultActions=[sign_on(provider), guarded.forward])
    assert plain[0] == "InvalidLoadBalancerAction" and "HTTPS listeners" in plain[1]
    for wrong in ({"TokenEndpoint": "http://127.0.0.1/"}, {"ClientSecret": ""}, {"SessionTimeout": 604801}):
        actions = [sign_on(provider, **wrong), guarded.forward]
        assert code_of(elb.modify_listener, ListenerArn=guarded.listener, DefaultActions=actions)[0] in (
            "InvalidLoadBalancerAction",
            "ValidationError",
        )
