# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS Backup keeps besides moto's vaults and plans: selections, jobs, recovery points.

https://docs.aws.amazon.com/aws-backup/latest/devguide/API_BackupSelection.html, API_BackupJob.html,
API_RecoveryPointByBackupVault.html
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from .ecs_permissions import matches
from .ecs_records import now

CREATED, RUNNING, COMPLETED, FAILED = "CREATED", "RUNNING", "COMPLETED", "FAILED"
CREATING = "CREATING"
TAG = "aws:ResourceTag/"
CONDITIONS = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringNotEquals": lambda value, wanted: value != wanted,
    "StringLike": lambda value, wanted: value is not None and matches(wanted, value),
    "StringNotLike": lambda value, wanted: value is None or not matches(wanted, value),
}


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which resources a plan backs up, and with which role."""

    plan_id: str
    document: Mapping[str, Any]
    creator_request_id: str | None = None
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime = dataclasses.field(default_factory=now)

    def summary(self) -> dict[str, Any]:
        return {
            "SelectionId": self.id, "SelectionName": self.document["SelectionName"], "BackupPlanId": self.plan_id,
            "CreationDate": self.created, "CreatorRequestId": self.creator_request_id,
            "IamRoleArn": self.document["IamRoleArn"],
        }  # fmt: skip

    def takes(self, arn: str, tags: Mapping[str, str]) -> bool:
        """Whether the resource is selected: by ARN, by any of the tags of ListOfTags, by all conditions."""
        resources = self.document.get("Resources") or ["*"]
        if not any(matches(pattern, arn) for pattern in resources):
            return False
        if any(matches(pattern, arn) for pattern in self.document.get("NotResources") or []):
            return False
        listed = self.document.get("ListOfTags") or []
        if listed and not any(tags.get(one["ConditionKey"]) == one["ConditionValue"] for one in listed):
            return False
        return all(
            CONDITIONS[kind](tags.get(one["ConditionKey"].removeprefix(TAG)), one["ConditionValue"])
            for kind, wanted in (self.document.get("Conditions") or {}).items()
            for one in wanted
        )


@dataclasses.dataclass
class RecoveryPoint:
    arn: str
    vault: Any
    job: Job
    size: int
    encryption_key: str | None
    encrypted: bool
    status: str = CREATING

    @property
    def delete_at(self) -> datetime | None:
        days = self.job.lifecycle.get("DeleteAfterDays")
        return self.job.created + timedelta(days=days) if days else None

    def document(self) -> dict[str, Any]:
        job = self.job
        return {
            "RecoveryPointArn": self.arn, "BackupVaultName": self.vault.backup_vault_name,
            "BackupVaultArn": self.vault.backup_vault_arn, "ResourceArn": job.resource_arn, "ResourceType": "RDS",
            "ResourceName": job.resource_name, "CreatedBy": job.created_by or None, "IamRoleArn": job.role_arn,
            "Status": self.status, "CreationDate": job.created, "CompletionDate": job.completed,
            "BackupSizeInBytes": self.size, "Lifecycle": job.lifecycle or None, "IsEncrypted": self.encrypted,
            "CalculatedLifecycle": {"DeleteAt": self.delete_at} if self.delete_at else None,
            "EncryptionKeyArn": self.encryption_key,
        }  # fmt: skip


@dataclasses.dataclass
class Job:
    vault: Any
    resource_arn: str
    role_arn: str
    lifecycle: Mapping[str, int]
    tags: Mapping[str, str]
    # The plan and the rule, empty for a job on demand.
    created_by: Mapping[str, str]
    token: str | None = None
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()).upper())
    created: datetime = dataclasses.field(default_factory=now)
    completed: datetime | None = None
    state: str = CREATED
    message: str | None = None
    point: RecoveryPoint | None = None

    @property
    def resource_name(self) -> str:
        return self.resource_arn.rsplit(":", 1)[-1]

    @property
    def snapshot_name(self) -> str:
        return f"awsbackup:job-{self.id.lower()}"

    def fail(self, reason: str) -> None:
        self.state, self.message, self.completed = FAILED, reason, now()

    def document(self) -> dict[str, Any]:
        point = self.point
        return {
            "AccountId": self.resource_arn.split(":")[4], "BackupJobId": self.id,
            "BackupVaultName": self.vault.backup_vault_name, "BackupVaultArn": self.vault.backup_vault_arn,
            "ResourceArn": self.resource_arn, "ResourceType": "RDS", "ResourceName": self.resource_name,
            "IamRoleArn": self.role_arn, "CreationDate": self.created, "CompletionDate": self.completed,
            "State": self.state, "StatusMessage": self.message, "CreatedBy": self.created_by or None,
            "PercentDone": "100.0" if self.state == COMPLETED else "0.0", "BackupType": "SNAPSHOT",
            "RecoveryPointArn": point.arn if point else None,
            "BackupSizeInBytes": point.size if point else None,
        }  # fmt: skip
