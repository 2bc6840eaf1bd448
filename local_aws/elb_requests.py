# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the load balancer API is asked for: refused as AWS refuses it, or because the local AWS does not serve it."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from .elb_targets import sign_on_of
from .load_balancer_rules import SIGN_ON_ACTIONS, Unsupported, target_groups
from .load_balancer_tls import check_policy
from .target_directory import MOST_ADDRESSES
from .target_health import Matcher

NAME = re.compile(r"(?!internal-)[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?")
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
HEALTH_CHECK_RANGES = {
    "interval": ("Health check interval", 5, 300),
    "timeout": ("Health check timeout", 2, 120),
    "healthy_threshold": ("Healthy threshold count", 2, 10),
    "unhealthy_threshold": ("Unhealthy threshold count", 2, 10),
}


class InvalidRequest(Exception):
    """A refusal with AWS's error code; the message is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_load_balancer(name: str, scheme: str, kind: str | None, ip_address_type: str, mappings: Any) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html"""
    if not NAME.fullmatch(name or ""):
        raise InvalidRequest(
            "ValidationError",
            f"The load balancer name '{name}' must have 1 to 32 letters, digits or "
            "hyphens, must not begin or end with a hyphen and must not begin with 'internal-'",
        )
    if scheme not in ("internet-facing", "internal"):
        raise InvalidRequest("InvalidScheme", f"Load balancer scheme '{scheme}' must be internet-facing or internal")
    if kind not in (None, "application"):
        raise Unsupported(f"load balancers of type '{kind}' are not supported by the local AWS: use application")
    if ip_address_type not in (None, "ipv4"):
        raise Unsupported(f"IP address type '{ip_address_type}' is not supported by the local AWS: use ipv4")
    if mappings:
        raise Unsupported("subnet mappings are not supported by the local AWS: use subnets")


def check_placement(ec2: Any, subnet_ids: list[str], security_groups: list[str]) -> None:
    """Subnets in at least two zones of one VPC, security groups that exist."""
    from moto.elbv2.exceptions import SubnetNotFoundError

    try:
        subnets = [ec2.get_subnet(one) for one in subnet_ids]
    except Exception:  # moto raises EC2's error, the load balancer API has its own
        raise SubnetNotFoundError() from None
    zones = [subnet.availability_zone for subnet in subnets]
    if len(set(zones)) < 2:
        raise InvalidRequest(
            "ValidationError", "At least two subnets in two different Availability Zones must be specified"
        )
    if len(set(zones)) < len(zones):
        raise InvalidRequest(
            "InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        )
    for one in security_groups:
        if ec2.get_security_group_from_id(one) is None:
            raise InvalidRequest("InvalidSecurityGroup", f"Security group {one} does not exist")


def check_protocol(protocol: str | None, policy: str | None, certificate_arns: list[str], acm: Any) -> None:
    """A listener's protocol with its security policy and certificates; `acm` is the backend of its region.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
    """
    from moto.acm.exceptions import CertificateNotFound

    if protocol == "HTTP":
        if certificate_arns:
            raise InvalidRequest("InvalidConfigurationRequest", "A listener with protocol HTTP takes no certificate")
        return
    if protocol != "HTTPS":
        raise InvalidRequest("UnsupportedProtocol", f"Protocol {protocol} is not supported")
    if len(certificate_arns) != 1:
        raise InvalidRequest(
            "InvalidConfigurationRequest",
            "You must provide a list containing exactly one certificate if the listener protocol is HTTPS",
        )
    check_policy(policy)
    arn = certificate_arns[0]
    try:
        certificate = acm.get_certificate(arn)
    except CertificateNotFound:
        raise InvalidRequest("CertificateNotFound", f"Certificate ARN '{arn}' is not valid") from None
    if certificate.status not in ("ISSUED", "EXPIRED"):
        raise InvalidRequest(
            "UnsupportedCertificate",
            f"The certificate '{arn}' must have a fully-qualified domain name, a supported signature, and a supported "
            f"key size; its status is {certificate.status}",
        )


def check_sign_on(actions: list[dict[str, Any]], protocol: str, existing: Any) -> None:
    """Authenticate actions; `existing` is the rule that is changed, or None. Fills in a client secret that is kept.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AuthenticateOidcActionConfig.html
    """
    for action in actions:
        if action.get("Type") not in SIGN_ON_ACTIONS:
            continue
        if protocol != "HTTPS":
            raise InvalidRequest(
                "InvalidLoadBalancerAction", "Authenticate actions are only supported on HTTPS listeners"
            )
        if action["Type"] == "authenticate-cognito":
            _check_cognito(action["AuthenticateCognitoConfig"])
            continue
        config = action["AuthenticateOidcConfig"]
        for name in ("Issuer", "AuthorizationEndpoint", "TokenEndpoint", "UserInfoEndpoint"):
            if not str(config.get(name, "")).startswith("https://"):
                raise InvalidRequest("InvalidLoadBalancerAction", f"{name} '{config.get(name)}' must be an HTTPS URL")
        if str(config.pop("UseExistingClientSecret", False)).lower() == "true":
            config["ClientSecret"] = (sign_on_of(existing) or {}).get("ClientSecret") if existing else None
        if not config.get("ClientSecret"):
            raise InvalidRequest("InvalidLoadBalancerAction", "A client secret must be specified")
        _check_session_timeout(config)


def _check_session_timeout(config: dict[str, Any]) -> None:
    if not 1 <= int(config.get("SessionTimeout") or 604800) <= 604800:
        raise InvalidRequest("InvalidLoadBalancerAction", "The session timeout must be in 1-604800 seconds")


def _check_cognito(config: dict[str, Any]) -> None:
    """A user pool with a client that a load balancer can use. ELB asks DescribeUserPoolClient on behalf of the caller.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html#cognito-requirements
    """
    from moto.cognitoidp.models import cognitoidp_backends

    arn, client_id = config["UserPoolArn"], config["UserPoolClientId"]
    parts = re.fullmatch(r"arn:[\w-]+:cognito-idp:[\w-]+:(\d{12}):userpool/[\w-]+", arn)
    if parts is None:
        raise InvalidRequest("ValidationError", f"'{arn}' is not a valid user pool ARN")
    backends = cognitoidp_backends.get(parts[1], {}).values()
    pool = next((one for backend in backends for one in backend.user_pools.values() if one.arn == arn), None)
    client = pool.clients.get(client_id) if pool else None
    if client is None:
        what = f"user pool client '{client_id}' of '{arn}'" if pool else f"user pool '{arn}'"
        raise InvalidRequest("InvalidLoadBalancerAction", f"The {what} does not exist")
    if not client.generate_secret:
        raise InvalidRequest("InvalidLoadBalancerAction", "The user pool client must have a client secret")
    _check_session_timeout(config)


# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupTuple.html
WEIGHTS = (0, 999)
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html, "per action"
MOST_GROUPS = 5


def check_weights(action: dict[str, Any]) -> None:
    """A forward action with weights: one to five groups, each once, each with a weight."""
    groups = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
    arns = [group["TargetGroupArn"] for group in groups]
    if len(groups) > MOST_GROUPS:
        raise InvalidRequest(
            "ValidationError", f"A forward action can have at most {MOST_GROUPS} target groups, not {len(groups)}"
        )
    if len(set(arns)) < len(arns):
        raise InvalidRequest("InvalidLoadBalancerAction", "A forward action cannot have a target group twice")
    if groups and action.get("TargetGroupArn") and arns != [action["TargetGroupArn"]]:
        raise InvalidRequest(
            "InvalidLoadBalancerAction",
            "A forward action with a target group ARN can have the same target group only in its forward config",
        )
    for group in groups:
        weight = group.get("Weight", 1)
        if not WEIGHTS[0] <= int(weight) <= WEIGHTS[1]:
            raise InvalidRequest(
                "ValidationError", f"Target group weight '{weight}' must be between {WEIGHTS[0]} and {WEIGHTS[1]}"
            )


def check_groups(backend: Any, actions: list[dict[str, Any]], balancer_arn: str) -> None:
    """The weights of forward actions; and a target group serves one load balancer: TargetGroupAssociationLimit."""
    for action in actions:
        check_weights(action)
        for arn in target_groups(action):
            group = backend.target_groups.get(arn)
            if group is None:
                raise InvalidRequest("TargetGroupNotFound", f"Target groups '{arn}' not found")
            if set(group.load_balancer_arns) - {balancer_arn}:
                raise InvalidRequest(
                    "TargetGroupAssociationLimit",
                    f"The following target groups cannot be associated with more than one load balancer: {arn}",
                )


def check_target_group(wanted: dict[str, Any]) -> None:
    """The arguments of moto's create_target_group; None is what was not given."""
    kind = wanted.get("target_type") or "instance"
    if kind != "ip":
        raise Unsupported(f"target type '{kind}' is not supported by the local AWS: use ip")
    for name, served in (("protocol", "HTTP"), ("healthcheck_protocol", "HTTP"), ("protocol_version", "HTTP1")):
        if wanted.get(name) not in (None, served):
            raise Unsupported(f"target group {name} '{wanted[name]}' is not supported by the local AWS: use {served}")
    if wanted.get("ip_address_type") not in (None, "ipv4"):
        raise Unsupported(f"IP address type '{wanted['ip_address_type']}' is not supported by the local AWS: use ipv4")
    _check_health_check(
        interval=wanted.get("healthcheck_interval_seconds"),
        timeout=wanted.get("healthcheck_timeout_seconds"),
        healthy_threshold=wanted.get("healthy_threshold_count"),
        unhealthy_threshold=wanted.get("unhealthy_threshold_count"),
        enabled=wanted.get("healthcheck_enabled"),
        port=wanted.get("healthcheck_port"),
        path=wanted.get("healthcheck_path"),
        codes=(wanted.get("matcher") or {}).get("HttpCode"),
    )


def check_health_check_change(group: Any, wanted: dict[str, Any]) -> None:
    """The arguments of moto's modify_target_group."""
    if wanted.get("health_check_proto") not in (None, "HTTP"):
        raise Unsupported(
            f"health check protocol '{wanted['health_check_proto']}' is not supported by the local AWS: use HTTP"
        )
    _check_health_check(
        interval=wanted.get("health_check_interval") or group.health_check_interval_seconds,
        timeout=wanted.get("health_check_timeout") or group.health_check_timeout_seconds,
        healthy_threshold=wanted.get("healthy_threshold_count"),
        unhealthy_threshold=wanted.get("unhealthy_threshold_count"),
        enabled=wanted.get("health_check_enabled"),
        port=wanted.get("health_check_port"),
        path=wanted.get("health_check_path"),
        codes=wanted.get("http_codes"),
    )


def _check_health_check(enabled: Any, port: Any, path: str | None, codes: str | None, **numbers: Any) -> None:
    if str(enabled).lower() == "false":
        raise InvalidRequest(
            "InvalidConfigurationRequest", "Health check enabled must be true for target groups with target type 'ip'"
        )
    for name, value in numbers.items():
        words, low, high = HEALTH_CHECK_RANGES[name]
        if value is not None and not low <= int(value) <= high:
            raise InvalidRequest("ValidationError", f"{words} '{value}' must be between {low} and {high}")
    interval, timeout = numbers["interval"], numbers["timeout"]
    if interval is not None and timeout is not None and int(timeout) >= int(interval):
        raise InvalidRequest(
            "ValidationError", f"Health check timeout '{timeout}' must be smaller than the interval '{interval}'"
        )
    if port not in (None, "traffic-port") and not (str(port).isdigit() and 1 <= int(port) <= 65535):
        raise InvalidRequest("ValidationError", f"Health check port '{port}' must be 'traffic-port' or in 1-65535")
    if path is not None and not re.fullmatch(r"/[\x21-\x7e]{0,1023}", path):
        raise InvalidRequest(
            "ValidationError",
            f"Health check path '{path}' must begin with '/' and have at most 1024 printable characters without spaces",
        )
    if codes is not None:
        try:
            Matcher.parse(codes)
        except ValueError as error:
            raise InvalidRequest("ValidationError", str(error)) from None


def check_targets(group: Any, targets: list[dict[str, Any]]) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html"""
    for target in targets:
        try:
            ipaddress.IPv4Address(target["Id"])
        except ValueError:
            raise InvalidRequest(
                "ValidationError", f"The IP address '{target['Id']}' is not a valid IPv4 address"
            ) from None
    if len(group.targets) + len(targets) > MOST_ADDRESSES:
        raise InvalidRequest("TooManyTargets", f"The local AWS serves at most {MOST_ADDRESSES} targets in a group")
