# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about the listeners of an application load balancer: pure functions over the API's dictionaries."""

from __future__ import annotations

import typing as t

# Port that a client leaves out of a URL and of the Host header.
SCHEME_PORTS = {"HTTP": 80, "HTTPS": 443}
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
        "DefaultActions": [_action(option, target_group_arn, domain_name)],
    }


def _action(option: dict[str, t.Any], target_group_arn: str, domain_name: str) -> dict[str, t.Any]:
    if not option["redirect_port"]:
        return {"Type": "forward", "TargetGroupArn": target_group_arn}
    redirect = {
        "Protocol": "HTTPS",
        "Port": str(option["redirect_port"]),
        "Host": domain_name or "#{host}",
        **KEPT_OF_REQUEST,
        "StatusCode": "HTTP_301",
    }
    return {"Type": "redirect", "RedirectConfig": redirect}


def told(listener: dict[str, t.Any], target_group_arn: str) -> str:
    """A listener, found or wanted, in words that differ where it does: for comparing and for diffs."""
    tls = ""
    if listener["Protocol"] == "HTTPS":
        certificates = ", ".join(one["CertificateArn"] for one in listener.get("Certificates", []))
        tls = f" with {certificates or 'no certificate'} by {listener.get('SslPolicy')}"
    actions = [_told_action(action, target_group_arn) for action in listener.get("DefaultActions", [])]
    return f"{listener['Protocol']}{tls}, {', then '.join(actions)}"


def _told_action(action: dict[str, t.Any], target_group_arn: str) -> str:
    if action["Type"] == "forward" and action.get("TargetGroupArn") == target_group_arn:
        return "forwards"
    if action["Type"] == "redirect":
        config = {"Host": "#{host}", **KEPT_OF_REQUEST, **action["RedirectConfig"]}
        return (
            f"redirects ({config['StatusCode']}) to {config.get('Protocol', '#{protocol}').lower()}://{config['Host']}:"
            f"{config.get('Port', '#{port}')}{config['Path']}?{config['Query']}"
        )
    return f"does something else ({action['Type']})"


def check(options: list[dict[str, t.Any]]) -> None:
    """ValueError for listeners that ELB would refuse half way, or that would lead nowhere."""
    ports = [option["port"] for option in options]
    if len(set(ports)) < len(ports):
        raise ValueError(f"listeners = {ports}: two have the same port; give each its own")
    secure = {option["port"] for option in options if option["protocol"] == "HTTPS"}
    for option in options:
        if option["protocol"] == "HTTPS" and not option["certificate_arn"]:
            raise ValueError(f"listeners: port {option['port']} is HTTPS and has no certificate_arn; give one")
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
