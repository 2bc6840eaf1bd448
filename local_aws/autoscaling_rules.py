# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tasks a target tracking policy wants, and when it may have them: pure decisions of Application Auto Scaling.

https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-auto-scaling.html
"""

from __future__ import annotations

import dataclasses
import math

# Below this share of the target a policy thinks of scaling in.
LOW_SHARE = 0.9
HIGH_DATAPOINTS, LOW_DATAPOINTS = 3, 15
DEFAULT_COOLDOWN_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class ScaleOut:
    """A scale-out whose cooldown lasts until `until` (monotonic seconds): from how many tasks to how many."""

    before: int
    after: int
    until: float


def within(count: int, least: int, most: int) -> int:
    return max(least, min(count, most))


def scaled_out(count: int, metric: float, target: float, most: int, last: ScaleOut | None, moment: float) -> int:
    """The count after an alarm that the metric is too high.

    While the last scale-out cools down, only a larger one than it counts, reckoned from where it began. A count above
    the maximum was set by somebody else and stays.
    """
    cooling = last is not None and moment < last.until
    base = last.before if cooling and last is not None else count
    wanted = min(math.ceil(base * metric / target), most)
    return max(count, wanted)


def scaled_in(count: int, metric: float, target: float, least: int) -> int:
    """The count after an alarm that the metric is too low: as many tasks as the target needs, by halves at most.

    AWS says that it scales in "more gradually" than out, and not how; halves are this instance's way. A count below
    the minimum was set by somebody else and stays.
    """
    wanted = max(math.ceil(count * metric / target), count - max(1, count // 2), least)
    return min(count, wanted)
