# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GetMetricData and DescribeEvents answer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from moto.cloudwatch.models import MetricAggregatedDatum, MetricDatum

from local_aws import metrics, rds_events

THEN = datetime(2026, 11, 20, 10, tzinfo=timezone.utc)
START = THEN.timestamp()


def datum(value: float, seconds: int, namespace: str = "N", dimensions: tuple = ("A",), unit: str = "Count") -> MetricDatum:
    named = [{"Name": one, "Value": "b"} for one in dimensions]
    return MetricDatum(namespace, "M", value, named, (THEN + timedelta(seconds=seconds)).replace(tzinfo=None), unit)


def query(statistic: str = "Average", period: int = 60, **more) -> dict:
    metric = {"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "A", "Value": "b"}]}
    return {"Id": "q", "MetricStat": {"Metric": metric, "Stat": statistic, "Period": period, **more}}


def answered(data: list, *queries: dict, newest_first: bool = False) -> list:
    results = metrics.answer(data, queries, START, START + 300, newest_first)
    return [[(int(moment.timestamp() - START), value) for moment, value in zip(one["timestamps"], one["values"])] for one in results]


def test_points_are_those_of_the_periods_that_have_data():
    data = [datum(1, 0), datum(3, 59), datum(7, 130), datum(9, 300), datum(9, -1)]
    assert answered(data, query(), query("Maximum", 120)) == [[(0, 2), (120, 7)], [(0, 3), (120, 7)]]
    assert answered(data, query(), newest_first=True) == [[(120, 7), (0, 2)]]


def test_a_metric_is_its_namespace_and_exactly_its_dimensions():
    data = [datum(1, 0), datum(100, 0, "Other"), datum(100, 0, dimensions=("A", "B")), datum(50, 0, unit="Percent")]
    assert answered(data, query(Unit="Count")) == [[(0, 1)]]
    assert answered(data[1:3], query()) == [[]]


def test_percentiles_are_of_values():
    data = [datum(value, 10) for value in (1, 2, 3, 10)]
    assert answered(data, query("p50")) == [[(0, 2.5)]]
    a_set = MetricAggregatedDatum("N", "M", 0, 20, 6, 34, [{"Name": "A", "Value": "b"}], THEN.replace(tzinfo=None))
    assert answered([*data, a_set], query("p99")) == [[]]


@pytest.mark.parametrize(("asked", "reason"), [(query("tm90"), "no statistic tm90"), (query(period=90), "multiple of 60"), (query(period=0), "multiple")])
def test_what_it_cannot_do_is_refused(asked, reason):
    with pytest.raises(metrics.MetricError, match=reason):
        answered([], asked)


def test_events_are_those_of_the_time():
    now = datetime.now(timezone.utc)
    events = [
        rds_events.Event("web-db", "arn", ["backup"], str(minutes), date=now - timedelta(minutes=minutes)) for minutes in (30, 90, 1500, 5)
    ]
    events[0] = rds_events.Event("web-db", "arn", ["backup"], "30", date=(now - timedelta(minutes=30)).replace(tzinfo=None))

    def messages(*asked) -> list[str]:
        return [one.message for one in rds_events.within(events, *asked)]

    assert messages(None, None, None) == ["30", "5"]
    assert messages("1440", None, None) == ["90", "30", "5"]
    assert messages(None, now - timedelta(minutes=100), now - timedelta(minutes=20)) == ["90", "30"]
