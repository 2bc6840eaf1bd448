#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_postgres
version_added: "0.1.0"
short_description: Make, change or remove a PostgreSQL database on RDS with its subnet group and parameter group
description:
  - Keeps an encrypted instance with gp3 storage that is not reachable from the internet, and a subnet group and a
    parameter group of the same name. The instance is started without waiting; M(mlops.mlflow_aws.rds_postgres_info)
    waits.
  - The master password is read from AWS Secrets Manager inside the module, and only when the instance is made.
  - Changes of an instance that exists are applied at once. What cannot be done without risk is refused - shrinking
    storage, another major version, going back to an older one.
  - An instance that is still being deleted is awaited and made anew. One that is still being created is left alone.
  - No empty instance is made where a restore in place has left one that is to take its place, or whose place was to be taken.
  - Wraps C(CreateDBInstance), C(RestoreDBInstanceFromDBSnapshot), C(ModifyDBInstance), C(DeleteDBInstance), C(CreateDBSubnetGroup),
    C(CreateDBParameterGroup) and their kin of the Amazon RDS API, and C(GetSecretValue) of AWS Secrets Manager.
options:
  db_instance_identifier:
    description: Identifier of the instance.
    type: str
    required: true
  group_name:
    description: Name of the subnet group and the parameter group; empty for that of the instance.
    type: str
    default: ""
  snapshot_identifier:
    description:
      - Name or ARN of a snapshot whose data a new instance begins with; empty for an empty database. An instance that exists keeps its
        data.
      - RDS gives the new instance the password and some settings of the snapshot's time. A run that finds it available sets those that
        are asked for, waits until the password works, and takes away the tag C(mlflow-restore-unfinished) last. The tag
        C(mlflow-restored-from) stays.
    type: str
    default: ""
  state:
    description:
      - V(present) starts making or changing the database.
      - V(absent) removes it and waits until it is gone; with it what restores in place have left beside it, C(<identifier>-restored) and
        C(<identifier>-replaced-...), by the same rules.
    type: str
    choices: [present, absent]
    default: present
  subnet_ids:
    description: Subnets of the instance, in two zones at least.
    type: list
    elements: str
    default: []
  security_group_ids:
    description: Security groups of the instance.
    type: list
    elements: str
    default: []
  master_secret_id:
    description:
      - Name or ARN of a JSON secret with C(username) and C(password) of the master user. Read only to make an
        instance.
    type: str
  database_name:
    description: Database that is made together with the instance.
    type: str
  port:
    description: TCP port of a new instance.
    type: int
    default: 5432
  engine_version:
    description:
      - PostgreSQL version such as V(15.7), or V(15) for the newest minor version that is offered when the instance is
        made.
    type: str
  instance_class:
    description: Class of the instance.
    type: str
  allocated_storage:
    description: Storage in GiB. What storage autoscaling has added stays.
    type: int
    default: 20
  max_allocated_storage:
    description: GiB up to which RDS grows the storage by itself; 0 to not let it.
    type: int
    default: 0
  backup_retention_days:
    description: Days for which automated backups are kept; 0 for none.
    type: int
    default: 7
  backup_window:
    description: Daily time of the backup, UTC, such as V(02:00-03:00). AWS chooses one if it is not given.
    type: str
  maintenance_window:
    description: Weekly time of maintenance, UTC, such as V(sun:03:30-sun:04:30). AWS chooses one if it is not given.
    type: str
  multi_az:
    description: Whether to keep a standby in another zone.
    type: bool
    default: false
  performance_insights:
    description: Whether to collect Performance Insights (kept 7 days, free of charge).
    type: bool
    default: true
  monitoring_interval:
    description: Seconds between two looks of Enhanced Monitoring at the operating system, into C(RDSOSMetrics); 0 for none.
    type: int
    choices: [0, 1, 5, 10, 15, 30, 60]
    default: 0
  monitoring_role_arn:
    description: ARN of the IAM role with which RDS writes what Enhanced Monitoring sees; needed where it is on.
    type: str
  kms_key:
    description:
      - ARN of the KMS key that encrypts storage, backups, snapshots and Performance Insights of a new instance; empty for AWS's own.
      - RDS never changes it. With a key given, an instance that has another one is refused.
    type: str
    default: ""
  iam_authentication:
    description: Whether database users with the role C(rds_iam) log in with tokens of IAM instead of passwords.
    type: bool
    default: false
  log_exports:
    description:
      - Logs of the server that RDS writes to CloudWatch Logs, into C(/aws/rds/instance/<identifier>/<log>).
      - RDS makes these log groups if nobody has; it never removes one.
    type: list
    elements: str
    choices: [postgresql, upgrade]
    default: []
  deletion_protection:
    description: Whether RDS refuses to delete the instance.
    type: bool
    default: true
  auto_minor_version_upgrade:
    description: Whether RDS installs new minor versions in the maintenance window.
    type: bool
    default: true
  ca_certificate_identifier:
    description: Certificate authority of the server's certificate. AWS chooses one if it is not given.
    type: str
  parameters:
    description:
      - Parameters of the parameter group that differ from the defaults of RDS. Others that are set in it get their default again.
    type: dict
    default: {}
  final_snapshot:
    description: With O(state=absent), whether to keep a last snapshot C(<identifier>-final-<UTC time>).
    type: bool
    default: true
  delete_protected:
    description: With O(state=absent), whether to lift the deletion protection first.
    type: bool
    default: false
  wait_timeout:
    description: Seconds to wait for the instance to be gone, or to leave a status in which RDS takes no change.
    type: int
    default: 1800
attributes:
  check_mode:
    description: Predicts what a run would change; what only follows from AWS's own defaults is not known.
    support: full
  diff_mode:
    description: Shows what changes, before and after, never a password.
    support: full
  idempotent:
    description: Writes nothing when the database is as asked for.
    support: full
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Start the database
  mlops.mlflow_aws.rds_postgres:
    db_instance_identifier: web-db
    subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0f1e2d3c4b5a69788]
    security_group_ids: [sg-0a1b2c3d4e5f60718]
    master_secret_id: web/database
    database_name: web
    engine_version: "15"
    instance_class: db.t3.micro
    parameters:
      rds.force_ssl: "1"
    owner_tags:
      team: web
    tags:
      team: web

- name: Bring it back as it was
  mlops.mlflow_aws.rds_postgres:
    db_instance_identifier: web-db
    snapshot_identifier: web-db-backup-20261128-020000
    subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0f1e2d3c4b5a69788]
    security_group_ids: [sg-0a1b2c3d4e5f60718]
    master_secret_id: web/database
    database_name: web
    engine_version: "15"
    instance_class: db.t3.micro
    owner_tags:
      team: web
    tags:
      team: web

- name: Remove it, but keep a last snapshot
  mlops.mlflow_aws.rds_postgres:
    db_instance_identifier: web-db
    state: absent
    delete_protected: true
    owner_tags:
      team: web
"""

RETURN = r"""
instance:
  description:
    - The instance as it is; every value is null when there is none, and in check mode when a run would create it.
  returned: success
  type: dict
  sample:
    db_instance_id: web-db
    db_instance_arn: arn:aws:rds:eu-west-2:123456789012:db:web-db
    status: creating
    endpoint_address: null
    endpoint_port: null
    database_name: web
    engine_version: "15.7"
    instance_class: db.t3.micro
    kms_key_arn: null
    restored_from: null
    restore_unfinished: false
final_snapshot_id:
  description: Identifier of the last snapshot that this run made, null if it made none.
  returned: success
  type: str
  sample: web-db-final-20261123-101500
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, rds_client, rds_database, rds_rules


def argument_spec() -> dict:
    return {
        "db_instance_identifier": {"type": "str", "required": True},
        "group_name": {"type": "str", "default": ""},
        "snapshot_identifier": {"type": "str", "default": ""},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "subnet_ids": {"type": "list", "elements": "str", "default": []},
        "security_group_ids": {"type": "list", "elements": "str", "default": []},
        "master_secret_id": {"type": "str", "no_log": False},
        "database_name": {"type": "str"},
        "port": {"type": "int", "default": 5432},
        "engine_version": {"type": "str"},
        "instance_class": {"type": "str"},
        "allocated_storage": {"type": "int", "default": 20},
        "max_allocated_storage": {"type": "int", "default": 0},
        "backup_retention_days": {"type": "int", "default": 7},
        "backup_window": {"type": "str"},
        "maintenance_window": {"type": "str"},
        "multi_az": {"type": "bool", "default": False},
        "performance_insights": {"type": "bool", "default": True},
        "monitoring_interval": {"type": "int", "choices": [0, 1, 5, 10, 15, 30, 60], "default": 0},
        "monitoring_role_arn": {"type": "str"},
        "kms_key": {"type": "str", "default": "", "no_log": False},
        "iam_authentication": {"type": "bool", "default": False},
        "log_exports": {
            "type": "list",
            "elements": "str",
            "choices": ["postgresql", "upgrade"],
            "default": [],
        },
        "deletion_protection": {"type": "bool", "default": True},
        "auto_minor_version_upgrade": {"type": "bool", "default": True},
        "ca_certificate_identifier": {"type": "str"},
        "parameters": {"type": "dict", "default": {}},
        "final_snapshot": {"type": "bool", "default": True},
        "delete_protected": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 1800},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule) -> None:
    params = dict(
        module.params,
        tags=aws_changes.text_tags(module.params["tags"]),
        owner_tags=aws_changes.text_tags(module.params["owner_tags"]),
        parameters={name: str(value) for name, value in module.params["parameters"].items()},
    )
    if params["monitoring_interval"] and not params["monitoring_role_arn"]:
        raise ValueError(
            f"monitoring_interval = {params['monitoring_interval']}: Enhanced Monitoring needs monitoring_role_arn;"
            " name a role that monitoring.rds.amazonaws.com may assume, or set it to 0"
        )
    rds, present = rds_client.connect(module), params["state"] == "present"
    secrets = rds_client.connect(module, "secretsmanager")
    database = rds_database.Database(rds, secrets, params, module.region, module.check_mode)
    database.find()
    changes = database.plan_present() if present else database.plan_absent()
    if not module.check_mode:
        changes.apply()
        if changes and present:
            database.instance = rds_client.describe_instance(rds, database.name)
    module.exit_json(
        changed=bool(changes),
        instance=rds_rules.summary(database.instance if present else None),
        final_snapshot_id=database.final_snapshot_id,
        diff=changes.diff,
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ("engine_version", "instance_class", "database_name"))],
        supports_check_mode=True,
    )
    name = module.params["db_instance_identifier"]
    with aws_changes.one_line_failures(module, "rds", f"Database {name}"):
        run(module)


if __name__ == "__main__":
    main()
