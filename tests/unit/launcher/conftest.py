# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The launcher as a module: it is a role's file, so no import path leads to it."""
from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

LAUNCHER = Path(__file__).resolve().parents[3] / "roles" / "ecs_mlflow" / "files" / "launcher.py"


@pytest.fixture(scope="session")
def launcher() -> ModuleType:
    specification = importlib.util.spec_from_file_location("launcher", LAUNCHER)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The least environment the launcher takes; copy it before changing it."""
    return {
        "LAUNCHER_MLFLOW_VERSION": "3.17.2",
        "LAUNCHER_DB_HOST": "db.example.internal",
        "LAUNCHER_DB_NAME": "mlflow_db",
        "LAUNCHER_AUTH_DB_NAME": "mlflow_auth",
        "LAUNCHER_DB_USERNAME": "mlflow",
        "LAUNCHER_DB_PASSWORD": "the-database-password",
        "LAUNCHER_ADMIN_PASSWORD": "the-admin-password",
        "LAUNCHER_SERVER_KEY": "the-server-key",
        "LAUNCHER_ARTIFACT_ROOT": "s3://fraud-models-test/mlflow-artifacts",
    }
