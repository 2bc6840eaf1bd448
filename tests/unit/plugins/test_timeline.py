# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run waited for, found from its steps, and how it is drawn."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.plugin_utils.timeline import (
    MADE_MEANWHILE,
    Step,
    bars,
    critical,
    duration,
    interval,
    makings,
    mark_text,
    picture,
)

POSTGRES, NAT = MADE_MEANWHILE["rds"][1], MADE_MEANWHILE["network"][1]


def steps(*described: tuple[str, str, str, float]) -> list[Step]:
    """Steps that follow each other, of (role, file, action, seconds); a `!` after the action says that it changed something."""
    moment, made = 0.0, []
    for role, file, action, seconds in described:
        made.append(Step(role, file, f"{role} {action}", action.rstrip("!"), moment, moment + seconds, action.endswith("!")))
        moment += seconds
    return made


def deployment(database_wait: float, network_wait: float) -> list[Step]:
    return steps(
        ("preflight", "main", "check", 1),
        ("network", "vpc", NAT + "!", 1),
        ("rds", "main", POSTGRES + "!", 1),
        ("artifacts", "main", "bucket!", 2),
        ("network", "wait", "info", network_wait),
        ("rds", "wait", "info", database_wait),
        ("ecs_mlflow", "run", "service!", 30),
    )


def test_the_wait_that_lasted_longest_decides():
    run = deployment(database_wait=60, network_wait=20)
    path, decisive = critical(run, makings(run))
    assert [making.name for making in decisive] == ["database"]
    # From the start of the database on, nothing else counted: the NAT gateways were waited for beside it.
    assert path == {0, 1, 2, 5, 6}


def test_what_was_ready_when_it_was_asked_for_decides_nothing():
    run = deployment(database_wait=1, network_wait=20)
    path, decisive = critical(run, makings(run))
    assert [making.name for making in decisive] == ["NAT gateways"]
    assert path == {0, 1, 4, 5, 6}


def test_a_run_that_makes_nothing_is_its_steps():
    run = [step._replace(changed=False) for step in deployment(database_wait=1, network_wait=1)]
    assert makings(run) == []
    assert critical(run, []) == (set(range(7)), set())


def test_short_steps_of_a_role_share_a_row_and_long_ones_have_their_own():
    run = steps(("rds", "main", "a", 1), ("rds", "main", "b", 1), ("rds", "main", "c", 10), ("", "site", "d", 1), ("", "site", "e", 1))
    assert [(row.label, row.started, row.ended) for row in bars(run)] == [
        ("rds", 0, 2), ("rds: rds c", 2, 12), ("the playbook", 12, 14)
    ]  # fmt: skip


def test_what_aws_makes_has_a_row_from_its_start_to_the_end_of_the_wait():
    rows = {row.label: row for row in bars(deployment(database_wait=60, network_wait=20)) if row.on_aws}
    assert set(rows) == {"AWS: database", "AWS: NAT gateways"}
    assert (rows["AWS: database"].started, rows["AWS: database"].ended) == (3, 85)
    assert rows["AWS: database"].critical and not rows["AWS: NAT gateways"].critical


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["", *MADE_MEANWHILE, "verify"]),
        st.sampled_from(["main", "wait", "<&'\">"]),
        st.sampled_from([action + "!" for _name, action in MADE_MEANWHILE.values()] + ["debug", POSTGRES]),
        st.floats(0, 4000),
    ),
    max_size=30,
).map(lambda described: steps(*described))


@given(RUNS)
def test_the_critical_path_has_no_gap(run):
    """From the first step to the last, each moment is that of one step on it or of one thing that AWS made."""
    path, decisive = critical(run, makings(run))
    starts = {making.start: making.join for making in decisive}
    ordered = sorted(path)
    assert ordered[:1] == [0][: len(run)] and ordered[-1:] == [len(run) - 1][: len(run)]
    for one, following in itertools.pairwise(ordered):
        assert following == one + 1 or starts[one] == following


@given(RUNS)
@example(steps(("", "main", f"{NAT}!", 5e-324), ("network", "main", f"{NAT}!", 0.0)))
def test_every_run_can_be_drawn(run):
    rows = bars(run)
    drawn = ElementTree.fromstring(picture("Deploy <MLflow> & more", rows))
    assert len(drawn.findall("{*}g")) == len(rows)
    assert all(float(one.get("width")) > 0 for one in drawn.iter("{http://www.w3.org/2000/svg}rect"))


@pytest.mark.parametrize(("seconds", "said"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (190.4, "3 min 10 s")])
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_marks_of_the_axis():
    assert [mark_text(seconds) for seconds in (0, 45, 60, 90)] == ["0", "45 s", "1 min", "1 min 30 s"]


@given(st.floats(0.1, 30_000))
def test_the_axis_has_at_most_ten_marks(seconds):
    assert seconds / interval(seconds) <= 9
