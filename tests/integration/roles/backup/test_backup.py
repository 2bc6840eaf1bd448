# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role backup on a local AWS, with a real database whose backup comes back. When rules are due: local_aws/test_backup.py."""

from __future__ import annotations

import time
import typing as t

import pytest

from tests.integration.local_aws.databases import ask, connect, create_database, settled

OWNED = {"mlflow-deployment": "kept", "managed-by": "mlops.mlflow_aws"}


@pytest.fixture(scope="module")
def database(local_aws: t.Any) -> dict:
    return create_database(local_aws, "kept-db")


@pytest.fixture(scope="module")
def variables(database: dict) -> dict:
    return {
        "backup_name": "kept", "backup_db_instance_arn": database["DBInstanceArn"], "backup_schedule": "cron(0 2 * * ? *)",
        "backup_timezone": "Europe/London", "backup_tags": {"team": "a"},
    }  # fmt: skip


def backed_up(backup: t.Any, database: dict, role_arn: str, vault: str) -> dict:
    """A job on demand, with the role of the plan, once it has ended."""
    job = backup.start_backup_job(BackupVaultName=vault, ResourceArn=database["DBInstanceArn"], IamRoleArn=role_arn)
    deadline = time.monotonic() + 60
    while (found := backup.describe_backup_job(BackupJobId=job["BackupJobId"]))["State"] not in ("COMPLETED", "FAILED"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.mark.long
def test_life_of_backups(run_role: t.Callable, local_aws: t.Any, database: dict, variables: dict) -> None:
    backup, rds = local_aws.client("backup"), local_aws.client("rds")
    check = run_role("backup", variables, ("check", "main"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    made = run_role("backup", variables, ("check", "main"))
    assert (made.rc, made.changed) == (0, 1), made.stdout
    assert made.writes == [
        "iam:CreateRole", "iam:PutRolePolicy", "backup:CreateBackupVault", "backup:CreateBackupPlan", "backup:CreateBackupSelection",
    ]  # fmt: skip
    outputs = made.outputs
    assert (outputs["schedule"], outputs["timezone"], outputs["retention_days"]) == ("cron(0 2 * * ? *)", "Europe/London", 35)
    assert outputs["resources"] == [database["DBInstanceArn"]] and outputs["last_backup_at"] is None
    for arn in (outputs["vault_arn"], outputs["plan_arn"]):
        assert backup.list_tags(ResourceArn=arn)["Tags"] == {**OWNED, "team": "a"}
    for checking in (True, False):
        again = run_role("backup", variables, check=checking)
        assert (again.rc, again.changed, again.writes, again.outputs) == (0, 0, [], outputs), again.stdout

    # The role of the plan may do what AWS Backup must, for this database and no other.
    connection = connect(database["Endpoint"]["Address"])
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('here')")
    connection.close()
    assert backed_up(backup, database, outputs["role_arn"], "kept")["State"] == "COMPLETED"
    other = create_database(local_aws, "other-db")
    failed = backed_up(backup, other, outputs["role_arn"], "kept")
    assert failed["State"] == "FAILED" and "other-db" in failed["StatusMessage"]
    rds.delete_db_instance(DBInstanceIdentifier="other-db", SkipFinalSnapshot=True)
    found = run_role("backup", variables, "info").outputs
    assert found["recovery_points"] == 1 and found["last_backup_at"] is not None and found["last_job_state"] == "FAILED"

    # The backup outlives the database, and the plan.
    gone = run_role("backup", variables, "absent")
    assert (gone.rc, gone.changed) == (0, 1) and "1 backups stay in" in " ".join(gone.stdout.split()), gone.stdout
    again = run_role("backup", variables, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
    rds.delete_db_instance(DBInstanceIdentifier="kept-db", SkipFinalSnapshot=True)
    rds.get_waiter("db_instance_deleted").wait(DBInstanceIdentifier="kept-db", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    name = found["last_backup_arn"].split(":snapshot:")[1]
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="back-db", DBSnapshotIdentifier=name)
    assert ask(settled(local_aws, "back-db")["Endpoint"]["Address"], "SELECT word FROM kept") == "here"
    rds.delete_db_instance(DBInstanceIdentifier="back-db", SkipFinalSnapshot=True)

    away = {**variables, "backup_delete_recovery_points": True}
    would = run_role("backup", away, "absent", check=True)
    assert (would.changed, would.writes) == (1, []), would.stdout
    last = run_role("backup", away, "absent")
    assert (last.rc, last.changed, last.writes) == (0, 1, ["backup:DeleteRecoveryPoint", "backup:DeleteBackupVault"]), last.stdout
    assert run_role("backup", away, "absent").writes == []
    assert rds.describe_db_snapshots(SnapshotType="awsbackup")["DBSnapshots"] == []
    assert not any(value for value in run_role("backup", variables, "info").outputs.values())


def test_bad_input_is_refused_before_the_first_write(run_role: t.Callable, variables: dict) -> None:
    wrong = {"backup_schedule": "cron(0 2 * * * *)", "backup_timezone": "Mars/Olympus", "backup_retention_days": 0}
    run = run_role("backup", {**variables, "backup_name": "bad", **wrong}, "check")
    assert run.rc == 2 and run.writes == []
    for message in (
        "backup_schedule = 'cron(0 2 * * * *)': says both or neither of day-of-month and day-of-week",
        "backup_timezone = 'Mars/Olympus': is not a time zone",
        "backup_retention_days = 0: is not a number of days that AWS Backup keeps; give 1 to 36500",
    ):
        assert message in run.stdout, run.stdout


def test_what_is_not_ours_is_not_touched(run_role: t.Callable, local_aws: t.Any, variables: dict) -> None:
    local_aws.client("backup").create_backup_vault(BackupVaultName="theirs")
    for entry in ("check", "main", "absent"):
        run = run_role("backup", {**variables, "backup_name": "theirs"}, entry)
        assert run.rc == 2 and run.writes == [], run.stdout
        assert "Backup vault theirs: it exists but does not carry the tags" in run.stdout
    local_aws.client("backup").delete_backup_vault(BackupVaultName="theirs")
