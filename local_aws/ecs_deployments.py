# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service reaches its desired state: pure decisions of the service scheduler.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# AWS lets the delay between starts grow to 15 minutes; a local user waits for nobody's capacity.
LONGEST_DELAY_SECONDS = 60.0
FORGET_SECONDS = 600.0


@dataclass(frozen=True)
class Population:
    """The live tasks (desired RUNNING) of one deployment: `steady` are running and healthy everywhere."""

    steady: int = 0
    unsteady: int = 0

    @property
    def live(self) -> int:
        return self.steady + self.unsteady


@dataclass(frozen=True)
class Step:
    """What to do now: tasks of the primary deployment to start or stop, tasks of older ones to stop."""

    start: int = 0
    stop_primary: int = 0
    stop_old_unsteady: int = 0
    stop_old_steady: int = 0


def bounds(desired: int, minimum_percent: int, maximum_percent: int) -> tuple[int, int]:
    """Fewest steady and most live tasks during a deployment: rounded up and rounded down."""
    return math.ceil(desired * minimum_percent / 100), math.floor(desired * maximum_percent / 100)


def next_step(
    desired: int, minimum_percent: int, maximum_percent: int, primary: Population, old: Population,
    may_start: bool = True,
) -> Step:
    """One step of a rolling deployment that keeps within the bounds.

    Old tasks that are not steady serve nobody and go at once. Steady ones stay until as many new ones are steady,
    unless the upper bound leaves no room to start: then as many go as the lower bound allows.
    `may_start` is false while starts are delayed or the deployment has failed: then nothing makes room for it.
    """
    lower, upper = bounds(desired, minimum_percent, maximum_percent)
    wanted = max(0, desired - primary.live)
    room = max(0, upper - primary.live - old.steady)
    start = min(wanted, room) if may_start else 0
    steady = primary.steady + old.steady
    crowded_out = wanted - start if may_start else 0
    stop_old = max(0, steady - desired, min(crowded_out, steady - lower))
    return Step(start, max(0, primary.live - desired), old.unsteady, min(old.steady, stop_old))


def breaker_threshold(desired: int) -> int:
    """Failed tasks after which the circuit breaker declares a deployment failed."""
    return max(3, min(200, math.ceil(desired * 0.5)))


def recent_failures(failures: list[float], now: float) -> list[float]:
    """Those of the failure times (seconds) that still slow the next start down."""
    return [moment for moment in failures if now - moment < FORGET_SECONDS]


def start_delay(failures: int) -> float:
    """Seconds to wait before the next start after so many recent failures."""
    if failures < 2:
        return 0.0
    return min(LONGEST_DELAY_SECONDS, 0.5 * 2.0 ** min(failures - 2, 20))
