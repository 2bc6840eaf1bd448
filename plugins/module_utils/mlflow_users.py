# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about one MLflow user, apart from any server. Everything here is pure."""

from __future__ import annotations

import typing as t

CREATE, SET_PASSWORD, SET_ADMIN, REMOVE_PERMISSION, DELETE = (
    "create",
    "set_password",
    "set_admin",
    "remove_permission",
    "delete",
)


class Current(t.NamedTuple):
    """A user as the server has it.

    permissions: (kind, id), such as ("experiment", "3"), that block deletion. Servers up to 3.12 tell them; newer ones
    remove them by themselves. password_works: None if nobody asked the server.
    """

    username: str
    user_id: int | None
    is_admin: bool
    permissions: tuple[tuple[str, str], ...] = ()
    password_works: bool | None = None


class Desired(t.NamedTuple):
    """What a task asks for; None in `admin` leaves it alone. has_password: one was given."""

    username: str
    present: bool
    has_password: bool = False
    admin: bool | None = None
    update_password: str = "on_create"


class Change(t.NamedTuple):
    """action: one of the names above. value: of set_admin. target: (kind, id) of remove_permission."""

    action: str
    value: bool | None = None
    target: tuple[str, str] | None = None

    def facts(self) -> dict[str, t.Any]:
        """As a module returns it."""
        if self.action == SET_ADMIN:
            return {"action": self.action, "admin": self.value}
        if self.target:
            return {"action": self.action, "resource_type": self.target[0], "resource_id": self.target[1]}
        return {"action": self.action}


def refuse(desired: Desired, login: str) -> str | None:
    """Why this may not be done while logged in as `login`, in one line; None if it may."""
    if desired.username != login:
        return None
    if not desired.present:
        return (
            f"name: {login!r} is the user this task logs in as, and nobody may delete themselves; log in as another"
            " admin"
        )
    if desired.admin is False:
        return f"admin: {login!r} is the admin this task logs in as, and would lock itself out; log in as another admin"
    return None


def needs_password_test(current: Current | None, desired: Desired) -> bool:
    return current is not None and desired.present and desired.has_password and desired.update_password == "always"


def plan(current: Current | None, desired: Desired) -> list[Change]:
    """The changes, in order, that make `current` (None: no such user) what is desired. Raises ValueError if there is no
    way."""
    if not desired.present:
        if current is None:
            return []
        return [Change(REMOVE_PERMISSION, target=target) for target in current.permissions] + [Change(DELETE)]
    if current is None:
        if not desired.has_password:
            raise ValueError(
                f"user_password: missing, and user {desired.username!r} does not exist; give the password to create it"
                " with"
            )
        # The server ignores is_admin when it creates a user.
        return [Change(CREATE)] + ([Change(SET_ADMIN, True)] if desired.admin else [])
    changes = []
    if needs_password_test(current, desired) and not current.password_works:
        changes.append(Change(SET_PASSWORD))
    if desired.admin is not None and desired.admin != current.is_admin:
        changes.append(Change(SET_ADMIN, desired.admin))
    return changes


def predict(current: Current | None, desired: Desired, changes: t.Sequence[Change]) -> Current | None:
    """The user after `changes`, as far as it is known beforehand."""
    for change in changes:
        if change.action == CREATE:
            current = Current(desired.username, None, False)
        elif change.action == DELETE:
            current = None
        elif current is not None and change.action == SET_ADMIN:
            current = current._replace(is_admin=bool(change.value))
    return current


def facts(user: Current | None) -> dict[str, t.Any] | None:
    """The user as a module returns it."""
    return None if user is None else {"username": user.username, "id": user.user_id, "is_admin": user.is_admin}


def diff(before: Current | None, after: Current | None, changes: t.Sequence[Change]) -> dict[str, dict[str, t.Any]]:
    """For --diff: never a password, only whether it changes."""
    actions = {change.action for change in changes}

    def side(user: Current | None, credential: str) -> dict[str, t.Any]:
        if user is None:
            return {"state": "absent"}
        permissions = [f"{kind} {resource}" for kind, resource in user.permissions]
        return {
            "state": "present",
            "username": user.username,
            "is_admin": user.is_admin,
            "credential": credential,
            **({"permissions": permissions} if permissions else {}),
        }

    renewed = SET_PASSWORD in actions
    return {
        "before": side(before, "the present one"),
        "after": side(after, "a new one" if renewed or CREATE in actions else "the present one"),
    }
