# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lifecycle rules of a bucket that M(mlops.mlflow_aws.s3_private_bucket) keeps: pure functions."""

from __future__ import annotations

import typing as t

# Option -> name of its rule.
RULES = {"expire_days": "expire-logs", "abort_upload_days": "abort-uploads", "noncurrent_days": "expire-noncurrent"}


def check(params: dict[str, t.Any]) -> None:
    """ValueError for what AWS would refuse half way."""
    for option in RULES:
        if not 0 <= params[option] <= 2147483647:
            raise ValueError(
                f"{option} = {params[option]}: it is no number of days; give 1 or more, or 0 to keep everything"
            )


def _rule(option: str, days: int) -> dict[str, t.Any]:
    acts: dict[str, dict[str, t.Any]] = {
        "expire_days": {
            # Removes delete markers that are left alone, too.
            "Expiration": {"Days": days},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
        "abort_upload_days": {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days}},
        "noncurrent_days": {
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": days},
        },
    }
    return {"ID": RULES[option], "Status": "Enabled", "Filter": {"Prefix": ""}, **acts[option]}


def merged(rules: list[dict[str, t.Any]], params: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The bucket's rules with those asked for in them; of ours no other, and those of others as they are."""
    ours = [_rule(option, params[option]) for option in RULES if params[option]]

    def same(rule: dict[str, t.Any]) -> bool:
        # AWS may tell an empty prefix as no prefix.
        return rule.get("Filter") in ({}, {"Prefix": ""}) and {**rule, "Filter": {"Prefix": ""}} in ours

    found = [rule for rule in rules if rule.get("ID") in RULES.values()]
    if len(found) == len(ours) and all(same(rule) for rule in found):
        return rules
    return [rule for rule in rules if rule not in found] + ours
