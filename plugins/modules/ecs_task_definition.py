#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_task_definition
version_added: "0.1.0"
short_description: Register or remove the task definition of an ECS Fargate family
description:
  - Registers a new revision when the newest active revision of the family differs in anything that is asked for,
    its size, roles and tags included.
  - M(community.aws.ecs_taskdefinition) compares containers only, knows no tags, and reads every revision there ever was.
  - Wraps C(RegisterTaskDefinition), C(DescribeTaskDefinition), C(DeregisterTaskDefinition) and C(DeleteTaskDefinitions) of
    the Amazon ECS API.
options:
  family:
    description: Name of the family.
    type: str
    required: true
  state:
    description:
      - V(present) makes the newest active revision equal to what is asked for.
      - V(absent) deregisters and deletes every revision of the family that carries all of O(tags).
    type: str
    choices: [present, absent]
    default: present
  containers:
    description:
      - Container definitions, spelled as the ECS API spells them, for example C(portMappings).
      - Values of secrets do not belong here; name them under C(secrets) by reference.
      - Required with O(state=present).
    type: list
    elements: dict
  cpu:
    description: CPU units of a task; 1024 units are one vCPU. Required with O(state=present).
    type: int
  memory:
    description: Memory of a task in MiB. Required with O(state=present).
    type: int
  execution_role_arn:
    description: ARN of the role with which ECS pulls the image, reads the secrets and writes the log.
    type: str
  task_role_arn:
    description: ARN of the role that the containers act with.
    type: str
  cpu_architecture:
    description: Processor architecture of a task.
    type: str
    choices: [X86_64, ARM64]
    default: X86_64
  ephemeral_storage:
    description: Storage of a task that goes with it, in GiB, 20 to 200; the image takes part of it.
    type: int
    default: 20
  volumes:
    description:
      - Names of empty volumes that the containers mount, as writable folders beside a read-only root file system for
        example. They live as long as a task.
    type: list
    elements: str
    default: []
  tags:
    description: Tags of each new revision; with O(state=absent) the tags that a revision must carry to be removed.
    type: dict
    required: true
attributes:
  check_mode:
    description: Predicts exactly what a run would change.
    support: full
  diff_mode:
    description: Shows the definition before and after.
    support: full
  idempotent:
    description: Registers nothing when the newest revision is as asked for.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Describe the web server's task
  mlops.mlflow_aws.ecs_task_definition:
    family: web
    cpu: 256
    memory: 512
    execution_role_arn: arn:aws:iam::123456789012:role/web-execution
    containers:
      - name: web
        image: public.ecr.aws/docker/library/python:3.11-slim
        command: [python, -m, http.server, "8000"]
        portMappings:
          - containerPort: 8000
    tags:
      team: web

- name: Remove every revision of it that is ours
  mlops.mlflow_aws.ecs_task_definition:
    family: web
    state: absent
    tags:
      team: web
"""

RETURN = r"""
task_definition_arn:
  description: ARN of the newest active revision; null in check mode when a run would register a new one, and when absent.
  returned: success
  type: str
  sample: arn:aws:ecs:eu-west-2:123456789012:task-definition/web:3
revision:
  description: Number of that revision, null where the ARN is null.
  returned: success
  type: int
  sample: 3
removed:
  description: ARNs of the revisions that were removed, in check mode those that would be.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: ["arn:aws:ecs:eu-west-2:123456789012:task-definition/web:3"]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecs_client, ecs_rules

# DeleteTaskDefinitions takes ten at a time.
DELETE_AT_ONCE = 10
# What Fargate gives without a word; with one it gives 21 to 200 GiB (RegisterTaskDefinition, EphemeralStorage).
DEFAULT_STORAGE = 20
MOST_STORAGE = 200


def with_text_values(container: dict) -> dict:
    """ECS takes only text as the value of an environment variable; a template may well render a number."""
    if not container.get("environment"):
        return container
    return dict(container, environment=[dict(one, value=str(one["value"])) for one in container["environment"]])


def desired_definition(params: dict) -> dict:
    """The request of RegisterTaskDefinition, without the tags."""
    definition = {
        "family": params["family"],
        "containerDefinitions": [with_text_values(container) for container in params["containers"]],
        "cpu": str(params["cpu"]),
        "memory": str(params["memory"]),
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "runtimePlatform": {"cpuArchitecture": params["cpu_architecture"], "operatingSystemFamily": "LINUX"},
        "executionRoleArn": params["execution_role_arn"],
        "taskRoleArn": params["task_role_arn"],
        "volumes": [{"name": name} for name in params["volumes"]] or None,
        "ephemeralStorage": {"sizeInGiB": params["ephemeral_storage"]} if params["ephemeral_storage"] != DEFAULT_STORAGE else None,
    }
    return {key: value for key, value in definition.items() if value is not None}


def make_present(module: AnsibleAWSModule, ecs) -> None:
    storage = module.params["ephemeral_storage"]
    if not DEFAULT_STORAGE <= storage <= MOST_STORAGE:
        raise ValueError(
            f"ephemeral_storage = {storage}: Fargate gives {DEFAULT_STORAGE} to {MOST_STORAGE} GiB; choose a number in between"
        )
    desired = desired_definition(module.params)
    current = ecs_client.describe_task_definition(ecs, module.params["family"])
    # Not to speak of the storage means the default too.
    unsaid = {"ephemeralStorage": {"sizeInGiB": DEFAULT_STORAGE}}
    before, after = ecs_rules.comparable(current and {**unsaid, **current}, {**unsaid, **desired})
    before_tags = current["tags"] if current else {}
    changed = before != after or before_tags != module.params["tags"]
    if changed and not module.check_mode:
        current = ecs.register_task_definition(
            **desired, tags=ecs_rules.tags_to_api(module.params["tags"]), aws_retry=True
        )["taskDefinition"]
    known = not changed or not module.check_mode
    module.exit_json(
        changed=changed,
        task_definition_arn=current["taskDefinitionArn"] if known else None,
        revision=current["revision"] if known else None,
        diff={"before": dict(before, tags=before_tags), "after": dict(after, tags=module.params["tags"])},
    )


def revisions(ecs, family: str, status: str) -> list[str]:
    arns = [
        arn
        for page in ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family, status=status)
        for arn in page["taskDefinitionArns"]
    ]
    # The API matches families by prefix.
    return [arn for arn in arns if arn.rsplit("/", 1)[-1].rsplit(":", 1)[0] == family]


def make_absent(module: AnsibleAWSModule, ecs) -> None:
    def ours(arns: list[str]) -> list[str]:
        described = {arn: ecs_client.describe_task_definition(ecs, arn) for arn in arns}
        return [arn for arn, one in described.items() if one and ecs_rules.carries(one["tags"], module.params["tags"])]

    active = ours(revisions(ecs, module.params["family"], "ACTIVE"))
    removable = active + ours(revisions(ecs, module.params["family"], "INACTIVE"))
    if not module.check_mode:
        for arn in active:
            ecs.deregister_task_definition(taskDefinition=arn, aws_retry=True)
        for start in range(0, len(removable), DELETE_AT_ONCE):
            batch = removable[start:start + DELETE_AT_ONCE]
            ecs.delete_task_definitions(taskDefinitions=batch, aws_retry=True)
    module.exit_json(
        changed=bool(removable),
        task_definition_arn=None,
        revision=None,
        removed=removable,
        diff={"before": {"revisions": removable}, "after": {"revisions": []}},
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "family": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "containers": {"type": "list", "elements": "dict"},
            "cpu": {"type": "int"},
            "memory": {"type": "int"},
            "execution_role_arn": {"type": "str"},
            "task_role_arn": {"type": "str"},
            "cpu_architecture": {"type": "str", "choices": ["X86_64", "ARM64"], "default": "X86_64"},
            "ephemeral_storage": {"type": "int", "default": DEFAULT_STORAGE},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "present", ["containers", "cpu", "memory"])],
        supports_check_mode=True,
    )
    ecs = ecs_client.connect(module, "ecs")
    with aws_changes.one_line_failures(module, "ecs", f"Task definition {module.params['family']}"):
        if module.params["state"] == "present":
            make_present(module, ecs)
        else:
            make_absent(module, ecs)


if __name__ == "__main__":
    main()
