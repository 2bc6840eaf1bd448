# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's Certificate Manager, with certificates that can be used and validation that looks.

moto 5.2.5 issues what nobody can trust, calls a request validated after a minute whatever is in the zone, gives every
domain the same validation record, takes any private key for any certificate and deletes what is in use.
The API: https://docs.aws.amazon.com/acm/latest/APIReference/
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

from moto.acm import models
from moto.acm.exceptions import AWSValidationException
from moto.acm.responses import AWSCertificateManagerResponse
from moto.core.exceptions import AWSError
from moto.elbv2.models import elbv2_backends
from moto.route53.models import route53_backends

from ..certificates import Authority, belongs
from ..runtime import Runtime
from . import replace

BACKEND = models.AWSCertificateManagerBackend
BUNDLE = models.CertBundle
PENDING, ISSUED = "PENDING_VALIDATION", "ISSUED"


class ResourceInUse(AWSError):
    TYPE = "ResourceInUseException"


class NotServed(AWSError):
    TYPE = "InvalidParameterException"


def apply(runtime: Runtime) -> None:
    _patch_requests(runtime.authority)
    _patch_validation(runtime)
    _patch_imports()
    _patch_descriptions()


def validation_record(account_id: str, domain: str) -> tuple[str, str]:
    """(name, value) of the CNAME that proves a domain; the same for a domain and its wildcard, at each request.

    https://docs.aws.amazon.com/acm/latest/userguide/dns-validation.html
    """
    domain = domain.removeprefix("*.").lower()
    digest = hashlib.sha256(f"{account_id} {domain}".encode()).hexdigest()
    return f"_{digest[:32]}.{domain}.", f"_{digest[32:]}.xlfgrmvvlj.acm-validations.aws."


def users(arn: str) -> Iterator[str]:
    """ARNs of the load balancers with a listener that shows this certificate."""
    for account in elbv2_backends.values():
        for backend in account.values():
            for balancer in list(backend.load_balancers.values()):
                if any(arn in listener.certificates for listener in balancer.listeners.values()):
                    yield balancer.arn


def _proved(account_id: str, domain: str) -> bool:
    name, value = validation_record(account_id, domain)
    for zone in list(route53_backends[account_id]["aws"].zones.values()):
        if zone.private_zone:
            continue
        for record in list(zone.rrsets):
            found = [str(one).rstrip(".") for one in record.records or []]
            if record.type == "CNAME" and record.name.lower() == name and found == [value.rstrip(".")]:
                return True
    return False


def _patch_requests(authority: Authority) -> None:
    def generate_cert(
        cls: Any,
        domain_name: str,
        account_id: str,
        region: str,
        sans: list[str] | None = None,
        cert_authority_arn: str | None = None,
    ) -> Any:
        if cert_authority_arn is not None:
            raise NotServed("certificates of a private authority are not supported by the local AWS: leave it out")
        certificate, key = authority.issue(domain_name, sans or [])
        made = cls(
            certificate=certificate,
            private_key=key,
            cert_type="AMAZON_ISSUED",
            cert_status=PENDING,
            account_id=account_id,
            region=region,
        )
        made.chain, made.account_id, made.proved_at = b"", account_id, None
        return made

    def delete_certificate(self: Any, arn: str) -> None:
        # https://docs.aws.amazon.com/acm/latest/APIReference/API_DeleteCertificate.html
        if list(users(arn)):
            raise ResourceInUse(f"Certificate {arn} in account {self.account_id} is in use.")
        plain_delete(self, arn)

    def request_certificate(self: Any) -> Any:
        # https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html: email where none is given
        method = self._get_param("ValidationMethod") or "EMAIL"
        if method != "DNS":
            raise NotServed(f"validation by '{method}' is not supported by the local AWS: use DNS")
        algorithm = self._get_param("KeyAlgorithm") or "RSA_2048"
        if algorithm != "RSA_2048":
            raise NotServed(f"key algorithm '{algorithm}' is not supported by the local AWS: use RSA_2048")
        return plain_request(self)

    plain_request = replace(AWSCertificateManagerResponse, "request_certificate", request_certificate, ("self",))
    replace(BUNDLE, "generate_cert", classmethod(generate_cert))
    plain_delete = replace(BACKEND, "delete_certificate", delete_certificate, ("self", "arn"))


def _patch_validation(runtime: Runtime) -> None:
    def check(self: Any) -> None:
        if self.status == PENDING and all(_proved(self.account_id, name) for name in self.sans):
            if self.proved_at is None:
                self.proved_at = time.monotonic() + runtime.latency.duration("acm_validation")
            if time.monotonic() >= self.proved_at:
                self.status = ISSUED
        if self.status != PENDING:
            plain_check(self)

    plain_check = replace(BUNDLE, "check", check, ("self",))


def _patch_imports() -> None:
    def import_certificate(
        self: Any,
        certificate: bytes,
        private_key: bytes,
        chain: bytes | None,
        arn: str | None,
        tags: list[dict[str, str]],
    ) -> str:
        # https://docs.aws.amazon.com/acm/latest/APIReference/API_ImportCertificate.html
        try:
            matching = belongs(certificate, private_key)
        except (ValueError, TypeError):
            raise AWSValidationException(
                "The certificate or the private key is not PEM-encoded or is not valid."
            ) from None
        if not matching:
            raise AWSValidationException("The private key does not match the certificate.")
        before = self._certificates.get(arn)
        if before is not None and before.type != "IMPORTED":
            raise AWSValidationException(f"Certificate {arn} was not imported, so it cannot be imported again.")
        if before is not None and tags:
            raise AWSValidationException("Tags cannot be given when a certificate is imported again.")
        found = plain_import(self, certificate, private_key, chain, arn, tags)
        imported = self._certificates[found]
        imported.chain = chain or b""
        if before is not None:
            imported.tags = before.tags
        return found

    plain_import = replace(
        BACKEND,
        "import_certificate",
        import_certificate,
        ("self", "certificate", "private_key", "chain", "arn", "tags"),
    )


def _patch_descriptions() -> None:
    def describe(self: Any) -> dict[str, Any]:
        found = plain_describe(self)
        told = found["Certificate"]
        told["InUseBy"] = list(users(self.arn))
        for option in told.get("DomainValidationOptions", []):
            name, value = validation_record(self.account_id, option["DomainName"])
            option["ResourceRecord"] = {"Name": name, "Type": "CNAME", "Value": value}
        if self.status == PENDING:
            for key in ("NotBefore", "NotAfter", "Serial", "Issuer", "IssuedAt"):
                told.pop(key, None)
        return found

    plain_describe = replace(BUNDLE, "describe", describe, ("self",))
