# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded ECS from outside: a real daemon, boto3, real processes. Takes about a minute."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import boto3
import botocore.exceptions
import psutil
import pytest
from local_aws import read_only_root

REPOSITORY = Path(__file__).parents[3]
REGION = "eu-west-2"
IMAGE = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
CLUSTER, GROUP = "demo", "/ecs/demo"
PROBE = "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/', timeout=4)"
TAGS = [{"key": "mlflow-deployment", "value": "demo"}]
CHECK = {"command": ["CMD", "python", "-c", PROBE], "interval": 5, "timeout": 5, "retries": 2, "startPeriod": 10}


def free_port():
    """A port that nothing listens on; below the kernel's range for outgoing connections."""
    for port in range(4620, 4640):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port from 4620 to 4639")


def local_aws(environment, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "local_aws", *arguments], cwd=REPOSITORY, env=environment, capture_output=True,
        text=True, timeout=90, check=False,
    )


def processes_of(folder):
    """Every process of this machine that lives off this state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append((process.pid, process.cmdline()))
    return found


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local_aws")
    port = free_port()
    environment = os.environ | {"LOCAL_AWS_PORT": str(port), "LOCAL_AWS_DIR": str(folder), "CANARY_OF_THE_DAEMON": "x"}
    environment.pop("AWS_ENDPOINT_URL", None)
    started = local_aws(environment, "up")
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        ended = local_aws(environment, "down")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line for _unused, line in processes_of(folder) if "pytest" not in " ".join(line)] == []


class Account:
    """The clients and the few resources that every test here needs."""

    def __init__(self, endpoint):
        options = {
            "endpoint_url": endpoint, "region_name": REGION, "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        }
        for name in ("ecs", "ec2", "iam", "logs", "secretsmanager", "resourcegroupstaggingapi"):
            setattr(self, name, boto3.client(name, **options))
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
            for number, zone in enumerate("ab")
        ]
        self.network = {"awsvpcConfiguration": {"subnets": [subnet["Subnet"]["SubnetId"] for subnet in subnets]}}
        self.secret = self.secretsmanager.create_secret(
            Name="demo/db", SecretString=json.dumps({"username": "mlflow", "password": "p%@:/"})
        )["ARN"]
        self.closed_secret = self.secretsmanager.create_secret(Name="demo/closed", SecretString="canary-value")["ARN"]
        self.role = self._role()
        self.logs.create_log_group(logGroupName=GROUP)
        self.ecs.create_cluster(clusterName=CLUSTER)

    def _role(self):
        version = {"Version": "2012-10-17"}
        trust = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        role = self.iam.create_role(
            RoleName="execution", AssumeRolePolicyDocument=json.dumps(version | {"Statement": [trust]})
        )
        statements = [
            {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
             "Resource": f"arn:aws:logs:{REGION}:*:log-group:{GROUP}:*"},
            {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": self.secret},
        ]
        self.iam.put_role_policy(
            RoleName="execution", PolicyName="own", PolicyDocument=json.dumps(version | {"Statement": statements})
        )
        return role["Role"]["Arn"]

    def register(self, family, command, volumes=(), storage=None, **container):
        definition = {
            "name": "main", "image": IMAGE, "command": command, "essential": True,
            "portMappings": [{"containerPort": 5000}],
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": GROUP, "awslogs-region": REGION, "awslogs-stream-prefix": "demo",
            }},
        }
        answer = self.ecs.register_task_definition(
            family=family, requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
            executionRoleArn=self.role, containerDefinitions=[definition | container], volumes=list(volumes),
            **({"ephemeralStorage": {"sizeInGiB": storage}} if storage else {}),
        )
        return answer["taskDefinition"]["taskDefinitionArn"]

    def run(self, definition, **options):
        answer = self.ecs.run_task(
            cluster=CLUSTER, taskDefinition=definition, launchType="FARGATE", networkConfiguration=self.network,
            startedBy="test", **options,
        )
        return answer["tasks"][0]["taskArn"]

    def task(self, arn):
        return self.ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]

    def until(self, arn, *statuses, seconds=60):
        return wait(lambda: next((t for t in [self.task(arn)] if t["lastStatus"] in statuses), None), seconds)

    def finished(self, definition, **options):
        return self.until(self.run(definition, **options), "STOPPED")

    def lines(self, arn):
        stream = f"demo/main/{arn.split('/')[-1]}"
        events = self.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)["events"]
        return [event["message"] for event in events]

    def service(self):
        return self.ecs.describe_services(cluster=CLUSTER, services=["web"])["services"][0]

    def tagged(self):
        """ARNs of the ECS resources that carry the tag of this test."""
        answer = self.resourcegroupstaggingapi.get_resources(
            ResourceTypeFilters=["ecs"], TagFilters=[{"Key": TAGS[0]["key"], "Values": [TAGS[0]["value"]]}]
        )
        return [found["ResourceARN"] for found in answer["ResourceTagMappingList"]]

    def service_tasks(self):
        arns = self.ecs.list_tasks(cluster=CLUSTER, serviceName="web")["taskArns"]
        return self.ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []

    def steady(self, definition, count, seconds=60):
        """Wait until the service runs this many tasks of this definition and nothing else."""
        def look():
            service = self.service()
            done = (
                len(service["deployments"]) == 1 and service["deployments"][0]["rolloutState"] == "COMPLETED"
                and service["taskDefinition"] == definition and service["runningCount"] == count
                and "has reached a steady state." in service["events"][0]["message"]
            )
            return service if done else None
        return wait(look, seconds)


def wait(look, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {look}")


@pytest.fixture(scope="module")
def account(daemon):
    return Account(daemon)


def address(task):
    return task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]


def test_a_task_runs_to_its_end_with_its_exit_code_secrets_and_logs(account):
    command = ["sh", "-c", "echo user=$USERNAME pass=$PASSWORD; echo; env | cut -d= -f1 | sort; printf last; exit 3"]
    secrets = [{"name": "USERNAME", "valueFrom": f"{account.secret}:username::"},
               {"name": "PASSWORD", "valueFrom": f"{account.secret}:password::"}]
    task = account.finished(account.register("once", command, secrets=secrets))
    assert (task["stopCode"], task["stoppedReason"]) == ("EssentialContainerExited",
                                                         "Essential container in task exited")
    assert task["containers"][0]["exitCode"] == 3
    assert task["createdAt"] <= task["startedAt"] <= task["stoppedAt"]
    lines = account.lines(task["taskArn"])
    assert lines[0] == "user=mlflow pass=p%@:/" and lines[-1] == "last" and "" not in lines
    assert "AWS_ENDPOINT_URL" in lines and "CANARY_OF_THE_DAEMON" not in lines
    assert account.ecs.list_tasks(cluster=CLUSTER)["taskArns"] == []
    assert task["taskArn"] in account.ecs.list_tasks(cluster=CLUSTER, desiredStatus="STOPPED")["taskArns"]


def test_a_task_finds_the_credentials_of_its_task_role(account):
    program = (
        "import json, os, urllib.request as u; uri = os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI']; "
        "print(json.load(u.urlopen(uri, timeout=5))['RoleArn'])"
    )
    task = account.finished(account.register("who", ["python", "-c", program]), overrides={"taskRoleArn": account.role})
    assert account.lines(task["taskArn"]) == [account.role]


def test_a_container_above_its_own_limit_is_killed(account):
    program = "import time; data = bytearray(b'x') * (200 << 20); time.sleep(60)"
    task = account.finished(account.register("hungry", ["python", "-c", program], memory=128))
    assert task["containers"][0]["exitCode"] == 137


def test_overrides_reach_the_container(account):
    overrides = {"containerOverrides": [{"name": "main", "command": ["sh", "-c", "echo $A $B"],
                                         "environment": [{"name": "B", "value": "2"}]}]}
    definition = account.register("once", ["false"], environment=[{"name": "A", "value": "1"}])
    task = account.finished(definition, overrides=overrides)
    assert account.lines(task["taskArn"]) == ["1 2"]
    assert task["overrides"]["containerOverrides"][0]["command"] == ["sh", "-c", "echo $A $B"]


def test_a_read_only_root_file_system_is_writable_where_a_volume_is_mounted_alone(account):
    tries = "for folder in $TMPDIR $HOME $(dirname $(which python)); do touch $folder/x 2>&1 && echo written; done"
    command = ["sh", "-c", f"{tries}; echo >/dev/null && python -c 'import json; print(1)'"]
    mount = [{"sourceVolume": "tmp", "containerPath": "/tmp"}]
    writable = account.finished(account.register("plain", command))
    assert account.lines(writable["taskArn"]) == ["written"] * 3 + ["1"]
    confined = account.finished(account.register("confined", command, readonlyRootFilesystem=True))
    mounted = account.finished(account.register(
        "mounted", command, volumes=[{"name": "tmp"}], storage=30, readonlyRootFilesystem=True, mountPoints=mount
    ))  # fmt: skip
    assert [task["ephemeralStorage"]["sizeInGiB"] for task in (confined, mounted)] == [20, 30]
    if read_only_root.version():
        assert [line.split(": ")[-1] for line in account.lines(confined["taskArn"])] == ["Permission denied"] * 3 + ["1"]
        lines = [line.split(": ")[-1] for line in account.lines(mounted["taskArn"])]
        assert lines == ["written"] + ["Permission denied"] * 2 + ["1"]
    else:
        assert "is NOT read-only here" in account.lines(confined["taskArn"])[0]


def failures(account):
    return [
        ({"image": "nginx:latest"}, "CannotPullContainerError: .*nginx:latest: not found"),
        ({"command": ["no-such-program"]}, "CannotStartContainerError: .*no-such-program.*not found"),
        ({"secrets": [{"name": "A", "valueFrom": account.closed_secret}]},
         "ResourceInitializationError: unable to pull secrets.*AccessDeniedException.*demo/closed"),
        ({"secrets": [{"name": "A", "valueFrom": f"{account.secret}:nokey::"}]},
         "ResourceInitializationError: unable to pull secrets.*did not contain json key nokey"),
        ({"logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": "/ecs/missing", "awslogs-region": REGION, "awslogs-stream-prefix": "p"}}},
         "ResourceInitializationError: failed to validate logger args: .*log group does not exist"),
    ]


def test_a_task_that_cannot_start_says_why_in_the_words_of_aws(account):
    for container, reason in failures(account):
        command = container.pop("command", ["true"])
        task = account.finished(account.register("broken", command, **container))
        assert task["stopCode"] == "TaskFailedToStart"
        assert re.match(reason, task["stoppedReason"]), task["stoppedReason"]
        assert "exitCode" not in task["containers"][0] and "startedAt" not in task
        assert "canary-value" not in str(task)


def test_a_task_above_its_memory_is_killed(account):
    program = "import time; data = bytearray(b'x') * (700 << 20); time.sleep(60)"
    task = account.finished(account.register("hungry", ["python", "-c", program]))
    reason = "OutOfMemoryError: Container killed due to memory usage"
    assert task["stoppedReason"] == task["containers"][0]["reason"] == reason
    assert task["containers"][0]["exitCode"] == 137


def test_stop_sends_sigterm_and_kills_what_stays(account):
    polite = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(7)))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    stubborn = (
        "import signal, subprocess, sys, time\nsignal.signal(15, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\nprint('up', flush=True)\n"
        "time.sleep(60)"
    )
    for program, exit_code, last in ((polite, 7, "bye"), (stubborn, 137, "up")):
        arn = account.run(account.register("stop", ["python", "-c", program], stopTimeout=2))
        own = address(account.until(arn, "RUNNING"))
        wait(lambda arn=arn: "up" in account.lines(arn))
        account.ecs.stop_task(cluster=CLUSTER, task=arn, reason="enough")
        task = account.until(arn, "STOPPED")
        assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
        assert task["containers"][0]["exitCode"] == exit_code
        assert account.lines(arn)[-1] == last
        assert not [process for process in psutil.process_iter() if belongs_to(process, own)]


def belongs_to(process, own_address):
    try:
        return process.environ().get("LOCAL_AWS_TASK_ADDRESS") == own_address
    except psutil.Error:
        return False


def test_requests_that_aws_refuses(account):
    refused = botocore.exceptions.ClientError
    definition = account.register("once", ["true"])
    with pytest.raises(refused, match="No Fargate configuration exists for given values"):
        account.ecs.register_task_definition(
            family="illegal", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="512", memory="512",
            containerDefinitions=[{"name": "main", "image": IMAGE}],
        )
    with pytest.raises(refused, match="Network Configuration must be provided"):
        account.ecs.run_task(cluster=CLUSTER, taskDefinition=definition, launchType="FARGATE")
    with pytest.raises(refused, match="not a container in the TaskDefinition"):
        account.run(definition, overrides={"containerOverrides": [{"name": "other"}]})
    with pytest.raises(refused, match="Cluster not found"):
        account.ecs.run_task(cluster="nowhere", taskDefinition=definition, launchType="FARGATE")


def test_the_life_of_a_service(account):
    ecs = account.ecs
    first = account.register("web", ["python", "-m", "http.server", "5000"], healthCheck=CHECK)
    created = ecs.create_service(
        cluster=CLUSTER, serviceName="web", taskDefinition=first, desiredCount=2, launchType="FARGATE",
        networkConfiguration=account.network, clientToken="", propagateTags="SERVICE", tags=TAGS,
        deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}},
    )["service"]
    assert created["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    account.steady(first, 2)
    tasks = account.service_tasks()
    assert {task["healthStatus"] for task in tasks} == {"HEALTHY"}
    assert len({task["availabilityZone"] for task in tasks}) == 2
    for task in tasks:
        assert urllib.request.urlopen(f"http://{address(task)}:5000/", timeout=5).status == 200

    assert sorted(account.tagged()) == sorted([created["serviceArn"], *(task["taskArn"] for task in tasks)])

    # Rolling replacement: never fewer than two tasks run.
    second = account.register("web", ["python", "-m", "http.server", "5000", "-d", "."], healthCheck=CHECK)
    ecs.update_service(cluster=CLUSTER, service="web", taskDefinition=second)
    fewest = 2

    def rolled():
        nonlocal fewest
        service = account.service()
        fewest = min(fewest, service["runningCount"])
        return service["deployments"][0]["rolloutState"] == "COMPLETED" and len(service["deployments"]) == 1
    wait(rolled)
    assert fewest == 2
    account.steady(second, 2)
    before = {task["taskArn"] for task in account.service_tasks()}

    # A crash: replaced, with the reason kept.
    victim = account.service_tasks()[0]
    for process in psutil.process_iter():
        if belongs_to(process, address(victim)):
            process.kill()
    stopped = account.until(victim["taskArn"], "STOPPED")
    assert (stopped["stopCode"], stopped["containers"][0]["exitCode"]) == ("EssentialContainerExited", 137)
    account.steady(second, 2)
    assert len({task["taskArn"] for task in account.service_tasks()} - before) == 1

    # A definition that cannot work: the breaker rolls back, the good tasks stay.
    good = {task["taskArn"] for task in account.service_tasks()}
    broken = account.register("web", ["sh", "-c", "echo no; exit 1"], healthCheck=CHECK)
    ecs.update_service(cluster=CLUSTER, service="web", taskDefinition=broken)
    wait(lambda: any("rolling back to" in event["message"] for event in account.service()["events"]))
    account.steady(second, 2)
    assert {task["taskArn"] for task in account.service_tasks()} == good

    with pytest.raises(botocore.exceptions.ClientError, match="Services are active"):
        ecs.delete_cluster(cluster=CLUSTER)
    ecs.update_service(cluster=CLUSTER, service="web", desiredCount=1)
    account.steady(second, 1)
    with pytest.raises(botocore.exceptions.ClientError, match="scaled above 0"):
        ecs.delete_service(cluster=CLUSTER, service="web")
    ecs.delete_service(cluster=CLUSTER, service="web", force=True)
    wait(lambda: account.service()["status"] == "INACTIVE")
    assert ecs.list_services(cluster=CLUSTER)["serviceArns"] == []
    assert account.service_tasks() == [] and account.tagged() == []
    assert account.ecs.delete_cluster(cluster=CLUSTER)["cluster"]["status"] == "INACTIVE"
