#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lambda_source_function
version_added: "0.1.0"
short_description: Keep an AWS Lambda function that is made of its source
description:
  - Packs the given files in the same way each time, and uploads them only when they differ from what the function has.
  - Keeps its settings, its tags, and who may call it.
  - The function is in no VPC, has no layers, and its log group C(/aws/lambda/NAME) is made by whoever wants to keep it.
  - Wraps C(CreateFunction), C(UpdateFunctionCode), C(UpdateFunctionConfiguration), C(AddPermission), C(RemovePermission),
    C(DeleteFunction) and their kin of the AWS Lambda API.
options:
  name:
    description: Name of the function, at most 64 letters, digits, C(-) and C(_).
    type: str
    required: true
  state:
    description: V(absent) leaves the role and the log group alone.
    type: str
    choices: [present, absent]
    default: present
  files:
    description:
      - Content of each file by its name, such as C(index.py).
      - Required with O(state=present), as are O(handler), O(runtime) and O(role_arn).
    type: dict
  handler:
    description: What is called, such as V(index.handler) for the function C(handler) in C(index.py).
    type: str
  runtime:
    description: Runtime of Lambda, such as V(python3.13).
    type: str
  role_arn:
    description: ARN of the IAM role with which the function acts.
    type: str
  timeout:
    description: Seconds after which Lambda ends a call, 1 to 900.
    type: int
    default: 3
  memory_size:
    description: Memory of the function in MiB, 128 to 10240.
    type: int
    default: 128
  environment:
    description: Environment variables of the function. Nothing secret belongs here.
    type: dict
    default: {}
  description:
    description: What the function is for.
    type: str
    default: ""
  invoker:
    description: The service of AWS that may call it. Without it none may; any other permission is taken away.
    type: dict
    suboptions:
      service:
        description: Principal of the service, such as V(secretsmanager.amazonaws.com).
        type: str
        required: true
      source_account:
        description: ID of the account on whose behalf it calls.
        type: str
        required: true
      source_arn:
        description: ARN of what it calls for; V(*) stands for any characters.
        type: str
        required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Greet
  mlops.mlflow_aws.lambda_source_function:
    name: greeter
    files:
      index.py: |
        def handler(event, context):
            return "Hello " + event["name"]
    handler: index.handler
    runtime: python3.13
    role_arn: arn:aws:iam::123456789012:role/greeter
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
function:
  description: The function as it is, null if there is none; in check mode as it was.
  returned: success
  type: dict
  sample:
    arn: arn:aws:lambda:eu-west-2:123456789012:function:greeter
    runtime: python3.13
    code_sha256: 4hWJ8cYkuLvhS9e8nYVJk8V3OWPt2F7mQEZMxLVs2X0=
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, lambda_functions


def function_arn(module: AnsibleAWSModule) -> str:
    """What the function's ARN is, or is going to be: its role is of the same partition and account."""
    role = module.params["role_arn"].split(":")
    return f"arn:{role[1]}:lambda:{module.region}:{role[4]}:function:{module.params['name']}"


def described(function: lambda_functions.Function) -> dict | None:
    if function.found is None:
        return None
    return {
        "arn": function.arn,
        "runtime": function.found["Runtime"],
        "code_sha256": function.found["CodeSha256"],
    }


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    client = module.client("lambda", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    function = lambda_functions.Function(client, params["name"])
    if params["state"] == "present":
        lambda_functions.check(params)
    function.find()
    function.check_owner(aws_changes.text_tags(params["owner_tags"]))
    if params["state"] == "present":
        changes = function.plan_present(params, function_arn(module), aws_changes.text_tags(params["tags"]))
    else:
        changes = function.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
        function.find()
    module.exit_json(changed=bool(changes), function=described(function), diff=changes.diff)


def main() -> None:
    invoker = {
        "service": {"type": "str", "required": True},
        "source_account": {"type": "str", "required": True},
        "source_arn": {"type": "str", "required": True},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "files": {"type": "dict"},
            "handler": {"type": "str"},
            "runtime": {"type": "str"},
            "role_arn": {"type": "str"},
            "timeout": {"type": "int", "default": 3},
            "memory_size": {"type": "int", "default": 128},
            "environment": {"type": "dict", "default": {}},
            "description": {"type": "str", "default": ""},
            "invoker": {"type": "dict", "options": invoker},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "present", ["files", "handler", "runtime", "role_arn"])],
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "lambda", f"Lambda function {module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
