# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes between versions of MLflow, and what that does to a deployment. Everything here is pure.

Read in the released packages and tried with 2.18.0, 2.22.5, 3.17.1 and 3.17.2; the file that shows it is named where there is one.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_versions
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_rules import SECURITY_FLOOR
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_sizes import FOOTPRINTS

# The newest revisions of the tracking and the user store (mlflow/store/db_migrations/versions,
# mlflow/server/auth/db/migrations/versions); a test compares them with the packages.
SCHEMAS: dict[str, tuple[str, str]] = {
    "2.18.0": ("0584bdc529eb", "8606fa83a998"),
    "2.22.5": ("0584bdc529eb", "8606fa83a998"),
    "3.17.1": ("dc11669786a5", "f1a2b3c4d5e6"),
    "3.17.2": ("dc11669786a5", "f1a2b3c4d5e6"),
}


class Deployment(t.NamedTuple):
    """What the effect of a change depends on."""

    workers: int
    task_memory: int
    default_permission: str
    allowed_hosts: tuple[str, ...]


class Change(t.NamedTuple):
    """One change: since which version, whom it concerns, and what it does to a deployment."""

    since: tuple[int, int]
    concerns: str
    what: str
    effect: t.Callable[[Deployment], str]


def _memory(version: tuple[int, int], workers: int) -> int:
    return FOOTPRINTS[version[0]].of(workers)


def _says(text: str) -> t.Callable[[Deployment], str]:
    return lambda deployment: text


CHANGES = (
    Change(
        (3, 0),
        "users",
        "New passwords have 12 characters at least (mlflow/server/auth)",
        _says("passwords that exist go on working, however short; the next change of one must be longer"),
    ),
    Change(
        (3, 0),
        "server",
        "A server needs more memory",
        lambda deployment: f"{_memory((3, 0), deployment.workers)} MiB instead of {_memory((2, 18), deployment.workers)} MiB"
        f" for {deployment.workers} workers; a task has {deployment.task_memory} MiB",
    ),
    Change(
        (3, 0),
        "clients",
        "Models are logged beside the run, not in its artifacts; recipes, fastai, gluon, mleap, diviner and promptflow are gone",
        _says("clients older than 3.0 go on working; code that uses what is gone must change before its client is upgraded"),
    ),
    Change(
        (3, 0),
        "server",
        "The server runs jobs, on addresses that once needed no login (CVE-2026-0545)",
        _says("job execution is switched off here"),
    ),
    Change(
        (3, 3),
        "server",
        "The server is uvicorn and no longer gunicorn",
        _says("workers are started with the same number, port and time-outs; no option of the server is gone that is used here"),
    ),
    Change(
        (3, 5),
        "clients",
        "The server checks the Host and Origin headers (mlflow/server/security.py)",
        lambda deployment: "it answers to " + ", ".join(deployment.allowed_hosts) + " only; name others in mlflow_allowed_hosts"
        if deployment.allowed_hosts
        else "it answers to localhost and private addresses only",
    ),
    Change(
        (3, 6),
        "server",
        "The user store has a version table of its own, alembic_version_auth",
        _says("both stores have databases of their own here; the migration makes the table"),
    ),
    Change(
        mlflow_versions.HAS_USE,
        "users",
        "There is a permission USE, between READ and EDIT",
        _says("nobody has it before it is granted"),
    ),
    Change(
        SECURITY_FLOOR,
        "security",
        "Holes that can be used from afar are fixed from this version on",
        _says("the deployment leaves a version with known holes"),
    ),
    Change(
        (3, 12),
        "users",
        "Checked passwords are remembered for a while",
        _says("requests are about ten times faster; another worker may take a changed password for ecs_mlflow_auth_cache_ttl_seconds"),
    ),
    Change(
        mlflow_versions.GRANTS,
        "users",
        "Grants and roles take the place of permissions on single resources, and the calls for those answer 404"
        " (mlflow/server/auth/db/migrations/versions/e5f6a7b8c9d0)",
        lambda deployment: "permissions become grants, and so do refusals (NO_PERMISSIONS), which MLflow itself would drop"
        + ("" if deployment.default_permission == "NO_PERMISSIONS" else f" although everybody else has {deployment.default_permission}")
        + "; what is written while both versions run is kept too; scripts that call experiments/permissions or"
        " registered-models/permissions must change",
    ),
    Change(
        mlflow_versions.ASCII_LOGIN,
        "users",
        "Artifacts go to addresses that read a login as ASCII",
        _says("users with another name or password get 401 there; the admin does not"),
    ),
)


def between(old: tuple[int, int], new: tuple[int, int], deployment: Deployment) -> list[dict[str, str]]:
    """What a deployment sees of the changes after version `old` up to `new`, oldest first."""
    return [
        {
            "since": ".".join(map(str, change.since)),
            "concerns": change.concerns,
            "change": change.what,
            "effect": change.effect(deployment),
        }
        for change in CHANGES
        if old < change.since <= new
    ]


def same_schema(one: str, other: str) -> bool:
    """Whether both versions run on one and the same database; a version that is not known shares its schema with none."""
    return one == other or (one in SCHEMAS and SCHEMAS[one] == SCHEMAS.get(other))
