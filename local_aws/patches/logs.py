# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's CloudWatch Logs, which minds what a retention may be, and whose log groups take and give back KMS keys.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_AssociateKmsKey.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
"""

from __future__ import annotations

from typing import Any

from moto.logs.exceptions import InvalidParameterException, ResourceNotFoundException
from moto.logs.models import LogsBackend
from moto.logs.responses import LogsResponse

from .. import kms_keys
from ..runtime import Runtime
from . import replace

RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip


def apply(_runtime: Runtime) -> None:
    plain = LogsBackend.put_retention_policy

    def put(self: Any, log_group_name: str, retention_in_days: int) -> None:
        if int(retention_in_days) not in RETENTION_DAYS:
            raise InvalidParameterException(
                constraint=f"Member must satisfy enum value set: {list(RETENTION_DAYS)}",
                parameter="retentionInDays",
                value=retention_in_days,
            )
        plain(self, log_group_name, retention_in_days)

    replace(LogsBackend, "put_retention_policy", put, ("self", "log_group_name", "retention_in_days"))
    _patch_keys()


def _patch_keys() -> None:
    plain_create = LogsBackend.create_log_group

    def create(self: Any, log_group_name: str, tags: dict[str, str], **kwargs: Any) -> Any:
        if kwargs.get("kmsKeyId"):
            _check_key(self, log_group_name, kwargs["kmsKeyId"])
        return plain_create(self, log_group_name, tags, **kwargs)

    def group_of(response: Any) -> Any:
        name = response._get_param("logGroupName")
        if name not in response.logs_backend.groups:
            raise ResourceNotFoundException()
        return response.logs_backend.groups[name]

    def associate(self: Any) -> str:
        group = group_of(self)
        _check_key(self.logs_backend, group.name, self._get_param("kmsKeyId"))
        group.kms_key_id = self._get_param("kmsKeyId")
        return ""

    def disassociate(self: Any) -> str:
        group_of(self).kms_key_id = None
        return ""

    replace(LogsBackend, "create_log_group", create, ("self", "log_group_name", "tags", "kwargs"))
    for name, answer in (("associate_kms_key", associate), ("disassociate_kms_key", disassociate)):
        if hasattr(LogsResponse, name):
            raise TypeError(f"moto answers {name} now: the patch for it must be looked at")
        setattr(LogsResponse, name, answer)


def _check_key(backend: Any, name: str, key_id: str) -> None:
    """CloudWatch Logs takes a key only if it can use it, and by ARN only."""
    account, region = backend.account_id, backend.region_name
    if not key_id.startswith("arn:") or kms_keys.unusable(account, region, key_id):
        raise InvalidParameterException(f"The specified KMS key could not be found or is not enabled: {key_id}")
    key = kms_keys.find(account, region, key_id)
    group = f"{key.arn.split(':kms:')[0]}:logs:{region}:{account}:log-group:{name}"
    if not kms_keys.lets_service(key, f"logs.{region}.amazonaws.com", "kms:Encrypt", {"aws:logs:arn": group}):
        raise InvalidParameterException(
            f"The specified KMS key does not exist or is not allowed to be used with LogGroup '{group}'"
        )
