# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_aws import ecs_cluster_api, ecs_fargate, ecs_memory
from local_aws.ecs_container import base_environment, command_line, declared_environment, docker_exit_code
from local_aws.ecs_health import HEALTHY, UNHEALTHY, UNKNOWN, HealthCheck, HealthState, combined
from local_aws.ecs_requests import RequestError

CONTAINER = {"name": "main", "image": "python:3.11-slim"}


@pytest.mark.parametrize(("cpu", "memory"), [
    ("256", "512"), ("256", "2048"), ("512", "1024"), (".5 vCPU", "1 GB"), ("1024", "8192"), ("4096", "30720"),
    ("16384", "122880"),
])
def test_pairs_that_fargate_offers(cpu, memory):
    assert ecs_fargate.size_error(cpu, memory) is None


@pytest.mark.parametrize(("cpu", "memory"), [
    ("256", "4096"), ("512", "512"), ("512", "1536"), ("1024", "1024"), ("300", "512"), ("8192", "17408"),
    ("one", "512"),
])
def test_pairs_that_fargate_does_not_offer(cpu, memory):
    assert ecs_fargate.size_error(cpu, memory).startswith("No Fargate configuration exists for given values: ")


def test_a_size_is_required():
    assert "'memory'" in ecs_fargate.size_error("256", None)


def request(**container):
    return {
        "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": ".25 vCPU", "memory": "1GB",
        "volumes": container.pop("volumes", [{"name": "v", "host": {}}]),
        "executionRoleArn": container.pop("role", None), "containerDefinitions": [CONTAINER | container],
    }


def test_sizes_are_kept_in_units():
    assert ecs_cluster_api.check_registration(request()) == {"cpu": "256", "memory": "1024"}


@pytest.mark.parametrize(("container", "message"), [
    ({"secrets": [{"name": "A", "valueFrom": "arn"}]}, "must also specify a value for 'executionRoleArn'"),
    ({"portMappings": [{"containerPort": 80, "hostPort": 8080}]}, "must match"),
    ({"privileged": True}, "privileged"),
    ({"stopTimeout": 121}, "at most 120"),
    ({"essential": False}, "at least one container must be essential"),
    ({"mountPoints": [{"sourceVolume": "w", "containerPath": "/tmp"}]}, "unknown volume 'w'"),
    ({"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}, "mount at '/v' of container 'main'"),
    ({"mountPoints": [{"sourceVolume": "v", "containerPath": "/tmp", "readOnly": True}]}, "to be written to"),
    ({"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}, "Volume 'v' is not supported"),
    ({"mountPoints": [{"sourceVolume": "v", "containerPath": "/tmp"}] * 2}, "two containers share"),
    ({"logConfiguration": {"logDriver": "splunk"}}, "use awslogs"),
    ({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "r",
                                                               "awslogs-stream-prefix": "p"}}}, "execution role"),
])
def test_what_fargate_or_the_local_aws_refuses(container, message):
    with pytest.raises(RequestError, match=message):
        ecs_cluster_api.check_registration(request(**container))


@pytest.mark.parametrize(("storage", "changes", "message"), [
    ({"sizeInGiB": 20}, {}, "sizeInGiB 20 is not between 21 and 200"),
    ({"sizeInGiB": 201}, {}, "sizeInGiB 201 is not between"),
    ({}, {}, "sizeInGiB None"),
    ({"sizeInGiB": 30}, {"requiresCompatibilities": ["EC2"]}, "Fargate only"),
])
def test_storage_is_21_to_200_gib_on_fargate_alone(storage, changes, message):
    with pytest.raises(RequestError, match=message):
        ecs_cluster_api.check_registration({**request(), **changes, "ephemeralStorage": storage})
    good = {**request(), "ephemeralStorage": {"sizeInGiB": 21}}
    assert ecs_cluster_api.check_registration(good)["cpu"] == "256"


def test_port_mappings_are_completed_as_awsvpc_does():
    containers = ecs_cluster_api.normal_containers([CONTAINER | {"portMappings": [{"containerPort": 5000}]}])
    assert containers[0]["portMappings"] == [{"containerPort": 5000, "hostPort": 5000, "protocol": "tcp"}]


def test_command_and_environment_are_overridden():
    definition = {"entryPoint": ["sh", "-c"], "command": ["a"], "environment": [{"name": "A", "value": "1"}]}
    override = {"command": ["b"], "environment": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]}
    assert command_line(definition, {}) == ["sh", "-c", "a"]
    assert command_line(definition, override) == ["sh", "-c", "b"]
    assert command_line({}, {}) == ["python3"]
    assert declared_environment(definition, override) == {"A": "2", "B": "3"}


def test_nothing_of_the_daemon_leaks(monkeypatch, tmp_path):
    monkeypatch.setenv("CANARY", "secret")
    environment = base_environment(tmp_path, tmp_path, "127.10.0.2", [5000], "eu-west-2")
    assert "secret" not in environment.values()
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "eu-west-2"


def test_exit_codes_are_those_of_container_engines():
    assert [docker_exit_code(code) for code in (0, 3, -9, -15)] == [0, 3, 137, 143]


def test_a_health_check_is_read_with_the_defaults_of_aws():
    check = HealthCheck.of({"command": ["CMD-SHELL", "curl -f x || exit 1"]})
    assert check.command == ("/bin/sh", "-c", "curl -f x || exit 1")
    assert (check.interval, check.timeout, check.retries, check.start_period) == (30, 5, 3, 0)
    assert HealthCheck.of({"command": ["CMD", "python", "-V"], "retries": 1}).command == ("python", "-V")
    assert HealthCheck.of(None) is None and HealthCheck.of({"command": ["NONE"]}) is None


def test_failures_in_the_start_period_do_not_count():
    state = HealthState(HealthCheck(("x",), retries=2, start_period=10))
    assert [state.record(False, age) for age in (1, 5, 9)] == [UNKNOWN] * 3
    assert [state.record(False, age) for age in (11, 12)] == [UNKNOWN, UNHEALTHY]


def test_a_success_ends_the_start_period_and_heals():
    state = HealthState(HealthCheck(("x",), retries=2, start_period=100))
    assert state.record(True, 1) == HEALTHY
    assert [state.record(False, 2), state.record(False, 3)] == [HEALTHY, UNHEALTHY]
    assert state.record(True, 4) == HEALTHY


@given(st.lists(st.booleans(), max_size=30), st.integers(min_value=1, max_value=5))
def test_unhealthy_needs_that_many_failures_in_a_row(results, retries):
    state = HealthState(HealthCheck(("x",), retries=retries))
    for number, passed in enumerate(results):
        status = state.record(passed, 1)
        assert (status == UNHEALTHY) == (number + 1 >= retries and not any(results[number + 1 - retries: number + 1]))


def test_a_task_is_as_healthy_as_its_worst_container():
    assert combined([]) == UNKNOWN
    assert combined([HEALTHY, UNKNOWN]) == UNKNOWN
    assert combined([HEALTHY, UNHEALTHY]) == UNHEALTHY
    assert combined([HEALTHY]) == HEALTHY


def test_shared_memory_is_counted_once():
    program = (
        "import os, time\ndata = bytearray(os.urandom(1)) * (64 << 20)\n"
        "for _ in range(3):\n    if os.fork() == 0: break\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(30)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        try:
            pids = [int(process.stdout.readline()) for _unused in range(4)]
            time.sleep(0.2)
            exact = ecs_memory.used_bytes(pids, 1)
            resident = ecs_memory.used_bytes(pids, 1 << 40)
        finally:
            os.killpg(process.pid, 9)
    assert resident > 4 * (64 << 20)
    assert 64 << 20 < exact < 2 * (64 << 20)


def test_a_process_that_is_gone_uses_nothing():
    assert ecs_memory.used_bytes([2**22 + 1], 1) == 0
