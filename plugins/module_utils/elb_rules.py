# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about an application load balancer and its target group: pure functions over the API's dictionaries."""

from __future__ import annotations

import typing as t

# Port that a client leaves out of a URL and of the Host header.
SCHEME_PORTS = {"HTTP": 80, "HTTPS": 443}


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
    ports = [listener["port"] for listener in params["listeners"]]
    if len(set(ports)) < len(ports):
        raise ValueError(f"listeners = {ports}: two have the same port; give each its own")


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


def forwards_to(listener: dict, target_group_arn: str) -> bool:
    """Whether a listener's default action is nothing but forwarding to this group."""
    actions = listener.get("DefaultActions", [])
    return (
        len(actions) == 1 and actions[0]["Type"] == "forward" and actions[0].get("TargetGroupArn") == target_group_arn
    )


def hosts(dns_name: str | None, listeners: list[dict[str, t.Any]]) -> list[str]:
    """What clients send as Host, one for each listener, as `host` or `host:port`."""
    if not dns_name:
        return []
    return [
        dns_name if listener["Port"] == SCHEME_PORTS.get(listener["Protocol"]) else f"{dns_name}:{listener['Port']}"
        for listener in listeners
    ]


def summary(load_balancer: dict | None, group: dict | None, listeners: list[dict]) -> dict[str, t.Any]:
    """What others need to know; null for what does not exist. The first listener is the one with the lowest port."""
    load_balancer = load_balancer or {}
    listeners = sorted(listeners, key=lambda listener: listener["Port"])
    names = hosts(load_balancer.get("DNSName"), listeners)
    return {
        "alb_arn": load_balancer.get("LoadBalancerArn"),
        "alb_dns_name": load_balancer.get("DNSName"),
        "state": load_balancer.get("State", {}).get("Code"),
        "target_group_arn": (group or {}).get("TargetGroupArn"),
        "listener_arn": listeners[0]["ListenerArn"] if listeners else None,
        "tracking_uri": f"{listeners[0]['Protocol'].lower()}://{names[0]}" if names else None,
        "hosts": names,
    }
