# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments as a report shows them: in UTC, to the minute."""

from __future__ import annotations

import datetime
import typing as t

UTC = datetime.timezone.utc


def seconds(moment: t.Any) -> float | None:
    """Since the epoch, of a datetime, a number or ISO 8601; None for what is none of them."""
    if isinstance(moment, datetime.datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return float(moment)
    try:
        return seconds(datetime.datetime.fromisoformat(str(moment).replace("Z", "+00:00")))
    except ValueError:
        return None


def shown(moment: t.Any) -> str:
    at = seconds(moment)
    return "" if at is None else f"{datetime.datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def between(end: float, period: int) -> str:
    """When a report was made whose figures end at `end`: within the period after that."""
    first = datetime.datetime.fromtimestamp(end, UTC)
    last = datetime.datetime.fromtimestamp(end + period, UTC)
    return f"{first:%Y-%m-%d}, {first:%H:%M} to {last:%H:%M} UTC"
