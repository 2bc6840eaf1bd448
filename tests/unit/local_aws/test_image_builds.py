# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Dockerfiles and buildspecs the local AWS carries out, what it makes of them, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_aws import buildspecs, dockerfiles, image_store
from local_aws.dockerfiles import Copy, Run

OURS = Path(__file__).resolve().parents[3] / "roles/image/files/Dockerfile"
BASE = "public.ecr.aws/docker/library/python@sha256:" + "0" * 64
HEAD = "FROM python:3.11-slim\n"


def test_the_dockerfile_of_the_role_is_understood():
    recipe = dockerfiles.parse(OURS.read_text(encoding="utf-8"), {"BASE": BASE, "MLFLOW_VERSION": "3.17.2", "OTHER": "x"})
    assert recipe.base == BASE and recipe.user == "10001:10001" and recipe.volumes == ["/tmp"]
    copied, installed = recipe.steps
    assert copied == Copy(("requirements.txt", "launcher.py"), "/opt/mlflow/")
    assert isinstance(installed, Run) and installed.command[:3] == ("pip", "install", "--no-cache-dir")
    assert {"--no-deps", "--only-binary"} <= set(installed.command) and installed.command[-1] == "/opt/mlflow/requirements.txt"
    assert recipe.entrypoint == ["python", "/opt/mlflow/launcher.py"] and recipe.command == ["serve"]
    assert recipe.labels["org.opencontainers.image.base.name"] == BASE
    assert recipe.labels["org.opencontainers.image.version"] == "3.17.2"


def test_arguments_have_defaults_and_end_with_from():
    recipe = dockerfiles.parse("ARG A=one\nFROM $A\nARG B=two\nLABEL a=${A} b=$B\nENV C=three\nEXPOSE 80\n", {})
    assert (recipe.base, recipe.labels, recipe.environment) == ("one", {"a": "", "b": "two"}, {"C": "three"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "Dockerfile: no FROM"),
        ("USER 1\n" + HEAD, "Dockerfile:1: USER: comes before FROM"),
        (HEAD + HEAD, "Dockerfile:2: FROM: more than one stage"),
        ("FROM python AS one\n", "name one image"),
        (HEAD + "RUN apt-get update\n", "Dockerfile:2: RUN: 'apt-get update': the local AWS runs one 'pip install ...' a line"),
        (HEAD + "RUN pip install a && rm -rf /\n", "without a shell"),
        (HEAD + "RUN pip install $(cat list)\n", "without a shell"),
        (HEAD + "RUN pip uninstall a\n", "nothing else"),
        (HEAD + "COPY --from=one a /opt/\n", "without options"),
        (HEAD + "COPY ../a /opt/\n", "leads out of the folder"),
        (HEAD + "COPY a /usr/bin/python\n", "keeps files beneath /app/, /opt/, /srv/ only"),
        (HEAD + "ENTRYPOINT python a.py\n", "write a JSON list"),
        (HEAD + "ENV A one\n", "write name=value"),
        (HEAD + "\n# a comment\nHEALTHCHECK CMD true\n", "Dockerfile:4: HEALTHCHECK: not supported by the local AWS"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_line(text, message):
    with pytest.raises(dockerfiles.Unsupported) as refused:
        dockerfiles.parse(text, {})
    assert message in str(refused.value)


def test_lines_go_on_past_comments():
    recipe = dockerfiles.parse(HEAD + "LABEL a=1 \\\n# between\n  b=2\n", {})
    assert recipe.labels == {"a": "1", "b": "2"}


def test_only_a_file_of_the_image_is_looked_for_inside_it(tmp_path):
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/a.py").touch()
    assert image_store.inside(tmp_path, "/opt/a.py") == str(tmp_path / "opt/a.py")
    for word in ("/opt/b.py", "opt/a.py", "/opt/../opt/a.py", "--file=/opt/a.py", "/opt"):
        assert image_store.inside(tmp_path, word) == word


def test_an_image_that_was_not_built_here_is_none(tmp_path):
    (tmp_path / "someid").mkdir()
    (tmp_path / "someid/config.json").write_text("{}")
    assert image_store.config(tmp_path, "someid") is None and image_store.config(tmp_path, "sha256:" + "0" * 64) is None
    with pytest.raises(KeyError):
        image_store.manifest(tmp_path, "sha256:" + "0" * 64)


def test_a_buildspec_is_read():
    spec = buildspecs.parse("version: 0.2\nenv: {variables: {A: 1}}\nphases: {build: {commands: [one, two]}}\n")
    assert spec.variables == {"A": "1"} and spec.commands["build"] == ["one", "two"] and spec.commands["install"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "YAML_FILE_ERROR"),
        ("version: 0.1\n", "version 0.2"),
        ("version: 0.2\nphases: {}\n", "At least one phase"),
        ("version: 0.2\nphases: {build: {commands: [{a: b}]}}\n", "string type in phase build"),
        ("version: 0.2\nphases: {build: {commands: [a], on-failure: CONTINUE}}\n", "on-failure in build: not supported"),
        ("version: 0.2\nenv: {secrets-manager: {}}\nphases: {}\n", "secrets-manager in env: not supported"),
        ("version: 0.2\nartifacts: {}\n", "artifacts in buildspec: not supported"),
    ],
)
def test_a_buildspec_that_cannot_be_carried_out_is_refused(text, message):
    with pytest.raises(buildspecs.BadBuildspec, match=message):
        buildspecs.parse(text)
