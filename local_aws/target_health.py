# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an Application Load Balancer judges its targets: decisions only, no clock, no network.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

INITIAL = "initial"
HEALTHY = "healthy"
UNHEALTHY = "unhealthy"
UNUSED = "unused"
DRAINING = "draining"

LOWEST_CODE = 200
HIGHEST_CODE = 499

Key = TypeVar("Key")


@dataclass(frozen=True)
class Matcher:
    """The HTTP codes of a healthy answer, as inclusive ranges."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Read `200`, `200,202`, `200-299` or a mixture; ValueError names the part that is wrong."""
        return cls(tuple(_code_range(part, text) for part in text.split(",")))

    def matches(self, code: int) -> bool:
        return any(low <= code <= high for low, high in self.ranges)


def _code_range(part: str, text: str) -> tuple[int, int]:
    bounds = part.split("-")
    if len(bounds) > 2 or not all(len(bound) == 3 and bound.isascii() and bound.isdigit() for bound in bounds):
        raise ValueError(f"Health check matcher '{text}': '{part}' must be a code like 200 or a range like 200-299")
    low, high = int(bounds[0]), int(bounds[-1])
    if not LOWEST_CODE <= low <= high <= HIGHEST_CODE:
        raise ValueError(
            f"Health check matcher '{text}': '{part}' must ascend and lie within {LOWEST_CODE}-{HIGHEST_CODE}"
        )
    return low, high


@dataclass(frozen=True)
class HealthCheck:
    """The health check of a target group: times in seconds, thresholds in consecutive checks.

    `port` is None for the port on which the target receives traffic.
    """

    path: str = "/"
    port: int | None = None
    interval: int = 30
    timeout: int = 5
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    matcher: Matcher = Matcher(((200, 200),))


@dataclass(frozen=True)
class Outcome:
    """What one health check found: reason and description as DescribeTargetHealth gives them, empty if passed."""

    passed: bool
    reason: str = ""
    description: str = ""


PASSED = Outcome(True)
TIMED_OUT = Outcome(False, "Target.Timeout", "Request timed out")
FAILED = Outcome(False, "Target.FailedHealthChecks", "Health checks failed")


def judge_code(code: int, matcher: Matcher) -> Outcome:
    """The outcome of a check that was answered with this HTTP code."""
    if matcher.matches(code):
        return PASSED
    return Outcome(False, "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{code}]")


@dataclass(frozen=True)
class Health:
    """The standing of one target, and the run of equal outcomes it rests on."""

    state: str = INITIAL
    reason: str = "Elb.RegistrationInProgress"
    description: str = "Target registration is in progress"
    successes: int = 0
    failures: int = 0


def observe(health: Health, outcome: Outcome, check: HealthCheck) -> Health:
    """The standing after one more check.

    A newly registered target "must pass one health check to be considered healthy"; one that was unhealthy needs
    `healthy_threshold` in a row; any target that is not unhealthy yet becomes so after `unhealthy_threshold` in a row.
    """
    if outcome.passed:
        counted = replace(health, successes=health.successes + 1, failures=0)
        needed = check.healthy_threshold if health.state == UNHEALTHY else 1
        if counted.successes >= needed:
            return replace(counted, state=HEALTHY, reason="", description="")
        return counted
    counted = replace(health, successes=0, failures=health.failures + 1)
    if health.state == UNHEALTHY or counted.failures >= check.unhealthy_threshold:
        return replace(counted, state=UNHEALTHY, reason=outcome.reason, description=outcome.description)
    if health.state == INITIAL:
        return replace(counted, reason="Elb.InitialHealthChecking", description="Initial health checks in progress")
    return counted


def receivers(
    targets: Iterable[tuple[Key, str]], minimum_count: int = 1, minimum_percentage: int | None = None
) -> Sequence[Key]:
    """Which of (key, state) receive requests: the healthy ones or, when too few are healthy, every registered one.

    The load balancer "fails open" below the target group's thresholds for unhealthy state routing (default: one
    healthy target):
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
    A draining target never receives anything new.
    """
    registered = [(key, state) for key, state in targets if state != DRAINING]
    healthy = [key for key, state in registered if state == HEALTHY]
    enough = max(minimum_count, 1)
    if minimum_percentage is not None:
        enough = max(enough, -(-len(registered) * minimum_percentage // 100))
    if len(healthy) >= enough:
        return healthy
    return [key for key, _state in registered]
