# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tasks target tracking wants, and what an alarm does to a service."""

from __future__ import annotations

import time
import types
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws import autoscaling_alarms, autoscaling_rules
from local_aws.autoscaling import AutoScaling
from local_aws.autoscaling_records import Policy, Target

COUNTS = st.integers(0, 200)
METRIC = st.floats(0, 400)
TARGET = st.integers(1, 100)


@given(count=COUNTS, metric=METRIC, target=TARGET, most=COUNTS)
def test_scaling_out_never_takes_tasks_away_nor_passes_the_maximum(count, metric, target, most) -> None:
    wanted = autoscaling_rules.scaled_out(count, metric, target, most, None, 0.0)
    assert count <= wanted <= max(count, most)
    if wanted not in (count, most):
        assert wanted * target >= count * metric > (wanted - 1) * target


@given(count=COUNTS, metric=METRIC, target=TARGET, least=COUNTS)
def test_scaling_in_never_adds_tasks_nor_passes_the_minimum_nor_overloads(count, metric, target, least) -> None:
    wanted = autoscaling_rules.scaled_in(count, metric, target, least)
    assert min(count, least) <= wanted <= count
    assert wanted >= count // 2
    if wanted < count:
        assert wanted * target >= count * metric - 1e-6


@given(count=st.integers(1, 50), metric=METRIC, target=TARGET)
def test_while_a_scale_out_cools_down_only_a_larger_one_counts(count, metric, target) -> None:
    first = autoscaling_rules.scaled_out(count, metric, target, 10_000, None, 0.0)
    last = autoscaling_rules.ScaleOut(count, first, until=100.0)
    assert autoscaling_rules.scaled_out(first, metric, target, 10_000, last, 99.0) == first
    after = autoscaling_rules.scaled_out(first, metric, target, 10_000, last, 100.0)
    assert after >= first


class Scaling(AutoScaling):
    """With services of its own in the place of ECS's."""

    def __init__(self, service: t.Any) -> None:
        super().__init__()
        self._service = service

    def service_of(self, _target: Target) -> t.Any:
        return self._service


class World:
    """One service with a CPU and a memory policy, whose alarms say what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, **configuration: t.Any) -> None:
        deployment = types.SimpleNamespace(rollout_state="COMPLETED", desired_count=count)
        self.service = types.SimpleNamespace(
            name="web", desired_count=count, primary=deployment, deployments=[deployment]
        )
        self.scaling = Scaling(self.service)
        self.target = Target("1", "eu-west-2", "aws", "service/demo/web", 1, 10, {})
        self.scaling.targets[("1", "eu-west-2", "service/demo/web")] = self.target
        self.states: dict[str, str] = {}
        self.metrics: dict[str, float | None] = {}
        for name, word in (("cpu", "CPU"), ("memory", "Memory")):
            metric = {"PredefinedMetricType": f"ECSServiceAverage{word}Utilization"}
            given_ = {"TargetValue": 50.0, "PredefinedMetricSpecification": metric, **configuration}
            alarms = {"AlarmHigh": f"{name}-high", "AlarmLow": f"{name}-low"}
            self.target.policies[name] = Policy(f"arn:{name}", name, given_, alarms)
        monkeypatch.setattr(autoscaling_alarms, "find", lambda _target, name: self.alarm(name))
        monkeypatch.setattr(
            autoscaling_alarms, "latest_value", lambda _target, alarm: self.metrics.get(alarm.name.split("-")[0])
        )

    def alarm(self, name: str) -> t.Any:
        return types.SimpleNamespace(name=name, state_value=self.states.get(name, "OK"))

    def fire(self, name: str) -> int:
        """The count after this alarm."""
        self.states[name] = "ALARM"
        self.scaling.on_alarm(self.alarm(name), f"arn:{name.split('-')[0]}")
        return self.service.desired_count


def test_one_policy_is_enough_to_scale_out_and_all_are_needed_to_scale_in(monkeypatch) -> None:
    world = World(monkeypatch, 2, ScaleInCooldown=0)
    world.metrics = {"cpu": 90.0, "memory": 10.0}
    assert world.fire("cpu-high") == 4
    assert world.fire("memory-low") == 4
    world.metrics = {"cpu": 20.0, "memory": 10.0}
    # 4 x 20 / 50 is 2, 4 x 10 / 50 is 1: the larger counts.
    assert world.fire("cpu-low") == 2
    world.metrics["memory"] = None
    assert world.fire("cpu-low") == 2
    assert [one["Description"] for one in world.target.activities] == [
        "Setting desired count to 2.", "Setting desired count to 4.",
    ]  # fmt: skip


def test_cooldowns_of_both_directions(monkeypatch) -> None:
    world = World(monkeypatch, 8)
    world.metrics = {"cpu": 1.0, "memory": 1.0}
    world.states["memory-low"] = "ALARM"
    assert world.fire("cpu-low") == 4
    assert world.fire("cpu-low") == 4
    # A scale-out ends the cooldown of the scale-in, and begins its own.
    world.metrics["cpu"] = 60.0
    assert world.fire("cpu-high") == 5
    assert world.fire("cpu-high") == 5
    world.metrics["cpu"] = 100.0
    assert world.fire("cpu-high") == 8
    world.metrics["cpu"] = 1.0
    assert world.fire("cpu-low") == 4


@pytest.mark.parametrize("hindrance", ["deployment", "disabled", "suspended", "no service", "no data", "other alarm"])
def test_what_keeps_tasks_from_being_taken_away(monkeypatch, hindrance: str) -> None:
    world = World(monkeypatch, 4, **({"DisableScaleIn": True} if hindrance == "disabled" else {}))
    world.metrics = {"cpu": 1.0, "memory": 1.0}
    world.states["memory-low"] = "ALARM"
    if hindrance == "deployment":
        world.service.primary.rollout_state = "IN_PROGRESS"
    elif hindrance == "suspended":
        world.target.suspended["DynamicScalingInSuspended"] = True
    elif hindrance == "no service":
        world.scaling._service = None
    elif hindrance == "no data":
        world.metrics["cpu"] = None
    elif hindrance == "other alarm":
        world.states["memory-low"] = "INSUFFICIENT_DATA"
    assert world.fire("cpu-low") == 4


def test_counts_outside_of_the_bounds_that_somebody_else_has_set(monkeypatch) -> None:
    """As the guide to service auto scaling of ECS describes it."""
    world = World(monkeypatch, 4)
    world.metrics = {"cpu": 60.0, "memory": 60.0}
    world.target.least = 8
    world.states["memory-low"] = "ALARM"
    assert world.fire("cpu-low") == 4
    assert world.fire("cpu-high") == 8
    world.service.desired_count = 20
    assert world.fire("cpu-high") == 20
    assert world.fire("cpu-low") == 10
    world.target.suspended["DynamicScalingOutSuspended"] = True
    world.service.desired_count = 1
    assert world.fire("cpu-high") == 1
    assert time.monotonic() < world.target.no_scale_in_before
