# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a schedule of AWS is due: `at(...)`, `rate(...)` and `cron(...)` with six fields, in a time zone.

https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
"""

from __future__ import annotations

import calendar
import dataclasses
import re
import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

MINUTE = timedelta(minutes=1)
# An instance that slept longer than this has missed what was due.
LONGEST_LOOK_BACK = timedelta(days=1)
UNITS = {"minute": MINUTE, "hour": timedelta(hours=1), "day": timedelta(days=1)}
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class BadSchedule(ValueError):
    """What AWS refuses, in one line."""


@dataclasses.dataclass(frozen=True)
class At:
    moment: datetime

    def due(self, since: datetime, until: datetime) -> bool:
        return since < self.moment <= until


@dataclasses.dataclass(frozen=True)
class Rate:
    period: timedelta
    start: datetime

    def due(self, since: datetime, until: datetime) -> bool:
        return until > self.start and (until - self.start) // self.period > max(0, (since - self.start) // self.period)


@dataclasses.dataclass(frozen=True)
class Field:
    """The values of one field of a cron expression; None stands for all of them."""

    values: frozenset[int] | None

    def has(self, value: int) -> bool:
        return self.values is None or value in self.values


@dataclasses.dataclass(frozen=True)
class Cron:
    minutes: Field
    hours: Field
    day_of_month: str
    months: Field
    day_of_week: str
    years: Field
    zone: zoneinfo.ZoneInfo

    def due(self, since: datetime, until: datetime) -> bool:
        return any(self.matches(moment) for moment in _minutes(since, until))

    def matches(self, moment: datetime) -> bool:
        """Whether it is due in the minute that begins at `moment`; the repeated hour of autumn counts once."""
        local = moment.astimezone(self.zone)
        if local.fold or not (self.minutes.has(local.minute) and self.hours.has(local.hour)):
            return False
        return self.months.has(local.month) and self.years.has(local.year) and self._on_day(local)

    def _on_day(self, local: datetime) -> bool:
        if self.day_of_month != "?":
            return any(_is_day_of_month(part, local) for part in self.day_of_month.split(","))
        return any(_is_day_of_week(part, local) for part in self.day_of_week.split(","))


def parse(expression: str, zone_name: str | None, created: datetime) -> At | Rate | Cron:
    """BadSchedule if AWS would refuse it. `created` is when a rate starts to count."""
    try:
        zone = zoneinfo.ZoneInfo(zone_name or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise BadSchedule(f"{zone_name} is not a valid timezone") from None
    kind, _unused, rest = expression.partition("(")
    if not rest.endswith(")"):
        raise BadSchedule(f"Invalid schedule expression: {expression}")
    inside = rest[:-1].strip()
    if kind == "at":
        try:
            return At(datetime.strptime(inside, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=zone).astimezone(timezone.utc))
        except ValueError:
            raise BadSchedule(f"Invalid at expression: {expression}") from None
    if kind == "rate":
        return Rate(_period(inside), created)
    if kind == "cron":
        return _cron(inside, zone)
    raise BadSchedule(f"Invalid schedule expression: {expression}")


def _period(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d*) (minute|hour|day)(s?)", text)
    # rate(1 hour) but rate(2 hours).
    if not found or (found[1] == "1") == bool(found[3]):
        raise BadSchedule(f"Invalid rate expression: rate({text})")
    return int(found[1]) * UNITS[found[2]]


def _cron(text: str, zone: zoneinfo.ZoneInfo) -> Cron:
    fields = text.upper().split()
    if len(fields) != 6:
        raise BadSchedule(f"Invalid cron expression: cron({text}): it needs six fields")
    minutes, hours, day, month, weekday, year = fields
    if (day == "?") == (weekday == "?"):
        raise BadSchedule(f"Invalid cron expression: cron({text}): exactly one of the two day fields must be ?")
    for part in [] if day == "?" else day.split(","):
        if not re.fullmatch(r"L|LW|([1-9]|[12]\d|3[01])W", part):
            _numbers(part, 1, 31, ())
    for part in [] if weekday == "?" else weekday.split(","):
        if not re.fullmatch(r"L|([1-7]|[A-Z]{3})(L|#[1-5])", part):
            _numbers(part, 1, 7, DAYS)
        elif part != "L":
            _number(re.split("[L#]", part)[0], 1, 7, DAYS)
    return Cron(
        Field(_values(minutes, 0, 59)), Field(_values(hours, 0, 23)), day, Field(_values(month, 1, 12, MONTHS)),
        weekday, Field(_values(year, 1970, 2199)), zone,
    )  # fmt: skip


def _values(text: str, least: int, most: int, names: tuple[str, ...] = ()) -> frozenset[int] | None:
    if text == "*":
        return None
    return frozenset(number for part in text.split(",") for number in _numbers(part, least, most, names))


def _numbers(part: str, least: int, most: int, names: tuple[str, ...]) -> range:
    """`5`, `MON-FRI`, `*/15`, `0/5`, `8-18/2`; a range may not run backwards."""
    span, _unused, step = part.partition("/")
    first, _unused, last = span.partition("-")
    start = least if first == "*" else _number(first, least, most, names)
    end = _number(last, least, most, names) if last else (most if first == "*" or step else start)
    if ("/" in part and not re.fullmatch(r"[1-9]\d*", step)) or end < start or (first == "*" and last):
        raise BadSchedule(f"Invalid cron expression: {part}")
    return range(start, end + 1, int(step or 1))


def _number(text: str, least: int, most: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + 1
    if not re.fullmatch(r"\d+", text) or not least <= int(text) <= most:
        raise BadSchedule(f"Invalid cron expression: {text} is not in {least}-{most}")
    return int(text)


def _is_day_of_month(part: str, local: datetime) -> bool:
    last = calendar.monthrange(local.year, local.month)[1]
    if part == "L":
        return local.day == last
    if part.endswith("W"):
        wanted = last if part == "LW" else int(part[:-1])
        return wanted <= last and local.day == _nearest_weekday(local.year, local.month, wanted, last)
    return part == "*" or local.day in _numbers(part, 1, 31, ())


def _nearest_weekday(year: int, month: int, day: int, last: int) -> int:
    """A Saturday gives way to the Friday before, a Sunday to the Monday after, within the month."""
    weekday = calendar.weekday(year, month, day)
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < last else day - 2
    return day


def _is_day_of_week(part: str, local: datetime) -> bool:
    today = (local.weekday() + 1) % 7 + 1  # 1 is Sunday
    if part == "L":
        return today == 7
    if part.endswith("L"):
        last = calendar.monthrange(local.year, local.month)[1]
        return today == _number(part[:-1], 1, 7, DAYS) and local.day + 7 > last
    if "#" in part:
        day, _unused, which = part.partition("#")
        return today == _number(day, 1, 7, DAYS) and (local.day - 1) // 7 + 1 == int(which)
    return part == "*" or today in _numbers(part, 1, 7, DAYS)


def _minutes(since: datetime, until: datetime) -> Iterator[datetime]:
    """The full minutes after `since`, up to `until`."""
    since = max(since, until - LONGEST_LOOK_BACK)
    moment = since.replace(second=0, microsecond=0) + MINUTE
    while moment <= until:
        yield moment
        moment += MINUTE
