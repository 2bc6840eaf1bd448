# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the proxy (Caddy's JSON) that behaves as the declared listeners; pure functions.

Not imitated: desync mitigation (requests are judged by Go's HTTP server), X-Amzn-Trace-Id, the idle timeout in the
middle of a body, the end of a connection after `client_keep_alive.seconds` of use.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-listeners.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .access_logs import LOGGER, proxy_logging, told
from .load_balancer_rules import Rule, fixed_response, matcher, redirect
from .load_balancer_tls import certificates_from, connection_policy
from .target_directory import name_of
from .web_acls import routes as web_acl_routes

SECOND = 1_000_000_000
# "Failed to establish a connection to the target before the connection timeout expired (10 seconds)":
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
CONNECT_TIMEOUT_SECONDS = 10
# Below the 2 s and 5 s after which gunicorn and uvicorn close an idle connection: else a request meets the closing.
TARGET_KEEP_ALIVE_SECONDS = 1
# A changed configuration must not cut WebSockets that are open.
STREAM_CLOSE_DELAY_SECONDS = 24 * 3600
HEADER_LIMIT_BYTES = 64 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}
# The proxy gives each request a random UUID; its first digits choose among groups with weights.
RANDOM_DIGITS = 4
RANDOM_RANGE = 16**RANDOM_DIGITS
# How long the proxy may go on with receivers that it looked up.
LOOK_UP_SECONDS = 0.05
# What ALB calls invalid: a name with anything but letters, digits and hyphens; these are what Go lets through.
INVALID_HEADER_NAMES = [f"*{character}*" for character in "!#$%&'+.^_`|~"]
# A client's own never reach a target of a rule with sign-on.
SIGN_ON_HEADERS = ("X-Amzn-Oidc-Identity", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Data")
ALB_ERRORS = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}


@dataclass(frozen=True)
class TargetGroup:
    """How a group's requests are spread; `ports` are those its targets listen on."""

    arn: str
    ports: tuple[int, ...]
    algorithm: str = "round_robin"


@dataclass(frozen=True)
class Listener:
    """One open port of a load balancer; rules in order of priority, the default one last; times in seconds.

    `descriptor` is the listening socket, inherited: a new configuration then loses no connection that waits in it.
    """

    port: int
    descriptor: int
    rules: tuple[Rule, ...]
    # Security policy and where the certificate is asked for, of HTTPS listeners only.
    tls: tuple[str, str] | None = None
    idle_timeout: int = 60
    preserve_host: bool = False
    drop_invalid_headers: bool = False
    # Names of the rules of its web ACL that block; see web_acls.py.
    blocking: tuple[str, ...] = ()
    # File for the records of requests; empty for none.
    access_log: str = ""
    # ARN, of HTTPS listeners only.
    certificate: str = ""

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"


def proxy_config(
    base: dict[str, Any], listener: Listener, groups: dict[str, TargetGroup], directory: tuple[str, int]
) -> dict[str, Any]:
    """The whole configuration of one listener's proxy.

    `base` holds what does not depend on the listener (admin, logging, storage); `directory` is where receivers are
    looked up.
    """
    apps: dict[str, Any] = {"http": {"servers": {"listener": _server(listener, groups, directory)}}}
    if listener.tls:
        apps["tls"] = certificates_from(listener.tls[1])
    if listener.access_log:
        logs = base["logging"]["logs"]
        own = {**logs["default"], "exclude": [LOGGER]}
        base = {**base, "logging": {"logs": {**logs, "default": own, "access": proxy_logging(listener.access_log)}}}
    return {**base, "apps": apps}


def _server(listener: Listener, groups: dict[str, TargetGroup], directory: tuple[str, int]) -> dict[str, Any]:
    routes = [*web_acl_routes(listener.blocking), *_header_routes(listener)]
    for rule in listener.rules:
        first = [*_told_of_rule(rule, listener), *([_ask_who_it_is(rule.sign_on, listener)] if rule.sign_on else [])]
        last = [*_told_of_action(rule, listener), _handler(rule, listener, groups, directory)]
        route: dict[str, Any] = {"handle": [*first, *last], "terminal": True}
        if rule.conditions:
            route["match"] = [matcher(rule.conditions)]
        routes.append(route)
    tls = {"tls_connection_policies": [connection_policy(listener.tls[0])]} if listener.tls else {}
    return {
        "listen": [f"fd/{listener.descriptor}"],
        # An ALB speaks HTTP/2 with clients over TLS only.
        "protocols": ["h1", "h2"] if listener.tls else ["h1"],
        **tls,
        **({"logs": {}} if listener.access_log else {}),
        "automatic_https": {"disable": True},
        "idle_timeout": listener.idle_timeout * SECOND,
        "read_header_timeout": listener.idle_timeout * SECOND,
        "max_header_bytes": HEADER_LIMIT_BYTES,
        # X-Forwarded-For is appended to what a client sent (ALB's mode "append") only for trusted senders.
        "trusted_proxies": {"source": "static", "ranges": ["0.0.0.0/0", "::/0"]},
        "routes": routes,
        "errors": {"routes": _error_routes(listener)},
    }


def _header_routes(listener: Listener) -> list[dict[str, Any]]:
    # The proxy names itself in the answer only after its own header operations: hence deferred.
    routes: list[dict[str, Any]] = [
        {"handle": [{"handler": "headers", "response": {"deferred": True, "delete": ["Via"]}}]}
    ]
    if listener.drop_invalid_headers:
        routes.append({"handle": [{"handler": "headers", "request": {"delete": INVALID_HEADER_NAMES}}]})
    if not listener.preserve_host and listener.port != DEFAULT_PORTS[listener.scheme]:
        # "Host header preservation" off: the port is appended if it is not the default one and missing.
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html
        with_port = {"Host": [f"{{http.request.host}}:{listener.port}"]}
        routes.append(
            {
                "match": [{"header_regexp": {"Host": {"pattern": r"^[^:]+$"}}}],
                "handle": [{"handler": "headers", "request": {"set": with_port}}],
            }
        )
    return routes


def _told_of_rule(rule: Rule, listener: Listener) -> list[dict[str, Any]]:
    if not listener.access_log:
        return []
    sign_on = {"sign_on": "authenticate"} if rule.sign_on else {}
    agent = "{http.request.header.User-Agent}"
    facts = {"rule": rule.priority, "port": str(listener.port), "certificate": listener.certificate, "agent": agent}
    return told(**facts, **sign_on)


def _told_of_action(rule: Rule, listener: Listener) -> list[dict[str, Any]]:
    """What is known once the action is taken, which it is not for users who are sent to sign on."""
    if not listener.access_log:
        return []
    facts = {"action": rule.action["Type"]}
    if rule.action["Type"] == "forward":
        # Which group it is, the handler tells.
        facts["target"] = "{http.reverse_proxy.upstream.hostport}"
        facts["wait"] = "{http.reverse_proxy.upstream.latency_ms}"
    if rule.action["Type"] == "redirect":
        facts["redirect"] = "{http.response.header.Location}"
    return told(**facts)


def _ask_who_it_is(place: tuple[str, str], listener: Listener) -> dict[str, Any]:
    """Let a request pass with what the sign-on service adds to it, or give the client that service's answer."""
    address, path = place
    passed = {name: [f"{{http.reverse_proxy.header.{name}}}"] for name in SIGN_ON_HEADERS}
    told = {
        "X-Forwarded-Uri": ["{http.request.uri}"],
        "X-Forwarded-Host": ["{http.request.hostport}"],
        "X-Forwarded-Proto": [listener.scheme],
    }
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": address}],
        "rewrite": {"method": "GET", "uri": path},
        "headers": {"request": {"set": told}},
        "handle_response": [
            {
                "match": {"status_code": [200]},
                "routes": [{"handle": [{"handler": "headers", "request": {"set": passed}}]}],
            }
        ],
    }


def _handler(
    rule: Rule, listener: Listener, groups: dict[str, TargetGroup], directory: tuple[str, int]
) -> dict[str, Any]:
    action = rule.action
    if action["Type"] == "fixed-response":
        return fixed_response(action["FixedResponseConfig"])
    if action["Type"] == "redirect":
        return redirect(action["RedirectConfig"], listener.port, listener.scheme)
    given = [(groups[arn], weight) for arn, weight in rule.weights.items() if weight]
    routes, total, below = [], sum(weight for _group, weight in given), 0
    for group, weight in given:
        below += weight
        route: dict[str, Any] = {"handle": [*_told_of_group(group, listener), _to_group(listener, group, directory)]}
        if below < total:
            # The first group whose part of the range holds the request's random number.
            pattern = _hexadecimal_below(round(below * RANDOM_RANGE / total))
            route["match"] = [{"vars_regexp": {"{http.request.uuid}": {"pattern": pattern}}}]
        routes.append({**route, "terminal": True})
    return {"handler": "subroute", "routes": routes}


def _hexadecimal_below(bound: int) -> str:
    """A regular expression for what begins with RANDOM_DIGITS hexadecimal digits of a number below `bound`."""
    digits, found = f"{bound:0{RANDOM_DIGITS}x}", []
    for place, digit in enumerate(digits):
        smaller = "0123456789abcdef"[: int(digit, 16)]
        if smaller:
            found.append(f"{digits[:place]}[{smaller}]")
    return f"^(?:{'|'.join(found)})"


def _told_of_group(group: TargetGroup, listener: Listener) -> list[dict[str, Any]]:
    return told(group=group.arn) if listener.access_log else []


def _to_group(listener: Listener, group: TargetGroup, directory: tuple[str, int]) -> dict[str, Any]:
    return {
        "handler": "subroute",
        "routes": [
            {
                "match": [{"header": {"X-Forwarded-Host": ["*"]}}],
                "terminal": True,
                "handle": [_forward(listener, group, directory, [])],
            },
            # The proxy adds this header, ALB does not; a client's own passes.
            {"handle": [_forward(listener, group, directory, ["X-Forwarded-Host"])]},
        ],
    }


def _forward(listener: Listener, group: TargetGroup, directory: tuple[str, int], without: list[str]) -> dict[str, Any]:
    policies = {"round_robin": "round_robin", "least_outstanding_requests": "least_conn", "weighted_random": "random"}
    resolver = {"addresses": [f"udp/{directory[0]}:{directory[1]}"]}
    sources = [
        {
            "source": "a",
            "name": name_of(group.arn, port),
            "port": str(port),
            "resolver": resolver,
            "refresh": round(LOOK_UP_SECONDS * SECOND),
            "versions": {"ipv4": True, "ipv6": False},
        }
        for port in group.ports
    ]
    return {
        "handler": "reverse_proxy",
        # Nobody found: the proxy answers 503, as ALB does without registered targets.
        "dynamic_upstreams": sources[0] if len(sources) == 1 else {"source": "multi", "sources": sources},
        # No try_duration and no retries: a request is sent once, to one target.
        "load_balancing": {"selection_policy": {"policy": policies[group.algorithm]}},
        "flush_interval": SECOND // 100,
        "stream_close_delay": STREAM_CLOSE_DELAY_SECONDS * SECOND,
        "headers": {
            "request": {
                "set": {"X-Forwarded-Proto": [listener.scheme], "X-Forwarded-Port": [str(listener.port)]},
                "delete": ["Via", *without],
            },
        },
        "transport": {
            "protocol": "http",
            "versions": ["1.1"],
            "compression": False,
            "dial_timeout": CONNECT_TIMEOUT_SECONDS * SECOND,
            "response_header_timeout": listener.idle_timeout * SECOND,
            "keep_alive": {"enabled": True, "idle_timeout": TARGET_KEEP_ALIVE_SECONDS * SECOND},
        },
    }


def _error_routes(listener: Listener) -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = []
    if listener.access_log:
        routes.append({"handle": told(error_status="{http.error.status_code}")})
    for code, title in ALB_ERRORS.items():
        page = (
            f"<html>\r\n<head><title>{code} {title}</title></head>\r\n<body>\r\n"
            f"<center><h1>{code} {title}</h1></center>\r\n</body>\r\n</html>\r\n"
        )
        routes.append(
            {
                "match": [{"vars": {"{http.error.status_code}": [str(code)]}}],
                "handle": [
                    {
                        "handler": "static_response",
                        "status_code": code,
                        "body": page,
                        "headers": {"Content-Type": ["text/html"], "Server": ["awselb/2.0"]},
                    }
                ],
                "terminal": True,
            }
        )
    return routes
