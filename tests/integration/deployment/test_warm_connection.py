# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole site under local and under warm_local: the same results of the same tasks by the same calls of AWS."""

from __future__ import annotations

import collections
import re
import typing as t

import pytest

from tests.integration.deployment.conftest import LIVE, Deployment
from tests.integration.deployment.spending import POLLED

pytestmark = pytest.mark.long

RESULT = re.compile(r"^(ok|changed|skipping|failed|fatal|included)\b", re.MULTILINE)
RUNS = 50


def results(output: str) -> list[tuple[str, list[str]]]:
    """What became of each task."""
    return [(text.partition("]")[0], RESULT.findall(text)) for text in output.partition("PLAY RECAP")[0].split("\nTASK [")[1:]]


def asked(calls: list[dict]) -> collections.Counter[tuple[str, str, str]]:
    """The calls of AWS but those that are made until something is ready."""
    operations = [(f"{call['service']}:{call['action']}", call) for call in calls if "Ansible/" in call["agent"]]
    return collections.Counter(
        (operation, call["resource"] if call["kind"] == "write" else "", str(call["status"]))
        for operation, call in operations
        if operation not in POLLED and not call["data_plane"]
    )


def same(text: str) -> str:
    """Without what AWS chose."""
    return re.sub(r"\b([a-z]+)-[0-9a-f]{8,17}\b|[0-9a-f]{12,}|(?<=[a-z])-[A-Za-z0-9]{6}$", r"\1", text)


def life(deployment: Deployment) -> list[tuple[str, list, dict]]:
    """From the first run to the last: of each its name, the results of its tasks, and what it asked of AWS."""
    told = []
    for name, playbook, *options in (
        ("check mode of nothing", "site", "--check"),
        ("first run", "site"),
        ("run without changes", "site"),
        ("check mode", "site", "--check"),
        ("status", "status"),
        ("verify", "verify"),
        ("teardown", "destroy", "-e", f"confirm_destroy={deployment.name}"),
    ):
        before = len(deployment.aws.api_calls())
        run = deployment.play(playbook, *options)
        assert run.returncode == 0, f"{name}: {run.stdout[-6000:]}"
        calls = collections.Counter()
        for (operation, resource, status), count in asked(deployment.aws.api_calls()[before:]).items():
            calls[operation, same(resource or ""), status] += count
        told.append((name, results(run.stdout), dict(calls)))
    return told


def test_a_whole_life_is_the_same_under_either_connection(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory):
    lives = []
    for connection in ("local", "mlops.mlflow_aws.warm_local"):
        with local_aws_factory() as aws:
            variables = {**LIVE, "ansible_connection": connection}
            lives.append(life(Deployment(aws, "local", "mlflow-demo", tmp_path_factory.mktemp("life"), variables=variables)))
    for (name, tasks, calls), (_name, warm_tasks, warm_calls) in zip(*lives):
        assert warm_tasks == tasks, name
        assert warm_calls == calls, name


def test_fifty_runs_have_one_result(live, changed):
    seen = []
    for number in range(RUNS):
        before = len(live.aws.api_calls())
        run = live.play("site")
        assert run.returncode == 0, f"run {number}: {run.stdout[-6000:]}"
        assert changed(run) == 0, f"run {number}: {run.stdout[-6000:]}"
        assert "The connection warm_local runs modules as local does" not in run.stdout
        calls = asked(live.aws.api_calls()[before:])
        seen.append((results(run.stdout), calls))
    assert [number for number, one in enumerate(seen) if one != seen[0]] == []
