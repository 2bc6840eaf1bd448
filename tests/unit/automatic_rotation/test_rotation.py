# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The function that Secrets Manager rotates by: what each step does, whatever the labels say, and how its parts go together."""

from __future__ import annotations

import datetime
import importlib.util
import itertools
import json
import typing as t
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import secret_rotations
from hypothesis import given, settings, strategies
from moto import mock_aws
from werkzeug.security import check_password_hash

FILE = Path(__file__).resolve().parents[3] / "roles/automatic_rotation/files/rotation.py"
NAME, INSTANCE = "web", "web-db"
KINDS, STEPS = ("database", "admin", "server-key"), ("createSecret", "setSecret", "finishSecret")
OLD = {"database": {"username": "mlflow", "password": "old-password"}, "admin": {"username": "admin", "password": "old-password"},
       "server-key": {"secret_key": "old-key"}}  # fmt: skip
NOW = datetime.datetime(2026, 11, 29, 12, 0, tzinfo=datetime.timezone.utc)


def load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("rotation", FILE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


rotation = load()


# --- decisions -------------------------------------------------------------------------------------------------------


def everything() -> t.Iterator[tuple[str, str, t.Any, bool]]:
    """Every kind, step and set of labels that versions can carry: T is the token's version, M another, C a companion's."""
    for kind, step in itertools.product(KINDS, STEPS):
        for current, pending, companion in itertools.product(("M", "T", "C"), (None, "M", "T", "C"), (None, "C")):
            for stored in (True, False):
                yield kind, step, rotation.Labels(current, pending, companion), stored


def test_no_step_does_what_the_labels_do_not_allow() -> None:
    for kind, step, labels, stored in everything():
        check_acts(kind, step, labels, stored)


def check_acts(kind: str, step: str, labels: t.Any, stored: bool) -> None:
    try:
        todo = rotation.acts(kind, step, "T", labels, stored)
    except rotation.Problem as problem:
        waits = labels.pending == "T" or (step == "createSecret" and labels.pending is None)
        master = kind == "database" and step == "finishSecret" and labels.current != "C"
        assert labels.current != "T" and (not waits or not stored or master or labels.companion is None), str(problem)
        return
    assert set(todo) <= {name for name in dir(rotation.Rotation) if not name.startswith("_")}
    if labels.current == "T":
        # It is done, but for what comes after.
        assert todo == (rotation.ENDINGS[kind] if (step, labels.pending) == ("finishSecret", "T") else ())
        return
    # A value that waits is never replaced, another's least of all.
    assert ("store" in todo) == (step == "createSecret" and not stored)
    assert labels.pending in ("T", None) and (labels.pending == "T" or step == "createSecret")
    # The new value becomes current when it opens what it is to open.
    assert ("promote" in todo) == (step == "finishSecret")
    if kind == "database":
        on_companion = labels.companion == labels.current == "C"
        assert ("set_master_password" in todo) == (step == "setSecret")
        if step == "setSecret":
            # Nobody logs in as the master user while that one's password changes.
            assert ("promote_companion" in todo) == (not on_companion)
            assert todo[-2:] == ("replace_tasks", "set_master_password")
            assert ("make_companion" in todo) == (labels.companion is None)
        if step == "finishSecret":
            assert on_companion and todo[1:] == ("replace_tasks", "drop_companion", "forget_companion", "settle")


def test_a_companions_password_is_used_again_and_no_further_step_is_taken_without_a_value() -> None:
    labels = rotation.Labels("M", "T", "C")
    assert rotation.acts("database", "createSecret", "T", labels, True) == ("make_companion",)
    assert rotation.acts("database", "createSecret", "T", labels._replace(current="C"), True) == ()
    with pytest.raises(rotation.Problem, match="version T has no value: createSecret comes first"):
        rotation.acts("admin", "setSecret", "T", rotation.Labels("M", "T", None), False)
    with pytest.raises(rotation.Problem, match="setSecret comes first"):
        rotation.acts("database", "finishSecret", "T", labels, True)
    with pytest.raises(rotation.Problem, match="version T does not wait, X does"):
        rotation.acts("admin", "createSecret", "T", rotation.Labels("M", "X", None), False)


def test_labels_are_found_among_the_stages() -> None:
    stages = {"1": ["AWSPREVIOUS"], "2": ["AWSCURRENT", "AWSPENDING"], "3": ["COMPANION"]}
    assert rotation.Labels.of(stages) == ("2", "2", "3")
    assert rotation.Labels.of({}) == (None, None, None)


@settings(deadline=None, max_examples=20)
@given(strategies.text(strategies.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60))
def test_verifiers_are_those_of_the_playbook(password: str) -> None:
    salt = b"0123456789abcdef"
    assert rotation.scram_verifier(password, salt) == secret_rotations.scram_verifier(password, salt)


def test_the_hash_lets_the_password_in_and_is_the_same_each_time() -> None:
    made = rotation.mlflow_hash("the password", "version")
    assert made == rotation.mlflow_hash("the password", "version") != rotation.mlflow_hash("the password", "other")
    assert check_password_hash(made, "the password") and not check_password_hash(made, made)
    assert len(made) <= 255


@pytest.mark.parametrize(
    ("value", "others", "dead"),
    [
        ("rotate by ada@laptop since 2020-01-01T00:00:00Z", 1, 0),
        ("rotate by web-rotation since 2026-11-29T11:50:00Z", 1, 0),
        ("rotate by web-rotation since 2026-11-29T11:44:00Z", 0, 1),
        ("rotate by web-rotation since yesterday", 1, 0),
        ("something", 1, 0),
    ],
)
def test_only_what_calls_of_the_function_left_long_ago_is_no_lock(value: str, others: int, dead: int) -> None:
    tags = {"mlflow-lock:other": value, "mlflow-lock:mine": "rotate by ada since 2026-11-29T11:59:00Z", "team": "a"}
    found = rotation.holders(tags, "mine", "web-rotation", NOW)
    assert (len(found[0]), len(found[1])) == (others, dead)


# --- the whole, on an in-process AWS ---------------------------------------------------------------------------------


class Deployment:
    """What the function asks of ECS and RDS, told in a list; the labels and the lock are real."""

    def __init__(self, name: str, db_instance_id: str, clock: t.Any) -> None:
        self.name, self.clock = name, clock
        self.done: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.fails_at = ""

    def _do(self, what: str) -> None:
        if what == self.fails_at:
            raise rotation.Problem(f"{what} failed")
        self.done.append(what)

    def look(self) -> None:
        self._do("look")

    def lock(self, token: str) -> None:
        self._do("lock")

    def unlock(self, token: str) -> None:
        self.done.append("unlock")

    def run(self, command: list[str], environment: dict[str, str]) -> None:
        self._do(" ".join(command))
        self.environments.append(environment)

    def replace_tasks(self) -> None:
        self._do("replace tasks")

    def set_master_password(self, password: str) -> None:
        self._do("master password")
        self.environments.append({"master": password})

    def has_applied_password(self) -> bool:
        return self.fails_at != "apply"

    def instance(self) -> dict[str, str]:
        return {"MasterUsername": "mlflow"}


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Any]:
    for name, value in {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "key", "AWS_DEFAULT_REGION": "eu-west-2",
                        "AWS_REGION": "eu-west-2"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield boto3.client("secretsmanager")


class Turning:
    """A secret that Secrets Manager rotates: it reserves the version of the token first."""

    def __init__(self, manager: t.Any, kind: str) -> None:
        self.manager, self.kind, self.name, self.token = manager, kind, f"{NAME}/{kind}", "T" * 32
        manager.create_secret(Name=self.name, SecretString=json.dumps(OLD[kind]))
        self.deployment = Deployment(NAME, INSTANCE, None)
        self.reserve()

    def reserve(self) -> None:
        from moto.secretsmanager.models import secretsmanager_backends

        secret = secretsmanager_backends["123456789012"]["eu-west-2"].secrets[self.name]
        secret.versions[self.token] = {"createdate": 0, "version_id": self.token, "version_stages": ["AWSPENDING"]}

    def step(self, name: str) -> None:
        rotation.Rotation(self.deployment, self.name, self.token).step(name)

    def labels(self) -> t.Any:
        return rotation.Labels.of(self.manager.describe_secret(SecretId=self.name)["VersionIdsToStages"])

    def content(self, version: str) -> dict[str, str]:
        return json.loads(self.manager.get_secret_value(SecretId=self.name, VersionId=version)["SecretString"])


ALL = {
    "admin": ["look", "password set"],
    "server-key": ["look", "replace tasks"],
    "database": ["look", "companion create", "replace tasks", "master password", "replace tasks", "companion drop"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_steps_rotate_a_secret_and_repeating_them_changes_nothing(manager: t.Any, kind: str, capsys: t.Any) -> None:
    turning = Turning(manager, kind)
    for name in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        turning.step(name)
    assert [one for one in turning.deployment.done if one not in ("lock", "unlock")] == ALL[kind]
    assert turning.labels() == (turning.token, None, None)
    new, old = turning.content(turning.token), OLD[kind]
    key, length = rotation.KINDS[kind]
    assert {**new, key: ""} == {**old, key: ""} and new[key] != old[key] and len(new[key]) == length
    shown = capsys.readouterr().out + json.dumps([one for one in turning.deployment.environments if "master" not in one])
    assert new[key] not in shown and old[key] not in shown
    if kind == "database":
        assert {"master": new[key]} in turning.deployment.environments
    if kind == "admin":
        assert check_password_hash(turning.deployment.environments[0]["LAUNCHER_PASSWORD_HASH"], new[key])
    turning.deployment.done.clear()
    for name in STEPS:
        turning.step(name)
    assert set(turning.deployment.done) == {"unlock"} and turning.content(turning.token) == new


@pytest.mark.parametrize("failure", ["companion create", "replace tasks", "master password", "companion drop"])
def test_a_database_rotation_that_fails_anywhere_is_finished_by_the_next_call(manager: t.Any, failure: str) -> None:
    turning = Turning(manager, "database")
    turning.deployment.fails_at = failure
    with pytest.raises(rotation.Problem, match=failure):
        for name in STEPS:
            turning.step(name)
    # The lock was given back, and what tasks log in with works.
    assert turning.deployment.done[-1] == "unlock"
    labels = turning.labels()
    if failure in ("replace tasks", "master password"):
        assert labels.current == labels.companion and turning.content(labels.current)["username"] == "mlflow_companion"
    waiting = turning.content(turning.token)
    turning.deployment.fails_at = ""
    for name in STEPS:
        turning.step(name)
    assert turning.labels() == (turning.token, None, None) and turning.content(turning.token) == waiting


def test_a_version_that_is_reserved_while_a_companion_is_in_use_is_the_master_users(manager: t.Any) -> None:
    turning = Turning(manager, "database")
    turning.deployment.fails_at = "master password"
    with pytest.raises(rotation.Problem):
        for name in STEPS:
            turning.step(name)
    turning.deployment.fails_at = ""
    manager.update_secret_version_stage(SecretId=turning.name, VersionStage="AWSPENDING", RemoveFromVersionId=turning.token)
    turning.token = "U" * 32
    turning.reserve()
    for name in STEPS:
        turning.step(name)
    assert turning.content(turning.token)["username"] == "mlflow" and turning.labels() == (turning.token, None, None)


def test_what_waits_is_not_replaced_and_trials_change_nothing(manager: t.Any) -> None:
    turning = Turning(manager, "database")
    turning.step("testSecret")
    assert turning.deployment.done == ["look"]
    turning.step("createSecret")
    waiting = turning.content(turning.token)
    turning.step("createSecret")
    assert turning.content(turning.token) == waiting
    turning.deployment.fails_at = "apply"
    with pytest.raises(rotation.Problem, match="RDS has not applied"):
        turning.step("testSecret")
    turning.deployment.fails_at = "lock"
    with pytest.raises(rotation.Problem, match="lock failed"):
        turning.step("setSecret")


def test_secrets_that_are_none_of_these_are_refused_without_a_word_of_them(manager: t.Any) -> None:
    manager.create_secret(Name="other/admin", SecretString="canary")
    with pytest.raises(rotation.Problem, match="no secret of web that rotates"):
        rotation.Rotation(Deployment(NAME, INSTANCE, None), "other/admin", "T")
    manager.create_secret(Name="web/admin", SecretString="canary")
    broken = rotation.Rotation(Deployment(NAME, INSTANCE, None), "web/admin", "T")
    with pytest.raises(rotation.Problem, match="not a JSON object with the key password") as refused:
        broken.read(broken.labels.current)
    assert "canary" not in str(refused.value)


class Context:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * self.seconds)


def test_errors_are_one_line(manager: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMENT", NAME)
    monkeypatch.setenv("DB_INSTANCE_ID", INSTANCE)
    for event, words in (
        ({"Step": "other", "SecretId": "web/admin"}, "Secret web/admin: other: step 'other' is none of createSecret"),
        ({"Step": "setSecret", "SecretId": "web/none", "ClientRequestToken": "T"}, "Secret web/none: setSecret: An error occurred"),
    ):
        with pytest.raises(RuntimeError, match=words) as raised:
            rotation.handler(event, Context(60))
        assert "\n" not in str(raised.value)


def test_a_lock_is_taken_once_handed_on_to_the_same_rotation_and_refused_to_others(manager: t.Any, monkeypatch: t.Any) -> None:
    ecs = boto3.client("ecs")
    cluster = ecs.create_cluster(clusterName=NAME)["cluster"]["clusterArn"]
    monkeypatch.setattr(rotation, "LOCK_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(rotation, "POLL_SECONDS", 0.01)
    deployment = rotation.Deployment(NAME, INSTANCE, rotation.Clock(Context(60)))

    def tags() -> list[str]:
        return [one["key"] for one in ecs.list_tags_for_resource(resourceArn=cluster)["tags"]]

    deployment.lock("first")
    deployment.lock("first")
    assert tags() == ["mlflow-lock:first"]
    with pytest.raises(rotation.Problem, match="deployment web is locked .rotate by web-rotation since"):
        deployment.lock("second")
    deployment.unlock("first")
    deployment.unlock("first")
    assert tags() == []
    dead = {"key": "mlflow-lock:dead", "value": "rotate by web-rotation since 2026-01-01T00:00:00Z"}
    ecs.tag_resource(resourceArn=cluster, tags=[dead])
    deployment.lock("second")
    assert tags() == ["mlflow-lock:second"]


def test_a_wait_ends_before_lambda_ends_the_function(monkeypatch: t.Any) -> None:
    monkeypatch.setattr(rotation, "POLL_SECONDS", 0.01)
    answers = iter([None, None, "there"])
    assert rotation.Clock(Context(60)).wait("it", lambda: next(answers)) == "there"
    with pytest.raises(rotation.Problem, match="it takes longer than this call may"):
        rotation.Clock(Context(rotation.RESERVE_SECONDS)).wait("it", lambda: None)
