# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about an RDS instance for PostgreSQL, as pure functions over the API's own dictionaries.

Refusals are ValueErrors of one line that name the option of M(mlops.mlflow_aws.rds_postgres).
"""

from __future__ import annotations

import math
import typing as t

ENGINE = "postgres"
# The database answers in these; RDS goes on working at it. See "Viewing DB instance status" in the RDS user guide.
USABLE = {
    "available", "backing-up", "configuring-enhanced-monitoring", "configuring-log-exports", "maintenance",
    "storage-config-upgrade", "storage-initialization", "storage-optimization",
}  # fmt: skip
# RDS does not leave these by itself.
STUCK = {
    "failed": "RDS could not make it and cannot repair it; destroy it without a final snapshot and deploy again",
    "incompatible-create": "RDS could not make it; destroy it without a final snapshot and deploy again",
    "incompatible-network": "its subnets have no free address or do not fit; see to the subnets, then reboot it",
    "incompatible-option-group": "its option group does not fit; correct the group, then reboot it",
    "incompatible-parameters": "a parameter does not fit its class or version; correct rds_parameters, then reboot it",
    "incompatible-restore": "it cannot be restored to this point; restore it to another one",
    "inaccessible-encryption-credentials": "its KMS key is gone or denied; enable the key again",
    "inaccessible-encryption-credentials-recoverable": "its KMS key is disabled or denied; enable it, then start it",
    "insufficient-capacity": "the zones have no such instance left; choose another instance class or try later",
    "restore-error": "the restore failed; look at its events",
    "stopped": "somebody stopped it; start it and run again",
    "storage-full": "its storage is full; raise rds_allocated_storage",
}
# Only these can be deleted, but not with a final snapshot (DeleteDBInstance, SkipFinalSnapshot).
WITHOUT_SNAPSHOT = {"failed", "incompatible-create", "incompatible-network", "incompatible-restore"}

# What an instance that was made of a snapshot carries: the name of the snapshot, for good, and a mark as long as it
# still has the password and the settings of the snapshot's time.
RESTORED_FROM, UNFINISHED = "mlflow-restored-from", "mlflow-restore-unfinished"
# What a restore in place calls the restored instance until it takes its place, and the one whose place it takes.
RESTORED, REPLACED = "-restored", "-replaced-"
# Arguments of CreateDBInstance that RestoreDBInstanceFromDBSnapshot does not take: the snapshot says them, or they are
# set afterwards.
NOT_OF_A_RESTORE = (
    "AllocatedStorage", "BackupRetentionPeriod", "EnablePerformanceInsights", "EngineVersion", "MaxAllocatedStorage",
    "MonitoringInterval", "MonitoringRoleArn", "PerformanceInsightsKMSKeyId", "PreferredBackupWindow",
    "PreferredMaintenanceWindow",
)  # fmt: skip

# Attribute of DescribeDBInstances -> argument of ModifyDBInstance, where wanted and current value compare as they are.
SAME_VALUE = {
    "DBInstanceClass": "DBInstanceClass",
    "MultiAZ": "MultiAZ",
    "BackupRetentionPeriod": "BackupRetentionPeriod",
    "DeletionProtection": "DeletionProtection",
    "AutoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
    "CopyTagsToSnapshot": "CopyTagsToSnapshot",
    "IAMDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
    "MonitoringInterval": "MonitoringInterval",
    "MonitoringRoleArn": "MonitoringRoleArn",
    "PubliclyAccessible": "PubliclyAccessible",
    "StorageType": "StorageType",
    "PerformanceInsightsEnabled": "EnablePerformanceInsights",
    "CACertificateIdentifier": "CACertificateIdentifier",
    "PreferredBackupWindow": "PreferredBackupWindow",
    "PreferredMaintenanceWindow": "PreferredMaintenanceWindow",
}


def version_numbers(version: str) -> tuple[int, ...]:
    """`15.7` -> (15, 7); ValueError for what is not a PostgreSQL version from 10 on."""
    parts = version.split(".")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise ValueError(f'engine_version = {version}: not a PostgreSQL version; give one like "15" or "15.7"')
    return tuple(int(part) for part in parts)


def family(version: str) -> str:
    """Parameter group family of a version: `15.7` -> `postgres15`."""
    return f"{ENGINE}{version_numbers(version)[0]}"


def newest(offered: t.Iterable[str], wanted: str, region: str) -> str:
    """The version to create: `wanted` if it has a minor version, else the newest one offered of that major version."""
    numbers = version_numbers(wanted)
    # Preview versions have letters in them.
    known = sorted(version_numbers(one) for one in offered if one.replace(".", "").isdigit())
    if len(numbers) == 2:
        return wanted
    fitting = [one for one in known if one[0] == numbers[0]]
    if not fitting:
        raise ValueError(
            f"engine_version = {wanted}: RDS offers no PostgreSQL {wanted} in {region};"
            " choose another major version (aws rds describe-db-engine-versions --engine postgres)"
        )
    return ".".join(str(number) for number in fitting[-1])


def engine_change(current: str, wanted: str, auto_minor_version_upgrade: bool) -> str | None:
    """The version to upgrade to, None to leave it as it is."""
    now, asked = version_numbers(current), version_numbers(wanted)
    if now[0] != asked[0]:
        raise ValueError(
            f"engine_version = {wanted}: the database has {current}, and another major version needs a planned upgrade;"
            f' set it back to "{now[0]}"'
        )
    if len(asked) == 1 or now == asked:
        return None
    if now > asked:
        if auto_minor_version_upgrade:
            return None  # RDS has moved it on, as it was asked to
        raise ValueError(
            f'engine_version = {wanted}: the database has {current}, and RDS cannot go back; set it to "{current}"'
        )
    return wanted


def storage_change(current: int, wanted: int, maximum: int) -> int | None:
    """GiB to grow to, None to leave it as it is. What storage autoscaling has added stays."""
    if wanted == current:
        return None
    if wanted > current:
        least = math.ceil(current * 1.1)
        if wanted < least:
            raise ValueError(
                f"allocated_storage = {wanted}: RDS grows storage by at least 10 %, the database has {current} GiB;"
                f" give at least {least}, or {current} to leave it"
            )
        return wanted
    if current <= maximum:
        return None
    raise ValueError(
        f"allocated_storage = {wanted}: the database has {current} GiB, and RDS cannot shrink storage;"
        f" give at least {current}, or dump and restore into a smaller one"
    )


def maximum_change(current: int | None, allocated: int, wanted: int) -> int | None:
    """MaxAllocatedStorage to set, None to leave it as it is. RDS shows none while autoscaling is off."""
    if wanted > allocated:
        return wanted if current != wanted else None
    # Autoscaling is switched off by a maximum that is the present size.
    return allocated if current is not None and current > allocated else None


def key_problem(instance: dict | None, kms_key: str, former_kms_key: str) -> str | None:
    """Why the instance cannot have this key of KMS; None if it can. Empty for any key, and for no former one.

    RDS never changes the key of an instance: "Encrypting Amazon RDS resources" in its user guide.
    """
    if instance is None:
        return None
    has = instance.get("KmsKeyId") or "no key"
    what = f"Database {instance['DBInstanceIdentifier']}: it is encrypted with {has}, and RDS cannot change that"
    if kms_key and has != kms_key:
        return (
            f"{what} to {kms_key}; leave the database out of encryption_parts, or make a snapshot, copy it with this key"
            " and restore it under the same name"
        )
    if former_kms_key and has == former_kms_key:
        return (
            f"{what}, so the key cannot go; leave mlflow_encryption on, or make a snapshot, copy it with another key"
            " and restore it under the same name"
        )
    return None


def log_exports(instance: dict) -> list[str]:
    """The logs that are exported, or will be when what is under way is done."""
    pending = instance.get("PendingCloudwatchLogsExports") or {}
    exported = {*instance.get("EnabledCloudwatchLogsExports", []), *pending.get("LogTypesToEnable", [])}
    return sorted(exported - {*pending.get("LogTypesToDisable", [])})


def modifications(instance: dict, wanted: dict[str, t.Any]) -> tuple[dict, dict]:
    """(arguments of ModifyDBInstance, what they replace), both empty when nothing is to be changed.

    `wanted` has the keys of SAME_VALUE (null: not asked for) and `LogExports`, `EngineVersion`, `AllocatedStorage`,
    `MaxAllocatedStorage` (0: no autoscaling), `VpcSecurityGroupIds`, `DBParameterGroupName`.
    """
    # What is under way already counts as done.
    now = {**instance, **instance.get("PendingModifiedValues", {})}
    change: dict[str, t.Any] = {}
    before: dict[str, t.Any] = {}

    def want(argument: str, old: t.Any, new: t.Any) -> None:
        if new is not None and old != new:
            change[argument], before[argument] = new, old

    for attribute, argument in SAME_VALUE.items():
        want(argument, now.get(attribute), wanted.get(attribute))
    exported = log_exports(now)
    if exported != wanted["LogExports"]:
        change["CloudwatchLogsExportConfiguration"] = {
            "EnableLogTypes": sorted(set(wanted["LogExports"]) - set(exported)),
            "DisableLogTypes": sorted(set(exported) - set(wanted["LogExports"])),
        }
        before["CloudwatchLogsExportConfiguration"] = exported
    groups = sorted(one["VpcSecurityGroupId"] for one in now.get("VpcSecurityGroups", []))
    want("VpcSecurityGroupIds", groups, sorted(wanted["VpcSecurityGroupIds"]))
    parameter_groups = [one["DBParameterGroupName"] for one in now.get("DBParameterGroups", [])]
    want("DBParameterGroupName", (parameter_groups or [None])[0], wanted["DBParameterGroupName"])
    want(
        "EngineVersion",
        now["EngineVersion"],
        engine_change(now["EngineVersion"], wanted["EngineVersion"], wanted["AutoMinorVersionUpgrade"]),
    )
    allocated, maximum = now["AllocatedStorage"], wanted["MaxAllocatedStorage"]
    grown = storage_change(allocated, wanted["AllocatedStorage"], maximum)
    want("AllocatedStorage", allocated, grown)
    now_maximum = now.get("MaxAllocatedStorage")
    want("MaxAllocatedStorage", now_maximum, maximum_change(now_maximum, grown or allocated, maximum))
    return change, before


def tags_of(described: dict | None) -> dict[str, str]:
    """The tags of an instance or a snapshot, as a dictionary."""
    return {one["Key"]: one["Value"] for one in (described or {}).get("TagList", [])}


def wanted_tags(instance: dict, tags: dict[str, str]) -> dict[str, str]:
    """The tags that an instance is to have: those asked for, where it comes from, and the mark while it is not finished."""
    kept = {RESTORED_FROM} | ({UNFINISHED} if instance["DBInstanceStatus"] == "creating" else set())
    return {**tags, **{key: value for key, value in tags_of(instance).items() if key in kept}}


def applied(instance: dict) -> bool:
    """Whether RDS has the password that it was given last."""
    return "MasterUserPassword" not in (instance.get("PendingModifiedValues") or {})


def left_by_restores(instances: t.Iterable[dict], identifier: str, owner_tags: dict[str, str]) -> list[dict]:
    """The instances of this deployment that a restore in place has made or replaced, by name."""
    found = (
        one
        for one in instances
        if one["DBInstanceIdentifier"] == identifier + RESTORED or one["DBInstanceIdentifier"].startswith(identifier + REPLACED)
    )
    ours = (one for one in found if all(tags_of(one).get(key) == value for key, value in owner_tags.items()))
    return sorted(ours, key=lambda one: one["DBInstanceIdentifier"])


def summary(instance: dict | None) -> dict[str, t.Any]:
    """What others need to know about an instance; every value null when there is none."""
    instance = instance or {}
    tags = tags_of(instance)
    endpoint = instance.get("Endpoint") or {}
    return {
        "db_instance_id": instance.get("DBInstanceIdentifier"),
        "db_instance_arn": instance.get("DBInstanceArn"),
        "status": instance.get("DBInstanceStatus"),
        "endpoint_address": endpoint.get("Address"),
        "endpoint_port": endpoint.get("Port"),
        "database_name": instance.get("DBName"),
        "engine_version": instance.get("EngineVersion"),
        "instance_class": instance.get("DBInstanceClass"),
        "kms_key_arn": instance.get("KmsKeyId"),
        "restored_from": tags.get(RESTORED_FROM),
        "restore_unfinished": UNFINISHED in tags if instance else None,
    }
