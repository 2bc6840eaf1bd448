# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access log entries and where they are delivered, as an Application Load Balancer writes them; pure functions.

What the proxy does not measure as a load balancer does is `-`: the times before and after the target's, and the sizes
of requests and responses with their headers.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html
"""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

# The name of the service that delivers access logs, as bucket policies call it.
SERVICE = "logdelivery.elasticloadbalancing.amazonaws.com"
LONGEST_USER_AGENT = 8192
UNKNOWN = "-"
TLS_VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
# IANA's number to OpenSSL's name, of what the security policies allow.
TLS_CIPHERS = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
}
LOGGER, LOG_FILE = "http.log.access", "access.log"


def proxy_logging(path: str) -> dict[str, Any]:
    """The proxy's logger of requests. Header fields stay out: among them are passwords, tokens and cookies."""
    without = {"request>headers": {"filter": "delete"}, "resp_headers": {"filter": "delete"}}
    return {
        "include": [LOGGER],
        "encoder": {"format": "filter", "wrap": {"format": "json"}, "fields": without},
        "writer": {"output": "file", "filename": path, "roll": False, "mode": "0600"},
    }


def told(**facts: str) -> list[dict[str, Any]]:
    """Handlers that add facts, constants or placeholders of the proxy, to a request's record."""
    return [{"handler": "log_append", "key": key, "value": value} for key, value in facts.items()]


def entry(line: str, balancer: str) -> str | None:
    """The log entry that a record of the proxy becomes; None for what is no record. `balancer` is app/name/id."""
    try:
        record = json.loads(line)
        return _entry(record, record["request"], balancer)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _entry(record: dict[str, Any], request: dict[str, Any], balancer: str) -> str:
    tls = request.get("tls") or {}
    status = int(record["status"])
    target = record.get("target") or UNKNOWN
    # Where an answer is the load balancer's own, the proxy says which error it is.
    answered = target != UNKNOWN and record.get("wait") not in (None, "") and not record.get("error_status")
    of_target = str(status) if answered else UNKNOWN
    if answered:
        times = [UNKNOWN, f"{float(record['wait']) / 1000:.3f}", UNKNOWN]
    else:
        times = ["-1", "-1", "-1"]
    ended = float(record["ts"])
    fields = [
        _kind(request, status, bool(tls)),
        _time(ended),
        balancer,
        f"{_bracketed(request['remote_ip'])}:{request['remote_port']}",
        target,
        *times,
        str(status),
        of_target,
        UNKNOWN,
        UNKNOWN,
        _quoted(_request_line(request, bool(tls), str(record.get("port") or ""))),
        _quoted(str(record.get("agent") or UNKNOWN)[:LONGEST_USER_AGENT]),
        TLS_CIPHERS.get(tls.get("cipher_suite"), UNKNOWN),
        TLS_VERSIONS.get(tls.get("version"), UNKNOWN),
        record.get("group") or UNKNOWN,
        _quoted(UNKNOWN),
        _quoted(tls.get("server_name") or UNKNOWN),
        _quoted((record.get("certificate") or UNKNOWN) if tls else UNKNOWN),
        str(record.get("rule") or UNKNOWN),
        _time(ended - float(record["duration"])),
        _quoted(_actions(record)),
        _quoted(record.get("redirect") or UNKNOWN),
        _quoted(UNKNOWN),
        _quoted(target),
        _quoted(of_target),
        *[_quoted(UNKNOWN)] * 2,
        UNKNOWN,
        *[_quoted(UNKNOWN)] * 3,
    ]
    return " ".join(fields)


def _kind(request: dict[str, Any], status: int, secure: bool) -> str:
    if status == 101:
        return "wss" if secure else "ws"
    if request["proto"].startswith("HTTP/2"):
        return "h2"
    return "https" if secure else "http"


def _actions(record: dict[str, Any]) -> str:
    """What was done: users who are sent to sign on get no further."""
    done = [record.get("sign_on"), record.get("action")]
    return ",".join(one for one in done if one) or UNKNOWN


def _request_line(request: dict[str, Any], secure: bool, port: str) -> str:
    uri, host = request["uri"], request["host"]
    if not re.match(r"https?://", uri):
        port = "" if re.search(r":\d+$", host) else f":{port}"
        uri = f"{'https' if secure else 'http'}://{host}{port}{uri}"
    return f"{request['method']} {uri} {request['proto']}"


def _quoted(text: str) -> str:
    """In double quotes, on one line whatever is in it."""
    raw = text.encode("utf-8", "replace")
    return '"' + "".join(chr(one) if 32 <= one < 127 and one not in b'"\\' else f"\\x{one:02X}" for one in raw) + '"'


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _time(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def folder(prefix: str, account: str) -> str:
    return "/".join(part for part in (prefix.strip("/"), "AWSLogs", account) if part)


def object_key(prefix: str, account: str, region: str, balancer: str, address: str, ended: float, unique: str) -> str:
    """Where the entries of an interval that `ended` (seconds since 1970) are; `unique` tells objects apart."""
    moment = datetime.datetime.fromtimestamp(ended, datetime.timezone.utc)
    return (
        f"{folder(prefix, account)}/elasticloadbalancing/{region}/{moment:%Y/%m/%d}/{account}_elasticloadbalancing_"
        f"{region}_{balancer.replace('/', '.')}_{moment:%Y%m%dT%H%MZ}_{address}_{unique}.log.gz"
    )
