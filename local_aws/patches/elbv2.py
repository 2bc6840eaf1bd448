# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's load balancers, with listeners that answer and targets whose health is real.

moto 5.2.5 serves nothing, finds every target healthy, keys targets by id alone, lets half of the attributes out and
deletes what is protected. Only Application Load Balancers with HTTP(S) and targets by IP address are served here; what is
not is refused with UnsupportedFeature. The API: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/
"""

from __future__ import annotations

import functools
import time
from typing import Any

from moto.acm.models import acm_backends
from moto.elbv2 import models
from moto.elbv2.exceptions import (
    DuplicateListenerError,
    DuplicateLoadBalancerName,
    ELBClientError,
    LoadBalancerNotFoundError,
    TargetGroupNotFoundError,
)

from .. import elb_attributes, elb_requests, elb_targets
from ..access_log_delivery import Refused
from ..elb_requests import InvalidRequest
from ..load_balancer import ProxyError
from ..load_balancer_fleet import Fleet, TargetChecks, destination
from ..load_balancer_rules import Unsupported, rule
from . import replace

BACKEND = models.ELBv2Backend
BALANCER = models.FakeLoadBalancer
GROUP = models.FakeTargetGroup
# A bind test needs a port before the load balancer has a listener.
LIKELY_PORT = 8080


def apply(runtime: Any) -> None:
    """Put the real load balancers in place; AttributeError or TypeError at start if moto has changed."""
    fleet = Fleet(runtime, models.elbv2_backends)
    _patch_balancers(runtime)
    _patch_balancer_attributes()
    _patch_target_groups()
    _patch_targets()
    _patch_listeners(fleet)
    _patch_rules()
    for name in (
        "create_load_balancer",
        "delete_load_balancer",
        "modify_load_balancer_attributes",
        "create_listener",
        "modify_listener",
        "delete_listener",
        "add_listener_certificates",
        "create_rule",
        "modify_rule",
        "delete_rule",
        "set_rule_priorities",
        "create_target_group",
        "modify_target_group",
        "modify_target_group_attributes",
        "delete_target_group",
        "register_targets",
        "deregister_targets",
        "describe_target_health",
    ):
        _serve(fleet, name)
    runtime.reconcilers.append(TargetChecks(fleet))


def _serve(fleet: Fleet, name: str) -> None:
    """Let a call have the state to itself, make its effect real before it answers, and put refusals in AWS's form."""
    original = getattr(BACKEND, name)

    @functools.wraps(original)
    def served(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = None
        try:
            with fleet.lock:
                result = original(self, *args, **kwargs)
            if not name.startswith("describe_"):
                fleet.reconcile()
        except Unsupported as error:
            raise ELBClientError("UnsupportedFeature", str(error)) from None
        except InvalidRequest as error:
            raise ELBClientError(error.code, str(error)) from None
        except ProxyError as error:
            if name == "create_listener":
                # What could not be made real is not declared either.
                with fleet.lock:
                    self.load_balancers[result.load_balancer_arn].listeners.pop(result.arn, None)
            raise ELBClientError("InternalFailure", str(error)) from None
        return result

    replace(BACKEND, name, served)


def _patch_balancers(runtime: Any) -> None:
    def create_load_balancer(
        self: Any,
        name: str,
        security_groups: list[str],
        subnet_ids: list[str],
        subnet_mappings: list[dict[str, str]] | None = None,
        scheme: str | None = None,
        loadbalancer_type: str | None = None,
        ip_address_type: str = "ipv4",
        tags: list[dict[str, str]] | None = None,
    ) -> Any:
        scheme = scheme or "internet-facing"
        elb_requests.check_load_balancer(name, scheme, loadbalancer_type, ip_address_type, subnet_mappings)
        wanted = (set(subnet_ids), set(security_groups), scheme)
        existing = next((one for one in self.load_balancers.values() if one.name == name), None)
        if existing is not None:
            # "This operation is idempotent": the same settings answer the load balancer that is there.
            # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
            if ({one.id for one in existing.subnets}, set(existing.security_groups), existing.scheme) == wanted:
                return existing
            raise DuplicateLoadBalancerName()
        elb_requests.check_placement(self.ec2_backend, subnet_ids, security_groups)
        created = plain_create(
            self,
            name,
            security_groups,
            subnet_ids,
            subnet_mappings,
            scheme,
            "application",
            ip_address_type,
            tags,
        )
        created.dns_name = runtime.addresses.allocate("load_balancer", LIKELY_PORT)
        created.attrs = dict(elb_attributes.LOAD_BALANCER_DEFAULTS)
        if scheme == "internal":
            created.attrs["ipv6.deny_all_igw_traffic"] = "true"
        created.active_at = time.monotonic() + runtime.latency.duration("alb_create")
        return created

    def activate(self: Any) -> None:
        # moto's becomes active by being looked at. States: API_LoadBalancerState.html
        if time.monotonic() >= self.active_at:
            self.state = "active"

    def delete_load_balancer(self: Any, arn: str) -> None:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
        found = self.load_balancers.get(arn)
        if found is not None and found.attrs["deletion_protection.enabled"] == "true":
            raise ELBClientError(
                "OperationNotPermitted",
                f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
            )
        plain_delete(self, arn)
        self.tagging_service.delete_all_tags_for_resource(arn)

    plain_create = replace(
        BACKEND,
        "create_load_balancer",
        create_load_balancer,
        (
            "self",
            "name",
            "security_groups",
            "subnet_ids",
            "subnet_mappings",
            "scheme",
            "loadbalancer_type",
            "ip_address_type",
            "tags",
        ),
    )
    replace(BALANCER, "activate", activate, ("self",))
    plain_delete = replace(BACKEND, "delete_load_balancer", delete_load_balancer, ("self", "arn"))


def _patch_balancer_attributes() -> None:
    def modify_load_balancer_attributes(self: Any, arn: str, attrs: dict[str, str]) -> dict[str, str]:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyLoadBalancerAttributes.html
        found = self.load_balancers.get(arn)
        if found is None:
            raise LoadBalancerNotFoundError()
        _check_attributes(attrs, elb_attributes.LOAD_BALANCER_DEFAULTS)
        before, found.attrs = found.attrs, found.attrs | attrs
        to = destination(self, found)
        try:
            if to and any(key.startswith("access_logs.") for key in attrs):
                to.write_test_file()
        except Refused as error:
            found.attrs = before
            raise ELBClientError("InvalidConfigurationRequest", str(error)) from None
        return found.attrs

    replace(BACKEND, "modify_load_balancer_attributes", modify_load_balancer_attributes, ("self", "arn", "attrs"))


def _check_attributes(changes: dict[str, str], known: dict[str, str]) -> None:
    try:
        elb_attributes.check(changes, known)
    except ValueError as error:
        raise ELBClientError("ValidationError", str(error)) from None


def _patch_target_groups() -> None:
    def create_target_group(self: Any, name: str, **kwargs: Any) -> Any:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
        elb_requests.check_target_group(kwargs)
        created = plain_create(self, name, **kwargs)
        created.attributes = dict(elb_attributes.TARGET_GROUP_DEFAULTS)
        return created

    def modify_target_group(self: Any, arn: str, *args: Any, **kwargs: Any) -> Any:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyTargetGroup.html
        found = self.target_groups.get(arn)
        if found is None:
            raise TargetGroupNotFoundError()
        elb_requests.check_health_check_change(found, dict(zip(MODIFIABLE, args, strict=False), **kwargs))
        return plain_modify(self, arn, *args, **kwargs)

    def modify_target_group_attributes(self: Any, target_group_arn: str, attributes: dict[str, str]) -> None:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyTargetGroupAttributes.html
        found = self.target_groups.get(target_group_arn)
        if found is None:
            raise TargetGroupNotFoundError()
        _check_attributes(attributes, elb_attributes.TARGET_GROUP_DEFAULTS)
        found.attributes.update(attributes)

    def load_balancer_arns(self: Any) -> list[str]:
        # moto only ever adds to this list.
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroup.html
        backend = models.elbv2_backends[self.account_id][self.region_name]
        return list(dict.fromkeys(one.arn for arn, one in elb_targets.users_of(backend) if arn == self.arn))

    plain_create = replace(BACKEND, "create_target_group", create_target_group, ("self", "name", "kwargs"))
    plain_modify = replace(BACKEND, "modify_target_group", modify_target_group, ("self", "arn", *MODIFIABLE))
    replace(
        BACKEND,
        "modify_target_group_attributes",
        modify_target_group_attributes,
        ("self", "target_group_arn", "attributes"),
    )
    # moto assigns and appends to the list; what is assigned is dropped, what is read is the truth.
    GROUP.load_balancer_arns = property(load_balancer_arns, lambda self, value: None)


MODIFIABLE = (
    "health_check_proto",
    "health_check_port",
    "health_check_path",
    "health_check_interval",
    "health_check_timeout",
    "healthy_threshold_count",
    "unhealthy_threshold_count",
    "http_codes",
    "health_check_enabled",
)


def _patch_targets() -> None:
    def register_targets(self: Any, target_group_arn: str, instances: list[dict[str, Any]]) -> None:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
        group = _group(self, target_group_arn)
        elb_requests.check_targets(group, instances)
        elb_targets.register(group, instances)

    def deregister_targets(self: Any, target_group_arn: str, instances: list[dict[str, Any]]) -> None:
        group = _group(self, target_group_arn)
        elb_targets.deregister(group, instances, bool(group.load_balancer_arns), time.monotonic())

    def describe_target_health(self: Any, target_group_arn: str, targets: list[dict[str, Any]]) -> list[Any]:
        group = _group(self, target_group_arn)
        in_use = bool(group.load_balancer_arns)
        keys = [elb_targets.key_of(group, target) for target in targets] or list(group.targets)
        found = []
        for identity, port in keys:
            health = elb_targets.health_of(group.targets.get((identity, port)), in_use)
            check_port = port if group.health_check_port == "traffic-port" else group.health_check_port
            found.append(
                models.FakeHealthStatus(
                    identity,
                    port,
                    str(check_port),
                    health.state,
                    health.reason or None,
                    health.description or None,
                )
            )
        return found

    def deregister_terminated_instances(self: Any, instance_ids: list[str]) -> None:
        """No target is an EC2 instance: the target type is refused."""

    replace(BACKEND, "register_targets", register_targets, ("self", "target_group_arn", "instances"))
    replace(BACKEND, "deregister_targets", deregister_targets, ("self", "target_group_arn", "instances"))
    replace(BACKEND, "describe_target_health", describe_target_health, ("self", "target_group_arn", "targets"))
    replace(GROUP, "deregister_terminated_instances", deregister_terminated_instances, ("self", "instance_ids"))


def _group(backend: Any, arn: str) -> Any:
    found = backend.target_groups.get(arn)
    if found is None:
        raise TargetGroupNotFoundError()
    return found


def _patch_listeners(fleet: Fleet) -> None:
    def create_listener(
        self: Any,
        load_balancer_arn: str,
        protocol: str,
        port: Any,
        ssl_policy: str,
        certificate: str | None,
        actions: list[dict[str, Any]],
        alpn_policy: list[str] | None = None,
        tags: list[dict[str, str]] | None = None,
    ) -> Any:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
        balancer = self.load_balancers.get(load_balancer_arn)
        if balancer is None:
            raise LoadBalancerNotFoundError()
        acm = acm_backends[self.account_id][self.region_name]
        elb_requests.check_protocol(protocol, ssl_policy, [certificate] if certificate else [], acm)
        rule(actions, [])
        elb_requests.check_sign_on(actions, protocol, None)
        elb_requests.check_groups(self, actions, load_balancer_arn)
        _reserve(balancer, port)
        return plain_create(
            self,
            load_balancer_arn,
            protocol,
            port,
            ssl_policy,
            certificate,
            actions,
            alpn_policy,
            tags,
        )

    def modify_listener(
        self: Any,
        arn: str,
        port: Any = None,
        protocol: str | None = None,
        ssl_policy: str | None = None,
        certificates: list[dict[str, Any]] | None = None,
        actions: list[dict[str, Any]] | None = None,
    ) -> Any:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyListener.html
        found = self.describe_listeners(None, [arn])[0]
        protocol = protocol or found.protocol
        arns = [one["CertificateArn"] for one in certificates or []]
        if protocol == "HTTPS":
            arns = arns or found.certificates
        acm = acm_backends[self.account_id][self.region_name]
        elb_requests.check_protocol(protocol, ssl_policy or found.ssl_policy, arns, acm)
        if actions:
            rule(actions, [])
            elb_requests.check_sign_on(actions, protocol, found._default_rule[0])
            elb_requests.check_groups(self, actions, found.load_balancer_arn)
        if port is not None and int(port) != int(found.port):
            _reserve(self.load_balancers[found.load_balancer_arn], port)
        modified = plain_modify(self, arn, port, protocol, ssl_policy, certificates or [], actions or [])
        if protocol == "HTTP":
            modified.certificate, modified.certificates = None, []
        return modified

    def add_listener_certificates(self: Any, arn: str, certificates: list[dict[str, Any]]) -> list[str]:
        raise Unsupported("more than one certificate of a listener is not supported by the local AWS: use one")

    def _reserve(balancer: Any, port: Any) -> None:
        if any(int(one.port) == int(port) for one in balancer.listeners.values()):
            raise DuplicateListenerError()
        try:
            fleet.reserve(balancer.dns_name, int(port))
        except OSError as error:
            raise InvalidRequest(
                "InvalidConfigurationRequest",
                f"listener port {port} of load balancer '{balancer.name}' cannot be opened on {balancer.dns_name}: "
                f"{error.strerror}; choose a free port of 1024 or more",
            ) from None

    plain_create = replace(
        BACKEND,
        "create_listener",
        create_listener,
        (
            "self",
            "load_balancer_arn",
            "protocol",
            "port",
            "ssl_policy",
            "certificate",
            "actions",
            "alpn_policy",
            "tags",
        ),
    )
    plain_modify = replace(
        BACKEND,
        "modify_listener",
        modify_listener,
        (
            "self",
            "arn",
            "port",
            "protocol",
            "ssl_policy",
            "certificates",
            "actions",
        ),
    )
    replace(BACKEND, "add_listener_certificates", add_listener_certificates, ("self", "arn", "certificates"))


def _patch_rules() -> None:
    def keep_secret(self: Any, data: dict[str, Any]) -> None:
        # moto tells everybody the client secret; AWS's answers leave it out.
        config = dict(data.get("AuthenticateOidcConfig") or {})
        self.kept_secret = config.pop("ClientSecret", None)
        plain_action(self, {**data, "AuthenticateOidcConfig": config} if config else data)

    plain_action = replace(models.FakeAction, "__init__", keep_secret, ("self", "data"))

    def create_rule(
        self: Any,
        listener_arn: str,
        conditions: list[dict[str, Any]],
        priority: Any,
        actions: list[dict[str, Any]],
        tags: list[dict[str, str]] | None = None,
    ) -> Any:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html
        rule(actions, conditions)
        listener = self.describe_listeners(None, [listener_arn])[0]
        elb_requests.check_sign_on(actions, listener.protocol, None)
        elb_requests.check_groups(self, actions, listener.load_balancer_arn)
        return plain_create(self, listener_arn, conditions, priority, actions, tags)

    def modify_rule(self: Any, rule_arn: str, conditions: list[dict[str, Any]], actions: list[dict[str, Any]]) -> Any:
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ModifyRule.html
        found = self.describe_rules(listener_arn=None, rule_arns=[rule_arn])[0]
        rule(actions or [action.data for action in found.actions], conditions or found.conditions)
        listener = self.describe_listeners(None, [found.listener_arn])[0]
        elb_requests.check_sign_on(actions or [], listener.protocol, found)
        elb_requests.check_groups(self, actions, listener.load_balancer_arn)
        return plain_modify(self, rule_arn, conditions, actions)

    plain_create = replace(
        BACKEND,
        "create_rule",
        create_rule,
        (
            "self",
            "listener_arn",
            "conditions",
            "priority",
            "actions",
            "tags",
        ),
    )
    plain_modify = replace(BACKEND, "modify_rule", modify_rule, ("self", "rule_arn", "conditions", "actions"))
