# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded RDS from outside: boto3, real PostgreSQL servers. Takes about half a minute."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import typing as t

import botocore.exceptions
import psycopg2
import pytest

from tests.integration import disk
from tests.integration.aws import LocalAws, free_port, local_aws
from tests.integration.local_aws.databases import PASSWORD, ask, connect, create_database, settled


@pytest.fixture(scope="module")
def aws(tmp_path_factory) -> t.Iterator[LocalAws]:
    with local_aws(tmp_path_factory.mktemp("aws") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def rds(aws):
    return aws.client("rds")


@pytest.fixture(scope="module")
def address(aws, rds) -> str:
    """Address of the database `main-db`, with a parameter group `main-db`."""
    rds.create_db_parameter_group(
        DBParameterGroupName="main-db", DBParameterGroupFamily="postgres15", Description="of a test"
    )
    instance = create_database(
        aws, "main-db", DBParameterGroupName="main-db", StorageType="gp3", MaxAllocatedStorage=100
    )
    assert (instance["Iops"], instance["StorageThroughput"]) == (3000, 125)
    return instance["Endpoint"]["Address"]


def refused(code: str, call: t.Callable[..., t.Any], **arguments: t.Any) -> str:
    """The text of the error that the call must answer with `code`."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def parameter(rds, name: str, value: str, method: str = "immediate") -> None:
    change = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
    rds.modify_db_parameter_group(DBParameterGroupName="main-db", Parameters=[change])


def eventually(condition: t.Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_server_is_as_rds_makes_it(address):
    assert ask(address, "SHOW max_connections") == "112"
    assert ask(address, "SELECT current_database()") == "mlflow_db"
    assert ask(address, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is True
    assert ask(address, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert ask(address, "SELECT rolcreatedb AND rolcreaterole FROM pg_roles WHERE rolname = current_user") is True
    assert ask(address, "SHOW password_encryption") == "scram-sha-256"


@pytest.mark.parametrize("wrong", [{"password": "not-the-password"}, {"sslmode": "disable"}, {"user": "rdsadmin"}])
def test_who_may_not_connect(address, wrong):
    with pytest.raises(psycopg2.OperationalError):
        connect(address, **wrong)


def test_dynamic_parameters_act_on_the_running_server_and_static_ones_at_a_reboot(aws, rds, address):
    parameter(rds, "rds.force_ssl", "0")
    eventually(lambda: _plain_connection(address))
    parameter(rds, "rds.force_ssl", "1")
    eventually(lambda: not _plain_connection(address))
    parameter(rds, "log_min_duration_statement", "250")
    eventually(lambda: ask(address, "SHOW log_min_duration_statement") == "250ms")
    parameter(rds, "max_connections", "40", "pending-reboot")
    assert ask(address, "SHOW max_connections") == "112"
    rds.reboot_db_instance(DBInstanceIdentifier="main-db")
    settled(aws, "main-db", during=("rebooting",))
    assert ask(address, "SHOW max_connections") == "40"

    items = [{"ParameterName": "log_min_duration_statement", "ApplyMethod": "immediate"}]
    rds.reset_db_parameter_group(DBParameterGroupName="main-db", ResetAllParameters=False, Parameters=items)
    eventually(lambda: ask(address, "SHOW log_min_duration_statement") == "-1")
    left = {one["ParameterName"] for one in rds.describe_db_parameters(DBParameterGroupName="main-db", Source="user")["Parameters"]}
    assert left == {"rds.force_ssl", "max_connections"}
    for name, code in (("no_such", "InvalidParameterValue"), ("max_connections", "InvalidParameterCombination")):
        wrong = {"Parameters": [{"ParameterName": name, "ApplyMethod": "immediate"}], "ResetAllParameters": False}
        refused(code, rds.reset_db_parameter_group, DBParameterGroupName="main-db", **wrong)
    rds.reset_db_parameter_group(DBParameterGroupName="main-db")
    assert rds.describe_db_parameters(DBParameterGroupName="main-db", Source="user")["Parameters"] == []


def _plain_connection(address: str) -> bool:
    try:
        connect(address, sslmode="disable").close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "value", "method", "code"),
    [
        ("rds.force_ssl", "2", "immediate", "InvalidParameterValue"),
        ("max_connections", "5", "pending-reboot", "InvalidParameterValue"),
        ("max_connections", "50", "immediate", "InvalidParameterCombination"),
        ("no_such_parameter", "1", "immediate", "InvalidParameterValue"),
    ],
)
def test_parameters_that_rds_refuses(rds, address, name, value, method, code):
    change = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
    refused(code, rds.modify_db_parameter_group, DBParameterGroupName="main-db", Parameters=[change])


def test_groups_in_use_stay(rds, address):
    refused("InvalidDBParameterGroupState", rds.delete_db_parameter_group, DBParameterGroupName="main-db")
    refused("DBParameterGroupNotFound", rds.delete_db_parameter_group, DBParameterGroupName="none")
    refused("DBParameterGroupNotFound", rds.describe_db_parameter_groups, DBParameterGroupName="none")


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"EngineVersion": "15.99"}, "InvalidParameterCombination", "Cannot find version 15.99 for postgres"),
        ({"DBInstanceClass": "db.huge"}, "InvalidParameterValue", "db.huge"),
        ({"MasterUsername": "admin"}, "InvalidParameterValue", "reserved word"),
        ({"MasterUserPassword": "short"}, "InvalidParameterValue", "shorter than 8"),
        ({"MasterUserPassword": "with a space"}, "InvalidParameterValue", "Only printable ASCII"),
        ({"MasterUserPassword": "at@sign-here"}, "InvalidParameterValue", "Only printable ASCII"),
        ({"AllocatedStorage": 5}, "InvalidParameterValue", "Invalid storage size"),
        ({"DBParameterGroupName": "none"}, "DBParameterGroupNotFound", "none"),
        ({"DBParameterGroupName": "main-db", "EngineVersion": "16"}, "InvalidParameterCombination", "postgres16"),
        ({"DBSubnetGroupName": "none"}, "DBSubnetGroupNotFoundFault", "none"),
        ({"Engine": "mysql"}, "UnsupportedOperation", "any RDS engine but postgres"),
        ({"DBInstanceIdentifier": "main-db"}, "DBInstanceAlreadyExists", "exists"),
    ],
)
def test_instances_that_rds_refuses(aws, address, change, code, text):
    options = {
        "DBInstanceIdentifier": "other-db", "Engine": "postgres", "EngineVersion": "15", "AllocatedStorage": 20,
        "DBInstanceClass": "db.t3.micro", "MasterUsername": "mlflow", "MasterUserPassword": PASSWORD,
    }  # fmt: skip
    assert text in refused(code, aws.client("rds").create_db_instance, **{**options, **change})


def test_a_modification_waits_for_the_window_or_is_made_at_once(aws, rds, address):
    rds.modify_db_instance(DBInstanceIdentifier="main-db", DBInstanceClass="db.t3.small")
    waiting = settled(aws, "main-db")
    assert (waiting["DBInstanceClass"], waiting["PendingModifiedValues"]) == (
        "db.t3.micro",
        {"DBInstanceClass": "db.t3.small"},
    )
    rds.modify_db_instance(DBInstanceIdentifier="main-db", AllocatedStorage=30, ApplyImmediately=True)
    made = settled(aws, "main-db", during=("modifying",))
    assert (made["DBInstanceClass"], made["AllocatedStorage"], made["PendingModifiedValues"]) == ("db.t3.small", 30, {})
    refused("InvalidParameterCombination", rds.modify_db_instance, DBInstanceIdentifier="main-db", AllocatedStorage=20)


def test_a_new_password_is_the_only_one_that_works(aws, rds, address):
    new = "Etwas-ganz-anderes-18"
    asked = rds.modify_db_instance(DBInstanceIdentifier="main-db", MasterUserPassword=new)["DBInstance"]
    assert asked["PendingModifiedValues"] == {"MasterUserPassword": "****"}
    assert settled(aws, "main-db", during=("resetting-master-credentials",))["PendingModifiedValues"] == {}
    with pytest.raises(psycopg2.OperationalError):
        connect(address)
    assert ask(address, "SELECT 1", password=new) == 1
    rds.modify_db_instance(DBInstanceIdentifier="main-db", MasterUserPassword=PASSWORD)
    settled(aws, "main-db", during=("resetting-master-credentials",))


def test_subscribers_hear_what_happens_and_nothing_else(aws, rds, address):
    sns, sqs = aws.client("sns"), aws.client("sqs")
    topic, queue = sns.create_topic(Name="events")["TopicArn"], sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    asked = {"SnsTopicArn": topic, "SourceType": "db-instance", "SourceIds": ["main-db"], "EventCategories": ["availability"]}
    for service in ("cloudwatch.amazonaws.com", "events.rds.amazonaws.com"):
        statement = {
            "Effect": "Allow", "Principal": {"Service": service}, "Action": "sns:Publish", "Resource": topic,
            "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
        }  # fmt: skip
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
        if service.startswith("cloudwatch"):
            refused("SNSNoAuthorization", rds.create_event_subscription, SubscriptionName="watch", **asked)
    for wrong, code in (
        ({"SnsTopicArn": f"{topic}-not"}, "SNSTopicArnNotFound"),
        ({"SourceIds": ["other-db"]}, "SourceNotFound"),
        ({"EventCategories": ["weather"]}, "SubscriptionCategoryNotFound"),
        ({"SourceType": "db-proxy"}, "InvalidParameterValue"),
    ):
        refused(code, rds.create_event_subscription, SubscriptionName="watch", **{**asked, **wrong})
    rds.create_event_subscription(SubscriptionName="watch", **asked)
    rds.reboot_db_instance(DBInstanceIdentifier="main-db")
    settled(aws, "main-db", during=("rebooting",))
    heard = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5)["Messages"]
    message = json.loads(json.loads(heard[0]["Body"])["Message"])
    assert (message["Source ID"], message["Event Message"]) == ("main-db", "DB instance restarted") and len(heard) == 1
    rds.delete_event_subscription(SubscriptionName="watch")


def test_a_server_that_crashes_comes_back_with_its_data_and_on_a_full_disk_when_there_is_room(tmp_path):
    with local_aws(tmp_path / "state", *disk.NAMESPACE) as aws:
        volume = disk.DatabaseDisk(aws, 300)
        address = create_database(aws, "main-db")["Endpoint"]["Address"]
        with contextlib.closing(connect(address)) as connection:
            with connection.cursor() as cursor:
                cursor.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
            connection.commit()
        aws.kill_a_database(address)
        eventually(lambda: _answers(address), 20)
        with volume.full():
            aws.kill_a_database(address)
            assert settled(aws, "main-db", during=("available",))["DBInstanceStatus"] == "storage-full"
            assert not _answers(address)
        assert settled(aws, "main-db", during=("storage-full", "rebooting"))["DBInstanceStatus"] == "available"
        assert ask(address, "SELECT count(*) FROM kept") == 1000
        told = aws.client("rds").describe_events(SourceIdentifier="main-db", SourceType="db-instance")["Events"]
        assert [one["EventCategories"] for one in told] == [["creation"], ["availability"], ["low storage"], ["availability"]]


def _answers(address: str) -> bool:
    try:
        return ask(address, "SELECT 1") == 1
    except psycopg2.OperationalError:
        return False


def test_the_end_keeps_a_snapshot_with_the_data(aws, rds):
    database = create_database(aws, "old-db", DeletionProtection=True)
    connection = connect(database["Endpoint"]["Address"])
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (word text)")
    connection.close()
    gone = {"DBInstanceIdentifier": "old-db", "FinalDBSnapshotIdentifier": "old-db-final"}
    assert "protected" in refused("InvalidParameterCombination", rds.delete_db_instance, **gone)
    rds.modify_db_instance(DBInstanceIdentifier="old-db", DeletionProtection=False)
    assert "FinalDBSnapshotIdentifier" in refused(
        "InvalidParameterCombination", rds.delete_db_instance, DBInstanceIdentifier="old-db"
    )
    assert rds.delete_db_instance(**gone)["DBInstance"]["DBInstanceStatus"] == "deleting"
    rds.get_waiter("db_instance_deleted").wait(
        DBInstanceIdentifier="old-db", WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    (snapshot,) = rds.describe_db_snapshots(DBSnapshotIdentifier="old-db-final")["DBSnapshots"]
    assert (snapshot["Status"], snapshot["DBInstanceIdentifier"]) == ("available", "old-db")
    data = aws.directory / "rds" / "snapshots" / "old-db-final"
    assert (data / "PG_VERSION").exists()
    refused("DBInstanceNotFound", rds.describe_db_instances, DBInstanceIdentifier="old-db")
    rds.delete_db_snapshot(DBSnapshotIdentifier="old-db-final")
    assert not data.exists()


def test_what_is_offered(rds):
    versions = rds.describe_db_engine_versions(Engine="postgres", EngineVersion="15.7")["DBEngineVersions"]
    assert [(one["EngineVersion"], one["DBParameterGroupFamily"]) for one in versions] == [("15.7", "postgres15")]
    assert "15.8" in [one["EngineVersion"] for one in versions[0]["ValidUpgradeTarget"]]
    assert rds.describe_db_engine_versions(Engine="postgres", EngineVersion="15.99")["DBEngineVersions"] == []
    options = rds.describe_orderable_db_instance_options(
        Engine="postgres", EngineVersion="15.7", DBInstanceClass="db.t3.micro"
    )
    assert options["OrderableDBInstanceOptions"][0]["SupportsStorageEncryption"] is True


@dataclasses.dataclass(frozen=True)
class SlowAws(LocalAws):
    scale: str = "0.02"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "LOCAL_AWS_LATENCY_SCALE": self.scale}


def test_a_creation_takes_its_time_and_tells_no_endpoint_before(tmp_path):
    aws = SlowAws(free_port(), tmp_path / "state")
    assert aws.command("up").returncode == 0
    try:
        rds = aws.client("rds")
        started, seen = time.monotonic(), []
        rds.create_db_instance(
            DBInstanceIdentifier="slow-db", Engine="postgres", DBInstanceClass="db.t3.micro", AllocatedStorage=20,
            MasterUsername="mlflow", MasterUserPassword=PASSWORD, BackupRetentionPeriod=7,
        )  # fmt: skip
        refused("InvalidDBInstanceState", rds.modify_db_instance, DBInstanceIdentifier="slow-db", AllocatedStorage=30)
        while "available" not in seen and time.monotonic() - started < 30:
            (instance,) = rds.describe_db_instances(DBInstanceIdentifier="slow-db")["DBInstances"]
            if instance["DBInstanceStatus"] not in seen:
                seen.append(instance["DBInstanceStatus"])
            assert ("Endpoint" in instance) == (instance["DBInstanceStatus"] != "creating")
            time.sleep(0.1)
        assert seen == ["creating", "backing-up", "available"]
        # 250 s, the median, times 0.02.
        assert 4.5 < time.monotonic() - started < 15
    finally:
        assert aws.command("down").returncode == 0
