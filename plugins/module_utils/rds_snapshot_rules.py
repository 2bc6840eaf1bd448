# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about snapshots of a database, as pure functions over what DescribeDBSnapshots answers."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, rds_rules

# A snapshot that was asked for carries this, and only such a snapshot is ever removed.
ON_DEMAND_TAG = {"mlflow-backup": "on-demand"}
# RDS's words for who made a snapshot, in ours.
KINDS = {"automated": "automated", "awsbackup": "aws-backup"}


def on_demand_name(identifier: str, now: datetime.datetime) -> str:
    return f"{identifier}-backup-{now:%Y%m%d-%H%M%S}"


def kind(snapshot: dict) -> str:
    """Who made it: on-demand, final (of a removed database), manual, automated or aws-backup."""
    name, made_by = snapshot["DBSnapshotIdentifier"], snapshot.get("SnapshotType", "manual")
    if made_by != "manual":
        return KINDS.get(made_by, made_by)
    if aws_changes.carries(rds_rules.tags_of(snapshot), ON_DEMAND_TAG):
        return "on-demand"
    return "final" if name.startswith(f"{snapshot['DBInstanceIdentifier']}-final-") else "manual"


def iso(moment: datetime.datetime | None) -> str | None:
    return moment.astimezone(datetime.timezone.utc).isoformat("T", "seconds") if moment else None


def summary(snapshot: dict, now: datetime.datetime) -> dict[str, t.Any]:
    """What others need to know about a snapshot. One that is only being made has no time yet."""
    made = snapshot.get("SnapshotCreateTime")
    return {
        "snapshot_id": snapshot["DBSnapshotIdentifier"],
        "snapshot_arn": snapshot.get("DBSnapshotArn"),
        "db_instance_id": snapshot["DBInstanceIdentifier"],
        "kind": kind(snapshot),
        "status": snapshot["Status"],
        "percent": snapshot.get("PercentProgress"),
        "created_at": iso(made),
        "age_seconds": round((now - made).total_seconds()) if made else None,
        "size_gib": snapshot.get("AllocatedStorage"),
        "engine_version": snapshot.get("EngineVersion"),
        "kms_key_arn": snapshot.get("KmsKeyId"),
        "tags": rds_rules.tags_of(snapshot),
    }


def newest_first(snapshots: t.Iterable[dict]) -> list[dict]:
    """Those that are only being made have no time yet and come first."""
    late = datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
    return sorted(snapshots, key=lambda one: (one.get("SnapshotCreateTime") or late, one["DBSnapshotIdentifier"]), reverse=True)


def ours_on_demand(snapshots: t.Iterable[dict], owner_tags: dict[str, str]) -> list[dict]:
    """Snapshots of this deployment that were asked for, newest first."""
    wanted = {**owner_tags, **ON_DEMAND_TAG}
    found = (one for one in snapshots if one.get("SnapshotType", "manual") == "manual")
    return newest_first(one for one in found if aws_changes.carries(rds_rules.tags_of(one), wanted))


def superfluous(snapshots: t.Iterable[dict], owner_tags: dict[str, str], keep: int, to_come: int = 0) -> list[dict]:
    """What goes when the newest `keep` on-demand snapshots stay (0: all), `to_come` of them yet to be made.

    Those that failed hold nothing and always go.
    """
    ours = ours_on_demand(snapshots, owner_tags)
    good = [one for one in ours if one["Status"] == "available"]
    return [one for one in ours if one["Status"] == "failed"] + (good[max(0, keep - to_come) :] if keep > 0 else [])
