# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role tls on a local AWS."""

from __future__ import annotations

import typing as t

import pytest

from tests.certificates import Authority

DOMAIN = "mlflow.example.com"
LOAD_BALANCER = {
    "tls_load_balancer_dns_name": "web-1.eu-west-2.elb.amazonaws.com",
    "tls_load_balancer_hosted_zone_id": "ZHURV8PSTC4K8",
}


@pytest.fixture(scope="module")
def route53(local_aws: t.Any) -> t.Any:
    return local_aws.client("route53")


@pytest.fixture(scope="module")
def zone_id(route53: t.Any) -> str:
    for name in ("example.com", "example.org"):
        made = route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"]
        if name == "example.com":
            kept = made.rpartition("/")[2]
    return kept


@pytest.fixture(scope="module")
def acm(local_aws: t.Any) -> t.Any:
    return local_aws.client("acm")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def records(route53: t.Any, zone_id: str, kind: str) -> dict[str, dict]:
    found = route53.list_resource_record_sets(HostedZoneId=zone_id)["ResourceRecordSets"]
    return {one["Name"].rstrip("."): one for one in found if one["Type"] == kind}


def certificates(acm: t.Any, name: str) -> list[str]:
    """ARNs of the certificates of one deployment: others share the account."""
    tag = {"Key": "mlflow-deployment", "Value": name}
    arns = [one["CertificateArn"] for one in acm.list_certificates()["CertificateSummaryList"]]
    return [arn for arn in arns if tag in acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]]


def pem(authority: Authority, domain: str = DOMAIN, days: float = 90) -> dict[str, str]:
    certificate, key = authority.issue(domain, days)
    return {"tls_certificate": certificate.read_text(), "tls_private_key": key.read_text()}


def test_life_of_a_requested_certificate(run_role: t.Callable, route53: t.Any, acm: t.Any, zone_id: str) -> None:
    variables = {"tls_name": "life", "tls_domain_name": DOMAIN, "tls_tags": {"team": "a"}, **LOAD_BALANCER}
    steps = ("main", "wait", "record")
    check = run_role("tls", variables, ("main", "record"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 2, []), check.stdout
    assert check.outputs["certificate_arn"] is None and check.outputs["hosted_zone_id"] == zone_id
    made = run_role("tls", variables, steps)
    assert (made.rc, made.changed, made.outputs["status"]) == (0, 2, "ISSUED"), made.stdout
    alias = records(route53, zone_id, "A")[DOMAIN]["AliasTarget"]
    assert alias["DNSName"].rstrip(".") == LOAD_BALANCER["tls_load_balancer_dns_name"]
    assert len(records(route53, zone_id, "CNAME")) == 1
    for checking in (True, False):
        again = run_role("tls", variables, steps, check=checking)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == made.outputs
    tags = acm.list_tags_for_certificate(CertificateArn=made.outputs["certificate_arn"])["Tags"]
    assert {"Key": "mlflow-deployment", "Value": "life"} in tags and {"Key": "team", "Value": "a"} in tags

    # Other names need another certificate; what it replaces goes once nobody shows it.
    more = {**variables, "tls_alternative_names": [f"*.{DOMAIN}", "other.example.com"], "tls_tags": {}}
    changed = run_role("tls", more, steps)
    assert changed.rc == 0 and changed.outputs["certificate_arn"] != made.outputs["certificate_arn"], changed.stdout
    assert certificates(acm, "life") == [changed.outputs["certificate_arn"]]
    assert len(records(route53, zone_id, "CNAME")) == 2
    again = run_role("tls", more, steps)
    assert (again.changed, again.writes) == (0, []), again.stdout
    info = run_role("tls", more, "info")
    assert info.outputs["certificate_arn"] == changed.outputs["certificate_arn"] and info.writes == []

    gone = run_role("tls", more, ("record_absent", "absent"))
    assert gone.rc == 0, gone.stdout
    assert records(route53, zone_id, "CNAME") == records(route53, zone_id, "A") == {}
    assert certificates(acm, "life") == []
    twice = run_role("tls", more, ("record_absent", "absent"))
    assert (twice.rc, twice.changed, twice.writes) == (0, 0, []), twice.stdout


def test_life_of_an_imported_certificate(
    run_role: t.Callable, acm: t.Any, authority: Authority, zone_id: str
) -> None:
    variables = {"tls_name": "imported", "tls_domain_name": DOMAIN, "tls_manage_record": False, **pem(authority)}
    assert run_role("tls", variables, check=True).writes == []
    made = run_role("tls", variables, ("main", "wait"))
    assert (made.rc, made.writes) == (0, ["acm:ImportCertificate"]), made.stdout
    assert variables["tls_private_key"].splitlines()[1] not in made.stdout
    assert run_role("tls", variables).writes == []
    renewed = run_role("tls", {**variables, **pem(authority)}, verbosity=3)
    assert renewed.writes == ["acm:ImportCertificate"] and renewed.outputs["certificate_arn"] == made.outputs[
        "certificate_arn"
    ], renewed.stdout
    assert "PRIVATE KEY" not in renewed.stdout
    assert run_role("tls", variables, "absent").writes == ["acm:DeleteCertificate"]


def test_what_somebody_else_keeps_is_only_used(
    run_role: t.Callable, acm: t.Any, authority: Authority, zone_id: str
) -> None:
    certificate, key = authority.issue(DOMAIN)
    arn = acm.import_certificate(Certificate=certificate.read_bytes(), PrivateKey=key.read_bytes())["CertificateArn"]
    run = run_role("tls", {"tls_name": "given", "tls_certificate_arn": arn}, ("main", "wait"))
    assert (run.rc, run.writes, run.outputs["certificate_arn"]) == (0, [], arn), run.stdout
    gone = run_role("tls", {"tls_name": "given", "tls_certificate_arn": arn}, "absent")
    assert (gone.rc, gone.writes) == (0, []), gone.stdout
    acm.delete_certificate(CertificateArn=arn)


def test_a_record_that_leads_elsewhere_is_not_touched(
    run_role: t.Callable, route53: t.Any, zone_id: str
) -> None:
    name = "taken.example.com"
    record = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}
    change = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    route53.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch=change)
    variables = {"tls_name": "taken", "tls_domain_name": name, **LOAD_BALANCER, "tls_hosted_zone_id": zone_id}
    refused = run_role("tls", variables, "record")
    assert refused.rc == 2 and refused.writes == [] and "it leads elsewhere (192.0.2.1)" in refused.stdout
    assert run_role("tls", variables, "record_absent").writes == []
    replaced = run_role("tls", {**variables, "tls_replace_record": True}, "record")
    assert replaced.writes == ["route53:ChangeResourceRecordSets"], replaced.stdout
    assert run_role("tls", variables, "record_absent").writes == ["route53:ChangeResourceRecordSets"]


def test_bad_input_is_refused_before_the_first_write(
    run_role: t.Callable, authority: Authority, zone_id: str
) -> None:
    """What else is refused, tests/unit/plugins/test_domain.py tells."""
    mixed = {**pem(authority), "tls_private_key": pem(authority)["tls_private_key"]}
    cases: list[tuple[dict, str]] = [
        ({"tls_domain_name": "mlflow.example.net"}, "no public hosted zone of this account answers for it"),
        ({"tls_certificate_arn": "certificate"}, "it is no ARN of a certificate"),
        ({"tls_domain_name": DOMAIN, **mixed}, "it is not the key of the certificate"),
    ]
    for entry in ("check", "main"):
        for variables, reason in cases:
            run = run_role("tls", {"tls_name": "bad", **variables}, entry)
            assert run.rc == 2 and run.writes == [] and reason in " ".join(run.stdout.split()), (variables, run.stdout)
