# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What RDS refuses in a request, with RDS's own codes and texts.

https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html and API_ModifyDBInstance.html
"""

from __future__ import annotations

import re
from typing import Any

from moto.rds.exceptions import (
    DBInstanceAlreadyExists,
    DBParameterGroupNotFoundError,
    InvalidParameterCombination,
    InvalidParameterValue,
    RDSClientError,
)

from . import rds_offers
from .rds_os_metrics import usable_role

RESERVED_USERS = {"admin", "rdsadmin", "rds_superuser"}


class Conflict(RDSClientError):
    """Something that cannot be in the state that things are in."""


class Refused(RDSClientError):
    """Something that RDS does and the local AWS does not."""

    def __init__(self, what: str) -> None:
        super().__init__("UnsupportedOperation", f"The local AWS does not support {what}.")


def check_master_user(name: str | None, password: str | None) -> None:
    """CreateDBInstance, MasterUsername: 1 to 63 letters, digits or underscores, the first a letter, not reserved."""
    for parameter, value in (("MasterUsername", name), ("MasterUserPassword", password)):
        if not value:
            raise InvalidParameterValue(f"The parameter {parameter} must be provided and must not be blank.")
    if name.lower() in RESERVED_USERS:
        raise InvalidParameterValue(f"MasterUsername {name} cannot be used as it is a reserved word used by the engine")
    if not re.fullmatch(r"[A-Za-z]\w{0,62}", name, re.ASCII):
        raise InvalidParameterValue(f"The parameter MasterUsername is not a valid identifier: {name}")


def check_password(password: str | None) -> None:
    """CreateDBInstance, MasterUserPassword: printable ASCII but for / " @ and space, 8 to 128 characters."""
    if password is None:
        return
    if not 8 <= len(password) <= 128:
        raise InvalidParameterValue(
            "The parameter MasterUserPassword is not a valid password because it is "
            + ("shorter than 8 characters." if len(password) < 8 else "longer than 128 characters.")
        )
    if any(one in '/@" ' or not "!" <= one <= "~" for one in password):
        raise InvalidParameterValue(
            "The parameter MasterUserPassword is not a valid password. "
            "Only printable ASCII characters besides '/', '@', '\"', ' ' may be used."
        )


def check_new_name(backend: Any, name: str, others: dict[str, Any], at_once: bool) -> None:
    """ModifyDBInstance, NewDBInstanceIdentifier."""
    if name in backend.databases:
        raise DBInstanceAlreadyExists()
    backend._validate_db_identifier(name)
    if others or not at_once:
        raise Refused("renaming a DB instance together with other changes, or later than at once")


def check_parameter_group(backend: Any, name: str | None, version: str) -> str | None:
    """The name as RDS keeps it, in lower case."""
    family = f"postgres{version.split('.')[0]}"
    if not name or name == f"default.{family}":
        return name
    group = backend.db_parameter_groups.get(name.lower())
    if group is None:
        raise DBParameterGroupNotFoundError(name)
    if group.family != family:
        raise InvalidParameterCombination(
            f"The parameter group with DBParameterGroupFamily {group.family} can't be used for this instance. "
            f"Please use a parameter group with DBParameterGroupFamily {family}"
        )
    return group.name


def check_log_exports(kinds: list[str] | None, already: set[str] | frozenset[str] = frozenset()) -> None:
    """EnableCloudwatchLogsExports: PostgreSQL has two logs, each exported once."""
    for kind in kinds or []:
        if kind not in ("postgresql", "upgrade"):
            raise InvalidParameterCombination(
                f"You cannot use the log types '{kind}' with engine version postgres. For supported log types, see the "
                "documentation."
            )
        if kind in already:
            raise InvalidParameterCombination(f"You cannot enable the log types '{kind}' that are enabled already.")


def check_monitoring(account_id: str, region: str, interval: Any, role_arn: str | None) -> None:
    """MonitoringInterval and MonitoringRoleArn belong together, and RDS must be able to act with the role."""
    interval = int(interval or 0)
    if interval not in (0, 1, 5, 10, 15, 30, 60):
        raise InvalidParameterValue("Invalid value for the MonitoringInterval. Valid values are 0, 1, 5, 10, 15, 30, 60.")
    if interval and not role_arn:
        raise InvalidParameterCombination(
            "A MonitoringRoleARN value is required if you specify a MonitoringInterval value other than 0."
        )
    if interval and not usable_role(account_id, region, role_arn):
        raise InvalidParameterValue(
            "IAM role ARN value is invalid or does not include the required permissions for: ENHANCED_MONITORING"
        )


def upgrade_target(instance: Any, changes: dict[str, Any]) -> str:
    asked = changes["engine_version"]
    version = rds_offers.resolve(asked)
    if version is None:
        raise InvalidParameterCombination(f"Cannot find version {asked} for postgres")
    if asked.isdecimal() and instance.engine_version.split(".")[0] == asked:
        return instance.engine_version
    if version.split(".")[0] != instance.engine_version.split(".")[0]:
        raise Refused("upgrading PostgreSQL to another major version")
    return version
