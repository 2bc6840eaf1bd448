# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains, zones and certificates: the rules, and the modules against an in-process AWS."""

from __future__ import annotations

import datetime
import functools
import typing as t

import boto3
import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    domain_certificates,
    domain_names,
    domain_pem,
    domain_records,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    domain_alias_record,
    domain_certificate,
    domain_certificate_info,
    domain_check,
)
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from tests.certificates import Authority

pytestmark = pytest.mark.usefixtures("aws_environment")
DOMAIN = "mlflow.example.com"
OWNER = {"owner": "us"}
NOW = datetime.datetime.now(datetime.timezone.utc)
MODULES = (domain_alias_record, domain_certificate, domain_certificate_info, domain_check)
UNKNOWN = "arn:aws:acm:eu-west-2:123456789012:certificate/0a1b2c3d-4e5f-6071-8a9b-0c1d2e3f4a5b"


@pytest.fixture
def account(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Callable[[str], t.Any]]:
    """account(service) is its client."""
    monkeypatch.setattr(domain_certificates, "POLL_SECONDS", 0.01)
    with mock_aws():
        yield functools.partial(boto3.client, region_name="eu-west-2")


@pytest.fixture
def zone_id(account: t.Callable) -> str:
    route53 = account("route53")
    route53.create_hosted_zone(Name="com", CallerReference="2")
    route53.create_hosted_zone(Name="example.org", CallerReference="3")
    made = route53.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    return made.rpartition("/")[2]


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates are issued as soon as somebody looks."""
    monkeypatch.setattr("moto.acm.models.settings.ACM_VALIDATION_WAIT", -1)


@pytest.fixture
def authority(tmp_path: t.Any) -> Authority:
    return Authority(tmp_path)


def pem(authority: Authority, domain: str = DOMAIN, days: float = 90) -> dict[str, str]:
    certificate, key = authority.issue(domain, days)
    return {"certificate": certificate.read_text(), "private_key": key.read_text()}


def options(**others: t.Any) -> dict:
    return {"domain_name": DOMAIN, "owner_tags": OWNER, "tags": {**OWNER, "cost": 12}, **others}


# --- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.b", "mlflow.example.com", "x-1.example.co.uk", "xn--bcher-kva.example"])
def test_names_of_websites(name: str) -> None:
    assert domain_names.problem(name) is None and domain_names.problem(f"*.{name}") is None


@pytest.mark.parametrize(
    "name", ["", "localhost", "a..b", "-a.example", "a-.example", "a_b.example", "10.0.0.1", "A.example", "a." * 127 + "b"]
)
def test_names_that_are_none(name: str) -> None:
    assert domain_names.problem(name)


labels = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@given(st.lists(labels, min_size=2, max_size=5), st.booleans())
def test_a_wildcard_stands_for_one_whole_label(parts: list[str], upper: bool) -> None:
    name = ".".join(parts)
    shown = name.upper() if upper else name
    assert domain_names.covers([shown], name)
    assert domain_names.covers([f"*.{'.'.join(parts[1:])}"], name)
    assert not domain_names.covers([f"*.{name}"], name)
    assert not domain_names.covers([f"*.{'.'.join(parts[2:])}"] if len(parts) > 2 else [], name)


@given(st.lists(labels, min_size=1, max_size=4), labels)
def test_a_zone_holds_itself_and_what_is_below(parts: list[str], label: str) -> None:
    zone = ".".join(parts)
    assert domain_names.in_zone(zone, f"{zone}.") and domain_names.in_zone(f"*.{label}.{zone}", zone)
    assert not domain_names.in_zone(f"{label}{zone}", zone)


def test_the_public_zone_with_the_longest_name_answers() -> None:
    zones = [{"Id": name, "Name": f"{name}."} for name in ("com", "example.com", "example.org")]
    private = {"Id": "private", "Name": "mlflow.example.com.", "Config": {"PrivateZone": True}}
    found = domain_names.zone_of(DOMAIN, [*zones, private])
    assert found and found["Id"] == "example.com"
    assert domain_names.zone_of("example.net", zones) is None


@pytest.mark.parametrize(
    ("begins", "ends", "names", "reason"),
    [
        (-10, 90, [DOMAIN], ""),
        (-10, 90, ["10.0.0.1", "*.example.com"], ""),
        (-10, -1, [DOMAIN], "it has expired on"),
        (1, 90, [DOMAIN], "it is not valid before"),
        (-10, 0.5, [DOMAIN], "within a day"),
        (-10, 90, [], f"it is for no name, not for {DOMAIN}"),
    ],
)
def test_certificates_are_judged(begins: float, ends: float, names: list[str], reason: str) -> None:
    findings = Findings()
    dates = [NOW + datetime.timedelta(days=days) for days in (begins, ends)]
    domain_names.check_certificate("certificate", "...", names, *dates, DOMAIN, NOW, findings)
    assert bool(findings.problems) == bool(reason) and reason in "".join(findings.problems)


def test_certificates_are_read(authority: Authority) -> None:
    given = pem(authority)
    found = domain_pem.read(given["certificate"])
    assert found.names == [DOMAIN] and found.begins < NOW < found.ends and len(found.fingerprint) == 64
    assert domain_pem.key_belongs(**given)
    assert not domain_pem.key_belongs(given["certificate"], pem(authority)["private_key"])
    with pytest.raises(ValueError, match="no private key in PEM"):
        domain_pem.key_belongs(given["certificate"], "secret")
    assert domain_pem.read(authority.path.read_text()).names == []


def test_dates_of_older_libraries_are_utc() -> None:
    class Old:
        not_valid_after = datetime.datetime(2030, 1, 1)

    assert domain_pem._utc(Old(), "not_valid_after") == datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (None, None),
        ({"AliasTarget": {"DNSName": "dualstack.Web.example.com."}}, "alias of web.example.com"),
        ({"ResourceRecords": [{"Value": "192.0.2.2"}, {"Value": "192.0.2.1"}]}, "192.0.2.1, 192.0.2.2"),
    ],
)
def test_where_a_record_leads(record: dict | None, told: str | None) -> None:
    assert domain_records.target(record) == told


# --- domain_check ------------------------------------------------------------------------------------------------------


def test_a_domain_of_ours_is_fine(run_module: t.Callable, zone_id: str, authority: Authority) -> None:
    assert run_module(domain_check, {"domain_name": DOMAIN})["hosted_zone_id"] == zone_id
    assert run_module(domain_check, {"domain_name": DOMAIN, "hosted_zone_id": zone_id})["hosted_zone_id"] == zone_id
    imported = {"domain_name": "mlflow.example.net", "zone_needed": False, **pem(authority, "mlflow.example.net")}
    assert run_module(domain_check, imported)["hosted_zone_id"] is None


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"domain_name": "MLflow.example.com"}, "it holds capital letters"),
        ({"domain_name": "*.example.com"}, "clients need a name, not a wildcard"),
        ({"alternative_names": ["a b"]}, "it is no domain name"),
        ({"alternative_names": [f"a{number}.example.com" for number in range(10)]}, "at most 10 names"),
        ({"domain_name": "mlflow.example.net"}, "no public hosted zone of this account answers for it"),
        ({"alternative_names": ["a.example.org"]}, "which does not hold a.example.org"),
        ({"hosted_zone_id": "Z1"}, "this account has no such hosted zone"),
        ({"certificate_arn": "certificate"}, "it is no ARN of a certificate"),
        ({"certificate_arn": UNKNOWN.replace("eu-west-2", "us-east-1")}, "it is in us-east-1"),
        ({"certificate_arn": UNKNOWN}, "this account has no such certificate"),
        ({"certificate_arn": UNKNOWN, "certificate": "a"}, "a certificate to import is given too"),
        ({"certificate": "certificate", "private_key": "key"}, "it is no certificate in PEM"),
    ],
)
def test_what_cannot_work_is_refused(run_module: t.Callable, zone_id: str, wrong: dict, reason: str) -> None:
    refused = run_module(domain_check, {"domain_name": DOMAIN, **wrong})
    assert refused["failed"] and reason in refused["msg"] and "\n" not in refused["msg"]


def test_certificates_that_cannot_be_shown_are_refused(
    run_module: t.Callable, account: t.Callable, zone_id: str, authority: Authority
) -> None:
    acm = account("acm")
    pending = acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")["CertificateArn"]
    other = pem(authority, "other.example.com")
    imported = acm.import_certificate(Certificate=other["certificate"], PrivateKey=other["private_key"])
    mixed = {**pem(authority), "private_key": other["private_key"]}
    unreadable = {**pem(authority), "private_key": "secret-key-material"}
    for wrong, reason in [
        ({"certificate_arn": pending}, "its status is PENDING_VALIDATION"),
        ({"certificate_arn": imported["CertificateArn"]}, f"it is for other.example.com, not for {DOMAIN}"),
        (mixed, "it is not the key of the certificate"),
        (unreadable, "it is no private key in PEM"),
    ]:
        refused = run_module(domain_check, {"domain_name": DOMAIN, **wrong})
        assert refused["failed"] and reason in refused["msg"] and "secret-key-material" not in refused["msg"]
    fine = {"certificate_arn": imported["CertificateArn"], "domain_name": "", "zone_needed": False}
    assert "failed" not in run_module(domain_check, fine)


def test_without_the_library_nothing_is_imported(
    run_module: t.Callable, zone_id: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_pem, "HAS_CRYPTOGRAPHY", False)
    for module in (domain_check, domain_certificate):
        given = options(**pem(authority)) if module is domain_certificate else pem(authority)
        assert "cryptography" in run_module(module, given)["msg"]


# --- domain_certificate -------------------------------------------------------------------------------------------------


def test_a_certificate_is_requested_proved_and_removed(
    run_module: t.Callable, account: t.Callable, zone_id: str, issued: None
) -> None:
    given = options(hosted_zone_id=zone_id, alternative_names=[f"*.{DOMAIN}"])
    check = run_module(domain_certificate, given, check=True)
    assert check["changed"] and check["certificate"]["certificate_arn"] is None
    assert account("acm").list_certificates()["CertificateSummaryList"] == []
    made = run_module(domain_certificate, given)
    assert made["diff"] == check["diff"]
    for checking in (True, False):
        again = run_module(domain_certificate, given, check=checking)
        assert not again["changed"] and again["certificate"] == made["certificate"]
    found = run_module(domain_certificate_info, {"owner_tags": OWNER, "wait": True})["certificate"]
    assert found["status"] == "ISSUED" and found["names"] == sorted([DOMAIN, f"*.{DOMAIN}"])
    record = found["validation_records"][0]
    zone = domain_records.Zone(Retrying(account("route53")), zone_id)
    assert zone.cname(record["name"]) == record["value"]

    # A record that was lost is written again, other tags are set.
    zone.change_cname("DELETE", record["name"], record["value"])
    repaired = run_module(domain_certificate, {**given, "tags": {**OWNER, "more": "1"}})
    assert set(repaired["diff"]["after"]) == {"tags", f"record {record['name']}"}
    assert zone.cname(record["name"]) == record["value"]
    removed = run_module(domain_certificate, {**given, "state": "absent", "hosted_zone_id": ""})
    assert removed["changed"] and removed["certificate"]["certificate_arn"] is None
    assert zone.cname(record["name"]) is None
    assert not run_module(domain_certificate, {**given, "state": "absent"})["changed"]


class Retrying:
    """A client that takes aws_retry, as that of a module does."""

    def __init__(self, client: t.Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> t.Any:
        found = getattr(self._client, name)
        if name == "get_paginator":
            return found

        def call(aws_retry: bool = False, **arguments: t.Any) -> t.Any:
            return found(**arguments)

        return call


def test_a_certificate_for_other_names_replaces_the_first(
    run_module: t.Callable, account: t.Callable, zone_id: str, issued: None
) -> None:
    first = run_module(domain_certificate, options(hosted_zone_id=zone_id))["certificate"]
    more = options(hosted_zone_id=zone_id, alternative_names=["other.example.com"])
    second = run_module(domain_certificate, more)["certificate"]
    assert first["certificate_arn"] != second["certificate_arn"]
    current = run_module(domain_certificate, {**more, "state": "current"})
    assert list(current["diff"]["after"]) == [f"certificate {first['certificate_arn']}"]
    assert not run_module(domain_certificate, {**more, "state": "current"})["changed"]


def test_a_certificate_is_imported_and_replaced(
    run_module: t.Callable, account: t.Callable, authority: Authority
) -> None:
    given = options(**pem(authority), certificate_chain=authority.path.read_text())
    made = run_module(domain_certificate, given)["certificate"]
    assert not run_module(domain_certificate, given)["changed"]
    renewed = run_module(domain_certificate, {**given, **pem(authority)})
    assert renewed["changed"] and list(renewed["diff"]["after"]) == ["certificate"]
    found = run_module(domain_certificate_info, {"certificate_arn": made["certificate_arn"]})["certificate"]
    assert found["certificate_arn"] == made["certificate_arn"] and found["validation_records"] == []


def test_waiting_has_an_end(run_module: t.Callable, account: t.Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = run_module(domain_certificate_info, {"owner_tags": OWNER, "wait": True})
    assert "there is none to wait for" in nobody["msg"]
    assert "both empty" in run_module(domain_certificate_info, {})["msg"]
    acm = account("acm")
    arn = acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")["CertificateArn"]
    late = run_module(domain_certificate_info, {"certificate_arn": arn, "wait": True, "wait_timeout": 0})
    assert "it is not issued but PENDING_VALIDATION after 0 s" in late["msg"] and " CNAME " in late["msg"]
    for status in ("FAILED", "VALIDATION_TIMED_OUT"):
        monkeypatch.setattr("moto.acm.models.CertBundle.check", lambda self, status=status: setattr(self, "status", status))
        lost = run_module(domain_certificate_info, {"certificate_arn": arn, "wait": True})
        assert f"it is {status}; " in lost["msg"]


def test_validation_records_may_take_a_moment(
    run_module: t.Callable, account: t.Callable, zone_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = domain_certificates.records, []

    def late(certificate: dict) -> list[dict[str, str]]:
        seen.append(certificate)
        return plain(certificate) if len(seen) > 3 else []

    monkeypatch.setattr(domain_certificates, "records", late)
    assert run_module(domain_certificate, options(hosted_zone_id=zone_id))["changed"]
    monkeypatch.setattr(domain_certificates, "records", lambda certificate: [])
    monkeypatch.setattr(domain_certificates.time, "monotonic", iter(range(0, 10000, 100)).__next__)
    refused = run_module(domain_certificate, options(hosted_zone_id=zone_id, alternative_names=["a.example.com"]))
    assert "AWS names no validation records yet" in refused["msg"]


def test_a_certificate_that_is_issued_late_is_awaited(
    run_module: t.Callable, account: t.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = account("acm").request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")["CertificateArn"]
    looks: list[int] = []

    def check(self: t.Any) -> None:
        looks.append(1)
        self.status = "ISSUED" if len(looks) > 2 else self.status

    monkeypatch.setattr("moto.acm.models.CertBundle.check", check)
    found = run_module(domain_certificate_info, {"certificate_arn": arn, "wait": True})
    assert found["certificate"]["status"] == "ISSUED" and len(looks) == 3


def test_a_certificate_in_use_is_waited_for(
    run_module: t.Callable, account: t.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    run_module(domain_certificate, options())
    in_use = ClientError({"Error": {"Code": "ResourceInUseException", "Message": "in use"}}, "DeleteCertificate")
    answers: list[t.Any] = [in_use, None]
    plain = domain_certificates.connect

    class InUse(Retrying):
        def delete_certificate(self, aws_retry: bool = False, **arguments: t.Any) -> None:
            answer = answers.pop(0)
            if answer is not None:
                raise answer
            self._client.delete_certificate(**arguments)

    monkeypatch.setattr(
        domain_certificates, "connect",
        lambda module, service="acm": InUse(account("acm")) if service == "acm" else plain(module, service),
    )  # fmt: skip
    absent = options(state="absent", wait_timeout=1)
    assert run_module(domain_certificate, absent)["changed"]
    run_module(domain_certificate, options())
    answers.extend([in_use] * 1000)
    refused = run_module(domain_certificate, {**absent, "wait_timeout": 0})
    assert "it is still in use by somebody" in refused["msg"]


# --- domain_alias_record -----------------------------------------------------------------------------------------------


def test_a_name_leads_to_the_load_balancer(run_module: t.Callable, account: t.Callable, zone_id: str) -> None:
    given = {
        "name": DOMAIN,
        "load_balancer_dns_name": "web-1.eu-west-2.elb.amazonaws.com",
        "load_balancer_hosted_zone_id": "ZHURV8PSTC4K8",
    }
    check = run_module(domain_alias_record, given, check=True)
    assert check["changed"] and check["target"] is None
    made = run_module(domain_alias_record, given)
    assert made["diff"] == check["diff"] and made["target"] == "alias of web-1.eu-west-2.elb.amazonaws.com"
    assert not run_module(domain_alias_record, {**given, "hosted_zone_id": zone_id})["changed"]
    other = {**given, "load_balancer_dns_name": "web-2.eu-west-2.elb.amazonaws.com"}
    refused = run_module(domain_alias_record, other)
    assert "it leads elsewhere" in refused["msg"] and "tls_replace_record" in refused["msg"]
    assert not run_module(domain_alias_record, {**other, "state": "absent"})["changed"]
    assert run_module(domain_alias_record, {**other, "replace": True})["changed"]
    assert run_module(domain_alias_record, {**other, "state": "absent"})["changed"]
    assert run_module(domain_alias_record, other)["target"] == "alias of web-2.eu-west-2.elb.amazonaws.com"


def test_a_name_without_a_zone(run_module: t.Callable, account: t.Callable) -> None:
    given = {"name": "mlflow.example.net", "load_balancer_dns_name": "web"}
    assert "no public hosted zone" in run_module(domain_alias_record, given)["msg"]
    gone = run_module(domain_alias_record, {**given, "state": "absent"})
    assert not gone["changed"] and gone["target"] is None
