# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metric data, what may be an alarm, who may publish to a topic, and what is a dashboard."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from moto.cloudwatch.models import MetricAggregatedDatum, MetricDatum, cloudwatch_backends

from local_aws import alarm_messages, alarm_requests, dashboards, metrics, topic_policies

ACCOUNT, REGION = "123456789012", "eu-west-2"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"
ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:demo"
RULE = {
    "namespace": "AWS/ECS", "metric_name": "CPUUtilization", "period": 60, "evaluation_periods": 3, "threshold": 80.0,
    "comparison_operator": "GreaterThanThreshold", "statistic": "Average",
}  # fmt: skip


def datum(value: float, seconds: int) -> MetricDatum:
    return MetricDatum("N", "M", value, [], datetime(1970, 1, 1, 0, seconds // 60, seconds % 60), "Count")


def test_statistics_of_values_and_of_sets():
    data = [datum(value, 0) for value in (1, 2, 3, 10)]
    found = {one: metrics.statistic(one, data) for one in ("SampleCount", "Sum", "Average", "Minimum", "Maximum")}
    assert found == {"SampleCount": 4, "Sum": 16, "Average": 4, "Minimum": 1, "Maximum": 10}
    assert metrics.statistic("p50", data) == 2.5
    assert metrics.statistic("p100", data) == 10
    a_set = MetricAggregatedDatum("N", "M", 0, 20, 6, 34, [], None)
    assert metrics.statistic("Average", [*data, a_set]) == 5
    assert metrics.statistic("p99", [*data, a_set]) is None
    assert metrics.statistic("Average", []) is None


def test_datapoints_are_those_of_whole_periods():
    data = [datum(1, 5), datum(3, 55), datum(7, 125)]
    found = metrics.datapoints(data, "Average", 60, 180, 3)
    assert [None if one is None else (one.start, one.value) for one in found] == [(0, 2), None, (120, 7)]
    assert metrics.datapoints(data, "Average", 60, 120, 1) == [None]


def test_what_is_pushed_takes_the_place_of_what_is_measured():
    kept, backend = metrics.Metrics(ACCOUNT), cloudwatch_backends[ACCOUNT]["us-west-1"]
    metric = {"namespace": "AWS/ECS", "metric": "CPUUtilization", "dimensions": {"A": "b"}, "region": "us-west-1"}

    def values() -> list[float]:
        return [one.value for one in backend.metric_data]

    kept.publish(backend, "AWS/ECS", "CPUUtilization", {"A": "b"}, [1.0], "Percent")
    assert kept.push(json.dumps([{**metric, "values": [50, 60]}]).encode()) == 2
    kept.publish(backend, "AWS/ECS", "CPUUtilization", {"A": "b"}, [2.0], "Percent")
    assert values() == [50, 60]
    kept.push(json.dumps({**metric, "value": 70}).encode())
    kept.push(json.dumps({**metric, "value": 5, "timestamp": 60}).encode())
    assert values() == [50, 60, 70, 5]
    kept.push(json.dumps({**metric, "value": 9, "replace": True}).encode())
    assert values() == [5, 9]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "no JSON"),
        (b"[1]", "a datum is an object"),
        (b'{"namespce": "A"}', "unknown: namespce"),
        (b'{"namespace": "", "metric": "M", "dimensions": {}, "value": 1}', "namespace and metric"),
        (b'{"namespace": "N", "metric": "M", "value": 1}', "dimensions"),
        (b'{"namespace": "N", "metric": "M", "dimensions": {}}', "either value or values"),
        (b'{"namespace": "N", "metric": "M", "dimensions": {}, "values": []}', "finite numbers"),
        (b'{"namespace": "N", "metric": "M", "dimensions": {}, "value": NaN}', "finite numbers"),
        (b'{"namespace": "N", "metric": "M", "dimensions": {}, "value": 1, "region": "mars-1"}', "no such region"),
    ],
)
def test_what_cannot_be_pushed(body, reason):
    with pytest.raises(metrics.MetricError, match=reason):
        metrics.Metrics(ACCOUNT).push(body)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rule": "ALARM(a)"}, "Composite alarms are not supported by the local AWS"),
        ({"metric_data_queries": [1]}, "metric math and anomaly detection are not supported by the local AWS"),
        ({"threshold_metric_id": "e1"}, "metric math and anomaly detection are not supported"),
        ({"comparison_operator": "LessThanLowerThreshold"}, "LessThanLowerThreshold is not supported by the local AWS"),
        ({"comparison_operator": "Equals"}, "failed to satisfy constraint"),
        ({"evaluate_low_sample_count_percentile": "ignore"}, "not supported by the local AWS"),
        ({"metric_name": None}, "The parameter MetricName is required"),
        ({"statistic": None}, "Exactly one of"),
        ({"extended_statistic": "p99"}, "Exactly one of"),
        ({"statistic": "Median"}, "failed to satisfy constraint"),
        ({"statistic": None, "extended_statistic": "tm99"}, "p0 to p100"),
        ({"treat_missing_data": "well"}, "Option well is not supported"),
        ({"period": 45}, "Period must be"),
        ({"period": 0}, "Period must be"),
        ({"evaluation_periods": 0}, "at least 1"),
        ({"evaluation_periods": 1441}, "more than a day"),
        ({"period": 3600, "evaluation_periods": 169}, "more than a week"),
        ({"datapoints_to_alarm": 4}, "between 1 and EvaluationPeriods"),
        ({"dimensions": [{}] * 31}, "greater than 30"),
        ({"alarm_actions": [TOPIC] * 6}, "at most 5 actions"),
        ({"ok_actions": ["topic"]}, "Invalid arn syntax"),
        ({"ok_actions": ["arn:aws:lambda:eu-west-2:1:function:f"]}, "nothing carries it out"),
        ({"alarm_actions": [TOPIC.replace(REGION, "us-east-1")]}, "Invalid region us-east-1"),
        ({"alarm_actions": [TOPIC.replace(ACCOUNT, "210987654321")]}, "another account"),
    ],
)
def test_alarms_that_are_refused(change, reason):
    with pytest.raises(alarm_requests.AlarmError, match=reason):
        alarm_requests.check({**RULE, **change}, REGION, ACCOUNT, ["arn:aws:autoscaling:"])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"statistic": None, "extended_statistic": "p99.9"},
        {"period": 10},
        {"alarm_actions": [TOPIC, "arn:aws:autoscaling:eu-west-2:1:scalingPolicy:x"], "datapoints_to_alarm": 2},
    ],
)
def test_alarms_that_are_taken(change):
    alarm_requests.check({**RULE, **change}, REGION, ACCOUNT, ["arn:aws:autoscaling:"])


def policy(**statement) -> str:
    plain = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "sns:Publish"}
    return json.dumps({"Statement": [{**plain, **statement}]})


@pytest.mark.parametrize(
    ("allowed", "document"),
    [
        (True, policy()),
        (True, policy(Principal="*", Action=["SNS:GetTopicAttributes", "SNS:Publish"])),
        (True, policy(Condition={"StringEquals": {"aws:SourceAccount": ACCOUNT}})),
        (True, policy(Condition={"ArnLike": {"AWS:SourceArn": ALARM.replace("demo", "*")}})),
        (True, policy(Condition={"Bool": {"aws:SecureTransport": True}})),
        (False, policy(Principal={"Service": "events.amazonaws.com"})),
        (False, policy(Action="sns:Subscribe")),
        (False, policy(Effect="Deny")),
        (False, policy(Condition={"StringEquals": {"aws:SourceAccount": "210987654321"}})),
        (False, policy(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})),
        (False, policy(Condition={"DateLessThan": {"aws:SourceAccount": "1"}})),
        (False, "{}"),
    ],
)
def test_who_may_publish(allowed, document):
    assert topic_policies.may_publish(document, "cloudwatch.amazonaws.com", ALARM, ACCOUNT) is allowed


def test_regions_have_names():
    assert alarm_messages.region_name("eu-west-2") == "Europe (London)"
    assert alarm_messages.region_name("mars-1") == "mars-1"


def widget(**change) -> str:
    metric = ["AWS/ECS", "CPUUtilization", "A", "b", {"stat": "p99"}]
    plain = {"type": "metric", "x": 0, "y": 0, "width": 12, "height": 6,
             "properties": {"region": REGION, "metrics": [metric]}}  # fmt: skip
    return json.dumps({"widgets": [{**plain, **change}]})


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{", "/"),
        ("[]", "/"),
        ("{}", "/widgets"),
        ('{"widgets": 1}', "/widgets"),
        (json.dumps({"widgets": [{}] * 501}), "/widgets"),
        ('{"widgets": [1]}', "/widgets/0"),
        (widget(type="picture"), "/widgets/0/type"),
        (widget(width=25), "/widgets/0/width"),
        (widget(height="6"), "/widgets/0/height"),
        (widget(y=-1), "/widgets/0/y"),
        (widget(properties=None), "/widgets/0/properties"),
        (widget(properties={"metrics": [["A", "B"]]}), "/widgets/0/properties/region"),
        (widget(properties={"region": REGION}), "/widgets/0/properties/metrics"),
        (widget(properties={"region": REGION, "metrics": []}), "/widgets/0/properties/metrics"),
        (widget(properties={"region": REGION, "metrics": [["A"]]}), "/widgets/0/properties/metrics/0"),
        (widget(properties={"region": REGION, "metrics": [["A", "B", "C"]]}), "/widgets/0/properties/metrics/0"),
        (widget(properties={"region": REGION, "metrics": ["A"]}), "/widgets/0/properties/metrics/0"),
        (widget(properties={"region": REGION, "metrics": [[{}]]}), "/widgets/0/properties/metrics/0"),
        (widget(properties={"region": REGION, "metrics": [["A", "B"]], "view": "cube"}), "/widgets/0/properties/view"),
        (widget(type="text", properties={}), "/widgets/0/properties/markdown"),
        (widget(type="log", properties={"region": REGION}), "/widgets/0/properties/query"),
        (widget(type="alarm", properties={}), "/widgets/0/properties/alarms"),
        ('{"widgets": [{"type": "text", "x": 1, "properties": {"markdown": "a"}}]}', "/widgets/0"),
    ],
)
def test_dashboards_that_are_refused(body, path):
    assert [found for found, _message in dashboards.problems(body)] == [path]


@pytest.mark.parametrize(
    "body",
    [
        '{"widgets": []}',
        widget(),
        widget(properties={"region": REGION, "annotations": {"alarms": [ALARM]}}),
        widget(properties={"region": REGION, "metrics": [[{"expression": "m1*2"}]], "view": "singleValue"}),
        widget(type="text", properties={"markdown": "# Title"}),
        widget(type="log", properties={"region": REGION, "query": "SOURCE 'a'"}),
        widget(type="alarm", properties={"alarms": [ALARM]}),
    ],
)
def test_dashboards_that_are_taken(body):
    assert dashboards.problems(body) == []
