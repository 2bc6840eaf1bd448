#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_service_info
version_added: "0.1.0"
short_description: Tell how an ECS service, its tasks and its targets are
description:
  - One look at a service, the task definition in force, its tasks with their health, the targets behind the load balancer and the
    latest events.
  - A service or a cluster that does not exist is an answer, not an error; M(community.aws.ecs_service_info) fails on a missing
    cluster and knows neither tasks nor targets.
  - Wraps C(DescribeServices), C(DescribeTaskDefinition), C(ListTasks) and C(DescribeTasks) of the Amazon ECS API and
    C(DescribeTargetHealth) of Elastic Load Balancing.
options:
  name:
    description: Name of the service.
    type: str
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  events:
    description: Number of the latest events to return.
    type: int
    default: 5
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look at the service
  mlops.mlflow_aws.ecs_service_info:
    name: web
    cluster: web
  register: web

- name: Say how many tasks run
  ansible.builtin.debug:
    msg: "{{ web.service.running_count if web.service else 'no such service' }}"
"""

RETURN = r"""
service:
  description: The service, null when there is none.
  returned: success
  type: dict
  contains:
    service_arn:
      description: ARN of the service.
      type: str
    status:
      description: ACTIVE or DRAINING.
      type: str
    task_definition_arn:
      description: ARN of the task definition in force.
      type: str
    desired_count:
      description: Tasks asked for.
      type: int
    running_count:
      description: Tasks running.
      type: int
    pending_count:
      description: Tasks starting.
      type: int
    rollout_state:
      description: State of the deployment in force.
      type: str
    target_group_arn:
      description: ARN of its target group, or null.
      type: str
    tags:
      description: Tags of the service.
      type: dict
task_definition:
  description: Size, roles and containers of the task definition in force, null without a service.
  returned: success
  type: dict
  contains:
    cpu:
      description: CPU units of a task.
      type: int
    memory:
      description: Memory of a task in MiB.
      type: int
    execution_role_arn:
      description: ARN of the execution role.
      type: str
    task_role_arn:
      description: ARN of the task role.
      type: str
    containers:
      description: Name, image, plain environment and log group of each container.
      type: list
      elements: dict
tasks:
  description: The tasks that have not been stopped.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: ID of the task.
      type: str
    status:
      description: Its last status.
      type: str
    health:
      description: Health by its container health check.
      type: str
    address:
      description: Private IPv4 address, null before it has one.
      type: str
    started_at:
      description: When it started, ISO 8601, null before that.
      type: str
    revision:
      description: Revision of its task definition.
      type: int
targets:
  description: What the load balancer says of each target.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Address of the target.
      type: str
    port:
      description: Port of the target.
      type: int
    state:
      description: State such as healthy or draining.
      type: str
    reason:
      description: Reason code where the state has one.
      type: str
events:
  description: The latest events, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    time:
      description: When, ISO 8601.
      type: str
    message:
      description: What happened.
      type: str
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecs_client, ecs_rules


def iso(moment) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def service_facts(service: dict) -> dict:
    primary = next((one for one in service.get("deployments", []) if one["status"] == "PRIMARY"), {})
    balancers = service.get("loadBalancers", [])
    return {
        "service_arn": service["serviceArn"],
        "status": service["status"],
        "task_definition_arn": service["taskDefinition"],
        "desired_count": service["desiredCount"],
        "running_count": service["runningCount"],
        "pending_count": service["pendingCount"],
        "rollout_state": primary.get("rolloutState"),
        "target_group_arn": balancers[0].get("targetGroupArn") if balancers else None,
        "tags": ecs_rules.tags_from_api(service.get("tags")),
    }


def task_definition_facts(definition: dict) -> dict:
    containers = []
    for container in definition["containerDefinitions"]:
        options = (container.get("logConfiguration") or {}).get("options", {})
        environment = {one["name"]: one["value"] for one in container.get("environment", [])}
        containers.append(
            {
                "name": container["name"],
                "image": container["image"],
                "environment": environment,
                "log_group": options.get("awslogs-group"),
            }
        )
    return {
        "cpu": int(definition["cpu"]),
        "memory": int(definition["memory"]),
        "execution_role_arn": definition.get("executionRoleArn"),
        "task_role_arn": definition.get("taskRoleArn"),
        "containers": containers,
    }


def task_facts(task: dict) -> dict:
    addresses = [
        interface["privateIpv4Address"]
        for container in task.get("containers", [])
        for interface in container.get("networkInterfaces", [])
        if "privateIpv4Address" in interface
    ]
    return {
        "id": task["taskArn"].rsplit("/", 1)[-1],
        "status": task["lastStatus"],
        "health": task.get("healthStatus", "UNKNOWN"),
        "address": addresses[0] if addresses else None,
        "started_at": iso(task.get("startedAt")),
        "revision": int(task["taskDefinitionArn"].rsplit(":", 1)[-1]),
    }


def target_facts(description: dict) -> dict:
    return {
        "id": description["Target"]["Id"],
        "port": description["Target"]["Port"],
        "state": description["TargetHealth"]["State"],
        "reason": description["TargetHealth"].get("Reason"),
    }


def list_tasks(ecs, cluster: str, service: str) -> list[dict]:
    pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, serviceName=service)
    arns = [arn for page in pages for arn in page["taskArns"]]
    tasks: list[dict] = []
    for start in range(0, len(arns), 100):
        tasks += ecs.describe_tasks(cluster=cluster, tasks=arns[start:start + 100], aws_retry=True)["tasks"]
    return tasks


def list_targets(elb, target_group_arn: str | None) -> list[dict]:
    if not target_group_arn:
        return []
    try:
        answer = elb.describe_target_health(TargetGroupArn=target_group_arn, aws_retry=True)
    except ecs_client.is_boto3_error_code("TargetGroupNotFound"):
        return []
    return answer["TargetHealthDescriptions"]


def look(module: AnsibleAWSModule) -> dict:
    ecs = ecs_client.connect(module, "ecs")
    cluster, name = module.params["cluster"], module.params["name"]
    service = ecs_client.describe_service(ecs, cluster, name)
    if service is None:
        return {"service": None, "task_definition": None, "tasks": [], "targets": [], "events": []}
    facts = service_facts(service)
    definition = ecs_client.describe_task_definition(ecs, service["taskDefinition"])
    targets = list_targets(ecs_client.connect(module, "elbv2"), facts["target_group_arn"])
    events = service.get("events", [])[: module.params["events"]]
    return {
        "service": facts,
        "task_definition": task_definition_facts(definition) if definition else None,
        "tasks": [task_facts(task) for task in list_tasks(ecs, cluster, name)],
        "targets": [target_facts(target) for target in targets],
        "events": [{"time": iso(event["createdAt"]), "message": event["message"]} for event in events],
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "cluster": {"type": "str", "required": True},
            "events": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "ecs", f"Service {module.params['name']} in cluster {module.params['cluster']}"):
        facts = look(module)
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
