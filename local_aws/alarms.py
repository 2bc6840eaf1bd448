# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluates the metric alarms of moto's CloudWatch and carries out their actions.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
Only whole minutes count (of alarms with a shorter period: whole periods), so that no datapoint changes later.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import alarm_messages, topic_policies
from .alarm_requests import is_topic
from .alarm_rules import ALARM, INSUFFICIENT_DATA, MISSING, OK, Datapoint, Rule, considered, decide, explain
from .metrics import MINUTE, Series, datapoints, series_of

log = logging.getLogger(__name__)
SERVICE = "cloudwatch.amazonaws.com"
Action = Callable[[Any, str], None]


def rule_of(alarm: Any) -> Rule:
    evaluated = int(alarm.evaluation_periods)
    return Rule(
        comparison=alarm.comparison_operator,
        threshold=float(alarm.threshold),
        evaluation_periods=evaluated,
        datapoints_to_alarm=int(alarm.datapoints_to_alarm or evaluated),
        treat_missing=alarm.treat_missing_data or MISSING,
    )


def statistic_of(alarm: Any) -> str:
    return alarm.extended_statistic or alarm.statistic


def actions_of(alarm: Any) -> list[str]:
    """What the alarm does in the state that it is in."""
    lists = {ALARM: alarm.alarm_actions, OK: alarm.ok_actions, INSUFFICIENT_DATA: alarm.insufficient_data_actions}
    return list(lists[alarm.state_value]) if alarm.actions_enabled else []


class Alarms:
    """One pass over all alarms per call of `run_once`. `lock` guards their states."""

    interval = 1.0

    def __init__(self, runtime: Any) -> None:
        self.lock = threading.RLock()
        self._served: dict[str, Action] = runtime.alarm_actions
        # What the last evaluation of an alarm was of, so that nothing is reckoned twice.
        self._seen: dict[str, tuple[Any, ...]] = {}
        # Monotonic seconds of the last time that something was done for an alarm in a state.
        self._acted: dict[str, float] = {}
        runtime.reporters["alarms"] = self.report

    def run_once(self) -> None:
        moment = time.time()
        for backend in _backends():
            grouped: dict[Series, list[Any]] | None = None
            for alarm in list(backend.alarms.values()):
                end = moment - moment % min(int(alarm.period), MINUTE)
                seen = (end, _newest(backend), alarm.configuration_updated_timestamp, alarm.state_value)
                if self._seen.get(alarm.alarm_arn) != seen:
                    grouped = _grouped(backend) if grouped is None else grouped
                    self._evaluate(backend, alarm, grouped, end)
                    self._seen[alarm.alarm_arn] = (*seen[:3], alarm.state_value)
                self._repeat(backend, alarm)
            self._forget(backend)

    def _forget(self, backend: Any) -> None:
        alive = {alarm.alarm_arn for alarm in list(backend.alarms.values())}
        prefix = f":{backend.region_name}:{backend.account_id}:alarm:"
        for arn in [arn for arn in self._seen if prefix in arn and arn not in alive]:
            self._seen.pop(arn, None)
            self._acted.pop(arn, None)

    def _evaluate(self, backend: Any, alarm: Any, grouped: dict[Series, list[Any]], end: float) -> None:
        rule = rule_of(alarm)
        series = (alarm.namespace, alarm.metric_name, frozenset((one.name, one.value) for one in alarm.dimensions))
        data = [one for one in grouped.get(series, []) if alarm.unit in (None, one.unit)]
        points = datapoints(data, statistic_of(alarm), int(alarm.period), end, rule.range)
        state = decide(points, rule)
        if state is not None and state != alarm.state_value:
            reason = explain(points, rule, alarm.state_value, state)
            self.enter(backend, alarm, state, reason, reason_data(alarm, points, rule))

    def enter(self, backend: Any, alarm: Any, state: str, reason: str, data: str) -> None:
        """Bring an alarm into a state, unless it was changed or deleted meanwhile, and do what it does there."""
        with self.lock:
            if backend.alarms.get(alarm.name) is not alarm:
                return
            before = alarm.state_value
            alarm.update_state(reason, data, state)
        self.act(backend, alarm, before)

    def act(self, backend: Any, alarm: Any, before: str) -> None:
        """Do what an alarm does that has just left the state `before`. Whoever acts has locks: ours must be free."""
        if alarm.state_value == before:
            return
        log.info("alarm %s: %s -> %s: %s", alarm.name, before, alarm.state_value, alarm.state_reason)
        self._acted[alarm.alarm_arn] = time.monotonic()
        for arn in actions_of(alarm):
            if is_topic(arn):
                tell(backend, alarm, arn, before)
            else:
                self._carry_out(alarm, arn)

    def _repeat(self, backend: Any, alarm: Any) -> None:
        """Actions other than messages are done again in each period."""
        due = self._acted.get(alarm.alarm_arn, time.monotonic()) + int(alarm.period) <= time.monotonic()
        if due and backend.alarms.get(alarm.name) is alarm:
            self._acted[alarm.alarm_arn] = time.monotonic()
            for arn in actions_of(alarm):
                if not is_topic(arn):
                    self._carry_out(alarm, arn)

    def _carry_out(self, alarm: Any, arn: str) -> None:
        for prefix, action in self._served.items():
            if arn.startswith(prefix):
                try:
                    action(alarm, arn)
                except Exception:  # one bad action must not end the evaluation of the others
                    log.exception("alarm %s: action %s failed", alarm.name, arn)

    def report(self) -> list[dict[str, str]]:
        """For people: each alarm and its state."""
        return [
            {"name": alarm.name, "state": alarm.state_value, "reason": alarm.state_reason}
            for backend in _backends()
            for alarm in list(backend.alarms.values())
        ]


def reason_data(alarm: Any, points: Sequence[Datapoint | None], rule: Rule) -> str:
    """StateReasonData."""
    return json.dumps(
        {
            "version": "1.0",
            "statistic": statistic_of(alarm),
            "period": alarm.period,
            "recentDatapoints": [one.value for one in considered(points, rule)],
            "threshold": float(alarm.threshold),
        }
    )


def tell(backend: Any, alarm: Any, topic_arn: str, before: str) -> None:
    """Publish the transition; what cannot be told is logged, as there is nobody to answer."""
    from moto.sns.models import sns_backends

    topics = sns_backends[backend.account_id][backend.region_name]
    topic = topics.topics.get(topic_arn)
    if topic is None:
        log.error("alarm %s: there is no topic %s", alarm.name, topic_arn)
    elif not topic_policies.may_publish(topic.policy, SERVICE, alarm.alarm_arn, backend.account_id):
        log.error("alarm %s: the policy of %s does not let CloudWatch publish", alarm.name, topic_arn)
    else:
        text = alarm_messages.message(alarm, backend.account_id, before)
        topics.publish(text, topic_arn, subject=alarm_messages.subject(alarm))


def _backends() -> Iterator[Any]:
    from moto.cloudwatch.models import cloudwatch_backends

    for account in list(cloudwatch_backends.values()):
        yield from list(account.values())


def _newest(backend: Any) -> tuple[int, int]:
    """Another one whenever there are other data."""
    data = backend.metric_data
    return len(data), id(data[-1]) if data else 0


def _grouped(backend: Any) -> dict[Series, list[Any]]:
    grouped: dict[Series, list[Any]] = defaultdict(list)
    for datum in list(backend.metric_data):
        grouped[series_of(datum)].append(datum)
    return grouped
