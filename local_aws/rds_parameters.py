# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of RDS parameter groups that the local AWS knows, and what they mean for a PostgreSQL server.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from . import rds_offers

MEMORY_FORMULA = "LEAST({DBInstanceClassMemory/9531392},5000)"
# From this major version on TLS is forced by default ("Using SSL with a PostgreSQL DB instance").
FORCES_SSL_FROM = 15


class Parameter(NamedTuple):
    """`allowed` as DescribeDBParameters writes it: values with commas between them, or a range."""

    default: str
    data_type: str
    apply_type: str
    allowed: str

    def allows(self, value: str) -> bool:
        if self.data_type != "integer":
            return value in self.allowed.split(",")
        # The lowest may be negative: the dash that parts them is never the first character.
        dash = self.allowed.index("-", 1)
        lowest, highest = int(self.allowed[:dash]), int(self.allowed[dash + 1 :])
        return value.removeprefix("-").isdecimal() and lowest <= int(value) <= highest


PARAMETERS = {
    "rds.force_ssl": Parameter("1", "boolean", "dynamic", "0,1"),
    "log_min_duration_statement": Parameter("-1", "integer", "dynamic", "-1-2147483647"),
    "log_connections": Parameter("0", "boolean", "dynamic", "0,1"),
    "log_disconnections": Parameter("0", "boolean", "dynamic", "0,1"),
    "log_statement": Parameter("none", "string", "dynamic", "none,ddl,mod,all"),
    "max_connections": Parameter(MEMORY_FORMULA, "integer", "static", "6-262143"),
    "idle_in_transaction_session_timeout": Parameter("86400000", "integer", "dynamic", "0-2147483647"),
}


def default(name: str, family: str) -> str:
    """The engine's default of a parameter in a family such as `postgres15`."""
    if name == "rds.force_ssl":
        return "1" if int(family.removeprefix("postgres")) >= FORCES_SSL_FROM else "0"
    return PARAMETERS[name].default


def problem(name: str, value: str | None, immediate: bool) -> tuple[str, str] | None:
    """The RDS error code and text for a value that ModifyDBParameterGroup would refuse, or ResetDBParameterGroup (no value)."""
    parameter = PARAMETERS.get(name)
    if parameter is None:
        known = ", ".join(PARAMETERS)
        return "InvalidParameterValue", f"Could not find parameter with name: {name} (the local AWS knows {known})"
    if value is not None and not parameter.allows(value) and value != parameter.default:
        return (
            "InvalidParameterValue",
            f"Invalid parameter value: {value} for: {name} allowed values are: {parameter.allowed}",
        )
    if immediate and parameter.apply_type == "static":
        return "InvalidParameterCombination", f"cannot use immediate apply method for static parameter: {name}"
    return None


def effective(changed: Mapping[str, str], family: str, instance_class: str) -> tuple[dict[str, str], bool]:
    """PostgreSQL's own settings for a group's changed values, and whether TLS is forced."""
    values = {name: changed.get(name, default(name, family)) for name in PARAMETERS}
    force_ssl = values.pop("rds.force_ssl") == "1"
    if values["max_connections"] == MEMORY_FORMULA:
        values["max_connections"] = str(rds_offers.max_connections(instance_class))
    return values, force_ssl
