# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that the state of service, tasks, database and load balancer shows. Everything here is pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    deployment_sizes,
    diagnosis_symptoms,
    diagnosis_texts,
    mlflow_versions,
    rds_rules,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.diagnosis_cause import Cause

OWNER_TAG = "mlflow-deployment"
HEALTH_PATH = "/health"
GIB = 1024**3
# Of the storage that the database has.
LITTLE_STORAGE, NO_STORAGE = 0.05, 0.01
MANY_CONNECTIONS = 0.95
DEPLOY = "deploy it with site.yml"


def service(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    found, name = facts["service"], facts["name"]
    if found is None:
        if "service" not in facts["unread_parts"]:
            what = f"There is no service {name} in the cluster {name} of {facts['region']}"
            yield Cause("service_missing", 60, what, f"{DEPLOY}, or correct its name and aws_region", [])
        return
    if found["tags"].get(OWNER_TAG) != facts["name"]:
        yield Cause(
            "service_foreign", 40, f"The service {name} does not carry the tags of the deployment",
            "it is somebody else's: choose another name for the deployment, or tag it", [f"tags: {sorted(found['tags'])}"],
        )  # fmt: skip
    if found["status"] != "ACTIVE":
        yield Cause(
            "service_removed",
            96,
            f"The service is being removed: it is {found['status']}",
            f"wait until it is gone, then {DEPLOY}",
            [],
        )
    elif not found["desired"]:
        yield Cause(
            "no_task_wanted", 95, "The service is asked for no task at all",
            "ask for some (make scale EXTRA='-e scale_desired_count=2'); where office hours end them (scaling_office_hours),"
            " wait for the next morning or run site.yml",
            [event["message"] for event in found["events"][:1]],
        )  # fmt: skip


def rollout(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    found = facts["service"]
    if found is None:
        return
    failed = diagnosis_symptoms.primary(found).get("rollout_state") == "FAILED"
    back = diagnosis_symptoms.rolled_back(facts)
    if not failed and not back:
        return
    told = [
        event["message"] for event in found["events"] if diagnosis_symptoms.DEPLOYMENT_FAILED.search(event["message"])
    ]
    what = "The circuit breaker ended the last deployment because its tasks failed"
    done = (
        f"revision {facts['newest_revision']} is given up and {diagnosis_symptoms.revision(found['task_definition'])} runs on"
        if back
        else "nothing replaces it"
    )
    yield Cause(
        "deployment_failed",
        30,
        f"{what}; {done}",
        "mend what made its tasks fail (see the other causes and make logs), then deploy again",
        told[:1],
    )


def database(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    found = facts["database"]
    if found is None:
        if "database" not in facts["unread_parts"]:
            yield from _no_database(facts)
        return
    what, status = f"The database {found['id']}", found["status"]
    last = [event["message"] for event in found["events"][-2:]]
    if found["tags"].get(OWNER_TAG) != facts["name"]:
        yield Cause(
            "database_foreign", 40, f"{what} does not carry the tags of the deployment",
            "it is somebody else's: choose another name for the deployment, or tag it", [f"tags: {sorted(found['tags'])}"],
        )  # fmt: skip
    if status in rds_rules.STUCK:
        reason, _semicolon, remedy = rds_rules.STUCK[status].partition("; ")
        yield Cause(f"database_{status.replace('-', '_')}", 97, f"{what} is {status}: {reason}", remedy, last)
    elif status not in rds_rules.USABLE:
        yield Cause("database_busy", 74, f"{what} is {status}", "wait until it is available", last)
    yield from _database_address(facts, found)
    yield from _storage(found, what)


def _no_database(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    name, wanted, offered = f"{facts['name']}-db", facts["wanted_engine_version"], facts["offered_engine_versions"]
    if wanted and offered is not None and not _is_offered(wanted, offered):
        yield Cause(
            "engine_version_not_offered", 98, f"RDS offers no PostgreSQL {wanted} in {facts['region']}, so the database could not be made",
            f"set rds_engine_version to one of {', '.join(offered[-3:]) or 'those that are offered'}, or to the major version alone for its newest",
            [],
        )  # fmt: skip
    snapshots = "restore its latest snapshot under the same name, or deploy anew without its data (site.yml)"
    yield Cause(
        "database_missing",
        97 if facts["service"] else 58,
        f"There is no database {name}",
        snapshots if facts["service"] else DEPLOY,
        [],
    )


def _is_offered(wanted: str, offered: list[str]) -> bool:
    return any(one == wanted or one.startswith(f"{wanted}.") for one in offered)


def _database_address(facts: dict[str, t.Any], found: dict[str, t.Any]) -> t.Iterator[Cause]:
    environment = (facts["definition"] or {"environment": {}})["environment"]
    host, port = environment.get("LAUNCHER_DB_HOST", ""), environment.get("LAUNCHER_DB_PORT", "")
    if not host or not found["address"]:
        return
    remedy = f"set it to {found['address']} (site.yml does)"
    seen = [f"LAUNCHER_DB_HOST is {host}, the endpoint is {found['address']}"]
    if re.fullmatch(r"[^:]+:\d+", host):
        yield Cause(
            "database_port_twice", 94, f"The address of the database has its port twice ({host}:{port})", remedy, seen
        )
    elif host != found["address"]:
        yield Cause("database_address", 86, f"The tasks look for the database at {host}, where it is not", remedy, seen)
    if port and port.isascii() and port.isdigit() and found["port"] and int(port) != found["port"]:
        seen = [f"LAUNCHER_DB_PORT is {port}, the endpoint's is {found['port']}"]
        yield Cause(
            "database_port",
            86,
            f"The tasks look for the database at port {port}",
            f"set it to {found['port']} (site.yml does)",
            seen,
        )


def _storage(found: dict[str, t.Any], what: str) -> t.Iterator[Cause]:
    free, size = found["free_storage"], found["allocated"] * GIB
    if free is None or not size or free > size * LITTLE_STORAGE:
        return
    seen = [f"FreeStorageSpace is {free / GIB:.2f} of {found['allocated']} GiB"]
    if free <= size * NO_STORAGE:
        yield Cause("database_storage_full", 93, f"{what} has no storage left", "raise rds_allocated_storage", seen)
    else:
        yield Cause(
            "database_storage_low",
            50,
            f"{what} has little storage left",
            "raise rds_allocated_storage, or set rds_max_allocated_storage",
            seen,
        )


def connections(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    found = facts["database"]
    memory = deployment_sizes.instance_memory(found["instance_class"]) if found else None
    if memory is None or found["connections"] is None:
        return
    most = deployment_sizes.max_connections(memory)
    if found["connections"] >= most * MANY_CONNECTIONS:
        seen = f"DatabaseConnections is {found['connections']:.0f} of about {most} of a {found['instance_class']}"
        yield diagnosis_texts.cause("too_many_connections", [seen], 66)


def memory(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    found = facts["definition"]
    environment = found["environment"] if found else {}
    version, workers = environment.get("LAUNCHER_MLFLOW_VERSION", ""), environment.get("LAUNCHER_WORKERS", "")
    if (
        not found
        or not found["memory"]
        or mlflow_versions.parse(version) is None
        or not re.fullmatch("[0-9]{1,4}", workers)
    ):
        return
    need = deployment_sizes.memory_needed(version, int(workers))
    if need > found["memory"]:
        seen = f"{workers} workers of MLflow {version} need about {need} MiB, the task has {found['memory']} MiB"
        yield diagnosis_texts.cause("out_of_memory", [seen], 64)


def load_balancer(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    if "load balancer" in facts["unread_parts"]:
        return
    found, name, alive = facts["load_balancer"], facts["name"], facts["service"] is not None
    if found is None or not found["alb_arn"]:
        yield Cause("load_balancer_missing", 95 if alive else 57, f"There is no load balancer {name}", DEPLOY, [])
        return
    if found["state"] not in ("active", "active_impaired"):
        yield Cause(
            "load_balancer_not_active",
            80,
            f"The load balancer is {found['state']}",
            "wait until it is active; remove it and deploy again if it failed",
            [],
        )
    if not found["listener_arn"]:
        yield Cause(
            "listener_missing",
            94,
            "The load balancer has no listener that forwards to MLflow",
            f"{DEPLOY}, which makes it again",
            [],
        )
    group, service_group = facts["target_group"], (facts["service"] or {}).get("target_group_arn")
    if alive and (group is None or service_group != group["arn"]):
        yield Cause(
            "target_group_differs", 90, "The service does not register its tasks in the target group of the load balancer", DEPLOY,
            [f"the service uses {service_group}, the load balancer {group['arn'] if group else 'none'}"],
        )  # fmt: skip


def health_check(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    group, sick = facts["target_group"], [one for one in facts["targets"] if one["state"] in ("unhealthy", "initial")]
    if not group:
        return
    seen = [
        f"target {one['id']}:{one['port']} is {one['state']}: {one['description'] or one['reason']}" for one in sick
    ]
    check = f"{group['protocol']} {group['path']} on {group['port']}, codes {group['codes']}"
    remedy = (
        "set alb_health_check_path to /health and alb_health_check_codes to 200 (their defaults), then deploy again"
    )
    mismatched = any(one["reason"] == "Target.ResponseCodeMismatch" for one in sick)
    unlike = group["path"] != HEALTH_PATH or group["port"] != "traffic-port" or "200" not in group["codes"]
    if unlike and (sick or not diagnosis_symptoms.healthy_targets(facts)):
        yield Cause(
            "wrong_health_check",
            91 if mismatched else 85,
            f"The load balancer's health check does not ask what MLflow answers: {check}",
            remedy,
            seen,
        )
    elif mismatched:
        yield diagnosis_texts.cause("health_check_refused", seen)
    if any(one["reason"] == "Target.Timeout" for one in sick):
        yield diagnosis_texts.cause("servers_hang", seen)
    service_port = (facts["service"] or {}).get("container_port")
    own_port = ((facts["definition"] or {}).get("environment") or {}).get("LAUNCHER_PORT", "")
    if service_port and own_port and own_port != str(service_port):
        yield Cause(
            "wrong_port", 90, f"MLflow listens on port {own_port}, the load balancer asks port {service_port}",
            "give both the same port (ecs_mlflow_container_port, alb_target_port), then deploy again", seen,
        )  # fmt: skip


RULES = (service, rollout, database, connections, memory, load_balancer, health_check)
