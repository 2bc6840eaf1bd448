# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CodeBuild, ECR and ECS on a local AWS: an image is really built, kept, and run by tasks without installing anything."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import tarfile
import time
import typing as t
from pathlib import Path

import botocore.exceptions
import pytest
import yaml

from tests.integration import aws

ACCOUNT, REGION = "123456789012", "eu-west-2"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
BASE = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
PACKAGE = "iniconfig==2.1.0"
DOCKERFILE = """
ARG BASE
FROM ${BASE}
COPY requirements.txt greet.py /opt/app/
RUN pip install --no-cache-dir --no-deps --root-user-action ignore -r /opt/app/requirements.txt
ENV GREETING=hello
USER 10001:10001
ENTRYPOINT ["python", "/opt/app/greet.py"]
CMD ["everybody"]
"""
GREET = "import os, sys, iniconfig, importlib.metadata as m; print(os.environ['GREETING'], sys.argv[1], m.version('iniconfig'))"
PROJECT = {
    "name": "greet-image",
    "source": {"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {build: {commands: ['false']}}\n"},
    "artifacts": {"type": "NO_ARTIFACTS"},
    "environment": {
        "type": "LINUX_CONTAINER", "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
        "computeType": "BUILD_GENERAL1_SMALL", "privilegedMode": True,
    },
    "timeoutInMinutes": 10,
}  # fmt: skip
PUSHING = (
    "ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage",
)  # fmt: skip


def buildspec(tag: str, dockerfile: str = DOCKERFILE, requirements: str = PACKAGE, **more: str) -> str:
    """As whoever builds with CodeBuild and Docker writes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {"Dockerfile": dockerfile, "requirements.txt": requirements, "greet.py": GREET}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    login = f'aws ecr get-login-password --region "$AWS_REGION" | docker login --username AWS --password-stdin {REGISTRY}'
    base = "\"$(docker image inspect --format '{{index .RepoDigests 0}}' \"$BASE\")\""
    return yaml.safe_dump({
        "version": 0.2,
        "env": {"variables": {"IMAGE": f"{REGISTRY}/greet:{tag}", "BASE": BASE}},
        "phases": {
            "pre_build": {"commands": [
                f"echo {base64.b64encode(packed.getvalue()).decode()} | base64 -d | tar -xz", login, 'docker pull --quiet "$BASE"',
            ]},
            "build": {"commands": [f'docker build --build-arg BASE={base} --tag "$IMAGE" .', 'docker push --quiet "$IMAGE"']},
        },
        **more,
    }, width=1 << 20)  # fmt: skip


class Account:
    def __init__(self, running: aws.LocalAws) -> None:
        self.ecr, self.codebuild, self.ecs, self.iam, self.logs, self.ec2 = (
            running.client(one) for one in ("ecr", "codebuild", "ecs", "iam", "logs", "ec2")
        )
        self.ecr.create_repository(repositoryName="greet", imageTagMutability="IMMUTABLE")
        self.make_role("greet-build", "codebuild.amazonaws.com")
        self.may_build()
        self.codebuild.create_project(**PROJECT, serviceRole=self.arn("greet-build"))
        self.ecs.create_cluster(clusterName="greet")
        vpc = self.ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.0.0/24")["Subnet"]["SubnetId"]
        self.make_role("greet-execution", "ecs-tasks.amazonaws.com")
        self.logs.create_log_group(logGroupName="/ecs/greet")
        self.may_pull()

    @staticmethod
    def arn(role: str) -> str:
        return f"arn:aws:iam::{ACCOUNT}:role/{role}"

    def make_role(self, name: str, service: str) -> None:
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))

    def allow(self, role: str, *rights: tuple[list[str], str]) -> None:
        statements = [{"Effect": "Allow", "Action": actions, "Resource": on} for actions, on in rights]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.iam.put_role_policy(RoleName=role, PolicyName="rights", PolicyDocument=document)

    def may_build(self, push: t.Sequence[str] = PUSHING, log: str = "/aws/codebuild/greet-image") -> None:
        logs = (["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], f"arn:aws:logs:*:*:log-group:{log}:*")
        repository = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/*"
        self.allow("greet-build", logs, (["ecr:GetAuthorizationToken"], "*"), (list(push), repository))

    def may_pull(self, *actions: str) -> None:
        pull = list(actions) or ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        logs = (["logs:CreateLogStream", "logs:PutLogEvents"], "arn:aws:logs:*:*:log-group:/ecs/greet:*")
        self.allow("greet-execution", logs, (["ecr:GetAuthorizationToken"], "*"), (pull, "*"))

    def build(self, spec: str, seconds: float = 120) -> dict:
        started = self.codebuild.start_build(projectName="greet-image", buildspecOverride=spec)["build"]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            build = self.codebuild.batch_get_builds(ids=[started["id"]])["builds"][0]
            if build["buildComplete"]:
                return build
            time.sleep(0.2)
        raise AssertionError(build)

    def lines(self, build: dict) -> str:
        logs = build["logs"]
        events = self.logs.get_log_events(logGroupName=logs["groupName"], logStreamName=logs["streamName"])["events"]
        return "\n".join(one["message"] for one in events)

    def run(self, image: str, architecture: str = "X86_64", **container: t.Any) -> tuple[dict, str]:
        """Run one task to its end: how it ended, and what it logged."""
        options = {"awslogs-group": "/ecs/greet", "awslogs-region": REGION, "awslogs-stream-prefix": "run"}
        self.ecs.register_task_definition(
            family="greet", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
            executionRoleArn=self.arn("greet-execution"), runtimePlatform={"cpuArchitecture": architecture},
            containerDefinitions=[{
                "name": "greet", "image": image, "essential": True, "readonlyRootFilesystem": True,
                "logConfiguration": {"logDriver": "awslogs", "options": options}, **container,
            }],
        )  # fmt: skip
        network = {"awsvpcConfiguration": {"subnets": [self.subnet]}}
        arn = self.ecs.run_task(cluster="greet", taskDefinition="greet", launchType="FARGATE", networkConfiguration=network)
        arn = arn["tasks"][0]["taskArn"]
        deadline = time.monotonic() + 60
        while (task := self.ecs.describe_tasks(cluster="greet", tasks=[arn])["tasks"][0])["lastStatus"] != "STOPPED":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        try:
            stream = f"run/greet/{arn.rsplit('/', 1)[1]}"
            events = self.logs.get_log_events(logGroupName="/ecs/greet", logStreamName=stream)["events"]
        except self.logs.exceptions.ResourceNotFoundException:
            events = []
        return task, "\n".join(one["message"] for one in events)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[aws.LocalAws]:
    with aws.local_aws(tmp_path_factory.mktemp("images") / "state") as one:
        yield one


@pytest.fixture(scope="module")
def account(running: aws.LocalAws) -> Account:
    return Account(running)


@pytest.fixture(scope="module")
def built(account: Account) -> dict:
    build = account.build(buildspec("1.0"))
    assert build["buildStatus"] == "SUCCEEDED", (build["phases"], account.lines(build))
    return build


def phase(build: dict, name: str) -> dict:
    return next(one for one in build["phases"] if one["phaseType"] == name)


def test_a_build_makes_an_image_and_tells_of_it(account: Account, built: dict) -> None:
    assert [one["phaseType"] for one in built["phases"]] == [
        "SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD", "FINALIZING", "COMPLETED",
    ]  # fmt: skip
    assert built["currentPhase"] == "COMPLETED" and built["endTime"] >= built["startTime"]
    said = account.lines(built)
    assert "Login Succeeded" in said and "RUN pip install" in said and "1.0: digest: sha256:" in said
    image = account.ecr.describe_images(repositoryName="greet", imageIds=[{"imageTag": "1.0"}])["imageDetails"][0]
    assert image["imageDigest"] in said and image["imageSizeInBytes"] > 1000
    manifest = account.ecr.batch_get_image(repositoryName="greet", imageIds=[{"imageTag": "1.0"}])["images"][0]["imageManifest"]
    assert image["imageDigest"] == "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    assert account.codebuild.list_builds_for_project(projectName="greet-image")["ids"][-1] == built["id"]


def test_a_task_runs_the_image_by_tag_and_by_digest(account: Account, built: dict, running: aws.LocalAws) -> None:
    digest = account.ecr.describe_images(repositoryName="greet")["imageDetails"][0]["imageDigest"]
    for reference in (f"{REGISTRY}/greet:1.0", f"{REGISTRY}/greet@{digest}"):
        task, said = account.run(reference)
        assert said == f"hello everybody {PACKAGE.partition('==')[2]}", (task["stoppedReason"], said)
        assert task["containers"][0]["exitCode"] == 0
    _task, said = account.run(f"{REGISTRY}/greet:1.0", command=["you"], environment=[{"name": "GREETING", "value": "ciao"}])
    assert said.startswith("ciao you")
    task, said = account.run(f"{REGISTRY}/greet:1.0", entryPoint=["python", "-c", "print('mine')"])
    assert said == "mine"
    _task, said = account.run(f"{REGISTRY}/greet:1.0", entryPoint=["python", "/opt/app/greet.py"], command=["them"])
    assert said.startswith("hello them")


def test_what_cannot_be_pulled_says_why(account: Account, built: dict) -> None:
    for reference in (f"{REGISTRY}/greet:2.0", f"{REGISTRY}/other:1.0", f"{REGISTRY}/greet@sha256:{'0' * 64}"):
        task, _said = account.run(reference)
        assert task["stoppedReason"].startswith("CannotPullContainerError: ") and f"{reference}: not found" in task["stoppedReason"]
    task, _said = account.run(f"{REGISTRY}/greet:1.0", architecture="ARM64")
    assert "does not contain descriptor matching platform 'linux/arm64'" in task["stoppedReason"]
    account.may_pull("ecr:GetDownloadUrlForLayer")
    task, _said = account.run(f"{REGISTRY}/greet:1.0")
    account.may_pull()
    assert "403 Forbidden" in task["stoppedReason"] and "ecr:BatchGetImage" in task["stoppedReason"]


@pytest.mark.parametrize(
    ("spec", "failed", "why"),
    [
        (buildspec("1.0"), "BUILD", "already exists"),
        (buildspec("bad", requirements="iniconfig==0.0.0.1"), "BUILD", "iniconfig==0.0.0.1"),
        (buildspec("bad", DOCKERFILE.replace("USER", "RUN apt-get install gcc\nUSER")), "BUILD", "RUN: 'apt-get install gcc'"),
        (buildspec("bad", DOCKERFILE.replace("${BASE}", "nginx:1")), "BUILD", "nginx:1: not found"),
        (buildspec("bad").replace("greet:", "other:"), "BUILD", "The repository with name 'other' does not exist"),
        (buildspec("bad").replace("docker pull", "podman pull"), "PRE_BUILD", "podman: not found"),
        (buildspec("bad").replace("docker pull", "docker save"), "PRE_BUILD", "the local AWS knows a part of it only"),
        (buildspec("bad").replace("docker login", "true"), "BUILD", "no basic auth credentials"),
    ],
)
def test_a_build_that_fails_says_where_and_why(account: Account, built: dict, spec: str, failed: str, why: str) -> None:
    build = account.build(spec)
    assert build["buildStatus"] == "FAILED", account.lines(build)
    found = phase(build, failed)
    assert found["phaseStatus"] == "FAILED" and found["contexts"][0]["statusCode"] == "COMMAND_EXECUTION_ERROR"
    assert re.search(r"Error while executing command: .* Reason: exit status [1-9]\d*$", found["contexts"][0]["message"])
    assert why in account.lines(build)


def test_what_the_service_role_may_not_do_is_refused(account: Account, built: dict) -> None:
    try:
        account.may_build(push=[one for one in PUSHING if one != "ecr:PutImage"])
        build = account.build(buildspec("2.0"))
        assert build["buildStatus"] == "FAILED" and "not authorized to perform: ecr:PutImage" in account.lines(build)
        account.may_build(log="/elsewhere")
        build = account.build(buildspec("2.0"))
        assert phase(build, "PROVISIONING")["contexts"][0]["statusCode"] == "ACCESS_DENIED"
    finally:
        account.may_build()


@pytest.mark.parametrize("spec", ["no: buildspec\n", buildspec("bad", proxy="yes"), "version: 0.2\nphases: {}\n"])
def test_a_buildspec_that_is_none_fails_before_any_command(account: Account, spec: str) -> None:
    build = account.build(spec)
    assert build["buildStatus"] == "FAILED" and phase(build, "DOWNLOAD_SOURCE")["contexts"][0]["statusCode"] == "YAML_FILE_ERROR"


def test_a_build_can_be_stopped_and_runs_out_of_time(account: Account) -> None:
    slow = "version: 0.2\nphases:\n  build:\n    commands: [sleep 60]\n"
    started = account.codebuild.start_build(projectName="greet-image", buildspecOverride=slow)["build"]
    account.codebuild.stop_build(id=started["id"])
    deadline = time.monotonic() + 20
    while not (build := account.codebuild.batch_get_builds(ids=[started["id"]])["builds"][0])["buildComplete"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert build["buildStatus"] == "STOPPED"


def test_without_privileged_mode_there_is_no_docker(account: Account) -> None:
    environment = PROJECT["environment"]
    try:
        account.codebuild.update_project(name="greet-image", environment={**environment, "privilegedMode": False})
        assert "Cannot connect to the Docker daemon" in account.lines(account.build(buildspec("3.0")))
    finally:
        account.codebuild.update_project(name="greet-image", environment=environment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": {"type": "GITHUB", "location": "https://example.com"}}, "not supported by the local AWS"),
        ({"vpcConfig": {"vpcId": "vpc-1", "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}}, "vpcConfig: not supported"),
        ({"timeoutInMinutes": 5000}, "timeoutInMinutes must be between"),
        ({"serviceRole": f"arn:aws:iam::{ACCOUNT}:role/greet-execution"}, "not authorized to perform: sts:AssumeRole"),
    ],
)
def test_projects_that_cannot_be_built_are_refused(account: Account, change: dict, message: str) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match=message):
        account.codebuild.create_project(**{**PROJECT, "serviceRole": account.arn("greet-build"), "name": "other-image", **change})


def test_nobody_pushes_what_was_not_built(account: Account, built: dict) -> None:
    manifest = json.dumps({"config": {"digest": f"sha256:{'1' * 64}"}, "layers": []})
    with pytest.raises(account.ecr.exceptions.LayersNotFoundException):
        account.ecr.put_image(repositoryName="greet", imageManifest=manifest, imageTag="x", imageManifestMediaType="a/b")
    with pytest.raises(account.ecr.exceptions.ScanNotFoundException):
        account.ecr.describe_image_scan_findings(repositoryName="greet", imageId={"imageTag": "1.0"})


def test_nothing_of_a_build_stays_but_the_image(running: aws.LocalAws, built: dict) -> None:
    assert list((running.directory / "builds").iterdir()) == []
    folder = running.directory / "images"
    assert sorted(one.is_symlink() for one in folder.iterdir()).count(True) >= 1
    assert Path(folder).stat().st_mode & 0o077 == 0
