# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Backup on a local AWS: plans that are due back a real database up. Takes a minute, as schedules know whole minutes."""

from __future__ import annotations

import datetime
import json
import time
import typing as t

import botocore.exceptions
import pytest

from tests.integration.aws import LocalAws, local_aws
from tests.integration.local_aws.databases import ask, connect, create_database, settled

VAULT, TAGS = "safe", {"team": "a"}
RULE = {"RuleName": "daily", "TargetBackupVaultName": VAULT, "ScheduleExpression": "cron(0 2 * * ? *)"}


class Account:
    def __init__(self, running: LocalAws) -> None:
        self.aws = running
        self.backup, self.rds, self.iam = (running.client(one) for one in ("backup", "rds", "iam"))
        tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
        database = create_database(running, "kept-db", Tags=tags, CopyTagsToSnapshot=True)
        self.database_arn, self.address = database["DBInstanceArn"], database["Endpoint"]["Address"]
        self.backup.create_backup_vault(BackupVaultName=VAULT, BackupVaultTags=TAGS)
        trust = {"Effect": "Allow", "Principal": {"Service": "backup.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        self.role = self.iam.create_role(RoleName="backup", AssumeRolePolicyDocument=document)["Role"]["Arn"]

    def allow(self, *actions: str) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        self.iam.put_role_policy(RoleName="backup", PolicyName="rds", PolicyDocument=json.dumps(document))

    def run(self) -> dict:
        """A job on demand, once it has ended."""
        job = self.backup.start_backup_job(
            BackupVaultName=VAULT, ResourceArn=self.database_arn, IamRoleArn=self.role, RecoveryPointTags={"by": "hand"}
        )
        return self.ended(job["BackupJobId"])

    def ended(self, job_id: str) -> dict:
        deadline = time.monotonic() + 60
        while (job := self.backup.describe_backup_job(BackupJobId=job_id))["State"] not in ("COMPLETED", "FAILED"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return job

    def points(self) -> list[dict]:
        return self.backup.list_recovery_points_by_backup_vault(BackupVaultName=VAULT)["RecoveryPoints"]


@pytest.fixture(scope="module")
def account(tmp_path_factory) -> t.Iterator[Account]:
    with local_aws(tmp_path_factory.mktemp("aws") / "state", LOCAL_AWS_LATENCY_SCALE="0.01") as running:
        yield Account(running)


def refused(code: str, call: t.Callable[..., t.Any], **arguments: t.Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def test_a_rule_that_is_due_makes_a_recovery_point_with_the_data(account):
    backup = account.backup
    account.allow("rds:*", "backup:*")
    connection = connect(account.address)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('before')")
    moment = datetime.datetime.now(datetime.timezone.utc)
    moment += datetime.timedelta(minutes=1 if moment.second < 57 else 2)
    rule = {
        **RULE, "ScheduleExpression": f"cron({moment.minute} {moment.hour} * * ? *)", "StartWindowMinutes": 60,
        "CompletionWindowMinutes": 180, "Lifecycle": {"DeleteAfterDays": 35}, "RecoveryPointTags": {"plan": "kept"},
    }  # fmt: skip
    asked = {"BackupPlanName": "kept", "Rules": [rule]}
    plan = backup.create_backup_plan(BackupPlan=asked, BackupPlanTags=TAGS)
    refused("AlreadyExistsException", backup.create_backup_plan, BackupPlan=asked)
    made = backup.create_backup_selection(
        BackupPlanId=plan["BackupPlanId"],
        BackupSelection={"SelectionName": "db", "IamRoleArn": account.role, "Resources": [account.database_arn]},
    )
    (listed,) = backup.list_backup_selections(BackupPlanId=plan["BackupPlanId"])["BackupSelectionsList"]
    assert (listed["SelectionId"], listed["SelectionName"], listed["IamRoleArn"]) == (made["SelectionId"], "db", account.role)
    got = backup.get_backup_selection(BackupPlanId=plan["BackupPlanId"], SelectionId=made["SelectionId"])
    assert got["BackupSelection"]["Resources"] == [account.database_arn]
    refused("InvalidRequestException", backup.delete_backup_plan, BackupPlanId=plan["BackupPlanId"])
    deadline = time.monotonic() + 130
    while not (jobs := backup.list_backup_jobs(ByResourceArn=account.database_arn)["BackupJobs"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    job = account.ended(jobs[0]["BackupJobId"])
    expected = {
        "State": "COMPLETED", "ResourceType": "RDS", "BackupVaultName": VAULT, "PercentDone": "100.0",
        "BackupSizeInBytes": 20 * 2**30,
    }  # fmt: skip
    assert expected.items() <= job.items() and job["CreatedBy"]["BackupPlanId"] == plan["BackupPlanId"]
    (point,) = account.points()
    assert point["RecoveryPointArn"] == job["RecoveryPointArn"]
    assert (point["Status"], point["Lifecycle"]["DeleteAfterDays"]) == ("COMPLETED", 35)
    assert point["CalculatedLifecycle"]["DeleteAt"] - point["CreationDate"] == datetime.timedelta(days=35)
    name = point["RecoveryPointArn"].split(":snapshot:")[1]
    (snapshot,) = account.rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]
    assert name == f"awsbackup:job-{job['BackupJobId'].lower()}"
    assert (snapshot["SnapshotType"], snapshot["Status"]) == ("awsbackup", "available")
    assert {tag["Key"]: tag["Value"] for tag in snapshot["TagList"]} == {**TAGS, "plan": "kept"}
    assert [one["DBSnapshotIdentifier"] for one in account.rds.describe_db_snapshots(SnapshotType="awsbackup")["DBSnapshots"]] == [name]
    refused("InvalidDBSnapshotState", account.rds.delete_db_snapshot, DBSnapshotIdentifier=name)

    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO kept VALUES ('after')")
    connection.close()
    account.rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="new-db", DBSnapshotIdentifier=name)
    assert ask(settled(account.aws, "new-db")["Endpoint"]["Address"], "SELECT string_agg(word, ',') FROM kept") == "before"

    # Once a day: not again in the same minute, nor after the end of the plan.
    assert len(backup.list_backup_jobs()["BackupJobs"]) == 1
    backup.delete_backup_selection(BackupPlanId=plan["BackupPlanId"], SelectionId=made["SelectionId"])
    backup.delete_backup_plan(BackupPlanId=plan["BackupPlanId"])
    assert backup.list_backup_plans()["BackupPlansList"] == []
    again = backup.create_backup_plan(BackupPlan=asked)
    backup.delete_backup_plan(BackupPlanId=again["BackupPlanId"])


def test_a_vault_with_recovery_points_stays_until_they_are_deleted(account):
    backup = account.backup
    (point,) = account.points()
    vault = backup.describe_backup_vault(BackupVaultName=VAULT)
    assert vault["NumberOfRecoveryPoints"] == 1 and ":key/" in vault["EncryptionKeyArn"]
    assert "recovery points" in refused("InvalidRequestException", backup.delete_backup_vault, BackupVaultName=VAULT)
    arguments = {"BackupVaultName": VAULT, "RecoveryPointArn": point["RecoveryPointArn"]}
    assert backup.describe_recovery_point(**arguments)["ResourceArn"] == account.database_arn
    backup.delete_recovery_point(**arguments)
    refused("ResourceNotFoundException", backup.describe_recovery_point, **arguments)
    assert account.rds.describe_db_snapshots()["DBSnapshots"] == []
    assert list((account.aws.directory / "rds" / "snapshots").iterdir()) == []
    backup.create_backup_vault(BackupVaultName="empty")
    backup.delete_backup_vault(BackupVaultName="empty")
    refused("AccessDeniedException", backup.describe_backup_vault, BackupVaultName="empty")


def test_a_job_on_demand_does_what_its_role_may(account):
    account.allow("rds:Describe*", "rds:ListTagsForResource", "rds:AddTagsToResource", "backup:*")
    failed = account.run()
    assert failed["State"] == "FAILED" and "may not rds:CreateDBSnapshot on" in failed["StatusMessage"]
    assert account.points() == []
    account.allow("rds:*", "backup:*")
    account.rds.stop_db_instance(DBInstanceIdentifier="kept-db")
    settled(account.aws, "kept-db", during=("stopping",))
    stopped = account.run()
    assert stopped["State"] == "FAILED" and "not currently in the available state" in stopped["StatusMessage"]
    account.rds.start_db_instance(DBInstanceIdentifier="kept-db")
    settled(account.aws, "kept-db", during=("starting",))
    assert account.run()["State"] == "COMPLETED"
    states = [one["State"] for one in account.backup.list_backup_jobs(ByBackupVaultName=VAULT)["BackupJobs"]]
    assert states.count("FAILED") == 2
    assert len(account.backup.list_backup_jobs(ByState="FAILED", MaxResults=1)["BackupJobs"]) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ScheduleExpression": "cron(0 2 * * *)"}, "six fields"),
        ({"ScheduleExpression": "rate(1 day)"}, "no cron expression"),
        ({"TargetBackupVaultName": "none"}, "none does not exist"),
        ({"StartWindowMinutes": 30}, "StartWindowMinutes"),
        ({"Lifecycle": {"DeleteAfterDays": 0}}, "DeleteAfterDays"),
        ({"Lifecycle": {"MoveToColdStorageAfterDays": 30}}, "MoveToColdStorageAfterDays"),
        ({"EnableContinuousBackup": True}, "continuous"),
    ],
)
def test_rules_that_are_refused(account, change, text):
    plan = {"BackupPlanName": "bad", "Rules": [{**RULE, **change}]}
    assert text in refused("InvalidParameterValueException", account.backup.create_backup_plan, BackupPlan=plan)


def test_a_plan_is_changed_and_its_selections_are_by_arn_or_by_tags_of_databases(account):
    backup = account.backup
    plan_id = backup.create_backup_plan(BackupPlan={"BackupPlanName": "more", "Rules": [RULE]})["BackupPlanId"]
    before = backup.get_backup_plan(BackupPlanId=plan_id)
    changed = {"BackupPlanName": "more", "Rules": [{**RULE, "ScheduleExpression": "cron(0 3 * * ? *)"}]}
    backup.update_backup_plan(BackupPlanId=plan_id, BackupPlan=changed)
    after = backup.get_backup_plan(BackupPlanId=plan_id)
    assert after["BackupPlan"]["Rules"][0]["ScheduleExpression"] == "cron(0 3 * * ? *)" and after["VersionId"] != before["VersionId"]
    good = {"SelectionName": "db", "IamRoleArn": account.role, "Resources": [account.database_arn]}
    for change, text in (
        ({"Resources": ["arn:aws:s3:::a-bucket"]}, "DB instances of RDS only"),
        ({"IamRoleArn": account.role + "-none"}, "cannot be assumed by AWS Backup"),
        ({"Resources": []}, "needs Resources"),
        ({"Conditions": {"StringEquals": [{"ConditionKey": "team", "ConditionValue": "a"}]}}, "aws:ResourceTag/"),
    ):
        asked = {"BackupPlanId": plan_id, "BackupSelection": {**good, **change}}
        assert text in refused("InvalidParameterValueException", backup.create_backup_selection, **asked)
    by_tag = {**good, "Resources": [], "ListOfTags": [{"ConditionType": "STRINGEQUALS", "ConditionKey": "team", "ConditionValue": "a"}]}
    made = backup.create_backup_selection(BackupPlanId=plan_id, BackupSelection=by_tag)
    refused("AlreadyExistsException", backup.create_backup_selection, BackupPlanId=plan_id, BackupSelection=by_tag)
    arguments = {"BackupPlanId": plan_id, "SelectionId": made["SelectionId"]}
    backup.delete_backup_selection(**arguments)
    refused("ResourceNotFoundException", backup.get_backup_selection, **arguments)
    backup.delete_backup_plan(BackupPlanId=plan_id)
