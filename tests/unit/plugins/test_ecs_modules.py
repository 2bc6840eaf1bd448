# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ECS modules against recorded answers: each test lists the calls it expects, in order, with what must be in them.

What the calls do is tested on the local AWS, in tests/integration.
"""

from __future__ import annotations

import datetime
import typing as t

import pytest
from botocore.exceptions import ClientError

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import ecs_client, ecs_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    cloudwatch_log_events_info,
    ecs_cluster,
    ecs_one_off_task,
    ecs_service,
    ecs_service_info,
    ecs_service_tag,
    ecs_task_definition,
)

ARN = "arn:aws:ecs:eu-west-2:123456789012:task-definition/web:3"
TASK = "arn:aws:ecs:eu-west-2:123456789012:task/web/0f1e2d3c"
GROUP = "arn:aws:elasticloadbalancing:eu-west-2:123456789012:targetgroup/web/1"
OURS = {"owner": "us"}
API_TAGS = [{"key": "owner", "value": "us"}]
THEN = datetime.datetime(2026, 11, 20, 9, 30, tzinfo=datetime.timezone.utc)
pytestmark = pytest.mark.usefixtures("aws_environment")


def refusal(code: str, operation: str = "Call") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


class Recorded:
    """Stands for every client: answers calls in the order given and insists on that order."""

    def __init__(self, *calls: tuple[str, t.Any, dict]):
        self.calls = list(calls)

    def answer(self, name: str, arguments: dict) -> t.Any:
        assert self.calls, f"unexpected call {name}({arguments})"
        expected, answer, wanted = self.calls.pop(0)
        assert name == expected
        for key, value in wanted.items():
            assert arguments.get(key) == value, f"{name}: {key}"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __getattr__(self, name: str) -> t.Callable:
        return lambda **arguments: self.answer(name, arguments)

    def get_paginator(self, name: str) -> t.Any:
        recorded = self

        class Pages:
            def paginate(self, **arguments: t.Any) -> list:
                return [recorded.answer(name, arguments)]

        return Pages()


def call(name: str, answer: t.Any = None, **wanted: t.Any) -> tuple[str, t.Any, dict]:
    return name, {} if answer is None else answer, wanted


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Callable[..., None]]:
    client = Recorded()
    monkeypatch.setattr(ecs_client, "connect", lambda module, service: client)
    monkeypatch.setattr(ecs_client.time, "sleep", lambda seconds: None)

    def expect(*calls: tuple[str, t.Any, dict]) -> None:
        client.calls = list(calls)

    yield expect
    assert not client.calls, f"calls that never came: {client.calls}"


# --- ecs_cluster

CLUSTER = {"clusterName": "web", "clusterArn": "arn:cluster/web", "status": "ACTIVE", "tags": API_TAGS}
PROVIDERS = ["FARGATE_SPOT", "FARGATE"]


def test_cluster_is_made_with_its_tags(recorded, run_module):
    recorded(
        call("describe_clusters", {"clusters": [{"status": "INACTIVE"}]}),
        call("create_cluster", {"cluster": CLUSTER}, clusterName="web", tags=API_TAGS),
    )
    result = run_module(ecs_cluster, {"name": "web", "tags": OURS})
    assert (result["changed"], result["cluster_arn"]) == (True, "arn:cluster/web")


def test_cluster_prediction_writes_nothing(recorded, run_module):
    recorded(call("describe_clusters", {"clusters": []}))
    result = run_module(ecs_cluster, {"name": "web", "tags": OURS}, check=True)
    assert (result["changed"], result["cluster_arn"]) == (True, None)


def test_cluster_as_asked_for_is_left_alone(recorded, run_module):
    recorded(call("describe_clusters", {"clusters": [dict(CLUSTER, capacityProviders=PROVIDERS)]}))
    assert not run_module(ecs_cluster, {"name": "web", "tags": OURS})["changed"]


def test_cluster_is_brought_in_line(recorded, run_module):
    stale = dict(CLUSTER, tags=[{"key": "old", "value": "1"}], capacityProviders=[])
    recorded(
        call("describe_clusters", {"clusters": [stale]}),
        call("put_cluster_capacity_providers", capacityProviders=["FARGATE", "FARGATE_SPOT"]),
        call("tag_resource", tags=API_TAGS),
        call("untag_resource", tagKeys=["old"]),
    )
    assert run_module(ecs_cluster, {"name": "web", "tags": OURS})["changed"]


def test_cluster_is_measured_as_asked_for(recorded, run_module):
    measured = dict(CLUSTER, capacityProviders=PROVIDERS, settings=[{"name": "containerInsights", "value": "enhanced"}])
    options = {"name": "web", "tags": OURS, "container_insights": "enhanced"}
    recorded(call("describe_clusters", {"clusters": [measured]}))
    assert not run_module(ecs_cluster, options)["changed"]
    wanted = [{"name": "containerInsights", "value": "disabled"}]
    recorded(
        call("describe_clusters", {"clusters": [measured]}), call("update_cluster", settings=wanted)
    )
    answer = run_module(ecs_cluster, {"name": "web", "tags": OURS})
    assert answer["changed"] and answer["diff"]["before"]["container_insights"] == "enhanced"


def test_cluster_providers_alone_are_brought_in_line(recorded, run_module):
    recorded(
        call("describe_clusters", {"clusters": [dict(CLUSTER, capacityProviders=[])]}),
        call("put_cluster_capacity_providers"),
    )
    assert run_module(ecs_cluster, {"name": "web", "tags": OURS})["changed"]


def test_cluster_tags_alone_are_brought_in_line(recorded, run_module):
    recorded(
        call("describe_clusters", {"clusters": [dict(CLUSTER, tags=[], capacityProviders=PROVIDERS)]}),
        call("tag_resource", tags=API_TAGS),
    )
    assert run_module(ecs_cluster, {"name": "web", "tags": OURS})["changed"]


def test_cluster_is_removed_once_empty(recorded, run_module):
    recorded(
        call("describe_clusters", {"clusters": [CLUSTER]}),
        call("delete_cluster", refusal("ClusterContainsTasksException")),
        call("delete_cluster", cluster="web"),
    )
    assert run_module(ecs_cluster, {"name": "web", "state": "absent", "tags": OURS})["changed"]


def test_cluster_that_stays_full_is_an_error(recorded, run_module):
    recorded(
        call("describe_clusters", {"clusters": [CLUSTER]}),
        call("delete_cluster", refusal("ClusterContainsTasksException")),
    )
    options = {"name": "web", "state": "absent", "tags": OURS, "wait_timeout": 0}
    assert "still runs tasks after 0 s" in run_module(ecs_cluster, options)["msg"]


def test_missing_cluster_is_absent(recorded, run_module):
    recorded(call("describe_clusters", {"clusters": []}))
    assert not run_module(ecs_cluster, {"name": "web", "state": "absent", "tags": OURS})["changed"]


def test_cluster_removal_is_predicted(recorded, run_module):
    recorded(call("describe_clusters", {"clusters": [CLUSTER]}))
    assert run_module(ecs_cluster, {"name": "web", "state": "absent", "tags": OURS}, check=True)["changed"]


def test_foreign_cluster_is_not_removed(recorded, run_module):
    recorded(call("describe_clusters", {"clusters": [dict(CLUSTER, tags=[])]}))
    result = run_module(ecs_cluster, {"name": "web", "state": "absent", "tags": OURS})
    assert result["failed"] and "not ours to remove" in result["msg"]


def test_cluster_errors_name_the_cluster(recorded, run_module):
    recorded(call("describe_clusters", refusal("AccessDeniedException")))
    result = run_module(ecs_cluster, {"name": "web", "tags": OURS})
    assert result["msg"].startswith("Cluster web: ") and "denied" in result["msg"].lower()


# --- ecs_task_definition

CONTAINER = {"name": "web", "image": "python:3.11-slim"}
DEFINITION = {
    "family": "web",
    "taskDefinitionArn": ARN,
    "revision": 3,
    "cpu": "256",
    "memory": "512",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
    "containerDefinitions": [dict(CONTAINER, cpu=0, essential=True)],
}
ASK = {"family": "web", "cpu": 256, "memory": 512, "containers": [CONTAINER], "tags": OURS}


def test_task_definition_is_registered_when_there_is_none(recorded, run_module):
    recorded(
        call("describe_task_definition", refusal("ClientException")),
        call("register_task_definition", {"taskDefinition": DEFINITION}, family="web", cpu="256", tags=API_TAGS),
    )
    result = run_module(ecs_task_definition, ASK)
    assert (result["changed"], result["task_definition_arn"], result["revision"]) == (True, ARN, 3)


def test_task_definition_as_asked_for_is_left_alone(recorded, run_module):
    recorded(call("describe_task_definition", {"taskDefinition": DEFINITION, "tags": API_TAGS}))
    result = run_module(ecs_task_definition, ASK)
    assert (result["changed"], result["task_definition_arn"]) == (False, ARN)


def test_numbers_in_the_environment_become_text(recorded, run_module):
    as_text = dict(CONTAINER, environment=[{"name": "PORT", "value": "5000"}])
    as_number = dict(CONTAINER, environment=[{"name": "PORT", "value": 5000}])
    recorded(
        call("describe_task_definition", refusal("ClientException")),
        call("register_task_definition", {"taskDefinition": DEFINITION}, containerDefinitions=[as_text]),
    )
    assert run_module(ecs_task_definition, dict(ASK, containers=[as_number]))["changed"]


@pytest.mark.parametrize("other", [{"cpu": 512}, {"memory": 1024}, {"task_role_arn": "arn:r"}, {"tags": {"owner": "x"}}])
def test_task_definition_change_is_predicted(recorded, run_module, other):
    recorded(call("describe_task_definition", {"taskDefinition": DEFINITION, "tags": API_TAGS}))
    result = run_module(ecs_task_definition, dict(ASK, **other), check=True)
    assert (result["changed"], result["task_definition_arn"]) == (True, None)
    assert result["diff"]["before"] != result["diff"]["after"]


@pytest.mark.parametrize(("had", "asked", "changed"), [(None, 20, False), (20, 20, False), (50, 50, False), (50, 20, True), (None, 50, True)])
def test_storage_that_nobody_speaks_of_is_fargates_own(recorded, run_module, had, asked, changed):
    definition = {**DEFINITION, **({"ephemeralStorage": {"sizeInGiB": had}} if had else {})}
    result = {"taskDefinition": DEFINITION}
    said = {"sizeInGiB": asked} if asked != 20 else None
    recorded(
        call("describe_task_definition", {"taskDefinition": definition, "tags": API_TAGS}),
        *([call("register_task_definition", result, ephemeralStorage=said)] if changed else []),
    )
    assert run_module(ecs_task_definition, dict(ASK, ephemeral_storage=asked))["changed"] is changed


def test_storage_that_fargate_does_not_give_is_refused(recorded, run_module):
    recorded()
    result = run_module(ecs_task_definition, dict(ASK, ephemeral_storage=201))
    assert result["failed"] and "ephemeral_storage = 201: Fargate gives 20 to 200 GiB" in result["msg"]


def test_only_our_revisions_of_the_family_are_removed(recorded, run_module):
    foreign = ARN.replace(":3", ":2")
    retired = ARN.replace(":3", ":1")
    recorded(
        call("list_task_definitions", {"taskDefinitionArns": [foreign, ARN, ARN.replace("web", "website")]}),
        call("describe_task_definition", {"taskDefinition": DEFINITION, "tags": []}, taskDefinition=foreign),
        call("describe_task_definition", {"taskDefinition": DEFINITION, "tags": API_TAGS}, taskDefinition=ARN),
        call("list_task_definitions", {"taskDefinitionArns": [retired]}, status="INACTIVE"),
        call("describe_task_definition", {"taskDefinition": DEFINITION, "tags": API_TAGS}, taskDefinition=retired),
        call("deregister_task_definition", taskDefinition=ARN),
        call("delete_task_definitions", taskDefinitions=[ARN, retired]),
    )
    result = run_module(ecs_task_definition, {"family": "web", "state": "absent", "tags": OURS})
    assert result["removed"] == [ARN, retired]


def test_nothing_to_remove_is_no_change(recorded, run_module):
    recorded(*[call("list_task_definitions", {"taskDefinitionArns": []})] * 2)
    assert not run_module(ecs_task_definition, {"family": "web", "state": "absent", "tags": OURS}, check=True)["changed"]


def test_task_definition_errors_name_the_family(recorded, run_module):
    recorded(call("describe_task_definition", refusal("AccessDeniedException")))
    assert run_module(ecs_task_definition, ASK)["msg"].startswith("Task definition web: ")


# --- ecs_one_off_task

LOGGED = {
    "containerDefinitions": [
        {
            "name": "web",
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "/ecs/web", "awslogs-stream-prefix": "p"},
            },
        }
    ]
}
RUN = {
    "cluster": "web",
    "task_definition": ARN,
    "container": "web",
    "command": ["migrate"],
    "subnets": ["subnet-1"],
    "security_groups": ["sg-1"],
}
STARTED = call(
    "run_task",
    {"tasks": [{"taskArn": TASK}], "failures": []},
    overrides={"containerOverrides": [{"name": "web", "command": ["migrate"]}]},
)
ENDED = {"lastStatus": "STOPPED", "stopCode": "EssentialContainerExited", "containers": [{"name": "web", "exitCode": 0}]}
FAILED = dict(ENDED, stoppedReason="Essential container in task exited", containers=[{"name": "web", "exitCode": 1}])


def last_words(*lines: str) -> list:
    return [
        call("describe_task_definition", {"taskDefinition": LOGGED}),
        call("get_log_events", {"events": [{"message": line} for line in lines]}, logStreamName="p/web/0f1e2d3c"),
    ]


def test_task_runs_to_its_end(recorded, run_module):
    recorded(
        STARTED,
        call("describe_tasks", {"tasks": []}),
        call("describe_tasks", {"tasks": [{"lastStatus": "RUNNING"}]}),
        call("describe_tasks", {"tasks": [ENDED]}),
        *last_words("ready"),
    )
    result = run_module(ecs_one_off_task, RUN)
    assert (result["changed"], result["task_arn"], result["log_tail"]) == (True, TASK, ["ready"])


def test_task_tells_as_many_lines_as_asked_for(recorded, run_module):
    definition, events = last_words("one", "two")
    recorded(STARTED, call("describe_tasks", {"tasks": [ENDED]}), definition, (*events[:2], {"limit": 250}))
    assert run_module(ecs_one_off_task, dict(RUN, log_lines=250))["log_tail"] == ["one", "two"]


def test_failed_task_says_why_and_what_it_logged(recorded, run_module):
    recorded(STARTED, call("describe_tasks", {"tasks": [FAILED]}), *last_words("no route to the database"))
    result = run_module(ecs_one_off_task, RUN)
    assert "exited with code 1" in result["msg"] and "no route to the database" in result["msg"]


def test_task_that_never_logged_says_so(recorded, run_module):
    recorded(
        STARTED,
        call("describe_tasks", {"tasks": [FAILED]}),
        call("describe_task_definition", {"taskDefinition": LOGGED}),
        call("get_log_events", refusal("ResourceNotFoundException")),
    )
    assert "It wrote no log line." in run_module(ecs_one_off_task, RUN)["msg"]


def test_task_that_does_not_end_is_stopped(recorded, run_module):
    recorded(
        STARTED,
        call("describe_tasks", {"tasks": [{"lastStatus": "RUNNING"}]}),
        *last_words("waiting"),
        call("stop_task", task=TASK),
    )
    result = run_module(ecs_one_off_task, dict(RUN, wait_timeout=0))
    assert "had not ended after 0 s" in result["msg"]


def test_task_that_ecs_refuses_is_an_error(recorded, run_module):
    recorded(call("run_task", {"tasks": [], "failures": [{"reason": "RESOURCE:ENI"}]}))
    assert "RESOURCE:ENI" in run_module(ecs_one_off_task, dict(RUN, command=None, assign_public_ip=True))["msg"]


def test_task_errors_name_the_task_definition(recorded, run_module):
    recorded(call("run_task", refusal("ClusterNotFoundException")))
    assert ARN in run_module(ecs_one_off_task, RUN)["msg"]


def test_task_gets_an_environment_of_its_own(recorded, run_module):
    override = {"name": "web", "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "x"}]}
    recorded(
        call("run_task", {"tasks": [{"taskArn": TASK}], "failures": []}, overrides={"containerOverrides": [override]}),
        call("describe_tasks", {"tasks": [ENDED]}),
        *last_words("ready"),
    )
    assert run_module(ecs_one_off_task, dict(RUN, command=None, environment={"B": "x", "A": 1}))["changed"]
def test_one_run_has_variables_of_its_own(recorded, run_module):
    override = {"name": "web", "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "two"}]}
    recorded(call("run_task", refusal("ClusterNotFoundException"), overrides={"containerOverrides": [override]}))
    run_module(ecs_one_off_task, dict(RUN, command=None, container="web", environment={"B": "two", "A": 1}))


def test_task_prediction_starts_nothing(recorded, run_module):
    recorded()
    assert run_module(ecs_one_off_task, RUN, check=True)["changed"]


# --- ecs_service

SERVE = {
    "name": "web",
    "cluster": "web",
    "task_definition": ARN,
    "desired_count": 2,
    "subnets": ["subnet-2", "subnet-1"],
    "security_groups": ["sg-1"],
    "target_group_arn": GROUP,
    "container": "web",
    "container_port": 8000,
    "health_check_grace_period": 60,
    "tags": OURS,
}
NETWORK = {"subnets": ["subnet-2", "subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
PRIMARY = {"status": "PRIMARY", "taskDefinition": ARN, "runningCount": 2, "rolloutState": "COMPLETED", "createdAt": 1}
SERVICE = {
    "serviceArn": "arn:service/web",
    "serviceName": "web",
    "status": "ACTIVE",
    "taskDefinition": ARN,
    "desiredCount": 2,
    "runningCount": 2,
    "pendingCount": 0,
    "deployments": [PRIMARY],
    "deploymentConfiguration": {
        "minimumHealthyPercent": 100,
        "maximumPercent": 200,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    },
    "networkConfiguration": {"awsvpcConfiguration": NETWORK},
    "loadBalancers": [{"targetGroupArn": GROUP, "containerName": "web", "containerPort": 8000}],
    "healthCheckGracePeriodSeconds": 60,
    "tags": API_TAGS,
    "events": [{"message": "has started 2 tasks", "createdAt": THEN}],
}


def found(*services: dict) -> tuple:
    return call("describe_services", {"services": list(services)}, cluster="web")


def health(*states: str) -> tuple:
    targets = [{"Target": {"Id": "10.0.0.1", "Port": 8000}, "TargetHealth": {"State": state}} for state in states]
    return call("describe_target_health", {"TargetHealthDescriptions": targets})


def test_service_is_created_and_awaited(recorded, run_module):
    recorded(
        call("describe_services", refusal("ClusterNotFoundException")),
        call(
            "create_service", serviceName="web", desiredCount=2, tags=API_TAGS,
            capacityProviderStrategy=[{"capacityProvider": "FARGATE", "base": 0, "weight": 1}],
        ),
        found(SERVICE),
        health("initial", "healthy"),
        found(SERVICE),
        health("healthy", "healthy"),
        found(SERVICE),
    )
    result = run_module(ecs_service, SERVE)
    assert result["changed"] and result["service"]["task_definition"] == ARN


def test_service_as_asked_for_is_left_alone(recorded, run_module):
    recorded(found(SERVICE), found(SERVICE), health("healthy", "healthy"), found(SERVICE))
    assert not run_module(ecs_service, SERVE)["changed"]


@pytest.mark.parametrize(
    "other",
    [
        {"desired_count": 3},
        {"task_definition": ARN + "0"},
        {"subnets": ["subnet-1"]},
        {"minimum_healthy_percent": 50},
        {"assign_public_ip": True},
        {"spot": True},
        {"tags": {}},
    ],
)
def test_service_change_is_predicted(recorded, run_module, other):
    recorded(found(SERVICE), found(SERVICE))
    result = run_module(ecs_service, dict(SERVE, **other), check=True)
    assert result["changed"] and result["diff"]["before"] != result["diff"]["after"]


def test_number_of_tasks_that_something_else_has_chosen_is_kept_within_its_bounds(recorded, run_module):
    bounds = dict(SERVE, min_count=2, max_count=4)
    for count, changed in ((2, False), (4, False), (5, True), (0, True)):
        scaled = dict(SERVICE, desiredCount=count)
        recorded(found(scaled), found(scaled))
        result = run_module(ecs_service, bounds, check=True)
        assert result["changed"] is changed
        assert result["diff"]["after"]["desiredCount"] == min(max(count, 2), 4)
    recorded(found(SERVICE))
    assert "min_count = 5: it is above max_count = 4" in run_module(ecs_service, dict(bounds, min_count=5))["msg"]


def test_service_is_updated_with_its_tags(recorded, run_module):
    stale = dict(SERVICE, desiredCount=1, tags=[{"key": "old", "value": "1"}])
    recorded(
        found(stale),
        call("update_service", desiredCount=2, forceNewDeployment=False),
        call("tag_resource", tags=API_TAGS),
        call("untag_resource", tagKeys=["old"]),
        found(SERVICE),
    )
    assert run_module(ecs_service, dict(SERVE, wait=False))["changed"]


def test_service_that_ecs_gave_up_is_pushed(recorded, run_module):
    given_up = dict(SERVICE, deployments=[dict(PRIMARY, rolloutState="FAILED")])
    recorded(found(given_up), call("update_service", forceNewDeployment=True), found(SERVICE))
    assert run_module(ecs_service, dict(SERVE, wait=False))["changed"]


def test_service_moves_to_spot_and_back_by_a_new_deployment(recorded, run_module):
    spot = ecs_rules.capacity_strategy(True, 1)
    assert [(one["capacityProvider"], one["base"]) for one in spot] == [("FARGATE", 1), ("FARGATE_SPOT", 0)]
    all_of_it = ecs_rules.capacity_strategy(True, 0)
    assert [one["capacityProvider"] for one in all_of_it] == ["FARGATE_SPOT"]
    moved = dict(SERVICE, capacityProviderStrategy=spot[::-1])
    push = {"capacityProviderStrategy": spot, "forceNewDeployment": True}
    recorded(found(SERVICE), call("update_service", **push), found(moved))
    assert run_module(ecs_service, dict(SERVE, spot=True, wait=False))["changed"]
    recorded(found(moved), found(moved))
    assert not run_module(ecs_service, dict(SERVE, spot=True, wait=False))["changed"]
    recorded(found(moved), call("update_service", forceNewDeployment=True), found(SERVICE))
    assert run_module(ecs_service, dict(SERVE, wait=False))["changed"]


def test_service_tags_alone_need_no_deployment(recorded, run_module):
    recorded(found(dict(SERVICE, tags=[])), call("tag_resource", tags=API_TAGS), found(SERVICE))
    assert run_module(ecs_service, dict(SERVE, wait=False))["changed"]


def test_service_without_load_balancer(recorded, run_module):
    options = {key: value for key, value in SERVE.items() if key not in ("target_group_arn", "health_check_grace_period")}
    recorded(found(), call("create_service"), found(SERVICE), found(SERVICE))
    assert run_module(ecs_service, options)["changed"]


def test_draining_service_is_awaited_before_it_is_made_anew(recorded, run_module):
    recorded(
        found(dict(SERVICE, status="DRAINING")),
        found(),
        call("list_tasks", refusal("ServiceNotFoundException")),
        call("create_service"),
        found(SERVICE),
    )
    assert run_module(ecs_service, dict(SERVE, wait=False))["changed"]


def test_failed_deployment_says_what_the_task_said(recorded, run_module):
    gone_back = dict(SERVICE, deployments=[dict(PRIMARY, taskDefinition=ARN.replace(":3", ":2"))])
    stopped = dict(FAILED, taskArn=TASK, taskDefinitionArn=ARN, stoppedAt=2)
    of_before = dict(FAILED, taskArn=TASK, taskDefinitionArn="other", stoppedAt=3)
    recorded(
        found(dict(SERVICE, desiredCount=1)),
        call("update_service"),
        found(gone_back),
        health("healthy"),
        call("list_tasks", {"taskArns": [TASK]}, desiredStatus="STOPPED"),
        call("describe_tasks", {"tasks": [of_before, stopped]}),
        found(gone_back),
        *last_words("ModuleNotFoundError: mlflow"),
    )
    result = run_module(ecs_service, SERVE)
    assert "ECS went back to web:2" in result["msg"]
    assert "exited with code 1" in result["msg"] and "ModuleNotFoundError" in result["msg"]


def test_late_service_says_how_far_it_got(recorded, run_module):
    recorded(
        found(SERVICE),
        found(dict(SERVICE, deployments=[dict(PRIMARY, runningCount=1)])),
        health("healthy"),
        call("list_tasks", {"taskArns": []}),
        found(SERVICE),
    )
    result = run_module(ecs_service, dict(SERVE, wait_timeout=0))
    assert "not steady after 0 s: 1 of 2 tasks are running; has started 2 tasks" in result["msg"]


def test_service_deleted_meanwhile_is_an_error(recorded, run_module):
    recorded(found(SERVICE), found(), call("list_tasks", {"taskArns": []}), found())
    assert "deleted meanwhile" in run_module(ecs_service, SERVE)["msg"]


RESTART = {"name": "web", "cluster": "web", "state": "restarted", "tags": OURS}
OLD = dict(PRIMARY, id="old")
NEW = dict(PRIMARY, id="new", rolloutState="IN_PROGRESS", runningCount=1)
DONE = dict(SERVICE, deployments=[dict(PRIMARY, id="new")])


def restarts() -> list:
    rolling = dict(SERVICE, deployments=[NEW, dict(OLD, status="ACTIVE")])
    return [
        found(dict(SERVICE, deployments=[OLD])),
        call("update_service", {"service": rolling}, service="web", forceNewDeployment=True),
    ]


def drained(*statuses: str) -> list:
    return [
        call("list_tasks", {"taskArns": [TASK]}, desiredStatus="STOPPED"),
        call("describe_tasks", {"tasks": [{"lastStatus": status} for status in statuses]}),
    ]


def test_restarted_service_is_awaited_until_the_replaced_tasks_have_ended(recorded, run_module):
    recorded(
        *restarts(),
        # What ECS tells may lag behind: a service that is steady still, but on the deployment before.
        found(dict(SERVICE, deployments=[OLD])), health("healthy", "healthy"),
        found(dict(SERVICE, deployments=[NEW, dict(OLD, status="ACTIVE")])), health("healthy", "healthy"),
        found(DONE), health("healthy", "healthy"),
        *drained("STOPPED", "DEACTIVATING"),
        *drained("STOPPED", "DEPROVISIONING"),
        found(DONE),
    )  # fmt: skip
    assert run_module(ecs_service, RESTART)["changed"]


def test_restart_that_ecs_gives_up_says_what_the_task_said(recorded, run_module):
    gone = dict(SERVICE, deployments=[dict(OLD, id="rollback"), dict(NEW, status="ACTIVE", rolloutState="FAILED")])
    recorded(
        *restarts(),
        found(gone), health("healthy"),
        call("list_tasks", {"taskArns": [TASK]}),
        call("describe_tasks", {"tasks": [dict(FAILED, taskArn=TASK, taskDefinitionArn=ARN)]}),
        found(gone),
        *last_words("launcher: error: wrong password"),
    )  # fmt: skip
    result = run_module(ecs_service, RESTART)
    assert "circuit breaker" in result["msg"] and "wrong password" in result["msg"]


def test_restart_whose_replaced_tasks_never_end_is_an_error(recorded, run_module):
    recorded(*restarts(), found(DONE), health("healthy", "healthy"), *drained("DEACTIVATING"))
    assert "tasks that were replaced still drain after 0 s" in run_module(ecs_service, dict(RESTART, wait_timeout=0))["msg"]


def test_restart_without_waiting_and_without_load_balancer(recorded, run_module):
    plain = dict(SERVICE, deployments=[OLD], loadBalancers=[])
    recorded(found(plain), call("update_service", {"service": DONE}), found(DONE))
    assert run_module(ecs_service, dict(RESTART, wait=False))["changed"]


def test_restart_is_predicted(recorded, run_module):
    recorded(found(SERVICE), found(SERVICE))
    assert run_module(ecs_service, RESTART, check=True)["changed"]


def test_only_a_service_of_ours_that_runs_is_restarted(recorded, run_module):
    recorded(found())
    assert "does not run: deploy it first" in run_module(ecs_service, RESTART)["msg"]
    recorded(found(dict(SERVICE, tags=[])))
    assert "not ours to touch; correct the name" in run_module(ecs_service, RESTART)["msg"]


def test_service_is_removed_and_awaited(recorded, run_module):
    recorded(
        found(SERVICE),
        call("delete_service", service="web", force=True),
        found(dict(SERVICE, status="DRAINING")),
        found(),
        call("list_tasks", {"taskArns": [TASK]}, desiredStatus="RUNNING"),
        call("describe_tasks", {"tasks": [{"lastStatus": "DEACTIVATING"}]}),
        found(),
        call("list_tasks", {"taskArns": []}),
    )
    assert run_module(ecs_service, {"name": "web", "cluster": "web", "state": "absent", "tags": OURS})["changed"]


def test_service_that_does_not_drain_is_an_error(recorded, run_module):
    draining = dict(SERVICE, status="DRAINING")
    recorded(found(draining), found(draining))
    options = {"name": "web", "cluster": "web", "state": "absent", "tags": OURS, "wait_timeout": 0}
    assert "still draining after 0 s" in run_module(ecs_service, options)["msg"]


def test_service_removal_without_waiting(recorded, run_module):
    recorded(found(SERVICE), call("delete_service"))
    options = {"name": "web", "cluster": "web", "state": "absent", "tags": OURS, "wait": False}
    assert run_module(ecs_service, options)["changed"]


def test_missing_service_is_absent_also_in_check_mode(recorded, run_module):
    for check in (True, False):
        recorded(found(dict(SERVICE, status="INACTIVE")))
        options = {"name": "web", "cluster": "web", "state": "absent", "tags": OURS}
        assert not run_module(ecs_service, options, check=check)["changed"]


def test_service_removal_is_predicted(recorded, run_module):
    recorded(found(SERVICE))
    options = {"name": "web", "cluster": "web", "state": "absent", "tags": OURS}
    assert run_module(ecs_service, options, check=True)["changed"]


def test_foreign_service_is_not_removed(recorded, run_module):
    recorded(found(dict(SERVICE, tags=[])))
    options = {"name": "web", "cluster": "web", "state": "absent", "tags": OURS}
    assert "not ours to touch; remove it by hand" in run_module(ecs_service, options)["msg"]


STOP = {"name": "web", "cluster": "web", "state": "stopped", "tags": OURS, "wait_timeout": 1}


def test_a_service_is_stopped_and_kept(recorded, run_module):
    running = dict(SERVICE, desiredCount=2, runningCount=2)
    stopping, stopped = dict(running, desiredCount=0), dict(SERVICE, desiredCount=0, runningCount=0)
    recorded(found(running), call("update_service", desiredCount=0), found(stopping), found(stopped), found(stopped))
    done = run_module(ecs_service, {**STOP, "wait_timeout": 60})
    assert done["changed"] and done["diff"]["before"] == {"desiredCount": 2} and done["service"]["desired_count"] == 0
    # An interrupted run has asked for it already; there may be no service at all.
    recorded(found(stopping), found(stopped), found(stopped))
    assert not run_module(ecs_service, STOP)["changed"]
    recorded(found(), found())
    assert run_module(ecs_service, STOP)["service"] is None


def test_stopping_a_service_is_predicted_refused_and_given_up(recorded, run_module):
    running = dict(SERVICE, desiredCount=2, runningCount=2)
    recorded(found(running), found(running))
    assert run_module(ecs_service, STOP, check=True)["changed"]
    recorded(found(dict(running, tags=[])))
    assert "not ours to touch; stop it by hand" in run_module(ecs_service, STOP)["msg"]
    recorded(found(running), call("update_service"), found(running))
    assert "tasks that run after 1 s" in run_module(ecs_service, STOP)["msg"]


def test_service_prediction_on_an_empty_account(recorded, run_module):
    recorded(found(), found())
    result = run_module(ecs_service, SERVE, check=True)
    assert result["changed"] and result["service"] is None


def test_service_errors_name_the_service(recorded, run_module):
    recorded(call("describe_services", refusal("AccessDeniedException")))
    assert run_module(ecs_service, SERVE)["msg"].startswith("Service web in cluster web: ")


def test_service_keeps_the_note_of_an_upgrade(recorded, run_module):
    noted = dict(SERVICE, tags=[*API_TAGS, {"key": "mlflow-upgrade", "value": "from=2.18.0 to=3.17.2 snapshot=none"}])
    recorded(found(noted), found(noted), health("healthy", "healthy"), found(noted))
    assert not run_module(ecs_service, SERVE)["changed"]


def test_service_waits_for_what_it_replaced(recorded, run_module):
    recorded(
        found(SERVICE),
        found(SERVICE),
        health("healthy", "healthy"),
        call("list_tasks", {"taskArns": [TASK]}, desiredStatus="STOPPED"),
        call("describe_tasks", {"tasks": [{"lastStatus": "DEACTIVATING"}]}),
        call("list_tasks", {"taskArns": [TASK]}),
        call("describe_tasks", {"tasks": [{"lastStatus": "DEPROVISIONING"}]}),
        found(SERVICE),
    )
    assert not run_module(ecs_service, dict(SERVE, wait_for_replaced=True))["changed"]


def test_service_whose_replaced_tasks_stay_is_reported(recorded, run_module):
    recorded(
        found(SERVICE),
        found(SERVICE),
        health("healthy", "healthy"),
        call("list_tasks", {"taskArns": [TASK]}),
        call("describe_tasks", {"tasks": [{"lastStatus": "STOPPING"}]}),
    )
    result = run_module(ecs_service, dict(SERVE, wait_for_replaced=True, wait_timeout=0))
    assert "tasks that were replaced still drain after 0 s" in result["msg"]


# --- ecs_service_tag

NOTE = {"name": "web", "cluster": "web", "tag": "on-call", "value": "ada"}
NOTED = dict(SERVICE, tags=[*API_TAGS, {"key": "on-call", "value": "ada"}])


def test_tag_is_set_and_no_other_touched(recorded, run_module):
    recorded(
        found(SERVICE),
        call("tag_resource", {}, resourceArn="arn:service/web", tags=[{"key": "on-call", "value": "ada"}]),
    )
    result = run_module(ecs_service_tag, NOTE)
    assert result["changed"] and result["diff"] == {"before": {"on-call": None}, "after": {"on-call": "ada"}}


def test_tag_that_is_there_is_left_alone(recorded, run_module):
    recorded(found(NOTED))
    assert not run_module(ecs_service_tag, NOTE)["changed"]


def test_tag_is_removed(recorded, run_module):
    recorded(found(NOTED), call("untag_resource", {}, tagKeys=["on-call"]))
    assert run_module(ecs_service_tag, dict(NOTE, state="absent"))["changed"]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_tag_is_predicted(recorded, run_module, state):
    recorded(found(SERVICE if state == "present" else NOTED))
    assert run_module(ecs_service_tag, dict(NOTE, state=state), check=True)["changed"]


def test_no_service_has_no_tag(recorded, run_module):
    recorded(found())
    assert not run_module(ecs_service_tag, dict(NOTE, state="absent"))["changed"]
    recorded(found())
    assert "there is none; deploy it first" in run_module(ecs_service_tag, NOTE)["msg"]


# --- ecs_service_info


def test_info_tells_everything_at_once(recorded, run_module):
    container = dict(LOGGED["containerDefinitions"][0], image="i", environment=[{"name": "A", "value": "1"}])
    task = {
        "taskArn": TASK,
        "lastStatus": "RUNNING",
        "taskDefinitionArn": ARN,
        "startedAt": THEN,
        "containers": [{"networkInterfaces": [{"privateIpv4Address": "10.0.0.1"}, {}]}],
    }
    recorded(
        found(SERVICE),
        call("describe_task_definition", {"taskDefinition": dict(DEFINITION, containerDefinitions=[container])}),
        health("healthy"),
        call("list_tasks", {"taskArns": [TASK]}),
        call("describe_tasks", {"tasks": [task]}),
    )
    result = run_module(ecs_service_info, {"name": "web", "cluster": "web"})
    assert result["service"]["target_group_arn"] == GROUP
    assert result["task_definition"]["containers"][0] == {
        "name": "web",
        "image": "i",
        "environment": {"A": "1"},
        "log_group": "/ecs/web",
    }
    assert result["tasks"][0]["address"] == "10.0.0.1"
    assert result["targets"] == [{"id": "10.0.0.1", "port": 8000, "state": "healthy", "reason": None}]
    assert result["events"] == [{"time": "2026-11-20T09:30:00+00:00", "message": "has started 2 tasks"}]


def test_info_on_what_does_not_exist_is_an_answer(recorded, run_module):
    recorded(found())
    result = run_module(ecs_service_info, {"name": "web", "cluster": "web"})
    assert (result["service"], result["tasks"]) == (None, [])


def test_info_bears_a_half_removed_service(recorded, run_module):
    recorded(
        found(dict(SERVICE, deployments=[])),
        call("describe_task_definition", refusal("ClientException")),
        call("describe_target_health", refusal("TargetGroupNotFound")),
        call("list_tasks", {"taskArns": [TASK]}),
        call("describe_tasks", {"tasks": [{"taskArn": TASK, "lastStatus": "PENDING", "taskDefinitionArn": ARN}]}),
    )
    result = run_module(ecs_service_info, {"name": "web", "cluster": "web"})
    assert (result["task_definition"], result["targets"]) == (None, [])
    assert (result["tasks"][0]["address"], result["tasks"][0]["started_at"]) == (None, None)


def test_info_on_a_service_without_load_balancer(recorded, run_module):
    recorded(
        found(dict(SERVICE, loadBalancers=[])),
        call("describe_task_definition", {"taskDefinition": DEFINITION}),
        call("list_tasks", {"taskArns": []}),
    )
    assert run_module(ecs_service_info, {"name": "web", "cluster": "web"})["targets"] == []


def test_info_errors_name_the_service(recorded, run_module):
    recorded(call("describe_services", refusal("AccessDeniedException")))
    assert run_module(ecs_service_info, {"name": "web", "cluster": "web"})["msg"].startswith("Service web in cluster web: ")


# --- cloudwatch_log_events_info


def event(milliseconds: int, message: str) -> dict:
    return {"timestamp": milliseconds, "logStreamName": "p/web/0f1e2d3c4b5a", "message": message}


def test_log_lines_come_in_the_order_of_time(recorded, run_module):
    recorded(call("filter_log_events", {"events": [event(2000, "b\n"), event(1000, "a"), event(0, "z")]}, filterPattern="x"))
    result = run_module(cloudwatch_log_events_info, {"log_group": "/ecs/web", "filter": "x", "max_lines": 2})
    assert result["lines"] == ["1970-01-01T00:00:01Z 0f1e2d3c a", "1970-01-01T00:00:02Z 0f1e2d3c b"]


@pytest.mark.parametrize(("since", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), (" 1d ", 86400)])
def test_since(since, seconds):
    assert cloudwatch_log_events_info.seconds(since) == seconds


@pytest.mark.parametrize("since", ["", "10", "m", "-1m", "1w", "1.5h"])
def test_bad_since_is_refused(recorded, run_module, since):
    recorded()
    assert f"since is '{since}'" in run_module(cloudwatch_log_events_info, {"log_group": "g", "since": since})["msg"]


def test_missing_log_group_is_named(recorded, run_module):
    recorded(call("filter_log_events", refusal("ResourceNotFoundException")))
    assert "Log group g does not exist" in run_module(cloudwatch_log_events_info, {"log_group": "g"})["msg"]


def test_log_errors_name_the_group(recorded, run_module):
    recorded(call("filter_log_events", refusal("AccessDeniedException")))
    assert run_module(cloudwatch_log_events_info, {"log_group": "g"})["msg"].startswith("Log group g: ")
