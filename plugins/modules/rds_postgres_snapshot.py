#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_postgres_snapshot
version_added: "0.1.0"
short_description: Make a snapshot of an RDS instance on demand, and remove the oldest ones
description:
  - Makes a snapshot C(<instance>-backup-<UTC time>) that carries the tag C(mlflow-backup=on-demand), and waits until it is available.
  - A snapshot of this kind that is still being made, as after an interrupted run, is joined, and no other is made.
  - Removes what O(keep) does not keep only after the new one is available, and nothing but snapshots of this kind that carry
    O(owner_tags). Snapshots of this kind that failed hold nothing and go, too.
  - M(amazon.aws.rds_instance_snapshot) keeps no number of snapshots, joins none and gives no reason when it waits in vain;
    M(amazon.aws.rds_snapshot_info) loses the tags.
  - Wraps C(CreateDBSnapshot), C(DescribeDBSnapshots), C(AddTagsToResource) and C(DeleteDBSnapshot) of the Amazon RDS API.
options:
  db_instance_identifier:
    description: Identifier of the instance.
    type: str
    required: true
  snapshot_identifier:
    description: Name of a snapshot that is there, to be tagged and waited for; empty to make or join one.
    type: str
    default: ""
  keep:
    description: Number of snapshots of this kind that stay, with the new one; V(0) for all.
    type: int
    default: 0
  wait:
    description: Whether to wait until the snapshot is available. Without it nothing is removed.
    type: bool
    default: true
  wait_timeout:
    description: Seconds until the snapshot must be available.
    type: int
    default: 3600
  tags:
    description: Tags of the snapshot. Others that it carries stay.
    type: dict
    default: {}
attributes:
  idempotent:
    description: Each run makes a snapshot, unless O(snapshot_identifier) names one or one is being made.
    support: partial
  check_mode:
    description: Tells whether a snapshot would be made, and which ones would be removed.
    support: full
  diff_mode:
    description: Shows which snapshot is made and which ones are removed.
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
- name: Back the database up and keep the last five
  mlops.mlflow_aws.rds_postgres_snapshot:
    db_instance_identifier: web-db
    keep: 5
    owner_tags:
      team: web
    tags:
      team: web
  register: backup
"""

RETURN = r"""
snapshot:
  description: The snapshot; null in check mode when a run would make it.
  returned: success
  type: dict
  sample:
    snapshot_id: web-db-backup-20261128-020000
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
removed:
  description: Names of the snapshots that were removed.
  returned: success
  type: list
  elements: str
  sample: [web-db-backup-20261101-020000]
seconds:
  description: Seconds that this run has waited for the snapshot.
  returned: success
  type: float
  sample: 182.4
"""

import datetime
import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import ansible_dict_to_boto3_tag_list
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    rds_client,
    rds_rules,
    rds_snapshot_rules,
)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class Snapshots:
    """The instance, its snapshots, and what is to be done about them."""

    def __init__(self, rds: t.Any, params: dict[str, t.Any], check_mode: bool) -> None:
        self.rds, self.params, self.check_mode = rds, params, check_mode
        self.identifier: str = params["db_instance_identifier"]
        self.owner_tags = aws_changes.text_tags(params["owner_tags"])
        self.tags = {**aws_changes.text_tags(params["tags"]), **self.owner_tags, **rds_snapshot_rules.ON_DEMAND_TAG}
        self.all: list[dict] = []
        self.snapshot: dict | None = None

    def find(self) -> None:
        instance = rds_client.describe_instance(self.rds, self.identifier)
        if instance is None:
            raise ValueError(f"Database {self.identifier}: there is none to back up; deploy or restore it first")
        if not aws_changes.carries(rds_rules.tags_of(instance), self.owner_tags):
            remedy = "correct the deployment's name"
            raise ValueError(aws_changes.not_ours(f"Database {self.identifier}", self.owner_tags, remedy))
        self.all = rds_client.describe_snapshots(self.rds, self.identifier)
        ours, wanted = rds_snapshot_rules.ours_on_demand(self.all, self.owner_tags), self.params["snapshot_identifier"]
        if wanted:
            self.snapshot = next((one for one in ours if one["DBSnapshotIdentifier"] == wanted), None)
            if self.snapshot is None:
                raise ValueError(f"Snapshot {wanted}: {self.identifier} has none of that name that was made on demand; correct it")
        else:
            self.snapshot = next((one for one in ours if one["Status"] == "creating"), None)

    def plan(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.snapshot is None:
            changes.want("snapshot", "absent", "present", self._create)
        else:
            arn, has = self.snapshot["DBSnapshotArn"], rds_rules.tags_of(self.snapshot)
            # Of those that it has none is taken away.
            changes.want_tags("tags", has, {**has, **self.tags}, lambda tags: self._tag(arn, tags), lambda _keys: None)
        return changes

    def plan_removal(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.params["wait"]:
            # Check mode counts the one that a run would make.
            more = 0 if self.snapshot else 1
            for one in rds_snapshot_rules.superfluous(self.all, self.owner_tags, self.params["keep"], more):
                changes.want(one["DBSnapshotIdentifier"], "present", "absent", self._removal(one["DBSnapshotIdentifier"]))
        return changes

    def _create(self) -> None:
        """RDS makes snapshots of an instance that is available and does nothing else."""
        rds_client.await_status(
            self.rds, self.identifier, self.params["wait_timeout"], lambda status: status == "available", "available"
        )
        name = rds_snapshot_rules.on_demand_name(self.identifier, now())
        self.snapshot = self.rds.create_db_snapshot(
            DBSnapshotIdentifier=name,
            DBInstanceIdentifier=self.identifier,
            Tags=ansible_dict_to_boto3_tag_list(self.tags),
            aws_retry=True,
        )["DBSnapshot"]

    def _tag(self, arn: str, tags: dict[str, str]) -> None:
        self.rds.add_tags_to_resource(ResourceName=arn, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True)

    def _removal(self, name: str) -> t.Callable[[], t.Any]:
        return lambda: self.rds.delete_db_snapshot(DBSnapshotIdentifier=name, aws_retry=True)

    def look_again(self) -> None:
        """With what has changed by now, and the snapshot itself awaited if it is to be."""
        name = t.cast(dict, self.snapshot)["DBSnapshotIdentifier"]
        if self.params["wait"]:
            rds_client.await_snapshot(self.rds, name, self.params["wait_timeout"])
        self.all = rds_client.describe_snapshots(self.rds, self.identifier)
        self.snapshot = next(one for one in self.all if one["DBSnapshotIdentifier"] == name)


def run(module: AnsibleAWSModule) -> None:
    found, started = Snapshots(rds_client.connect(module), module.params, module.check_mode), time.monotonic()
    found.find()
    changes = found.plan()
    if not module.check_mode:
        changes.apply()
        found.look_again()
    removal = found.plan_removal()
    if not module.check_mode:
        removal.apply()
    diff = {side: {**changes.diff[side], **removal.diff[side]} for side in ("before", "after")}
    module.exit_json(
        changed=bool(changes) or bool(removal),
        snapshot=rds_snapshot_rules.summary(found.snapshot, now()) if found.snapshot else None,
        removed=sorted(removal.diff["after"]),
        seconds=round(time.monotonic() - started, 1),
        diff=diff,
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "db_instance_identifier": {"type": "str", "required": True},
            "snapshot_identifier": {"type": "str", "default": ""},
            "keep": {"type": "int", "default": 0},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 3600},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "rds", f"Backup of {module.params['db_instance_identifier']}"):
        if module.params["keep"] < 0:
            raise ValueError(f"backup_keep = {module.params['keep']}: is no number of snapshots; give 1 or more, or 0 to keep all")
        run(module)


if __name__ == "__main__":
    main()
