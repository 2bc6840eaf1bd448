# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All refusals of a deployment that need no question to AWS: types, versions, then names, ranges and sizes."""

from __future__ import annotations

import difflib
import re
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import s3_lifecycle, scaling_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.artifact_transfer import check_transfer
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_names import check_names
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_ranges import check_network
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_sizes import check_sizes

INTEGERS = (
    "mlflow_workers",
    "task_cpu",
    "task_memory",
    "desired_count",
    "db_allocated_storage",
    "db_max_allocated_storage",
    "db_backup_retention_days",
    "db_pool_size",
    "db_max_overflow",
    "listener_port",
    "container_port",
    "database_port",
    "log_retention_days",
    "largest_artifact_gib",
    "transfers_at_once",
    "idle_timeout",
    "ephemeral_storage_gib",
    "transition_days",
)
STRINGS = (
    "name",
    "mlflow_version",
    "db_engine_version",
    "db_instance_class",
    "vpc_id",
    "vpc_cidr",
    "bucket",
    "artifact_prefix",
    "db_name",
    "db_username",
    "admin_username",
    "nat_mode",
    "load_balancer_scheme",
    "image",
    "artifact_transfer",
    "transition_class",
)
FLAGS = ("https", "install")
LISTS = (
    "supported_versions",
    "availability_zones",
    "public_subnet_cidrs",
    "private_subnet_cidrs",
    "public_subnet_ids",
    "private_subnet_ids",
    "client_cidrs",
    "interface_endpoints",
)
OPTIONS = INTEGERS + STRINGS + LISTS + FLAGS
VERSIONS = ("mlflow_version", "db_engine_version")

# The first release without the remote holes known in November 2026.
SECURITY_FLOOR = (3, 11)

# CloudWatch Logs PutRetentionPolicy, retentionInDays; 0 keeps for ever.
LOG_DAYS = (0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


def check(
    given: dict[str, Any],
    found: Findings,
    scaling: dict[str, Any] | None = None,
    server_environment: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Judges a whole deployment; problems and warnings go to ``found``.

    ``given`` holds any of ``OPTIONS``; what is missing or None is not checked. ``scaling`` holds the options of what
    scales the service: the database must bear the most tasks that it allows. ``server_environment`` is what MLflow is
    given besides.
    Returns ``mlflow_workers``, ``db_pool_size``, ``db_max_overflow``, ``db_max_connections`` and ``transfer``, the
    settings of ``artifact_transfer``.
    """
    desired = typed(given, found)
    _check_versions(desired, found)
    check_names(desired, found)
    check_network(desired, found)
    if scaling:
        most = scaling_rules.check_given(scaling, found)
        desired["desired_count"] = max(desired.get("desired_count", 1), most)
    derived: dict[str, Any] = check_sizes(desired, found)
    derived["transfer"] = check_transfer(desired, server_environment or {}, found)
    _check_transition(desired, found)
    days = desired.get("log_retention_days")
    if days is not None and days not in LOG_DAYS:
        nearest = min(LOG_DAYS[1:], key=lambda allowed: (abs(allowed - days), allowed))
        found.refuse(
            "log_retention_days",
            days,
            "is not a retention CloudWatch Logs offers",
            f"the nearest it offers is {nearest}; 0 keeps for ever",
        )
    return derived


def _check_transition(desired: dict[str, Any], found: Findings) -> None:
    days, name = desired.get("transition_days"), desired.get("transition_class")
    if days is not None and days < 0:
        found.refuse("transition_days", days, "is no number of days", "choose 1 or more, or 0 to leave artifacts where they are")
    elif name is not None and (fault := s3_lifecycle.class_fault(days or 0, name)):
        option, reason, remedy = fault
        found.refuse(option, desired[option], reason, remedy)


def typed(given: dict[str, Any], found: Findings) -> dict[str, Any]:
    """The options of ``given`` that have, or can be turned into, the right type; a problem for each other one."""
    desired: dict[str, Any] = {}
    for option in OPTIONS:
        value = given.get(option)
        if value is None:
            continue
        fault = None
        if option in INTEGERS:
            value, fault = _integer(value)
        elif option in FLAGS:
            value, fault = _flag(value)
        elif option in LISTS:
            fault = None if _is_list_of_text(value) else ("is not a list of texts", "write it as a YAML list")
        else:
            value, fault = _text(option, value)
        if fault:
            found.refuse(option, value, *fault)
        else:
            desired[option] = value
    return desired


def _integer(value: Any) -> tuple[Any, tuple[str, str] | None]:
    # Values given on the command line (-e x=2) and by AWX surveys arrive as text.
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        return int(value), None
    if isinstance(value, int) and not isinstance(value, bool):
        return value, None
    return value, ("is not a whole number", "write digits only, without a unit")


def _text(option: str, value: Any) -> tuple[Any, tuple[str, str] | None]:
    if isinstance(value, str):
        return value.strip() if option in VERSIONS else value, None
    # A whole number is the same in YAML and as text, but 3.10 without quotes is the number 3.1.
    if option in VERSIONS and isinstance(value, int) and not isinstance(value, bool):
        return str(value), None
    return value, ("is not text, YAML read it as something else", "put it in quotes")


def _flag(value: Any) -> tuple[Any, tuple[str, str] | None]:
    try:
        return boolean(value), None
    except TypeError:
        return value, ("is neither true nor false", "write true or false")


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def version_key(version: str) -> tuple[int, ...]:
    """Numbers of a version such as ``3.17.2``, for comparisons."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


def _check_versions(desired: dict[str, Any], found: Findings) -> None:
    engine = desired.get("db_engine_version")
    if engine is not None and not re.fullmatch(r"[0-9]{2}(\.[0-9]{1,2})?", engine):
        found.refuse(
            "db_engine_version",
            engine,
            "is not a PostgreSQL version",
            'write "15.7", or "15" for the newest minor version on offer',
        )
    version = desired.get("mlflow_version")
    if version is None:
        return
    supported = desired.get("supported_versions")
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version):
        found.refuse("mlflow_version", version, "is not a full MLflow version", _supported(version, supported))
        # Nothing about its memory can be said.
        del desired["mlflow_version"]
        return
    if supported and version not in supported:
        found.refuse(
            "mlflow_version",
            version,
            "is not supported: it has no list of pinned requirements",
            _supported(version, supported),
        )
    elif version_key(version)[:2] < SECURITY_FLOOR:
        floor = ".".join(map(str, SECURITY_FLOOR))
        found.warn(
            "mlflow_version",
            version,
            f"has known security holes that can be used remotely, fixed by {floor}",
            f"upgrade to {floor} or newer, or let nobody but trusted clients reach it",
        )


def _supported(version: str, supported: list[str] | None) -> str:
    if not supported:
        return 'write all three numbers, as in "3.17.2"'
    ordered = sorted(supported, key=version_key)
    close = difflib.get_close_matches(version, ordered, n=1, cutoff=0.75)
    hint = f" (nearest: {close[0]})" if close and len(ordered) > 5 else ""
    return f"choose one of {', '.join(ordered)}{hint}"
