# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The garbage collection of a live deployment: what its schedule runs removes rows and objects, and tells when it cannot."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

import pytest

from tests.integration.deployment import faults
from tests.integration.deployment.conftest import Deployment

pytestmark = pytest.mark.long
GROUP = {"GroupName": "mlflow-demo-gc", "Name": "run"}
STARTER = "chronos-schedule/run"


@pytest.fixture(scope="module")
def collecting(live: Deployment) -> t.Iterator[Deployment]:
    """`live` with a garbage collection that is never due by itself."""
    on = live.play("site", "-e", "garbage_collection_schedule='at(2099-01-01T03:00:00)'")
    assert on.returncode == 0, on.stdout[-6000:]
    yield live
    off = live.play("site")
    assert off.returncode == 0, off.stdout[-6000:]
    groups = live.client("scheduler").list_schedule_groups()["ScheduleGroups"]
    assert "mlflow-demo-gc" not in [one["Name"] for one in groups]


def collect(live: Deployment) -> tuple[int, str]:
    """Let the schedule be due in a moment; exit code and log of the task that it runs."""
    scheduler, ecs = live.client("scheduler"), live.client("ecs")
    found = scheduler.get_schedule(**GROUP)
    kept = {key: found[key] for key in ("FlexibleTimeWindow", "Target", "State")}
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)

    def stopped() -> dict[str, dict]:
        """The tasks of the schedule that have ended, by ARN."""
        arns = ecs.list_tasks(cluster=live.name, family=live.name, desiredStatus="STOPPED")["taskArns"]
        tasks = ecs.describe_tasks(cluster=live.name, tasks=arns)["tasks"] if arns else []
        return {one["taskArn"]: one for one in tasks if one["startedBy"] == STARTER and one["lastStatus"] == "STOPPED"}

    before = set(stopped())
    scheduler.update_schedule(**GROUP, **kept, ScheduleExpression=f"at({moment:%Y-%m-%dT%H:%M:%S})")
    task = faults.until(lambda: [one for arn, one in stopped().items() if arn not in before], 300, "the garbage collection")[0]
    stream = f"mlflow/mlflow/{task['taskArn'].rsplit('/', 1)[-1]}"
    events = live.client("logs").get_log_events(logGroupName=f"/ecs/{live.name}", logStreamName=stream)["events"]
    return task["containers"][0]["exitCode"], "\n".join(one["message"] for one in events)


def objects(live: Deployment, run: str) -> list[str]:
    pages = live.client("s3").get_paginator("list_objects_v2").paginate(Bucket=live.outputs()["bucket"])
    return [one["Key"] for page in pages for one in page.get("Contents", []) if run in one["Key"]]


def test_what_was_deleted_long_ago_goes_and_what_cannot_go_is_told(collecting: Deployment, tmp_path: Path) -> None:
    live, mlflow = collecting, faults.admin_client(collecting, collecting.admin()[1])
    experiment = mlflow.call("POST", "experiments/create", body={"name": "garbage"})["experiment_id"]
    runs = {}
    for name in ("kept", "young", "old"):
        run = mlflow.call("POST", "runs/create", body={"experiment_id": experiment, "run_name": name})["run"]["info"]
        runs[name] = run["run_id"]
        path = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        login = mlflow.login
        answer = mlflow.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}/a.bin", data=b"x" * 1000, login=login)
        assert answer.status == 200 and objects(live, run["run_id"]) != []
    for name in ("young", "old"):
        mlflow.call("POST", "runs/delete", body={"run_id": runs[name]})
    with faults.database(live) as cursor:
        cursor.execute("UPDATE runs SET deleted_time = deleted_time - 31 * 86400000::bigint WHERE run_uuid = %s", (runs["old"],))

    # MLflow 3 keeps to itself that S3 refused.
    with faults.denied("s3:DeleteObject")(live, tmp_path):
        code, log = collect(live)
    assert code == 77 and "could not be removed: allow the task role s3:DeleteObject there" in log.splitlines()[-1], log
    assert objects(live, runs["old"]) != []

    code, log = collect(live)
    assert code == 0 and "removed 1 runs and 0 experiments that were deleted more than 30 days ago" in log, log
    assert objects(live, runs["old"]) == []
    assert objects(live, runs["young"]) != [] and objects(live, runs["kept"]) != []
    with faults.database(live) as cursor:
        cursor.execute("SELECT name FROM runs WHERE run_uuid = ANY(%s) ORDER BY name", (list(runs.values()),))
        assert cursor.fetchall() == [("kept",), ("young",)]

    mlflow.call("POST", "experiments/delete", body={"experiment_id": experiment})
    with faults.database(live) as cursor:
        cursor.execute("UPDATE runs SET deleted_time = 1 WHERE run_uuid = ANY(%s)", (list(runs.values()),))
        cursor.execute("UPDATE experiments SET last_update_time = 1 WHERE experiment_id = %s", (experiment,))
    code, log = collect(live)
    assert code == 0 and "removed 2 runs and 1 experiments" in log, log
    assert [objects(live, run) for run in runs.values()] == [[], [], []]
    # Its name is free again.
    again = mlflow.call("POST", "experiments/create", body={"name": "garbage"})["experiment_id"]
    mlflow.call("POST", "experiments/delete", body={"experiment_id": again})


def test_the_playbook_tells_what_would_go_and_removes_it_when_asked(live: Deployment, changed: t.Callable) -> None:
    mlflow = faults.admin_client(live, live.admin()[1])
    experiment = mlflow.call("POST", "experiments/create", body={"name": "gc.yml"})["experiment_id"]
    ids = []
    for name in ("old one", "young one"):
        run = mlflow.call("POST", "runs/create", body={"experiment_id": experiment, "run_name": name})["run"]["info"]
        mlflow.call("POST", "runs/delete", body={"run_id": run["run_id"]})
        ids.append(run["run_id"])
    with faults.database(live) as cursor:
        cursor.execute("UPDATE runs SET deleted_time = deleted_time - 100 * 86400000::bigint WHERE run_uuid = %s", (ids[0],))

    def left() -> list[str]:
        with faults.database(live) as cursor:
            cursor.execute("SELECT name FROM runs WHERE run_uuid = ANY(%s) ORDER BY name", (ids,))
            return [name for (name,) in cursor.fetchall()]

    wrong = live.play("gc", "-e", "gc_older_than_days=0")
    assert wrong.returncode != 0 and "gc_older_than_days = 0: is not from 1 to 3650 days" in " ".join(wrong.stdout.split())
    told = live.play("gc", "-e", "gc_older_than_days=90")
    text = " ".join(told.stdout.split())
    assert told.returncode == 0 and changed(told) == 0, told.stdout[-4000:]
    assert f"would remove run 'old one' ({ids[0]}), deleted on 20" in text and "Nothing was removed. Say -e gc_delete=true" in text
    assert "would remove 1 runs and 0 experiments that were deleted more than 90 days ago" in text and len(left()) == 2
    done = live.play("gc", "-e", "gc_older_than_days=90", "-e", "gc_delete=true")
    text = " ".join(done.stdout.split())
    assert done.returncode == 0 and changed(done) == 1, done.stdout[-4000:]
    assert "removed 1 runs and 0 experiments that were deleted more than 90 days ago" in text and left() == ["young one"]
    mlflow.call("POST", "experiments/delete", body={"experiment_id": experiment})
