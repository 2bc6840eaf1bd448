# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of automatic scaling and its schedules."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import scaling_rules, scaling_schedules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from local_aws import schedules as aws_schedules

HOURS = {"timezone": "Europe/London", "weekdays": "MON-FRI", "start": "08:00", "stop": "19:00"}
OPTIONS: dict[str, t.Any] = {
    "min_count": 2, "max_count": 4, "cpu_target": 60, "memory_target": 0, "scale_in_cooldown": 300,
    "scale_out_cooldown": 120, "schedules": [], "office_hours": {},
}  # fmt: skip
NIGHT = {"name": "night", "schedule": "rate(1 day)", "timezone": "UTC", "min_count": None, "max_count": 2}
COUNTS = st.integers(0, 20)


def problems(**options: t.Any) -> list[str]:
    try:
        scaling_rules.check_options({**OPTIONS, **options})
    except ValueError as error:
        return [line.removeprefix("- ") for line in str(error).splitlines() if " = " in line]
    return []


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"min_count": 4},
        {"cpu_target": 0, "memory_target": 100},
        {"cpu_target": 0, "schedules": [NIGHT]},
        {"cpu_target": 0, "office_hours": HOURS},
        {"office_hours": {**HOURS, "weekdays": "MON,WED,FRI", "start": "8:30"}},
        {"schedules": [{**NIGHT, "max_count": 0}], "office_hours": HOURS},
        {"schedules": [{**NIGHT, "max_count": 0}, {**NIGHT, "name": "day", "min_count": 1}]},
    ],
)
def test_what_works(good: dict) -> None:
    assert problems(**good) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_count": 0}, "min_count = 0: at 0 tasks there is no metric"),
        ({"min_count": 5}, "min_count = 5: is above the maximum of 4"),
        ({"cpu_target": 101}, "cpu_target = 101: is not a percentage"),
        ({"memory_target": -1}, "memory_target = -1: is not a percentage"),
        ({"scale_in_cooldown": -1}, "scale_in_cooldown = -1: is not a number of seconds"),
        ({"scale_out_cooldown": -1}, "scale_out_cooldown = -1"),
        ({"cpu_target": 0}, "cpu_target = 0: without a target and without a schedule"),
        ({"schedules": [{**NIGHT, "name": "a|b"}]}, "schedules = 'a|b': is not a name"),
        ({"schedules": [{**NIGHT, "name": "office-open"}]}, "schedules = 'office-open': is not a name"),
        ({"schedules": [NIGHT, NIGHT]}, "schedules = 'night': is the name of two schedules"),
        ({"schedules": [{**NIGHT, "schedule": "at night"}]}, "schedules = 'at night': is not a schedule"),
        ({"schedules": [{**NIGHT, "timezone": "Mars"}]}, "schedules = 'Mars': is not a time zone"),
        ({"schedules": [{**NIGHT, "max_count": None}]}, "changes neither minimum nor maximum"),
        ({"schedules": [{**NIGHT, "min_count": 3}]}, "3 to 2 tasks are no range"),
        ({"schedules": [{**NIGHT, "max_count": -1}]}, "None to -1 tasks are no range"),
        ({"schedules": [{**NIGHT, "max_count": 0}]}, "stops all tasks and no schedule starts them again"),
        ({"office_hours": {"start": "08:00"}}, "it takes exactly timezone, weekdays, start, stop"),
        ({"office_hours": {**HOURS, "start": 800}}, "it takes exactly"),
        ({"office_hours": {**HOURS, "holidays": "none"}}, "it takes exactly"),
        ({"office_hours": {**HOURS, "timezone": "Mars"}}, "office_hours = 'Mars': is not a time zone"),
        ({"office_hours": {**HOURS, "start": "24:00"}}, "is not a time of day to start at"),
        ({"office_hours": {**HOURS, "stop": "8:00"}}, "is not after the start at 08:00"),
        ({"office_hours": {**HOURS, "weekdays": "weekdays"}}, "office_hours = 'weekdays': are not days of a week"),
    ],
)
def test_what_cannot_work_is_one_line_that_names_it(wrong: dict, message: str) -> None:
    (line,) = problems(**wrong)
    assert message in line and "; " in line


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(min_count=9, cpu_target=200, scale_in_cooldown=-5)) == 3


def test_the_database_must_bear_the_most_tasks_that_any_schedule_allows() -> None:
    assert scaling_rules.most_tasks(OPTIONS) == 4
    assert scaling_rules.most_tasks({**OPTIONS, "office_hours": HOURS}) == 4
    assert scaling_rules.most_tasks({**OPTIONS, "schedules": [{**NIGHT, "max_count": 9}]}) == 9
    assert scaling_rules.most_tasks({**OPTIONS, "schedules": [{**NIGHT, "min_count": 7, "max_count": None}]}) == 7


def test_preflight_takes_what_an_inventory_has() -> None:
    found = Findings({"schedules": "scaling_schedules"})
    short = {"name": "night", "schedule": "rate(1 day)", "max_count": 9}
    assert scaling_rules.check_given({**OPTIONS, "schedules": [short]}, found) == 9 and found.problems == []
    for wrong in ("rate(1 day)", {"name": "night"}):
        found.problems.clear()
        assert scaling_rules.check_given({**OPTIONS, "schedules": [wrong]}, found) == 4
        assert found.problems[0].endswith("has no name or no schedule; give both, as text")
        assert found.problems[0].startswith("scaling_schedules = ")
    assert scaling_rules.check_given({**OPTIONS, "office_hours": {"start": 8}}, found) == 4


@given(least=COUNTS, most=COUNTS, sizes=st.lists(st.tuples(st.none() | COUNTS, st.none() | COUNTS), max_size=4))
def test_the_bounds_in_force_are_those_asked_for_or_those_of_a_schedule(least, most, sizes) -> None:
    schedules = [{**NIGHT, "name": str(number), "min_count": one, "max_count": other}
                 for number, (one, other) in enumerate(sizes)]  # fmt: skip
    options = {**OPTIONS, "min_count": 2, "max_count": 4, "schedules": schedules}
    assert scaling_rules.bounds(None, options) == (2, 4)
    found = scaling_rules.bounds((least, most), options)
    assert found in ((2, 4), (least, most))
    if found == (least, most) != (2, 4):
        assert least == 2 or least in {one for one, _other in sizes}
        assert most == 4 or most in {other for _one, other in sizes}
    # Whatever was kept or set is kept the next time.
    assert scaling_rules.bounds(found, options) == found
    for one, other in sizes:
        in_force = (2 if one is None else one), (4 if other is None else other)
        if in_force[0] <= in_force[1]:
            assert scaling_rules.bounds(in_force, options) == in_force


def test_aws_leaves_out_its_defaults() -> None:
    wanted = scaling_rules.policies(OPTIONS)["cpu"]
    told = {key: value for key, value in wanted.items() if key != "DisableScaleIn"}
    assert scaling_rules.comparable(told, wanted) == wanted
    action = scaling_rules.actions({**OPTIONS, "schedules": [NIGHT]})["night"]
    assert action["ScalableTargetAction"] == {"MaxCapacity": 2}
    assert scaling_rules.comparable({**action, "Timezone": "UTC"}, action) == action


# --- schedules ---

NUMBERS = st.integers(0, 70).map(str)
NAMES = st.sampled_from("MON SUN FRI JAN DEC XXX L LW 15W 40W 6L MONL MON#2 2#6".split())
PIECES = st.one_of(
    NUMBERS, NAMES, st.just("*"), st.just("?"), st.tuples(NUMBERS, NUMBERS).map("-".join),
    st.tuples(NUMBERS | st.just("*"), NUMBERS).map("/".join), st.tuples(NAMES, NAMES).map("-".join),
    st.sampled_from(["*-5", "1-5/2", "5-1", "", "-", "1-", "/2", "2026", "1969", "2200"]),
)  # fmt: skip
FIELDS = st.lists(PIECES, min_size=1, max_size=2).map(",".join)


@given(fields=st.lists(FIELDS, min_size=5, max_size=7), day=st.sampled_from([2, 4, None]))
def test_a_cron_is_refused_exactly_where_the_local_aws_refuses_it(fields: list[str], day: int | None) -> None:
    if day is not None:
        fields[day] = "?"
    agrees(f"cron({' '.join(fields)})")


@given(inside=st.from_regex(r"[0-2]{1,2} (minute|hour|day|week)s?", fullmatch=True))
def test_a_rate_is_refused_exactly_where_the_local_aws_refuses_it(inside: str) -> None:
    agrees(f"rate({inside})")


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 8 ? * MON-FRI *)", "cron(0 8 1W * ? 2026-2030)", "cron(*/5 0/2 L JAN,JUL ? *)", "cron(0 0 ? * 6L *)",
        "cron(0 0 ? * FRI#3 *)", "at(2027-01-31T08:00:00)", "at(2027-02-31T08:00:00)", "at(soon)", "", "cron()", "rate",
        "cron(0 8 ? * MON-FRI *) ", "Cron(0 8 ? * MON-FRI *)",
    ],
)  # fmt: skip
def test_both_agree_on(expression: str) -> None:
    agrees(expression)


def agrees(expression: str) -> None:
    refused = scaling_schedules.problem(expression)
    try:
        aws_schedules.parse(expression, None, datetime.datetime.now(datetime.timezone.utc))
    except aws_schedules.BadSchedule:
        assert refused is not None and all(refused), expression
    else:
        assert refused is None, (expression, refused)


def test_the_remedy_names_what_the_field_takes() -> None:
    assert scaling_schedules.problem("cron(0 8 ? * WORKDAYS *)") == (
        "has WORKDAYS for day-of-week", "write 1-7 or SUN-SAT, with * , - and / only as AWS takes them",
    )  # fmt: skip
    assert "write 0-59," in (scaling_schedules.problem("cron(60 8 ? * MON *)") or ("", ""))[1]


def test_a_machine_without_a_list_of_time_zones_refuses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling_schedules.zoneinfo, "available_timezones", set)
    assert scaling_schedules.is_zone("Mars/Olympus")
