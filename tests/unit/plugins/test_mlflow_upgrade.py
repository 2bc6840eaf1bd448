# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade of MLflow means, and whether it may begin."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import ecs_client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_breaking_changes as changes
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_upgrade_plan as plan
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_upgrade_check

ROLE = Path(__file__).resolve().parents[3] / "roles" / "ecs_mlflow"
SUPPORTED = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["ecs_mlflow_supported_versions"]
DEPLOYMENT = changes.Deployment(workers=2, task_memory=2048, default_permission="READ", allowed_hosts=("a.example", "b.example"))
STEADY = plan.State("web", "2.18.0", "COMPLETED", 2, 2, "available", None)
BEGUN = plan.Begun("2.18.0", "3.17.2", "web-db-backup-1")


def decide(state: plan.State, wanted: str, always_snapshot: bool = False) -> tuple[dict[str, t.Any], list[str], list[str]]:
    found = Findings()
    return plan.decide(state, wanted, SUPPORTED, always_snapshot, found), found.problems, found.warnings


# --- The table


def test_every_supported_version_has_a_known_schema():
    assert set(changes.SCHEMAS) == set(SUPPORTED)


def test_changes_are_in_order_and_say_what_they_do_here():
    seen = changes.between((2, 18), (3, 17), DEPLOYMENT)
    assert [one.since for one in changes.CHANGES] == sorted(one.since for one in changes.CHANGES)
    assert len(seen) == len(changes.CHANGES) >= 12
    effects = " ".join(one["effect"] for one in seen)
    assert "798 MiB instead of 616 MiB for 2 workers; a task has 2048 MiB" in effects
    assert "a.example, b.example only" in effects and "everybody else has READ" in effects
    assert all(one["change"][0].isupper() and not one["effect"].endswith(".") for one in seen)


def test_effects_follow_the_deployment():
    closed = changes.between((3, 4), (3, 13), DEPLOYMENT._replace(default_permission="NO_PERMISSIONS", allowed_hosts=()))
    effects = " ".join(one["effect"] for one in closed)
    assert "private addresses only" in effects and "everybody else" not in effects
    assert "3.3" not in [one["since"] for one in closed]


def test_a_patch_release_changes_nothing_known():
    assert changes.between((3, 17), (3, 17), DEPLOYMENT) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("2.18.0", "2.22.5", True), ("3.17.1", "3.17.2", True), ("2.22.5", "3.17.1", False), ("2.18.0", "9.9.9", False), ("9.9.9", "9.9.9", True)],
)
def test_schemas_of_versions(one, other, same):
    assert {changes.same_schema(*pair) for pair in ((one, other), (other, one))} == {same}


# --- What is under way


@given(st.sampled_from(SUPPORTED), st.sampled_from(SUPPORTED), st.sampled_from(["", "web-db-backup-20261128-020000"]))
def test_a_tag_keeps_an_upgrade(old, new, snapshot):
    one = plan.Begun(old, new, snapshot)
    assert plan.begun(one.tag()) == one


@given(st.text())
def test_a_tag_is_understood_or_refused(text):
    try:
        plan.begun(text)
    except ValueError as error:
        assert plan.TAG in str(error)


# --- The decision


def test_an_upgrade_with_another_schema_takes_a_snapshot_and_settles():
    decided, problems, warnings = decide(STEADY, "3.17.2")
    assert (problems, warnings) == ([], [])
    assert decided == {
        "action": "upgrade",
        "running_version": "2.18.0",
        "from_version": "2.18.0",
        "schema_moves": True,
        "snapshot": True,
        "snapshot_id": "",
        "settles": True,
    }


@pytest.mark.parametrize("always", [False, True])
def test_an_upgrade_with_the_same_schema_takes_a_snapshot_only_if_asked(always):
    decided, problems, _warnings = decide(STEADY, "2.22.5", always)
    assert problems == []
    assert (decided["schema_moves"], decided["snapshot"], decided["settles"]) == (False, always, False)


def test_the_version_that_runs_is_nothing_to_do():
    decided, problems, _warnings = decide(STEADY._replace(rollout_state="IN_PROGRESS"), "2.18.0")
    assert (decided["action"], decided["snapshot"], decided["settles"], problems) == ("none", False, False, [])


def test_going_back_is_possible_where_the_schema_is_the_same_only():
    _decided, problems, _warnings = decide(STEADY._replace(version="3.17.2"), "2.22.5")
    assert len(problems) == 1 and "an older version cannot read" in problems[0] and "restore a snapshot" in problems[0]
    decided, problems, warnings = decide(STEADY._replace(version="3.17.2"), "3.17.1")
    assert problems == [] and decided["action"] == "upgrade" and "is older than MLflow 3.17.2" in warnings[0]


@pytest.mark.parametrize(
    ("wanted", "change", "reason"),
    [
        ("3.18.0", {}, "is not a supported version of MLflow; choose one of 2.18.0"),
        ("3.17", {}, "is not a supported version"),
        ("3.17.2", {"version": None}, "there is no such deployment"),
        ("3.17.2", {"rollout_state": "IN_PROGRESS"}, "are not steady (2 of 2 run, the rollout is IN_PROGRESS)"),
        ("3.17.2", {"rollout_state": None}, "the rollout is not known"),
        ("3.17.2", {"running_count": 1}, "1 of 2 run"),
        ("3.17.2", {"running_count": 0, "desired_count": 0}, "no task runs"),
        ("3.17.2", {"db_status": "storage-full"}, "its database is storage-full"),
        ("3.17.2", {"db_status": None}, "its database is missing"),
        ("2.22.5", {"tag": BEGUN.tag()}, "an upgrade from MLflow 2.18.0 to 3.17.2 is not over"),
        ("3.17.2", {"tag": "something"}, "it is not of an upgrade"),
    ],
)
def test_what_cannot_work_is_refused(wanted, change, reason):
    _decided, problems, _warnings = decide(STEADY._replace(**change), wanted)
    assert len(problems) == 1 and reason in problems[0]


def test_a_run_that_was_stopped_goes_on_with_the_snapshot_it_had():
    unsteady = STEADY._replace(tag=BEGUN.tag(), rollout_state="FAILED", running_count=1)
    decided, problems, _warnings = decide(unsteady, "3.17.2", True)
    assert problems == []
    assert (decided["action"], decided["snapshot"], decided["snapshot_id"]) == ("upgrade", False, "web-db-backup-1")
    decided, problems, _warnings = decide(unsteady._replace(version="3.17.2"), "3.17.2")
    assert problems == []
    assert (decided["action"], decided["settles"], decided["from_version"]) == ("finish", True, "2.18.0")
    without = BEGUN._replace(snapshot="").tag()
    assert decide(unsteady._replace(tag=without), "3.17.2")[0]["snapshot"] is True


@pytest.mark.parametrize(
    ("wanted", "change", "reason"),
    [
        ("2.18.0", {}, None),
        ("2.22.5", {}, None),
        ("3.17.2", {"version": None}, None),
        ("3.17.2", {}, "run upgrade.yml, which takes a snapshot first"),
        ("2.18.0", {"tag": BEGUN.tag()}, "run upgrade.yml with 3.17.2 first"),
        ("2.18.0", {"tag": "x"}, "it is not of an upgrade"),
    ],
)
def test_a_deployment_changes_no_schema_by_the_way(wanted, change, reason):
    found = Findings()
    plan.refuse_unplanned(STEADY._replace(**change), wanted, found)
    assert (found.problems == []) if reason is None else (len(found.problems) == 1 and reason in found.problems[0])


# --- The module

SERVICE = {
    "status": "ACTIVE",
    "taskDefinition": "web:3",
    "desiredCount": 2,
    "runningCount": 2,
    "deployments": [{"status": "PRIMARY", "rolloutState": "COMPLETED"}],
    "tags": [],
}
DEFINITION = {
    "memory": "2048",
    "containerDefinitions": [
        {"environment": [{"name": "LAUNCHER_MLFLOW_VERSION", "value": "2.18.0"}, {"name": "LAUNCHER_WORKERS", "value": "2"}]}
    ],
}
ASKED = {"name": "web", "cluster": "web", "version": "3.17.2", "supported_versions": SUPPORTED, "db_status": "available"}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, aws_environment: None) -> t.Callable[..., None]:
    """`account(service, definition)` is what ECS knows from then on."""

    def know(service: dict | None, definition: dict | None = None) -> None:
        monkeypatch.setattr(ecs_client, "connect", lambda module, name: None)
        monkeypatch.setattr(ecs_client, "describe_service", lambda ecs, cluster, name: service)
        monkeypatch.setattr(ecs_client, "describe_task_definition", lambda ecs, name: definition)

    return know


def test_the_module_tells_what_an_upgrade_means(account, run_module):
    account(SERVICE, DEFINITION)
    result = run_module(deployment_upgrade_check, dict(ASKED, allowed_hosts=["a.example"], default_permission="READ"))
    assert (result["action"], result["task_definition_arn"], result["changed"]) == ("upgrade", "web:3", False)
    assert result["tag"] == "from=2.18.0 to=3.17.2 snapshot=none"
    assert "a.example only" in str(result["changes"]) and "a task has 2048 MiB" in str(result["changes"])


def test_the_module_names_the_variable_that_was_given(account, run_module):
    account(SERVICE, DEFINITION)
    result = run_module(deployment_upgrade_check, dict(ASKED, version="3.18.0", variable_names={"version": "mlflow_version"}))
    assert result["failed"] and result["msg"].startswith("mlflow_version = '3.18.0': is not a supported version")


def test_the_module_warns(account, run_module):
    newer = {"containerDefinitions": [{"environment": [{"name": "LAUNCHER_MLFLOW_VERSION", "value": "3.17.2"}]}], "memory": "2048"}
    account(SERVICE, newer)
    result = run_module(deployment_upgrade_check, dict(ASKED, version="3.17.1"))
    assert result["changes"] == [] and len(result["findings"]) == 1


@pytest.mark.parametrize(
    ("service", "definition", "version", "action"),
    [
        (None, None, "3.17.2", "upgrade"),
        (SERVICE, DEFINITION, "2.18.0", "none"),
        (SERVICE, DEFINITION, "2.22.5", "upgrade"),
        (SERVICE, None, "3.17.2", "upgrade"),
    ],
)
def test_the_module_lets_a_deployment_be(account, run_module, service, definition, version, action):
    account(service, definition)
    result = run_module(deployment_upgrade_check, dict(ASKED, planned=False, version=version))
    assert (result.get("failed", False), result["action"]) == (False, action)


def test_the_module_refuses_another_schema_by_the_way(account, run_module):
    account(SERVICE, DEFINITION)
    assert "run upgrade.yml" in run_module(deployment_upgrade_check, dict(ASKED, planned=False))["msg"]
