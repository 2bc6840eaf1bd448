# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lifecycle rules of a bucket that M(mlops.mlflow_aws.s3_private_bucket) keeps: pure functions."""

from __future__ import annotations

import typing as t

# Option -> name of its rule.
RULES = {
    "expire_days": "expire-logs",
    "abort_upload_days": "abort-uploads",
    "noncurrent_days": "expire-noncurrent",
    "transition_days": "transition",
}
# Storage classes whose objects can be read at once, and the least days before S3 moves objects there
# (Amazon S3 user guide, "Transitioning objects using Amazon S3 Lifecycle").
CLASSES = {"INTELLIGENT_TIERING": 1, "STANDARD_IA": 30, "ONEZONE_IA": 30, "GLACIER_IR": 1}
ASLEEP = ("GLACIER", "DEEP_ARCHIVE")


def check(params: dict[str, t.Any]) -> None:
    """ValueError for what AWS would refuse half way, and for classes from which nothing can be read."""
    fault = class_fault(params["transition_days"], params["transition_class"])
    if fault:
        option, reason, remedy = fault
        raise ValueError(f"{option} = {params[option]}: {reason}; {remedy}")
    for option in RULES:
        if not 0 <= params[option] <= 2147483647:
            raise ValueError(
                f"{option} = {params[option]}: it is no number of days; give 1 or more, or 0 to keep everything"
            )


def class_fault(days: int, name: str) -> tuple[str, str, str] | None:
    """Option, reason and remedy where objects cannot move to this class after so many days, or not be read there."""
    others = f"choose one of {', '.join(CLASSES)}"
    if name in ASLEEP:
        reason = "its objects must be restored, for hours, before anybody can read them, so downloads would fail"
        return "transition_class", reason, others
    if name not in CLASSES:
        return "transition_class", "is not a storage class to move objects to", others
    if 0 < days < CLASSES[name]:
        reason = f"S3 moves objects to {name} after {CLASSES[name]} days at the earliest"
        return "transition_days", reason, "raise it, or choose the storage class INTELLIGENT_TIERING"
    return None


def _rule(option: str, params: dict[str, t.Any]) -> dict[str, t.Any]:
    days = params[option]
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
        "transition_days": {"Transitions": [{"Days": days, "StorageClass": params["transition_class"]}]},
    }
    return {"ID": RULES[option], "Status": "Enabled", "Filter": {"Prefix": ""}, **acts[option]}


def merged(rules: list[dict[str, t.Any]], params: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The bucket's rules with those asked for in them; of ours no other, and those of others as they are."""
    ours = [_rule(option, params) for option in RULES if params[option]]

    def same(rule: dict[str, t.Any]) -> bool:
        # AWS may tell an empty prefix as no prefix.
        return rule.get("Filter") in ({}, {"Prefix": ""}) and {**rule, "Filter": {"Prefix": ""}} in ours

    found = [rule for rule in rules if rule.get("ID") in RULES.values()]
    if len(found) == len(ours) and all(same(rule) for rule in found):
        return rules
    return [rule for rule in rules if rule not in found] + ours
