# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each optional part on a live deployment: switched on, left alone by the next run, switched off without a trace."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.integration.deployment import account
from tests.integration.deployment.conftest import LIVE, Deployment

pytestmark = pytest.mark.long
NAME = "mlflow-demo"
FEATURES = {
    "network": {
        "network_interface_endpoints": ["ec2", "logs"],
        "network_deny_remote_access": True,
        "network_nat_mode": "per_zone",
        "network_client_cidrs": ["127.0.0.0/8", "10.0.0.0/8"],
        "alb_desync_mitigation_mode": "strictest",
        "alb_deletion_protection": True,
    },
    "database": {
        "rds_monitoring_interval": 60,
        "rds_log_exports": ["postgresql"],
        "rds_iam_authentication": False,
        "rds_backup_retention_days": 3,
        "backup_schedule": "cron(0 2 * * ? *)",
        "rds_deletion_protection": True,
        "rds_parameters": {"log_min_duration_statement": "500"},
        "artifacts_noncurrent_days": 30,
    },
    "watching": {
        "monitoring_subscriptions": [{"protocol": "email", "endpoint": "ops@example.com"}],
        "log_archive_bucket": f"{NAME}-logs",
        "log_archive_delete_bucket": True,
        "mlflow_waf": True,
    },
    "scaling": {
        "mlflow_autoscaling": True,
        "scaling_min_count": 2,
        "scaling_max_count": 3,
        "scaling_schedules": [{"name": "new-year", "schedule": "at(2099-01-01T00:00:00)", "min_count": 3}],
    },
    "artifacts": {
        "ecs_mlflow_artifact_transfer": "presigned",
        "mlflow_largest_artifact_gib": 20,
        "alb_idle_timeout": 300,
        "ecs_mlflow_ephemeral_storage_gib": 50,
        "artifacts_transition_days": 60,
    },
    "upkeep": {
        "garbage_collection_schedule": "cron(0 3 ? * SUN *)",
        "budget_monthly_usd": 150,
        "budget_subscribers": ["ops@example.com"],
        "mlflow_rotation_days": 90,
    },
    "tasks": {
        "ecs_mlflow_container_insights": "enabled",
        "ecs_mlflow_read_only_root_filesystem": False,
        "ecs_mlflow_log_retention_days": 90,
    },
}
# A log of what was cannot be switched off with what writes it: the bucket stays until it is deleted.
KEPT = {"watching": {"buckets": f"{NAME}-logs"}, "database": {"logs:describe_log_groups": f"/aws/rds/instance/{NAME}-db/postgresql"}}


@pytest.fixture(scope="module")
def plain(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    with local_aws_factory() as aws:
        deployment = Deployment(aws, "local", NAME, tmp_path_factory.mktemp("deployments"), variables=dict(LIVE))
        made = deployment.play("site")
        assert made.returncode == 0, made.stdout[-6000:]
        yield deployment


@pytest.mark.parametrize("feature", FEATURES)
def test_it_goes_on_stays_and_goes_off(plain: Deployment, feature: str, changed: t.Callable) -> None:
    before = account.state(plain.client, NAME)
    plain.variables = {**LIVE, **FEATURES[feature]}
    on = plain.play("site")
    assert on.returncode == 0 and changed(on) > 0, on.stdout[-6000:]
    assert account.differences(before, account.state(plain.client, NAME)) != {}
    calls = len(plain.aws.api_calls())
    again = plain.play("site")
    assert (again.returncode, changed(again), plain.aws.writes(calls)) == (0, 0, []), again.stdout[-4000:]
    plain.variables = dict(LIVE)
    off = plain.play("site")
    assert off.returncode == 0, off.stdout[-6000:]
    left = account.differences(before, account.state(plain.client, NAME))
    for question, name in KEPT.get(feature, {}).items():
        assert all(name in str(one) for one in left[question]["new"]) and left.pop(question)["gone"] == []
    assert left == {}, json.dumps(left, indent=1)
    calls = len(plain.aws.api_calls())
    last = plain.play("site")
    assert (last.returncode, changed(last), plain.aws.writes(calls)) == (0, 0, []), last.stdout[-4000:]
