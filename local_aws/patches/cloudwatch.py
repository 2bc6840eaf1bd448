# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's CloudWatch, with alarms that are evaluated and metrics that are measured.

moto 5.2.5 takes any alarm, begins it as OK and leaves it there, forgets the state when the alarm is put again, keeps
the tags of deleted alarms, lets anybody publish in AWS's namespaces, takes data of more dimensions for those of fewer,
in GetMetricStatistics begins periods at the first datum, in GetMetricData knows no percentiles and takes data of other
namespaces, knows no alarm history, and takes any JSON for a dashboard.
The API: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from moto.cloudwatch import models, responses
from moto.cloudwatch.exceptions import (
    DashboardInvalidInputError,
    InvalidParameterValue,
    ResourceNotFound,
    ValidationError,
)
from moto.core.responses import ActionResult

from .. import alarm_requests, dashboards, metrics
from ..alarm_rules import INSUFFICIENT_DATA
from ..alarms import Alarms
from ..runtime import Runtime
from ..service_metrics import Publisher
from . import replace

BACKEND = models.CloudWatchBackend
RESPONSE = responses.CloudWatchResponse
UNCHECKED = "Unchecked: Initial alarm creation"
KEPT_TRANSITIONS = 100


def apply(runtime: Runtime) -> None:
    alarms = Alarms(runtime)
    _patch_put_alarm(alarms, runtime)
    _patch_alarms(alarms)
    _patch_history()
    _patch_metrics(runtime.metrics)
    _patch_dashboards()
    runtime.reconcilers += [Publisher(runtime), alarms]


def _patch_put_alarm(alarms: Alarms, runtime: Runtime) -> None:
    plain = BACKEND.put_metric_alarm

    def put_metric_alarm(self: Any, name: str, **kwargs: Any) -> Any:
        try:
            alarm_requests.check(kwargs, self.region_name, self.account_id, runtime.alarm_actions)
        except alarm_requests.AlarmError as error:
            raise ValidationError(str(error)) from None
        with alarms.lock:
            before = self.alarms.get(name)
            if before is not None:
                # "When you update an existing alarm, its state is left unchanged", and so are its tags.
                kwargs["tags"] = None
            alarm = plain(self, name=name, **kwargs)
            if before is None:
                alarm.state_value, alarm.state_reason = INSUFFICIENT_DATA, UNCHECKED
            else:
                for kept in ("state_value", "state_reason", "state_reason_data", "state_updated_timestamp", "history"):
                    setattr(alarm, kept, getattr(before, kept))
            return alarm

    replace(BACKEND, "put_metric_alarm", put_metric_alarm)


def _patch_alarms(alarms: Alarms) -> None:
    plain_delete, plain_set, plain_response = BACKEND.delete_alarms, BACKEND.set_alarm_state, RESPONSE.delete_alarms

    def delete_alarms(self: Any, alarm_names: list[str]) -> None:
        for name in alarm_names:
            if name in self.alarms:
                self.tagger.delete_all_tags_for_resource(self.alarms[name].alarm_arn)
        plain_delete(self, alarm_names)

    def delete_response(self: Any) -> Any:
        for name in self._get_param("AlarmNames", []):
            if name not in self.cloudwatch_backend.alarms:
                raise ResourceNotFound(f"Alarm {name} does not exist")
        return plain_response(self)

    def set_alarm_state(self: Any, alarm_name: str, reason: str, reason_data: str, state_value: str) -> None:
        alarm = self.alarms.get(alarm_name)
        before = alarm.state_value if alarm else ""
        with alarms.lock:
            plain_set(self, alarm_name, reason, reason_data, state_value)
        alarms.act(self, alarm, before)

    replace(BACKEND, "delete_alarms", delete_alarms, ("self", "alarm_names"))
    replace(RESPONSE, "delete_alarms", delete_response, ("self",))
    replace(BACKEND, "set_alarm_state", set_alarm_state, ("self", "alarm_name", "reason", "reason_data", "state_value"))


def _patch_history() -> None:
    if hasattr(RESPONSE, "describe_alarm_history"):
        raise TypeError("moto has CloudWatchResponse.describe_alarm_history now: the patch for it must be looked at")

    def describe_alarm_history(self: Any) -> ActionResult:
        """The transitions, newest first; other kinds of items are not kept."""
        wanted = self._get_param("AlarmName")
        kind = self._get_param("HistoryItemType")
        items = [
            item
            for alarm in self.cloudwatch_backend.alarms.values()
            if wanted in (None, alarm.name) and kind in (None, "StateUpdate")
            for item in _transitions(alarm)
        ]
        return ActionResult({"AlarmHistoryItems": sorted(items, key=lambda one: one["Timestamp"], reverse=True)})

    RESPONSE.describe_alarm_history = describe_alarm_history


def _transitions(alarm: Any) -> list[dict[str, Any]]:
    """moto keeps what an alarm was before each change, with the moment since when."""
    states = [(one[3], one[1], one[4]) for one in alarm.history[-KEPT_TRANSITIONS:]]
    states.append((alarm.state_value, alarm.state_reason, alarm.state_updated_timestamp))
    return [
        {
            "AlarmName": alarm.name,
            "AlarmType": "MetricAlarm",
            "Timestamp": moment.replace(tzinfo=timezone.utc),
            "HistoryItemType": "StateUpdate",
            "HistorySummary": f"Alarm updated from {before[0]} to {after}",
            "HistoryData": f'{{"newState": {{"stateValue": "{after}"}}}}',
        }
        for before, (after, _reason, moment) in zip(states, states[1:])
        if before[0] != after
    ]


def _patch_metrics(kept: metrics.Metrics) -> None:
    plain_put, plain_statistics = BACKEND.put_metric_data, BACKEND.get_metric_statistics

    def put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        if metrics.reserved(namespace):
            raise InvalidParameterValue(
                f"The value {namespace} for parameter Namespace is invalid: only AWS publishes there."
            )
        with kept.lock:
            plain_put(self, namespace, metric_data)

    def get_metric_statistics(
        self: Any, namespace: str, metric_name: str, start_time: datetime, end_time: datetime, period: int, stats: list[str],
        dimensions: Any = (), unit: str | None = None,
    ) -> list[models.Statistics]:
        """A metric is what has exactly these dimensions; its periods begin at the whole minute, where moto's begin at the first datum."""
        start, step = start_time.replace(second=0, microsecond=0), timedelta(seconds=period)
        wanted = {(one["Name"], one["Value"]) for one in dimensions or ()}
        periods: dict[int, models.Statistics] = {}
        for found in plain_statistics(self, namespace, metric_name, start, end_time, period, stats, dimensions=dimensions, unit=unit):
            for datum in found.metric_data:
                if set(metrics.series_of(datum)[2]) == wanted:
                    number = (datum.timestamp - start) // step
                    kept_in = periods.setdefault(number, models.Statistics(stats, start + number * step, datum.unit))
                    kept_in.metric_data.append(datum)
        return list(periods.values())

    def get_metric_data(
        self: Any, queries: list[dict[str, Any]], start_time: datetime, end_time: datetime, scan_by: str = "TimestampDescending"
    ) -> list[dict[str, Any]]:
        start, end = (one.replace(tzinfo=one.tzinfo or timezone.utc, microsecond=0).timestamp() for one in (start_time, end_time))
        start -= start % metrics.MINUTE
        if start >= end:
            raise ValidationError("The parameter StartTime must be less than the parameter EndTime.")
        if any("MetricStat" not in query for query in queries):
            raise InvalidParameterValue("The local AWS has no metric math: give each query a MetricStat.")
        with kept.lock:
            data = list(self.get_all_metrics())
        wanted = [query for query in queries if query.get("ReturnData", True)]
        try:
            return metrics.answer(data, wanted, start, end, scan_by == "TimestampDescending")
        except metrics.MetricError as error:
            raise InvalidParameterValue(str(error)) from None

    def are_dimensions_same(one: list[Any], other: list[Any]) -> bool:
        return {(each.name, each.value) for each in one} == {(each.name, each.value) for each in other}

    replace(BACKEND, "put_metric_data", put_metric_data, ("self", "namespace", "metric_data"))
    replace(
        BACKEND, "get_metric_statistics", get_metric_statistics,
        ("self", "namespace", "metric_name", "start_time", "end_time", "period", "stats", "dimensions", "unit"),
    )  # fmt: skip
    replace(BACKEND, "get_metric_data", get_metric_data, ("self", "queries", "start_time", "end_time", "scan_by"))
    replace(models, "are_dimensions_same", are_dimensions_same, ("metric_dimensions", "dimensions"))


def _patch_dashboards() -> None:
    plain: Callable[[Any], ActionResult] = RESPONSE.put_dashboard

    def put_dashboard(self: Any) -> ActionResult:
        name, body = self._get_param("DashboardName"), self._get_param("DashboardBody")
        if not dashboards.NAME.fullmatch(name):
            raise InvalidParameterValue(f"The value {name} for parameter DashboardName is not valid.")
        found = dashboards.problems(body)
        if found:
            told = "; ".join(f"{path}: {message}" for path, message in found)
            raise DashboardInvalidInputError(f"The dashboard body is invalid, there are {len(found)} problems: {told}")
        return plain(self)

    replace(RESPONSE, "put_dashboard", put_dashboard, ("self",))
