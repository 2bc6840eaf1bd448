# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the report share: the facts of a deployment in which all is well, and its templates rendered."""

from __future__ import annotations

import copy
import functools
import math
import typing as t
from pathlib import Path

import jinja2
from ansible.plugins.filter import core, mathstuff

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import report_document, report_figures

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/report"
ACCOUNT, REGION = "123456789012", "eu-west-2"
# 2026-11-20 10:00 UTC
NOW = 1795168800.0
BALANCER = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/web/50dc6c495c0c9188"
GROUP = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/web/73e2d6bc24d8a067"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/3f1c-77"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:web/admin-AbCdEf"
WEB_ACL = f"arn:aws:wafv2:{REGION}:{ACCOUNT}:regional/webacl/web/0b1c"

PARTS: dict[str, t.Any] = {
    "network": {
        "vpc_id": "vpc-0123456789abcdef0", "vpc_cidr": "10.0.0.0/16", "availability_zones": ["eu-west-2a", "eu-west-2b"],
        "public_subnet_ids": ["subnet-pa", "subnet-pb"], "private_subnet_ids": ["subnet-a", "subnet-b"],
        "nat_gateway_ids": ["nat-1"], "s3_endpoint_id": "vpce-1", "interface_endpoint_ids": [],
    },
    "load_balancer": {
        "alb_arn": BALANCER, "alb_dns_name": "web-1.eu-west-2.elb.amazonaws.com", "state": "active", "target_group_arn": GROUP,
        "certificate_arn": CERTIFICATE, "access_logs": "s3://logs/web", "tracking_uri": "https://mlflow.example.com",
    },
    "service": {
        "cluster_name": "web", "service_name": "web", "status": "ACTIVE", "rollout_state": "COMPLETED", "desired_count": 2,
        "running_count": 2, "pending_count": 0, "mlflow_version": "3.17.2", "workers": "2", "cpu": 1024, "memory": 2048,
        "log_group": "/ecs/web",
        "tasks": [
            {"id": f"{number}f1e2d3c4b5a69788796a5b4c3d2e1f0", "status": "RUNNING", "health": "HEALTHY", "address": f"10.0.{10 + number}.7",
             "started_at": "2026-11-19T09:30:00+00:00", "revision": 3}
            for number in range(2)
        ],
        "targets": [{"id": f"10.0.{10 + number}.7", "port": 5000, "state": "healthy", "reason": None} for number in range(2)],
        "events": [
            {"time": "2026-11-20T11:20:00+02:00", "message": "(service web) has reached a steady state."},
            {"time": "2026-11-19T09:29:00+00:00", "message": "(service web) has started 2 tasks."},
        ],
    },
    "database": {
        "db_instance_id": "web-db", "status": "available", "engine_version": "15.7", "instance_class": "db.t3.small",
    },
    "secrets": {
        "admin_secret_arn": SECRET, "db_secret_arn": SECRET.replace("admin", "database"),
        "server_key_secret_arn": SECRET.replace("admin", "server-key"), "admin_username": "admin",
    },
    "artifacts": {"bucket": "web-artifacts", "artifact_root": "s3://web-artifacts/mlflow", "versioning": "Enabled", "kms_key": None},
    "backup": {
        "vault_arn": f"arn:aws:backup:{REGION}:{ACCOUNT}:backup-vault:web", "schedule": "cron(0 2 * * ? *)", "recovery_points": 35,
        "last_backup_at": "2026-11-20T02:13:07+00:00", "last_job_state": "COMPLETED", "last_job_message": None,
    },
    "monitoring": {"topic_arn": "arn", "alarm_names": ["web/cpu", "web/latency"], "firing": [], "dashboard_name": "web"},
    "scaling": {"scalable_target_arn": "arn", "min_count": 2, "max_count": 6, "cpu_target": 60.0, "memory_target": None, "schedules": []},
    "budget": {"budget_arn": "arn", "monthly_usd": 200.0, "actual_usd": 87.5, "forecast_usd": 131.0},
    "cost": {
        "monthly_usd": 134.27, "maximum_monthly_usd": 201.5, "price_date": "2026-11-01", "missing": [],
        "items": [
            {"item": "NAT gateway", "monthly_usd": 36.5}, {"item": "Application Load Balancer", "monthly_usd": 25.1},
            {"item": "Tasks", "monthly_usd": 60.0}, {"item": "Secrets", "monthly_usd": None},
        ],
    },
}  # fmt: skip
READ: dict[str, t.Any] = {
    "database": {"allocated_storage": 20, "multi_az": False, "zone": "eu-west-2a"},
    "db_events": [{"time": NOW - 7200, "message": "Backing up DB instance"}],
    "alarms": [
        {"name": f"web/{name}", "state": "OK", "reason": "Threshold Crossed: no datapoints", "since": NOW - 3600, "namespace": namespace,
         "metric": metric}
        for name, namespace, metric in (("cpu", "AWS/ECS", "CPUUtilization"), ("latency", "AWS/ApplicationELB", "TargetResponseTime"))
    ],
    "subnets": [
        {"subnet_id": identifier, "zone": f"eu-west-2{identifier[-1]}", "cidr": f"10.0.{number}.0/24"}
        for identifier, number in (("subnet-pa", 0), ("subnet-pb", 1), ("subnet-a", 10), ("subnet-b", 11))
    ],
    "listeners": [{"port": 443, "protocol": "HTTPS", "redirects": False}, {"port": 80, "protocol": "HTTP", "redirects": True}],
    "internal": False,
    "certificate": {"arn": CERTIFICATE, "domain": "mlflow.example.com", "status": "ISSUED", "reason": "", "ends_at": NOW + 200 * 86400},
    "web_acl": {"name": "web", "arn": WEB_ACL},
    "unread": [],
}  # fmt: skip
TOP = {
    "requests": 5200.0, "latency_p50": 0.041, "latency_p95": 0.31, "healthy_tasks": 2.0, "cpu": 63.0, "memory": 71.0, "db_cpu": 23.0,
    "db_connections": 18.0, "db_memory": 612 * 1024**2, "db_storage": 17.3 * 1024**3,
}  # fmt: skip


def facts(**changes: t.Any) -> dict[str, t.Any]:
    """Those of `report_document.document`; `service__running_count=1` changes a part, `read__web_acl=None` what was read."""
    found: dict[str, t.Any] = {
        "name": "web", "region": REGION, "console": True, "inventory": "inventories/web", "environment": "web", "limit": False, "hours": 24,
        "start": NOW - 86400, "end": NOW, "parts": copy.deepcopy(PARTS), "read": copy.deepcopy(READ),
        "series": report_figures.series([], NOW - 86400, NOW, 300),
    }  # fmt: skip
    for key, top in TOP.items():
        wave = [top * (0.7 + 0.3 * math.sin(place / 20)) for place in range(288)]
        found["series"][key] = [top] * 288 if key == "healthy_tasks" else wave
    for key, value in changes.items():
        part, _underscores, field = key.partition("__")
        if not field:
            found[part] = value
        elif part == "read":
            found["read"][field] = value
        else:
            found["parts"][part][field] = value
    return found


def document(**changes: t.Any) -> dict[str, t.Any]:
    return report_document.document(facts(**changes))


def nothing() -> dict[str, t.Any]:
    """The facts of an account without the deployment."""
    empty = {"database": None, "db_events": [], "alarms": [], "subnets": [], "listeners": [], "internal": False, "certificate": None}
    series = report_figures.series([], NOW - 86400, NOW, 300)
    return facts(parts={part: {} for part in PARTS}, read={**empty, "web_acl": None, "unread": []}, series=series)


@functools.cache
def template(kind: str) -> jinja2.Template:
    """The template of `report.<kind>`, with Ansible's settings of Jinja and its filters."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update({**core.FilterModule().filters(), **mathstuff.FilterModule().filters()})
    environment.globals["lookup"] = lambda _plugin, name: (ROLE / "files" / name).read_text().rstrip()
    return environment.get_template(f"report.{kind}.j2")


def rendered(report: dict[str, t.Any], kind: str) -> str:
    return template(kind).render(report_outputs={"report": report})
