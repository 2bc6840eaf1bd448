# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's AWS Backup, which backs DB instances up.

moto 5.2.5 keeps vaults and plans, checks nothing of them, refuses the name of a plan that is deleted, and knows neither
selections nor jobs nor recovery points. The API: https://docs.aws.amazon.com/aws-backup/latest/devguide/API_Operations.html
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from moto.backup import models, responses, urls
from moto.backup.exceptions import (
    AlreadyExistsException,
    InvalidParameterValueException,
    InvalidRequestException,
    ResourceNotFoundException,
)
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult, EmptyResult

from .. import backup_jobs, schedules
from ..backup_records import CONDITIONS, CREATING, TAG, Job, Selection
from ..ecs_permissions import Role
from ..ecs_records import now
from ..runtime import Runtime
from . import replace

BACKEND, RESPONSE, PLAN = models.BackupBackend, responses.BackupResponse, models.Plan
# Of a rule, a lifecycle, a selection and a job: what is done here.
RULE = {
    "RuleName", "TargetBackupVaultName", "ScheduleExpression", "ScheduleExpressionTimezone", "StartWindowMinutes",
    "CompletionWindowMinutes", "Lifecycle", "RecoveryPointTags", "EnableContinuousBackup", "CopyActions",
}  # fmt: skip
SELECTION = {"SelectionName", "IamRoleArn", "Resources", "NotResources", "ListOfTags", "Conditions"}
JOB = {
    "BackupVaultName", "ResourceArn", "IamRoleArn", "IdempotencyToken", "Lifecycle", "RecoveryPointTags",
    "StartWindowMinutes", "CompleteWindowMinutes",
}  # fmt: skip
# Wildcards may stand for more than DB instances: of these only DB instances are found.
RESOURCE = re.compile(r"\*|arn:[^:]*:(rds|\*):[^:]*:[^:]*:(db:.+|\*)")
# Where moto does not listen.
PATHS = (
    "backup-jobs/?", "backup-jobs/(?P<job>[^/]+)", "backup-vaults/(?P<name>[^/]+)/recovery-points/",
    "backup-vaults/(?P<name>[^/]+)/recovery-points/(?P<arn>.+)",
)  # fmt: skip
LONGEST_RETENTION_DAYS = 36500


def apply(runtime: Runtime) -> None:
    runtime.reconcilers.append(backup_jobs.BackupJobs())
    _patch_vaults()
    _patch_plans()
    _add_selections()
    _add_jobs()
    _add_recovery_points()
    for path in PATHS:
        urls.url_paths[f"{{0}}/{path}$"] = RESPONSE.dispatch
    plain = BACKEND.__init__

    def begin(self: Any, region_name: str, account_id: str) -> None:
        plain(self, region_name, account_id)
        self.selections, self.jobs, self.points = {}, {}, {}

    replace(BACKEND, "__init__", begin, ("self", "region_name", "account_id"))


def _operation(name: str, answer: Callable[[Any, dict[str, Any]], dict[str, Any] | None]) -> None:
    """Answer an operation of AWS Backup; `answer` gets the backend and the parameters by their names in the API."""

    def respond(self: Any) -> Any:
        self.parse_parameters(self.normalized_request)
        result = answer(self.backup_backend, self.params)
        return EmptyResult() if result is None else ActionResult(result)

    setattr(RESPONSE, name, respond)


def _new_operation(name: str, answer: Callable[[Any, dict[str, Any]], dict[str, Any] | None]) -> None:
    if hasattr(RESPONSE, name):
        raise TypeError(f"moto answers {name} now: the patch for it must be looked at")
    _operation(name, answer)


def _refuse_unknown(asked: dict[str, Any], known: set[str], what: str) -> None:
    for key in asked:
        if key not in known:
            raise InvalidParameterValueException(f"The local AWS does not support {key} of {what}")


def _page(items: list[Any], asked: dict[str, Any]) -> tuple[list[Any], str | None]:
    first, most = int(asked.get("NextToken") or 0), int(asked.get("MaxResults") or 1000)
    return items[first : first + most], str(first + most) if len(items) > first + most else None


def _check_lifecycle(lifecycle: dict[str, Any] | None) -> None:
    _refuse_unknown(lifecycle or {}, {"DeleteAfterDays"}, "a lifecycle")
    days = (lifecycle or {}).get("DeleteAfterDays")
    if days is not None and not 1 <= days <= LONGEST_RETENTION_DAYS:
        raise InvalidParameterValueException(f"Invalid lifecycle: DeleteAfterDays must be 1 to {LONGEST_RETENTION_DAYS}")


def _check_role(backend: Any, arn: str | None) -> None:
    role = Role.find(backend.account_id, arn or "")
    if role is None or not role.trusts(backup_jobs.SERVICE):
        raise InvalidParameterValueException(f"IAM Role {arn} cannot be assumed by AWS Backup")


def _vault(backend: Any, name: str) -> Any:
    if name not in backend.vaults:
        raise ResourceNotFoundException(f"Backup vault {name} does not exist")
    return backend.vaults[name]


# --- vaults


def _points_of(backend: Any, vault: Any) -> list[Any]:
    return [point for point in list(backend.points.values()) if point.vault is vault]


def _patch_vaults() -> None:
    plain_create, plain_delete = BACKEND.create_backup_vault, BACKEND.delete_backup_vault

    def create(
        self: Any, backup_vault_name: str, backup_vault_tags: Any, encryption_key_arn: str | None, creator_request_id: Any
    ) -> Any:
        if not re.fullmatch(r"[a-zA-Z0-9\-_]{2,50}", backup_vault_name):
            raise InvalidParameterValueException(f"Invalid backup vault name: {backup_vault_name}")
        own_key = f"arn:aws:kms:{self.region_name}:{self.account_id}:key/aws-backup"
        return plain_create(self, backup_vault_name, backup_vault_tags, encryption_key_arn or own_key, creator_request_id)

    def delete(self: Any, backup_vault_name: str) -> None:
        vault = _vault(self, backup_vault_name)
        kept = len(_points_of(self, vault))
        if kept:
            raise InvalidRequestException(f"Backup vault cannot be deleted because it contains recovery points ({kept})")
        self.tagger.delete_all_tags_for_resource(vault.backup_vault_arn)
        plain_delete(self, backup_vault_name)

    def described(backend: Any, vault: Any) -> dict[str, Any]:
        return {**vault.to_list_dict(), "NumberOfRecoveryPoints": len(_points_of(backend, vault)), "Locked": vault.locked}

    def describe(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        vault = backend.vaults.get(asked["BackupVaultName"])
        if vault is None:
            # AWS does not tell whether there is such a vault.
            raise JsonRESTError("AccessDeniedException", "Insufficient privileges to perform this action.")
        return {**described(backend, vault), "VaultType": "BACKUP_VAULT"}

    def listed(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        vaults, token = _page(list(backend.vaults.values()), asked)
        return {"BackupVaultList": [described(backend, vault) for vault in vaults], "NextToken": token}

    replace(BACKEND, "create_backup_vault", create, (
        "self", "backup_vault_name", "backup_vault_tags", "encryption_key_arn", "creator_request_id",
    ))  # fmt: skip
    replace(BACKEND, "delete_backup_vault", delete, ("self", "backup_vault_name"))
    _operation("describe_backup_vault", describe)
    _operation("list_backup_vaults", listed)


# --- plans


def _check_plan(backend: Any, plan: dict[str, Any]) -> None:
    _refuse_unknown(plan, {"BackupPlanName", "Rules", "AdvancedBackupSettings"}, "a backup plan")
    if plan.get("AdvancedBackupSettings"):
        raise InvalidParameterValueException("The local AWS does not support AdvancedBackupSettings of a backup plan")
    if not re.fullmatch(r"[a-zA-Z0-9\-_.]{1,50}", plan.get("BackupPlanName") or ""):
        raise InvalidParameterValueException(f"Invalid backup plan name: {plan.get('BackupPlanName')}")
    for rule in plan.get("Rules") or []:
        _check_rule(backend, rule)


def _check_rule(backend: Any, rule: dict[str, Any]) -> None:
    _refuse_unknown(rule, RULE, "a rule")
    if rule.get("EnableContinuousBackup") or rule.get("CopyActions"):
        raise InvalidParameterValueException("The local AWS supports neither continuous backups nor copies")
    if rule.get("TargetBackupVaultName") not in backend.vaults:
        raise InvalidParameterValueException(f"Backup vault {rule.get('TargetBackupVaultName')} does not exist")
    expression = rule.get("ScheduleExpression", "cron(0 5 ? * * *)")
    try:
        if not expression.startswith("cron("):
            raise schedules.BadSchedule(f"{expression} is no cron expression")
        schedules.parse(expression, rule.get("ScheduleExpressionTimezone"), now())
    except schedules.BadSchedule as error:
        raise InvalidParameterValueException(f"Invalid cron expression in rule {rule.get('RuleName')}: {error}") from None
    begin, end = rule.get("StartWindowMinutes", 480), rule.get("CompletionWindowMinutes", 10080)
    if begin < 60 or end < begin + 60:
        raise InvalidParameterValueException(
            "Invalid backup window: StartWindowMinutes must be at least 60, CompletionWindowMinutes an hour more"
        )
    _check_lifecycle(rule.get("Lifecycle"))


def _live_plan(backend: Any, plan_id: str) -> Any:
    plan = backend.plans.get(plan_id)
    if plan is None or plan.deletion_date is not None:
        raise ResourceNotFoundException("Failed reading Backup plan with provided version")
    return plan


def _patch_plans() -> None:
    plain_delete = BACKEND.delete_backup_plan

    def create(self: Any, backup_plan: dict[str, Any], backup_plan_tags: Any, creator_request_id: Any) -> Any:
        _check_plan(self, backup_plan)
        if any(one.deletion_date is None and one.local_asked == backup_plan for one in self.plans.values()):
            raise AlreadyExistsException("Backup plan with the same plan document already exists")
        asked = copy.deepcopy(backup_plan)
        plan = PLAN(backup_plan, creator_request_id, self)
        plan.local_asked = asked
        if backup_plan_tags:
            self.tag_resource(plan.backup_plan_arn, backup_plan_tags)
        self.plans[plan.backup_plan_id] = plan
        return plan

    def delete(self: Any, backup_plan_id: str) -> Any:
        plan = _live_plan(self, backup_plan_id)
        if any(one.plan_id == backup_plan_id for one in self.selections.values()):
            raise InvalidRequestException("Related backup plan selections must be deleted prior to backup plan deletion")
        self.tagger.delete_all_tags_for_resource(plan.backup_plan_arn)
        return plain_delete(self, backup_plan_id)

    def update(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        plan = _live_plan(backend, asked["BackupPlanId"])
        _check_plan(backend, asked["BackupPlan"])
        # What moto completes in a new plan.
        newer = PLAN(copy.deepcopy(asked["BackupPlan"]), plan.creator_request_id, backend)
        plan.local_asked, plan.backup_plan, plan.version_id = asked["BackupPlan"], newer.backup_plan, newer.version_id
        return plan.to_dict()

    replace(BACKEND, "create_backup_plan", create, ("self", "backup_plan", "backup_plan_tags", "creator_request_id"))
    replace(BACKEND, "delete_backup_plan", delete, ("self", "backup_plan_id"))
    _new_operation("update_backup_plan", update)


# --- selections


def _check_selection(backend: Any, selection: dict[str, Any]) -> None:
    _refuse_unknown(selection, SELECTION, "a selection")
    if not re.fullmatch(r"[a-zA-Z0-9\-_.]{1,50}", selection.get("SelectionName") or ""):
        raise InvalidParameterValueException(f"Invalid selection name: {selection.get('SelectionName')}")
    _check_role(backend, selection.get("IamRoleArn"))
    resources, tags = selection.get("Resources") or [], selection.get("ListOfTags") or []
    if not resources and not tags and not selection.get("Conditions"):
        raise InvalidParameterValueException("A selection needs Resources, ListOfTags or Conditions")
    if tags and resources not in ([], ["*"]):
        raise InvalidParameterValueException("The local AWS does not support ListOfTags together with Resources: use Conditions")
    for arn in [*resources, *(selection.get("NotResources") or [])]:
        if not RESOURCE.fullmatch(arn):
            raise InvalidParameterValueException(f"The local AWS backs up DB instances of RDS only, not {arn}")
    for kind, conditions in (selection.get("Conditions") or {}).items():
        if kind not in CONDITIONS or any(not one["ConditionKey"].startswith(TAG) for one in conditions):
            raise InvalidParameterValueException(f"Invalid condition {kind}: its keys begin with {TAG}")


def _add_selections() -> None:
    def create(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        plan = _live_plan(backend, asked["BackupPlanId"])
        _check_selection(backend, asked["BackupSelection"])
        name = asked["BackupSelection"]["SelectionName"]
        if any(one.plan_id == plan.backup_plan_id and one.document["SelectionName"] == name for one in backend.selections.values()):
            raise AlreadyExistsException(f"Backup selection with the name {name} already exists")
        made = Selection(plan.backup_plan_id, asked["BackupSelection"], asked.get("CreatorRequestId"))
        backend.selections[made.id] = made
        return {"SelectionId": made.id, "BackupPlanId": made.plan_id, "CreationDate": made.created}

    def find(backend: Any, asked: dict[str, Any]) -> Selection:
        found = backend.selections.get(asked["SelectionId"])
        if found is None or found.plan_id != asked["BackupPlanId"]:
            raise ResourceNotFoundException(f"Backup selection {asked['SelectionId']} does not exist")
        return found

    def get(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        found = find(backend, asked)
        summary = {key: value for key, value in found.summary().items() if key not in ("SelectionName", "IamRoleArn")}
        return {**summary, "BackupSelection": dict(found.document)}

    def listed(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        plan = _live_plan(backend, asked["BackupPlanId"])
        items, token = _page([one for one in backend.selections.values() if one.plan_id == plan.backup_plan_id], asked)
        return {"BackupSelectionsList": [one.summary() for one in items], "NextToken": token}

    def delete(backend: Any, asked: dict[str, Any]) -> None:
        backend.selections.pop(find(backend, asked).id)

    _new_operation("create_backup_selection", create)
    _new_operation("get_backup_selection", get)
    _new_operation("list_backup_selections", listed)
    _new_operation("delete_backup_selection", delete)


# --- jobs


def _add_jobs() -> None:
    def start(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        _refuse_unknown(asked, JOB, "a backup job")
        vault = _vault(backend, asked["BackupVaultName"])
        if not re.fullmatch(r"arn:[^:]*:rds:[^:]*:[^:]*:db:[^:*]+", asked["ResourceArn"]):
            raise InvalidParameterValueException(f"The local AWS backs up DB instances of RDS only, not {asked['ResourceArn']}")
        if backup_jobs.database(backend, asked["ResourceArn"]) is None:
            raise ResourceNotFoundException(f"{asked['ResourceArn']} does not exist")
        _check_role(backend, asked["IamRoleArn"])
        _check_lifecycle(asked.get("Lifecycle"))
        token = asked.get("IdempotencyToken")
        job = next((one for one in backend.jobs.values() if token and one.token == token), None)
        if job is None:
            job = Job(
                vault, asked["ResourceArn"], asked["IamRoleArn"], asked.get("Lifecycle") or {},
                asked.get("RecoveryPointTags") or {}, {}, token,
            )  # fmt: skip
            backup_jobs.start(backend, job)
        return {"BackupJobId": job.id, "CreationDate": job.created, "RecoveryPointArn": job.point.arn if job.point else None}

    def describe(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["BackupJobId"] not in backend.jobs:
            raise ResourceNotFoundException(f"Backup job {asked['BackupJobId']} does not exist")
        return backend.jobs[asked["BackupJobId"]].document()

    def listed(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        known = {
            "ByResourceArn": "ResourceArn", "ByState": "State", "ByBackupVaultName": "BackupVaultName", "ByAccountId": "AccountId",
            "ByResourceType": "ResourceType",
        }  # fmt: skip
        jobs = _filtered([one.document() for one in backend.jobs.values()], asked, known, "backup jobs")
        items, token = _page(sorted(jobs, key=lambda one: one["CreationDate"], reverse=True), asked)
        return {"BackupJobs": items, "NextToken": token}

    _new_operation("start_backup_job", start)
    _new_operation("describe_backup_job", describe)
    _new_operation("list_backup_jobs", listed)


def _filtered(items: list[dict[str, Any]], asked: dict[str, Any], known: dict[str, str], what: str) -> list[dict[str, Any]]:
    """The items that all the given filters let through."""
    times = {"ByCreatedAfter", "ByCreatedBefore"}
    _refuse_unknown(asked, {*known, *times, "NextToken", "MaxResults", "BackupVaultName"}, f"a list of {what}")
    for name, key in known.items():
        if asked.get(name):
            items = [one for one in items if one[key] == asked[name]]
    if asked.get("ByCreatedAfter"):
        items = [one for one in items if one["CreationDate"] > asked["ByCreatedAfter"]]
    if asked.get("ByCreatedBefore"):
        items = [one for one in items if one["CreationDate"] < asked["ByCreatedBefore"]]
    return items


# --- recovery points


def _add_recovery_points() -> None:
    def find(backend: Any, asked: dict[str, Any]) -> Any:
        vault = _vault(backend, asked["BackupVaultName"])
        point = backend.points.get(asked["RecoveryPointArn"])
        if point is None or point.vault is not vault:
            raise ResourceNotFoundException(f"Recovery point {asked['RecoveryPointArn']} does not exist")
        return point

    def describe(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        return find(backend, asked).document()

    def listed(backend: Any, asked: dict[str, Any]) -> dict[str, Any]:
        points = [one.document() for one in _points_of(backend, _vault(backend, asked["BackupVaultName"]))]
        known = {"ByResourceArn": "ResourceArn", "ByResourceType": "ResourceType"}
        items, token = _page(_filtered(points, asked, known, "recovery points"), asked)
        return {"RecoveryPoints": items, "NextToken": token}

    def delete(backend: Any, asked: dict[str, Any]) -> None:
        point = find(backend, asked)
        if point.status == CREATING:
            raise InvalidRequestException(f"Recovery point {point.arn} is being created")
        backup_jobs.delete(backend, point)

    _new_operation("describe_recovery_point", describe)
    _new_operation("list_recovery_points_by_backup_vault", listed)
    _new_operation("delete_recovery_point", delete)
