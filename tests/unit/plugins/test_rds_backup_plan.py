# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backups of a database, against an in-process IAM and the AWS Backup of the local AWS, which has no jobs without a database."""

from __future__ import annotations

import datetime
import json
import types
import typing as t

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.backup.responses import BackupResponse

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import backup_database, backup_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import rds_backup_plan, rds_backup_plan_info
from local_aws.patches import backup as local_backup

OWNER = {"owner": "us"}
ARN = "arn:aws:rds:eu-west-2:123456789012:db:web-db"
VAULT = "arn:aws:backup:eu-west-2:123456789012:backup-vault:web"
WANTED = {
    "name": "web", "db_instance_arn": ARN, "schedule": "cron(0 2 * * ? *)", "owner_tags": OWNER,
    "tags": {**OWNER, "cost": 12},
}  # fmt: skip
ABSENT = {"name": "web", "state": "absent", "owner_tags": OWNER}
NOTHING = dict.fromkeys(
    ("vault_arn", "plan_arn", "role_arn", "schedule", "timezone", "retention_days", "last_backup_at", "last_backup_arn",
     "last_job_state", "last_job_message")
) | {"resources": [], "recovery_points": 0}  # fmt: skip
pytestmark = pytest.mark.usefixtures("aws_environment")


class Client:
    """A client that keeps a list of its writes, and of which some operations answer as told first."""

    def __init__(self, client: t.Any, writes: list[str]) -> None:
        self.client, self.writes = client, writes
        self.answers: dict[str, list] = {}

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool = False, **arguments: t.Any) -> t.Any:
            told = self.answers.get(operation)
            answer = told.pop(0) if told else None
            if isinstance(answer, Exception):
                raise answer
            if not operation.startswith(("get_", "list_")):
                self.writes.append(operation)
            return answer if answer is not None else getattr(self.client, operation)(**arguments)

        return call


@pytest.fixture
def writes() -> list[str]:
    return []


@pytest.fixture
def clients(aws_environment: None, writes: list, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, Client]]:
    if not hasattr(BackupResponse, "create_backup_selection"):
        local_backup.apply(types.SimpleNamespace(reconcilers=[]))
    with mock_aws():
        made = {one: Client(boto3.client(one, region_name="eu-west-2"), writes) for one in ("iam", "backup")}
        monkeypatch.setattr(backup_database, "connect", lambda _module, service: made[service])
        monkeypatch.setattr(backup_database, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(backup_database, "SETTLE_SECONDS", 0.05)
        monkeypatch.setattr(backup_database, "GONE_SECONDS", 0.05)
        yield made


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "CreateBackupSelection")


def point(number: int, status: str = "COMPLETED") -> dict:
    made = datetime.datetime(2026, 11, number, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    return {"RecoveryPointArn": f"arn:point-{number}", "Status": status, "CreationDate": made}


def test_life(run_module: t.Callable, clients: dict, writes: list) -> None:
    predicted = run_module(rds_backup_plan, WANTED, check=True)
    assert predicted["changed"] and writes == [] and predicted["backup"] == NOTHING
    made = run_module(rds_backup_plan, WANTED)
    assert made["diff"] == predicted["diff"]
    assert writes == [
        "create_role", "put_role_policy", "create_backup_vault", "create_backup_plan", "create_backup_selection",
    ]  # fmt: skip
    expected = {
        "vault_arn": VAULT, "role_arn": "arn:aws:iam::123456789012:role/web-backup", "resources": [ARN],
        "schedule": "cron(0 2 * * ? *)", "timezone": "UTC", "retention_days": 35, "recovery_points": 0,
        "last_backup_at": None, "last_job_state": None,
    }  # fmt: skip
    assert expected.items() <= made["backup"].items()
    role = clients["iam"].get_role(RoleName="web-backup")["Role"]
    assert role["AssumeRolePolicyDocument"] == backup_rules.TRUST_POLICY
    writes.clear()
    for check in (True, False):
        assert not run_module(rds_backup_plan, WANTED, check=check)["changed"]
    assert run_module(rds_backup_plan_info, {"name": "web"})["backup"] == made["backup"]
    assert run_module(rds_backup_plan, ABSENT, check=True)["changed"] and writes == []

    gone = run_module(rds_backup_plan, ABSENT)
    assert gone["changed"] and gone["backup"] == NOTHING
    assert writes == [
        "delete_backup_selection", "delete_backup_plan", "delete_backup_vault", "delete_role_policy", "delete_role",
    ]  # fmt: skip
    assert not run_module(rds_backup_plan, ABSENT)["changed"]


def test_the_role_may_nothing_of_other_databases_and_vaults() -> None:
    statements = backup_rules.access_policy(ARN, VAULT)["Statement"]
    resources = [one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]] for one in statements]
    assert "*" not in sum(resources, [])
    writing = [one for one in statements if "rds:CreateDBSnapshot" in one["Action"]]
    assert [one["Resource"] for one in writing] == [[ARN, "arn:aws:rds:eu-west-2:123456789012:snapshot:awsbackup:*"]]
    assert not any("Modify" in action or "Restore" in action for one in statements for action in one["Action"])


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"schedule": "cron(30 3 ? * MON-FRI *)"}, ["update_backup_plan"]),
        ({"timezone": "Europe/London"}, ["update_backup_plan"]),
        ({"retention_days": 7}, ["update_backup_plan"]),
        ({"tags": OWNER}, ["untag_role", "untag_resource", "untag_resource"]),
        ({"tags": {**OWNER, "cost": 13}}, ["tag_role", "tag_resource", "tag_resource"]),
        ({"db_instance_arn": ARN + "2"}, ["put_role_policy", "delete_backup_selection", "create_backup_selection"]),
    ],
)
def test_each_change_writes_what_it_must(
    run_module: t.Callable, clients: dict, writes: list, change: dict, written: list
) -> None:
    run_module(rds_backup_plan, WANTED)
    writes.clear()
    predicted = run_module(rds_backup_plan, {**WANTED, **change}, check=True)
    assert predicted["changed"] and writes == []
    assert run_module(rds_backup_plan, {**WANTED, **change})["diff"] == predicted["diff"]
    assert writes == written
    assert not run_module(rds_backup_plan, {**WANTED, **change})["changed"]


def test_what_was_changed_by_hand_is_mended(run_module: t.Callable, clients: dict, writes: list) -> None:
    made = run_module(rds_backup_plan, WANTED)["backup"]
    plan_id = made["plan_arn"].rsplit(":", 1)[-1]
    more = {"SelectionName": "more", "IamRoleArn": made["role_arn"], "Resources": [ARN + "2"]}
    clients["backup"].create_backup_selection(BackupPlanId=plan_id, BackupSelection=more)
    other = json.dumps(backup_rules.TRUST_POLICY).replace("backup.amazonaws.com", "ec2.amazonaws.com")
    clients["iam"].update_assume_role_policy(RoleName="web-backup", PolicyDocument=other)
    writes.clear()
    assert run_module(rds_backup_plan, WANTED)["backup"]["resources"] == [ARN]
    assert writes == ["update_assume_role_policy", "delete_backup_selection"]


@pytest.mark.parametrize("kind", ["vault", "plan", "role"])
def test_what_is_not_ours_is_not_touched(run_module: t.Callable, clients: dict, writes: list, kind: str) -> None:
    if kind == "role":
        clients["iam"].create_role(RoleName="web-backup", AssumeRolePolicyDocument="{}")
    else:
        vault = "web" if kind == "vault" else "other"
        clients["backup"].create_backup_vault(BackupVaultName=vault)
        if kind == "plan":
            rule = {"RuleName": "theirs", "TargetBackupVaultName": vault}
            clients["backup"].create_backup_plan(BackupPlan={"BackupPlanName": "web", "Rules": [rule]})
    writes.clear()
    for options in (WANTED, ABSENT):
        refused = run_module(rds_backup_plan, options)
        assert refused["failed"] and "does not carry the tags owner=us" in refused["msg"]
    assert writes == []


def test_a_vault_with_recovery_points_stays_unless_they_are_to_go(
    run_module: t.Callable, clients: dict, writes: list
) -> None:
    run_module(rds_backup_plan, WANTED)
    points = [point(1), point(3), point(2), point(4, "CREATING"), point(5, "DELETING")]
    listed = clients["backup"].answers["list_recovery_points_by_backup_vault"] = []
    listed += [{"RecoveryPoints": points[:2], "NextToken": "more"}, {"RecoveryPoints": points[2:]}]
    jobs = [{"State": "COMPLETED", **point(1)}, {"State": "FAILED", "StatusMessage": "no", **point(4)}]
    clients["backup"].answers["list_backup_jobs"] = [{"BackupJobs": jobs}]
    found = run_module(rds_backup_plan_info, {"name": "web"})["backup"]
    expected = {
        "recovery_points": 5, "last_backup_at": "2026-11-03T02:00:00+00:00", "last_backup_arn": "arn:point-3",
        "last_job_state": "FAILED", "last_job_message": "no",
    }  # fmt: skip
    assert expected.items() <= found.items()

    writes.clear()
    listed += [{"RecoveryPoints": points}, {"RecoveryPoints": points}]
    kept = run_module(rds_backup_plan, ABSENT)
    assert kept["changed"] and kept["backup"]["vault_arn"] == VAULT and kept["backup"]["recovery_points"] == 5
    assert writes == ["delete_backup_selection", "delete_backup_plan", "delete_role_policy", "delete_role"]
    listed.append({"RecoveryPoints": points})
    assert not run_module(rds_backup_plan, ABSENT)["changed"]

    writes.clear()
    away = {**ABSENT, "delete_recovery_points": True}
    clients["backup"].answers["delete_recovery_point"] = [{}] * 8
    listed += [{"RecoveryPoints": points}] * 30
    assert "5 recovery points are not gone after" in run_module(rds_backup_plan, away)["msg"]
    listed[:] = [{"RecoveryPoints": points[:2]}, {"RecoveryPoints": points[:1]}]
    writes.clear()
    gone = run_module(rds_backup_plan, away)
    assert gone["changed"] and gone["backup"] == NOTHING
    assert writes == ["delete_recovery_point", "delete_recovery_point", "delete_backup_vault"]


def test_a_new_role_is_waited_for(run_module: t.Callable, clients: dict) -> None:
    unknown = refusal("InvalidParameterValueException", "IAM Role web-backup cannot be assumed by AWS Backup")
    clients["backup"].answers["create_backup_selection"] = [unknown]
    assert run_module(rds_backup_plan, WANTED)["changed"]
    run_module(rds_backup_plan, ABSENT)
    clients["backup"].answers["create_backup_selection"] = [unknown] * 20
    assert "cannot be assumed by AWS Backup" in run_module(rds_backup_plan, WANTED)["msg"]
    clients["backup"].answers["create_backup_selection"] = [refusal("InvalidParameterValueException", "too many")]
    assert "too many" in run_module(rds_backup_plan, WANTED)["msg"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"db_instance_arn": "web-db"}, "db_instance_arn = 'web-db': is not the ARN of an RDS instance"),
        ({"schedule": "rate(1 day)"}, "is no cron expression"),
        ({"schedule": "cron(0 2 * * *)"}, "has 5 fields"),
        ({"schedule": "cron(0/30 2 * * ? *)"}, "is due more than once an hour"),
        ({"timezone": "Mars/Olympus"}, "timezone = 'Mars/Olympus': is not a time zone"),
        ({"retention_days": 0}, "retention_days = 0: is not a number of days that AWS Backup keeps; give 1 to 36500"),
    ],
)
def test_bad_options_are_refused_before_anything_is_asked(
    run_module: t.Callable, clients: dict, wrong: dict, message: str
) -> None:
    clients["iam"].answers["get_role"] = [AssertionError("asked")]
    assert message in run_module(rds_backup_plan, {**WANTED, **wrong})["msg"]


def test_what_aws_tells_or_leaves_out_is_no_difference() -> None:
    wanted = backup_rules.plan_document("web", "cron(0 2 * * ? *)", "UTC", 35)
    found = backup_rules.plan_document("web", "cron(0 2 * * ? *)", "UTC", 35)
    found["Rules"][0].update(RuleId="1", CopyActions=[], EnableContinuousBackup=False, RecoveryPointTags={})
    found["Rules"][0]["Lifecycle"]["OptInToArchiveForSupportedResources"] = False
    found["AdvancedBackupSettings"] = []
    assert backup_rules.comparable_plan(found) == backup_rules.comparable_plan(wanted)
    found["Rules"][0]["CopyActions"] = [{"DestinationBackupVaultArn": "arn:elsewhere"}]
    assert backup_rules.comparable_plan(found) != backup_rules.comparable_plan(wanted)
