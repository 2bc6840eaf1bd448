# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's DB snapshots, each with a real copy of the database, and what a new instance takes from one.

https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html, API_DeleteDBSnapshot.html,
API_CopyDBSnapshot.html, API_RestoreDBInstanceFromDBSnapshot.html
"""

from __future__ import annotations

import copy
from typing import Any

from moto.rds.exceptions import (
    DBInstanceAlreadyExists,
    DBInstanceNotFoundError,
    DBSnapshotNotFoundFault,
    InvalidParameterCombination,
    InvalidParameterValue,
)
from moto.rds.models import RDSBackend as BACKEND

from .patches import replace
from .rds_instances import Instances, subnet_group
from .rds_requests import Conflict, Refused

_plain_create = BACKEND.create_db_snapshot
# Snapshots of AWS Backup; only AWS Backup removes them.
MANAGED = "awsbackup"
# A new instance has these from the snapshot unless the request says otherwise; of all else it has RDS's defaults.
INHERITED = (
    "engine", "engine_version", "db_instance_class", "allocated_storage", "storage_type", "iops", "storage_throughput",
    "storage_encrypted", "kms_key_id", "master_username", "db_name", "port", "backup_retention_period",
    "preferred_backup_window", "preferred_maintenance_window",
)  # fmt: skip
# What the request may say besides.
ASKED = {
    "db_instance_identifier", "db_instance_class", "port", "availability_zone", "db_subnet_group_name", "multi_az",
    "publicly_accessible", "auto_minor_version_upgrade", "license_model", "engine", "iops", "storage_throughput",
    "option_group_name", "tags", "storage_type", "vpc_security_group_ids", "copy_tags_to_snapshot",
    "enable_iam_database_authentication", "enable_cloudwatch_logs_exports", "db_parameter_group_name",
    "deletion_protection", "allocated_storage", "backup_retention_period", "preferred_backup_window",
    "ca_certificate_identifier",
}  # fmt: skip


def take(instances: Instances, backend: Any, identifier: str, name: str, kind: str, tags: list[dict] | None) -> Any:
    """A new snapshot of an available instance, being made in the background."""
    instance = backend.databases.get(identifier)
    if instance is None:
        raise DBInstanceNotFoundError(identifier)
    if instance.status != "available":
        raise Conflict(
            "InvalidDBInstanceState",
            f"Cannot create a snapshot because the database instance {identifier} is not currently in the available state.",
        )
    snapshot = record(backend, identifier, name, kind, tags)
    instance.status = "backing-up"
    instances.background(instances.take, instance, snapshot)
    return snapshot


def record(backend: Any, identifier: str, name: str, kind: str = "manual", tags: list[dict] | None = None) -> Any:
    """What moto keeps of a snapshot, and what it forgets; the data are yet to come."""
    instance = backend.databases[identifier]
    snapshot = _plain_create(backend, identifier, name, snapshot_type=kind, tags=tags)
    # A later change of the instance's tags is none of the snapshot's.
    snapshot.tags = copy.deepcopy(snapshot.tags)
    snapshot.status, snapshot.percent_progress, snapshot.local_copy = "creating", 0, None
    for name_of in ("availability_zone", "license_model", "storage_type", "iops", "storage_throughput", "option_group_name"):
        setattr(snapshot, name_of, getattr(instance, name_of, None))
    group = subnet_group(instance)
    snapshot.vpc_id = group.vpc_id if group else None
    return snapshot


def remove(backend: Any, name: str) -> Any:
    """Snapshot and data."""
    snapshot = backend.database_snapshots.pop(name)
    if snapshot.local_copy is not None:
        snapshot.local_copy.remove()
    snapshot.status = "deleted"
    return snapshot


def find(backend: Any, name: str) -> Any:
    """By name or ARN, once its data are there."""
    name = backend.extract_snapshot_name_from_arn(name) if name.startswith("arn:") else name
    snapshot = backend.database_snapshots.get(name)
    if snapshot is None:
        raise DBSnapshotNotFoundFault(name)
    if snapshot.status != "available":
        raise Conflict("InvalidDBSnapshotState", f"Snapshot {name} is not in available state, but {snapshot.status}.")
    return snapshot


def restored(snapshot: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """The instance that RestoreDBInstanceFromDBSnapshot makes, as CreateDBInstance is told of one."""
    given = {key: value for key, value in asked.items() if value is not None and key != "db_snapshot_identifier"}
    if set(given) - ASKED:
        raise Refused(f"restoring a DB instance with {', '.join(sorted(set(given) - ASKED))}")
    if given.get("engine", snapshot.engine) != snapshot.engine:
        raise InvalidParameterCombination(
            f"The engine name requested for your DB instance ({given['engine']}) doesn't match the engine name of your "
            f"DB snapshot ({snapshot.engine})"
        )
    if int(given.get("allocated_storage", snapshot.allocated_storage)) < snapshot.allocated_storage:
        raise InvalidParameterValue("The allocated storage size can't be less than the source snapshot or backup size.")
    inherited = {key: getattr(snapshot.database, key, None) for key in INHERITED}
    # The data have the right one; this is what moto keeps.
    inherited["master_user_password"] = snapshot.database._master_user_password
    return {**{key: value for key, value in inherited.items() if value is not None}, **given}


def patch(instances: Instances) -> None:
    plain_describe, plain_copy = BACKEND.describe_db_snapshots, BACKEND.copy_db_snapshot

    def create(
        self: Any, db_instance_identifier: str, db_snapshot_identifier: str, snapshot_type: str = "manual",
        tags: Any = None, original_created_at: Any = None, kms_key_id: str | None = None,
    ) -> Any:  # fmt: skip
        return take(instances, self, db_instance_identifier, db_snapshot_identifier, snapshot_type, tags)

    def describe(
        self: Any, db_instance_identifier: str | None, db_snapshot_identifier: str | None = None,
        snapshot_type: str | None = None, filters: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        if db_snapshot_identifier and not snapshot_type:
            # moto finds no snapshot of AWS Backup by its name.
            filters = {"snapshot-type": ["automated", "manual", MANAGED], **(filters or {})}
        return plain_describe(self, db_instance_identifier, db_snapshot_identifier, snapshot_type, filters)

    def delete(self: Any, db_snapshot_identifier: str) -> Any:
        snapshot = find(self, db_snapshot_identifier)
        if snapshot.snapshot_type != "manual":
            raise Conflict("InvalidDBSnapshotState", "Only manual snapshots may be deleted.")
        return remove(self, db_snapshot_identifier)

    def duplicate(self: Any, source_db_snapshot_identifier: str, target_db_snapshot_identifier: str, **more: Any) -> Any:
        source = find(self, source_db_snapshot_identifier)
        made = plain_copy(self, source.db_snapshot_identifier, target_db_snapshot_identifier, **more)
        made.percent_progress = 100
        made.local_copy = source.local_copy.duplicate(instances.snapshots / made.db_snapshot_identifier)
        return made

    def restore(self: Any, from_snapshot_id: str, overrides: dict[str, Any]) -> Any:
        if overrides["db_instance_identifier"] in self.databases:
            raise DBInstanceAlreadyExists()
        snapshot = find(self, from_snapshot_id)
        return self.create_db_instance({**restored(snapshot, overrides), "from_copy": snapshot.local_copy})

    def restore_to_a_moment(self: Any, *_arguments: Any, **_more: Any) -> Any:
        raise Refused("point-in-time restores, as it does not keep the transaction logs: restore a snapshot")

    def export(self: Any, kwargs: dict[str, Any]) -> Any:
        raise Refused("exports of snapshots")

    replace(BACKEND, "create_db_snapshot", create, (
        "self", "db_instance_identifier", "db_snapshot_identifier", "snapshot_type", "tags", "original_created_at",
        "kms_key_id",
    ))  # fmt: skip
    replace(BACKEND, "describe_db_snapshots", describe, (
        "self", "db_instance_identifier", "db_snapshot_identifier", "snapshot_type", "filters",
    ))  # fmt: skip
    replace(BACKEND, "delete_db_snapshot", delete, ("self", "db_snapshot_identifier"))
    replace(BACKEND, "copy_db_snapshot", duplicate)
    replace(BACKEND, "restore_db_instance_from_db_snapshot", restore, ("self", "from_snapshot_id", "overrides"))
    replace(BACKEND, "restore_db_instance_to_point_in_time", restore_to_a_moment)
    replace(BACKEND, "start_export_task", export)
