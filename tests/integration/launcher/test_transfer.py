# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How artifacts travel between an unmodified client and S3: through the server, or past it."""
from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.aws import LocalAws, local_aws

CLIENT = Path(__file__).resolve().parents[1] / "deployment" / "client.py"
SIZE = 6  # MB, two parts
PARTS = {"MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(5 * 2**20), "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 * 2**20)}
FORCED = {"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true", "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with local_aws(tmp_path_factory.mktemp("local_aws") / "state") as running:
        running.client("s3").create_bucket(
            Bucket="transfer-artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
        yield running


def served(launcher_of: Callable, aws: LocalAws, version: str, **changes: str) -> tuple[Any, Any]:
    launcher = launcher_of(version)
    launcher.migrate()
    account = {name: value for name, value in aws.environment.items() if name.startswith("AWS_")}
    server = launcher.serve(LAUNCHER_ARTIFACT_ROOT="s3://transfer-artifacts/mlflow", **account, **changes)
    server.wait_until_healthy()
    return launcher, server


def work(launcher: Any, server: Any, aws: LocalAws, **environment: str) -> list[tuple[str, str]]:
    """Let a client store and fetch an artifact; which operation on objects came from whom: `mlflow` or its server."""
    calls = len(aws.api_calls())
    login = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.port}", "MLFLOW_TRACKING_USERNAME": "admin",
             "MLFLOW_TRACKING_PASSWORD": server.password}
    done = subprocess.run(
        [str(launcher.python), str(CLIENT), str(SIZE)], env={"PATH": "/usr/bin:/bin", "HOME": str(launcher.folder), **login, **environment},
        capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + server.log.read_text()
    assert "read back" in done.stdout
    objects = [call for call in aws.api_calls()[calls:] if "/mlflow/" in call["resource"] and call["resource"].endswith("model.bin")]
    assert {call["status"] for call in objects} <= {200, 206}
    return [(call["action"], "server" if call["agent"].startswith("Boto3") else "client") for call in objects]


@pytest.mark.parametrize("version", [pytest.param("2.18.0", marks=pytest.mark.long), "3.17.2"])
def test_a_proxied_artifact_goes_through_the_server_whatever_the_client_is_told(
        launcher_of: Callable, aws: LocalAws, version: str):
    launcher, server = served(launcher_of, aws, version)
    calls = work(launcher, server, aws, **PARTS, **FORCED)
    assert {who for _action, who in calls} == {"server"}, calls
    assert {"GetObject", "PutObject"} <= {action for action, _who in calls}, calls
    # Nobody gets an address signed: 2.18.0 would not even ask who may write there.
    for path, method in (("mpu/create/0/x/artifacts", "POST"), ("presigned/0/x/artifacts/y", "GET")):
        body = json.dumps({"path": "y", "num_parts": 1}).encode() if method == "POST" else None
        status, answer = server.request(
            f"/api/2.0/mlflow-artifacts/{path}", method=method, body=body, headers={"Content-Type": "application/json"})
        assert status in (404, 501), answer


def test_a_presigned_artifact_goes_past_the_server(launcher_of: Callable, aws: LocalAws):
    # The role sets the style too.
    launcher, server = served(
        launcher_of, aws, "3.17.2", LAUNCHER_ARTIFACT_TRANSFER="presigned", MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE="virtual")
    calls = work(launcher, server, aws, **PARTS)
    assert [who for action, who in calls if action == "UploadPart"] == ["client"] * 2, calls
    assert [who for action, who in calls if action == "GetObject"] == ["client"], calls
    # The server begins, ends and signs, and holds no byte of it.
    assert {action for action, who in calls if who == "server"} == {
        "CreateMultipartUpload", "CompleteMultipartUpload", "HeadObject"}, calls
    # A client's file below the threshold of 500 MiB is uploaded through the server, and still fetched past it.
    calls = work(launcher, server, aws)
    assert [who for action, who in calls if action == "PutObject"] == ["server"], calls
    assert [who for action, who in calls if action == "GetObject"] == ["client"], calls
