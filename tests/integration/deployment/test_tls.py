# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS, WAF and sign-on on a live deployment: switched on, renewed, used, switched off; in the order of this file."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import threading
import time
import typing as t

import pytest

from tests.certificates import Authority
from tests.oidc_provider import OidcProvider

DOMAIN, HTTPS_PORT, HTTP_PORT = "mlflow.example.com", 8443, 8080
CLIENT = """
import json, mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("over TLS")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("kept", "note.txt")
print(json.dumps([mlflow.get_run(run.info.run_id).data.metrics, mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt")]))
mlflow.delete_run(run.info.run_id)
"""
UPLOAD = """
import mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("through the web ACL")
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[2])
print(mlflow.artifacts.list_artifacts(run_id=run.info.run_id)[0].file_size)
mlflow.delete_run(run.info.run_id)
"""


def state(live: t.Any) -> dict:
    """What the switches change, without what is new each time (ARNs of listeners and task definitions)."""
    elb, ecs, route53 = (live.client(service) for service in ("elbv2", "ecs", "route53"))
    balancer = elb.describe_load_balancers(Names=[live.name])["LoadBalancers"][0]
    tags = elb.describe_tags(ResourceArns=[balancer["LoadBalancerArn"]])["TagDescriptions"][0]["Tags"]
    definition = ecs.describe_task_definition(taskDefinition=live.name)["taskDefinition"]
    groups = live.client("ec2").describe_security_groups(Filters=[{"Name": "tag:mlflow-deployment", "Values": [live.name]}])
    return {
        "listeners": [
            (one["Port"], one["Protocol"], [action["Type"] for action in one["DefaultActions"]])
            for one in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
        ],
        "tags": sorted((tag["Key"], tag["Value"]) for tag in tags),
        "environment": sorted(
            (one["name"], one["value"]) for one in definition["containerDefinitions"][0]["environment"]
        ),
        "rules": sorted(
            (group["GroupName"], rule.get("FromPort", 0), rule.get("ToPort", 0))
            for group in groups["SecurityGroups"]
            for rule in group["IpPermissions"] + group["IpPermissionsEgress"]
        ),
        "web ACLs": [one["Name"] for one in live.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]],
        "user pools": [one["Name"] for one in live.client("cognito-idp").list_user_pools(MaxResults=60)["UserPools"]],
        "certificates": live.client("acm").list_certificates()["CertificateSummaryList"],
        "records": [
            (record["Name"], record["Type"])
            for zone in route53.list_hosted_zones()["HostedZones"]
            for record in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
        ],
    }


def changed_tasks(run: subprocess.CompletedProcess[str]) -> set[str]:
    """Names of the tasks that have changed something, but for the files that tell about it."""
    parts = re.split(r"^TASK \[", run.stdout, flags=re.MULTILINE)[1:]
    names = {part.partition("]")[0].rpartition(" : ")[2] for part in parts if re.search("^changed:", part, re.MULTILINE)}
    return names - {"Write what clients and other tools need"}


@pytest.fixture(scope="module")
def before(live: t.Any) -> dict:
    live.client("route53").create_hosted_zone(Name="example.com", CallerReference="a")
    return state(live)


@pytest.fixture(scope="module")
def secure(live: t.Any, before: dict, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[t.Any]:
    """The live deployment with TLS and WAF switched on, by a variable each; the ports and the authority are this machine's."""
    plain = dict(live.variables)
    live.hosts_file = tmp_path_factory.mktemp("names") / "hosts"
    live.hosts_file.write_text(f"127.0.0.1 localhost\n{live.outputs()['alb_dns_name']} {DOMAIN}\n")
    live.variables |= {
        "tls_domain_name": DOMAIN,
        "alb_https_port": HTTPS_PORT,
        "mlflow_ca_path": str(live.aws.directory / "certificates/ca.pem"),
        "mlflow_waf": True,
    }
    calls = len(live.aws.api_calls())
    predicted = live.play("site", "--check")
    assert predicted.returncode == 0 and live.aws.writes(calls) == [], predicted.stdout[-4000:]
    run = live.play("site")
    assert run.returncode == 0, run.stdout[-6000:]
    assert changed_tasks(predicted) == changed_tasks(run)
    yield live
    live.variables, live.hosts_file = plain, None


def test_https_is_verified_with_its_days(secure: t.Any) -> None:
    assert secure.outputs()["tracking_uri"] == f"https://{DOMAIN}:{HTTPS_PORT}"
    verified = secure.play("verify")
    assert verified.returncode == 0, verified.stdout[-4000:]
    told = " ".join(verified.stdout.split())
    assert f"the certificate is valid for {DOMAIN}, signed by Local AWS, for 394 more days" in told
    assert re.search("http_redirect +passed", verified.stdout)


# With sign-on the same is seen below.
@pytest.mark.long
def test_nothing_is_written_again(secure: t.Any, changed: t.Callable) -> None:
    calls = len(secure.aws.api_calls())
    again = secure.play("site")
    assert (again.returncode, changed(again)) == (0, 0), again.stdout[-4000:]
    assert secure.aws.writes(calls) == []


def run_client(live: t.Any, mlflow_env: t.Any, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of an MLflow client, logged in as the admin by the environment; its first argument is the tracking URI."""
    username, password = live.admin()
    environment = {
        **live.aws.environment,
        "MLFLOW_TRACKING_USERNAME": username,
        "MLFLOW_TRACKING_PASSWORD": password,
        "REQUESTS_CA_BUNDLE": live.variables["mlflow_ca_path"],
    }
    python = str(mlflow_env("3.17.2") / "bin/python")
    command = live.resolving([python, "-c", program, live.outputs()["tracking_uri"], *arguments])
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_an_unmodified_client_uses_it(secure: t.Any, mlflow_env: t.Any) -> None:
    done = run_client(secure, mlflow_env, CLIENT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [{"loss": 0.5}, "kept"]


def ask(
    live: t.Any, context: ssl.SSLContext, path: str = "/health", headers: str = "", agent: str = "User-Agent: test\r\n"
) -> int:
    """The status of one request over TLS on a connection of its own; `headers` and `agent` are lines."""
    with (
        socket.create_connection((live.outputs()["alb_dns_name"], HTTPS_PORT), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname=DOMAIN) as connection,
    ):
        head = f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}:{HTTPS_PORT}\r\n{agent}{headers}Connection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer.status


def test_the_web_acl_lets_half_a_gigabyte_through_and_refuses_what_no_client_sends(
    secure: t.Any, mlflow_env: t.Any, tmp_path: t.Any
) -> None:
    context = ssl.create_default_context(cafile=secure.variables["mlflow_ca_path"])
    assert (ask(secure, context), ask(secure, context, agent="")) == (200, 403)
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(500 * 2**20)
    done = run_client(secure, mlflow_env, UPLOAD, str(large))
    assert done.returncode == 0 and int(done.stdout.splitlines()[-1]) == large.stat().st_size, done.stderr[-3000:]


@pytest.mark.long
def test_another_certificate_costs_no_request(secure: t.Any) -> None:
    """Another name in it makes the role request a new one, show it, and remove the first."""
    context = ssl.create_default_context(cafile=secure.variables["mlflow_ca_path"])
    first = secure.client("acm").list_certificates()["CertificateSummaryList"]
    statuses: list[t.Any] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.wait(0.02):
            try:
                statuses.append(ask(secure, context))
            except (OSError, http.client.HTTPException) as error:
                statuses.append(repr(error))

    client = threading.Thread(target=load)
    client.start()
    try:
        secure.variables["tls_alternative_names"] = ["other.example.com"]
        run = secure.play("site")
    finally:
        stop.set()
        client.join()
    assert run.returncode == 0, run.stdout[-4000:]
    second = secure.client("acm").list_certificates()["CertificateSummaryList"]
    assert len(second) == 1 and second[0]["CertificateArn"] != first[0]["CertificateArn"]
    assert len(statuses) > 100 and set(statuses) == {200}


def test_http_leads_to_https(secure: t.Any) -> None:
    connection = http.client.HTTPConnection(secure.outputs()["alb_dns_name"], HTTP_PORT, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/#/experiments", headers={"Host": DOMAIN, "User-Agent": "test"})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Location"]) == (301, f"https://{DOMAIN}:{HTTPS_PORT}/#/experiments")


@pytest.fixture(scope="module")
def provider(authority: Authority) -> t.Iterator[OidcProvider]:
    running = OidcProvider(authority, {"ada": "lovelace"})
    yield running
    running.end()


def test_sign_on_without_https_is_refused_before_the_first_write(secure: t.Any, provider: OidcProvider) -> None:
    calls = len(secure.aws.api_calls())
    options = {"tls_domain_name": "", "sign_on_issuer": provider.url, "sign_on_client_id": "a"}
    refused = secure.play("site", "-e", json.dumps(options))
    assert refused.returncode != 0 and secure.aws.writes(calls) == []
    assert "load balancers sign users on over HTTPS only; set tls_domain_name" in " ".join(refused.stdout.split())


@pytest.fixture(scope="module")
def signed_on(secure: t.Any, provider: OidcProvider, authority: Authority) -> t.Iterator[t.Any]:
    secure.variables |= {
        "sign_on_issuer": provider.url,
        "sign_on_client_id": provider.client_id,
        "sign_on_client_secret": provider.client_secret,
        "sign_on_ca_path": str(authority.path),
    }
    run = secure.play("site", "-vvv")
    assert run.returncode == 0, run.stdout[-6000:]
    # Ansible shows the command line's extra variables to nobody at -vvv; a secret in them must not come back either.
    assert provider.client_secret not in run.stdout
    yield secure


def test_programs_and_verification_pass_beside_sign_on(signed_on: t.Any, changed: t.Callable, mlflow_env: t.Any) -> None:
    calls = len(signed_on.aws.api_calls())
    again = signed_on.play("site")
    assert (again.returncode, changed(again), signed_on.aws.writes(calls)) == (0, 0, []), again.stdout[-4000:]
    assert "who brings no password is sent to sign on at 127.0.0.1" in " ".join(again.stdout.split())
    test_an_unmodified_client_uses_it(signed_on, mlflow_env)


def test_neither_way_leads_in_without_credentials(signed_on: t.Any) -> None:
    context = ssl.create_default_context(cafile=signed_on.variables["mlflow_ca_path"])
    assert ask(signed_on, context, "/") == ask(signed_on, context) == 302
    assert ask(signed_on, context, "/", "Authorization: Basic YWRtaW46d3Jvbmc=\r\n") == 401


def arrived(browser: t.Any, page: str) -> None:
    """A click does not wait for a chain of redirects that crosses hosts."""
    deadline = time.monotonic() + 20
    while browser.current_url != page and time.monotonic() < deadline:
        time.sleep(0.1)
    assert browser.current_url == page, browser.page_source


def test_people_sign_on_and_off_in_a_browser(
    signed_on: t.Any, provider: OidcProvider, open_browser: t.Callable[..., t.Any]
) -> None:
    browser = open_browser(
        f"--host-resolver-rules=MAP {DOMAIN} {signed_on.outputs()['alb_dns_name']}", "--ignore-certificate-errors"
    )
    # MLflow asks for no password there, so that a page is what sign-on alone leads to.
    page = f"https://{DOMAIN}:{HTTPS_PORT}/health"
    browser.get(page)

    def sign_on(password: str) -> None:
        browser.find_element("name", "username").send_keys("ada")
        browser.find_element("name", "password").send_keys(password)
        browser.find_element("id", "sign-on").click()

    assert browser.current_url.startswith(provider.url)
    sign_on("wrong")
    assert browser.current_url.startswith(provider.url) and "Wrong user name or password" in browser.page_source
    sign_on("lovelace")
    arrived(browser, page)
    assert "OK" in browser.page_source
    cookies = {cookie["name"]: cookie for cookie in browser.get_cookies()}
    session = cookies["AWSELBAuthSessionCookie-0"]
    assert session["secure"] and session["httpOnly"]
    provider.sessions.clear()
    browser.get(page)
    assert browser.current_url == page, "the session at the load balancer lasts"
    browser.delete_all_cookies()
    browser.get(page)
    assert browser.current_url.startswith(provider.url), "without its cookie one must sign on again"


@pytest.mark.long
def test_cognito_is_refused_where_it_cannot_work_before_the_first_write(secure: t.Any) -> None:
    for options, reason in (
        ({"tls_domain_name": "", "sign_on_issuer": ""}, "load balancers sign users on over HTTPS only; set tls_domain_name"),
        ({"sign_on_issuer": "https://login.example"}, "set either sign_on_issuer or cognito_domain_prefix"),
        ({"cognito_domain_prefix": "my-cognito", "sign_on_issuer": ""}, "AWS keeps the word cognito for itself"),
    ):
        calls = len(secure.aws.api_calls())
        refused = secure.play("site", "-e", json.dumps({"cognito_domain_prefix": "people", **options}))
        assert refused.returncode != 0 and secure.aws.writes(calls) == []
        assert reason in " ".join(refused.stdout.split())


@pytest.fixture(scope="module")
def at_cognito(secure: t.Any) -> t.Iterator[t.Any]:
    """Sign-on with a user pool in the place of the provider."""
    for name in [name for name in secure.variables if name.startswith("sign_on_")]:
        secure.variables.pop(name)
    secure.variables["cognito_domain_prefix"] = "people"
    predicted = secure.play("site", "--check")
    assert predicted.returncode == 0, predicted.stdout[-4000:]
    run = secure.play("site", "-vvv")
    assert run.returncode == 0, run.stdout[-6000:]
    assert changed_tasks(predicted) == changed_tasks(run)
    pool, client_id = pool_of(secure)
    client = secure.client("cognito-idp").describe_user_pool_client(UserPoolId=pool["Id"], ClientId=client_id)
    assert client["UserPoolClient"]["ClientSecret"] not in run.stdout
    yield secure


def pool_of(live: t.Any) -> tuple[dict, str]:
    """The user pool of a deployment and the ID of its app client."""
    cognito = live.client("cognito-idp")
    (pool,) = [one for one in cognito.list_user_pools(MaxResults=60)["UserPools"] if one["Name"] == live.name]
    return pool, cognito.list_user_pool_clients(UserPoolId=pool["Id"])["UserPoolClients"][0]["ClientId"]


@pytest.mark.long
def test_programs_pass_beside_cognito_with_their_credentials_only(
    at_cognito: t.Any, changed: t.Callable, mlflow_env: t.Any
) -> None:
    calls = len(at_cognito.aws.api_calls())
    again = at_cognito.play("site")
    assert (again.returncode, changed(again), at_cognito.aws.writes(calls)) == (0, 0, []), again.stdout[-4000:]
    assert "who brings no password is sent to sign on at 127.40." in " ".join(again.stdout.split())
    test_an_unmodified_client_uses_it(at_cognito, mlflow_env)
    test_neither_way_leads_in_without_credentials(at_cognito)


@pytest.mark.long
def test_people_sign_on_at_cognito_in_a_browser(at_cognito: t.Any, open_browser: t.Callable[..., t.Any]) -> None:
    cognito, (pool, client_id) = at_cognito.client("cognito-idp"), pool_of(at_cognito)
    cognito.admin_create_user(UserPoolId=pool["Id"], Username="ada@example.com", TemporaryPassword="Temporary-pass-1")
    browser = open_browser(
        f"--host-resolver-rules=MAP {DOMAIN} {at_cognito.outputs()['alb_dns_name']}", "--ignore-certificate-errors"
    )
    page = f"https://{DOMAIN}:{HTTPS_PORT}/health"

    def fill_in(button: str, **fields: str) -> None:
        for name, text in fields.items():
            browser.find_element("name", name).send_keys(text)
        browser.find_element("name", button).click()

    browser.get(page)
    hosted = browser.current_url.partition("/login?")[0]
    assert re.fullmatch(r"https://127\.40\.\d+\.\d+:8443", hosted)
    fill_in("signInSubmitButton", username="ada@example.com", password="wrong")
    assert "Incorrect username or password." in browser.page_source
    fill_in("signInSubmitButton", username="ada@example.com", password="Temporary-pass-1")
    assert "Change password" in browser.page_source
    fill_in("reset_password", new_password="Permanent-pass-2", confirm_password="Permanent-pass-2")
    arrived(browser, page)
    assert "OK" in browser.page_source
    session = {cookie["name"]: cookie for cookie in browser.get_cookies()}["AWSELBAuthSessionCookie-0"]
    assert session["secure"] and session["httpOnly"]
    # Cognito remembers who has signed on there, until that is ended there too.
    browser.delete_all_cookies()
    browser.get(page)
    assert browser.current_url == page
    home = f"https://{DOMAIN}:{HTTPS_PORT}/"
    browser.delete_all_cookies()
    browser.get(f"{hosted}/logout?client_id={client_id}&logout_uri={home}")
    assert browser.current_url.startswith(f"{hosted}/login?")
    browser.get(page)
    fill_in("signInSubmitButton", username="ada@example.com", password="Permanent-pass-2")
    arrived(browser, page)


@pytest.mark.long
def test_a_protected_pool_goes_when_it_is_asked_for_only(at_cognito: t.Any) -> None:
    at_cognito.variables.pop("cognito_domain_prefix")
    calls = len(at_cognito.aws.api_calls())
    kept = at_cognito.play("site")
    assert kept.returncode != 0 and at_cognito.aws.writes(calls) == []
    assert "say cognito_delete_protected=true" in " ".join(kept.stdout.split())
    gone = at_cognito.play("site", "-e", "cognito_delete_protected=true")
    assert gone.returncode == 0, gone.stdout[-4000:]
    assert state(at_cognito)["user pools"] == []


@pytest.mark.long
def test_switched_off_nothing_of_it_remains(secure: t.Any, before: dict) -> None:
    for name in [name for name in secure.variables if name.startswith(("tls_", "sign_on_", "cognito_", "mlflow_waf"))]:
        secure.variables.pop(name)
    off = secure.play("site")
    assert off.returncode == 0, off.stdout[-4000:]
    assert state(secure) == before
