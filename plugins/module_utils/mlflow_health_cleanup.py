# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing what a verification wrote, and what those before it left behind that were killed."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_health_artifacts,
    mlflow_health_multipart,
    mlflow_traces,
    mlflow_users,
    mlflow_users_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import PASSED, Verdict, Wrong
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_artifacts import ARTIFACTS
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import Session


def cleanup(session: Session) -> Verdict:
    """Remove this verification's traces and those of verifications that were killed."""
    now = int(time.time() * 1000)
    old = 0
    had_guest = session.guest_may_exist
    # Its own first: what others left must not keep it from cleaning up after itself.
    for run in sorted(session.marked_runs(), key=lambda run: mlflow_traces.tag_of(run) != session.mark):
        mine = mlflow_traces.tag_of(run) == session.mark
        if mine or mlflow_traces.is_left_behind(run, session.mark, now, process_runs):
            _remove(session, run, mine)
            old += not mine
    if had_guest:
        old += _remove_old_users(session, now)
    if any(mlflow_traces.tag_of(run) == session.mark for run in session.marked_runs()):
        raise Wrong("the run that was deleted is still there", "delete it by hand: it is called mlflow-health")
    what = "the run and the temporary user are" if had_guest else "the run is"
    also = f", and {old} left behind by checks that were killed" if old else ""
    return Verdict(PASSED, f"{what} deleted and the artifacts are removed{also}")


def process_runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove(session: Session, run: dict[str, t.Any], mine: bool) -> None:
    client, info = session.client, run["info"]
    username = mlflow_traces.user_of(mlflow_traces.tag_of(run))
    if mine and session.guest_may_exist:
        _remove_guest(session, str(username))
    elif not mine and username is not None:
        remove_user(client, username)
    folder, _space, upload_id = mlflow_traces.tag_of(run, mlflow_traces.UPLOAD_TAG).rpartition(" ")
    root = mlflow_traces.artifact_root(info.get("artifact_uri", ""))
    # Only below the run's own folder, whatever the tag says.
    if upload_id and folder == root:
        mlflow_health_multipart.abort(client, folder, upload_id)
    if root is not None:
        _remove_artifacts(client, mlflow_traces.folder_to_remove(root, info["run_id"]))
    # The run goes last, so that whoever comes after a kill still finds the rest through it.
    client.call("POST", "runs/delete", body={"run_id": info["run_id"]}, repeatable=True)


def _remove_artifacts(client: Client, folder: str) -> None:
    path = f"{ARTIFACTS}/{mlflow_address.artifact_path(folder)}"
    deleted = client.send("DELETE", path, login=client.login, repeatable=True)
    if deleted.status not in (200, 404):
        raise mlflow_health_artifacts.refused(client, deleted, "DELETE", path)
    listed = client.send("GET", ARTIFACTS, {"path": folder}, login=client.login)
    rest = listed.json()
    if listed.status == 200 and isinstance(rest, dict) and rest.get("files"):
        raise Wrong(f"artifacts remain in {folder}", "allow the server s3:DeleteObject on the artifact prefix")


def _remove_guest(session: Session, username: str) -> None:
    """What this verification made, without asking the server for it."""
    if session.guest_grant is not None and not session.dialect().has_roles:
        # Up to 3.12 a user that has a permission cannot be deleted.
        session.dialect().remove_permission(username, session.guest_grant)
    mlflow_users_api.apply(session.client, username, None, mlflow_users.Change(mlflow_users.DELETE))
    session.guest_may_exist = False


def remove_user(client: Client, username: str) -> None:
    """Remove a temporary user with its permissions; none of that name is fine."""
    desired = mlflow_users.Desired(username, present=False)
    for change in mlflow_users.plan(mlflow_users_api.read(client, username), desired):
        mlflow_users_api.apply(client, username, None, change)


def _remove_old_users(session: Session, now: int) -> int:
    """Remove temporary users whose run is gone, where the server lists users; how many they were. `now` in ms."""
    if not session.dialect().lists_users:
        return 0
    old = [name for name in session.dialect().read_users(None) if mlflow_traces.is_old_user(name, now)]
    for name in old:
        remove_user(session.client, name)
    return len(old)
