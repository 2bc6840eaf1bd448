# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of a live deployment, made for real and mended again: through AWS's API, MLflow's, signals or a proxy.

Each injection is a context manager: inside it the deployment is broken, and what it yields are the options of
mlflow_health that a user of the broken thing would give, such as the address of the proxy. Afterwards it is mended.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg2
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client

from tests.integration.aws import ROOT
from tests.integration.deployment import proxy as proxies

if t.TYPE_CHECKING:
    from tests.integration.deployment.conftest import Deployment

Options = dict[str, t.Any]
Injection = t.Callable[["Deployment", Path], t.ContextManager[Options]]
# What MLflow 3 was shipped with up to 3.16.
SHIPPED_PASSWORD = "password1234"


class Fault(t.NamedTuple):
    """`red`: the check that must catch it and a pattern of what it says; `also`: checks that may fail for it too."""

    inject: Injection
    red: dict[str, str]
    also: frozenset[str] = frozenset()


def until(look: t.Callable[[], t.Any], seconds: float, what: str) -> t.Any:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} took longer than {seconds:.0f} s"
        time.sleep(0.5)


# The database


@contextlib.contextmanager
def database(live: Deployment) -> t.Iterator[t.Any]:
    """A cursor in the tracking store, committed at the end."""
    secret = live.client("secretsmanager").get_secret_value(SecretId=f"{live.name}/database")
    login = json.loads(secret["SecretString"])
    rds = live.client("rds").describe_db_instances(DBInstanceIdentifier=live.outputs()["db_instance_id"])
    place = rds["DBInstances"][0]["Endpoint"]
    connection = psycopg2.connect(
        host=place["Address"], port=place["Port"], dbname="mlflow_db", user=login["username"], password=login["password"]
    )
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        yield cursor


@contextlib.contextmanager
def database_stopped(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    rds, name = live.client("rds"), live.outputs()["db_instance_id"]

    def is_(status: str) -> bool:
        return rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]["DBInstanceStatus"] == status

    rds.stop_db_instance(DBInstanceIdentifier=name)
    until(lambda: is_("stopped"), 60, "stopping the database")
    try:
        yield {}
    finally:
        rds.start_db_instance(DBInstanceIdentifier=name)
        until(lambda: is_("available"), 60, "starting the database")


# The bucket


def _task_role(live: Deployment) -> str:
    return live.client("iam").get_role(RoleName=f"{live.name}-task")["Role"]["Arn"]


def denied(*actions: str) -> Injection:
    """A bucket policy that denies the task role `actions`, beside what the policy says already."""

    @contextlib.contextmanager
    def inject(live: Deployment, _folder: Path) -> t.Iterator[Options]:
        s3, bucket = live.client("s3"), live.outputs()["bucket"]
        before = s3.get_bucket_policy(Bucket=bucket)["Policy"]
        policy = json.loads(before)
        policy["Statement"].append(
            {
                "Effect": "Deny",
                "Principal": {"AWS": _task_role(live)},
                "Action": list(actions),
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        )
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        try:
            yield {}
        finally:
            s3.put_bucket_policy(Bucket=bucket, Policy=before)

    return inject


@contextlib.contextmanager
def bucket_gone(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """Somebody empties and deletes the bucket. Mended, it is as it was, but empty."""
    s3, bucket = live.client("s3"), live.outputs()["bucket"]
    tags, policy = s3.get_bucket_tagging(Bucket=bucket)["TagSet"], s3.get_bucket_policy(Bucket=bucket)["Policy"]
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    s3.delete_bucket(Bucket=bucket)
    try:
        yield {}
    finally:
        region = live.outputs()["region"]
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)


# The load balancer and the tasks


@contextlib.contextmanager
def listener_gone(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    elb = live.client("elbv2")
    balancer = elb.describe_load_balancers(Names=[live.name])["LoadBalancers"][0]["LoadBalancerArn"]
    listener = elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"][0]
    tags = elb.describe_tags(ResourceArns=[listener["ListenerArn"]])["TagDescriptions"][0]["Tags"]
    elb.delete_listener(ListenerArn=listener["ListenerArn"])
    try:
        yield {}
    finally:
        forward = {"Type": "forward", "TargetGroupArn": live.outputs()["target_group_arn"]}
        same = {key: listener[key] for key in ("Port", "Protocol")}
        elb.create_listener(LoadBalancerArn=balancer, DefaultActions=[forward], Tags=tags, **same)


def healthy_targets(live: Deployment) -> set[str]:
    answer = live.client("elbv2").describe_target_health(TargetGroupArn=live.outputs()["target_group_arn"])
    found = answer["TargetHealthDescriptions"]
    return {one["Target"]["Id"] for one in found if one["TargetHealth"]["State"] == "healthy"}


def service(live: Deployment) -> dict:
    return live.client("ecs").describe_services(cluster=live.name, services=[live.name])["services"][0]


def await_steady(live: Deployment, definition: str, count: int) -> None:
    """Until `count` tasks of this task definition serve, and no others."""

    def steady() -> bool:
        now = service(live)
        return (
            now["taskDefinition"] == definition
            and len(now["deployments"]) == 1
            and now["deployments"][0].get("rolloutState", "COMPLETED") == "COMPLETED"
            and now["runningCount"] == count
            and len(healthy_targets(live)) == count
        )

    until(steady, 240, f"the service with {count} tasks of {definition.rsplit('/', 1)[-1]}")


@contextlib.contextmanager
def no_task_runs(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    ecs, before = live.client("ecs"), service(live)
    ecs.update_service(cluster=live.name, service=live.name, desiredCount=0)
    until(lambda: not healthy_targets(live), 120, "stopping the tasks")
    try:
        yield {}
    finally:
        ecs.update_service(cluster=live.name, service=live.name, desiredCount=before["desiredCount"])
        await_steady(live, before["taskDefinition"], before["desiredCount"])


@contextlib.contextmanager
def servers_hang(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """Every process of every task stands still, as on a machine out of memory; connections are still taken."""
    ecs = live.client("ecs")
    ids = [arn.rsplit("/", 1)[-1] for arn in ecs.list_tasks(cluster=live.name)["taskArns"]]
    halted = []
    for process in live.aws.processes():
        with contextlib.suppress(psutil.Error):
            if any(f"/tasks/{one}/" in " ".join(process.cmdline()) for one in ids):
                process.send_signal(signal.SIGSTOP)
                halted.append(process)
    assert halted
    try:
        yield {"timeout": 3, "retry_timeout": 0}
    finally:
        for process in halted:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)


def registered(live: Deployment, edit: t.Callable[[dict], None], **size: str) -> str:
    """The ARN of another task definition: `edit` changes a copy of the container's definition in place."""
    ecs = live.client("ecs")
    definition = ecs.describe_task_definition(taskDefinition=service(live)["taskDefinition"])["taskDefinition"] | size
    edit(definition["containerDefinitions"][0])
    keys = (
        "family", "taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions", "volumes", "cpu", "memory",
        "requiresCompatibilities", "runtimePlatform",
    )  # fmt: skip
    made = ecs.register_task_definition(**{key: definition[key] for key in keys if key in definition})
    return made["taskDefinition"]["taskDefinitionArn"]


def redeployed(edit: t.Callable[[dict], None]) -> Injection:
    """The service runs another task definition."""

    @contextlib.contextmanager
    def inject(live: Deployment, _folder: Path) -> t.Iterator[Options]:
        ecs, before = live.client("ecs"), service(live)
        arn = registered(live, edit)
        # One task is enough, and takes half the time to start.
        ecs.update_service(cluster=live.name, service=live.name, taskDefinition=arn, desiredCount=1)
        try:
            await_steady(live, arn, 1)
            yield {}
        finally:
            count = before["desiredCount"]
            ecs.update_service(
                cluster=live.name, service=live.name, taskDefinition=before["taskDefinition"], desiredCount=count
            )
            await_steady(live, before["taskDefinition"], count)
            ecs.deregister_task_definition(taskDefinition=arn)

    return inject


def environment(**values: str) -> t.Callable[[dict], None]:
    def edit(container: dict) -> None:
        kept = [one for one in container["environment"] if one["name"] not in values]
        container["environment"] = kept + [{"name": name, "value": value} for name, value in values.items()]

    return edit


def without_basic_auth(container: dict) -> None:
    """The launcher starts MLflow's plain application, as `mlflow server` without --app-name does."""
    launcher = container["entryPoint"][-1]
    changed = launcher.replace('"--factory", app]', '"mlflow.server.fastapi_app:app"]')
    assert changed != launcher
    container["entryPoint"][-1] = changed


# Users and passwords


def admin_client(live: Deployment, password: str, username: str = "admin") -> mlflow_client.Client:
    connection = {"tracking_uri": live.outputs()["tracking_uri"], "username": username, "password": password}
    return mlflow_client.Client({**connection, "validate_certs": True, "timeout": 30, "retry_timeout": 10})


@contextlib.contextmanager
def shipped_admin_password(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """The admin has the password of MLflow 2's documentation, which MLflow 3 no longer takes."""
    username, password = live.admin()

    def change(current: str, new: str) -> None:
        admin_client(live, current).call("PATCH", "users/update-password", body={"username": username, "password": new})

    change(password, "password")
    try:
        yield {}
    finally:
        change("password", password)


@contextlib.contextmanager
def shipped_password(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """The team has an admin of its own; the user admin lives on with the password in MLflow's documentation.

    It is no admin any more, because MLflow 3.17 itself refuses that password to admins.
    """
    (username, password), own = live.admin(), secrets.token_urlsafe(24)
    first = admin_client(live, password)
    first.call("POST", "users/create", body={"username": "operations", "password": own})
    first.call("PATCH", "users/update-admin", body={"username": "operations", "is_admin": True})
    other = admin_client(live, own, "operations")
    other.call("PATCH", "users/update-password", body={"username": username, "password": SHIPPED_PASSWORD})
    other.call("PATCH", "users/update-admin", body={"username": username, "is_admin": False})
    try:
        yield {"username": "operations", "password": own}
    finally:
        other.call("PATCH", "users/update-admin", body={"username": username, "is_admin": True})
        other.call("PATCH", "users/update-password", body={"username": username, "password": password})
        admin_client(live, password).call("DELETE", "users/delete", body={"username": "operations"})


@contextlib.contextmanager
def wrong_secret(live: Deployment, name: str) -> t.Iterator[str]:
    """Secrets Manager has another password than the server behind it."""
    client, identifier = live.client("secretsmanager"), f"{live.name}/{name}"
    right = client.get_secret_value(SecretId=identifier)["SecretString"]
    wrong = secrets.token_urlsafe(24)
    client.put_secret_value(SecretId=identifier, SecretString=json.dumps({**json.loads(right), "password": wrong}))
    try:
        yield wrong
    finally:
        client.put_secret_value(SecretId=identifier, SecretString=right)


@contextlib.contextmanager
def wrong_password_in_secrets_manager(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    with wrong_secret(live, "admin") as password:
        yield {"password": password}


@contextlib.contextmanager
def default_experiment_deleted(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    client = admin_client(live, live.admin()[1])
    client.call("POST", "experiments/delete", body={"experiment_id": "0"})
    try:
        yield {}
    finally:
        client.call("POST", "experiments/restore", body={"experiment_id": "0"})


# What stands in front


def behind(way: proxies.Way, **options: t.Any) -> Injection:
    @contextlib.contextmanager
    def inject(live: Deployment, _folder: Path) -> t.Iterator[Options]:
        with proxies.proxy(live.outputs()["tracking_uri"], way) as address:
            yield {"tracking_uri": address, **options}

    return inject


def behind_tls(days: float, address: str = proxies.ADDRESS, trusted: bool = True) -> Injection:
    """A proxy that ends TLS with a certificate that ends in `days` and is made out to `address`."""

    @contextlib.contextmanager
    def inject(live: Deployment, folder: Path) -> t.Iterator[Options]:
        made = proxies.certificate(folder / "certificate.pem", days, address)
        with proxies.proxy(live.outputs()["tracking_uri"], context=made.context) as url:
            yield {"tracking_uri": url, **({"ca_path": str(made.path)} if trusted else {})}

    return inject


@contextlib.contextmanager
def served_beside_tls(live: Deployment, folder: Path) -> t.Iterator[Options]:
    """TLS is as it should be, and another port serves the same without it."""
    with behind_tls(90)(live, folder) as options, proxies.proxy(live.outputs()["tracking_uri"]) as plain:
        yield {**options, "http_redirect": True, "http_port": urlsplit(plain).port}


def login_page(_request: proxies.Request, _forward: proxies.Forward) -> proxies.Response:
    return proxies.html(200, "Sign in to Example Corp")


def identity_provider(_request: proxies.Request, _forward: proxies.Forward) -> proxies.Response:
    return proxies.Response(302, {"Location": "https://login.example.com/authorize?client_id=mlflow"}, b"")


def small_uploads_only(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
    """nginx as it comes takes bodies of 1 MiB (client_max_body_size)."""
    if len(request.body) >= 1024 * 1024:
        return proxies.html(413, "413 Request Entity Too Large")
    return forward(request)


def keeps_logins(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
    """Does not pass the Authorization header on."""
    headers = {key: value for key, value in request.headers.items() if key.lower() != "authorization"}
    return forward(request._replace(headers=headers))


def alters_downloads(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
    response = forward(request)
    if request.method == "GET" and "/mlflow-artifacts/" in request.path and len(response.body) > 1000:
        return response._replace(body=response.body[:-1] + bytes([response.body[-1] ^ 1]))
    return response


def without_static_files(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
    """Passes on the API alone, as a proxy with rules for single paths does."""
    return proxies.html(404, "Not here") if "/static-files/" in request.path else forward(request)


@contextlib.contextmanager
def behind_any_host(live: Deployment, folder: Path) -> t.Iterator[Options]:
    """A proxy that writes the server's own name over every Host."""
    host = urlsplit(live.outputs()["tracking_uri"]).netloc

    def way(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
        return forward(request._replace(headers={**request.headers, "Host": host}))

    with behind(way)(live, folder) as options:
        yield options


def slow(seconds: float) -> proxies.Way:
    def way(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
        time.sleep(seconds)
        return forward(request)

    return way


@contextlib.contextmanager
def wrong_prefix(live: Deployment, _folder: Path) -> t.Iterator[Options]:
    """The address that users were given has a path under which nothing is."""
    yield {"tracking_uri": live.outputs()["tracking_uri"] + "/mlflow"}


def asking_for(version: str) -> Injection:
    """The deployment was to be upgraded, and the old tasks still serve."""

    @contextlib.contextmanager
    def inject(_live: Deployment, _folder: Path) -> t.Iterator[Options]:
        yield {"version": version}

    return inject


# The verification


def health_command(live: Deployment, options: Options) -> list[str]:
    """mlflow_health as Ansible runs it, without Ansible's own seconds."""
    outputs, (username, password) = live.outputs(), live.admin()
    given = {
        "tracking_uri": outputs["tracking_uri"],
        "username": username,
        "password": password,
        "version": outputs["mlflow_version"],
        "retry_timeout": 5,
        **options,
    }
    module = "ansible_collections.mlops.mlflow_aws.plugins.modules.mlflow_health"
    return [sys.executable, "-m", module, json.dumps({"ANSIBLE_MODULE_ARGS": given})]


def module_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "playbooks" / "collections"), str(ROOT)])}


def health(live: Deployment, options: Options) -> dict:
    """What mlflow_health returns."""
    run = subprocess.run(
        health_command(live, options), env=module_environment(), cwd=ROOT, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def failed_checks(result: dict) -> dict[str, str]:
    """Name to message and remedy of each check that failed."""
    failed = [one for one in result["checks"] if one["status"] == "failed"]
    return {one["name"]: f"{one['message']}; {one['remedy']}" for one in failed}


def in_one_line(output: str) -> str:
    """The error in the output of a run that failed."""
    return " ".join(output.split("[ERROR]:", 1)[1].split("Origin:", 1)[0].split())


def serves(live) -> bool:
    """Whether MLflow answers the admin, through the load balancer and out of the database."""
    login = base64.b64encode(":".join(live.admin()).encode()).decode()
    address = f"{live.outputs()['tracking_uri']}/api/2.0/mlflow/experiments/get?experiment_id=0"
    request = urllib.request.Request(address, headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["experiment"]["name"] == "Default"
