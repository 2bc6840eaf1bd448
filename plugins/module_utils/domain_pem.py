# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a certificate in PEM. Needs the library cryptography, which ansible-core brings with it."""

from __future__ import annotations

import datetime
import typing as t

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False


class Certificate(t.NamedTuple):
    """names: hosts and addresses; begins, ends: UTC; fingerprint: SHA-256 in hexadecimal."""

    names: list[str]
    begins: datetime.datetime
    ends: datetime.datetime
    fingerprint: str


def read(pem: str) -> Certificate:
    """The first certificate in `pem`; ValueError if there is none."""
    found = x509.load_pem_x509_certificate(pem.encode())
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(one.value) for one in extension]
    except x509.ExtensionNotFound:
        names = []
    return Certificate(names, _utc(found, "not_valid_before"), _utc(found, "not_valid_after"), _fingerprint(found))


def _utc(certificate: t.Any, name: str) -> datetime.datetime:
    # cryptography 42 renamed these.
    if hasattr(certificate, f"{name}_utc"):
        return getattr(certificate, f"{name}_utc")
    return getattr(certificate, name).replace(tzinfo=datetime.timezone.utc)


def _fingerprint(certificate: t.Any) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def key_belongs(certificate: str, private_key: str) -> bool:
    """Whether the key is that of the certificate; ValueError, never with a part of the key, if it cannot be read."""
    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("it is no private key in PEM without a passphrase") from None
    return key.public_key() == x509.load_pem_x509_certificate(certificate.encode()).public_key()
