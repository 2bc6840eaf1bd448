# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of a deployment, kept as tags of its cluster. Everything here is pure.

AWS cannot set a tag only where there is none, so that each run sets a tag of its own first and looks for others afterwards.
Of two runs at once the one that looks last sees both: never do both go on. Each may see the other, and then neither does.
"""

from __future__ import annotations

import datetime
import re
import typing as t

PREFIX = "mlflow-lock:"
# What ECS takes in the value of a tag, and how much of it.
_NOT_IN_VALUES = re.compile(r"[^A-Za-z0-9 +\-=._:/@]")
_LONGEST_VALUE = 256
_VALUE = re.compile(r"(?P<purpose>\S+) by (?P<owner>.*) since (?P<since>\S+)", re.DOTALL)


class Lock(t.NamedTuple):
    """`token` is what only its holder knows to be its own; `since` is None where the tag does not say."""

    token: str
    purpose: str
    owner: str
    since: datetime.datetime | None


def key(token: str) -> str:
    return PREFIX + token


def value(purpose: str, owner: str, since: datetime.datetime) -> str:
    """The value of a tag; what it cannot hold becomes a dot."""
    ending = f" since {since.astimezone(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    start = _NOT_IN_VALUES.sub(".", f"{purpose} by {owner}")
    return start[: _LONGEST_VALUE - len(ending)] + ending


def found(tags: t.Mapping[str, str]) -> list[Lock]:
    """The locks among the tags of a cluster, the oldest first."""
    locks = [_parse(name[len(PREFIX) :], text) for name, text in tags.items() if name.startswith(PREFIX)]
    return sorted(locks, key=lambda lock: (lock.since is None, str(lock.since), lock.token))


def _parse(token: str, text: str) -> Lock:
    match = _VALUE.fullmatch(text)
    if match is None:
        return Lock(token, "something", text or "somebody", None)
    try:
        since = datetime.datetime.strptime(match["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        since = None
    return Lock(token, match["purpose"], match["owner"], since)


def without(tags: t.Mapping[str, str]) -> dict[str, str]:
    """The tags that are no locks: whoever keeps the tags of the cluster must leave these alone."""
    return {name: text for name, text in tags.items() if not name.startswith(PREFIX)}


def age(lock: Lock, now: datetime.datetime) -> str:
    """For how long it has been held, in the largest unit that fits."""
    if lock.since is None:
        return "an unknown time"
    seconds = max(0, int((now - lock.since).total_seconds()))
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def refusal(cluster: str, locks: t.Sequence[Lock], now: datetime.datetime) -> str:
    """Why nobody else may go on, in one line."""
    held = "; ".join(f"{lock.purpose} by {lock.owner}, for {age(lock, now)}" for lock in locks)
    return (
        f"Deployment {cluster}: it is locked ({held}); wait for that run to end, or, if it is dead, run this again with"
        " -e break_lock=true"
    )
