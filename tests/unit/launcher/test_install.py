# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installation: what pip is told, when it is tried again, and what is said when it never works."""
from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pip that notes its arguments, environment and input, and fails as often as the file `failures` has lines."""
    script = tmp_path / "pip"
    script.write_text(f"""#!/bin/sh
cd {tmp_path}
echo "$@" >> arguments; env > environment; for last; do :; done; cat "$last" > requirements
if [ -s failures ]; then
  sed -i 1d failures; echo "Looking in indexes"; echo "ERROR: No matching distribution"; exit 1
fi
""")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"mlflow": "3.17.2"}[name])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "/before")


def settings(launcher: ModuleType, environment: dict[str, str]):
    return launcher.Settings(environment | {"LAUNCHER_REQUIREMENTS": "# pins\nmlflow==3.17.2\nboto3==1.44.5"})


def test_exactly_the_pins_are_installed_where_it_may_write(
        launcher: ModuleType, environment: dict[str, str], pip: Path, installed: None, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LAUNCHER_DB_PASSWORD", "canary")
    launcher.install(settings(launcher, environment))
    arguments = (pip / "arguments").read_text()
    target = re.match(r"install --quiet --no-deps --target (\S+) -r ", arguments)[1]
    assert sys.path[0] == target and os.environ["PYTHONPATH"].split(":")[0] == target
    assert (pip / "requirements").read_text() == "# pins\nmlflow==3.17.2\nboto3==1.44.5\n"
    told = (pip / "environment").read_text()
    assert "canary" not in told and "PIP_NO_INPUT=1\n" in told and "PIP_NO_COMPILE=1\n" in told
    assert "installed 2 packages for MLflow 3.17.2 in 0 s" in capsys.readouterr().out


def test_a_failing_index_is_tried_again(
        launcher: ModuleType, environment: dict[str, str], pip: Path, installed: None, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]):
    pauses: list[float] = []
    monkeypatch.setattr(launcher.time, "sleep", pauses.append)
    (pip / "failures").write_text("1\n2\n")
    launcher.install(settings(launcher, environment))
    assert pauses == [2, 5]
    assert "pip failed (ERROR: No matching distribution); trying again in 2 s" in capsys.readouterr().out


def test_an_index_that_never_answers_ends_the_task(
        launcher: ModuleType, environment: dict[str, str], pip: Path, monkeypatch: pytest.MonkeyPatch):
    pauses: list[float] = []
    monkeypatch.setattr(launcher.time, "sleep", pauses.append)
    (pip / "failures").write_text("\n" * 99)
    with pytest.raises(launcher.Problem, match="in 5 tries .*No matching distribution.*package index") as caught:
        launcher.install(settings(launcher, environment))
    assert caught.value.code == 69
    assert pauses == sorted(pauses) and len(pauses) == 4


def test_an_image_without_pip_is_named(
        launcher: ModuleType, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(launcher.Problem, match="cannot run pip") as caught:
        launcher.install(settings(launcher, environment))
    assert caught.value.code == 78


@pytest.mark.parametrize("found", ["2.18.0", None])
def test_another_mlflow_than_wanted_is_refused(
        launcher: ModuleType, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, found: str | None):
    def version(name: str) -> str:
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found
    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(launcher.Problem, match=f"is 3.17.2, but MLflow {found or 'none'} is installed") as caught:
        launcher.install(launcher.Settings(environment))
    assert caught.value.code == 78
