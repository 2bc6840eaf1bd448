# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about the listeners of an application load balancer: pure functions over the API's dictionaries."""

from __future__ import annotations

import hashlib
import typing as t

# Port that a client leaves out of a URL and of the Host header.
SCHEME_PORTS = {"HTTP": 80, "HTTPS": 443}
# Tag that tells which client secret a listener was given: AWS shows the secret to nobody.
SIGN_ON_TAG = "mlflow-sign-on"
# Programs bring MLflow's own credentials, which MLflow checks; they have no browser to sign on with.
BASIC_AUTH = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "Authorization", "Values": ["Basic *"]}}
BASIC_AUTH_PRIORITY = 1
# What AWS fills in.
SIGN_ON_DETAILS = ("SessionCookieName", "AuthenticationRequestExtraParams", "UseExistingClientSecret")
# What a redirect action leaves as the client asked for it.
KEPT_OF_REQUEST = {"Path": "/#{path}", "Query": "#{query}"}


def arguments(option: dict[str, t.Any], target_group_arn: str, domain_name: str) -> dict[str, t.Any]:
    """CreateListener and ModifyListener, without the port, for one of the module's `listeners`."""
    tls = {}
    if option["protocol"] == "HTTPS":
        certificates = [{"CertificateArn": option["certificate_arn"]}]
        tls = {"SslPolicy": option["ssl_policy"], "Certificates": certificates}
    return {
        "Protocol": option["protocol"],
        **tls,
        "DefaultActions": [*_sign_on(option), _action(option, target_group_arn, domain_name)],
    }


def _sign_on(option: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    wanted = option.get("sign_on")
    if not wanted:
        return []
    asked = {
        "Scope": wanted["scope"],
        "SessionTimeout": wanted["session_timeout"],
        "OnUnauthenticatedRequest": "authenticate",
    }
    if wanted.get("user_pool_arn"):
        pool = {
            "UserPoolArn": wanted["user_pool_arn"],
            "UserPoolClientId": wanted["user_pool_client_id"],
            "UserPoolDomain": wanted["user_pool_domain"],
        }
        return [{"Type": "authenticate-cognito", "Order": 1, "AuthenticateCognitoConfig": {**pool, **asked}}]
    config = {
        "Issuer": wanted["issuer"],
        "AuthorizationEndpoint": wanted["authorization_endpoint"],
        "TokenEndpoint": wanted["token_endpoint"],
        "UserInfoEndpoint": wanted["user_info_endpoint"],
        "ClientId": wanted["client_id"],
        "ClientSecret": wanted["client_secret"],
        **asked,
    }
    return [{"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": config}]


def fingerprint(option: dict[str, t.Any]) -> str:
    """Tells client secrets apart without telling them; empty without one. Slow to compute, so that none is guessed."""
    wanted = option.get("sign_on")
    # Cognito tells its client secret to load balancers itself.
    if not wanted or wanted.get("user_pool_arn"):
        return ""
    salt = f"{wanted['issuer']} {wanted['client_id']}".encode()
    return hashlib.scrypt(wanted["client_secret"].encode(), salt=salt, n=16384, r=8, p=1, dklen=8).hex()


def _action(option: dict[str, t.Any], target_group_arn: str, domain_name: str) -> dict[str, t.Any]:
    if not option["redirect_port"]:
        order = {"Order": 2} if option.get("sign_on") else {}
        return {"Type": "forward", **order, "TargetGroupArn": target_group_arn}
    redirect = {
        "Protocol": "HTTPS",
        "Port": str(option["redirect_port"]),
        "Host": domain_name or "#{host}",
        **KEPT_OF_REQUEST,
        "StatusCode": "HTTP_301",
    }
    return {"Type": "redirect", "RedirectConfig": redirect}


def told(listener: dict[str, t.Any], target_group_arn: str, secret: str = "") -> str:
    """A listener, found or wanted, in words that differ where it does: for comparing and for diffs. `secret` is the
    fingerprint of its client secret."""
    tls = ""
    if listener["Protocol"] == "HTTPS":
        certificates = ", ".join(one["CertificateArn"] for one in listener.get("Certificates", []))
        tls = f" with {certificates or 'no certificate'} by {listener.get('SslPolicy')}"
    in_order = sorted(listener.get("DefaultActions", []), key=lambda action: action.get("Order", 0))
    actions = [_told_action(action, target_group_arn, secret) for action in in_order]
    return f"{listener['Protocol']}{tls}, {', then '.join(actions)}"


def _told_action(action: dict[str, t.Any], target_group_arn: str, secret: str) -> str:
    if action["Type"] == "forward" and action.get("TargetGroupArn") == target_group_arn:
        return "forwards"
    if action["Type"] == "redirect":
        config = {"Host": "#{host}", **KEPT_OF_REQUEST, **action["RedirectConfig"]}
        return (
            f"redirects ({config['StatusCode']}) to {config.get('Protocol', '#{protocol}').lower()}://{config['Host']}:"
            f"{config.get('Port', '#{port}')}{config['Path']}?{config['Query']}"
        )
    if action["Type"] == "authenticate-oidc":
        return f"signs users on ({_told_sign_on(action['AuthenticateOidcConfig'])}, client secret {secret or 'unknown'})"
    if action["Type"] == "authenticate-cognito":
        return f"signs users on with Cognito ({_told_sign_on(action['AuthenticateCognitoConfig'])})"
    return f"does something else ({action['Type']})"


def _told_sign_on(config: dict[str, t.Any]) -> str:
    told_apart = {key: value for key, value in config.items() if key not in ("ClientSecret", *SIGN_ON_DETAILS)}
    return ", ".join(f"{key} {value}" for key, value in sorted(told_apart.items()))


def basic_auth_rule(target_group_arn: str) -> dict[str, t.Any]:
    """CreateRule and ModifyRule, without the priority, for requests that bring MLflow's own credentials."""
    return {"Conditions": [BASIC_AUTH], "Actions": [{"Type": "forward", "TargetGroupArn": target_group_arn}]}


def told_rule(rule: dict[str, t.Any], target_group_arn: str) -> str:
    """A rule, found or wanted, in words that differ where it does."""
    conditions = [
        f"{one['Field']} {one.get('HttpHeaderConfig') or one.get('Values')}" for one in rule.get("Conditions", [])
    ]
    actions = [_told_action(action, target_group_arn, "") for action in rule.get("Actions", [])]
    return f"where {' and '.join(conditions)}: {', then '.join(actions)}"


def check(options: list[dict[str, t.Any]]) -> None:
    """ValueError for listeners that ELB would refuse half way, or that would lead nowhere."""
    ports = [option["port"] for option in options]
    if len(set(ports)) < len(ports):
        raise ValueError(f"listeners = {ports}: two have the same port; give each its own")
    secure = {option["port"] for option in options if option["protocol"] == "HTTPS"}
    for option in options:
        if option["protocol"] == "HTTPS" and not option["certificate_arn"]:
            raise ValueError(f"listeners: port {option['port']} is HTTPS and has no certificate_arn; give one")
        if option.get("sign_on") and (option["protocol"] != "HTTPS" or option["redirect_port"]):
            raise ValueError(
                f"listeners: port {option['port']} shall sign users on, which AWS does on HTTPS listeners that forward"
                " only; give it protocol HTTPS and a certificate"
            )
        if option["redirect_port"] and option["redirect_port"] not in secure:
            raise ValueError(
                f"listeners: port {option['port']} redirects to {option['redirect_port']}, which no HTTPS listener has;"
                f" choose one of {sorted(secure) or 'none'}"
            )


def serving(listeners: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Those that answer themselves, HTTPS before HTTP, then by port: clients use the first."""
    answering = [
        listener
        for listener in listeners
        if not any(action["Type"] == "redirect" for action in listener.get("DefaultActions", []))
    ]
    return sorted(answering, key=lambda listener: (listener["Protocol"] != "HTTPS", listener["Port"]))


def origins(name: str | None, listeners: list[dict[str, t.Any]]) -> list[str]:
    """`scheme://name` or `scheme://name:port` of each listener that answers, the one that clients use first."""
    if not name:
        return []
    return [
        f"{one['Protocol'].lower()}://{name}"
        + ("" if one["Port"] == SCHEME_PORTS.get(one["Protocol"]) else f":{one['Port']}")
        for one in serving(listeners)
    ]
