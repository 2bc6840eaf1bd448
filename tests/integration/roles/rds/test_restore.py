# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database that is backed up on demand, lost and restored by the roles backup and rds, with a password that has changed since."""

from __future__ import annotations

import json
import typing as t

import psycopg2
import pytest

from tests.integration.local_aws.databases import ask, connect

OLD, NEW = "Das-alte-Passwort-1%", "Das-neue-Passwort-2%"


def variables(local_aws: t.Any, name: str) -> dict:
    """The network and the secret of a database of its own."""
    ec2 = local_aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="database", Description="Database", VpcId=vpc)["GroupId"]
    secret = local_aws.client("secretsmanager").create_secret(Name=f"{name}/database", SecretString=login(OLD))["ARN"]
    return {
        "rds_name": name, "rds_subnet_ids": subnets, "rds_security_group_ids": [group], "rds_db_secret_arn": secret,
        "rds_monitoring_interval": 0, "rds_deletion_protection": False, "rds_engine_version": "17",
        "backup_name": name, "backup_db_instance_id": f"{name}-db",
    }  # fmt: skip


def login(password: str) -> str:
    return json.dumps({"username": "mlflow", "password": password})


def remember(address: str, word: str) -> None:
    connection = connect(address, OLD)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        cursor.execute("INSERT INTO words VALUES (%s)", (word,))
    connection.close()


def lose(rds: t.Any, name: str) -> None:
    rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    rds.get_waiter("db_instance_deleted").wait(DBInstanceIdentifier=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def test_a_lost_database_comes_back_with_the_password_of_today(run_role: t.Callable, local_aws: t.Any) -> None:
    given, rds = variables(local_aws, "back"), local_aws.client("rds")
    made = run_role("rds", given, ("main", "wait"))
    assert made.rc == 0, made.stdout
    remember(made.outputs["endpoint_address"], "kept")
    backed_up = run_role("backup", {**given, "backup_snapshot_tags": {"mlflow-version": "3.17.2"}}, "snapshot")
    assert (backed_up.rc, backed_up.writes) == (0, ["rds:CreateDBSnapshot"]), backed_up.stdout
    snapshot = backed_up.outputs["snapshot"]
    assert snapshot["kind"] == "on-demand" and snapshot["tags"]["mlflow-version"] == "3.17.2"
    remember(made.outputs["endpoint_address"], "lost")
    lose(rds, "back-db")
    local_aws.client("secretsmanager").put_secret_value(SecretId=given["rds_db_secret_arn"], SecretString=login(NEW))

    newer = run_role("rds", {**given, "rds_mlflow_version": "2.18.0"}, "restore_check")
    assert newer.rc == 2 and "MLflow 3.17.2 wrote it, and 2.18.0 cannot read that schema" in newer.stdout, newer.stdout
    found = run_role("rds", {**given, "rds_mlflow_version": "3.17.2"}, "restore_check").outputs["restore"]
    assert (found["work"], found["beside"], found["snapshot_id"]) == ("restore", False, snapshot["snapshot_id"])

    again = {**given, "rds_snapshot_identifier": found["snapshot_id"]}
    started = run_role("rds", again, ("main", "wait"))
    assert (started.rc, started.writes) == (0, ["rds:RestoreDBInstanceFromDBSnapshot"]), started.stdout
    address = started.outputs["endpoint_address"]
    assert started.outputs["restore_unfinished"] and ask(address, "SELECT count(*) FROM words", password=OLD) == 1
    # As after an interruption: whoever comes next finishes it.
    finished = run_role("rds", given, ("main", "wait"), verbosity=3)
    assert (finished.rc, finished.writes) == (0, ["rds:ModifyDBInstance", "rds:RemoveTagsFromResource"]), finished.stdout
    assert NEW not in finished.stdout and not finished.outputs["restore_unfinished"]
    assert finished.outputs["restored_from"] == snapshot["snapshot_id"]
    assert ask(address, "SELECT word FROM words", password=NEW) == "kept"
    with pytest.raises(psycopg2.OperationalError):
        connect(address, OLD)
    same = run_role("rds", again, ("main", "wait"))
    assert (same.rc, same.changed, same.writes) == (0, 0, []), same.stdout
    (now,) = rds.describe_db_instances(DBInstanceIdentifier="back-db")["DBInstances"]
    assert now["PerformanceInsightsEnabled"] and now["MaxAllocatedStorage"] == 100 and now["BackupRetentionPeriod"] == 7
    gone = run_role("rds", {**given, "rds_final_snapshot": False}, "absent")
    assert gone.rc == 0, gone.stdout


@pytest.mark.long
def test_beside_and_in_its_place_and_all_of_it_goes(run_role: t.Callable, local_aws: t.Any) -> None:
    given, rds = variables(local_aws, "place"), local_aws.client("rds")
    made = run_role("rds", given, ("main", "wait"))
    assert made.rc == 0, made.stdout
    remember(made.outputs["endpoint_address"], "kept")
    for _number in range(3):
        backed_up = run_role("backup", {**given, "backup_keep": 2}, "snapshot")
        assert backed_up.rc == 0, backed_up.stdout
    listed = run_role("backup", given, "snapshots").outputs["snapshots"]
    assert len(listed) == 2 and listed[0]["snapshot_id"] == backed_up.outputs["snapshot"]["snapshot_id"]
    remember(made.outputs["endpoint_address"], "damaged")

    beside = {**given, "rds_beside": True, "rds_snapshot_identifier": listed[1]["snapshot_id"]}
    assert run_role("rds", beside, ("main", "wait", "main", "wait")).rc == 0
    (old, new) = sorted(rds.describe_db_instances()["DBInstances"], key=lambda one: one["DBInstanceIdentifier"])[-2:]
    assert (old["DBInstanceIdentifier"], new["DBInstanceIdentifier"]) == ("place-db", "place-db-restored")
    assert new["DBParameterGroups"][0]["DBParameterGroupName"] == "place-db" == new["DBSubnetGroup"]["DBSubnetGroupName"]
    lose(rds, "place-db")
    # Nobody makes an empty one in the meantime.
    empty = run_role("rds", given)
    assert empty.rc == 2 and "but a restore has left place-db-restored" in empty.stdout, empty.stdout
    check = run_role("rds", given, "switch", check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    switched = run_role("rds", given, "switch")
    assert (switched.rc, switched.writes, switched.outputs["replaced_id"]) == (0, ["rds:ModifyDBInstance"], None), switched.stdout
    assert ask(switched.outputs["endpoint_address"], "SELECT count(*) FROM words", password=OLD) == 1
    same = run_role("rds", given, ("main", "wait"))
    assert (same.rc, same.changed) == (0, 0), same.stdout

    assert run_role("rds", {**beside, "rds_snapshot_identifier": listed[0]["snapshot_id"]}, ("main", "wait", "main", "wait")).rc == 0
    switched = run_role("rds", given, "switch")
    assert switched.rc == 0 and switched.outputs["replaced_id"].startswith("place-db-replaced-20")
    gone = run_role("rds", {**given, "rds_final_snapshot": False}, "absent")
    assert gone.rc == 0, gone.stdout
    assert [one for one in rds.describe_db_instances()["DBInstances"] if one["DBInstanceIdentifier"].startswith("place")] == []
