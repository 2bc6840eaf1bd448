# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about domain names, hosted zones and certificates; pure, but for the clock that is handed in."""

from __future__ import annotations

import datetime
import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?")
# https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html
LONGEST_NAME = 253
MOST_NAMES = 10
# A certificate that ends sooner is not worth deploying.
LEAST_DAYS = 1


def problem(name: str) -> str | None:
    """Why a name cannot be that of a website; a wildcard may stand for its first label."""
    plain = name.removeprefix("*.")
    if len(name) > LONGEST_NAME:
        return f"it has {len(name)} characters, {LONGEST_NAME} are allowed"
    if plain != plain.lower():
        return "it holds capital letters"
    if not _NAME.fullmatch(plain):
        return "it is no domain name of letters, digits, hyphens and dots"
    return None


def check_names(domain_name: str, alternative_names: list[str], findings: Findings) -> None:
    if reason := problem(domain_name):
        findings.refuse("domain_name", domain_name, reason, "write it like mlflow.example.com")
    elif domain_name.startswith("*."):
        findings.refuse(
            "domain_name", domain_name, "clients need a name, not a wildcard", "give the wildcard as an alternative name"
        )
    for name in alternative_names:
        if reason := problem(name):
            findings.refuse("alternative_names", name, reason, "write it like other.example.com or *.example.com")
    if len({domain_name, *alternative_names}) > MOST_NAMES:
        findings.refuse(
            "alternative_names",
            alternative_names,
            f"Certificate Manager puts at most {MOST_NAMES} names into a certificate",
            "give fewer, or a wildcard",
        )


def covers(certificate_names: t.Iterable[str], name: str) -> bool:
    """Whether a certificate for these names is one for `name` (RFC 6125: a wildcard stands for one whole label)."""
    name = name.lower()
    parent = name.partition(".")[2]
    return any(one.lower() == name or (parent and one.lower() == f"*.{parent}") for one in certificate_names)


def zone_of(name: str, zones: list[dict[str, t.Any]]) -> dict[str, t.Any] | None:
    """The public hosted zone (of ListHostedZones) that answers for `name`: the one with the longest name."""
    fitting = [
        zone for zone in zones if not zone.get("Config", {}).get("PrivateZone") and in_zone(name, zone["Name"])
    ]
    return max(fitting, key=lambda zone: len(zone["Name"]), default=None)


def in_zone(name: str, zone_name: str) -> bool:
    zone = zone_name.rstrip(".").lower()
    name = name.removeprefix("*.").lower()
    return name == zone or name.endswith(f".{zone}")


def plain_zone_id(zone_id: str) -> str:
    """Route 53 answers /hostedzone/Z123 where it takes Z123."""
    return zone_id.rpartition("/")[2]


def check_zone(
    domain_name: str, names: list[str], zone_id: str, zones: list[dict[str, t.Any]], findings: Findings
) -> str | None:
    """The ID of the hosted zone for these names, given or found; None after a problem was noted."""
    known = {plain_zone_id(zone["Id"]): zone for zone in zones}
    shown = ", ".join(sorted(f"{zone['Name'].rstrip('.')} ({one})" for one, zone in known.items())) or "none"
    if not zone_id:
        found = zone_of(domain_name, zones)
        if found is None:
            findings.refuse(
                "domain_name",
                domain_name,
                f"no public hosted zone of this account answers for it; there are: {shown}",
                "give hosted_zone_id, or a certificate and no record",
            )
            return None
        zone_id, zone = plain_zone_id(found["Id"]), found
    elif plain_zone_id(zone_id) not in known:
        findings.refuse(
            "hosted_zone_id", zone_id, f"this account has no such hosted zone; there are: {shown}", "give one of ours"
        )
        return None
    else:
        zone_id, zone = plain_zone_id(zone_id), known[plain_zone_id(zone_id)]
    for name in names:
        if not in_zone(name, zone["Name"]):
            findings.refuse(
                "hosted_zone_id",
                zone_id,
                f"it is the zone of {zone['Name'].rstrip('.')}, which does not hold {name}",
                "give the zone of this name, or leave the name out",
            )
            return None
    return zone_id


def check_certificate(
    option: str,
    shown: str,
    names: list[str],
    begins: datetime.datetime,
    ends: datetime.datetime,
    domain_name: str,
    now: datetime.datetime,
    findings: Findings,
) -> None:
    """Whether a certificate can be shown for `domain_name` (not judged if empty) from now on."""
    renew = "give a certificate that is valid"
    if ends <= now:
        findings.refuse(option, shown, f"it has expired on {ends:%Y-%m-%d}", renew)
    elif begins > now:
        findings.refuse(option, shown, f"it is not valid before {begins:%Y-%m-%d}", renew)
    elif (ends - now).days < LEAST_DAYS:
        findings.refuse(option, shown, f"it expires on {ends:%Y-%m-%d}, within a day", renew)
    if domain_name and not covers(names, domain_name):
        findings.refuse(
            option, shown, f"it is for {', '.join(names[:5]) or 'no name'}, not for {domain_name}", "give one that is"
        )
