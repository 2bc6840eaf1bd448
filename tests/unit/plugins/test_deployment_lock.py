# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a deployment, against an in-process AWS and in every order of two runs."""

from __future__ import annotations

import datetime
import itertools
import re
import typing as t

import boto3
import pytest
from hypothesis import given, strategies
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import deployment_locks, ecs_client
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_lock, ecs_cluster

THEN = datetime.datetime(2026, 11, 20, 9, 30, tzinfo=datetime.timezone.utc)
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def ecs(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        ecs = boto3.client("ecs", region_name="eu-west-2")
        ecs.create_cluster(
            clusterName="web", tags=[{"key": "owner", "value": "us"}], capacityProviders=["FARGATE", "FARGATE_SPOT"]
        )
        yield ecs


@pytest.fixture
def lock(run_module: t.Callable[..., dict], ecs: t.Any) -> t.Callable[..., dict]:
    def run(state: str = "held", check: bool = False, **others: t.Any) -> dict:
        options = {"cluster": "web", "state": state, "purpose": "rotate", "owner_tags": {"owner": "us"}, **others}
        return run_module(deployment_lock, options, check)

    return run


def tags(ecs: t.Any) -> dict[str, str]:
    cluster = ecs.describe_clusters(clusters=["web"], include=["TAGS"])["clusters"][0]
    return {one["key"]: one["value"] for one in cluster["tags"]}


def test_one_at_a_time(ecs, lock):
    assert not lock("free")["changed"]
    assert lock(check=True)["token"] is None and len(tags(ecs)) == 1
    taken = lock(owner="ada@laptop")
    assert taken["changed"] and taken["broken"] == []
    assert re.fullmatch(r"rotate by ada@laptop since \S+Z", tags(ecs)[f"mlflow-lock:{taken['token']}"])
    for state, check in (("held", False), ("held", True), ("free", False)):
        refused = lock(state, check)
        assert re.fullmatch(
            r"Deployment web: it is locked \(rotate by ada@laptop, for \d seconds\); wait for that run to end, or, if it is dead, run"
            r" this again with -e break_lock=true",
            refused["msg"],
        )
    assert not lock("released", token="another")["changed"]
    assert lock("released", check=True, token=taken["token"])["changed"] and len(tags(ecs)) == 2
    assert lock("released", token=taken["token"])["changed"] and tags(ecs) == {"owner": "us"}
    assert not lock("released", token=taken["token"])["changed"]


def test_the_lock_of_a_dead_run_is_broken_when_asked_for(ecs, lock):
    dead = lock(owner="ada@laptop", purpose="upgrade")
    assert lock(check=True, break_lock=True)["broken"][0]["owner"] == "ada@laptop" and len(tags(ecs)) == 2
    taken = lock(break_lock=True)
    assert [one["purpose"] for one in taken["broken"]] == ["upgrade"] and taken["token"] != dead["token"]
    assert set(tags(ecs)) == {"owner", f"mlflow-lock:{taken['token']}"}
    assert not lock("released", token=dead["token"])["changed"]


def test_what_is_not_there_or_not_ours_is_refused(lock):
    assert "there is no such cluster; deploy first" in lock(cluster="other")["msg"]
    for state in ("free", "released"):
        assert not lock(state, cluster="other", token="any")["changed"]
    assert "it is not ours to touch" in lock(owner_tags={"owner": "them"})["msg"]


def test_who_keeps_the_tags_of_the_cluster_leaves_locks_alone(ecs, lock, run_module):
    token = lock()["token"]
    assert not run_module(ecs_cluster, {"name": "web", "tags": {"owner": "us"}})["changed"]
    assert run_module(ecs_cluster, {"name": "web", "tags": {"owner": "us", "cost": "1"}})["changed"]
    assert set(tags(ecs)) == {"owner", "cost", f"mlflow-lock:{token}"}


def test_of_two_at_once_the_later_gives_way(ecs, lock, monkeypatch):
    """The other one's tag comes between our look and our own."""
    plain = deployment_lock.Locks.add

    def add(self: t.Any, token: str, text: str) -> None:
        plain(self, "theirs", deployment_locks.value("scale", "grace@laptop", THEN))
        plain(self, token, text)

    monkeypatch.setattr(deployment_lock.Locks, "add", add)
    assert "it is locked (scale by grace@laptop, for" in lock()["msg"]
    assert set(tags(ecs)) == {"owner", "mlflow-lock:theirs"}


def test_a_tag_that_ecs_never_shows_is_no_lock(lock, ecs, monkeypatch):
    monkeypatch.setattr(deployment_lock.Locks, "add", lambda *_arguments: None)
    monkeypatch.setattr(ecs_client.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(deployment_lock, "SEEN_WITHIN", 0)
    assert "ECS does not show the lock that was just set; run again" in lock()["msg"]


class Run:
    """A run as the module goes about it, one call at a time, on tags that are set and seen at once."""

    def __init__(self, token: str, tags: set[str]) -> None:
        self.token, self.tags, self.held, self.steps = token, tags, False, iter([self.look, self.add, self.look_again])

    def look(self) -> None:
        if self.tags:
            self.steps = iter([])

    def add(self) -> None:
        self.tags.add(self.token)

    def look_again(self) -> None:
        if self.tags - {self.token}:
            self.tags.remove(self.token)
        else:
            self.held = True


def test_no_order_of_two_runs_lets_both_go_on():
    for order in set(itertools.permutations("aaabbb")):
        tags: set[str] = set()
        runs = {name: Run(name, tags) for name in "ab"}
        for name in order:
            step = next(runs[name].steps, None)
            if step:
                step()
        held = {name for name, run in runs.items() if run.held}
        assert len(held) <= 1 and tags == held


@given(strategies.text(max_size=300), strategies.from_regex(r"\A[a-z]{1,20}\Z"))
def test_every_owner_fits_in_a_tag_and_comes_back(owner: str, purpose: str) -> None:
    text = deployment_locks.value(purpose, owner, THEN)
    assert len(text) <= 256 and re.fullmatch(r"[A-Za-z0-9 +\-=._:/@]+", text)
    (lock,) = deployment_locks.found({"owner": "us", deployment_locks.key("t"): text})
    assert (lock.token, lock.purpose, lock.since) == ("t", purpose, THEN)


@given(strategies.dictionaries(strategies.text(max_size=20).map("mlflow-lock:".__add__), strategies.text(max_size=60)))
def test_whatever_a_tag_holds_a_lock_is_a_lock(tags: dict[str, str]) -> None:
    locks = deployment_locks.found(tags)
    assert len(locks) == len(tags) and deployment_locks.without(tags) == {}
    assert "\n" not in deployment_locks.refusal("web", locks, THEN) or any("\n" in text for text in tags.values())


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7199, "119 minutes"), (7200, "2 hours"), (172800, "2 days")],
)
def test_ages(seconds: int, told: str) -> None:
    lock = deployment_locks.Lock("t", "rotate", "ada", THEN)
    assert deployment_locks.age(lock, THEN + datetime.timedelta(seconds=seconds)) == told


def test_a_tag_without_a_time_has_no_age() -> None:
    locks = deployment_locks.found({"mlflow-lock:a": "", "mlflow-lock:b": "x by y since yesterday"})
    assert {deployment_locks.age(lock, THEN) for lock in locks} == {"an unknown time"}
    assert {lock.owner for lock in locks} == {"somebody", "y"}
