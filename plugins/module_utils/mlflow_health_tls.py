# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of HTTPS: the certificate, and what answers where HTTP is not encrypted."""

from __future__ import annotations

import copy
import socket
import ssl
import time
import typing as t
import urllib.request
from urllib.parse import urlsplit

from ansible.module_utils import urls
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_checks,
    mlflow_errors,
    mlflow_health_certificate,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import (
    FAILED,
    PASSED,
    SKIPPED,
    Verdict,
    Wrong,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer, classify
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_certificate import Look, certificate
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import Session

# Python 3.10 has the first by name; OpenSSL's x509_vfy.h has both.
PARTIAL_CHAIN = 0x80000
NO_CHECK_TIME = 0x200000
# Seconds for a port that may be behind a firewall which does not answer.
SHORT = 5
ENCRYPTED = "tracking_uri is not https"


def tls(session: Session) -> Verdict:
    client = session.client
    parts = urlsplit(client.base)
    if parts.scheme != "https":
        return Verdict(SKIPPED, ENCRYPTED)
    host, port = parts.hostname or "", parts.port or 443
    if _by_proxy(parts.scheme, parts.netloc):
        return Verdict(SKIPPED, "requests go through a proxy of the environment, which may have another certificate")
    try:
        context = urls.make_context(cafile=client.ca_path)
    except (OSError, ValueError):
        return Verdict(FAILED, f"ca_path: {client.ca_path} holds no certificates", "give a file with certificates in PEM")
    try:
        found = look(host, port, context, client.timeout)
    except (OSError, ValueError) as error:
        kind, message = classify(error)
        remedy = mlflow_errors.remedy(MlflowError(None, "", message, "", "", kind))
        if kind == "tls":
            remedy = f"check that port {port} speaks TLS, in version 1.2 or newer"
        return Verdict(FAILED, message, remedy)
    days = session.settings.certificate_days
    return mlflow_health_certificate.judge(found, host, time.time(), days, client.validate_certs)


def look(host: str, port: int, context: ssl.SSLContext, timeout: float) -> Look:
    """Shake hands as clients do, with `context`; when that fails, as often as it takes to tell all that is wrong."""
    try:
        return Look("", "", "", certificate(_peer(host, port, context, timeout)[0]))
    except ssl.SSLCertVerificationError as error:
        found = mlflow_health_certificate.sort(error.verify_code, error.verify_message)
    _nothing, shown = _peer(host, port, urls.make_context(validate_certs=False), timeout)
    # Python only reads a certificate that it trusts, so this very one is trusted, whenever it ends.
    try:
        told, _same = _peer(host, port, _trusting(shown, check_host=False), timeout)
    except ssl.SSLError:
        return found
    found = found._replace(certificate=certificate(told))
    if not found.host:
        try:
            _peer(host, port, _trusting(shown, check_host=True), timeout)
        except ssl.SSLCertVerificationError as error:
            found = found._replace(host=mlflow_health_certificate.sort(error.verify_code, error.verify_message).host)
    return found


def _trusting(der: bytes, check_host: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_host
    context.verify_flags |= t.cast(ssl.VerifyFlags, PARTIAL_CHAIN | NO_CHECK_TIME)
    context.load_verify_locations(cadata=der)
    return context


def _peer(host: str, port: int, context: ssl.SSLContext, timeout: float) -> tuple[dict[str, t.Any], bytes]:
    """The other side's certificate after a handshake: what Python reads of it (nothing if it is not trusted), and
    DER."""
    with socket.create_connection((host, port), timeout) as plain:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            return secure.getpeercert() or {}, secure.getpeercert(binary_form=True) or b""


def _by_proxy(scheme: str, netloc: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(netloc)


def http_redirect(session: Session) -> Verdict:
    client, settings = session.client, session.settings
    parts = urlsplit(client.base)
    if parts.scheme != "https":
        return Verdict(SKIPPED, ENCRYPTED)
    if settings.http_redirect is None and parts.port not in (None, 443):
        return Verdict(SKIPPED, "tracking_uri has a port of its own; say http_redirect=true to check its port for HTTP")
    if settings.http_redirect is False:
        return Verdict(SKIPPED, "http_redirect is false")
    plain = copy.copy(client)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if settings.http_port == 80 else f":{settings.http_port}"
    plain.base = f"http://{name}{port}{parts.path}"
    plain.timeout = min(client.timeout, SHORT)
    plain.until = time.monotonic()
    try:
        answer = plain.send("GET", "/health")
    except MlflowError as error:
        if settings.http_redirect:
            remedy = "let it answer 301 to https, or drop http_redirect"
            raise Wrong(f"{plain.base}/health: {error.message}", remedy) from None
        return Verdict(SKIPPED, f"nothing answers at {plain.base}: {error.message}")
    return redirect(answer, plain.base, parts.hostname or "")


def redirect(answer: Answer, address: str, host: str) -> Verdict:
    """The answer of the address without TLS."""
    remedy = f"let {address} answer 301 or 308 to https://{host}, or nothing at all"
    location = answer.headers.get("location", "")
    if answer.status in (200, 401):
        return Verdict(FAILED, f"{address} serves MLflow without encryption, passwords included", remedy)
    if not 300 <= answer.status < 400:
        return Verdict(FAILED, f"{address} gives {mlflow_checks.seen(answer)} instead of sending to https", remedy)
    try:
        to = urlsplit(location)
        there = (to.scheme.lower(), to.hostname)
    except ValueError:
        there = ("", None)
    where = mlflow_errors.one_line(location) or "nowhere"
    if there[0] != "https":
        return Verdict(FAILED, f"{address} sends to {where}, not to https", remedy)
    if there[1] != host.lower():
        return Verdict(FAILED, f"{address} sends to another host: {where}", remedy)
    if answer.status not in (301, 308):
        return Verdict(FAILED, f"{address} sends to https only for now (HTTP {answer.status})", remedy)
    return Verdict(PASSED, f"{address} sends to https (HTTP {answer.status})")
