# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a healthy deployment, for tests that make one of them wrong."""

from __future__ import annotations

import copy
import typing as t

NOW = 1_800_000_000.0
ACCOUNT = "123456789012"
DEFINITION = f"arn:aws:ecs:eu-west-2:{ACCOUNT}:task-definition/web:3"
OLDER, NEWER = DEFINITION[:-1] + "2", DEFINITION[:-1] + "4"
GROUP = f"arn:aws:elasticloadbalancing:eu-west-2:{ACCOUNT}:targetgroup/web/1"
SECRET = f"arn:aws:secretsmanager:eu-west-2:{ACCOUNT}:secret:web/database-AbCdEf"
TASK_ROLE = f"arn:aws:iam::{ACCOUNT}:role/web-task"
TAGS = {"mlflow-deployment": "web", "managed-by": "mlops.mlflow_aws"}


def rule(port: int, *, group: str = "", cidr: str = "", protocol: str = "tcp") -> dict[str, t.Any]:
    return {
        "IpProtocol": protocol, "FromPort": port, "ToPort": port,
        "UserIdGroupPairs": [{"GroupId": group}] if group else [], "IpRanges": [{"CidrIp": cidr}] if cidr else [],
    }  # fmt: skip


def group(name: str, ingress: list[dict[str, t.Any]], egress: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    return {"GroupId": name, "IpPermissions": ingress, "IpPermissionsEgress": egress}


FACTS: dict[str, t.Any] = {
    "name": "web", "region": "eu-west-2", "now": NOW, "unread": [], "unread_parts": [],
    "service": {
        "status": "ACTIVE", "desired": 2, "running": 2, "pending": 0, "task_definition": DEFINITION,
        "deployments": [
            {"id": "ecs-svc/1", "status": "PRIMARY", "task_definition": DEFINITION, "rollout_state": "COMPLETED", "created_at": NOW - 9000}
        ],
        "events": [{"at": NOW - 8000, "message": "(service web) has reached a steady state."}],
        "subnets": ["subnet-a"], "security_groups": ["sg-ecs"], "public_ip": False, "target_group_arn": GROUP, "container_port": 5000,
        "tags": TAGS,
    },
    "definition": {
        "arn": DEFINITION, "revision": 3, "cpu": 1024, "memory": 2048, "execution_role_arn": f"arn:aws:iam::{ACCOUNT}:role/web-execution",
        "task_role_arn": TASK_ROLE, "image": "public.ecr.aws/docker/library/python:3.11-slim",
        "environment": {
            "LAUNCHER_MLFLOW_VERSION": "3.17.2", "LAUNCHER_WORKERS": "2", "LAUNCHER_DB_HOST": "web-db.example", "LAUNCHER_DB_PORT": "5432",
            "LAUNCHER_ALLOWED_HOSTS": "mlflow.example.com", "LAUNCHER_PORT": "5000", "LAUNCHER_REQUIREMENTS": "mlflow==3.17.2",
        },
        "secrets": [], "log_group": "/ecs/web",
    },
    "newest_revision": 3, "tasks": [], "stopped": [],
    "targets": [
        {"id": f"10.0.0.{number}", "port": 5000, "state": "healthy", "reason": "", "description": ""} for number in (4, 5)
    ],
    "target_group": {"arn": GROUP, "path": "/health", "port": "traffic-port", "protocol": "HTTP", "codes": "200"},
    "load_balancer": {
        "alb_arn": "arn:alb", "state": "active", "listener_arn": "arn:listener", "hosts": ["mlflow.example.com"],
        "tracking_uri": "https://mlflow.example.com", "certificate_arn": None, "security_groups": ["sg-alb"], "subnets": ["subnet-p"],
    },
    "database": {
        "id": "web-db", "status": "available", "address": "web-db.example", "port": 5432, "engine_version": "15.7",
        "instance_class": "db.t3.micro", "allocated": 20, "pending": [], "parameters": "in-sync", "security_groups": ["sg-rds"],
        "subnets": ["subnet-a"], "tags": TAGS, "events": [], "connections": 12.0, "free_storage": 18.0 * 1024**3,
    },
    "wanted_engine_version": "15", "offered_engine_versions": None,
    "secrets": [
        {"id": SECRET, "name": "web/database", "exists": True, "deleted": False, "keys": ["password", "username"],
         "wanted_keys": ["password"], "variables": ["LAUNCHER_DB_PASSWORD"]},
    ],
    "roles": [
        {"kind": "execution", "name": "web-execution", "exists": True, "needs": [("secretsmanager:GetSecretValue", SECRET)],
         "policies": [{"Statement": [{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": [SECRET]}]}]},
    ],
    "bucket": {"name": "models", "arn": "arn:aws:s3:::models", "prefix": "mlflow", "status": 200, "region": "eu-west-2", "policy": None},
    "network": {
        "subnets": [
            {"SubnetId": "subnet-a", "VpcId": "vpc-1", "CidrBlock": "10.0.0.0/24"},
            {"SubnetId": "subnet-p", "VpcId": "vpc-1", "CidrBlock": "10.0.9.0/24"},
        ],
        "groups": [
            group("sg-alb", [rule(443, cidr="0.0.0.0/0")], [rule(5000, group="sg-ecs")]),
            group("sg-ecs", [rule(5000, group="sg-alb")], [rule(5432, group="sg-rds"), rule(443, cidr="0.0.0.0/0")]),
            group("sg-rds", [rule(5432, group="sg-ecs")], []),
        ],
        "route_tables": [
            {"RouteTableId": "rtb-1", "VpcId": "vpc-1", "Associations": [{"SubnetId": "subnet-a"}],
             "Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "active"}]},
        ],
        "nat_gateways": [{"NatGatewayId": "nat-1", "State": "available"}],
        "endpoints": [],
    },
    "certificate": {"arn": "arn:cert", "domain": "mlflow.example.com", "status": "ISSUED", "reason": "", "ends_at": NOW + 90 * 86400},
    "certificate_days": 14,
    "http": [{"name": "admin_login", "status": "passed", "latency_ms": 12.0, "message": "well", "remedy": ""}],
}  # fmt: skip


def facts(**changes: t.Any) -> dict[str, t.Any]:
    """A healthy deployment but for `changes`; a key like database__status changes one thing inside a fact."""
    found = copy.deepcopy(FACTS)
    for key, value in changes.items():
        whole, _underscores, part = key.partition("__")
        if part:
            found[whole][part] = value
        else:
            found[whole] = value
    return found


def stopped(failure: str, log: t.Sequence[str] = (), **changes: t.Any) -> dict[str, t.Any]:
    task = {
        "id": "0f1e2d3c4b5a", "arn": "arn:task", "task_definition": DEFINITION, "status": "STOPPED", "health": "UNKNOWN",
        "started_by": "ecs-svc/1", "started_at": NOW - 90, "stopped_at": NOW - 60, "failure": failure, "log": list(log),
    }  # fmt: skip
    return {**task, **changes}


def failing(failure: str, *log: str, **changes: t.Any) -> dict[str, t.Any]:
    """A service of which one of two tasks fails again and again."""
    return facts(service__running=1, targets=FACTS["targets"][:1], stopped=[stopped(failure, log)], **changes)
