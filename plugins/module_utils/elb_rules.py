# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about an application load balancer and its target group: pure functions over the API's dictionaries."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import elb_listeners

# Tag that tells what clients call the load balancer.
DOMAIN_TAG = "mlflow-domain"


def text(value: t.Any) -> str:
    """A value as ELB spells attributes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def load_balancer_attributes(params: dict[str, t.Any]) -> dict[str, str]:
    """ModifyLoadBalancerAttributes, key -> value."""
    bucket = params["access_logs_bucket"] or ""
    wanted = {
        "idle_timeout.timeout_seconds": text(params["idle_timeout"]),
        "routing.http.drop_invalid_header_fields.enabled": "true",
        "routing.http.desync_mitigation_mode": params["desync_mitigation_mode"],
        "deletion_protection.enabled": text(params["deletion_protection"]),
        "access_logs.s3.enabled": text(bool(bucket)),
    }
    if bucket:
        wanted["access_logs.s3.bucket"] = bucket
        wanted["access_logs.s3.prefix"] = params["access_logs_prefix"] or ""
    return wanted


def access_logs(attributes: dict[str, str]) -> str | None:
    """Where access logs go, s3://bucket[/prefix]; None where they are off."""
    if attributes.get("access_logs.s3.enabled") != "true":
        return None
    place = [attributes.get(f"access_logs.s3.{part}") for part in ("bucket", "prefix")]
    return "s3://" + "/".join(part for part in place if part)


def target_group_attributes(params: dict[str, t.Any]) -> dict[str, str]:
    """ModifyTargetGroupAttributes, key -> value."""
    return {"deregistration_delay.timeout_seconds": text(params["deregistration_delay"])}


def health_check(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The part of a target group that ModifyTargetGroup can change."""
    return {
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPath": params["health_check_path"],
        "HealthCheckIntervalSeconds": params["health_check_interval"],
        "HealthCheckTimeoutSeconds": params["health_check_timeout"],
        "HealthyThresholdCount": params["healthy_threshold"],
        "UnhealthyThresholdCount": params["unhealthy_threshold"],
        "Matcher": {"HttpCode": params["health_check_codes"]},
    }


def check_options(params: dict[str, t.Any]) -> None:
    """ValueError for what ELB would refuse half way."""
    interval, timeout = params["health_check_interval"], params["health_check_timeout"]
    if timeout >= interval:
        raise ValueError(
            f"health_check_timeout = {timeout}: it must be shorter than the interval of {interval} s;"
            f" give at most {interval - 1}"
        )
    elb_listeners.check(params["listeners"])


def check_fixed(name: str, group: dict | None, load_balancer: dict | None, params: dict[str, t.Any]) -> None:
    """ValueError if what AWS cannot change is asked to change."""
    fixed: list[tuple[str, t.Any, t.Any]] = []
    if group:
        fixed += [
            ("target_port", group["Port"], params["target_port"]),
            ("vpc_id", group["VpcId"], params["vpc_id"]),
            ("target_type", group["TargetType"], "ip"),
        ]
    if load_balancer:
        fixed.append(("scheme", load_balancer["Scheme"], params["scheme"]))
    for option, now, wanted in fixed:
        if now != wanted:
            raise ValueError(
                f"{option} = {wanted}: load balancer {name} was made with {now}, which AWS cannot change;"
                " set it back, or remove the load balancer first"
            )


def differing(current: dict[str, t.Any], wanted: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """(what is wanted and differs, what it is now)."""
    change = {key: value for key, value in wanted.items() if current.get(key) != value}
    return change, {key: current.get(key) for key in change}


def summary(
    load_balancer: dict | None, group: dict | None, listeners: list[dict], domain_name: str = ""
) -> dict[str, t.Any]:
    """What others need to know; null for what does not exist. Clients use `domain_name` if there is one."""
    load_balancer = load_balancer or {}
    serving = elb_listeners.serving(listeners)
    origins = elb_listeners.origins(domain_name or load_balancer.get("DNSName"), listeners)
    return {
        "alb_arn": load_balancer.get("LoadBalancerArn"),
        "alb_dns_name": load_balancer.get("DNSName"),
        "domain_name": domain_name or None,
        "alb_hosted_zone_id": load_balancer.get("CanonicalHostedZoneId"),
        "state": load_balancer.get("State", {}).get("Code"),
        "target_group_arn": (group or {}).get("TargetGroupArn"),
        "listener_arn": serving[0]["ListenerArn"] if serving else None,
        "certificate_arn": _certificate(serving[0]) if serving else None,
        "tracking_uri": origins[0] if origins else None,
        **reached_at(origins),
    }


def reached_at(origins: list[str]) -> dict[str, list[str]]:
    """What browsers send as Origin, and clients as Host."""
    return {"origins": origins, "hosts": [origin.partition("://")[2] for origin in origins]}


def _certificate(listener: dict) -> str | None:
    certificates = listener.get("Certificates") or [{}]
    return certificates[0].get("CertificateArn")
