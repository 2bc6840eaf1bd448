# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report of a deployment says, as one structure that its templates only lay out. Pure: the same facts, the same report."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    report_components,
    report_figures,
    report_jobs,
    report_links,
    report_picture,
    report_times,
)

MOST_EVENTS, MOST_COST_ITEMS = 15, 12
ALARM_STATES = {"ALARM": ("bad", "fires"), "OK": ("good", "ok"), "INSUFFICIENT_DATA": ("off", "no data")}
VERDICTS = {
    "good": "Works",
    "warn": "Needs a look",
    "bad": "Broken",
    "off": "Not deployed",
}


def document(facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """The report.

    `facts`: `name`, `region`, `console` (whether there is one), `inventory`, `environment`, `limit` (see report_jobs), `hours`,
    `start`, `end` (of the figures, seconds since the epoch), `series` (see report_figures); `parts`, the outputs of the roles by
    network, load_balancer, service, database, secrets, artifacts, backup, monitoring, scaling, budget, cost, each maybe empty; and
    `read`, what was looked at besides: database, db_events, alarms, subnets, listeners, certificate, web_acl, unread.
    """
    parts, read = facts["parts"], facts["read"]
    console = report_links.Console(facts["region"], facts["console"])
    components = report_components.components(parts, read, console, facts["end"])
    tasks = report_components.tasks(parts, read, console)
    state, lines = _verdict(parts, components)
    storage = (read["database"] or {}).get("allocated_storage")
    return {
        "name": facts["name"],
        "region": facts["region"],
        "version": parts["service"].get("mlflow_version") or "",
        "address": report_links.web_address(parts["load_balancer"].get("tracking_uri")),
        "state": state,
        "verdict": VERDICTS[state],
        "lines": lines,
        "made": report_times.between(facts["end"], report_figures.period(facts["hours"])),
        "hours": facts["hours"],
        "figures": report_figures.figures(facts["series"], facts["hours"], storage, read["alarms"]) + [_cost_figure(parts)],
        "components": components,
        "tasks": tasks,
        "alarms": [_alarm(one, console) for one in read["alarms"]],
        "dashboard": console.dashboard(parts["monitoring"].get("dashboard_name")),
        "cost": _cost(parts["cost"]),
        "jobs": report_jobs.jobs(facts["name"], facts["inventory"], facts["environment"], facts["limit"]),
        "events": _events(parts, read),
        "unread": read["unread"],
        "pictures": [report_picture.wide(parts, read, tasks), report_picture.narrow(parts, read, tasks)],
        "mermaid": report_picture.mermaid(parts, read, tasks),
        "links": [{"name": name, "link": report_links.documentation(page)} for name, page in report_jobs.PAGES],
    }


def _verdict(parts: dict[str, t.Any], components: list[dict[str, t.Any]]) -> tuple[str, list[str]]:
    """The worst state of a part, and a line for each part that is not well."""
    if not any(parts[key].get(field) for key, field in report_components.PRESENT):
        return "off", ["There is no deployment of this name in this region."]
    wrong = [one for one in components if one["state"] in ("bad", "warn")]
    state = "bad" if any(one["state"] == "bad" for one in wrong) else "warn" if wrong else "good"
    return state, [f"{one['name']}: {one['word']}" for one in wrong]


def _alarm(alarm: dict[str, t.Any], console: report_links.Console) -> dict[str, t.Any]:
    state, word = ALARM_STATES.get(alarm["state"], ("off", alarm["state"]))
    return {
        "name": alarm["name"], "state": state, "word": word, "since": report_times.shown(alarm["since"]),
        "reason": alarm["reason"], "link": console.alarm(alarm["name"]),
    }  # fmt: skip


def _events(parts: dict[str, t.Any], read: dict[str, t.Any]) -> list[dict[str, str]]:
    """The latest of service, database, alarms and backups, newest first."""
    found = [("service", one["time"], one["message"]) for one in parts["service"].get("events") or []]
    found += [("database", one["time"], one["message"]) for one in read["db_events"]]
    found += [
        ("alarm", one["since"], f"{one['name']} {ALARM_STATES['ALARM'][1]}: {one['reason']}")
        for one in read["alarms"]
        if one["state"] == "ALARM"
    ]
    backup = parts["backup"]
    if backup.get("last_backup_at"):
        found.append(("backup", backup["last_backup_at"], f"Recovery point made, {backup.get('recovery_points')} are kept"))
    dated = [(report_times.seconds(moment), source, message) for source, moment, message in found]
    newest = sorted(((at, source, message) for at, source, message in dated if at is not None), reverse=True)
    return [
        {"time": report_times.shown(at), "source": source, "message": " ".join(str(message).split())}
        for at, source, message in newest[:MOST_EVENTS]
    ]


def _cost_figure(parts: dict[str, t.Any]) -> dict[str, t.Any]:
    cost, budget = parts["cost"], parts["budget"]
    known = cost.get("monthly_usd") is not None
    told = [f"{float(budget['actual_usd']):.2f} USD so far this month"] if budget.get("actual_usd") is not None else []
    told += ["estimate from the inventory"] if known else []
    return {
        "id": "cost", "label": "Cost a month", "value": report_figures.number(float(cost["monthly_usd"])) if known else report_figures.NO_DATA,
        "unit": "USD" if known else "", "detail": ", ".join(told), "spark": report_figures.spark([]), "alarm": "",
    }  # fmt: skip


def _cost(cost: dict[str, t.Any]) -> dict[str, t.Any]:
    items = [one for one in cost.get("items") or [] if one.get("monthly_usd")]
    dearest = sorted(items, key=lambda one: -one["monthly_usd"])
    return {
        "items": [{"item": one["item"], "monthly_usd": f"{one['monthly_usd']:.2f}"} for one in dearest[:MOST_COST_ITEMS]],
        "monthly_usd": f"{cost['monthly_usd']:.2f}" if cost.get("monthly_usd") is not None else report_figures.NO_DATA,
        "maximum_monthly_usd": (
            f"{cost['maximum_monthly_usd']:.2f}"
            if cost.get("maximum_monthly_usd") not in (None, cost.get("monthly_usd"))
            else ""
        ),
        "price_date": str(cost.get("price_date") or ""),
        "missing": cost.get("missing") or [],
    }
