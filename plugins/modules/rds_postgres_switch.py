#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rds_postgres_switch
version_added: "0.1.0"
short_description: Let a restored RDS instance take the place of the one that it is to replace
description:
  - Renames the instance O(db_instance_identifier) to C(<identifier>-replaced-<UTC time>), and C(<identifier>-restored) to
    O(db_instance_identifier). RDS restarts both, and their addresses follow their names. Nothing is deleted.
  - Does nothing when there is no C(<identifier>-restored). A run that was interrupted between the two is completed by the next.
  - Refuses a restored instance that M(mlops.mlflow_aws.rds_postgres) has not finished.
  - Wraps C(ModifyDBInstance) and C(DescribeDBInstances) of the Amazon RDS API.
options:
  db_instance_identifier:
    description: Identifier of the instance to be replaced, which need not be there any more.
    type: str
    required: true
  owner_tags:
    description: Tags that both instances must carry.
    type: dict
    required: true
  wait_timeout:
    description: Seconds for each of the two until it answers under its new name.
    type: int
    default: 1800
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Let web-db-restored take the place of web-db
  mlops.mlflow_aws.rds_postgres_switch:
    db_instance_identifier: web-db
    owner_tags:
      team: web
"""

RETURN = r"""
replaced_id:
  description: New identifier of the instance that was replaced; null when there was none, and in check mode.
  returned: success
  type: str
  sample: web-db-replaced-20261128-101500
"""

import datetime
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, rds_client, rds_rules


class Switch:
    """Both instances and the names that they are to have."""

    def __init__(self, rds: t.Any, params: dict[str, t.Any], check_mode: bool) -> None:
        self.rds, self.timeout, self.check_mode = rds, params["wait_timeout"], check_mode
        self.owner_tags = aws_changes.text_tags(params["owner_tags"])
        self.name: str = params["db_instance_identifier"]
        self.restored_name = self.name + rds_rules.RESTORED
        self.replaced_id: str | None = None

    def _settled(self, name: str) -> dict | None:
        """The instance if it is there, once a renaming that is under way has come to its end."""
        instance = rds_client.describe_instance(self.rds, name)
        if instance and not aws_changes.carries(rds_rules.tags_of(instance), self.owner_tags):
            raise ValueError(aws_changes.not_ours(f"Database {name}", self.owner_tags, "remove it by hand"))
        if self.check_mode or rds_client.status_of(instance) in {"absent"} | rds_rules.USABLE:
            return instance

        def settled(status: str) -> bool:
            return status == "absent" or status in rds_rules.USABLE

        return rds_client.await_status(self.rds, name, self.timeout, settled, "available")

    def plan(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        restored = self._settled(self.restored_name)
        if restored is None:
            return changes
        if rds_rules.UNFINISHED in rds_rules.tags_of(restored):
            raise ValueError(f"Database {self.restored_name}: its restore is not finished; run restore.yml again")
        if self._settled(self.name):
            moment = datetime.datetime.now(datetime.timezone.utc)
            replaced = f"{self.name}{rds_rules.REPLACED}{moment:%Y%m%d-%H%M%S}"
            changes.want(self.name, "in use", "replaced", lambda: self._replace(replaced))
        changes.want(self.restored_name, "beside", f"called {self.name}", lambda: self._rename(self.restored_name, self.name))
        return changes

    def _replace(self, replaced: str) -> None:
        self._rename(self.name, replaced)
        self.replaced_id = replaced

    def _rename(self, old: str, new: str) -> None:
        self.rds.modify_db_instance(
            DBInstanceIdentifier=old, NewDBInstanceIdentifier=new, ApplyImmediately=True, aws_retry=True
        )
        rds_client.await_status(self.rds, new, self.timeout, rds_rules.USABLE.__contains__, "available under its new name")


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "db_instance_identifier": {"type": "str", "required": True},
            "owner_tags": {"type": "dict", "required": True},
            "wait_timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    switch = Switch(rds_client.connect(module), module.params, module.check_mode)
    with aws_changes.one_line_failures(module, "rds", f"Database {switch.name}"):
        changes = switch.plan()
        if not module.check_mode:
            changes.apply()
    module.exit_json(changed=bool(changes), replaced_id=switch.replaced_id, diff=changes.diff)


if __name__ == "__main__":
    main()
