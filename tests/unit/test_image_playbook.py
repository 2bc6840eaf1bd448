# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""image.yml keeps the key that site.yml keeps, and every playbook that deploys tasks takes the image in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"


def tasks(name: str) -> list[dict]:
    return yaml.safe_load((PLAYBOOKS / name).read_text())[0]["tasks"]


def wires(name: str, role: str, entry: str = "main") -> dict:
    for task in tasks(name):
        imported = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
        if imported.get("name", "").endswith(f".{role}") and imported.get("tasks_from", "main") == entry:
            return task["vars"]
    raise AssertionError(f"{name}: no {role} {entry}")


def test_the_key_is_the_same_as_a_deployment_s():
    assert wires("image.yml", "encryption") == wires("site.yml", "encryption")


@pytest.mark.parametrize("name", ["upgrade.yml", "scale.yml"])
def test_the_image_is_taken_before_the_preflight_as_site_yml_takes_it(name):
    def taken(playbook: str) -> tuple[int, dict]:
        return next(
            (number, task) for number, task in enumerate(tasks(playbook)) if task.get("ansible.builtin.include_tasks") == "tasks/image.yml"
        )

    number, task = taken(name)
    assert task == taken("site.yml")[1]
    assert tasks(name)[number + 1]["ansible.builtin.import_role"]["name"].endswith(".preflight")


def test_the_image_is_asked_for_by_what_it_is_built_with():
    asked = next(one["vars"] for one in yaml.safe_load((PLAYBOOKS / "tasks/image.yml").read_text()) if "vars" in one)
    assert asked.items() <= wires("image.yml", "image").items()
