# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment in use is backed up, loses its database or has it damaged, and comes back as it was, also when runs are killed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.integration import disk
from tests.integration.aws import LocalAws
from tests.integration.deployment import content, faults
from tests.integration.deployment.conftest import LIVE, Deployment
from tests.integration.deployment.load import Load

pytestmark = pytest.mark.long
NAME, OTHER = "mlflow-demo", "mlflow-other"
RUNS = 1000


def said(run: subprocess.CompletedProcess[str]) -> str:
    return " ".join(run.stdout.split())


def played(deployment: Deployment, playbook: str, *variables: str) -> str:
    run = deployment.play(playbook, *(word for one in variables for word in (one.split() if one[0] == "-" else ["-e", one])))
    assert run.returncode == 0, run.stdout[-6000:]
    return said(run)


def refused(deployment: Deployment, *variables: str) -> str:
    """What restore.yml says, which must not write."""
    calls = len(deployment.aws.api_calls())
    run = deployment.play("restore", *(word for one in variables for word in ("-e", one)))
    assert run.returncode != 0 and deployment.aws.writes(calls) == [], run.stdout[-4000:]
    return said(run)


def backed_up(deployment: Deployment, *variables: str) -> str:
    """The name of a new snapshot, told by backup.yml."""
    found = re.search(rf"Snapshot ({NAME}-db-backup-[0-9-]+): 20 GiB, available", played(deployment, "backup", *variables))
    assert found
    return found[1]


def instances(deployment: Deployment) -> list[str]:
    return [one["DBInstanceIdentifier"] for one in deployment.client("rds").describe_db_instances()["DBInstances"]]


def lose(deployment: Deployment, name: str = f"{NAME}-db") -> None:
    rds = deployment.client("rds")
    rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    faults.until(lambda: name not in instances(deployment), 60, f"deleting {name}")


def interrupt(deployment: Deployment, moment: str, *variables: str) -> bool:
    """Run restore.yml and kill its process group a moment after a task called so has begun; whether there was one."""
    words = [word for one in variables for word in ("-e", one)]
    environment = dict(deployment.aws.environment, PYTHONUNBUFFERED="1")
    run = subprocess.Popen(
        deployment.command("restore", *words), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    reached = False
    for line in run.stdout:
        if line.startswith("TASK") and moment in line:
            time.sleep(random.uniform(0.1, 2.0))
            os.killpg(run.pid, signal.SIGKILL)
            reached = True
            break
    run.stdout.close()
    run.wait(timeout=60)
    return reached


class Before(t.NamedTuple):
    """What there was, and the snapshot of it."""

    dump: dict[str, str]
    snapshot: str


@pytest.fixture(scope="module")
def aws(local_aws_factory: t.Callable) -> t.Iterator[LocalAws]:
    with local_aws_factory(*disk.NAMESPACE) as one:
        yield one


@pytest.fixture(scope="module")
def volume(aws: LocalAws) -> disk.DatabaseDisk:
    return disk.DatabaseDisk(aws, 3000)


@pytest.fixture(scope="module")
def used(aws: LocalAws, volume: disk.DatabaseDisk, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment with a thousand runs, and two inventories in one."""
    deployment = Deployment(aws, "local", NAME, tmp_path_factory.mktemp("deployments"), variables=LIVE)
    played(deployment, "site")
    content.fill(deployment, RUNS)
    return deployment


@pytest.fixture(scope="module")
def before(used: Deployment) -> Before:
    dump = content.dump(used)
    assert dump["runs"].startswith(f"{RUNS} ") and dump["objects"].startswith(f"{content.ARTIFACTS} ")
    return Before(dump, backed_up(used))


def test_a_backup_notes_what_it_is_of_and_keeps_only_as_many(used: Deployment, before: Before) -> None:
    (found,) = used.client("rds").describe_db_snapshots(DBSnapshotIdentifier=before.snapshot)["DBSnapshots"]
    tags = {one["Key"]: one["Value"] for one in found["TagList"]}
    assert tags["mlflow-version"] == "3.17.2" and tags["mlflow-artifacts-versioning"] == "Enabled"
    assert tags["mlflow-artifact-root"] == used.outputs()["artifact_root"]
    counts = dict(one.split("=") for one in tags["mlflow-counts"].split())
    assert (counts["users"], counts["model_versions"]) == (str(content.USERS + 1), str(2 * content.MODELS))
    assert int(counts["runs"]) >= RUNS and int(counts["metrics"]) >= 5 * RUNS
    calls = len(used.aws.api_calls())
    assert before.snapshot in played(used, "backup", "backup_list=true") and used.aws.writes(calls) == []
    check = used.play("backup", "--check")
    assert check.returncode == 0 and "a snapshot would be made" in said(check) and used.aws.writes(calls) == []
    second, third = backed_up(used), backed_up(used, "backup_keep=2")
    left = {one["DBSnapshotIdentifier"] for one in used.client("rds").describe_db_snapshots()["DBSnapshots"]}
    assert left == {second, third}
    # The one that the other tests restore is the newest.


@pytest.fixture(scope="module")
def saved(used: Deployment, before: Before) -> Before:
    """A snapshot that stays, whatever the tests of backups have removed."""
    return Before(before.dump, backed_up(used))


def test_a_lost_database_comes_back_as_it_was(used: Deployment, saved: Before, changed: t.Callable) -> None:
    client = faults.admin_client(used, used.admin()[1])
    client.call("POST", "experiments/create", body={"name": "after the backup"})
    s3, bucket = used.client("s3"), used.outputs()["bucket"]
    gone = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]][:3]
    for key in gone:
        s3.delete_object(Bucket=bucket, Key=key)
    lose(used)
    started = time.monotonic()
    told = played(used, "restore", "restore_artifacts=true")
    assert "Artifacts: 3 objects that were deleted after the snapshot are back" in told
    print(f"\na lost database with {RUNS} runs: {(time.monotonic() - started) / 60:.1f} minutes")
    assert f"is restored from {saved.snapshot}" in told and "RTO: " in told and "differs" not in told
    assert content.dump(used) == saved.dump and content.readable(used) > 0
    again = used.play("site")
    assert again.returncode == 0 and changed(again) == 0, again.stdout[-4000:]


@pytest.fixture
def other(used: Deployment, tmp_path: Path) -> t.Iterator[Deployment]:
    """Another host of the inventory, which reads the artifacts where they are."""
    hosts = {"mlflow_deployments": {"hosts": {OTHER: {"artifacts_bucket": f"{NAME}-artifacts", "artifacts_create_bucket": False}}}}
    file = tmp_path / "other.yml"
    file.write_text(yaml.safe_dump(hosts))

    @dataclasses.dataclass
    class Other(Deployment):
        @property
        def options(self) -> list[str]:
            return [*super().options, "-i", str(file), "--limit", OTHER]

    deployment = Other(used.aws, "local", OTHER, used.directory, variables=LIVE)
    yield deployment
    played(deployment, "destroy", f"confirm_destroy={OTHER}", "rds_final_snapshot=false")


def test_beside_the_old_deployment(used: Deployment, saved: Before, other: Deployment) -> None:
    assert "Database mlflow-nobody-db: there is no snapshot of it" in refused(other, "restore_from=mlflow-nobody")
    elsewhere = refused(other, f"restore_from={NAME}", "artifacts_prefix=elsewhere")
    assert "this deployment keeps its own in s3://mlflow-demo-artifacts/elsewhere" in elsewhere
    told = played(other, "restore", f"restore_from={NAME}", f"restore_snapshot={saved.snapshot}")
    assert f"{OTHER}-db is restored from {saved.snapshot}" in told and "differs" not in told
    assert content.dump(other) == saved.dump and content.readable(other) > 0
    assert faults.serves(used) and other.outputs()["tracking_uri"] != used.outputs()["tracking_uri"]


def damage(used: Deployment) -> None:
    """Somebody deletes an experiment and changes a run."""
    client = faults.admin_client(used, used.admin()[1])
    client.call("POST", "experiments/delete", body={"experiment_id": "3"})
    client.call("POST", "experiments/create", body={"name": f"a mistake {random.random()}"})


def test_in_place_after_damage(used: Deployment, saved: Before, changed: t.Callable) -> None:
    damage(used)
    assert content.dump(used) != saved.dump
    assert "say restore_in_place=true" in refused(used, f"restore_snapshot={saved.snapshot}", "restore_again=true")
    assert "say which snapshot" in refused(used, "restore_in_place=true")
    check = used.play("restore", "--check", "-e", "restore_in_place=true", "-e", "restore_snapshot=latest", "-e", "restore_again=true")
    assert check.returncode == 0, check.stdout[-4000:]
    with Load(used.outputs()["tracking_uri"], used.admin(), clients=1) as users:
        again = (f"restore_snapshot={saved.snapshot}", "restore_in_place=true", "restore_again=true")
        told = played(used, "restore", *again)
    away = re.search(r"MLflow was away for at most ([0-9:]+)", told)
    print(f"\nin place: {told[told.index('RTO'):][:160]}; {len(users.failures)} of {users.sent} requests failed")
    assert away and "The old database is kept as mlflow-demo-db-replaced-" in told
    assert content.dump(used) == saved.dump
    assert [one.partition("-2")[0] for one in sorted(instances(used))] == [f"{NAME}-db", f"{NAME}-db-replaced"]
    calls = len(used.aws.api_calls())
    told = played(used, "restore", *again[:2])
    assert "is restored from" in told and "rds:ModifyDBInstance" not in used.aws.writes(calls)
    lose(used, sorted(instances(used))[1])
    assert changed(used.play("site")) == 0


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (["restore_snapshot=not-there"], "restore_snapshot = not-there: there is no such snapshot"),
        (["rds_engine_version=16"], "of PostgreSQL 17"),
        (["rds_allocated_storage=10", "rds_max_allocated_storage=0"], "it needs 20 GiB, and the deployment has 10 at most"),
        (["mlflow_version=2.18.0"], "MLflow 3.17.2 wrote it, and 2.18.0 cannot read that schema"),
        (["secrets_db_username=root"], "its master user is mlflow, the deployment's is root"),
    ],
)
def test_what_cannot_become_the_database_is_refused(used: Deployment, saved: Before, variables: list[str], message: str) -> None:
    wanted = [*([] if "not-there" in variables[0] else [f"restore_snapshot={saved.snapshot}"]), "restore_again=true"]
    assert message in refused(used, "restore_in_place=true", *wanted, *variables)


def test_a_newer_schema_is_refused_while_the_old_database_serves(used: Deployment, saved: Before) -> None:
    """No tag tells of it: the launcher does, before anything is switched."""
    rds = used.client("rds")
    with faults.database(used) as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        (revision,) = cursor.fetchone()
        cursor.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    rds.create_db_snapshot(DBSnapshotIdentifier="newer", DBInstanceIdentifier=f"{NAME}-db", Tags=[{"Key": "a", "Value": "b"}])
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier="newer", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    with faults.database(used) as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = %s", (revision,))
    with Load(used.outputs()["tracking_uri"], used.admin(), clients=1) as users:
        run = used.play("restore", "-e", "restore_in_place=true", "-e", "restore_snapshot=newer")
    assert run.returncode != 0 and "is newer than MLflow 3.17.2" in said(run), run.stdout[-4000:]
    assert users.failures == [], users.failures[:3]
    # It says how to go on: finish it, or delete what is beside.
    assert "a restore in place is not finished" in refused(used)
    lose(used, f"{NAME}-db-restored")
    assert content.dump(used) == saved.dump


def test_a_database_that_cannot_be_made_leaves_the_old_one_serving(used: Deployment, saved: Before, volume: disk.DatabaseDisk) -> None:
    """There is no room for the data of the snapshot."""
    wanted = ("-e", "restore_in_place=true", "-e", f"restore_snapshot={saved.snapshot}", "-e", "restore_again=true")
    with Load(used.outputs()["tracking_uri"], used.admin(), clients=1) as users:
        with volume.full():
            run = used.play("restore", *wanted)
        assert run.returncode != 0 and "its status is failed: RDS could not make it" in said(run), run.stdout[-4000:]
        lose(used, f"{NAME}-db-restored")
    assert users.failures == [] and content.dump(used) == saved.dump


def test_secrets_that_do_not_fit_the_snapshot_hold_for_what_is_restored(used: Deployment, saved: Before) -> None:
    lose(used)
    with contextlib.ExitStack() as wrong:
        for name in ("database", "admin"):
            wrong.enter_context(faults.wrong_secret(used, name))
        played(used, "restore", f"restore_snapshot={saved.snapshot}")
        assert content.dump(used) == saved.dump
    # Put back, they are the ones that do not fit.
    lose(used)
    played(used, "restore", f"restore_snapshot={saved.snapshot}")
    assert content.dump(used) == saved.dump


BESIDE = [
    "Start the database", "Wait for the database to be available", "Run the launcher once", "Stop the tasks and keep the service",
]  # fmt: skip
SWITCHED = [
    "Let the restored database take the place of the other", "Hand the snapshot to the deployment",
    "Run the tasks and wait until they are steady",
]  # fmt: skip
LOST = ["Start the database", "Wait for the database to be available", "Prepare both databases and the admin user",
        "Run the tasks and wait until they are steady"]  # fmt: skip


def test_killed_again_and_again_in_place_it_is_complete_with_one_more_run(used: Deployment, saved: Before) -> None:
    damage(used)
    wanted = ("restore_in_place=true", f"restore_snapshot={saved.snapshot}")
    # It may be restored from that snapshot already.
    reached = [interrupt(used, moment, *wanted, "restore_again=true") for moment in BESIDE]
    reached += [interrupt(used, moment, *wanted) for moment in SWITCHED]
    told = played(used, "restore", *wanted)
    assert reached == [True] * len(reached) and saved.snapshot in told
    assert content.dump(used) == saved.dump
    left = sorted(instances(used))
    assert len(left) == 2 and left[1].startswith(f"{NAME}-db-replaced-"), left
    lose(used, left[1])


def test_killed_again_and_again_a_lost_database_is_complete_with_one_more_run(used: Deployment, saved: Before) -> None:
    lose(used)
    reached = [interrupt(used, moment, f"restore_snapshot={saved.snapshot}") for moment in LOST]
    assert reached == [True] * len(LOST)
    played(used, "restore")
    assert content.dump(used) == saved.dump and instances(used) == [f"{NAME}-db"]


def test_a_destroyed_deployment_comes_back_from_its_final_snapshot(used: Deployment, saved: Before) -> None:
    """In another network, with another password of the admin, because the secrets are gone, too."""
    _name, password = used.admin()
    played(used, "destroy", f"confirm_destroy={NAME}")
    assert instances(used) == []
    told = played(used, "restore")
    assert f"{NAME}-db is restored from {NAME}-db-final-" in told and "differs" not in told
    assert used.admin()[1] != password and content.dump(used) == saved.dump
