# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real MLflow servers, one a supported version, with basic authentication on PostgreSQL and artifacts in an S3 of
moto."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

import boto3
import pytest
from ansible.module_utils import basic
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client
from werkzeug.security import generate_password_hash

from tests.integration.postgres import Postgres, free_port

VERSIONS = (
    "2.18.0",
    pytest.param("3.12.0", marks=pytest.mark.long),
    pytest.param("3.13.0", marks=pytest.mark.long),
    "3.17.2",
)
# ASCII only: MLflow 3 refuses any other on the paths of artifacts (test_mlflow_user.py shows it).
ADMIN_PASSWORD = "the-admin-%@:/#-has-this"
# Short, so that a replaced password is soon refused; servers before 3.12 take no notice.
CACHE_SECONDS = 2
AUTH_INI = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {uri}
admin_username = admin
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = {cache}
"""
# 2.18 cannot start on an empty database with more than one process; with one it may, but slowly.
PREPARE = (
    "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as S; S(sys.argv[1],"
    " 'mlflow-artifacts:/')"
)


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                response.read()
                return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)


def start(command: list[str], log: Path, **options: t.Any) -> subprocess.Popen:
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options)


def stop(process: subprocess.Popen) -> None:
    """The whole group: 2.18's workers outlive their parent otherwise."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[t.Any]:
    """A boto3 client of a local S3; its meta.endpoint_url says where that is."""
    port, log = free_port(), tmp_path_factory.mktemp("s3") / "log"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = start(command, log, env=os.environ | {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"})
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/moto-api/", process, log)
        login = {
            "aws_access_key_id": "AKIATESTTESTTESTTEST",
            "aws_secret_access_key": "secret-access-key-for-tests-only",
        }
        yield boto3.client("s3", endpoint_url=url, region_name="us-east-1", **login)
    finally:
        stop(process)


def make_admin_cheap(postgres: Postgres, database: str) -> None:
    """Store the admin's password with a hash that costs nothing: MLflow checks it several times in each request."""
    cheap = generate_password_hash(ADMIN_PASSWORD, method="pbkdf2:sha256:1")
    postgres.execute("UPDATE users SET password_hash = %s WHERE username = 'admin'", cheap, database=database)


class Server(t.NamedTuple):
    version: str
    url: str
    bucket: str
    s3: t.Any
    process: subprocess.Popen

    def objects(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    @property
    def connection(self) -> dict[str, t.Any]:
        return {"tracking_uri": self.url, "username": "admin", "password": ADMIN_PASSWORD}


@contextlib.contextmanager
def mlflow_server(
    version: str, purpose: str, python: Path, postgres_server: Postgres, s3: t.Any, folder: Path
) -> t.Iterator[Server]:
    """A server with databases and a bucket of its own, named after its purpose."""
    port, bucket = free_port(), f"{purpose}-{version.replace('.', '-')}"
    uris = []
    for name in ("tracking", "auth"):
        database = f"{purpose}_{name}_{version.replace('.', '_')}"
        postgres_server.create_database(database)
        login = f"{postgres_server.username}:{postgres_server.password}"
        uris.append(f"postgresql+psycopg2://{login}@{postgres_server.host}:{postgres_server.port}/{database}")
    s3.create_bucket(Bucket=bucket)
    ini = folder / "auth.ini"
    settings = AUTH_INI.format(uri=uris[1], password=ADMIN_PASSWORD.replace("%", "%%"), cache=CACHE_SECONDS)
    ini.write_text(settings, encoding="utf-8")
    environment = os.environ | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONUTF8": "1",
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests",
        "MLFLOW_BACKEND_STORE_URI": uris[0],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_S3_ENDPOINT_URL": s3.meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "secret-access-key-for-tests-only",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    if version.startswith("2."):
        subprocess.run(
            [str(python), "-c", PREPARE, uris[0]], check=True, timeout=120, env=environment, capture_output=True
        )
    options = ["--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [str(python), "-m", "mlflow", "server", *options, "--artifacts-destination", f"s3://{bucket}/a prefix"]
    process = start(command, folder / "log", env=environment, cwd=folder)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
        make_admin_cheap(postgres_server, uris[1].rsplit("/", 1)[1])
        yield Server(version, f"http://127.0.0.1:{port}", bucket, s3, process)
    finally:
        stop(process)


@pytest.fixture(scope="session", params=VERSIONS)
def server(
    request: pytest.FixtureRequest,
    mlflow_env: t.Callable[[str], Path],
    postgres_server: Postgres,
    s3: t.Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> t.Iterator[Server]:
    python = mlflow_env(request.param) / "bin" / "python"
    with mlflow_server(request.param, "plugins", python, postgres_server, s3, tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict]:
    """run_module(module, {options}, check=False) answers what the module would print; no password may be in it."""

    def run(module: t.Any, options: dict, check: bool = False) -> dict:
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", None)
        monkeypatch.setattr(warnings, "_global_warnings", {})
        with patch_module_args(dict(options, _ansible_check_mode=check, _ansible_diff=True)), pytest.raises(SystemExit):
            module.main()
        printed = capsys.readouterr().out.splitlines()[-1]
        for option in ("password", "user_password"):
            secret = options.get(option)
            assert not secret or (secret not in printed and json.dumps(secret)[1:-1] not in printed)
        return json.loads(printed)

    return run


@pytest.fixture
def client(server: Server) -> mlflow_client.Client:
    return mlflow_client.Client(server.connection | {"validate_certs": True, "timeout": 30, "retry_timeout": 5})


@pytest.fixture
def quartet(run_module: t.Callable[..., dict], server: Server) -> t.Callable[..., dict]:
    """quartet(module, {options}): check, run, check, run. What is predicted is done, and then nothing is left to do."""

    def run(module: t.Any, options: dict) -> dict:
        options = server.connection | options
        predicted, twice = (run_module(module, options, check=True) for _time in range(2))
        assert predicted == twice, "check mode has changed something"
        done = run_module(module, options)
        assert "failed" not in done, done["msg"]
        assert predicted["changed"] and done["changed"]
        assert predicted["changes"] == done["changes"] and predicted["diff"] == done["diff"]
        for check in (True, False):
            again = run_module(module, options, check=check)
            assert not again["changed"] and again["changes"] == []
        return done

    return run
