# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CORS rule of a bucket that browsers reach with signed addresses: pure functions.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html
"""

from __future__ import annotations

import re
import typing as t

RULE = "signed-addresses"
METHODS = ["GET", "HEAD", "PUT"]
# What ends an upload in parts, and what ranges of a download are found by.
EXPOSED = ["ETag", "Content-Length", "Content-Range"]
MAX_AGE_SECONDS = 3600
# PutBucketCors, CORSRules.
MOST_RULES = 100
ORIGIN = re.compile(r"https?://[^/*\s]+")


def check(origins: list[str]) -> None:
    """ValueError for what is no origin; with a wildcard any page could use an address that it gets hold of."""
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(
                f"cors_origins = {origin}: it is no single origin; write scheme and host, and the port where it is not the"
                " scheme's own, as in https://mlflow.example.com"
            )


def rule(origins: list[str]) -> dict[str, t.Any]:
    """The rule by which scripts of pages at these origins may use signed addresses."""
    return {
        "ID": RULE,
        "AllowedOrigins": sorted({*origins}),
        "AllowedMethods": METHODS,
        "AllowedHeaders": ["*"],
        "ExposeHeaders": EXPOSED,
        "MaxAgeSeconds": MAX_AGE_SECONDS,
    }


def merged(rules: list[dict[str, t.Any]], origins: list[str]) -> list[dict[str, t.Any]]:
    """The bucket's rules with ours for these origins in them, without it where there are none; those of others as they are.

    ValueError where the bucket has no room for another.
    """
    found = [one for one in rules if one.get("ID") == RULE]
    ours = [rule(origins)] if origins else []
    if found == ours:
        return rules
    others = [one for one in rules if one.get("ID") != RULE]
    if len(others) + len(ours) > MOST_RULES:
        raise ValueError(f"cors_origins: the bucket has {len(others)} CORS rules of others, and S3 takes {MOST_RULES}; remove one")
    # S3 takes the first rule that fits.
    return ours + others


def unserved(rules: list[dict[str, t.Any]], origins: list[str]) -> list[str]:
    """The origins whose scripts may not do all that they need to with signed addresses."""
    return [one for one in origins if not any(_serves(rule, one) for rule in rules)]


def _serves(rule: dict[str, t.Any], origin: str) -> bool:
    fits = any(re.fullmatch(re.escape(one).replace(r"\*", ".*"), origin) for one in rule["AllowedOrigins"])
    return fits and {*METHODS} <= {*rule["AllowedMethods"]} and "ETag" in rule.get("ExposeHeaders", [])
