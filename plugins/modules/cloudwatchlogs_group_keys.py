#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatchlogs_group_keys
version_added: "0.1.0"
short_description: Encrypt log groups of CloudWatch Logs with a KMS key, or with AWS's own again
description:
  - Sets with which key the events are encrypted that come in from now on; what is stored keeps the key it was encrypted with.
  - M(amazon.aws.cloudwatchlogs_log_group) sets a key only on a log group that it makes.
  - Wraps C(DescribeLogGroups), C(AssociateKmsKey) and C(DisassociateKmsKey) of the Amazon CloudWatch Logs API.
options:
  log_groups:
    description:
      - Names of the log groups.
      - In check mode one that is not there yet counts as one without a key of its own.
    type: list
    elements: str
    required: true
  kms_key:
    description: ARN of a symmetric key whose policy lets CloudWatch Logs use it; empty for AWS's own.
    type: str
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Encrypt the log
  mlops.mlflow_aws.cloudwatchlogs_group_keys:
    log_groups: [/ecs/web]
    kms_key: arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
"""

RETURN = r"""
encrypted:
  description: The log groups that have the key after the run.
  returned: success
  type: list
  elements: str
  sample: [/ecs/web]
"""

import functools
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes


def find(logs: t.Any, name: str) -> dict[str, t.Any] | None:
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name):
        for group in page["logGroups"]:
            if group["logGroupName"] == name:
                return group
    return None


def plan(logs: t.Any, names: list[str], kms_key: str, check_mode: bool) -> aws_changes.Changes:
    changes = aws_changes.Changes()
    for name in names:
        group = find(logs, name)
        if group is None and not check_mode:
            raise ValueError(f"Log group {name}: there is none, so it cannot be encrypted; make it first")
        if kms_key:
            change = functools.partial(logs.associate_kms_key, logGroupName=name, kmsKeyId=kms_key, aws_retry=True)
        else:
            change = functools.partial(logs.disassociate_kms_key, logGroupName=name, aws_retry=True)
        changes.want(f"key of {name}", (group or {}).get("kmsKeyId", ""), kms_key, change)
    return changes


def run(module: AnsibleAWSModule) -> None:
    names, kms_key = module.params["log_groups"], module.params["kms_key"]
    retry = AWSRetry.jittered_backoff(retries=8, catch_extra_error_codes=["OperationAbortedException"])
    changes = plan(module.client("logs", retry_decorator=retry), names, kms_key, module.check_mode)
    if not module.check_mode:
        changes.apply()
    module.exit_json(changed=bool(changes), encrypted=sorted(names) if kms_key else [], diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "log_groups": {"type": "list", "elements": "str", "required": True},
            "kms_key": {"type": "str", "required": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "logs", f"Log groups {', '.join(module.params['log_groups'])}"):
        run(module)


if __name__ == "__main__":
    main()
