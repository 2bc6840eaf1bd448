#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_master_password
version_added: "0.1.0"
short_description: Set the password of an RDS instance's master user to one that is kept in AWS Secrets Manager
description:
  - The password goes from Secrets Manager to RDS inside the module; it passes through no variable, result, diff or log.
  - RDS applies it within seconds, without an outage. The module waits until it has.
  - Wraps C(ModifyDBInstance) and C(DescribeDBInstances) of the Amazon RDS API and C(GetSecretValue) of Secrets Manager.
options:
  db_instance_identifier:
    description: Identifier of the instance.
    type: str
    required: true
  secret_id:
    description: Name or ARN of a JSON secret with C(username), which must be the master user, and C(password).
    type: str
    required: true
  version_stage:
    description: Staging label of the version of the secret that holds the password.
    type: str
    default: AWSCURRENT
  wait_timeout:
    description: Seconds until RDS must have applied it.
    type: int
    default: 900
  owner_tags:
    description: Tags that the instance must carry for the module to touch it.
    type: dict
    required: true
attributes:
  check_mode:
    description: Reports a change. The secret is not read, for the version may be one that an earlier task would store.
    support: full
  diff_mode:
    description: Shows that the password is replaced, never a password.
    support: full
  idempotent:
    description: RDS tells nobody what the password is, so each call sets it. Setting the same one again does no harm.
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: mlops.mlflow_aws.secretsmanager_rotation
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Give the master user the password that waits
  mlops.mlflow_aws.rds_master_password:
    db_instance_identifier: web-db
    secret_id: web/database
    version_stage: AWSPENDING
    owner_tags:
      team: web
"""

RETURN = r"""
seconds:
  description: Seconds until RDS had applied it.
  returned: success
  type: float
  sample: 12.4
"""

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, rds_client, rds_rules, user_secrets


def check_instance(instance: dict | None, identifier: str, owner_tags: dict[str, str]) -> dict:
    """The instance, if it is there and ours."""
    if instance is None:
        raise ValueError(f"Database {identifier}: there is no such instance; deploy first")
    if not aws_changes.carries(boto3_tag_list_to_ansible_dict(instance.get("TagList", [])), owner_tags):
        remedy = "change its password by hand, or correct the name of the deployment"
        raise ValueError(aws_changes.not_ours(f"Database {identifier}", owner_tags, remedy))
    return instance


def stored_password(secrets: t.Any, params: dict[str, t.Any], master: str) -> str:
    """The password in the version of the secret, which must be the master user's."""
    secret_id, label = params["secret_id"], params["version_stage"]
    try:
        answer = secrets.get_secret_value(SecretId=secret_id, VersionStage=label, aws_retry=True)
    except is_boto3_error_code("ResourceNotFoundException"):
        raise ValueError(f"Secret {secret_id}: it has no version {label}; store one first") from None
    return user_secrets.password_in(secret_id, master, answer.get("SecretString"))


def applied(instance: dict) -> bool:
    """Whether RDS has done what it was told: the password is pending until then, and the status another one."""
    pending = "MasterUserPassword" in instance.get("PendingModifiedValues", {})
    return not pending and instance["DBInstanceStatus"] != "resetting-master-credentials"


def takes_changes(status: str) -> bool:
    """An instance that answers takes changes too, except during a backup."""
    return status in rds_rules.USABLE - {"backing-up"}


def run(module: AnsibleAWSModule) -> None:
    params, started = module.params, time.monotonic()
    identifier, deadline = params["db_instance_identifier"], started + params["wait_timeout"]
    rds = rds_client.connect(module)
    found = rds_client.describe_instance(rds, identifier)
    instance = check_instance(found, identifier, aws_changes.text_tags(params["owner_tags"]))
    if not module.check_mode:
        password = stored_password(rds_client.connect(module, "secretsmanager"), params, instance["MasterUsername"])
        rds_client.await_status(rds, identifier, deadline - time.monotonic(), takes_changes, "available")
        rds.modify_db_instance(
            DBInstanceIdentifier=identifier, MasterUserPassword=password, ApplyImmediately=True, aws_retry=True
        )
        while not applied(rds_client.await_usable(rds, identifier, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                raise ValueError(
                    f"Database {identifier}: RDS has not applied the password after {params['wait_timeout']} s; run again"
                )
            time.sleep(1)
    module.exit_json(
        changed=True,
        seconds=round(time.monotonic() - started, 1),
        diff={"before": {"password of the master user": "as it was"}, "after": {"password of the master user": "a new one"}},
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "db_instance_identifier": {"type": "str", "required": True},
            "secret_id": {"type": "str", "required": True, "no_log": False},
            "version_stage": {"type": "str", "default": "AWSCURRENT"},
            "wait_timeout": {"type": "int", "default": 900},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    name = module.params["db_instance_identifier"]
    with aws_changes.one_line_failures(module, "rds", f"Database {name}"):
        run(module)


if __name__ == "__main__":
    main()
