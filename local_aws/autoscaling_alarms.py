# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two CloudWatch alarms of a target tracking policy, which Application Auto Scaling keeps.

https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from . import metrics
from .autoscaling_records import Policy, Target
from .autoscaling_rules import HIGH_DATAPOINTS, LOW_DATAPOINTS, LOW_SHARE

PERIOD_SECONDS = 60


def cloudwatch(target: Target) -> Any:
    from moto.cloudwatch.models import cloudwatch_backends

    return cloudwatch_backends[target.account_id][target.region]


def find(target: Target, name: str) -> Any | None:
    return cloudwatch(target).alarms.get(name)


def put(target: Target, policy: Policy) -> None:
    """Make the alarms what the policy says; those that it had keep their names."""
    wanted = {"AlarmHigh": ("GreaterThanThreshold", HIGH_DATAPOINTS, policy.target_value)}
    if policy.scales_in:
        wanted["AlarmLow"] = ("LessThanThreshold", LOW_DATAPOINTS, policy.target_value * LOW_SHARE)
    else:
        cloudwatch(target).delete_alarms([name for key, name in policy.alarms.items() if key == "AlarmLow"])
        policy.alarms.pop("AlarmLow", None)
    for key, (comparison, datapoints, threshold) in wanted.items():
        name = policy.alarms.setdefault(key, f"TargetTracking-{target.resource_id}-{key}-{uuid.uuid4()}")
        cloudwatch(target).put_metric_alarm(
            name=name,
            namespace="AWS/ECS",
            metric_name=policy.metric,
            comparison_operator=comparison,
            evaluation_periods=datapoints,
            period=PERIOD_SECONDS,
            threshold=threshold,
            statistic="Average",
            description=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn}.",
            dimensions=[
                {"Name": "ClusterName", "Value": target.cluster},
                {"Name": "ServiceName", "Value": target.service},
            ],
            alarm_actions=[policy.arn],
        )


def remove(target: Target, policy: Policy) -> None:
    cloudwatch(target).delete_alarms(list(policy.alarms.values()))


def described(target: Target, policy: Policy) -> list[dict[str, str]]:
    """Those alarms that nobody has deleted meanwhile."""
    found = [find(target, name) for name in policy.alarms.values()]
    return [{"AlarmName": alarm.name, "AlarmARN": alarm.alarm_arn} for alarm in found if alarm is not None]


def latest_value(target: Target, alarm: Any) -> float | None:
    """The average of the alarm's metric in the latest whole minute that has data, of those that can have fired it."""
    wanted = alarm.namespace, alarm.metric_name, frozenset((one.name, one.value) for one in alarm.dimensions)
    data = [datum for datum in list(cloudwatch(target).metric_data) if metrics.series_of(datum) == wanted]
    end = time.time() // PERIOD_SECONDS * PERIOD_SECONDS
    points = metrics.datapoints(data, "Average", PERIOD_SECONDS, end, LOW_DATAPOINTS)
    return next((point.value for point in reversed(points) if point is not None), None)
