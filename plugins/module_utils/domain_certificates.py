# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate of a domain in Certificate Manager: what there is, and what is to be done."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, domain_pem, domain_records

POLL_SECONDS = 2.0
# Without this list ListCertificates leaves out all but RSA keys up to 2048 bits.
KEY_TYPES = [
    "RSA_1024",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "EC_prime256v1",
    "EC_secp384r1",
    "EC_secp521r1",
]
USABLE, PENDING = "ISSUED", "PENDING_VALIDATION"
# What to do about a certificate that will never be issued.
LOST = {
    "FAILED": "see its FailureReason, correct what it says and remove it",
    "VALIDATION_TIMED_OUT": "nobody put its validation records into the zone within 72 hours: remove it and run again",
    "REVOKED": "ask the authority why, then remove it and run again",
    "EXPIRED": "remove it and run again",
    "INACTIVE": "remove it and run again",
}


def connect(module: t.Any, service: str = "acm") -> t.Any:
    return module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=8))


def find(acm: t.Any, arn: str) -> dict[str, t.Any] | None:
    """One certificate as DescribeCertificate has it, or None."""
    try:
        return acm.describe_certificate(CertificateArn=arn, aws_retry=True)["Certificate"]
    except is_boto3_error_code(["ResourceNotFoundException", "InvalidArnException", "ValidationException"]):
        return None


def ours(acm: t.Any, owner_tags: dict[str, str]) -> list[dict[str, t.Any]]:
    """The certificates that carry the tags, the newest first."""
    summaries = acm.get_paginator("list_certificates").paginate(Includes={"keyTypes": KEY_TYPES}).build_full_result()
    found = []
    for summary in summaries["CertificateSummaryList"]:
        arn = summary["CertificateArn"]
        tags = boto3_tag_list_to_ansible_dict(
            acm.list_tags_for_certificate(CertificateArn=arn, aws_retry=True).get("Tags", [])
        )
        if aws_changes.carries(tags, owner_tags) and (certificate := find(acm, arn)):
            found.append({**certificate, "Tags": tags})
    return sorted(found, key=lambda one: str(one.get("CreatedAt") or one.get("ImportedAt")), reverse=True)


def records(certificate: dict[str, t.Any]) -> list[dict[str, str]]:
    """The CNAME records that prove the domains: name, value; without a dot at their end, each once."""
    found = {}
    for option in certificate.get("DomainValidationOptions", []):
        if record := option.get("ResourceRecord"):
            found[record["Name"].rstrip(".")] = record["Value"].rstrip(".")
    return [{"name": name, "value": value} for name, value in sorted(found.items())]


def summary(certificate: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """What others need to know; null for what does not exist."""
    found = certificate or {}
    ends = found.get("NotAfter")
    return {
        "certificate_arn": found.get("CertificateArn"),
        "status": found.get("Status"),
        "names": sorted(found.get("SubjectAlternativeNames", [])),
        "not_after": ends.isoformat() if ends else None,
        "validation_records": records(found),
    }


def await_issued(acm: t.Any, arn: str, timeout: float) -> dict[str, t.Any]:
    """The certificate once it is issued; ValueError when it cannot be or takes too long."""
    deadline = time.monotonic() + timeout
    while True:
        found = find(acm, arn)
        status = found["Status"] if found else "gone"
        if found and status == USABLE:
            return found
        if status in LOST or found is None:
            raise ValueError(f"Certificate {arn}: it is {status}; {LOST.get(status, 'deploy it again')}")
        if time.monotonic() + POLL_SECONDS > deadline:
            awaited = ", ".join(f"{one['name']} CNAME {one['value']}" for one in records(found))
            raise ValueError(
                f"Certificate {arn}: it is not issued but {status} after {timeout:.0f} s; see that these records are in"
                f" the public DNS, then run again or raise tls_wait_timeout: {awaited}"
            )
        time.sleep(POLL_SECONDS)


class Keeper:
    """Keeps one certificate for a domain, requested or imported, among those that carry `owner_tags`."""

    def __init__(self, module: t.Any) -> None:
        self.params = module.params
        self.acm = connect(module)
        self.zones = domain_records.Zones(connect(module, "route53"), self.params["hosted_zone_id"])
        self.owner_tags = aws_changes.text_tags(self.params["owner_tags"])
        self.tags = aws_changes.text_tags(self.params["tags"])
        self.wanted_names = sorted({self.params["domain_name"], *self.params["alternative_names"]})
        self.found: list[dict[str, t.Any]] = []
        self.current: dict[str, t.Any] | None = None

    def find(self) -> None:
        self.found = ours(self.acm, self.owner_tags)
        imported = bool(self.params["certificate"])
        fitting = [
            one
            for one in self.found
            if (one["Type"] == "IMPORTED") == imported
            and one["Status"] not in LOST
            and (imported or sorted(one.get("SubjectAlternativeNames", [])) == self.wanted_names)
        ]
        self.current = fitting[0] if fitting else None

    def plan_present(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.params["certificate"]:
            self._plan_import(changes)
        elif self.current is None:
            changes.want("certificate", "absent", f"requested for {', '.join(self.wanted_names)}", self._request)
        if self.current is not None:
            self._plan_tags(changes, self.current)
        if self.params["hosted_zone_id"] and not self.params["certificate"]:
            self._plan_records(changes)
        return changes

    def plan_absent(self, keep_current: bool = False) -> aws_changes.Changes:
        """Without `keep_current`, all that is ours; with it, what the current one has replaced and nobody uses."""
        changes = aws_changes.Changes()
        doomed = [one for one in self.found if not (keep_current and one is self.current)]
        if keep_current:
            doomed = [one for one in doomed if not one.get("InUseBy")]
        kept = [one for one in self.found if one not in doomed]
        still_needed = {record["name"] for one in kept for record in records(one)}
        for certificate in doomed:
            arn = certificate["CertificateArn"]
            changes.want(f"certificate {arn}", "present", "absent", lambda arn=arn: self._delete(arn))
            for record in records(certificate):
                zone = self.zones.of(record["name"])
                if zone and record["name"] not in still_needed and zone.cname(record["name"]) == record["value"]:
                    still_needed.add(record["name"])
                    changes.want(
                        f"record {record['name']}", record["value"], "absent",
                        lambda zone=zone, record=record: zone.change_cname("DELETE", record["name"], record["value"]),
                    )  # fmt: skip
        return changes

    def _plan_import(self, changes: aws_changes.Changes) -> None:
        wanted = domain_pem.read(self.params["certificate"]).fingerprint
        before = "absent"
        if self.current is not None:
            answer = self.acm.get_certificate(CertificateArn=self.current["CertificateArn"], aws_retry=True)
            before = domain_pem.read(answer["Certificate"]).fingerprint
        changes.want("certificate", before, wanted, self._import)

    def _plan_tags(self, changes: aws_changes.Changes, certificate: dict[str, t.Any]) -> None:
        arn = certificate["CertificateArn"]

        def add(tags: dict[str, str]) -> None:
            self.acm.add_tags_to_certificate(
                CertificateArn=arn, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True
            )

        def remove(keys: list[str]) -> None:
            self.acm.remove_tags_from_certificate(
                CertificateArn=arn, Tags=[{"Key": key} for key in keys], aws_retry=True
            )

        changes.want_tags("tags", certificate["Tags"], self.tags, add, remove)

    def _plan_records(self, changes: aws_changes.Changes) -> None:
        if self.current is None:
            changes.want("validation records", "absent", "present", self._write_records)
            return
        zone = self.zones.given
        for record in records(self.current):
            changes.want(
                f"record {record['name']}", zone.cname(record["name"]), record["value"],
                lambda record=record: zone.change_cname("UPSERT", record["name"], record["value"]),
            )  # fmt: skip

    def _write_records(self) -> None:
        # "It can take a few seconds" until DescribeCertificate has them: API_DescribeCertificate.html
        deadline = time.monotonic() + 60
        expected = len({name.removeprefix("*.") for name in self.wanted_names})
        certificate = t.cast(dict, find(self.acm, self.current["CertificateArn"]))
        while len(records(certificate)) < expected:
            if time.monotonic() > deadline:
                raise ValueError(
                    f"Certificate {certificate['CertificateArn']}: AWS names no validation records yet; run again"
                )
            time.sleep(POLL_SECONDS)
            certificate = t.cast(dict, find(self.acm, certificate["CertificateArn"]))
        for record in records(certificate):
            if self.zones.given.cname(record["name"]) != record["value"]:
                self.zones.given.change_cname("UPSERT", record["name"], record["value"])

    def _request(self) -> None:
        # No IdempotencyToken: within an hour it could name a certificate that has been removed.
        arn = self.acm.request_certificate(
            DomainName=self.params["domain_name"],
            SubjectAlternativeNames=self.wanted_names,
            ValidationMethod="DNS",
            Tags=ansible_dict_to_boto3_tag_list(self.tags),
            aws_retry=True,
        )["CertificateArn"]
        self.current = find(self.acm, arn)

    def _import(self) -> None:
        again = {"CertificateArn": self.current["CertificateArn"]} if self.current else {}
        chain = self.params["certificate_chain"]
        self.acm.import_certificate(
            Certificate=self.params["certificate"].encode(),
            PrivateKey=self.params["private_key"].encode(),
            **({"CertificateChain": chain.encode()} if chain else {}),
            **(again or {"Tags": ansible_dict_to_boto3_tag_list(self.tags)}),
            aws_retry=True,
        )

    def _delete(self, arn: str) -> None:
        """A certificate counts as in use for a while after its listener has gone."""
        deadline = time.monotonic() + self.params["wait_timeout"]
        while True:
            try:
                self.acm.delete_certificate(CertificateArn=arn, aws_retry=True)
                return
            except is_boto3_error_code("ResourceInUseException"):
                if time.monotonic() + POLL_SECONDS > deadline:
                    users = ", ".join((find(self.acm, arn) or {}).get("InUseBy", []))
                    raise ValueError(
                        f"Certificate {arn}: it is still in use by {users or 'somebody'}; take it from there, then run"
                        " again"
                    ) from None
                time.sleep(POLL_SECONDS)
