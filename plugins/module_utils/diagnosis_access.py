# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that secrets, roles, bucket, certificate and the answers of MLflow show. Everything here is pure."""

from __future__ import annotations

import fnmatch
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    diagnosis_policies,
    diagnosis_symptoms,
    mlflow_errors,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.diagnosis_cause import Cause
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_versions import checks_host

DAY = 86400
ARTIFACT_ACTIONS = ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
RESTORE = "restore it (aws secretsmanager restore-secret --secret-id {name}); ECS then starts the tasks by itself"


def secrets(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    for secret in facts["secrets"]:
        what, seen = f"The secret {secret['name']}", (
            [f"tasks read {', '.join(secret['variables'])} from it"] if secret["variables"] else []
        )
        if not secret["exists"]:
            yield Cause(
                "secret_missing",
                93 if facts["service"] else 56,
                f"{what} does not exist",
                "make it again with site.yml, or correct the task definition",
                seen,
            )
        elif secret["deleted"]:
            yield Cause(
                "secret_deleted",
                95,
                f"{what} is scheduled for deletion: tasks that start cannot read it",
                RESTORE.format(name=secret["name"]),
                seen,
            )
        elif secret["keys"] is not None:
            lacking = sorted(set(secret["wanted_keys"]) - set(secret["keys"]))
            if lacking:
                yield Cause(
                    "secret_without_key",
                    94,
                    f"{what} lacks the key {', '.join(lacking)}",
                    f"put it back into the value, which is JSON with {', '.join(secret['wanted_keys'])}",
                    seen,
                )


def roles(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    for role in facts["roles"]:
        remedy = "deploy again: site.yml makes the role and its policy"
        if not role["exists"]:
            yield Cause("role_missing", 92, f"The IAM role {role['name']} of the tasks does not exist", remedy, [])
            continue
        for action, resource in role["needs"]:
            how = diagnosis_policies.denied(role["policies"], action, resource)
            if how:
                kind = "secret" if action.startswith("secretsmanager:") else "bucket"
                what = f"The {role['kind']} role {role['name']} may not do {action}: {how}"
                yield Cause(
                    f"{kind}_denied",
                    88,
                    what,
                    f"allow {action} on {resource}; site.yml sets the policy of the role",
                    [f"{action} on {resource}"],
                )


def bucket(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    found = facts["bucket"]
    if found is None:
        return
    what = f"The artifact bucket {found['name']}"
    if found["status"] == 404:
        yield Cause(
            "bucket_missing",
            90 if facts["service"] else 55,
            f"{what} does not exist",
            "create it (artifacts_create_bucket: true) or correct artifacts_bucket, then deploy again",
            [],
        )
    elif found["region"] and found["region"] != facts["region"]:
        yield Cause(
            "bucket_in_another_region", 89, f"{what} is in {found['region']}, the deployment in {facts['region']}",
            f"use a bucket in {facts['region']}, or deploy to {found['region']}", [],
        )  # fmt: skip
    elif found["status"] == 403:
        yield Cause(
            "bucket_denied",
            62,
            f"{what} is not open to these credentials: it is another account's, or its policy denies it",
            "correct artifacts_bucket, or the bucket's policy",
            ["HeadBucket answers 403"],
        )
    role = (facts["definition"] or {}).get("task_role_arn", "")
    denied = [
        action for action in ARTIFACT_ACTIONS
        if role and diagnosis_policies.denied_by_bucket(found["policy"], role, action, resource_of(action, found))
    ]  # fmt: skip
    if denied:
        yield Cause(
            "bucket_denied", 87, f"The policy of the artifact bucket {found['name']} denies the tasks {', '.join(denied)}",
            f"remove the Deny for {role} from the bucket's policy", [f"bucket policy: Deny {', '.join(denied)}"],
        )  # fmt: skip


def resource_of(action: str, found: dict[str, t.Any]) -> str:
    """The ARN that a task asks for, by what it does."""
    if action == "s3:ListBucket":
        return str(found["arn"])
    return f"{found['arn']}/{found['prefix']}/artifact" if found["prefix"] else f"{found['arn']}/artifact"


def certificate(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    found = facts["certificate"]
    if found is None:
        return
    what = f"The certificate for {found['domain']}"
    days = (found["ends_at"] - facts["now"]) / DAY
    renew = "let ACM renew it (its validation records must be in the zone), or import a new one, then deploy again"
    if found["status"] == "EXPIRED" or (found["ends_at"] and days < 0):
        yield Cause("certificate_expired", 92, f"{what} has expired", renew, [f"ACM says {found['status']}"])
    elif found["status"] != "ISSUED":
        seen = [f"ACM says {found['status']} {found['reason']}".strip()]
        yield Cause(
            "certificate_not_issued",
            88,
            f"{what} is not issued",
            "put its validation records into the zone, or request it again with site.yml",
            seen,
        )
    elif found["ends_at"] and days < facts["certificate_days"]:
        yield Cause("certificate_ends", 35, f"{what} ends in {days:.0f} days", renew, [])


def hosts(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    environment = (facts["definition"] or {"environment": {}})["environment"]
    allowed = [one.strip() for one in environment.get("LAUNCHER_ALLOWED_HOSTS", "").split(",") if one.strip()]
    reached = (facts["load_balancer"] or {}).get("hosts") or []
    if not allowed or not reached or checks_host(environment.get("LAUNCHER_MLFLOW_VERSION", "")) is False:
        return
    refused = [host for host in reached if not any(_host_matches(host, pattern) for pattern in allowed)]
    if refused:
        yield Cause(
            "host_refused", 89, f"MLflow refuses the host name that clients use: {', '.join(refused)} is not among its allowed hosts",
            "add it, with its port, to mlflow_allowed_hosts and deploy again",
            [f"LAUNCHER_ALLOWED_HOSTS is {', '.join(allowed)}"],
        )  # fmt: skip


def _host_matches(host: str, pattern: str) -> bool:
    """As MLflow does it: exactly, or by fnmatch where the pattern has a star (mlflow/server/security_utils.py)."""
    return fnmatch.fnmatch(host, pattern) if "*" in pattern else host == pattern


def answers(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    """What clients get, where that tells the cause."""
    for check in diagnosis_symptoms.failed_checks(facts):
        message, name, seen = check["message"], check["name"], [f"{check['name']}: {check['message']}"]
        if name == "tls":
            yield Cause("tls", 62, f"Clients cannot trust the address: {message}", check["remedy"], seen)
        elif mlflow_errors.INVALID_HOST in message:
            yield Cause(
                "host_refused",
                88,
                "MLflow refuses the host name that clients use",
                "add it, with its port, to mlflow_allowed_hosts and deploy again",
                seen,
            )
        elif name == "auth_required" and "authentication is off" in message:
            yield Cause(
                "authentication_off",
                72,
                "MLflow answers without a password: authentication is off",
                "deploy again: the launcher switches it on",
                seen,
            )
        elif name == "admin_login" and "HTTP 401" in message:
            yield Cause(
                "admin_password", 60, "MLflow refuses the admin's user name and password that are in Secrets Manager",
                "put the password that MLflow has into the secret, or set it by another admin (mlops.mlflow_aws.mlflow_user)", seen,
            )  # fmt: skip
        elif name == "default_experiment" and "deleted" in message:
            yield Cause(
                "default_experiment_deleted",
                55,
                "The default experiment is deleted",
                "restore it in MLflow: POST /api/2.0/mlflow/experiments/restore",
                seen,
            )
        elif name == "liveness" and diagnosis_symptoms.is_whole(facts) and "HTTP" not in message:
            yield Cause(
                "unreachable_from_here", 25, "AWS finds everything healthy, but the address cannot be reached from here",
                "run this where clients are, or let this machine in (network_client_cidrs, alb_scheme); doctor_ask_server: false does not try",
                seen,
            )  # fmt: skip


RULES = (secrets, roles, bucket, certificate, hosts, answers)
