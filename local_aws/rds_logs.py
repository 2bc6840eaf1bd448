# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of databases in CloudWatch Logs, line by line as the server writes them.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_LogAccess.Concepts.PostgreSQL.html
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from moto.logs.models import logs_backends

from .container_logs import READ_BYTES, LineSplitter


class LogExports:
    """Reads on in the log of each instance that exports its `postgresql` log; `upgrade` has nothing to tell here."""

    interval = 1.0

    def __init__(self, instances: Any) -> None:
        self._instances = instances
        # By ARN: how far the log has been read, and its unfinished line.
        self._read: dict[str, tuple[int, LineSplitter]] = {}

    def run_once(self) -> None:
        for instance, path in self._instances.logs():
            if "postgresql" in instance.enabled_cloudwatch_logs_exports:
                self._export(instance, path)
            else:
                # What is written while nothing is exported never is.
                self._read[instance.arn] = (path.stat().st_size, LineSplitter())

    def _export(self, instance: Any, path: Path) -> None:
        start, splitter = self._read.get(instance.arn, (0, LineSplitter()))
        lines: list[str] = []
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(READ_BYTES):
                lines += splitter.feed(chunk)
            self._read[instance.arn] = (file.tell(), splitter)
        if lines:
            self._put(instance, lines)

    @staticmethod
    def _put(instance: Any, lines: list[str]) -> None:
        logs = logs_backends[instance.account_id][instance.region]
        identifier = instance.db_instance_identifier
        group, stream = f"/aws/rds/instance/{identifier}/postgresql", f"{identifier}.0"
        if group not in logs.groups:
            logs.create_log_group(group, {})
        logs.ensure_log_stream(group, stream)
        now = int(time.time() * 1000)
        logs.put_log_events(group, stream, [{"timestamp": now, "message": line} for line in lines])
