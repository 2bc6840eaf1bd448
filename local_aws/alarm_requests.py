# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What PutMetricAlarm refuses: what AWS does not take, and what the local AWS cannot evaluate or do.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .alarm_rules import BREACHING, COMPARISONS, IGNORE, MISSING, NOT_BREACHING
from .metrics import MINUTE, PERCENTILE

STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
SHORT_PERIODS = (10, 20, 30)
DAY, WEEK, HOUR = 86400, 604800, 3600
MOST_ACTIONS, MOST_DIMENSIONS = 5, 30
UNSUPPORTED = "not supported by the local AWS"


class AlarmError(ValueError):
    """The request is refused; the text is CloudWatch's, or says what the local AWS cannot do."""


def check(alarm: Mapping[str, Any], region: str, account_id: str, served: Iterable[str]) -> None:
    """AlarmError unless the arguments of moto's put_metric_alarm make an alarm that can be evaluated.

    `served` are the prefixes of action ARNs, besides SNS topics, that somebody carries out.
    """
    if alarm.get("rule"):
        raise AlarmError(f"Composite alarms are {UNSUPPORTED}.")
    if alarm.get("metric_data_queries") or alarm.get("threshold_metric_id"):
        raise AlarmError(f"Metrics: metric math and anomaly detection are {UNSUPPORTED}: give MetricName.")
    if alarm.get("evaluate_low_sample_count_percentile") == "ignore":
        raise AlarmError(f"EvaluateLowSampleCountPercentile 'ignore' is {UNSUPPORTED}.")
    for name in ("namespace", "metric_name", "period", "threshold", "comparison_operator", "evaluation_periods"):
        if alarm.get(name) in (None, ""):
            raise AlarmError(f"The parameter {_api_name(name)} is required.")
    _check_statistic(alarm.get("statistic"), alarm.get("extended_statistic"))
    comparison = alarm["comparison_operator"]
    if comparison not in COMPARISONS:
        known = f"{comparison} is {UNSUPPORTED}." if "UpperThreshold" in comparison or "LowerThr" in comparison else ""
        raise AlarmError(known or _not_in("comparisonOperator", comparison, COMPARISONS))
    treat = alarm.get("treat_missing_data")
    if treat not in (None, MISSING, IGNORE, BREACHING, NOT_BREACHING):
        raise AlarmError(f"Option {treat} is not supported. Supported options for parameter TreatMissingData are "
                         "breaching, notBreaching, ignore and missing.")  # fmt: skip
    _check_periods(int(alarm["period"]), int(alarm["evaluation_periods"]), alarm.get("datapoints_to_alarm"))
    if len(alarm.get("dimensions") or []) > MOST_DIMENSIONS:
        raise AlarmError(f"The collection Dimensions must not have a size greater than {MOST_DIMENSIONS}.")
    for name in ("alarm_actions", "ok_actions", "insufficient_data_actions"):
        _check_actions(alarm.get(name) or [], region, account_id, tuple(served))


def _api_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _not_in(name: str, value: str, known: Iterable[str]) -> str:
    return (
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must satisfy "
        f"enum value set: [{', '.join(known)}]"
    )


def _check_statistic(plain: str | None, extended: str | None) -> None:
    if bool(plain) == bool(extended):
        raise AlarmError("Exactly one of Statistic and ExtendedStatistic must be given.")
    if plain and plain not in STATISTICS:
        raise AlarmError(_not_in("statistic", plain, STATISTICS))
    if extended and not re.fullmatch(PERCENTILE, extended):
        raise AlarmError(f"ExtendedStatistic {extended} is {UNSUPPORTED}: it knows p0 to p100.")


def _check_periods(period: int, evaluated: int, to_alarm: int | None) -> None:
    if period not in SHORT_PERIODS and (period < MINUTE or period % MINUTE):
        raise AlarmError("Period must be 10, 20, 30 or a multiple of 60")
    if evaluated < 1:
        raise AlarmError("EvaluationPeriods must be at least 1")
    longest = WEEK if period >= HOUR else DAY
    if period * evaluated > longest:
        raise AlarmError(f"Metrics cannot be checked across more than {'a week' if longest == WEEK else 'a day'} "
                         "(EvaluationPeriods * Period must be <= " f"{longest}).")  # fmt: skip
    if to_alarm is not None and not 1 <= int(to_alarm) <= evaluated:
        raise AlarmError("DatapointsToAlarm must be between 1 and EvaluationPeriods")


def _check_actions(arns: list[str], region: str, account_id: str, served: tuple[str, ...]) -> None:
    if len(arns) > MOST_ACTIONS:
        raise AlarmError(f"An alarm can have at most {MOST_ACTIONS} actions for each state.")
    for arn in arns:
        parts = arn.split(":")
        if parts[0] != "arn" or len(parts) < 6:
            raise AlarmError(f"Invalid arn syntax: {arn}")
        if not is_topic(arn):
            if not arn.startswith(served):
                raise AlarmError(f"The alarm action {arn} is {UNSUPPORTED}: nothing carries it out.")
        elif parts[3] != region:
            raise AlarmError(f"Invalid region {parts[3]} specified. Only {region} is supported.")
        elif parts[4] != account_id:
            raise AlarmError(f"Topics of another account, such as {arn}, are {UNSUPPORTED}.")


def is_topic(arn: str) -> bool:
    return arn.split(":")[2] == "sns"
