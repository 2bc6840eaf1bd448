# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_access: carrying out a plan that fails or cannot tell how far it is, and groups that come to nothing."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_access_apply,
    mlflow_access_plan,
    mlflow_access_target,
    mlflow_access_wanted,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_plan import Change
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_access_target import Live
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import Grant, Resource, UserAccess

ONE = Resource("experiment", "1")


class Recorder:
    """A dialect that remembers what it revoked, fails for one user and knows how many threads it is called from."""

    def __init__(self, fails=None, width=1):
        self.revoked, self.fails, self.running, self.most = [], fails, 0, 0
        self._together, self._lock = threading.Barrier(width), threading.Lock()

    def remove_permission(self, username, grant):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self._together.wait(timeout=2)
        with self._lock:
            self.running -= 1
        if username == self.fails:
            raise ValueError(f"{username} fails")
        self.revoked.append(username)


def revokes(count):
    return [
        Change(mlflow_access_plan.REVOKE, user=f"u{number}", resource=ONE, before=Grant(ONE, "READ"))
        for number in range(count)
    ]


def apply(dialect, workers):
    live = Live("2.18.0", {}, None, {}, frozenset(), {}, False)
    return mlflow_access_apply.Apply(None, dialect, live, {}, workers)


def test_so_many_at_a_time_and_no_more():
    dialect = Recorder(width=3)
    run = apply(dialect, 3)
    run.run(revokes(9), mlflow_access_apply.Progress(None, 9))
    assert dialect.most == 3 and len(run.done) == 9


def test_nothing_is_begun_after_a_failure_and_what_runs_is_finished():
    dialect = Recorder(fails="u1", width=2)
    run = apply(dialect, 2)
    later = Change(mlflow_access_plan.DELETE_USER, user="u0")
    with pytest.raises(ValueError, match="u1 fails"):
        run.run([*revokes(20), later], mlflow_access_apply.Progress(None, 21))
    assert {"u0"} <= {change.user for change in run.done} == set(dialect.revoked)
    # Whoever ran beside it may have begun one more, which waits in vain for another.
    assert len(run.done) < 20 and later not in run.done


def test_progress_that_cannot_be_told_is_refused_before_the_first_change(tmp_path):
    folder = tmp_path / "file.part"
    folder.mkdir()
    with pytest.raises(ValueError, match="file cannot be written: Is a directory; give another file"):
        mlflow_access_apply.Progress(str(tmp_path / "file"), 2)


def test_progress_that_cannot_be_told_any_more_stops_nothing(tmp_path):
    path = tmp_path / "file"
    progress = mlflow_access_apply.Progress(str(path), 2)
    assert path.read_text() == "0 of 2 changes, 0 s\n"
    (tmp_path / "file.part").mkdir()
    run = apply(Recorder(), 1)
    run.run(revokes(2), progress)
    assert len(run.done) == 2 and path.read_text() == "0 of 2 changes, 0 s\n"


@pytest.mark.parametrize(("version", "roles"), [("2.18.0", None), ("3.17.2", {})])
def test_grants_to_a_group_of_nobody_knows_whom(version, roles):
    wanted = mlflow_access_wanted.read(
        {
            "users": [],
            "groups": [{"name": "team", "state": "present"}],
            "grants": [{"group": "team", "experiment_id": "1", "permission": "READ", "state": "present"}],
            "update_password": "on_create",
            "max_parallel": 1,
            "prune": "none",
            "protected": [],
        }
    )
    live = Live(version, {"admin": UserAccess("admin", 1, True)}, roles, {"one": "1"}, frozenset(), {}, False)
    _target, problems, _warnings = mlflow_access_target.resolve(wanted, live)
    if roles is None:
        assert len(problems) == 1 and "'team' has grants but no members; this is MLflow 2.18.0" in problems[0]
    else:
        assert problems == []
