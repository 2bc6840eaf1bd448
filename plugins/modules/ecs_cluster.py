#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_cluster
version_added: "0.1.0"
short_description: Make or remove an ECS cluster for Fargate
description:
  - A cluster with the capacity providers C(FARGATE) and C(FARGATE_SPOT) and with tags from its first moment.
  - M(community.aws.ecs_cluster) knows no tags and removes a cluster whoever owns it.
  - Wraps C(CreateCluster), C(UpdateCluster), C(PutClusterCapacityProviders), C(TagResource), C(DeleteCluster) and
    C(DescribeClusters) of the Amazon ECS API.
options:
  name:
    description: Name of the cluster.
    type: str
    required: true
  state:
    description:
      - V(present) makes the cluster.
      - V(absent) removes it, once the tasks in it have ended.
    type: str
    choices: [present, absent]
    default: present
  container_insights:
    description:
      - How much CloudWatch Container Insights measures of the tasks, which AWS bills by the metric.
      - V(disabled) for nothing, V(enabled) for the cluster and its services, V(enhanced) for each task and container too.
    type: str
    choices: [disabled, enabled, enhanced]
    default: disabled
  tags:
    description:
      - Tags of the cluster; with O(state=absent) the tags that it must carry to be removed.
      - Those of M(mlops.mlflow_aws.deployment_lock) are left alone.
    type: dict
    required: true
  wait_timeout:
    description: With O(state=absent), seconds until the last task in it must have ended.
    type: int
    default: 600
attributes:
  check_mode:
    description: Predicts exactly what a run would change.
    support: full
  diff_mode:
    description: Shows capacity providers, Container Insights and tags, before and after.
    support: full
  idempotent:
    description: Writes nothing when the cluster is as asked for.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Make the cluster
  mlops.mlflow_aws.ecs_cluster:
    name: web
    tags:
      team: web

- name: Remove it
  mlops.mlflow_aws.ecs_cluster:
    name: web
    state: absent
    tags:
      team: web
"""

RETURN = r"""
cluster_arn:
  description: ARN of the cluster, null when absent and in check mode when a run would create it.
  returned: success
  type: str
  sample: arn:aws:ecs:eu-west-2:123456789012:cluster/web
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, deployment_locks, ecs_client, ecs_rules

CAPACITY_PROVIDERS = ["FARGATE", "FARGATE_SPOT"]
INSIGHTS = "containerInsights"


def describe(ecs, name: str) -> dict | None:
    answer = ecs.describe_clusters(clusters=[name], include=["TAGS", "SETTINGS"], aws_retry=True)
    return next((one for one in answer["clusters"] if one["status"] != "INACTIVE"), None)


def insights(cluster: dict) -> str:
    return next((one["value"] for one in cluster.get("settings", []) if one["name"] == INSIGHTS), "disabled")


def make_present(module: AnsibleAWSModule, ecs) -> None:
    name, tags = module.params["name"], module.params["tags"]
    cluster = describe(ecs, name)
    settings = [{"name": INSIGHTS, "value": module.params["container_insights"]}]
    before = {
        "capacity_providers": sorted(cluster.get("capacityProviders", [])) if cluster else [],
        "container_insights": insights(cluster) if cluster else None,
        "tags": deployment_locks.without(ecs_rules.tags_from_api(cluster.get("tags"))) if cluster else {},
    }
    after = {
        "capacity_providers": CAPACITY_PROVIDERS,
        "container_insights": module.params["container_insights"],
        "tags": tags,
    }
    changed = cluster is None or before != after
    if changed and not module.check_mode:
        if cluster is None:
            cluster = ecs.create_cluster(
                clusterName=name,
                capacityProviders=CAPACITY_PROVIDERS,
                settings=settings,
                tags=ecs_rules.tags_to_api(tags),
                aws_retry=True,
            )["cluster"]
        else:
            if before["container_insights"] != after["container_insights"]:
                ecs.update_cluster(cluster=name, settings=settings, aws_retry=True)
            update(ecs, cluster, before, tags)
    module.exit_json(
        changed=changed,
        cluster_arn=cluster["clusterArn"] if cluster else None,
        diff={"before": before if cluster else {}, "after": after},
    )


def update(ecs, cluster: dict, before: dict, tags: dict) -> None:
    if before["capacity_providers"] != CAPACITY_PROVIDERS:
        ecs.put_cluster_capacity_providers(
            cluster=cluster["clusterName"],
            capacityProviders=CAPACITY_PROVIDERS,
            defaultCapacityProviderStrategy=cluster.get("defaultCapacityProviderStrategy", []),
            aws_retry=True,
        )
    to_set, to_remove = ecs_rules.tag_changes(before["tags"], tags)
    if to_set:
        ecs.tag_resource(resourceArn=cluster["clusterArn"], tags=ecs_rules.tags_to_api(to_set), aws_retry=True)
    if to_remove:
        ecs.untag_resource(resourceArn=cluster["clusterArn"], tagKeys=to_remove, aws_retry=True)


def make_absent(module: AnsibleAWSModule, ecs) -> None:
    name = module.params["name"]
    cluster = describe(ecs, name)
    if cluster:
        if not ecs_rules.carries(ecs_rules.tags_from_api(cluster.get("tags")), module.params["tags"]):
            module.fail_json(
                msg=f"Cluster {name} does not carry the tags {module.params['tags']}: it is not ours to remove;"
                " remove it by hand or correct the name"
            )
        if not module.check_mode:
            delete(module, ecs)
    module.exit_json(
        changed=cluster is not None,
        cluster_arn=None,
        diff={"before": {"cluster": name if cluster else None}, "after": {"cluster": None}},
    )


def delete(module: AnsibleAWSModule, ecs) -> None:
    """Delete the cluster as soon as it is empty: a task that just stopped still counts for a while."""
    refusals = ["ClusterContainsTasksException", "ClusterContainsServicesException", "UpdateInProgressException"]

    def deleted() -> bool:
        try:
            ecs.delete_cluster(cluster=module.params["name"], aws_retry=True)
        except ecs_client.is_boto3_error_code(refusals):
            return False
        return True

    in_time, _answer = ecs_client.poll(deleted, module.params["wait_timeout"])
    if not in_time:
        module.fail_json(
            msg=f"Cluster {module.params['name']} still runs tasks after {module.params['wait_timeout']} s:"
            " stop them or raise wait_timeout"
        )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "container_insights": {
                "type": "str",
                "choices": ["disabled", "enabled", "enhanced"],
                "default": "disabled",
            },
            "tags": {"type": "dict", "required": True},
            "wait_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    ecs = ecs_client.connect(module, "ecs")
    with aws_changes.one_line_failures(module, "ecs", f"Cluster {module.params['name']}"):
        if module.params["state"] == "present":
            make_present(module, ecs)
        else:
            make_absent(module, ecs)


if __name__ == "__main__":
    main()
