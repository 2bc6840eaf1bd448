#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_backup_plan
version_added: "0.1.0"
short_description: Back an RDS instance up by a schedule of AWS Backup
description:
  - Keeps a backup vault, a backup plan with one rule, its selection of this instance and nothing else, and an IAM role
    with which AWS Backup may make snapshots of this instance and of no other.
  - A backup is a snapshot of RDS that only AWS Backup deletes, when it is old enough.
  - The vault is encrypted with the key of AWS Backup, a snapshot with the key of its instance.
  - RDS makes no snapshot of a stopped instance; such a backup job fails.
  - Wraps C(CreateBackupVault), C(CreateBackupPlan), C(UpdateBackupPlan), C(CreateBackupSelection) and their kin of the
    AWS Backup API, and C(CreateRole) and C(PutRolePolicy) of IAM.
options:
  name:
    description: Name of the vault and of the plan; the IAM role is called the same with C(-backup) behind it.
    type: str
    required: true
  state:
    description: >-
      V(absent) removes plan, selection and role, and the vault unless it has recovery points.
    type: str
    choices: [present, absent]
    default: present
  db_instance_arn:
    description: ARN of the instance. Required with O(state=present).
    type: str
  schedule:
    description:
      - When to back up, such as V(cron(0 2 * * ? *)), at most once an hour. Required with O(state=present).
      - AWS starts the backup in the hour that follows.
    type: str
  timezone:
    description: Time zone of O(schedule).
    type: str
    default: UTC
  retention_days:
    description: Days after which AWS Backup deletes a backup, 1 to 36500. Backups that there are keep theirs.
    type: int
    default: 35
  delete_recovery_points:
    description: Whether O(state=absent) deletes all backups and the vault, too.
    type: bool
    default: false
  variable_prefix:
    description: What to put before the names of options in messages.
    type: str
    default: ""
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
- name: Back the database up each night, and keep that for five weeks
  mlops.mlflow_aws.rds_backup_plan:
    name: web
    db_instance_arn: arn:aws:rds:eu-west-2:123456789012:db:web-db
    schedule: cron(0 2 * * ? *)
    timezone: Europe/London
    retention_days: 35
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
backup:
  description: What there is, with null for what does not exist; in check mode what there was.
  returned: success
  type: dict
  contains:
    vault_arn:
      description: ARN of the backup vault.
      type: str
      sample: arn:aws:backup:eu-west-2:123456789012:backup-vault:web
    plan_arn:
      description: ARN of the backup plan.
      type: str
      sample: arn:aws:backup:eu-west-2:123456789012:backup-plan:0bf1aefe-2bd6-4b30-bb5e-0a1d8c1a5a2f
    role_arn:
      description: ARN of the IAM role.
      type: str
      sample: arn:aws:iam::123456789012:role/web-backup
    resources:
      description: What is backed up.
      type: list
      elements: str
      sample: [arn:aws:rds:eu-west-2:123456789012:db:web-db]
    schedule:
      description: When it is backed up.
      type: str
      sample: cron(0 2 * * ? *)
    timezone:
      description: Time zone of the schedule.
      type: str
      sample: Europe/London
    retention_days:
      description: Days after which backups are deleted.
      type: int
      sample: 35
    recovery_points:
      description: How many backups are in the vault.
      type: int
      sample: 35
    last_backup_at:
      description: When the last backup began that is complete.
      type: str
      sample: "2026-11-28T02:13:07+00:00"
    last_backup_arn:
      description: ARN of its snapshot.
      type: str
      sample: arn:aws:rds:eu-west-2:123456789012:snapshot:awsbackup:job-7f0fd14e-7f2c-4f62-b5a8-6d5d8c3c8ce0
    last_job_state:
      description: State of the last backup job, such as V(COMPLETED) or V(FAILED).
      type: str
      sample: COMPLETED
    last_job_message:
      description: What AWS Backup says of it, if it failed.
      type: str
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, backup_database, backup_rules


def argument_spec() -> dict:
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "db_instance_arn": {"type": "str"},
        "schedule": {"type": "str"},
        "timezone": {"type": "str", "default": "UTC"},
        "retention_days": {"type": "int", "default": 35},
        "delete_recovery_points": {"type": "bool", "default": False},
        "variable_prefix": {"type": "str", "default": ""},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule, found: backup_database.DatabaseBackups) -> None:
    params = module.params
    present = params["state"] == "present"
    if present:
        backup_rules.check_options(params)
    found.find()
    found.check_owner(aws_changes.text_tags(params["owner_tags"]))
    if present:
        changes = found.plan_present(
            params["db_instance_arn"], params["schedule"], params["timezone"], params["retention_days"],
            aws_changes.text_tags(params["tags"]),
        )  # fmt: skip
    else:
        changes = found.plan_absent(params["delete_recovery_points"])
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    module.exit_json(changed=bool(changes), backup=found.summary(), diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ["db_instance_arn", "schedule"])],
        supports_check_mode=True,
    )
    name = module.params["name"]
    found = backup_database.DatabaseBackups(
        backup_database.connect(module, "iam"), backup_database.connect(module, "backup"), name
    )
    with aws_changes.one_line_failures(module, "backup", f"Backups of the database of {name}"):
        run(module, found)


if __name__ == "__main__":
    main()
