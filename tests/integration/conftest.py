# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests on real servers share: MLflow environments as pinned, and a PostgreSQL server."""
from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
# Versions that can be deployed, and others that the modules work with.
CONSTRAINTS = (ROOT / "roles/ecs_mlflow/files/constraints", Path(__file__).parent / "constraints")
CACHE = ROOT / ".cache"


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    assert found, "uv is missing: run `make setup`"
    return found


def build_mlflow_environment(version: str) -> Path:
    """A virtual environment with the pinned packages of an MLflow version, made once per content of the constraints.

    Returns its folder; the interpreter is `bin/python` in it.
    """
    requirements = next(path for folder in CONSTRAINTS if (path := folder / f"{version}.txt").exists())
    stamp = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = CACHE / "mlflow" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two test runs at once must not build in one folder.
    with open(folder.with_suffix(f"{folder.suffix}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / stamp).exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([_uv(), "venv", "--quiet", "--python", "3.11", str(folder)], check=True, timeout=300)
            subprocess.run([_uv(), "pip", "install", "--quiet", "--no-deps", "--python", str(folder / "bin" / "python"),
                            "--requirements", str(requirements)], check=True, timeout=900)
            (folder / stamp).touch()
    return folder


@pytest.fixture(scope="session")
def mlflow_env() -> Callable[[str], Path]:
    """`mlflow_env("3.17.2")` is the folder of a virtual environment with that MLflow."""
    return build_mlflow_environment


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running PostgreSQL with TLS and password logins; its master role `mlflow` is no superuser, as in RDS."""
    port = int(os.environ.get("TEST_POSTGRES_PORT", "0"))
    server = Postgres(tmp_path_factory.mktemp("postgres"), port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
