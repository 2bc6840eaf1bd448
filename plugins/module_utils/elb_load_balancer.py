# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application load balancer, its listeners and one target group: what there is, and what is to be done."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, elb_listeners, elb_rules

POLL_SECONDS = 2.0


def connect(module: t.Any) -> t.Any:
    return module.client("elbv2", retry_decorator=AWSRetry.jittered_backoff(retries=8))


def poll(probe: t.Callable[[], bool], timeout: float) -> bool:
    """Whether `probe` came true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not probe():
        if time.monotonic() + POLL_SECONDS > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def listener_tags(option: dict[str, t.Any], params: dict[str, t.Any]) -> dict[str, str]:
    secret = elb_listeners.fingerprint(option)
    return params["tags"] | ({elb_listeners.SIGN_ON_TAG: secret} if secret else {})


class LoadBalancer:
    """The load balancer and the target group called `name`."""

    def __init__(self, elb: t.Any, name: str) -> None:
        self.elb = elb
        self.name = name
        self.load_balancer: dict | None = None
        self.attributes: dict[str, str] = {}
        self.listeners: list[dict] = []
        # ARN of a listener -> its rules but the default one
        self.rules: dict[str, list[dict]] = {}
        self.group: dict | None = None
        # ARN -> tags, of all that exists
        self.tags: dict[str, dict[str, str]] = {}

    # --- looking ---------------------------------------------------------------------------------------------------

    def find(self) -> None:
        self.load_balancer = self._describe_load_balancer()
        self.attributes = self._describe_attributes("load_balancer") if self.load_balancer else {}
        self.listeners = self._describe_listeners() if self.load_balancer else []
        self.group = self._describe_group()
        self.rules = {one["ListenerArn"]: self._describe_rules(one) for one in self.listeners}
        arns = [listener["ListenerArn"] for listener in self.listeners]
        arns += [rule["RuleArn"] for rules in self.rules.values() for rule in rules]
        arns += [self.load_balancer["LoadBalancerArn"]] if self.load_balancer else []
        arns += [self.group["TargetGroupArn"]] if self.group else []
        self.tags = {}
        for start in range(0, len(arns), 20):  # DescribeTags takes 20 a call
            answer = self.elb.describe_tags(ResourceArns=arns[start : start + 20], aws_retry=True)
            for one in answer["TagDescriptions"]:
                self.tags[one["ResourceArn"]] = boto3_tag_list_to_ansible_dict(one["Tags"])

    def _describe_load_balancer(self) -> dict | None:
        try:
            return self.elb.describe_load_balancers(Names=[self.name], aws_retry=True)["LoadBalancers"][0]
        except is_boto3_error_code("LoadBalancerNotFound"):
            return None

    def _describe_attributes(self, kind: str) -> dict[str, str]:
        answer = self._call(f"describe_{kind}_attributes", "group" if kind == "target_group" else "load_balancer")
        return {one["Key"]: one["Value"] for one in answer["Attributes"]}

    def _describe_listeners(self) -> list[dict]:
        arn = self.load_balancer["LoadBalancerArn"]
        return self.elb.describe_listeners(LoadBalancerArn=arn, aws_retry=True)["Listeners"]

    def _describe_rules(self, listener: dict) -> list[dict]:
        if listener["Protocol"] != "HTTPS":
            return []
        rules = self.elb.describe_rules(ListenerArn=listener["ListenerArn"], aws_retry=True)["Rules"]
        return [rule for rule in rules if not rule.get("IsDefault")]

    def _describe_group(self) -> dict | None:
        try:
            return self.elb.describe_target_groups(Names=[self.name], aws_retry=True)["TargetGroups"][0]
        except is_boto3_error_code("TargetGroupNotFound"):
            return None

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        """ValueError if the load balancer or the target group is not ours."""
        remedy = "choose another deployment name, or remove it by hand"
        kinds = (
            ("Load balancer", self.load_balancer, "LoadBalancerArn"),
            ("Target group", self.group, "TargetGroupArn"),
        )
        for kind, found, key in kinds:
            if found and not aws_changes.carries(self.tags.get(found[key], {}), owner_tags):
                raise ValueError(aws_changes.not_ours(f"{kind} {self.name}", owner_tags, remedy))

    def summary(self) -> dict[str, t.Any]:
        told = elb_rules.summary(self.load_balancer, self.group, self.listeners, self._domain_name())
        return {**told, "access_logs": elb_rules.access_logs(self.attributes)}

    def predicted(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """`summary` with the hosts and origins that a run would leave, as far as the load balancer's name is known."""
        name = params["domain_name"] or (self.load_balancer or {}).get("DNSName")
        wanted = [
            {"Port": option["port"], **elb_listeners.arguments(option, "", params["domain_name"])}
            for option in params["listeners"]
        ]
        origins = elb_listeners.origins(name, wanted) if self.load_balancer else []
        return {**self.summary(), **elb_rules.reached_at(origins)}

    def _domain_name(self) -> str:
        """What clients call it, as its tag tells: AWS has no other place for that."""
        arn = (self.load_balancer or {}).get("LoadBalancerArn")
        return self.tags.get(arn, {}).get(elb_rules.DOMAIN_TAG, "") if arn else ""

    def await_active(self, timeout: float) -> None:
        """Until it is active; ValueError with the reason when that cannot be or takes too long."""

        def active() -> bool:
            self.load_balancer = self._describe_load_balancer()
            if self.load_balancer is None:
                raise ValueError(f"Load balancer {self.name}: there is none to wait for; deploy it first")
            if self.load_balancer["State"]["Code"] == "failed":
                reason = self.load_balancer["State"].get("Reason", "AWS gives no reason")
                raise ValueError(f"Load balancer {self.name}: it failed: {reason}; remove it and deploy again")
            return self.load_balancer["State"]["Code"] in ("active", "active_impaired")

        if not poll(active, timeout):
            state = self.load_balancer["State"]["Code"]
            raise ValueError(
                f"Load balancer {self.name}: it is not active but {state} after {timeout:.0f} s;"
                " run again or raise alb_wait_timeout"
            )

    # --- present ---------------------------------------------------------------------------------------------------

    def plan_present(self, params: dict[str, t.Any]) -> aws_changes.Changes:
        elb_rules.check_options(params)
        elb_rules.check_fixed(self.name, self.group, self.load_balancer, params)
        changes = aws_changes.Changes()
        self._plan_group(changes, params)
        self._plan_load_balancer(changes, params)
        self._plan_listeners(changes, params)
        of_port = {option["port"]: listener_tags(option, params) for option in params["listeners"]}
        wanted_tags = {one["ListenerArn"]: of_port.get(one["Port"], params["tags"]) for one in self.listeners}
        for arn, tags in self.tags.items():
            wanted = wanted_tags.get(arn, params["tags"])
            changes.want_tags(f"tags of {arn.split(':')[5]}", tags, wanted, self._tag(arn), self._untag(arn))
        return changes

    def _plan_group(self, changes: aws_changes.Changes, params: dict[str, t.Any]) -> None:
        check = elb_rules.health_check(params)
        if self.group is None:
            changes.want("target_group", "absent", "present", lambda: self._create_group(params, check))
        else:
            change, before = elb_rules.differing(self.group, check)
            changes.want("health_check", before, change, lambda: self._call("modify_target_group", "group", **change))
        current = self._describe_attributes("target_group") if self.group else {}
        self._plan_attributes(changes, "target_group", current, elb_rules.target_group_attributes(params))

    def _plan_load_balancer(self, changes: aws_changes.Changes, params: dict[str, t.Any]) -> None:
        groups, subnets = sorted(params["security_group_ids"]), sorted(params["subnet_ids"])
        if self.load_balancer is None:
            changes.want("load_balancer", "absent", "present", lambda: self._create_load_balancer(params))
        else:
            now = sorted(zone["SubnetId"] for zone in self.load_balancer["AvailabilityZones"])
            changes.want("subnet_ids", now, subnets, lambda: self._call("set_subnets", Subnets=subnets))
            now = sorted(self.load_balancer.get("SecurityGroups", []))
            changes.want(
                "security_group_ids", now, groups, lambda: self._call("set_security_groups", SecurityGroups=groups)
            )
        self._plan_attributes(changes, "load_balancer", self.attributes, elb_rules.load_balancer_attributes(params))

    def _plan_attributes(
        self, changes: aws_changes.Changes, kind: str, current: dict[str, str], wanted: dict[str, str]
    ) -> None:
        attribute = "group" if kind == "target_group" else "load_balancer"
        change, before = elb_rules.differing(current, wanted)
        attributes = [{"Key": key, "Value": value} for key, value in sorted(change.items())]
        changes.want(
            f"{kind}_attributes", before, change,
            lambda: self._call(f"modify_{kind}_attributes", attribute, Attributes=attributes),
        )  # fmt: skip

    def _plan_listeners(self, changes: aws_changes.Changes, params: dict[str, t.Any]) -> None:
        found = {listener["Port"]: listener for listener in self.listeners}
        arn = self.group["TargetGroupArn"] if self.group else ""
        for wanted in params["listeners"]:
            port, listener = wanted["port"], found.pop(wanted["port"], None)
            secret = elb_listeners.fingerprint(wanted)
            after = elb_listeners.told(elb_listeners.arguments(wanted, arn, params["domain_name"]), arn, secret)
            # The way in for programs is open before the listener asks everybody to sign on, and closed after that.
            rules_first = listener is not None and wanted.get("sign_on")
            if rules_first:
                self._plan_rules(changes, wanted, listener, params)
            if listener is None:
                changes.want(f"listener {port}", "absent", after, self._create_listener(wanted, params))
            else:
                known = self.tags.get(listener["ListenerArn"], {}).get(elb_listeners.SIGN_ON_TAG, "")
                before = elb_listeners.told(listener, arn, known)
                changes.want(f"listener {port}", before, after, self._modify_listener(listener, wanted, params))
            if not rules_first:
                self._plan_rules(changes, wanted, listener, params)
        for port, listener in found.items():
            for gone in [listener["ListenerArn"], *(rule["RuleArn"] for rule in self.rules[listener["ListenerArn"]])]:
                self.tags.pop(gone, None)
            before = elb_listeners.told(listener, arn)
            changes.want(f"listener {port}", before, "absent", self._delete_listener(listener))

    def _plan_rules(
        self, changes: aws_changes.Changes, wanted: dict[str, t.Any], listener: dict | None, params: dict[str, t.Any]
    ) -> None:
        """Ours is the rule with our tags; those that somebody else has added stay."""
        arn = self.group["TargetGroupArn"] if self.group else ""
        what = f"rule of listener {wanted['port']}"
        owner_tags = aws_changes.text_tags(params["owner_tags"])
        rules = self.rules.get(listener["ListenerArn"], []) if listener else []
        ours = [rule for rule in rules if aws_changes.carries(self.tags.get(rule["RuleArn"], {}), owner_tags)]
        for rule in [rule for rule in rules if rule not in ours]:
            self.tags.pop(rule["RuleArn"], None)
        if wanted.get("sign_on"):
            after = elb_listeners.told_rule(elb_listeners.basic_auth_rule(arn), arn)
            if ours:
                kept = ours.pop(0)
                changes.want(what, elb_listeners.told_rule(kept, arn), after, self._modify_rule(kept))
            else:
                changes.want(what, "absent", after, self._create_rule(wanted, params))
        for rule in ours:
            self.tags.pop(rule["RuleArn"], None)
            changes.want(what, elb_listeners.told_rule(rule, arn), "absent", self._delete_rule(rule))

    def _call(self, operation: str, what: str = "load_balancer", **arguments: t.Any) -> t.Any:
        """Call an operation on the target group (`what` is group) or on the load balancer, which exist by now."""
        arn = {"TargetGroupArn": self.group["TargetGroupArn"]} if what == "group" else {
            "LoadBalancerArn": self.load_balancer["LoadBalancerArn"]
        }  # fmt: skip
        return getattr(self.elb, operation)(aws_retry=True, **arn, **arguments)

    def _create_group(self, params: dict[str, t.Any], check: dict[str, t.Any]) -> None:
        self.group = self.elb.create_target_group(
            Name=self.name,
            Protocol="HTTP",
            Port=params["target_port"],
            VpcId=params["vpc_id"],
            TargetType="ip",
            Tags=ansible_dict_to_boto3_tag_list(params["tags"]),
            aws_retry=True,
            **check,
        )["TargetGroups"][0]

    def _create_load_balancer(self, params: dict[str, t.Any]) -> None:
        self.load_balancer = self.elb.create_load_balancer(
            Name=self.name,
            Type="application",
            Scheme=params["scheme"],
            Subnets=params["subnet_ids"],
            SecurityGroups=params["security_group_ids"],
            Tags=ansible_dict_to_boto3_tag_list(params["tags"]),
            aws_retry=True,
        )["LoadBalancers"][0]

    def _create_listener(self, wanted: dict[str, t.Any], params: dict[str, t.Any]) -> t.Callable[[], t.Any]:
        return lambda: self._call(
            "create_listener",
            Port=wanted["port"],
            Tags=ansible_dict_to_boto3_tag_list(listener_tags(wanted, params)),
            **elb_listeners.arguments(wanted, self.group["TargetGroupArn"], params["domain_name"]),
        )

    def _modify_listener(
        self, listener: dict, wanted: dict[str, t.Any], params: dict[str, t.Any]
    ) -> t.Callable[[], t.Any]:
        return lambda: self.elb.modify_listener(
            ListenerArn=listener["ListenerArn"],
            aws_retry=True,
            **elb_listeners.arguments(wanted, self.group["TargetGroupArn"], params["domain_name"]),
        )

    def _create_rule(self, wanted: dict[str, t.Any], params: dict[str, t.Any]) -> t.Callable[[], t.Any]:
        def create() -> None:
            # The listener may have been made a moment ago.
            listener = next(one for one in self._describe_listeners() if one["Port"] == wanted["port"])
            self.elb.create_rule(
                ListenerArn=listener["ListenerArn"],
                Priority=elb_listeners.BASIC_AUTH_PRIORITY,
                Tags=ansible_dict_to_boto3_tag_list(params["tags"]),
                aws_retry=True,
                **elb_listeners.basic_auth_rule(self.group["TargetGroupArn"]),
            )

        return create

    def _modify_rule(self, rule: dict) -> t.Callable[[], t.Any]:
        return lambda: self.elb.modify_rule(
            RuleArn=rule["RuleArn"], aws_retry=True, **elb_listeners.basic_auth_rule(self.group["TargetGroupArn"])
        )

    def _delete_rule(self, rule: dict) -> t.Callable[[], t.Any]:
        return lambda: self.elb.delete_rule(RuleArn=rule["RuleArn"], aws_retry=True)

    def _delete_listener(self, listener: dict) -> t.Callable[[], t.Any]:
        return lambda: self.elb.delete_listener(ListenerArn=listener["ListenerArn"], aws_retry=True)

    def _tag(self, arn: str) -> t.Callable[[dict[str, str]], t.Any]:
        return lambda tags: self.elb.add_tags(
            ResourceArns=[arn], Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True
        )

    def _untag(self, arn: str) -> t.Callable[[list[str]], t.Any]:
        return lambda keys: self.elb.remove_tags(ResourceArns=[arn], TagKeys=keys, aws_retry=True)

    # --- absent ----------------------------------------------------------------------------------------------------

    def plan_absent(self, delete_protected: bool, timeout: float) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.load_balancer:
            if self.attributes.get("deletion_protection.enabled") == "true":
                if not delete_protected:
                    raise ValueError(
                        f"Load balancer {self.name}: its deletion protection is on;"
                        " say alb_delete_protected=true to lift it and delete"
                    )
                off = [{"Key": "deletion_protection.enabled", "Value": "false"}]
                changes.want(
                    "deletion_protection", True, False,
                    lambda: self._call("modify_load_balancer_attributes", Attributes=off),
                )  # fmt: skip
            for listener in self.listeners:
                changes.want(f"listener {listener['Port']}", "present", "absent", self._delete_listener(listener))
            changes.want("load_balancer", "present", "absent", lambda: self._delete_load_balancer(timeout))
        if self.group:
            changes.want("target_group", "present", "absent", lambda: self._delete_group(timeout))
        return changes

    def _delete_load_balancer(self, timeout: float) -> None:
        self._call("delete_load_balancer")
        if not poll(lambda: self._describe_load_balancer() is None, timeout):
            raise ValueError(
                f"Load balancer {self.name}: it is not gone after {timeout:.0f} s; run again or raise alb_wait_timeout"
            )

    def _delete_group(self, timeout: float) -> None:
        """A target group counts as in use for a moment after its listeners have gone."""

        def deleted() -> bool:
            try:
                self._call("delete_target_group", "group")
            except is_boto3_error_code("ResourceInUse"):
                return False
            return True

        if not poll(deleted, timeout):
            raise ValueError(
                f"Target group {self.name}: it is still in use after {timeout:.0f} s;"
                " remove what forwards to it, then run again"
            )
