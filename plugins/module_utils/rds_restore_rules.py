# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore has to do, decided from what AWS describes: pure functions. Refusals are ValueErrors of one line."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_versions, rds_rules, rds_snapshot_rules

LATEST = "latest"
# What a snapshot tells of the deployment that it was made of.
VERSION_TAG, ROOT_TAG = "mlflow-version", "mlflow-artifact-root"


@dataclasses.dataclass(frozen=True)
class Step:
    """`work`: restore a new instance, finish one that an earlier run began, or none; `beside` an instance to be replaced."""

    work: str
    beside: bool
    # Name or ARN; LATEST only where there is something to restore.
    snapshot: str


def next_step(main: dict | None, restored: dict | None, name: str, wanted: str, in_place: bool, again: bool = False) -> Step:
    """`main` is the instance called `name`, `restored` the one that is to take its place; `wanted` a snapshot, LATEST or empty;
    `again` asks for it though `main` is of that snapshot already."""
    if main and main["DBInstanceStatus"] == "deleting":
        main = None
    begun = rds_rules.tags_of(restored or main).get(rds_rules.RESTORED_FROM, "")
    unfinished = restored is not None or rds_rules.UNFINISHED in rds_rules.tags_of(main)
    if unfinished:
        which = f"{name}{rds_rules.RESTORED}" if restored else name
        if wanted not in ("", LATEST, begun):
            raise ValueError(
                f"restore_snapshot = {wanted}: {which} is being restored from {begun}; finish that first (leave restore_snapshot"
                f" out), or delete {which}"
            )
        if restored and not in_place:
            raise ValueError(
                f"Database {name}: a restore in place is not finished ({which}); run again with restore_in_place=true, or"
                f" delete {which}"
            )
        return Step("finish", restored is not None, begun)
    if main is None:
        return Step("restore", False, wanted or LATEST)
    if not in_place:
        if begun and wanted in ("", begun) and not again:
            return Step("none", False, begun)
        raise ValueError(
            f"Database {name}: it is there; say restore_in_place=true to have the snapshot take its place (it is kept), or restore"
            " to another host of the inventory"
        )
    if not wanted:
        raise ValueError(
            "restore_snapshot: in place of a database that is there, say which snapshot (backup.yml with -e backup_list=true lists"
            f" them), or {LATEST}"
        )
    return Step("restore", True, wanted)


def after_choice(step: Step, main: dict | None, chosen: str, again: bool) -> Step:
    """With the snapshot known: a database that is restored from it already is left as it is, unless it is to be so again."""
    begun = rds_rules.tags_of(main).get(rds_rules.RESTORED_FROM)
    if step.work == "restore" and step.beside and begun == chosen and not again:
        return Step("none", False, chosen)
    return dataclasses.replace(step, snapshot=chosen)


def latest(snapshots: t.Iterable[dict], source: str) -> dict:
    """The newest snapshot of the instance `source` that can be restored."""
    good = [one for one in snapshots if one["Status"] == "available"]
    if not good:
        raise ValueError(
            f"Database {source}: there is no snapshot of it that is available; correct restore_from or name one in restore_snapshot"
        )
    return rds_snapshot_rules.newest_first(good)[0]


def problems(snapshot: dict, wanted: dict[str, t.Any]) -> list[str]:
    """Why this snapshot cannot become a database as `wanted` (the options of M(mlops.mlflow_aws.rds_postgres_restore_info))."""
    name, tags = snapshot["DBSnapshotIdentifier"], rds_rules.tags_of(snapshot)
    found: list[str] = []

    def refuse(reason: str, remedy: str) -> None:
        found.append(f"restore_snapshot = {name}: {reason}; {remedy}")

    if snapshot["Engine"] != rds_rules.ENGINE:
        refuse(f"it is of the engine {snapshot['Engine']}, not PostgreSQL", "name another one")
        return found
    if snapshot["Status"] != "available":
        percent = snapshot.get("PercentProgress")
        refuse(f"it is {snapshot['Status']} ({percent} %)", "wait until it is available, or name another one")
    reason = _version_problem(snapshot["EngineVersion"], wanted)
    if reason:
        refuse(*reason)
    size, most = snapshot["AllocatedStorage"], max(wanted["allocated_storage"], wanted["max_allocated_storage"])
    if size > most:
        refuse(
            f"it needs {size} GiB, and the deployment has {most} at most",
            f"set rds_allocated_storage or rds_max_allocated_storage to {size} at least",
        )
    if not snapshot.get("Encrypted"):
        refuse("it is not encrypted, and so would be the database", "copy it with a key and restore the copy")
    elif wanted["kms_key"] and snapshot.get("KmsKeyId") != wanted["kms_key"]:
        refuse(
            f"it is encrypted with {snapshot.get('KmsKeyId')}, and so would be the database",
            f"copy it with {wanted['kms_key']} and restore the copy",
        )
    user = snapshot.get("MasterUsername")
    if wanted["master_username"] and user != wanted["master_username"]:
        refuse(f"its master user is {user}, the deployment's is {wanted['master_username']}", f"set secrets_db_username to {user}")
    made_by, runs = mlflow_versions.parse(tags.get(VERSION_TAG)), mlflow_versions.parse(wanted["mlflow_version"])
    if made_by and runs and made_by > runs:
        refuse(
            f"MLflow {tags[VERSION_TAG]} wrote it, and {wanted['mlflow_version']} cannot read that schema",
            f"set mlflow_version to {tags[VERSION_TAG]}",
        )
    root = tags.get(ROOT_TAG)
    if root and root != wanted["artifact_root"] and not wanted["artifacts_copied"]:
        refuse(
            f"its artifacts are in {root}, this deployment keeps its own in {wanted['artifact_root']}",
            "set artifacts_bucket and artifacts_prefix to read them there, or copy them and say restore_artifacts_copied=true",
        )
    return found


def _version_problem(has: str, wanted: dict[str, t.Any]) -> tuple[str, str] | None:
    now, asked = rds_rules.version_numbers(has), rds_rules.version_numbers(wanted["engine_version"])
    if now[0] != asked[0]:
        reason = f"it is of PostgreSQL {has}, and rds_engine_version is {wanted['engine_version']}"
        return reason, f'set rds_engine_version to "{now[0]}"'
    if now > asked and len(asked) > 1 and not wanted["auto_minor_version_upgrade"]:
        return f"it is of PostgreSQL {has}, and RDS cannot go back to {wanted['engine_version']}", f'set rds_engine_version to "{has}"'
    return None
