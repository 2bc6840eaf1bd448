# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database modules: each test lists the calls it expects, in order; botocore checks every argument and answer."""

from __future__ import annotations

import datetime
import json
import typing as t

import boto3
import pytest
from botocore.stub import ANY, Stubber

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import rds_client, rds_database
from ansible_collections.mlops.mlflow_aws.plugins.modules import rds_postgres, rds_postgres_info

OWNER = {"owner": "us"}
OURS = [{"Key": "owner", "Value": "us"}]
INSTANCE_ARN = "arn:aws:rds:eu-west-2:123456789012:db:web-db"
SUBNET_ARN = "arn:aws:rds:eu-west-2:123456789012:subgrp:web-db"
PARAMETER_ARN = "arn:aws:rds:eu-west-2:123456789012:pg:web-db"
PASSWORD = "canary-password"
WANTED = {
    "db_instance_identifier": "web-db",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "security_group_ids": ["sg-1"],
    "master_secret_id": "web/database",
    "database_name": "web",
    "engine_version": "15",
    "instance_class": "db.t3.micro",
    "parameters": {"rds.force_ssl": 1},
    "owner_tags": OWNER,
    "tags": OWNER,
}
ABSENT = {"db_instance_identifier": "web-db", "state": "absent", "owner_tags": OWNER, "wait_timeout": 60}
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def stubs(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, Stubber]]:
    stubs = {name: Stubber(boto3.client(name, region_name="eu-west-2")) for name in ("rds", "secretsmanager")}
    retry = AWSRetry.jittered_backoff(retries=1)
    monkeypatch.setattr(
        rds_client, "connect", lambda _module, name="rds": RetryingBotoClientWrapper(stubs[name].client, retry)
    )
    monkeypatch.setattr(rds_client.time, "sleep", lambda _seconds: None)
    for stub in stubs.values():
        stub.activate()
    yield stubs
    for stub in stubs.values():
        stub.assert_no_pending_responses()


@pytest.fixture
def rds(stubs: dict[str, Stubber]) -> Stubber:
    return stubs["rds"]


def live(status: str = "available", **attributes: t.Any) -> dict:
    return {
        "DBInstanceIdentifier": "web-db",
        "DBInstanceArn": INSTANCE_ARN,
        "DBInstanceStatus": status,
        "DBName": "web",
        "EngineVersion": "15.7",
        "DBInstanceClass": "db.t3.micro",
        "AllocatedStorage": 20,
        "MultiAZ": False,
        "BackupRetentionPeriod": 7,
        "DeletionProtection": True,
        "AutoMinorVersionUpgrade": True,
        "CopyTagsToSnapshot": True,
        "PubliclyAccessible": False,
        "StorageType": "gp3",
        "PerformanceInsightsEnabled": True,
        "IAMDatabaseAuthenticationEnabled": False,
        "MonitoringInterval": 0,
        "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1", "Status": "active"}],
        "DBParameterGroups": [{"DBParameterGroupName": "web-db", "ParameterApplyStatus": "in-sync"}],
        "TagList": OURS,
        **attributes,
    }


def describes(rds: Stubber, instance: dict | None) -> None:
    if instance:
        rds.add_response("describe_db_instances", {"DBInstances": [instance]}, {"DBInstanceIdentifier": "web-db"})
    else:
        rds.add_client_error("describe_db_instances", "DBInstanceNotFound")


def lists(rds: Stubber, *instances: dict) -> None:
    """All instances of the region: where a restore may have left something."""
    rds.add_response("describe_db_instances", {"DBInstances": list(instances)}, {})


def describes_groups(
    rds: Stubber, subnets: list[str] | None, family: str | None, tags: list[dict[str, str]] | None = None
) -> None:
    owner = OURS if tags is None else tags
    if subnets is None:
        rds.add_client_error("describe_db_subnet_groups", "DBSubnetGroupNotFoundFault")
    else:
        group = {"DBSubnetGroupArn": SUBNET_ARN, "Subnets": [{"SubnetIdentifier": one} for one in subnets]}
        rds.add_response("describe_db_subnet_groups", {"DBSubnetGroups": [group]})
        rds.add_response("list_tags_for_resource", {"TagList": owner}, {"ResourceName": SUBNET_ARN})
        if owner != OURS:
            return
    if family is None:
        rds.add_client_error("describe_db_parameter_groups", "DBParameterGroupNotFound")
    else:
        group = {"DBParameterGroupArn": PARAMETER_ARN, "DBParameterGroupFamily": family}
        rds.add_response("describe_db_parameter_groups", {"DBParameterGroups": [group]})
        rds.add_response("list_tags_for_resource", {"TagList": owner}, {"ResourceName": PARAMETER_ARN})


def describes_parameters(rds: Stubber, force_ssl: str | None, **expected: t.Any) -> None:
    """Two pages, as AWS answers."""
    found = (
        [{"ParameterName": "rds.force_ssl", "ParameterValue": force_ssl, "ApplyType": "dynamic"}] if force_ssl else []
    )
    rds.add_response(
        "describe_db_parameters", {"Parameters": [], "Marker": "m"}, {"DBParameterGroupName": "web-db", **expected}
    )
    expected = {**expected, "DBParameterGroupName": "web-db", "Marker": "m"}
    rds.add_response("describe_db_parameters", {"Parameters": found}, expected)


def as_asked_for(rds: Stubber, instance: dict) -> None:
    describes(rds, instance)
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres15")


def sets_parameters(rds: Stubber, method: str) -> None:
    parameter = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": method}
    rds.add_response("modify_db_parameter_group", {}, {"DBParameterGroupName": "web-db", "Parameters": [parameter]})


# --- present ---------------------------------------------------------------------------------------------------------


def test_create(stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, None)
    describes_groups(rds, None, None)
    lists(rds)
    rds.add_response("create_db_subnet_group", {}, {
        "DBSubnetGroupName": "web-db", "SubnetIds": ["subnet-1", "subnet-2"], "DBSubnetGroupDescription": ANY,
        "Tags": OURS,
    })  # fmt: skip
    rds.add_response("create_db_parameter_group", {}, {
        "DBParameterGroupName": "web-db", "DBParameterGroupFamily": "postgres15", "Description": ANY, "Tags": OURS,
    })  # fmt: skip
    sets_parameters(rds, "pending-reboot")
    versions = {"DBEngineVersions": [{"EngineVersion": one} for one in ("15.7", "15.14")]}
    rds.add_response("describe_db_engine_versions", versions, {"Engine": "postgres", "EngineVersion": "15"})
    user = json.dumps({"username": "mlflow", "password": PASSWORD})
    stubs["secretsmanager"].add_response("get_secret_value", {"SecretString": user}, {"SecretId": "web/database"})
    rds.add_response("create_db_instance", {}, {
        "DBInstanceIdentifier": "web-db", "Engine": "postgres", "EngineVersion": "15.14", "DBName": "web",
        "MasterUsername": "mlflow", "MasterUserPassword": PASSWORD, "Port": 5432, "DBSubnetGroupName": "web-db",
        "DBParameterGroupName": "web-db", "StorageEncrypted": True, "StorageType": "gp3", "AllocatedStorage": 20,
        "DBInstanceClass": "db.t3.micro", "MultiAZ": False, "BackupRetentionPeriod": 7, "DeletionProtection": True,
        "AutoMinorVersionUpgrade": True, "CopyTagsToSnapshot": True, "PubliclyAccessible": False,
        "EnablePerformanceInsights": True, "MonitoringInterval": 0, "EnableIAMDatabaseAuthentication": False, "VpcSecurityGroupIds": ["sg-1"],
        "Tags": OURS,
    })  # fmt: skip
    describes(rds, live("creating"))
    made = run_module(rds_postgres, WANTED)
    assert made["changed"] and made["instance"]["status"] == "creating"
    assert PASSWORD not in json.dumps(made)


def test_predict_create(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, None)
    describes_groups(rds, None, None)
    lists(rds)
    check = run_module(rds_postgres, WANTED, check=True)
    assert check["changed"] and check["instance"]["db_instance_id"] is None


@pytest.mark.parametrize("text", ["no json", "[]", '{"username": "mlflow"}'])
def test_useless_secret_is_refused(stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable, text: str) -> None:
    describes(rds, None)
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres15")
    describes_parameters(rds, "1", Source="user")
    lists(rds)
    stubs["secretsmanager"].add_response("get_secret_value", {"SecretString": text})
    refused = run_module(rds_postgres, {**WANTED, "engine_version": "15.7", "max_allocated_storage": 100})
    assert refused["msg"].startswith("master_secret_id = web/database: the secret is not JSON")


ROLE = "arn:aws:iam::123456789012:role/web-monitoring"
MONITORED = {**WANTED, "monitoring_interval": 60, "monitoring_role_arn": ROLE}
NOT_YET = "IAM role ARN value is invalid or does not include the required permissions for: ENHANCED_MONITORING"


def test_a_role_that_rds_does_not_know_yet_is_tried_again(
    rds: Stubber, run_module: t.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(rds_database.time, "sleep", pauses.append)
    as_asked_for(rds, live())
    describes_parameters(rds, "1", Source="user")
    change = {"MonitoringInterval": 60, "MonitoringRoleArn": ROLE}
    rds.add_client_error("modify_db_instance", "InvalidParameterValue", NOT_YET)
    rds.add_response(
        "modify_db_instance", {}, {"DBInstanceIdentifier": "web-db", "ApplyImmediately": True, **change}
    )  # fmt: skip
    describes(rds, live("modifying", **change))
    changed = run_module(rds_postgres, MONITORED)
    assert changed["changed"] and pauses == [5]
    assert changed["diff"]["after"] == {"instance": change}


def test_a_role_that_rds_never_knows_is_an_error(
    rds: Stubber, run_module: t.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rds_database, "ROLE_SECONDS", 0)
    as_asked_for(rds, live())
    describes_parameters(rds, "1", Source="user")
    rds.add_client_error("modify_db_instance", "InvalidParameterValue", NOT_YET)
    assert "ENHANCED_MONITORING" in run_module(rds_postgres, MONITORED)["msg"]


def test_monitoring_needs_a_role(run_module: t.Callable) -> None:
    refused = run_module(rds_postgres, {**WANTED, "monitoring_interval": 60})
    assert refused["msg"].startswith("monitoring_interval = 60: Enhanced Monitoring needs monitoring_role_arn;")


def test_missing_secret_is_refused(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, None)
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres15")
    describes_parameters(rds, "1", Source="user")
    lists(rds)
    refused = run_module(rds_postgres, {**WANTED, "engine_version": "15.7", "master_secret_id": ""})
    assert refused["msg"].startswith("master_secret_id: not given")


def test_a_new_database_gets_the_key(stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, None)
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres15")
    describes_parameters(rds, "1", Source="user")
    lists(rds)
    user = json.dumps({"username": "mlflow", "password": PASSWORD})
    stubs["secretsmanager"].add_response("get_secret_value", {"SecretString": user})
    rds.add_response("create_db_instance", {}, {
        "DBInstanceIdentifier": "web-db", "Engine": "postgres", "EngineVersion": "15.7", "DBName": "web",
        "MasterUsername": "mlflow", "MasterUserPassword": PASSWORD, "Port": 5432, "DBSubnetGroupName": "web-db",
        "DBParameterGroupName": "web-db", "StorageEncrypted": True, "StorageType": "gp3", "AllocatedStorage": 20,
        "DBInstanceClass": "db.t3.micro", "MultiAZ": False, "BackupRetentionPeriod": 7, "DeletionProtection": True,
        "AutoMinorVersionUpgrade": True, "CopyTagsToSnapshot": True, "PubliclyAccessible": False,
        "EnablePerformanceInsights": True, "MonitoringInterval": 0, "EnableIAMDatabaseAuthentication": False,
        "VpcSecurityGroupIds": ["sg-1"], "Tags": OURS, "KmsKeyId": "key", "PerformanceInsightsKMSKeyId": "key",
    })  # fmt: skip
    describes(rds, live("creating", KmsKeyId="key"))
    made = run_module(rds_postgres, {**WANTED, "engine_version": "15.7", "kms_key": "key"})
    assert made["changed"] and made["instance"]["kms_key_arn"] == "key"


@pytest.mark.parametrize(("had", "key"), [({}, {"PerformanceInsightsKMSKeyId": "key"}), ({"PerformanceInsightsKMSKeyId": "other"}, {})])
def test_performance_insights_keep_the_key_they_had(rds: Stubber, run_module: t.Callable, had: dict, key: dict) -> None:
    as_asked_for(rds, live(KmsKeyId="key", PerformanceInsightsEnabled=False, **had))
    describes_parameters(rds, "1", Source="user")
    rds.add_response("modify_db_instance", {}, {
        "DBInstanceIdentifier": "web-db", "ApplyImmediately": True, "EnablePerformanceInsights": True, **key,
    })  # fmt: skip
    describes(rds, live(KmsKeyId="key"))
    assert run_module(rds_postgres, {**WANTED, "kms_key": "key"})["changed"]


def test_a_live_database_does_not_change_its_key(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live(KmsKeyId="one"))
    describes_parameters(rds, "1", Source="user")
    refused = run_module(rds_postgres, {**WANTED, "kms_key": "two"})
    assert refused["failed"] and "RDS cannot change that to two" in refused["msg"]
    describes(rds, live(KmsKeyId="one"))
    options = {"db_instance_identifier": "web-db", "region": "eu-west-2"}
    assert "so the key cannot go" in run_module(rds_postgres_info, {**options, "former_kms_key": "one"})["msg"]
    describes(rds, live(KmsKeyId="one"))
    assert run_module(rds_postgres_info, {**options, "kms_key": "one"})["instance"]["kms_key_arn"] == "one"


@pytest.mark.parametrize("status", ["available", "creating", "storage-optimization"])
def test_leave_alone(rds: Stubber, run_module: t.Callable, status: str) -> None:
    as_asked_for(rds, live(status))
    describes_parameters(rds, "1", Source="user")
    same = run_module(rds_postgres, WANTED)
    assert not same["changed"] and same["instance"]["status"] == status


def test_change(rds: Stubber, run_module: t.Callable) -> None:
    # RDS takes no change while it modifies: that is awaited first.
    describes(rds, live("modifying", TagList=[*OURS, {"Key": "old", "Value": "1"}]))
    describes_groups(rds, ["subnet-1", "subnet-3"], "postgres15")
    describes(rds, live())
    describes_parameters(rds, None, Source="user")
    rds.add_response(
        "modify_db_subnet_group", {}, {"DBSubnetGroupName": "web-db", "SubnetIds": ["subnet-1", "subnet-2"]}
    )
    describes_parameters(rds, "0")
    sets_parameters(rds, "immediate")
    rds.add_response("modify_db_instance", {}, {
        "DBInstanceIdentifier": "web-db", "ApplyImmediately": True, "DBInstanceClass": "db.t3.small",
    })  # fmt: skip
    for arn in (INSTANCE_ARN, SUBNET_ARN, PARAMETER_ARN):
        rds.add_response("add_tags_to_resource", {}, {"ResourceName": arn, "Tags": [{"Key": "new", "Value": "2"}]})
        if arn == INSTANCE_ARN:
            rds.add_response("remove_tags_from_resource", {}, {"ResourceName": arn, "TagKeys": ["old"]})
    describes(rds, live("modifying"))
    changed = run_module(rds_postgres, {**WANTED, "instance_class": "db.t3.small", "tags": {**OWNER, "new": 2}})
    assert changed["changed"] and changed["instance"]["status"] == "modifying"


def test_a_parameter_that_is_not_asked_for_any_more_gets_its_default(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live())
    describes_parameters(rds, "1", Source="user")
    assert run_module(rds_postgres, {**WANTED, "parameters": {}}, check=True)["changed"]
    as_asked_for(rds, live())
    describes_parameters(rds, "1", Source="user")
    describes_parameters(rds, "1")
    item = {"ParameterName": "rds.force_ssl", "ApplyMethod": "immediate"}
    rds.add_response(
        "reset_db_parameter_group", {}, {"DBParameterGroupName": "web-db", "ResetAllParameters": False, "Parameters": [item]}
    )
    describes(rds, live())
    changed = run_module(rds_postgres, {**WANTED, "parameters": {}})
    assert changed["changed"] and changed["diff"]["after"]["parameters"] == {}


def test_made_anew_once_the_old_one_is_gone(stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live("deleting"))
    describes(rds, live("deleting"))
    describes(rds, None)
    describes_parameters(rds, "1", Source="user")
    lists(rds)
    user = json.dumps({"username": "mlflow", "password": PASSWORD})
    stubs["secretsmanager"].add_response("get_secret_value", {"SecretString": user})
    rds.add_response("create_db_instance", {})
    describes(rds, live("creating"))
    assert run_module(rds_postgres, {**WANTED, "engine_version": "15.7"})["changed"]


def test_predict_while_deleting_waits_for_nothing(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live("deleting"))
    describes_parameters(rds, "1", Source="user")
    lists(rds)
    assert run_module(rds_postgres, WANTED, check=True)["diff"]["after"] == {"instance": "present"}


def test_parameter_group_of_another_major_version(
    stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable
) -> None:
    describes(rds, None)
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres14")
    lists(rds)
    check = run_module(rds_postgres, WANTED, check=True)
    assert check["diff"]["before"]["old parameter_group"] == "postgres14"
    describes(rds, live())
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres14")
    assert run_module(rds_postgres, WANTED)["msg"].startswith("DB parameter group web-db: it is for postgres14")


def test_database_is_not_renamed(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live())
    describes_parameters(rds, "1", Source="user")
    refused = run_module(rds_postgres, {**WANTED, "database_name": "other"})
    assert refused["msg"].startswith("database_name = other: the instance was made with web")


@pytest.mark.parametrize("what", ["instance", "group"])
@pytest.mark.parametrize("options", [WANTED, ABSENT])
def test_foreign_is_refused(rds: Stubber, run_module: t.Callable, what: str, options: dict) -> None:
    if what == "instance":
        describes(rds, live(TagList=[]))
    else:
        describes(rds, None)
        describes_groups(rds, [], None, tags=[])
    refused = run_module(rds_postgres, options)
    assert "web-db: it exists but does not carry the tags owner=us" in refused["msg"]


def test_refusal_of_aws_is_one_line(rds: Stubber, run_module: t.Callable) -> None:
    for module, options in ((rds_postgres, WANTED), (rds_postgres_info, {"db_instance_identifier": "web-db"})):
        rds.add_client_error("describe_db_instances", "AccessDenied")
        refused = run_module(module, options)
        assert "rds:DescribeDBInstances is denied" in refused["msg"] and "\n" not in refused["msg"]


# --- restored from a snapshot ------------------------------------------------------------------------------------------

MARKS = [{"Key": "mlflow-restored-from", "Value": "snap-1"}, {"Key": "mlflow-restore-unfinished", "Value": "true"}]
BACK = {**WANTED, "snapshot_identifier": "snap-1", "engine_version": "15.7"}


def keeps_secret(stubs: dict[str, Stubber], username: str = "mlflow") -> None:
    user = json.dumps({"username": username, "password": PASSWORD})
    stubs["secretsmanager"].add_response("get_secret_value", {"SecretString": user}, {"SecretId": "web/database"})


def test_restore(rds: Stubber, run_module: t.Callable) -> None:
    """Under another name with the groups that there are, as beside an instance whose place it is to take."""
    rds.add_client_error("describe_db_instances", "DBInstanceNotFound")
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres15")
    describes_parameters(rds, "1", Source="user")
    rds.add_response("restore_db_instance_from_db_snapshot", {}, {
        "DBInstanceIdentifier": "web-db-restored", "DBSnapshotIdentifier": "snap-1", "Port": 5432, "DBSubnetGroupName": "web-db",
        "DBParameterGroupName": "web-db", "StorageType": "gp3", "DBInstanceClass": "db.t3.micro", "MultiAZ": False,
        "DeletionProtection": True, "AutoMinorVersionUpgrade": True, "CopyTagsToSnapshot": True, "PubliclyAccessible": False,
        "EnableIAMDatabaseAuthentication": False, "VpcSecurityGroupIds": ["sg-1"], "Tags": [*OURS, *MARKS],
    })  # fmt: skip
    made = live("creating", TagList=[*OURS, *MARKS])
    rds.add_response("describe_db_instances", {"DBInstances": [made]}, {"DBInstanceIdentifier": "web-db-restored"})
    done = run_module(rds_postgres, {**BACK, "db_instance_identifier": "web-db-restored", "group_name": "web-db"})
    assert done["changed"] and done["diff"]["after"] == {"instance": "restored from snap-1"}
    assert (done["instance"]["restored_from"], done["instance"]["restore_unfinished"]) == ("snap-1", True)


def test_a_restore_under_way_keeps_its_mark(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live("creating", TagList=[*OURS, *MARKS]))
    describes_parameters(rds, "1", Source="user")
    assert not run_module(rds_postgres, BACK)["changed"]


def restored(**attributes: t.Any) -> dict:
    """As RDS makes one: with its own defaults for what it was not told."""
    return live(MasterUsername="mlflow", TagList=[*OURS, *MARKS], PerformanceInsightsEnabled=False, **attributes)


def test_a_restored_database_gets_the_password_of_the_secret_and_is_finished(
    stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rds_client.time, "sleep", lambda _seconds: None)
    as_asked_for(rds, restored())
    describes_parameters(rds, "1", Source="user")
    keeps_secret(stubs)
    rds.add_response("modify_db_instance", {}, {
        "DBInstanceIdentifier": "web-db", "ApplyImmediately": True, "EnablePerformanceInsights": True,
        "MasterUserPassword": PASSWORD,
    })  # fmt: skip
    # RDS says for a moment that it is available, before it begins.
    describes(rds, restored(PendingModifiedValues={"MasterUserPassword": "****"}))
    describes(rds, restored(DBInstanceStatus="resetting-master-credentials"))
    describes(rds, restored())
    rds.add_response("remove_tags_from_resource", {}, {"ResourceName": INSTANCE_ARN, "TagKeys": ["mlflow-restore-unfinished"]})
    describes(rds, live(TagList=[*OURS, MARKS[0]]))
    done = run_module(rds_postgres, BACK)
    assert done["changed"] and done["diff"]["after"]["instance"]["password"] == "the secret's"
    assert PASSWORD not in json.dumps(done)
    assert (done["instance"]["restored_from"], done["instance"]["restore_unfinished"]) == ("snap-1", False)
    as_asked_for(rds, live(TagList=[*OURS, MARKS[0]]))
    describes_parameters(rds, "1", Source="user")
    assert not run_module(rds_postgres, BACK)["changed"]


def test_a_password_that_never_comes_is_an_error(
    stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_asked_for(rds, restored())
    describes_parameters(rds, "1", Source="user")
    keeps_secret(stubs)
    rds.add_response("modify_db_instance", {})
    describes(rds, restored(PendingModifiedValues={"MasterUserPassword": "****"}))
    assert "does not have its new password after -1 s" in run_module(rds_postgres, {**BACK, "wait_timeout": -1})["msg"]


def test_another_master_user_cannot_be_made_of_a_snapshot(stubs: dict[str, Stubber], rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, restored())
    describes_parameters(rds, "1", Source="user")
    keeps_secret(stubs, "root")
    assert "its master user is mlflow, in the secret it is root" in run_module(rds_postgres, BACK)["msg"]


def beside(name: str, tags: list[dict[str, str]] | None = None, **attributes: t.Any) -> dict:
    return live(DBInstanceIdentifier=name, TagList=OURS if tags is None else tags, **attributes)


@pytest.mark.parametrize("left", ["web-db-restored", "web-db-replaced-20261128-100000"])
def test_no_empty_database_takes_the_place_of_one_that_is_on_its_way(rds: Stubber, run_module: t.Callable, left: str) -> None:
    describes(rds, None)
    describes_groups(rds, ["subnet-1", "subnet-2"], "postgres15")
    describes_parameters(rds, "1", Source="user")
    lists(rds, beside("web-db-other"), beside("web-db-replaced-x", tags=[]), beside(left))
    assert f"but a restore has left {left}; run restore.yml again" in run_module(rds_postgres, WANTED)["msg"]


# --- absent ----------------------------------------------------------------------------------------------------------


def deletes_groups(rds: Stubber) -> None:
    rds.add_response("delete_db_subnet_group", {}, {"DBSubnetGroupName": "web-db"})
    rds.add_response("delete_db_parameter_group", {}, {"DBParameterGroupName": "web-db"})


def test_remove_after_a_final_snapshot(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live())
    lists(rds)
    protection = {"DBInstanceIdentifier": "web-db", "ApplyImmediately": True, "DeletionProtection": False}
    rds.add_response("modify_db_instance", {}, protection)
    snapshot = {"DBInstanceIdentifier": "web-db", "SkipFinalSnapshot": False, "FinalDBSnapshotIdentifier": ANY}
    rds.add_response("delete_db_instance", {}, snapshot)
    describes(rds, live("deleting"))
    describes(rds, None)
    deletes_groups(rds)
    gone = run_module(rds_postgres, {**ABSENT, "delete_protected": True})
    today = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m}"
    assert gone["changed"] and gone["final_snapshot_id"].startswith(f"web-db-final-{today}")
    assert set(gone["instance"].values()) == {None}


def test_remove_without_a_snapshot(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live("failed", DeletionProtection=False))
    lists(rds)
    rds.add_response("delete_db_instance", {}, {"DBInstanceIdentifier": "web-db", "SkipFinalSnapshot": True})
    describes(rds, None)
    # Someone else was quicker.
    rds.add_client_error("delete_db_subnet_group", "DBSubnetGroupNotFoundFault")
    rds.add_client_error("delete_db_parameter_group", "DBParameterGroupNotFound")
    gone = run_module(rds_postgres, {**ABSENT, "final_snapshot": False})
    assert gone["changed"] and gone["final_snapshot_id"] is None


def test_snapshot_waits_for_the_end_of_creation(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, live("creating", DeletionProtection=False))
    describes_groups(rds, None, None)
    lists(rds)
    describes(rds, live("backing-up"))
    rds.add_response("delete_db_instance", {})
    describes(rds, None)
    assert run_module(rds_postgres, ABSENT)["changed"]


def test_deletion_under_way_is_joined(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live("deleting"))
    lists(rds)
    describes(rds, None)
    deletes_groups(rds)
    assert run_module(rds_postgres, ABSENT)["changed"]


def test_what_a_restore_left_goes_too_and_first(rds: Stubber, run_module: t.Callable) -> None:
    as_asked_for(rds, live(DeletionProtection=False))
    lists(rds, live(), beside("web-db-restored", DeletionProtection=False))
    for name in ("web-db-restored", "web-db"):
        rds.add_response("delete_db_instance", {}, {"DBInstanceIdentifier": name, "SkipFinalSnapshot": True})
        rds.add_client_error("describe_db_instances", "DBInstanceNotFound")
    deletes_groups(rds)
    gone = run_module(rds_postgres, {**ABSENT, "final_snapshot": False})
    assert list(gone["diff"]["after"]) == ["web-db-restored", "instance", "subnet_group", "parameter_group"]


def test_nothing_to_remove(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, None)
    describes_groups(rds, None, None)
    lists(rds)
    assert not run_module(rds_postgres, ABSENT)["changed"]


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (live(), "its deletion protection is on; say rds_delete_protected=true"),
        (live("failed", DeletionProtection=False), "RDS makes no final snapshot of a database that is failed"),
    ],
)
def test_removal_refused(rds: Stubber, run_module: t.Callable, instance: dict, message: str) -> None:
    as_asked_for(rds, instance)
    lists(rds)
    assert message in run_module(rds_postgres, ABSENT)["msg"]


# --- looking and waiting ---------------------------------------------------------------------------------------------

WAIT = {"db_instance_identifier": "web-db", "wait": True, "wait_timeout": 60}


def test_wait_until_available(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, live("creating"))
    describes(rds, live("backing-up", Endpoint={"Address": "web.example", "Port": 5432}))
    found = run_module(rds_postgres_info, WAIT)["instance"]
    assert (found["endpoint_address"], found["endpoint_port"], found["status"]) == ("web.example", 5432, "backing-up")


def test_check_mode_does_not_wait(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, None)
    assert run_module(rds_postgres_info, WAIT, check=True)["instance"]["status"] is None


@pytest.mark.parametrize("status", [None, "deleting"])
def test_wait_for_what_will_not_come(rds: Stubber, run_module: t.Callable, status: str | None) -> None:
    describes(rds, live(status) if status else None)
    assert "so it will not become available" in run_module(rds_postgres_info, WAIT)["msg"]


def test_stuck_status_fails_at_once_with_the_last_events(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, live("storage-full"))
    rds.add_response("describe_events", {"Events": [{"Message": "Storage is full."}]})
    failed = run_module(rds_postgres_info, WAIT)
    assert failed["msg"] == (
        "Database web-db: its status is storage-full: its storage is full; raise rds_allocated_storage"
        " (its last events: Storage is full)"
    )


def test_deadline(rds: Stubber, run_module: t.Callable) -> None:
    describes(rds, live("creating"))
    rds.add_response("describe_events", {"Events": []})
    failed = run_module(rds_postgres_info, {**WAIT, "wait_timeout": 0})
    assert failed["msg"] == (
        "Database web-db: it is not available but creating after 0 s; run again or raise rds_wait_timeout"
    )
