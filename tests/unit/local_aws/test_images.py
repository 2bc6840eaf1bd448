# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import sys

import pytest
from local_aws import images

OWN_MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize(("reference", "minor"), [
    ("python:3.11-slim", "3.11"),
    ("public.ecr.aws/docker/library/python:3.12-slim-bookworm", "3.12"),
    ("localhost:5000/mirror/python:3.9-slim", "3.9"),
    ("python:3.11", None),
    ("python:3-slim", None),
    ("python:3.11.7-slim", None),
    ("nginx:latest", None),
    ("notpython:3.11-slim", None),
    ("python:3.11-slim@sha256:0000", None),
])
def test_only_slim_python_images_are_known(reference, minor):
    assert images.python_minor(reference) == minor


class FakeInterpreters:
    def __init__(self, *minors):
        self._minors = minors

    def find(self, minor):
        return f"/python{minor}" if minor in self._minors else None

    def available(self):
        return list(self._minors)


def test_the_exact_minor_version_is_used():
    assert images.choose("python:3.12-slim", FakeInterpreters("3.12", OWN_MINOR)) == ("/python3.12", None)


def test_an_unknown_image_cannot_be_pulled():
    with pytest.raises(images.ImageError, match="^CannotPullContainerError: .*nginx:1: not found"):
        images.choose("nginx:1", FakeInterpreters(OWN_MINOR))


def test_a_missing_minor_version_names_those_there_are():
    with pytest.raises(images.ImageError, match="no Python 3.99 on this machine; available: 3.11, 3.12"):
        images.choose("python:3.99-slim", FakeInterpreters("3.11", "3.12"))


def test_python_3_11_alone_falls_back_to_the_own_interpreter_and_says_so(monkeypatch):
    monkeypatch.setattr(images, "FALLBACK_MINOR", "3.98")
    path, remark = images.choose("python:3.98-slim", FakeInterpreters(OWN_MINOR))
    assert path == f"/python{OWN_MINOR}"
    assert "no Python 3.98 on this machine" in remark and OWN_MINOR in remark


def test_a_pulled_image_runs_python_and_pip(tmp_path):
    environment = images.pull(f"python:{OWN_MINOR}-slim", tmp_path / "image")
    clean = {"PATH": f"{environment.bin}:/usr/bin:/bin", "HOME": str(tmp_path)}
    where = subprocess.run(["python", "-c", "import sys; print(sys.prefix)"], env=clean, capture_output=True, text=True,
                           check=True)
    assert where.stdout.strip() == str(environment.folder)
    for command in (["pip", "list"], ["pip3", "--version"], ["python", "-m", "pip", "freeze"]):
        assert subprocess.run(command, env=clean, capture_output=True, check=False).returncode == 0, command


def test_pip_drops_what_uv_does_not_know(tmp_path):
    fake_uv = tmp_path / "uv"
    fake_uv.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    fake_uv.chmod(0o755)
    script = tmp_path / "pip"
    script.write_text(images.pip_script(str(fake_uv), tmp_path, {"UV_DEFAULT_INDEX": "https://u:p'@i"}),
                      encoding="utf-8")
    arguments = ["install", "--no-cache-dir", "--timeout", "5", "a b", "--progress-bar=off", "-r", "x y.txt", "-q"]
    done = subprocess.run(["sh", str(script), *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["pip", "install", "a b", "-r", "x y.txt", "-q"]
    assert "export UV_DEFAULT_INDEX='https://u:p'\"'\"'@i'" in script.read_text(encoding="utf-8")


def test_the_index_settings_stay_in_pip(tmp_path):
    script = images.pip_script("uv", tmp_path, {"AWS_SECRET_ACCESS_KEY": "canary", "PIP_INDEX_URL": "https://i"})
    assert "canary" not in script
    assert "UV_DEFAULT_INDEX=https://i" in script


@pytest.mark.parametrize(("environment", "expected"), [({}, "true"), ({"UV_SYSTEM_CERTS": "false"}, "false")])
def test_pip_trusts_what_the_machine_trusts_unless_told_otherwise(tmp_path, environment, expected):
    assert f"export UV_SYSTEM_CERTS={expected}\n" in images.pip_script("uv", tmp_path, environment)


def test_the_remover_deletes_in_the_background(tmp_path):
    folder = tmp_path / "image"
    (folder / "lib").mkdir(parents=True)
    remover = images.Remover()
    remover.remove(folder)
    remover.join()
    assert not folder.exists()
