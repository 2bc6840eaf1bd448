# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment whose tasks run an image out of ECR: built, deployed by its digest, upgraded, and given up again."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.integration.deployment.conftest import LIVE, Deployment

pytestmark = pytest.mark.long
BUILT = {"mlflow_image": "built"}
NO_INTERNET = {"network_nat_mode": "none", "network_interface_endpoints": ["ecr.api", "ecr.dkr", "logs", "secretsmanager"]}


@pytest.fixture(scope="module")
def imaged(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    """An account where image.yml has run before anything else."""
    with local_aws_factory() as aws:
        folder = tmp_path_factory.mktemp("deployments")
        deployment = Deployment(aws, "local", "mlflow-demo", folder, variables={**LIVE, **BUILT})
        refused = deployment.play("site")
        said = " ".join(refused.stdout.split())
        assert refused.returncode != 0 and aws.writes() == [], refused.stdout[-4000:]
        assert "mlflow_image = built: there is no image 3.17.2-amd64-" in said and "build it with image.yml" in said
        built = deployment.play("image", timeout=1200)
        assert built.returncode == 0, built.stdout[-6000:]
        deployed = deployment.play("site")
        assert deployed.returncode == 0, deployed.stdout[-6000:]
        yield deployment


def container(deployment: Deployment) -> dict:
    definition = deployment.client("ecs").describe_task_definition(taskDefinition=deployment.name)["taskDefinition"]
    return definition["containerDefinitions"][0]


def seconds_to_start(deployment: Deployment) -> list[float]:
    """From the start of each running task's container to the launcher's last word before it becomes the server."""
    ecs, logs = deployment.client("ecs"), deployment.client("logs")
    arns = ecs.list_tasks(cluster=deployment.name)["taskArns"]
    found = []
    for task in ecs.describe_tasks(cluster=deployment.name, tasks=arns)["tasks"]:
        stream = f"mlflow/mlflow/{task['taskArn'].rsplit('/', 1)[-1]}"
        events = logs.get_log_events(logGroupName=f"/ecs/{deployment.name}", logStreamName=stream, startFromHead=True)["events"]
        last = next(one for one in events if "launcher: starting MLflow" in one["message"])
        found.append(last["timestamp"] / 1000 - task["pullStartedAt"].timestamp())
    return found


def test_the_tasks_run_the_image_by_its_digest(imaged: Deployment) -> None:
    image = imaged.client("ecr").describe_images(repositoryName=imaged.name)["imageDetails"][0]
    definition = container(imaged)
    assert definition["image"] == f"123456789012.dkr.ecr.eu-west-2.amazonaws.com/{imaged.name}@{image['imageDigest']}"
    assert definition["entryPoint"] == ["python", "/opt/mlflow/launcher.py"] and definition["readonlyRootFilesystem"] is True
    assert "LAUNCHER_REQUIREMENTS" not in [one["name"] for one in definition["environment"]]
    verified = imaged.play("verify")
    assert verified.returncode == 0, verified.stdout[-4000:]


def test_a_second_run_of_both_changes_nothing(imaged: Deployment, changed: t.Callable) -> None:
    for playbook in ("image", "site"):
        calls = len(imaged.aws.api_calls())
        again = imaged.play(playbook)
        assert again.returncode == 0 and changed(again) == 0, again.stdout[-4000:]
        assert imaged.aws.writes(calls) == []


def test_an_upgrade_takes_the_other_version_s_image_or_refuses(imaged: Deployment) -> None:
    calls = len(imaged.aws.api_calls())
    for options in ((), ("--check",)):
        refused = imaged.play("upgrade", "-e", "mlflow_version=3.17.1", *options)
        said = " ".join(refused.stdout.split())
        assert refused.returncode != 0 and "there is no image 3.17.1-amd64-" in said, refused.stdout[-4000:]
    assert imaged.aws.writes(calls) == []
    before = container(imaged)["image"]
    assert imaged.play("image", "-e", "mlflow_version=3.17.1", timeout=1200).returncode == 0
    upgraded = imaged.play("upgrade", "-e", "mlflow_version=3.17.1", timeout=1200)
    assert upgraded.returncode == 0, upgraded.stdout[-6000:]
    assert container(imaged)["image"] != before
    back = imaged.play("site")
    assert back.returncode == 0 and container(imaged)["image"] == before, back.stdout[-4000:]


def test_tasks_need_no_way_to_the_internet(imaged: Deployment) -> None:
    would = imaged.play("site", "--check", "-e", json.dumps(NO_INTERNET))
    assert would.returncode == 0, would.stdout[-4000:]
    refused = imaged.play("site", "--check", "-e", json.dumps({**NO_INTERNET, "mlflow_image": ""}))
    assert refused.returncode != 0 and "without a NAT gateway tasks cannot pull it" in " ".join(refused.stdout.split())


def test_what_cannot_run_and_the_removal_of_what_runs_are_refused(imaged: Deployment) -> None:
    calls = len(imaged.aws.api_calls())
    refused = imaged.play("site", "-e", "ecs_mlflow_cpu_architecture=ARM64")
    assert refused.returncode != 0 and "on ARM64 tasks is made of" in " ".join(refused.stdout.split())
    refused = imaged.play("site", "-e", "mlflow_image=yes")
    assert refused.returncode != 0 and "mlflow_image = yes: is neither built nor the address" in " ".join(refused.stdout.split())
    kept = imaged.play("image", "-e", "image_state=absent")
    assert kept.returncode != 0 and "and could not start again" in " ".join(kept.stdout.split())
    assert imaged.aws.writes(calls) == []


def test_off_again_and_gone(imaged: Deployment, changed: t.Callable) -> None:
    with_image = seconds_to_start(imaged)
    imaged.variables = dict(LIVE)
    plain = imaged.play("site")
    assert plain.returncode == 0, plain.stdout[-6000:]
    assert container(imaged)["image"].endswith("python:3.11-slim") and container(imaged)["entryPoint"][1] == "-c"
    without = seconds_to_start(imaged)
    print(json.dumps({"seconds_with_image": with_image, "seconds_without": without}))
    assert max(with_image) < min(without)
    removed = imaged.play("image", "-e", "image_state=absent")
    assert removed.returncode == 0 and changed(removed) == 3, removed.stdout[-4000:]
    assert [one for one in imaged.tagged() if ":ecr:" in one or ":codebuild:" in one] == []
    again = imaged.play("image", "-e", "image_state=absent")
    assert again.returncode == 0 and changed(again) == 0, again.stdout[-4000:]
