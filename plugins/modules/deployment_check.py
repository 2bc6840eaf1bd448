#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_check
version_added: "0.1.0"
short_description: Check a whole MLflow deployment for contradictions, before anything is created
description:
  - Judges names, address ranges, versions, sizes, workers against memory and connections against the database,
    without asking AWS.
  - All problems are reported in one failure, one line for each, with variable, value, reason and remedy. What could
    work but is not advisable becomes a warning.
  - An option that is not given is not checked.
  - All values are taken as they come and their types are checked here, so that a wrong type is reported like, and
    together with, every other problem. Whole numbers may be given as text.
options:
  mlflow_workers:
    description: >-
      Worker processes of the MLflow server in each task; V(0) chooses the largest number from 1 to 4 that fits
      O(task_memory).
    type: raw
  task_cpu:
    description: CPU of a Fargate task, in CPU units (1024 are one vCPU).
    type: raw
  task_memory:
    description: Memory of a Fargate task, in MiB.
    type: raw
  desired_count:
    description: Number of tasks.
    type: raw
  db_allocated_storage:
    description: Storage of the database to start with, in GiB.
    type: raw
  db_max_allocated_storage:
    description: Storage that the database may grow to, in GiB; V(0) for no growth.
    type: raw
  db_backup_retention_days:
    description: How long automated backups are kept, in days.
    type: raw
  db_pool_size:
    description: >-
      Connections that each worker keeps to each of the two stores; V(0) chooses it from the instance class.
    type: raw
  db_max_overflow:
    description: Connections beyond O(db_pool_size), used only when that is given.
    type: raw
  listener_port:
    description: Port of the load balancer.
    type: raw
  container_port:
    description: Port of the MLflow server in its container.
    type: raw
  database_port:
    description: Port of the database.
    type: raw
  log_retention_days:
    description: How long logs are kept, in days; V(0) for ever.
    type: raw
  name:
    description: Name of the deployment; the names of all AWS resources are derived from it.
    type: raw
  mlflow_version:
    description: Version of MLflow, all three numbers, as text.
    type: raw
  db_engine_version:
    description: Version of PostgreSQL, as text, such as V(15.7) or V(15).
    type: raw
  db_instance_class:
    description: Instance class of the database, such as V(db.t3.micro).
    type: raw
  vpc_id:
    description: Id of an existing VPC; empty if one will be created.
    type: raw
  vpc_cidr:
    description: IPv4 range of the VPC to create, /16 to /28.
    type: raw
  bucket:
    description: Name of the S3 bucket for artifacts.
    type: raw
  artifact_prefix:
    description: Prefix of the artifacts in the bucket, without slashes at its ends.
    type: raw
  db_name:
    description: Name of the database.
    type: raw
  db_username:
    description: User that owns the database.
    type: raw
  admin_username:
    description: First MLflow administrator.
    type: raw
  nat_mode:
    description: V(single), V(per_zone) or V(none).
    type: raw
  interface_endpoints:
    description: AWS services that tasks reach by interface endpoints, such as V(logs).
    type: raw
  image:
    description: Container image of the tasks.
    type: raw
  install:
    description: Whether tasks install MLflow when they start.
    type: raw
  load_balancer_scheme:
    description: V(internet-facing) or V(internal).
    type: raw
  https:
    description: Whether the load balancer takes HTTPS.
    type: raw
  supported_versions:
    description: Versions of MLflow that can be deployed; every version when empty.
    type: raw
  availability_zones:
    description: Zones of the subnets to create; empty to have them chosen.
    type: raw
  public_subnet_cidrs:
    description: IPv4 ranges of the public subnets to create.
    type: raw
  private_subnet_cidrs:
    description: IPv4 ranges of the private subnets to create.
    type: raw
  public_subnet_ids:
    description: Existing public subnets.
    type: raw
  private_subnet_ids:
    description: Existing private subnets.
    type: raw
  client_cidrs:
    description: IPv4 ranges that may connect to the load balancer.
    type: raw
  artifact_transfer:
    description: >-
      V(proxied) where artifacts go through load balancer and server, V(presigned) where clients reach S3 themselves with
      addresses that the server signs.
    type: raw
  largest_artifact_gib:
    description: Size of the largest artifact that must pass, in GiB; V(1) unless given.
    type: raw
  transfers_at_once:
    description: How many artifacts of this size a task must hold at the same time; V(1) unless given.
    type: raw
  idle_timeout:
    description: Idle timeout of the load balancer, in seconds; V(0) to have it chosen.
    type: raw
  ephemeral_storage_gib:
    description: Storage of a task, in GiB; V(0) to have it chosen.
    type: raw
  transition_days:
    description: Days after which artifacts move to O(transition_class); V(0) for never.
    type: raw
  transition_class:
    description: Storage class for O(transition_days); one from which nothing can be read at once is refused.
    type: raw
  server_environment:
    description: Further environment variables of the MLflow server.
    type: dict
    default: {}
  scaling:
    description: What scales the service, as M(mlops.mlflow_aws.ecs_service_autoscaling) takes it; empty for nothing.
    type: dict
    default: {}
  variable_names:
    description: What to call options in messages, as option to variable.
    type: dict
    default: {}
  variable_prefix:
    description: What to put before the name of every other option in messages.
    type: str
    default: ""
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Check the sizes of a deployment
  mlops.mlflow_aws.deployment_check:
    name: fraud-scoring-mlflow
    mlflow_version: 2.18.0
    mlflow_workers: 0
    task_cpu: 512
    task_memory: 1024
    desired_count: 2
    db_instance_class: db.t3.micro
  register: sizes

- name: Show how many workers fit
  ansible.builtin.debug:
    var: sizes.mlflow_workers
"""

RETURN = r"""
mlflow_workers:
  description: Workers to run in each task, null if not asked for.
  returned: success
  type: int
  sample: 3
db_pool_size:
  description: Connections that each worker keeps to each store, null if it could not be said.
  returned: success
  type: int
  sample: 1
db_max_overflow:
  description: Connections beyond the pool for each worker and store, null if it could not be said.
  returned: success
  type: int
  sample: 1
db_max_connections:
  description: About how many connections the database takes, null for an instance class that is not known.
  returned: success
  type: int
  sample: 80
transfer:
  description: What is set for O(artifact_transfer) and the largest artifact, null if not asked for.
  returned: success
  type: dict
  contains:
    idle_timeout:
      description: Idle timeout of the load balancer, in seconds.
      type: int
      sample: 60
    keep_alive:
      description: Seconds for which the server keeps idle connections.
      type: int
      sample: 620
    ephemeral_storage_gib:
      description: Storage of a task, in GiB.
      type: int
      sample: 20
    url_seconds:
      description: Seconds for which an address that the server signs for a download is good.
      type: int
      sample: 300
    client_environment:
      description: Environment variables of MLflow's clients.
      type: dict
      sample: {"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true"}
    largest_request_mib:
      description: Size of the largest file that goes through the load balancer, in MiB.
      type: int
      sample: 500
    bucket_cors:
      description: Whether browsers must reach the bucket.
      type: bool
findings:
  description: The warnings, also shown as warnings of the task.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_rules import OPTIONS, check


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "mlflow_workers": {"type": "raw"},
            "task_cpu": {"type": "raw"},
            "task_memory": {"type": "raw"},
            "desired_count": {"type": "raw"},
            "db_allocated_storage": {"type": "raw"},
            "db_max_allocated_storage": {"type": "raw"},
            "db_backup_retention_days": {"type": "raw"},
            "db_pool_size": {"type": "raw"},
            "db_max_overflow": {"type": "raw"},
            "listener_port": {"type": "raw"},
            "container_port": {"type": "raw"},
            "database_port": {"type": "raw"},
            "log_retention_days": {"type": "raw"},
            "name": {"type": "raw"},
            "mlflow_version": {"type": "raw"},
            "db_engine_version": {"type": "raw"},
            "db_instance_class": {"type": "raw"},
            "vpc_id": {"type": "raw"},
            "vpc_cidr": {"type": "raw"},
            "bucket": {"type": "raw"},
            "artifact_prefix": {"type": "raw"},
            "db_name": {"type": "raw"},
            "db_username": {"type": "raw"},
            "admin_username": {"type": "raw"},
            "nat_mode": {"type": "raw"},
            "interface_endpoints": {"type": "raw"},
            "image": {"type": "raw"},
            "install": {"type": "raw"},
            "load_balancer_scheme": {"type": "raw"},
            "https": {"type": "raw"},
            "supported_versions": {"type": "raw"},
            "availability_zones": {"type": "raw"},
            "public_subnet_cidrs": {"type": "raw"},
            "private_subnet_cidrs": {"type": "raw"},
            "public_subnet_ids": {"type": "raw"},
            "private_subnet_ids": {"type": "raw"},
            "client_cidrs": {"type": "raw"},
            "artifact_transfer": {"type": "raw"},
            "largest_artifact_gib": {"type": "raw"},
            "transfers_at_once": {"type": "raw"},
            "idle_timeout": {"type": "raw"},
            "ephemeral_storage_gib": {"type": "raw"},
            "transition_days": {"type": "raw"},
            "transition_class": {"type": "raw"},
            "server_environment": {"type": "dict", "default": {}},
            "scaling": {"type": "dict", "default": {}},
            "variable_names": {"type": "dict", "default": {}},
            "variable_prefix": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = {option: module.params[option] for option in OPTIONS}
    found = Findings(module.params["variable_names"], module.params["variable_prefix"])
    derived = check(given, found, module.params["scaling"], module.params["server_environment"])
    for warning in found.warnings:
        module.warn(warning)
    if found.problems:
        module.fail_json(msg=failure(found.problems))
    module.exit_json(changed=False, findings=found.warnings, **derived)


if __name__ == "__main__":
    main()
