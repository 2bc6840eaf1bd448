# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of Application Auto Scaling over its targets; parameters and answers as the JSON protocol has them.

https://docs.aws.amazon.com/autoscaling/application/APIReference/API_Operations.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from . import autoscaling_alarms
from .autoscaling import AutoScaling
from .autoscaling_records import DIMENSION, METRICS, NAMESPACE, NOT_SUSPENDED, Policy, ScheduledAction, Target
from .autoscaling_records import seconds
from .ecs_records import now
from .schedules import BadSchedule, parse

NOT_FOUND = "ObjectNotFoundException"
MOST_TAGS = 50


class RequestError(Exception):
    """A refusal with the code that AWS gives."""

    def __init__(self, message: str, code: str = "ValidationException") -> None:
        super().__init__(message)
        self.code = code


class Api:
    """One caller's account and region."""

    def __init__(self, scaling: AutoScaling, account_id: str, region: str) -> None:
        self._scaling = scaling
        self._account_id, self._region = account_id, region

    # --- targets ---

    def register(self, asked: dict[str, Any]) -> dict[str, Any]:
        resource_id = _checked(asked)
        target = self._target(resource_id)
        given = {"MinCapacity": target.least, "MaxCapacity": target.most} if target else {}
        least, most = (asked.get(key, given.get(key)) for key in ("MinCapacity", "MaxCapacity"))
        if least is None or most is None:
            raise RequestError("You must specify both minimum capacity and maximum capacity for a new scalable target.")
        _check_bounds(least, most)
        suspended = asked.get("SuspendedState") or {}
        if set(suspended) - set(NOT_SUSPENDED):
            raise RequestError(f"Unknown attributes of SuspendedState: {sorted(set(suspended) - set(NOT_SUSPENDED))}")
        tags = asked.get("Tags") or {}
        if target is None:
            _check_tags(tags)
            target = Target(self._account_id, self._region, self._partition(), resource_id, least, most, dict(tags))
            if self._scaling.service_of(target) is None:
                raise RequestError(f"ECS service doesn't exist: {resource_id}")
            self._scaling.targets[self._key(resource_id)] = target
        elif tags:
            raise RequestError("Tags can be given with a new scalable target only: use TagResource.")
        target.least, target.most = least, most
        target.suspended |= suspended
        # "It changes the resource's current capacity to a value that is inside of this range."
        self._scaling.enforce_bounds(target, f"minimum capacity was set to {least} and maximum capacity to {most}")
        return {"ScalableTargetARN": target.arn}

    def deregister(self, asked: dict[str, Any]) -> dict[str, Any]:
        target = self._found(asked)
        for policy in target.policies.values():
            autoscaling_alarms.remove(target, policy)
        del self._scaling.targets[self._key(target.resource_id)]
        return {}

    def describe_targets(self, asked: dict[str, Any]) -> dict[str, Any]:
        targets = self._selected(asked, asked.get("ResourceIds"))
        return _page(asked, "ScalableTargets", [target.to_response() for target in targets])

    # --- policies ---

    def put_policy(self, asked: dict[str, Any]) -> dict[str, Any]:
        target = self._found(asked)
        name = asked["PolicyName"]
        policy = target.policies.get(name)
        kind = asked.get("PolicyType") or ("TargetTrackingScaling" if policy else "StepScaling")
        if kind != "TargetTrackingScaling":
            raise RequestError(f"PolicyType {kind} is not supported by the local AWS: use TargetTrackingScaling.")
        configuration = asked.get("TargetTrackingScalingPolicyConfiguration") or (policy and policy.configuration)
        _check_configuration(configuration)
        if policy is None:
            rest = f"{uuid.uuid4()}:resource/{NAMESPACE}/{target.resource_id}:policyName/{name}"
            policy = Policy(target.arn_of("scalingPolicy", rest), name, configuration, {})
            target.policies[name] = policy
        policy.configuration = configuration
        autoscaling_alarms.put(target, policy)
        return {"PolicyARN": policy.arn, "Alarms": autoscaling_alarms.described(target, policy)}

    def delete_policy(self, asked: dict[str, Any]) -> dict[str, Any]:
        target = self._found(asked)
        policy = target.policies.pop(asked["PolicyName"], None)
        if policy is None:
            raise RequestError(f"No scaling policy found for {_spelled(asked)}, policy name: {asked['PolicyName']}",
                               NOT_FOUND)  # fmt: skip
        autoscaling_alarms.remove(target, policy)
        return {}

    def describe_policies(self, asked: dict[str, Any]) -> dict[str, Any]:
        names = asked.get("PolicyNames")
        items = [
            {
                "PolicyARN": policy.arn,
                "PolicyName": policy.name,
                "ServiceNamespace": NAMESPACE,
                "ResourceId": target.resource_id,
                "ScalableDimension": DIMENSION,
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": policy.configuration,
                "Alarms": autoscaling_alarms.described(target, policy),
                "CreationTime": seconds(policy.created_at),
            }
            for target in self._selected(asked) for policy in target.policies.values()
            if not names or policy.name in names
        ]  # fmt: skip
        return _page(asked, "ScalingPolicies", items)

    # --- scheduled actions ---

    def put_action(self, asked: dict[str, Any]) -> dict[str, Any]:
        target = self._found(asked)
        name = asked["ScheduledActionName"]
        current = target.actions.get(name)
        expression = asked.get("Schedule") or (current and current.expression)
        action = asked.get("ScalableTargetAction") or (current and current.action)
        if not expression or not action:
            raise RequestError("Schedule and ScalableTargetAction are required for a new scheduled action.")
        _check_bounds(action.get("MinCapacity", 0), action.get("MaxCapacity", action.get("MinCapacity", 0)))
        zone = asked.get("Timezone") or (current and current.zone)
        try:
            schedule = parse(expression, zone, now())
        except BadSchedule as error:
            raise RequestError(str(error)) from None
        rest = f"{uuid.uuid4()}:resource/{NAMESPACE}/{target.resource_id}:scheduledActionName/{name}"
        made = ScheduledAction(
            current.arn if current else target.arn_of("scheduledAction", rest), name, expression, schedule, zone,
            dict(action), _moment(asked.get("StartTime")), _moment(asked.get("EndTime")),
        )  # fmt: skip
        target.actions[name] = made
        return {}

    def delete_action(self, asked: dict[str, Any]) -> dict[str, Any]:
        target = self._found(asked)
        if target.actions.pop(asked["ScheduledActionName"], None) is None:
            raise RequestError(f"No scheduled action found for {_spelled(asked)}, scheduled action name: "
                               f"{asked['ScheduledActionName']}", NOT_FOUND)  # fmt: skip
        return {}

    def describe_actions(self, asked: dict[str, Any]) -> dict[str, Any]:
        names = asked.get("ScheduledActionNames")
        items = [
            action.to_response(target.resource_id)
            for target in self._selected(asked) for action in target.actions.values()
            if not names or action.name in names
        ]  # fmt: skip
        return _page(asked, "ScheduledActions", items)

    def describe_activities(self, asked: dict[str, Any]) -> dict[str, Any]:
        items = [activity for target in self._selected(asked) for activity in target.activities]
        return _page(asked, "ScalingActivities", sorted(items, key=lambda one: -one["StartTime"]))

    # --- tags of targets ---

    def tag(self, asked: dict[str, Any]) -> dict[str, Any]:
        target = self._by_arn(asked["ResourceARN"])
        _check_tags(target.tags | asked["Tags"])
        target.tags.update(asked["Tags"])
        return {}

    def untag(self, asked: dict[str, Any]) -> dict[str, Any]:
        target = self._by_arn(asked["ResourceARN"])
        for key in asked["TagKeys"]:
            target.tags.pop(key, None)
        return {}

    def list_tags(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": dict(self._by_arn(asked["ResourceARN"]).tags)}

    # --- finding ---

    def _partition(self) -> str:
        from moto.utilities.utils import get_partition

        return get_partition(self._region)

    def _key(self, resource_id: str) -> tuple[str, str, str]:
        return self._account_id, self._region, resource_id

    def _target(self, resource_id: str) -> Target | None:
        return self._scaling.targets.get(self._key(resource_id))

    def _found(self, asked: dict[str, Any]) -> Target:
        target = self._target(_checked(asked))
        if target is None:
            raise RequestError(f"No scalable target registered for {_spelled(asked)}", NOT_FOUND)
        return target

    def _selected(self, asked: dict[str, Any], resource_ids: list[str] | None = None) -> list[Target]:
        if asked.get("ServiceNamespace") != NAMESPACE:
            raise RequestError(f"ServiceNamespace {asked.get('ServiceNamespace')} is not supported by the local AWS.")
        wanted = resource_ids or ([asked["ResourceId"]] if asked.get("ResourceId") else None)
        return [
            target for (account_id, region, resource_id), target in sorted(self._scaling.targets.items())
            if (account_id, region) == (self._account_id, self._region) and (not wanted or resource_id in wanted)
        ]  # fmt: skip

    def _by_arn(self, arn: str) -> Target:
        for (account_id, region, _resource_id), target in self._scaling.targets.items():
            if (account_id, region) == (self._account_id, self._region) and target.arn == arn:
                return target
        raise RequestError(f"The specified resource doesn't exist: {arn}", "ResourceNotFoundException")


Operation = Callable[[Api, dict[str, Any]], dict[str, Any]]
OPERATIONS: dict[str, Operation] = {
    "register_scalable_target": Api.register,
    "deregister_scalable_target": Api.deregister,
    "describe_scalable_targets": Api.describe_targets,
    "put_scaling_policy": Api.put_policy,
    "delete_scaling_policy": Api.delete_policy,
    "describe_scaling_policies": Api.describe_policies,
    "put_scheduled_action": Api.put_action,
    "delete_scheduled_action": Api.delete_action,
    "describe_scheduled_actions": Api.describe_actions,
    "describe_scaling_activities": Api.describe_activities,
    "tag_resource": Api.tag,
    "untag_resource": Api.untag,
    "list_tags_for_resource": Api.list_tags,
}


def _spelled(asked: dict[str, Any]) -> str:
    return (
        f"service namespace: {asked.get('ServiceNamespace')}, resource ID: {asked.get('ResourceId')}, "
        f"scalable dimension: {asked.get('ScalableDimension')}"
    )


def _checked(asked: dict[str, Any]) -> str:
    """The resource ID, if it is a service of ECS."""
    namespace, dimension, resource_id = (
        asked.get(key) for key in ("ServiceNamespace", "ScalableDimension", "ResourceId")
    )
    if (namespace, dimension) != (NAMESPACE, DIMENSION):
        raise RequestError(
            f"{namespace} with {dimension} is not supported by the local AWS: use {NAMESPACE} with {DIMENSION}."
        )
    parts = (resource_id or "").split("/")
    if len(parts) != 3 or parts[0] != "service" or not all(parts):
        raise RequestError("Unsupported service namespace, resource type or scalable dimension")
    return str(resource_id)


def _check_bounds(least: int, most: int) -> None:
    if least < 0 or most < 0:
        raise RequestError("Minimum and maximum capacity must be greater than or equal to 0")
    if least > most:
        raise RequestError("Maximum capacity cannot be less than minimum capacity")


def _check_tags(tags: dict[str, str]) -> None:
    if len(tags) > MOST_TAGS:
        raise RequestError(f"A scalable target has {MOST_TAGS} tags at most.", "TooManyTagsException")


def _check_configuration(configuration: dict[str, Any] | None) -> None:
    if not configuration:
        raise RequestError("TargetTrackingScalingPolicyConfiguration is required.")
    if configuration.get("CustomizedMetricSpecification"):
        raise RequestError("CustomizedMetricSpecification is not supported by the local AWS: use a predefined metric.")
    specification = configuration.get("PredefinedMetricSpecification") or {}
    metric = specification.get("PredefinedMetricType")
    if metric not in METRICS or specification.get("ResourceLabel"):
        raise RequestError(f"The metric {metric} is not supported by the local AWS: use {' or '.join(METRICS)}.")
    value = configuration.get("TargetValue")
    if value is None or value <= 0:
        raise RequestError(f"TargetValue {value} is not valid: it must be greater than 0")
    for name in ("ScaleInCooldown", "ScaleOutCooldown"):
        if (configuration.get(name) or 0) < 0:
            raise RequestError(f"{name} cannot be negative")


def _moment(value: Any) -> datetime | None:
    return datetime.fromtimestamp(float(value), timezone.utc) if value else None


def _page(asked: dict[str, Any], key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    start, size = int(asked.get("NextToken") or 0), int(asked.get("MaxResults") or 50)
    answer: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        answer["NextToken"] = str(start + size)
    return answer
