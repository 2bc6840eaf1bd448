#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_log_events_info
version_added: "0.1.0"
short_description: Read the latest lines of a CloudWatch log group
description:
  - Reads the lines of all streams of a log group since a while ago, in the order of their time.
  - No module of amazon.aws or community.aws reads log events.
  - Wraps C(FilterLogEvents) of the CloudWatch Logs API.
options:
  log_group:
    description: Name of the log group.
    type: str
    required: true
  since:
    description: How far back to read, a whole number with V(s), V(m), V(h) or V(d) for seconds, minutes, hours or days.
    type: str
    default: 10m
  filter:
    description: CloudWatch filter pattern; empty takes every line.
    type: str
    default: ""
  max_lines:
    description: Number of lines to return at most; the latest are kept.
    type: int
    default: 1000
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Read the errors of the last hour
  mlops.mlflow_aws.cloudwatch_log_events_info:
    log_group: /ecs/web
    since: 1h
    filter: "?ERROR ?Traceback"
  register: errors
"""

RETURN = r"""
lines:
  description: Time in UTC, the last part of the stream's name cut to 8 characters, and the message.
  returned: success
  type: list
  elements: str
  sample: ["2026-11-20T09:30:01Z 0f1e2d3c Application startup complete."]
"""

import datetime
import re
import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecs_client

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(since: str) -> int:
    """V(10m) as seconds. Raises ValueError for anything else than a whole number with a unit."""
    match = re.fullmatch(r"([0-9]+)([smhd])", since.strip())
    if not match:
        raise ValueError(since)
    return int(match.group(1)) * UNITS[match.group(2)]


def line(event: dict) -> str:
    moment = datetime.datetime.fromtimestamp(event["timestamp"] / 1000, tz=datetime.timezone.utc)
    stream = event["logStreamName"].rsplit("/", 1)[-1][:8]
    return f"{moment:%Y-%m-%dT%H:%M:%SZ} {stream} {event['message'].rstrip()}"


def read(logs, params: dict, start_milliseconds: int) -> list[str]:
    request = {"logGroupName": params["log_group"], "startTime": start_milliseconds}
    if params["filter"]:
        request["filterPattern"] = params["filter"]
    events = [event for page in logs.get_paginator("filter_log_events").paginate(**request) for event in page["events"]]
    return [line(event) for event in sorted(events, key=lambda event: event["timestamp"])][-params["max_lines"]:]


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "log_group": {"type": "str", "required": True},
            "since": {"type": "str", "default": "10m"},
            "filter": {"type": "str", "default": ""},
            "max_lines": {"type": "int", "default": 1000},
        },
        supports_check_mode=True,
    )
    try:
        back = seconds(module.params["since"])
    except ValueError:
        module.fail_json(
            msg=f"since is '{module.params['since']}': it must be a whole number with a unit, such as 90s, 10m, 2h or 1d"
        )
    group = module.params["log_group"]
    with aws_changes.one_line_failures(module, "logs", f"Log group {group}"):
        try:
            lines = read(ecs_client.connect(module, "logs"), module.params, int((time.time() - back) * 1000))
        except ecs_client.is_boto3_error_code("ResourceNotFoundException"):
            module.fail_json(msg=f"Log group {group} does not exist: deploy first, or correct the name and the region")
    module.exit_json(changed=False, lines=lines)


if __name__ == "__main__":
    main()
