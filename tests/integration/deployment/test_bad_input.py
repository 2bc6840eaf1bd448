# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work is refused before the first write, in one line that names the variable, its value, the reason and the remedy."""

from __future__ import annotations

import json

import pytest

REFUSED = [
    ({"aws_region": "eu-west-22"}, ["aws_region", "eu-west-22"]),
    ({"rds_engine_version": "15.99"}, ["15.99", "15."]),
    ({"artifacts_bucket": "no-such-bucket-here", "artifacts_create_bucket": False}, ["artifacts_bucket", "no-such-bucket-here", "no such bucket"]),
    ({"log_archive_bucket": "artifacts", "artifacts_bucket": "artifacts"}, ["log_archive_bucket", "bucket of the artifacts"]),
    ({"mlflow_deployment_name": "a-name-that-is-far-too-long-for-a-balancer"}, ["32"]),
    ({"mlflow_deployment_name": "Upper_Case"}, ["Upper_Case"]),
    ({"network_public_subnet_cidrs": ["10.0.0.0/24", "10.0.0.0/25"]}, ["overlap"]),
    ({"network_private_subnet_cidrs": ["10.9.0.0/24", "10.9.1.0/24"]}, ["10.9.0.0/24"]),
    ({"network_public_subnet_cidrs": ["10.0.1.0/24"]}, ["two"]),
    ({"ecs_mlflow_cpu": 512, "ecs_mlflow_memory": 8192}, ["512", "8192"]),
    ({"mlflow_workers": 4, "ecs_mlflow_cpu": 512, "ecs_mlflow_memory": 1024}, ["1024", "workers"]),
    ({"mlflow_version": "3.18.0"}, ["3.18.0"]),
    ({"ecs_mlflow_desired_count": 0}, ["0"]),
    ({"ecs_mlflow_desired_count": "two"}, ["two"]),
    ({"mlflow_version": "2.18.0", "ecs_mlflow_artifact_transfer": "presigned"}, ["ecs_mlflow_artifact_transfer", "2.18.0 signs no"]),
    ({"mlflow_largest_artifact_gib": 10, "alb_idle_timeout": 60}, ["alb_idle_timeout = 60", "mlflow_largest_artifact_gib = 10"]),
    ({"mlflow_waf": True, "waf_rule_groups": [{"name": "AWSManagedRulesCommonRuleSet"}]}, ["waf_rule_groups", "mlflow_largest_artifact_gib"]),
    ({"artifacts_transition_days": 90, "artifacts_transition_class": "GLACIER"}, ["artifacts_transition_class", "restored"]),
]


@pytest.mark.parametrize(("variables", "words"), REFUSED, ids=[" ".join(map(str, given)) for given, _words in REFUSED])
def test_refused_before_the_first_write(account_without_deployment, variables, words):
    before = len(account_without_deployment.aws.api_calls())
    run = account_without_deployment.play("site", "-e", json.dumps(variables))
    assert run.returncode != 0
    for word in words:
        assert word in run.stdout.split("fatal:")[-1], run.stdout[-3000:]
    assert account_without_deployment.aws.writes(before) == []


def test_no_image_is_built_of_an_unknown_version(account_without_deployment):
    before = len(account_without_deployment.aws.api_calls())
    run = account_without_deployment.play("image", "-e", json.dumps({"mlflow_version": "9.9.9", "mlflow_encryption": True}))
    assert run.returncode != 0 and "9.9.9: there are no pinned packages for it; choose one of" in " ".join(run.stdout.split()), run.stdout[-3000:]
    assert account_without_deployment.aws.writes(before) == []


def test_missing_credentials_are_named(account_without_deployment, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    run = account_without_deployment.play("site", "-e", json.dumps({"aws_access_key_id": ""}), credentials=False)
    assert run.returncode != 0
    assert "credentials" in run.stdout.split("fatal:")[-1]
