# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choosing among what AWS offers: regions, zones, engine versions, instance classes."""

from __future__ import annotations

import difflib
from typing import Any

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_rules import version_key

SHOWN_VERSIONS = 4


def check_region(region: str | None, known: list[str], environment: str | None, found: Findings) -> bool:
    """Whether ``region`` is one AWS has, and the one the play's environment names."""
    if not region:
        found.refuse("region", region or "", "no region is set", "set aws_region, or AWS_REGION in the environment")
        return False
    if region not in known:
        close = difflib.get_close_matches(region, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "choose one such as eu-west-2"
        found.refuse("region", region, "is not a region of AWS", f"{hint} (a very new region needs a newer botocore)")
        return False
    if environment and environment != region:
        found.refuse(
            "region",
            region,
            f"the environment says AWS_REGION={environment}, so resources would be split",
            "make both the same",
        )
        return False
    return True


def choose_zones(wanted: list[str], count: int, zones: list[dict[str, Any]], found: Findings) -> list[str]:
    """Names of the zones to use: ``wanted`` if all are usable, else the first ``count`` in alphabetical order.

    ``zones`` is the answer of EC2 DescribeAvailabilityZones.
    """
    states = {
        zone["ZoneName"]: zone.get("State", "available")
        for zone in zones
        if zone.get("ZoneType", "availability-zone") == "availability-zone"
        and zone.get("OptInStatus") != "not-opted-in"
    }
    usable = sorted(name for name, state in states.items() if state == "available")
    remedy = f"choose among {', '.join(usable) or 'none'}, or leave the list empty"
    for name in wanted:
        if name not in states:
            found.refuse("availability_zones", name, "is not a zone of this region and account", remedy)
        elif name not in usable:
            found.refuse("availability_zones", name, f"the zone's state is {states[name]}", remedy)
    if wanted:
        return list(wanted)
    if len(usable) < count:
        found.refuse(
            "availability_zones",
            wanted,
            f"the region has {len(usable)} usable zones, {count} are needed",
            "give fewer subnets, at least two of each kind, or choose another region",
        )
    return usable[:count]


def choose_engine_version(wanted: str, offered: list[str], found: Findings) -> str | None:
    """The version to run: ``wanted``, or the newest minor one of it if ``wanted`` is a major version only."""
    if wanted in offered and "." in wanted:
        return wanted
    same = sorted((version for version in offered if version.split(".")[0] == wanted.split(".")[0]), key=version_key)
    if same and "." not in wanted:
        return same[-1]
    found.refuse(
        "db_engine_version",
        wanted,
        "RDS does not offer this version of PostgreSQL here",
        f"the nearest on offer: {', '.join(nearest_versions(wanted, offered)) or 'none'}",
    )
    return None


def nearest_versions(wanted: str, offered: list[str]) -> list[str]:
    """At most ``SHOWN_VERSIONS`` of ``offered``, the nearest to ``wanted``, oldest first."""
    major, minor = (version_key(wanted) + (0,))[:2]

    def distance(version: str) -> tuple[int, bool, int]:
        other_major, other_minor = (version_key(version) + (0,))[:2]
        # Newer rather than older; and in another major version the newest minor one is of interest.
        minor_distance = abs(other_minor - minor) if other_major == major else -other_minor
        return abs(other_major - major), other_major < major, minor_distance

    return sorted(sorted(offered, key=distance)[:SHOWN_VERSIONS], key=version_key)


def check_orderable(
    instance_class: str, version: str, zones: list[str], options: list[dict[str, Any]], found: Findings
) -> None:
    """Whether RDS sells ``instance_class`` with ``version`` in one of ``zones``.

    ``options`` is the answer of RDS DescribeOrderableDBInstanceOptions for the version.
    """
    matching = [option for option in options if option["DBInstanceClass"] == instance_class]
    if not matching:
        classes = sorted({option["DBInstanceClass"] for option in options})
        close = difflib.get_close_matches(instance_class, classes, n=4, cutoff=0.5)
        found.refuse(
            "db_instance_class",
            instance_class,
            f"RDS does not offer it for PostgreSQL {version} here",
            f"the nearest on offer: {', '.join(close) or 'none'}",
        )
        return
    sold_in = {zone["Name"] for option in matching for zone in option.get("AvailabilityZones", [])}
    if zones and sold_in and not sold_in.intersection(zones):
        found.refuse(
            "db_instance_class",
            instance_class,
            f"RDS offers it in none of {', '.join(zones)}",
            f"choose zones among {', '.join(sorted(sold_in))}",
        )


def check_existing_subnets(
    vpc_id: str, option: str, ids: list[str], subnets: list[dict[str, Any]], found: Findings
) -> list[str]:
    """Whether all ``ids`` are subnets of ``vpc_id`` in two zones or more; returns their zones, sorted.

    ``subnets`` is the answer of EC2 DescribeSubnets.
    """
    known = {subnet["SubnetId"]: subnet for subnet in subnets}
    for subnet_id in ids:
        if subnet_id not in known:
            found.refuse(option, subnet_id, "there is no such subnet in this region", "name an existing subnet")
        elif known[subnet_id]["VpcId"] != vpc_id:
            found.refuse(
                option,
                subnet_id,
                f"belongs to {known[subnet_id]['VpcId']}, not to {vpc_id}",
                f"name subnets of {vpc_id}",
            )
    zones = sorted({known[subnet_id]["AvailabilityZone"] for subnet_id in ids if subnet_id in known})
    if len(zones) == 1:
        found.refuse(option, ids, f"all lie in {zones[0]}, two zones are needed", "name subnets in two zones or more")
    return zones
