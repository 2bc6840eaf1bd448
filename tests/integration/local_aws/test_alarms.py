# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudWatch and SNS of a local AWS: alarms fire and recover, subscribers hear of it, services are measured."""

from __future__ import annotations

import datetime
import http.server
import json
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

from tests.integration.aws import LocalAws, local_aws
from tests.integration.local_aws.databases import connect, create_database

IMAGE = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
CPU = {"Namespace": "AWS/ECS", "MetricName": "CPUUtilization"}
RULE = {
    **CPU, "Period": 60, "EvaluationPeriods": 1, "Threshold": 80, "ComparisonOperator": "GreaterThanThreshold",
    "Statistic": "Average",
}  # fmt: skip


@pytest.fixture(scope="module")
def aws(tmp_path_factory) -> t.Iterator[LocalAws]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_AWS_METRIC_SECONDS", "1")
        with local_aws(tmp_path_factory.mktemp("aws") / "state") as running:
            yield running


@pytest.fixture(scope="module")
def topic(aws) -> str:
    return aws.client("sns").create_topic(Name="alarms")["TopicArn"]


def push(aws: LocalAws, service: str, value: float, minutes: int = 1, **more: t.Any) -> None:
    """The CPU utilisation of the last whole minutes."""
    data = [
        {"namespace": "AWS/ECS", "metric": "CPUUtilization", "dimensions": {"ServiceName": service}, "value": value,
         "timestamp": time.time() - 60 * (number + 1), "replace": True, **more}
        for number in range(minutes)
    ]  # fmt: skip
    assert post(aws, data) == {"values": minutes}


def post(aws: LocalAws, data: t.Any) -> dict:
    request = urllib.request.Request(f"{aws.endpoint_url}/local-aws/metrics", json.dumps(data).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def put_alarm(aws: LocalAws, name: str, **more: t.Any) -> None:
    dimensions = [{"Name": "ServiceName", "Value": name}]
    aws.client("cloudwatch").put_metric_alarm(AlarmName=name, Dimensions=dimensions, **{**RULE, **more})


def state(aws: LocalAws, name: str) -> dict:
    return aws.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]


def until(aws: LocalAws, name: str, value: str, seconds: float = 10) -> dict:
    deadline = time.monotonic() + seconds
    while (found := state(aws, name))["StateValue"] != value:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def refused(code: str, call: t.Callable, **arguments: t.Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


class Subscriber(http.server.ThreadingHTTPServer):
    """Keeps what SNS posts to it."""

    def __init__(self) -> None:
        kept: list[dict] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: t.Any) -> None:
                """Tests are quiet."""

        self.kept = kept
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def messages(self, count: int) -> list[dict]:
        deadline = time.monotonic() + 10
        while len(self.kept) < count:
            assert time.monotonic() < deadline, self.kept
            time.sleep(0.1)
        return [json.loads(one["Message"]) for one in self.kept]


@pytest.fixture
def subscriber() -> t.Iterator[Subscriber]:
    with Subscriber() as server:
        yield server
        server.shutdown()


def queue(aws: LocalAws, name: str) -> tuple[str, t.Callable[[], list[dict]]]:
    """The ARN of a queue, and what takes its messages out."""
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return arn, lambda: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])


def test_an_alarm_fires_and_recovers_and_subscribers_hear_of_it(aws, topic, subscriber):
    sns, cloudwatch = aws.client("sns"), aws.client("cloudwatch")
    arn, take = queue(aws, "heard")
    # Nobody listens there: the others hear all the same.
    for protocol, endpoint in (("http", "http://127.0.0.1:1/"), ("sqs", arn),
                               ("http", f"http://127.0.0.1:{subscriber.server_port}/")):  # fmt: skip
        sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    put_alarm(aws, "fires", AlarmActions=[topic], OKActions=[topic], AlarmDescription="Too busy", Unit="Percent")
    assert state(aws, "fires")["StateValue"] == "INSUFFICIENT_DATA"
    push(aws, "fires", 99, unit="Count")
    push(aws, "fires", 95, unit="Percent")
    fired = until(aws, "fires", "ALARM")
    assert "was greater than the threshold (80.0)" in fired["StateReason"]
    push(aws, "fires", 20, unit="Percent")
    until(aws, "fires", "OK")
    told = subscriber.messages(2)
    assert [(one["OldStateValue"], one["NewStateValue"]) for one in told] == [
        ("INSUFFICIENT_DATA", "ALARM"), ("ALARM", "OK"),
    ]  # fmt: skip
    assert told[0]["AlarmName"] == "fires" and told[0]["AlarmDescription"] == "Too busy"
    assert told[0]["Trigger"]["Dimensions"] == [{"name": "ServiceName", "value": "fires"}]
    assert subscriber.kept[0]["Subject"] == 'ALARM: "fires" in Europe (London)'
    assert len(take()) == 2
    history = cloudwatch.describe_alarm_history(AlarmName="fires")["AlarmHistoryItems"]
    assert [one["HistorySummary"] for one in history] == [
        "Alarm updated from ALARM to OK", "Alarm updated from INSUFFICIENT_DATA to ALARM",
    ]  # fmt: skip


def test_three_of_three_and_the_99th_percentile(aws):
    put_alarm(aws, "three", EvaluationPeriods=3)
    push(aws, "three", 95, minutes=2)
    time.sleep(2.5)
    assert state(aws, "three")["StateValue"] == "INSUFFICIENT_DATA"
    push(aws, "three", 95, minutes=3)
    until(aws, "three", "ALARM")
    put_alarm(aws, "p99", Statistic="Average", Threshold=50)
    # Putting it again changes what is asked and not the state.
    push(aws, "p99", 10)
    until(aws, "p99", "OK")
    alarm = {key: value for key, value in RULE.items() if key != "Statistic"} | {"Threshold": 50}
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName="p99", ExtendedStatistic="p99", Dimensions=[{"Name": "ServiceName", "Value": "p99"}], **alarm
    )
    assert state(aws, "p99")["StateValue"] == "OK"
    post(aws, {"namespace": "AWS/ECS", "metric": "CPUUtilization", "dimensions": {"ServiceName": "p99"},
               "values": [1.0] * 50 + [90.0] * 2, "timestamp": time.time() - 60, "replace": True})  # fmt: skip
    until(aws, "p99", "ALARM")


def test_missing_data_are_treated_as_asked_and_a_state_set_by_hand_does_not_last(aws, topic):
    put_alarm(aws, "silent", TreatMissingData="breaching")
    until(aws, "silent", "ALARM")
    put_alarm(aws, "quiet", TreatMissingData="notBreaching", AlarmActions=[topic])
    until(aws, "quiet", "OK")
    aws.client("cloudwatch").set_alarm_state(AlarmName="quiet", StateValue="ALARM", StateReason="A drill")
    until(aws, "quiet", "OK")
    history = aws.client("cloudwatch").describe_alarm_history(AlarmName="quiet")["AlarmHistoryItems"]
    assert [one["HistorySummary"][-11:] for one in history] == ["ALARM to OK", "OK to ALARM", "_DATA to OK"]


def test_a_topic_whose_policy_does_not_let_cloudwatch_publish_stays_silent(aws):
    sns = aws.client("sns")
    statement = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "sns:Publish",
                 "Resource": "*", "Condition": {"StringEquals": {"aws:SourceAccount": "210987654321"}}}  # fmt: skip
    closed = sns.create_topic(Name="closed", Attributes={"Policy": json.dumps({"Statement": [statement]})})["TopicArn"]
    arn, take = queue(aws, "closed")
    sns.subscribe(TopicArn=closed, Protocol="sqs", Endpoint=arn)
    put_alarm(aws, "closed", TreatMissingData="breaching", AlarmActions=[closed])
    until(aws, "closed", "ALARM")
    assert take() == []
    assert "does not let CloudWatch publish" in (aws.directory / "daemon.log").read_text()


def test_what_is_refused(aws, topic):
    cloudwatch = aws.client("cloudwatch")
    for namespace in ("AWS/ECS", "ECS/ContainerInsights"):
        refused("InvalidParameterValue", cloudwatch.put_metric_data, Namespace=namespace,
                MetricData=[{"MetricName": "a", "Value": 1}])  # fmt: skip
    for change in ({"ComparisonOperator": "GreaterThanUpperThreshold"},
                   {"AlarmActions": ["arn:aws:lambda:eu-west-2:123456789012:function:f"]}):  # fmt: skip
        asked = {**RULE, "AlarmName": "a", **change}
        assert "not supported by the local AWS" in refused("ValidationError", cloudwatch.put_metric_alarm, **asked)
    refused("ResourceNotFound", cloudwatch.delete_alarms, AlarmNames=["nobody"])
    wrong = json.dumps({"widgets": [{"type": "metric", "properties": {"metrics": [["A", "B"]]}}]})
    told = refused("InvalidParameterInput", cloudwatch.put_dashboard, DashboardName="d", DashboardBody=wrong)
    assert "/widgets/0/properties/region" in told
    refused("InvalidParameterValue", cloudwatch.put_dashboard, DashboardName="a b", DashboardBody='{"widgets": []}')
    for protocol, endpoint in (("email", "nobody"), ("http", "https://a"), ("pigeon", "a")):
        refused("InvalidParameter", aws.client("sns").subscribe, TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        post(aws, {"namespace": "AWS/ECS"})
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"{aws.endpoint_url}/local-aws/metrics", timeout=10)


def test_tags_end_with_the_alarm_and_mail_waits_for_its_reader(aws):
    cloudwatch, sns = aws.client("cloudwatch"), aws.client("sns")
    put_alarm(aws, "tagged", Tags=[{"Key": "team", "Value": "a"}])
    arn = state(aws, "tagged")["AlarmArn"]
    cloudwatch.delete_alarms(AlarmNames=["tagged"])
    put_alarm(aws, "tagged")
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == []
    mail = sns.create_topic(Name="mail")["TopicArn"]
    sns.subscribe(TopicArn=mail, Protocol="email", Endpoint="ops@example.com")
    listed = sns.list_subscriptions_by_topic(TopicArn=mail)["Subscriptions"]
    assert [(one["Endpoint"], one["SubscriptionArn"]) for one in listed] == [("ops@example.com", "PendingConfirmation")]


def test_services_and_their_targets_are_measured(aws):
    ec2, ecs, elb = (aws.client(name) for name in ("ec2", "ecs", "elbv2"))
    vpc = ec2.create_vpc(CidrBlock="10.6.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.6.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("ab")
    ]
    ec2.attach_internet_gateway(
        InternetGatewayId=ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"], VpcId=vpc
    )
    balancer = elb.create_load_balancer(Name="web", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    group = elb.create_target_group(
        Name="web", Protocol="HTTP", Port=5000, VpcId=vpc, TargetType="ip", HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2,
    )["TargetGroups"][0]["TargetGroupArn"]  # fmt: skip
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=8080,
                        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])  # fmt: skip
    ecs.create_cluster(clusterName="demo", settings=[{"name": "containerInsights", "value": "enabled"}])
    # It keeps a processor busy, so that there is something to measure.
    busy = "import threading, http.server as s\n" \
           "exec('def burn():\\n while True: pass')\n" \
           "threading.Thread(target=burn, daemon=True).start()\n" \
           "s.ThreadingHTTPServer(('', 5000), s.SimpleHTTPRequestHandler).serve_forever()"  # fmt: skip
    ecs.register_task_definition(
        family="web", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        containerDefinitions=[{"name": "web", "image": IMAGE, "command": ["nice", "python", "-c", busy],
                               "portMappings": [{"containerPort": 5000}]}],
    )  # fmt: skip
    ecs.create_service(
        cluster="demo", serviceName="web", taskDefinition="web", desiredCount=1, launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets}},
        loadBalancers=[{"targetGroupArn": group, "containerName": "web", "containerPort": 5000}],
    )  # fmt: skip
    service = {"ClusterName": "demo", "ServiceName": "web"}
    hosts = {"LoadBalancer": balancer.split(":loadbalancer/")[1], "TargetGroup": group.split(":")[-1]}
    try:
        processor = measured(aws, "AWS/ECS", "CPUUtilization", service, 30, seconds=240)
        # A quarter of a processor was promised; more can be had, and a busy machine gives less.
        assert processor > 10
        assert 1 < measured(aws, "AWS/ECS", "MemoryUtilization", service, 1) < 50
        for name in ("RunningTaskCount", "DesiredTaskCount"):
            assert measured(aws, "ECS/ContainerInsights", name, service, 1) == 1
        assert measured(aws, "AWS/ApplicationELB", "HealthyHostCount", hosts, 1) == 1
        assert measured(aws, "AWS/ApplicationELB", "UnHealthyHostCount", hosts, 0) == 0
    finally:
        ecs.delete_service(cluster="demo", service="web", force=True)


def test_databases_are_measured(aws):
    database = {"DBInstanceIdentifier": "measured-db"}
    address = create_database(aws, "measured-db")["Endpoint"]["Address"]
    clients = [connect(address) for _number in range(3)]
    try:
        assert measured(aws, "AWS/RDS", "DatabaseConnections", database, 3) == 3
        # An empty database of 20 GiB: some tens of MiB are in use.
        assert 19.5 * 1024**3 < measured(aws, "AWS/RDS", "FreeStorageSpace", database, 1) < 20 * 1024**3
    finally:
        for client in clients:
            client.close()


def test_statistics_are_of_whole_minutes(aws):
    minute = time.time() // 60 * 60 - 180
    series = {"namespace": "AWS/ECS", "metric": "CPUUtilization", "dimensions": {"ServiceName": "whole-minutes"}}
    # Less than a minute lies between the first and the last of them.
    post(aws, [{**series, "value": value, "timestamp": minute + second} for second, value in ((50, 10), (65, 20), (100, 30))])
    start = datetime.datetime.fromtimestamp(minute + 7, datetime.timezone.utc)
    asked = {
        "Namespace": "AWS/ECS", "MetricName": "CPUUtilization", "Dimensions": [{"Name": "ServiceName", "Value": "whole-minutes"}],
        "StartTime": start, "EndTime": start + datetime.timedelta(minutes=3), "Period": 60, "Statistics": ["Average"],
    }  # fmt: skip
    found = aws.client("cloudwatch").get_metric_statistics(**asked)["Datapoints"]
    assert [(one["Timestamp"].timestamp(), one["Average"]) for one in found] == [(minute, 10), (minute + 60, 25)]


def measured(aws: LocalAws, namespace: str, name: str, dimensions: dict, least: float, seconds: float = 60) -> float:
    """The maximum of a metric, as soon as it is `least`."""
    deadline = time.monotonic() + seconds
    asked = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    while True:
        now = datetime.datetime.now(datetime.timezone.utc)
        found = aws.client("cloudwatch").get_metric_statistics(
            Namespace=namespace, MetricName=name, Dimensions=asked, StartTime=now - datetime.timedelta(minutes=5),
            EndTime=now + datetime.timedelta(minutes=1), Period=60, Statistics=["Maximum"],
        )["Datapoints"]  # fmt: skip
        if found and max(one["Maximum"] for one in found) >= least:
            return max(one["Maximum"] for one in found)
        assert time.monotonic() < deadline, f"{name}: {found}"
        time.sleep(0.5)
