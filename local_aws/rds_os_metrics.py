# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enhanced Monitoring of RDS: what can be measured at the processes of a database, and nothing else.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Monitoring-Available-OS-Metrics.html
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from datetime import datetime, timezone
from typing import Any

import psutil
from moto.logs.models import logs_backends
from moto.utilities.utils import get_partition

from .ecs_permissions import Role

log = logging.getLogger(__name__)
GROUP = "RDSOSMetrics"
RETENTION_DAYS = 30
SERVICE = "monitoring.rds.amazonaws.com"
KIB = 1024


def usable_role(account_id: str, region: str, arn: str | None) -> Role | None:
    """The role, if RDS may act with it and it may write what Enhanced Monitoring sees."""
    role = Role.find(account_id, arn or "")
    resource = f"arn:{get_partition(region)}:logs:{region}:{account_id}:log-group:{GROUP}:log-stream:db"
    return role if role and role.trusts(SERVICE) and role.may("logs:PutLogEvents", resource) else None


def process_list(processes: list[psutil.Process]) -> list[dict[str, Any]]:
    """What each process holds, as the document of Enhanced Monitoring spells it."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error), process.oneshot():
            memory = process.memory_info()
            found.append({
                "id": process.pid, "parentID": process.ppid(), "name": process.name(), "rss": memory.rss // KIB,
                "vss": memory.vms // KIB,
            })  # fmt: skip
    return found


class EnhancedMonitoring:
    """Looks at each monitored instance once in its interval."""

    interval = 1.0

    def __init__(self, instances: Any) -> None:
        self._instances = instances
        # By ARN: when it was looked at last.
        self._looks: dict[str, float] = {}

    def run_once(self) -> None:
        now = time.monotonic()
        for instance, server in self._instances.running():
            every = int(instance.monitoring_interval or 0)
            if every and now - self._looks.get(instance.arn, -every) >= every:
                self._looks[instance.arn] = now
                if usable_role(instance.account_id, instance.region, instance.monitoring_role_arn):
                    self._put(instance, server)
                else:
                    log.error("%s: its monitoring role cannot write", instance.db_instance_identifier)

    @staticmethod
    def _put(instance: Any, server: Any) -> None:
        logs = logs_backends[instance.account_id][instance.region]
        if GROUP not in logs.groups:
            logs.create_log_group(GROUP, {})
            logs.put_retention_policy(GROUP, RETENTION_DAYS)
        logs.ensure_log_stream(GROUP, instance.dbi_resource_id)
        averages = dict(zip(("one", "five", "fifteen"), (round(one, 2) for one in os.getloadavg())))
        document = {
            "engine": "POSTGRES",
            "instanceID": instance.db_instance_identifier,
            "instanceResourceID": instance.dbi_resource_id,
            "timestamp": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "version": 1,
            "loadAverageMinute": averages,
            "processList": process_list(server.processes()),
        }
        event = {"timestamp": int(time.time() * 1000), "message": json.dumps(document)}
        logs.put_log_events(GROUP, instance.dbi_resource_id, [event])
