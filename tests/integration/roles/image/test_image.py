# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role image on a local AWS: a real build of the real image."""

from __future__ import annotations

import os
import re
import stat
import typing as t
from pathlib import Path

import pytest

NAME, VERSION = "boxed-mlflow", "3.17.2"
VARIABLES = {
    "image_name": NAME,
    "image_tags": {"team": "a"},
    "image_account_id": "123456789012",
    "image_partition": "aws",
    "image_region": "eu-west-2",
    "image_mlflow_version": VERSION,
}
URI = f"123456789012.dkr.ecr.eu-west-2.amazonaws.com/{NAME}"
WRITES = [
    "ecr:CreateRepository", "ecr:PutLifecyclePolicy", "iam:CreateRole", "iam:PutRolePolicy", "codebuild:CreateProject",
    "codebuild:StartBuild",
]  # fmt: skip


@pytest.mark.long
def test_life_of_the_image(run_role: t.Callable, local_aws: t.Any) -> None:
    check = run_role("image", VARIABLES, ("main", "wait"), check=True)
    assert (check.rc, check.writes) == (0, []), check.stdout
    assert check.outputs["image"] is None and check.outputs["repository_uri"] is None
    create = run_role("image", VARIABLES, ("main", "wait"), timeout=900)
    assert create.rc == 0 and create.changed == check.changed, create.stdout[-4000:]
    # Beside these the build itself has written: what docker push is on AWS.
    assert [one for one in create.writes if not one.startswith("logs:") and one != "ecr:PutImage"] == WRITES
    out = create.outputs
    assert re.fullmatch(rf"{re.escape(VERSION)}-amd64-[0-9a-f]{{12}}", out["tag"]) and out["tags"] == [out["tag"]]
    assert out["image"] == f"{URI}@{out['digest']}" and out["size_mib"] > 100 and out["build"]["status"] == "SUCCEEDED"
    assert out["launcher"] == "/opt/mlflow/launcher.py"

    ecr, codebuild = local_aws.client("ecr"), local_aws.client("codebuild")
    repository = ecr.describe_repositories(repositoryNames=[NAME])["repositories"][0]
    assert repository["imageTagMutability"] == "IMMUTABLE" and repository["imageScanningConfiguration"] == {"scanOnPush": True}
    tags = {one["Key"]: one["Value"] for one in ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]}
    assert tags == {"mlflow-deployment": NAME, "managed-by": "mlops.mlflow_aws", "team": "a"}
    project = codebuild.batch_get_projects(names=[f"{NAME}-image"])["projects"][0]
    assert {one["key"]: one["value"] for one in project["tags"]} == tags
    config = next((local_aws.directory / "images").glob("*/config.json")).read_text()
    assert '"User": "10001:10001"' in config and '"Volumes": {"/tmp": {}}' in config
    assert re.search(r'"org.opencontainers.image.base.name": "public.ecr.aws/docker/library/python@sha256:[0-9a-f]{64}"', config)

    for checking in (True, False):
        again = run_role("image", VARIABLES, ("main", "wait"), check=checking)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert {**again.outputs, "build": None} == {**out, "build": None}
    change = run_role("image", {**VARIABLES, "image_keep": 3})
    assert (change.changed, change.writes) == (1, ["ecr:PutLifecyclePolicy"]), change.stdout
    # Another architecture or edition is another image, which is not there.
    for other in ({"image_cpu_architecture": "ARM64"}, {"image_edition": "2026-12"}):
        info = run_role("image", {**VARIABLES, **other}, "info")
        assert info.outputs["image"] is None and info.outputs["tags"] == [out["tag"]]

    would = run_role("image", VARIABLES, "absent", check=True)
    gone = run_role("image", VARIABLES, ("absent", "info"))
    assert (gone.rc, gone.changed, would.changed, would.writes) == (0, 3, 3, []), gone.stdout
    assert gone.outputs["repository_arn"] is None and gone.outputs["tags"] == []
    again = run_role("image", VARIABLES, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout


@pytest.mark.long
def test_a_build_that_fails_tells_phase_reason_and_last_words(run_role: t.Callable, local_aws: t.Any) -> None:
    variables = {**VARIABLES, "image_name": "broken-mlflow", "image_base": "public.ecr.aws/docker/library/python:3.99-slim"}
    run = run_role("image", variables, ("main", "wait"))
    said = " ".join(run.stdout.split())
    assert run.rc == 2 and "ended as FAILED in phase PRE_BUILD: Error while executing command: docker pull" in said, run.stdout
    assert "Reason: exit status 1. Its last log lines:" in said and "no Python 3.99 on this machine" in said
    # What failed is not there, so that the next run builds again.
    again = run_role("image", variables)
    assert again.writes == ["codebuild:StartBuild"], again.stdout


def test_what_cannot_work_or_is_not_ours_is_refused_before_the_first_write(
    run_role: t.Callable, local_aws: t.Any, tmp_path: Path
) -> None:
    asked = {**VARIABLES, "image_name": "foreign"}
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join(one for one in local_aws.environment["PATH"].split(os.pathsep) if not (Path(one) / "podman").exists())
    for wrong, message, options in (
        ({"image_mlflow_version": "1.0.0"}, "image_mlflow_version = 1.0.0: there are no pinned packages for it", {}),
        ({"image_builder": "kaniko"}, "must be one of: codebuild, docker, podman, got: kaniko", {}),
        ({"image_builder": "podman"}, "image_builder = podman: there is no podman on this machine", {"env": {"PATH": path}}),
        ({"image_builder": "docker"}, "image_builder = docker: it does not work here (Cannot connect to the Docker daemon)",
         {"env": {"PATH": f"{program.parent}{os.pathsep}{path}"}}),
    ):  # fmt: skip
        run = run_role("image", {**asked, **wrong}, **options)
        assert run.rc == 2 and run.writes == [] and message in " ".join(run.stdout.split()), run.stdout
    local_aws.client("ecr").create_repository(repositoryName="foreign")
    for entry in ("main", "absent"):
        run = run_role("image", asked, entry)
        assert run.rc == 2 and run.writes == [], run.stdout
        assert "ECR repository foreign: it exists but does not carry the tags" in run.stdout


def test_the_encryption_of_a_repository_is_not_changed(run_role: t.Callable, local_aws: t.Any) -> None:
    name = "sealed"
    local_aws.client("ecr").create_repository(
        repositoryName=name, tags=[{"Key": "mlflow-deployment", "Value": name}, {"Key": "managed-by", "Value": "mlops.mlflow_aws"}]
    )
    key = local_aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    run = run_role("image", {**VARIABLES, "image_name": name, "image_kms_key": key})
    assert run.rc == 2 and run.writes == [], run.stdout
    assert "it is encrypted with AWS's own key" in " ".join(run.stdout.split())
