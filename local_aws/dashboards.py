# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CloudWatch finds wrong with the body of a dashboard.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

TYPES = ("metric", "text", "log", "alarm", "explorer", "custom")
GRID_COLUMNS, MOST_ROWS, MOST_WIDGETS = 24, 1000, 500
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
VIEWS = ("timeSeries", "singleValue", "gauge", "bar", "pie", "table")
Problem = tuple[str, str]


def problems(body: str) -> list[Problem]:
    """(data path, message) for everything that is wrong."""
    try:
        document = json.loads(body)
    except ValueError:
        return [("/", "The field DashboardBody must be a valid JSON object")]
    if not isinstance(document, dict):
        return [("/", "The field DashboardBody must be a valid JSON object")]
    widgets = document.get("widgets")
    if not isinstance(widgets, list):
        return [("/widgets", "Should be an array" if "widgets" in document else "Missing required property: widgets")]
    if len(widgets) > MOST_WIDGETS:
        return [("/widgets", f"Array is too long ({len(widgets)}), maximum {MOST_WIDGETS}")]
    return [one for number, widget in enumerate(widgets) for one in _widget(f"/widgets/{number}", widget)]


def _widget(path: str, widget: Any) -> Iterator[Problem]:
    if not isinstance(widget, dict):
        yield path, "Should be an object"
        return
    kind, properties = widget.get("type"), widget.get("properties")
    if kind not in TYPES:
        yield f"{path}/type", f"Should be one of: {', '.join(TYPES)}"
    yield from _place(path, widget)
    if not isinstance(properties, dict):
        yield f"{path}/properties", "Missing required property: properties"
    elif kind == "metric":
        yield from _metric(f"{path}/properties", properties)
    elif kind == "text" and not isinstance(properties.get("markdown"), str):
        yield f"{path}/properties/markdown", "Missing required property: markdown"
    elif kind == "log":
        for name in ("query", "region"):
            if not properties.get(name):
                yield f"{path}/properties/{name}", f"Missing required property: {name}"
    elif kind == "alarm" and not isinstance(properties.get("alarms"), list):
        yield f"{path}/properties/alarms", "Missing required property: alarms"


def _place(path: str, widget: dict[str, Any]) -> Iterator[Problem]:
    for name, least, most in (
        ("width", 1, GRID_COLUMNS),
        ("height", 1, MOST_ROWS),
        ("x", 0, GRID_COLUMNS - 1),
        ("y", 0, None),
    ):
        value = widget.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            yield f"{path}/{name}", "Should be an integer"
        elif value < least or (most is not None and value > most):
            yield f"{path}/{name}", f"Should be between {least} and {most if most is not None else 'the last row'}"
    if ("x" in widget) != ("y" in widget):
        yield path, "If you specify x or y, specify both"


def _metric(path: str, properties: dict[str, Any]) -> Iterator[Problem]:
    if not properties.get("region"):
        yield f"{path}/region", "Missing required property: region"
    if properties.get("view") not in (None, *VIEWS):
        yield f"{path}/view", f"Should be one of: {', '.join(VIEWS)}"
    metrics, annotations = properties.get("metrics"), properties.get("annotations")
    if metrics is None:
        if not isinstance(annotations, dict) or not annotations.get("alarms"):
            yield f"{path}/metrics", "Missing required property: metrics"
    elif not isinstance(metrics, list) or not metrics:
        yield f"{path}/metrics", "Should be an array with at least one metric"
    else:
        for number, metric in enumerate(metrics):
            yield from _row(f"{path}/metrics/{number}", metric)


def _row(path: str, metric: Any) -> Iterator[Problem]:
    """[namespace, metric, name, value, ..., {rendering}], or [{expression}]."""
    if not isinstance(metric, list) or not metric:
        yield path, "Should be an array"
        return
    words = metric[:-1] if isinstance(metric[-1], dict) else metric
    if not words:
        if not metric[-1].get("expression"):
            yield path, "Invalid metric field: an object alone needs an expression"
    elif len(words) < 2 or len(words) % 2 or not all(isinstance(word, str) and word for word in words):
        yield path, "Invalid metric field: give namespace, metric name, and names and values of dimensions"
