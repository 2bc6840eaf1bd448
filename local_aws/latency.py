# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long AWS takes to make things, times a scale: 0 makes everything at once, 1 is as slow as AWS.

Seconds from public logs of Terraform runs in 2025 and 2026: 10th percentile, median, 90th percentile.
"""

from __future__ import annotations

import random
import threading

from .settings import Settings

SECONDS: dict[str, tuple[float, float, float]] = {
    "rds_create": (195, 250, 370),
    "rds_create_multi_az": (480, 660, 1020),
    "rds_delete": (240, 285, 330),
    "rds_modify": (60, 120, 300),
    "rds_snapshot": (60, 120, 240),
    "nat_create": (84, 115, 121),
    "nat_delete": (45, 55, 65),
    "alb_create": (135, 150, 190),
    "interface_endpoint": (60, 75, 90),
    "acm_validation": (45, 60, 120),
    "task_start": (45, 57, 75),
}


class Latency:
    """Durations: the median without a seed, a repeatable sample with one."""

    def __init__(self, settings: Settings) -> None:
        self._scale = settings.latency_scale
        self._random = random.Random(settings.latency_seed) if settings.latency_seed is not None else None
        self._lock = threading.Lock()

    def duration(self, kind: str) -> float:
        """Seconds that making a thing of `kind` takes; KeyError for an unknown kind."""
        low, median, high = SECONDS[kind]
        if self._random is None:
            return median * self._scale
        with self._lock:
            return self._random.triangular(low, high, median) * self._scale
