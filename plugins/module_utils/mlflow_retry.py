# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a failed request is sent again and after how long. Everything here is pure."""

from __future__ import annotations

import email.utils

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0

_IN_PASSING = (429, 502, 503, 504)
# The request never reached the server, so nothing can be done twice.
_NEVER_SENT = ("refused", "name")
_LOST = ("timeout", "connection")


def may_repeat(status: int | None, kind: str, repeatable: bool) -> bool:
    """`repeatable`: doing the request twice does no more than doing it once. 429 says that nothing was done."""
    if status is None:
        return kind in _NEVER_SENT or (repeatable and kind in _LOST)
    return status == 429 or (repeatable and status in _IN_PASSING)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds from a Retry-After header (a number or an HTTP date); `now` in seconds since the epoch. None: not
    usable."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def pause(attempt: int, asked: float | None, jitter: float) -> float:
    """Seconds to wait after try number `attempt` (from 0). `asked` comes from Retry-After; `jitter` is in [0, 1)."""
    doubled = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10))
    spread = doubled * (0.5 + jitter / 2)
    return spread if asked is None else asked + spread * 0.1
