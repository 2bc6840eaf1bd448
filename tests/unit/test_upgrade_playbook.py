# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""upgrade.yml deploys what site.yml deploys, whatever the version: the next site.yml must find nothing to change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
# What upgrade.yml says besides: role and entry point to wires.
BESIDES = {("preflight", "main"): set(), ("ecs_mlflow", "deploy"): {"ecs_mlflow_wait_for_replaced"}, ("verify", "main"): set()}


def wires(name: str) -> dict[tuple[str, str], dict[str, object]]:
    """The variables that a playbook hands to each entry point, within blocks too."""
    found = {}

    def read(tasks: list[dict]) -> None:
        for task in tasks:
            for part in ("block", "rescue", "always"):
                read(task.get(part, []))
            role = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role")
            if role:
                found[role["name"].rsplit(".", 1)[-1], role.get("tasks_from", "main")] = task.get("vars", {})

    read(yaml.safe_load((PLAYBOOKS / name).read_text())[0]["tasks"])
    return found


@pytest.mark.parametrize("entry", sorted(BESIDES))
def test_an_upgrade_wires_as_a_deployment_does(entry):
    upgrade = wires("upgrade.yml")[entry]
    assert set(upgrade) - set(wires("site.yml")[entry]) == BESIDES[entry]
    assert {key: value for key, value in upgrade.items() if key not in BESIDES[entry]} == wires("site.yml")[entry]


def test_going_back_wires_as_going_forth_does():
    upgrade = wires("upgrade.yml")
    back = dict(upgrade["ecs_mlflow", "revert"])
    assert back.pop("ecs_mlflow_task_definition_arn") == "{{ __upgrade_plan.task_definition_arn }}"
    assert back == upgrade["ecs_mlflow", "deploy"]
