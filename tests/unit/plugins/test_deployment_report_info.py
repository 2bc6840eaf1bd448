# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module deployment_report_info against recorded answers: few calls, none of them a write or a secret's, and what is denied is told.

What it finds on a deployment that lives is tested in tests/integration/deployment.
"""

from __future__ import annotations

import copy
import datetime
import time
import typing as t

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import ecs_client
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_report_info as module
from botocore.exceptions import ClientError

from tests.unit.plugins import reported

pytestmark = pytest.mark.usefixtures("aws_environment")
THEN = datetime.datetime.fromtimestamp(reported.NOW - 600, datetime.timezone.utc)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Operation")


class Aws:
    """Every client of one account. `answers` by operation; an exception is raised. Notes what was asked."""

    def __init__(self, answers: dict[str, t.Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict]] = []

    def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
        def call(**arguments: t.Any) -> t.Any:
            self.asked.append((name, arguments))
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def get_paginator(self, name: str) -> t.Any:
        call = getattr(self, name)

        class Pages:
            def paginate(self, **arguments: t.Any) -> list:
                return [call(**arguments)]

        return Pages()


def answers() -> dict[str, t.Any]:
    return {
        "get_metric_data": {"MetricDataResults": [{"Id": "cpu", "Timestamps": [THEN], "Values": [42.0]}]},
        "describe_alarms": {"MetricAlarms": [
            {"AlarmName": "web/cpu", "StateValue": "OK", "StateReason": "fine", "StateUpdatedTimestamp": THEN, "Namespace": "AWS/ECS",
             "MetricName": "CPUUtilization"},
        ]},
        "describe_db_instances": {"DBInstances": [{"AllocatedStorage": 20, "MultiAZ": True, "AvailabilityZone": "eu-west-2a"}]},
        "describe_events": {"Events": [{"Date": THEN, "Message": "DB instance restarted"}]},
        "describe_subnets": {"Subnets": [{"SubnetId": "subnet-a", "AvailabilityZone": "eu-west-2a", "CidrBlock": "10.0.10.0/24"}]},
        "describe_load_balancers": {"LoadBalancers": [{"Scheme": "internal"}]},
        "describe_listeners": {"Listeners": [
            {"Port": 80, "Protocol": "HTTP", "DefaultActions": [{"Type": "redirect"}]},
            {"Port": 443, "Protocol": "HTTPS", "DefaultActions": [{"Type": "authenticate-oidc"}, {"Type": "forward"}]},
        ]},
        "describe_certificate": {"Certificate": {"CertificateArn": reported.CERTIFICATE, "DomainName": "mlflow.example.com", "Status": "ISSUED",
                                                 "NotAfter": THEN + datetime.timedelta(days=90)}},
        "get_web_acl_for_resource": {"WebACL": {"Name": "web", "ARN": reported.WEB_ACL}},
    }  # fmt: skip


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, run_module: t.Callable) -> t.Callable[..., tuple[dict, list]]:
    """report(answers, **options) is the module's result and what it asked."""

    def run(told: dict[str, t.Any], **options: t.Any) -> tuple[dict, list]:
        aws = Aws(told)
        monkeypatch.setattr(ecs_client, "connect", lambda _module, _service: aws)
        monkeypatch.setattr(time, "time", lambda: reported.NOW + 42)
        given = {"name": "web", "region": "eu-west-2", "parts": copy.deepcopy(reported.PARTS), **options}
        return run_module(module, given, check=True), aws.asked

    return run


def test_a_report_takes_few_calls(report):
    result, asked = report(answers())
    told = result["report"]
    assert not result["changed"] and told["state"] == "good", told["lines"]
    assert [name for name, _arguments in asked] == [
        "get_metric_data", "describe_alarms", "describe_db_instances", "describe_events", "describe_subnets", "describe_load_balancers",
        "describe_listeners", "describe_certificate", "get_web_acl_for_resource",
    ]  # fmt: skip
    first = asked[0][1]
    assert len(first["MetricDataQueries"]) == 12 and first["EndTime"].timestamp() == reported.NOW
    assert {one["id"]: one["value"] for one in told["figures"]}["cpu"] == "42"
    assert "DB instance restarted" in [one["message"] for one in told["events"]]
    assert [one["zone"] for one in told["tasks"]] == ["eu-west-2a", ""]
    assert "internal load balancer (TLS, active, HTTPS 443, HTTP 80 redirects, WAF: web)" in told["pictures"][0]["description"]


def test_within_a_period_a_report_stays_the_same(report):
    assert report(answers())[0] == report(answers())[0]


def test_nothing_is_asked_about_what_is_not_there(report):
    result, asked = report({"describe_alarms": {"MetricAlarms": []}}, parts={}, hours=1)
    assert result["report"]["verdict"] == "Not deployed" and [name for name, _arguments in asked] == ["describe_alarms"]


def test_an_instance_that_has_gone_meanwhile(report):
    told = {**answers(), "describe_db_instances": {"DBInstances": [{}]}, "get_web_acl_for_resource": refusal("WAFNonexistentItemException")}
    found, _asked = report(told)
    states = {one["id"]: one["word"] for one in found["report"]["components"]}
    assert states["web_acl"] == "off" and found["report"]["unread"] == []


def test_what_is_denied_is_told_and_the_rest_goes_on(report):
    denied = refusal("AccessDeniedException")
    told, _asked = report({operation: denied for operation in answers()})
    unread = told["report"]["unread"]
    assert [line.split(":")[0] for line in unread] == ["figures", "alarms", "database", "subnets", "listeners", "certificate", "web ACL"]
    assert "cloudwatch:Operation is denied" in unread[0]
    assert {one["value"] for one in told["report"]["figures"] if one["id"] != "cost"} == {"no data"}


def test_credentials_that_do_not_work_end_it(report):
    result, _asked = report({**answers(), "get_metric_data": refusal("ExpiredTokenException")})
    assert result["failed"] and result["msg"].startswith("Report of web: AWS credentials: they have expired")


@pytest.mark.parametrize("hours", [0, 169])
def test_hours_have_their_bounds(report, hours):
    result, asked = report(answers(), hours=hours)
    assert result["failed"] and result["msg"] == f"hours is {hours}: a report is of 1 to 168 hours; give another number" and asked == []
