# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a report shows besides the outputs of the roles. It goes on without what it may not read, and notes that."""

from __future__ import annotations

import contextlib
import datetime
import functools
import typing as t

try:
    import botocore.exceptions
except ImportError:
    pass  # handled by AnsibleAWSModule

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_errors,
    diagnosis_answers,
    diagnosis_reader,
    rds_client,
    report_figures,
)

Part = t.Dict[str, t.Any]


class Reader:
    """`connect(service)` gives a client of boto3; `options` are those of the module deployment_report_info."""

    def __init__(self, connect: t.Callable[[str], t.Any], options: t.Mapping[str, t.Any], now: float) -> None:
        self._connect = functools.cache(connect)
        self._name: str = options["name"]
        self._hours: int = options["hours"]
        self._parts: dict[str, Part] = options["parts"]
        self._start, self._end = report_figures.window(now, self._hours)
        self._read: Part = {
            "database": None, "db_events": [], "alarms": [], "subnets": [], "listeners": [], "internal": False,
            "certificate": None, "web_acl": None, "unread": [],
        }  # fmt: skip
        self._series: dict[str, list[float | None]] = report_figures.series([], self._start, self._end, self._period)

    @property
    def _period(self) -> int:
        return report_figures.period(self._hours)

    def read(self) -> Part:
        """`start`, `end`, `series` and `read` of the facts that report_document has."""
        for part, api, look in (
            ("figures", "cloudwatch", self._figures),
            ("alarms", "cloudwatch", self._alarms),
            ("database", "rds", self._database),
            ("subnets", "ec2", self._subnets),
            ("listeners", "elasticloadbalancing", self._listeners),
            ("certificate", "acm", self._certificate),
            ("web ACL", "wafv2", self._web_acl),
        ):
            with self._part(part, api):
                look()
        return {"start": self._start, "end": self._end, "series": self._series, "read": self._read}

    @contextlib.contextmanager
    def _part(self, name: str, api: str) -> t.Iterator[None]:
        """Go on without a part that may not be read. `api` is the prefix of its actions in policies."""
        try:
            yield
        except botocore.exceptions.ClientError as error:
            if aws_errors.error_code(error) in diagnosis_reader.HOPELESS:
                raise
            self._read["unread"].append(f"{name}: {aws_errors.explain(error, f'{api}:{error.operation_name}')}")

    def _figures(self) -> None:
        balancer, service, database = (self._parts[key] for key in ("load_balancer", "service", "database"))
        known = report_figures.dimensions(
            balancer.get("alb_arn") or "", balancer.get("target_group_arn") or "",
            service.get("cluster_name") or "", service.get("service_name") or "", database.get("db_instance_id") or "",
        )  # fmt: skip
        wanted = report_figures.queries(known, self._period)
        if wanted:
            pages = self._connect("cloudwatch").get_paginator("get_metric_data").paginate(
                MetricDataQueries=wanted, StartTime=_moment(self._start), EndTime=_moment(self._end), ScanBy="TimestampAscending"
            )  # fmt: skip
            self._series = report_figures.series(pages, self._start, self._end, self._period)

    def _alarms(self) -> None:
        pages = self._connect("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{self._name}/")
        self._read["alarms"] = [
            {
                "name": one["AlarmName"], "state": one["StateValue"], "reason": one.get("StateReason", ""),
                "since": diagnosis_answers.seconds(one.get("StateUpdatedTimestamp")),
                "namespace": one.get("Namespace", ""), "metric": one.get("MetricName", ""),
            }
            for page in pages
            for one in page["MetricAlarms"]
        ]  # fmt: skip

    def _database(self) -> None:
        identifier = self._parts["database"].get("db_instance_id")
        if not identifier:
            return
        rds = self._connect("rds")
        found = rds_client.describe_instance(rds, identifier) or {}
        self._read["database"] = {
            "allocated_storage": found.get("AllocatedStorage"), "multi_az": bool(found.get("MultiAZ")),
            "zone": found.get("AvailabilityZone") or "",
        }  # fmt: skip
        # Oldest first, a hundred a page: the latest are on the last one.
        pages = rds.get_paginator("describe_events").paginate(
            SourceIdentifier=identifier, SourceType="db-instance", Duration=self._hours * 60
        )
        self._read["db_events"] = [
            {"time": diagnosis_answers.seconds(one.get("Date")), "message": str(one.get("Message", ""))}
            for page in pages
            for one in page["Events"]
        ]

    def _subnets(self) -> None:
        network = self._parts["network"]
        wanted = [*(network.get("public_subnet_ids") or []), *(network.get("private_subnet_ids") or [])]
        if wanted:
            answer = self._connect("ec2").describe_subnets(SubnetIds=wanted, aws_retry=True)
            self._read["subnets"] = [
                {"subnet_id": one["SubnetId"], "zone": one["AvailabilityZone"], "cidr": one["CidrBlock"]}
                for one in answer["Subnets"]
            ]

    def _listeners(self) -> None:
        arn = self._parts["load_balancer"].get("alb_arn")
        if not arn:
            return
        elb = self._connect("elbv2")
        balancer = elb.describe_load_balancers(LoadBalancerArns=[arn], aws_retry=True)["LoadBalancers"][0]
        self._read["internal"] = balancer.get("Scheme") == "internal"
        answer = elb.describe_listeners(LoadBalancerArn=arn, aws_retry=True)
        self._read["listeners"] = [
            {
                "port": one["Port"], "protocol": one["Protocol"],
                "redirects": [action["Type"] for action in one["DefaultActions"]] == ["redirect"],
            }
            for one in sorted(answer["Listeners"], key=lambda one: -one["Port"])
        ]  # fmt: skip

    def _certificate(self) -> None:
        arn = self._parts["load_balancer"].get("certificate_arn")
        if arn:
            answer = self._connect("acm").describe_certificate(CertificateArn=arn, aws_retry=True)
            self._read["certificate"] = diagnosis_answers.certificate(answer["Certificate"])

    def _web_acl(self) -> None:
        arn = self._parts["load_balancer"].get("alb_arn")
        if not arn:
            return
        try:
            found = self._connect("wafv2").get_web_acl_for_resource(ResourceArn=arn, aws_retry=True).get("WebACL")
        except is_boto3_error_code("WAFNonexistentItemException"):
            found = None
        self._read["web_acl"] = {"name": found["Name"], "arn": found["ARN"]} if found else None


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
