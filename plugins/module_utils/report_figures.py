# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key figures of a deployment: what to ask CloudWatch for, and what its answers say.

Metrics: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html
"""

from __future__ import annotations

import datetime
import typing as t

HOUR = 3600
# Seconds of a point by the longest window in hours that it serves: some 60 to 300 points a figure.
PERIODS = ((3, 60), (24, 300), (168, 3600))
NO_DATA = "no data"
# Size of a sparkline in its own units.
WIDTH, HEIGHT, MARGIN = 160, 36, 3
MIB, GIB = 1024**2, 1024**3


class Metric(t.NamedTuple):
    id: str
    namespace: str
    name: str
    statistic: str
    # What it is measured at: a key of `dimensions`.
    of: str


METRICS = (
    Metric("requests", "AWS/ApplicationELB", "RequestCount", "Sum", "load_balancer"),
    Metric("latency_p50", "AWS/ApplicationELB", "TargetResponseTime", "p50", "load_balancer"),
    Metric("latency_p95", "AWS/ApplicationELB", "TargetResponseTime", "p95", "load_balancer"),
    Metric("errors_of_tasks", "AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "Sum", "load_balancer"),
    Metric("errors_of_load_balancer", "AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "Sum", "load_balancer"),
    Metric("healthy_tasks", "AWS/ApplicationELB", "HealthyHostCount", "Minimum", "target_group"),
    Metric("cpu", "AWS/ECS", "CPUUtilization", "Average", "service"),
    Metric("memory", "AWS/ECS", "MemoryUtilization", "Average", "service"),
    Metric("db_cpu", "AWS/RDS", "CPUUtilization", "Average", "database"),
    Metric("db_connections", "AWS/RDS", "DatabaseConnections", "Maximum", "database"),
    Metric("db_memory", "AWS/RDS", "FreeableMemory", "Minimum", "database"),
    Metric("db_storage", "AWS/RDS", "FreeStorageSpace", "Minimum", "database"),
)


def period(hours: int) -> int:
    """Seconds of a point."""
    return next(seconds for most, seconds in PERIODS if hours <= most)


def window(now: float, hours: int) -> tuple[float, float]:
    """Seconds since the epoch: `hours` of whole periods that are over. Within a period the answer stays the same."""
    end = now - now % period(hours)
    return end - hours * HOUR, end


def dimensions(
    load_balancer_arn: str, target_group_arn: str, cluster: str, service: str, db_instance_id: str
) -> dict[str, dict[str, str]]:
    """Names and values of dimensions by what they are of; what is not there has none."""
    balancer = load_balancer_arn.partition(":loadbalancer/")[2]
    group = target_group_arn.rpartition(":")[2]
    found = {
        "load_balancer": {"LoadBalancer": balancer} if balancer else {},
        "target_group": {"LoadBalancer": balancer, "TargetGroup": group} if balancer and group else {},
        "service": {"ClusterName": cluster, "ServiceName": service} if service else {},
        "database": {"DBInstanceIdentifier": db_instance_id} if db_instance_id else {},
    }
    return {key: value for key, value in found.items() if value}


def queries(known: dict[str, dict[str, str]], seconds: int) -> list[dict[str, t.Any]]:
    """MetricDataQueries of GetMetricData."""
    return [
        {
            "Id": metric.id,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": [{"Name": key, "Value": value} for key, value in sorted(known[metric.of].items())],
                },
                "Period": seconds,
                "Stat": metric.statistic,
            },
        }
        for metric in METRICS
        if metric.of in known
    ]


def series(pages: t.Iterable[dict[str, t.Any]], start: float, end: float, seconds: int) -> dict[str, list[float | None]]:
    """The points of each metric in the order of time, None where there is none, from the pages of GetMetricData."""
    count = int((end - start) // seconds)
    found: dict[str, list[float | None]] = {metric.id: [None] * count for metric in METRICS}
    for page in pages:
        for result in page["MetricDataResults"]:
            for moment, value in zip(result["Timestamps"], result["Values"]):
                place = int((_epoch(moment) - start) // seconds)
                if 0 <= place < count and result["Id"] in found:
                    found[result["Id"]][place] = float(value)
    return found


def _epoch(moment: datetime.datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()


def figures(found: dict[str, list[float | None]], hours: int, storage_gib: int | None, alarms: list[dict]) -> list[dict[str, t.Any]]:
    """One dictionary a figure: id, label, value, unit, detail, spark, alarm. What has no data says so and has no unit.

    `alarms` as `report_document` has them: the metric of one that fires names it.
    """
    firing = {(one["namespace"], one["metric"]): one["name"] for one in alarms if one["state"] == "ALARM"}

    def figure(key: str, label: str, value: str, unit: str, detail: str, shown: str = "") -> dict[str, t.Any]:
        metric = next(one for one in METRICS if one.id == (shown or key))
        points = found[metric.id]
        return {
            "id": key, "label": label, "value": value, "unit": unit if value != NO_DATA else "", "detail": detail,
            "spark": spark(points), "alarm": firing.get((metric.namespace, metric.name), ""),
        }  # fmt: skip

    def plain(key: str, label: str, unit: str, show: t.Callable[[float], str], bounds: str) -> dict[str, t.Any]:
        """The latest value, and the extreme one that matters."""
        known = [one for one in found[key] if one is not None]
        if not known:
            return figure(key, label, NO_DATA, "", "")
        extreme = f"lowest {show(min(known))}" if bounds == "lowest" else f"highest {show(max(known))}"
        return figure(key, label, show(known[-1]), unit, f"{extreme} {unit}".strip())

    def of_storage() -> dict[str, t.Any]:
        told = plain("db_storage", "Database storage free", "GiB", lambda value: number(value / GIB), "lowest")
        if told["value"] != NO_DATA and storage_gib:
            told["detail"] = f"of {storage_gib} GiB"
        return told

    return [
        _requests(found["requests"], hours, figure),
        _latency(found["latency_p50"], found["latency_p95"], figure),
        _errors(found, figure),
        plain("healthy_tasks", "Healthy tasks", "", number, "lowest"),
        plain("cpu", "Processor of tasks", "%", number, "highest"),
        plain("memory", "Memory of tasks", "%", number, "highest"),
        plain("db_cpu", "Processor of database", "%", number, "highest"),
        plain("db_connections", "Database connections", "", number, "highest"),
        plain("db_memory", "Database memory free", "MiB", lambda value: number(value / MIB), "lowest"),
        of_storage(),
    ]


def _requests(points: list[float | None], hours: int, figure: t.Callable[..., dict[str, t.Any]]) -> dict[str, t.Any]:
    known = [one for one in points if one is not None]
    if not known:
        return figure("requests", "Requests", NO_DATA, "", "")
    return figure("requests", "Requests", number(sum(known)), "", f"{number(sum(known) / hours / 60)} a minute on average")


def _latency(
    halves: list[float | None], slowest: list[float | None], figure: t.Callable[..., dict[str, t.Any]]
) -> dict[str, t.Any]:
    known = [one for one in slowest if one is not None]
    if not known:
        return figure("latency", "Latency p95", NO_DATA, "", "", "latency_p95")
    half = next((one for one in reversed(halves) if one is not None), None)
    told = [f"p50 {number(half * 1000)} ms"] if half is not None else []
    detail = ", ".join([*told, f"highest p95 {number(max(known) * 1000)} ms"])
    return figure("latency", "Latency p95", number(known[-1] * 1000), "ms", detail, "latency_p95")


def _errors(found: dict[str, list[float | None]], figure: t.Callable[..., dict[str, t.Any]]) -> dict[str, t.Any]:
    """A load balancer publishes errors only when there are some: where it has counted requests, none were errors."""
    counted = {
        key: [one for one in found[key] if one is not None]
        for key in ("requests", "errors_of_tasks", "errors_of_load_balancer")
    }
    if not any(counted.values()):
        return figure("errors", "Errors (5xx)", NO_DATA, "", "", "errors_of_tasks")
    tasks, balancer = (sum(counted[key]) for key in ("errors_of_tasks", "errors_of_load_balancer"))
    detail = f"{number(tasks)} by MLflow, {number(balancer)} by the load balancer"
    return figure("errors", "Errors (5xx)", number(tasks + balancer), "", detail, "errors_of_tasks")


def number(value: float) -> str:
    """Three significant digits below 100, whole above, with thousands apart."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def spark(points: list[float | None]) -> dict[str, t.Any]:
    """A sparkline from zero to the highest value: one string of SVG points for each stretch without gaps."""
    known = [one for one in points if one is not None]
    top = max(known, default=0.0) or 1.0
    step = (WIDTH - 2 * MARGIN) / max(len(points) - 1, 1)
    stretches: list[list[str]] = [[]]
    for place, value in enumerate(points):
        if value is None:
            stretches.append([])
        else:
            x, y = MARGIN + place * step, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * max(value, 0.0) / top
            stretches[-1].append(f"{x:.1f},{y:.1f}")
    lines = [one for one in stretches if one]
    return {"lines": [" ".join(one) for one in lines], "last": lines[-1][-1].split(",") if lines else [], "count": len(known)}
