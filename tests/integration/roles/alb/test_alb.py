# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role alb on a local AWS."""

from __future__ import annotations

import typing as t

import pytest

from tests.certificates import Authority


@pytest.fixture(scope="module")
def network(local_aws: t.Any) -> dict:
    ec2 = local_aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.8.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="alb", Description="Load balancer", VpcId=vpc)["GroupId"]
    return {"alb_vpc_id": vpc, "alb_subnet_ids": subnets, "alb_security_group_ids": [group], "alb_listener_port": 8080}


@pytest.fixture
def elb(local_aws: t.Any) -> t.Any:
    return local_aws.client("elbv2")


def attributes(answer: dict) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in answer["Attributes"]}


def test_life_of_a_load_balancer(run_role: t.Callable, elb: t.Any, network: dict) -> None:
    variables = {"alb_name": "life", "alb_tags": {"team": "a"}, **network}
    check = run_role("alb", variables, ("main", "wait"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    assert check.outputs.pop("hosts") == check.outputs.pop("origins") == []
    assert set(check.outputs.values()) == {None}

    create = run_role("alb", variables, ("main", "wait"))
    assert (create.rc, create.changed) == (0, 1), create.stdout
    outputs = create.outputs
    assert outputs["state"] == "active"
    assert outputs["hosts"] == [f"{outputs['alb_dns_name']}:8080"]
    assert outputs["tracking_uri"] == f"http://{outputs['alb_dns_name']}:8080"
    of_balancer = attributes(elb.describe_load_balancer_attributes(LoadBalancerArn=outputs["alb_arn"]))
    assert of_balancer["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert of_balancer["routing.http.desync_mitigation_mode"] == "defensive"
    of_group = attributes(elb.describe_target_group_attributes(TargetGroupArn=outputs["target_group_arn"]))
    assert of_group["deregistration_delay.timeout_seconds"] == "30"
    group = elb.describe_target_groups(TargetGroupArns=[outputs["target_group_arn"]])["TargetGroups"][0]
    assert (group["TargetType"], group["Port"], group["HealthCheckPath"]) == ("ip", 5000, "/health")
    tagged = elb.describe_tags(ResourceArns=[outputs[key] for key in ("alb_arn", "target_group_arn", "listener_arn")])
    for one in tagged["TagDescriptions"]:
        assert {"Key": "mlflow-deployment", "Value": "life"} in one["Tags"]

    for checking in (True, False):
        again = run_role("alb", variables, ("main", "wait"), check=checking)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == outputs
    assert run_role("alb", variables, "info").outputs == outputs

    changed = {
        **variables,
        "alb_listener_port": 8081,
        "alb_idle_timeout": 120,
        "alb_tags": {},
        "alb_deletion_protection": True,
    }
    assert run_role("alb", changed, check=True).writes == []
    change = run_role("alb", changed)
    assert (change.rc, change.changed) == (0, 1), change.stdout
    assert change.outputs["tracking_uri"].endswith(":8081") and len(change.outputs["hosts"]) == 1
    assert run_role("alb", changed).writes == []

    protected = run_role("alb", changed, "absent")
    assert protected.rc == 2 and protected.writes == [] and "say alb_delete_protected=true" in protected.stdout
    doomed = {**variables, "alb_delete_protected": True}
    gone = run_role("alb", doomed, "absent")
    assert (gone.rc, gone.changed) == (0, 1), gone.stdout
    again = run_role("alb", doomed, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alb_scheme": "outside"}, "value of alb_scheme must be one of"),
        ({"alb_health_check_interval": 5}, "health_check_timeout = 5: it must be shorter than the interval"),
        ({"alb_listener_port": "web"}, "alb_listener_port"),
    ],
)
def test_bad_input_is_refused_before_the_first_write(
    run_role: t.Callable, network: dict, wrong: dict, message: str
) -> None:
    run = run_role("alb", {"alb_name": "bad", **network, **wrong})
    assert run.rc == 2 and run.writes == []
    assert message in run.stdout


def test_half_made_is_completed_and_half_gone_removed(run_role: t.Callable, elb: t.Any, network: dict) -> None:
    variables = {"alb_name": "half", **network}
    made = run_role("alb", variables, ("main", "wait")).outputs
    elb.delete_listener(ListenerArn=made["listener_arn"])
    run = run_role("alb", variables)
    assert (run.rc, run.writes) == (0, ["elasticloadbalancing:CreateListener"]), run.stdout
    elb.delete_load_balancer(LoadBalancerArn=made["alb_arn"])
    gone = run_role("alb", variables, "absent")
    assert gone.rc == 0 and "elasticloadbalancing:DeleteTargetGroup" in gone.writes, gone.stdout


def test_what_is_not_ours_is_not_touched(run_role: t.Callable, elb: t.Any, network: dict) -> None:
    elb.create_target_group(Name="foreign", Protocol="HTTP", Port=5000, VpcId=network["alb_vpc_id"], TargetType="ip")
    for entry in ("main", "absent"):
        run = run_role("alb", {"alb_name": "foreign", **network}, entry)
        assert run.rc == 2 and run.writes == [], run.stdout
        assert "Target group foreign: it exists but does not carry the tags" in run.stdout


def test_waiting_for_nothing_fails_at_once(run_role: t.Callable) -> None:
    run = run_role("alb", {"alb_name": "nothing"}, "wait")
    assert run.rc == 2 and "Load balancer nothing: there is none to wait for" in run.stdout


@pytest.fixture(scope="module")
def certificate_arns(local_aws: t.Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    authority, acm, arns = Authority(tmp_path_factory.mktemp("authority")), local_aws.client("acm"), []
    for _one in range(2):
        certificate, key = authority.issue("mlflow.example.com")
        made = acm.import_certificate(Certificate=certificate.read_bytes(), PrivateKey=key.read_bytes())
        arns.append(made["CertificateArn"])
    return arns


def test_https_goes_on_and_off_and_its_certificate_changes(
    run_role: t.Callable, elb: t.Any, network: dict, certificate_arns: list[str]
) -> None:
    plain = {"alb_name": "secure", **network}
    before = run_role("alb", plain, ("main", "wait")).outputs
    secure = {
        **plain,
        "alb_certificate_arn": certificate_arns[0],
        "alb_https_port": 8443,
        "alb_domain_name": "mlflow.example.com",
    }
    check = run_role("alb", secure, check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    # The tracking URI is that which answers now; what follows from the new listeners can be predicted.
    assert check.outputs == {**before, "origins": ["https://mlflow.example.com:8443"], "hosts": ["mlflow.example.com:8443"]}
    on = run_role("alb", secure)
    # Load balancer, target group and first listener learn the domain.
    assert sorted(on.writes) == [
        *["elasticloadbalancing:AddTags"] * 3,
        "elasticloadbalancing:CreateListener",
        "elasticloadbalancing:ModifyListener",
    ], on.stdout
    assert on.outputs["tracking_uri"] == "https://mlflow.example.com:8443"
    assert on.outputs["hosts"] == ["mlflow.example.com:8443"]
    assert on.outputs["certificate_arn"] == certificate_arns[0]
    for entry in ("main", "wait", "info"):
        again = run_role("alb", secure, entry)
        assert (again.changed, again.writes, again.outputs) == (0, [], on.outputs), again.stdout
    listeners = {
        one["Port"]: one for one in elb.describe_listeners(LoadBalancerArn=on.outputs["alb_arn"])["Listeners"]
    }
    redirect = listeners[8080]["DefaultActions"][0]["RedirectConfig"]
    assert (redirect["StatusCode"], redirect["Host"], redirect["Port"]) == ("HTTP_301", "mlflow.example.com", "8443")

    renewed = run_role("alb", {**secure, "alb_certificate_arn": certificate_arns[1]})
    assert renewed.writes == ["elasticloadbalancing:ModifyListener"], renewed.stdout
    assert renewed.outputs["certificate_arn"] == certificate_arns[1]
    closed = run_role("alb", {**secure, "alb_certificate_arn": certificate_arns[1], "alb_http_redirect": False})
    assert closed.writes == ["elasticloadbalancing:DeleteListener"], closed.stdout
    run_role("alb", {**secure, "alb_certificate_arn": certificate_arns[1]})
    off = run_role("alb", plain)
    assert sorted(off.writes) == [
        "elasticloadbalancing:DeleteListener",
        "elasticloadbalancing:ModifyListener",
        *["elasticloadbalancing:RemoveTags"] * 3,
    ], off.stdout
    # The HTTP listener was closed in between: another one is there now.
    assert {**off.outputs, "listener_arn": ""} == {**before, "listener_arn": ""}
    assert run_role("alb", plain, "absent").rc == 0


# What is delivered, tests/integration/local_aws/test_access_logs.py sees.
@pytest.mark.long
def test_access_logs_go_on_and_off(run_role: t.Callable, local_aws: t.Any, network: dict) -> None:
    archive = {"log_archive_name": "logged", "log_archive_bucket": "alb-logs", "log_archive_account_id": "123456789012"}
    closed = local_aws.client("s3").create_bucket
    closed(Bucket="closed-alb-logs", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    assert run_role("log_archive", {**archive, "log_archive_prefix": "team"}).rc == 0
    plain = {"alb_name": "logged", **network}
    logged = {**plain, "alb_access_logs_bucket": "alb-logs", "alb_access_logs_prefix": "team"}
    on = run_role("alb", logged, ("main", "wait"))
    assert on.rc == 0 and on.outputs["access_logs"] == "s3://alb-logs/team", on.stdout
    again = run_role("alb", logged, ("main", "info"))
    assert (again.changed, again.writes, again.outputs) == (0, [], on.outputs), again.stdout
    refused = run_role("alb", {**logged, "alb_access_logs_bucket": "closed-alb-logs"})
    assert refused.rc == 2 and refused.writes == []
    assert "Access Denied for bucket: closed-alb-logs" in refused.stdout.replace("\n", " ")
    off = run_role("alb", plain, ("main", "absent"))
    assert off.rc == 0 and "elasticloadbalancing:ModifyLoadBalancerAttributes" in off.writes, off.stdout
    assert off.outputs["access_logs"] is None
