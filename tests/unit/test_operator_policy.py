# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies in docs/iam/: what they hold, and how they are made."""

from __future__ import annotations

import json

import pytest

from scripts import operator_policy
from scripts.operator_policy import LARGEST, actions_of, kept_operations, kept_policies, kind_of, policies, size

LONGEST = {"PARTITION": "aws-us-gov", "REGION": "ap-southeast-2", "ACCOUNT": "123456789012", "DEPLOYMENT": "d" * 24,
           "BUCKET": "b" * 63, "LOG_BUCKET": "l" * 63}  # fmt: skip
CERTIFICATE = "arn:${Partition}:acm:${Region}:${Account}:certificate/${CertificateId}"


def kept() -> list[dict]:
    return [json.loads(path.read_text()) for path in kept_policies()]


def test_every_operation_is_allowed():
    allowed = {action for policy in kept() for statement in policy["Statement"] for action in statement["Action"]}
    lacking = {one for one in kept_operations() if not actions_of(one) <= allowed}
    assert lacking == set(), "make operator-policy"


def test_nothing_else_is_allowed():
    needed = {action for one in kept_operations() for action in actions_of(one)}
    needed |= {"iam:PassRole", "iam:CreateServiceLinkedRole"}
    allowed = {action for policy in kept() for statement in policy["Statement"] for action in statement["Action"]}
    assert allowed - needed == set() and not any("*" in action for action in allowed)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:DeleteObjectVersion", "arn:PARTITION:s3:::BUCKET/*"),
        ("scheduler:DeleteSchedule", "arn:PARTITION:scheduler:REGION:ACCOUNT:schedule/DEPLOYMENT*/*"),
        ("rds:CreateDBSnapshot", "arn:PARTITION:rds:REGION:ACCOUNT:db:DEPLOYMENT-db"),
        ("rds:CreateDBSnapshot", "arn:PARTITION:rds:REGION:ACCOUNT:snapshot:DEPLOYMENT-db-*"),
        ("rds:RestoreDBInstanceFromDBSnapshot", "arn:PARTITION:rds:REGION:ACCOUNT:snapshot:*"),
        ("rds:ModifyDBInstance", "arn:PARTITION:rds:REGION:ACCOUNT:db:DEPLOYMENT-db-*"),
        ("backup:DeleteRecoveryPoint", "arn:PARTITION:rds:REGION:ACCOUNT:snapshot:awsbackup:*"),
        ("backup-storage:MountCapsule", "*"),
        # Alarms are looked for by the beginning of their names, which AWS takes for all.
        ("cloudwatch:DescribeAlarms", "*"),
    ],
)
def test_what_no_call_shows_is_allowed_too(action, resource):
    resources = [one["Resource"] for policy in kept() for one in policy["Statement"] if action in one["Action"]]
    assert any(resource in one for one in resources)


def test_of_snapshots_only_those_on_demand_are_deleted():
    resources = [one["Resource"] for policy in kept() for one in policy["Statement"] if "rds:DeleteDBSnapshot" in one["Action"]]
    assert resources == [["arn:PARTITION:rds:REGION:ACCOUNT:snapshot:DEPLOYMENT-db-backup-*"]]


def test_policies_fit_with_the_longest_names():
    shown = json.loads(operator_policy.show(LONGEST))
    assert len(shown) <= 10 and all(size(policy) <= LARGEST for policy in shown)
    assert not any(place in json.dumps(shown) for place in operator_policy.PLACES)


def test_what_has_a_name_beforehand_is_confined_to_it():
    for policy in kept():
        for statement in policy["Statement"]:
            services = {action.split(":")[0] for action in statement["Action"]}
            if services & {"s3", "secretsmanager", "iam", "sns"} and statement["Resource"] == ["*"]:
                assert all(action.split(":")[1].startswith(("BatchGet", "List", "Unsubscribe")) for action in statement["Action"])


def test_what_has_no_name_is_known_by_its_tag():
    for policy in kept():
        for statement in policy["Statement"]:
            actions = {*statement["Action"]}
            by_tag = actions & operator_policy.BY_TAG
            assert by_tag in (set(), actions)
            if by_tag or any(action.startswith("cognito-idp:") for action in actions):
                confined = statement.get("Condition") == {"StringEquals": {operator_policy.OWNED: "DEPLOYMENT"}}
                assert confined is bool(by_tag)


@pytest.mark.parametrize(
    ("arn_format", "kind"),
    [
        (CERTIFICATE, "acm:certificate"),
        ("arn:${Partition}:s3:::${BucketName}", "s3:bucket"),
        ("arn:${Partition}:s3:::${BucketName}/${ObjectName}", "s3:object"),
        ("arn:${Partition}:sns:${Region}:${Account}:${TopicName}", "sns:topic"),
        ("arn:${Partition}:rds:${Region}:${Account}:db:${DbInstanceName}", "rds:db"),
        ("arn:${Partition}:wafv2:${Region}:${Account}:${Scope}/webacl/${Name}/${Id}", "wafv2:webacl"),
    ],
)
def test_kinds_of_resources(arn_format, kind):
    assert kind_of(arn_format) == kind


def test_actions_are_confined_as_far_as_aws_can():
    assert operator_policy.resources_of("acm:ListCertificates", ["*"]) == ("*",)
    assert operator_policy.resources_of("acm:DescribeCertificate", ["*", CERTIFICATE]) == (
        "arn:PARTITION:acm:REGION:ACCOUNT:certificate/*",
    )
    with pytest.raises(ValueError, match="nothing is known of acm:account"):
        operator_policy.resources_of("acm:Other", ["arn:${Partition}:acm:${Region}:${Account}:account/${Id}"])


def test_policies_are_split_where_they_get_too_large():
    statement = {"Effect": "Allow", "Action": ["a" * 2000], "Resource": ["*"]}
    assert [len(policy["Statement"]) for policy in policies([statement] * 5)] == [2, 2, 1]


def test_what_is_made_passes_roles_only_to_whom_it_is_for():
    made = list(operator_policy.statements(["ecs:RunTask", "rds:CreateDBInstance", "wafv2:CreateWebACL"], lambda _action: ["*"]))
    passing, linking = made[-2:]
    assert passing["Condition"] == {"StringEquals": {
        "iam:PassedToService": ["ecs-tasks.amazonaws.com", "monitoring.rds.amazonaws.com"]
    }}
    assert linking["Condition"]["StringEquals"]["iam:AWSServiceName"] == [
        "ecs.amazonaws.com", "rds.amazonaws.com", "wafv2.amazonaws.com"
    ]  # fmt: skip
