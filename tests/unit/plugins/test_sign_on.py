# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-on: what a provider is asked, against a real one; how a listener with it is told apart."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import elb_listeners, mlflow_checks
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer
from ansible_collections.mlops.mlflow_aws.plugins.modules import oidc_provider_info

from tests.certificates import Authority
from tests.oidc_provider import OidcProvider

SECRET = "the-client-secret-nobody-sees"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def provider(authority: Authority) -> t.Iterator[OidcProvider]:
    running = OidcProvider(authority, {})
    yield running
    running.end()


@pytest.fixture
def asked(run_module: t.Callable, provider: OidcProvider, authority: Authority) -> t.Callable[..., dict]:
    def ask(**others: t.Any) -> dict:
        given = {"issuer": provider.url, "client_id": "mlflow", "client_secret": SECRET, "ca_path": str(authority.path)}
        answer = run_module(oidc_provider_info, {**given, **others})
        assert SECRET not in json.dumps(answer)
        return answer

    return ask


def test_a_provider_tells_where_users_sign_on(asked: t.Callable, provider: OidcProvider) -> None:
    assert asked()["provider"] == {
        "issuer": provider.url,
        "authorization_endpoint": f"{provider.url}/authorize",
        "token_endpoint": f"{provider.url}/token",
        "user_info_endpoint": f"{provider.url}/userinfo",
        "client_id": "mlflow",
        "scope": "openid",
        "session_timeout": 43200,
    }
    assert asked(token_endpoint="https://elsewhere.example/token")["provider"]["token_endpoint"].startswith("https://els")


def test_given_endpoints_are_not_asked_for(asked: t.Callable) -> None:
    given = {name: f"https://provider.example/{name}" for name in oidc_provider_info.ENDPOINTS}
    found = asked(issuer="https://provider.example", **given)["provider"]
    assert {name: found[name] for name in given} == given


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"issuer": "http://provider.example"}, "sign_on_issuer = 'http://provider.example': load balancers take HTTPS"),
        ({"token_endpoint": "provider.example"}, "sign_on_token_endpoint"),
        ({"client_id": ""}, "sign_on_client_id = '': it is empty"),
        ({"client_secret": ""}, "sign_on_client_secret = '': it is empty"),
        ({"scope": "email"}, "it does not hold openid"),
        ({"session_timeout": 0}, "AWS takes 1 to 604800 seconds"),
        ({"issuer": "https://127.0.0.1:1"}, "cannot be reached"),
        ({"ca_path": None}, "cannot be reached"),
    ],
)
def test_what_a_load_balancer_cannot_use_is_refused(asked: t.Callable, wrong: dict, reason: str) -> None:
    refused = asked(**wrong)
    assert refused["failed"] and reason in refused["msg"] and "\n" not in refused["msg"]


@pytest.mark.parametrize(
    ("path", "told", "reason"),
    [
        ("/elsewhere", {}, "answers 404"),
        ("", {"issuer": "https://other.example"}, "the provider calls itself 'https://other.example'"),
        ("", {"token_endpoint": ""}, "it tells no token_endpoint"),
        ("", None, "is no JSON object"),
        ("", "not JSON", "is no JSON object"),
    ],
)
def test_providers_that_are_none_are_refused(
    asked: t.Callable, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch, path: str, told: t.Any, reason: str
) -> None:
    class Telling(OidcProvider):
        @property
        def endpoints(self) -> t.Any:
            return {**OidcProvider.endpoints.fget(self), **told} if isinstance(told, dict) else []  # type: ignore[attr-defined]

    provider.__class__ = Telling
    if told == "not JSON":
        monkeypatch.setattr(json, "loads", raising(ValueError("no JSON"), json.loads))
    refused = asked(issuer=provider.url + path)
    assert reason in refused["msg"]


def raising(error: Exception, plain: t.Callable) -> t.Callable:
    """json.loads that fails for what the provider answers, and works for the module's own arguments."""

    def loads(text: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        if text == b"[]":
            raise error
        return plain(text, *args, **kwargs)

    return loads


def option(**others: t.Any) -> dict:
    sign_on = {
        "issuer": "https://provider.example",
        "authorization_endpoint": "https://provider.example/authorize",
        "token_endpoint": "https://provider.example/token",
        "user_info_endpoint": "https://provider.example/userinfo",
        "client_id": "mlflow",
        "client_secret": SECRET,
        "scope": "openid",
        "session_timeout": 3600,
        **others,
    }
    return {
        "port": 443, "protocol": "HTTPS", "ssl_policy": "policy", "certificate_arn": "arn", "redirect_port": 0,
        "sign_on": sign_on,
    }  # fmt: skip


def told(listener: dict) -> str:
    return elb_listeners.told(
        elb_listeners.arguments(listener, "group", ""), "group", elb_listeners.fingerprint(listener)
    )


def test_every_part_of_sign_on_is_told_apart_and_no_secret() -> None:
    names = ("issuer", "authorization_endpoint", "token_endpoint", "user_info_endpoint", "client_id", "client_secret")
    variants = [option(), option(session_timeout=1), option(scope="openid email")]
    variants += [option(**{name: "other"}) for name in names]
    texts = [told(one) for one in variants]
    assert len(set(texts)) == len(variants) and not any(SECRET in text for text in texts)


def test_what_aws_fills_in_changes_nothing() -> None:
    arguments = elb_listeners.arguments(option(), "group", "")
    config = arguments["DefaultActions"][0]["AuthenticateOidcConfig"]
    config.pop("ClientSecret")
    config["SessionCookieName"] = "AWSELBAuthSessionCookie"
    arguments["DefaultActions"].reverse()
    assert elb_listeners.told(arguments, "group", elb_listeners.fingerprint(option())) == told(option())


@pytest.mark.parametrize("wrong", [{"protocol": "HTTP"}, {"redirect_port": 443}])
def test_sign_on_needs_https(wrong: dict) -> None:
    with pytest.raises(ValueError, match="HTTPS listeners that forward only"):
        elb_listeners.check([{**option(), **wrong}])


COGNITO = {
    "user_pool_arn": "arn:aws:cognito-idp:eu-west-2:123456789012:userpool/eu-west-2_AbC",
    "user_pool_client_id": "mlflow",
    "user_pool_domain": "team-mlflow",
    "scope": "openid",
    "session_timeout": 3600,
}


def test_every_part_of_a_user_pool_is_told_apart() -> None:
    variants = [{**COGNITO, name: value} for name, value in {**dict.fromkeys(COGNITO, "other"), "session_timeout": 1}.items()]
    texts = [told({**option(), "sign_on": one}) for one in [COGNITO, *variants]]
    assert len(set(texts)) == len(texts) and told(option()) not in texts
    listener = {**option(), "sign_on": COGNITO}
    arguments = elb_listeners.arguments(listener, "group", "")
    assert [action["Type"] for action in arguments["DefaultActions"]] == ["authenticate-cognito", "forward"]
    # Cognito tells load balancers its secret by itself, so that there is none to be told apart.
    assert elb_listeners.fingerprint(listener) == ""
    arguments["DefaultActions"][0]["AuthenticateCognitoConfig"]["SessionCookieName"] = "AWSELBAuthSessionCookie"
    assert elb_listeners.told(arguments, "group") == texts[0]


LOCATION = "https://provider.example/authorize?client_id=a&redirect_uri=b&response_type=code&state=c"


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (Answer(302, {"location": LOCATION}, b""), "passed", "is sent to sign on at provider.example"),
        (Answer(302, {"location": "https://elsewhere.example/"}, b""), "failed", "a redirect to the identity provider"),
        (Answer(401, {}, b""), "failed", "nobody is sent to sign on"),
        (Answer(200, {}, b"{}"), "failed", "authentication is off"),
        (Answer(503, {}, b""), "failed", "a redirect to the identity provider"),
    ],
)
def test_who_brings_no_password_is_sent_to_sign_on(answer: Answer, status: str, message: str) -> None:
    verdict = mlflow_checks.sign_on_required(answer)
    assert verdict.status == status and message in verdict.message
