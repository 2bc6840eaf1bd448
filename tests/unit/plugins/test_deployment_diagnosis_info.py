# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module deployment_diagnosis_info against recorded answers: what is missing, denied or odd is told, nothing is written.

What it finds on a deployment that lives is tested in tests/integration/deployment.
"""

from __future__ import annotations

import datetime
import json
import typing as t

import pytest
from botocore.exceptions import ClientError

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import diagnosis_reader, ecs_client, mlflow_checks
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_diagnosis_info as module

from tests.unit.plugins.diagnosed import ACCOUNT, DEFINITION, GROUP, NEWER, SECRET, TAGS

pytestmark = pytest.mark.usefixtures("aws_environment")
THEN = datetime.datetime(2026, 11, 20, 9, 30, tzinfo=datetime.timezone.utc)
ADMIN = SECRET.replace("database", "admin")
PASSWORD = "correct-horse-battery"
API_TAGS = [{"key": key, "value": value} for key, value in TAGS.items()]
TASKS = f"arn:aws:ecs:eu-west-2:{ACCOUNT}:task/web/"


def refusal(code: str, status: int = 400, **headers: str) -> ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": metadata}, "Operation")


class Aws:
    """Every client of one account: `answers` by operation, an exception is raised, a function is asked. Only reads are answered."""

    def __init__(self, answers: dict[str, t.Any]) -> None:
        self.answers = answers

    def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
        assert name.startswith(("describe_", "list_", "get_", "head_")), f"{name} is no read"

        def call(**arguments: t.Any) -> t.Any:
            answer = self.answers[name]
            answer = answer(arguments) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def get_paginator(self, name: str) -> t.Any:
        call = getattr(self, name)

        class Pages:
            def paginate(self, **arguments: t.Any) -> list:
                return [call(**arguments)]

        return Pages()


CONTAINER = {
    "name": "mlflow", "image": "python:3.11-slim",
    "environment": [{"name": "LAUNCHER_ARTIFACT_ROOT", "value": "s3://models/mlflow"}, {"name": "LAUNCHER_DB_HOST", "value": "web-db.example"}],
    "secrets": [
        {"name": "LAUNCHER_DB_PASSWORD", "valueFrom": f"{SECRET}:password::"},
        {"name": "LAUNCHER_ADMIN_PASSWORD", "valueFrom": f"{ADMIN}:password::"},
        {"name": "LAUNCHER_OTHER", "valueFrom": f"arn:aws:ssm:eu-west-2:{ACCOUNT}:parameter/web"},
    ],
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/web", "awslogs-stream-prefix": "mlflow"}},
}  # fmt: skip
STOPPED = {
    "taskArn": f"{TASKS}dead", "taskDefinitionArn": DEFINITION, "lastStatus": "STOPPED", "stopCode": "EssentialContainerExited",
    "stoppedReason": "Essential container in task exited", "startedBy": "ecs-svc/1", "stoppedAt": THEN,
    "containers": [{"name": "mlflow", "exitCode": 77}],
}  # fmt: skip
RUNNING = {"taskArn": f"{TASKS}alive", "taskDefinitionArn": DEFINITION, "lastStatus": "RUNNING", "startedAt": THEN}
INSTANCE = {
    "DBInstanceIdentifier": "web-db", "DBInstanceStatus": "available", "Endpoint": {"Address": "web-db.example", "Port": 5432},
    "DBInstanceClass": "db.t3.micro", "AllocatedStorage": 20, "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-rds"}],
    "DBSubnetGroup": {"Subnets": [{"SubnetIdentifier": "subnet-a"}]}, "TagList": [{"Key": key, "Value": value} for key, value in TAGS.items()],
}  # fmt: skip


def values(arguments: dict) -> dict:
    field = {"username": "admin", "password": PASSWORD} if arguments["SecretId"] == ADMIN else {"username": "mlflow", "password": "another-one"}
    return {"SecretString": json.dumps(field)}


def policy(arguments: dict) -> dict:
    return {"PolicyDocument": {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}}


def whole() -> dict[str, t.Any]:
    """The answers of an account with a deployment of which one task fails."""
    return {
        "describe_services": {"services": [{
            "status": "ACTIVE", "desiredCount": 2, "runningCount": 1, "taskDefinition": DEFINITION, "tags": API_TAGS,
            "deployments": [{"id": "ecs-svc/1", "status": "PRIMARY", "rolloutState": "COMPLETED"}],
            "loadBalancers": [{"targetGroupArn": GROUP, "containerPort": 5000}],
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-a"], "securityGroups": ["sg-ecs"]}},
        }]},
        "describe_task_definition": {"taskDefinition": {
            "taskDefinitionArn": DEFINITION, "revision": 3, "cpu": "1024", "memory": "2048", "containerDefinitions": [CONTAINER],
            "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/web-execution", "taskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/web-task",
        }},
        "list_tasks": lambda arguments: {"taskArns": [f"{TASKS}{'alive' if arguments['desiredStatus'] == 'RUNNING' else 'dead'}"]},
        "describe_tasks": lambda arguments: {"tasks": [RUNNING if arguments["tasks"][0].endswith("alive") else STOPPED]},
        "get_log_events": {"events": [{"message": f'launcher: error: FATAL: password authentication failed for user "x" with {PASSWORD}'}]},
        "describe_load_balancers": {"LoadBalancers": [{
            "LoadBalancerArn": "arn:alb", "DNSName": "web.example", "State": {"Code": "active"}, "SecurityGroups": ["sg-alb"],
            "AvailabilityZones": [{"SubnetId": "subnet-p"}],
        }]},
        "describe_load_balancer_attributes": {"Attributes": []},
        "describe_listeners": {"Listeners": [{
            "ListenerArn": "arn:listener", "Port": 443, "Protocol": "HTTPS", "Certificates": [{"CertificateArn": "arn:cert"}],
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": GROUP}],
        }]},
        "describe_rules": {"Rules": []},
        "describe_target_groups": {"TargetGroups": [{"TargetGroupArn": GROUP, "HealthCheckPath": "/health", "Matcher": {"HttpCode": "200"}}]},
        "describe_tags": {"TagDescriptions": []},
        "describe_target_health": {"TargetHealthDescriptions": [{"Target": {"Id": "10.0.0.4", "Port": 5000}, "TargetHealth": {"State": "healthy"}}]},
        "describe_certificate": {"Certificate": {"Status": "ISSUED", "DomainName": "web.example"}},
        "describe_db_instances": {"DBInstances": [INSTANCE]},
        "describe_events": {"Events": [{"Date": THEN, "Message": "DB instance restarted"}]},
        "describe_db_engine_versions": {"DBEngineVersions": [{"EngineVersion": "15.7"}]},
        "get_metric_statistics": {"Datapoints": [{"Timestamp": THEN, "Average": 12.0}]},
        "describe_secret": lambda arguments: {"Name": "web/admin" if "admin" in arguments["SecretId"] else "web/database"},
        "get_secret_value": values,
        "list_role_policies": {"PolicyNames": ["mlflow"]},
        "get_role_policy": policy,
        "list_attached_role_policies": {"AttachedPolicies": []},
        "head_bucket": {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"x-amz-bucket-region": "eu-west-2"}}},
        "get_bucket_policy": {"Policy": '{"Statement": []}'},
        "describe_subnets": {"Subnets": [{"SubnetId": "subnet-a", "VpcId": "vpc-1", "CidrBlock": "10.0.0.0/24"}]},
        "describe_security_groups": {"SecurityGroups": []},
        "describe_route_tables": {"RouteTables": []},
        "describe_nat_gateways": {"NatGateways": []},
        "describe_vpc_endpoints": {"VpcEndpoints": []},
    }  # fmt: skip


NOTHING = {
    "describe_services": refusal("ClusterNotFoundException"), "describe_task_definition": refusal("ClientException"),
    "list_tasks": refusal("ClusterNotFoundException"), "describe_load_balancers": refusal("LoadBalancerNotFound"),
    "describe_target_groups": refusal("TargetGroupNotFound"), "describe_target_health": refusal("TargetGroupNotFound"),
    "describe_db_instances": refusal("DBInstanceNotFound"), "describe_secret": refusal("ResourceNotFoundException"),
    "head_bucket": refusal("404", 404), "list_role_policies": refusal("NoSuchEntity"),
}  # fmt: skip


@pytest.fixture
def diagnose(monkeypatch: pytest.MonkeyPatch, run_module: t.Callable) -> t.Callable[..., dict]:
    def run(answers: dict[str, t.Any], **options: t.Any) -> dict:
        monkeypatch.setattr(ecs_client, "connect", lambda _module, _service: Aws(answers))
        return run_module(module, {"name": "web", "region": "eu-west-2", "ask_server": False, **options})

    return run


def ids(result: dict) -> list[str]:
    return [cause["id"] for cause in result["causes"]]


def test_a_task_that_fails_is_read_with_its_log(diagnose):
    result = diagnose(whole())
    assert not result["changed"] and not result["healthy"] and "database_password" in ids(result)
    evidence = next(cause for cause in result["causes"] if cause["id"] == "database_password")["evidence"]
    assert any("password authentication failed" in line for line in evidence)
    # Whatever somebody has logged.
    assert PASSWORD not in json.dumps(result)
    assert "the answers of MLflow: ask_server is false" in result["unread"]


def test_an_account_with_nothing_in_it(diagnose):
    result = diagnose({**whole(), **NOTHING}, bucket="models", db_engine_version="15.4")
    assert set(ids(result)) == {
        "engine_version_not_offered", "service_missing", "database_missing", "load_balancer_missing", "secret_missing", "bucket_missing",
    }  # fmt: skip
    # Without a bucket to ask for, and without a version.
    assert "bucket_missing" not in ids(diagnose({**whole(), **NOTHING}))


def test_parts_that_are_missing_around_a_service(diagnose):
    kept = {key: NOTHING[key] for key in NOTHING if key not in ("describe_services", "describe_task_definition", "list_tasks")}
    result = diagnose({**whole(), **kept})
    assert {"database_missing", "load_balancer_missing", "secret_missing", "role_missing", "bucket_missing"} <= set(ids(result))
    assert ids(result)[0] == "database_missing"


def test_what_is_denied_is_told_and_the_rest_goes_on(diagnose):
    denied = refusal("AccessDeniedException", 403)
    answers = {
        **whole(), "get_secret_value": denied, "get_log_events": denied, "get_metric_statistics": denied, "list_role_policies": denied,
        "get_bucket_policy": denied, "describe_subnets": denied, "describe_certificate": denied, "describe_db_instances": denied,
    }  # fmt: skip
    result = diagnose(answers)
    told = "\n".join(result["unread"])
    for part in (
        "log of task dead: AWS permissions: logs:Operation is denied", "value of secret web/admin", "policies of the task role",
        "policy of bucket models", "network: AWS permissions: ec2:Operation", "certificate", "database: AWS permissions: rds:Operation",
    ):  # fmt: skip
        assert part in told
    assert "database_missing" not in ids(result)


def test_credentials_that_do_not_work_end_it(diagnose):
    for operation in ("describe_services", "head_bucket"):
        result = diagnose({**whole(), operation: refusal("ExpiredTokenException")})
        assert result["failed"] and result["msg"].startswith("Deployment web: AWS credentials: they have expired")


@pytest.mark.parametrize("answer", [{"SecretString": "no JSON"}, {"SecretString": "[1]"}, {}, refusal("ResourceNotFoundException")])
def test_secrets_that_are_not_what_they_should_be(diagnose, answer):
    assert ids(diagnose({**whole(), "get_secret_value": answer}))[0] == "secret_without_key"


def test_a_secret_that_is_scheduled_for_deletion(diagnose):
    result = diagnose({**whole(), "describe_secret": {"Name": "web/database", "DeletedDate": THEN}})
    assert ids(result)[0] == "secret_deleted" and "LAUNCHER_DB_PASSWORD" in result["causes"][0]["evidence"][0]


def test_attached_policies_are_not_judged(diagnose):
    answers = {**whole(), "list_role_policies": {"PolicyNames": []}}
    assert {"secret_denied", "bucket_denied"} <= set(ids(diagnose(answers)))
    attached = {**answers, "list_attached_role_policies": {"AttachedPolicies": [{"PolicyName": "TeamPolicy"}]}}
    result = diagnose(attached)
    assert "secret_denied" not in ids(result) and "policies of the task role: TeamPolicy are attached to it" in result["unread"]


def test_other_places_of_artifacts(diagnose):
    answers = whole()
    container = {**CONTAINER, "environment": [{"name": "LAUNCHER_ARTIFACT_ROOT", "value": "/mnt/artifacts"}]}
    answers["describe_task_definition"]["taskDefinition"]["containerDefinitions"] = [container]
    result = diagnose({**answers, "head_bucket": refusal("404", 404), "list_role_policies": {"PolicyNames": []}})
    assert "bucket_missing" not in ids(result) and "bucket_denied" not in ids(result)
    abroad = {**whole(), "head_bucket": refusal("301", 301, **{"x-amz-bucket-region": "us-east-1"})}
    assert "bucket_in_another_region" in ids(diagnose(abroad))


def test_a_service_without_load_balancer_network_and_task_definition(diagnose):
    answers = whole()
    service = answers["describe_services"]["services"][0]
    service.update(loadBalancers=[], networkConfiguration={}, taskDefinition=NEWER)
    answers.update(describe_task_definition=refusal("ClientException"), list_tasks={"taskArns": []})
    assert "target_group_differs" in ids(diagnose(answers))
    assert "security_group_missing" not in ids(diagnose({**whole(), "describe_subnets": {"Subnets": []}}))


class Server:
    """Stands for the checks of mlflow_health, and keeps what they were asked."""

    asked: t.ClassVar[list] = []

    def __init__(self, client: t.Any, settings: t.Any) -> None:
        self.client, self.settings = client, settings

    def run(self, names: t.Sequence[str]) -> list[mlflow_checks.Result]:
        Server.asked = [self.client.login, list(names), self.settings.write]
        return [mlflow_checks.Result(name, mlflow_checks.FAILED if name == "admin_login" else "passed", 1.0, "HTTP 401", "") for name in names]


def test_the_server_is_asked_as_the_admin(diagnose, monkeypatch):
    monkeypatch.setattr(diagnosis_reader.mlflow_health_run, "HealthRun", Server)
    result = diagnose(whole(), ask_server=True)
    assert "admin_password" in ids(result)
    assert Server.asked == [("admin", PASSWORD), list(diagnosis_reader.CHECKS), False]
    # Without a login only what needs none.
    result = diagnose({**whole(), "get_secret_value": {"SecretString": "{}"}}, ask_server=True)
    assert Server.asked[1] == ["liveness", "tls", "auth_required"]
    assert "what MLflow answers the admin: secret web/admin gives no login" in result["unread"]


def test_where_nobody_can_be_asked(diagnose):
    result = diagnose({**whole(), "describe_target_health": {"TargetHealthDescriptions": []}}, ask_server=True)
    assert "the answers of MLflow: no target is healthy" in result["unread"]
    result = diagnose({**whole(), "describe_listeners": {"Listeners": []}}, ask_server=True)
    assert "the answers of MLflow: there is no address" in result["unread"]
    result = diagnose(whole(), ask_server=True, ca_path="/nowhere/ca.pem")
    assert any(line.startswith("the answers of MLflow: ca_path: /nowhere/ca.pem is no file") for line in result["unread"])
