# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another size for a deployment that is in use, and a number of tasks that something else has chosen."""

from __future__ import annotations

import subprocess
import typing as t

import pytest

from tests.integration.deployment import faults
from tests.integration.deployment.load import Load

# What preflight chooses for the two tasks of `live`.
POOL = ("preflight_db_pool_size=5", "preflight_db_max_overflow=9")


def told(run: subprocess.CompletedProcess[str]) -> str:
    """What a run ended with, in one line."""
    return " ".join(run.stdout.split())


def scale(live: t.Any, *sizes: str) -> subprocess.CompletedProcess[str]:
    return live.play("scale", *(word for size in sizes for word in ([size] if size[0] == "-" else ["-e", size])))


def scaled(live: t.Any, *sizes: str) -> subprocess.CompletedProcess[str]:
    run = scale(live, *sizes)
    assert run.returncode == 0, run.stdout[-6000:]
    return run


def running(live: t.Any) -> tuple[int, int]:
    service = faults.service(live)
    return service["desiredCount"], service["runningCount"]


def load(live: t.Any, **options: t.Any) -> Load:
    return Load(live.outputs()["tracking_uri"], live.admin(), **options)


def database_first(run: subprocess.CompletedProcess[str]) -> bool:
    database, tasks = "rds : Start the database]", "Run the tasks and wait until they are steady]"
    return run.stdout.index(database) < run.stdout.index(tasks)


def test_two_tasks_become_three_and_two_again_without_a_failed_request(live, changed):
    """With a pool that is given, so that the tasks that run stay as they are."""
    with load(live) as users:
        run = scaled(live, "scale_desired_count=3", *POOL)
        assert changed(run) == 1 and "Tasks 2 -> 3" in told(run) and "ecs_mlflow_desired_count: 3" in told(run)
        assert running(live) == (3, 3)
        run = scaled(live, "scale_desired_count=2", *POOL)
        assert running(live) == (2, 2) and "the next site.yml keeps it" in told(run)
    assert users.failures == [] and users.sent > 200, (users.sent, users.failures[:5])


def test_sizes_that_cannot_work_are_refused_before_anything_changes(live):
    calls = len(live.aws.api_calls())
    run = scale(live, "scale_desired_count=60", "scale_task_memory=1500")
    assert run.returncode != 0 and live.aws.writes(calls) == []
    for message in ("scale_task_memory = 1500: Fargate does not combine", "60 tasks x 1 worker x 3 stores"):
        assert message in told(run), run.stdout[-3000:]


@pytest.mark.long
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "no size is asked for"),
        (["scale_desired_count=0"], "scale_desired_count = 0: a deployment has at least one task"),
        (["scale_desired_count=many"], "scale_desired_count"),
        (["scale_db_instance_class=db.t3.nano"], "scale_db_instance_class = 'db.t3.nano'"),
        (["scale_desired_count=2", "mlflow_version=2.18.0"], "runs, and scaling does not change versions"),
    ],
)
def test_each_size_that_cannot_work_is_named(live, sizes, message):
    calls = len(live.aws.api_calls())
    run = scale(live, *sizes)
    assert run.returncode != 0 and message in told(run), run.stdout[-3000:]
    assert live.aws.writes(calls) == []


@pytest.mark.long
def test_a_service_that_scales_by_itself_keeps_its_bounds(live):
    scaling = live.client("application-autoscaling")
    where = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount",
             "ResourceId": f"service/{live.name}/{live.name}"}  # fmt: skip
    scaling.register_scalable_target(**where, MinCapacity=2, MaxCapacity=3)
    try:
        run = scale(live, "scale_desired_count=4")
        assert run.returncode != 0 and "the service scales by itself between 2 and 3 tasks" in told(run)
    finally:
        scaling.deregister_scalable_target(**where)


@pytest.mark.long
def test_at_least_two_thousand_requests_while_number_and_size_change(live, changed):
    with load(live, clients=4) as users:
        assert scale(live, "scale_desired_count=3", "scale_task_memory=3072", "--check").returncode == 0
        assert running(live) == (2, 2)
        assert "MiB of a task 2048 -> 3072" in told(scaled(live, "scale_desired_count=3", "scale_task_memory=3072"))
        assert running(live) == (3, 3)
        run = scaled(live, "scale_desired_count=2", "scale_task_memory=2048")
        assert "Tasks 3 -> 2" in told(run) and "MiB of a task 3072 -> 2048" in told(run)
        users.reach(2000)
    assert users.failures == [], (users.sent, users.failures[:5])
    print(f"\n{users.sent} requests, none failed")
    calls = len(live.aws.api_calls())
    again = scaled(live, "scale_desired_count=2")
    assert changed(again) == 0 and live.aws.writes(calls) == []
    assert changed(live.play("site")) == 0


@pytest.mark.long
def test_the_class_of_the_database_changes_when_it_is_asked_for_and_mlflow_recovers(live, changed):
    """More connections need the larger database first; fewer need it last."""
    for size, other in (("medium", "small"), ("small", "medium")):
        run = scaled(live, f"scale_db_instance_class=db.t3.{size}")
        assert f"Database db.t3.{other} -> db.t3.{size}" in told(run)
        assert database_first(run) is (size == "medium")
        assert faults.serves(live)
    assert changed(live.play("site")) == 0
