# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role verify alone, against a real server and without any AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as tree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Verify
      ansible.builtin.import_role:
        name: mlops.mlflow_aws.verify
        tasks_from: "{{ entry | default('main') }}"
    - name: Tell the outputs
      ansible.builtin.debug:
        msg: "{{ verify_outputs.passed }} {{ verify_outputs.version }} {{ verify_outputs.checks[0].name }}"
"""


@pytest.fixture
def play(server, tmp_path):
    def run(**variables):
        (tmp_path / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
        connection = server.connection
        given = {
            "ansible_python_interpreter": sys.executable,
            "verify_tracking_uri": connection["tracking_uri"],
            "verify_username": connection["username"],
            "verify_password": connection["password"],
            **variables,
        }
        (tmp_path / "vars.json").write_text(json.dumps(given), encoding="utf-8")
        ansible = str(Path(sys.executable).with_name("ansible-playbook"))
        command = [ansible, "-i", "localhost,", "-c", "local", "-v", "-e", f"@{tmp_path}/vars.json"]
        done = subprocess.run(
            [*command, str(tmp_path / "play.yml")],
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        said = done.stdout + done.stderr
        assert given["verify_password"] not in said
        return done.returncode, said

    return run


def test_a_green_verification(server, play, tmp_path):
    path = tmp_path / "health.xml"
    code, said = play(verify_junit_path=str(path), verify_mlflow_version=server.version)
    assert code == 0, said
    assert "    - liveness " in said and f"msg: True {server.version} liveness" in said
    assert tree.parse(path).getroot().get("failures") == "0"


def test_a_red_verification_shows_the_table_and_ends_with_a_code(server, play):
    code, said = play(verify_password="this-is-not-the-one", verify_checks=["liveness", "admin_login"])
    assert code == 2 and "-> check username and password" in said
    assert "fails 1 of 2 checks: admin_login" in said and "PLAY RECAP" in said
    code, said = play(verify_username="")
    assert code == 2 and "username: it is empty" in said


def test_info_only_reads(server, play):
    before = server.objects()
    code, said = play(entry="info")
    assert code == 0 and "check mode writes nothing" in said and server.objects() == before, said


def test_the_example_of_the_readme_is_a_play():
    readme = (ROOT / "roles/verify/README.md").read_text(encoding="utf-8")
    example = yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])
    assert example[0]["tasks"][0]["ansible.builtin.import_role"]["name"] == "mlops.mlflow_aws.verify"
