# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one MLflow to another: the data stay, grants hold, and a run that fails or is killed leaves a server that answers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import typing as t

import pytest

from tests.integration import disk
from tests.integration.aws import LocalAws
from tests.integration.deployment import tracked
from tests.integration.deployment.conftest import LIVE, Deployment
from tests.integration.deployment.faults import until, wrong_secret
from tests.integration.deployment.load import Load

pytestmark = pytest.mark.long

# With a default that lets everybody read, a refusal that is lost shows.
OLD = {**LIVE, "mlflow_version": "2.18.0", "ecs_mlflow_default_permission": "READ"}
TAG = "mlflow-upgrade"
# The server does not start with it, and the migration does not look at it.
BROKEN = ("-e", '{"ecs_mlflow_environment": {"UVICORN_LOG_LEVEL": "nonsense"}}')


@pytest.fixture
def aws(local_aws_factory: t.Callable) -> t.Iterator[LocalAws]:
    with local_aws_factory(*disk.NAMESPACE) as one:
        yield one


@pytest.fixture
def deployed(aws: LocalAws, tmp_path) -> t.Callable[..., Deployment]:
    """`deployed(version)` is a deployment of it, on an account of its own."""

    def deploy(version: str) -> Deployment:
        deployment = Deployment(aws, "local", "mlflow-demo", tmp_path, variables={**OLD, "mlflow_version": version})
        made = deployment.play("site")
        assert made.returncode == 0, made.stdout[-6000:]
        return deployment

    return deploy


def upgrade(deployment: Deployment, version: str, *options: str) -> subprocess.CompletedProcess[str]:
    return deployment.play("upgrade", "-e", f"mlflow_version={version}", *options, timeout=1800)


def upgraded(deployment: Deployment, version: str, *options: str) -> str:
    run = upgrade(deployment, version, *options)
    assert run.returncode == 0, run.stdout[-8000:]
    deployment.variables["mlflow_version"] = version
    return " ".join(run.stdout.split())


def service(deployment: Deployment) -> dict:
    found = deployment.client("ecs").describe_services(cluster=deployment.name, services=[deployment.name], include=["TAGS"])
    return found["services"][0]


def note(deployment: Deployment) -> str | None:
    return {tag["key"]: tag["value"] for tag in service(deployment).get("tags", [])}.get(TAG)


def running_version(deployment: Deployment) -> str:
    status, answer = admin_of(deployment).send("GET", "/version")
    assert status == 200, answer
    return answer.decode()


def admin_of(deployment: Deployment) -> tracked.Api:
    return tracked.Api(deployment.outputs()["tracking_uri"], deployment.admin())


def snapshots(deployment: Deployment) -> list[str]:
    found = deployment.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    return [one["DBSnapshotIdentifier"] for one in found]


def twenty_a_second(deployment: Deployment) -> Load:
    outputs = deployment.outputs()
    return Load.twenty_a_second(outputs["tracking_uri"], deployment.admin(), outputs["mlflow_version"])


def kill_at(deployment: Deployment, version: str, moment: str, after: float = 1.0) -> None:
    """Run upgrade.yml and kill it a moment after the task `moment` has begun."""
    environment = dict(deployment.aws.environment, PYTHONUNBUFFERED="1")
    run = subprocess.Popen(
        deployment.command("upgrade", "-e", f"mlflow_version={version}", "-e", "break_lock=true"), env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    seen = []
    for line in run.stdout:
        seen.append(line)
        if line.startswith("TASK") and moment in line:
            time.sleep(after)
            os.killpg(run.pid, signal.SIGKILL)
            break
    run.stdout.close()
    run.wait(timeout=60)
    assert moment in seen[-1], "".join(seen[-20:])


def test_all_data_and_grants_come_along_from_2_18_to_3_17(deployed, changed):
    deployment = deployed("2.18.0")
    admin = admin_of(deployment)
    tracked.populate(admin, 200)
    allowed = tracked.access(admin.uri)
    before = tracked.dump(admin)
    assert len(before["runs"]) == 200 and len(before["artifacts"]) == 10

    calls = len(deployment.aws.api_calls())
    refused = deployment.play("site", "-e", "mlflow_version=3.17.2")
    assert refused.returncode != 0 and "run upgrade.yml" in " ".join(refused.stdout.split())
    told = " ".join(upgrade(deployment, "3.17.2", "--check").stdout.split())
    assert "The schema of the database changes" in told and "Host and Origin" in told
    assert deployment.aws.writes(calls) == []

    with twenty_a_second(deployment) as users:
        told = upgraded(deployment, "3.17.2")
    print(f"\n{told[told.index('MLflow 2.18.0 -> 3.17.2, tasks'):][:1500]}\n{users}")
    assert users.failures == [], (users.sent, users.failures[:10])
    assert running_version(deployment) == "3.17.2" and note(deployment) is None
    assert len(snapshots(deployment)) == 1 and snapshots(deployment)[0] in told
    assert "0 of" in told and "refused 'ann' on experiment '3'" in told and "refused 'bob' on registered_model 'churn'" in told
    after = tracked.dump(admin)
    assert tracked.digest(after) == tracked.digest(before), [key for key in before if before[key] != after[key]]
    assert tracked.access(admin.uri) == allowed
    assert deployment.outputs()["mlflow_version"] == "3.17.2"

    calls = len(deployment.aws.api_calls())
    assert "runs already; there is nothing to do" in upgraded(deployment, "3.17.2") and deployment.aws.writes(calls) == []
    again = deployment.play("site")
    assert again.returncode == 0 and changed(again) == 0, again.stdout[-4000:]
    back = upgrade(deployment, "2.22.5")
    assert back.returncode != 0 and "an older version cannot read" in " ".join(back.stdout.split())


def test_a_patch_release_fails_no_request_and_takes_no_snapshot(deployed):
    deployment = deployed("3.17.1")
    with twenty_a_second(deployment) as users:
        users.reach(50)
        told = upgraded(deployment, "3.17.2")
    print(f"\n{users}")
    assert users.failures == [] and users.sent > 200, (users.sent, users.failures[:10])
    assert "The schema of the database stays" in told and snapshots(deployment) == [] and "0 of" in told
    assert running_version(deployment) == "3.17.2" and note(deployment) is None
    # And back, since the schema is the same.
    assert "is older than MLflow 3.17.2" in upgraded(deployment, "3.17.1") and running_version(deployment) == "3.17.1"


def test_from_2_18_by_2_22_to_3_17(deployed):
    deployment = deployed("2.18.0")
    admin = admin_of(deployment)
    tracked.populate(admin, 20)
    allowed, before = tracked.access(admin.uri), tracked.digest(tracked.dump(admin))
    assert "The schema of the database stays" in upgraded(deployment, "2.22.5") and snapshots(deployment) == []
    assert tracked.access(admin.uri) == allowed
    assert "The schema of the database changes" in upgraded(deployment, "3.17.2")
    assert tracked.access(admin.uri) == allowed and tracked.digest(tracked.dump(admin)) == before


MOMENTS = [
    ("Take a snapshot of the database as it is", 1.0),
    ("Note on the service what is under way", 0.1),
    ("Prepare both databases and the admin user", 2.0),
    ("Prepare both databases and the admin user", 12.0),
    ("Run the tasks and wait until they are steady", 3.0),
    ("Run the tasks and wait until they are steady", 20.0),
    ("End what kept the permissions of both versions in step", 2.0),
    ("Verify MLflow at", 1.0),
]


def test_a_run_killed_anywhere_leaves_a_server_and_the_next_one_finishes(deployed):
    """Eight kills in a row, each one begins with what the one before left behind."""
    deployment = deployed("2.18.0")
    admin = admin_of(deployment)
    tracked.populate(admin, 20)
    allowed, before = tracked.access(admin.uri), tracked.digest(tracked.dump(admin))
    with twenty_a_second(deployment) as users:
        for moment, seconds in MOMENTS:
            kill_at(deployment, "3.17.2", moment, seconds)
            assert admin.send("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 200
        locked = upgrade(deployment, "3.17.2")
        assert locked.returncode != 0 and "it is locked (upgrade by" in " ".join(locked.stdout.split())
        told = upgraded(deployment, "3.17.2", "-e", "break_lock=true")
    assert "begun by an earlier run" in told
    assert users.failures == [], (users.sent, users.failures[:10])
    assert tracked.access(admin.uri) == allowed and tracked.digest(tracked.dump(admin)) == before
    assert note(deployment) is None and running_version(deployment) == "3.17.2"


def test_a_version_that_does_not_start_leaves_the_older_one_serving(deployed):
    deployment = deployed("2.18.0")
    admin = admin_of(deployment)
    tracked.populate(admin, 20)
    before = tracked.digest(tracked.dump(admin))
    run = upgrade(deployment, "3.17.2", *BROKEN)
    told = " ".join(run.stdout.split())
    assert run.returncode != 0 and "cannot start again" in told and re.search("restore_snapshot=mlflow-demo-db-backup-", told), told[-3000:]
    assert running_version(deployment) == "2.18.0"
    assert admin.send("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 200
    assert len(snapshots(deployment)) == 1
    upgraded(deployment, "3.17.2")
    assert tracked.digest(tracked.dump(admin)) == before and len(snapshots(deployment)) == 1


def test_a_wrong_password_or_a_full_disk_leaves_the_older_one_serving(aws, deployed):
    volume = disk.DatabaseDisk(aws, 500)
    deployment = deployed("2.18.0")
    admin = admin_of(deployment)
    tracked.populate(admin, 20)
    allowed, before = tracked.access(admin.uri), tracked.digest(tracked.dump(admin))
    with twenty_a_second(deployment) as users:
        with wrong_secret(deployment, "database"):
            told = " ".join(upgrade(deployment, "3.17.2").stdout.split())
            assert "refuses the login" in told and "MLflow 3.17.2 failed" in told, told[-3000:]
    assert users.failures == [] and running_version(deployment) == "2.18.0", (users.sent, users.failures[:10])
    with volume.full():
        told = " ".join(upgrade(deployment, "3.17.2").stdout.split())
        # Where even the log of the database has no room, it goes down with the migration.
        assert re.search("MLflow 3.17.2 failed.*(No space left on device|closed the connection|refused)", told), told[-3000:]
    until(lambda: admin.send("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 200, 60, "the database with room again")
    assert running_version(deployment) == "2.18.0"
    with twenty_a_second(deployment) as users:
        upgraded(deployment, "3.17.2")
    assert users.failures == [], (users.sent, users.failures[:10])
    assert tracked.access(admin.uri) == allowed and tracked.digest(tracked.dump(admin)) == before
    assert note(deployment) is None and len(snapshots(deployment)) == 1


def test_a_patch_release_that_does_not_start_goes_back_by_itself(deployed):
    deployment = deployed("3.17.1")
    with twenty_a_second(deployment) as users:
        run = upgrade(deployment, "3.17.2", *BROKEN)
    told = " ".join(run.stdout.split())
    assert run.returncode != 0 and "MLflow 3.17.1 serves again, as before." in told, told[-3000:]
    assert users.failures == [] and running_version(deployment) == "3.17.1" and note(deployment) is None
