# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a deployment is not as it should be now, and which of the tasks that failed have to do with it. Everything here is pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.diagnosis_cause import Cause

STEADY = "has reached a steady state"
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
DEPLOYMENT_FAILED = re.compile(r"\(deployment (\S+)\) deployment failed")
OUT_OF_MEMORY = re.compile(r"OutOfMemory")
FAILED = "failed"
HOUR = 3600


def revision(arn: str) -> int:
    """3 for …:task-definition/web:3; 0 where there is none."""
    number = arn.rsplit(":", 1)[-1]
    return int(number) if number.isascii() and number.isdigit() else 0


def healthy_targets(facts: dict[str, t.Any]) -> int:
    return sum(target["state"] == "healthy" for target in facts["targets"])


def primary(service: dict[str, t.Any]) -> dict[str, t.Any]:
    return next((one for one in service["deployments"] if one["status"] == "PRIMARY"), {})


def is_whole(facts: dict[str, t.Any]) -> bool:
    """Whether the service runs what it should, and the load balancer finds all of it healthy."""
    service = facts["service"]
    if service is None or service["status"] != "ACTIVE" or not service["desired"]:
        return False
    settled = len(service["deployments"]) <= 1 and primary(service).get("rollout_state") in ("COMPLETED", "", None)
    enough = service["running"] >= service["desired"]
    served = not service["target_group_arn"] or healthy_targets(facts) >= service["desired"]
    return settled and enough and served


def rolled_back(facts: dict[str, t.Any]) -> str:
    """The id of the deployment that ECS gave up for an older one which still runs; empty if the newest revision runs."""
    service = facts["service"]
    if service is None or facts["newest_revision"] <= revision(service["task_definition"]):
        return ""
    found = (DEPLOYMENT_FAILED.search(event["message"]) for event in service["events"])
    return next((match.group(1) for match in found if match), "")


def culprits(facts: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The failed tasks that belong to the present trouble, newest first: not those of a trouble that is over."""
    failed = sorted((one for one in facts["stopped"] if one["failure"]), key=lambda one: -one["stopped_at"])
    service = facts["service"]
    if service is None:
        return failed
    in_force = service["task_definition"]
    given_up, whole = rolled_back(facts), is_whole(facts)
    steady_since = next((event["at"] for event in service["events"] if STEADY in event["message"]), 0.0)
    deployments = {one["id"] for one in service["deployments"]}

    def belongs(task: dict[str, t.Any]) -> bool:
        if given_up and task["started_by"] == given_up:
            return True
        if task["started_by"] in deployments and not whole and task["stopped_at"] >= steady_since:
            return True
        # A task that prepares the databases for what the service has never run.
        if task["started_by"] not in deployments and revision(task["task_definition"]) > revision(in_force):
            return not task["started_by"].startswith("ecs-svc/")
        # The same size and the same number of workers still run.
        return task["task_definition"] == in_force and OUT_OF_MEMORY.search(task["failure"]) is not None

    return [task for task in failed if belongs(task)]


def failed_checks(facts: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [check for check in facts["http"] if check["status"] == FAILED]


def symptoms(facts: dict[str, t.Any]) -> list[str]:
    """One line for each thing that is not as it should be."""
    service, told = facts["service"], []
    if service is None:
        told.append(f"there is no service {facts['name']}")
    elif service["status"] != "ACTIVE":
        told.append(f"the service is {service['status']}")
    else:
        told += _service_symptoms(facts, service)
    if facts["database"] is None and "database" not in facts["unread_parts"]:
        told.append("there is no database")
    told += [f"{check['name']}: {check['message']}" for check in failed_checks(facts)]
    return told


def _service_symptoms(facts: dict[str, t.Any], service: dict[str, t.Any]) -> t.Iterator[str]:
    desired = service["desired"]
    if not desired:
        yield "the service is asked for no task"
    elif service["running"] < desired:
        yield f"{service['running']} of {desired} tasks run"
    if len(service["deployments"]) > 1 or primary(service).get("rollout_state") == "IN_PROGRESS":
        yield "a deployment is under way"
    if primary(service).get("rollout_state") == "FAILED":
        yield "ECS has given the deployment up"
    if rolled_back(facts):
        yield "the last deployment failed, an older one runs"
    if service["target_group_arn"] and desired and healthy_targets(facts) < desired:
        seen = sorted({f"{one['state']} {one['description'] or one['reason']}".strip() for one in _sick_targets(facts)})
        yield f"{healthy_targets(facts)} of {desired} targets are healthy" + (f" ({'; '.join(seen)})" if seen else "")


def _sick_targets(facts: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [one for one in facts["targets"] if one["state"] not in ("healthy", "draining")]


def unknown(facts: dict[str, t.Any], told: list[str]) -> Cause:
    """For a sick deployment whose cause no rule knows: what was said last."""
    service = facts["service"]
    if service and "a deployment is under way" in told and not culprits(facts):
        return Cause(
            "deployment_under_way", 20, "A deployment is under way, and nothing has failed so far",
            "wait some minutes and ask again", told,
        )  # fmt: skip
    words = [f"task {task['id'][:8]}: {task['failure']}" for task in culprits(facts)[:1]]
    words += [line for task in culprits(facts)[:1] for line in task["log"][-2:]]
    words += [event["message"] for event in (service["events"] if service else [])[:1]]
    return Cause(
        "unknown", 5, "The cause is none of those that are known here",
        "read the log (make logs EXTRA='-e since=1h'), then the events of the service (make status)", words or told,
    )  # fmt: skip


def notes(facts: dict[str, t.Any]) -> list[str]:
    """What is worth knowing, though it makes nothing sick."""
    told, database = [], facts["database"]
    if database and database["pending"]:
        told.append(
            f"the database waits for its maintenance window or a reboot to change {', '.join(database['pending'])}"
        )
    if database and database["parameters"] == "pending-reboot":
        told.append("the database needs a reboot for parameters that were changed")
    known = {task["id"] for task in culprits(facts)}
    earlier = [
        task for task in facts["stopped"]
        if task["failure"] and task["id"] not in known and task["stopped_at"] > facts["now"] - HOUR
    ]  # fmt: skip
    if earlier:
        latest = max(earlier, key=lambda task: task["stopped_at"])
        told.append(
            f"{len(earlier)} tasks failed in the last hour in troubles that are over, the last one: {latest['failure']}"
        )
    told += [f"{check['name']}: {check['message']}" for check in facts["http"] if check["status"] == "warned"]
    return told


def health(facts: dict[str, t.Any]) -> str:
    """What is well, in one line, for a deployment without symptoms."""
    service, database = facts["service"], facts["database"]
    told = [f"{service['running']} of {service['desired']} tasks run", f"{healthy_targets(facts)} targets are healthy"]
    if database:
        told.append(f"the database is {database['status']}")
    passed = {check["name"] for check in facts["http"] if check["status"] != FAILED}
    if "admin_login" in passed:
        told.append("MLflow answers the admin through the load balancer")
    return ", ".join(told)
