# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore has to do, what it refuses, and the switch to the restored instance."""

from __future__ import annotations

import datetime
import typing as t

import boto3
import pytest
from botocore.stub import ANY, Stubber

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import rds_client, rds_restore_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.rds_restore_rules import Step
from ansible_collections.mlops.mlflow_aws.plugins.modules import rds_postgres_restore_info, rds_postgres_switch

OWNER = {"owner": "us"}
THEN = datetime.datetime(2026, 11, 28, 2, 0, tzinfo=datetime.timezone.utc)
pytestmark = pytest.mark.usefixtures("aws_environment")


def instance(name: str = "web-db", status: str = "available", restored_from: str = "", unfinished: bool = False) -> dict:
    tags = [{"Key": "owner", "Value": "us"}]
    tags += [{"Key": "mlflow-restored-from", "Value": restored_from}] if restored_from else []
    tags += [{"Key": "mlflow-restore-unfinished", "Value": "true"}] if unfinished else []
    return {"DBInstanceIdentifier": name, "DBInstanceStatus": status, "TagList": tags}


def snapshot(name: str = "snap", tags: dict[str, str] | None = None, **more: t.Any) -> dict:
    return {
        "DBSnapshotIdentifier": name, "DBInstanceIdentifier": "web-db", "Engine": "postgres", "EngineVersion": "15.7",
        "Status": "available", "AllocatedStorage": 20, "Encrypted": True, "KmsKeyId": "key", "MasterUsername": "mlflow",
        "SnapshotCreateTime": THEN, "PercentProgress": 100,
        "TagList": [{"Key": key, "Value": value} for key, value in (tags or {}).items()], **more,
    }  # fmt: skip


BESIDE = instance("web-db-restored", restored_from="snap")


@pytest.mark.parametrize(
    ("main", "restored", "wanted", "in_place", "step"),
    [
        # A database that is lost, or on a new host.
        (None, None, "", False, Step("restore", False, "latest")),
        (None, None, "snap", True, Step("restore", False, "snap")),
        (instance(status="deleting"), None, "snap", False, Step("restore", False, "snap")),
        # In place.
        (instance(), None, "snap", True, Step("restore", True, "snap")),
        (instance(restored_from="old"), None, "latest", True, Step("restore", True, "latest")),
        # What an interrupted run has left.
        (instance(restored_from="snap", unfinished=True), None, "", False, Step("finish", False, "snap")),
        (instance(restored_from="snap", unfinished=True), None, "snap", True, Step("finish", False, "snap")),
        (instance(), BESIDE, "latest", True, Step("finish", True, "snap")),
        (None, BESIDE, "", True, Step("finish", True, "snap")),
        (instance(restored_from="snap"), None, "", False, Step("none", False, "snap")),
        (instance(restored_from="snap"), None, "snap", False, Step("none", False, "snap")),
    ],
)
def test_the_next_step(main: dict | None, restored: dict | None, wanted: str, in_place: bool, step: Step) -> None:
    assert rds_restore_rules.next_step(main, restored, "web-db", wanted, in_place) == step


@pytest.mark.parametrize(
    ("main", "restored", "wanted", "in_place", "message"),
    [
        (instance(), None, "", False, "it is there; say restore_in_place=true"),
        (instance(restored_from="snap"), None, "other", False, "it is there; say restore_in_place=true"),
        (instance(), None, "", True, "say which snapshot"),
        (instance(), BESIDE, "other", True, "web-db-restored is being restored from snap; finish that first"),
        (instance(restored_from="snap", unfinished=True), None, "other", True, "web-db is being restored from snap"),
        (None, BESIDE, "", False, "a restore in place is not finished (web-db-restored)"),
    ],
)
def test_steps_that_are_refused(main: dict | None, restored: dict | None, wanted: str, in_place: bool, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        rds_restore_rules.next_step(main, restored, "web-db", wanted, in_place)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_database_is_not_restored_again_where_it_must_not_be_replaced() -> None:
    with pytest.raises(ValueError, match="say restore_in_place=true"):
        rds_restore_rules.next_step(instance(restored_from="snap"), None, "web-db", "snap", False, again=True)


def test_what_is_restored_from_it_is_left_alone_unless_it_is_to_be_so_again() -> None:
    step, done = Step("restore", True, "latest"), instance(restored_from="snap")
    assert rds_restore_rules.after_choice(step, done, "snap", False) == Step("none", False, "snap")
    assert rds_restore_rules.after_choice(step, done, "snap", True) == Step("restore", True, "snap")
    assert rds_restore_rules.after_choice(step, done, "newer", False) == Step("restore", True, "newer")
    assert rds_restore_rules.after_choice(Step("restore", False, "latest"), None, "snap", False) == Step("restore", False, "snap")


WANTED = {
    "engine_version": "15", "auto_minor_version_upgrade": False, "allocated_storage": 20, "max_allocated_storage": 100, "kms_key": "",
    "master_username": "mlflow", "mlflow_version": "3.17.2", "artifact_root": "s3://a/mlflow", "artifacts_copied": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("found", "wanted", "messages"),
    [
        (snapshot(), {}, []),
        (snapshot(tags={"mlflow-version": "2.18.0", "mlflow-artifact-root": "s3://a/mlflow"}), {"kms_key": "key"}, []),
        (snapshot(tags={"mlflow-artifact-root": "s3://b/mlflow"}), {"artifacts_copied": True}, []),
        (snapshot(EngineVersion="15.9"), {"engine_version": "15.7", "auto_minor_version_upgrade": True}, []),
        (snapshot(), {"engine_version": "15.9", "master_username": ""}, []),
        (snapshot(Engine="mysql", EngineVersion="8.0.35"), {}, ["of the engine mysql, not PostgreSQL"]),
        (snapshot(Status="creating", PercentProgress=45), {}, ["it is creating (45 %); wait until it is available"]),
        (snapshot(EngineVersion="16.3"), {}, ['of PostgreSQL 16.3, and rds_engine_version is 15; set rds_engine_version to "16"']),
        (snapshot(EngineVersion="15.9"), {"engine_version": "15.7"}, ['cannot go back to 15.7; set rds_engine_version to "15.9"']),
        (snapshot(AllocatedStorage=200), {}, ["it needs 200 GiB, and the deployment has 100 at most"]),
        (snapshot(Encrypted=False), {}, ["it is not encrypted"]),
        (snapshot(), {"kms_key": "other"}, ["it is encrypted with key, and so would be the database; copy it with other"]),
        (snapshot(MasterUsername="root"), {}, ["its master user is root, the deployment's is mlflow; set secrets_db_username to root"]),
        (
            snapshot(tags={"mlflow-version": "3.17.2"}),
            {"mlflow_version": "2.18.0"},
            ["MLflow 3.17.2 wrote it, and 2.18.0 cannot read that schema; set mlflow_version to 3.17.2"],
        ),
        (
            snapshot(tags={"mlflow-artifact-root": "s3://b/mlflow"}, AllocatedStorage=101),
            {},
            ["it needs 101 GiB", "its artifacts are in s3://b/mlflow, this deployment keeps its own in s3://a/mlflow"],
        ),
    ],
)
def test_problems_of_a_snapshot(found: dict, wanted: dict, messages: list[str]) -> None:
    problems = rds_restore_rules.problems(found, {**WANTED, **wanted})
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages):
        assert problem.startswith("restore_snapshot = snap: ") and message in problem


# --- the modules


@pytest.fixture
def rds(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Stubber]:
    stub = Stubber(boto3.client("rds", region_name="eu-west-2"))
    client = RetryingBotoClientWrapper(stub.client, AWSRetry.jittered_backoff(retries=1))
    monkeypatch.setattr(rds_client, "connect", lambda _module: client)
    monkeypatch.setattr(rds_client.time, "sleep", lambda _seconds: None)
    with stub:
        yield stub
    stub.assert_no_pending_responses()


def describes(rds: Stubber, name: str, found: dict | None) -> None:
    if found is None:
        rds.add_client_error("describe_db_instances", "DBInstanceNotFound")
    else:
        rds.add_response("describe_db_instances", {"DBInstances": [found]}, {"DBInstanceIdentifier": name})


def both(rds: Stubber, main: dict | None, restored: dict | None) -> None:
    describes(rds, "web-db-restored", restored)
    describes(rds, "web-db", main)


LOOK = {"db_instance_identifier": "web-db", "engine_version": "15", "allocated_storage": 20, "owner_tags": OWNER}


def test_the_latest_snapshot_of_the_source_is_chosen(rds: Stubber, run_module: t.Callable) -> None:
    both(rds, None, None)
    managed = snapshot("awsbackup:job-1", SnapshotCreateTime=THEN + datetime.timedelta(hours=1), SnapshotType="awsbackup")
    making = snapshot("making", Status="creating")
    source = {"DBInstanceIdentifier": "old-db"}
    rds.add_response("describe_db_snapshots", {"DBSnapshots": [managed]}, {**source, "SnapshotType": "awsbackup"})
    rds.add_response("describe_db_snapshots", {"DBSnapshots": [snapshot(), making]}, source)
    found = run_module(rds_postgres_restore_info, {**LOOK, "source_db_instance_identifier": "old-db"})
    assert (found["work"], found["beside"], found["snapshot_id"]) == ("restore", False, "awsbackup:job-1")
    assert found["snapshot"]["kind"] == "aws-backup" and not found["changed"]


def test_without_a_snapshot_there_is_nothing_to_restore(rds: Stubber, run_module: t.Callable) -> None:
    both(rds, None, None)
    for _kind in range(2):
        rds.add_response("describe_db_snapshots", {"DBSnapshots": []})
    assert "there is no snapshot of it that is available" in run_module(rds_postgres_restore_info, LOOK)["msg"]
    both(rds, None, None)
    rds.add_client_error("describe_db_snapshots", "DBSnapshotNotFound")
    refused = run_module(rds_postgres_restore_info, {**LOOK, "snapshot_identifier": "gone"})
    assert refused["msg"] == "restore_snapshot = gone: there is no such snapshot in eu-west-2; correct it"


def test_a_snapshot_that_cannot_be_it_is_refused(rds: Stubber, run_module: t.Callable) -> None:
    both(rds, instance(), None)
    rds.add_response("describe_db_snapshots", {"DBSnapshots": [snapshot(Encrypted=False, AllocatedStorage=30)]})
    refused = run_module(rds_postgres_restore_info, {**LOOK, "snapshot_identifier": "snap", "in_place": True})
    assert refused["msg"].startswith("2 problems, nothing was changed:")


def test_an_interrupted_restore_goes_on_though_its_snapshot_is_gone(rds: Stubber, run_module: t.Callable) -> None:
    both(rds, instance(), BESIDE)
    rds.add_client_error("describe_db_snapshots", "DBSnapshotNotFound")
    found = run_module(rds_postgres_restore_info, {**LOOK, "in_place": True})
    assert (found["work"], found["beside"], found["snapshot_id"], found["snapshot"]) == ("finish", True, "snap", None)


def test_a_renaming_under_way_is_awaited_and_then_decided(rds: Stubber, run_module: t.Callable) -> None:
    """A run was killed while the restored database got its final name."""
    renaming = instance("web-db-restored", "renaming", restored_from="snap")
    for found in (renaming, renaming, None):
        describes(rds, "web-db-restored", found)
    describes(rds, "web-db", instance(restored_from="snap"))
    rds.add_response("describe_db_snapshots", {"DBSnapshots": [snapshot()]})
    found = run_module(rds_postgres_restore_info, {**LOOK, "in_place": True, "snapshot_identifier": "snap"})
    assert (found["work"], found["beside"]) == ("none", False)


@pytest.mark.parametrize("module", [rds_postgres_restore_info, rds_postgres_switch])
def test_a_foreign_database_is_not_touched(rds: Stubber, run_module: t.Callable, module: t.Any) -> None:
    foreign = {"DBInstanceIdentifier": "web-db", "DBInstanceStatus": "available", "TagList": []}
    describes(rds, "web-db-restored", foreign)
    options = LOOK if module is rds_postgres_restore_info else SWITCH
    assert "not ours to touch" in run_module(module, options)["msg"]


SWITCH = {"db_instance_identifier": "web-db", "owner_tags": OWNER, "wait_timeout": 60}


def renames(rds: Stubber, old: str, new: t.Any, named: str) -> None:
    asked = {"DBInstanceIdentifier": old, "NewDBInstanceIdentifier": new, "ApplyImmediately": True}
    rds.add_response("modify_db_instance", {}, asked)
    # For a while nobody answers to the new name.
    rds.add_client_error("describe_db_instances", "DBInstanceNotFound")
    for status in ("rebooting", "available"):
        rds.add_response("describe_db_instances", {"DBInstances": [instance(named, status)]})


def test_the_restored_database_takes_the_place_of_the_other(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, "web-db-restored", BESIDE)
    describes(rds, "web-db", instance())
    renames(rds, "web-db", ANY, "web-db-replaced-1")
    renames(rds, "web-db-restored", "web-db", "web-db")
    done = run_module(rds_postgres_switch, SWITCH)
    assert done["changed"] and done["replaced_id"].startswith("web-db-replaced-20")
    assert done["diff"]["after"] == {"web-db": "replaced", "web-db-restored": "called web-db"}


def test_a_switch_that_was_interrupted_goes_on(rds: Stubber, run_module: t.Callable) -> None:
    # While the old one is being renamed.
    describes(rds, "web-db-restored", BESIDE)
    describes(rds, "web-db", instance(status="renaming"))
    describes(rds, "web-db", instance(status="renaming"))
    describes(rds, "web-db", None)
    renames(rds, "web-db-restored", "web-db", "web-db")
    done = run_module(rds_postgres_switch, SWITCH)
    assert done["changed"] and done["replaced_id"] is None
    # And at its end.
    describes(rds, "web-db-restored", None)
    assert not run_module(rds_postgres_switch, SWITCH)["changed"]


def test_a_switch_is_predicted_and_refused(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, "web-db-restored", instance("web-db-restored", "creating"))
    describes(rds, "web-db", instance())
    check = run_module(rds_postgres_switch, SWITCH, check=True)
    assert check["changed"] and check["replaced_id"] is None
    describes(rds, "web-db-restored", instance("web-db-restored", restored_from="snap", unfinished=True))
    assert "its restore is not finished; run restore.yml again" in run_module(rds_postgres_switch, SWITCH)["msg"]
