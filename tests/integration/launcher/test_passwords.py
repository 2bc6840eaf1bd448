# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords on real servers: a PostgreSQL role that has it, MLflow's own reading of URI and INI, logins."""
from __future__ import annotations

import importlib.util
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.postgres import Postgres

HOSTILE = "%@:/#?&+$\\\"'` {}[];=,~"
UNICODE = "\u00e9\u00df\u20ac\u4e2d\U0001f511\u00a0\u0301"
SOURCE = Path(__file__).resolve().parents[3] / "roles" / "ecs_mlflow" / "files" / "launcher.py"
FIXED = [HOSTILE, "%%", "%40%(empty)s${x}", "  both ends  ", "'; DROP ROLE x; --", UNICODE, "a" + HOSTILE + UNICODE]

# Runs in the MLflow environment: connects as the tracking store, the user store and alembic do.
CONNECT = """
import json, os, sys
import sqlalchemy
from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.db.utils import _get_alembic_config
from mlflow.store.db.utils import create_sqlalchemy_engine
for case in json.load(sys.stdin):
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = case["ini"]
    config = read_auth_config()
    alembic = _get_alembic_config(case["uri"]).get_main_option("sqlalchemy.url")
    users = []
    for uri in (case["uri"], config.database_uri, alembic):
        engine = create_sqlalchemy_engine(uri)
        with engine.connect() as connection:
            users.append(connection.execute(sqlalchemy.text("SELECT current_user")).scalar())
        engine.dispose()
    print(json.dumps([users, config.admin_username, config.admin_password]))
"""


def passwords(count: int, seed: int = 20261123) -> list[str]:
    """The fixed ones, then seeded random ones that hold hostile characters, letters and unicode."""
    chance = random.Random(seed)
    alphabet = HOSTILE * 3 + UNICODE + "abcXYZ019"
    made = ["".join(chance.choices(alphabet, k=chance.randint(12, 30))) for _unused in range(count - len(FIXED))]
    return FIXED + made


def files_of(launcher: ModuleType, environment: dict[str, str]) -> dict[str, str]:
    """The URI and the INI that the launcher makes of an environment."""
    settings = launcher.Settings(environment)
    made = launcher.private_environment(settings)
    return {"uri": settings.database_uri(settings.db_name), "ini": made["MLFLOW_AUTH_CONFIG_PATH"]}


def load_launcher() -> ModuleType:
    specification = importlib.util.spec_from_file_location("launcher", SOURCE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_forty_passwords_connect_through_uri_and_ini(
        launcher_of: Callable, postgres_server: Postgres, version: str, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    launcher = launcher_of(version)
    postgres_server.create_database(f"{launcher.database}_auth")
    module = load_launcher()
    chosen = passwords(40)
    cases = []
    for number, (password, admin) in enumerate(zip(chosen, reversed(chosen))):
        role = f"r{number}_{version.replace('.', '')}"
        postgres_server.execute(f"DROP ROLE IF EXISTS {role}")
        postgres_server.create_role(role, password)
        cases.append(files_of(module, launcher.environment | {
            "LAUNCHER_DB_USERNAME": role, "LAUNCHER_DB_PASSWORD": password, "LAUNCHER_ADMIN_PASSWORD": admin}))
    done = subprocess.run([str(launcher.python), "-c", CONNECT], input=json.dumps(cases), env=launcher.environment,
                          capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [[[f"r{number}_{version.replace('.', '')}"] * 3, "admin", admin]
                for number, admin in enumerate(reversed(chosen))]
    assert answers == expected
    assert len(answers) == 40


def serve_with(launcher_of: Callable, postgres: Postgres, version: str, password: str, admin: str) -> None:
    """Migrate and serve with these passwords; log in; write and read through Flask and native routes."""
    launcher = launcher_of(version)
    role = f"s_{version.replace('.', '')}"
    postgres.drop_database(launcher.database)
    postgres.execute(f"DROP ROLE IF EXISTS {role}")
    postgres.create_role(role, password)
    postgres.create_database(launcher.database, role)
    changes = {"LAUNCHER_DB_USERNAME": role, "LAUNCHER_DB_PASSWORD": password, "LAUNCHER_ADMIN_PASSWORD": admin}
    launcher.migrate(**changes)
    server = launcher.serve(**changes)
    server.wait_until_healthy()
    search = "/api/2.0/mlflow/experiments/search?max_results=5"
    assert server.request(search)[0] == 200
    assert server.request(search, password=admin + " ")[0] == 401
    assert server.request(search, password=admin[:-1])[0] == 401
    artifact = "/api/2.0/mlflow-artifacts/artifacts/0/password.bin"
    assert server.request(artifact, method="PUT", body=b"\x00\xff", password=admin + " ")[0] == 401
    assert server.request(artifact, method="PUT", body=b"\x00\xff")[0] == 200
    assert server.request(artifact) == (200, b"\x00\xff")
    server.stop()
    # The database keeps the role until its databases are gone.
    postgres.drop_database(f"{launcher.database}_auth")
    postgres.drop_database(launcher.database)
    postgres.execute(f"DROP ROLE {role}")


def test_a_server_runs_with_the_worst_password(launcher_of: Callable, postgres_server: Postgres, version: str):
    serve_with(launcher_of, postgres_server, version, HOSTILE + UNICODE, UNICODE + HOSTILE)


@pytest.mark.long
@pytest.mark.parametrize("number", range(6))
def test_a_server_runs_with_a_generated_password(
        launcher_of: Callable, postgres_server: Postgres, version: str, number: int):
    chosen = passwords(40)[len(FIXED):]
    serve_with(launcher_of, postgres_server, version, chosen[number], chosen[-1 - number])
