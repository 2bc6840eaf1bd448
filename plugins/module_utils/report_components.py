# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a deployment with the state of each: good, warn, bad, or off for what is not there and need not be."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import rds_rules, report_links, report_times

DAY = 86400
# Days of validity below which a certificate needs a look: ACM renews its own 60 days before they end.
FEWEST_DAYS = 30
# By one of these a deployment is known to be there.
PRESENT = (("service", "service_name"), ("load_balancer", "alb_arn"), ("database", "db_instance_id"))
DOWN = {*rds_rules.STUCK, "stopping", "deleting"}
BACKED_UP = ("COMPLETED", "CREATED", "PENDING", "RUNNING", None)
SECRETS = (
    ("Admin's password", "admin_secret_arn"),
    ("Database password", "db_secret_arn"),
    ("Server key", "server_key_secret_arn"),
)
Part = t.Dict[str, t.Any]


def components(parts: Part, read: Part, console: report_links.Console, now: float) -> list[Part]:
    """Dictionaries of id, name, state, word, detail, link; the state is always said by the word too."""
    found = [
        _service(parts["service"], console),
        _targets(parts["service"]),
        _load_balancer(parts["load_balancer"], read["listeners"], console),
        _certificate(read["certificate"], parts["load_balancer"], console, now),
        _web_acl(read["web_acl"], console),
        _database(parts["database"], read["database"] or {}, console),
        _backup(parts["backup"], console),
        _network(parts["network"], read, console),
        _artifacts(parts["artifacts"], console),
        *(_secret(name, parts["secrets"].get(key), parts["service"], console) for name, key in SECRETS),
        _logs(parts["service"], console),
        _alarms(read["alarms"], parts["monitoring"], console),
        _scaling(parts["scaling"]),
        _budget(parts["budget"]),
    ]
    return [one for one in found if one is not None]


def tasks(parts: Part, read: Part, console: report_links.Console) -> list[Part]:
    """Dictionaries of id, state, word, address, zone, since, link."""
    targets = {one["id"]: one for one in parts["service"].get("targets") or []}
    return [
        _task(one, targets.get(one["address"]), read["subnets"], parts["service"], console)
        for one in parts["service"].get("tasks") or []
    ]


def _task(task: Part, target: Part | None, subnets: list[Part], service: Part, console: report_links.Console) -> Part:
    target_state = (target or {}).get("state")
    running = task["status"] == "RUNNING"
    if running and target_state == "healthy":
        state = "good"
    else:
        state = "bad" if "UNHEALTHY" in (task["health"], str(target_state).upper()) else "warn"
    said = f"target {target_state}" if target_state else "no target"
    return {
        "id": task["id"],
        "state": state,
        "word": f"{task['status'].lower()}, {said}",
        "address": task["address"] or "",
        "zone": zone_of(task["address"], subnets),
        "since": report_times.shown(task["started_at"]),
        "link": console.task(service.get("cluster_name"), task["id"]),
    }


def zone_of(address: str | None, subnets: list[Part]) -> str:
    """The zone of the subnet that an address lies in; empty where none is known."""
    try:
        at = ipaddress.ip_address(address or "")
        return next((one["zone"] for one in subnets if at in ipaddress.ip_network(one["cidr"])), "")
    except ValueError:
        return ""


def _part(identifier: str, name: str, state: str, word: str, detail: str = "", link: str | None = None) -> Part:
    return {"id": identifier, "name": name, "state": state, "word": word, "detail": detail, "link": link}


def _joined(*texts: t.Any) -> str:
    return ", ".join(str(text) for text in texts if text)


def _service(service: Part, console: report_links.Console) -> Part:
    if not service.get("service_name"):
        return _part("service", "MLflow service", "bad", "absent")
    wanted, running = int(service.get("desired_count") or 0), int(service.get("running_count") or 0)
    rollout = service.get("rollout_state")
    word = f"{running} of {wanted} tasks running"
    if wanted == 0:
        state, word = "warn", "no task is wanted"
    elif running == 0:
        state = "bad"
    else:
        state = "good" if running >= wanted and rollout in ("COMPLETED", None) else "warn"
    if rollout not in ("COMPLETED", None):
        word += f", rollout {str(rollout).replace('_', ' ').lower()}"
    detail = _joined(
        f"MLflow {service.get('mlflow_version')}", service.get("workers") and f"{service['workers']} workers a task",
        service.get("cpu") and f"{service['cpu']} CPU units", service.get("memory") and f"{service['memory']} MiB",
    )  # fmt: skip
    return _part("service", "MLflow service", state, word, detail, console.service(service.get("cluster_name"), service["service_name"]))


def _targets(service: Part) -> Part | None:
    targets = service.get("targets") or []
    if not service.get("service_name"):
        return None
    healthy = [one for one in targets if one["state"] == "healthy"]
    # What drains or begins is on its way.
    sick = [one for one in targets if one["state"] not in ("healthy", "draining", "initial")]
    asleep = int(service.get("desired_count") or 0) == 0
    state = "off" if asleep and not targets else "bad" if not healthy else "warn" if sick else "good"
    others = _joined(*(f"{one['id']} {one['state']}{' ' + one['reason'] if one.get('reason') else ''}" for one in targets if one not in healthy))
    return _part("targets", "Health checks", state, f"{len(healthy)} of {len(targets)} targets healthy", others)


def _load_balancer(balancer: Part, listeners: list[Part], console: report_links.Console) -> Part:
    if not balancer.get("alb_arn"):
        return _part("load_balancer", "Load balancer", "bad", "absent")
    state = str(balancer.get("state"))
    ports = _joined(*(f"{one['protocol']} {one['port']}{' (redirects)' if one['redirects'] else ''}" for one in listeners))
    return _part(
        "load_balancer", "Load balancer", {"active": "good", "failed": "bad"}.get(state, "warn"), state,
        _joined(balancer.get("alb_dns_name"), ports, balancer.get("access_logs") and "access logs on"),
        console.load_balancer(balancer["alb_arn"]),
    )  # fmt: skip


def _certificate(certificate: Part | None, balancer: Part, console: report_links.Console, now: float) -> Part:
    if not certificate:
        return _part("certificate", "Certificate", "off", "none", "clients speak HTTP" if balancer.get("alb_arn") else "")
    days = int((certificate["ends_at"] - now) // DAY) if certificate["ends_at"] else None
    word = certificate["status"].replace("_", " ").lower()
    state = "good" if certificate["status"] == "ISSUED" else "bad"
    if state == "good" and days is not None:
        state, word = ("bad" if days < 0 else "warn" if days < FEWEST_DAYS else "good"), f"valid for {days} days"
    return _part("certificate", "Certificate", state, word, certificate["domain"], console.certificate(certificate["arn"]))


def _web_acl(web_acl: Part | None, console: report_links.Console) -> Part:
    if not web_acl:
        return _part("web_acl", "Web application firewall", "off", "off")
    return _part("web_acl", "Web application firewall", "good", "on", web_acl["name"], console.web_acl(web_acl["arn"]))


def _database(database: Part, more: Part, console: report_links.Console) -> Part:
    status = database.get("status")
    if not status:
        return _part("database", "Database", "bad", "absent")
    storage = more.get("allocated_storage")
    detail = _joined(
        f"PostgreSQL {database.get('engine_version')}", database.get("instance_class"), storage and f"{storage} GiB",
        "standby in another zone" if more.get("multi_az") else more.get("zone") and f"one zone, {more['zone']}",
    )  # fmt: skip
    state = "good" if status == "available" else "bad" if status in DOWN else "warn"
    return _part("database", "Database", state, status, detail, console.database(database.get("db_instance_id")))


def _backup(backup: Part, console: report_links.Console) -> Part:
    if not backup.get("vault_arn"):
        return _part("backup", "Backup plan", "off", "off", "snapshots of RDS only")
    job = backup.get("last_job_state")
    last = report_times.shown(backup.get("last_backup_at"))
    word = f"last of {last} UTC" if last else "none yet"
    state = "good" if job in BACKED_UP else "bad"
    if state == "bad":
        word = f"last job {str(job).lower()}"
    detail = _joined(f"{backup.get('recovery_points') or 0} recovery points", backup.get("schedule"), backup.get("last_job_message"))
    return _part("backup", "Backup plan", state, word, detail, console.vault(backup["vault_arn"]))


def _network(network: Part, read: Part, console: report_links.Console) -> Part:
    if not network.get("vpc_id"):
        return _part("network", "Network", "bad", "absent")
    gateways, endpoints = network.get("nat_gateway_ids") or [], network.get("interface_endpoint_ids") or []
    detail = _joined(
        network["vpc_id"], network.get("vpc_cidr"), " ".join(network.get("availability_zones") or []),
        f"{len(gateways)} NAT gateway{'s' if len(gateways) > 1 else ''}" if gateways else "no NAT gateway",
        network.get("s3_endpoint_id") and "S3 endpoint",
        endpoints and f"{len(endpoints)} interface endpoint{'s' if len(endpoints) > 1 else ''}",
    )  # fmt: skip
    return _part("network", "Network", "good", "there", detail, console.vpc(network["vpc_id"]))


def _artifacts(artifacts: Part, console: report_links.Console) -> Part:
    if not artifacts.get("bucket"):
        return _part("artifacts", "Artifact bucket", "bad", "absent")
    detail = _joined(
        artifacts.get("artifact_root"), f"versioning {str(artifacts.get('versioning') or 'unknown').lower()}",
        artifacts.get("kms_key") and "own KMS key",
    )  # fmt: skip
    return _part("artifacts", "Artifact bucket", "good", "there", detail, console.bucket(artifacts["bucket"]))


def _secret(name: str, arn: str | None, service: Part, console: report_links.Console) -> Part:
    """By its ARN alone: no value is ever read."""
    state = "good" if arn else "bad" if service.get("service_name") else "off"
    return _part(f"secret-{name.split()[0].lower()}", name, state, "there" if arn else "absent", arn or "", console.secret(arn))


def _logs(service: Part, console: report_links.Console) -> Part:
    group = service.get("log_group")
    return _part("logs", "Logs", "good" if group else "off", "kept" if group else "absent", group or "", console.log_group(group))


def _alarms(alarms: list[Part], monitoring: Part, console: report_links.Console) -> Part:
    if not alarms:
        return _part("alarms", "Alarms", "off", "off")
    firing = [one["name"] for one in alarms if one["state"] == "ALARM"]
    return _part(
        "alarms", "Alarms", "warn" if firing else "good",
        f"{len(firing)} of {len(alarms)} fire" if firing else f"none of {len(alarms)} fires", _joined(*firing),
        console.dashboard(monitoring.get("dashboard_name")),
    )  # fmt: skip


def _scaling(scaling: Part) -> Part:
    if not scaling.get("scalable_target_arn"):
        return _part("scaling", "Automatic scaling", "off", "off")
    targets = _joined(
        scaling.get("cpu_target") and f"{scaling['cpu_target']:g} % processor",
        scaling.get("memory_target") and f"{scaling['memory_target']:g} % memory",
        scaling.get("schedules") and f"{len(scaling['schedules'])} schedules",
    )
    return _part("scaling", "Automatic scaling", "good", f"{scaling.get('min_count')} to {scaling.get('max_count')} tasks", targets)


def _budget(budget: Part) -> Part:
    if not budget.get("budget_arn"):
        return _part("budget", "Budget", "off", "off")
    actual, monthly = budget.get("actual_usd"), budget.get("monthly_usd")
    over = actual is not None and monthly is not None and float(actual) > float(monthly)
    word = f"{float(actual):.2f} of {float(monthly or 0):.2f} USD spent" if actual is not None else f"{float(monthly or 0):.2f} USD a month"
    forecast = f"{float(budget['forecast_usd']):.2f} USD forecast" if budget.get("forecast_usd") is not None else ""
    return _part("budget", "Budget", "warn" if over else "good", word, forecast)
