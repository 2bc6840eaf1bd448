# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Application Auto Scaling of ECS services: changes desired counts when alarms and schedules say so.

https://docs.aws.amazon.com/autoscaling/application/userguide/what-is-application-auto-scaling.html
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from typing import Any

from . import autoscaling_alarms
from . import autoscaling_rules as rules
from .autoscaling_records import Policy, ScheduledAction, Target
from .ecs_records import now

log = logging.getLogger(__name__)
Key = tuple[str, str, str]


class AutoScaling:
    """All scalable targets by account, region and resource. `lock` guards them and is taken before any other."""

    interval = 1.0

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.targets: dict[Key, Target] = {}
        self._checked = now()

    # --- the service behind a target ---

    @staticmethod
    def service_of(target: Target) -> Any | None:
        """The ECS service, None unless it is ACTIVE."""
        from moto.ecs.models import ecs_backends

        services = ecs_backends[target.account_id][target.region].services
        service = services.get(f"{target.cluster}:{target.service}")
        return service if service is not None and service.status == "ACTIVE" else None

    def set_count(self, target: Target, count: int, cause: str) -> bool:
        """Whether the desired count was another one before."""
        service = self.service_of(target)
        if service is None or service.desired_count == count:
            return False
        before, service.desired_count = service.desired_count, count
        if service.primary is not None:
            service.primary.desired_count = count
        log.info("service %s: desired count %s -> %s: %s", service.name, before, count, cause)
        target.tell(before, count, cause)
        return True

    def enforce_bounds(self, target: Target, cause: str) -> None:
        """Bring the count between minimum and maximum."""
        service = self.service_of(target)
        if service is not None:
            self.set_count(target, rules.within(service.desired_count, target.least, target.most), cause)

    # --- schedules ---

    def run_once(self) -> None:
        with self.lock:
            since, self._checked = self._checked, now()
            for target in list(self.targets.values()):
                for action in list(target.actions.values()):
                    if self._is_due(target, action, since, self._checked):
                        self._carry_out(target, action)

    @staticmethod
    def _is_due(target: Target, action: ScheduledAction, since: datetime, until: datetime) -> bool:
        if target.suspended["ScheduledScalingSuspended"]:
            return False
        if (action.start and until < action.start) or (action.end and until > action.end):
            return False
        return action.schedule.due(max(since, action.created_at), until)

    def _carry_out(self, target: Target, action: ScheduledAction) -> None:
        target.least = action.action.get("MinCapacity", target.least)
        target.most = action.action.get("MaxCapacity", target.most)
        self.enforce_bounds(target, f"scheduled action name {action.name} was triggered")

    # --- alarms ---

    def on_alarm(self, alarm: Any, action_arn: str) -> None:
        """An alarm of a target tracking policy is in the state that lists the policy as its action."""
        with self.lock:
            for target in list(self.targets.values()):
                for policy in list(target.policies.values()):
                    if action_arn.startswith(policy.arn) and alarm.name in policy.alarms.values():
                        self._follow(target, policy, alarm)

    def _follow(self, target: Target, policy: Policy, alarm: Any) -> None:
        service = self.service_of(target)
        metric = autoscaling_alarms.latest_value(target, alarm)
        if service is None or metric is None:
            return
        if alarm.name == policy.alarms["AlarmHigh"]:
            self._scale_out(target, policy, service.desired_count, metric, alarm.name)
        elif policy.scales_in:
            self._scale_in(target, policy, service, alarm.name)

    def _scale_out(self, target: Target, policy: Policy, count: int, metric: float, alarm_name: str) -> None:
        if target.suspended["DynamicScalingOutSuspended"]:
            return
        moment = time.monotonic()
        wanted = rules.scaled_out(count, metric, policy.target_value, target.most, target.last_scale_out, moment)
        # A count below the minimum is raised to it first.
        wanted = max(wanted, target.least)
        if wanted > count and self.set_count(target, wanted, _cause(alarm_name, policy)):
            target.last_scale_out = rules.ScaleOut(count, wanted, moment + policy.cooldown("Out"))
            # A scale-out ends the cooldown of an earlier scale-in.
            target.no_scale_in_before = 0.0

    def _scale_in(self, target: Target, policy: Policy, service: Any, alarm_name: str) -> None:
        moment = time.monotonic()
        if target.suspended["DynamicScalingInSuspended"] or moment < target.no_scale_in_before or _deploying(service):
            return
        # "The service scales in only if all of the target tracking policies that may are ready to scale in."
        wanted = []
        for one in target.policies.values():
            if not one.scales_in:
                continue
            low = autoscaling_alarms.find(target, one.alarms["AlarmLow"])
            if low is None or low.state_value != "ALARM":
                return
            metric = autoscaling_alarms.latest_value(target, low)
            if metric is None:
                return
            wanted.append(rules.scaled_in(service.desired_count, metric, one.target_value, target.least))
        count = min(max(wanted), max(target.most, target.least))
        if count < service.desired_count and self.set_count(target, count, _cause(alarm_name, policy)):
            target.no_scale_in_before = moment + policy.cooldown("In")
            target.last_scale_out = None


def _cause(alarm_name: str, policy: Policy) -> str:
    return f"monitor alarm {alarm_name} in state ALARM triggered policy {policy.name}"


def _deploying(service: Any) -> bool:
    """Nothing is scaled in while a deployment is in progress."""
    primary = service.primary
    return len(service.deployments) > 1 or (primary is not None and primary.rollout_state != "COMPLETED")
