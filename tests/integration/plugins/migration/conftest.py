# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources to migrate from, as people have them, and destinations, which each file of tests finds empty."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.integration.plugins.conftest import Server, mlflow_server, start, stop, wait_for
from tests.integration.postgres import Postgres, free_port

SEED = Path(__file__).with_name("seed.py")
SIZES: tuple[int, ...] = ()


class Source(t.NamedTuple):
    """A server without a login. store: URI of what it serves; mlflow: its environment."""

    version: str
    url: str
    store: str
    mlflow: Path
    folder: Path
    log: Path


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **more}


def seed(source_uri: str, mlflow: Path, folder: Path, sizes: t.Sequence[int] = ()) -> None:
    """Fill a store or a server with MLflow's own client."""
    command = [str(mlflow / "bin" / "python"), str(SEED), source_uri, str(folder), *map(str, sizes)]
    done = subprocess.run(
        command, env=environment(GIT_PYTHON_REFRESH="quiet"), cwd=folder, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def serve(version: str, mlflow: Path, folder: Path, files: bool, workers: int = 1) -> tuple[Source, subprocess.Popen]:
    """A server on a file store or on SQLite, without authentication, as on a laptop or in Docker Compose."""
    store = str(folder / "mlruns") if files else f"sqlite:///{folder / 'mlflow.db'}"
    port, log = free_port(), folder / "log"
    url = f"http://127.0.0.1:{port}"
    command = [
        str(mlflow / "bin" / "mlflow"),
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        str(workers),
    ]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    path = f"{mlflow / 'bin'}:{os.environ['PATH']}"
    process = start(command, log, env=environment(PATH=path), cwd=folder)
    wait_for(f"{url}/health", process, log)
    return Source(version, url, store, mlflow, folder, log), process


@pytest.fixture(scope="session", params=["2.18.0", "3.17.2"])
def source(
    request: pytest.FixtureRequest, mlflow_env: t.Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Source]:
    """2.18.0 on a file store that a client has written itself, 3.17.2 on SQLite that it has written through the server."""
    version, folder = request.param, tmp_path_factory.mktemp("source")
    files = version.startswith("2.")
    mlflow = mlflow_env(version)
    if files:
        seed(str(folder / "mlruns"), mlflow, folder)
    found, process = serve(version, mlflow, folder, files)
    try:
        if not files:
            seed(found.url, mlflow, folder)
        yield found
    finally:
        stop(process)


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest,
    mlflow_env: t.Callable[[str], Path],
    postgres_server: Postgres,
    s3: t.Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> t.Iterator[Server]:
    folder, python = tmp_path_factory.mktemp("destination"), mlflow_env(request.param) / "bin" / "python"
    with mlflow_server(request.param, folder.name, python, postgres_server, s3, folder) as running:
        yield running
