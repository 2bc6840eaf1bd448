# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`migrate`: from nothing, from older, again, twice at once; refusals."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.postgres import Postgres, free_port


def admins(postgres: Postgres, database: str) -> list[tuple]:
    statement = "SELECT username, is_admin, password_hash FROM users ORDER BY id"
    return postgres.query(statement, database=f"{database}_auth")


def test_an_empty_database_server_is_prepared_once_and_for_all(
        launcher_of: Callable, postgres_server: Postgres, version: str):
    launcher = launcher_of(version)
    assert postgres_server.query("SELECT rolsuper FROM pg_roles WHERE rolname = 'mlflow'") == [(False,)]
    log = launcher.migrate()
    assert f"created database '{launcher.database}_auth'" in log and "created the admin user 'admin'" in log
    experiments = "SELECT experiment_id, name, artifact_location FROM experiments"
    assert postgres_server.query(experiments, database=launcher.database) == [(0, "Default", "mlflow-artifacts:/0")]
    before = admins(postgres_server, launcher.database)
    assert [row[:2] for row in before] == [("admin", True)]

    # Again, with another password in the secret: the admin's is never changed behind their back.
    log = launcher.migrate(LAUNCHER_ADMIN_PASSWORD="another-long-password")
    assert "schema was current" in log and "the admin user 'admin' exists" in log
    assert admins(postgres_server, launcher.database) == before
    # Out of a snapshot they are asked to have the password that is in the secret.
    for given in (True, False):
        code, log = launcher.run("migrate --reset-admin", LAUNCHER_ADMIN_PASSWORD="another-long-password")
        assert code == 0 and ("gave the admin user 'admin' its password back" in log) is given, log
    assert admins(postgres_server, launcher.database) != before
    assert log.splitlines()[-1] == (
        "launcher: counts: experiments=1 runs=0 params=0 metrics=0 registered_models=0 model_versions=0 users=1")

    postgres_server.execute("UPDATE users SET is_admin = false", database=f"{launcher.database}_auth")
    assert "WARNING: user 'admin' exists and is no admin" in launcher.migrate()
    assert [row[:2] for row in admins(postgres_server, launcher.database)] == [("admin", False)]


def twice_at_once(launcher_of: Callable, postgres: Postgres, version: str) -> None:
    launcher = launcher_of(version)
    runs = [launcher.start("migrate") for _unused in range(2)]
    codes = [process.wait(180) for process, _unused in runs]
    logs = [log.read_text() for _unused, log in runs]
    assert codes == [0, 0], "\n".join(logs)
    assert sum("created the admin user" in log for log in logs) == 1, "\n".join(logs)
    assert sum("another migration is running" in log for log in logs) == 1, "\n".join(logs)
    assert len(admins(postgres, launcher.database)) == 1


def test_two_migrations_at_once_both_succeed(launcher_of: Callable, postgres_server: Postgres, version: str):
    twice_at_once(launcher_of, postgres_server, version)


@pytest.mark.long
@pytest.mark.parametrize("attempt", range(10))
def test_two_migrations_at_once_both_succeed_ten_times(
        launcher_of: Callable, postgres_server: Postgres, version: str, attempt: int):
    twice_at_once(launcher_of, postgres_server, version)


def test_an_older_schema_is_upgraded_and_a_newer_one_refused(launcher_of: Callable, postgres_server: Postgres):
    old = launcher_of("2.18.0")
    old.migrate()
    before = admins(postgres_server, old.database)
    new = launcher_of("3.17.2", old.database)
    code, log = new.run("serve")
    assert code == 65 and "is older for MLflow 3.17.2: run `migrate` first" in log

    log = new.migrate()
    assert "tracking store: schema was older, is current" in log and "user store: schema was older, is current" in log
    assert admins(postgres_server, old.database) == before
    assert "tracking store: schema was current" in new.migrate()

    for command in ("migrate", "serve"):
        code, log = old.run(command)
        assert code == 65 and log.count("error:") == 1 and "Traceback" not in log, log
        assert "is newer than MLflow 2.18.0: deploy the newer version again" in log


def test_serving_an_empty_database_is_refused(launcher_of: Callable, version: str):
    launcher = launcher_of(version)
    code, log = launcher.run("serve")
    assert code == 65 and "is empty for MLflow" in log and "run `migrate` first" in log and log.count("\n") == 1


def test_a_killed_migration_is_taken_up_again(launcher_of: Callable, postgres_server: Postgres, version: str):
    launcher = launcher_of(version)
    for seconds in (1.0, 3.0, 4.5):
        process, _unused = launcher.start("migrate")
        time.sleep(seconds)
        process.kill()
        process.wait()
    launcher.migrate()
    assert [row[:2] for row in admins(postgres_server, launcher.database)] == [("admin", True)]
    server = launcher.serve()
    server.wait_until_healthy()
    assert server.request("/api/2.0/mlflow/experiments/search?max_results=1")[0] == 200


@pytest.mark.parametrize("command", ["migrate", "serve"])
def test_a_wrong_password_ends_at_once_and_shows_no_secret(launcher_of: Callable, command: str):
    start = time.monotonic()
    code, log = launcher_of("2.18.0").run(command, LAUNCHER_DB_PASSWORD="canary-5c1f")
    assert code == 77 and "refuses the login" in log and "LAUNCHER_DB_PASSWORD" in log and log.count("\n") == 1
    assert "canary" not in log
    assert time.monotonic() - start < 10


def test_a_database_that_never_comes_ends_at_its_deadline(launcher_of: Callable):
    start = time.monotonic()
    code, log = launcher_of("2.18.0").run("migrate", LAUNCHER_DB_PORT=str(free_port()), LAUNCHER_DB_WAIT_SECONDS="3")
    assert code == 69 and "no answer from the database" in log and "security groups" in log
    assert 3 <= time.monotonic() - start < 15


def test_a_database_that_comes_late_is_waited_for(launcher_of: Callable, tmp_path: Path):
    late = Postgres(tmp_path)
    timer = threading.Timer(4, late.start)
    timer.start()
    try:
        # It has no database for MLflow: the point is that its answer is the reason, not its absence.
        code, log = launcher_of("2.18.0").run("migrate", LAUNCHER_DB_PORT=str(late.port), LAUNCHER_DB_WAIT_SECONDS="60")
    finally:
        timer.join()
        late.stop()
    assert "waiting up to 60 s for the database" in log and code in (65, 77), log


def test_a_password_mlflow_refuses_is_reported(launcher_of: Callable):
    code, log = launcher_of("3.17.2").run("migrate", LAUNCHER_ADMIN_PASSWORD="elevenchars")
    assert code == 78 and "at least 12 characters" in log and "LAUNCHER_ADMIN_PASSWORD" in log
    assert "elevenchars" not in log
