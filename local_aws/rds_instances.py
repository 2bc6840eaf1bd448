# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of RDS instances: what happens to the server behind an instance while its status moves on.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html ("Viewing DB instance status")
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends
from moto.rds.models import rds_backends

from . import rds_events, rds_parameters
from .database import DataCopy, PostgresServer
from .ec2_addresses import free_private_address
from .runtime import Runtime

log = logging.getLogger(__name__)
# The first backup takes the last part of a creation; the database answers meanwhile.
BEFORE_BACKUP = 0.8
RESTARTS = {"db_instance_class", "engine_version"}


def subnet_group(instance: Any) -> Any | None:
    """The DB subnet group of an instance; moto sets it only where one was given."""
    return getattr(instance, "db_subnet_group", None)


class Instances:
    """The servers behind the instances, by ARN. What takes time is called through `background`."""

    interval = 1.0

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._servers: dict[str, PostgresServer] = {}
        self._instances: dict[str, Any] = {}
        self._interfaces: dict[str, Any] = {}
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

    def logs(self) -> list[tuple[Any, Path]]:
        """Each instance that has a server, and the log of the server."""
        return [(self._instances[arn], server.log) for arn, server in list(self._servers.items()) if server.log.exists()]

    def running(self) -> list[tuple[Any, PostgresServer]]:
        """Each instance whose server runs, and the server."""
        return [(self._instances[arn], server) for arn, server in list(self._servers.items()) if server.running]

    def run_once(self) -> None:
        """Start a server again that has ended by itself, as RDS does; while the disk is full it has to wait."""
        for arn, server in list(self._servers.items()):
            instance = self._instances[arn]
            if not server.ended or instance.status not in ("available", "storage-full"):
                continue
            if server.has_room:
                instance.status = "rebooting"
                self.background(self.reboot, instance)
            elif instance.status == "available":
                instance.status = "storage-full"
                self._tell(instance, "full")

    def background(self, work: Callable[..., None], instance: Any, *arguments: Any) -> None:
        threading.Thread(target=self._guarded, args=(work, instance, *arguments), daemon=True).start()

    def _guarded(self, work: Callable[..., None], instance: Any, *arguments: Any) -> None:
        try:
            work(instance, *arguments)
        except Exception:
            log.exception("database %s failed", instance.db_instance_identifier)
            instance.status = "failed"
            self._tell(instance, "failed")

    @staticmethod
    def _tell(instance: Any, *events: str) -> None:
        for event in events:
            rds_events.tell(rds_backends[instance.account_id][instance.region], instance, event)

    def _wait(self, seconds: float, started: float) -> None:
        """Until `seconds` since `started` are over, or the local AWS goes down."""
        self._runtime.stopping.wait(max(0.0, seconds - (time.monotonic() - started)))

    # --- network interfaces: they are why a subnet or a security group in use cannot be deleted

    def attach(self, instance: Any) -> None:
        """Give the instance its network interface, in the subnet of its zone."""
        group = subnet_group(instance)
        if group is None:
            return
        subnets = sorted(group._subnets, key=lambda one: one.availability_zone != instance.availability_zone)
        backend = ec2_backends[instance.account_id][instance.region]
        interface = backend.create_network_interface(
            subnets[0], free_private_address(backend, subnets[0]), group_ids=instance.vpc_security_group_ids,
            description="RDSNetworkInterface",
        )  # fmt: skip
        interface.status, interface.requester_managed = "in-use", True
        self._interfaces[instance.arn] = interface

    def regroup(self, instance: Any) -> None:
        """Bring the interface's security groups in line with the instance's."""
        interface = self._interfaces.get(instance.arn)
        if interface is not None:
            interface.ec2_backend.modify_network_interface_attribute(interface.id, instance.vpc_security_group_ids)

    def _detach(self, instance: Any) -> None:
        interface = self._interfaces.pop(instance.arn, None)
        if interface is not None:
            interface.ec2_backend.enis.pop(interface.id, None)

    # --- the server

    def create(self, instance: Any, copy: DataCopy | None = None) -> None:
        """An empty database, or one with the data of a snapshot: it keeps its users and their passwords."""
        started = time.monotonic()
        seconds = self._runtime.latency.duration("rds_create_multi_az" if instance.multi_az else "rds_create")
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
        if copy is not None:
            server.create_from(copy)
            self._start(instance)
        else:
            server.create()
            self._start(instance)
            server.make_master_user(instance.master_username, instance._master_user_password, instance.db_name)
        self._wait(seconds * BEFORE_BACKUP, started)
        instance.local_address = address
        if instance.backup_retention_period and seconds:
            instance.status = "backing-up"
        self._wait(seconds, started)
        instance.status = "available"
        # A restore is an event of the snapshot, of which nobody can hear here.
        if copy is None:
            self._tell(instance, "created")

    @staticmethod
    def _settings(instance: Any) -> tuple[dict[str, str], bool]:
        (group,) = instance.db_parameter_groups()
        changed = {name: one["ParameterValue"] for name, one in group.parameters.items() if "ParameterValue" in one}
        return rds_parameters.effective(changed, group.family, instance.db_instance_class)

    def _start(self, instance: Any) -> None:
        self._servers[instance.arn].start(*self._settings(instance))

    def reload(self, group_name: str) -> None:
        """Apply a changed parameter group to the running servers that use it; static parameters wait for a restart."""
        for arn, instance in list(self._instances.items()):
            server = self._servers.get(arn)
            if instance.db_parameter_group_name == group_name and server is not None and server.running:
                server.reload(*self._settings(instance))

    def modify(self, instance: Any, changes: dict[str, Any], password: str | None) -> None:
        started = time.monotonic()
        server = self._servers[instance.arn]
        if password:
            server.set_password(instance.master_username, password)
            instance.pending_modified_values.pop("master_user_password")
        if RESTARTS & set(changes):
            server.stop()
            self._start(instance)
        if changes:
            self._wait(self._runtime.latency.duration("rds_modify"), started)
        instance.status = "available"
        happened = {"password": password, "modified": "db_instance_class" in changes, "upgraded": "engine_version" in changes}
        self._tell(instance, *(event for event, did in happened.items() if did))

    def rename(self, instance: Any, backend: Any, name: str) -> None:
        """The server restarts and keeps its address, though on RDS the address follows the name."""
        started, arn = time.monotonic(), instance.arn
        self._servers[arn].stop()
        self._start(instance)
        self._wait(self._runtime.latency.duration("rds_modify"), started)
        del backend.databases[instance.db_instance_identifier]
        instance.db_instance_identifier = name
        for known in (self._servers, self._instances, self._interfaces):
            if arn in known:
                known[instance.arn] = known.pop(arn)
        backend.databases[name] = instance
        instance.status = "available"

    def reboot(self, instance: Any) -> None:
        self._servers[instance.arn].stop()
        self._start(instance)
        instance.status = "available"
        self._tell(instance, "restarted")

    def stop(self, instance: Any) -> None:
        self._servers[instance.arn].stop()
        instance.status = "stopped"
        self._tell(instance, "stopped")

    def start(self, instance: Any) -> None:
        self._start(instance)
        instance.status = "available"
        self._tell(instance, "started")

    # --- its snapshots

    def copy(self, instance: Any, snapshot: Any) -> None:
        """Give the snapshot the data that the instance has now."""
        snapshot.local_copy = self._servers[instance.arn].copy(self.snapshots / snapshot.db_snapshot_identifier)

    def take(self, instance: Any, snapshot: Any) -> None:
        """A failed snapshot leaves the instance as it is."""
        started = time.monotonic()
        try:
            self.copy(instance, snapshot)
            self._wait(self._runtime.latency.duration("rds_snapshot"), started)
            snapshot.status, snapshot.percent_progress = "available", 100
        except Exception:
            log.exception("snapshot %s failed", snapshot.db_snapshot_identifier)
            snapshot.status = "failed"
        instance.status = "available"

    # --- its end

    def delete(self, instance: Any, backend: Any, snapshot: Any | None) -> None:
        started = time.monotonic()
        server = self._servers.get(instance.arn)
        if server:
            server.stop()
            if snapshot is not None:
                self.copy(instance, snapshot)
            server.remove()
        self._wait(self._runtime.latency.duration("rds_delete"), started)
        if snapshot is not None:
            # An instance that never ran has no data.
            snapshot.status, snapshot.percent_progress = ("available", 100) if snapshot.local_copy else ("failed", 0)
        self._detach(instance)
        self._tell(instance, "deleted")
        backend.databases.pop(instance.db_instance_identifier, None)
        self._servers.pop(instance.arn, None)
        self._instances.pop(instance.arn, None)

    def close(self) -> None:
        """Stop every server, at once though clients are connected."""
        for server in list(self._servers.values()):
            server.stop()
