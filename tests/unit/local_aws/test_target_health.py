# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judgement of targets, against what AWS's page on target group health checks says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.target_health import (
    DRAINING,
    FAILED,
    HEALTHY,
    INITIAL,
    PASSED,
    TIMED_OUT,
    UNHEALTHY,
    Health,
    HealthCheck,
    Matcher,
    judge_code,
    observe,
    receivers,
)

CODES = st.integers(200, 499)
RANGES = st.lists(st.tuples(CODES, CODES).map(sorted), min_size=1, max_size=6)
CHECKS = st.builds(HealthCheck, healthy_threshold=st.integers(2, 10), unhealthy_threshold=st.integers(2, 10))
MISMATCH = judge_code(404, Matcher.parse("200"))
OUTCOMES = st.sampled_from([PASSED, TIMED_OUT, FAILED, MISMATCH])


def after(outcomes, check):
    health = Health()
    for outcome in outcomes:
        health = observe(health, outcome, check)
    return health


@given(RANGES, st.integers(0, 999))
def test_a_matcher_accepts_exactly_its_codes(ranges, code):
    text = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
    assert Matcher.parse(text).matches(code) == any(low <= code <= high for low, high in ranges)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "200,",
        ",200",
        "abc",
        "2xx",
        "200-",
        "-200",
        "200-299-301",
        "299-200",
        "199",
        "500",
        "200-500",
        "20",
        "0200",
        " 200",
        "200;201",
        "２００",
    ],
)
def test_a_matcher_that_aws_refuses_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="Health check matcher"):
        Matcher.parse(text)


@given(st.text("2349-, ", max_size=12))
def test_nothing_but_codes_and_ranges_is_a_matcher(text):
    part = r"[2-4]\d\d(-[2-4]\d\d)?"
    try:
        ranges = Matcher.parse(text).ranges
    except ValueError:
        ranges = None
    if ranges is None:
        ascending = all(one.split("-")[0] <= one.split("-")[-1] for one in text.split(","))
        assert not (re.fullmatch(f"{part}(,{part})*", text) and ascending)
    else:
        assert re.fullmatch(f"{part}(,{part})*", text)


@given(CHECKS, st.lists(OUTCOMES, max_size=60))
def test_the_state_follows_from_the_last_run_of_outcomes(check, outcomes):
    """The model: walk the outcomes with nothing but counters of the last run."""
    state, run, last = INITIAL, 0, None
    for outcome in outcomes:
        run = run + 1 if outcome.passed is last else 1
        last = outcome.passed
        if outcome.passed and (state != UNHEALTHY or run >= check.healthy_threshold):
            state = HEALTHY
        elif not outcome.passed and run >= check.unhealthy_threshold:
            state = UNHEALTHY
    assert after(outcomes, check).state == state


@given(CHECKS, st.lists(OUTCOMES, min_size=1, max_size=40))
def test_the_reason_belongs_to_the_state(check, outcomes):
    health = after(outcomes, check)
    if health.state == HEALTHY:
        assert (health.reason, health.description) == ("", "")
    elif health.state == UNHEALTHY:
        failed = [outcome for outcome in outcomes if not outcome.passed]
        assert (health.reason, health.description) == (failed[-1].reason, failed[-1].description)
    else:
        assert health.reason == "Elb.InitialHealthChecking"


@given(CHECKS)
def test_one_success_makes_a_new_target_healthy_but_not_one_that_was_unhealthy(check):
    assert after([PASSED], check).state == HEALTHY
    down = [FAILED] * check.unhealthy_threshold
    assert after(down, check).state == UNHEALTHY
    assert after(down[:-1], check).state == INITIAL
    assert after(down + [PASSED] * (check.healthy_threshold - 1), check).state == UNHEALTHY
    assert after(down + [PASSED] * check.healthy_threshold, check).state == HEALTHY


def test_a_healthy_target_stays_until_the_threshold_in_a_row():
    check = HealthCheck(unhealthy_threshold=3)
    assert after([PASSED, FAILED, FAILED, PASSED, FAILED, FAILED], check).state == HEALTHY
    assert after([PASSED, FAILED, TIMED_OUT, MISMATCH], check) == Health(
        UNHEALTHY, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [404]", 0, 3
    )


STATES = st.sampled_from([INITIAL, HEALTHY, UNHEALTHY, DRAINING])
TARGETS = st.dictionaries(st.integers(0, 50), STATES, max_size=20).map(lambda found: list(found.items()))


@given(TARGETS)
def test_only_healthy_targets_receive_unless_there_is_none(targets):
    found = list(receivers(targets))
    healthy = [key for key, state in targets if state == HEALTHY]
    assert found == (healthy or [key for key, state in targets if state != DRAINING])


@given(TARGETS, st.integers(1, 20), st.none() | st.integers(1, 100))
def test_too_few_healthy_targets_open_the_group_to_all_registered_ones(targets, count, percentage):
    found = set(receivers(targets, count, percentage))
    registered = {key for key, state in targets if state != DRAINING}
    healthy = {key for key, state in targets if state == HEALTHY}
    too_few = len(healthy) < count or (percentage is not None and len(healthy) * 100 < percentage * len(registered))
    assert found == (registered if too_few else healthy)
