# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags, aliases and names that MLflow would not take are refused before the first change; what is not given stays."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_resources
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_experiment, mlflow_registered_model
from hypothesis import given
from hypothesis import strategies as st

from .conftest import refusal
from .permissions import LikeMlflowWithPermissions

ANYTHING = st.one_of(st.text(max_size=300), st.integers(), st.none(), st.booleans(), st.lists(st.text(), max_size=1))


@pytest.fixture
def mlflow(http):
    """The model v has two versions."""
    mlflow = LikeMlflowWithPermissions(http)
    mlflow.experiments_create(None, {"name": "one", "tags": [{"key": "a", "value": "1"}]})
    mlflow.registered_models_create(None, {"name": "v", "tags": [{"key": "a", "value": "1"}]})
    mlflow.models["v"]["aliases"] = [{"alias": "champion", "version": "1"}]
    return mlflow


@pytest.fixture
def refused(run_module, connection, mlflow):
    """refused(module, {options}) is the message, the same in check mode, of a run that changed nothing."""

    def run(module, options):
        messages = []
        for check in (True, False):
            failed = run_module(module, connection | options, check=check)
            assert failed["failed"] and failed["changes"] == [] and not failed["changed"] and mlflow.calls == []
            messages.append(failed["msg"])
        assert messages[0] == messages[1] and "\n" not in messages[0]
        return messages[0]

    return run


@given(st.dictionaries(ANYTHING.filter(lambda one: not isinstance(one, list)), ANYTHING, max_size=3))
def test_hostile_options_are_taken_or_refused_in_one_line(options):
    for refuse in (mlflow_resources.refuse_tags, mlflow_resources.refuse_aliases):
        try:
            refuse(options)
        except ValueError as error:
            assert str(error).splitlines() == [str(error)]


@pytest.mark.parametrize("key", ["a", "a b", "team/sub", "a.b-c_d:e", "ünit", "mlflow.note.content", "x" * 250, "a..b"])
def test_keys_of_tags(key):
    mlflow_resources.refuse_tags({key: "1"})


@pytest.mark.parametrize(
    "key", ["", "x" * 251, "a\n", "a,b", "é😀", "/a", "a/", "a//b", "./a", "../a", "a/../b", ".", "..", "..a"]
)
def test_what_cannot_be_the_key_of_a_tag(key):
    with pytest.raises(ValueError, match="cannot be the key of a tag"):
        mlflow_resources.refuse_tags({key: "1"})


@pytest.mark.parametrize("value", [None, [], {"a": 1}])
def test_values_of_tags_that_are_no_text(value):
    with pytest.raises(ValueError, match="'team' has a value that is no text"):
        mlflow_resources.refuse_tags({"team": value})


@pytest.mark.parametrize("alias", ["champion", "v", "v1a", "latest-1", "ünit", "-", 7, "x" * 255])
def test_aliases(alias):
    mlflow_resources.refuse_aliases({alias: 3})
    mlflow_resources.refuse_aliases({alias: "3"})


@pytest.mark.parametrize(
    ("alias", "version", "reason"),
    [
        ("a b", 1, "cannot be an alias"),
        ("", 1, "cannot be an alias"),
        ("x" * 256, 1, "cannot be an alias"),
        ("Latest", 1, "is reserved"),
        ("V12", 1, "is reserved"),
        *(("a", version, "give the number") for version in (0, -1, "01", 1.0, "one", "", None, True, [1], "1\n", "١")),
    ],
)
def test_what_cannot_be_an_alias(alias, version, reason):
    with pytest.raises(ValueError, match=reason):
        mlflow_resources.refuse_aliases({alias: version})


def test_modules_refuse_them_before_the_first_change(refused, mlflow):
    mlflow.experiments["1"]["lifecycle_stage"] = "deleted"
    assert "key of a tag" in refused(mlflow_experiment, {"name": "one", "state": "restored", "tags": {"a//b": 1}})
    options = {"name": "v", "description": "new"}
    assert "key of a tag" in refused(mlflow_registered_model, options | {"tags": {"a,b": 1}})
    assert "is reserved" in refused(mlflow_registered_model, options | {"aliases": {"latest": 1}})
    assert "version 3, which model 'v'" in refused(mlflow_registered_model, options | {"aliases": {"new": 3}})


def test_a_name_that_the_server_does_not_look_for(refused, mlflow):
    """Newer servers answer so even to a GET."""
    path = "/api/2.0/mlflow/registered-models/get"
    mlflow.override[path] = refusal(400, "INVALID_PARAMETER_VALUE", "Invalid model name 'a/b'.")
    assert "name: 'a/b'; this server refuses it; choose one without" in refused(mlflow_registered_model, {"name": "a/b"})
    mlflow.override[path] = refusal(400, "BAD_REQUEST", "no")
    assert "BAD_REQUEST" in refused(mlflow_registered_model, {"name": "a"})


def test_nothing_is_purged_without_saying_what_stays(run_module, connection, mlflow):
    purge = {"purge_tags": True}
    kept = run_module(mlflow_experiment, connection | {"name": "one"} | purge)
    assert not kept["changed"] and kept["experiment"]["tags"] == {"a": "1"}
    kept = run_module(mlflow_registered_model, connection | {"name": "v", "purge_aliases": True} | purge)
    assert not kept["changed"] and kept["registered_model"]["aliases"] == {"champion": "1"}
    emptied = {"name": "v", "tags": {}, "aliases": {}, "purge_aliases": True}
    gone = run_module(mlflow_registered_model, connection | emptied | purge)
    assert gone["registered_model"]["tags"] == gone["registered_model"]["aliases"] == {}
    assert [one["action"] for one in gone["changes"]] == ["remove_tag", "remove_alias"]
    assert not run_module(mlflow_registered_model, connection | emptied | purge)["changed"]
