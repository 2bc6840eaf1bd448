# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which names AWS accepts for what a deployment's name turns into, and for its bucket and database."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

# The shortest limit of all derived names: load balancer and target group (elasticloadbalancing CreateLoadBalancer,
# CreateTargetGroup). The RDS id "<name>-db" may have 63, IAM roles 64, log groups and secrets 512 characters.
MAX_NAME = 32

BUCKET_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
BUCKET_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")

# Refused by CreateDBInstance for PostgreSQL.
RESERVED_DATABASES = {"db", "postgres", "rdsadmin", "template0", "template1"}
RESERVED_USERS = {"admin", "administrator", "azure_superuser", "public", "rdsadmin", "rdsrepladmin", "root"}

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


def name_fault(name: str) -> str | None:
    """Why ``name`` cannot name a deployment; None if it can."""
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters, a load balancer's name has at most {MAX_NAME}"
    if not name:
        return "is empty"
    if not re.fullmatch(r"[a-z0-9-]+", name):
        return "holds something other than lower-case letters, digits and hyphens"
    if not name[0].isalpha():
        return "does not start with a letter, as the database's identifier must"
    if name.endswith("-"):
        return "ends with a hyphen, which a load balancer's name may not"
    if "--" in name:
        return "holds two hyphens in a row, which the database's identifier may not"
    if name.startswith("internal-"):
        return 'starts with "internal-", which AWS keeps for itself in load balancer names'
    return None


def bucket_fault(bucket: str) -> str | None:
    """Why ``bucket`` cannot be the name of an S3 bucket (general purpose bucket naming rules); None if it can."""
    if not 3 <= len(bucket) <= 63:
        return f"has {len(bucket)} characters, a bucket's name has 3 to 63"
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", bucket):
        return "holds something other than lower-case letters, digits, dots and hyphens, or starts or ends with a mark"
    if ".." in bucket:
        return "holds two dots in a row"
    if _is_address(bucket):
        return "looks like an IP address"
    for prefix in BUCKET_PREFIXES:
        if bucket.startswith(prefix):
            return f'starts with "{prefix}", which AWS keeps for itself'
    for suffix in BUCKET_SUFFIXES:
        if bucket.endswith(suffix):
            return f'ends with "{suffix}", which AWS keeps for itself'
    return None


def prefix_fault(prefix: str) -> str | None:
    """Why ``prefix`` cannot stand between bucket and artifacts; None if it can. Empty is the whole bucket."""
    if not prefix:
        return None
    if len(prefix) > 512:
        return f"has {len(prefix)} characters, which leaves too few of S3's 1024 for the artifacts"
    if prefix.startswith("/") or prefix.endswith("/") or "//" in prefix:
        return "starts or ends with a slash, or holds two in a row"
    if not re.fullmatch(r"[A-Za-z0-9!_.'()/-]+", prefix):
        return "holds a character that is not safe in S3 keys and in IAM resource names"
    if any(part in (".", "..") for part in prefix.split("/")):
        return 'holds a part "." or ".."'
    return None


def check_names(desired: dict[str, Any], found: Findings) -> None:
    """Checks name, bucket, prefix, database and user names of ``desired``; what is not given is not checked."""
    rules = (
        ("name", name_fault, "choose at most 32 lower-case letters, digits and single hyphens, a letter first"),
        ("bucket", bucket_fault, "give the name of a bucket that follows the S3 naming rules"),
        ("artifact_prefix", prefix_fault, 'write it like "mlflow-artifacts" or "team/mlflow"'),
        ("db_name", _database_fault, "choose a letter, then letters, digits and underscores, at most 63"),
        ("db_username", _user_fault, "choose a letter, then letters, digits and underscores, at most 63"),
        ("admin_username", _admin_fault, "choose a name without a colon"),
    )
    for option, fault_of, remedy in rules:
        value = desired.get(option)
        fault = None if value is None else fault_of(value)
        if fault:
            found.refuse(option, value, fault, remedy)
    if desired.get("bucket") and "." in desired["bucket"] and not bucket_fault(desired["bucket"]):
        found.warn(
            "bucket",
            desired["bucket"],
            "a dot in a bucket's name breaks TLS to its host name",
            "prefer a name without dots",
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _database_fault(name: str) -> str | None:
    if not IDENTIFIER.fullmatch(name):
        return "is not a name RDS accepts for a database"
    return "is a name PostgreSQL or RDS keeps for itself" if name.lower() in RESERVED_DATABASES else None


def _user_fault(name: str) -> str | None:
    if not IDENTIFIER.fullmatch(name) or name.lower().startswith("pg_"):
        return "is not a name RDS accepts for a user"
    return "is a name PostgreSQL or RDS keeps for itself" if name.lower() in RESERVED_USERS else None


def _admin_fault(name: str) -> str | None:
    if not name.strip():
        return "is empty"
    return "holds a colon, which ends the user name in HTTP basic authentication" if ":" in name else None
