#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_postgres_restore_info
version_added: "0.1.0"
short_description: Find out what a restore of an RDS instance has to do, and refuse what cannot work
description:
  - Decides from what AWS describes whether a new instance is to be made of a snapshot, one that an earlier run began is to be
    finished, or nothing is to be done, and of which snapshot. Nothing is saved anywhere else.
  - Waits while an interrupted run's renaming of an instance is under way.
  - Refuses a snapshot that cannot become a database as asked for, with every reason.
  - Wraps C(DescribeDBInstances) and C(DescribeDBSnapshots) of the Amazon RDS API.
options:
  db_instance_identifier:
    description: Identifier of the instance that the snapshot is to become.
    type: str
    required: true
  source_db_instance_identifier:
    description: Identifier of the instance whose latest snapshot is looked for; that of O(db_instance_identifier) if it is empty.
    type: str
    default: ""
  snapshot_identifier:
    description: Name of the snapshot, or V(latest). Empty is V(latest) where there is no instance that it would replace.
    type: str
    default: ""
  in_place:
    description: Whether the snapshot may take the place of an instance that is there.
    type: bool
    default: false
  again:
    description: Whether to restore an instance again from the snapshot that it is restored from already.
    type: bool
    default: false
  engine_version:
    description: PostgreSQL version that is wanted, such as V(15) or V(15.7).
    type: str
    required: true
  auto_minor_version_upgrade:
    description: Whether RDS installs minor versions, so that a later one than O(engine_version) is no mistake.
    type: bool
    default: true
  allocated_storage:
    description: Storage that is wanted, in GiB.
    type: int
    required: true
  max_allocated_storage:
    description: GiB up to which the storage may grow; 0 for O(allocated_storage).
    type: int
    default: 0
  kms_key:
    description: ARN of the KMS key that the database is to be encrypted with; empty for any.
    type: str
    default: ""
  master_username:
    description: Name of the master user that is wanted; empty for any.
    type: str
    default: ""
  mlflow_version:
    description: MLflow version that is to run on it. A snapshot whose tag C(mlflow-version) is newer is refused.
    type: str
    default: ""
  artifact_root:
    description: Where the deployment keeps artifacts. A snapshot whose tag C(mlflow-artifact-root) is another place is refused.
    type: str
    default: ""
  artifacts_copied:
    description: Whether the artifacts are in O(artifact_root) though the snapshot says otherwise.
    type: bool
    default: false
  owner_tags:
    description: Tags that an instance must carry to be replaced or finished.
    type: dict
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
- name: Find out whether the latest snapshot can become the database
  mlops.mlflow_aws.rds_postgres_restore_info:
    db_instance_identifier: web-db
    engine_version: "15"
    allocated_storage: 20
    owner_tags:
      team: web
  register: restore
"""

RETURN = r"""
work:
  description: V(restore) a new instance, V(finish) one that an earlier run began, or V(none).
  returned: success
  type: str
  sample: restore
beside:
  description: Whether the new instance is made beside one that it is to replace, as C(<identifier>-restored).
  returned: success
  type: bool
snapshot_id:
  description: Name of the snapshot.
  returned: success
  type: str
  sample: web-db-backup-20261128-020000
snapshot:
  description: The snapshot, as M(mlops.mlflow_aws.rds_postgres_snapshot) returns one; null when it is gone and not needed any more.
  returned: success
  type: dict
  sample:
    snapshot_id: web-db-backup-20261128-020000
    status: available
"""

import datetime
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    deployment_findings,
    rds_client,
    rds_restore_rules,
    rds_rules,
    rds_snapshot_rules,
)


RENAMING_SECONDS = 1800


def owned(rds: t.Any, identifier: str, owner_tags: dict[str, str]) -> dict | None:
    """The instance of that name, once nobody is renaming it any more."""
    instance = rds_client.describe_instance(rds, identifier)
    if rds_client.status_of(instance) == "renaming":
        instance = rds_client.await_status(
            rds, identifier, RENAMING_SECONDS, lambda status: status != "renaming", "under its new name"
        )
    if instance and not aws_changes.carries(rds_rules.tags_of(instance), owner_tags):
        remedy = "choose another deployment name, or remove it by hand"
        raise ValueError(aws_changes.not_ours(f"Database {identifier}", owner_tags, remedy))
    return instance


def snapshot_of(rds: t.Any, name: str, source: str) -> dict | None:
    if name == rds_restore_rules.LATEST:
        return rds_restore_rules.latest(rds_client.describe_snapshots(rds, source), source)
    return rds_client.describe_snapshot(rds, name)


def run(module: AnsibleAWSModule) -> None:
    params, rds = module.params, rds_client.connect(module)
    name, owner_tags = params["db_instance_identifier"], aws_changes.text_tags(params["owner_tags"])
    # In this order, since the one is renamed to the other.
    restored = owned(rds, name + rds_rules.RESTORED, owner_tags)
    main_instance = owned(rds, name, owner_tags)
    asked = params["snapshot_identifier"], params["in_place"], params["again"]
    step = rds_restore_rules.next_step(main_instance, restored, name, *asked)
    snapshot = snapshot_of(rds, step.snapshot, params["source_db_instance_identifier"] or name)
    if step.work == "restore":
        if snapshot is None:
            raise ValueError(f"restore_snapshot = {step.snapshot}: there is no such snapshot in {module.region}; correct it")
        step = rds_restore_rules.after_choice(step, main_instance, snapshot["DBSnapshotIdentifier"], params["again"])
    if step.work == "restore":
        problems = rds_restore_rules.problems(t.cast(dict, snapshot), params)
        if problems:
            raise ValueError(deployment_findings.failure(problems))
    now = datetime.datetime.now(datetime.timezone.utc)
    module.exit_json(
        changed=False,
        work=step.work,
        beside=step.beside,
        snapshot_id=step.snapshot,
        snapshot=rds_snapshot_rules.summary(snapshot, now) if snapshot else None,
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "db_instance_identifier": {"type": "str", "required": True},
            "source_db_instance_identifier": {"type": "str", "default": ""},
            "snapshot_identifier": {"type": "str", "default": ""},
            "in_place": {"type": "bool", "default": False},
            "again": {"type": "bool", "default": False},
            "engine_version": {"type": "str", "required": True},
            "auto_minor_version_upgrade": {"type": "bool", "default": True},
            "allocated_storage": {"type": "int", "required": True},
            "max_allocated_storage": {"type": "int", "default": 0},
            "kms_key": {"type": "str", "default": "", "no_log": False},
            "master_username": {"type": "str", "default": ""},
            "mlflow_version": {"type": "str", "default": ""},
            "artifact_root": {"type": "str", "default": ""},
            "artifacts_copied": {"type": "bool", "default": False},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "rds", f"Restore of {module.params['db_instance_identifier']}"):
        run(module)


if __name__ == "__main__":
    main()
