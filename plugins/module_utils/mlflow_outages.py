# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a server did not answer, from requests sent one after the other. Everything here is pure."""

from __future__ import annotations

import typing as t


class Sample(t.NamedTuple):
    """One request: seconds since the first one at its start and its end, and what went wrong, empty for nothing."""

    start: float
    end: float
    error: str


def summary(samples: t.Sequence[Sample]) -> dict[str, t.Any]:
    """Counts, and outages in seconds: one lasts from the end of the last good request to that of the next good one.

    That is the longest that it may have been: a server that fails one request a second may fail all of those between.
    """
    outages: list[dict[str, t.Any]] = []
    good_until = 0.0
    current: dict[str, t.Any] | None = None
    for sample in samples:
        if sample.error:
            if current is None:
                current = {"since": round(good_until, 2), "requests": 0, "error": sample.error}
                outages.append(current)
            current["requests"] += 1
            current["seconds"] = round(sample.end - good_until, 2)
        else:
            if current is not None:
                current["seconds"] = round(sample.end - good_until, 2)
                current = None
            good_until = sample.end
    answered = sorted(sample.end - sample.start for sample in samples if not sample.error)
    return {
        "requests": len(samples),
        "failures": sum(outage["requests"] for outage in outages),
        "downtime_seconds": round(sum(outage["seconds"] for outage in outages), 2),
        "longest_seconds": max((outage["seconds"] for outage in outages), default=0.0),
        "slowest_seconds": round(answered[-1], 2) if answered else None,
        "outages": outages,
    }
