# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes of load balancers and target groups: AWS's defaults, and which changes are really honoured."""

from __future__ import annotations

from collections.abc import Mapping

from .load_balancer_rules import Unsupported

# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
LOAD_BALANCER_DEFAULTS = {
    "access_logs.s3.enabled": "false",
    "access_logs.s3.bucket": "",
    "access_logs.s3.prefix": "",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "connection_logs.s3.bucket": "",
    "connection_logs.s3.prefix": "",
    "deletion_protection.enabled": "false",
    "health_check_logs.s3.enabled": "false",
    "health_check_logs.s3.bucket": "",
    "health_check_logs.s3.prefix": "",
    "idle_timeout.timeout_seconds": "60",
    "ipv6.deny_all_igw_traffic": "false",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
TARGET_GROUP_DEFAULTS = {
    "deregistration_delay.timeout_seconds": "300",
    "load_balancing.algorithm.anomaly_mitigation": "off",
    "load_balancing.algorithm.type": "round_robin",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "slow_start.duration_seconds": "0",
    "stickiness.enabled": "false",
    "stickiness.type": "lb_cookie",
    "stickiness.app_cookie.cookie_name": "",
    "stickiness.app_cookie.duration_seconds": "86400",
    "stickiness.lb_cookie.duration_seconds": "86400",
    "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
}
BOOLEAN = ("true", "false")
CHOICES = {
    "routing.http.desync_mitigation_mode": ("monitor", "defensive", "strictest"),
    "routing.http.xff_header_processing.mode": ("append", "preserve", "remove"),
    "load_balancing.algorithm.type": ("round_robin", "least_outstanding_requests", "weighted_random"),
    "load_balancing.algorithm.anomaly_mitigation": ("on", "off"),
    "load_balancing.cross_zone.enabled": ("true", "false", "use_load_balancer_configuration"),
    "stickiness.type": ("lb_cookie", "app_cookie"),
}
RANGES = {
    "client_keep_alive.seconds": (60, 604800),
    "idle_timeout.timeout_seconds": (1, 4000),
    "deregistration_delay.timeout_seconds": (0, 3600),
    "stickiness.app_cookie.duration_seconds": (1, 604800),
    "stickiness.lb_cookie.duration_seconds": (1, 604800),
    "target_group_health.dns_failover.minimum_healthy_targets.count": (1, 1000),
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": (1, 1000),
}
PERCENTAGE = ".minimum_healthy_targets.percentage"
# Refused rather than pretended. Accepted without effect, because their effect needs HTTPS, IPv6, WAF or several zones:
# routing.http2, x_amzn_tls_version_and_cipher_suite, ipv6, waf, zonal_shift, dns_failover, cross_zone. Accepted and not
# enforced, as the documentation of the local AWS says: desync_mitigation_mode and client_keep_alive.
ONLY_VALUE_SERVED = {
    "connection_logs.s3.enabled": "false",
    "health_check_logs.s3.enabled": "false",
    "load_balancing.algorithm.anomaly_mitigation": "off",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "slow_start.duration_seconds": "0",
    "stickiness.enabled": "false",
}


def check(changes: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Refuse changes that AWS would refuse (ValueError) or that are not served (Unsupported); one line each."""
    for key, value in changes.items():
        if key not in known:
            raise ValueError(f"Load balancer or target group attribute key '{key}' is not recognized")
        allowed = _allowed(key, known[key])
        if allowed is not None and value not in allowed:
            raise ValueError(f"'{key}' value '{value}' must be one of: {', '.join(allowed)}")
        if key in RANGES or key.endswith(PERCENTAGE):
            _check_number(key, value)
        served = ONLY_VALUE_SERVED.get(key, value)
        if value != served:
            raise Unsupported(
                f"attribute '{key}' with value '{value}' is not supported by the local AWS: leave it '{served}'"
            )


def _allowed(key: str, default: str) -> tuple[str, ...] | None:
    return CHOICES.get(key) or (BOOLEAN if default in BOOLEAN else None)


def _check_number(key: str, value: str) -> None:
    if key.endswith(PERCENTAGE) and value == "off":
        return
    low, high = RANGES.get(key, (1, 100))
    if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
        raise ValueError(f"'{key}' value '{value}' must be between '{low}-{high}' inclusive")
