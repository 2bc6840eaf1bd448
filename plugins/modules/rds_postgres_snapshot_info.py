#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_postgres_snapshot_info
version_added: "0.1.0"
short_description: List the snapshots of an RDS instance
description:
  - Lists what can be restored - snapshots on demand, final, other manual and automated ones, and those of AWS Backup - also of an
    instance that is gone, and to which moment RDS could go back by its transaction logs.
  - Wraps C(DescribeDBSnapshots) and C(DescribeDBInstances) of the Amazon RDS API.
options:
  db_instance_identifier:
    description: Identifier of the instance.
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
- name: Look for snapshots
  mlops.mlflow_aws.rds_postgres_snapshot_info:
    db_instance_identifier: web-db
  register: found

- name: Tell the newest one
  ansible.builtin.debug:
    msg: "{{ (found.snapshots | first).snapshot_id }}"
  when: found.snapshots | length > 0
"""

RETURN = r"""
snapshots:
  description: The snapshots, the newest first, each as M(mlops.mlflow_aws.rds_postgres_snapshot) returns one.
  returned: success
  type: list
  elements: dict
  sample:
    - snapshot_id: web-db-backup-20261128-020000
      snapshot_arn: arn:aws:rds:eu-west-2:123456789012:snapshot:web-db-backup-20261128-020000
      db_instance_id: web-db
      kind: on-demand
      status: available
      percent: 100
      created_at: "2026-11-28T02:00:07+00:00"
      age_seconds: 184
      size_gib: 20
      engine_version: "15.7"
      kms_key_arn: arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
      tags: {mlflow-backup: on-demand, team: web}
latest_restorable_at:
  description: To which moment RDS could restore by its transaction logs; null without automated backups or an instance.
  returned: success
  type: str
  sample: "2026-11-28T01:58:31+00:00"
backup_retention_days:
  description: Days for which RDS keeps automated backups; null without an instance.
  returned: success
  type: int
  sample: 7
"""

import datetime

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, rds_client, rds_snapshot_rules


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={"db_instance_identifier": {"type": "str", "required": True}}, supports_check_mode=True
    )
    identifier, rds = module.params["db_instance_identifier"], rds_client.connect(module)
    with aws_changes.one_line_failures(module, "rds", f"Snapshots of {identifier}"):
        instance = rds_client.describe_instance(rds, identifier) or {}
        found = rds_snapshot_rules.newest_first(rds_client.describe_snapshots(rds, identifier))
    now = datetime.datetime.now(datetime.timezone.utc)
    module.exit_json(
        changed=False,
        snapshots=[rds_snapshot_rules.summary(one, now) for one in found],
        latest_restorable_at=rds_snapshot_rules.iso(instance.get("LatestRestorableTime")),
        backup_retention_days=instance.get("BackupRetentionPeriod"),
    )


if __name__ == "__main__":
    main()
