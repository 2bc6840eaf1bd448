# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a server with as few requests as it allows, and carrying out a plan, several requests at a time."""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_access_plan,
    mlflow_resources_api,
    mlflow_users,
    mlflow_users_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_plan import Change
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_target import Live
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_wanted import ALWAYS, Wanted
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import (
    EXPERIMENT,
    Grant,
    Resource,
    RoleAccess,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions_api import Dialect

_USER_CHANGES = {
    mlflow_access_plan.CREATE_USER: mlflow_users.CREATE,
    mlflow_access_plan.SET_PASSWORD: mlflow_users.SET_PASSWORD,
    mlflow_access_plan.SET_ADMIN: mlflow_users.SET_ADMIN,
    mlflow_access_plan.DELETE_USER: mlflow_users.DELETE,
}
# Seconds between two lines of progress.
_PROGRESS_EVERY = 1.0


def look(client: Client, dialect: Dialect, wanted: Wanted, passwords: dict[str, str], workers: int) -> Live:
    """The server as it is: two requests with roles, else one for each user the task names; and one for each password
    to try, one each for experiments and models if grants name any."""
    names = None if dialect.has_roles or (dialect.lists_users and wanted.prune == "all") else wanted.named_users
    users = dialect.read_users(names, workers)
    roles = dialect.read_roles(users) if dialect.has_roles else None
    types = {grant.resource_type for grant in wanted.grants}
    experiments = mlflow_resources_api.list_experiments(client) if EXPERIMENT in types else []
    models = mlflow_resources_api.list_models(client) if types - {EXPERIMENT} else []
    to_try = [
        user.name
        for user in wanted.users.values()
        if user.present and user.has_password and user.update_password == ALWAYS and user.name in users
    ]
    with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
        works = dict(
            zip(to_try, pool.map(lambda name: mlflow_users_api.password_works(client, name, passwords[name]), to_try))
        )
    return Live(
        dialect.version,
        users,
        roles,
        {one.name: one.experiment_id for one in experiments},
        frozenset(one.name for one in models),
        works,
        dialect.lists_users,
    )


class Progress:
    """How far an apply is, in a file of one line that is replaced about once a second.

    ValueError if it cannot be written at the start."""

    def __init__(self, path: str | None, total: int) -> None:
        self.path, self.total, self.done = path, total, 0
        self._started = time.monotonic()
        self._written = -_PROGRESS_EVERY
        try:
            self._tell(self._started)
        except OSError as error:
            raise ValueError(
                f"progress_path: {path} cannot be written: {error.strerror}; give another file or leave it out"
            ) from None

    def step(self) -> None:
        """Not for several threads at once."""
        self.done += 1
        now = time.monotonic()
        if now - self._written >= _PROGRESS_EVERY or self.done == self.total:
            self._written = now
            try:
                self._tell(now)
            except OSError:
                # A full disk is no reason to leave the server half changed.
                self.path = None

    def _tell(self, now: float) -> None:
        if self.path:
            part = f"{self.path}.part"
            with open(part, "w", encoding="utf-8") as file:
                file.write(f"{self.done} of {self.total} changes, {now - self._started:.0f} s\n")
            os.replace(part, self.path)


class Apply:
    """Carries out a plan; `done` holds the changes that were made, also after a failure."""

    def __init__(self, client: Client, dialect: Dialect, live: Live, passwords: dict[str, str], workers: int) -> None:
        self.client, self.dialect, self.passwords, self.workers = client, dialect, passwords, workers
        self.roles: dict[str, RoleAccess] = dict(live.roles or {})
        self.done: list[Change] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(self, changes: t.Sequence[Change], progress: Progress) -> None:
        """Phase after phase. After a failure nothing new is begun, what runs is finished, and the error is raised."""
        for phase in range(len(mlflow_access_plan.PHASES)):
            with concurrent.futures.ThreadPoolExecutor(max_workers=self.workers) as pool:
                running = [pool.submit(self._one, change, progress) for change in changes if change.phase == phase]
            for one in running:
                one.result()

    def _one(self, change: Change, progress: Progress) -> None:
        if self._stopped.is_set():
            return
        try:
            self._make(change)
        except BaseException:
            self._stopped.set()
            raise
        with self._lock:
            self.done.append(change)
            progress.step()

    def _make(self, change: Change) -> None:
        if change.group is not None:
            self._make_group(change.group, change)
        elif change.action in _USER_CHANGES:
            name = str(change.user)
            made = mlflow_users.Change(_USER_CHANGES[change.action], change.value)
            mlflow_users_api.apply(self.client, name, self.passwords.get(name), made)
        elif change.action == mlflow_access_plan.REVOKE:
            self.dialect.remove_permission(str(change.user), t.cast(Grant, change.before))
        else:
            self.dialect.set_permission(
                str(change.user), t.cast(Resource, change.resource), str(change.permission), change.before
            )

    def _make_group(self, name: str, change: Change) -> None:
        if change.action == mlflow_access_plan.CREATE_GROUP:
            self.roles[name] = self.dialect.create_role(name, change.value)
            return
        role = self.roles[name]
        if change.action == mlflow_access_plan.SET_DESCRIPTION:
            self.dialect.update_role(role, change.value)
        elif change.action == mlflow_access_plan.DELETE_GROUP:
            self.dialect.delete_role(role)
        elif change.action == mlflow_access_plan.ADD_MEMBER:
            self.dialect.assign(str(change.user), role)
        elif change.action == mlflow_access_plan.REMOVE_MEMBER:
            self.dialect.unassign(str(change.user), role)
        elif change.action == mlflow_access_plan.REVOKE:
            self.dialect.remove_role_permission(role, t.cast(Grant, change.before))
        else:
            resource = t.cast(Resource, change.resource)
            self.dialect.set_role_permission(role, resource, str(change.permission), change.before)
