# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers take and refuse the same tags, aliases and names of models as the module does beforehand."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_errors, mlflow_resources
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_registered_model

KEYS = ["a", "a b", "team/sub", "a.b-c_d:e", "ünit", "x" * 250, "x" * 251, "a,b", "a/", "a//b", "../a", "."]
ALIASES = ["champion", "v", "v1a", "latest-1", "7", "Latest", "V12", "a b", "x" * 255, "x" * 256]


def taken(client, path, body):
    try:
        client.call("POST", f"registered-models/{path}", body=body)
    except mlflow_errors.MlflowError as error:
        assert error.error_code == "INVALID_PARAMETER_VALUE"
        return False
    return True


def passes(refuse, options):
    try:
        refuse(options)
    except ValueError:
        return False
    return True


@pytest.fixture
def model(run_module, server, client):
    options = server.connection | {"name": "refusals"}
    assert run_module(mlflow_registered_model, options)["changed"]
    run = client.call("POST", "runs/create", body={"experiment_id": "0"})["run"]["info"]
    source = {"source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    client.call("POST", "model-versions/create", body={"name": "refusals", **source})
    yield {"name": "refusals"}
    run_module(mlflow_registered_model, options | {"state": "absent"})


def test_the_server_agrees_about_tags_and_aliases(client, model):
    for key in KEYS:
        done = taken(client, "set-tag", {**model, "key": key, "value": "1"})
        assert done == passes(mlflow_resources.refuse_tags, {key: "1"}), key
    for alias in ALIASES:
        done = taken(client, "alias", {**model, "alias": alias, "version": "1"})
        assert done == passes(mlflow_resources.refuse_aliases, {alias: 1}), alias


@pytest.mark.parametrize("name", ["with/slash", "with:colon"])
def test_slashes_and_colons_in_names(run_module, server, name):
    options = server.connection | {"name": name}
    predicted, done = (run_module(mlflow_registered_model, options, check=check) for check in (True, False))
    if server.version.startswith("2."):
        assert predicted["changes"] == done["changes"] == [{"action": "create"}]
        assert run_module(mlflow_registered_model, options | {"state": "absent"})["changed"]
    else:
        assert predicted["msg"] == done["msg"] and "this server refuses it" in done["msg"] and not done["changed"]
