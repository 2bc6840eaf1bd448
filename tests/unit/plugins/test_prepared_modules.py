# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules are ready before their tasks need them, and nothing is left of that or depends on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.mlops.mlflow_aws.plugins.callback import prepared_modules

ROOT = Path(__file__).parents[3]
FIND = {"ansible.builtin.find": {"paths": "."}}
MANY = [{f"ansible.builtin.{name}": {}} for name in ("apt", "dnf5", "git", "group", "known_hosts", "mount_facts", "service_facts", "user")]


def run(folder: Path, tasks: list[dict[str, t.Any]], callback: str = "mlops.mlflow_aws.prepared_modules") -> subprocess.CompletedProcess[str]:
    playbook, kept = folder / "playbook.yml", folder / "kept"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    interpreter = f"ansible_python_interpreter={sys.executable}"
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "-e", interpreter, str(playbook)]
    environment = {**os.environ, "ANSIBLE_CALLBACKS_ENABLED": callback, "ANSIBLE_LOCAL_TEMP": str(kept), "ANSIBLE_DEBUG": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_a_task_finds_its_module_ready(tmp_path):
    tasks = [{"ansible.builtin.wait_for": {"timeout": 2}}, {"block": [FIND]}]
    ready, alone = run(tmp_path, tasks), run(tmp_path, tasks, callback="mlops.mlflow_aws.timeline")
    found = [one.stdout.count("using cached module: ") for one in (ready, alone)]
    assert ready.returncode == alone.returncode == 0 and found[0] > found[1], (found, ready.stdout[-4000:])
    assert any("using cached module: " in line and "ansible.modules.find" in line for line in ready.stdout.splitlines())
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_run_that_ends_early_leaves_nothing(tmp_path):
    ended = run(tmp_path, [{"ansible.builtin.fail": {"msg": "enough"}}, *MANY])
    assert ended.returncode == 2 and "enough" in ended.stdout
    assert list((tmp_path / "kept").iterdir()) == []


def prepared(folder: Path, names: list[str], before: str = "") -> set[str]:
    """What a process of its own, with Ansible's way to find plugins, has put together."""
    program = f"""
import json, pathlib
from ansible.executor import module_common
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
from ansible_collections.mlops.mlflow_aws.plugins.callback import prepared_modules
{before}
prepared_modules.prepare_all({names})
kept = pathlib.Path(prepared_modules.constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")
print(json.dumps([one.name.split("-")[0] for one in kept.glob("*") if one.suffix != ".lock"]))
"""
    environment = {**os.environ, "ANSIBLE_LOCAL_TEMP": str(folder)}
    return set(json.loads(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, env=environment, text=True)))


def test_modules_are_put_together_and_what_is_none_is_left_alone(tmp_path):
    names = ["ansible.builtin.find", "mlops.mlflow_aws.deployment_check", "ansible.builtin.set_fact", "ansible.builtin.copy", "no.such.module"]
    assert prepared(tmp_path, names) == {"ansible.modules.find", "ansible_collections.mlops.mlflow_aws.plugins.modules.deployment_check"}


@pytest.mark.parametrize("change", ["del module_common._compile_module_ast", "module_common.modify_module = lambda: None"])
def test_another_ansible_core_is_no_failure(tmp_path, change):
    assert prepared(tmp_path, ["ansible.builtin.find"], change) == set()


def test_the_process_beside_ends_with_the_run():
    callback = prepared_modules.CallbackModule()
    callback.v2_playbook_on_play_start(types.SimpleNamespace(compile=lambda: time.sleep(600)))
    assert [one.is_alive() for one in callback._beside] == [True]
    callback._end()
    assert [one.exitcode for one in callback._beside] == [-signal.SIGKILL]
