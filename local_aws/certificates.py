# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate authority of an instance: who trusts `certificates/ca.pem` in its folder trusts what its ACM issues.

https://docs.aws.amazon.com/acm/latest/userguide/acm-certificate-characteristics.html
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# "ACM certificates are valid for 13 months (395 days)": the page above.
VALID_DAYS = 395
AUTHORITY_VALID_DAYS = 3650
KEY_BITS = 2048


class Authority:
    """Its key never leaves the process."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Local AWS")])
        certificate = (
            self._builder(self._name, self._key.public_key(), AUTHORITY_VALID_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        own = folder / "certificates"
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = own / "ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, domain: str, names: list[str]) -> tuple[bytes, bytes]:
        """(certificate, private key) in PEM for `domain` and other names."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
        every = [_general_name(one) for one in dict.fromkeys([domain, *names])]
        certificate = (
            self._builder(subject, key.public_key(), VALID_DAYS)
            .add_extension(x509.SubjectAlternativeName(every), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), private

    def _builder(self, subject: x509.Name, public_key: object, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)  # type: ignore[arg-type]
            .serial_number(int.from_bytes(os.urandom(16), "big") >> 1)
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=days))
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def belongs(certificate: bytes, private_key: bytes) -> bool:
    """Whether a private key is that of a certificate, both in PEM; ValueError if one of them cannot be read."""
    key = serialization.load_pem_private_key(private_key, password=None)
    return key.public_key() == x509.load_pem_x509_certificate(certificate).public_key()
