# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More faults of a live deployment, made for real and mended again, most of them such that tasks no longer start."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
import urllib.request
from pathlib import Path

import psycopg2

from tests.integration.deployment import faults
from tests.integration.deployment.faults import Injection, Options, until

if t.TYPE_CHECKING:
    from tests.integration.deployment.conftest import Deployment

NO_IMAGE = "public.ecr.aws/docker/library/python:2.7-slim"


def failed_tasks(live: Deployment, definition: str = "") -> set[str]:
    """The tasks, of a task definition, that ECS tells to have failed within the hour."""
    ecs = live.client("ecs")
    arns = ecs.list_tasks(cluster=live.name, desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster=live.name, tasks=arns)["tasks"] if arns else []
    return {
        one["taskArn"] for one in tasks
        if one["lastStatus"] == "STOPPED" and one["stopCode"] in ("TaskFailedToStart", "EssentialContainerExited")
        and definition in one["taskDefinitionArn"]
    }  # fmt: skip


@contextlib.contextmanager
def task_fails_anew(live: Deployment, mend: t.Callable[[], t.Any]) -> t.Iterator[Options]:
    """A task is killed, and its successor does not start until it is mended, which happens in any case."""
    definition, before = faults.service(live)["taskDefinition"], failed_tasks(live)
    count = faults.service(live)["desiredCount"]
    try:
        live.aws.kill_a_task(live.name)
        until(lambda: len(failed_tasks(live) - before) >= 2, 150, "a second failure")
        yield {}
    finally:
        mend()
        faults.await_steady(live, definition, count)


def secret(name: str, change: t.Callable[[dict[str, str]], dict[str, str]]) -> Injection:
    """A secret has another value, and a task is started anew."""

    @contextlib.contextmanager
    def inject(live: Deployment, _folder: Path) -> t.Iterator[Options]:
        client, identifier = live.client("secretsmanager"), f"{live.name}/{name}"
        right = client.get_secret_value(SecretId=identifier)["SecretString"]
        client.put_secret_value(SecretId=identifier, SecretString=json.dumps(change(json.loads(right))))
        with task_fails_anew(live, lambda: client.put_secret_value(SecretId=identifier, SecretString=right)) as options:
            yield options

    return inject


@contextlib.contextmanager
def secret_deleted(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    client, identifier = live.client("secretsmanager"), f"{live.name}/server-key"
    client.delete_secret(SecretId=identifier, RecoveryWindowInDays=7)
    with task_fails_anew(live, lambda: client.restore_secret(SecretId=identifier)) as options:
        yield options


def without_policy(kind: str, restart: bool) -> Injection:
    """A role of the tasks loses its policy."""

    @contextlib.contextmanager
    def inject(live: Deployment, _folder: Path) -> t.Iterator[Options]:
        iam, role = live.client("iam"), f"{live.name}-{kind}"
        policy = iam.get_role_policy(RoleName=role, PolicyName="mlflow")["PolicyDocument"]
        iam.delete_role_policy(RoleName=role, PolicyName="mlflow")

        def mend() -> None:
            iam.put_role_policy(RoleName=role, PolicyName="mlflow", PolicyDocument=json.dumps(policy))

        with contextlib.ExitStack() as mended:
            if restart:
                mended.enter_context(task_fails_anew(live, mend))
            else:
                mended.callback(mend)
            yield {}

    return inject


def unstartable(edit: t.Callable[[dict], None], **size: str) -> Injection:
    """A deployment whose tasks fail; what ran before goes on."""

    @contextlib.contextmanager
    def inject(live: Deployment, _folder: Path) -> t.Iterator[Options]:
        ecs, before = live.client("ecs"), faults.service(live)
        arn = faults.registered(live, edit, **size)
        ecs.update_service(cluster=live.name, service=live.name, taskDefinition=arn)
        try:
            until(lambda: failed_tasks(live, arn), 240, "a task that fails")
            yield {}
        finally:
            ecs.update_service(cluster=live.name, service=live.name, taskDefinition=before["taskDefinition"])
            faults.await_steady(live, before["taskDefinition"], before["desiredCount"])
            ecs.deregister_task_definition(taskDefinition=arn)

    return inject


def given_up(edit: t.Callable[[dict], None]) -> Injection:
    """The same, after the circuit breaker has gone back to what ran before."""

    @contextlib.contextmanager
    def inject(live: Deployment, folder: Path) -> t.Iterator[Options]:
        before = faults.service(live)["taskDefinition"]
        with unstartable(edit)(live, folder):
            until(lambda: faults.service(live)["taskDefinition"] == before, 240, "the circuit breaker")
            faults.await_steady(live, before, faults.service(live)["desiredCount"])
            yield {}

    return inject


def image(container: dict) -> None:
    container["image"] = NO_IMAGE


def port_twice(container: dict) -> None:
    for one in container["environment"]:
        if one["name"] == "LAUNCHER_DB_HOST":
            one["value"] += ":5432"
    container["environment"].append({"name": "LAUNCHER_DB_WAIT_SECONDS", "value": "5"})


# The database


def connect(live: Deployment) -> t.Any:
    login = json.loads(live.client("secretsmanager").get_secret_value(SecretId=f"{live.name}/database")["SecretString"])
    found = live.client("rds").describe_db_instances(DBInstanceIdentifier=f"{live.name}-db")["DBInstances"][0]
    connection = psycopg2.connect(
        host=found["Endpoint"]["Address"], port=found["Endpoint"]["Port"], dbname=found["DBName"], user=login["username"],
        password=login["password"], connect_timeout=10,
    )  # fmt: skip
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def newer_schema(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """As a newer MLflow leaves it, whose migrations this one does not know."""
    connection = connect(live)
    cursor = connection.cursor()
    cursor.execute("SELECT version_num FROM alembic_version")
    (right,) = cursor.fetchone()
    cursor.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")

    def mend() -> None:
        cursor.execute("UPDATE alembic_version SET version_num = %s", (right,))
        connection.close()

    with task_fails_anew(live, mend) as options:
        yield options


@contextlib.contextmanager
def connections_used_up(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """Somebody else holds every connection that is left, also those of the task that ends."""
    held: list[t.Any] = []

    def hold() -> None:
        with contextlib.suppress(psycopg2.OperationalError):
            while len(held) < 2000:
                held.append(connect(live))

    before, definition = failed_tasks(live), faults.service(live)["taskDefinition"]
    count = faults.service(live)["desiredCount"]
    hold()
    live.aws.kill_a_task(live.name)
    try:
        # Its successor waits for the database, at most LAUNCHER_DB_WAIT_SECONDS.
        deadline = time.monotonic() + 240
        while len(failed_tasks(live) - before) < 2:
            assert time.monotonic() < deadline, "no task failed for want of connections"
            hold()
            time.sleep(0.5)
        yield {}
    finally:
        for connection in held:
            connection.close()
        faults.await_steady(live, definition, count)


@contextlib.contextmanager
def storage_used_up(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """CloudWatch tells that the database has no storage left."""

    minutes = [time.time() + 60 * number for number in range(4)]

    def tell(value: float) -> None:
        # What is pushed for a minute takes the place of what is measured in it.
        data = [
            {"namespace": "AWS/RDS", "metric": "FreeStorageSpace", "dimensions": {"DBInstanceIdentifier": f"{live.name}-db"},
             "value": value, "timestamp": minute, "replace": True}
            for minute in minutes
        ]  # fmt: skip
        request = urllib.request.Request(f"{live.aws.endpoint_url}/local-aws/metrics", json.dumps(data).encode())
        urllib.request.urlopen(request, timeout=10).close()

    tell(1024**2)
    try:
        yield {}
    finally:
        tell(15 * 1024**3)


# Network and load balancer


@contextlib.contextmanager
def database_closed(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    ec2 = live.client("ec2")
    group = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"{live.name}-rds"]}])["SecurityGroups"][0]
    rules = {"GroupId": group["GroupId"], "IpPermissions": group["IpPermissions"]}
    ec2.revoke_security_group_ingress(**rules)
    try:
        yield {}
    finally:
        ec2.authorize_security_group_ingress(**rules)


@contextlib.contextmanager
def no_default_route(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    ec2 = live.client("ec2")
    mine = [{"Name": "tag:mlflow-deployment", "Values": [live.name]}]
    removed = []
    for table in ec2.describe_route_tables(Filters=mine)["RouteTables"]:
        for route in table["Routes"]:
            if route.get("NatGatewayId"):
                removed.append((table["RouteTableId"], route["NatGatewayId"]))
                ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")
    assert removed
    try:
        yield {}
    finally:
        for table, gateway in removed:
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)


@contextlib.contextmanager
def wrong_health_check(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    elb, arn, before = live.client("elbv2"), live.outputs()["target_group_arn"], faults.service(live)
    elb.modify_target_group(TargetGroupArn=arn, HealthCheckPath="/healthz")
    until(lambda: not faults.healthy_targets(live), 90, "unhealthy targets")
    try:
        yield {}
    finally:
        elb.modify_target_group(TargetGroupArn=arn, HealthCheckPath="/health")
        faults.await_steady(live, before["taskDefinition"], before["desiredCount"])


@contextlib.contextmanager
def servers_hang(live: Deployment, folder: Path) -> t.Iterator[Options]:
    before = faults.service(live)
    with faults.servers_hang(live, folder):
        until(lambda: not faults.healthy_targets(live), 90, "unhealthy targets")
        yield {}
    faults.await_steady(live, before["taskDefinition"], before["desiredCount"])


@contextlib.contextmanager
def bucket_abroad(live: Deployment, folder: Path) -> t.Iterator[Options]:
    """Somebody has made the bucket again, in another region."""
    bucket = live.outputs()["bucket"]
    with faults.bucket_gone(live, folder):
        abroad = live.aws.client("s3", "eu-west-1")
        abroad.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        try:
            yield {}
        finally:
            abroad.delete_bucket(Bucket=bucket)
