# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alarms, their topic and the dashboard: what is refused, and what a second run, check mode and another owner see."""

from __future__ import annotations

import json

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import cloudwatch_rules, sns_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    cloudwatch_alarms,
    cloudwatch_dashboard,
    deployment_monitoring_info,
    rds_event_subscription,
    sns_alarm_topic,
)

pytestmark = pytest.mark.usefixtures("aws_environment")
OURS = {"team": "web"}
ARN = "arn:aws:sns:eu-west-2:123456789012:web-alarms"
ALARM = {
    "name": "cpu", "description": "Busy. Add one.", "namespace": "AWS/ECS", "metric": "CPUUtilization",
    "dimensions": {"ServiceName": "web", "ClusterName": "web"}, "threshold": 85, "evaluation_periods": 5,
}  # fmt: skip
FOREIGN = {"Namespace": "N", "MetricName": "M", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1,
           "ComparisonOperator": "GreaterThanThreshold", "Statistic": "Sum"}  # fmt: skip
ALARMS = {"prefix": "web/", "owner_tags": OURS, "tags": OURS, "region": "eu-west-2"}
TOPIC = {"name": "web-alarms", "owner_tags": OURS, "tags": OURS, "region": "eu-west-2"}
BODY = {"widgets": [{"type": "text", "properties": {"markdown": "# Web\nteam=web"}}]}
DASHBOARD = {"name": "web", "owner_tags": OURS, "body": BODY, "region": "eu-west-2"}


def client(service: str):
    return boto3.client(service, region_name="eu-west-2")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"statistic": "Median"}, "alarm cpu: statistic = Median: it is none"),
        ({"period": 45}, "alarm cpu: period = 45"),
        ({"period": 90}, "alarm cpu: period = 90"),
        ({"evaluation_periods": 0}, "alarm cpu: evaluation_periods = 0"),
        ({"evaluation_periods": 1441}, "alarm cpu: evaluation_periods = 1441"),
        ({"datapoints_to_alarm": 6}, "alarm cpu: datapoints_to_alarm = 6: of 5 periods"),
        ({"threshold": "much"}, "threshold"),
    ],
)
@mock_aws
def test_alarms_that_are_refused(run_module, change, reason):
    answer = run_module(cloudwatch_alarms, {**ALARMS, "alarms": [{**ALARM, **change}]})
    assert answer["failed"] and reason in answer["msg"]


@mock_aws
def test_life_of_alarms(run_module):
    cloudwatch = client("cloudwatch")
    latency = {**ALARM, "name": "latency", "statistic": "p99", "datapoints_to_alarm": 2}
    wanted = {**ALARMS, "alarms": [ALARM, latency], "alarm_actions": [ARN]}
    check = run_module(cloudwatch_alarms, wanted, check=True)
    assert check["changed"] and check["alarm_names"] == ["web/cpu", "web/latency"]
    assert check["diff"]["before"] == {"web/cpu": None, "web/latency": None}
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    assert run_module(cloudwatch_alarms, wanted)["changed"]
    cloudwatch.set_alarm_state(AlarmName="web/cpu", StateValue="ALARM", StateReason="A drill")
    again = run_module(cloudwatch_alarms, wanted)
    assert not again["changed"] and again["firing"] == ["web/cpu"]

    cloudwatch.put_metric_alarm(AlarmName="web/of-somebody-else", **FOREIGN)
    changed = {**wanted, "alarms": [{**ALARM, "threshold": 70}], "tags": {**OURS, "more": 1}}
    answer = run_module(cloudwatch_alarms, changed)
    assert answer["diff"]["before"]["web/cpu"]["Threshold"] == 85 and answer["diff"]["after"]["web/latency"] is None
    # moto forgets nothing of deleted alarms, their tags among it; what is asked is whether they are there.
    assert {one["AlarmName"] for one in cloudwatch.describe_alarms()["MetricAlarms"]} == {
        "web/cpu", "web/of-somebody-else",
    }  # fmt: skip
    assert not run_module(cloudwatch_alarms, changed)["changed"]
    assert run_module(cloudwatch_alarms, {**changed, "tags": OURS})["diff"]["after"] == {"tags of web/cpu": OURS}
    assert run_module(cloudwatch_alarms, ALARMS)["changed"]
    assert not run_module(cloudwatch_alarms, ALARMS)["changed"]


@mock_aws
def test_an_alarm_of_somebody_else_is_refused(run_module):
    client("cloudwatch").put_metric_alarm(AlarmName="web/cpu", **FOREIGN)
    answer = run_module(cloudwatch_alarms, {**ALARMS, "alarms": [ALARM]})
    assert "Alarm web/cpu: it exists but does not carry the tags team=web" in answer["msg"]


def test_an_alarm_on_metric_math_is_never_the_one_that_is_wanted():
    params = {"ok_actions": [], "alarm_actions": []}
    full = {**ALARM, "statistic": "Sum", "period": 60, "datapoints_to_alarm": 0, "comparison": "GreaterThanThreshold",
            "treat_missing_data": "missing"}  # fmt: skip
    wanted = cloudwatch_rules.wanted(full, params)
    assert cloudwatch_rules.described({**wanted, "AlarmName": "a", "StateValue": "OK"}) == wanted
    # What CloudWatch leaves out is what it takes by itself.
    terse = {key: value for key, value in wanted.items() if key not in ("DatapointsToAlarm", "TreatMissingData")}
    assert cloudwatch_rules.described({**terse, "Metrics": []}) == wanted
    assert cloudwatch_rules.described({**wanted, "Metrics": [{"Id": "e1"}]}) != wanted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subscriptions": [{"protocol": "email", "endpoint": "ops"}]}, "subscription email: endpoint = ops: it is"),
        ({"subscriptions": [{"protocol": "email", "endpoint": "ops@mail"}]}, "an address such as"),
        ({"subscriptions": [{"protocol": "https", "endpoint": "http://a.example"}]}, "a URL such as https"),
        ({"subscriptions": [{"protocol": "sqs", "endpoint": "queue"}]}, "the ARN of a queue"),
        ({"subscriptions": [{"protocol": "sms", "endpoint": "0770"}]}, "a number such as"),
        ({"kms_key": "alias/aws/sns"}, "lets no alarm publish"),
        ({"kms_key": "arn:aws:kms:eu-west-2:123456789012:alias/aws/sns"}, "lets no alarm publish"),
    ],
)
@mock_aws
def test_topics_that_are_refused(run_module, change, reason):
    answer = run_module(sns_alarm_topic, {**TOPIC, **change})
    assert answer["failed"] and reason in answer["msg"]


@mock_aws
def test_life_of_a_topic(run_module):
    sns = client("sns")
    wanted = {**TOPIC, "subscriptions": [{"protocol": "sms", "endpoint": "+447700900000"}], "kms_key": "alias/ours"}
    check = run_module(sns_alarm_topic, wanted, check=True)
    assert check["changed"] and check["topic_arn"] == ARN and sns.list_topics()["Topics"] == []
    assert run_module(sns_alarm_topic, wanted)["topic_arn"] == ARN
    attributes = sns.get_topic_attributes(TopicArn=ARN)["Attributes"]
    assert attributes["KmsMasterKeyId"] == "alias/ours"
    statements = json.loads(attributes["Policy"])["Statement"]
    assert statements[0]["Principal"] == {"Service": ["cloudwatch.amazonaws.com"]}
    assert statements[0]["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert not run_module(sns_alarm_topic, wanted)["changed"]

    publishers = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]
    changed = {**TOPIC, "tags": {**OURS, "more": "1"}, "publishers": publishers}
    answer = run_module(sns_alarm_topic, changed)
    assert set(answer["diff"]["after"]) == {"policy", "kms_key", "tags", "subscription sms +447700900000"}
    assert not run_module(sns_alarm_topic, changed)["changed"]
    assert set(run_module(sns_alarm_topic, {**changed, "tags": OURS})["diff"]["after"]) == {"tags"}
    assert run_module(sns_alarm_topic, {**TOPIC, "state": "absent"})["topic_arn"] is None
    assert not run_module(sns_alarm_topic, {**TOPIC, "state": "absent"})["changed"]


@mock_aws
def test_a_topic_of_somebody_else_is_refused(run_module):
    client("sns").create_topic(Name="web-alarms")
    for state in ("present", "absent"):
        answer = run_module(sns_alarm_topic, {**TOPIC, "state": state})
        assert f"Topic {ARN}: it exists but does not carry the tags team=web" in answer["msg"]


class Pages:
    """The subscriptions that AWS lists."""

    def __init__(self, *arns: str) -> None:
        self._listed = [{"Protocol": "email", "Endpoint": f"{one}@example.com", "SubscriptionArn": one} for one in arns]

    def get_paginator(self, _name: str):
        return self

    def paginate(self, **_arguments):
        return [{"Subscriptions": self._listed}]

    def get_topic_attributes(self, **_arguments):
        return {"Attributes": {}}

    def list_tags_for_resource(self, **_arguments):
        return {"Tags": []}


def test_what_nobody_has_confirmed_is_waited_for_and_cannot_be_removed():
    topic = sns_alarm_topic.Topic(Pages("PendingConfirmation", "arn:aws:sns:1", "Deleted"), ARN)
    topic.find()
    assert topic.pending() == ["PendingConfirmation@example.com"]
    changes = topic.plan_present({"name": "web", "tags": {}, "publishers": [], "kms_key": "", "subscriptions": []})
    assert set(changes.diff["before"]) == {"policy", "subscription email arn:aws:sns:1@example.com"}


@mock_aws
def test_a_pending_subscription_is_told(run_module, monkeypatch):
    monkeypatch.setattr(sns_alarm_topic.Topic, "pending", lambda self: ["ops@example.com"])
    answer = run_module(sns_alarm_topic, TOPIC)
    assert answer["pending"] == ["ops@example.com"] and "must still confirm" in json.dumps(answer["warnings"])


def test_policies_are_compared_by_what_they_mean():
    policy = sns_rules.policy(ARN, ["cloudwatch.amazonaws.com"])
    written = json.loads(json.dumps(policy))
    written["Statement"][0]["Principal"] = {"Service": "cloudwatch.amazonaws.com"}
    written["Statement"][1]["Principal"] = {"AWS": "*"}
    assert sns_rules.comparable(json.dumps(written)) == sns_rules.comparable(json.dumps(policy))
    assert sns_rules.comparable("") == [] and sns_rules.comparable("{") == "{"


@mock_aws
def test_life_of_a_dashboard(run_module):
    cloudwatch = client("cloudwatch")
    assert run_module(cloudwatch_dashboard, DASHBOARD, check=True)["changed"]
    assert not cloudwatch.list_dashboards().get("DashboardEntries")
    assert run_module(cloudwatch_dashboard, DASHBOARD)["dashboard_name"] == "web"
    assert not run_module(cloudwatch_dashboard, DASHBOARD)["changed"]
    more = {"widgets": [*BODY["widgets"], {"type": "alarm", "properties": {"alarms": []}}]}
    assert run_module(cloudwatch_dashboard, {**DASHBOARD, "body": more})["diff"]["before"] == {"body": BODY}
    absent = {**DASHBOARD, "state": "absent"}
    assert run_module(cloudwatch_dashboard, absent)["dashboard_name"] is None
    assert not run_module(cloudwatch_dashboard, absent)["changed"]


@pytest.mark.parametrize("body", ['{"widgets": []}', '{"widgets": [{"type": "text", "properties": {}}]}', "[]"])
@mock_aws
def test_a_dashboard_of_somebody_else_is_refused(run_module, body):
    client("cloudwatch").put_dashboard(DashboardName="web", DashboardBody=body)
    for state in ("present", "absent"):
        answer = run_module(cloudwatch_dashboard, {**DASHBOARD, "state": state})
        assert "Dashboard web: it exists but no text widget of it has the line 'team=web'" in answer["msg"]


@mock_aws
def test_a_dashboard_that_would_not_be_known_as_ours_is_refused(run_module):
    answer = run_module(cloudwatch_dashboard, {**DASHBOARD, "body": {"widgets": []}})
    assert "Dashboard web: body: it does not say whose it is" in answer["msg"]


def test_what_aws_remarks_on_a_dashboard_is_a_warning():
    warnings = []

    class Module:
        params = DASHBOARD
        warn = warnings.append

    class CloudWatch:
        def put_dashboard(self, **_arguments):
            return {"DashboardValidationMessages": [{"DataPath": "/widgets/0", "Message": "odd"}]}

    cloudwatch_dashboard.put(Module, CloudWatch())
    assert warnings == ["Dashboard web: /widgets/0: odd"]
    assert cloudwatch_rules.parsed("{") == "{"


@mock_aws
def test_what_is_there_is_found(run_module):
    asked = {"prefix": "web/", "topic": "web-alarms", "event_subscription": "web-db", "dashboard": "web", "region": "eu-west-2"}
    nothing = {"topic_arn": None, "alarm_names": [], "firing": [], "event_subscription_name": None, "dashboard_name": None}
    assert run_module(deployment_monitoring_info, asked)["monitoring"] == nothing
    run_module(sns_alarm_topic, TOPIC)
    run_module(cloudwatch_alarms, {**ALARMS, "alarms": [ALARM]})
    run_module(cloudwatch_dashboard, DASHBOARD)
    run_module(rds_event_subscription, EVENTS)
    found = run_module(deployment_monitoring_info, asked)["monitoring"]
    assert found == {
        "topic_arn": ARN, "alarm_names": ["web/cpu"], "firing": [], "event_subscription_name": "web-db", "dashboard_name": "web",
    }  # fmt: skip


EVENTS = {
    "name": "web-db",
    "region": "eu-west-2",
    "topic_arn": ARN,
    "db_instance_ids": ["web"],
    "event_categories": ["failure", "maintenance"],
    "owner_tags": TOPIC["owner_tags"],
    "tags": {**TOPIC["owner_tags"], "cost": 12},
}


@mock_aws
def test_life_of_an_event_subscription(run_module):
    rds = boto3.client("rds", region_name="eu-west-2")

    def found():
        return rds.describe_event_subscriptions()["EventSubscriptionsList"]

    check = run_module(rds_event_subscription, EVENTS, check=True)
    assert check["changed"] and found() == []
    made = run_module(rds_event_subscription, EVENTS)
    assert made["diff"] == check["diff"] and made["subscription_name"] == "web-db"
    (one,) = found()
    assert (one["SnsTopicArn"], one["SourceType"], one["SourceIdsList"]) == (ARN, "db-instance", ["web"])
    assert one["EventCategoriesList"] == ["failure", "maintenance"]
    for checking in (True, False):
        assert not run_module(rds_event_subscription, EVENTS, check=checking)["changed"]
    tagged = run_module(rds_event_subscription, {**EVENTS, "tags": TOPIC["owner_tags"]})
    assert set(tagged["diff"]["after"]) == {"tags"}
    fewer = run_module(rds_event_subscription, {**EVENTS, "event_categories": ["failure"]})
    assert fewer["changed"] and [one["EventCategoriesList"] for one in found()] == [["failure"]]
    foreign = run_module(rds_event_subscription, {**EVENTS, "owner_tags": {"team": "other"}})
    assert foreign["msg"].startswith("Event subscription web-db: it exists but does not carry the tags team=other")
    gone = {"name": "web-db", "region": "eu-west-2", "state": "absent", "owner_tags": TOPIC["owner_tags"]}
    assert run_module(rds_event_subscription, gone, check=True)["changed"] and found()
    assert run_module(rds_event_subscription, gone)["subscription_name"] is None
    assert not run_module(rds_event_subscription, gone)["changed"] and found() == []


def test_a_former_subscription_that_does_not_go(monkeypatch):
    clock = iter(range(0, 10000, 50))
    monkeypatch.setattr(rds_event_subscription.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(rds_event_subscription.time, "sleep", lambda _seconds: None)

    class Rds:
        def describe_event_subscriptions(self, **_more):
            one = {"SnsTopicArn": "other", "SourceType": "db-instance", "Enabled": True, "EventSubscriptionArn": "arn"}
            return {"EventSubscriptionsList": [one]}

        def list_tags_for_resource(self, **_more):
            return {"TagList": []}

        def delete_event_subscription(self, **_more):
            return {}

    subscription = rds_event_subscription.Subscription(Rds(), "web-db")
    with pytest.raises(ValueError, match="Event subscription web-db: the former one was not gone after 120 s; run again"):
        subscription.plan(rds_event_subscription.wanted(EVENTS), {}).apply()
