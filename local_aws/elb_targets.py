# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets of moto's target groups: by id and port, each with its standing.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .load_balancer_rules import target_groups
from .target_health import DRAINING, UNUSED, Health, HealthCheck, Matcher, receivers

DRAINING_HEALTH = Health(DRAINING, "Target.DeregistrationInProgress", "Target deregistration is in progress")
NOT_IN_USE = Health(
    UNUSED, "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
)
NOT_REGISTERED = Health(UNUSED, "Target.NotRegistered", "Target is not registered to the target group")


@dataclass
class Target:
    """A registered or draining target; times are of the monotonic clock, in seconds."""

    id: str
    port: int
    health: Health = field(default_factory=Health)
    next_check: float = 0.0
    draining_until: float | None = None


def key_of(group: Any, target: dict[str, Any]) -> tuple[str, int]:
    """(id, port) of an API target; the group's port if it gives none."""
    return target["Id"], int(target.get("Port") or group.port)


def register(group: Any, targets: list[dict[str, Any]]) -> None:
    """Add targets; one that drains starts anew, one that is registered stays as it is."""
    for target in targets:
        key = key_of(group, target)
        known = group.targets.get(key)
        if known is None or known.draining_until is not None:
            group.targets[key] = Target(*key)


def deregister(group: Any, targets: list[dict[str, Any]], in_use: bool, now: float) -> None:
    """Let targets drain. "If the specified target does not exist, the action returns successfully".

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html
    """
    delay = int(group.attributes["deregistration_delay.timeout_seconds"])
    for target in targets:
        key = key_of(group, target)
        known = group.targets.get(key)
        if known is None or known.draining_until is not None:
            continue
        if in_use and delay:
            known.draining_until = now + delay
        else:
            del group.targets[key]


def health_of(target: Target | None, in_use: bool) -> Health:
    """What DescribeTargetHealth says of a target; None is one that is not registered."""
    if target is None:
        return NOT_REGISTERED
    if target.draining_until is not None:
        return DRAINING_HEALTH
    return target.health if in_use else NOT_IN_USE


def health_check(group: Any) -> HealthCheck:
    """The group's health check as it is declared now."""
    port = group.health_check_port
    return HealthCheck(
        path=group.health_check_path or "/",
        port=None if port in (None, "traffic-port") else int(port),
        interval=int(group.health_check_interval_seconds),
        timeout=int(group.health_check_timeout_seconds),
        healthy_threshold=int(group.healthy_threshold_count),
        unhealthy_threshold=int(group.unhealthy_threshold_count),
        matcher=Matcher.parse(group.matcher["HttpCode"]),
    )


def receiving(group: Any) -> list[tuple[str, int]]:
    """(address, port) of the targets that get requests now."""
    prefix = "target_group_health.unhealthy_state_routing.minimum_healthy_targets"
    percentage = group.attributes[f"{prefix}.percentage"]
    standing = [(key, health_of(target, True).state) for key, target in group.targets.items()]
    return list(
        receivers(standing, int(group.attributes[f"{prefix}.count"]), None if percentage == "off" else int(percentage))
    )


def rules_of(listener: Any) -> list[Any]:
    """moto's rules of a listener in the order in which they are tried."""
    return sorted(listener._non_default_rules.values(), key=lambda one: int(one.priority)) + list(
        listener._default_rule.values()
    )


def sign_on_of(rule: Any) -> dict[str, Any] | None:
    """The configuration of an authenticate action of one of moto's rules; None without one.

    That of OpenID Connect has the secret that is shown to nobody.
    """
    for action in rule.actions:
        if action.type == "authenticate-cognito":
            return action.data["AuthenticateCognitoConfig"]
        if action.type == "authenticate-oidc":
            return {**action.data["AuthenticateOidcConfig"], "ClientSecret": action.kept_secret}
    return None


def users_of(backend: Any) -> Iterator[tuple[str, Any]]:
    """(ARN of a target group, load balancer that forwards to it), for every rule of every listener."""
    for balancer in list(backend.load_balancers.values()):
        for listener in list(balancer.listeners.values()):
            for rule in rules_of(listener):
                for action in rule.actions:
                    for arn in target_groups(action.data):
                        yield arn, balancer
