# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate Manager and HTTPS listeners from outside: boto3, real handshakes."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
import typing as t
import warnings

import botocore.exceptions
import pytest

from tests.certificates import Authority
from tests.integration import aws
from tests.integration.local_aws.load_balancing import Account, Target

POLICY = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
HTTPS_PORT, HTTP_PORT = 8443, 8080
DOMAIN = "mlflow.example.com"


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[aws.LocalAws]:
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def acm(local_aws: aws.LocalAws) -> t.Any:
    return local_aws.client("acm")


@pytest.fixture(scope="module")
def zone(local_aws: aws.LocalAws) -> t.Callable[..., None]:
    """zone(action, name, kind, value) changes one record of the zone example.com."""
    route53 = local_aws.client("route53")
    zone_id = route53.create_hosted_zone(Name="example.com", CallerReference="a")["HostedZone"]["Id"]

    def change(action: str, name: str, kind: str, value: str) -> None:
        record = {"Name": name, "Type": kind, "TTL": 60, "ResourceRecords": [{"Value": value}]}
        route53.change_resource_record_sets(
            HostedZoneId=zone_id, ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        )

    return change


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def imported(acm: t.Any, authority: Authority, days: float = 90, arn: str | None = None) -> str:
    certificate, key = authority.issue(DOMAIN, days)
    again = {"CertificateArn": arn} if arn else {}
    return acm.import_certificate(
        Certificate=certificate.read_bytes(), PrivateKey=key.read_bytes(), **again
    )["CertificateArn"]  # fmt: skip


def code_of(call: t.Callable, **arguments: t.Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as refusal:
        call(**arguments)
    return refusal.value.response["Error"]["Code"]


class Secure:
    """A load balancer that answers HTTPS with a target behind it, and sends HTTP there."""

    def __init__(self, account: Account, certificate_arn: str) -> None:
        self.elb = account.elb
        group, listener, balancer, self.address = account.served()
        self.target = Target(f"127.10.{249 - os.getpid() % 40}.7")
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": self.target.server_address[0]}])
        self.listener = self.elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol="HTTPS",
            Port=HTTPS_PORT,
            SslPolicy=POLICY,
            Certificates=[{"CertificateArn": certificate_arn}],
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Listeners"][0]["ListenerArn"]
        redirect = {"Protocol": "HTTPS", "Port": str(HTTPS_PORT), "StatusCode": "HTTP_301"}
        self.elb.modify_listener(
            ListenerArn=listener, DefaultActions=[{"Type": "redirect", "RedirectConfig": redirect}]
        )
        account.await_states(group, {self.target.server_address[0]: "healthy"})
        self.balancer = balancer

    def handshake(self, trusted: str, version: ssl.TLSVersion | None = None) -> dict:
        """The certificate shown to a client that asks for DOMAIN and trusts one authority."""
        context = ssl.create_default_context(cafile=trusted)
        if version:
            with warnings.catch_warnings(action="ignore"):
                context.set_ciphers("DEFAULT:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection((self.address, HTTPS_PORT), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=DOMAIN) as connection,
        ):
            return t.cast(dict, connection.getpeercert())

    def get(self, trusted: str) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            self.address, HTTPS_PORT, timeout=10, context=ssl.create_default_context(cafile=trusted)
        )
        # The name in the URL is the domain's; no resolver knows it here.
        connection._create_connection = lambda _place, *rest: socket.create_connection((self.address, HTTPS_PORT), *rest)  # type: ignore[attr-defined]
        connection.host = DOMAIN
        with contextlib.closing(connection):
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read()


@pytest.fixture(scope="module")
def secure(local_aws: aws.LocalAws, acm: t.Any, authority: Authority) -> t.Iterator[Secure]:
    made = Secure(Account(local_aws.client), imported(acm, authority))
    yield made
    made.target.end()


def test_https_is_served_with_the_listeners_certificate(secure: Secure, authority: Authority) -> None:
    assert secure.handshake(str(authority.path))["subjectAltName"] == (("DNS", DOMAIN),)
    assert secure.get(str(authority.path))[0] == 200
    headers = secure.target.seen[-1]
    assert (headers["X-Forwarded-Proto"], headers["X-Forwarded-Port"]) == ("https", str(HTTPS_PORT))


def test_http_is_sent_to_https(secure: Secure) -> None:
    connection = http.client.HTTPConnection(secure.address, HTTP_PORT, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/path?query=1", headers={"Host": DOMAIN})
        answer = connection.getresponse()
        assert answer.status == 301
        assert answer.headers["Location"] == f"https://{DOMAIN}:{HTTPS_PORT}/path?query=1"


@pytest.mark.parametrize(
    ("version", "accepted"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
def test_old_versions_of_tls_are_refused(
    secure: Secure, authority: Authority, version: ssl.TLSVersion, accepted: bool
) -> None:
    if accepted:
        assert secure.handshake(str(authority.path), version)
    else:
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            secure.handshake(str(authority.path), version)


def test_a_certificate_is_renewed_without_a_failed_request(
    secure: Secure, acm: t.Any, authority: Authority
) -> None:
    """By another ARN three times, then imported again under the same ARN."""
    failed, count, stop = [], [0], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                assert secure.get(str(authority.path))[0] == 200
            except (OSError, AssertionError, http.client.HTTPException) as error:
                failed.append(repr(error))
            count[0] += 1

    clients = [threading.Thread(target=ask) for _client in range(3)]
    for client in clients:
        client.start()
    serials = set()
    try:
        for _renewal in range(3):
            arn = imported(acm, authority)
            secure.elb.modify_listener(ListenerArn=secure.listener, Certificates=[{"CertificateArn": arn}])
            serials.add(secure.handshake(str(authority.path))["serialNumber"])
            seen = count[0]
            while count[0] < seen + 20:
                time.sleep(0.05)
        imported(acm, authority, arn=arn)
        deadline = time.monotonic() + 5
        while len(serials) < 4 and time.monotonic() < deadline:
            serials.add(secure.handshake(str(authority.path))["serialNumber"])
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert len(serials) == 4
    assert failed == [] and count[0] >= 60


def test_a_requested_certificate_is_issued_when_its_records_are_there(
    secure: Secure, local_aws: aws.LocalAws, acm: t.Any, zone: t.Callable
) -> None:
    names = [DOMAIN, f"*.{DOMAIN}", "other.example.com"]
    arn = acm.request_certificate(DomainName=DOMAIN, SubjectAlternativeNames=names, ValidationMethod="DNS")[
        "CertificateArn"
    ]

    def told() -> dict:
        return acm.describe_certificate(CertificateArn=arn)["Certificate"]

    records = {one["DomainName"]: one["ResourceRecord"] for one in told()["DomainValidationOptions"]}
    assert set(records) == set(names) and records[DOMAIN] == records[f"*.{DOMAIN}"] != records["other.example.com"]
    certificates = [{"CertificateArn": arn}]
    pending = code_of(secure.elb.modify_listener, ListenerArn=secure.listener, Certificates=certificates)
    assert pending == "UnsupportedCertificate"
    for domain in (DOMAIN, "other.example.com"):
        assert told()["Status"] == "PENDING_VALIDATION" and "NotAfter" not in told()
        zone("UPSERT", records[domain]["Name"], "CNAME", records[domain]["Value"])
    assert told()["Status"] == "ISSUED"
    secure.elb.modify_listener(ListenerArn=secure.listener, Certificates=certificates)
    assert told()["InUseBy"] == [secure.balancer]
    shown = secure.handshake(str(local_aws.directory / "certificates/ca.pem"))
    assert {name for _kind, name in shown["subjectAltName"]} == set(names)
    assert code_of(acm.delete_certificate, CertificateArn=arn) == "ResourceInUseException"


def test_what_cannot_be_served_is_refused(
    secure: Secure, acm: t.Any, authority: Authority, tmp_path: t.Any
) -> None:
    modify = {"ListenerArn": secure.listener}
    unknown = [{"CertificateArn": "arn:aws:acm:eu-west-2:123456789012:certificate/none"}]
    assert code_of(secure.elb.modify_listener, **modify, Certificates=unknown) == "CertificateNotFound"
    old = code_of(secure.elb.modify_listener, **modify, SslPolicy="ELBSecurityPolicy-2016-08")
    assert old == "UnsupportedFeature"
    certificate, _key = authority.issue(DOMAIN)
    _other, key = authority.issue(DOMAIN)
    mixed = {"Certificate": certificate.read_bytes(), "PrivateKey": key.read_bytes()}
    assert code_of(acm.import_certificate, **mixed) == "ValidationException"
    assert code_of(acm.request_certificate, DomainName=DOMAIN, ValidationMethod="EMAIL") == "InvalidParameterException"
    second = [{"CertificateArn": imported(acm, authority)}]
    added = code_of(secure.elb.add_listener_certificates, ListenerArn=secure.listener, Certificates=second)
    assert added == "UnsupportedFeature"
