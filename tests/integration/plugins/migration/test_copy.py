# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_experiment_copy, mlflow_registered_model_copy and mlflow_content_info between real servers."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    mlflow_content_info,
    mlflow_experiment_copy,
    mlflow_registered_model_copy,
)

# The smaller half runs with every change; the sources are always both.
DESTINATIONS = [pytest.param("2.18.0", marks=pytest.mark.long), "3.17.2"]
pytestmark = pytest.mark.parametrize("server", DESTINATIONS, indirect=True, scope="module")
EXPERIMENT = "peculiar / ünit"


@pytest.fixture
def copy(run_module, server, source):
    """copy(module, {options}, check=False) from the source to the server."""

    def run(module, options, check=False):
        return run_module(module, server.connection | {"source_tracking_uri": source.url} | options, check=check)

    return run


@pytest.fixture
def info(run_module, server, source):
    """info("source" or "copy", {options}) of a server."""

    def run(which, options):
        where = {"tracking_uri": source.url} if which == "source" else server.connection | {"copied_from": source.url}
        found = run_module(mlflow_content_info, where | options)
        assert "failed" not in found, found["msg"]
        return found

    return run


def succeed(result):
    assert "failed" not in result, result["msg"]
    return result


def test_everything_is_carried_and_nothing_twice(copy, info, server, source):
    """Check mode foretells the run, the run is complete, and nothing is left to do; both servers hash alike."""
    held = info("source", {"with_deleted": True, "detail": "content"})
    names = [one["name"] for one in held["experiments"]]
    assert {"Default", EXPERIMENT, "deleted", "empty"} <= set(names)
    is_lesser = source.version > server.version
    left_out = set()
    for one in held["experiments"]:
        options = {"experiment_id": one["experiment_id"], "with_deleted": True, "on_clash": "rename"}
        foretold = succeed(copy(mlflow_experiment_copy, options, check=True))
        done = succeed(copy(mlflow_experiment_copy, options))
        assert foretold["changes"] == done["changes"] and foretold["copied"] == done["copied"]
        assert done["copied"]["runs"] == one["runs"] == len(done["experiment"]["runs"])
        for key in ("metrics", "params", "tags", "datasets"):
            assert done["copied"][key] == one[key], key
        for check in (True, False):
            again = succeed(copy(mlflow_experiment_copy, options, check=check))
            assert not again["changed"] and again["changes"] == [] and again["experiment"] == done["experiment"]
        left_out |= set(done["left_out"])
        if one["logged_models"]:
            assert any("need MLflow 3" in line for line in done["losses"]) == is_lesser
            assert any("traces stay behind" in line for line in done["losses"])
    for one in held["registered_models"]:
        options = {"name": one["name"], "unplaced_versions": "skip", "on_clash": "rename"}
        foretold = succeed(copy(mlflow_registered_model_copy, options, check=True))
        done = succeed(copy(mlflow_registered_model_copy, options))
        assert foretold["changes"] == done["changes"] and foretold["registered_model"] == done["registered_model"]
        again = succeed(copy(mlflow_registered_model_copy, options))
        assert not again["changed"] and again["registered_model"] == done["registered_model"]
        left_out |= set(done["left_out"])
        if done["registered_model"]:
            assert all(number == there for number, there in done["registered_model"]["versions"].items())
        else:
            assert one["prompt"] and is_lesser
            left_out |= {f"registered_model {one['name']}", f"version {one['name']}/1"}
    everything = {"with_deleted": True, "detail": "hashes"}
    here, there = info("source", everything), info("copy", everything)
    wanted = {key: value for key, value in here["digests"].items() if key not in left_out}
    assert {key for key, value in wanted.items() if there["digests"].get(key) != value} == set()
    assert set(there["digests"]) <= set(here["digests"])
    if not is_lesser:
        assert here["totals"] == there["totals"] and not left_out


def test_values_that_json_has_no_words_for(copy, client):
    done = succeed(copy(mlflow_experiment_copy, {"name": EXPERIMENT, "on_clash": "rename"}))
    body = {"experiment_ids": [done["experiment"]["experiment_id"]], "filter": "attributes.run_name = 'parent'"}
    run = client.call("POST", "runs/search", body=body)["runs"][0]
    answer = client.call("GET", "metrics/get-history", {"run_id": run["info"]["run_id"], "metric_key": "strange"})
    assert [str(one["value"]) for one in sorted(answer["metrics"], key=lambda one: one.get("step", 0))] == [
        "NaN", "1.7976931348623157e+308", "-1.7976931348623157e+308", "0.1",
    ]  # fmt: skip


def test_bad_input(copy, server, source):
    assert "did you mean" in copy(mlflow_experiment_copy, {"name": "peculiar / unit"})["msg"]
    assert "is deleted at the source" in copy(mlflow_experiment_copy, {"name": "deleted"})["msg"]
    assert "did you mean" in copy(mlflow_registered_model_copy, {"name": "champion quoted"})["msg"]
    nowhere = {"name": EXPERIMENT, "source_tracking_uri": "http://127.0.0.1:9", "retry_timeout": 0}
    assert "127.0.0.1:9" in copy(mlflow_experiment_copy, nowhere)["msg"]
    # The destination wants a login, as a source would.
    backwards = {"name": EXPERIMENT, "source_tracking_uri": server.url}
    assert "wants a user name and a password" in copy(mlflow_experiment_copy, backwards)["msg"]
    token = backwards | {"source_token": "a-token-that-has-expired"}
    assert "give a token that has not expired and run again" in copy(mlflow_experiment_copy, token)["msg"]
    small = {"name": EXPERIMENT, "refresh": True, "largest_artifact_mib": 5}
    refused = copy(mlflow_experiment_copy, small)
    assert "has 6 MiB, and the destination takes 5 MiB" in refused["msg"] and refused["changes"] == []
