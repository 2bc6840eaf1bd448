# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-on with Cognito from outside: a user pool's hosted UI, a load balancer that sends browsers there."""

from __future__ import annotations

import re
import typing as t
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
import requests

from tests.certificates import Authority
from tests.integration import aws
from tests.integration.local_aws.load_balancing import Account, code_of
from tests.integration.local_aws.signing_on import DOMAIN, PORT, Browser, Guarded

ADA, PASSWORD = "ada@example.com", "Correct-horse-7"
CALLBACK = f"https://{DOMAIN}:{PORT}/oauth2/idpresponse"
HERE = f"https://{DOMAIN}:{PORT}/"
CLIENT = {
    "ClientName": "mlflow",
    "GenerateSecret": True,
    "AllowedOAuthFlowsUserPoolClient": True,
    "AllowedOAuthFlows": ["code"],
    "AllowedOAuthScopes": ["openid", "email"],
    "CallbackURLs": [CALLBACK],
    "LogoutURLs": [HERE],
    "SupportedIdentityProviders": ["COGNITO"],
}


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[aws.LocalAws]:
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state") as running:
        yield running


class Pool:
    """A user pool with one user, one client and a domain."""

    def __init__(self, cognito: t.Any, domain: str) -> None:
        self.cognito = cognito
        made = cognito.create_user_pool(
            PoolName=domain, UsernameAttributes=["email"], UsernameConfiguration={"CaseSensitive": False}
        )["UserPool"]
        self.arn, self.id, self.domain = made["Arn"], made["Id"], domain
        self.client = cognito.create_user_pool_client(UserPoolId=self.id, **CLIENT)["UserPoolClient"]
        cognito.create_user_pool_domain(UserPoolId=self.id, Domain=domain)

    def user(self, name: str, password: str = PASSWORD, permanent: bool = True) -> None:
        self.cognito.admin_create_user(UserPoolId=self.id, Username=name, TemporaryPassword=password)
        if permanent:
            self.cognito.admin_set_user_password(
                UserPoolId=self.id, Username=name, Password=password, Permanent=True
            )

    def action(self, **others: t.Any) -> dict[str, t.Any]:
        config = {"UserPoolArn": self.arn, "UserPoolClientId": self.client["ClientId"], "UserPoolDomain": self.domain}
        config |= {"Scope": "openid email"}
        return {"Type": "authenticate-cognito", "Order": 1, "AuthenticateCognitoConfig": {**config, **others}}


@pytest.fixture(scope="module")
def pool(local_aws: aws.LocalAws) -> Pool:
    made = Pool(local_aws.client("cognito-idp"), "team-a")
    made.user(ADA)
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(local_aws: aws.LocalAws, pool: Pool, authority: Authority) -> t.Iterator[Guarded]:
    made = Guarded(Account(local_aws.client), local_aws.client("acm"), authority, pool.action())
    yield made
    made.target.end()


def ca_path(local_aws: aws.LocalAws) -> Path:
    return local_aws.directory / "certificates/ca.pem"


@pytest.fixture(scope="module")
def trusted(local_aws: aws.LocalAws, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> str:
    """File with what a browser trusts: the load balancer's certificate and that of the hosted UI."""
    path = tmp_path_factory.mktemp("trusted") / "ca.pem"
    path.write_bytes(authority.path.read_bytes() + ca_path(local_aws).read_bytes())
    return str(path)


@pytest.fixture
def browser(guarded: Guarded, trusted: str) -> Browser:
    return Browser(guarded.address, trusted)


def follow(browser: Browser, url: str, form: dict[str, str] | None = None) -> tuple[int, str, bytes]:
    """(status, URL, page) after all redirects."""
    for _step in range(10):
        status, headers, body = browser.ask(url, form)
        if status != 302:
            return status, url, body
        url, form = urljoin(url, headers["Location"]), None
    raise AssertionError(f"too many redirects, the last to {url}")


def sign_in(browser: Browser, url: str, page: bytes, **form: str) -> tuple[int, str, bytes]:
    """Fill the form of a page in and send it."""
    action = re.search(rb'action="([^"]+)"', page)
    assert action, page
    hidden = {
        name.decode(): value.decode() for name, value in re.findall(rb'type="hidden" name="(\w+)" value="([^"]*)"', page)
    }
    return follow(browser, urljoin(url, unescape(action[1].decode())), {**hidden, **form})


def log_in(browser: Browser, guarded: Guarded, name: str = ADA, password: str = PASSWORD) -> tuple[int, str, bytes]:
    status, url, page = follow(browser, f"{guarded.url}/ajax?page=1")
    assert status == 200 and urlsplit(url).path == "/login", url
    return sign_in(browser, url, page, username=name, password=password)


def test_a_user_signs_on_stays_and_signs_off(guarded: Guarded, browser: Browser, pool: Pool) -> None:
    seen = len(guarded.target.seen)
    status, url, body = log_in(browser, guarded)
    assert (status, url) == (200, f"{guarded.url}/ajax?page=1")
    assert body.decode() == guarded.target.server_address[0] and len(guarded.target.seen) == seen + 1
    told = guarded.target.seen[-1]
    known = pool.cognito.admin_get_user(UserPoolId=pool.id, Username=ADA)["UserAttributes"]
    assert told["X-Amzn-Oidc-Identity"] == next(one["Value"] for one in known if one["Name"] == "sub")
    assert told["X-Amzn-Oidc-Accesstoken"].count(".") == 2
    # The load balancer's session lasts, and so does the hosted UI's where that is gone.
    assert browser.ask(f"{guarded.url}/")[0] == 200
    balancer = browser.cookies[f"{DOMAIN}:{PORT}"]
    assert "AWSELBAuthSessionCookie-0" in balancer
    balancer.clear()
    assert follow(browser, f"{guarded.url}/")[:2] == (200, f"{guarded.url}/")
    status, headers, _page = browser.ask(f"{guarded.url}/x")
    assert status == 200
    balancer.clear()
    _status, headers, _page = browser.ask(f"{guarded.url}/")
    hosted = urljoin(headers["Location"], "/logout")
    wrong = browser.ask(f"{hosted}?{urlencode({'client_id': pool.client['ClientId'], 'logout_uri': 'https://elsewhere'})}")
    assert wrong[0] == 400
    out = browser.ask(f"{hosted}?{urlencode({'client_id': pool.client['ClientId'], 'logout_uri': HERE})}")
    assert (out[0], out[1]["Location"]) == (302, HERE)
    assert urlsplit(follow(browser, f"{guarded.url}/")[1]).path == "/login"


def test_case_of_an_address_does_not_matter(guarded: Guarded, browser: Browser) -> None:
    assert log_in(browser, guarded, name="Ada@Example.com")[0] == 200


def test_programs_pass_with_basic_authentication_only(guarded: Guarded, browser: Browser) -> None:
    assert browser.ask(f"{guarded.url}/", Authorization="Basic YTpi")[0] == 200
    assert browser.ask(f"{guarded.url}/", Authorization="Bearer YTpi")[0] == 302


def test_who_must_stay_outside(guarded: Guarded, browser: Browser, pool: Pool, local_aws: aws.LocalAws) -> None:
    other = Pool(local_aws.client("cognito-idp"), "team-b")
    other.user("eve@example.com")
    pool.user("gone@example.com")
    pool.cognito.admin_disable_user(UserPoolId=pool.id, Username="gone@example.com")
    for name, password, reason in (
        (ADA, "wrong", b"Incorrect username or password."),
        ("nobody@example.com", PASSWORD, b"Incorrect username or password."),
        ("eve@example.com", PASSWORD, b"Incorrect username or password."),
        ("gone@example.com", PASSWORD, b"User is disabled."),
    ):
        status, url, page = log_in(browser, guarded, name, password)
        assert status == 200 and reason in page and urlsplit(url).path == "/login", name
    assert browser.ask(f"{guarded.url}/")[0] == 302


def test_a_temporary_password_is_changed_first(guarded: Guarded, browser: Browser, pool: Pool, trusted: str) -> None:
    pool.user("new@example.com", "Temporary-1", permanent=False)
    status, url, page = log_in(browser, guarded, "new@example.com", "Temporary-1")
    assert status == 200 and b"Change password" in page
    first = page
    for wrong, reason in (
        ({"new_password": "Mine-12345", "confirm_password": "Mine-1234"}, b"do not match"),
        ({"new_password": "short", "confirm_password": "short"}, b"does not conform to policy"),
    ):
        status, url, page = sign_in(browser, url, page, **wrong)
        assert status == 200 and reason in page
    status, url, _page = sign_in(browser, url, page, new_password=PASSWORD, confirm_password=PASSWORD)
    assert (status, url) == (200, f"{guarded.url}/ajax?page=1")
    # The page of before is no way back in.
    hosted = follow(Browser(guarded.address, trusted), f"{guarded.url}/")[1]
    again = sign_in(browser, hosted, first, new_password=PASSWORD + "x", confirm_password=PASSWORD + "x")
    assert b"Your session has ended" in again[2]
    assert log_in(Browser(guarded.address, trusted), guarded, "new@example.com")[0] == 200


def test_other_factors_and_providers_are_not_pretended(guarded: Guarded, browser: Browser, pool: Pool) -> None:
    pool.cognito.set_user_pool_mfa_config(
        UserPoolId=pool.id, MfaConfiguration="ON", SoftwareTokenMfaConfiguration={"Enabled": True}
    )
    try:
        status, _url, page = log_in(browser, guarded)
        assert status == 501 and b"multi-factor authentication is not supported by the local AWS" in page
    finally:
        pool.cognito.set_user_pool_mfa_config(UserPoolId=pool.id, MfaConfiguration="OFF")
    _status, url, _page = follow(browser, f"{guarded.url}/")
    for path in ("/signup", "/forgotPassword", "/oauth2/revoke"):
        assert browser.ask(urljoin(url, path))[0] == 501
    assert browser.ask(f"{url}&identity_provider=Google")[0] == 501


def asked(hosted: str, pool: Pool, **others: str) -> str:
    query = {"client_id": pool.client["ClientId"], "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid", "state": "s"}
    return f"{hosted}/oauth2/authorize?{urlencode({**query, **others})}"


def test_no_code_without_a_registered_client(guarded: Guarded, browser: Browser, pool: Pool) -> None:
    url = follow(browser, f"{guarded.url}/")[1]
    hosted = url.partition("/login")[0]
    for wrong in ({"redirect_uri": "https://elsewhere/oauth2/idpresponse"}, {"client_id": "nobody"}):
        status, headers, _body = browser.ask(asked(hosted, pool, **wrong))
        assert status == 302 and headers["Location"].startswith("/error?error=")
        assert follow(browser, asked(hosted, pool, **wrong))[0] == 400
    for wrong, reason in (({"scope": "openid phone"}, "invalid_scope"), ({"response_type": "token"}, "invalid_request")):
        location = browser.ask(asked(hosted, pool, **wrong))[1]["Location"]
        assert location == f"{CALLBACK}?error={reason}&state=s"


def code_for(browser: Browser, hosted: str, pool: Pool, **others: str) -> str:
    """A code for the user who has signed on with this browser."""
    location = browser.ask(asked(hosted, pool, **others))[1]["Location"]
    return parse_qs(urlsplit(location).query)["code"][0]


def test_no_tokens_without_the_client_secret(guarded: Guarded, browser: Browser, pool: Pool, local_aws: aws.LocalAws) -> None:
    hosted = follow(browser, f"{guarded.url}/")[1].partition("/login")[0]
    assert log_in(browser, guarded)[0] == 200
    client = (pool.client["ClientId"], pool.client["ClientSecret"])
    other = pool.cognito.create_user_pool_client(UserPoolId=pool.id, **CLIENT)["UserPoolClient"]

    def token(code: str, login: tuple[str, str] | None, **others: str) -> tuple[int, dict]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, **others}
        answer = requests.post(f"{hosted}/oauth2/token", form, auth=login, verify=str(ca_path(local_aws)), timeout=10)
        return answer.status_code, answer.json()

    for login in (None, (client[0], "wrong"), (client[0], ""), ("nobody", client[1])):
        assert token(code_for(browser, hosted, pool), login) == (400, {"error": "invalid_client"})
    assert token("made-up", client) == (400, {"error": "invalid_grant"})
    assert token(code_for(browser, hosted, pool), client, redirect_uri=HERE) == (400, {"error": "invalid_grant"})
    assert token(code_for(browser, hosted, pool), client, grant_type="client_credentials")[1] == {"error": "unsupported_grant_type"}
    theirs = (other["ClientId"], other["ClientSecret"])
    assert token(code_for(browser, hosted, pool), theirs) == (400, {"error": "invalid_grant"})
    code = code_for(browser, hosted, pool, scope="openid email")
    status, tokens = token(code, client)
    assert status == 200 and {"id_token", "access_token", "refresh_token"} <= tokens.keys()
    assert token(code, client) == (400, {"error": "invalid_grant"}), "a code is good for once"

    def told(access_token: str) -> requests.Response:
        head = {"Authorization": f"Bearer {access_token}"}
        return requests.get(f"{hosted}/oauth2/userInfo", headers=head, verify=str(ca_path(local_aws)), timeout=10)

    assert told(tokens["access_token"]).json()["email"] == ADA
    assert told(tokens["id_token"]).status_code == told("made-up").status_code == 401
    pool.cognito.admin_user_global_sign_out(UserPoolId=pool.id, Username=ADA)
    assert told(tokens["access_token"]).status_code == 401


def test_listeners_take_pools_that_are_there_only(guarded: Guarded, browser: Browser, pool: Pool) -> None:
    elb = guarded.elb
    described = elb.describe_listeners(ListenerArns=[guarded.listener])["Listeners"][0]["DefaultActions"][0]
    assert described["AuthenticateCognitoConfig"]["UserPoolDomain"] == pool.domain
    plain = code_of(elb.modify_listener, ListenerArn=guarded.plain, DefaultActions=[pool.action(), guarded.forward])
    assert plain[0] == "InvalidLoadBalancerAction" and "HTTPS listeners" in plain[1]
    secretless = pool.cognito.create_user_pool_client(UserPoolId=pool.id, **{**CLIENT, "GenerateSecret": False})
    missing = pool.arn[:-1] + ("0" if pool.arn[-1] != "0" else "1")
    for wrong, reason in (
        ({"UserPoolArn": missing}, "does not exist"),
        ({"UserPoolArn": "a"}, "not a valid user pool ARN"),
        ({"UserPoolClientId": "nobody"}, "does not exist"),
        ({"UserPoolClientId": secretless["UserPoolClient"]["ClientId"]}, "must have a client secret"),
        ({"SessionTimeout": 604801}, "1-604800"),
    ):
        actions = [pool.action(**wrong), guarded.forward]
        code, message = code_of(elb.modify_listener, ListenerArn=guarded.listener, DefaultActions=actions)
        assert code in ("InvalidLoadBalancerAction", "ValidationError") and reason in message
    # As on AWS, a domain that is another's leads to a name that nobody has.
    elb.modify_listener(ListenerArn=guarded.listener, DefaultActions=[pool.action(UserPoolDomain="team-z"), guarded.forward])
    location = browser.ask(f"{guarded.url}/")[1]["Location"]
    assert location.startswith("https://team-z.auth.eu-west-2.amazoncognito.com/oauth2/authorize?")
    elb.modify_listener(ListenerArn=guarded.listener, DefaultActions=[pool.action(), guarded.forward])


def test_pools_are_kept_as_cognito_keeps_them(local_aws: aws.LocalAws) -> None:
    cognito = local_aws.client("cognito-idp")
    pool = Pool(cognito, "team-c")
    for call, arguments, reason in (
        ("create_user_pool_domain", {"UserPoolId": pool.id, "Domain": "team-d"}, "already has domain"),
        ("create_user_pool_domain", {"UserPoolId": pool.id, "Domain": "my-amazon"}, "reserved word"),
        ("create_user_pool_domain", {"UserPoolId": pool.id, "Domain": "-"}, "invalid character"),
        ("create_user_pool", {"PoolName": "a", "MfaConfiguration": "ON"}, "SMS configuration"),
        ("delete_user_pool", {"UserPoolId": pool.id}, "has a domain configured"),
    ):
        code, message = code_of(getattr(cognito, call), **arguments)
        assert code == "InvalidParameterException" and reason in message
    second = cognito.create_user_pool(PoolName="second")["UserPool"]["Id"]
    taken = code_of(cognito.create_user_pool_domain, UserPoolId=second, Domain="team-c")
    assert taken[1] == "Domain already associated with another user pool."
    # What an update leaves out goes back to what it is by itself, but for what was decided at the start.
    cognito.set_user_pool_mfa_config(
        UserPoolId=pool.id, MfaConfiguration="OPTIONAL", SoftwareTokenMfaConfiguration={"Enabled": True}
    )
    cognito.update_user_pool(UserPoolId=pool.id, DeletionProtection="ACTIVE")
    now = cognito.describe_user_pool(UserPoolId=pool.id)["UserPool"]
    assert (now["MfaConfiguration"], now["UsernameAttributes"], now["DeletionProtection"]) == ("OFF", ["email"], "ACTIVE")
    client_id = pool.client["ClientId"]
    cognito.update_user_pool_client(UserPoolId=pool.id, ClientId=client_id, RefreshTokenValidity=1)
    client = cognito.describe_user_pool_client(UserPoolId=pool.id, ClientId=client_id)["UserPoolClient"]
    assert "CallbackURLs" not in client and client["ClientSecret"] == pool.client["ClientSecret"]
    assert "ClientSecret" not in cognito.list_user_pool_clients(UserPoolId=pool.id)["UserPoolClients"][0]
    cognito.delete_user_pool_domain(UserPoolId=pool.id, Domain="team-c")
    assert "protection" in code_of(cognito.delete_user_pool, UserPoolId=pool.id)[1]
    cognito.update_user_pool(UserPoolId=pool.id)
    cognito.delete_user_pool(UserPoolId=pool.id)
    cognito.tag_resource(ResourceArn=cognito.describe_user_pool(UserPoolId=second)["UserPool"]["Arn"], Tags={"a": "b"})
    found = local_aws.client("resourcegroupstaggingapi").get_resources(TagFilters=[{"Key": "a"}])
    assert [one["ResourceARN"].rpartition("/")[2] for one in found["ResourceTagMappingList"]] == [second]
