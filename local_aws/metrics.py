# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metric data in moto's CloudWatch: its statistics, and the ways in that AWS keeps for its own services.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from .alarm_rules import Datapoint

MINUTE = 60
# What an instance keeps at most; AWS keeps 15 days.
KEPT_DATA = 200_000
DEFAULT_REGION = "eu-west-2"
KEYS = {"namespace", "metric", "dimensions", "value", "values", "timestamp", "unit", "region", "replace"}
STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
PERCENTILE = r"p(\d{1,2}(\.\d{1,2})?|100)"

Dimensions = frozenset[tuple[str, str]]
Series = tuple[str, str, Dimensions]


@dataclasses.dataclass(frozen=True)
class Push:
    """Values of one metric at one moment; with `replace`, instead of those pushed before for the same minute."""

    region: str
    series: Series
    values: list[float]
    moment: float
    unit: str | None
    replace: bool


class MetricError(ValueError):
    """What was pushed cannot be a datum; the text says why."""


def reserved(namespace: str) -> bool:
    """Whether only AWS itself publishes there."""
    return namespace.startswith("AWS/") or namespace == "ECS/ContainerInsights"


def seconds_of(datum: Any) -> float:
    """When a datum was measured, in seconds since the epoch. moto's naive timestamps are UTC."""
    moment = datum.timestamp
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def series_of(datum: Any) -> Series:
    return datum.namespace, datum.name, frozenset((one.name, one.value) for one in datum.dimensions)


def statistic(name: str, data: Iterable[Any]) -> float | None:
    """A statistic (Average, Sum, Minimum, Maximum, SampleCount or a percentile such as p99) of moto's data.

    None where there is none: without data, or a percentile of statistic sets.
    """
    data = list(data)
    single = [float(one.value) for one in data if hasattr(one, "value")]
    sets = [one for one in data if not hasattr(one, "value")]
    count = len(single) + sum(float(one.sample_count) for one in sets)
    if not count:
        return None
    if name.startswith("p"):
        return None if sets else percentile(single, float(name[1:]))
    total = sum(single) + sum(float(one.sum) for one in sets)
    return {
        "SampleCount": count,
        "Sum": total,
        "Average": total / count,
        "Minimum": min(single + [float(one.min) for one in sets]),
        "Maximum": max(single + [float(one.max) for one in sets]),
    }[name]


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` percent of the values lie, interpolated."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share / 100
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def datapoints(data: Iterable[Any], name: str, period: int, end: float, count: int) -> list[Datapoint | None]:
    """The statistic of the last `count` periods before `end` (seconds since the epoch), oldest first."""
    start = end - period * count
    periods: list[list[Any]] = [[] for _number in range(count)]
    for datum in data:
        moment = seconds_of(datum)
        if start <= moment < end:
            periods[int((moment - start) // period)].append(datum)
    found = [statistic(name, one) for one in periods]
    return [None if value is None else Datapoint(start + period * number, value) for number, value in enumerate(found)]


def answer(data: Iterable[Any], queries: Iterable[Mapping[str, Any]], start: float, end: float, newest_first: bool) -> list[dict[str, Any]]:
    """The MetricDataResults of GetMetricData for MetricStat queries, from `start` to before `end` (seconds since the epoch)."""
    kept: dict[Series, list[Any]] = {}
    for datum in data:
        if start <= seconds_of(datum) < end:
            kept.setdefault(series_of(datum), []).append(datum)
    return [_result(query, kept, start, newest_first) for query in queries]


def _result(query: Mapping[str, Any], kept: Mapping[Series, list[Any]], start: float, newest_first: bool) -> dict[str, Any]:
    asked = query["MetricStat"]
    metric, name, period = asked["Metric"], asked["Stat"], int(asked["Period"])
    if name not in STATISTICS and not re.fullmatch(PERCENTILE, name):
        raise MetricError(f"The local AWS has no statistic {name}")
    if period < MINUTE or period % MINUTE:
        raise MetricError(f"The value {period} for parameter Period must be a multiple of {MINUTE}")
    dimensions = frozenset((one["Name"], one["Value"]) for one in metric.get("Dimensions") or ())
    periods: dict[int, list[Any]] = {}
    for datum in kept.get((metric["Namespace"], metric["MetricName"], dimensions), ()):
        if asked.get("Unit") in (None, datum.unit):
            periods.setdefault(int((seconds_of(datum) - start) // period), []).append(datum)
    points = [(start + place * period, statistic(name, one)) for place, one in sorted(periods.items(), reverse=newest_first)]
    known = [(moment, value) for moment, value in points if value is not None]
    return {
        "id": query["Id"],
        "label": query.get("Label") or metric["MetricName"],
        "timestamps": [datetime.fromtimestamp(moment, timezone.utc) for moment, _value in known],
        "values": [value for _moment, value in known],
        "status_code": "Complete",
    }


class Metrics:
    """Writes what AWS's services measure, and what a test says that they have measured.

    What is pushed for a minute takes the place of what is measured in it. `lock` guards moto's lists of data.
    """

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self.lock = threading.Lock()
        self._pushed: set[tuple[str, str, Series, int]] = set()

    def push(self, document: bytes) -> int:
        """What POST /local-aws/metrics does with its body, one datum or a list of them; how many values were kept."""
        try:
            asked = json.loads(document)
        except ValueError:
            raise MetricError("the body is no JSON") from None
        parsed = [_parsed(one) for one in (asked if isinstance(asked, list) else [asked])]
        with self.lock:
            return sum(self._push(one) for one in parsed)

    def _push(self, pushed: Push) -> int:
        backend = _backend(self._account_id, pushed.region)
        minute = int(pushed.moment // MINUTE)
        known = (self._account_id, pushed.region, pushed.series, minute)
        if pushed.replace or known not in self._pushed:
            self._pushed.add(known)
            backend.metric_data[:] = [
                one for one in backend.metric_data
                if series_of(one) != pushed.series or seconds_of(one) // MINUTE != minute
            ]  # fmt: skip
        _append(backend, pushed.series, pushed.values, pushed.moment, pushed.unit)
        return len(pushed.values)

    def publish(
        self, backend: Any, namespace: str, name: str, dimensions: Mapping[str, str], values: list[float], unit: str
    ) -> None:
        """Measured just now, by a service of AWS."""
        series = (namespace, name, frozenset(dimensions.items()))
        moment = time.time()
        with self.lock:
            if (backend.account_id, backend.region_name, series, int(moment // MINUTE)) not in self._pushed:
                _append(backend, series, values, moment, unit)


def _backend(account_id: str, region: str) -> Any:
    from moto.cloudwatch.models import cloudwatch_backends

    try:
        return cloudwatch_backends[account_id][region]
    except KeyError:
        raise MetricError(f"region '{region}': there is no such region") from None


def _append(backend: Any, series: Series, values: list[float], moment: float, unit: str | None) -> None:
    from moto.cloudwatch.models import MetricDatum

    namespace, name, dimensions = series
    named = [{"Name": key, "Value": value} for key, value in sorted(dimensions)]
    when = datetime.fromtimestamp(moment, timezone.utc).replace(tzinfo=None)
    backend.metric_data.extend(MetricDatum(namespace, name, value, named, when, unit) for value in values)
    del backend.metric_data[:-KEPT_DATA]


def _parsed(asked: Any) -> Push:
    if not isinstance(asked, dict):
        raise MetricError("a datum is an object with namespace, metric, dimensions, value or values")
    unknown = set(asked) - KEYS
    if unknown:
        raise MetricError(f"unknown: {', '.join(sorted(unknown))}")
    namespace, name, dimensions = (asked.get(key) for key in ("namespace", "metric", "dimensions"))
    if not all(isinstance(one, str) and one for one in (namespace, name)):
        raise MetricError("namespace and metric: give each a text")
    if not isinstance(dimensions, dict) or not all(isinstance(one, str) for one in dimensions.values()):
        raise MetricError("dimensions: give an object of name and value")
    if ("value" in asked) == ("values" in asked):
        raise MetricError("give either value or values")
    values = asked["values"] if "values" in asked else [asked["value"]]
    moment = asked.get("timestamp", time.time())
    if not isinstance(values, list) or not values or not all(_is_number(one) for one in [*values, moment]):
        raise MetricError("value, values and timestamp are finite numbers")
    region = str(asked.get("region") or os.environ.get("AWS_REGION") or DEFAULT_REGION)
    series = (namespace, name, frozenset(dimensions.items()))
    numbers = [float(one) for one in values]
    return Push(region, series, numbers, float(moment), asked.get("unit"), bool(asked.get("replace")))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
