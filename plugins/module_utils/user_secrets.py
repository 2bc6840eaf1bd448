# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the generated password of a user is kept, and which of its versions counts. Everything here is pure.

A version carries AWSPENDING until the server has taken the password, as in the rotation of Secrets Manager:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/getting-started.html#term_version
"""

from __future__ import annotations

import json
import re
import typing as t

CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"
# CreateSecret, Name
LONGEST_NAME = 512

_NOT_IN_NAMES = re.compile(rb"[^A-Za-z0-9_.@+-]")
_ESCAPE = re.compile(r"=([0-9A-F]{2})")


def secret_name(prefix: str, user: str) -> str:
    """The name of a user's secret: what such a name cannot hold is written =XX, one for each byte of UTF-8."""
    encoded = _NOT_IN_NAMES.sub(lambda found: b"=%02X" % found.group()[0], user.encode("utf-8", "surrogatepass"))
    name = prefix + encoded.decode("ascii")
    if len(name) > LONGEST_NAME:
        raise ValueError(
            f"users: the secret of {user[:40]!r}... would have a name of {len(name)} characters, AWS takes"
            f" {LONGEST_NAME}; give this user a password, or a shorter name"
        )
    return name


def user_name(prefix: str, name: str) -> str | None:
    """The user whose secret has this name; None if it is nobody's."""
    if not name.startswith(prefix) or len(name) == len(prefix):
        return None
    try:
        encoded = name[len(prefix) :].encode("latin-1")
        plain = _ESCAPE.sub(lambda found: chr(int(found.group(1), 16)), encoded.decode("latin-1")).encode("latin-1")
        user = plain.decode("utf-8")
    except UnicodeError:
        return None
    return user if secret_name(prefix, user) == name else None


def version_at(stages: t.Mapping[str, t.Sequence[str]] | None, label: str) -> str | None:
    """The ID of the version that carries `label`; `stages` is VersionIdsToStages."""
    return next((version for version, labels in (stages or {}).items() if label in labels), None)


def text(user: str, password: str) -> str:
    return json.dumps({"username": user, "password": password})


def password_in(name: str, user: str, stored: str | None) -> str:
    """The password in the text of a secret; ValueError, never with a secret in it."""
    try:
        content = json.loads(stored or "")
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("password"), str) or not content["password"]:
        raise ValueError(
            f"Secret {name}: its value is not a JSON object with the key password; repair it by hand or remove it"
        ) from None
    if content.get("username") != user:
        raise ValueError(f"Secret {name}: its username is not {user!r}; repair it by hand or remove it")
    return content["password"]
