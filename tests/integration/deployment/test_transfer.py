# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment whose artifacts go past it: what is set, what is verified, and which way an unmodified client takes."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.integration.deployment.conftest import LIVE, Deployment

pytestmark = pytest.mark.long
CLIENT = Path(__file__).with_name("client.py")
PRESIGNED = {**LIVE, "ecs_mlflow_artifact_transfer": "presigned", "mlflow_largest_artifact_gib": 20}
PARTS = {"MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(5 * 2**20), "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 * 2**20)}


@pytest.fixture(scope="module")
def presigned(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    with local_aws_factory() as aws:
        deployment = Deployment(aws, "local", "mlflow-demo", tmp_path_factory.mktemp("deployments"), variables=PRESIGNED)
        run = deployment.play("site")
        assert run.returncode == 0, run.stdout[-6000:]
        deployment.first_output = run.stdout
        yield deployment


def work(deployment: Deployment, python: Path, folder: Path) -> list[tuple[str, str]]:
    """Which operation on the client's artifact came from whom: the client, or the server for it."""
    settings = dict(
        line.split("=", 1)
        for line in (deployment.directory / deployment.name / "client.env").read_text().splitlines()
        if not line.startswith("#")
    )
    username, password = deployment.admin()
    login = {"MLFLOW_TRACKING_USERNAME": username, "MLFLOW_TRACKING_PASSWORD": password}
    calls = len(deployment.aws.api_calls())
    done = subprocess.run(
        [str(python), str(CLIENT), "12"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **settings, **login, **PARTS},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [one for one in deployment.aws.api_calls()[calls:] if one["service"] == "s3" and one["resource"].endswith("model.bin")]
    return [(one["action"], "server" if one["agent"].startswith("Boto3") else "client") for one in found]


def test_a_client_goes_past_the_load_balancer(
    presigned: Deployment, mlflow_env: t.Callable[[str], Path], tmp_path: Path
) -> None:
    # Long lines are wrapped.
    assert re.search(r"artifact_multipart passed \d+ \d+ bytes came back .{0,60}\bparts\b", " ".join(presigned.first_output.split()))
    calls = work(presigned, mlflow_env("3.17.2") / "bin/python", tmp_path)
    assert [who for action, who in calls if action == "UploadPart"] == ["client"] * 3, calls
    assert {who for action, who in calls if action == "GetObject"} == {"client"}, calls
    assert "PutObject" not in [action for action, _who in calls]

    origin = presigned.outputs()["tracking_uri"].rstrip("/")
    rules = presigned.client("s3").get_bucket_cors(Bucket=presigned.outputs()["bucket"])["CORSRules"]
    assert [rule["AllowedOrigins"] for rule in rules] == [[origin]]
    definition = presigned.client("ecs").describe_task_definition(taskDefinition=presigned.name)["taskDefinition"]
    environment = {one["name"]: one["value"] for one in definition["containerDefinitions"][0]["environment"]}
    assert environment["MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS"] == "830"
    assert environment["MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE"] == "virtual"
    verified = presigned.play("verify")
    assert verified.returncode == 0, verified.stdout[-4000:]


def test_a_large_proxied_artifact_changes_what_stands_in_its_way(
    presigned: Deployment, changed: t.Callable, mlflow_env: t.Callable[[str], Path], tmp_path: Path
) -> None:
    presigned.variables = {**LIVE, "mlflow_largest_artifact_gib": 20}
    run = presigned.play("site")
    assert run.returncode == 0, run.stdout[-6000:]
    elb = presigned.client("elbv2")
    balancer = elb.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    attributes = {one["Key"]: one["Value"] for one in elb.describe_load_balancer_attributes(LoadBalancerArn=balancer)["Attributes"]}
    assert attributes["idle_timeout.timeout_seconds"] == "830"
    definition = presigned.client("ecs").describe_task_definition(taskDefinition=presigned.name)["taskDefinition"]
    assert definition["ephemeralStorage"] == {"sizeInGiB": 86}
    calls = work(presigned, mlflow_env("3.17.2") / "bin/python", tmp_path)
    assert {who for _action, who in calls} == {"server"}, calls
    calls = len(presigned.aws.api_calls())
    again = presigned.play("site")
    assert (again.returncode, changed(again), presigned.aws.writes(calls)) == (0, 0, []), again.stdout[-4000:]
