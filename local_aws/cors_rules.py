# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CORS rule of a bucket a browser's request meets, and what S3 answers to it; pure functions.

"Amazon S3 uses the first CORSRule rule that matches": origin, method and every header that is asked for.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
NOT_ENABLED = "CORSResponse: CORS is not enabled for this bucket."
# With the spelling of S3.
NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
    "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
)


class Rule(NamedTuple):
    """One CORSRule of the S3 API."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: str = ""


def answer(rules: Iterable[Rule], origin: str, method: str, wanted: str | None = None) -> dict[str, str] | None:
    """The headers of S3's answer, None where no rule fits.

    `wanted` is Access-Control-Request-Headers of a preflight request, None for any other request.
    """
    asked = [one.strip().lower() for one in (wanted or "").split(",") if one.strip()]
    for rule in rules:
        named = next((one for one in rule.origins if _alike(one, origin)), None)
        if named is None or method not in rule.methods:
            continue
        if not all(any(_alike(allowed.lower(), one) for allowed in rule.headers) for one in asked):
            continue
        headers = {
            "Access-Control-Allow-Origin": "*" if named == "*" else origin,
            "Access-Control-Allow-Methods": ", ".join(rule.methods),
            "Access-Control-Allow-Headers": ", ".join(asked),
            "Access-Control-Expose-Headers": ", ".join(rule.exposed),
            "Access-Control-Max-Age": rule.max_age,
            "Access-Control-Allow-Credentials": "" if named == "*" else "true",
            "Vary": VARY,
        }
        return {name: value for name, value in headers.items() if value}
    return None


def _alike(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) is not None
