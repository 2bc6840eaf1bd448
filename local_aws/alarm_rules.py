# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which state an alarm is in, given its datapoints: pure decisions of CloudWatch.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from datetime import datetime, timezone

OK, ALARM, INSUFFICIENT_DATA = "OK", "ALARM", "INSUFFICIENT_DATA"
MISSING, IGNORE, BREACHING, NOT_BREACHING = "missing", "ignore", "breaching", "notBreaching"
COMPARISONS = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
# CloudWatch looks at a few periods more than it evaluates, for those that are missing.
EXTRA_PERIODS = 2


@dataclasses.dataclass(frozen=True)
class Rule:
    comparison: str
    threshold: float
    # N and M of "M out of N datapoints".
    evaluation_periods: int
    datapoints_to_alarm: int
    treat_missing: str = MISSING

    def breached_by(self, value: float) -> bool:
        return COMPARISONS[self.comparison][0](value, self.threshold)

    @property
    def range(self) -> int:
        """How many periods are looked at."""
        return self.evaluation_periods + EXTRA_PERIODS


@dataclasses.dataclass(frozen=True)
class Datapoint:
    """The statistic of one period; `start` is seconds since the epoch."""

    start: float
    value: float

    def __str__(self) -> str:
        return f"{self.value} ({datetime.fromtimestamp(self.start, timezone.utc):%d/%m/%y %H:%M:%S})"


def considered(points: Sequence[Datapoint | None], rule: Rule) -> list[Datapoint]:
    """Of the datapoints of the evaluation range, oldest first, the newest that there are: N at most."""
    return [one for one in points if one is not None][-rule.evaluation_periods :]


def decide(points: Sequence[Datapoint | None], rule: Rule) -> str | None:
    """The state that the datapoints of the evaluation range (oldest first) call for; None leaves it as it is."""
    real = considered(points, rule)
    breaching = sum(rule.breached_by(one.value) for one in real)
    missing = rule.evaluation_periods - len(real)
    if not real:
        return {MISSING: INSUFFICIENT_DATA, IGNORE: None, BREACHING: ALARM, NOT_BREACHING: OK}[rule.treat_missing]
    if missing > 0 and rule.treat_missing == BREACHING:
        breaching += missing
    if breaching >= rule.datapoints_to_alarm:
        return ALARM
    if missing <= 0 or rule.treat_missing in (BREACHING, NOT_BREACHING) or breaching < len(real):
        return OK
    # All that there are breach, but they are too few. It is an alarm when the oldest has been there long enough.
    oldest = next(index for index, one in enumerate(points) if one is real[0])
    if rule.treat_missing == MISSING and len(points) - oldest >= rule.datapoints_to_alarm:
        return ALARM
    return None


def explain(points: Sequence[Datapoint | None], rule: Rule, before: str, after: str) -> str:
    """The reason for a transition, as CloudWatch words it."""
    real = considered(points, rule)
    if after == INSUFFICIENT_DATA:
        evaluated = rule.evaluation_periods
        return f"Insufficient Data: {_counted(evaluated, 'datapoint')} {_were(evaluated)} unknown."
    if not real:
        missing = rule.evaluation_periods
        treated = "Breaching" if after == ALARM else "NonBreaching"
        return (
            f"Threshold Crossed: no datapoints were received for {_counted(missing, 'period')} and "
            f"{_counted(missing, 'missing datapoint')} {_were(missing)} treated as [{treated}]."
        )
    matching = [one for one in real if rule.breached_by(one.value) == (after == ALARM)]
    shown = ", ".join(str(one) for one in reversed(matching))
    words = COMPARISONS[rule.comparison][1]
    minimum = rule.datapoints_to_alarm if after == ALARM else rule.evaluation_periods - rule.datapoints_to_alarm + 1
    return (
        f"Threshold Crossed: {len(matching)} out of the last {rule.evaluation_periods} datapoints [{shown}] "
        f"{_were(len(matching))} {'' if after == ALARM else 'not '}{words} the threshold ({float(rule.threshold)}) "
        f"(minimum {_counted(minimum, 'datapoint')} for {before} -> {after} transition)."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
