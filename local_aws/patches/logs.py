# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's CloudWatch Logs, which minds what a retention may be.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
"""

from __future__ import annotations

from typing import Any

from moto.logs.exceptions import InvalidParameterException
from moto.logs.models import LogsBackend

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
