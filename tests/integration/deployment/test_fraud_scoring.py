# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference deployment: every value of the hand-made one, read back through the AWS API."""

from __future__ import annotations

NAME = "fraud-scoring-mlflow"


def test_network(fraud_scoring):
    ec2 = fraud_scoring.client("ec2")
    ours = [{"Name": "tag:mlflow-deployment", "Values": [NAME]}]
    (vpc,) = ec2.describe_vpcs(Filters=ours)["Vpcs"]
    assert vpc["CidrBlock"] == "10.0.0.0/16"
    subnets = ec2.describe_subnets(Filters=ours)["Subnets"]
    assert sorted(one["CidrBlock"] for one in subnets) == ["10.0.1.0/24", "10.0.11.0/24", "10.0.12.0/24", "10.0.2.0/24"]
    assert {one["AvailabilityZone"] for one in subnets} == {"eu-west-2a", "eu-west-2b"}
    assert len(ec2.describe_internet_gateways(Filters=ours)["InternetGateways"]) == 1
    gateways = ec2.describe_nat_gateways(Filters=ours)["NatGateways"]
    assert [one["State"] for one in gateways] == ["available"]
    endpoints = ec2.describe_vpc_endpoints(Filters=ours)["VpcEndpoints"]
    assert [one["ServiceName"] for one in endpoints] == ["com.amazonaws.eu-west-2.s3"]


def test_security_groups_lead_from_the_internet_to_the_database(fraud_scoring):
    ec2 = fraud_scoring.client("ec2")
    groups = ec2.describe_security_groups(Filters=[{"Name": "tag:mlflow-deployment", "Values": [NAME]}])["SecurityGroups"]
    by_name = {one["GroupName"].removeprefix(f"{NAME}-"): one for one in groups}

    def sources(group: str, port: int) -> set[str]:
        rules = [one for one in by_name[group]["IpPermissions"] if one.get("FromPort") == port]
        return {pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]} | {
            block["CidrIp"] for rule in rules for block in rule["IpRanges"]
        }

    assert sources("ecs", 5000) == {by_name["alb"]["GroupId"]}
    assert sources("rds", 5432) == {by_name["ecs"]["GroupId"]}
    assert len(by_name["ecs"]["IpPermissions"]) == len(by_name["rds"]["IpPermissions"]) == 1


def test_database(fraud_scoring):
    (database,) = fraud_scoring.client("rds").describe_db_instances(DBInstanceIdentifier=f"{NAME}-db")["DBInstances"]
    wanted = {
        "EngineVersion": "15.7",
        "DBInstanceClass": "db.t3.micro",
        "AllocatedStorage": 20,
        "MaxAllocatedStorage": 100,
        "StorageEncrypted": True,
        "BackupRetentionPeriod": 7,
        "PerformanceInsightsEnabled": True,
        "PubliclyAccessible": False,
        "DBName": "mlflow_db",
        "DBInstanceStatus": "available",
    }
    assert {key: database[key] for key in wanted} == wanted
    assert database["Endpoint"]["Port"] == 5432


def test_service(fraud_scoring):
    ecs = fraud_scoring.client("ecs")
    (service,) = ecs.describe_services(cluster=NAME, services=[NAME])["services"]
    assert (service["desiredCount"], service["runningCount"]) == (2, 2)
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "DISABLED"
    subnets = fraud_scoring.client("ec2").describe_subnets(SubnetIds=network["subnets"])["Subnets"]
    assert {one["CidrBlock"] for one in subnets} == {"10.0.11.0/24", "10.0.12.0/24"}
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    assert (definition["cpu"], definition["memory"]) == ("512", "1024")
    (container,) = definition["containerDefinitions"]
    environment = {one["name"]: one["value"] for one in container["environment"]}
    assert container["image"] == "public.ecr.aws/docker/library/python:3.11-slim"
    assert environment["LAUNCHER_MLFLOW_VERSION"] == "2.18.0"
    assert environment["LAUNCHER_WORKERS"] == "4"
    assert environment["LAUNCHER_ARTIFACT_ROOT"] == "s3://fraud-models-test/mlflow-artifacts"
    assert environment["LAUNCHER_DEFAULT_PERMISSION"] == "NO_PERMISSIONS"
    assert container["healthCheck"]["command"][0] == "CMD"
    assert container["logConfiguration"]["options"]["awslogs-group"] == f"/ecs/{NAME}"


def test_load_balancer(fraud_scoring):
    elb = fraud_scoring.client("elbv2")
    (group,) = elb.describe_target_groups(Names=[NAME])["TargetGroups"]
    assert (group["HealthCheckPath"], group["Port"], group["TargetType"]) == ("/health", 5000, "ip")
    health = elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    assert [one["TargetHealth"]["State"] for one in health] == ["healthy", "healthy"]


def test_the_bucket_was_not_changed(fraud_scoring):
    writes = [one for one in fraud_scoring.aws.writes() if one.startswith("s3:")]
    assert writes == ["s3:CreateBucket"]  # the test's own


def test_roles_may_reach_only_their_own(fraud_scoring):
    iam = fraud_scoring.client("iam")
    for role in ("execution", "task"):
        policy = iam.get_role_policy(RoleName=f"{NAME}-{role}", PolicyName="mlflow")["PolicyDocument"]
        for statement in policy["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert statement["Resource"] != "*" and not any("*" in action for action in actions)
