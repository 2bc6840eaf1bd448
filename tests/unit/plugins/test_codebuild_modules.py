# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects and builds of CodeBuild, against an in-process IAM and a CodeBuild that keeps projects and ends builds as it is told."""

from __future__ import annotations

import base64
import copy
import datetime
import io
import json
import tarfile
import typing as t

import boto3
import botocore.exceptions
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import codebuild_projects
from ansible_collections.mlops.mlflow_aws.plugins.modules import codebuild_build, codebuild_image_project

OWNER = {"owner": "us"}
REPOSITORY = "arn:aws:ecr:eu-west-2:123456789012:repository/web"
WANTED = {
    "name": "web-image",
    "description": "Builds web",
    "repository_arn": REPOSITORY,
    "log_group": "/aws/codebuild/web-image",
    "owner_tags": OWNER,
    "tags": OWNER,
}
ABSENT = {"name": "web-image", "state": "absent", "owner_tags": OWNER}
BUILD = {"project": "web-image", "files": {"Dockerfile": "FROM a"}, "buildspec": {"version": 0.2, "phases": {"build": {"commands": ["b"]}}}}
BEGUN = datetime.datetime(2026, 11, 29, 8, 0, tzinfo=datetime.timezone.utc)
pytestmark = pytest.mark.usefixtures("aws_environment")


class CodeBuild:
    """Projects as CreateProject is told them, with what AWS adds; builds end with `ending`."""

    def __init__(self, writes: list[str]) -> None:
        self.writes, self.projects, self.builds = writes, {}, {}
        self.ending: dict = {"buildStatus": "SUCCEEDED"}
        self.refusals = 0

    def batch_get_projects(self, names: list, aws_retry: bool) -> dict:
        return {"projects": [copy.deepcopy(self.projects[name]) for name in names if name in self.projects]}

    def create_project(self, aws_retry: bool, **asked: t.Any) -> None:
        if self.refusals:
            self.refusals -= 1
            message = "CodeBuild is not authorized to perform: sts:AssumeRole on arn:..."
            raise botocore.exceptions.ClientError({"Error": {"Code": "InvalidInputException", "Message": message}}, "CreateProject")
        self.writes.append("create_project")
        arn = f"arn:aws:codebuild:eu-west-2:123456789012:project/{asked['name']}"
        self.projects[asked["name"]] = {"cache": {"type": "NO_CACHE"}, "queuedTimeoutInMinutes": 480, **copy.deepcopy(asked), "arn": arn}
        self.projects[asked["name"]]["environment"]["environmentVariables"] = []

    def update_project(self, aws_retry: bool, **asked: t.Any) -> None:
        self.writes.append("update_project")
        self.projects[asked["name"]].update(copy.deepcopy(asked))

    def delete_project(self, name: str, aws_retry: bool) -> None:
        self.writes.append("delete_project")
        del self.projects[name]

    def list_builds_for_project(self, projectName: str, sortOrder: str, aws_retry: bool) -> dict:  # pylint: disable=invalid-name
        return {"ids": list(self.builds)}

    def start_build(self, projectName: str, buildspecOverride: str, aws_retry: bool) -> dict:  # pylint: disable=invalid-name
        self.writes.append("start_build")
        build = {"id": f"{projectName}:{len(self.builds)}", "source": {"buildspec": buildspecOverride}, "buildStatus": "IN_PROGRESS"}
        build |= {"startTime": BEGUN, "buildComplete": False, "currentPhase": "BUILD", "logs": {"groupName": "/g", "streamName": "s"}}
        self.builds[build["id"]] = build
        return {"build": dict(build)}

    def batch_get_builds(self, ids: list, aws_retry: bool) -> dict:
        found = [dict(self.builds[one]) for one in ids if one in self.builds]
        for one in found:
            if self.ending:
                ended = {"buildComplete": True, "currentPhase": "COMPLETED", "endTime": BEGUN + datetime.timedelta(seconds=90)}
                self.builds[one["id"]].update(ended, **self.ending)
        return {"builds": found}


class Iam:
    def __init__(self, client: t.Any, writes: list[str]) -> None:
        self.client, self.writes = client, writes

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool, **arguments: t.Any) -> t.Any:
            if not operation.startswith("get_"):
                self.writes.append(operation)
            return getattr(self.client, operation)(**arguments)

        return call


class Logs:
    @staticmethod
    def get_log_events(logGroupName: str, aws_retry: bool, **_more: t.Any) -> dict:  # pylint: disable=invalid-name
        if logGroupName != "/g":
            code = {"Error": {"Code": "ResourceNotFoundException", "Message": ""}}
            raise botocore.exceptions.ClientError(code, "GetLogEvents")
        return {"events": [{"message": "no such base\n"}]}


@pytest.fixture
def writes() -> list[str]:
    return []


@pytest.fixture
def clients(aws_environment: None, writes: list, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, t.Any]]:
    with mock_aws():
        made = {"iam": Iam(boto3.client("iam", region_name="eu-west-2"), writes), "codebuild": CodeBuild(writes), "logs": Logs()}
        monkeypatch.setattr(codebuild_projects, "connect", lambda _module, service: made[service])
        monkeypatch.setattr(codebuild_projects, "POLL_SECONDS", 0.01)
        yield made


# --- projects ---


def test_life_of_a_project(run_module: t.Callable, clients: dict, writes: list) -> None:
    predicted = run_module(codebuild_image_project, WANTED, check=True)
    assert predicted["changed"] and writes == [] and predicted["project"] is None
    clients["codebuild"].refusals = 2
    made = run_module(codebuild_image_project, WANTED)
    assert made["diff"] == predicted["diff"] and writes == ["create_role", "put_role_policy", "create_project"]
    assert made["project"] == {
        "name": "web-image",
        "arn": "arn:aws:codebuild:eu-west-2:123456789012:project/web-image",
        "role_arn": "arn:aws:iam::123456789012:role/web-image",
    }
    writes.clear()
    for check in (True, False):
        assert not run_module(codebuild_image_project, WANTED, check=check)["changed"]
    assert run_module(codebuild_image_project, ABSENT, check=True)["changed"] and writes == []
    assert run_module(codebuild_image_project, ABSENT)["project"] is None
    assert writes == ["delete_project", "delete_role_policy", "delete_role"]
    assert not run_module(codebuild_image_project, ABSENT)["changed"]


def test_what_a_project_is_and_what_its_role_may(run_module: t.Callable, clients: dict) -> None:
    run_module(codebuild_image_project, WANTED)
    project = clients["codebuild"].projects["web-image"]
    assert project["environment"]["privilegedMode"] is True and project["environment"]["type"] == "LINUX_CONTAINER"
    assert project["source"]["type"] == "NO_SOURCE" and project["artifacts"] == {"type": "NO_ARTIFACTS"}
    assert project["logsConfig"]["cloudWatchLogs"]["groupName"] == WANTED["log_group"]
    policy = clients["iam"].client.get_role_policy(RoleName="web-image", PolicyName="build")["PolicyDocument"]
    login, push, log = policy["Statement"]
    assert login == {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"}
    assert push["Resource"] == REPOSITORY and "ecr:PutImage" in push["Action"] and not any("*" in one for one in push["Action"])
    assert log["Resource"] == "arn:aws:logs:eu-west-2:123456789012:log-group:/aws/codebuild/web-image:log-stream:*"
    trust = clients["iam"].client.get_role(RoleName="web-image")["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert trust["Condition"]["StringEquals"]["aws:SourceArn"] == "arn:aws:codebuild:eu-west-2:123456789012:project/web-image"


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"cpu_architecture": "ARM64"}, ["update_project"]),
        ({"compute_type": "BUILD_GENERAL1_MEDIUM"}, ["update_project"]),
        ({"timeout_minutes": 60}, ["update_project"]),
        ({"log_group": "/other"}, ["put_role_policy", "update_project"]),
        ({"repository_arn": f"{REPOSITORY}-2"}, ["put_role_policy"]),
        ({"tags": {**OWNER, "cost": 12}}, ["tag_role", "update_project"]),
    ],
)
def test_each_change_writes_what_it_must(
    run_module: t.Callable, clients: dict, writes: list, change: dict, written: list
) -> None:
    run_module(codebuild_image_project, WANTED)
    writes.clear()
    predicted = run_module(codebuild_image_project, {**WANTED, **change}, check=True)
    assert predicted["changed"] and writes == []
    assert run_module(codebuild_image_project, {**WANTED, **change})["diff"] == predicted["diff"]
    assert writes == written and not run_module(codebuild_image_project, {**WANTED, **change})["changed"]


@pytest.mark.parametrize("kind", ["project", "role"])
def test_what_is_not_ours_is_not_touched(run_module: t.Callable, clients: dict, writes: list, kind: str) -> None:
    if kind == "project":
        clients["codebuild"].create_project(aws_retry=True, name="web-image", environment={})
        writes.clear()
    else:
        clients["iam"].client.create_role(RoleName="web-image", AssumeRolePolicyDocument="{}")
    for options in (WANTED, ABSENT):
        refused = run_module(codebuild_image_project, options)
        assert refused["failed"] and "does not carry the tags owner=us" in refused["msg"]
    assert writes == []


def test_a_role_that_stays_unknown_and_a_bad_timeout_are_told(
    run_module: t.Callable, clients: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "takes 5 to 2160 minutes" in run_module(codebuild_image_project, {**WANTED, "timeout_minutes": 1})["msg"]
    monkeypatch.setattr(codebuild_projects, "SETTLE_SECONDS", 0.0)
    clients["codebuild"].refusals = 99
    assert "not authorized to perform: sts:AssumeRole" in run_module(codebuild_image_project, WANTED)["msg"]


# --- builds ---


def test_a_build_is_run_and_awaited(run_module: t.Callable, clients: dict, writes: list) -> None:
    predicted = run_module(codebuild_build, BUILD, check=True)
    assert predicted["changed"] and predicted["build"] is None
    assert writes == []
    done = run_module(codebuild_build, BUILD)
    assert done["changed"] and writes == ["start_build"] and done["log_tail"] == ["no such base"]
    assert done["build"] == {
        "id": "web-image:0", "status": "SUCCEEDED", "phase": "COMPLETED", "log_group": "/g", "log_stream": "s", "seconds": 90.0,
    }  # fmt: skip


def test_a_build_that_runs_already_is_joined(run_module: t.Callable, clients: dict, writes: list) -> None:
    clients["codebuild"].ending = {}
    first = run_module(codebuild_build, {**BUILD, "wait": False})
    assert first["changed"] and first["build"]["status"] == "IN_PROGRESS"
    again = run_module(codebuild_build, {**BUILD, "wait": False})
    assert not again["changed"] and again["build"]["id"] == first["build"]["id"]
    other = run_module(codebuild_build, {**BUILD, "wait": False, "files": {"Dockerfile": "FROM b"}})
    assert other["changed"] and writes == ["start_build", "start_build"]
    clients["codebuild"].ending = {"buildStatus": "SUCCEEDED"}
    for check in (False, True):
        waited = run_module(codebuild_build, {"build_id": first["build"]["id"]}, check=check)
        assert not waited["changed"] and waited["build"]["status"] == "SUCCEEDED"


def test_a_build_that_fails_tells_why(run_module: t.Callable, clients: dict) -> None:
    long = f"Error while executing command: echo {'x' * 9000} | base64 -d. Reason: exit status 1"
    phase = {"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": [{"statusCode": "C", "message": long}]}
    fine = {"phaseType": "PRE_BUILD", "phaseStatus": "SUCCEEDED"}
    clients["codebuild"].ending = {"buildStatus": "FAILED", "phases": [fine, phase, {"phaseType": "COMPLETED"}]}
    failed = run_module(codebuild_build, BUILD)
    assert failed["failed"] and failed["msg"].startswith("Build web-image:0 ended as FAILED in phase BUILD: Error while executing")
    assert "Reason: exit status 1. Its last log lines:\nno such base" in failed["msg"] and len(failed["msg"]) < 400
    clients["codebuild"].ending = {"buildStatus": "TIMED_OUT", "phases": [], "logs": {"groupName": "/gone", "streamName": "s"}}
    assert run_module(codebuild_build, BUILD)["msg"] == "Build web-image:1 ended as TIMED_OUT. It wrote no log line."


def test_a_build_that_takes_too_long_goes_on(run_module: t.Callable, clients: dict) -> None:
    clients["codebuild"].ending = {"logs": {}, "buildComplete": False}
    late = run_module(codebuild_build, {**BUILD, "wait_timeout": 0})
    assert "it is in phase COMPLETED after 0 s and goes on; run again to join it" in late["msg"]
    assert "there is none of this ID" in run_module(codebuild_build, {"build_id": "web-image:9"})["msg"]


def test_files_travel_the_same_each_time() -> None:
    buildspec = {"version": 0.2, "phases": {"pre_build": {"commands": ["a"]}, "build": {"commands": ["b"]}}}
    text = codebuild_projects.with_files(buildspec, {"b": "two", "a": "one\u00e9"})
    assert text == codebuild_projects.with_files(buildspec, {"a": "one\u00e9", "b": "two"}) and "\n" in text
    unpack, first = json.loads(text)["phases"]["pre_build"]["commands"]
    assert first == "a" and buildspec["phases"]["pre_build"]["commands"] == ["a"]
    archive = tarfile.open(fileobj=io.BytesIO(base64.b64decode(unpack.split()[1])))
    assert {one.name: archive.extractfile(one).read().decode() for one in archive} == {"a": "one\u00e9", "b": "two"}
    assert json.loads(codebuild_projects.with_files({"version": 0.2}, {}))["phases"] == {"pre_build": {"commands": []}}
