# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role rds on a local AWS, whose databases are real."""

from __future__ import annotations

import json
import typing as t

import pytest

PASSWORD = "Canary%&+$'`{}[]=,~42"


@pytest.fixture(scope="module")
def network(local_aws: t.Any) -> dict:
    ec2 = local_aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="database", Description="Database", VpcId=vpc)["GroupId"]
    return {"rds_subnet_ids": subnets, "rds_security_group_ids": [group]}


@pytest.fixture(scope="module")
def secret_arn(local_aws: t.Any) -> str:
    client, text = local_aws.client("secretsmanager"), f'{{"username": "mlflow", "password": "{PASSWORD}"}}'
    return client.create_secret(Name="rds-test/database", SecretString=text)["ARN"]


@pytest.fixture
def rds(local_aws: t.Any) -> t.Any:
    return local_aws.client("rds")


ROLE_GONE = ["iam:DeleteRolePolicy", "iam:DeleteRole"]


def instance(rds: t.Any, name: str) -> dict:
    return rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


def test_life_of_a_database(
    run_role: t.Callable, local_aws: t.Any, rds: t.Any, network: dict, secret_arn: str
) -> None:
    variables = {"rds_name": "life", "rds_tags": {"team": "a"}, "rds_db_secret_arn": secret_arn, **network}

    check = run_role("rds", variables, check=True)
    assert (check.rc, check.changed, check.writes) == (0, 2, []), check.stdout
    assert set(check.outputs.values()) == {None}
    assert len(check.outputs) == 14

    create = run_role("rds", variables, ("main", "wait"), verbosity=3)
    assert (create.rc, create.changed) == (0, 3), create.stdout
    assert create.writes == [
        "iam:CreateRole", "iam:PutRolePolicy",
        "rds:CreateDBSubnetGroup", "rds:CreateDBParameterGroup", "rds:ModifyDBParameterGroup", "rds:CreateDBInstance"
    ]  # fmt: skip
    assert PASSWORD not in create.stdout
    assert create.outputs["status"] == "available" and create.outputs["endpoint_port"] == 5432
    assert create.outputs["db_instance_id"] == "life-db" and create.outputs["database_name"] == "mlflow_db"
    assert create.outputs["engine_version"].startswith("15.")
    made = instance(rds, "life-db")
    assert made["StorageEncrypted"] and not made["PubliclyAccessible"] and made["DeletionProtection"]
    assert (made["StorageType"], made["AllocatedStorage"], made["MaxAllocatedStorage"]) == ("gp3", 20, 100)
    assert made["BackupRetentionPeriod"] == 7 and made["PerformanceInsightsEnabled"] and made["CopyTagsToSnapshot"]
    assert made["IAMDatabaseAuthenticationEnabled"] and made["MonitoringInterval"] == 60
    seen = local_aws.client("logs").get_log_events(logGroupName="RDSOSMetrics", logStreamName=made["DbiResourceId"])
    document = json.loads(seen["events"][0]["message"])
    assert document["instanceID"] == "life-db" and len(document["processList"]) > 1
    assert all("postgres" in process["name"] and process["rss"] > 0 for process in document["processList"])
    set_by_us = rds.describe_db_parameters(DBParameterGroupName="life-db", Source="user")["Parameters"]
    assert {one["ParameterName"]: one["ParameterValue"] for one in set_by_us} == {"rds.force_ssl": "1"}

    for checking in (True, False):
        again = run_role("rds", variables, ("main", "wait"), check=checking)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == create.outputs
    assert run_role("rds", variables, "info").outputs == create.outputs

    grown = {
        **variables, "rds_allocated_storage": 30, "rds_instance_class": "db.t3.medium", "rds_multi_az": True,
        "rds_log_exports": ["postgresql"], "rds_monitoring_interval": 0,
    }  # fmt: skip
    assert run_role("rds", grown, check=True).writes == []
    change = run_role("rds", grown, ("main", "wait"))
    assert (change.rc, change.writes) == (
        0, ["logs:CreateLogGroup", "logs:PutRetentionPolicy", "rds:ModifyDBInstance", *ROLE_GONE]
    ), change.stdout  # fmt: skip
    now = instance(rds, "life-db")
    assert (now["AllocatedStorage"], now["DBInstanceClass"], now["MultiAZ"]) == (30, "db.t3.medium", True)
    assert run_role("rds", grown).changed == 0
    # The server was restarted, and says so.
    where = {"logGroupName": "/aws/rds/instance/life-db/postgresql", "logStreamName": "life-db.0"}
    logged = [one["message"] for one in local_aws.client("logs").get_log_events(**where)["events"]]
    assert any("database system is ready to accept connections" in line for line in logged), logged
    # As after storage autoscaling: the role asks for less than there is, below the maximum.
    assert run_role("rds", {**grown, "rds_allocated_storage": 20}).changed == 0

    for wrong, message in (
        (
            {"rds_allocated_storage": 20, "rds_max_allocated_storage": 0},
            "the database has 30 GiB, and RDS cannot shrink",
        ),
        ({"rds_engine_version": "14"}, "another major version needs a planned upgrade"),
        ({"rds_database_name": "other"}, "the instance was made with mlflow_db"),
    ):
        refused = run_role("rds", {**grown, **wrong})
        assert refused.rc == 2 and refused.writes == [] and message in refused.stdout

    protected = run_role("rds", variables, "absent")
    assert protected.rc == 2 and protected.writes == [] and "say rds_delete_protected=true" in protected.stdout
    doomed = {**variables, "rds_delete_protected": True}
    assert run_role("rds", doomed, "absent", check=True).writes == []
    gone = run_role("rds", doomed, "absent")
    assert (gone.rc, gone.changed) == (0, 2), gone.stdout
    snapshot = gone.outputs["final_snapshot_id"]
    assert snapshot.startswith("life-db-final-")
    assert rds.describe_db_snapshots(DBSnapshotIdentifier=snapshot)["DBSnapshots"]
    again = run_role("rds", doomed, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])
    assert set(run_role("rds", variables, "info").outputs.values()) == {None}


def test_interrupted_create_and_destroy_go_on(run_role: t.Callable, rds: t.Any, network: dict, secret_arn: str) -> None:
    variables = {"rds_name": "half", "rds_deletion_protection": False, "rds_db_secret_arn": secret_arn, **network}
    assert run_role("rds", variables).rc == 0  # not awaited
    again = run_role("rds", variables, ("main", "wait"))
    assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
    rds.delete_db_instance(DBInstanceIdentifier="half-db", SkipFinalSnapshot=True)
    anew = run_role("rds", variables, ("main", "wait"))
    assert (anew.rc, anew.writes) == (0, ["rds:CreateDBInstance"]), anew.stdout
    rds.delete_db_instance(DBInstanceIdentifier="half-db", SkipFinalSnapshot=True)
    gone = run_role("rds", variables, "absent")
    assert gone.rc == 0 and gone.writes == ["rds:DeleteDBSubnetGroup", "rds:DeleteDBParameterGroup", *ROLE_GONE], gone.stdout


def test_waiting_for_nothing_fails_at_once(run_role: t.Callable) -> None:
    run = run_role("rds", {"rds_name": "nothing"}, "wait")
    assert run.rc == 2 and "Database nothing-db: it is absent, so it will not become available" in run.stdout
    assert run_role("rds", {"rds_name": "nothing"}, "wait", check=True).rc == 0


def test_offered_versions_only(run_role: t.Callable, network: dict, secret_arn: str) -> None:
    run = run_role("rds", {"rds_name": "old", "rds_engine_version": "99", "rds_db_secret_arn": secret_arn, **network})
    assert run.rc == 2 and "rds:CreateDBInstance" not in run.writes


def test_what_is_not_ours_is_not_touched(run_role: t.Callable, rds: t.Any, network: dict, secret_arn: str) -> None:
    rds.create_db_subnet_group(
        DBSubnetGroupName="foreign-db", DBSubnetGroupDescription="Theirs", SubnetIds=network["rds_subnet_ids"]
    )
    variables = {"rds_name": "foreign", "rds_db_secret_arn": secret_arn, **network}
    for entry in ("main", "absent"):
        run = run_role("rds", variables, entry)
        # The role of Enhanced Monitoring comes first, for the database needs it.
        assert run.rc == 2 and [one for one in run.writes if not one.startswith("iam:")] == [], run.stdout
        assert "DB subnet group foreign-db: it exists but does not carry the tags" in run.stdout
