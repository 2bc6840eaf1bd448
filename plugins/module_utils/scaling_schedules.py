# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS takes as a schedule of a scheduled action, and the schedules of office hours.

https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
"""

from __future__ import annotations

import datetime
import re
import typing as t
import zoneinfo

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FORMS = "write cron(minutes hours day-of-month month day-of-week year), rate(2 hours) or at(2027-01-31T08:00:00)"
OPEN, CLOSE = "office-open", "office-close"
# A database takes some minutes to start, and tasks some to end.
DATABASE_MARGIN_MINUTES = 15
LAST_MINUTE = 24 * 60 - 1


class CronField(t.NamedTuple):
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    # What is allowed besides numbers, as a regular expression.
    special: str = r"(?!)"


CRON = (
    CronField("minutes", 0, 59),
    CronField("hours", 0, 23),
    CronField("day-of-month", 1, 31, (), r"L|LW|([1-9]|[12]\d|3[01])W"),
    CronField("month", 1, 12, MONTHS),
    CronField("day-of-week", 1, 7, DAYS, rf"L|([1-7]|{'|'.join(DAYS)})(L|#[1-5])"),
    CronField("year", 1970, 2199),
)


def problem(expression: str) -> tuple[str, str] | None:
    """Why AWS would refuse the schedule, and what to write instead; None for a good one."""
    found = re.fullmatch(r"(cron|rate|at)\((.*)\)", expression)
    if not found:
        return "is not a schedule", FORMS
    kind, inside = found[1], found[2].strip()
    if kind == "cron":
        return _cron_problem(inside)
    if kind == "rate":
        good = re.fullmatch(r"1 (minute|hour|day)|([2-9]|[1-9]\d+) (minute|hour|day)s", inside)
        return None if good else ("is not a rate", "write rate(1 hour) or rate(2 hours); minutes, hours or days")
    try:
        datetime.datetime.strptime(inside, "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return "is not a moment", "write at(2027-01-31T08:00:00)"
    return None


def _cron_problem(inside: str) -> tuple[str, str] | None:
    values = inside.upper().split()
    if len(values) != len(CRON):
        return f"has {len(values)} fields", "AWS wants six: minutes hours day-of-month month day-of-week year"
    if (values[2] == "?") == (values[4] == "?"):
        return (
            "says both or neither of day-of-month and day-of-week",
            "AWS wants ? in exactly one of the two, as in cron(0 8 ? * MON-FRI *)",
        )
    for field, value in zip(CRON, values):
        if value == "?" and field.name.startswith("day-"):
            continue
        for part in value.split(","):
            if not re.fullmatch(field.special, part) and not _is_range(part, field):
                names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
                return (
                    f"has {part} for {field.name}",
                    f"write {field.least}-{field.most}{names}, with * , - and / only as AWS takes them",
                )
    return None


def _is_range(part: str, field: CronField) -> bool:
    """`*`, `5`, `MON-FRI`, `*/15`, `0/5`, `8-18/2`; a range does not run backwards."""
    found = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/([1-9]\d*))?", part)
    if not found or (found[1] == "*" and found[2]):
        return False
    ends = [_number(one, field) for one in found.group(1, 2) if one and one != "*"]
    return None not in ends and ends == sorted(t.cast("list[int]", ends))


def _number(text: str, field: CronField) -> int | None:
    if text in field.names:
        return field.names.index(text) + 1
    return int(text) if re.fullmatch(r"\d{1,4}", text) and field.least <= int(text) <= field.most else None


def is_zone(name: str) -> bool:
    """Whether it is a time zone of IANA; true where this machine has no list of them."""
    known = zoneinfo.available_timezones()
    return not known or name in known


def _cron(minutes: int, weekdays: str) -> str:
    """Each of these days at so many minutes after midnight."""
    return f"cron({minutes % 60} {minutes // 60} ? * {weekdays.upper()} *)"


def _minutes(clock: str) -> int:
    hour, _colon, minute = clock.partition(":")
    return int(hour) * 60 + int(minute)


def office_schedules(hours: dict[str, str], min_count: int, max_count: int) -> list[dict[str, t.Any]]:
    """The two schedules of `hours` (timezone, weekdays, start, stop): as many tasks as usual, and none."""
    opening, closing = (_cron(_minutes(hours[key]), hours["weekdays"]) for key in ("start", "stop"))
    return [
        {"name": OPEN, "schedule": opening, "timezone": hours["timezone"], "min_count": min_count,
         "max_count": max_count},
        {"name": CLOSE, "schedule": closing, "timezone": hours["timezone"], "min_count": 0, "max_count": 0},
    ]  # fmt: skip


def database_schedules(hours: dict[str, str]) -> dict[str, str]:
    """When the database starts and stops for these office hours: it is there before the tasks and after them."""
    start = max(0, _minutes(hours["start"]) - DATABASE_MARGIN_MINUTES)
    stop = min(LAST_MINUTE, _minutes(hours["stop"]) + DATABASE_MARGIN_MINUTES)
    return {"start": _cron(start, hours["weekdays"]), "stop": _cron(stop, hours["weekdays"])}
