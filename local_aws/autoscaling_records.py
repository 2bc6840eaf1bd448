# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Application Auto Scaling knows of a service, and how its API tells it.

https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ScalableTarget.html (and ScalingPolicy,
ScheduledAction, ScalingActivity)
"""

from __future__ import annotations

import dataclasses
import uuid
from datetime import datetime
from typing import Any

from .autoscaling_rules import DEFAULT_COOLDOWN_SECONDS, ScaleOut
from .ecs_records import now
from .schedules import At, Cron, Rate

NAMESPACE, DIMENSION = "ecs", "ecs:service:DesiredCount"
METRICS = {
    "ECSServiceAverageCPUUtilization": "CPUUtilization",
    "ECSServiceAverageMemoryUtilization": "MemoryUtilization",
}
NOT_SUSPENDED = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}
KEPT_ACTIVITIES = 100


def seconds(moment: datetime | None) -> float | None:
    """A moment as the JSON protocol has it."""
    return moment.timestamp() if moment else None


@dataclasses.dataclass(eq=False)
class Policy:
    arn: str
    name: str
    configuration: dict[str, Any]
    # AlarmHigh and, unless scale-in is disabled, AlarmLow: suffix to name.
    alarms: dict[str, str]
    created_at: datetime = dataclasses.field(default_factory=now)

    @property
    def metric(self) -> str:
        return METRICS[self.configuration["PredefinedMetricSpecification"]["PredefinedMetricType"]]

    @property
    def target_value(self) -> float:
        return float(self.configuration["TargetValue"])

    @property
    def scales_in(self) -> bool:
        return not self.configuration.get("DisableScaleIn")

    def cooldown(self, direction: str) -> float:
        """Seconds; `direction` is In or Out."""
        given = self.configuration.get(f"Scale{direction}Cooldown")
        return float(DEFAULT_COOLDOWN_SECONDS if given is None else given)


@dataclasses.dataclass(eq=False)
class ScheduledAction:
    arn: str
    name: str
    expression: str
    schedule: At | Rate | Cron
    zone: str | None
    action: dict[str, int]
    start: datetime | None = None
    end: datetime | None = None
    created_at: datetime = dataclasses.field(default_factory=now)

    def to_response(self, resource_id: str) -> dict[str, Any]:
        return {
            "ScheduledActionName": self.name,
            "ScheduledActionARN": self.arn,
            "ServiceNamespace": NAMESPACE,
            "Schedule": self.expression,
            "Timezone": self.zone,
            "ResourceId": resource_id,
            "ScalableDimension": DIMENSION,
            "StartTime": seconds(self.start),
            "EndTime": seconds(self.end),
            "CreationTime": seconds(self.created_at),
            "ScalableTargetAction": self.action,
        }


@dataclasses.dataclass(eq=False)
class Target:
    """One scalable target; `resource_id` is service/<cluster>/<service>."""

    account_id: str
    region: str
    partition: str
    resource_id: str
    least: int
    most: int
    tags: dict[str, str]
    suspended: dict[str, bool] = dataclasses.field(default_factory=lambda: dict(NOT_SUSPENDED))

    def __post_init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.created_at = now()
        self.policies: dict[str, Policy] = {}
        self.actions: dict[str, ScheduledAction] = {}
        self.activities: list[dict[str, Any]] = []
        self.last_scale_out: ScaleOut | None = None
        # Monotonic seconds before which nothing is scaled in.
        self.no_scale_in_before = 0.0

    @property
    def arn(self) -> str:
        where = f"{self.region}:{self.account_id}"
        return f"arn:{self.partition}:application-autoscaling:{where}:scalable-target/{self.id}"

    def arn_of(self, kind: str, rest: str) -> str:
        """ARN of a policy or a scheduled action of this target."""
        return f"arn:{self.partition}:autoscaling:{self.region}:{self.account_id}:{kind}:{rest}"

    @property
    def cluster(self) -> str:
        return self.resource_id.split("/")[1]

    @property
    def service(self) -> str:
        return self.resource_id.split("/")[2]

    def tell(self, before: int, after: int, cause: str) -> None:
        """Add a scaling activity, newest first."""
        moment = seconds(now())
        self.activities.insert(0, {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": NAMESPACE,
            "ResourceId": self.resource_id,
            "ScalableDimension": DIMENSION,
            "Description": f"Setting desired count to {after}.",
            "Cause": cause,
            "StartTime": moment,
            "EndTime": moment,
            "StatusCode": "Successful",
            "StatusMessage": f"Successfully set desired count to {after}. Change successfully fulfilled by ecs.",
            "Details": f"from {before}",
        })
        del self.activities[KEPT_ACTIVITIES:]

    def to_response(self) -> dict[str, Any]:
        return {
            "ServiceNamespace": NAMESPACE,
            "ResourceId": self.resource_id,
            "ScalableDimension": DIMENSION,
            "MinCapacity": self.least,
            "MaxCapacity": self.most,
            "RoleARN": (
                f"arn:{self.partition}:iam::{self.account_id}:role/aws-service-role/"
                "ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService"
            ),
            "CreationTime": seconds(self.created_at),
            "SuspendedState": self.suspended,
            "ScalableTargetARN": self.arn,
        }
