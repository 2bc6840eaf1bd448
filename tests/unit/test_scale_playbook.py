# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""scale.yml deploys what site.yml deploys, but for the sizes: the next site.yml must find nothing to change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
# What scale.yml is there to say otherwise: role and entry point to wires.
OTHERWISE = {
    ("preflight", "main"): {
        "preflight_task_cpu", "preflight_task_memory", "preflight_desired_count", "preflight_db_instance_class",
        "preflight_variable_names",
    },
    ("rds", "main"): {"rds_instance_class"},
    ("rds", "wait"): set(),
    ("ecs_mlflow", "deploy"): {
        "ecs_mlflow_cpu", "ecs_mlflow_memory", "ecs_mlflow_desired_count", "ecs_mlflow_min_count", "ecs_mlflow_max_count",
    },
    ("verify", "main"): set(),
}  # fmt: skip


def wires(name: str) -> dict[tuple[str, str], dict[str, object]]:
    """The variables that a playbook or a file of tasks hands to each entry point."""
    document = yaml.safe_load((PLAYBOOKS / name).read_text())
    found = {}
    for task in document[0].get("tasks", document):
        role = task.get("ansible.builtin.import_role")
        if role:
            entry = role["name"].rsplit(".", 1)[-1], role.get("tasks_from", "main")
            found[entry] = task.get("vars", {})
    return found


@pytest.mark.parametrize("entry", [("rds", "main"), ("rds", "wait")])
def test_a_restored_database_is_wired_as_a_deployed_one(entry):
    assert wires("tasks/restored_database.yml")[entry] == wires("site.yml")[entry]


@pytest.mark.parametrize("entry", sorted(OTHERWISE))
def test_scaling_wires_as_a_deployment_does(entry):
    site = wires("site.yml")[entry]
    scale = {**wires("scale.yml"), **wires("tasks/scale_database.yml")}[entry]
    allowed = OTHERWISE[entry]
    assert {key: value for key, value in scale.items() if key not in allowed} == {
        key: value for key, value in site.items() if key not in allowed
    }
    assert allowed <= set(scale)
