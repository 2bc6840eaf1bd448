# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An outside scanner judges a deployment of the profile `standard` with its optional parts switched on."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.integration.aws import ROOT
from tests.integration.deployment import hardening, prowler
from tests.integration.deployment.conftest import LIVE, Deployment

pytestmark = pytest.mark.audit
NAME, DOMAIN = "mlflow-demo", "mlflow.example.com"
TABLE = ROOT / "docs/controls.md"
# What the inventory of the local AWS sets otherwise, and what needs a domain, a bucket or an address of one's own.
VARIABLES = {
    **LIVE,
    "mlflow_profile": "standard",
    "rds_deletion_protection": True,
    "tls_domain_name": DOMAIN,
    "alb_https_port": 8443,
    "mlflow_waf": True,
    "log_archive_bucket": f"{NAME}-logs",
    "network_interface_endpoints": ["ec2"],
    "network_deny_remote_access": True,
    "rds_port": 5439,
    "monitoring_subscriptions": [{"protocol": "email", "endpoint": "ops@example.com"}],
}


def key_for_alarms(deployment: Deployment) -> str:
    """A key that rotates, and that CloudWatch and RDS may use: what a team has before it encrypts its alarms."""
    root = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*", "Resource": "*"}
    publisher = {
        "Effect": "Allow",
        "Principal": {"Service": ["cloudwatch.amazonaws.com", "events.rds.amazonaws.com"]},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
        "Resource": "*",
    }
    kms = deployment.client("kms")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [root, publisher]})
    key = kms.create_key(Policy=policy, Description="Alarms")["KeyMetadata"]["KeyId"]
    kms.enable_key_rotation(KeyId=key)
    return key


def remove_default_vpc(ec2: t.Any) -> None:
    """What every account comes with and no deployment uses."""
    vpc_id = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for gateway in ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc_id]}])["InternetGateways"]:
        ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc_id)
    ec2.delete_vpc(VpcId=vpc_id)


@pytest.fixture(scope="module")
def audited(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    with local_aws_factory() as aws:
        folder = tmp_path_factory.mktemp("deployments")
        remove_default_vpc(aws.client("ec2"))
        # A database that was, of which there is a snapshot.
        former = Deployment(aws, "local", NAME, folder, variables=dict(LIVE))
        for playbook, *options in (("site",), ("destroy", "-e", f"confirm_destroy={NAME}", "-e", "rds_final_snapshot=true")):
            done = former.play(playbook, *options)
            assert done.returncode == 0, done.stdout[-6000:]
        deployment = Deployment(aws, "local", NAME, folder, variables=dict(VARIABLES))
        deployment.client("route53").create_hosted_zone(Name="example.com", CallerReference="audit")
        deployment.hosts_file = tmp_path_factory.mktemp("names") / "hosts"
        deployment.variables["monitoring_kms_key"] = key_for_alarms(deployment)
        deployment.variables["mlflow_ca_path"] = str(aws.directory / "certificates/ca.pem")
        deployment.hosts_file.write_text("127.0.0.1 localhost\n")
        secure = deployment.variables
        # The address that the domain leads to is known after a first run.
        deployment.variables = {key: value for key, value in secure.items() if key != "tls_domain_name"}
        first = deployment.play("site")
        assert first.returncode == 0, first.stdout[-6000:]
        deployment.hosts_file.write_text(f"127.0.0.1 localhost\n{deployment.outputs()['alb_dns_name']} {DOMAIN}\n")
        deployment.variables = secure
        second = deployment.play("site")
        assert second.returncode == 0, second.stdout[-6000:]
        yield deployment


@pytest.fixture(scope="module")
def known() -> dict[str, t.Any]:
    return yaml.safe_load((ROOT / "docs/controls.yml").read_text())


@pytest.fixture(scope="module")
def findings(audited: Deployment, known: dict, tmp_path_factory: pytest.TempPathFactory) -> list[prowler.Finding]:
    found = prowler.scan(audited.aws.environment, "eu-west-2", tmp_path_factory.mktemp("prowler"))
    return [one for one in found if one.check not in known["account"]]


def test_nothing_fails_that_is_not_waived_and_no_waiver_is_stale(findings: list[prowler.Finding], known: dict[str, t.Any]) -> None:
    failed = {one.check: (one.severity, one.resource, one.detail) for one in findings if not one.passed}
    assert {check: what for check, what in failed.items() if check not in known["waived"]} == {}
    assert sorted(set(known["waived"]) - set(failed)) == []
    assert {check: what for check, what in failed.items() if what[0] in ("critical", "high")} == {}


def test_the_table_of_controls_is_true(findings: list[prowler.Finding], known: dict[str, t.Any]) -> None:
    table = prowler.table(findings, known)
    if not TABLE.exists() or TABLE.read_text() != table:
        TABLE.write_text(table)
        pytest.fail("docs/controls.md was not true any more; it has been written anew: look at the difference")


def test_each_setting_that_is_switched_off_turns_its_control_red_and_a_run_mends_all(
    audited: Deployment, findings: list[prowler.Finding], known: dict[str, t.Any], tmp_path: Path
) -> None:
    checks = {one.check for one in findings}

    def look(name: str) -> set[str]:
        return prowler.failing(prowler.scan(audited.aws.environment, "eu-west-2", tmp_path / name, checks), known)

    before = red = prowler.failing(findings, known)
    weakened = hardening.Weakened(audited.client, NAME, audited.outputs())
    wrong = {}
    for number, setting in enumerate(hardening.SETTINGS):
        setting.switch_off(weakened)
        now = look(str(number))
        if now - red != setting.controls or red - now:
            wrong[setting.name] = (sorted(now - red), sorted(red - now))
        red = now
    assert wrong == {}
    weakened.deregister()
    mended = audited.play("site")
    assert mended.returncode == 0, mended.stdout[-6000:]
    assert look("mended") == before
