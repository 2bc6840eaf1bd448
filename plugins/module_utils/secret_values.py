# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret values: making, checking and comparing them. No message here holds one."""

from __future__ import annotations

import hmac
import json
import secrets
import string

# Letters and digits only: safe to paste into a shell, a URI or an INI file. 40 of them are 238 bits.
ALPHABET = string.ascii_letters + string.digits
PRINTABLE_ASCII = set(map(chr, range(0x20, 0x7F)))


def generate(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _position in range(length))


def check(what: str, value: str, *, minimum: int, maximum: int, forbidden: str, ascii_only: bool) -> None:
    """ValueError unless `value` keeps the rules."""
    if not minimum <= len(value) <= maximum:
        raise ValueError(
            f"{what}: it has {len(value)} characters, allowed are {minimum} to {maximum}; give another one"
        )
    if ascii_only and not set(value) <= PRINTABLE_ASCII:
        raise ValueError(f"{what}: it has characters that are not printable ASCII; give one without them")
    if set(value) & set(forbidden):
        named = " ".join("space" if character == " " else character for character in forbidden)
        raise ValueError(f"{what}: it has a character that is not allowed (any of {named}); give one without them")


def compare(name: str, text: str | None, key: str, fields: dict[str, str], value: str | None) -> None:
    """ValueError unless `text` is a JSON object with `key`, with these `fields`, and with `value` if one is given."""
    try:
        stored = json.loads(text or "")
    except ValueError:
        stored = None
    if not isinstance(stored, dict) or not stored.get(key):
        raise ValueError(
            f"Secret {name}: its value is not a JSON object with the key {key}; repair it by hand or remove it"
        ) from None
    for field, wanted in fields.items():
        if stored.get(field) != wanted:
            raise ValueError(
                f"Secret {name}: its {field} is {stored.get(field)}, not {wanted}, and what it opens knows only"
                f" that one; set it back to {stored.get(field)}"
            )
    if value and not hmac.compare_digest(str(stored[key]).encode(), value.encode()):
        raise ValueError(
            f"Secret {name}: the {key} given differs from the one that is stored, and a deployment changes no secret"
            f" that is in use; leave it out or give the stored one, and rotate it to change it"
        )
