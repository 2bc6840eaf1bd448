# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's RDS, with a real PostgreSQL server behind each instance.

moto 5.2.5 has every instance available at once, knows no engine versions and forgets half of what it is told.
The API: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import PaginatedResult
from moto.ec2.models import ec2_backends
from moto.rds import models, responses
from moto.rds.exceptions import (
    DBInstanceAlreadyExists,
    DBInstanceNotFoundError,
    InvalidParameterCombination,
    InvalidParameterValue,
    KMSKeyNotAccessibleFault,
)

from .. import kms_keys, rds_events, rds_groups, rds_offers, rds_snapshots
from ..rds_instances import Instances
from ..rds_logs import LogExports
from ..rds_os_metrics import EnhancedMonitoring
from ..rds_requests import (
    Conflict,
    Refused,
    check_log_exports,
    check_master_user,
    check_monitoring,
    check_new_name,
    check_parameter_group,
    check_password,
    upgrade_target,
)
from ..runtime import Runtime
from . import replace

BACKEND = models.RDSBackend
INSTANCE = models.DBInstance
RESPONSE = responses.RDSResponse

# Changes that wait for the maintenance window unless ApplyImmediately is set; others act at once (ModifyDBInstance).
DEFERRED = {"allocated_storage", "db_instance_class", "engine_version", "multi_az", "storage_type", "iops", "port"}
MOTO_KEY = "default_kms_key_id"
# What DescribeDBInstances tells and moto does not keep, with RDS's defaults.
KEPT = {
    "performance_insights_enabled": ("enable_performance_insights", False),
    "performance_insights_retention_period": ("performance_insights_retention_period", None),
    "performance_insights_kms_key_id": ("performance_insights_kms_key_id", None),
}


def apply(runtime: Runtime) -> None:
    instances = Instances(runtime)
    runtime.reconcilers += [instances, LogExports(instances), EnhancedMonitoring(instances)]
    _patch_instances(instances)
    _patch_offers()
    rds_groups.patch(instances)
    rds_snapshots.patch(instances)
    runtime.closers.append(instances.close)
    runtime.reporters["databases"] = instances.report


def _patch_instances(instances: Instances) -> None:
    def create(self: Any, db_kwargs: dict[str, Any]) -> Any:
        # Not a parameter of RDS: the data that a restored instance begins with.
        data = db_kwargs.pop("from_copy", None)
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
        if db_kwargs.get("manage_master_user_password"):
            raise Refused("a master user password managed by RDS (ManageMasterUserPassword)")
        check_master_user(db_kwargs.get("master_username"), db_kwargs.get("master_user_password"))
        check_password(db_kwargs.get("master_user_password"))
        group = check_parameter_group(self, db_kwargs.get("db_parameter_group_name"), version)
        check_log_exports(db_kwargs.get("enable_cloudwatch_logs_exports"))
        check_monitoring(
            self.account_id, self.region_name, db_kwargs.get("monitoring_interval"), db_kwargs.get("monitoring_role_arn")
        )
        storage = int(db_kwargs.get("allocated_storage") or 20)
        if not 20 <= storage <= 65536:
            raise InvalidParameterValue(
                f"Invalid storage size for engine name postgres and storage type gp3: {storage}"
            )
        self._validate_db_identifier(identifier)
        keys = {
            name: _key_arn(self, db_kwargs[name])
            for name in ("kms_key_id", "performance_insights_kms_key_id")
            if db_kwargs.get(name)
        }
        if "kms_key_id" in keys and str(db_kwargs.get("storage_encrypted")).lower() != "true":
            raise InvalidParameterCombination("A KMS key needs storage encryption (StorageEncrypted).")
        db_kwargs = {**db_kwargs, **keys}
        settled = {"engine_version": version, "db_parameter_group_name": group, "license_model": "postgresql-license"}
        instance = INSTANCE(self, **{**db_kwargs, **settled})
        instance.dbi_resource_id = f"db-{models.random.get_random_hex(26).upper()}"
        if instance.storage_type == "gp3":
            # The baseline of gp3 below 400 GiB.
            instance.iops = instance.iops or 3000
            instance.storage_throughput = instance.storage_throughput or 125
        for attribute, (argument, default) in KEPT.items():
            setattr(instance, attribute, db_kwargs.get(argument, default))
        own_key = _own_key(self)
        if getattr(instance, "kms_key_id", None) == MOTO_KEY:
            instance.kms_key_id = own_key
        if instance.performance_insights_enabled and not instance.performance_insights_kms_key_id:
            instance.performance_insights_kms_key_id = own_key
            instance.performance_insights_retention_period = instance.performance_insights_retention_period or 7
        instance.status = "creating"
        instance.local_address = None
        instance.pending_modified_values = {}
        instances.attach(instance)
        self.databases[instance.db_instance_identifier] = instance
        instances.background(instances.create, instance, data)
        return instance

    def find(self: Any, identifier: str, *states: str) -> Any:
        instance = self.databases.get(identifier.lower())
        if instance is None:
            raise DBInstanceNotFoundError(identifier)
        if instance.status not in states:
            raise Conflict(
                "InvalidDBInstanceState",
                f"Database instance {identifier} is not in {' or '.join(states)} state, but {instance.status}.",
            )
        return instance

    def modify(self: Any, db_instance_identifier: str, db_kwargs: dict[str, Any]) -> Any:
        # A stopped instance cannot be modified ("Stopping an Amazon RDS DB instance temporarily", limitations).
        instance = find(self, db_instance_identifier, "available")
        changes = {
            key: value for key, value in db_kwargs.items() if key not in ("db_instance_identifier", "apply_immediately")
        }
        new_name = changes.pop("new_db_instance_identifier", None)
        if new_name:
            check_new_name(self, new_name, changes, at_once=str(db_kwargs.get("apply_immediately")).lower() == "true")
            instance.status = "renaming"
            instances.background(instances.rename, instance, self, new_name.lower())
            return instance
        password = changes.pop("master_user_password", None)
        check_password(password)
        if int(changes.get("allocated_storage") or instance.allocated_storage) < instance.allocated_storage:
            raise InvalidParameterCombination(
                "Invalid storage size for engine name postgres and storage type gp3: storage cannot be reduced"
            )
        exports = changes.get("cloudwatch_logs_export_configuration") or {}
        enabled = set(instance.enabled_cloudwatch_logs_exports)
        check_log_exports(exports.get("EnableLogTypes"), already=enabled)
        check_log_exports(exports.get("DisableLogTypes"))
        if "monitoring_interval" in changes or "monitoring_role_arn" in changes:
            every = int(changes.get("monitoring_interval", instance.monitoring_interval))
            role_arn = changes.get("monitoring_role_arn", instance.monitoring_role_arn)
            check_monitoring(self.account_id, self.region_name, every, role_arn)
            changes["monitoring_role_arn"] = role_arn if every else None
        if "engine_version" in changes:
            changes["engine_version"] = upgrade_target(instance, changes)
        group = changes.get("db_parameter_group_name")
        if group:
            version = changes.get("engine_version") or instance.engine_version
            changes["db_parameter_group_name"] = check_parameter_group(self, group, version)
        insights_key = changes.get("performance_insights_kms_key_id")
        if insights_key:
            changes["performance_insights_kms_key_id"] = _key_arn(self, insights_key)
        for attribute, (argument, _default) in KEPT.items():
            if argument in changes:
                setattr(instance, attribute, changes.pop(argument))
        if str(db_kwargs.get("apply_immediately")).lower() == "true":
            # What was left for the maintenance window is applied along.
            changes = {**instance.pending_modified_values, **changes}
            instance.pending_modified_values = {}
        else:
            later = {key: changes.pop(key) for key in DEFERRED & set(changes) if changes[key] != getattr(instance, key)}
            instance.pending_modified_values = {**instance.pending_modified_values, **later}
        plain = {key: value for key, value in changes.items() if key != "allow_major_version_upgrade"}
        disruptive = {key: value for key, value in plain.items() if key in DEFERRED and value != getattr(instance, key)}
        instance.update(**plain)
        instances.regroup(instance)
        if password:
            # Pending until it is applied, which ApplyImmediately has no part in (ModifyDBInstance, MasterUserPassword).
            instance.pending_modified_values = {**instance.pending_modified_values, "master_user_password": "****"}
        if disruptive or password:
            instance.status = "modifying" if disruptive else "resetting-master-credentials"
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
            raise InvalidParameterCombination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified."
            )
        snapshot = None
        if final_db_snapshot_identifier and not skip_final_snapshot:
            snapshot = rds_snapshots.record(self, db_instance_identifier, final_db_snapshot_identifier)
        instance.status = "deleting"
        instances.background(instances.delete, instance, self, snapshot)
        return instance

    def subscribe(self: Any, kwargs: dict[str, Any]) -> Any:
        rds_events.check(self, kwargs)
        return plain_subscribe(self, {"enabled": True, **kwargs})

    def describe_events(
        self: Any, source_identifier: str | None = None, source_type: str | None = None, duration: Any = None,
        start_time: Any = None, end_time: Any = None, **more: Any,
    ) -> list[Any]:  # fmt: skip
        found = plain_events(self, source_identifier=source_identifier, source_type=source_type, **more)
        return rds_events.within(found, duration, start_time, end_time)

    def add_event(self: Any, event_type: str, resource: Any) -> None:
        """moto has an instance created before it is; when it is, the event is told."""
        if event_type != "DB_INSTANCE_CREATE":
            plain_event(self, event_type, resource)

    plain_events = replace(BACKEND, "describe_events", describe_events)
    plain_event = replace(BACKEND, "add_event", add_event, ("self", "event_type", "resource"))
    plain_subscribe = replace(BACKEND, "create_event_subscription", subscribe, ("self", "kwargs"))
    replace(BACKEND, "create_db_instance", create, ("self", "db_kwargs"))
    replace(BACKEND, "modify_db_instance", modify, ("self", "db_instance_identifier", "db_kwargs"))
    replace(BACKEND, "reboot_db_instance", reboot)
    replace(BACKEND, "stop_db_instance", stop)
    replace(BACKEND, "start_db_instance", start)
    replace(BACKEND, "delete_db_instance", delete)
    for name, what in {
        "create_db_instance_read_replica": "read replicas",
        "create_db_cluster": "DB clusters",
    }.items():
        replace(BACKEND, name, _refusing(what))
    # DescribeDBInstances tells no endpoint before there is one.
    replace(INSTANCE, "endpoint", property(_endpoint))
    replace(INSTANCE, "address", property(lambda self: self.local_address))
    INSTANCE.enhanced_monitoring_resource_arn = property(_enhanced_monitoring)


def _own_key(backend: Any) -> str:
    """The key of AWS's that encrypts where no other is named; it is always there."""
    return f"arn:aws:kms:{backend.region_name}:{backend.account_id}:key/aws-rds"


def _key_arn(backend: Any, key_id: str) -> str:
    """CreateDBInstance, KmsKeyId: RDS answers the ARN, whatever it was told, and takes no key that cannot be used."""
    if key_id in (_own_key(backend), "alias/aws/rds"):
        return _own_key(backend)
    if kms_keys.unusable(backend.account_id, backend.region_name, key_id):
        raise KMSKeyNotAccessibleFault(key_id)
    return kms_keys.find(backend.account_id, backend.region_name, key_id).arn


def _refusing(what: str) -> Callable[..., Any]:
    def refuse(self: Any, *_arguments: Any, **_more: Any) -> Any:
        raise Refused(what)

    return refuse


def _enhanced_monitoring(self: Any) -> str | None:
    """DescribeDBInstances, EnhancedMonitoringResourceArn: the log stream of Enhanced Monitoring."""
    place = f"log-group:RDSOSMetrics:log-stream:{self.dbi_resource_id}"
    return f"arn:aws:logs:{self.region}:{self.account_id}:{place}" if int(self.monitoring_interval or 0) else None


def _endpoint(self: Any) -> dict[str, Any] | None:
    if self.local_address is None:
        return None
    return {"Address": self.local_address, "Port": self.port, "HostedZoneId": "Z1TTGA775OQIYO"}


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
