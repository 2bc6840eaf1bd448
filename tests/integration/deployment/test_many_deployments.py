# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten deployments in one inventory and one account: each as if it were alone, and none of them the others' business."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import typing as t
from pathlib import Path

import pytest

from tests.integration.aws import ROOT
from tests.integration.deployment.account import state
from tests.integration.deployment.conftest import LIVE, Deployment

pytestmark = pytest.mark.long

TEN = [f"mlflow-{number}" for number in range(10)]
NAME = re.compile(r"mlflow-\d\b")
# Of one server each, so that all of them find room.
SMALL = {**LIVE, "ecs_mlflow_desired_count": 1}
# What AWS chose: IDs, the ends of ARNs and of DNS names, addresses.
ID = re.compile(r"\b[a-z]+-[0-9a-f]{8,17}\b")
CHOSEN = re.compile(r"(?<=-)[0-9a-f]{8,17}\b|\b[0-9a-f]{16,}\b|(?<=-)[A-Za-z0-9]{6}(?=\")|(?<=-)\d{6,}(?=\.)|\b\d+\.\d+\.\d+\.\d+\b(?!/)")


@contextlib.contextmanager
def deployed(local_aws_factory: t.Callable, folder: Path, names: list[str]) -> t.Iterator[Deployment]:
    """An account with these deployments, made by one run; `name` is the first one's."""
    inventory = folder / "inventory"
    inventory.mkdir()
    (inventory / "hosts.json").write_text(json.dumps({"mlflow_deployments": {"hosts": dict.fromkeys(names)}}))
    (inventory / "group_vars").symlink_to(ROOT / "inventories/local/group_vars")
    with local_aws_factory() as aws:
        relative = os.path.relpath(inventory, ROOT / "inventories")
        them = Deployment(aws, relative, names[0], folder / "deployments", variables=SMALL)
        made = them.play("site", timeout=1800)
        assert made.returncode == 0, made.stdout[-6000:]
        yield them


@pytest.fixture(scope="module")
def ten(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    with deployed(local_aws_factory, tmp_path_factory.mktemp("ten"), TEN) as them:
        yield them


def resources(deployment: Deployment, names: list[str]) -> collections.Counter[tuple[str, str]]:
    """(question, answer) of all that the account holds, IDs replaced by whose they are."""
    tagged = deployment.client("ec2").get_paginator("describe_tags").paginate(Filters=[{"Name": "key", "Values": ["mlflow-deployment"]}])
    owners = {one["ResourceId"]: one["Value"] for page in tagged for one in page["Tags"]}
    answers = state(deployment.client, names[0])
    for name in names[1:]:
        one = state(deployment.client, name)
        for question in ("services", "clusters", "task"):
            answers[question] += one[question]
    return collections.Counter(
        (question, CHOSEN.sub("CHOSEN", ID.sub(lambda found: owners.get(found[0], found[0]), json.dumps(one))))
        for question, found in answers.items()
        for one in found
    )


def of(counted: collections.Counter[tuple[str, str]], *names: str) -> dict[tuple[str, str], int]:
    """Those that name one of these deployments; without names, those that name none."""
    return {
        (question, answer): count
        for (question, answer), count in counted.items()
        if (set(NAME.findall(answer)) & set(names) if names else not NAME.search(answer))
    }


def test_each_of_ten_is_as_if_it_were_alone(ten, local_aws_factory, tmp_path):
    together = resources(ten, TEN)
    assert [one for one in together if len(set(NAME.findall(one[1]))) > 1] == []
    with deployed(local_aws_factory, tmp_path, TEN[:1]) as lone:
        alone = resources(lone, TEN[:1])
    expected = of(alone, TEN[0])
    assert len(expected) > 40
    for name in TEN:
        assert {(question, answer.replace(name, TEN[0])): count for (question, answer), count in of(together, name).items()} == expected
    # What carries no name is each one's, or comes with the account.
    assert of(together).keys() == of(alone).keys()
    assert {one: count for one, count in of(together).items() if count not in (alone[one], 10 * alone[one])} == {}


def test_a_second_run_changes_none_of_them(ten, changed):
    before = len(ten.aws.api_calls())
    run = ten.play("site", timeout=1800)
    assert run.returncode == 0, run.stdout[-6000:]
    assert changed(run) == 0
    assert ten.aws.writes(before) == []


def test_one_is_taken_away_and_the_others_serve(ten):
    """Last, because of what it leaves."""
    gone, others = TEN[3], [name for name in TEN if name != TEN[3]]
    before = resources(ten, others)
    refused = ten.play("destroy", "-e", f"confirm_destroy={gone}", "--limit", others[0])
    assert refused.returncode != 0 and f"this host is the deployment '{others[0]}'" in refused.stdout
    run = ten.play("destroy", "-e", f"confirm_destroy={gone}", "--limit", gone)
    assert run.returncode == 0, run.stdout[-6000:]
    after = resources(ten, others)
    # The artifacts stay.
    assert {question for question, _answer in of(after, gone)} == {"buckets"}
    assert of(after, *others) == of(before, *others)
    verified = ten.play("verify", "--limit", ",".join(others), timeout=1800)
    assert verified.returncode == 0, verified.stdout[-6000:]
