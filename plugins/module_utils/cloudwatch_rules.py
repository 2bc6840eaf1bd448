# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alarms as the module cloudwatch_alarms is told them, and as CloudWatch tells them. Talks to nobody."""

from __future__ import annotations

import json
import re
import typing as t

PERCENTILE = re.compile(r"p(\d{1,2}(\.\d{1,2})?|100)")
STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
DAY = 86400
LONGEST_NAME = 255
# What of an alarm is kept; the rest of DescribeAlarms is its state.
KEPT = (
    "AlarmDescription",
    "ActionsEnabled",
    "OKActions",
    "AlarmActions",
    "InsufficientDataActions",
    "MetricName",
    "Namespace",
    "Statistic",
    "ExtendedStatistic",
    "Dimensions",
    "Period",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
)


def problem(alarm: dict[str, t.Any]) -> str | None:
    """Why CloudWatch would refuse an alarm."""
    name, statistic = alarm["name"], alarm["statistic"]
    if statistic not in STATISTICS and not PERCENTILE.fullmatch(statistic):
        return f"alarm {name}: statistic = {statistic}: it is none; give one of {', '.join(STATISTICS)}, or p0 to p100"
    if alarm["period"] not in (10, 20, 30) and (alarm["period"] < 60 or alarm["period"] % 60):
        return f"alarm {name}: period = {alarm['period']}: CloudWatch has none; give 10, 20, 30 or a multiple of 60"
    evaluated = alarm["evaluation_periods"]
    if evaluated < 1 or alarm["period"] * evaluated > (DAY if alarm["period"] < 3600 else 7 * DAY):
        return f"alarm {name}: evaluation_periods = {evaluated}: CloudWatch looks back one day at most; give 1 or more"
    to_alarm = alarm["datapoints_to_alarm"] or evaluated
    if not 1 <= to_alarm <= evaluated:
        return (
            f"alarm {name}: datapoints_to_alarm = {to_alarm}: of {evaluated} periods so many cannot breach; "
            f"give 1 to {evaluated}"
        )
    return None


def wanted(alarm: dict[str, t.Any], params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The arguments of PutMetricAlarm, without name and tags."""
    percentile = PERCENTILE.fullmatch(alarm["statistic"])
    return {
        "AlarmDescription": alarm["description"],
        "ActionsEnabled": True,
        "OKActions": params["ok_actions"],
        "AlarmActions": params["alarm_actions"],
        "InsufficientDataActions": [],
        "MetricName": alarm["metric"],
        "Namespace": alarm["namespace"],
        ("ExtendedStatistic" if percentile else "Statistic"): alarm["statistic"],
        "Dimensions": dimensions(alarm["dimensions"]),
        "Period": alarm["period"],
        "EvaluationPeriods": alarm["evaluation_periods"],
        "DatapointsToAlarm": alarm["datapoints_to_alarm"] or alarm["evaluation_periods"],
        "Threshold": alarm["threshold"],
        "ComparisonOperator": alarm["comparison"],
        "TreatMissingData": alarm["treat_missing_data"],
    }


def dimensions(named: dict[str, t.Any]) -> list[dict[str, str]]:
    return [{"Name": key, "Value": str(value)} for key, value in sorted(named.items())]


def described(alarm: dict[str, t.Any]) -> dict[str, t.Any]:
    """An alarm of DescribeAlarms in the form of `wanted`."""
    kept = {key: alarm[key] for key in KEPT if alarm.get(key) is not None}
    kept["Dimensions"] = sorted(kept.get("Dimensions", []), key=lambda one: one["Name"])
    kept.setdefault("DatapointsToAlarm", kept.get("EvaluationPeriods"))
    kept.setdefault("TreatMissingData", "missing")
    # Metric math has no place of its own here: an alarm that has it is another one.
    if alarm.get("Metrics"):
        kept["Metrics"] = alarm["Metrics"]
    return kept


def marks(owner_tags: dict[str, str]) -> str:
    """How a dashboard, which cannot have tags, says whose it is."""
    return " ".join(f"{key}={value}" for key, value in sorted(owner_tags.items()))


def is_marked(body: t.Any, owner_tags: dict[str, str]) -> bool:
    """Whether a text widget of a dashboard has a line of exactly these marks."""
    widgets = body.get("widgets", []) if isinstance(body, dict) else []
    texts = [one.get("properties", {}).get("markdown", "") for one in widgets if one.get("type") == "text"]
    return any(marks(owner_tags) in text.splitlines() for text in texts)


def parsed(body: str) -> t.Any:
    """A dashboard's body; text that is no JSON stays text."""
    try:
        return json.loads(body)
    except ValueError:
        return body
