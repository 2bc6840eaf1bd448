# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment's whole life by somebody who may do what docs/iam/ allows and no more."""

from __future__ import annotations

import json
import random
import typing as t
from pathlib import Path

import boto3
import pytest

from scripts.operator_policy import show
from tests.integration.aws import local_aws
from tests.integration.deployment.conftest import LIVE, Deployment

NAME, BUCKET, LOGS = "mlflow-demo", "mlflow-demo-artifacts", "mlflow-demo-logs"
NAMES = {"PARTITION": "aws", "REGION": "eu-west-2", "ACCOUNT": "123456789012", "DEPLOYMENT": NAME, "BUCKET": BUCKET,
         "LOG_BUCKET": LOGS}  # fmt: skip
DOMAIN = "mlflow.example.com"
SWITCHES = {
    "mlflow_waf": True,
    "mlflow_autoscaling": True,
    "scaling_min_count": 2,
    "scaling_max_count": 3,
    "monitoring_subscriptions": [{"protocol": "email", "endpoint": "ops@example.com"}],
    "rds_log_exports": ["postgresql"],
    "log_archive_bucket": LOGS,
    "backup_schedule": "cron(0 2 * * ? *)",
    "garbage_collection_schedule": "cron(0 3 ? * SUN *)",
    "mlflow_rotation_days": 90,
    "budget_monthly_usd": 150,
    "budget_subscribers": ["ops@example.com"],
    "mlflow_encryption": True,
    "encryption_parts": ["secrets", "logs", "artifacts", "alarms"],
    "network_interface_endpoints": ["logs"],
    "tls_domain_name": DOMAIN,
    "alb_https_port": 8443,
    "cognito_domain_prefix": "people",
}
# What a first run needs at its beginning, so that each try ends soon.
EARLY = [
    "ec2:CreateVpc", "ec2:CreateSubnet", "ec2:CreateNatGateway", "ec2:CreateSecurityGroup", "ec2:DescribeVpcs",
    "ecs:CreateCluster", "elasticloadbalancing:CreateLoadBalancer", "iam:CreateRole", "iam:PutRolePolicy",
    "logs:CreateLogGroup", "rds:CreateDBInstance", "rds:CreateDBSubnetGroup", "s3:CreateBucket", "s3:PutBucketPolicy",
    "secretsmanager:CreateSecret", "tag:GetResources",
]  # fmt: skip
SEED = 20261123


def policies(folder: Path, without: str = "") -> Path:
    allowed = json.loads(show(NAMES))
    for policy in allowed:
        for statement in policy["Statement"]:
            statement["Action"] = [action for action in statement["Action"] if action != without]
    path = folder / "policies.json"
    path.write_text(json.dumps(allowed))
    return path


@pytest.mark.long
def test_the_policies_are_enough_for_a_whole_life(tmp_path: Path, changed: t.Callable) -> None:
    with local_aws(tmp_path / "state", LOCAL_AWS_OPERATOR_POLICIES=str(policies(tmp_path))) as aws:
        deployment = Deployment(aws, "local", NAME, tmp_path / "deployments", variables=dict(LIVE))
        deployment.hosts_file = tmp_path / "hosts"
        deployment.hosts_file.write_text("127.0.0.1 localhost\n")
        # The zone is there before, made by somebody who may do that.
        key = {"aws_access_key_id": "ASIASOMEBODYELSE0000", "aws_secret_access_key": "not-checked"}
        route53 = boto3.client("route53", region_name="eu-west-2", endpoint_url=aws.endpoint_url, **key)
        route53.create_hosted_zone(Name="example.com", CallerReference="before")
        switches = {**SWITCHES, "mlflow_ca_path": str(aws.directory / "certificates/ca.pem")}
        steps: list[tuple[str, dict, tuple[str, ...]]] = [
            ("site", {}, ("--check",)),
            ("site", {}, ()),
            ("site", switches, ()),
            ("site", switches, ()),
            ("status", switches, ()),
            ("users", switches, ()),
            ("logs", switches, ()),
            ("verify", switches, ()),
            ("site", {"cognito_delete_protected": True}, ()),
            ("scale", {}, ("-e", "scale_desired_count=3")),
            ("rotate", {}, ()),
            ("image", {}, ()),
            ("destroy", {}, ("-e", f"confirm_destroy={NAME}", "-e", "artifacts_delete_bucket=true",
                             "-e", "rds_delete_protected=true")),
        ]  # fmt: skip
        for playbook, variables, options in steps:
            deployment.variables = {**LIVE, **variables}
            run = deployment.play(playbook, *options)
            assert run.returncode == 0, (playbook, variables, run.stdout[-4000:])
            if (deployment.directory / NAME / "outputs.json").exists():
                address = deployment.outputs()["alb_dns_name"]
                deployment.hosts_file.write_text(f"127.0.0.1 localhost\n{address} {DOMAIN}\n")
        denied = [one for one in aws.api_calls() if one["status"] == 403 and "Ansible/" in one["agent"]]
        assert denied == []


@pytest.mark.long
@pytest.mark.parametrize("action", random.Random(SEED).sample(EARLY, 10))
def test_without_one_action_the_run_says_which_it_lacks(tmp_path: Path, action: str) -> None:
    with local_aws(tmp_path / "state", LOCAL_AWS_OPERATOR_POLICIES=str(policies(tmp_path, without=action))) as aws:
        deployment = Deployment(aws, "local", NAME, tmp_path / "deployments", variables=dict(LIVE))
        run = deployment.play("site")
        assert run.returncode != 0
        told, operation = " ".join(run.stdout.split()), action.split(":")[1]
        # AWS's own words, or those of our modules.
        assert any(words in told for words in (f"not authorized to perform: {action}", f":{operation} is denied")), (
            run.stdout[-3000:]
        )
