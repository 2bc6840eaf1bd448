# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the grants asked for come to on a live server: names and patterns become resources, groups become roles or are
expanded to their members. Everything here is pure."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_access_wanted as wanted_
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_permissions, mlflow_resources
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_wanted import Wanted
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import (
    EXPERIMENT,
    Resource,
    RoleAccess,
    UserAccess,
)

# Permission by resource; None where there must be none.
Grants = t.Dict[Resource, t.Optional[str]]


class Live(t.NamedTuple):
    """The server as it is.

    users: all of them where the server lists them, else those that the task names. roles: None where it has none.
    experiments: name to ID; models: names; each empty if nobody asked. passwords_work: of whom it was asked.
    """

    version: str
    users: dict[str, UserAccess]
    roles: dict[str, RoleAccess] | None
    experiments: dict[str, str]
    models: frozenset[str]
    passwords_work: dict[str, bool]
    lists_users: bool

    def titles(self) -> dict[str, str]:
        """Names of experiments by ID."""
        return {number: name for name, number in self.experiments.items()}


def title(resource: Resource, titles: t.Mapping[str, str]) -> str:
    """A resource as people call it."""
    name = titles.get(resource.id) if resource.type == EXPERIMENT else None
    return f"{resource.type} {resource.id}" + ("" if name is None else f" ({name})")


class Target(t.NamedTuple):
    """What each user and each role shall have of its own."""

    users: dict[str, Grants]
    roles: dict[str, Grants]


def resolve(wanted: Wanted, live: Live) -> tuple[Target, list[str], list[str]]:
    """(target, problems, warnings)."""
    problems: list[str] = []
    warnings: list[str] = []
    titles = live.titles()
    # Permission and how exactly it was asked for, by holder and resource.
    found: dict[tuple[str, str], dict[Resource, tuple[bool, str | None]]] = {}
    for grant in wanted.grants:
        if grant.permission is not None:
            problem = mlflow_permissions.permission_problem(grant.permission, live.version)
            if problem:
                problems.append(f"grants: permission of {grant.holder[1]!r}: {problem}")
                continue
        resources = _resources(grant, live, problems, warnings)
        exact = grant.selector != wanted_.BY_PATTERN
        mine = found.setdefault(grant.holder, {})
        for resource in resources:
            before = mine.get(resource)
            if before is None or (exact and not before[0]):
                mine[resource] = (exact, grant.permission)
            elif before[0] == exact and before[1] != grant.permission:
                said = " and ".join(str(one or "absent") for one in (before[1], grant.permission))
                problems.append(
                    f"grants: {grant.holder[0]} {grant.holder[1]!r} is to have {said} on {title(resource, titles)};"
                    " keep one of them"
                )
    plain = {holder: {one: asked[1] for one, asked in mine.items()} for holder, mine in found.items()}
    users = {name: mine for (kind, name), mine in plain.items() if kind == wanted_.USER}
    groups = {name: mine for (kind, name), mine in plain.items() if kind == wanted_.GROUP}
    if live.roles is not None:
        return Target(users, groups), problems, warnings
    problems += [
        f"groups: {name!r} has grants but no members; this is MLflow {live.version}, and before 3.13 only members that"
        " are declared can be granted anything; give members"
        for name in groups
        if wanted.groups[name].members is None
    ]
    return Target(_expand(users, groups, wanted), {}), list(dict.fromkeys(problems)), warnings


def _expand(users: dict[str, Grants], groups: dict[str, Grants], wanted: Wanted) -> dict[str, Grants]:
    """What users have of their own and through groups, where the server knows no groups."""
    asked: dict[str, dict[Resource, list[str | None]]] = {}
    for name, grants in users.items():
        for resource, permission in grants.items():
            asked.setdefault(name, {}).setdefault(resource, []).append(permission)
    for group, grants in groups.items():
        for name in wanted.groups[group].members or ():
            for resource, permission in grants.items():
                asked.setdefault(name, {}).setdefault(resource, []).append(permission)
    return {name: {resource: _combine(several) for resource, several in mine.items()} for name, mine in asked.items()}


def _combine(permissions: list[str | None]) -> str | None:
    given = [permission for permission in permissions if permission is not None]
    return mlflow_permissions.strongest(given) if given else None


def _resources(
    grant: wanted_.Grant, live: Live, problems: list[str], warnings: list[str]
) -> list[Resource]:
    if grant.resource_type == EXPERIMENT:
        option, kind, names = "experiment", "experiment", live.experiments
    else:
        option, kind, names = "registered_model", "registered model", dict.fromkeys(live.models, "")
    if grant.selector == wanted_.BY_ID:
        if grant.value not in names.values():
            problems.append(f"experiment_id: {grant.value!r}; there is no active experiment of that ID; check it")
            return []
        return [Resource(EXPERIMENT, grant.value)]
    if grant.selector == wanted_.BY_NAME:
        if grant.value not in names:
            problems.append(mlflow_resources.unknown(option, kind, grant.value, names))
            return []
        matched = [grant.value]
    else:
        matched = mlflow_resources.matching(grant.value, names)
        if not matched:
            warnings.append(f"{option}: {grant.value!r} matches no {kind}")
    if grant.resource_type == EXPERIMENT:
        return [Resource(EXPERIMENT, names[name]) for name in matched]
    return [Resource(grant.resource_type, name) for name in matched]
