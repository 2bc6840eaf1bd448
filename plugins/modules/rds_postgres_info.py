#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_postgres_info
version_added: "0.1.0"
short_description: Look at an RDS instance, or wait until it answers
description:
  - Tells what others need to know about one instance.
  - When it waits, it asks every few seconds and fails at once, with the reason, in a status that RDS does not leave
    by itself.
  - Wraps C(DescribeDBInstances) and C(DescribeEvents) of the Amazon RDS API.
options:
  db_instance_identifier:
    description: Identifier of the instance.
    type: str
    required: true
  wait:
    description: Whether to wait until the instance is available. Check mode does not wait.
    type: bool
    default: false
  wait_timeout:
    description: Seconds until the instance must be available.
    type: int
    default: 1800
  kms_key:
    description: ARN of the KMS key that an instance must be encrypted with if there is one; empty for any.
    type: str
    default: ""
  former_kms_key:
    description: ARN of the KMS key that an instance must not be encrypted with; empty for none.
    type: str
    default: ""
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Wait for the database
  mlops.mlflow_aws.rds_postgres_info:
    db_instance_identifier: web-db
    wait: true
  register: database
"""

RETURN = r"""
instance:
  description: The instance; every value is null when there is none.
  returned: success
  type: dict
  sample:
    db_instance_id: web-db
    db_instance_arn: arn:aws:rds:eu-west-2:123456789012:db:web-db
    status: available
    endpoint_address: web-db.abcdefghijkl.eu-west-2.rds.amazonaws.com
    endpoint_port: 5432
    database_name: web
    engine_version: "15.7"
    instance_class: db.t3.micro
    kms_key_arn: arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
    restored_from: null
    restore_unfinished: false
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, rds_client, rds_rules


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "db_instance_identifier": {"type": "str", "required": True},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 1800},
            "kms_key": {"type": "str", "default": "", "no_log": False},
            "former_kms_key": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    identifier, rds = module.params["db_instance_identifier"], rds_client.connect(module)
    with aws_changes.one_line_failures(module, "rds", f"Database {identifier}"):
        if module.params["wait"] and not module.check_mode:
            instance = rds_client.await_usable(rds, identifier, module.params["wait_timeout"])
        else:
            instance = rds_client.describe_instance(rds, identifier)
        refused = rds_rules.key_problem(instance, module.params["kms_key"], module.params["former_kms_key"])
        if refused:
            raise ValueError(refused)
    module.exit_json(changed=False, instance=rds_rules.summary(instance))


if __name__ == "__main__":
    main()
