# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes that make a server what a task asks for, and what the server is after them. Everything here is pure, so
that check mode, diff and a run cannot disagree."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_target import Grants, Live, Target, title
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_wanted import (
    ALL,
    ALWAYS,
    LISTED,
    NONE,
    User,
    Wanted,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import (
    EXPERIMENT,
    REGISTERED_MODEL,
    Grant,
    Resource,
    RoleAccess,
    UserAccess,
)

CREATE_USER, CREATE_GROUP = "create_user", "create_group"
SET_PASSWORD, SET_ADMIN, SET_DESCRIPTION = "set_password", "set_admin", "set_description"
ADD_MEMBER, REMOVE_MEMBER = "add_member", "remove_member"
GRANT, CHANGE_GRANT, REVOKE = "grant", "change_grant", "revoke"
DELETE_USER, DELETE_GROUP = "delete_user", "delete_group"
# What is in one phase may be done in any order, and at the same time.
PHASES: tuple[frozenset[str], ...] = (
    frozenset({CREATE_USER, CREATE_GROUP}),
    # An admin is made before another one is unmade.
    frozenset({"make_admin"}),
    frozenset({SET_PASSWORD, SET_ADMIN, SET_DESCRIPTION, ADD_MEMBER, GRANT, CHANGE_GRANT}),
    frozenset({REVOKE, REMOVE_MEMBER}),
    frozenset({DELETE_USER, DELETE_GROUP}),
    # Nothing can be asked with the old one afterwards.
    frozenset({"set_own_password"}),
)
# Only these are pruned: others, such as prompts and gateway endpoints, cannot be asked for here.
_PRUNED_TYPES = (EXPERIMENT, REGISTERED_MODEL)


class Change(t.NamedTuple):
    """value: the new admin flag or description, or whether the password is that of the user logged in as. before: the
    grant that is changed or revoked."""

    action: str
    user: str | None = None
    group: str | None = None
    resource: Resource | None = None
    permission: str | None = None
    value: t.Any = None
    before: Grant | None = None

    @property
    def phase(self) -> int:
        special = {SET_ADMIN: "make_admin", SET_PASSWORD: "set_own_password"} if self.value else {}
        action = special.get(self.action, self.action)
        return next(number for number, actions in enumerate(PHASES) if action in actions)

    def facts(self) -> dict[str, t.Any]:
        """As a module returns it."""
        said: dict[str, t.Any] = {"action": self.action}
        said.update({key: getattr(self, key) for key in ("user", "group", "permission") if getattr(self, key)})
        if self.resource:
            said.update(resource_type=self.resource.type, resource_id=self.resource.id)
        if self.action == SET_ADMIN:
            said["admin"] = self.value
        return said


def plan(wanted: Wanted, target: Target, live: Live, me: str) -> tuple[list[Change], list[str]]:
    """(changes in order, problems). `me` is the user the task logs in as."""
    problems = _strangers(wanted, live) + _own_goals(wanted, live, me)
    changes: list[Change] = []
    gone = _users_to_delete(wanted, live, me)
    for name in gone:
        # Servers without roles do not delete a user that still has a permission.
        if live.roles is None:
            changes += [_revoke(grant, user=name) for grant in live.users[name].grants]
        changes.append(Change(DELETE_USER, user=name))
    for user in wanted.users.values():
        if user.present:
            changes += _user_changes(user, live, me, problems)
    for name in dict.fromkeys([*target.users, *wanted.users]):
        if name in gone or (name in wanted.users and not wanted.users[name].present):
            continue
        has = live.users[name].grants if name in live.users else ()
        prune = wanted.prune != NONE and name in wanted.users and name != me and not wanted.is_protected(name)
        changes += _grant_changes(has, target.users.get(name, {}), prune, user=name)
    if live.roles is not None:
        changes += _group_changes(wanted, target, live.roles)
    return sorted(changes, key=lambda change: change.phase), problems


def _strangers(wanted: Wanted, live: Live) -> list[str]:
    coming = {user.name for user in wanted.users.values() if user.present}
    known = coming | set(live.users)
    problems = []
    for group in wanted.groups.values():
        problems += [
            f"groups: member {name!r} of {group.name!r} is neither in users nor on the server; declare that user"
            for name in group.members or ()
            if name not in known
        ]
    for kind, name in dict.fromkeys(grant.holder for grant in wanted.grants):
        if kind == "user" and name not in known:
            problems.append(f"grants: user {name!r} is neither in users nor on the server; declare that user")
    if wanted.prune == ALL and not live.lists_users:
        problems.append(
            f"prune: all; MLflow {live.version} cannot list its users, so nobody can tell who else there is; use"
            " listed, and state: absent for those who leave"
        )
    return problems


def _own_goals(wanted: Wanted, live: Live, me: str) -> list[str]:
    """The last admin is safe with it: whoever logs in is an admin and stays one."""
    mine = wanted.users.get(me)
    if mine is None:
        return []
    if not mine.present:
        return [f"users: {me!r} is the user this task logs in as, and nobody may delete themselves; log in as another"]
    if mine.admin is False:
        return [f"users: {me!r} is the admin this task logs in as, and would lock itself out; log in as another admin"]
    return []


def _users_to_delete(wanted: Wanted, live: Live, me: str) -> list[str]:
    gone = [user.name for user in wanted.users.values() if not user.present and user.name in live.users]
    if wanted.prune == ALL and live.lists_users:
        kept = set(wanted.named_users) | {me}
        gone += [name for name in live.users if name not in kept and not wanted.is_protected(name)]
    return gone


def _user_changes(user: User, live: Live, me: str, problems: list[str]) -> list[Change]:
    current = live.users.get(user.name)
    changes = []
    if current is None:
        if not user.has_password:
            problems.append(
                f"users: {user.name!r} does not exist and has no password; give one to create the user with"
            )
        changes.append(Change(CREATE_USER, user=user.name))
    elif user.has_password and user.update_password == ALWAYS and not live.passwords_work.get(user.name, False):
        changes.append(Change(SET_PASSWORD, user=user.name, value=user.name == me))
    # The server ignores is_admin when it creates a user.
    if user.admin is not None and user.admin != (current is not None and current.is_admin):
        changes.append(Change(SET_ADMIN, user=user.name, value=user.admin))
    return changes


def _grant_changes(has: t.Sequence[Grant], wants: Grants, prune: bool, **holder: str) -> list[Change]:
    current = {grant.resource: grant for grant in has}
    changes = []
    for resource, permission in wants.items():
        before = current.get(resource)
        if permission is None:
            if before is not None:
                changes.append(_revoke(before, **holder))
        elif before is None:
            changes.append(Change(GRANT, resource=resource, permission=permission, **holder))
        elif before.permission != permission:
            changes.append(Change(CHANGE_GRANT, resource=resource, permission=permission, before=before, **holder))
    if prune:
        undeclared = [grant for grant in has if grant.resource not in wants and grant.resource.type in _PRUNED_TYPES]
        changes += [_revoke(grant, **holder) for grant in undeclared]
    return changes


def _revoke(grant: Grant, **holder: str) -> Change:
    return Change(REVOKE, resource=grant.resource, before=grant, **holder)


def _group_changes(wanted: Wanted, target: Target, roles: dict[str, RoleAccess]) -> list[Change]:
    changes: list[Change] = []
    for group in wanted.groups.values():
        current = roles.get(group.name)
        if not group.present:
            changes += [Change(DELETE_GROUP, group=group.name)] if current else []
            continue
        if current is None:
            changes.append(Change(CREATE_GROUP, group=group.name, value=group.description or ""))
        elif group.description is not None and group.description != current.description:
            changes.append(Change(SET_DESCRIPTION, group=group.name, value=group.description))
        members = current.members if current else ()
        prune = wanted.prune in (LISTED, ALL) and not wanted.is_protected(group.name)
        if group.members is not None:
            changes += [
                Change(ADD_MEMBER, user=name, group=group.name) for name in group.members if name not in members
            ]
            if prune:
                changes += [
                    Change(REMOVE_MEMBER, user=name, group=group.name)
                    for name in members
                    if name not in group.members and not wanted.is_protected(name) and not _leaves(wanted, name)
                ]
        changes += _grant_changes(
            current.grants if current else (), target.roles.get(group.name, {}), prune, group=group.name
        )
    if wanted.prune == ALL:
        others = [name for name in roles if name not in wanted.groups and not wanted.is_protected(name)]
        changes += [Change(DELETE_GROUP, group=name) for name in others]
    return changes


def _leaves(wanted: Wanted, name: str) -> bool:
    """Who is deleted leaves its groups without a change of their own."""
    if name in wanted.users:
        return not wanted.users[name].present
    return wanted.prune == ALL and name not in wanted.named_users


def predict(live: Live, changes: t.Iterable[Change]) -> Live:
    """The server after `changes`, but for numbers that only the server gives."""
    after = _Server(live)
    for change in changes:
        after.apply(change)
    return after.live()


class _Server:
    """A copy of a Live that changes; grants by holder and resource, because there may be thousands of one holder."""

    def __init__(self, live: Live) -> None:
        self._before = live
        self.users = dict(live.users)
        self.roles = dict(live.roles or {})
        self.works = dict(live.passwords_work)
        self.user_grants = {name: _by_resource(user.grants) for name, user in live.users.items()}
        self.role_grants = {name: _by_resource(role.grants) for name, role in self.roles.items()}
        self.members = {name: dict.fromkeys(role.members) for name, role in self.roles.items()}

    def live(self) -> Live:
        users = {
            name: user._replace(
                grants=tuple(self.user_grants[name].values()),
                roles=tuple(role for role, members in self.members.items() if name in members),
            )
            for name, user in self.users.items()
        }
        roles = {
            name: role._replace(
                grants=tuple(self.role_grants[name].values()), members=tuple(sorted(self.members[name]))
            )
            for name, role in self.roles.items()
        }
        known = None if self._before.roles is None else roles
        return self._before._replace(users=users, roles=known, passwords_work=self.works)

    def apply(self, change: Change) -> None:
        user, group = str(change.user), str(change.group)
        if change.resource is not None:
            mine = self.user_grants[user] if change.group is None else self.role_grants[group]
            if change.action == REVOKE:
                del mine[change.resource]
            else:
                number = change.before.grant_id if change.before else None
                mine[change.resource] = Grant(change.resource, str(change.permission), number)
        elif change.group is not None:
            self._apply_to_group(change, group, user)
        elif change.action == CREATE_USER:
            self.users[user], self.user_grants[user] = UserAccess(user, None, False), {}
            self.works[user] = True
        elif change.action == SET_PASSWORD:
            self.works[user] = True
        elif change.action == SET_ADMIN:
            self.users[user] = self.users[user]._replace(is_admin=change.value)
        else:
            del self.users[user]
            for members in self.members.values():
                members.pop(user, None)

    def _apply_to_group(self, change: Change, group: str, user: str) -> None:
        if change.action == CREATE_GROUP:
            self.roles[group] = RoleAccess(group, None, change.value)
            self.role_grants[group], self.members[group] = {}, {}
        elif change.action == SET_DESCRIPTION:
            self.roles[group] = self.roles[group]._replace(description=change.value)
        elif change.action == ADD_MEMBER:
            self.members[group][user] = None
        elif change.action == REMOVE_MEMBER:
            del self.members[group][user]
        else:
            del self.roles[group], self.members[group]


def _by_resource(grants: t.Iterable[Grant]) -> dict[Resource, Grant]:
    return {grant.resource: grant for grant in grants}


# --- for people ------------------------------------------------------------------------------------------------------


def diff(before: Live, after: Live, changes: t.Sequence[Change]) -> dict[str, dict[str, t.Any]]:
    """For --diff: users and groups that differ; of a password only that it changes."""
    renewed = {change.user for change in changes if change.action == SET_PASSWORD}
    sides = {}
    titles = before.titles()
    for side, live in (("before", before), ("after", after)):
        users = {name: _shown_user(user, titles) for name, user in sorted(live.users.items())}
        if side == "after":
            for name in renewed & set(users):
                users[name]["credential"] = "a new one"
        groups = {name: _shown_role(role, titles) for name, role in sorted((live.roles or {}).items())}
        sides[side] = {"users": users, "groups": groups}
    return {
        side: {
            kind: {name: shown for name, shown in what.items() if sides[other][kind].get(name) != shown}
            for kind, what in sides[side].items()
        }
        for side, other in (("before", "after"), ("after", "before"))
    }


def _shown_user(user: UserAccess, titles: t.Mapping[str, str]) -> dict[str, t.Any]:
    return {"admin": user.is_admin, "grants": _shown_grants(user.grants, titles)}


def _shown_role(role: RoleAccess, titles: t.Mapping[str, str]) -> dict[str, t.Any]:
    grants = _shown_grants(role.grants, titles)
    return {"description": role.description, "members": sorted(role.members), "grants": grants}


def _shown_grants(grants: t.Iterable[Grant], titles: t.Mapping[str, str]) -> dict[str, str]:
    return dict(sorted((title(grant.resource, titles), grant.permission) for grant in grants))


def summary(changes: t.Iterable[Change]) -> dict[str, int]:
    """How many changes of each kind."""
    counts: dict[str, int] = {}
    for change in changes:
        counts[change.action] = counts.get(change.action, 0) + 1
    return dict(sorted(counts.items()))
