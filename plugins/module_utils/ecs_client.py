# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ECS modules share: finding things, polling with a deadline, and explaining a task that failed."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import ecs_rules

POLL_SECONDS = 2.0
LOG_LINES = 20


def connect(module, service: str):
    return module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=8))


def describe_task_definition(ecs, name: str) -> dict | None:
    """A task definition with its tags under `tags` (a dictionary), or None. Wraps DescribeTaskDefinition."""
    try:
        answer = ecs.describe_task_definition(taskDefinition=name, include=["TAGS"], aws_retry=True)
    except is_boto3_error_code("ClientException"):
        return None  # "Unable to describe task definition": the family has no active revision
    return dict(answer["taskDefinition"], tags=ecs_rules.tags_from_api(answer.get("tags")))


def describe_service(ecs, cluster: str, name: str) -> dict | None:
    """A service that is not INACTIVE, or None, also when the cluster is missing. Wraps DescribeServices."""
    try:
        answer = ecs.describe_services(cluster=cluster, services=[name], include=["TAGS"], aws_retry=True)
    except is_boto3_error_code("ClusterNotFoundException"):
        return None
    return next((one for one in answer["services"] if one["status"] != "INACTIVE"), None)


def describe_task(ecs, cluster: str, arn: str) -> dict | None:
    """One task, or None once ECS has forgotten it. Wraps DescribeTasks."""
    tasks = ecs.describe_tasks(cluster=cluster, tasks=[arn], aws_retry=True)["tasks"]
    return tasks[0] if tasks else None


def poll(probe: t.Callable[[], t.Any], timeout: float, interval: float = POLL_SECONDS) -> tuple[bool, t.Any]:
    """Call `probe` until it answers something true or `timeout` seconds are over: (in time, last answer)."""
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return True, answer
        if time.monotonic() + interval > deadline:
            return False, answer
        time.sleep(interval)


def log_tail(logs, task_definition: dict | None, task_arn: str, lines: int = LOG_LINES, since: float | None = None) -> list[str]:
    """The last lines a task wrote, after `since` (seconds since the epoch) only; empty when it wrote none or its log group is gone.

    Wraps GetLogEvents.
    """
    window = {} if since is None else {"startTime": int(since * 1000)}
    tail: list[str] = []
    for group, stream in ecs_rules.log_streams(task_definition or {}, task_arn.rsplit("/", 1)[-1]):
        try:
            events = logs.get_log_events(
                logGroupName=group, logStreamName=stream, limit=lines, startFromHead=False, aws_retry=True, **window
            )["events"]
        except is_boto3_error_code("ResourceNotFoundException"):
            continue
        tail.extend(event["message"].rstrip() for event in events)
    return tail[-lines:]


def explain(reason: str, tail: list[str]) -> str:
    """A failure with the task's last words, in the order an operator reads them."""
    return f"{reason}. Its last log lines:\n" + "\n".join(tail) if tail else f"{reason}. It wrote no log line."
