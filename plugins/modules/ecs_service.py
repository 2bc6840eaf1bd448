#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_service
version_added: "0.1.0"
short_description: Run an ECS Fargate service and see its deployment through
description:
  - Creates or updates a service behind a load balancer's target group and waits until it is steady on the task definition asked
    for, every target healthy and the tasks of the earlier deployment gone.
  - Fails as soon as ECS gives the deployment up, with the reason of a task that failed and the last lines that it logged.
  - A service whose last deployment was given up gets a new deployment, since ECS starts no task for it otherwise.
  - M(community.aws.ecs_service) waits for a deletion only, overlooks changes of the network and of the deployment settings, and
    cannot change tags.
  - Wraps C(CreateService), C(UpdateService), C(DeleteService), C(DescribeServices) and C(TagResource) of the Amazon ECS API,
    C(DescribeTargetHealth) of Elastic Load Balancing and C(GetLogEvents) of CloudWatch Logs.
options:
  name:
    description: Name of the service.
    type: str
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  state:
    description:
      - V(present) makes the service as asked for.
      - V(stopped) stops the tasks of a service that exists, draining them from the load balancer, and keeps it otherwise as it is.
      - V(absent) stops its tasks, draining them from the load balancer, and deletes it.
      - V(restarted) replaces the tasks of a service by tasks like them, in a new deployment, so that they read their secrets anew, and
        waits until the replaced ones have drained and ended.
    type: str
    choices: [present, stopped, absent, restarted]
    default: present
  task_definition:
    description: ARN of the task definition, with its revision. Required with O(state=present).
    type: str
  desired_count:
    description: Number of tasks. Required with O(state=present).
    type: int
  min_count:
    description:
      - Fewest tasks where something else changes the number, such as M(mlops.mlflow_aws.ecs_service_autoscaling).
      - With it, a service that exists keeps the number of tasks that it has, as long as that is at least this and at
        most O(max_count); O(desired_count) is what a new service begins with.
    type: int
  max_count:
    description: Most tasks where something else changes the number; see O(min_count).
    type: int
  subnets:
    description: IDs of the subnets of the tasks. Required with O(state=present).
    type: list
    elements: str
  security_groups:
    description: IDs of the security groups of the tasks. Required with O(state=present).
    type: list
    elements: str
  assign_public_ip:
    description: Whether tasks get public addresses.
    type: bool
    default: false
  spot:
    description:
      - Whether tasks run on Fargate Spot, which is cheaper, ends them with two minutes' notice and sometimes has no room for others.
      - Another answer replaces the tasks, in a new deployment.
    type: bool
    default: false
  on_demand_count:
    description: With O(spot), the number of tasks that do not run on Fargate Spot. Of those beyond it, one in a hundred does not either.
    type: int
    default: 1
  target_group_arn:
    description: ARN of the target group in which tasks are registered. Cannot be changed to none later.
    type: str
  container:
    description: Name of the container that takes the requests.
    type: str
  container_port:
    description: Port of that container.
    type: int
  minimum_healthy_percent:
    description: Percentage of O(desired_count) that keeps running during a deployment.
    type: int
    default: 100
  maximum_percent:
    description: Percentage of O(desired_count) that may run during a deployment.
    type: int
    default: 200
  health_check_grace_period:
    description: Seconds for which failed load balancer health checks of a new task are overlooked. Means nothing without O(target_group_arn).
    type: int
  tags:
    description:
      - Tags of the service, which its tasks get too. The tag C(mlflow-upgrade) stays as it is (M(mlops.mlflow_aws.deployment_upgrade_check)).
      - With O(state=absent) and O(state=restarted) the tags that the service must carry to be touched.
    type: dict
    required: true
  wait:
    description: Whether to wait until the service is steady, or gone.
    type: bool
    default: true
  wait_for_replaced:
    description:
      - With O(state=present), whether to wait, too, until the tasks that were replaced have ended. Before that they still finish
        requests, for as long as the load balancer takes to drain them.
    type: bool
    default: false
  wait_timeout:
    description: Seconds until the service must be steady, or gone.
    type: int
    default: 900
attributes:
  check_mode:
    description: Predicts exactly what a run would change; does not wait.
    support: full
  diff_mode:
    description: Shows the settings that differ, before and after.
    support: full
  idempotent:
    description:
      - Writes nothing when the service is as asked for, but still waits for it to be steady.
      - With the exception of O(state=restarted).
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Run two tasks behind the load balancer
  mlops.mlflow_aws.ecs_service:
    name: web
    cluster: web
    task_definition: arn:aws:ecs:eu-west-2:123456789012:task-definition/web:3
    desired_count: 2
    subnets: [subnet-0a1b2c3d4e5f60718, subnet-0f1e2d3c4b5a69788]
    security_groups: [sg-0a1b2c3d4e5f60718]
    target_group_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:targetgroup/web/73e2d6bc24d8a067
    container: web
    container_port: 8000
    health_check_grace_period: 120
    tags:
      team: web

- name: Let its tasks read their secrets anew
  mlops.mlflow_aws.ecs_service:
    name: web
    cluster: web
    state: restarted
    tags:
      team: web

- name: Take it down
  mlops.mlflow_aws.ecs_service:
    name: web
    cluster: web
    state: absent
    tags:
      team: web
"""

RETURN = r"""
service:
  description: The service as C(DescribeServices) tells it, null when absent and in check mode when a run would create it.
  returned: success
  type: dict
  contains:
    service_arn:
      description: ARN of the service.
      type: str
    task_definition:
      description: ARN of the task definition in force.
      type: str
    desired_count:
      description: Tasks asked for.
      type: int
    running_count:
      description: Tasks running.
      type: int
seconds:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 48.3
"""

import time

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecs_client, ecs_rules, mlflow_upgrade_plan


def desired_settings(params: dict, desired_count: int) -> dict:
    """What CreateService and UpdateService have in common."""
    settings = {
        "taskDefinition": params["task_definition"],
        "desiredCount": desired_count,
        "deploymentConfiguration": {
            "minimumHealthyPercent": params["minimum_healthy_percent"],
            "maximumPercent": params["maximum_percent"],
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
        "capacityProviderStrategy": ecs_rules.capacity_strategy(params["spot"], params["on_demand_count"]),
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": sorted(params["subnets"]),
                "securityGroups": sorted(params["security_groups"]),
                "assignPublicIp": "ENABLED" if params["assign_public_ip"] else "DISABLED",
            }
        },
    }
    if params["target_group_arn"]:
        settings["loadBalancers"] = [
            {
                "targetGroupArn": params["target_group_arn"],
                "containerName": params["container"],
                "containerPort": params["container_port"],
            }
        ]
        if params["health_check_grace_period"] is not None:
            settings["healthCheckGracePeriodSeconds"] = params["health_check_grace_period"]
    return settings


def current_settings(service: dict | None) -> dict | None:
    """A service with the lists that ECS keeps in no order sorted, and a launch type told as the strategy that it stands for."""
    if service is None:
        return None
    strategy = service.get("capacityProviderStrategy") or ecs_rules.capacity_strategy(spot=False)
    network = dict(service.get("networkConfiguration", {}).get("awsvpcConfiguration", {}))
    for key in ("subnets", "securityGroups"):
        network[key] = sorted(network.get(key, []))
    return dict(
        service,
        networkConfiguration={"awsvpcConfiguration": network},
        capacityProviderStrategy=sorted(strategy, key=lambda one: one["capacityProvider"]),
    )


class Service:
    """One service: what is, what is asked for, and the calls between them."""

    def __init__(self, module: AnsibleAWSModule):
        self.module = module
        self.params = module.params
        self.ecs = ecs_client.connect(module, "ecs")
        self.label = f"Service {self.params['name']} in cluster {self.params['cluster']}"
        # The deployment to be judged by, where its task definition does not tell it from others.
        self.deployment_id: str | None = None

    def describe(self) -> dict | None:
        return ecs_client.describe_service(self.ecs, self.params["cluster"], self.params["name"])

    def make_present(self) -> None:
        service = self.describe()
        if service and service["status"] == "DRAINING":
            self.wait_until_gone()
            service = None
        count = ecs_rules.desired_count(
            service, self.params["desired_count"], self.params["min_count"], self.params["max_count"]
        )
        settings = desired_settings(self.params, count)
        before, after = ecs_rules.comparable(current_settings(service), settings)
        # ECS takes another strategy only together with a new deployment.
        moves = service is not None and before["capacityProviderStrategy"] != after["capacityProviderStrategy"]
        before_tags = mlflow_upgrade_plan.without(ecs_rules.tags_from_api(service.get("tags"))) if service else {}
        push = moves or (service is not None and ecs_rules.rollout_needs_push(service))
        differs = before != after or push
        changed = differs or before_tags != self.params["tags"]
        started = time.monotonic()
        if changed and not self.module.check_mode:
            self.apply(service, settings, before_tags, differs, push)
        if self.params["wait"] and not self.module.check_mode:
            self.wait_until_steady()
            if self.params["wait_for_replaced"]:
                self.wait_until_ended()
        self.module.exit_json(
            changed=changed,
            service=self.result(),
            seconds=round(time.monotonic() - started, 1),
            diff={"before": dict(before, tags=before_tags), "after": dict(after, tags=self.params["tags"])},
        )

    def apply(self, service: dict | None, settings: dict, before_tags: dict, differs: bool, push: bool) -> None:
        where = {"cluster": self.params["cluster"]}
        if service is None:
            self.ecs.create_service(
                **where,
                **settings,
                serviceName=self.params["name"],
                propagateTags="SERVICE",
                tags=ecs_rules.tags_to_api(self.params["tags"]),
                aws_retry=True,
            )
            return
        if differs:
            if not push:
                settings = {key: value for key, value in settings.items() if key != "capacityProviderStrategy"}
            self.ecs.update_service(
                **where, **settings, service=self.params["name"], forceNewDeployment=push, aws_retry=True
            )
        to_set, to_remove = ecs_rules.tag_changes(before_tags, self.params["tags"])
        if to_set:
            self.ecs.tag_resource(
                resourceArn=service["serviceArn"], tags=ecs_rules.tags_to_api(to_set), aws_retry=True
            )
        if to_remove:
            self.ecs.untag_resource(resourceArn=service["serviceArn"], tagKeys=to_remove, aws_retry=True)

    def refuse_others(self, service: dict, remedy: str) -> None:
        if not ecs_rules.carries(ecs_rules.tags_from_api(service.get("tags")), self.params["tags"]):
            self.module.fail_json(
                msg=f"{self.label} does not carry the tags {self.params['tags']}: it is not ours to touch; {remedy}"
            )

    def restart(self) -> None:
        service, started = self.describe(), time.monotonic()
        if service is None or service["status"] != "ACTIVE":
            self.module.fail_json(msg=f"{self.label} does not run: deploy it first")
        self.refuse_others(service, "correct the name")
        self.params["task_definition"] = service["taskDefinition"]
        balancers = service.get("loadBalancers", [])
        self.params["target_group_arn"] = balancers[0].get("targetGroupArn") if balancers else None
        if not self.module.check_mode:
            where = {"cluster": self.params["cluster"], "service": self.params["name"]}
            answer = self.ecs.update_service(**where, forceNewDeployment=True, aws_retry=True)
            self.deployment_id = ecs_rules.primary_deployment(answer["service"])["id"]
            if self.params["wait"]:
                self.wait_until_steady()
                self.wait_until_ended()
        self.module.exit_json(
            changed=True,
            service=self.result(),
            seconds=round(time.monotonic() - started, 1),
            diff={"before": {"tasks": "as they were"}, "after": {"tasks": "new ones"}},
        )

    def make_stopped(self) -> None:
        service = self.describe()
        started = time.monotonic()
        before = service["desiredCount"] if service else 0
        if service:
            self.refuse_others(service, "stop it by hand or correct the name")
            if not self.module.check_mode:
                if before:
                    self.ecs.update_service(
                        cluster=self.params["cluster"], service=self.params["name"], desiredCount=0, aws_retry=True
                    )
                if self.params["wait"]:
                    self.wait_until_stopped()
        self.module.exit_json(
            changed=before > 0,
            service=self.result(),
            seconds=round(time.monotonic() - started, 1),
            diff={"before": {"desiredCount": before}, "after": {"desiredCount": 0}},
        )

    def wait_until_stopped(self) -> None:
        in_time, _answer = ecs_client.poll(
            lambda: not (self.describe() or {}).get("runningCount"), self.params["wait_timeout"]
        )
        if not in_time:
            self.module.fail_json(
                msg=f"{self.label} still has tasks that run after {self.params['wait_timeout']} s: raise wait_timeout"
            )

    def make_absent(self) -> None:
        service = self.describe()
        started = time.monotonic()
        if service:
            self.refuse_others(service, "remove it by hand or correct the name")
            if not self.module.check_mode:
                if service["status"] != "DRAINING":
                    self.ecs.delete_service(
                        cluster=self.params["cluster"], service=self.params["name"], force=True, aws_retry=True
                    )
                if self.params["wait"]:
                    self.wait_until_gone()
        self.module.exit_json(
            changed=service is not None and service["status"] != "DRAINING",
            service=None,
            seconds=round(time.monotonic() - started, 1),
            diff={"before": {"service": self.params["name"] if service else None}, "after": {"service": None}},
        )

    def wait_until_gone(self) -> None:
        def gone() -> bool:
            return self.describe() is None and not self.tasks("RUNNING")

        in_time, _answer = ecs_client.poll(gone, self.params["wait_timeout"])
        if not in_time:
            self.module.fail_json(
                msg=f"{self.label} is still draining after {self.params['wait_timeout']} s: raise wait_timeout"
            )

    def tasks(self, desired_status: str) -> list[dict]:
        where = {"cluster": self.params["cluster"]}
        try:
            arns = self.ecs.list_tasks(
                **where, serviceName=self.params["name"], desiredStatus=desired_status, aws_retry=True
            )["taskArns"]
            return self.ecs.describe_tasks(**where, tasks=arns, aws_retry=True)["tasks"] if arns else []
        except ecs_client.is_boto3_error_code(["ServiceNotFoundException", "ClusterNotFoundException"]):
            return []

    def healthy_targets(self) -> int | None:
        if not self.params["target_group_arn"]:
            return None
        answer = self.elb.describe_target_health(TargetGroupArn=self.params["target_group_arn"], aws_retry=True)
        states = [one["TargetHealth"]["State"] for one in answer["TargetHealthDescriptions"]]
        return states.count("healthy")

    def wait_until_steady(self) -> None:
        self.elb = ecs_client.connect(self.module, "elbv2")
        verdict = ecs_rules.Verdict("progressing", "ECS has not answered yet")

        def decided() -> bool:
            nonlocal verdict
            service = self.describe()
            if service is None:
                verdict = ecs_rules.Verdict("failed", "the service was deleted meanwhile")
            else:
                healthy = self.healthy_targets()
                verdict = self.judge(service, healthy)
            return verdict.state != "progressing"

        in_time, _answer = ecs_client.poll(decided, self.params["wait_timeout"])
        if verdict.state == "steady":
            return
        late = "" if in_time else f"not steady after {self.params['wait_timeout']} s: "
        self.fail_with_task(f"{self.label} failed: {late}{verdict.reason}")

    def wait_until_ended(self) -> None:
        """Tasks that ECS counts no more still answer, with what they began with, until they have drained."""

        def ended() -> bool:
            return all(task["lastStatus"] in ("DEPROVISIONING", "STOPPED") for task in self.tasks("STOPPED"))

        in_time, _answer = ecs_client.poll(ended, self.params["wait_timeout"])
        if not in_time:
            self.module.fail_json(
                msg=f"{self.label}: tasks that were replaced still drain after {self.params['wait_timeout']} s: raise wait_timeout"
            )

    def judge(self, service: dict, healthy: int | None) -> ecs_rules.Verdict:
        if self.deployment_id:
            return ecs_rules.restart_verdict(service, self.deployment_id, healthy)
        return ecs_rules.rollout_verdict(service, self.params["task_definition"], healthy)

    def fail_with_task(self, reason: str) -> None:
        """Fail with what the latest failed task of this task definition said; it says more than the service does."""
        stopped = sorted(self.tasks("STOPPED"), key=lambda task: str(task.get("stoppedAt", "")))
        ours = [task for task in stopped if task["taskDefinitionArn"] == self.params["task_definition"]]
        failed = [(task, failure) for task in ours if (failure := ecs_rules.task_failure(task))]
        events = [event["message"] for event in (self.describe() or {}).get("events", [])[:3]]
        if not failed:
            self.module.fail_json(msg="; ".join([reason, *events[:1]]), events=events)
        task, failure = failed[-1]
        definition = ecs_client.describe_task_definition(self.ecs, self.params["task_definition"])
        tail = ecs_client.log_tail(ecs_client.connect(self.module, "logs"), definition, task["taskArn"])
        self.module.fail_json(
            msg=ecs_client.explain(f"{reason}. Task {task['taskArn'].rsplit('/', 1)[-1]}: {failure}", tail),
            events=events,
            log_tail=tail,
        )

    def result(self) -> dict | None:
        service = self.describe()
        if service is None:
            return None
        keep = ("serviceArn", "serviceName", "status", "taskDefinition", "desiredCount", "runningCount", "pendingCount")
        return camel_dict_to_snake_dict({key: service[key] for key in keep})


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "cluster": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "stopped", "absent", "restarted"], "default": "present"},
            "task_definition": {"type": "str"},
            "desired_count": {"type": "int"},
            "min_count": {"type": "int"},
            "max_count": {"type": "int"},
            "subnets": {"type": "list", "elements": "str"},
            "security_groups": {"type": "list", "elements": "str"},
            "assign_public_ip": {"type": "bool", "default": False},
            "spot": {"type": "bool", "default": False},
            "on_demand_count": {"type": "int", "default": 1},
            "target_group_arn": {"type": "str"},
            "container": {"type": "str"},
            "container_port": {"type": "int"},
            "minimum_healthy_percent": {"type": "int", "default": 100},
            "maximum_percent": {"type": "int", "default": 200},
            "health_check_grace_period": {"type": "int"},
            "tags": {"type": "dict", "required": True},
            "wait": {"type": "bool", "default": True},
            "wait_for_replaced": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 900},
        },
        required_if=[("state", "present", ["task_definition", "desired_count", "subnets", "security_groups"])],
        required_together=[("min_count", "max_count")],
        required_by={"target_group_arn": ("container", "container_port")},
        supports_check_mode=True,
    )
    service = Service(module)
    with aws_changes.one_line_failures(module, "ecs", service.label):
        make = {
            "present": service.make_present,
            "stopped": service.make_stopped,
            "absent": service.make_absent,
            "restarted": service.restart,
        }
        make[module.params["state"]]()


if __name__ == "__main__":
    main()
