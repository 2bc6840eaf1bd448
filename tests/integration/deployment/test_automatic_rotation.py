# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets Manager rotates the secrets of a deployment that is in use: no request fails, and what was known is refused."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t

import psutil
import pytest

from tests.integration.deployment.conftest import LIVE, Deployment
from tests.integration.deployment.test_rotate import (
    USERS,
    database_lets_in,
    is_settled,
    rotate,
    secret,
    site_has_nothing_to_change,
    status,
    twenty_a_second,
)

pytestmark = pytest.mark.long
SECRETS = ("database", "admin", "server-key")
# Longer than a rotation of the database takes, and its failures are waited for.
ROTATED_WITHIN = 600


@pytest.fixture(scope="module")
def turning(local_aws_factory: t.Callable, tmp_path_factory: t.Any) -> t.Iterator[Deployment]:
    """Two small tasks, and users whose passwords stay."""
    with local_aws_factory() as aws:
        variables = {**LIVE, **USERS, "mlflow_workers": 2, "mlflow_rotation_days": 90}
        deployment = Deployment(aws, "local", "mlflow-demo", tmp_path_factory.mktemp("deployments"), variables=variables)
        made = deployment.play("site")
        assert made.returncode == 0, made.stdout[-6000:]
        yield deployment


def stages(turning: Deployment, name: str) -> dict[str, list[str]]:
    return turning.client("secretsmanager").describe_secret(SecretId=f"{turning.name}/{name}")["VersionIdsToStages"]


def log(turning: Deployment) -> str:
    return (turning.aws.directory / "daemon.log").read_text()


def wait(turning: Deployment, probe: t.Callable[[], t.Any], seconds: float = ROTATED_WITHIN) -> t.Any:
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, log(turning)[-4000:]
        time.sleep(0.2)
    return found


def start(turning: Deployment, name: str) -> str:
    # Not before the trial is over that switching it on began.
    wait(turning, lambda: not any("AWSPENDING" in labels for labels in stages(turning, name).values()), 120)
    return turning.client("secretsmanager").rotate_secret(SecretId=f"{turning.name}/{name}")["VersionId"]


def finished(turning: Deployment, name: str, version: str) -> bool:
    """Nothing is left to be done, not even the lock to be given back."""
    found = stages(turning, name)
    settled = found.get(version) == ["AWSCURRENT"] and not any("COMPANION" in labels for labels in found.values())
    tags = turning.client("ecs").describe_clusters(clusters=[turning.name], include=["TAGS"])["clusters"][0]["tags"]
    return settled and not any(one["key"].startswith("mlflow-lock") for one in tags)


def function_process(turning: Deployment) -> psutil.Process | None:
    for process in turning.aws.processes():
        with contextlib.suppress(psutil.Error):
            if any("function_process" in word for word in process.cmdline()):
                return process
    return None


def running(turning: Deployment) -> set[str]:
    return set(turning.client("ecs").list_tasks(cluster=turning.name, serviceName=turning.name)["taskArns"])


def function_log(turning: Deployment) -> str:
    events = turning.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{turning.name}-rotation")["events"]
    return "\n".join(event["message"] for event in events)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_rotated_without_a_failed_request_and_what_was_known_is_refused(turning: Deployment, name: str) -> None:
    old, tasks = secret(turning, name), running(turning)
    with twenty_a_second(turning) as load:
        version = start(turning, name)
        wait(turning, lambda: finished(turning, name, version))
    print(f"\n{name}: {load}")
    assert load.failures == [] and load.sent > 20, (load.sent, load.failures[:5])
    new = secret(turning, name)
    assert new != old and set(new) == set(old) and new.get("username") == old.get("username")
    if name == "admin":
        # A worker may remember the old one for as long as LIVE says.
        wait(turning, lambda: {status(turning, "admin", old["password"]) for _try in range(20)} == {401}, 60)
        assert status(turning, "admin", new["password"]) == 200
    if name == "database":
        assert not database_lets_in(turning, "mlflow", old["password"])
        assert database_lets_in(turning, "mlflow", new["password"])
    if name != "admin":
        assert tasks.isdisjoint(running(turning))
    assert is_settled(turning)
    for value in (*old.values(), *new.values()):
        assert value in ("mlflow", "admin") or value not in log(turning)
        assert value in ("mlflow", "admin") or value not in function_log(turning)
    site_has_nothing_to_change(turning)


def has_done(turning: Deployment, version: str, act: str) -> bool:
    return any(line.endswith(f"{version}: {act}") for line in function_log(turning).splitlines())


def killed(turning: Deployment, version: str, act: str, seconds: float) -> None:
    """End the function, so many seconds after it has done this."""
    wait(turning, lambda: has_done(turning, version, act))
    time.sleep(seconds)
    process = wait(turning, lambda: function_process(turning), 60)
    os.killpg(process.pid, signal.SIGKILL)


def test_a_function_that_is_killed_on_its_way_is_called_again_and_finishes(turning: Deployment) -> None:
    old = secret(turning, "database")
    with twenty_a_second(turning) as load:
        version = start(turning, "database")
        for act, seconds in (("store", 0.5), ("promote_companion", 3.0), ("promote", 3.0)):
            killed(turning, version, act, seconds)
            current = secret(turning, "database")
            assert database_lets_in(turning, current["username"], current["password"])
        wait(turning, lambda: finished(turning, "database", version))
    assert load.failures == [], (load.sent, load.failures[:5])
    assert not database_lets_in(turning, "mlflow", old["password"]) and is_settled(turning)
    site_has_nothing_to_change(turning)


def test_the_playbook_finishes_what_the_function_left_and_the_function_waits_for_the_playbook(turning: Deployment) -> None:
    with twenty_a_second(turning) as load:
        version = start(turning, "database")
        wait(turning, lambda: has_done(turning, version, "promote_companion"))
        turning.client("secretsmanager").cancel_rotate_secret(SecretId=f"{turning.name}/database")
        os.killpg(wait(turning, lambda: function_process(turning), 60).pid, signal.SIGKILL)
        for locked in (turning.play("site"), rotate(turning)):
            assert locked.returncode != 0 and "locked (rotate by mlflow-demo-rotation" in " ".join(locked.stdout.split()), locked.stdout[-3000:]
        refused = turning.play("site", "-e", "break_lock=true")
        assert refused.returncode != 0 and "its rotation is unfinished" in " ".join(refused.stdout.split()), refused.stdout[-3000:]
        done = rotate(turning, "-e", "rotate_secrets=database", "-e", "break_lock=true")
        assert done.returncode == 0 and "the unfinished rotation was completed" in done.stdout, done.stdout[-6000:]
        assert finished(turning, "database", version) and is_settled(turning)
        # With the rotation on again, and somebody else's lock.
        back = turning.play("site")
        assert back.returncode == 0, back.stdout[-6000:]
        ecs = turning.client("ecs")
        arn = ecs.describe_clusters(clusters=[turning.name])["clusters"][0]["clusterArn"]
        ecs.tag_resource(resourceArn=arn, tags=[{"key": "mlflow-lock:1", "value": "upgrade by ada since 2026-11-29T12:00:00Z"}])
        version = start(turning, "server-key")
        wait(turning, lambda: f"deployment {turning.name} is locked (upgrade by ada" in log(turning), 150)
        ecs.untag_resource(resourceArn=arn, tagKeys=["mlflow-lock:1"])
        wait(turning, lambda: finished(turning, "server-key", version))
    assert load.failures == [], (load.sent, load.failures[:5])
