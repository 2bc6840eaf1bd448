# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image built by a program that answers as Docker and Podman do: what it is asked, and where the password goes."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.modules import ecr_image_build

IMAGE = "123456789012.dkr.ecr.eu-west-2.amazonaws.com/web:1.4"
WANTED = {
    "image": IMAGE,
    "base": "python:3.11-slim",
    "files": {"Dockerfile": "ARG BASE", "a.py": "pass"},
    "build_args": {"VERSION": "1.4"},
    "builder_name": "image_builder",
}
PASSWORD = "123456789012-auth-token"
PROGRAM = """#!{python}
import json, os, pathlib, sys
words, log = sys.argv[1:], pathlib.Path({log!r})
said = sys.stdin.read() if "--password-stdin" in words else ""
kept = {{name: os.environ.get(name) for name in ("DOCKER_CONFIG", "DOCKER_HOST", "REGISTRY_AUTH_FILE")}}
files = sorted(os.listdir(words[-1])) if words[0] == "build" else []
calls = json.loads(log.read_text()) if log.exists() else []
log.write_text(json.dumps([*calls, {{"words": words, "stdin": said, "environment": kept, "files": files}}]))
if words[0] == {failing!r}:
    sys.exit("Error: it does\\nnot work")
if words[:2] == ["context", "inspect"]:
    print("unix:///run/user/1000/docker.sock")
if words[:2] == ["image", "inspect"]:
    print("python@sha256:abc")
"""
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Callable[..., list[dict]]]:
    """install(name, failing) puts the program on the path; calls() are those that it got."""
    log = tmp_path / "calls.json"
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("DOCKER_CONFIG", "DOCKER_HOST", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)

    def install_or_read(name: str = "", failing: str = "") -> list[dict]:
        if name:
            (tmp_path / name).write_text(PROGRAM.format(python=sys.executable, log=str(log), failing=failing))
            (tmp_path / name).chmod(0o755)
        return json.loads(log.read_text()) if log.exists() else []

    # moto is not reached by the module's own client, which is made in this process.
    with mock_aws():
        boto3.client("ecr", region_name="eu-west-2").create_repository(repositoryName="web")
        yield install_or_read


@pytest.mark.parametrize("builder", ["docker", "podman"])
def test_what_the_program_is_asked(run_module: t.Callable, calls: t.Callable, builder: str) -> None:
    calls(builder)
    done = run_module(ecr_image_build, {**WANTED, "builder": builder})
    assert done["changed"] and done["base"] == "python@sha256:abc", done
    asked = [one for one in calls() if one["words"][0] not in ("info", "context")]
    pull, inspect, build, login, push = asked
    assert pull["words"] == ["pull", "--quiet", "--platform", "linux/amd64", "python:3.11-slim"]
    assert inspect["words"] == ["image", "inspect", "--format", "{{index .RepoDigests 0}}", "python:3.11-slim"]
    assert build["words"][:-1] == [
        "build", "--platform", "linux/amd64", "--build-arg", "BASE=python@sha256:abc", "--build-arg", "VERSION=1.4", "--tag", IMAGE,
    ]  # fmt: skip
    assert build["files"] == ["Dockerfile", "a.py"] and not Path(build["words"][-1]).exists()
    assert login["words"] == ["login", "--username", "AWS", "--password-stdin", IMAGE.partition("/")[0]]
    assert login["stdin"].strip() == PASSWORD and PASSWORD not in json.dumps(done)
    assert not any(PASSWORD in json.dumps(one["words"]) for one in asked)
    assert push["words"] == ["push", "--quiet", IMAGE] and push["environment"] == login["environment"]
    kept = login["environment"]["DOCKER_CONFIG" if builder == "docker" else "REGISTRY_AUTH_FILE"]
    assert kept and not Path(kept).exists()
    # Docker is not to forget where its daemon is.
    assert login["environment"]["DOCKER_HOST"] == ("unix:///run/user/1000/docker.sock" if builder == "docker" else None)
    assert pull["environment"] == {"DOCKER_CONFIG": None, "DOCKER_HOST": None, "REGISTRY_AUTH_FILE": None}


def test_check_mode_looks_and_builds_nothing(run_module: t.Callable, calls: t.Callable) -> None:
    calls("docker")
    done = run_module(ecr_image_build, {**WANTED, "builder": "docker"}, check=True)
    assert done["changed"] and done["base"] is None and [one["words"] for one in calls()] == [["info"]]


def test_without_the_program_or_its_daemon_it_says_so(run_module: t.Callable, calls: t.Callable) -> None:
    missing = run_module(ecr_image_build, {**WANTED, "builder": "podman"})["msg"]
    assert missing == (
        "image_builder = podman: there is no podman on this machine; install it, or set image_builder to codebuild, which needs nothing here"
    )
    calls("docker", failing="info")
    dead = run_module(ecr_image_build, {**WANTED, "builder": "docker"}, check=True)["msg"]
    assert dead.startswith("image_builder = docker: it does not work here (not work); start its service, or set image_builder")


@pytest.mark.parametrize("step", ["pull", "build", "login", "push"])
def test_a_step_that_fails_is_told(run_module: t.Callable, calls: t.Callable, step: str) -> None:
    calls("docker", failing=step)
    failed = run_module(ecr_image_build, {**WANTED, "builder": "docker"})
    assert failed["failed"] and f"docker {step} failed: not work" in failed["msg"] and PASSWORD not in json.dumps(failed)


def test_without_a_context_docker_finds_its_daemon_by_itself(run_module: t.Callable, calls: t.Callable) -> None:
    calls("docker", failing="context")
    assert run_module(ecr_image_build, {**WANTED, "builder": "docker"})["changed"]
    assert calls()[-1]["environment"]["DOCKER_HOST"] is None
    assert ecr_image_build.last_line("\n \n") == "it said nothing"
