# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws import services
from local_aws.ecs_loadbalancer import TargetHealth
from local_aws.ecs_records import (
    ESSENTIAL_EXITED, FAILED_TO_START, RUNNING, STOPPED, USER_INITIATED, TaskRecord, now,
)
from local_aws.ecs_requests import RequestError, deployment_configuration, provider_for
from local_aws.ecs_service_records import DRAINING, INACTIVE, ServiceRecord
from local_aws.services import ServiceScheduler

GROUP = "arn:aws:elasticloadbalancing:eu-west-2:123456789012:targetgroup/demo/1"


class FakeRunners:
    """Notes what the scheduler wants; `stop` ends a task at once."""

    def launch(self, task, on_event=None):
        pass

    def stop(self, task, code, reason):
        task.stop_code, task.stopped_reason = task.stop_code or code, task.stopped_reason or reason
        task.desired_status = task.last_status = STOPPED


class World:
    """A scheduler, one service, and what the load balancer says of each task."""

    def __init__(self, monkeypatch, **changes):
        self.health, self.definitions = {}, {}
        self.backend = SimpleNamespace(_get_cluster=lambda name: name, describe_task_definition=lambda arn: arn)
        self.scheduler = ServiceScheduler(FakeRunners())
        self.place = True
        values = dict(
            account_id="123456789012", region_name="eu-west-2", partition="aws", cluster_name="c", cluster_arn="arn:c",
            name="web", desired_count=2, task_definition="good:1",
            load_balancers=[{"targetGroupArn": GROUP, "containerName": "main", "containerPort": 5000}],
            network_configuration={}, launch_type="FARGATE", health_check_grace_period=60,
            deployment_configuration=deployment_configuration(
                {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
            ),
        )
        self.service = ServiceRecord(**values | changes)
        self.service.new_deployment()
        monkeypatch.setattr(services, "new_task", self._new_task)
        monkeypatch.setattr(
            services.ecs_loadbalancer, "health",
            lambda task, target: TargetHealth(self.health.get(task.id, "initial"), "Health checks failed"),
        )

    def _new_task(self, backend, cluster, definition, network, **options):
        if not self.place:
            raise RequestError("subnets can not be empty.")
        model = SimpleNamespace(arn=definition, container_definitions=[{"name": "main"}], tags=[])
        return TaskRecord(
            account_id="123456789012", region_name="eu-west-2", partition="aws", cluster_name="c", cluster_arn="arn:c",
            task_definition=model, group=options["group"], subnet_id="subnet-1", security_groups=[],
        )

    def step(self, times=1):
        for _unused in range(times):
            self.scheduler.reconcile(self.backend, self.service)

    def live(self):
        return [task for task in self.service.tasks if task.is_live]

    def run(self, tasks, health="healthy", age=120):
        for task in tasks:
            task.last_status = RUNNING
            task.times["startedAt"] = now() - timedelta(seconds=age)
            self.health[task.id] = health

    def end(self, tasks, code, reason="because"):
        for task in tasks:
            task.stop_code, task.stopped_reason = code, reason
            task.desired_status = task.last_status = STOPPED

    def unthrottle(self):
        for deployment in self.service.deployments:
            deployment.not_before = 0.0

    def events(self):
        return [event["message"] for event in self.service.events]

    def settle(self):
        self.step()
        self.run(self.live())
        self.step(3)
        assert self.service.primary.rollout_state == "COMPLETED"


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_a_service_reaches_its_steady_state_once(world):
    world.settle()
    world.step(5)
    assert len(world.live()) == 2
    assert world.events().count("(service web) has reached a steady state.") == 1
    assert world.service.primary.rollout_state_reason.endswith(" completed.")


def test_an_unhealthy_target_is_replaced_after_the_grace_period(world):
    world.settle()
    victim = world.live()[0]
    world.health[victim.id] = "unhealthy"
    world.step()
    assert victim.stopped_reason == f"Task failed ELB health checks in (target-group {GROUP})"
    assert any(
        f"(port 5000) is unhealthy in (target-group {GROUP}) due to (reason Health checks failed)" in event
        for event in world.events()
    )
    world.unthrottle()
    world.step()
    assert len(world.live()) == 2 and victim not in world.live()


def test_an_unhealthy_target_is_left_alone_in_the_grace_period(world):
    world.step()
    world.run(world.live(), health="unhealthy", age=30)
    world.step(3)
    assert len(world.live()) == 2 and world.service.primary.failed_tasks == 0


def test_an_unhealthy_container_is_replaced(world):
    world.settle()
    victim = world.live()[0]
    victim.containers[0].definition["healthCheck"] = {"command": ["CMD", "false"]}
    victim.containers[0].health_status = "UNHEALTHY"
    world.step()
    assert victim.stopped_reason == "Task failed container health checks"
    assert f"(service web) (task {victim.id}) failed container health checks." in world.events()


def fail_new_tasks(world, definition):
    for _unused in range(5):
        world.unthrottle()
        world.step()
        world.end([t for t in world.live() if t.task_definition.arn == definition], FAILED_TO_START, "no image")


def update(world, definition):
    world.service.task_definition = definition
    world.service.new_deployment()


def test_the_breaker_rolls_back_to_the_last_completed_deployment(world):
    world.settle()
    good, first = set(map(id, world.live())), world.service.primary.id
    update(world, "bad:2")
    fail_new_tasks(world, "bad:2")
    world.step(3)
    assert world.service.task_definition == "good:1"
    assert set(map(id, world.live())) == good
    assert [deployment.id for deployment in world.service.deployments] == [first]
    assert any("deployment failed: tasks failed to start." in event for event in world.events())
    assert any(f"rolling back to (deployment {first})" in event for event in world.events())


def test_without_anything_to_roll_back_to_the_deployment_stays_failed(world):
    fail_new_tasks(world, "good:1")
    world.unthrottle()
    world.step(3)
    primary = world.service.primary
    assert (primary.rollout_state, primary.failed_tasks >= 3, world.live()) == ("FAILED", True, [])
    assert primary.rollout_state_reason == "ECS deployment circuit breaker: tasks failed to start."


def test_without_a_breaker_the_scheduler_goes_on_but_slower(monkeypatch):
    world = World(monkeypatch, deployment_configuration=deployment_configuration(None))
    fail_new_tasks(world, "good:1")
    world.step()
    assert world.service.primary.rollout_state == "IN_PROGRESS"
    assert world.live() == []
    assert any("unable to consistently start tasks successfully" in event for event in world.events())
    world.unthrottle()
    world.step()
    assert len(world.live()) == 2


def test_a_task_that_a_user_stopped_is_replaced_and_no_failure(world):
    world.settle()
    world.end(world.live()[:1], USER_INITIATED)
    world.step()
    assert len(world.live()) == 2 and world.service.primary.failed_tasks == 0


def test_a_crash_is_counted_once(world):
    world.settle()
    world.end(world.live()[:1], ESSENTIAL_EXITED)
    world.step(4)
    assert len(world.service.primary.failures) == 1


def test_a_task_that_cannot_be_placed_is_told_in_an_event(world):
    world.place = False
    world.step()
    assert world.events()[0] == "(service web) was unable to place a task. Reason: subnets can not be empty."


def test_a_deleted_service_drains_and_becomes_inactive(world):
    world.settle()
    world.service.status, world.service.desired_count = DRAINING, 0
    world.step(2)
    assert world.service.status == INACTIVE and world.live() == [] and world.service.deployments == []


def test_tags_are_propagated_as_asked(monkeypatch):
    tags = [{"key": "mlflow-deployment", "value": "demo"}]
    world = World(monkeypatch, propagate_tags="SERVICE", tags=tags)
    world.step()
    assert all(task.tags == tags for task in world.live())


@given(base=st.integers(0, 5), weights=st.tuples(st.integers(1, 100), st.integers(1, 100)), count=st.integers(0, 60))
def test_tasks_go_where_the_strategy_says(base, weights, count):
    strategy = [
        {"capacityProvider": "FARGATE", "base": base, "weight": weights[0]},
        {"capacityProvider": "FARGATE_SPOT", "weight": weights[1]},
    ]
    placed: list[str | None] = []
    for _one in range(count):
        placed.append(provider_for(strategy, placed))
    assert placed[:base] == ["FARGATE"] * min(base, count)
    beyond = count - min(base, count)
    assert abs(placed[base:].count("FARGATE") - beyond * weights[0] / sum(weights)) <= 1


def test_without_a_strategy_there_is_no_provider():
    assert provider_for([], []) is None
    assert provider_for([{"capacityProvider": "FARGATE_SPOT"}], []) == "FARGATE_SPOT"
