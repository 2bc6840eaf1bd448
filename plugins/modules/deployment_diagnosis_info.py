#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_diagnosis_info
version_added: "0.1.0"
short_description: Tell why a deployment of MLflow is sick, and what to do about it
description:
  - Gathers the state of service, tasks, database, secrets, roles, bucket, network, load balancer and certificate, why tasks stopped
    and what they logged last, asks MLflow through its real address, and names the causes, most likely first, each with its remedy and
    where it was seen.
  - Finds the deployment by its name, as the roles of this collection name its parts. What is missing is an answer, not an error; what
    may not be read is named in RV(unread).
  - Only failures of the present trouble count. Tasks that failed in one that is over are mentioned in RV(notes).
  - Changes nothing. Of secrets it reads the values, to see whether they have what tasks need, to log in as the admin, and to mask them
    wherever they turn up; no value is returned.
  - Wraps C(DescribeServices), C(DescribeTaskDefinition), C(ListTasks) and C(DescribeTasks) of Amazon ECS, C(GetLogEvents) of CloudWatch
    Logs, C(GetMetricStatistics) of CloudWatch, C(DescribeDBInstances), C(DescribeEvents) and C(DescribeDBEngineVersions) of Amazon RDS,
    the C(Describe) calls of Elastic Load Balancing, C(DescribeCertificate) of ACM, C(DescribeSecret) and C(GetSecretValue) of Secrets
    Manager, C(ListRolePolicies), C(GetRolePolicy) and C(ListAttachedRolePolicies) of IAM, C(HeadBucket) and C(GetBucketPolicy) of
    Amazon S3, and C(DescribeSubnets), C(DescribeSecurityGroups), C(DescribeRouteTables), C(DescribeNatGateways) and
    C(DescribeVpcEndpoints) of Amazon EC2.
options:
  name:
    description: Name of the deployment.
    type: str
    required: true
  bucket:
    description: Name of the artifact bucket, for a deployment that has no task definition to tell it.
    type: str
    default: ""
  db_engine_version:
    description: >-
      Version of PostgreSQL that the database was to have, such as V(15) or V(15.7), to tell whether RDS offers it where there is no
      database.
    type: str
    default: ""
  ask_server:
    description: Whether to ask MLflow through the load balancer too. Set it to V(false) where this machine may not reach it.
    type: bool
    default: true
  sign_on:
    description: Whether the load balancer sends those who bring no password to an identity provider.
    type: bool
    default: false
  ca_path:
    description: File with certificates in PEM to check the server's against; empty takes those of the system.
    type: str
    default: ""
  certificate_days:
    description: Days that the certificate must still be valid for.
    type: int
    default: 14
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: mlops.mlflow_aws.mlflow_health
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Ask what ails the deployment
  mlops.mlflow_aws.deployment_diagnosis_info:
    name: fraud-scoring-mlflow
    region: eu-west-2
  register: diagnosis

- name: Show the most likely cause
  ansible.builtin.debug:
    msg: "{{ 'healthy' if diagnosis.healthy else diagnosis.causes[0].cause ~ ': ' ~ diagnosis.causes[0].remedy }}"
"""

RETURN = r"""
healthy:
  description: Whether everything that was read is as it should be.
  returned: success
  type: bool
causes:
  description: What makes it sick, most likely first; empty if it is healthy.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Name of the cause, for programs.
      type: str
    likelihood:
      description: 0 to 100, by which the causes are ordered.
      type: int
    cause:
      description: The cause, in one line.
      type: str
    remedy:
      description: What to do about it, in one line.
      type: str
    evidence:
      description: Where it was seen, three lines at most.
      type: list
      elements: str
  sample:
    - id: database_stopped
      likelihood: 97
      cause: "The database fraud-scoring-mlflow-db is stopped: somebody stopped it"
      remedy: start it and run again
      evidence: [DB instance stopped]
symptoms:
  description: What is not as it should be.
  returned: success
  type: list
  elements: str
  sample: [1 of 2 tasks run]
notes:
  description: What is worth knowing, though it makes nothing sick.
  returned: success
  type: list
  elements: str
unread:
  description: What was not looked at, and why.
  returned: success
  type: list
  elements: str
lines:
  description: All of it for people.
  returned: success
  type: list
  elements: str
"""

import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    diagnosis,
    diagnosis_reader,
    ecs_client,
)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "bucket": {"type": "str", "default": ""},
            "db_engine_version": {"type": "str", "default": ""},
            "ask_server": {"type": "bool", "default": True},
            "sign_on": {"type": "bool", "default": False},
            "ca_path": {"type": "str", "default": ""},
            "certificate_days": {"type": "int", "default": 14},
        },
        supports_check_mode=True,
    )
    reader = diagnosis_reader.Reader(
        lambda service: ecs_client.connect(module, service), module.region, module.params, time.time()
    )
    with aws_changes.one_line_failures(module, "aws", f"Deployment {module.params['name']}"):
        facts = reader.read()
    found = diagnosis.diagnose(facts)
    module.exit_json(
        changed=False,
        lines=diagnosis.report(facts, found),
        **{**found._asdict(), "causes": [cause._asdict() for cause in found.causes]},
    )


if __name__ == "__main__":
    main()
