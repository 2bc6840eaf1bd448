# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server answered or failed to answer, told in one line that holds no secret. Everything here is pure."""

from __future__ import annotations

import base64
import json
import re
import typing as t
from urllib.parse import quote, quote_plus

MASK = "********"
# Characters of a message that is shown, and of one that may still hold a secret: cutting comes after masking, never
# through a secret.
LONGEST = 300
_LONGEST_RAW = 20000

# MLflow 3.5 and newer, mlflow/server/security_utils.py.
INVALID_HOST = "Invalid Host header"

_HTML = re.compile(r"^\s*(<!doctype\s+html|<html|<head|<body|<title)", re.IGNORECASE)
_HTML_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
# MLflow passes on what the database said, statement and parameters included: those hold password hashes.
_SQL_DETAIL = re.compile(r"\[(SQL|parameters):.*", re.DOTALL)
_ERROR_CODE = re.compile(r"^[A-Z][A-Z0-9_]{0,60}$")
_PASSWORD_HASH = re.compile(r"(scrypt|pbkdf2|argon2|bcrypt)[:$][^\s'\",)]*")


class MlflowError(Exception):
    """A request that did not give what it should.

    status: HTTP status, None when there was no answer. error_code: MLflow's own code such as RESOURCE_DOES_NOT_EXIST,
    else empty.
    message: one line, no secrets. kind: json, text, html, empty, redirect or token (a token was refused) for answers;
    refused, name, tls, timeout or connection when there was none.
    """

    def __init__(
        self, status: int | None, error_code: str, message: str, method: str, url: str, kind: str = ""
    ) -> None:
        super().__init__(status, error_code, message, method, url, kind)
        self.status = status
        self.error_code = error_code
        self.message = message
        self.method = method
        self.url = url
        self.kind = kind

    def __str__(self) -> str:
        status = f"HTTP {self.status}: " if self.status is not None else ""
        return f"{self.method} {self.url}: {status}{self.message}"


def one_line(text: str, longest: int = LONGEST) -> str:
    """`text` without line breaks and other control characters, cut to `longest` characters."""
    words = "".join(char if char.isprintable() else " " for char in text).split()
    line = " ".join(words)
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _spellings(secret: str) -> set[str]:
    """How a server may give a secret back: as it is, in JSON, in a URL, in Python's or SQL's quotes."""
    as_json = json.dumps(secret)[1:-1]
    readable_json = json.dumps(secret, ensure_ascii=False)[1:-1]
    bare_repr = repr(secret)[1:-1]
    # A server may also show the bytes that it received.
    as_bytes = {repr(form.encode("utf-8", "surrogatepass"))[2:-1] for form in (secret, as_json)}
    in_url = {quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")}
    return (
        {secret, as_json, readable_json, bare_repr, secret.replace("'", "''"), one_line(secret, len(secret) + 3)}
        | in_url
        | as_bytes
    )


def mask(text: str, secrets: t.Iterable[str]) -> str:
    """`text` in one line with every spelling of every secret replaced, longest first so that no part of one is left
    over, then cut."""
    spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret) if spelling.strip()}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return one_line(text)


def login_secrets(username: str | None, password: str | None) -> set[str]:
    """The password and the value of the Authorization header that carries it."""
    if not password:
        return set()
    header = base64.b64encode(f"{username}:{password}".encode("utf-8", "surrogatepass")).decode("ascii")
    return {password, header}


def body_kind(body: str) -> str:
    """json (an object or a list), html, text or empty; decided by what is in it, because Content-Type is often
    wrong."""
    if not body.strip():
        return "empty"
    if _HTML.match(body):
        return "html"
    if isinstance(parse_json(body), (dict, list)):
        return "json"
    return "text"


def parse_json(body: str) -> t.Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def describe(status: int, body: str, location: str = "") -> tuple[str, str, str]:
    """(kind, error_code, message) of an answer that was not the one hoped for. The message is long and unmasked: mask()
    it."""
    if 300 <= status < 400:
        where = one_line(location, _LONGEST_RAW) or "nowhere"
        return "redirect", "", f"the server redirects elsewhere, not to be followed with a password: {where}"
    kind = body_kind(body)
    code, message = "", ""
    if status == 401:
        # What MLflow says here is a link to its documentation.
        message = "the server refuses this user name and password"
    elif kind == "json":
        code, message = _from_json(parse_json(body))
    elif kind == "html":
        title = _HTML_TITLE.search(body)
        said = f' titled "{one_line(re.sub("<[^>]*>", " ", title.group(2)), _LONGEST_RAW)}"' if title else ""
        message = f"an HTML page{said} instead of JSON"
    elif kind == "text":
        message = _without_secrets_of_the_server(body)
    return kind, code, one_line(message, _LONGEST_RAW) or "an empty answer"


def _from_json(answer: t.Any) -> tuple[str, str]:
    if not isinstance(answer, dict):
        return "", "a JSON list instead of an object"
    code = answer.get("error_code")
    # FastAPI routes of MLflow 3 say "detail", proxies say anything.
    said = next((answer[key] for key in ("message", "detail", "error") if isinstance(answer.get(key), str)), "")
    code = code if isinstance(code, str) and _ERROR_CODE.match(code) else ""
    message = _without_secrets_of_the_server(said)
    return code, f"{code}: {message}" if code else message or "JSON without error_code and message"


def _without_secrets_of_the_server(text: str) -> str:
    return _PASSWORD_HASH.sub(MASK, _SQL_DETAIL.sub("", text))


def remedy(error: MlflowError) -> str:
    """What to do about it, as an imperative; empty when nothing general can be said."""
    if INVALID_HOST in error.message:
        return "add the host of tracking_uri to the server's allowed hosts (MLFLOW_SERVER_ALLOWED_HOSTS), port included"
    if error.kind == "token":
        return "give a token that has not expired and run again; what has been copied stays"
    if error.status == 401:
        return "check username and password"
    if error.status == 403:
        return "log in as an admin, or give this user the permission"
    by_kind = {
        "html": "check that tracking_uri is MLflow itself, not a login page or another service in front",
        "redirect": "check scheme, host and path of tracking_uri",
        "refused": "check that the server runs and listens on that port",
        "name": "check the host in tracking_uri and the name service of this machine",
        "tls": "check the certificate, ca_path and validate_certs",
        "timeout": "check security groups and the server's load, or raise timeout",
        "connection": "check the server's log and what stands between",
    }
    if error.status is not None and error.status >= 500:
        return "check the server's log and its database"
    return by_kind.get(error.kind, "")


def explain(error: MlflowError) -> str:
    """The error and its remedy in one line, for fail_json."""
    advice = remedy(error)
    return f"{error}; {advice}" if advice else str(error)
