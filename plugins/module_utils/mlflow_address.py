# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in tracking_uri and in a login, decided before anything is sent. Everything here is pure."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import quote, urlencode, urlsplit

_HOST = re.compile(r"^[A-Za-z0-9._-]+$")
_IPV6 = re.compile(r"^[0-9A-Fa-f:.]+(%25[A-Za-z0-9._~-]+)?$")
_FORM = "write it as http(s)://host[:port][/prefix]"
LONGEST_NAME = 255


def base_url(tracking_uri: str) -> str:
    """`tracking_uri` checked, without a slash at its end. Raises ValueError with one line that holds no password."""
    if any(not char.isprintable() or char.isspace() for char in tracking_uri):
        raise ValueError(f"tracking_uri: it holds a space or a control character; {_FORM}")
    try:
        parts = urlsplit(tracking_uri)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise ValueError(
            f"tracking_uri: the host or port in it is not valid ({_first_words(error)}); {_FORM}"
        ) from None
    if "@" in parts.netloc:
        raise ValueError(
            "tracking_uri: it holds a user name or password; give them as username and password, so that no log shows"
            " them"
        )
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"tracking_uri: its scheme is {parts.scheme[:20] or 'missing'!r}, not http or https; {_FORM}")
    if parts.query or parts.fragment or "?" in tracking_uri or "#" in tracking_uri:
        raise ValueError(f"tracking_uri: it has a query or a fragment; {_FORM}")
    if not (_IPV6 if parts.netloc.startswith("[") else _HOST).match(host):
        raise ValueError(
            f"tracking_uri: its host {host[:80]!r} is empty or no host name; {_FORM}, names outside ASCII as punycode"
        )
    if port == 0:
        raise ValueError(f"tracking_uri: port 0 is no port to connect to; {_FORM}")
    prefix = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return f"{parts.scheme}://{parts.netloc}{prefix}"


def _first_words(error: Exception) -> str:
    return re.sub(r"'.*'", "...", str(error))[:80]


def with_query(url: str, query: t.Mapping[str, str] | None) -> str:
    return f"{url}?{urlencode(query, quote_via=quote, safe='')}" if query else url


def artifact_path(path: str) -> str:
    """A path below the artifact root, as it stands in a URL."""
    return quote(path.strip("/"), safe="/")


def refuse_username(option: str, value: str) -> None:
    """Raises ValueError with one line when a user of that name could never log in."""
    if value == "":
        raise ValueError(f"{option}: it is empty; give the name of the user")
    if ":" in value:
        raise ValueError(
            f"{option}: {value!r} holds a colon, which separates name and password in basic authentication; leave"
            " it out"
        )
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in value):
        raise ValueError(f"{option}: {value!r} holds a control character; leave it out")
    if len(value) > LONGEST_NAME:
        raise ValueError(f"{option}: it has {len(value)} characters; MLflow stores at most {LONGEST_NAME}")
    _refuse_no_unicode(option, value)


def refuse_password(option: str, value: str) -> None:
    """Raises ValueError with one line, never the value, when a password cannot be sent."""
    if value == "":
        raise ValueError(f"{option}: it is empty; give a password")
    _refuse_no_unicode(option, value)


def _refuse_no_unicode(option: str, value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{option}: it is not valid UTF-8; check the encoding of the file it comes from") from None
