# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment costs a month, item by item, from its settings and the price table; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import cost_prices

HOURS = 730  # of a month, as in AWS's own calculator
HOURS_OF_WEEK = 168
FREE_TASK_STORAGE = 20  # GiB of every Fargate task
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")

DEFAULTS: dict[str, Any] = {
    "task_count": 2,
    "task_max_count": 0,
    "task_cpu": 1024,
    "task_memory": 2048,
    "task_cpu_architecture": "X86_64",
    "task_spot": False,
    "task_ephemeral_storage": FREE_TASK_STORAGE,
    "office_hours": {},
    "db_instance_class": "db.t3.small",
    "db_multi_az": False,
    "db_allocated_storage": 20,
    "db_extra_backup_storage": 0,
    "subnet_cidrs": ["10.0.0.0/24", "10.0.1.0/24"],
    "nat_mode": "single",
    "interface_endpoints": 0,
    "public_load_balancer": True,
    "load_balancer_capacity_units": 1,
    "secrets": 3,
    "logs": 1,
    "log_retention_days": 30,
    "artifacts": 0,
    "alarms": 0,
    "dashboards": 0,
    "metrics": 0,
    "waf_rules": 0,
    "kms_keys": 0,
    "hosted_zones": 0,
}


class Wanted(NamedTuple):
    """An item before its price is looked up; ``price`` is a key of the price table."""

    item: str
    price: str
    quantity: float
    unit: str
    note: str = ""


# What depends on use alone, and is told with its unit price only.
NOT_INCLUDED = (
    Wanted("Data through NAT gateways", "nat-gib", 0, "GiB"),
    Wanted("Data through interface endpoints", "endpoint-gib", 0, "GiB"),
    Wanted("Data to the internet", "transfer-out-gib", 0, "GiB"),
    Wanted("Artifacts in S3", "s3-gib-month", 0, "GiB-month"),
    Wanted("Writes to S3", "s3-1k-writes", 0, "1,000 requests"),
    Wanted("Reads from S3", "s3-1k-reads", 0, "1,000 requests"),
    Wanted("Calls to Secrets Manager", "secret-10k-calls", 0, "10,000 calls"),
    Wanted("Backups beyond the size of the database", "rds-backup-gib-month", 0, "GiB-month"),
)


def estimate(region: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the deployment with ``settings`` (missing ones as in ``DEFAULTS``) costs in ``region``.

    Returns ``currency``, ``region``, ``price_date``, ``items`` (each ``item``, ``quantity``, ``unit``, ``unit_price``,
    ``monthly_usd``, ``note``, ``source``), ``monthly_usd`` (their sum; null in a region without prices),
    ``maximum_monthly_usd`` (with the most tasks all month long), ``missing`` (what has no price, a line each),
    ``assumptions`` and ``not_included``.
    """
    wanted = {**DEFAULTS, **settings}
    items, missing = _priced(region, _wanted(wanted))
    total = _sum(items) if region in cost_prices.PRICES else None
    most = max(wanted["task_count"], wanted["task_max_count"])
    return {
        "currency": cost_prices.CURRENCY,
        "region": region,
        "price_date": cost_prices.LOOKED_UP,
        "items": items,
        "monthly_usd": total,
        "maximum_monthly_usd": total and _sum(_priced(region, _wanted({**wanted, "task_count": most}))[0]),
        "missing": missing,
        "assumptions": _assumptions(wanted),
        "not_included": _usage_prices(region, wanted),
    }


def check(settings: Mapping[str, Any]) -> None:
    """Raises a ValueError that names the first setting that is below zero or office hours that are none."""
    for option, value in settings.items():
        if isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{option} = {value}: is below zero; give 0 or more")
    task_hours(settings["office_hours"])


def task_hours(office_hours: Mapping[str, str]) -> float:
    """Hours a month at which tasks run, with ``weekdays``, ``start`` and ``stop`` as the role scaling takes them."""
    if not office_hours:
        return HOURS
    lacking = [key for key in ("weekdays", "start", "stop") if key not in office_hours]
    if lacking:
        raise ValueError(
            f"office_hours = {dict(office_hours)}: lacks {', '.join(lacking)}; give weekdays, start and stop"
        )
    minutes = _minutes(office_hours["stop"]) - _minutes(office_hours["start"])
    if minutes <= 0:
        raise ValueError(
            f"office_hours = {office_hours['start']} to {office_hours['stop']}: ends before it starts; "
            "give a start and a stop of the same day"
        )
    return HOURS * len(_days(office_hours["weekdays"])) * minutes / 60 / HOURS_OF_WEEK


def _minutes(clock: str) -> int:
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", str(clock))
    if not found or int(found[1]) > 24 or int(found[2]) > 59:
        raise ValueError(f"office_hours = {clock}: is not a time; write 08:00")
    return int(found[1]) * 60 + int(found[2])


def _days(weekdays: str) -> set[str]:
    days: set[str] = set()
    for part in str(weekdays).upper().split(","):
        first, _dash, last = part.strip().partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"office_hours = {weekdays}: are not weekdays; write MON-FRI or MON,WED,FRI")
        start, stop = DAYS.index(first), DAYS.index(last or first)
        days.update(DAYS[start : stop + 1] if start <= stop else DAYS[start:] + DAYS[: stop + 1])
    return days


def _wanted(settings: Mapping[str, Any]) -> Iterator[Wanted]:
    yield from _tasks(settings)
    yield from _database(settings)
    yield from _network(settings)
    yield from _rest(settings)


def _tasks(settings: Mapping[str, Any]) -> Iterator[Wanted]:
    kind = str(settings["task_cpu_architecture"]).lower()
    count, hours = settings["task_count"], task_hours(settings["office_hours"])
    cpu, memory = settings["task_cpu"] / 1024, settings["task_memory"] / 1024
    note = f"{count} tasks of {_plain(cpu)} vCPU and {_plain(memory)} GiB, {settings['task_cpu_architecture']}"
    yield Wanted("Fargate processors", f"fargate-{kind}-vcpu-hour", count * cpu * hours, "vCPU-hour", note)
    yield Wanted("Fargate memory", f"fargate-{kind}-gib-hour", count * memory * hours, "GiB-hour", note)
    extra = max(settings["task_ephemeral_storage"] - FREE_TASK_STORAGE, 0)
    if extra:
        free = f"beyond the {FREE_TASK_STORAGE} GiB that are free"
        yield Wanted("Fargate storage", "fargate-storage-gib-hour", count * extra * hours, "GiB-hour", free)


def _database(settings: Mapping[str, Any]) -> Iterator[Wanted]:
    name, copies = settings["db_instance_class"], 2 if settings["db_multi_az"] else 1
    both = "Multi-AZ: primary and standby" if settings["db_multi_az"] else ""
    yield Wanted(f"Database {name}", f"rds-{name}-hour", copies * HOURS, "hour", both)
    yield Wanted("Database storage", "rds-gp3-gib-month", copies * settings["db_allocated_storage"], "GiB-month", both)
    if settings["db_extra_backup_storage"]:
        beyond = settings["db_extra_backup_storage"]
        yield Wanted("Database backups", "rds-backup-gib-month", beyond, "GiB-month", "beyond the database's size")


def _network(settings: Mapping[str, Any]) -> Iterator[Wanted]:
    zones = len(settings["subnet_cidrs"])
    gateways = {"none": 0, "single": 1, "per_zone": zones}[settings["nat_mode"]]
    if gateways:
        yield Wanted("NAT gateways", "nat-hour", gateways * HOURS, "hour", f"{gateways} of them")
    if settings["interface_endpoints"]:
        number = settings["interface_endpoints"]
        note = f"{number} endpoints in {zones} zones"
        yield Wanted("Interface endpoints", "endpoint-hour", number * zones * HOURS, "hour", note)
    yield Wanted("Load balancer", "alb-hour", HOURS, "hour")
    units = settings["load_balancer_capacity_units"]
    if units:
        yield Wanted("Load balancer capacity", "alb-lcu-hour", units * HOURS, "LCU-hour", f"{_plain(units)} on average")
    balancer = zones if settings["public_load_balancer"] else 0
    if balancer + gateways:
        note = f"{balancer} of the load balancer, {gateways} of NAT gateways"
        yield Wanted("Public IPv4 addresses", "public-ipv4-hour", (balancer + gateways) * HOURS, "hour", note)


def _rest(settings: Mapping[str, Any]) -> Iterator[Wanted]:
    logs, days = settings["logs"], settings["log_retention_days"]
    # Logs that are kept for ever are counted for their first year.
    stored = logs * (days or 365) * 12 / 365
    yield from (
        wanted
        for wanted in (
            Wanted("Secrets", "secret-month", settings["secrets"], "month"),
            Wanted("Logs taken in", "logs-gib", logs, "GiB"),
            Wanted("Logs kept", "logs-gib-month", stored, "GiB-month", f"kept {days or 'all'} days, uncompressed"),
            Wanted("Artifacts in S3", "s3-gib-month", settings["artifacts"], "GiB-month"),
            Wanted("Alarms", "alarm-month", settings["alarms"], "month"),
            Wanted("Dashboards", "dashboard-month", settings["dashboards"], "month", "three of an account are free"),
            Wanted("Metrics of one's own", "metric-month", settings["metrics"], "month"),
            Wanted("Web application firewall", "waf-acl-month", 1 if settings["waf_rules"] else 0, "month"),
            Wanted("Firewall rules", "waf-rule-month", settings["waf_rules"], "month"),
            Wanted("KMS keys", "kms-key-month", settings["kms_keys"], "month"),
            Wanted("Hosted zones", "hosted-zone-month", settings["hosted_zones"], "month"),
        )
        if wanted.quantity
    )


def _price(region: str, key: str) -> tuple[float, str] | None:
    return cost_prices.PRICES[region].get(key) or cost_prices.EVERYWHERE.get(key)


def _instance(region: str, wanted: Wanted) -> Wanted:
    """The published price of a Multi-AZ pair, which is rounded otherwise than two single ones, where there is one."""
    pair = wanted.price.replace("-hour", "-multi-az-hour")
    if wanted.note.startswith("Multi-AZ") and wanted.price.startswith("rds-db.") and _price(region, pair):
        return wanted._replace(price=pair, quantity=wanted.quantity / 2)
    return wanted


def _priced(region: str, wanted: Iterator[Wanted]) -> tuple[list[dict[str, Any]], list[str]]:
    if region not in cost_prices.PRICES:
        known = ", ".join(sorted(cost_prices.PRICES))
        return [], [f"no prices for the region {region}; there are prices for {known}"]
    items, missing = [], []
    for line in (_instance(region, line) for line in wanted):
        found = _price(region, line.price)
        if not found:
            amount = f"{_plain(line.quantity)} {line.unit}"
            missing.append(f"no price for {line.item} in {region}: {amount} are not in the sum")
            continue
        items.append(
            {
                "item": line.item,
                "quantity": round(line.quantity, 3),
                "unit": line.unit,
                "unit_price": found[0],
                "monthly_usd": round(line.quantity * found[0], 2),
                "note": line.note,
                "source": cost_prices.SOURCES[found[1]],
            }
        )
    return items, missing


def _usage_prices(region: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = []
    for line in NOT_INCLUDED if region in cost_prices.PRICES else ():
        found = _price(region, line.price)
        counted = (line.price == "s3-gib-month" and settings["artifacts"]) or (
            line.price == "rds-backup-gib-month" and settings["db_extra_backup_storage"]
        )
        needless = (line.price == "nat-gib" and settings["nat_mode"] == "none") or (
            line.price == "endpoint-gib" and not settings["interface_endpoints"]
        )
        if found and not counted and not needless:
            told.append(
                {"item": line.item, "unit": line.unit, "unit_price": found[0], "source": cost_prices.SOURCES[found[1]]}
            )
    return told


def _assumptions(settings: Mapping[str, Any]) -> list[str]:
    hours = task_hours(settings["office_hours"])
    spot = ["Fargate Spot changes its price, up to 70% below the one on demand that is counted here."]
    return (spot if settings["task_spot"] else []) + [
        f"A month has {HOURS} hours; prices are on demand, without tax, free tiers, credits and discounts.",
        f"Tasks run {_plain(hours)} hours a month; a rolling deployment runs twice the tasks for some minutes.",
        f"The load balancer uses {_plain(settings['load_balancer_capacity_units'])} capacity units on average; one is "
        "25 new connections a second, 3,000 open ones or 1 GiB an hour.",
        f"The tasks log {_plain(settings['logs'])} GiB a month.",
        "Backups of the database are free up to its size, Performance Insights for seven days.",
    ]


def _sum(items: list[dict[str, Any]]) -> float:
    return round(sum(item["monthly_usd"] for item in items), 2)


def _plain(number: float) -> str:
    return f"{number:,.2f}".rstrip("0").rstrip(".")
