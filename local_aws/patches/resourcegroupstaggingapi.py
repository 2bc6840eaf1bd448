# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's Resource Groups Tagging API, which finds every kind of resource that AWS's finds and a deployment has.

https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.backup.models import BackupBackend
from moto.core.resource_tagging import TaggedResource
from moto.ec2.models import EC2Backend
from moto.elbv2.models import ELBv2Backend
from moto.logs.models import LogsBackend
from moto.rds.models import RDSBackend

from ..runtime import Runtime
from . import replace


def apply(_runtime: Runtime) -> None:
    _add(EC2Backend, _ec2)
    _add(RDSBackend, _rds)
    _add(ELBv2Backend, _elbv2)
    _add(BackupBackend, _backup)
    plain = LogsBackend.iter_tagged_resources

    def logs(self: Any) -> Iterator[TaggedResource]:
        # AWS's name of the type.
        for resource in plain(self):
            yield TaggedResource(resource.arn, resource.tags, "logs:log-group")

    replace(LogsBackend, "iter_tagged_resources", logs, ("self",))


def _add(backend: type, more: Callable[[Any], Iterable[TaggedResource]]) -> None:
    plain = backend.iter_tagged_resources  # type: ignore[attr-defined]

    def both(self: Any) -> Iterator[TaggedResource]:
        found = list(plain(self))
        known = {resource.arn for resource in found}
        yield from found
        yield from (resource for resource in more(self) if resource.arn not in known)

    replace(backend, "iter_tagged_resources", both, ("self",))


def _ec2(backend: Any) -> Iterator[TaggedResource]:
    kinds = {
        "elastic-ip": {one.allocation_id: one for one in backend.addresses if one.allocation_id},
        # moto keeps deleted ones.
        "vpc-endpoint": {key: one for key, one in backend.vpc_end_points.items() if one.state != "deleted"},
    }
    for kind, resources in kinds.items():
        for identifier in resources:
            arn = f"arn:{backend.partition}:ec2:{backend.region_name}:{backend.account_id}:{kind}/{identifier}"
            tags = {tag["key"]: tag["value"] for tag in backend.describe_tags(filters={"resource-id": [identifier]})}
            yield TaggedResource(arn, tags, f"ec2:{kind}")


def _rds(backend: Any) -> Iterator[TaggedResource]:
    for kind, resources in {"subgrp": backend.subnet_groups, "pg": backend.db_parameter_groups}.items():
        for one in list(resources.values()):
            yield TaggedResource(one.arn, {tag["Key"]: tag["Value"] for tag in one.tags or []}, f"rds:{kind}")


def _elbv2(backend: Any) -> Iterator[TaggedResource]:
    for balancer in list(backend.load_balancers.values()):
        for listener in list(balancer.listeners.values()):
            for kind, arn in [
                ("listener", listener.arn),
                *(("listener-rule", rule.arn) for rule in listener.rules.values()),
            ]:
                yield TaggedResource(
                    arn, backend.tagging_service.get_tag_dict_for_resource(arn), f"elasticloadbalancing:{kind}"
                )


def _backup(backend: Any) -> Iterator[TaggedResource]:
    for plan in list(backend.plans.values()):
        if plan.deletion_date is None:
            yield TaggedResource(plan.backup_plan_arn, backend.list_tags(plan.backup_plan_arn), "backup:backup-plan")
