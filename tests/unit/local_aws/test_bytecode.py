# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from local_aws import bytecode, images

IMAGE = f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
PACKAGE = "answer = 42\n"
FAKE_UV = """#!/bin/sh
# Installs a package as uv does it: linked from the cache.
for target; do :; done
mkdir -p "$target/thing-1.0.dist-info" && ln "$UV_CACHE_DIR/thing.py" "$target/thing.py"
"""


class Machine:
    """A machine whose uv has one package, and containers on it."""

    def __init__(self, folder):
        self.folder = folder
        self.cache = folder / "cache"
        self.cache.mkdir()
        (self.cache / "thing.py").write_text(PACKAGE, encoding="utf-8")
        self.uv = folder / "uv"
        self.uv.write_text(FAKE_UV, encoding="utf-8")
        self.uv.chmod(0o755)

    def container(self, name):
        """A container in which the package is installed: its folder of packages, and its variables."""
        folder = self.folder / name
        image = images.pull(IMAGE, folder / "image")
        packages = folder / "tmp"
        packages.mkdir()
        variables = bytecode.prepare(image.folder, folder / "bytecode", self.cache)
        variables |= {"PATH": f"{image.bin}:/usr/bin:/bin", "PYTHONPATH": str(packages)}
        pip = folder / "pip"
        pip.write_text(
            images.pip_script(str(self.uv), image.folder, {"UV_CACHE_DIR": str(self.cache)}), encoding="utf-8"
        )
        # From the folder above, by a relative path.
        subprocess.run(["sh", str(pip), "install", "--target", packages.name], env=variables, cwd=folder, check=True)
        return packages, variables

    def kept(self):
        return {path.relative_to(self.cache): path.stat().st_ino for path in (self.cache / bytecode.KEPT).rglob("*.pyc")}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def imported(container):
    packages, variables = container
    program = "import json, thing; print(thing.answer, thing.__file__)"
    done = subprocess.run(["python", "-c", program], env=variables, capture_output=True, text=True, check=True)
    answer, file = done.stdout.split()
    assert file == str(packages / "thing.py")
    return int(answer)


def test_the_next_container_compiles_nothing_that_the_first_one_did(machine):
    assert imported(machine.container("first")) == 42
    kept = machine.kept()
    names = {path.name.split(".")[0] for path in kept}
    assert {"thing", "decoder"} <= names
    assert imported(machine.container("second")) == 42
    assert machine.kept() == kept


def test_another_source_is_compiled_anew(machine):
    assert imported(machine.container("first")) == 42
    (machine.cache / "thing.py").unlink()
    (machine.cache / "thing.py").write_text("answer = 4321\n", encoding="utf-8")
    assert imported(machine.container("second")) == 4321


def test_a_container_writes_nothing_beside_its_packages(machine):
    packages, _variables = container = machine.container("first")
    imported(container)
    assert sorted(os.listdir(packages)) == ["thing-1.0.dist-info", "thing.py"]


def test_an_interpreter_whose_library_is_elsewhere_is_left_alone(tmp_path):
    (tmp_path / "lib" / "python3.11").mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text(f"home = {tmp_path}/nowhere/bin\n", encoding="utf-8")
    assert bytecode.prepare(tmp_path, tmp_path / "bytecode", tmp_path / "cache") == {}
    assert not (tmp_path / "bytecode").exists()
