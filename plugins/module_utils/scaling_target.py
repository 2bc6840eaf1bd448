# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scalable target of one ECS service with all that hangs on it: what there is, and what is to be done."""

from __future__ import annotations

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, scaling_rules


def connect(module: t.Any) -> t.Any:
    return module.client("application-autoscaling", retry_decorator=AWSRetry.jittered_backoff(retries=8))


class ScalableTarget:
    """The automatic scaling of `service` in `cluster`."""

    def __init__(self, scaling: t.Any, cluster: str, service: str) -> None:
        self.scaling = scaling
        self.label = f"Scaling of service {service} in cluster {cluster}"
        self.where = {
            "ServiceNamespace": "ecs",
            "ResourceId": f"service/{cluster}/{service}",
            "ScalableDimension": "ecs:service:DesiredCount",
        }
        self.target: dict | None = None
        self.tags: dict[str, str] = {}
        # Name -> what AWS says of it.
        self.policies: dict[str, dict] = {}
        self.actions: dict[str, dict] = {}

    # --- looking ---------------------------------------------------------------------------------------------------

    def find(self) -> None:
        named = {**self.where, "ResourceIds": [self.where["ResourceId"]]}
        del named["ResourceId"]
        targets = self.scaling.describe_scalable_targets(**named, aws_retry=True)["ScalableTargets"]
        self.target = targets[0] if targets else None
        self.tags, self.policies, self.actions = {}, {}, {}
        if self.target is None:
            return  # AWS removes policies and scheduled actions with their target
        arn = self.target["ScalableTargetARN"]
        self.tags = self.scaling.list_tags_for_resource(ResourceARN=arn, aws_retry=True)["Tags"]
        self.policies = self._all("describe_scaling_policies", "ScalingPolicies", "PolicyName")
        self.actions = self._all("describe_scheduled_actions", "ScheduledActions", "ScheduledActionName")

    def _all(self, operation: str, key: str, name: str) -> dict[str, dict]:
        found: dict[str, dict] = {}
        page: dict[str, t.Any] = {}
        while True:
            answer = getattr(self.scaling, operation)(**self.where, **page, aws_retry=True)
            found.update({one[name]: one for one in answer[key]})
            if not answer.get("NextToken"):
                return found
            page = {"NextToken": answer["NextToken"]}

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        """ValueError if somebody else scales the service."""
        if self.target and not aws_changes.carries(self.tags, owner_tags):
            remedy = "deregister its scalable target by hand, or leave scaling off"
            raise ValueError(aws_changes.not_ours(self.label, owner_tags, remedy))

    def summary(self) -> dict[str, t.Any]:
        return scaling_rules.summary(self.target, self.policies, self.actions)

    # --- present ---------------------------------------------------------------------------------------------------

    def plan_present(self, options: dict[str, t.Any]) -> aws_changes.Changes:
        scaling_rules.check_options(options)
        changes = aws_changes.Changes()
        self._plan_target(changes, options)
        wanted_policies, wanted_actions = scaling_rules.policies(options), scaling_rules.actions(options)
        # What goes goes first: two schedules of old and new must not meet.
        for name in sorted(set(self.actions) - set(wanted_actions)):
            changes.want(f"schedule {name}", "present", "absent", self._deletion_of_action(name))
        for name in sorted(set(self.policies) - set(wanted_policies)):
            changes.want(f"policy {name}", "present", "absent", self._deletion_of_policy(name))
        for name, wanted in wanted_policies.items():
            found = self.policies.get(name, {}).get("TargetTrackingScalingPolicyConfiguration")
            before = scaling_rules.comparable(found, wanted) if found else "absent"
            changes.want(f"policy {name}", before, wanted, self._policy(name, wanted))
        for name, wanted in wanted_actions.items():
            found = self.actions.get(name)
            before = scaling_rules.comparable(found, wanted) if found else "absent"
            changes.want(f"schedule {name}", before, wanted, self._action(name, wanted))
        return changes

    def _plan_target(self, changes: aws_changes.Changes, options: dict[str, t.Any]) -> None:
        current = (self.target["MinCapacity"], self.target["MaxCapacity"]) if self.target else None
        least, most = scaling_rules.bounds(current, options)
        register = {**self.where, "MinCapacity": least, "MaxCapacity": most}
        if self.target is None:
            changes.want(
                "scalable_target", "absent", {"min_count": least, "max_count": most},
                lambda: self.scaling.register_scalable_target(**register, Tags=options["tags"], aws_retry=True),
            )  # fmt: skip
            return
        changes.want(
            "count", list(current or ()), [least, most],
            lambda: self.scaling.register_scalable_target(**register, aws_retry=True),
        )  # fmt: skip
        arn = self.target["ScalableTargetARN"]
        changes.want_tags(
            "tags", self.tags, options["tags"],
            lambda tags: self.scaling.tag_resource(ResourceARN=arn, Tags=tags, aws_retry=True),
            lambda keys: self.scaling.untag_resource(ResourceARN=arn, TagKeys=keys, aws_retry=True),
        )  # fmt: skip

    def _policy(self, name: str, configuration: dict[str, t.Any]) -> t.Callable[[], t.Any]:
        return lambda: self.scaling.put_scaling_policy(
            **self.where,
            PolicyName=name,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=configuration,
            aws_retry=True,
        )

    def _action(self, name: str, wanted: dict[str, t.Any]) -> t.Callable[[], t.Any]:
        return lambda: self.scaling.put_scheduled_action(
            **self.where, ScheduledActionName=name, **wanted, aws_retry=True
        )

    def _deletion_of_policy(self, name: str) -> t.Callable[[], t.Any]:
        return lambda: self.scaling.delete_scaling_policy(**self.where, PolicyName=name, aws_retry=True)

    def _deletion_of_action(self, name: str) -> t.Callable[[], t.Any]:
        return lambda: self.scaling.delete_scheduled_action(**self.where, ScheduledActionName=name, aws_retry=True)

    # --- absent ----------------------------------------------------------------------------------------------------

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.target:
            before = {"policies": sorted(self.policies), "schedules": sorted(self.actions)}
            changes.want(
                "scalable_target", before, "absent",
                lambda: self.scaling.deregister_scalable_target(**self.where, aws_retry=True),
            )  # fmt: skip
        return changes
