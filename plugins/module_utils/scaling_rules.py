# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about the automatic scaling of an ECS service: pure functions over options and the API's dictionaries."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import scaling_schedules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure

METRICS = {"cpu": "ECSServiceAverageCPUUtilization", "memory": "ECSServiceAverageMemoryUtilization"}
OFFICE_HOURS = ("timezone", "weekdays", "start", "stop")


def check(options: dict[str, t.Any], found: Findings) -> None:
    """Refuses what cannot work; `options` are those of M(mlops.mlflow_aws.ecs_service_autoscaling)."""
    least, most = options["min_count"], options["max_count"]
    if least < 1:
        found.refuse(
            "min_count", least, "at 0 tasks there is no metric, so nothing would scale up again",
            "choose 1 or more; schedules and office hours may go to 0",
        )  # fmt: skip
    if least > most:
        found.refuse("min_count", least, f"is above the maximum of {most}", "lower it, or raise the maximum")
    for kind in METRICS:
        target = options[f"{kind}_target"]
        if target != 0 and not 1 <= target <= 100:
            found.refuse(f"{kind}_target", target, "is not a percentage", "choose 1 to 100, or 0 to leave it out")
    for option in ("scale_in_cooldown", "scale_out_cooldown"):
        if options[option] < 0:
            found.refuse(option, options[option], "is not a number of seconds", "choose 0 or more")
    hours = options["office_hours"]
    if not any(options[f"{kind}_target"] for kind in METRICS) and not options["schedules"] and not hours:
        found.refuse(
            "cpu_target", options["cpu_target"], "without a target and without a schedule nothing would scale",
            "choose a target such as 60, give schedules, or switch scaling off",
        )  # fmt: skip
    _check_schedules(options, found)
    if hours:
        check_office_hours(hours, found)


def _check_schedules(options: dict[str, t.Any], found: Findings) -> None:
    names: set[str] = set()
    for schedule in options["schedules"]:
        name = schedule["name"]
        if not re.fullmatch(r"[^|:/\x00-\x1f]{1,256}", name) or name in (
            scaling_schedules.OPEN, scaling_schedules.CLOSE,
        ):  # fmt: skip
            found.refuse("schedules", name, "is not a name for a schedule", "use letters, digits and dashes")
        if name in names:
            found.refuse("schedules", name, "is the name of two schedules", "give each its own")
        names.add(name)
        refused = scaling_schedules.problem(schedule["schedule"])
        if refused:
            found.refuse("schedules", schedule["schedule"], refused[0], refused[1])
        _check_zone("schedules", schedule["timezone"], found)
        least, most = schedule["min_count"], schedule["max_count"]
        if least is None and most is None:
            found.refuse("schedules", name, "changes neither minimum nor maximum", "give min_count, max_count or both")
        elif (least or 0) < 0 or (most or 0) < 0 or (least is not None and most is not None and least > most):
            found.refuse("schedules", name, f"{least} to {most} tasks are no range", "give a minimum up to the maximum")
    closed = [one["name"] for one in options["schedules"] if one["max_count"] == 0]
    if closed and not any(one["min_count"] for one in options["schedules"]) and not options["office_hours"]:
        found.refuse(
            "schedules", closed[0], "stops all tasks and no schedule starts them again",
            "add one with a min_count of 1 or more",
        )  # fmt: skip


def _check_zone(option: str, zone: str, found: Findings) -> None:
    if not scaling_schedules.is_zone(zone):
        found.refuse(option, zone, "is not a time zone", "write one such as Europe/London or UTC")


def check_office_hours(hours: dict[str, t.Any], found: Findings) -> None:
    """Refuses what are no hours of some days of the week."""
    missing = [key for key in OFFICE_HOURS if not isinstance(hours.get(key), str)]
    if missing or set(hours) - set(OFFICE_HOURS):
        found.refuse(
            "office_hours", hours, f"it takes exactly {', '.join(OFFICE_HOURS)}, as text",
            'write for example {timezone: Europe/London, weekdays: MON-FRI, start: "08:00", stop: "19:00"}',
        )  # fmt: skip
        return
    _check_zone("office_hours", hours["timezone"], found)
    for key in ("start", "stop"):
        if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", hours[key]):
            found.refuse("office_hours", hours[key], f"is not a time of day to {key} at", 'write one such as "08:00"')
            return
    if hours["start"].zfill(5) >= hours["stop"].zfill(5):
        found.refuse("office_hours", hours["stop"], f"is not after the start at {hours['start']}", "choose a later one")
    refused = scaling_schedules.problem(f"cron(0 0 ? * {hours['weekdays']} *)")
    if refused:
        found.refuse("office_hours", hours["weekdays"], "are not days of a week", "write MON-FRI or MON,WED,FRI")


def check_options(options: dict[str, t.Any]) -> None:
    """ValueError with every problem."""
    found = Findings()
    check(options, found)
    if found.problems:
        raise ValueError(failure(found.problems))


def check_given(given: dict[str, t.Any], found: Findings) -> int:
    """Refuses what cannot work before anything is made: `given` is as an inventory has it, so schedules may lack options.

    Returns how many tasks there can be at any time.
    """
    schedules = []
    for one in given["schedules"]:
        if isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("name", "schedule")):
            schedules.append({"timezone": "UTC", "min_count": None, "max_count": None, **one})
        else:
            found.refuse("schedules", one, "has no name or no schedule", "give both, as text")
    options, known = {**given, "schedules": schedules}, len(found.problems)
    check(options, found)
    return most_tasks(options) if len(found.problems) == known else options["max_count"]


def all_schedules(options: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The schedules that are given and those of the office hours."""
    hours = options["office_hours"]
    least, most = options["min_count"], options["max_count"]
    return options["schedules"] + (scaling_schedules.office_schedules(hours, least, most) if hours else [])


def most_tasks(options: dict[str, t.Any]) -> int:
    """How many tasks there can be at any time: what the database must bear."""
    schedules = all_schedules(options)
    counts = [one[key] for one in schedules for key in ("min_count", "max_count") if one[key] is not None]
    return max([options["max_count"], *counts])


def policies(options: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Name -> TargetTrackingScalingPolicyConfiguration."""
    return {
        kind: {
            "TargetValue": float(options[f"{kind}_target"]),
            "PredefinedMetricSpecification": {"PredefinedMetricType": metric},
            "ScaleOutCooldown": options["scale_out_cooldown"],
            "ScaleInCooldown": options["scale_in_cooldown"],
            "DisableScaleIn": False,
        }
        for kind, metric in METRICS.items()
        if options[f"{kind}_target"]
    }


def actions(options: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Name -> Schedule, Timezone and ScalableTargetAction."""
    return {
        one["name"]: {
            "Schedule": one["schedule"],
            "Timezone": one["timezone"],
            "ScalableTargetAction": {
                key: one[option]
                for key, option in (("MinCapacity", "min_count"), ("MaxCapacity", "max_count"))
                if one[option] is not None
            },
        }
        for one in all_schedules(options)
    }


def comparable(current: dict[str, t.Any], wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    """The part of `current` that `wanted` speaks of, with AWS's defaults for what AWS leaves out."""
    defaults = {"DisableScaleIn": False, "Timezone": "UTC"}
    return {key: current.get(key, defaults.get(key)) for key in wanted}


def bounds(current: tuple[int, int] | None, options: dict[str, t.Any]) -> tuple[int, int]:
    """Minimum and maximum to register.

    A scheduled action sets the very minimum and maximum of the target. What one of them has set stays until the next
    one, or a run at night would wake what sleeps.
    """
    base = options["min_count"], options["max_count"]
    if current is None:
        return base
    schedules = all_schedules(options)
    least = {base[0], *(one["min_count"] for one in schedules)}
    most = {base[1], *(one["max_count"] for one in schedules)}
    return current if current[0] in least and current[1] in most and current[0] <= current[1] else base


def summary(
    target: dict[str, t.Any] | None, found_policies: dict[str, dict], found_actions: dict[str, dict]
) -> dict[str, t.Any]:
    """What there is, with null for what does not exist."""
    configurations = {
        kind: next(
            (
                one["TargetTrackingScalingPolicyConfiguration"]
                for one in found_policies.values()
                if one.get("TargetTrackingScalingPolicyConfiguration", {})
                .get("PredefinedMetricSpecification", {})
                .get("PredefinedMetricType")
                == metric
            ),
            {},
        )
        for kind, metric in METRICS.items()
    }
    first = configurations["cpu"] or configurations["memory"]
    return {
        "scalable_target_arn": target["ScalableTargetARN"] if target else None,
        "min_count": target["MinCapacity"] if target else None,
        "max_count": target["MaxCapacity"] if target else None,
        "cpu_target": configurations["cpu"].get("TargetValue"),
        "memory_target": configurations["memory"].get("TargetValue"),
        "scale_in_cooldown": first.get("ScaleInCooldown"),
        "scale_out_cooldown": first.get("ScaleOutCooldown"),
        "alarms": sorted(alarm["AlarmName"] for one in found_policies.values() for alarm in one.get("Alarms", [])),
        "schedules": [
            {
                "name": name,
                "schedule": one["Schedule"],
                "timezone": one.get("Timezone") or "UTC",
                "min_count": one["ScalableTargetAction"].get("MinCapacity"),
                "max_count": one["ScalableTargetAction"].get("MaxCapacity"),
            }
            for name, one in sorted(found_actions.items())
        ],
    }
