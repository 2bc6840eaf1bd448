# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from local_aws.ecs_deployments import (
    LONGEST_DELAY_SECONDS, Population, Step, bounds, breaker_threshold, next_step, recent_failures, start_delay,
)
from local_aws.ecs_requests import RequestError, deployment_configuration
from local_aws.ecs_service_records import COMPLETED, FAILED, ServiceRecord


def step(desired, primary, old=(0, 0), percents=(100, 200), may_start=True):
    return next_step(desired, *percents, Population(*primary), Population(*old), may_start)


def test_bounds_round_towards_safety():
    assert bounds(3, 50, 150) == (2, 4)


@pytest.mark.parametrize(("desired", "threshold"), [(0, 3), (1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (800, 200)])
def test_breaker_threshold_is_that_of_the_aws_table(desired, threshold):
    assert breaker_threshold(desired) == threshold


def test_a_new_service_starts_all_its_tasks():
    assert step(2, (0, 0)) == Step(start=2)


def test_a_died_task_is_replaced():
    assert step(2, (1, 0)) == Step(start=1)


def test_scale_in_stops_the_surplus():
    assert step(1, (3, 0)) == Step(stop_primary=2)


def test_with_room_old_tasks_stay_until_new_ones_are_steady():
    assert step(2, (0, 0), old=(2, 0)) == Step(start=2)
    assert step(2, (0, 2), old=(2, 0)) == Step()
    assert step(2, (1, 1), old=(2, 0)) == Step(stop_old_steady=1)
    assert step(2, (2, 0), old=(2, 0)) == Step(stop_old_steady=2)


def test_without_room_old_tasks_make_it_down_to_the_lower_bound():
    assert step(2, (0, 0), old=(2, 0), percents=(50, 100)) == Step(stop_old_steady=1)
    assert step(2, (0, 0), old=(1, 0), percents=(50, 100)) == Step(start=1)
    assert step(1, (0, 0), old=(1, 0), percents=(0, 100)) == Step(stop_old_steady=1)


def test_old_tasks_that_serve_nobody_go_at_once():
    assert step(2, (0, 0), old=(0, 2)) == Step(start=2, stop_old_unsteady=2)


def test_while_starts_are_delayed_nothing_makes_room():
    assert step(2, (0, 0), old=(2, 0), percents=(50, 100), may_start=False) == Step()


counts = st.integers(min_value=0, max_value=8)
percents = st.sampled_from([(0, 100), (50, 100), (50, 150), (100, 150), (100, 200), (0, 200)])


@given(counts, counts, counts, counts, counts, percents, st.booleans())
def test_a_step_never_leaves_the_bounds(desired, steady, unsteady, old_steady, old_unsteady, percents, may_start):
    lower, upper = bounds(desired, *percents)
    taken = next_step(desired, *percents, Population(steady, unsteady), Population(old_steady, old_unsteady), may_start)
    assert min(taken.start, taken.stop_primary, taken.stop_old_steady, taken.stop_old_unsteady) >= 0
    assert taken.stop_old_steady <= old_steady and taken.stop_old_unsteady <= old_unsteady
    if taken.start:
        assert steady + unsteady + old_steady + taken.start <= max(upper, desired)
    if taken.stop_old_steady and not taken.stop_primary:
        assert steady + old_steady - taken.stop_old_steady >= lower


@given(st.integers(min_value=1, max_value=6), percents)
def test_a_deployment_ends_with_new_tasks_only_unless_the_bounds_leave_no_step(desired, percents):
    lower, upper = bounds(desired, *percents)
    # One task, 50 and 100 percent: on AWS such a deployment is stuck too.
    assume(lower < upper)
    steady, old = 0, desired
    for _unused in range(100):
        taken = step(desired, (steady, 0), old=(old, 0), percents=percents)
        if taken == Step():
            break
        steady, old = steady + taken.start - taken.stop_primary, old - taken.stop_old_steady
        assert steady + old >= lower
    assert (steady, old) == (desired, 0)


def test_the_throttle_grows_and_is_capped():
    delays = [start_delay(count) for count in range(40)]
    assert delays[:4] == [0.0, 0.0, 0.5, 1.0]
    assert delays == sorted(delays) and delays[-1] == LONGEST_DELAY_SECONDS


def test_old_failures_are_forgotten():
    assert recent_failures([0.0, 500.0], 601.0) == [500.0]


def make_service(**changes):
    values = dict(
        account_id="123456789012", region_name="eu-west-2", partition="aws", cluster_name="c", cluster_arn="arn:c",
        name="s", desired_count=2, task_definition="arn:td:1",
        load_balancers=[{"targetGroupArn": "arn:tg", "containerName": "main", "containerPort": 5000}],
        network_configuration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        deployment_configuration=deployment_configuration(None), launch_type="FARGATE",
    )
    return ServiceRecord(**values | changes)


def test_a_new_deployment_takes_the_place_of_the_primary():
    service = make_service()
    first = service.new_deployment()
    first.set_state(COMPLETED, "done")
    second = service.new_deployment()
    assert [deployment.status for deployment in service.deployments] == ["PRIMARY", "ACTIVE"]
    assert service.primary is second and first.was_completed


def test_the_service_answers_what_was_asked_for():
    service = make_service(health_check_grace_period=60, enable_execute_command=True, propagate_tags="SERVICE")
    service.new_deployment()
    answer = service.to_response()
    assert answer["loadBalancers"] == [{"targetGroupArn": "arn:tg", "containerName": "main", "containerPort": 5000}]
    assert answer["healthCheckGracePeriodSeconds"] == 60
    assert answer["enableExecuteCommand"] is True and answer["propagateTags"] == "SERVICE"
    assert answer["deploymentController"] == {"type": "ECS"}
    assert answer["deploymentConfiguration"]["maximumPercent"] == 200


def test_events_are_newest_first_and_limited():
    service = make_service()
    for number in range(150):
        service.event(f"event {number}.")
    assert service.events[0]["message"] == "(service s) event 149."
    assert len(service.events) == 100


def test_a_failed_deployment_stays_failed():
    deployment = make_service().new_deployment()
    deployment.set_state(FAILED, "tasks failed to start.")
    assert not deployment.was_completed
    assert deployment.to_response()["rolloutState"] == "FAILED"


def test_deployment_configuration_keeps_what_is_not_given():
    first = deployment_configuration({"deploymentCircuitBreaker": {"enable": True, "rollback": True}})
    second = deployment_configuration({"minimumHealthyPercent": 50}, first)
    assert second["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    assert (second["minimumHealthyPercent"], second["maximumPercent"]) == (50, 200)


@pytest.mark.parametrize("wrong", [
    {"minimumHealthyPercent": 100, "maximumPercent": 100}, {"maximumPercent": 50}, {"strategy": "BLUE_GREEN"},
    {"alarms": {"enable": True, "alarmNames": ["a"], "rollback": False}},
])
def test_a_deployment_that_could_never_work_is_refused(wrong):
    with pytest.raises(RequestError):
        deployment_configuration(wrong)
