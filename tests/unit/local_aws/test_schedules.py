# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When schedules are due."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.schedules import BadSchedule, parse

CREATED = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(timezone.utc))


def fires(expression: str, zone: str | None, moment: str) -> bool:
    """Whether it is due in the second before and at `moment`, in UTC."""
    until = datetime.fromisoformat(moment).replace(tzinfo=timezone.utc)
    return parse(expression, zone, CREATED).due(until - timedelta(seconds=1), until)


@pytest.mark.parametrize(
    ("expression", "zone", "moment", "expected"),
    [
        ("cron(0 8 ? * MON-FRI *)", None, "2026-11-23T08:00:00", True),
        ("cron(0 8 ? * MON-FRI *)", None, "2026-11-22T08:00:00", False),
        ("cron(0 8 ? * MON-FRI *)", "Europe/Berlin", "2026-11-23T07:00:00", True),
        ("cron(0 8 ? * MON-FRI *)", "Europe/Berlin", "2026-07-20T06:00:00", True),
        ("cron(0/15 9-17/2 * * ? *)", None, "2026-11-23T11:45:00", True),
        ("cron(0/15 9-17/2 * * ? *)", None, "2026-11-23T12:45:00", False),
        ("cron(0 0 L * ? *)", None, "2026-02-28T00:00:00", True),
        ("cron(0 0 L * ? *)", None, "2028-02-28T00:00:00", False),
        ("cron(0 0 1W * ? *)", None, "2026-08-03T00:00:00", True),  # the 1st is a Saturday
        ("cron(0 0 15W * ? *)", None, "2026-11-16T00:00:00", True),  # the 15th is a Sunday
        ("cron(0 0 LW * ? *)", None, "2026-05-29T00:00:00", True),  # the 31st is a Sunday
        ("cron(0 0 14W * ? *)", None, "2026-11-13T00:00:00", True),  # a Saturday
        ("cron(0 0 18W * ? *)", None, "2026-11-18T00:00:00", True),
        ("cron(0 0 ? * 6L *)", None, "2026-11-27T00:00:00", True),
        ("cron(0 0 ? * 6L *)", None, "2026-11-20T00:00:00", False),
        ("cron(0 0 ? * MON#2 2026)", None, "2026-11-09T00:00:00", True),
        ("cron(0 0 ? * MON#2 2027)", None, "2026-11-09T00:00:00", False),
        ("cron(0 0 ? NOV L *)", None, "2026-11-28T00:00:00", True),
        ("cron(0 0 ? 12 * *)", None, "2026-11-28T00:00:00", False),
        ("at(2026-11-23T08:00:00)", "Asia/Tokyo", "2026-11-22T23:00:00", True),
        ("at(2026-11-23T08:00:00)", None, "2026-11-23T08:00:01", False),
        ("rate(5 minutes)", None, "2026-11-23T12:05:00", True),
        ("rate(5 minutes)", None, "2026-11-23T12:00:00", False),
        ("rate(1 day)", None, "2026-11-24T12:00:01", False),
    ],
)  # fmt: skip
def test_when_a_schedule_is_due(expression: str, zone: str | None, moment: str, expected: bool) -> None:
    assert fires(expression, zone, moment) is expected


def test_the_hour_that_autumn_repeats_counts_once_and_the_one_that_spring_skips_never() -> None:
    schedule = parse("cron(30 1 * * ? *)", "Europe/London", CREATED)
    autumn = datetime(2026, 10, 25, tzinfo=timezone.utc)
    due = [minute for minute in range(180) if schedule.matches(autumn + timedelta(minutes=minute))]
    assert due == [30]
    spring = datetime(2026, 3, 29, tzinfo=timezone.utc)
    assert not schedule.due(spring, spring + timedelta(hours=23))


def test_what_was_due_while_nobody_looked_is_found_within_a_day() -> None:
    schedule = parse("cron(0 8 * * ? *)", None, CREATED)
    assert schedule.due(CREATED - timedelta(hours=5), CREATED)
    assert not schedule.due(CREATED - timedelta(hours=3), CREATED)


@given(since=MOMENTS, seconds=st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_each_moment_is_found_exactly_once_however_one_looks(since: datetime, seconds: list[int]) -> None:
    for expression in ("cron(* * * * ? *)", "rate(1 minute)"):
        schedule = parse(expression, None, since - timedelta(days=1))
        looks = [since]
        for each in seconds:
            looks.append(looks[-1] + timedelta(seconds=each))
        seen = sum(schedule.due(one, other) for one, other in zip(looks, looks[1:]))
        assert bool(seen) == schedule.due(looks[0], looks[-1])
        assert seen <= (looks[-1] - looks[0]).total_seconds() // 60 + 1


@pytest.mark.parametrize(
    ("expression", "zone", "message"),
    [
        ("cron(0 8 * * *)", None, "six fields"),
        ("cron(0 8 * * * *)", None, "must be \\?"),
        ("cron(60 8 * * ? *)", None, "60 is not in 0-59"),
        ("cron(0 8 ? * FRI-MON *)", None, "Invalid cron"),
        ("cron(0 8 ? * XXXL *)", None, "XXX is not in 1-7"),
        ("cron(0/0 8 ? * * *)", None, "Invalid cron"),
        ("cron(0 8 32W * ? *)", None, "32W is not in"),
        ("rate(1 hours)", None, "rate"),
        ("rate(0 hours)", None, "rate"),
        ("at(2026-11-23)", None, "at expression"),
        ("every day", None, "Invalid schedule"),
        ("often()", None, "Invalid schedule"),
        ("rate(1 hour)", "Mars/Olympus", "not a valid timezone"),
    ],
)
def test_what_aws_refuses(expression: str, zone: str | None, message: str) -> None:
    with pytest.raises(BadSchedule, match=message):
        parse(expression, zone, CREATED)
