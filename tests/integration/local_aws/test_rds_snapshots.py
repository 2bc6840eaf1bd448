# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of the embedded RDS hold the data of their moment, and new instances start with them. Takes half a minute."""

from __future__ import annotations

import time
import typing as t

import botocore.exceptions
import psycopg2
import pytest

from tests.integration.aws import LocalAws, local_aws
from tests.integration.local_aws.databases import PASSWORD, ask, connect, create_database, settled

TAGS = [{"Key": "team", "Value": "a"}]


@pytest.fixture(scope="module")
def aws(tmp_path_factory) -> t.Iterator[LocalAws]:
    # A snapshot takes 1.2 s, the median of 120 times this, a new instance 2.5 s.
    with local_aws(tmp_path_factory.mktemp("aws") / "state", LOCAL_AWS_LATENCY_SCALE="0.01") as running:
        yield running


@pytest.fixture(scope="module")
def rds(aws):
    return aws.client("rds")


def refused(code: str, call: t.Callable[..., t.Any], **arguments: t.Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def write(address: str, *statements: str) -> None:
    connection = connect(address)
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def described(rds, name: str) -> dict:
    (snapshot,) = rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]
    return snapshot


def made(aws: LocalAws, rds, name: str, identifier: str, **more: t.Any) -> dict:
    """An available snapshot; it has seen `creating` on the way."""
    asked = rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=identifier, **more)["DBSnapshot"]
    assert (asked["Status"], asked["PercentProgress"]) == ("creating", 0)
    (instance,) = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"]
    assert instance["DBInstanceStatus"] == "backing-up"
    refused("InvalidDBSnapshotState", rds.delete_db_snapshot, DBSnapshotIdentifier=name)
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert settled(aws, identifier)["DBInstanceStatus"] == "available"
    return described(rds, name)


def test_a_deleted_database_comes_back_as_it_was_at_the_moment_of_its_snapshot(aws, rds):
    database = create_database(
        aws, "kept-db", StorageEncrypted=True, CopyTagsToSnapshot=True, Tags=TAGS, StorageType="gp3", EngineVersion="15.7"
    )
    address = database["Endpoint"]["Address"]
    write(address, "CREATE TABLE kept (word text)", "INSERT INTO kept SELECT 'before' FROM generate_series(1, 20000)")
    # What somebody has begun and not finished is no part of it.
    unfinished = connect(address)
    with unfinished.cursor() as cursor:
        cursor.execute("INSERT INTO kept VALUES ('unfinished')")
    snapshot = made(aws, rds, "kept-1", "kept-db")
    unfinished.commit()
    unfinished.close()
    write(address, "INSERT INTO kept VALUES ('after')", "CREATE TABLE later (word text)")
    assert ask(address, "SELECT count(*) FROM kept") == 20002

    expected = {
        "DBInstanceIdentifier": "kept-db", "Engine": "postgres", "EngineVersion": "15.7", "AllocatedStorage": 20,
        "MasterUsername": "mlflow", "Encrypted": True, "Port": 5432, "SnapshotType": "manual", "TagList": TAGS,
        "Status": "available", "PercentProgress": 100, "StorageType": "gp3", "LicenseModel": "postgresql-license",
        "DbiResourceId": database["DbiResourceId"], "InstanceCreateTime": database["InstanceCreateTime"],
    }  # fmt: skip
    assert expected.items() <= snapshot.items()
    assert abs(time.time() - snapshot["SnapshotCreateTime"].timestamp()) < 60

    rds.modify_db_instance(DBInstanceIdentifier="kept-db", MasterUserPassword="Ein-spaeteres-Passwort-1")
    settled(aws, "kept-db", during=("resetting-master-credentials",))
    rds.delete_db_instance(DBInstanceIdentifier="kept-db", SkipFinalSnapshot=True)
    rds.get_waiter("db_instance_deleted").wait(
        DBInstanceIdentifier="kept-db", WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )

    asked = rds.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier="new-db", DBSnapshotIdentifier="kept-1", DBInstanceClass="db.t3.small", Tags=TAGS
    )["DBInstance"]
    assert asked["DBInstanceStatus"] == "creating" and "Endpoint" not in asked
    restored = settled(aws, "new-db")
    kept = {
        "DBInstanceStatus": "available", "EngineVersion": "15.7", "AllocatedStorage": 20, "MasterUsername": "mlflow",
        "StorageEncrypted": True, "DBName": "mlflow_db", "DBInstanceClass": "db.t3.small", "StorageType": "gp3",
        "DeletionProtection": False, "CopyTagsToSnapshot": False, "TagList": TAGS,
    }  # fmt: skip
    assert kept.items() <= restored.items()
    assert restored["DbiResourceId"] != database["DbiResourceId"]
    new = restored["Endpoint"]["Address"]
    # The password of the snapshot's time.
    assert ask(new, "SELECT count(*) FROM kept") == 20000
    assert ask(new, "SELECT count(DISTINCT word) FROM kept") == 1
    assert ask(new, "SELECT to_regclass('later')") is None
    write(new, "INSERT INTO kept VALUES ('goes on')")
    rds.modify_db_instance(DBInstanceIdentifier="new-db", MasterUserPassword="Ganz-neu-und-lang-genug-2")
    settled(aws, "new-db", during=("resetting-master-credentials",))
    with pytest.raises(psycopg2.OperationalError):
        connect(new, PASSWORD)
    assert ask(new, "SELECT count(*) FROM kept", password="Ganz-neu-und-lang-genug-2") == 20001
    # The snapshot is still as it was: a second instance has none of the first one's rows.
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="second-db", DBSnapshotIdentifier=snapshot["DBSnapshotArn"])
    second = settled(aws, "second-db")
    assert second["DBInstanceClass"] == "db.t3.micro"
    assert ask(second["Endpoint"]["Address"], "SELECT count(*) FROM kept") == 20000
    rds.delete_db_instance(DBInstanceIdentifier="second-db", FinalDBSnapshotIdentifier="second-final")


def test_the_final_snapshot_and_a_copy_of_it_are_restored_too(aws, rds):
    rds.get_waiter("db_instance_deleted").wait(
        DBInstanceIdentifier="second-db", WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    rds.copy_db_snapshot(SourceDBSnapshotIdentifier="second-final", TargetDBSnapshotIdentifier="the-copy")
    rds.delete_db_snapshot(DBSnapshotIdentifier="second-final")
    folder = aws.directory / "rds" / "snapshots"
    assert not (folder / "second-final").exists() and (folder / "the-copy" / "PG_VERSION").exists()
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="third-db", DBSnapshotIdentifier="the-copy")
    address = settled(aws, "third-db")["Endpoint"]["Address"]
    assert ask(address, "SELECT count(*) FROM kept") == 20000
    assert rds.delete_db_snapshot(DBSnapshotIdentifier="the-copy")["DBSnapshot"]["Status"] == "deleted"
    assert not (folder / "the-copy").exists()
    refused("DBSnapshotNotFound", rds.describe_db_snapshots, DBSnapshotIdentifier="the-copy")
    refused("DBSnapshotNotFound", rds.delete_db_snapshot, DBSnapshotIdentifier="the-copy")


def test_a_restored_instance_is_where_and_how_the_request_says(aws, rds):
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(VpcId=vpc, GroupName="db", Description="db")["GroupId"]
    rds.create_db_subnet_group(DBSubnetGroupName="nets", DBSubnetGroupDescription="of a test", SubnetIds=subnets)
    rds.create_db_parameter_group(DBParameterGroupName="own", DBParameterGroupFamily="postgres15", Description="of a test")
    rds.create_db_parameter_group(DBParameterGroupName="other", DBParameterGroupFamily="postgres16", Description="of a test")
    parameter = {"ParameterName": "max_connections", "ParameterValue": "33", "ApplyMethod": "pending-reboot"}
    rds.modify_db_parameter_group(DBParameterGroupName="own", Parameters=[parameter])
    asked = {"DBInstanceIdentifier": "placed-db", "DBSnapshotIdentifier": "kept-1"}
    for more, code, text in (
        ({"Engine": "mysql"}, "InvalidParameterCombination", "doesn't match"),
        ({"AllocatedStorage": 10}, "InvalidParameterValue", "less than the source snapshot"),
        ({"DBParameterGroupName": "other"}, "InvalidParameterCombination", "postgres16"),
        ({"DBSnapshotIdentifier": "none"}, "DBSnapshotNotFound", "none"),
        ({"DBInstanceIdentifier": "new-db"}, "DBInstanceAlreadyExists", "exists"),
        ({"ManageMasterUserPassword": True}, "UnsupportedOperation", "manage_master_user_password"),
    ):
        assert text in refused(code, rds.restore_db_instance_from_db_snapshot, **{**asked, **more})
    rds.restore_db_instance_from_db_snapshot(
        **asked, DBSubnetGroupName="nets", VpcSecurityGroupIds=[group], DBParameterGroupName="own", AllocatedStorage=30,
        DeletionProtection=True, CopyTagsToSnapshot=True,
    )  # fmt: skip
    placed = settled(aws, "placed-db")
    assert placed["DBSubnetGroup"]["VpcId"] == vpc
    assert [one["VpcSecurityGroupId"] for one in placed["VpcSecurityGroups"]] == [group]
    assert (placed["AllocatedStorage"], placed["DeletionProtection"], placed["CopyTagsToSnapshot"]) == (30, True, True)
    assert ask(placed["Endpoint"]["Address"], "SHOW max_connections") == "33"


def test_a_renamed_instance_is_the_same_under_another_name(aws, rds):
    before = settled(aws, "new-db")
    rename = {"DBInstanceIdentifier": "new-db", "NewDBInstanceIdentifier": "other-db", "ApplyImmediately": True}
    refused("DBInstanceAlreadyExists", rds.modify_db_instance, **{**rename, "NewDBInstanceIdentifier": "placed-db"})
    for more in ({"ApplyImmediately": False}, {"MultiAZ": True}):
        assert "renaming" in refused("UnsupportedOperation", rds.modify_db_instance, **{**rename, **more})
    asked = rds.modify_db_instance(**rename)["DBInstance"]
    assert (asked["DBInstanceIdentifier"], asked["DBInstanceStatus"]) == ("new-db", "renaming")
    rds.get_waiter("db_instance_deleted").wait(DBInstanceIdentifier="new-db", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    after = settled(aws, "other-db")
    assert after["DBInstanceArn"].endswith(":db:other-db") and after["DBInstanceStatus"] == "available"
    assert (after["DbiResourceId"], after["TagList"]) == (before["DbiResourceId"], before["TagList"])
    assert ask(after["Endpoint"]["Address"], "SELECT count(*) FROM kept", password="Ganz-neu-und-lang-genug-2") == 20001
    # It is looked after as before, and its old name is free.
    rds.modify_db_instance(**{**rename, "DBInstanceIdentifier": "other-db", "NewDBInstanceIdentifier": "new-db"})
    rds.get_waiter("db_instance_deleted").wait(DBInstanceIdentifier="other-db", WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert settled(aws, "new-db")["DBInstanceStatus"] == "available"


def test_what_cannot_be_taken_or_restored(aws, rds):
    take = {"DBSnapshotIdentifier": "more", "DBInstanceIdentifier": "new-db"}
    refused("DBInstanceNotFound", rds.create_db_snapshot, **{**take, "DBInstanceIdentifier": "none"})
    refused("DBSnapshotAlreadyExists", rds.create_db_snapshot, **{**take, "DBSnapshotIdentifier": "kept-1"})
    rds.stop_db_instance(DBInstanceIdentifier="new-db")
    settled(aws, "new-db", during=("stopping",))
    assert "available state" in refused("InvalidDBInstanceState", rds.create_db_snapshot, **take)
    restore = {"SourceDBInstanceIdentifier": "new-db", "TargetDBInstanceIdentifier": "then-db", "UseLatestRestorableTime": True}
    assert "transaction logs" in refused("UnsupportedOperation", rds.restore_db_instance_to_point_in_time, **restore)
