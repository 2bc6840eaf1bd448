# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task asks for: users, groups and grants, as far as they can be judged without a server. Everything here is
pure."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_permissions,
    mlflow_resources,
    mlflow_versions,
)

NONE, LISTED, ALL = "none", "listed", "all"
ON_CREATE, ALWAYS = "on_create", "always"
USER, GROUP = "user", "group"
# How a grant names its resource.
BY_ID, BY_NAME, BY_PATTERN = "id", "name", "pattern"

# Problems that one message names; it counts the rest.
_MOST_NAMED = 10


class User(t.NamedTuple):
    """admin: None leaves it alone."""

    name: str
    present: bool = True
    has_password: bool = False
    admin: bool | None = None
    update_password: str = ON_CREATE


class Group(t.NamedTuple):
    """members, description: None leaves them alone."""

    name: str
    present: bool = True
    members: tuple[str, ...] | None = None
    description: str | None = None


class Grant(t.NamedTuple):
    """holder: (user or group, name). permission: None where the grant must not be there."""

    holder: tuple[str, str]
    resource_type: str
    selector: str
    value: str
    permission: str | None


class Wanted(t.NamedTuple):
    users: dict[str, User]
    groups: dict[str, Group]
    grants: tuple[Grant, ...]
    prune: str = NONE
    protected: tuple[str, ...] = ()

    @property
    def named_users(self) -> list[str]:
        """Everybody the task speaks of."""
        names = list(self.users)
        names += [name for group in self.groups.values() for name in group.members or ()]
        names += [grant.holder[1] for grant in self.grants if grant.holder[0] == USER]
        return list(dict.fromkeys(names))

    def is_protected(self, name: str) -> bool:
        return any(mlflow_resources.matching(pattern, [name]) for pattern in self.protected)


class Refused(ValueError):
    """Everything that is wrong, in one line."""

    def __init__(self, problems: t.Sequence[str]) -> None:
        more = len(problems) - _MOST_NAMED
        told = "; ".join(problems[:_MOST_NAMED])
        super().__init__(told + (f"; and {more} more problems of this kind" if more > 0 else ""))
        self.problems = list(problems)


def read(params: t.Mapping[str, t.Any]) -> Wanted:
    """From the module's options; Refused if they contradict each other or could never work."""
    problems: list[str] = []
    users = _users(params, problems)
    groups = _groups(params, problems)
    grants = _grants(params, problems)
    for kind, name in dict.fromkeys(grant.holder for grant in grants):
        listed = users.get(name) if kind == USER else groups.get(name)
        if kind == GROUP and listed is None:
            problems.append(f"grants: group {name!r} is not in groups; declare it there, with its members")
        elif listed is not None and not listed.present:
            problems.append(f"grants: {kind} {name!r} is to be absent; leave its grants out")
    for group in groups.values():
        for member in group.members or ():
            if member in users and not users[member].present:
                problems.append(f"groups: member {member!r} of {group.name!r} is to be absent; leave it out")
    if params["max_parallel"] < 1:
        problems.append(f"max_parallel: {params['max_parallel']} requests at a time; give 1 or more")
    if problems:
        raise Refused(problems)
    return Wanted(users, groups, tuple(grants), params["prune"], tuple(params["protected"] or ()))


def _users(params: t.Mapping[str, t.Any], problems: list[str]) -> dict[str, User]:
    users: dict[str, User] = {}
    for one in params["users"] or []:
        name, password = one["name"], one.get("password")
        if name in users:
            problems.append(f"users: {name!r} is there twice; keep one of them")
        try:
            mlflow_address.refuse_username("users", name)
            if password is not None:
                mlflow_address.refuse_password(f"users: password of {name!r}", password)
        except ValueError as error:
            problems.append(str(error))
        users[name] = User(
            name,
            one["state"] == "present",
            password is not None,
            one.get("admin"),
            one.get("update_password") or params["update_password"],
        )
    return users


def _groups(params: t.Mapping[str, t.Any], problems: list[str]) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    for one in params["groups"] or []:
        name, members = one["name"], one.get("members")
        if name in groups:
            problems.append(f"groups: {name!r} is there twice; keep one of them")
        if not name.strip() or not name.isprintable():
            problems.append(f"groups: {name!r} is empty or holds a control character; give it another name")
        if name.startswith(mlflow_permissions.RESERVED_ROLES):
            problems.append(
                f"groups: {name!r} begins with {mlflow_permissions.RESERVED_ROLES}, as MLflow's own roles do; give it"
                " another name"
            )
        unique = None if members is None else tuple(dict.fromkeys(members))
        groups[name] = Group(name, one["state"] == "present", unique, one.get("description"))
    return groups


def _grants(params: t.Mapping[str, t.Any], problems: list[str]) -> list[Grant]:
    grants = []
    for number, one in enumerate(params["grants"] or [], 1):
        holders = [(kind, one[kind]) for kind in (USER, GROUP) if one.get(kind)]
        names = [key for key in ("experiment", "experiment_id", "registered_model") if one.get(key)]
        if len(holders) != 1 or len(names) != 1:
            problems.append(
                f"grants: number {number} needs exactly one of user and group, and exactly one of experiment,"
                " experiment_id and registered_model"
            )
            continue
        permission = one.get("permission")
        if one["state"] == "present" and not permission:
            problems.append(f"grants: number {number} (to {holders[0][1]!r}) has no permission; give one")
            continue
        option, value = names[0], str(one[names[0]])
        kind = mlflow_permissions.REGISTERED_MODEL if option == "registered_model" else mlflow_permissions.EXPERIMENT
        selector = BY_ID if option == "experiment_id" else BY_PATTERN if mlflow_resources.is_pattern(value) else BY_NAME
        grants.append(Grant(holders[0], kind, selector, value, permission if one["state"] == "present" else None))
    return grants


def judge_passwords(
    passwords: t.Mapping[str, str], to_set: t.Iterable[str], version: str
) -> tuple[list[str], list[str]]:
    """(problems, warnings) of the passwords that would be set for these users."""
    problems, warnings = [], []
    for name in to_set:
        problem = mlflow_versions.password_problem(passwords[name], version)
        if problem:
            problems.append(f"users: password of {name!r}: {problem}")
        limit = mlflow_versions.login_limit(name, passwords[name], version)
        if limit:
            warnings.append(f"user {name!r}: {limit}")
    return problems, warnings
