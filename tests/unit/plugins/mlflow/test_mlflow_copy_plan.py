# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What copying takes: names, steps, requests, addresses."""

from __future__ import annotations

import itertools
import json

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_copy_content as content,
    mlflow_copy_plan as plan,
    mlflow_copy_versions as versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import Experiment, Model
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = "http://here"


def run(run_id, tags=None, deleted=False, **more):
    info = {"run_id": run_id, "experiment_id": "1", "status": "FINISHED", "run_name": run_id, **more}
    info["lifecycle_stage"] = "deleted" if deleted else "active"
    return content.run({"info": info, "data": {"tags": content.tag_list(tags or {})}})


def copy_of(source, run_id="c", deleted=False, complete=True, **tags):
    marks = {
        **plan.marks(HERE, source.run_id),
        **({content.COMPLETE: content.seen(source)} if complete else {}),
        **tags,
    }
    return run(run_id, marks, deleted)


def experiment(number, name, stage="active", **tags):
    return Experiment(str(number), name, "mlflow-artifacts:/1", stage, tags)


# Names


def test_where_an_experiment_goes():
    one = experiment(3, "churn")
    copied = experiment(8, "other name", **{content.SOURCE: HERE, content.ID: "3"})
    stranger, deleted = experiment(5, "churn"), experiment(5, "churn", "deleted")
    default, theirs = experiment(0, "Default"), experiment(0, "Standard")
    assert plan.place(one, "churn", [default], HERE, "fail") == plan.Place("churn", None)
    assert plan.place(one, "churn", [stranger, copied], HERE, "fail") == plan.Place("other name", copied)
    assert plan.place(default, "Default", [theirs], HERE, "fail") == plan.Place("Standard", theirs)
    assert plan.place(default, "Default", [], HERE, "fail") == plan.Place("Default", None)
    assert plan.place(one, "churn", [stranger], HERE, "rename") == plan.Place("churn-migrated", None)
    second = experiment(6, "churn-migrated")
    assert plan.place(one, "churn", [stranger, second], HERE, "rename").name == "churn-migrated-2"
    assert "a deleted experiment" in plan.place(one, "churn", [deleted], HERE, "skip").skipped
    with pytest.raises(ValueError, match="is no copy of this one; say on_clash"):
        plan.place(one, "churn", [stranger], HERE, "fail")


def test_tags_of_an_experiment():
    one = experiment(3, "churn", team="a")
    marked = {"team": "a", content.SOURCE: HERE, content.ID: "3"}
    assert plan.experiment_tags(one, None, HERE) == marked
    assert plan.experiment_tags(one, experiment(8, "churn", **marked), HERE) == {}
    default = experiment(0, "Default", team="a", note="b")
    assert plan.experiment_tags(default, experiment(0, "Default", team="theirs"), HERE) == {"note": "b"}


# Runs


def test_copies_are_known_by_their_marks():
    one = run("r")
    unfinished, complete = copy_of(one, "u", deleted=True, complete=False), copy_of(one, "c")
    for order in itertools.permutations(
        [run("x"), copy_of(one, "s", **{content.SOURCE: "elsewhere"}), unfinished, complete]
    ):
        assert plan.copies(order, HERE) == {"r": complete}
    with pytest.raises(ValueError, match="two copies of run r"):
        plan.copies([complete, copy_of(one, "d", complete=False)], HERE)


@pytest.mark.parametrize(
    ("source_deleted", "copy_deleted", "complete", "all_deleted", "revived", "refresh", "action"),
    [
        (False, False, True, False, False, False, None),
        (False, False, True, False, False, True, plan.FINISH),
        (False, False, False, False, False, False, plan.FINISH),
        (True, False, True, False, False, False, plan.DELETE),
        (False, True, True, False, False, False, plan.RESTORE),
        (True, False, True, True, False, False, None),
        (False, True, True, False, True, False, None),
        (True, True, True, False, True, False, plan.DELETE),
    ],
)
def test_what_is_done_for_a_run(source_deleted, copy_deleted, complete, all_deleted, revived, refresh, action):
    one = run("r", deleted=source_deleted)
    steps = plan.run_steps([one], {"r": copy_of(one, "c", copy_deleted, complete)}, all_deleted, revived, refresh)
    assert [step.action for step in steps] == ([action] if action else [])


def test_a_changed_run_is_finished_again():
    there = {"r": copy_of(run("r", status="RUNNING"))}
    assert plan.run_steps([run("r", status="RUNNING")], there, False, False, False) == []
    assert plan.run_steps([run("r")], there, False, False, False)[0].action == plan.FINISH


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=16, unique_by=lambda pair: pair[0]))
def test_parents_come_before_their_children(pairs):
    """Whatever the ties, circles included: every run once, and no parent after its child unless they are a circle."""
    runs = [run(str(one), {content.PARENT: str(parent)}) for one, parent in pairs]
    waves = plan.waves(runs)
    assert sorted(one.run_id for wave in waves for one in wave) == sorted(one.run_id for one in runs)
    assert all(waves)
    depth = {one.run_id: number for number, wave in enumerate(waves) for one in wave}
    parents = {one.run_id: one.tags[content.PARENT] for one in runs}

    def in_circle(start):
        current, seen = start, set()
        while current in parents and current not in seen:
            seen.add(current)
            current = parents[current]
        return current in seen

    for one, parent in parents.items():
        if parent in parents and not in_circle(one):
            assert depth[parent] < depth[one]


def test_ties_to_what_is_not_carried_are_told():
    one = content.run({
        "info": {"run_id": "r", "experiment_id": "1", "status": "FINISHED"},
        "data": {"tags": [{"key": content.PARENT, "value": "p"}]},
        "inputs": {"model_inputs": [{"model_id": "m-1"}]},
        "outputs": {"model_outputs": [{"model_id": "m-2", "step": 3}]},
    })  # fmt: skip
    assert one.tied and one.outputs == {"m-2": 3}
    lines = list(plan.strangers([one], {"r"}, {"m-2"}))
    assert len(lines) == 2 and "parent run p" in lines[0] and "m-1" in lines[1] and "m-2" not in lines[1]
    assert list(plan.strangers([one], {"r", "p"}, {"m-1", "m-2"})) == []


KEY = st.text(min_size=1, max_size=6)
# A character takes one byte of JSON, or twelve.
LONG = st.builds(lambda character, count: character * count, st.sampled_from("aä😀"), st.integers(0, 8000))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2500), st.dictionaries(KEY, LONG, max_size=250), st.dictionaries(KEY, LONG, max_size=120))
def test_batches_hold_everything_within_the_limits(count, params, tags):
    metrics = [{"key": "m", "value": number, "timestamp": 1, "step": number} for number in range(count)]
    found = plan.batches(metrics, params, tags)
    assert [one for body in found for one in body.get("metrics", [])] == metrics
    assert [one for body in found for one in body.get("params", [])] == content.tag_list(params)
    assert [one for body in found for one in body.get("tags", [])] == content.tag_list(tags)
    for body in found:
        assert (
            len(body.get("metrics", [])) <= 1000
            and len(body.get("params", [])) <= 100
            and len(body.get("tags", [])) <= 100
        )
        assert 0 < sum(map(len, body.values())) <= 1000 and len(json.dumps(body)) < 1_000_000
    # The last tag is the mark that all is there.
    if tags:
        assert found[-1]["tags"][-1]["key"] == list(tags)[-1]


# Values


@given(st.floats())
def test_every_value_of_a_metric_is_json_and_stable(value):
    number = content.number(value)
    assert json.loads(json.dumps(number, allow_nan=False)) == number == content.number(number)


def test_points_that_a_database_takes_for_one_are_one():
    points = [
        content.point({"key": "k", "value": value, "timestamp": 1})
        for value in ("NaN", float("nan"), 0.0, -0.0, 0, "Infinity")
    ]
    assert len(content.sorted_points(points)) == 3


def test_ids_in_tags_are_replaced():
    history = json.dumps([{"run_id": "a", "artifact_path": "model"}])
    tags = {content.PARENT: "a", content.MODEL_HISTORY: history, "other": "a"}
    changed = content.with_ids(tags, {"a": "b"})
    assert changed == {content.PARENT: "b", content.MODEL_HISTORY: history.replace('"a"', '"b"', 1), "other": "a"}
    for broken in ("", "{", "7", '["a"]'):
        assert content.with_ids({content.MODEL_HISTORY: broken}, {"a": "b"}) == {content.MODEL_HISTORY: broken}


def test_a_copy_has_the_value_of_its_source():
    source = run("r", {content.PARENT: "p", "a": "b", content.RUN_NAME: "r"}, run_name="named")
    there = run("c", {content.PARENT: "q", "a": "b", **plan.marks(HERE, "r")}, run_name="named")
    files = [("a", 1, "hash")]
    assert content.run_value(source, [], files, {}) == content.run_value(there, [], files, {"q": "p", "c": "r"})
    nameless = run("r", run_name="")
    assert content.run_value(nameless, [], [], {}) == content.run_value(
        run("c", plan.marks(HERE, "r"), run_name="r"), [], [], {}
    )
    other = run("c", {"a": "c"}, run_name="named")
    assert content.run_value(source, [], files, {}) != content.run_value(other, [], files, {})


# Registered models


def version(source, run_id="", model_id="", number=1, **tags):
    return versions.version({
        "version": str(number), "source": source, "run_id": run_id, "model_id": model_id, "tags": content.tag_list(tags),
    })  # fmt: skip


@pytest.mark.parametrize(
    ("source", "run_root", "model_root", "spot"),
    [
        ("runs:/r/model", "", "", ("run", "r", "model")),
        ("runs:/r", "", "", ("run", "r", "")),
        ("models:/m-0a1b", "", "", ("logged_model", "m-0a1b", "")),
        ("models:/other/7", "", "", ("version", "other", "7")),
        ("mlflow-artifacts:/1/r/artifacts/a/b", "mlflow-artifacts:/1/r/artifacts", "", ("run", "r", "a/b")),
        ("mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts:/1/r/artifacts", "", ("run", "r", "")),
        ("file:///d/a%20b/r/artifacts/m", "/d/a b/r/artifacts", "", ("run", "r", "m")),
        ("/d/r/artifacts/m", "file:///d/r/artifacts/", "", ("run", "r", "m")),
        ("/d/r/artifacts2/m", "/d/r/artifacts", "", ("address", "", "/d/r/artifacts2/m")),
        ("s3://bucket/x", "s3://bucket/y", "", ("address", "", "s3://bucket/x")),
        (
            "mlflow-artifacts:/1/models/m-1/artifacts",
            "",
            "mlflow-artifacts:/1/models/m-1/artifacts",
            ("logged_model", "m-1", ""),
        ),
    ],
)
def test_where_the_files_of_a_version_are(source, run_root, model_root, spot):
    assert tuple(versions.spot(version(source, "r", "m-1" if model_root else ""), run_root, model_root)) == spot


def test_addresses():
    assert versions.joined("s3://a/", "b") == "s3://a/b" and versions.joined("s3://a", "") == "s3://a"
    assert versions.is_reachable("s3://a/b") and not versions.is_reachable("mlflow-artifacts:/1/x")
    assert not versions.is_reachable("/var/mlruns") and not versions.is_reachable("dummy-source")
    assert versions.named_run(version("runs:/r/m")) == "r" and versions.named_model(version("models:/m-1")) == "m-1"


def test_names_of_models():
    mine = Model("there", "", plan.marks(HERE, "churn"), {})
    stranger = Model("churn", "", {}, {})
    assert versions.place("churn", "churn", [mine, stranger], HERE, "fail") == ("there", mine, "")
    assert versions.place("churn", "churn", [], HERE, "fail") == ("churn", None, "")
    assert versions.place("churn", "churn", [stranger], HERE, "rename") == ("churn-migrated", None, "")
    assert versions.place("churn", "churn", [stranger], HERE, "skip")[2]
    with pytest.raises(ValueError, match="is no copy of this one"):
        versions.place("churn", "churn", [stranger], HERE, "fail")
    versions.refuse_name("a/b", 2)
    versions.refuse_name("ab", 3)
    with pytest.raises(ValueError, match="holds / and :, which MLflow 3 refuses"):
        versions.refuse_name("a/b:c", 3)


def test_models_come_after_what_they_are_made_of():
    made = {"a": ["c"], "b": ["a", "elsewhere"], "c": [], "d": ["e"], "e": ["d"]}
    assert versions.made_of([version("models:/c/1"), version("models:/m-1"), version("runs:/r")]) == {"c"}
    found = versions.in_order([{"name": name, "made_of": of} for name, of in made.items()])
    assert [one["name"] for one in found] == ["c", "a", "b", "d", "e"]


def test_versions_are_converged():
    one, two = version("runs:/r/m", number=1, a="b"), version("runs:/r/m", number=3)
    same = version("runs:/s/m", number=1, a="b", **plan.marks(HERE, "1"))
    other = same._replace(description="old", stage="Staging", tags={**same.tags, "a": "c"})
    assert versions.version_copies([same, version("x", number=2)], HERE) == {1: same}
    assert versions.version_steps([two, one], {1: same}) == [versions.VersionStep(two, None)]
    assert versions.version_steps([two, one], {1: other, 3: two}) == [versions.VersionStep(one, other)]
    assert versions.differences(one, other) == ["description", "stage", "tag:a"]
    assert versions.aliases_to_set({"a": "1", "b": "3", "c": "9"}, {"a": "1"}, {1: 1, 3: 4}) == {"b": "4"}
    assert versions.version_value(one, versions.Spot("run", "r", "m")) == versions.version_value(
        same, versions.Spot("run", "r", "m")
    )
    assert versions.model_value(Model("a", "d", {"t": "1"}, {})) == versions.model_value(
        Model("b", "d", {"t": "1", **plan.marks(HERE, "a")}, {})
    )
    assert versions.is_prompt({versions.PROMPT_TAG: "True"}) and not versions.is_prompt({})


def test_logged_models_are_copied_until_complete():
    answer = {"info": {"model_id": "m-1", "experiment_id": "1", "tags": [{"key": content.MODEL_VERSIONS, "value": "[]"}]}, "data": {
        "metrics": [{"key": "k", "value": 1, "timestamp": 5, "run_id": "r"}]}}  # fmt: skip
    one = content.logged_model(answer)
    assert one.own_tags() == {}
    assert plan.model_steps([one], {}, False) == [one] == plan.model_steps([one], {"m-1": one}, False)
    complete = one._replace(tags={content.COMPLETE: "true"})
    assert plan.model_steps([one], {"m-1": complete}, False) == [] and plan.model_steps(
        [one], {"m-1": complete}, True
    ) == [one]
    copied = one._replace(
        model_id="m-2", metrics=({"key": "k", "value": 1, "timestamp": 5, "run_id": "s"},), tags=plan.marks(HERE, "m-1")
    )
    assert content.model_value(one, [], {}) == content.model_value(copied, [], {"s": "r"})
