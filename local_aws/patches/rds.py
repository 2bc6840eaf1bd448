# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's RDS, with a real PostgreSQL server behind each instance.

moto 5.2.5 has every instance available at once, knows no engine versions and forgets half of what CreateDBInstance is told.
The API: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from typing import Any

from moto.core.responses import ActionResult, PaginatedResult
from moto.ec2.models import ec2_backends
from moto.rds import models, responses
from moto.rds.exceptions import (
    DBInstanceAlreadyExists,
    DBInstanceNotFoundError,
    DBParameterGroupNotFoundError,
    InvalidParameterCombination,
    InvalidParameterValue,
    RDSClientError,
)

from .. import rds_offers
from ..database import PostgresServer
from ..runtime import Runtime
from . import replace

log = logging.getLogger(__name__)
BACKEND = models.RDSBackend
INSTANCE = models.DBInstance
RESPONSE = responses.RDSResponse

# Changes that wait for the maintenance window unless ApplyImmediately is set; the others take effect at once (ModifyDBInstance).
DEFERRED = {"allocated_storage", "db_instance_class", "engine_version", "multi_az", "storage_type", "iops", "port"}
# What DescribeDBInstances tells and moto does not keep, with RDS's defaults.
KEPT = {
    "performance_insights_enabled": ("enable_performance_insights", False),
    "performance_insights_retention_period": ("performance_insights_retention_period", None),
    "performance_insights_kms_key_id": ("performance_insights_kms_key_id", None),
}
# PostgreSQL parameters in RDS's default parameter groups that people change (DescribeDBParameters).
PARAMETERS = {
    "rds.force_ssl": ("1", "boolean", "dynamic", "0,1"),
    "log_min_duration_statement": ("-1", "integer", "dynamic", "-1-2147483647"),
    "log_connections": ("0", "boolean", "dynamic", "0,1"),
    "log_disconnections": ("0", "boolean", "dynamic", "0,1"),
    "log_statement": ("none", "string", "dynamic", "none,ddl,mod,all"),
    "max_connections": ("LEAST({DBInstanceClassMemory/9531392},5000)", "integer", "static", "6-262143"),
    "idle_in_transaction_session_timeout": ("86400000", "integer", "dynamic", "0-2147483647"),
}


class Refused(RDSClientError):
    """Something that RDS does and the local AWS does not."""

    def __init__(self, what: str) -> None:
        super().__init__("UnsupportedOperation", f"The local AWS does not support {what}.")


def apply(runtime: Runtime) -> None:
    instances = Instances(runtime)
    _patch_instances(instances)
    _patch_offers()
    _patch_parameter_groups()
    runtime.reporters["databases"] = instances.report


def check_password(password: str | None) -> None:
    """CreateDBInstance, MasterUserPassword: printable ASCII but for / " @ and space, 8 to 128 characters."""
    if password is None:
        return
    if not 8 <= len(password) <= 128:
        raise InvalidParameterValue(
            "The parameter MasterUserPassword is not a valid password because it is "
            + ("shorter than 8 characters." if len(password) < 8 else "longer than 128 characters.")
        )
    if any(one in '/@" ' or not "!" <= one <= "~" for one in password):
        raise InvalidParameterValue(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used."
        )


class Instances:
    """The servers behind the instances, by ARN."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._servers: dict[str, PostgresServer] = {}
        self._instances: dict[str, Any] = {}
        self.snapshots = runtime.settings.folder / "rds" / "snapshots"

    def report(self) -> list[dict]:
        return [
            {
                "id": instance.db_instance_identifier,
                "status": instance.status,
                "address": f"{server.address}:{server.port}",
                "serves": f"PostgreSQL {instance.engine_version}, run by {server.version}",
            }
            for arn, server in list(self._servers.items())
            if (instance := self._instances.get(arn))
        ]

    def background(self, work: Any, *arguments: Any) -> None:
        threading.Thread(target=self._guarded, args=(work, *arguments), daemon=True).start()

    def _guarded(self, work: Any, instance: Any, *arguments: Any) -> None:
        try:
            work(instance, *arguments)
        except Exception:
            log.exception("database %s failed", instance.db_instance_identifier)
            instance.status = "failed"

    def wait(self, kind: str, started: float) -> None:
        """Until the modelled time since `started` is over, or the instance goes down."""
        self._runtime.stopping.wait(max(0.0, self._runtime.latency.duration(kind) - (time.monotonic() - started)))

    # --- the life of an instance

    def create(self, instance: Any) -> None:
        started = time.monotonic()
        major = int(instance.engine_version.split(".")[0])
        address = self._runtime.addresses.allocate("database", instance.port)
        folder = self._runtime.settings.folder / "rds" / instance.dbi_resource_id
        server = PostgresServer(self._runtime.processes, folder, major, address, instance.port)
        self._servers[instance.arn], self._instances[instance.arn] = server, instance
        if int(server.version.split(".")[0]) != major:
            log.warning(
                "%s asks for PostgreSQL %s; no server of that major version is on this machine, so %s serves it",
                instance.db_instance_identifier, instance.engine_version, server.version,
            )  # fmt: skip
        server.create()
        self._start(instance)
        server.make_master_user(instance.master_username, instance._master_user_password, instance.db_name)
        self.wait("rds_create_multi_az" if instance.multi_az else "rds_create", started)
        instance.local_address = address
        instance.status = "available"

    def _start(self, instance: Any) -> None:
        values = {name: default for name, (default, *_rest) in PARAMETERS.items()}
        for group in instance.db_parameter_groups():
            values.update({name: one["ParameterValue"] for name, one in group.parameters.items() if "ParameterValue" in one})
        values["max_connections"] = (
            values["max_connections"] if values["max_connections"].isdecimal()
            else str(rds_offers.max_connections(instance.db_instance_class))
        )  # fmt: skip
        force_ssl = values.pop("rds.force_ssl") == "1"
        known = {name: value for name, value in values.items() if name in PARAMETERS}
        self._servers[instance.arn].start(known, force_ssl)

    def modify(self, instance: Any, changes: dict[str, Any], password: str | None) -> None:
        started = time.monotonic()
        server = self._servers[instance.arn]
        if password:
            server.set_password(instance.master_username, password)
        restart = bool({"db_instance_class", "engine_version"} & set(changes))
        if restart:
            server.stop()
            self._start(instance)
        if changes:
            self.wait("rds_modify", started)
        instance.status = "available"

    def reboot(self, instance: Any) -> None:
        self._servers[instance.arn].stop()
        self._start(instance)
        instance.status = "available"

    def stop(self, instance: Any) -> None:
        self._servers[instance.arn].stop()
        instance.status = "stopped"

    def start(self, instance: Any) -> None:
        self._start(instance)
        instance.status = "available"

    def delete(self, instance: Any, backend: Any, snapshot: Any | None) -> None:
        started = time.monotonic()
        server = self._servers.get(instance.arn)
        if server:
            server.stop()
            if snapshot is not None:
                server.copy_data(self.snapshots / snapshot.db_snapshot_identifier)
            server.remove()
        self.wait("rds_delete", started)
        if snapshot is not None:
            snapshot.status = "available"
        backend.databases.pop(instance.db_instance_identifier, None)
        self._servers.pop(instance.arn, None)
        self._instances.pop(instance.arn, None)


def _patch_instances(instances: Instances) -> None:
    plain_delete_snapshot = BACKEND.delete_db_snapshot

    def create(self: Any, db_kwargs: dict[str, Any]) -> Any:
        identifier = db_kwargs["db_instance_identifier"]
        if identifier.lower() in self.databases:
            raise DBInstanceAlreadyExists()
        if db_kwargs.get("engine") != "postgres" or db_kwargs.get("db_cluster_identifier"):
            raise Refused("any RDS engine but postgres")
        asked = db_kwargs.get("engine_version")
        version = rds_offers.resolve(asked)
        if version is None:
            raise InvalidParameterCombination(f"Cannot find version {asked} for postgres")
        if db_kwargs.get("db_instance_class") not in rds_offers.INSTANCE_MEMORY:
            raise InvalidParameterValue(f"Invalid DB Instance class: {db_kwargs.get('db_instance_class')}")
        check_password(db_kwargs.get("master_user_password"))
        storage = int(db_kwargs.get("allocated_storage") or 20)
        if not 20 <= storage <= 65536:
            raise InvalidParameterValue(f"Invalid storage size for engine name postgres and storage type gp3: {storage}")
        self._validate_db_identifier(identifier)
        instance = INSTANCE(self, **{**db_kwargs, "engine_version": version, "license_model": "postgresql-license"})
        instance.dbi_resource_id = f"db-{models.random.get_random_hex(26).upper()}"
        if instance.storage_type == "gp3":
            # The baseline of gp3 below 400 GiB.
            instance.iops = instance.iops or 3000
            instance.storage_throughput = instance.storage_throughput or 125
        for attribute, (argument, default) in KEPT.items():
            setattr(instance, attribute, db_kwargs.get(argument, default))
        if instance.performance_insights_enabled and not instance.performance_insights_kms_key_id:
            instance.performance_insights_kms_key_id = f"arn:aws:kms:{self.region_name}:{self.account_id}:key/aws-rds"
            instance.performance_insights_retention_period = instance.performance_insights_retention_period or 7
        instance.status = "creating"
        instance.local_address = None
        instance.pending_modified_values = {}
        self.databases[instance.db_instance_identifier] = instance
        instances.background(instances.create, instance)
        return instance

    def find(self: Any, identifier: str, *states: str) -> Any:
        instance = self.databases.get(identifier.lower())
        if instance is None:
            raise DBInstanceNotFoundError(identifier)
        if instance.status not in states:
            raise RDSClientError(
                "InvalidDBInstanceState",
                f"Database instance {identifier} is not in {' or '.join(states)} state, but {instance.status}.",
            )
        return instance

    def modify(self: Any, db_instance_identifier: str, db_kwargs: dict[str, Any]) -> Any:
        instance = find(self, db_instance_identifier, "available", "stopped")
        changes = {key: value for key, value in db_kwargs.items() if key not in ("db_instance_identifier", "apply_immediately")}
        if "new_db_instance_identifier" in changes:
            raise Refused("renaming a DB instance")
        password = changes.pop("master_user_password", None)
        check_password(password)
        if int(changes.get("allocated_storage") or instance.allocated_storage) < instance.allocated_storage:
            raise InvalidParameterCombination(
                "Invalid storage size for engine name postgres and storage type gp3: storage cannot be reduced"
            )
        if "engine_version" in changes:
            changes["engine_version"] = _upgrade_target(instance, changes)
        group = changes.get("db_parameter_group_name")
        if group and group not in self.db_parameter_groups and not instance.is_default_parameter_group(group):
            raise DBParameterGroupNotFoundError(group)
        for attribute, (argument, _default) in KEPT.items():
            if argument in changes:
                setattr(instance, attribute, changes.pop(argument))
        if str(db_kwargs.get("apply_immediately")).lower() != "true":
            later = {key: changes.pop(key) for key in DEFERRED & set(changes)}
            instance.pending_modified_values = {**instance.pending_modified_values, **later}
        plain = {key: value for key, value in changes.items() if key != "allow_major_version_upgrade"}
        instance.update(**plain)
        disruptive = {key: value for key, value in plain.items() if key in DEFERRED}
        if instance.status == "available" and (disruptive or password):
            instance.status = "modifying"
            instances.background(instances.modify, instance, disruptive, password)
        return instance

    def reboot(self: Any, db_instance_identifier: str) -> Any:
        instance = find(self, db_instance_identifier, "available")
        instance.status = "rebooting"
        instances.background(instances.reboot, instance)
        return instance

    def stop(self: Any, db_instance_identifier: str, db_snapshot_identifier: str | None = None) -> Any:
        instance = find(self, db_instance_identifier, "available")
        if db_snapshot_identifier:
            raise Refused("a snapshot while stopping")
        instance.status = "stopping"
        instances.background(instances.stop, instance)
        return instance

    def start(self: Any, db_instance_identifier: str) -> Any:
        instance = find(self, db_instance_identifier, "stopped")
        instance.status = "starting"
        instances.background(instances.start, instance)
        return instance

    def delete(
        self: Any,
        db_instance_identifier: str,
        final_db_snapshot_identifier: str | None = None,
        skip_final_snapshot: bool | None = False,
        delete_automated_backups: bool | None = True,
    ) -> Any:
        instance = find(self, db_instance_identifier, "available", "stopped", "failed")
        if instance.deletion_protection:
            raise InvalidParameterCombination(
                "Cannot delete protected DB Instance, please disable deletion protection and try again."
            )
        if not skip_final_snapshot and not final_db_snapshot_identifier:
            raise InvalidParameterCombination("FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.")
        snapshot = None
        if final_db_snapshot_identifier and not skip_final_snapshot:
            snapshot = plain_create_snapshot(
                self, db_instance_identifier, final_db_snapshot_identifier, snapshot_type="manual",
                tags=instance.tags if instance.copy_tags_to_snapshot else [],
            )  # fmt: skip
            snapshot.status = "creating"
        instance.status = "deleting"
        instances.background(instances.delete, instance, self, snapshot)
        return instance

    def delete_snapshot(self: Any, db_snapshot_identifier: str) -> Any:
        shutil.rmtree(instances.snapshots / db_snapshot_identifier, ignore_errors=True)
        return plain_delete_snapshot(self, db_snapshot_identifier)

    plain_create_snapshot = BACKEND.create_db_snapshot
    replace(BACKEND, "create_db_instance", create, ("self", "db_kwargs"))
    replace(BACKEND, "modify_db_instance", modify, ("self", "db_instance_identifier", "db_kwargs"))
    replace(BACKEND, "reboot_db_instance", reboot)
    replace(BACKEND, "stop_db_instance", stop)
    replace(BACKEND, "start_db_instance", start)
    replace(BACKEND, "delete_db_instance", delete)
    replace(BACKEND, "delete_db_snapshot", delete_snapshot)
    for name, what in {
        "create_db_snapshot": "snapshots of a running DB instance",
        "restore_db_instance_from_db_snapshot": "restoring a DB instance",
        "restore_db_instance_to_point_in_time": "restoring a DB instance",
        "create_db_instance_read_replica": "read replicas",
        "create_db_cluster": "DB clusters",
    }.items():
        replace(BACKEND, name, _refusing(what))
    # DescribeDBInstances tells no endpoint before there is one.
    replace(INSTANCE, "endpoint", property(_endpoint))
    replace(INSTANCE, "address", property(lambda self: self.local_address))


def _refusing(what: str) -> Any:
    def refuse(self: Any, *_arguments: Any, **_more: Any) -> Any:
        raise Refused(what)

    return refuse


def _endpoint(self: Any) -> dict[str, Any] | None:
    if self.local_address is None:
        return None
    return {"Address": self.local_address, "Port": self.port, "HostedZoneId": "Z1TTGA775OQIYO"}


def _upgrade_target(instance: Any, changes: dict[str, Any]) -> str:
    asked = changes["engine_version"]
    version = rds_offers.resolve(asked)
    if version is None:
        raise InvalidParameterCombination(f"Cannot find version {asked} for postgres")
    if asked.isdecimal() and instance.engine_version.split(".")[0] == asked:
        return instance.engine_version
    if version.split(".")[0] != instance.engine_version.split(".")[0]:
        raise Refused("upgrading PostgreSQL to another major version")
    return version


def _patch_offers() -> None:
    def engine_versions(self: Any) -> Any:
        items = rds_offers.engine_versions(self.params.get("EngineVersion"))
        if self.params.get("Engine") not in (None, "postgres"):
            items = []
        family = self.params.get("DBParameterGroupFamily")
        items = [one for one in items if family in (None, one["DBParameterGroupFamily"])]
        if str(self.params.get("DefaultOnly")).lower() == "true":
            items = items[-1:]
        return PaginatedResult({"DBEngineVersions": items})

    def orderable(self: Any) -> Any:
        zones = [zone.name for zone in ec2_backends[self.current_account][self.region].describe_availability_zones()]
        items = []
        if self.params.get("Engine") == "postgres":
            items = rds_offers.orderable(self.params.get("EngineVersion"), self.params.get("DBInstanceClass"), zones)
        return PaginatedResult({"OrderableDBInstanceOptions": items})

    # moto has no DescribeDBEngineVersions at all.
    if hasattr(RESPONSE, "describe_db_engine_versions"):
        raise TypeError("moto answers DescribeDBEngineVersions now: the patch for it must be looked at")
    RESPONSE.describe_db_engine_versions = engine_versions
    replace(RESPONSE, "describe_orderable_db_instance_options", orderable)


def _patch_parameter_groups() -> None:
    plain_describe = BACKEND.describe_db_parameter_groups

    def describe(self: Any, db_parameter_group_kwargs: dict[str, Any]) -> Any:
        found = plain_describe(self, db_parameter_group_kwargs)
        name = db_parameter_group_kwargs.get("db_parameter_group_name")
        if name and not found:
            raise DBParameterGroupNotFoundError(name)
        return found

    def parameters(self: Any) -> Any:
        name = self.params.get("DBParameterGroupName")
        (group,) = self.backend.describe_db_parameter_groups({"db_parameter_group_name": name})
        items = []
        for parameter, (default, data_type, apply_type, allowed) in PARAMETERS.items():
            changed = group.parameters.get(parameter, {})
            items.append(
                {
                    "ParameterName": parameter,
                    "ParameterValue": changed.get("ParameterValue", default),
                    "Description": parameter,
                    "Source": "user" if changed else "system",
                    "ApplyType": apply_type,
                    "DataType": data_type,
                    "AllowedValues": allowed,
                    "IsModifiable": True,
                    "ApplyMethod": changed.get("ApplyMethod", "pending-reboot"),
                }
            )
        source = self.params.get("Source")
        return ActionResult({"Parameters": [one for one in items if source in (None, one["Source"])]})

    plain_modify = BACKEND.modify_db_parameter_group

    def modify(self: Any, db_parameter_group_name: str, db_parameter_group_parameters: Any) -> Any:
        for one in db_parameter_group_parameters:
            if one["ParameterName"] not in PARAMETERS:
                raise InvalidParameterValue(
                    f"Could not find parameter with name: {one['ParameterName']} (the local AWS knows {', '.join(PARAMETERS)})"
                )
        return plain_modify(self, db_parameter_group_name, db_parameter_group_parameters)

    replace(BACKEND, "describe_db_parameter_groups", describe, ("self", "db_parameter_group_kwargs"))
    replace(BACKEND, "modify_db_parameter_group", modify)
    replace(RESPONSE, "describe_db_parameters", parameters)
