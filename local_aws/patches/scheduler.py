# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's EventBridge Scheduler, whose schedules are carried out.

moto 5.2.5 only keeps schedules, takes any expression, target and role, answers 500 for a group that is not there,
makes a group anew that is, and lets the Resource Groups Tagging API find nothing. The API: https://docs.aws.amazon.com/scheduler/latest/APIReference/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.scheduler.exceptions import ScheduleGroupNotFound, ValidationException
from moto.scheduler.models import EventBridgeSchedulerBackend as BACKEND
from moto.scheduler.models import scheduler_backends

from .. import scheduler
from ..runtime import Runtime
from ..schedules import BadSchedule
from . import replace


class TaggableScheduler(BACKEND, TaggableResourcesMixin):
    SERVICE_NAMESPACE = "scheduler"
    # moto finds a service's addresses by where its backend is defined.
    __module__ = BACKEND.__module__

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for group in list(self.schedule_groups.values()):
            tags = self.tagger.get_tag_dict_for_resource(group.arn)
            yield TaggedResource(group.arn, tags, "scheduler:schedule-group")


def apply(runtime: Runtime) -> None:
    _patch_schedules()
    _patch_groups()
    replace(scheduler_backends, "backend", TaggableScheduler)
    runtime.reconcilers.append(scheduler.Scheduler(runtime.run_task))


def _patch_schedules() -> None:
    plain_create, plain_update = BACKEND.create_schedule, BACKEND.update_schedule

    def check(self: Any, asked: dict[str, Any]) -> None:
        try:
            scheduler.check(
                self.account_id, asked["schedule_expression"], asked["schedule_expression_timezone"],
                asked["flexible_time_window"], asked["target"],
            )  # fmt: skip
        except (BadSchedule, scheduler.BadTarget) as error:
            raise ValidationException(str(error)) from None

    def create_schedule(self: Any, **asked: Any) -> Any:
        self.get_schedule_group(asked["group_name"])
        check(self, asked)
        return plain_create(self, **asked)

    def update_schedule(self: Any, **asked: Any) -> Any:
        check(self, asked)
        # "UpdateSchedule uses all values, including empty values": a state that is not given is ENABLED.
        return plain_update(self, **{**asked, "state": asked["state"] or "ENABLED"})

    replace(BACKEND, "create_schedule", create_schedule)
    replace(BACKEND, "update_schedule", update_schedule)


def _patch_groups() -> None:
    plain_create, plain_delete = BACKEND.create_schedule_group, BACKEND.delete_schedule_group

    def create_schedule_group(self: Any, name: str, tags: list[dict[str, str]]) -> Any:
        if name in self.schedule_groups:
            raise JsonRESTError("ConflictException", f"Schedule group {name} already exists.")
        return plain_create(self, name, tags or [])

    def delete_schedule_group(self: Any, name: str | None) -> None:
        if name not in self.schedule_groups:
            raise ScheduleGroupNotFound(str(name))
        if name == "default":
            raise ValidationException("The default schedule group cannot be deleted.")
        self.tagger.delete_all_tags_for_resource(self.schedule_groups[name].arn)
        plain_delete(self, name)

    replace(BACKEND, "create_schedule_group", create_schedule_group, ("self", "name", "tags"))
    replace(BACKEND, "delete_schedule_group", delete_schedule_group, ("self", "name"))
