# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conditions and actions of listener rules as matchers and handlers of the proxy; pure functions.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RuleCondition.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Action.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


class Unsupported(Exception):
    """What AWS would do and the local AWS does not; the message is one line for the caller."""


SIGN_ON_ACTIONS = ("authenticate-oidc", "authenticate-cognito")


@dataclass(frozen=True)
class Rule:
    """A rule as the API holds it; the default rule has no conditions."""

    action: dict[str, Any]
    conditions: tuple[dict[str, Any], ...] = field(default=())
    # (host:port, path) of the service that is asked about each request first; see sign_on_service.py.
    sign_on: tuple[str, str] | None = None
    # 0 is the default rule's.
    priority: str = "0"

    @property
    def weights(self) -> dict[str, int]:
        """How many parts of its requests each group gets that the rule forwards to, by ARN; empty if it does not forward."""
        return weights(self.action) if self.action["Type"] == "forward" else {}


def weights(action: dict[str, Any]) -> dict[str, int]:
    """ARN -> weight of the groups an action forwards to; one alone gets everything, whatever its weight."""
    found = {arn: 1 for arn in target_groups(action)}
    if len(found) > 1:
        for group in action["ForwardConfig"]["TargetGroups"]:
            found[group["TargetGroupArn"]] = int(group.get("Weight", 1))
    return found


def target_groups(action: dict[str, Any]) -> list[str]:
    """ARNs of the groups an action forwards to."""
    weighted = (action.get("ForwardConfig") or {}).get("TargetGroups", [])
    if weighted:
        return [group["TargetGroupArn"] for group in weighted]
    return [action["TargetGroupArn"]] if "TargetGroupArn" in action else []


def in_order(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(actions, key=lambda action: int(action.get("Order") or 0))


def rule(actions: list[dict[str, Any]], conditions: list[dict[str, Any]]) -> Rule:
    """The rule these API structures declare; Unsupported if it cannot be served exactly."""
    every = in_order(actions)
    actions = [action for action in every if action.get("Type") not in SIGN_ON_ACTIONS]
    if len(actions) != 1 or len(every) > 2:
        raise Unsupported(
            f"a rule with {len(actions)} actions, and {len(every) - len(actions)} that sign users on, is not supported by the "
            "local AWS: give exactly one, after at most one of "
            f"{' and '.join(SIGN_ON_ACTIONS)}"
        )
    action = actions[0]
    kind = action.get("Type")
    if kind == "forward":
        _check_forward(action)
    elif kind == "redirect":
        redirect(action["RedirectConfig"], 80)
    elif kind == "fixed-response":
        fixed_response(action["FixedResponseConfig"])
    else:
        raise Unsupported(
            f"listener action '{kind}' is not supported by the local AWS: use forward, redirect, fixed-response or "
            f"{' or '.join(SIGN_ON_ACTIONS)}"
        )
    matcher(tuple(conditions))
    return Rule(action, tuple(conditions))


def _check_forward(action: dict[str, Any]) -> None:
    groups = target_groups(action)
    if not groups:
        raise Unsupported("forwarding to no target group is not supported by the local AWS: give one to five")
    if not any(weights(action).values()):
        raise Unsupported(
            "forwarding to groups that all have weight 0 is not supported by the local AWS: give one of them a weight"
        )
    stickiness = (action.get("ForwardConfig") or {}).get("TargetGroupStickinessConfig") or {}
    if str(stickiness.get("Enabled", False)).lower() == "true":
        raise Unsupported("target group stickiness is not supported by the local AWS: leave it disabled")


def literal(text: str) -> str:
    """Text without placeholders: the proxy would expand `{env.NAME}` in what a user wrote."""
    return text.replace("{", "\\{")


def fixed_response(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "handler": "static_response",
        "status_code": int(config["StatusCode"]),
        "body": literal(config.get("MessageBody", "")),
        "headers": {"Content-Type": [config.get("ContentType") or "text/plain"], "Server": ["awselb/2.0"]},
    }


def redirect(config: dict[str, Any], listener_port: int, scheme: str = "http") -> dict[str, Any]:
    """The answer that sends a client elsewhere; every part not given is kept from the request.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RedirectActionConfig.html
    """
    protocol = config.get("Protocol", "#{protocol}").replace("#{protocol}", scheme).lower()
    port = config.get("Port", "#{port}").replace("#{port}", str(listener_port))
    host = _fill(config.get("Host", "#{host}"), {"#{host}": "{http.request.host}"})
    path = _fill(config.get("Path", "/#{path}"), {"/#{path}": "{http.request.uri.path}"})
    query = config.get("Query", "#{query}")
    if query == "#{query}":
        query = "{http.request.uri.prefixed_query}"
    elif query:
        query = "?" + _fill(query, {"#{query}": "{http.request.uri.query}"})
    shown_port = "" if (protocol, port) in {("http", "80"), ("https", "443")} else f":{port}"
    return {
        "handler": "static_response",
        "status_code": int(config["StatusCode"].removeprefix("HTTP_")),
        "headers": {"Location": [f"{protocol}://{host}{shown_port}{path}{query}"], "Server": ["awselb/2.0"]},
    }


def _fill(text: str, keywords: dict[str, str]) -> str:
    parts = re.split(f"({'|'.join(map(re.escape, keywords))})", text)
    filled = [keywords.get(part, part) for part in parts]
    for part, done in zip(parts, filled, strict=True):
        if part == done and "#{" in part:
            raise Unsupported(
                f"redirect '{text}': this use of a keyword is not supported by the local AWS: use it in "
                "its own component"
            )
    return "".join(done if part in keywords else literal(done) for part, done in zip(parts, filled, strict=True))


def matcher(conditions: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """One matcher set in which every condition must hold; Unsupported for those that cannot be told exactly."""
    found: dict[str, Any] = {}
    for condition in conditions:
        name, value = _condition(condition)
        if name == "header_regexp":
            known = found.setdefault(name, {})
            if known.keys() & value.keys():
                raise Unsupported(
                    f"two conditions on header '{next(iter(value))}' in one rule are not supported by "
                    "the local AWS: merge them"
                )
            known.update(value)
        elif name in found:
            raise Unsupported(
                f"two '{condition['Field']}' conditions in one rule are not supported by the local AWS: merge them"
            )
        else:
            found[name] = value
    return found


def _condition(condition: dict[str, Any]) -> tuple[str, Any]:
    kind = condition.get("Field")
    if kind == "host-header":
        return "header_regexp", {
            "Host": {"pattern": _pattern(_values(condition, "HostHeaderConfig"), "(?i)", r"(:\d+)?")}
        }
    if kind == "path-pattern":
        return "path_regexp", {"pattern": _pattern(_values(condition, "PathPatternConfig"))}
    if kind == "http-header":
        name = condition["HttpHeaderConfig"]["HttpHeaderName"]
        return "header_regexp", {name.title(): {"pattern": _pattern(_values(condition, "HttpHeaderConfig"), "(?i)")}}
    if kind == "http-request-method":
        return "method", list(_values(condition, "HttpRequestMethodConfig"))
    if kind == "source-ip":
        return "remote_ip", {"ranges": list(_values(condition, "SourceIpConfig"))}
    raise Unsupported(
        f"rule condition '{kind}' is not supported by the local AWS: use host-header, path-pattern, "
        "http-header, http-request-method or source-ip"
    )


def _values(condition: dict[str, Any], config: str) -> list[str]:
    return (condition.get(config) or {}).get("Values") or condition.get("Values") or []


def _pattern(values: list[str], flags: str = "", suffix: str = "") -> str:
    """A regular expression for ALB's wildcards: `*` is any text, `?` exactly one character."""
    wild = ["".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in value) for value in values]
    return f"{flags}^(?:{'|'.join(wild)}){suffix}$"
