# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitoring on a local AWS: every alarm fires and recovers, and who subscribed hears of it."""

from __future__ import annotations

import json
import time
import typing as t
import urllib.request

import pytest

MIB, GIB = 1024**2, 1024**3
# Alarm to a value that is bad and one that is good, with the variables below.
CONDITIONS = {
    "load-balancer-5xx": (6, 5),
    "target-5xx": (40, 0),
    "unhealthy-hosts": (1, 0),
    "too-few-hosts": (1, 2),
    "latency": (12.5, 0.2),
    "cpu": (99, 20),
    "memory": (91, 60),
    "database-cpu": (95, 5),
    "database-storage": (2 * GIB, 15 * GIB),
    "database-memory": (50 * MIB, 800 * MIB),
    "database-connections": (81, 12),
    "certificate-days": (12, 200),
}
TOPIC = "arn:aws:sns:eu-west-2:123456789012:watched-alarms"
FOREIGN_ALARM = {
    "Namespace": "N", "MetricName": "M", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold", "Statistic": "Sum",
}  # fmt: skip
# Metrics that are on the dashboard without an alarm of their own, with what AWS publishes them by.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
ALSO_SHOWN = {
    ("AWS/ApplicationELB", "RequestCount"): {"LoadBalancer"},
    ("AWS/ApplicationELB", "HTTPCode_Target_4XX_Count"): {"LoadBalancer", "TargetGroup"},
}


@pytest.fixture(scope="module")
def deployed(local_aws: t.Any) -> dict:
    """What a deployment consists of, as far as something watches it."""
    ec2, elb, ecs, rds, acm, logs = (local_aws.client(one) for one in ("ec2", "elbv2", "ecs", "rds", "acm", "logs"))
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("ab")
    ]
    balancer = elb.create_load_balancer(Name="watched", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    group = elb.create_target_group(Name="watched", Protocol="HTTP", Port=5000, VpcId=vpc, TargetType="ip")
    ecs.create_cluster(clusterName="watched")
    logs.create_log_group(logGroupName="/ecs/watched")
    rds.create_db_instance(
        DBInstanceIdentifier="watched-db", Engine="postgres", DBInstanceClass="db.t3.micro", AllocatedStorage=20,
        MasterUsername="mlflow", MasterUserPassword="correct-horse-battery",
    )  # fmt: skip
    rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier="watched-db", WaiterConfig={"Delay": 1})
    # Its real figures would come between those that the test tells.
    rds.stop_db_instance(DBInstanceIdentifier="watched-db")
    return {
        "monitoring_region": "eu-west-2",
        "monitoring_cluster_name": "watched",
        "monitoring_service_name": "watched",
        "monitoring_desired_count": 2,
        "monitoring_load_balancer_arn": balancer,
        "monitoring_target_group_arn": group["TargetGroups"][0]["TargetGroupArn"],
        "monitoring_certificate_arn": acm.request_certificate(DomainName="m.example.com", ValidationMethod="DNS")[
            "CertificateArn"
        ],
        "monitoring_log_group": "/ecs/watched",
        "monitoring_db_instance_id": "watched-db",
        "monitoring_db_max_connections": 100,
    }


@pytest.fixture(scope="module")
def queue(local_aws: t.Any) -> tuple[str, str]:
    """URL and ARN."""
    sqs = local_aws.client("sqs")
    url = sqs.create_queue(QueueName="operators")["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def alarms(local_aws: t.Any, name: str) -> dict[str, dict]:
    found = local_aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{name}/")["MetricAlarms"]
    return {one["AlarmName"].split("/")[1]: one for one in found}


def heard(local_aws: t.Any, url: str, state: str) -> dict[str, str]:
    """Alarm to state, as the queue tells it, once it tells this one of all alarms or nothing more."""
    sqs, wanted = local_aws.client("sqs"), dict.fromkeys(CONDITIONS, state)
    found: dict[str, str] = {}
    deadline = time.monotonic() + 20
    while found != wanted and time.monotonic() < deadline:
        for one in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            message = json.loads(json.loads(one["Body"])["Message"])
            found[message["AlarmName"].split("/")[1]] = message["NewStateValue"]
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    return found


def push(local_aws: t.Any, found: dict[str, dict], which: int, moment: float) -> None:
    """For each alarm the bad (0) or the good (1) value of the ten minutes before a moment."""
    data = [
        {
            "namespace": alarm["Namespace"],
            "metric": alarm["MetricName"],
            "dimensions": {one["Name"]: one["Value"] for one in alarm["Dimensions"]},
            "value": CONDITIONS[name][which],
            "timestamp": moment - 60 * minute,
            "replace": True,
        }
        for name, alarm in found.items()
        for minute in range(10)
    ]
    request = urllib.request.Request(f"{local_aws.endpoint_url}/local-aws/metrics", json.dumps(data).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.loads(answer.read()) == {"values": len(data)}


def test_life_of_what_watches_a_deployment(run_role, local_aws, deployed, queue):
    url, arn = queue
    hearing = [{"protocol": "sqs", "endpoint": arn}, {"protocol": "email", "endpoint": "ops@example.com"}]
    variables = {"monitoring_name": "watched", **deployed, "monitoring_subscriptions": hearing}
    check = run_role("monitoring", variables, ("check", "main"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 4, []), check.stdout
    created = run_role("monitoring", variables)
    assert (created.rc, created.changed) == (0, 4), created.stdout
    assert "ops@example.com must still confirm" in created.stdout
    names = sorted(f"watched/{name}" for name in CONDITIONS)
    assert created.outputs == check.outputs == {
        "topic_arn": TOPIC, "alarm_names": names, "firing": [], "event_subscription_name": "watched-database",
        "dashboard_name": "watched",
    }  # fmt: skip

    check_events(local_aws)
    found = alarms(local_aws, "watched")
    assert set(found) == set(CONDITIONS)
    check_dashboard(local_aws, found)
    check_tags(local_aws, found)
    # The same minutes both times: what was bad becomes good.
    moment = time.time()
    push(local_aws, found, 0, moment)
    # Before there were any data, some alarms had told that all is well, and one that no host is there.
    assert heard(local_aws, url, "ALARM") == dict.fromkeys(CONDITIONS, "ALARM")
    assert run_role("monitoring", variables, "info").outputs == {**created.outputs, "firing": names}
    push(local_aws, found, 1, moment)
    assert heard(local_aws, url, "OK") == dict.fromkeys(CONDITIONS, "OK")

    for checking in (True, False):
        # Nor does AWS send its mail again.
        again = run_role("monitoring", variables, check=checking)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == created.outputs

    local_aws.client("cloudwatch").put_metric_alarm(AlarmName="watched/of-somebody-else", **FOREIGN_ALARM)
    key = local_aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    changed = {
        **variables, "monitoring_desired_count": 0, "monitoring_tags": {"team": "a"}, "monitoring_latency_seconds": 3.5, "monitoring_minutes": 3,
        "monitoring_certificate_arn": "", "monitoring_log_group": "", "monitoring_db_max_connections": 0,
        "monitoring_dashboard": False, "monitoring_kms_key": key, "monitoring_subscriptions": hearing[1:],
        "monitoring_db_event_categories": [],
    }  # fmt: skip
    run = run_role("monitoring", changed)
    assert (run.rc, run.changed) == (0, 4), run.stdout
    assert {"cloudwatch:DeleteDashboards", "sns:Unsubscribe", "rds:DeleteEventSubscription"} <= set(run.writes)
    check_changed(local_aws, run.outputs, key)
    assert run_role("monitoring", changed).writes == []
    back = run_role("monitoring", variables)
    assert (back.rc, back.changed, back.outputs) == (0, 4, created.outputs), back.stdout

    for removed in (4, 0):
        gone = run_role("monitoring", {"monitoring_name": "watched"}, "absent")
        assert (gone.rc, gone.changed, bool(gone.writes)) == (0, removed, bool(removed)), gone.stdout
    assert set(alarms(local_aws, "watched")) == {"of-somebody-else"}
    local_aws.client("cloudwatch").delete_alarms(AlarmNames=["watched/of-somebody-else"])
    nothing = {"topic_arn": None, "alarm_names": [], "firing": [], "event_subscription_name": None, "dashboard_name": None}
    assert run_role("monitoring", {"monitoring_name": "watched"}, "info").outputs == nothing


def check_events(local_aws: t.Any) -> None:
    (one,) = local_aws.client("rds").describe_event_subscriptions()["EventSubscriptionsList"]
    assert (one["SnsTopicArn"], one["SourceIdsList"], one["Enabled"]) == (TOPIC, ["watched-db"], True)
    assert one["EventCategoriesList"] == ["configuration change", "failure", "maintenance"]


def check_changed(local_aws: t.Any, outputs: dict, key: str) -> None:
    found = alarms(local_aws, "watched")
    assert set(CONDITIONS) - set(found) == {"certificate-days", "database-connections", "too-few-hosts"}
    assert (found["latency"]["Threshold"], found["latency"]["EvaluationPeriods"]) == (3.5, 3)
    assert found["target-5xx"]["DatapointsToAlarm"] == 2
    topic = local_aws.client("sns").get_topic_attributes(TopicArn=TOPIC)["Attributes"]
    assert topic["KmsMasterKeyId"] == key and "events.rds.amazonaws.com" not in topic["Policy"]
    assert outputs["event_subscription_name"] is None
    assert outputs["dashboard_name"] is None


def check_dashboard(local_aws: t.Any, found: dict[str, dict]) -> None:
    """Each metric that is shown is one that has an alarm, with the same dimensions, or is known to be published."""
    watched = {
        (one["Namespace"], one["MetricName"]): {each["Name"]: each["Value"] for each in one["Dimensions"]}
        for one in found.values()
    }
    values = {name: value for dimensions in watched.values() for name, value in dimensions.items()}
    body = json.loads(local_aws.client("cloudwatch").get_dashboard(DashboardName="watched")["DashboardBody"])
    shown = []
    for widget in body["widgets"]:
        for row in widget["properties"].get("metrics", []):
            words = [word for word in row if isinstance(word, str)]
            metric, dimensions = (words[0], words[1]), dict(zip(words[2::2], words[3::2]))
            names = ALSO_SHOWN.get(metric)
            assert dimensions == (watched[metric] if names is None else {name: values[name] for name in names})
            shown.append(metric)
    assert set(watched) <= set(shown)
    listed = next(widget for widget in body["widgets"] if widget["type"] == "alarm")["properties"]["alarms"]
    assert sorted(listed) == sorted(one["AlarmArn"] for one in found.values())
    query = next(widget for widget in body["widgets"] if widget["type"] == "log")["properties"]["query"]
    group = query.split("'")[1]
    assert [one["logGroupName"] for one in local_aws.client("logs").describe_log_groups()["logGroups"]].count(group)
    elb = local_aws.client("elbv2")
    balancers = [one["LoadBalancerArn"] for one in elb.describe_load_balancers()["LoadBalancers"]]
    groups = [one["TargetGroupArn"] for one in elb.describe_target_groups()["TargetGroups"]]
    assert any(one.endswith(f":loadbalancer/{values['LoadBalancer']}") for one in balancers)
    assert any(one.endswith(f":{values['TargetGroup']}") for one in groups)


def check_tags(local_aws: t.Any, found: dict[str, dict]) -> None:
    cloudwatch = local_aws.client("cloudwatch")
    tags = [cloudwatch.list_tags_for_resource(ResourceARN=one["AlarmArn"]) for one in found.values()]
    tags.append(local_aws.client("sns").list_tags_for_resource(ResourceArn=TOPIC))
    for one in tags:
        assert {"Key": "mlflow-deployment", "Value": "watched"} in one["Tags"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"monitoring_cpu_percent": 101}, "monitoring_cpu_percent = 101: out of range; give 1 to 100"),
        ({"monitoring_subscriptions": [{"protocol": "pigeon", "endpoint": "a"}]}, "value of protocol must be one of"),
        (
            {"monitoring_subscriptions": [{"protocol": "email", "endpoint": "ops"}]},
            "subscription email: endpoint = ops: it is none of this protocol; give an address such as",
        ),
    ],
)
def test_bad_input_is_refused_before_the_first_write(run_role, wrong, message):
    run = run_role("monitoring", {"monitoring_name": "bad", **wrong}, "check")
    assert run.rc == 2 and run.writes == [], run.stdout
    assert message in " ".join(run.stdout.split())


def test_what_is_not_ours_is_not_touched(run_role, local_aws, deployed):
    sns, cloudwatch = local_aws.client("sns"), local_aws.client("cloudwatch")
    variables = {"monitoring_name": "foreign", **deployed}
    sns.create_topic(Name="foreign-alarms")
    run = run_role("monitoring", variables, ("check", "main"))
    assert run.rc == 2 and run.writes == [], run.stdout
    assert "Topic arn:aws:sns:eu-west-2:123456789012:foreign-alarms: it exists but does not carry" in run.stdout
    cloudwatch.put_dashboard(DashboardName="foreign", DashboardBody='{"widgets": []}')
    run = run_role("monitoring", variables, "absent")
    assert run.rc == 2 and run.writes == [], run.stdout
    assert "Dashboard foreign: it exists but no text widget of it has the line" in run.stdout
