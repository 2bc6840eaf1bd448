# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wrong environment is refused in one line, before anything is installed; the right one becomes the server's."""
from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

LAUNCHER = Path(__file__).resolve().parents[3] / "roles" / "ecs_mlflow" / "files" / "launcher.py"

SECRET = "canary-5c1f%@"
WRONG = [
    ({"LAUNCHER_DB_HOST": ""}, "LAUNCHER_DB_HOST is missing"),
    ({"LAUNCHER_DB_PASSWORD": ""}, "LAUNCHER_DB_PASSWORD is missing"),
    ({"LAUNCHER_SERVER_KEY": ""}, "LAUNCHER_SERVER_KEY is missing"),
    ({"LAUNCHER_DB_PASSWORD": SECRET + "\n"}, "LAUNCHER_DB_PASSWORD has a control character"),
    ({"LAUNCHER_ADMIN_PASSWORD": SECRET + "\x7f"}, "LAUNCHER_ADMIN_PASSWORD has a control character"),
    ({"LAUNCHER_DB_PORT": "5432:5432"}, "LAUNCHER_DB_PORT is '5432:5432'"),
    ({"LAUNCHER_DB_PORT": "0"}, "LAUNCHER_DB_PORT is '0'"),
    ({"LAUNCHER_DB_PORT": "65536"}, "LAUNCHER_DB_PORT is '65536'"),
    ({"LAUNCHER_WORKERS": "0"}, "LAUNCHER_WORKERS is '0'"),
    ({"LAUNCHER_WORKERS": "two"}, "LAUNCHER_WORKERS is 'two'"),
    ({"LAUNCHER_AUTH_CACHE_TTL_SECONDS": "-1"}, "LAUNCHER_AUTH_CACHE_TTL_SECONDS is '-1'"),
    ({"LAUNCHER_DB_SSLMODE": "yes"}, "LAUNCHER_DB_SSLMODE is 'yes'"),
    ({"LAUNCHER_DEFAULT_PERMISSION": "NONE"}, "LAUNCHER_DEFAULT_PERMISSION is 'NONE'"),
    ({"LAUNCHER_MLFLOW_VERSION": "latest"}, "LAUNCHER_MLFLOW_VERSION is 'latest'"),
    ({"LAUNCHER_MLFLOW_VERSION": "2.17.0"}, "LAUNCHER_MLFLOW_VERSION is '2.17.0'"),
    ({"LAUNCHER_DB_NAME": "mlflow-db"}, "LAUNCHER_DB_NAME is 'mlflow-db'"),
    ({"LAUNCHER_AUTH_DB_NAME": "mlflow_db"}, "LAUNCHER_AUTH_DB_NAME is 'mlflow_db'"),
    ({"LAUNCHER_ADMIN_USERNAME": "ad:min"}, "LAUNCHER_ADMIN_USERNAME is 'ad:min'"),
    ({"LAUNCHER_ARTIFACT_ROOT": "bucket/prefix"}, "LAUNCHER_ARTIFACT_ROOT is 'bucket/prefix'"),
    ({"LAUNCHER_ARTIFACT_TRANSFER": "direct"}, "LAUNCHER_ARTIFACT_TRANSFER is 'direct'"),
    ({"LAUNCHER_ARTIFACT_TRANSFER": "presigned", "LAUNCHER_MLFLOW_VERSION": "2.18.0"},
     "LAUNCHER_ARTIFACT_TRANSFER is 'presigned': give proxied, MLflow 2.18.0 signs no downloads"),
    ({"LAUNCHER_DB_POOL_SIZE": "1", "LAUNCHER_DB_MAX_OVERFLOW": "0"}, "LAUNCHER_DB_POOL_SIZE is 1: give at least 2"),
    ({"LAUNCHER_GC_OLDER_THAN_DAYS": "0"}, "LAUNCHER_GC_OLDER_THAN_DAYS is '0'"),
    ({"LAUNCHER_GC_OLDER_THAN_DAYS": "1.5"}, "LAUNCHER_GC_OLDER_THAN_DAYS is '1.5'"),
    ({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true"}, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION is true"),
]


def run(tmp_path: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher as the container does, with a pip that tells whether it was called."""
    pip = tmp_path / "pip"
    pip.write_text(f"#!/bin/sh\ntouch {tmp_path}/pip-was-called\n")
    pip.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LAUNCHER_REQUIREMENTS": "mlflow==3.17.2", **environment}
    return subprocess.run([sys.executable, "-c", LAUNCHER.read_text(), *arguments], env=environment,
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _unused, message in WRONG])
def test_a_wrong_environment_is_refused_before_the_installation(
        tmp_path: Path, environment: dict[str, str], change: dict[str, str], message: str):
    result = run(tmp_path, environment | change, "serve")
    assert result.returncode == 78
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"launcher: error: {message}"), result.stderr
    assert re.search(r": (set|give|remove|with|it must|check)", lines[0]), "no remedy"
    assert "canary" not in result.stdout + result.stderr
    assert not (tmp_path / "pip-was-called").exists()


@pytest.mark.parametrize("arguments", [(), ("start",), ("serve", "migrate")])
def test_a_wrong_command_is_refused(tmp_path: Path, environment: dict[str, str], arguments: tuple[str, ...]):
    result = run(tmp_path, environment, *arguments)
    assert result.returncode == 64
    assert result.stderr.count("\n") == 1 and "give one of serve, migrate, migrate --reset-admin, settle, gc, " in result.stderr


def test_a_stop_during_the_installation_ends_it(tmp_path: Path, environment: dict[str, str]):
    pip = tmp_path / "pip"
    pip.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 60\n")
    pip.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LAUNCHER_REQUIREMENTS": "mlflow==3.17.2", **environment}
    process = subprocess.Popen([sys.executable, "-c", LAUNCHER.read_text(), "serve"], env=environment)
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


def test_bytes_that_are_no_utf8_are_refused(launcher: ModuleType, environment: dict[str, str]):
    with pytest.raises(launcher.Problem, match="is not UTF-8"):
        launcher.Settings(environment | {"LAUNCHER_DB_PASSWORD": b"caf\xe9".decode("utf-8", "surrogateescape")})


def server(launcher: ModuleType, environment: dict[str, str], **inherited: str) -> dict[str, str]:
    return launcher.server_environment(launcher.Settings(environment), inherited)


def test_the_server_gets_no_variable_of_the_launcher_and_no_secret_it_does_not_need(
        launcher: ModuleType, environment: dict[str, str]):
    settings = launcher.Settings(environment)
    result = launcher.server_environment(settings, environment | {"AWS_REGION": "eu-west-2"})
    assert result["AWS_REGION"] == "eu-west-2"
    assert not [name for name in result if name.startswith("LAUNCHER_")]
    assert "the-admin-password" not in result.values()
    assert not any("password" in part or "server-key" in part for part in launcher.server_command(settings))


@pytest.mark.parametrize(("version", "transfer", "app"), [
    ("2.18.0", "proxied", "launcher_proxied:create_app()"), ("3.17.2", "proxied", "launcher_proxied:create_app"),
    ("3.17.2", "presigned", "mlflow.server.auth:create_app")])
def test_only_a_server_whose_clients_reach_s3_may_sign(
        launcher: ModuleType, environment: dict[str, str], version: str, transfer: str, app: str):
    changes = {"LAUNCHER_MLFLOW_VERSION": version, "LAUNCHER_ARTIFACT_TRANSFER": transfer}
    assert launcher.server_command(launcher.Settings(environment | changes))[-1] == app
    folder = Path(server(launcher, environment)["MLFLOW_AUTH_CONFIG_PATH"]).parent
    assert "MultipartDownloadMixin" in (folder / "launcher_proxied.py").read_text()


def test_the_private_folder_is_private(launcher: ModuleType, environment: dict[str, str]):
    ini = Path(server(launcher, environment)["MLFLOW_AUTH_CONFIG_PATH"])
    assert stat.S_IMODE(ini.stat().st_mode) == 0o600
    assert stat.S_IMODE(ini.parent.stat().st_mode) == 0o700
    assert ini.stat().st_uid == os.getuid()


@pytest.mark.parametrize(("pool", "overflow", "expected"), [
    ("5", "0", ("4", "1")), ("5", "3", ("5", "3")), ("2", "0", ("1", "1"))])
def test_the_pool_never_exceeds_what_was_asked(
        launcher: ModuleType, environment: dict[str, str], pool: str, overflow: str, expected: tuple[str, str]):
    """MLflow ignores an overflow of 0, and SQLAlchemy's default is 10."""
    result = server(launcher, environment | {"LAUNCHER_DB_POOL_SIZE": pool, "LAUNCHER_DB_MAX_OVERFLOW": overflow})
    assert (result["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"], result["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"]) == expected


@pytest.mark.parametrize(("version", "checked"), [
    ("2.18.0", False), ("3.4.0", False), ("3.5.0", True), ("3.17.2", True), ("4.0.0", True)])
def test_hosts_and_origins_go_to_versions_that_check_them(
        launcher: ModuleType, environment: dict[str, str], version: str, checked: bool):
    result = server(launcher, environment | {
        "LAUNCHER_MLFLOW_VERSION": version, "LAUNCHER_ALLOWED_HOSTS": "a.example,a.example:8080",
        "LAUNCHER_CORS_ORIGINS": "https://a.example"}, MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE="true")
    assert result.get("MLFLOW_SERVER_ALLOWED_HOSTS") == ("a.example,a.example:8080" if checked else None)
    assert result.get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS") == ("https://a.example" if checked else None)
    assert "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE" not in result


def test_job_execution_is_off(launcher: ModuleType, environment: dict[str, str]):
    assert server(launcher, environment)["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_the_launcher_fits_in_a_task_definition():
    """64 KiB is the limit of a whole task definition; 12 of them are left for what users add."""
    largest = max(path.stat().st_size for path in (LAUNCHER.parent / "constraints").glob("*.txt"))
    assert len(json.dumps(LAUNCHER.read_text(encoding="utf-8"))) + largest < 52 * 1024


def test_the_launcher_can_be_a_string(tmp_path: Path, environment: dict[str, str]):
    """ECS replaces nothing in a command, but a NUL or a non-ASCII character in it is asking for trouble."""
    assert LAUNCHER.read_text(encoding="utf-8").isascii()
