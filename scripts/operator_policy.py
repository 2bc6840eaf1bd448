# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that whoever runs the playbooks must be allowed: python -m scripts.operator_policy write|show <name> <bucket> ...

`write` makes docs/iam/*.json out of docs/iam/operations.txt, the list of what the roles have been seen to ask of AWS;
which resources an action can be confined to, it is told by policy_sentry. `show` fills in the names of one deployment.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from local_aws.operator_permissions import action_of

FOLDER = Path(__file__).resolve().parents[1] / "docs/iam"
# AWS's limit of a managed policy, white space not counted.
LARGEST = 6144
# Names are longer than what stands for them: up to so many characters in all places of one policy.
RESERVE = 1800
# What stands in the files for the account, the deployment and its buckets.
PLACES = ("PARTITION", "REGION", "ACCOUNT", "DEPLOYMENT", "BUCKET", "LOG_BUCKET")

# What AWS asks for beside the operation's own action, and where it says so.
ALSO = {
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html
    "ecs:CreateCluster": ["ecs:TagResource"],
    # https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-permissions.html
    "ec2:CreateFlowLogs": ["logs:CreateLogDelivery", "logs:DeleteLogDelivery"],
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/tagging-during-creation.html
    "elasticloadbalancing:CreateLoadBalancer": ["elasticloadbalancing:AddTags"],
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/security_iam_service-with-iam.html
    # and, with a key of one's own, https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.Keys.html
    "rds:CreateDBInstance": ["rds:AddTagsToResource", "kms:CreateGrant", "kms:DescribeKey"],
    "rds:RestoreDBInstanceFromDBSnapshot": ["rds:AddTagsToResource", "kms:CreateGrant", "kms:DescribeKey"],
    "rds:CreateDBSnapshot": ["rds:AddTagsToResource"],
    "rds:CreateEventSubscription": ["rds:AddTagsToResource"],
    # The final snapshot: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonrds.html
    "rds:DeleteDBInstance": ["rds:AddTagsToResource", "rds:CreateDBSnapshot"],
    # Versions of objects: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    "s3:DeleteObjects": ["s3:DeleteObjectVersion"],
    # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
    # and https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    "secretsmanager:CreateSecret": ["secretsmanager:TagResource", "kms:Decrypt", "kms:GenerateDataKey"],
    "secretsmanager:UpdateSecret": ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"],
    # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
    "secretsmanager:RotateSecret": ["lambda:InvokeFunction"],
    # https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
    "lambda:CreateFunction": ["lambda:TagResource"],
    # https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html
    "kms:CreateKey": ["kms:TagResource"],
    # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
    "logs:CreateLogGroup": ["logs:TagResource"],
    # https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html
    "acm:RequestCertificate": ["acm:AddTagsToCertificate"],
    # https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html
    "sns:CreateTopic": ["sns:TagResource"],
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    "cloudwatch:PutMetricAlarm": ["cloudwatch:TagResource"],
    # https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
    "iam:CreateRole": ["iam:TagRole"],
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbudgetservice.html
    "budgets:CreateBudget": ["budgets:TagResource"],
    # https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateScheduleGroup.html
    "scheduler:CreateScheduleGroup": ["scheduler:TagResource"],
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html
    "scheduler:DeleteScheduleGroup": ["scheduler:DeleteSchedule"],
    # https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSBackupFullAccess.html
    "backup:CreateBackupVault": [
        "backup:TagResource",
        "backup-storage:MountCapsule",
        "kms:CreateGrant",
        "kms:DescribeKey",
        "kms:GenerateDataKey",
    ],
    # https://docs.aws.amazon.com/aws-backup/latest/devguide/access-control.html
    "backup:CreateBackupPlan": ["backup:TagResource"],
    # https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_service-with-iam.html
    "application-autoscaling:RegisterScalableTarget": [
        "application-autoscaling:TagResource",
        "ecs:DescribeServices",
        "ecs:UpdateService",
    ],
    "application-autoscaling:PutScalingPolicy": [
        "cloudwatch:DescribeAlarms",
        "cloudwatch:PutMetricAlarm",
        "cloudwatch:DeleteAlarms",
    ],
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html
    "elasticloadbalancing:CreateListener": ["cognito-idp:DescribeUserPoolClient"],
    "elasticloadbalancing:ModifyListener": ["cognito-idp:DescribeUserPoolClient"],
    # https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-tagging.html
    "cognito-idp:CreateUserPool": ["cognito-idp:TagResource"],
    # With a key of one's own: https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
    "ecr:CreateRepository": ["ecr:TagResource", "kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"],
    # https://docs.aws.amazon.com/waf/latest/developerguide/security_iam_id-based-policy-examples.html
    "wafv2:CreateWebACL": ["wafv2:TagResource"],
    # and https://docs.aws.amazon.com/service-authorization/latest/reference/list_awswafv2.html
    "wafv2:AssociateWebACL": ["elasticloadbalancing:SetWebACL", "elasticloadbalancing:CreateWebACLAssociation"],
    "wafv2:DisassociateWebACL": ["elasticloadbalancing:SetWebACL", "elasticloadbalancing:DeleteWebACLAssociation"],
    "wafv2:GetWebACLForResource": ["elasticloadbalancing:GetLoadBalancerWebACL"],
    "wafv2:ListResourcesForWebACL": ["elasticloadbalancing:DescribeWebACLAssociation"],
    # https://docs.aws.amazon.com/waf/latest/developerguide/logging-cw-logs.html
    "wafv2:PutLoggingConfiguration": [
        "logs:CreateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    ],
}
# Service-linked roles that AWS makes at the first use in an account, with the caller's permission.
LINKED_ROLES = {
    "ecs": "ecs.amazonaws.com",
    "elasticloadbalancing": "elasticloadbalancing.amazonaws.com",
    "rds": "rds.amazonaws.com",
    "application-autoscaling": "ecs.application-autoscaling.amazonaws.com",
    "wafv2": "wafv2.amazonaws.com",
    "backup": "backup.amazonaws.com",
}
PASSED_TO = {
    "backup:CreateBackupSelection": "backup.amazonaws.com",
    "codebuild:CreateProject": "codebuild.amazonaws.com",
    "ecs:RunTask": "ecs-tasks.amazonaws.com",
    "lambda:CreateFunction": "lambda.amazonaws.com",
    "rds:CreateDBInstance": "monitoring.rds.amazonaws.com",
    "scheduler:CreateSchedule": "scheduler.amazonaws.com",
}

ALARMS = ("alarm:DEPLOYMENT/*", "alarm:TargetTracking-service/DEPLOYMENT/DEPLOYMENT-*")
LOG_GROUPS = (
    "/ecs/DEPLOYMENT", "/aws/codebuild/DEPLOYMENT-image", "/aws/lambda/DEPLOYMENT-rotation", "/aws/rds/instance/DEPLOYMENT-db/*", "aws-waf-logs-DEPLOYMENT",
)  # fmt: skip
# Kinds of resources, as the Service Authorization Reference writes them, to those of one deployment.
RESOURCES: dict[str, tuple[str, ...]] = {
    "acm:certificate": ("certificate/*",),
    "application-autoscaling:scalable-target": ("scalable-target/*",),
    "backup:backup-plan": ("backup-plan:*",),
    "backup:backup-vault": ("backup-vault:DEPLOYMENT",),
    "budgets:budget": ("budget/DEPLOYMENT",),
    "cloudwatch:alarm": ALARMS,
    "cloudwatch:dashboard": ("dashboard/DEPLOYMENT",),
    "codebuild:project": ("project/DEPLOYMENT-image",),
    "cognito-idp:userpool": ("userpool/*",),
    "ecr:repository": ("repository/DEPLOYMENT",),
    "ecs:cluster": ("cluster/DEPLOYMENT",),
    "ecs:service": ("service/DEPLOYMENT/DEPLOYMENT",),
    "ecs:task": ("task/DEPLOYMENT/*",),
    "ecs:task-definition": ("task-definition/DEPLOYMENT:*",),
    "elasticloadbalancing:listener": ("listener/app/DEPLOYMENT/*",),
    "elasticloadbalancing:listener-rule": ("listener-rule/app/DEPLOYMENT/*",),
    "elasticloadbalancing:loadbalancer": ("loadbalancer/app/DEPLOYMENT/*",),
    "elasticloadbalancing:targetgroup": ("targetgroup/DEPLOYMENT/*",),
    "iam:role": ("role/DEPLOYMENT-*",),
    "kms:alias": ("alias/DEPLOYMENT",),
    "kms:key": ("key/*",),
    "lambda:function": ("function:DEPLOYMENT-rotation",),
    "logs:log-group": tuple(
        f"log-group:{name}{rest}" for name in LOG_GROUPS for rest in ("", ":*") if not (rest and name.endswith("*"))
    ),
    # With what a restore in place makes and keeps beside it.
    "rds:db": ("db:DEPLOYMENT-db", "db:DEPLOYMENT-db-*"),
    "rds:es": ("es:DEPLOYMENT-database",),
    "rds:og": ("og:default*",),
    "rds:pg": ("pg:DEPLOYMENT-db",),
    # Final ones, those on demand, and RDS's own.
    "rds:snapshot": ("snapshot:DEPLOYMENT-db-*", "snapshot:rds:DEPLOYMENT-db-*"),
    "rds:subgrp": ("subgrp:DEPLOYMENT-db",),
    "route53:hostedzone": ("hostedzone/*",),
    "s3:bucket": ("BUCKET", "LOG_BUCKET"),
    "s3:object": ("BUCKET/*", "LOG_BUCKET/*"),
    "scheduler:schedule": ("schedule/DEPLOYMENT*/*",),
    "scheduler:schedule-group": ("schedule-group/DEPLOYMENT*",),
    "secretsmanager:secret": ("secret:DEPLOYMENT/*",),
    "sns:topic": ("DEPLOYMENT-alarms",),
    "wafv2:managedruleset": ("regional/managedruleset/*",),
    "wafv2:webacl": ("regional/webacl/DEPLOYMENT/*",),
}

# A recovery point of AWS Backup is a resource of the service that made it: of RDS a snapshot.
RECOVERY_POINTS = "arn:PARTITION:rds:REGION:ACCOUNT:snapshot:awsbackup:*"
KEYS = "arn:PARTITION:kms:REGION:ACCOUNT:key/*"
# AWS's own key for vaults carries no tag of ours: by these conditions of AWSBackupFullAccess only AWS Backup takes a key.
BY_BACKUP = {"StringLike": {"kms:ViaService": "backup.*.amazonaws.com"}}
FOR_VAULTS: dict[str, dict[str, Any]] = {
    "kms:CreateGrant": {
        "Bool": {"kms:GrantIsForAWSResource": "true"},
        "ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "aws:backup:backup-vault"},
        **BY_BACKUP,
    },
    "kms:GenerateDataKey": BY_BACKUP,
}
# A user pool has no name in its ARN: it is known by its tag. TagResource is not, because it comes before the tag.
BY_TAG = {
    f"cognito-idp:{name}"
    for name in (
        "UpdateUserPool", "DeleteUserPool", "SetUserPoolMfaConfig", "CreateUserPoolClient", "UpdateUserPoolClient",
        "CreateUserPoolDomain", "DeleteUserPoolDomain", "UntagResource",
    )
}  # fmt: skip

# Confined to less than their kind.
LESS = {
    "rds:DeleteDBSnapshot": ("arn:PARTITION:rds:REGION:ACCOUNT:snapshot:DEPLOYMENT-db-backup-*",),
    # Of any snapshot: also of another deployment, and of AWS Backup.
    "rds:RestoreDBInstanceFromDBSnapshot": (
        "arn:PARTITION:rds:REGION:ACCOUNT:db:DEPLOYMENT-db", "arn:PARTITION:rds:REGION:ACCOUNT:db:DEPLOYMENT-db-restored",
        "arn:PARTITION:rds:REGION:ACCOUNT:og:default*", "arn:PARTITION:rds:REGION:ACCOUNT:pg:DEPLOYMENT-db",
        "arn:PARTITION:rds:REGION:ACCOUNT:snapshot:*", "arn:PARTITION:rds:REGION:ACCOUNT:subgrp:DEPLOYMENT-db",
    ),
}  # fmt: skip

# They can be confined to what no deployment has, or by what their requests do not name.
UNCONFINED = {"cloudwatch:DescribeAlarms", "ecs:ListTasks", "rds:DescribeDBInstances", "rds:DescribeDBSnapshots"}
# What is not there, or somebody else's, carries no tag and must be seen to be so.
UNTAGGED = {"kms:DescribeKey", "kms:ListResourceTags"}
# Keys have no names beforehand: they are known by their tag, aliases by their name. CreateKey makes what it tags.
OWNED = "aws:ResourceTag/mlflow-deployment"
TAGGED = {"kms:key": OWNED, "kms:CreateKey": "aws:RequestTag/mlflow-deployment", **dict.fromkeys(BY_TAG, OWNED)}


def actions_of(operation: str) -> set[str]:
    """IAM actions that an operation needs, but for passing roles and making service-linked ones."""
    return {action_of(operation), *ALSO.get(operation, ())}


def kind_of(arn_format: str) -> str:
    """`arn:${Partition}:rds:${Region}:${Account}:db:${Name}` -> `rds:db`; buckets and topics have no word of their own."""
    service, rest = arn_format.split(":", 2)[2].split(":", 1)[0], arn_format.split(":", 5)[5]
    if service == "s3":
        return "s3:object" if "/${ObjectName}" in rest else "s3:bucket" if rest == "${BucketName}" else f"s3:{rest}"
    if service == "sns":
        return "sns:topic"
    word = re.match(r"[a-z-]*", rest.removeprefix("${Scope}/"))
    return f"{service}:{word.group() if word else rest}"


def resources_of(action: str, formats: Iterable[str]) -> tuple[str, ...]:
    """ARNs that an action is confined to; `*` where AWS confines it to nothing, or to what has no name beforehand."""
    service = action.split(":", 1)[0]
    if action in LESS:
        return LESS[action]
    kinds = {one: kind_of(one) for one in formats if one != "*"}
    if not kinds or service == "ec2" or action in UNCONFINED:
        return ("*",)
    found = set()
    for arn_format, kind in kinds.items():
        if "${Vendor}" in arn_format:
            found.add(RECOVERY_POINTS)
            continue
        if service == "wafv2" and kind == "cognito-idp:userpool":
            continue  # web ACLs stand before the load balancer alone
        head = re.sub(r"\$\{(\w+)\}", lambda place: place[1].upper(), ":".join(arn_format.split(":", 5)[:5]))
        found |= {f"{head}:{name}" for name in RESOURCES.get(kind, ())}
    if not found:
        raise ValueError(f"{action}: nothing is known of {', '.join(sorted(kinds.values()))}; add it to RESOURCES")
    return tuple(sorted(found))


def confined(action: str, resources: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The resources of an action, by the tag that they must carry; empty for none."""
    keys = tuple(one for one in resources if ":kms:" in one and ":key/" in one and action not in UNTAGGED)
    others = tuple(one for one in resources if one not in keys)
    if keys:
        yield keys, TAGGED["kms:key"]
    if action == "kms:TagResource":
        # A key that is being made has no tag yet.
        yield ("*",), TAGGED["kms:CreateKey"]
    if others:
        yield others, TAGGED.get(action, "")


def statements(operations: Iterable[str], formats_of: Any) -> Iterator[dict[str, Any]]:
    """Statements of all policies; `formats_of(action)` are the ARN formats that AWS confines an action by."""
    operations = sorted(operations)
    grouped: dict[tuple[str, tuple[str, ...], str], set[str]] = defaultdict(set)
    for action in {action for operation in operations for action in actions_of(operation)}:
        for resources, tag in confined(action, resources_of(action, formats_of(action))):
            grouped[action.split(":", 1)[0], resources, tag].add(action)
    for (_service, resources, tag), actions in sorted(grouped.items()):
        condition = {"Condition": {"StringEquals": {tag: "DEPLOYMENT"}}} if tag else {}
        yield {"Effect": "Allow", "Action": sorted(actions), "Resource": list(resources), **condition}
    for action in sorted(FOR_VAULTS) if "backup:CreateBackupVault" in operations else ():
        yield {"Effect": "Allow", "Action": [action], "Resource": [KEYS], "Condition": FOR_VAULTS[action]}
    passed = sorted({PASSED_TO[one] for one in operations if one in PASSED_TO})
    yield {
        "Effect": "Allow",
        "Action": ["iam:PassRole"],
        "Resource": ["arn:PARTITION:iam::ACCOUNT:role/DEPLOYMENT-*"],
        "Condition": {"StringEquals": {"iam:PassedToService": passed}},
    }
    services = {operation.split(":", 1)[0] for operation in operations}
    yield {
        "Effect": "Allow",
        "Action": ["iam:CreateServiceLinkedRole"],
        "Resource": ["arn:PARTITION:iam::ACCOUNT:role/aws-service-role/*"],
        "Condition": {
            "StringEquals": {"iam:AWSServiceName": [name for key, name in LINKED_ROLES.items() if key in services]}
        },
    }


def policies(all_statements: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """As few policies as hold the statements in their order."""
    made: list[dict[str, Any]] = []
    for statement in all_statements:
        if made and size({**made[-1], "Statement": [*made[-1]["Statement"], statement]}) <= LARGEST - RESERVE:
            made[-1]["Statement"].append(statement)
        else:
            made.append({"Version": "2012-10-17", "Statement": [statement]})
    return made


def size(policy: dict[str, Any]) -> int:
    return len(re.sub(r"\s", "", json.dumps(policy)))


def kept_operations() -> list[str]:
    return (FOLDER / "operations.txt").read_text().split()


def kept_policies() -> list[Path]:
    return sorted(FOLDER.glob("operator-*.json"))


def write() -> None:
    from policy_sentry.querying.actions import get_action_data

    def formats_of(action: str) -> list[str]:
        service, name = action.split(":", 1)
        found = get_action_data(service, name)
        if not found:
            sys.exit(f"{action}: AWS has no such action; correct ALSO in {__file__}")
        return [one["resource_arn_format"] for one in found[service]]

    for path in kept_policies():
        path.unlink()
    for number, policy in enumerate(policies(statements(kept_operations(), formats_of)), 1):
        (FOLDER / f"operator-{number}.json").write_text(json.dumps(policy, indent=2) + "\n")


def show(values: dict[str, str]) -> str:
    text = json.dumps([json.loads(path.read_text()) for path in kept_policies()], indent=2)
    for place, value in values.items():
        text = re.sub(rf"\b{place}\b", value, text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write", help="make docs/iam/*.json again")
    shown = commands.add_parser("show", help="the policies of one deployment, as a JSON list")
    shown.add_argument("deployment")
    shown.add_argument("bucket")
    shown.add_argument("--log-bucket", help="log_archive_bucket, where there is one")
    shown.add_argument("--account", required=True)
    shown.add_argument("--region", required=True)
    shown.add_argument("--partition", default="aws")
    given = parser.parse_args()
    if given.command == "write":
        write()
    else:
        given.log_bucket = given.log_bucket or given.bucket
        print(show({place: getattr(given, place.lower()) for place in PLACES}))


if __name__ == "__main__":
    main()
