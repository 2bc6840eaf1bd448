# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every role, playbook and module, so that knowing one is knowing all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LINKS = ROOT / "playbooks/collections/ansible_collections/mlops/mlflow_aws"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml"))
# In these entry points something is waited for that main has started.
SLOW = {"network", "tls", "rds", "alb"}


def load(path: Path):
    return yaml.safe_load(path.read_text())


def specs(role: str) -> dict:
    return load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_the_same_entry_points(role):
    wanted = {"main", "info", "absent"} | ({"wait"} if role in SLOW else set())
    tasks = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert wanted <= tasks
    assert wanted <= set(specs(role)) <= tasks
    assert (ROOT / "roles" / role / "README.md").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_of_the_argument_specs(role):
    path = ROOT / "roles" / role / "defaults/main.yml"
    defaults = load(path) or {} if path.exists() else {}
    promised = {}
    for entry in specs(role).values():
        for name, option in (entry.get("options") or {}).items():
            if not option.get("required"):
                promised[name] = option.get("default")
    assert defaults == promised


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_name_of_their_role(role):
    for entry in specs(role).values():
        for name, option in (entry.get("options") or {}).items():
            assert name.startswith(f"{role}_")
            assert option["type"] and option["description"], name


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_names_every_variable_people_set(role):
    readme = (ROOT / "roles" / role / "README.md").read_text()
    if role == "ecs_mlflow":
        assert "meta/argument_specs.yml" in readme
        return
    missing = [name for name in (specs(role)["main"].get("options") or {}) if name not in readme]
    assert missing == []


def test_playbooks_are_part_of_the_collection():
    linked = {path.name for path in (LINKS / "playbooks").iterdir()}
    beside = {path.name for path in (ROOT / "playbooks").iterdir()} - {"collections"}
    assert linked == beside
    assert all((LINKS / "playbooks" / name).exists() for name in linked)


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_reaches_the_account_of_its_deployment(playbook):
    for play in load(ROOT / "playbooks" / playbook):
        if "ansible.builtin.import_playbook" in play:
            assert play["ansible.builtin.import_playbook"] in PLAYBOOKS
            continue
        assert play["hosts"] == "mlflow_deployments"
        assert play["environment"] == "{{ mlflow_aws_environment }}"


def test_supported_versions_are_those_with_pinned_dependencies():
    pinned = {path.stem for path in (ROOT / "roles/ecs_mlflow/files/constraints").glob("*.txt")}
    assert set(load(ROOT / "roles/ecs_mlflow/vars/main.yml")["ecs_mlflow_supported_versions"]) == pinned
    assert set(specs("ecs_mlflow")["deploy"]["options"]["ecs_mlflow_version"]["choices"]) == pinned


def test_the_action_group_holds_the_modules_that_talk_to_mlflow():
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("mlflow_*.py")}
    assert set(load(ROOT / "meta/runtime.yml")["action_groups"]["mlflow"]) == modules


def test_only_the_local_inventory_knows_the_local_aws():
    knowing = []
    for folder in ("plugins", "roles", "playbooks"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "collections" not in path.parts and path.suffix in (".py", ".yml", ".j2"):
                if "local_aws" in path.read_text() or "moto" in path.read_text().lower().split():
                    knowing.append(path.name)
    assert knowing == []
