# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account holds, as AWS describes it, without what differs from one making to the next; to be compared."""

from __future__ import annotations

import json
import re
import typing as t

# Moments, counters, and what is named by them.
VOLATILE = re.compile(
    r"ResponseMetadata|.*(Time|Date|Timestamp|At|Token|Url)$|(created|updated|lastModified).*|revision|taskDefinition|events|deployments|"
    r"NextToken|RequesterId|runningCount|pendingCount|healthStatus|StateReason.*|StateValue|storedBytes|NetworkAclAssociationId|"
    r"RouteTableAssociationId|AssociationId|IpOwnerId|CertificateArn|SecurityGroupRuleId",
    re.IGNORECASE,
)
# A service, an operation and the key of its answer.
QUESTIONS = [
    ("ec2", "describe_vpcs", "Vpcs"),
    ("ec2", "describe_subnets", "Subnets"),
    ("ec2", "describe_route_tables", "RouteTables"),
    ("ec2", "describe_security_groups", "SecurityGroups"),
    ("ec2", "describe_network_acls", "NetworkAcls"),
    ("ec2", "describe_internet_gateways", "InternetGateways"),
    ("ec2", "describe_flow_logs", "FlowLogs"),
    ("elbv2", "describe_target_groups", "TargetGroups"),
    ("rds", "describe_db_instances", "DBInstances"),
    ("rds", "describe_event_subscriptions", "EventSubscriptionsList"),
    ("cloudwatch", "describe_alarms", "MetricAlarms"),
    ("cloudwatch", "list_dashboards", "DashboardEntries"),
    ("sns", "list_topics", "Topics"),
    ("sns", "list_subscriptions", "Subscriptions"),
    ("logs", "describe_log_groups", "logGroups"),
    ("scheduler", "list_schedule_groups", "ScheduleGroups"),
    ("scheduler", "list_schedules", "Schedules"),
    ("secretsmanager", "list_secrets", "SecretList"),
    ("lambda", "list_functions", "Functions"),
    ("backup", "list_backup_vaults", "BackupVaultList"),
    ("backup", "list_backup_plans", "BackupPlansList"),
    ("acm", "list_certificates", "CertificateSummaryList"),
]


def state(client: t.Callable[[str], t.Any], name: str) -> dict[str, t.Any]:
    """By question, the answers about everything that there is, in an order that does not matter."""
    found = {f"{service}:{call}": getattr(client(service), call)()[key] for service, call, key in QUESTIONS}
    for secret in found["secretsmanager:list_secrets"]:
        # Secrets Manager remembers what rotated a secret.
        if not secret.get("RotationEnabled"):
            for key in ("RotationEnabled", "RotationLambdaARN", "RotationRules"):
                secret.pop(key, None)
    ec2, elb, ecs, iam, s3 = (client(service) for service in ("ec2", "elbv2", "ecs", "iam", "s3"))
    # What is being removed stays describable for a while.
    found["nat"] = [one for one in ec2.describe_nat_gateways()["NatGateways"] if one["State"] != "deleted"]
    found["endpoints"] = [one for one in ec2.describe_vpc_endpoints()["VpcEndpoints"] if one["State"] != "deleted"]
    balancers = elb.describe_load_balancers()["LoadBalancers"]
    found["balancers"] = [
        {
            "attributes": _in_effect(elb.describe_load_balancer_attributes(LoadBalancerArn=one["LoadBalancerArn"])["Attributes"]),
            "listeners": elb.describe_listeners(LoadBalancerArn=one["LoadBalancerArn"])["Listeners"],
            "tags": elb.describe_tags(ResourceArns=[one["LoadBalancerArn"]])["TagDescriptions"],
        }
        for one in balancers
    ]
    found["groups"] = [
        elb.describe_target_group_attributes(TargetGroupArn=one["TargetGroupArn"])["Attributes"]
        for one in found["elbv2:describe_target_groups"]
    ]
    found["services"] = ecs.describe_services(cluster=name, services=[name], include=["TAGS"])["services"]
    found["clusters"] = ecs.describe_clusters(clusters=[name], include=["SETTINGS", "TAGS"])["clusters"]
    definition = ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]
    found["task"] = [{key: value for key, value in definition.items() if key != "taskDefinitionArn"}]
    scaling = client("application-autoscaling")
    found["scaling"] = [
        *scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"],
        *scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"],
        *scaling.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"],
    ]
    found["budgets"] = client("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
    found["web ACLs"] = client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]
    found["user pools"] = [one["Name"] for one in client("cognito-idp").list_user_pools(MaxResults=60)["UserPools"]]
    found["roles"] = [
        {
            "role": one["RoleName"],
            "trust": one["AssumeRolePolicyDocument"],
            "policies": [
                iam.get_role_policy(RoleName=one["RoleName"], PolicyName=policy)["PolicyDocument"]
                for policy in iam.list_role_policies(RoleName=one["RoleName"])["PolicyNames"]
            ],
        }
        for one in iam.list_roles()["Roles"]
    ]
    found["parameters"] = [
        one
        for group in client("rds").describe_db_parameter_groups()["DBParameterGroups"]
        for one in client("rds").describe_db_parameters(DBParameterGroupName=group["DBParameterGroupName"])["Parameters"]
        if one.get("Source") == "user"
    ]
    found["buckets"] = [_bucket(s3, one["Name"]) for one in s3.list_buckets()["Buckets"]]
    return {question: sorted((_settled(one) for one in answers), key=json.dumps) for question, answers in found.items()}


def _in_effect(attributes: list[dict[str, str]]) -> list[dict[str, str]]:
    """Without where logs would go: AWS remembers it when they are switched off."""
    enabled = {one["Key"].removesuffix("enabled") for one in attributes if one["Key"].endswith(".s3.enabled") and one["Value"] == "true"}
    return [one for one in attributes if ".s3." not in one["Key"] or one["Key"].partition(".s3.")[0] + ".s3." in enabled]


def _bucket(s3: t.Any, name: str) -> dict[str, t.Any]:
    answers: dict[str, t.Any] = {"name": name}
    for call in ("get_bucket_policy", "get_bucket_lifecycle_configuration", "get_bucket_encryption", "get_public_access_block",
                 "get_bucket_versioning", "get_bucket_tagging", "get_bucket_cors"):  # fmt: skip
        try:
            answers[call] = getattr(s3, call)(Bucket=name)
        except s3.exceptions.ClientError as error:
            answers[call] = error.response["Error"]["Code"]
    return answers


def _settled(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {key: _settled(one) for key, one in sorted(value.items()) if not VOLATILE.fullmatch(key)}
    if isinstance(value, list):
        return sorted((_settled(one) for one in value), key=lambda one: json.dumps(one, default=str))
    # A listener that was removed and made again, and a revision of a task definition.
    text = value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
    return re.sub(r"(:listener/app/[^/]+/[^/]+)/\w+|(:task-definition/[\w-]+):\d+", r"\1\2", text) if isinstance(text, str) else text


def differences(before: dict[str, t.Any], after: dict[str, t.Any]) -> dict[str, dict[str, list]]:
    """By question, what is gone and what is new."""
    return {
        question: {
            "gone": [one for one in before[question] if one not in after[question]],
            "new": [one for one in after[question] if one not in before[question]],
        }
        for question in before
        if before[question] != after[question]
    }
