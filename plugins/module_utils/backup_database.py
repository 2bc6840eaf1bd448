# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault, plan, selection and IAM role that back a database up: what there is, and what is to be done."""

from __future__ import annotations

import datetime
import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, backup_rules, service_role

POLICY = "database"
POLL_SECONDS = 2.0
# A new role takes some seconds to be known everywhere.
SETTLE_SECONDS = 60.0
# Snapshots are not gone at once.
GONE_SECONDS = 600.0


def connect(module: t.Any, service: str) -> t.Any:
    return module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=8))


class DatabaseBackups:
    """The backup vault and the backup plan called `name`, and the IAM role `<name>-backup`."""

    def __init__(self, iam: t.Any, backup: t.Any, name: str) -> None:
        self.backup, self.name = backup, name
        purpose = f"AWS Backup makes snapshots of the database of {name} with it"
        self.role = service_role.ServiceRole(iam, f"{name}-backup", POLICY, purpose)
        self.vault: dict | None = None
        self.vault_tags: dict[str, str] = {}
        self.plan: dict | None = None
        self.plan_tags: dict[str, str] = {}
        self.selections: list[dict] = []
        self.points: list[dict] = []

    # --- looking ---------------------------------------------------------------------------------------------------

    def find(self) -> None:
        self.role.find()
        # AWS denies access to a vault that is not there, so all are listed.
        vaults = self._pages(self.backup.list_backup_vaults, "BackupVaultList")
        self.vault = next((one for one in vaults if one["BackupVaultName"] == self.name), None)
        self.vault_tags = self._tags(self.vault["BackupVaultArn"]) if self.vault else {}
        self._find_plan()
        self.points = []
        if self.vault:
            self.points = self._pages(
                self.backup.list_recovery_points_by_backup_vault, "RecoveryPoints", BackupVaultName=self.name
            )

    def _find_plan(self) -> None:
        plans = self._pages(self.backup.list_backup_plans, "BackupPlansList")
        listed = next((one for one in plans if one["BackupPlanName"] == self.name), None)
        self.plan, self.plan_tags, self.selections = None, {}, []
        if listed is None:
            return
        plan_id = listed["BackupPlanId"]
        self.plan = self.backup.get_backup_plan(BackupPlanId=plan_id, aws_retry=True)
        self.plan_tags = self._tags(listed["BackupPlanArn"])
        for one in self._pages(self.backup.list_backup_selections, "BackupSelectionsList", BackupPlanId=plan_id):
            self.selections.append(
                self.backup.get_backup_selection(BackupPlanId=plan_id, SelectionId=one["SelectionId"], aws_retry=True)
            )

    @staticmethod
    def _pages(operation: t.Callable, key: str, **arguments: t.Any) -> list[dict]:
        found: list[dict] = []
        token: dict[str, str] = {}
        while True:
            answer = operation(**arguments, **token, aws_retry=True)
            found += answer.get(key, [])
            if not answer.get("NextToken"):
                return found
            token = {"NextToken": answer["NextToken"]}

    def _tags(self, arn: str) -> dict[str, str]:
        return self.backup.list_tags(ResourceArn=arn, aws_retry=True).get("Tags", {})

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        """ValueError if vault, plan or role is somebody else's."""
        remedy = "choose another deployment name, or remove it by hand"
        for kind, found, tags in (
            (f"Backup vault {self.name}", self.vault, self.vault_tags),
            (f"Backup plan {self.name}", self.plan, self.plan_tags),
            (f"IAM role {self.role.name}", self.role.found, self.role.tags),
        ):
            if found and not aws_changes.carries(tags, owner_tags):
                raise ValueError(aws_changes.not_ours(kind, owner_tags, remedy))

    def summary(self) -> dict[str, t.Any]:
        """What there is, with null for what does not exist."""
        rule = self.plan["BackupPlan"]["Rules"][0] if self.plan else {}
        jobs: list[dict] = []
        if self.vault:
            jobs = self._pages(self.backup.list_backup_jobs, "BackupJobs", ByBackupVaultName=self.name)
        job, point = backup_rules.latest(jobs), backup_rules.latest(self.points, "COMPLETED")
        return {
            "vault_arn": self.vault["BackupVaultArn"] if self.vault else None,
            "plan_arn": self.plan["BackupPlanArn"] if self.plan else None,
            "role_arn": self.role.arn,
            "resources": sorted(arn for one in self.selections for arn in one["BackupSelection"].get("Resources", [])),
            "schedule": rule.get("ScheduleExpression"),
            "timezone": rule.get("ScheduleExpressionTimezone"),
            "retention_days": rule.get("Lifecycle", {}).get("DeleteAfterDays"),
            "recovery_points": len(self.points),
            "last_backup_at": point["CreationDate"].astimezone(datetime.timezone.utc).isoformat("T", "seconds") if point else None,
            "last_backup_arn": point.get("RecoveryPointArn"),
            "last_job_state": job.get("State"),
            "last_job_message": job.get("StatusMessage"),
        }

    # --- present ---------------------------------------------------------------------------------------------------

    def plan_present(
        self, instance_arn: str, schedule: str, timezone: str, retention_days: int, tags: dict[str, str]
    ) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        partition, region, account_id = (instance_arn.split(":")[number] for number in (1, 3, 4))
        vault_arn = f"arn:{partition}:backup:{region}:{account_id}:backup-vault:{self.name}"
        access = backup_rules.access_policy(instance_arn, vault_arn)
        self.role.plan_present(changes, backup_rules.TRUST_POLICY, access, tags)
        self._plan_vault(changes, tags)
        self._plan_plan(changes, backup_rules.plan_document(self.name, schedule, timezone, retention_days), tags)
        self._plan_selection(
            changes,
            {
                "SelectionName": backup_rules.SELECTION,
                "IamRoleArn": f"arn:{partition}:iam::{account_id}:role/{self.role.name}",
                "Resources": [instance_arn],
            },
        )
        return changes

    def _plan_vault(self, changes: aws_changes.Changes, tags: dict[str, str]) -> None:
        if self.vault is None:
            # Encrypted with the key of AWS Backup, as no other is named.
            changes.want(
                "vault", "absent", "present",
                lambda: self.backup.create_backup_vault(
                    BackupVaultName=self.name, BackupVaultTags=tags, aws_retry=True
                ),
            )  # fmt: skip
            return
        self._plan_tags(changes, "tags of the vault", self.vault["BackupVaultArn"], self.vault_tags, tags)

    def _plan_tags(self, changes: aws_changes.Changes, what: str, arn: str, before: dict, after: dict) -> None:
        changes.want_tags(
            what, before, after,
            lambda new: self.backup.tag_resource(ResourceArn=arn, Tags=new, aws_retry=True),
            lambda keys: self.backup.untag_resource(ResourceArn=arn, TagKeyList=keys, aws_retry=True),
        )  # fmt: skip

    def _plan_plan(self, changes: aws_changes.Changes, wanted: dict, tags: dict[str, str]) -> None:
        found = self.plan["BackupPlan"] if self.plan else None
        changes.want(
            "plan", backup_rules.comparable_plan(found), backup_rules.comparable_plan(wanted),
            lambda: self._put_plan(wanted, tags),
        )  # fmt: skip
        if self.plan:
            self._plan_tags(changes, "tags of the plan", self.plan["BackupPlanArn"], self.plan_tags, tags)

    def _put_plan(self, wanted: dict, tags: dict[str, str]) -> None:
        if self.plan:
            self.backup.update_backup_plan(BackupPlanId=self.plan["BackupPlanId"], BackupPlan=wanted, aws_retry=True)
        else:
            self.plan = self.backup.create_backup_plan(BackupPlan=wanted, BackupPlanTags=tags, aws_retry=True)

    def _plan_selection(self, changes: aws_changes.Changes, wanted: dict) -> None:
        """This one and no other: AWS cannot change a selection."""
        other = [one for one in self.selections if backup_rules.without_empty(one["BackupSelection"]) != wanted]
        for one in other:
            what = f"selection {one['BackupSelection']['SelectionName']}"
            before = backup_rules.without_empty(one["BackupSelection"])
            changes.want(what, before, "absent", self._delete_selection(one))
        if len(other) == len(self.selections):
            # The plan may be one that this run makes.
            changes.want("selection", "absent", wanted, lambda: self._create_selection(t.cast(dict, self.plan), wanted))

    def _delete_selection(self, selection: dict) -> t.Callable[[], None]:
        def delete() -> None:
            self.backup.delete_backup_selection(
                BackupPlanId=selection["BackupPlanId"], SelectionId=selection["SelectionId"], aws_retry=True
            )

        return delete

    def _create_selection(self, plan: dict, wanted: dict) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                self.backup.create_backup_selection(
                    BackupPlanId=plan["BackupPlanId"], BackupSelection=wanted, aws_retry=True
                )
                return
            except is_boto3_error_code("InvalidParameterValueException") as error:
                # "IAM Role ... cannot be assumed by AWS Backup": a new role is not known everywhere at once.
                if "cannot be assumed" not in str(error) or time.monotonic() + POLL_SECONDS > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    # --- absent ----------------------------------------------------------------------------------------------------

    def plan_absent(self, delete_recovery_points: bool) -> aws_changes.Changes:
        """All but a vault with recovery points, unless these are to be deleted too."""
        changes = aws_changes.Changes()
        for one in self.selections:
            name = one["BackupSelection"]["SelectionName"]
            changes.want(f"selection {name}", "present", "absent", self._delete_selection(one))
        if self.plan:
            plan_id = self.plan["BackupPlanId"]
            changes.want(
                "plan", "present", "absent",
                lambda: self.backup.delete_backup_plan(BackupPlanId=plan_id, aws_retry=True),
            )  # fmt: skip
        if self.points and delete_recovery_points:
            changes.want("recovery points", len(self.points), 0, self._delete_points)
        if self.vault and (delete_recovery_points or not self.points):
            changes.want(
                "vault", "present", "absent",
                lambda: self.backup.delete_backup_vault(BackupVaultName=self.name, aws_retry=True),
            )  # fmt: skip
        self.role.plan_absent(changes)
        return changes

    def _delete_points(self) -> None:
        """AWS deletes them in its own time."""
        for one in self.points:
            if one["Status"] != "DELETING":
                self.backup.delete_recovery_point(
                    BackupVaultName=self.name, RecoveryPointArn=one["RecoveryPointArn"], aws_retry=True
                )
        deadline = time.monotonic() + GONE_SECONDS
        while left := self._pages(
            self.backup.list_recovery_points_by_backup_vault, "RecoveryPoints", BackupVaultName=self.name
        ):
            if time.monotonic() + POLL_SECONDS > deadline:
                raise ValueError(
                    f"Backup vault {self.name}: {len(left)} recovery points are not gone after {GONE_SECONDS:.0f} s; run again"
                )
            time.sleep(POLL_SECONDS)
