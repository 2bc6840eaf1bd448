# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`password set`: a running server lets a user in with a password of which the launcher has seen the hash alone."""
from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from werkzeug.security import generate_password_hash

from tests.integration.launcher.conftest import ADMIN_PASSWORD, Launcher

NEW = "another-password-0123456789"
USER = "/api/2.0/mlflow/users/get?username=admin"


def test_the_new_password_lets_in_at_once_and_the_old_one_soon_no_more(version: str, launcher_of: Callable[..., Launcher]):
    launcher = launcher_of(version)
    launcher.migrate()
    server = launcher.serve(LAUNCHER_AUTH_CACHE_TTL_SECONDS="1")
    server.wait_until_healthy()
    assert server.request(USER)[0] == 200
    given = {"LAUNCHER_PASSWORD_USERNAME": "admin", "LAUNCHER_PASSWORD_HASH": generate_password_hash(NEW)}
    for _repeated in range(2):
        code, log = launcher.run("password set", **given)
        assert code == 0 and "'admin' has the new password" in log, log
        assert NEW not in log and "scrypt" not in log
    assert server.request(USER, password=NEW)[0] == 200
    deadline = time.monotonic() + 30
    while server.request(USER, password=ADMIN_PASSWORD)[0] != 401:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    server.stop()
    code, log = launcher.run("password set", **given | {"LAUNCHER_PASSWORD_USERNAME": "nobody"})
    assert code == 65 and "no user 'nobody'" in log


@pytest.mark.parametrize("wrong", ["", NEW, "pbkdf2:sha256:1$salt$00", "scrypt:32768:8:1$salt$"])
def test_what_is_no_hash_is_refused(launcher_of: Callable[..., Launcher], wrong: str):
    code, log = launcher_of("3.17.2").run("password set", LAUNCHER_PASSWORD_USERNAME="admin", LAUNCHER_PASSWORD_HASH=wrong)
    assert code == 78 and "LAUNCHER_PASSWORD_HASH is not what MLflow stores of a password" in log
    assert NEW not in log and log.count("\n") == 1
