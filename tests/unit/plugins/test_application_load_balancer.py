# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The load balancer modules against an in-process AWS, and against answers that it does not give."""

from __future__ import annotations

import typing as t

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import elb_listeners, elb_load_balancer, elb_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    application_load_balancer,
    application_load_balancer_info,
)

OWNER = {"owner": "us"}
pytestmark = pytest.mark.usefixtures("aws_environment")


class Answering:
    """A client of which some operations answer as told, call by call; exceptions are raised, None asks the real one."""

    def __init__(self, client: t.Any, answers: dict[str, list]) -> None:
        self.client = client
        self.answers = answers

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool = False, **arguments: t.Any) -> t.Any:
            told = self.answers.get(operation)
            answer = told.pop(0) if told else None
            if answer is None:
                return getattr(self.client, operation)(**arguments)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


@pytest.fixture
def answers() -> dict[str, list]:
    return {}


@pytest.fixture
def elb(aws_environment: None, answers: dict, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Any]:
    with mock_aws():
        client = boto3.client("elbv2", region_name="eu-west-2")
        monkeypatch.setattr(elb_load_balancer, "connect", lambda _module: Answering(client, answers))
        monkeypatch.setattr(elb_load_balancer, "POLL_SECONDS", 0.01)
        yield client


@pytest.fixture
def wanted(elb: t.Any) -> dict:
    ec2 = boto3.client("ec2", region_name="eu-west-2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for number, zone in enumerate(("eu-west-2a", "eu-west-2b", "eu-west-2c"))
    ]
    groups = [ec2.create_security_group(GroupName=n, Description=n, VpcId=vpc)["GroupId"] for n in ("one", "two")]
    return {
        "name": "web",
        "vpc_id": vpc,
        "subnet_ids": subnets[:2],
        "other_subnet_ids": subnets[1:],
        "security_group_ids": groups[:1],
        "other_security_group_ids": groups[1:],
        "listeners": [{"port": 80}],
        "owner_tags": OWNER,
        "tags": {**OWNER, "cost": 12},
    }


def options(wanted: dict, **others: t.Any) -> dict:
    return {**{key: value for key, value in wanted.items() if not key.startswith("other_")}, **others}


def make(run_module: t.Callable, wanted: dict, **others: t.Any) -> dict:
    return run_module(application_load_balancer, options(wanted, **others))


def test_make_then_leave_alone(elb: t.Any, wanted: dict, run_module: t.Callable) -> None:
    check = run_module(application_load_balancer, options(wanted), check=True)
    assert check["changed"] and check["load_balancer"]["alb_arn"] is None and check["load_balancer"]["hosts"] == []
    assert elb.describe_load_balancers()["LoadBalancers"] == []
    made = make(run_module, wanted)
    found = made["load_balancer"]
    assert made["changed"] and found["tracking_uri"] == f"http://{found['alb_dns_name']}"
    assert found["hosts"] == [found["alb_dns_name"]]
    again = make(run_module, wanted)
    assert not again["changed"] and again["load_balancer"] == found
    info = run_module(application_load_balancer_info, {"name": "web", "wait": True})
    assert info["load_balancer"]["state"] in ("active", "provisioning")


def test_changes_are_made_one_by_one(elb: t.Any, wanted: dict, run_module: t.Callable) -> None:
    make(run_module, wanted)
    changed = make(
        run_module,
        wanted,
        subnet_ids=wanted["other_subnet_ids"],
        security_group_ids=wanted["other_security_group_ids"],
        health_check_interval=20,
        idle_timeout=120,
        deregistration_delay=5,
        access_logs_bucket="logs",
        listeners=[{"port": 8080}, {"port": 8081}],
        tags=OWNER,
    )
    assert set(changed["diff"]["after"]) >= {
        "subnet_ids", "security_group_ids", "health_check", "load_balancer_attributes", "target_group_attributes",
        "listener 80", "listener 8080", "listener 8081",
    }  # fmt: skip
    found = changed["load_balancer"]
    assert found["hosts"] == [f"{found['alb_dns_name']}:{port}" for port in (8080, 8081)]
    group = elb.describe_target_groups(Names=["web"])["TargetGroups"][0]
    assert group["HealthCheckIntervalSeconds"] == 20
    tags = elb.describe_tags(ResourceArns=[found["alb_arn"]])["TagDescriptions"][0]["Tags"]
    assert tags == [{"Key": "owner", "Value": "us"}]
    assert found["access_logs"] == "s3://logs"
    prefixed = make(run_module, wanted, access_logs_bucket="logs", access_logs_prefix="team")
    assert prefixed["load_balancer"]["access_logs"] == "s3://logs/team"
    off = make(run_module, wanted)
    assert off["diff"]["after"]["load_balancer_attributes"] == {"access_logs.s3.enabled": "false"}
    assert off["load_balancer"]["access_logs"] is None


def test_listener_that_goes_elsewhere_is_brought_back(elb: t.Any, wanted: dict, run_module: t.Callable) -> None:
    made = make(run_module, wanted)["load_balancer"]
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503", "ContentType": "text/plain"}}
    elb.modify_listener(ListenerArn=made["listener_arn"], DefaultActions=[fixed])
    assert make(run_module, wanted, tags={**OWNER, "more": "1"})["changed"]
    action = elb.describe_listeners(ListenerArns=[made["listener_arn"]])["Listeners"][0]["DefaultActions"][0]
    assert action["TargetGroupArn"] == made["target_group_arn"]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"scheme": "internal"}, "scheme = internal: load balancer web was made with internet-facing"),
        ({"target_port": 5001}, "target_port = 5001: load balancer web was made with 5000"),
        ({"health_check_timeout": 10}, "health_check_timeout = 10: it must be shorter than the interval of 10 s"),
        ({"listeners": [{"port": 80}, {"port": 80}]}, "listeners = [80, 80]: two have the same port"),
    ],
)
def test_impossible_changes_are_refused(wanted: dict, run_module: t.Callable, others: dict, message: str) -> None:
    make(run_module, wanted)
    refused = make(run_module, wanted, **others)
    assert refused["failed"] and refused["msg"].startswith(message)


def test_remove(elb: t.Any, wanted: dict, run_module: t.Callable) -> None:
    make(run_module, wanted, deletion_protection=True)
    refused = make(run_module, wanted, state="absent")
    assert refused["msg"].startswith("Load balancer web: its deletion protection is on")
    assert run_module(application_load_balancer, options(wanted, state="absent", delete_protected=True), check=True)[
        "changed"
    ]
    gone = make(run_module, wanted, state="absent", delete_protected=True)
    assert gone["changed"] and gone["load_balancer"]["alb_arn"] is None
    assert not make(run_module, wanted, state="absent")["changed"]
    assert elb.describe_target_groups()["TargetGroups"] == []


def test_unprotected_is_removed_without_more_words(elb: t.Any, wanted: dict, run_module: t.Callable) -> None:
    make(run_module, wanted)
    assert "deletion_protection" not in make(run_module, wanted, state="absent")["diff"]["before"]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Call")


def test_target_group_in_use_is_tried_again_until_the_deadline(
    elb: t.Any, answers: dict, wanted: dict, run_module: t.Callable
) -> None:
    make(run_module, wanted)
    answers["delete_target_group"] = [refusal("ResourceInUse")]
    assert make(run_module, wanted, state="absent")["changed"]
    make(run_module, wanted)
    answers["delete_target_group"] = [refusal("ResourceInUse")]
    refused = make(run_module, wanted, state="absent", wait_timeout=0)
    assert refused["msg"].startswith("Target group web: it is still in use after 0 s")


def test_load_balancer_that_stays_is_reported(elb: t.Any, answers: dict, wanted: dict, run_module: t.Callable) -> None:
    make(run_module, wanted)
    answers["delete_load_balancer"] = [{}]
    refused = make(run_module, wanted, state="absent", wait_timeout=0)
    assert refused["msg"].startswith("Load balancer web: it is not gone after 0 s")


@pytest.mark.parametrize("state", ["present", "absent"])
def test_foreign_is_refused(elb: t.Any, wanted: dict, run_module: t.Callable, state: str) -> None:
    elb.create_target_group(Name="web", Protocol="HTTP", Port=5000, VpcId=wanted["vpc_id"], TargetType="ip")
    refused = make(run_module, wanted, state=state)
    assert refused["msg"].startswith("Target group web: it exists but does not carry the tags owner=us")


def waiting(state: dict) -> dict:
    return {"LoadBalancers": [{"LoadBalancerArn": "arn", "State": state}]}


def test_wait(elb: t.Any, answers: dict, run_module: t.Callable) -> None:
    module, wait = application_load_balancer_info, {"name": "web", "wait": True, "wait_timeout": 0}
    assert run_module(module, wait)["msg"].startswith("Load balancer web: there is none to wait for")
    assert run_module(module, wait, check=True)["load_balancer"]["alb_arn"] is None
    answers["describe_load_balancers"] = [waiting({"Code": "failed", "Reason": "no address left"})]
    assert run_module(module, wait)["msg"].startswith("Load balancer web: it failed: no address left")
    answers["describe_load_balancers"] = [waiting({"Code": "provisioning"})]
    assert "it is not active but provisioning after 0 s" in run_module(module, wait)["msg"]


def test_refusals_of_aws_are_one_line(elb: t.Any, answers: dict, wanted: dict, run_module: t.Callable) -> None:
    for module, given in (
        (application_load_balancer, options(wanted)),
        (application_load_balancer_info, {"name": "web"}),
    ):
        answers["describe_load_balancers"] = [refusal("AccessDenied")]
        refused = run_module(module, given)
        assert (
            refused["failed"] and "\n" not in refused["msg"] and "elasticloadbalancing:Call is denied" in refused["msg"]
        )


def listener(port: int, protocol: str, **action: t.Any) -> dict:
    return {"ListenerArn": f"arn-{port}", "Port": port, "Protocol": protocol, "DefaultActions": [action]}


FORWARD = {"Type": "forward", "TargetGroupArn": "group"}
CERTIFICATE = {"certificate_arn": "arn:certificate"}


def test_clients_use_https_and_leave_the_port_of_the_scheme_out() -> None:
    found = [
        listener(80, "HTTP", Type="redirect", RedirectConfig={"StatusCode": "HTTP_301"}),
        listener(443, "HTTP", **FORWARD),
        listener(8443, "HTTPS", **FORWARD),
        listener(443, "HTTPS", **FORWARD),
    ]
    told = elb_rules.summary({"DNSName": "alb.example"}, None, found, "web.example")
    assert told["origins"] == ["https://web.example", "https://web.example:8443", "http://web.example:443"]
    assert told["hosts"] == ["web.example", "web.example:8443", "web.example:443"]
    assert told["tracking_uri"] == "https://web.example" and told["certificate_arn"] is None
    assert elb_rules.summary(None, None, [], "web.example")["hosts"] == []


@pytest.mark.parametrize(
    ("listeners", "message"),
    [
        ([{"port": 443, "protocol": "HTTPS"}], "listeners: port 443 is HTTPS and has no certificate_arn; give one"),
        (
            [{"port": 80, "redirect_port": 443}],
            "listeners: port 80 redirects to 443, which no HTTPS listener has; choose one of none",
        ),
    ],
)
def test_listeners_that_lead_nowhere_are_refused(
    wanted: dict, run_module: t.Callable, listeners: list, message: str
) -> None:
    refused = make(run_module, wanted, listeners=listeners)
    assert refused["failed"] and refused["msg"] == message


def test_every_part_of_a_listener_is_told_apart() -> None:
    options = {"protocol": "HTTPS", "ssl_policy": "policy", "redirect_port": 0, **CERTIFICATE}
    variants = [
        options,
        {**options, "certificate_arn": "arn:other"},
        {**options, "ssl_policy": "other"},
        {**options, "protocol": "HTTP"},
        {**options, "protocol": "HTTP", "redirect_port": 443},
        {**options, "protocol": "HTTP", "redirect_port": 8443},
    ]
    told = [elb_listeners.told(elb_listeners.arguments(one, "group", ""), "group") for one in variants]
    told.append(elb_listeners.told(elb_listeners.arguments(variants[-1], "group", "web.example"), "group"))
    told.append(elb_listeners.told(elb_listeners.arguments(options, "other group", ""), "group"))
    told.append(elb_listeners.told({"Protocol": "HTTPS"}, "group"))
    assert len(set(told)) == len(told)


def test_a_redirect_is_told_with_what_aws_fills_in() -> None:
    short = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    option = {"protocol": "HTTP", "redirect_port": 443}
    wanted = elb_listeners.told(elb_listeners.arguments(option, "group", ""), "group")
    assert elb_listeners.told(listener(80, "HTTP", Type="redirect", RedirectConfig=short), "group") == wanted


SIGN_ON = {
    "issuer": "https://provider.example",
    "authorization_endpoint": "https://provider.example/authorize",
    "token_endpoint": "https://provider.example/token",
    "user_info_endpoint": "https://provider.example/userinfo",
    "client_id": "mlflow",
    "client_secret": "a-client-secret-of-the-provider",
}


def test_sign_on_goes_on_and_off(
    elb: t.Any, wanted: dict, run_module: t.Callable, answers: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = boto3.client("acm", region_name="eu-west-2").request_certificate(DomainName="web.example")
    secure = {"port": 443, "protocol": "HTTPS", "certificate_arn": certificate["CertificateArn"]}
    made = make(run_module, wanted, listeners=[secure])["load_balancer"]
    on = make(run_module, wanted, listeners=[{**secure, "sign_on": SIGN_ON}])
    # Programs get in before everybody else is asked to sign on.
    assert list(on["diff"]["after"])[:2] == ["rule of listener 443", "listener 443"]
    assert SIGN_ON["client_secret"] not in str(on)
    assert not make(run_module, wanted, listeners=[{**secure, "sign_on": SIGN_ON}])["changed"]
    other = make(run_module, wanted, listeners=[{**secure, "sign_on": {**SIGN_ON, "client_secret": "another-secret"}}])
    assert [name for name in other["diff"]["after"] if name.startswith("listener ")] == ["listener 443"]
    rules = [rule for rule in elb.describe_rules(ListenerArn=made["listener_arn"])["Rules"] if not rule["IsDefault"]]
    # Somebody has changed ours, and has added another of their own.
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503", "ContentType": "text/plain"}}
    elb.modify_rule(RuleArn=rules[0]["RuleArn"], Actions=[fixed])
    path = [{"Field": "path-pattern", "Values": ["/private/*"]}]
    elb.create_rule(ListenerArn=made["listener_arn"], Priority=9, Conditions=path, Actions=[fixed])
    again = make(run_module, wanted, listeners=[{**secure, "sign_on": {**SIGN_ON, "client_secret": "another-secret"}}])
    assert list(again["diff"]["after"]) == ["rule of listener 443"]
    off = make(run_module, wanted, listeners=[secure])
    assert list(off["diff"]["after"])[:2] == ["listener 443", "rule of listener 443"]
    left = [rule["Priority"] for rule in elb.describe_rules(ListenerArn=made["listener_arn"])["Rules"]]
    assert sorted(left) == ["9", "default"]
    assert not make(run_module, wanted, listeners=[secure])["changed"]
    assert make(run_module, wanted)["changed"]


def test_a_listener_with_sign_on_is_made_with_its_rule(elb: t.Any, wanted: dict, run_module: t.Callable) -> None:
    certificate = boto3.client("acm", region_name="eu-west-2").request_certificate(DomainName="web.example")
    secure = {"port": 443, "protocol": "HTTPS", "certificate_arn": certificate["CertificateArn"], "sign_on": SIGN_ON}
    made = make(run_module, wanted, listeners=[secure])["load_balancer"]
    assert len(elb.describe_rules(ListenerArn=made["listener_arn"])["Rules"]) == 2


COGNITO = {
    "user_pool_arn": "arn:aws:cognito-idp:eu-west-2:123456789012:userpool/eu-west-2_AbC",
    "user_pool_client_id": "mlflow",
    "user_pool_domain": "team-mlflow",
}


def test_sign_on_changes_from_a_provider_to_a_user_pool(elb: t.Any, wanted: dict, run_module: t.Callable) -> None:
    certificate = boto3.client("acm", region_name="eu-west-2").request_certificate(DomainName="web.example")
    secure = {"port": 443, "protocol": "HTTPS", "certificate_arn": certificate["CertificateArn"]}
    make(run_module, wanted, listeners=[{**secure, "sign_on": SIGN_ON}])
    pool = make(run_module, wanted, listeners=[{**secure, "sign_on": COGNITO}])
    assert "signs users on with Cognito" in pool["diff"]["after"]["listener 443"]
    assert not make(run_module, wanted, listeners=[{**secure, "sign_on": COGNITO}])["changed"]
    listener = elb.describe_listeners(ListenerArns=[pool["load_balancer"]["listener_arn"]])["Listeners"][0]
    config = listener["DefaultActions"][0]["AuthenticateCognitoConfig"]
    assert config["UserPoolDomain"] == "team-mlflow" and config["SessionTimeout"] == 43200
    tags = elb.describe_tags(ResourceArns=[listener["ListenerArn"]])["TagDescriptions"][0]["Tags"]
    assert elb_listeners.SIGN_ON_TAG not in {tag["Key"] for tag in tags}


@pytest.mark.parametrize(
    ("sign_on", "reason"),
    [
        ({**SIGN_ON, **COGNITO}, "mutually exclusive: issuer|user_pool_arn"),
        ({}, "one of the following is required: issuer, user_pool_arn"),
        ({**COGNITO, "user_pool_domain": None}, "required together: user_pool_arn, user_pool_client_id, user_pool_domain"),
        ({key: value for key, value in SIGN_ON.items() if key != "client_secret"}, "required together: issuer"),
    ],
)
def test_half_a_sign_on_is_refused(wanted: dict, run_module: t.Callable, sign_on: dict, reason: str) -> None:
    given = {key: value for key, value in sign_on.items() if value is not None}
    refused = make(run_module, wanted, listeners=[{"port": 443, "sign_on": given}])
    assert refused["failed"] and reason in refused["msg"]
