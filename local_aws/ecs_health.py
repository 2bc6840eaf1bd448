# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container health checks as ECS runs them.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

UNKNOWN, HEALTHY, UNHEALTHY = "UNKNOWN", "HEALTHY", "UNHEALTHY"


@dataclass(frozen=True)
class HealthCheck:
    """A container's `healthCheck`; times in seconds. Defaults are AWS's."""

    command: tuple[str, ...]
    interval: float = 30
    timeout: float = 5
    retries: int = 3
    start_period: float = 0

    @classmethod
    def of(cls, definition: dict[str, Any] | None) -> HealthCheck | None:
        """The check of a container definition; None if it has none (or `["NONE"]`)."""
        command = list((definition or {}).get("command") or [])
        if not definition or not command or command[0] == "NONE":
            return None
        if command[0] == "CMD-SHELL":
            argv = ["/bin/sh", "-c", " ".join(command[1:])]
        elif command[0] == "CMD":
            argv = command[1:]
        else:
            argv = ["/bin/sh", "-c", " ".join(command)]
        return cls(
            command=tuple(argv),
            interval=definition.get("interval") or 30,
            timeout=definition.get("timeout") or 5,
            retries=definition.get("retries") or 3,
            start_period=definition.get("startPeriod") or 0,
        )


@dataclass
class HealthState:
    """The verdict on one container: failures in the start period do not count, one success makes it healthy."""

    check: HealthCheck
    status: str = field(default=UNKNOWN)
    failures: int = 0

    def record(self, passed: bool, seconds_since_start: float) -> str:
        """Take one result; answer the new status."""
        if passed:
            self.failures = 0
            self.status = HEALTHY
        elif self.status == HEALTHY or seconds_since_start >= self.check.start_period:
            self.failures += 1
            if self.failures >= self.check.retries:
                self.status = UNHEALTHY
        return self.status


def combined(statuses: list[str]) -> str:
    """A task's healthStatus from those of its essential containers that have a check.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/healthcheck.html
    """
    if UNHEALTHY in statuses:
        return UNHEALTHY
    if not statuses or UNKNOWN in statuses:
        return UNKNOWN
    return HEALTHY
