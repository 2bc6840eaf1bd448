# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's DB parameter groups and DB subnet groups, which mind their values, their zones and who uses them.

https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBParameterGroup.html,
API_ResetDBParameterGroup.html, API_DeleteDBParameterGroup.html, API_CreateDBSubnetGroup.html, API_DeleteDBSubnetGroup.html
"""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.rds.exceptions import DBParameterGroupNotFoundError
from moto.rds.models import RDSBackend as BACKEND
from moto.rds.responses import RDSResponse as RESPONSE

from . import rds_parameters
from .patches import add, replace
from .rds_instances import Instances, subnet_group
from .rds_requests import Conflict


def patch(instances: Instances) -> None:
    _patch_parameter_groups(instances)
    _patch_subnet_groups()


def _patch_parameter_groups(instances: Instances) -> None:
    plain_describe, plain_modify = BACKEND.describe_db_parameter_groups, BACKEND.modify_db_parameter_group
    plain_delete = BACKEND.delete_db_parameter_group

    def describe(self: Any, db_parameter_group_kwargs: dict[str, Any]) -> Any:
        found = plain_describe(self, db_parameter_group_kwargs)
        name = db_parameter_group_kwargs.get("db_parameter_group_name")
        if name and not found:
            raise DBParameterGroupNotFoundError(name)
        return found

    def parameters(self: Any) -> Any:
        name = self.params.get("DBParameterGroupName")
        (group,) = self.backend.describe_db_parameter_groups({"db_parameter_group_name": name})
        items = [_described(parameter, group) for parameter in rds_parameters.PARAMETERS]
        source = self.params.get("Source")
        return ActionResult({"Parameters": [one for one in items if source in (None, one["Source"])]})

    def modify(self: Any, db_parameter_group_name: str, db_parameter_group_parameters: Any) -> Any:
        for one in db_parameter_group_parameters:
            immediate = one.get("ApplyMethod") == "immediate"
            problem = rds_parameters.problem(one["ParameterName"], one.get("ParameterValue", ""), immediate)
            if problem:
                raise Conflict(*problem)
        group = plain_modify(self, db_parameter_group_name, db_parameter_group_parameters)
        if any(one.get("ApplyMethod") == "immediate" for one in db_parameter_group_parameters):
            instances.reload(group.name)
        return group

    def reset(self: Any) -> Any:
        name = self.params.get("DBParameterGroupName")
        (group,) = self.backend.describe_db_parameter_groups({"db_parameter_group_name": name})
        items = [one.original_dict() for one in self.params.get("Parameters", [])]
        if self.params.get("ResetAllParameters", True):
            kinds = {one: rds_parameters.PARAMETERS[one].apply_type for one in group.parameters}
            methods = {"dynamic": "immediate", "static": "pending-reboot"}
            items = [{"ParameterName": one, "ApplyMethod": methods[kind]} for one, kind in kinds.items()]
        immediate = {one["ParameterName"]: one["ApplyMethod"] == "immediate" for one in items}
        for one, at_once in immediate.items():
            problem = rds_parameters.problem(one, None, at_once)
            if problem:
                raise Conflict(*problem)
        for one in immediate:
            group.parameters.pop(one, None)
        if any(immediate.values()):
            instances.reload(group.name)
        return ActionResult({"DBParameterGroupName": group.name})

    def delete(self: Any, db_parameter_group_name: str) -> Any:
        if any(one.db_parameter_group_name == db_parameter_group_name.lower() for one in self.databases.values()):
            raise Conflict(
                "InvalidDBParameterGroupState",
                f"One or more database instances are still members of this parameter group {db_parameter_group_name}, "
                "so the group cannot be deleted",
            )
        return plain_delete(self, db_parameter_group_name)

    replace(BACKEND, "describe_db_parameter_groups", describe, ("self", "db_parameter_group_kwargs"))
    replace(BACKEND, "modify_db_parameter_group", modify)
    replace(BACKEND, "delete_db_parameter_group", delete, ("self", "db_parameter_group_name"))
    replace(RESPONSE, "describe_db_parameters", parameters)
    add(RESPONSE, "reset_db_parameter_group", reset)


def _described(name: str, group: Any) -> dict[str, Any]:
    """An item of DescribeDBParameters."""
    parameter = rds_parameters.PARAMETERS[name]
    changed = group.parameters.get(name, {})
    return {
        "ParameterName": name,
        "ParameterValue": changed.get("ParameterValue", rds_parameters.default(name, group.family)),
        "Description": name,
        "Source": "user" if changed else "system",
        "ApplyType": parameter.apply_type,
        "DataType": parameter.data_type,
        "AllowedValues": parameter.allowed,
        "IsModifiable": True,
        "ApplyMethod": changed.get("ApplyMethod", "pending-reboot"),
    }


def _patch_subnet_groups() -> None:
    plain_create, plain_modify = BACKEND.create_subnet_group, BACKEND.modify_db_subnet_group
    plain_delete = BACKEND.delete_subnet_group

    def check(subnets: list[Any]) -> None:
        zones = sorted({one.availability_zone for one in subnets})
        if len(zones) < 2:
            raise Conflict(
                "DBSubnetGroupDoesNotCoverEnoughAZs",
                "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. "
                f"Current AZ coverage: {', '.join(zones)}. Add subnets to cover at least 2 AZs.",
            )

    def create(self: Any, subnet_name: str, description: str, subnets: list[Any], tags: Any) -> Any:
        if subnet_name.lower() in self.subnet_groups:
            raise Conflict("DBSubnetGroupAlreadyExists", f"The DB subnet group '{subnet_name}' already exists.")
        check(subnets)
        return plain_create(self, subnet_name, description, subnets, tags)

    def modify(self: Any, subnet_name: str, description: str, subnets: list[Any]) -> Any:
        check(subnets)
        # moto takes the group out of its books and forgets to put it back.
        group = plain_modify(self, subnet_name, description, subnets)
        self.subnet_groups[subnet_name] = group
        return group

    def delete(self: Any, subnet_name: str) -> Any:
        users = [
            one for one in self.databases.values() if getattr(subnet_group(one), "name", None) == subnet_name.lower()
        ]
        if users:
            raise Conflict(
                "InvalidDBSubnetGroupStateFault",
                f"Cannot delete the subnet group '{subnet_name}' because at least one database instance: "
                f"{users[0].db_instance_identifier} is still using it.",
            )
        return plain_delete(self, subnet_name)

    replace(BACKEND, "create_subnet_group", create, ("self", "subnet_name", "description", "subnets", "tags"))
    replace(BACKEND, "modify_db_subnet_group", modify, ("self", "subnet_name", "description", "subnets"))
    replace(BACKEND, "delete_subnet_group", delete, ("self", "subnet_name"))
