# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import ecs_rules

WANTED = {
    "cpu": "512",
    "containerDefinitions": [
        {
            "name": "mlflow",
            "image": "python:3.11-slim",
            "command": ["serve"],
            "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
            "portMappings": [{"containerPort": 5000}],
        }
    ],
}
ARN = "arn:aws:ecs:eu-west-2:1:task-definition/web:2"
OLD = "arn:aws:ecs:eu-west-2:1:task-definition/web:1"


def as_ecs_answers(definition: dict) -> dict:
    """The same definition with ECS's defaults filled in and its lists in another order."""
    answer = copy.deepcopy(definition)
    answer["status"] = "ACTIVE"
    container = answer["containerDefinitions"][0]
    container["environment"].reverse()
    container.update(cpu=0, essential=True, mountPoints=[], volumesFrom=[], systemControls=[])
    container["portMappings"][0].update(hostPort=5000, protocol="tcp")
    return answer


def test_what_ecs_fills_in_is_no_difference():
    before, after = ecs_rules.comparable(as_ecs_answers(WANTED), WANTED)
    assert before == after


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(cpu="1024"),
        lambda d: d["containerDefinitions"][0].update(image="python:3.12-slim"),
        lambda d: d["containerDefinitions"][0].update(command=["serve", "now"]),
        lambda d: d["containerDefinitions"][0]["environment"].append({"name": "C", "value": "3"}),
        lambda d: d["containerDefinitions"][0]["environment"].pop(),
        lambda d: d["containerDefinitions"][0]["environment"][0].update(value="9"),
        lambda d: d["containerDefinitions"][0]["portMappings"][0].update(containerPort=5001),
    ],
)
def test_what_was_asked_differently_is_a_difference(change):
    wanted = copy.deepcopy(WANTED)
    change(wanted)
    before, after = ecs_rules.comparable(as_ecs_answers(WANTED), wanted)
    assert before != after


def test_everything_differs_from_nothing():
    before, after = ecs_rules.comparable(None, WANTED)
    assert before == {}
    assert after["cpu"] == "512"


TAGS = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=5)


@given(TAGS)
def test_tags_survive_the_api(tags):
    assert ecs_rules.tags_from_api(ecs_rules.tags_to_api(tags)) == tags


@given(TAGS, TAGS)
def test_tag_changes_lead_from_current_to_desired(current, desired):
    to_set, to_remove = ecs_rules.tag_changes(current, desired)
    result = {key: value for key, value in {**current, **to_set}.items() if key not in to_remove}
    assert result == desired
    assert not set(to_set.items()) & set(current.items())


def test_no_tags_is_an_empty_dictionary():
    assert ecs_rules.tags_from_api(None) == {}


def test_carries_needs_every_owner_tag():
    assert ecs_rules.carries({"a": "1", "b": "2"}, {"a": "1"})
    assert not ecs_rules.carries({"a": "2"}, {"a": "1"})
    assert not ecs_rules.carries({}, {"a": "1"})


def deployment(status="PRIMARY", arn=ARN, running=2, rollout="COMPLETED", **more):
    return dict(status=status, taskDefinition=arn, runningCount=running, rolloutState=rollout, createdAt="2", **more)


def service(*deployments, desired=2):
    return {"desiredCount": desired, "deployments": list(deployments)}


@pytest.mark.parametrize(
    ("given_service", "healthy", "state", "words"),
    [
        (service(deployment()), 2, "steady", "2 of 2"),
        (service(deployment()), None, "steady", "2 of 2"),
        (service(deployment(running=1, rollout="IN_PROGRESS")), 1, "progressing", "1 of 2 tasks"),
        (service(deployment(rollout="IN_PROGRESS")), 2, "progressing", "earlier deployment"),
        (service(deployment(), deployment("ACTIVE", OLD)), 2, "progressing", "earlier deployment"),
        (service(deployment()), 1, "progressing", "1 of 2 targets"),
        (service(deployment(arn=OLD)), 2, "failed", "went back to web:1"),
        (service(), 0, "failed", "went back to nothing"),
        (
            service(
                deployment(arn=OLD),
                deployment("ACTIVE", rollout="FAILED", rolloutStateReason="tasks failed to start"),
            ),
            2,
            "failed",
            "tasks failed to start",
        ),
        (service(deployment(rollout="FAILED")), 0, "failed", "circuit breaker"),
        (service(deployment(running=0), desired=0), 0, "steady", "0 of 0"),
    ],
)
def test_rollout_verdict(given_service, healthy, state, words):
    verdict = ecs_rules.rollout_verdict(given_service, ARN, healthy)
    assert verdict.state == state
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("changes", "healthy", "state", "words"),
    [
        ({"id": "other"}, 2, "progressing", "does not tell of the new deployment"),
        ({"rolloutState": "FAILED"}, 2, "failed", "circuit breaker"),
        ({"rolloutState": "FAILED", "rolloutStateReason": "because"}, 2, "failed", "because"),
        ({"status": "ACTIVE"}, 2, "failed", "another deployment has taken its place"),
        ({"rolloutState": "IN_PROGRESS"}, 2, "progressing", "are stopping"),
        ({}, 1, "progressing", "1 of 2 targets"),
        ({}, 2, "steady", "2 of 2"),
    ],
)
def test_restart_verdict(changes, healthy, state, words):
    ours = {**deployment(), "id": "ours", **changes}
    verdict = ecs_rules.restart_verdict(service(ours), "ours", healthy)
    assert verdict.state == state
    assert words in verdict.reason


def test_only_a_deployment_that_was_given_up_needs_a_push():
    assert ecs_rules.rollout_needs_push(service(deployment(rollout="FAILED")))
    assert not ecs_rules.rollout_needs_push(service(deployment(rollout="IN_PROGRESS")))
    assert not ecs_rules.rollout_needs_push(service())


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"lastStatus": "RUNNING"}, None),
        (
            {"lastStatus": "STOPPED", "stopCode": "EssentialContainerExited", "containers": [{"name": "c", "exitCode": 0}]},
            None,
        ),
        (
            {"lastStatus": "STOPPED", "stopCode": "UserInitiated", "containers": [{"name": "c"}]},
            None,
        ),
        (
            {
                "lastStatus": "STOPPED",
                "stopCode": "EssentialContainerExited",
                "stoppedReason": "Essential container in task exited",
                "containers": [{"name": "c", "exitCode": 3}],
            },
            "Essential container in task exited; container c exited with code 3",
        ),
        (
            {"lastStatus": "STOPPED", "stopCode": "TaskFailedToStart"},
            "TaskFailedToStart",
        ),
        (
            {
                "lastStatus": "STOPPED",
                "stopCode": "TaskFailedToStart",
                "stoppedReason": "CannotPullContainerError: not found",
                "containers": [{"name": "c"}],
            },
            "CannotPullContainerError: not found",
        ),
        (
            {
                "lastStatus": "STOPPED",
                "stopCode": "EssentialContainerExited",
                "containers": [{"name": "c", "exitCode": 137, "reason": "OutOfMemoryError"}],
            },
            "EssentialContainerExited; container c: OutOfMemoryError",
        ),
        (
            {
                "lastStatus": "STOPPED",
                "stopCode": "TaskFailedToStart",
                "stoppedReason": "CannotPullContainerError: not found",
                "containers": [{"name": "c", "reason": "CannotPullContainerError: not found"}],
            },
            "CannotPullContainerError: not found",
        ),
    ],
)
def test_task_failure(task, words):
    assert ecs_rules.task_failure(task) == words


def test_log_streams_of_containers_with_awslogs_only():
    options = {"awslogs-group": "/ecs/web", "awslogs-stream-prefix": "mlflow"}
    definition = {
        "containerDefinitions": [
            {"name": "web", "logConfiguration": {"logDriver": "awslogs", "options": options}},
            {"name": "side", "logConfiguration": {"logDriver": "splunk", "options": {}}},
            {"name": "quiet"},
        ]
    }
    assert ecs_rules.log_streams(definition, "id") == [("/ecs/web", "mlflow/web/id")]


@given(asked=st.integers(0, 9), current=st.none() | st.integers(0, 9), least=st.integers(0, 9), more=st.integers(0, 9))
def test_the_number_of_tasks_is_asked_for_or_kept_within_bounds(asked, current, least, more):
    service = None if current is None else {"desiredCount": current}
    assert ecs_rules.desired_count(service, asked, None, None) == asked
    count = ecs_rules.desired_count(service, asked, least, least + more)
    assert least <= count <= least + more
    begun = asked if current is None else current
    assert count == begun or not least <= begun <= least + more
