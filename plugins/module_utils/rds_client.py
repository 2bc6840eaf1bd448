# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding and awaiting an RDS instance. boto3's own waiters ask each 30 s and give no reason."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import rds_rules

MAX_POLL_SECONDS = 5.0
LAST_EVENTS = 3
EVENT_MINUTES = 24 * 60


def connect(module: t.Any, service: str = "rds") -> t.Any:
    return module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=8))


def describe_instance(rds: t.Any, identifier: str) -> dict | None:
    """One instance as DescribeDBInstances has it, or None."""
    try:
        return rds.describe_db_instances(DBInstanceIdentifier=identifier, aws_retry=True)["DBInstances"][0]
    except is_boto3_error_code(["DBInstanceNotFound", "DBInstanceNotFoundFault"]):
        return None


def describe_instances(rds: t.Any) -> list[dict]:
    """Every instance of the region."""
    return _pages(rds.describe_db_instances, "DBInstances")


def describe_snapshots(rds: t.Any, identifier: str) -> list[dict]:
    """All snapshots of an instance, also of one that is gone: manual, automated and of AWS Backup."""
    arguments = {"DBInstanceIdentifier": identifier}
    managed = _pages(rds.describe_db_snapshots, "DBSnapshots", SnapshotType="awsbackup", **arguments)
    return _pages(rds.describe_db_snapshots, "DBSnapshots", **arguments) + managed


def describe_snapshot(rds: t.Any, identifier: str) -> dict | None:
    try:
        return rds.describe_db_snapshots(DBSnapshotIdentifier=identifier, aws_retry=True)["DBSnapshots"][0]
    except is_boto3_error_code(["DBSnapshotNotFound", "DBSnapshotNotFoundFault"]):
        return None


def _pages(operation: t.Callable, key: str, **arguments: t.Any) -> list[dict]:
    found: list[dict] = []
    while True:
        page = operation(aws_retry=True, **arguments)
        found += page[key]
        if not page.get("Marker"):
            return found
        arguments["Marker"] = page["Marker"]


def status_of(instance: dict | None) -> str:
    return instance["DBInstanceStatus"] if instance else "absent"


def last_events(rds: t.Any, identifier: str) -> str:
    """What RDS said last about the instance, as the end of a sentence; empty if it said nothing."""
    events = rds.describe_events(
        SourceIdentifier=identifier, SourceType="db-instance", Duration=EVENT_MINUTES, aws_retry=True
    )["Events"]
    told = "; ".join(event["Message"].strip().rstrip(".") for event in events[-LAST_EVENTS:])
    return f" (its last events: {told})" if told else ""


def await_status(
    rds: t.Any, identifier: str, timeout: float, done: t.Callable[[str], bool], waiting_for: str
) -> dict | None:
    """The instance once `done(status)`, None if that is its absence; ValueError when it is stuck or takes too long."""
    deadline, pause = time.monotonic() + timeout, 1.0
    while True:
        instance = describe_instance(rds, identifier)
        status = status_of(instance)
        if done(status):
            return instance
        if status in rds_rules.STUCK and waiting_for != "gone":
            raise ValueError(
                f"Database {identifier}: its status is {status}: {rds_rules.STUCK[status]}"
                f"{last_events(rds, identifier)}"
            )
        if time.monotonic() + pause > deadline:
            raise ValueError(
                f"Database {identifier}: it is not {waiting_for} but {status} after {timeout:.0f} s;"
                f" run again or raise rds_wait_timeout{last_events(rds, identifier)}"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, MAX_POLL_SECONDS)


def await_usable(rds: t.Any, identifier: str, timeout: float) -> dict:
    """The instance once it answers; ValueError also when it is absent or on its way out."""

    def done(status: str) -> bool:
        if status in ("absent", "deleting"):
            raise ValueError(f"Database {identifier}: it is {status}, so it will not become available; deploy it again")
        return status in rds_rules.USABLE

    return await_status(rds, identifier, timeout, done, "available") or {}


def await_applied(rds: t.Any, identifier: str, timeout: float) -> dict:
    """The instance once it answers and takes the password that it was given last."""
    deadline = time.monotonic() + timeout
    while True:
        instance = await_usable(rds, identifier, max(0.0, deadline - time.monotonic()))
        if rds_rules.applied(instance):
            return instance
        if time.monotonic() > deadline:
            raise ValueError(f"Database {identifier}: it does not have its new password after {timeout:.0f} s; run again")
        time.sleep(MAX_POLL_SECONDS)


def await_snapshot(rds: t.Any, name: str, timeout: float) -> dict:
    """The snapshot once it is available; ValueError, with how far it has come, when it fails or takes too long."""
    deadline, pause = time.monotonic() + timeout, 1.0
    while True:
        snapshot = describe_snapshot(rds, name)
        status = snapshot["Status"] if snapshot else "absent"
        if snapshot and status == "available":
            return snapshot
        if status != "creating":
            raise ValueError(f"Snapshot {name}: it is {status}, so it holds nothing; see the events of the database and run again")
        if time.monotonic() + pause > deadline:
            raise ValueError(
                f"Snapshot {name}: {t.cast(dict, snapshot).get('PercentProgress', 0)} % are made after {timeout:.0f} s; it goes on,"
                " run again to wait for it, or raise backup_wait_timeout"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, MAX_POLL_SECONDS)


def await_absent(rds: t.Any, identifier: str, timeout: float) -> None:
    await_status(rds, identifier, timeout, lambda status: status == "absent", "gone")
