# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the certificate of an HTTPS address is judged. Everything here is pure; mlflow_health_tls looks at it."""

from __future__ import annotations

import math
import ssl
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import FAILED, PASSED, WARNED, Verdict

# X509_V_ERR_* of OpenSSL, x509_vfy.h.
_NOT_YET, _EXPIRED = 9, 10
_ISSUERS = (2, 18, 19, 20, 21)
_HOSTS = (62, 63, 64)
DAY = 86400


class Certificate(t.NamedTuple):
    """begins, ends: seconds since the epoch; names: hosts and addresses that it is for; issuer: who signed it."""

    begins: float
    ends: float
    names: tuple[str, ...]
    issuer: str


class Look(t.NamedTuple):
    """issuer, host, other: what OpenSSL holds against the chain, the name and the rest, empty if nothing. certificate:
    None if it could not be read."""

    issuer: str
    host: str
    other: str
    certificate: Certificate | None


def certificate(peer: t.Mapping[str, t.Any]) -> Certificate:
    """From SSLSocket.getpeercert()."""
    names = tuple(str(value) for kind, value in peer.get("subjectAltName", ()) if kind in ("DNS", "IP Address"))
    issuer = {key: str(value) for part in peer.get("issuer", ()) for key, value in part}
    signer = issuer.get("commonName") or issuer.get("organizationName") or "nobody"
    begins, ends = (ssl.cert_time_to_seconds(peer[key]) for key in ("notBefore", "notAfter"))
    return Certificate(begins, ends, names, signer)


def sort(code: int, said: str) -> Look:
    """What a refused certificate is refused for; dates are judged from the certificate itself."""
    if code in _ISSUERS:
        return Look(said, "", "", None)
    if code in _HOSTS:
        return Look("", said, "", None)
    return Look("", "", "" if code in (_NOT_YET, _EXPIRED) else said, None)


def judge(look: Look, host: str, now: float, least: int, validate: bool) -> Verdict:
    """`now` in seconds since the epoch; least: days that must be left; validate: clients refuse a certificate that does
    not belong to the host or comes from an unknown issuer."""
    waived = [_issuer(look), _host(look, host)]
    problems = [_dates(look.certificate, now, least), _other(look)]
    found = [one for one in problems + waived if one]
    if look.certificate is not None and not found:
        days = _days(look.certificate, now)
        signer = look.certificate.issuer
        return Verdict(PASSED, f"the certificate is valid for {host}, signed by {signer}, for {days} more days")
    hard = any(problems) or validate
    message = "; ".join(message for message, _remedy in found)
    remedy = "; ".join(remedy for _message, remedy in found)
    return Verdict(FAILED if hard else WARNED, message, remedy)


def _days(found: Certificate, now: float) -> int:
    return math.floor((found.ends - now) / DAY)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _dates(found: Certificate | None, now: float, least: int) -> tuple[str, str] | None:
    if found is None:
        return None
    renew = "renew the certificate and give the new one to what ends TLS"
    if found.ends <= now:
        return f"the certificate has expired on {_date(found.ends)}, {int((now - found.ends) / DAY)} days ago", renew
    if found.begins > now:
        when = f"the certificate is not valid before {_date(found.begins)}"
        return when, "check the clocks of this machine and of who made the certificate"
    if _days(found, now) < least:
        left = f"{_days(found, now)} days"
        return f"the certificate expires on {_date(found.ends)}, in {left}, fewer than {least}", renew
    return None


def _issuer(look: Look) -> tuple[str, str] | None:
    if not look.issuer:
        return None
    signer = f" ({look.certificate.issuer})" if look.certificate else ""
    remedy = "name the CA's certificate as ca_path, or let what ends TLS send the whole chain"
    return f"the certificate's issuer{signer} is not known here: {look.issuer}", remedy


def _host(look: Look, host: str) -> tuple[str, str] | None:
    if not look.host:
        return None
    names = ", ".join(look.certificate.names[:5]) if look.certificate else ""
    remedy = "use a name that is in the certificate in tracking_uri, or a certificate for this one"
    return f"the certificate is for {names or 'other names'}, not for {host}", remedy


def _other(look: Look) -> tuple[str, str] | None:
    if look.other:
        return f"the certificate is refused: {look.other}", "replace the certificate"
    if look.certificate is None:
        return "the certificate cannot be read", "try again; tasks that end TLS may have different certificates"
    return None
