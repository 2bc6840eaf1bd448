# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of what a user may do who has no permission, or only READ. They share one temporary user."""

from __future__ import annotations

import secrets
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_checks,
    mlflow_errors,
    mlflow_health_artifacts,
    mlflow_permissions,
    mlflow_traces,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import (
    FAILED,
    PASSED,
    SKIPPED,
    Verdict,
    Wrong,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import API, Answer, Login
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_artifacts import ARTIFACTS
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import Session

PERMISSIONS = ("NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE")
# What reading and writing a run does not tell apart.
SAME_TO_A_RUN = {"USE": "READ", "MANAGE": "EDIT"}
ADMIN_REMEDY = "log in as an admin, or leave stranger_denied and reader_denied out"
ALLOWED, DENIED = "allowed", "denied"


def outcome(answer: Answer) -> str | None:
    """ALLOWED or DENIED, by MLflow; None if the answer tells neither."""
    if answer.status == 200 and mlflow_checks.is_json(answer):
        return ALLOWED
    # What stands in front refuses with a page; a Host that is refused says nothing of permissions.
    refusal = answer.status == 403 and mlflow_errors.body_kind(answer.text) != "html"
    return DENIED if refusal and mlflow_errors.INVALID_HOST not in answer.text else None


def undecided(answer: Answer, who: str, what: str) -> Verdict:
    """Neither allowed nor denied."""
    if answer.status == 401:
        message = f"the temporary user that was just made cannot log in to {what}"
        return Verdict(FAILED, message, "check that all tasks use the same user database")
    return mlflow_checks.unexpected(answer, f"200 or 403 for {who} that tries to {what}")


def stranger(expected: str, read: Answer, write: Answer | None) -> Verdict:
    """A user without any permission reads, and writes if that was let through."""
    may_read = outcome(read)
    may_write = outcome(write) if write is not None else DENIED
    if may_read is None:
        return undecided(read, "a user without permissions", "read")
    if may_write is None and write is not None:
        return undecided(write, "a user without permissions", "write")
    found = "NO_PERMISSIONS" if may_read == DENIED else "READ" if may_write == DENIED else "EDIT"
    if found == expected:
        able = {
            "NO_PERMISSIONS": "is denied a read",
            "READ": "may read and is denied a write",
            "EDIT": "may read and write",
        }
        as_wanted = "" if expected == "NO_PERMISSIONS" else ", as was expected"
        return Verdict(PASSED, f"a user without permissions {able[found]}{as_wanted}")
    able = {"NO_PERMISSIONS": "may not even read", "READ": "may read", "EDIT": "may read and write"}
    more = " or more" if found == "EDIT" else ""
    return Verdict(
        FAILED,
        f"a user without permissions {able[found]}: the server's default_permission is {found}{more}, not {expected}",
        f"set default_permission = {expected} in the server's basic_auth.ini, or if it is meant say"
        f" expected_default_permission={found}",
    )


def reader(read: Answer, writes: t.Mapping[str, Answer]) -> Verdict:
    """A user with READ reads a run, and tries each of `writes` (what -> answer)."""
    if outcome(read) == DENIED:
        return Verdict(
            FAILED, "a user with READ on the experiment is denied a read", "check that all tasks use the same database"
        )
    if outcome(read) is None:
        return undecided(read, "a reader", "read")
    outcomes = {what: outcome(answer) for what, answer in writes.items()}
    allowed = [what for what, told in outcomes.items() if told == ALLOWED]
    if allowed:
        message = f"a user with READ on the experiment may {' and '.join(allowed)}"
        remedy = (
            "set default_permission to NO_PERMISSIONS or READ in the server's basic_auth.ini: from MLflow 3.13 on every"
            " user may do at least what it says"
        )
        return Verdict(FAILED, message, remedy)
    for what, told in outcomes.items():
        if told is None:
            return undecided(writes[what], "a reader", what)
    return Verdict(PASSED, "a user with READ on the experiment may read and is denied a write")


def stranger_denied(session: Session) -> Verdict:
    guest = _guest(session)
    read = session.client.send("GET", API + "experiments/get", {"experiment_id": session.experiment_id()}, login=guest)
    write = _write(session, guest) if outcome(read) == ALLOWED else None
    return stranger(session.settings.expected_default_permission, read, write)


def reader_denied(session: Session) -> Verdict:
    if session.settings.expected_default_permission == "EDIT":
        return Verdict(SKIPPED, "every user may write, as expected_default_permission says")
    guest = _guest(session)
    experiment = mlflow_permissions.Resource(mlflow_permissions.EXPERIMENT, session.experiment_id())
    dialect = session.dialect()
    session.guest_grant = mlflow_permissions.Grant(experiment, "READ")
    dialect.set_permission(guest.username, experiment, "READ", None)
    read = session.client.send("GET", API + "runs/get", {"run_id": session.trace().run_id}, login=guest)
    writes = {"write to a run": _write(session, guest)}
    root = mlflow_traces.artifact_root(session.trace().artifact_uri)
    if root is not None:
        path = f"{ARTIFACTS}/{mlflow_address.artifact_path(root)}/{mlflow_health_artifacts.FILE_NAME}"
        writes["store an artifact"] = session.client.send(
            "PUT", path, data=b"x", headers=mlflow_health_artifacts.OCTETS, login=guest, repeatable=True
        )
    return reader(read, writes)


def _write(session: Session, login: Login) -> Answer:
    """The least that can be written: a tag of the run that goes away in the end."""
    tag = {"run_id": session.trace().run_id, "key": "by_guest", "value": "written"}
    return session.client.send("POST", API + "runs/set-tag", body=tag, login=login, repeatable=True)


def _guest(session: Session) -> Login:
    """The temporary user, made when first needed. The run is there before it, and tells the user's name to whoever
    cleans up after a kill."""
    if session.guest is None:
        session.trace()
        login = Login(str(mlflow_traces.user_of(session.mark)), secrets.token_urlsafe(24))
        session.client.keep_secret(*login)
        session.guest_may_exist = True
        try:
            session.client.call("POST", "users/create", body=login._asdict(), repeatable=True)
        except mlflow_errors.MlflowError as error:
            if error.status == 403:
                raise Wrong(f"{session.client.login.username!r} may make no users", ADMIN_REMEDY) from None
            # Nobody else has this name: the first try was done after all.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        session.guest = login
    return session.guest
