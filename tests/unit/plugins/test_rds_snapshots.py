# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots on demand: each test lists the calls it expects, in order; botocore checks every argument and answer."""

from __future__ import annotations

import datetime
import typing as t

import boto3
import pytest
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import rds_client, rds_snapshot_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import rds_postgres_snapshot, rds_postgres_snapshot_info

OWNER = {"owner": "us"}
OURS = [{"Key": "owner", "Value": "us"}]
ON_DEMAND = [*OURS, {"Key": "mlflow-backup", "Value": "on-demand"}]
THEN = datetime.datetime(2026, 11, 28, 2, 0, tzinfo=datetime.timezone.utc)
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def rds(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Stubber]:
    stub = Stubber(boto3.client("rds", region_name="eu-west-2"))
    client = RetryingBotoClientWrapper(stub.client, AWSRetry.jittered_backoff(retries=1))
    monkeypatch.setattr(rds_client, "connect", lambda _module: client)
    monkeypatch.setattr(rds_client.time, "sleep", lambda _seconds: None)
    with stub:
        yield stub
    stub.assert_no_pending_responses()


def snapshot(name: str = "web-db-backup-1", status: str = "available", age: int = 0, **more: t.Any) -> dict:
    return {
        "DBSnapshotIdentifier": name,
        "DBSnapshotArn": f"arn:aws:rds:eu-west-2:123456789012:snapshot:{name}",
        "DBInstanceIdentifier": "web-db",
        "SnapshotType": "manual",
        "Status": status,
        "PercentProgress": 100 if status == "available" else 40,
        "AllocatedStorage": 20,
        "EngineVersion": "15.7",
        "TagList": ON_DEMAND,
        **({"SnapshotCreateTime": THEN - datetime.timedelta(days=age)} if status != "creating" else {}),
        **more,
    }


def describes(rds: Stubber, status: str | None = "available", **more: t.Any) -> None:
    if status is None:
        rds.add_client_error("describe_db_instances", "DBInstanceNotFound")
        return
    instance = {"DBInstanceIdentifier": "web-db", "DBInstanceStatus": status, "TagList": OURS, **more}
    rds.add_response("describe_db_instances", {"DBInstances": [instance]}, {"DBInstanceIdentifier": "web-db"})


def lists(rds: Stubber, *snapshots: dict, managed: tuple[dict, ...] = ()) -> None:
    """Two pages of RDS's own, and one of AWS Backup's."""
    asked = {"DBInstanceIdentifier": "web-db"}
    rds.add_response("describe_db_snapshots", {"DBSnapshots": list(managed)}, {**asked, "SnapshotType": "awsbackup"})
    rds.add_response("describe_db_snapshots", {"DBSnapshots": list(snapshots[:1]), "Marker": "m"}, asked)
    rds.add_response("describe_db_snapshots", {"DBSnapshots": list(snapshots[1:])}, {**asked, "Marker": "m"})


def becomes(rds: Stubber, *snapshots: dict | None) -> None:
    for one in snapshots:
        if one is None:
            rds.add_client_error("describe_db_snapshots", "DBSnapshotNotFound")
        else:
            rds.add_response("describe_db_snapshots", {"DBSnapshots": [one]}, {"DBSnapshotIdentifier": one["DBSnapshotIdentifier"]})


WANTED = {"db_instance_identifier": "web-db", "owner_tags": OWNER, "tags": {"number": 7}}


def test_a_snapshot_is_made_and_the_oldest_of_its_kind_go(rds: Stubber, run_module: t.Callable) -> None:
    foreign = snapshot("web-db-backup-0", age=99, TagList=[{"Key": "mlflow-backup", "Value": "on-demand"}])
    others = [snapshot("web-db-backup-old", age=2), foreign, snapshot("web-db-final-1", age=50, TagList=OURS)]
    automated = snapshot("rds:web-db-1", age=60, SnapshotType="automated")
    broken = snapshot("web-db-backup-broken", "failed", age=1)
    describes(rds)
    lists(rds, *others, automated, broken, snapshot("web-db-backup-older", age=3))
    describes(rds, "backing-up")
    describes(rds)
    tags = [{"Key": "number", "Value": "7"}, *ON_DEMAND]
    made = snapshot("web-db-backup-new", "creating")
    asked = {"DBSnapshotIdentifier": ANY, "DBInstanceIdentifier": "web-db", "Tags": tags}
    rds.add_response("create_db_snapshot", {"DBSnapshot": made}, asked)
    becomes(rds, made, snapshot("web-db-backup-new"))
    lists(rds, *others, automated, broken, snapshot("web-db-backup-older", age=3), snapshot("web-db-backup-new"))
    for name in ("web-db-backup-broken", "web-db-backup-older"):
        rds.add_response("delete_db_snapshot", {}, {"DBSnapshotIdentifier": name})
    done = run_module(rds_postgres_snapshot, {**WANTED, "keep": 2})
    assert done["changed"] and done["removed"] == ["web-db-backup-broken", "web-db-backup-older"]
    assert (done["snapshot"]["snapshot_id"], done["snapshot"]["status"]) == ("web-db-backup-new", "available")
    assert done["diff"]["after"] == {"snapshot": "present", "web-db-backup-broken": "absent", "web-db-backup-older": "absent"}


def test_a_prediction_counts_the_one_to_come(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds)
    lists(rds, snapshot("web-db-backup-a", age=2), snapshot("web-db-backup-b", age=3))
    check = run_module(rds_postgres_snapshot, {**WANTED, "keep": 2}, check=True)
    assert check["changed"] and check["removed"] == ["web-db-backup-b"] and check["snapshot"] is None


def test_one_that_is_being_made_is_joined(rds: Stubber, run_module: t.Callable) -> None:
    making = snapshot(status="creating", TagList=[*ON_DEMAND, {"Key": "number", "Value": "7"}])
    describes(rds, "backing-up")
    lists(rds, making)
    becomes(rds, making, {**making, **snapshot()})
    lists(rds, snapshot())
    done = run_module(rds_postgres_snapshot, WANTED)
    assert not done["changed"] and done["removed"] == []


def test_started_it_is_tagged_and_awaited_later(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds)
    lists(rds)
    describes(rds)
    rds.add_response("create_db_snapshot", {"DBSnapshot": snapshot(status="creating")})
    lists(rds, snapshot(status="creating"), snapshot("web-db-backup-0", age=1))
    started = run_module(rds_postgres_snapshot, {**WANTED, "wait": False, "keep": 1})
    assert (started["snapshot"]["status"], started["snapshot"]["created_at"], started["removed"]) == ("creating", None, [])
    describes(rds, "backing-up")
    lists(rds, snapshot(status="creating"))
    rds.add_response("add_tags_to_resource", {}, {
        "ResourceName": snapshot()["DBSnapshotArn"], "Tags": [{"Key": "number", "Value": "7"}],
    })  # fmt: skip
    becomes(rds, snapshot())
    lists(rds, snapshot())
    done = run_module(rds_postgres_snapshot, {**WANTED, "snapshot_identifier": "web-db-backup-1"})
    assert done["changed"] and done["snapshot"]["status"] == "available"


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (snapshot(status="failed"), "it is failed, so it holds nothing"),
        (None, "it is absent, so it holds nothing"),
        (snapshot(status="creating"), "40 % are made after 0 s; it goes on, run again to wait for it"),
    ],
)
def test_why_a_snapshot_was_awaited_in_vain(rds: Stubber, run_module: t.Callable, ends: dict | None, message: str) -> None:
    describes(rds)
    lists(rds, snapshot(status="creating", TagList=[*ON_DEMAND, {"Key": "number", "Value": "7"}]))
    becomes(rds, ends)
    assert message in run_module(rds_postgres_snapshot, {**WANTED, "wait_timeout": 0})["msg"]


def test_what_is_refused(rds: Stubber, run_module: t.Callable) -> None:
    assert "backup_keep = -1: is no number" in run_module(rds_postgres_snapshot, {**WANTED, "keep": -1})["msg"]
    describes(rds, None)
    assert "there is none to back up" in run_module(rds_postgres_snapshot, WANTED)["msg"]
    describes(rds, TagList=[])
    assert "not ours to touch" in run_module(rds_postgres_snapshot, WANTED)["msg"]
    describes(rds)
    lists(rds, snapshot(TagList=OURS))
    refused = run_module(rds_postgres_snapshot, {**WANTED, "snapshot_identifier": "web-db-backup-1"})
    assert "web-db has none of that name that was made on demand" in refused["msg"]
    describes(rds)
    lists(rds)
    describes(rds, "stopped")
    rds.add_response("describe_events", {"Events": []})
    assert "its status is stopped: somebody stopped it" in run_module(rds_postgres_snapshot, WANTED)["msg"]


def test_everything_that_can_be_restored_is_listed(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, LatestRestorableTime=THEN, BackupRetentionPeriod=7)
    lists(
        rds, snapshot("web-db-final-1", age=3, TagList=OURS), snapshot("by-hand", age=2, TagList=[]),
        snapshot("rds:web-db-1", age=1, SnapshotType="automated"), snapshot(age=4), snapshot("new", "creating"),
        managed=(snapshot("awsbackup:job-1", age=5, SnapshotType="awsbackup"), snapshot("odd", age=6, SnapshotType="shared")),
    )  # fmt: skip
    found = run_module(rds_postgres_snapshot_info, {"db_instance_identifier": "web-db"})
    assert [one["kind"] for one in found["snapshots"]] == [
        "on-demand", "automated", "manual", "final", "on-demand", "aws-backup", "shared",
    ]  # fmt: skip
    assert (found["latest_restorable_at"], found["backup_retention_days"]) == ("2026-11-28T02:00:00+00:00", 7)
    assert found["snapshots"][1]["age_seconds"] > 86400
    describes(rds, None)
    lists(rds)
    gone = run_module(rds_postgres_snapshot_info, {"db_instance_identifier": "web-db"})
    assert (gone["snapshots"], gone["latest_restorable_at"], gone["backup_retention_days"]) == ([], None, None)


SNAPSHOTS = st.lists(
    st.builds(
        lambda number, status, kind, tags: snapshot(f"s-{number}", status, age=number, SnapshotType=kind, TagList=tags),
        st.integers(0, 500), st.sampled_from(["available", "failed", "creating"]), st.sampled_from(["manual", "automated", "awsbackup"]),
        st.sampled_from([ON_DEMAND, OURS, []]),
    ),
    max_size=12, unique_by=lambda one: one["DBSnapshotIdentifier"],
)  # fmt: skip


@given(snapshots=SNAPSHOTS, keep=st.integers(0, 5), to_come=st.integers(0, 1))
def test_nothing_else_ever_goes(snapshots: list[dict], keep: int, to_come: int) -> None:
    gone = rds_snapshot_rules.superfluous(snapshots, OWNER, keep, to_come)
    assert all(one["SnapshotType"] == "manual" and one["TagList"] == ON_DEMAND and one["Status"] != "creating" for one in gone)
    ours = [one for one in snapshots if one["SnapshotType"] == "manual" and one["TagList"] == ON_DEMAND]
    good = [one for one in ours if one["Status"] == "available"]
    stay = [one for one in good if one not in gone]
    assert len(stay) == (min(len(good), max(0, keep - to_come)) if keep else len(good))
    # The newest stay.
    times = [one["SnapshotCreateTime"] for one in gone if one["Status"] == "available"]
    assert not stay or not times or min(one["SnapshotCreateTime"] for one in stay) >= max(times)
