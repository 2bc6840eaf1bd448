# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code, documentation and action group tell the same story."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.mlops.mlflow_aws.plugins.doc_fragments import mlflow, mlflow_source
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_checks, mlflow_client, mlflow_copy_servers
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health, mlflow_user

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("fragment", "spec"), [(mlflow, mlflow_client.argument_spec()), (mlflow_source, mlflow_copy_servers.source_spec())]
)
def test_the_doc_fragment_is_the_argument_spec(fragment, spec):
    options = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert options.keys() == spec.keys()
    for name, option in options.items():
        for key in ("type", "required", "default"):
            assert option.get(key) == spec[name].get(key), (name, key)


@pytest.mark.parametrize("module", [mlflow_health, mlflow_user])
def test_each_module_is_in_the_action_group_and_takes_the_connection(module):
    name = module.__name__.rsplit(".", 1)[-1]
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    assert name in runtime["action_groups"]["mlflow"]
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert (
        documentation["module"] == name and "mlops.mlflow_aws.mlflow" in documentation["extends_documentation_fragment"]
    )
    assert yaml.safe_load(module.EXAMPLES) and yaml.safe_load(module.RETURN)


def test_the_documented_checks_are_those_there_are():
    documented = yaml.safe_load(mlflow_health.DOCUMENTATION)
    assert documented["options"]["checks"]["choices"] == list(mlflow_checks.CHECKS)
    text = " ".join(documented["description"])
    assert all(f"C({name})" in text for name in mlflow_checks.CHECKS + (mlflow_checks.CLEANUP,))
