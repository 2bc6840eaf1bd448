# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the documentation of the MLflow modules, run as they stand on a real server."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_access, mlflow_own_password

from .conftest import ADMIN_PASSWORD

ROOT = Path(__file__).parents[3]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("mlflow_*.py"))
PLACE = "https://mlflow.example.com"


def plays(examples: str) -> list[dict]:
    """Examples are whole plays, or the tasks of one."""
    read = yaml.safe_load(examples)
    return read if "hosts" in read[0] else [{"hosts": "localhost", "gather_facts": False, "tasks": read}]


@pytest.mark.parametrize("server", ["3.17.2"], indirect=True)
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(server, run_module, tmp_path, name):
    module = importlib.import_module(f"ansible_collections.mlops.mlflow_aws.plugins.modules.{name}")
    assert PLACE in module.EXAMPLES
    playbook, variables = tmp_path / "playbook.yml", tmp_path / "variables.json"
    playbook.write_text(yaml.safe_dump(plays(module.EXAMPLES.replace(PLACE, server.url)), sort_keys=False))
    passwords = {one: f"a password of {one}" for one in re.findall(r"\{\{ (\w+_password) \}\}", module.EXAMPLES)}
    variables.write_text(json.dumps(passwords | {"mlflow_admin_password": ADMIN_PASSWORD}))
    command = ["ansible-playbook", "-c", "local", "-i", "localhost,", "-e", f"@{variables}", str(playbook)]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, timeout=300, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    # Nobody but the admin is left for other tests, with the same password.
    if "mlflow_next_admin_password" in passwords:
        changed = server.connection | {"password": passwords["mlflow_next_admin_password"], "new_password": ADMIN_PASSWORD}
        assert "failed" not in run_module(mlflow_own_password, changed)
    assert "failed" not in run_module(mlflow_access, server.connection | {"prune": "all"})
    assert run.returncode == 0, run.stdout[-4000:]
    assert not any(password in run.stdout for password in [*passwords.values(), ADMIN_PASSWORD])
