# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotating the secrets of a deployment that is in use: no request fails, old credentials are refused, a killed run is finished."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
import typing as t
import urllib.error
import urllib.request

import psycopg2
import pytest

from tests.integration import disk
from tests.integration.aws import ROOT, LocalAws
from tests.integration.deployment.conftest import LIVE, Deployment, changed
from tests.integration.deployment.faults import until, wrong_secret
from tests.integration.deployment.load import Load

pytestmark = pytest.mark.long
# What does not depend on the version.
NEWEST = pytest.mark.parametrize("version", ["3.17.2"], indirect=True, scope="module")
SECRETS = ("database", "admin", "server-key")
USERS = {
    "access_users": [{"name": "ada"}, {"name": "loader"}],
    "access_grants": [{"user": "loader", "experiment": "Default", "permission": "READ"}],
}
# Tasks of the playbook during which it is killed: how often each was named by then, skipped or not, and seconds after that.
MOMENTS = [
    ("Store a new password for the admin", 1, 1.0),
    ("Give the admin the new password", 1, 1.5),
    ("Make it the current one", 1, 0.8),
    ("Let new tasks have the new server key", 1, 1.0),
    ("Store a new password for the master user", 1, 0.8),
    ("Make the companion in the database", 1, 3.0),
    ("Let new tasks log in as the companion", 1, 0.8),
    ("Replace the tasks, one after the other", 2, 8.0),
    ("Give the master user the new password", 1, 1.0),
    ("Let new tasks log in as the master user again", 1, 0.8),
    ("Replace the tasks, one after the other", 3, 8.0),
    ("Remove the companion from the database", 1, 3.0),
    ("End the rotation of the database password", 1, 0.8),
]


@pytest.fixture(scope="module", params=["3.17.2", "2.18.0"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def aws(version: str, local_aws_factory: t.Callable) -> t.Iterator[LocalAws]:
    with local_aws_factory(*disk.NAMESPACE) as one:
        yield one


@pytest.fixture(scope="module")
def volume(aws: LocalAws) -> disk.DatabaseDisk:
    return disk.DatabaseDisk(aws, 500)


@pytest.fixture(scope="module")
def used(version: str, aws: LocalAws, volume: disk.DatabaseDisk, tmp_path_factory: t.Any) -> Deployment:
    """Two small tasks of a version, and users whose passwords the deployment keeps."""
    variables = {**LIVE, **USERS, "mlflow_version": version, "mlflow_workers": 2}
    deployment = Deployment(aws, "local", "mlflow-demo", tmp_path_factory.mktemp("deployments"), variables=variables)
    made = deployment.play("site")
    assert made.returncode == 0, made.stdout[-6000:]
    return deployment


def secret(used: Deployment, name: str, label: str = "AWSCURRENT") -> dict[str, str]:
    stages = used.client("secretsmanager").describe_secret(SecretId=f"{used.name}/{name}")["VersionIdsToStages"]
    version = next(one for one, labels in stages.items() if label in labels)
    found = used.client("secretsmanager").get_secret_value(SecretId=f"{used.name}/{name}", VersionId=version)
    return json.loads(found["SecretString"])


def login(used: Deployment, user: str) -> tuple[str, str]:
    return user, secret(used, f"users/{user}")["password"]


def snapshot(used: Deployment) -> dict[str, dict[str, str]]:
    return {name: secret(used, name) for name in (*SECRETS, "users/ada", "users/loader")}


def status(used: Deployment, username: str, password: str) -> int:
    request = urllib.request.Request(f"{used.outputs()['tracking_uri']}/api/2.0/mlflow/users/get?username={username}")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def database_of(used: Deployment) -> dict:
    return used.client("rds").describe_db_instances(DBInstanceIdentifier=used.outputs()["db_instance_id"])["DBInstances"][0]


def database_lets_in(used: Deployment, username: str, password: str) -> bool:
    place = database_of(used)["Endpoint"]
    try:
        connection = psycopg2.connect(host=place["Address"], port=place["Port"], dbname="mlflow_db", user=username,
                                      password=password, connect_timeout=10)  # fmt: skip
    except psycopg2.OperationalError as error:
        assert "authentication failed" in str(error)
        return False
    connection.close()
    return True


def companions(used: Deployment) -> int:
    master = secret(used, "database")
    place = database_of(used)["Endpoint"]
    connection = psycopg2.connect(host=place["Address"], port=place["Port"], dbname="mlflow_db", user=master["username"],
                                  password=master["password"])  # fmt: skip
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'mlflow_companion'")
        return cursor.fetchone()[0]


def is_under_way(used: Deployment) -> bool:
    manager = used.client("secretsmanager")
    stages = [manager.describe_secret(SecretId=f"{used.name}/{name}")["VersionIdsToStages"].values() for name in SECRETS]
    return any("AWSPENDING" in labels for versions in stages for labels in versions)


def is_settled(used: Deployment) -> bool:
    """No rotation is under way, no companion is left, nobody holds the lock."""
    tags = used.client("ecs").describe_clusters(clusters=[used.name], include=["TAGS"])["clusters"][0]["tags"]
    locks = [one["key"] for one in tags if one["key"].startswith("mlflow-lock")]
    return not is_under_way(used) and companions(used) == 0 and locks == []


def rotate(used: Deployment, *options: str) -> subprocess.CompletedProcess[str]:
    return used.play("rotate", *options, timeout=1200)


def twenty_a_second(used: Deployment) -> Load:
    """Of a user whose password stays."""
    outputs = used.outputs()
    return Load.twenty_a_second(outputs["tracking_uri"], login(used, "loader"), outputs["mlflow_version"])


def site_has_nothing_to_change(used: Deployment) -> None:
    calls = len(used.aws.api_calls())
    run = used.play("site")
    assert run.returncode == 0 and changed(run) == 0 and used.aws.writes(calls) == [], run.stdout[-6000:]


def test_check_mode_tells_what_would_be_rotated_and_writes_nothing(used: Deployment) -> None:
    before, calls = snapshot(used), len(used.aws.api_calls())
    predicted = rotate(used, "--check", "--diff", "-e", "rotate_users=ada")
    assert predicted.returncode == 0, predicted.stdout[-6000:]
    assert changed(predicted) > 0 and "would be rotated" in predicted.stdout
    assert snapshot(used) == before and used.aws.writes(calls) == []


def test_everything_is_rotated_without_a_failed_request_and_what_was_known_is_refused(used: Deployment) -> None:
    before = snapshot(used)
    with twenty_a_second(used) as load:
        run = rotate(used, "-vvv", "--diff", "-e", "rotate_users=ada")
    assert run.returncode == 0, run.stdout[-6000:]
    assert load.failures == [] and load.sent > 100, (load.sent, load.failures[:5])
    after = snapshot(used)
    print(f"\n{load}")
    for name, old in before.items():
        kept = name == "users/loader"
        assert (after[name] == old) == kept, name
        for value in () if kept else (*old.values(), *after[name].values()):
            assert value in ("mlflow", "admin", "ada") or value not in run.stdout, f"{name} shows"
    for name, username in (("admin", "admin"), ("users/ada", "ada")):
        assert {status(used, username, before[name]["password"]) for _try in range(20)} == {401}
        assert status(used, username, after[name]["password"]) == 200
    assert after["database"]["username"] == "mlflow"
    assert not database_lets_in(used, "mlflow", before["database"]["password"])
    assert database_lets_in(used, "mlflow", after["database"]["password"])
    assert is_settled(used)
    site_has_nothing_to_change(used)


@NEWEST
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-e", "rotate_secrets=database,pasword"], "there is no secret of the name pasword; name some of database, admin, server_key"),
        (["-e", "rotate_secrets=users"], "nothing to rotate"),
        (["-e", "rotate_secrets=admin,users"], "whose passwords? name the users with rotate_users"),
        (["-e", "rotate_users=nobody"], "the deployment keeps no password of nobody"),
        (["-e", "rotate_users=admin"], "admin is the deployment's admin; rotate that password with rotate_secrets=admin"),
        (["-e", "mlflow_version=3.12.0"], "runs, and a rotation does not change versions"),
    ],
)
def test_what_cannot_be_rotated_is_named_before_anything_is_written(used: Deployment, options: list[str], message: str) -> None:
    calls = len(used.aws.api_calls())
    run = rotate(used, *options)
    assert run.returncode != 0 and message in " ".join(run.stdout.split()), run.stdout[-3000:]
    assert used.aws.writes(calls) == []


def test_an_unfinished_deployment_is_not_rotated(used: Deployment) -> None:
    ecs = used.client("ecs")
    where = {"cluster": used.name, "service": used.name}
    ecs.update_service(**where, desiredCount=0)
    try:
        calls = len(used.aws.api_calls())
        run = rotate(used)
        assert run.returncode != 0 and "finish it with site.yml" in " ".join(run.stdout.split()), run.stdout[-3000:]
        assert used.aws.writes(calls) == []
    finally:
        ecs.update_service(**where, desiredCount=2)
        back = used.play("site")
        assert back.returncode == 0, back.stdout[-6000:]


@NEWEST
@pytest.mark.parametrize(
    ("name", "message"), [("database", "refuses the login"), ("admin", "the server refuses this user name and password")]
)
def test_a_wrong_password_is_named_and_the_next_run_completes(used: Deployment, name: str, message: str) -> None:
    before = snapshot(used)
    with twenty_a_second(used) as load:
        with wrong_secret(used, name):
            run = rotate(used, "-e", f"rotate_secrets={name}")
            assert run.returncode != 0 and message in " ".join(run.stdout.split()), run.stdout[-3000:]
        assert secret(used, name) == before[name]
        again = rotate(used, "-e", f"rotate_secrets={name}")
        assert again.returncode == 0, again.stdout[-6000:]
    assert load.failures == [] and is_settled(used), (load.sent, load.failures[:5])
    assert secret(used, name) != before[name]


def begun(used: Deployment, moment: str, count: int) -> subprocess.Popen[str]:
    """A run of rotate.yml in which a task has begun for the count-th time."""
    run = subprocess.Popen(
        used.command("rotate", "-e", "break_lock=true"), cwd=ROOT, env=dict(used.aws.environment, PYTHONUNBUFFERED="1"),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    seen = []
    for line in run.stdout:
        seen.append(line)
        if sum(moment in one for one in seen if one.startswith("TASK")) == count:
            return run
    raise AssertionError("".join(seen[-30:]))


@NEWEST
def test_a_full_disk_loses_no_password_and_the_next_run_completes(used: Deployment, volume: disk.DatabaseDisk) -> None:
    before = snapshot(used)
    run = begun(used, "Make the companion in the database", 1)
    with run, volume.full():
        used.aws.kill_a_database(database_of(used)["Endpoint"]["Address"])
        told = run.stdout.read()
        assert database_of(used)["DBInstanceStatus"] == "storage-full"
    assert run.returncode != 0, told
    until(lambda: database_of(used)["DBInstanceStatus"] == "available", 60, "the database with room again")
    current, admin = secret(used, "database"), secret(used, "admin")
    assert current == before["database"] and database_lets_in(used, current["username"], current["password"])
    assert admin != before["admin"] and status(used, "admin", admin["password"]) == 200
    with twenty_a_second(used) as load:
        again = rotate(used)
    assert again.returncode == 0 and "the unfinished rotation was completed" in again.stdout, again.stdout[-6000:]
    assert load.failures == [] and is_settled(used), (load.sent, load.failures[:5])
    assert secret(used, "database") != before["database"]
    site_has_nothing_to_change(used)


def kill(used: Deployment, moment: str, count: int, seconds: float) -> None:
    """Run rotate.yml and kill it, with all its processes, so many seconds after a task has begun for the count-th time."""
    run = begun(used, moment, count)
    time.sleep(seconds)
    os.killpg(run.pid, signal.SIGKILL)
    run.stdout.close()
    assert run.wait(timeout=60) == -signal.SIGKILL


def test_killed_at_each_step_nothing_is_lost_and_the_next_run_completes(used: Deployment) -> None:
    """Each run is killed one step further on, and begins with what the killed ones before it left."""
    with twenty_a_second(used) as load:
        for moment, count, seconds in MOMENTS:
            before = snapshot(used)
            kill(used, moment, count, seconds)
            # Whoever starts now gets a login that works, and whoever may be admin still is with one of the two.
            current = secret(used, "database")
            assert database_lets_in(used, current["username"], current["password"]), moment
            known = {before["admin"]["password"], secret(used, "admin")["password"]}
            with contextlib.suppress(StopIteration):
                known.add(secret(used, "admin", "AWSPENDING")["password"])
            assert 200 in {status(used, "admin", password) for password in known}, moment
            print(f"\nkilled in {moment!r}: {load}", flush=True)
        for locked in (rotate(used, "--check"), used.play("site"), used.play("scale", "-e", "scale_desired_count=3")):
            assert locked.returncode != 0 and "it is locked (rotate by" in " ".join(locked.stdout.split()), locked.stdout[-3000:]
        # The last one may have been killed with all done but giving the lock back.
        unfinished = is_under_way(used)
        run = rotate(used, "-e", "break_lock=true")
        assert run.returncode == 0 and ("the unfinished rotation was completed" in run.stdout) == unfinished, run.stdout[-6000:]
        assert is_settled(used)
    assert load.failures == [], (load.sent, load.failures[:5])
    site_has_nothing_to_change(used)
