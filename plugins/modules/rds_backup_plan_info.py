#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_backup_plan_info
version_added: "0.1.0"
short_description: Look at how an RDS instance is backed up
description:
  - Finds what M(mlops.mlflow_aws.rds_backup_plan) keeps, and the last backup. What is missing is no error.
  - Wraps C(ListBackupVaults), C(ListBackupPlans), C(GetBackupPlan), C(ListRecoveryPointsByBackupVault),
    C(ListBackupJobs) and their kin of the AWS Backup API, and C(GetRole) and C(GetRolePolicy) of IAM.
options:
  name:
    description: Name of the vault and of the plan.
    type: str
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look at the backups of the database
  mlops.mlflow_aws.rds_backup_plan_info:
    name: web
  register: found

- name: Tell when it was backed up
  ansible.builtin.debug:
    msg: "{{ found.backup.last_backup_at }}"
"""

RETURN = r"""
backup:
  description: What there is, with null for what does not exist, as M(mlops.mlflow_aws.rds_backup_plan) returns it.
  returned: success
  type: dict
  sample:
    vault_arn: arn:aws:backup:eu-west-2:123456789012:backup-vault:web
    plan_arn: arn:aws:backup:eu-west-2:123456789012:backup-plan:0bf1aefe-2bd6-4b30-bb5e-0a1d8c1a5a2f
    role_arn: arn:aws:iam::123456789012:role/web-backup
    resources: [arn:aws:rds:eu-west-2:123456789012:db:web-db]
    schedule: cron(0 2 * * ? *)
    timezone: Europe/London
    retention_days: 35
    recovery_points: 35
    last_backup_at: "2026-11-28T02:13:07+00:00"
    last_backup_arn: arn:aws:rds:eu-west-2:123456789012:snapshot:awsbackup:job-7f0fd14e-7f2c-4f62-b5a8-6d5d8c3c8ce0
    last_job_state: COMPLETED
    last_job_message:
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, backup_database


def main() -> None:
    module = AnsibleAWSModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    found = backup_database.DatabaseBackups(
        backup_database.connect(module, "iam"), backup_database.connect(module, "backup"), name
    )
    with aws_changes.one_line_failures(module, "backup", f"Backups of the database of {name}"):
        found.find()
        module.exit_json(changed=False, backup=found.summary())


if __name__ == "__main__":
    main()
