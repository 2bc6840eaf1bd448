# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of CloudWatch: the tables of its documentation, word for word.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import pytest

from local_aws.alarm_rules import Datapoint, Rule, decide, explain

RETAIN = None
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def points(text: str) -> list[Datapoint | None]:
    """`0` does not breach, `X` does, `-` is missing; oldest first."""
    values = {"0": 0.0, "X": 9.0}
    return [
        None if one == "-" else Datapoint(60.0 * number, values[one]) for number, one in enumerate(text.split())
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("series", "to_alarm", "states"),
    [
        ("0 - X - X", 3, ("OK", "OK", "OK", "OK")),
        ("- - - - 0", 3, ("OK", "OK", "OK", "OK")),
        ("- - - - -", 3, ("INSUFFICIENT_DATA", RETAIN, "ALARM", "OK")),
        ("0 X X - X", 3, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("- - X - -", 3, ("ALARM", RETAIN, "ALARM", "OK")),
        ("- - - - X", 3, (RETAIN, RETAIN, "ALARM", "OK")),
        ("- - - X -", 3, (RETAIN, RETAIN, "ALARM", "OK")),
        ("0 - X - X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("0 0 X 0 X", 2, ("ALARM", "ALARM", "ALARM", "ALARM")),
        ("0 - X - -", 2, ("OK", "OK", "ALARM", "OK")),
        ("- - - - 0", 2, ("OK", "OK", "ALARM", "OK")),
        ("- - - X -", 2, ("ALARM", RETAIN, "ALARM", "OK")),
    ],
)
def test_missing_data(series, to_alarm, states):
    found = tuple(decide(points(series), Rule("GreaterThanThreshold", 5, 3, to_alarm, one)) for one in TREATMENTS)
    assert found == states


@pytest.mark.parametrize(
    ("comparison", "states"),
    [
        ("GreaterThanThreshold", ("OK", "OK", "ALARM")),
        ("GreaterThanOrEqualToThreshold", ("OK", "ALARM", "ALARM")),
        ("LessThanThreshold", ("ALARM", "OK", "OK")),
        ("LessThanOrEqualToThreshold", ("ALARM", "ALARM", "OK")),
    ],
)
def test_comparisons(comparison, states):
    rule = Rule(comparison, 5, 1, 1)
    assert tuple(decide([Datapoint(0, value)], rule) for value in (4, 5, 6)) == states


@pytest.mark.parametrize(
    ("series", "treat", "after", "reason"),
    [
        (
            "0 X X",
            "missing",
            "ALARM",
            "Threshold Crossed: 2 out of the last 3 datapoints [9.0 (01/01/70 00:02:00), 9.0 (01/01/70 00:01:00)] were "
            "greater than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition).",
        ),
        (
            "0 0 X",
            "missing",
            "OK",
            "Threshold Crossed: 2 out of the last 3 datapoints [0.0 (01/01/70 00:01:00), 0.0 (01/01/70 00:00:00)] were "
            "not greater than the threshold (5.0) (minimum 2 datapoints for ALARM -> OK transition).",
        ),
        ("- - -", "missing", "INSUFFICIENT_DATA", "Insufficient Data: 3 datapoints were unknown."),
        (
            "- - -",
            "breaching",
            "ALARM",
            "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as "
            "[Breaching].",
        ),
    ],
)
def test_reasons(series, treat, after, reason):
    rule = Rule("GreaterThanThreshold", 5, 3, 2, treat)
    assert decide(points(series), rule) == after
    assert explain(points(series), rule, "ALARM" if after == "OK" else "OK", after) == reason


def test_one_is_one():
    rule = Rule("GreaterThanThreshold", 5, 1, 1)
    assert explain([None], rule, "OK", "INSUFFICIENT_DATA") == "Insufficient Data: 1 datapoint was unknown."
