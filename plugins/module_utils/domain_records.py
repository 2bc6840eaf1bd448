# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of a hosted zone in Route 53."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import domain_names

VALIDATION_TTL_SECONDS = 300


def plain(name: str) -> str:
    """A name as Route 53 would be asked for it: lower case, no dot at the end."""
    return name.rstrip(".").lower()


class Zone:
    """One hosted zone, which exists."""

    def __init__(self, route53: t.Any, zone_id: str) -> None:
        self.route53 = route53
        self.zone_id = zone_id

    def record(self, name: str, kind: str) -> dict[str, t.Any] | None:
        """One record set as ListResourceRecordSets has it, or None."""
        answer = self.route53.list_resource_record_sets(
            HostedZoneId=self.zone_id, StartRecordName=name, StartRecordType=kind, MaxItems="1", aws_retry=True
        )
        for found in answer["ResourceRecordSets"]:
            if plain(found["Name"]) == plain(name) and found["Type"] == kind:
                return found
        return None

    def cname(self, name: str) -> str | None:
        found = self.record(name, "CNAME")
        values = [plain(one["Value"]) for one in (found or {}).get("ResourceRecords", [])]
        return values[0] if values else None

    def change_cname(self, action: str, name: str, value: str) -> None:
        found = self.record(name, "CNAME") if action == "DELETE" else None
        self.change(
            action,
            found
            or {
                "Name": name,
                "Type": "CNAME",
                "TTL": VALIDATION_TTL_SECONDS,
                "ResourceRecords": [{"Value": value}],
            },
        )

    def change(self, action: str, record_set: dict[str, t.Any]) -> None:
        changes = {"Changes": [{"Action": action, "ResourceRecordSet": record_set}]}
        self.route53.change_resource_record_sets(HostedZoneId=self.zone_id, ChangeBatch=changes, aws_retry=True)


class Zones:
    """The hosted zones of an account, of which `given` is the one that was asked for."""

    def __init__(self, route53: t.Any, zone_id: str) -> None:
        self.route53 = route53
        self.given = Zone(route53, zone_id)
        self._all: list[dict[str, t.Any]] | None = None

    def of(self, name: str) -> Zone | None:
        """The public zone that answers for a name."""
        if self.given.zone_id:
            return self.given
        if self._all is None:
            self._all = self.route53.get_paginator("list_hosted_zones").paginate().build_full_result()["HostedZones"]
        found = domain_names.zone_of(name, self._all)
        return Zone(self.route53, domain_names.plain_zone_id(found["Id"])) if found else None


def alias(name: str, dns_name: str, hosted_zone_id: str) -> dict[str, t.Any]:
    """The A record that answers with the addresses of a load balancer."""
    target = {"HostedZoneId": hosted_zone_id, "DNSName": dns_name, "EvaluateTargetHealth": False}
    return {"Name": name, "Type": "A", "AliasTarget": target}


def target(record: dict[str, t.Any] | None) -> str | None:
    """Where an A record leads, in words that can be compared; None if there is none."""
    if record is None:
        return None
    if "AliasTarget" in record:
        # Route 53's console writes dualstack. before the load balancer's name; both lead to it.
        return f"alias of {plain(record['AliasTarget']['DNSName']).removeprefix('dualstack.')}"
    return ", ".join(sorted(one["Value"] for one in record.get("ResourceRecords", [])))
