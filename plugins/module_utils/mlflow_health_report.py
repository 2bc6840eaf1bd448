# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of a verification as a table for people and as JUnit XML for CI servers."""

from __future__ import annotations

import os
import tempfile
import typing as t
import xml.etree.ElementTree as tree

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import FAILED, SKIPPED, WARNED, Result

SUITE = "mlflow_health"
HEADINGS = ("CHECK", "STATUS", "MS", "SEEN")


def table(results: t.Sequence[Result]) -> list[str]:
    """One line a check, the remedy in a line of its own below; columns aligned."""
    rows = [HEADINGS] + [(one.name, one.status, _figure(one.latency_ms), one.message) for one in results]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for number, (name, status, latency, message) in enumerate(rows):
        lines.append(f"{name:<{widths[0]}}  {status:<{widths[1]}}  {latency:>{widths[2]}}  {message}".rstrip())
        remedy = results[number - 1].remedy if number else ""
        if remedy:
            lines.append(" " * (sum(widths) + 6) + f"-> {remedy}")
    return lines


def _figure(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms:.0f}"


def junit(base: str, results: t.Sequence[Result], started: str) -> bytes:
    """One test suite as Jenkins and GitLab read it; `started` in ISO 8601. Warnings are passed tests with output."""
    seconds = sum(one.latency_ms or 0 for one in results) / 1000
    figures = {
        "name": SUITE,
        "tests": str(len(results)),
        "failures": str(sum(one.status == FAILED for one in results)),
        "errors": "0",
        "skipped": str(sum(one.status == SKIPPED for one in results)),
        "time": f"{seconds:.3f}",
    }
    root = tree.Element("testsuites", figures)
    suite = tree.SubElement(root, "testsuite", {**figures, "timestamp": started})
    properties = tree.SubElement(suite, "properties")
    tree.SubElement(properties, "property", {"name": "tracking_uri", "value": base})
    for one in results:
        taken = f"{(one.latency_ms or 0) / 1000:.3f}"
        case = tree.SubElement(suite, "testcase", {"classname": SUITE, "name": one.name, "time": taken})
        told = f"{one.message}; {one.remedy}" if one.remedy else one.message
        if one.status == FAILED:
            tree.SubElement(case, "failure", {"message": one.message, "type": one.status}).text = told
        elif one.status == SKIPPED:
            tree.SubElement(case, "skipped", {"message": one.message})
        else:
            tree.SubElement(case, "system-out").text = f"{WARNED}: {told}" if one.status == WARNED else told
    return tree.tostring(root, encoding="utf-8", xml_declaration=True)


def refuse_path(option: str, path: str) -> None:
    """Raises ValueError with one line when no file can be written there."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ValueError(f"{option}: {path}: the folder {folder} does not exist; make it first")
    if os.path.isdir(path):
        raise ValueError(f"{option}: {path} is a folder; name a file in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{option}: {path}: the folder {folder} may not be written to; choose another")


def write(path: str, content: bytes) -> None:
    """Write the file at once: whoever reads meanwhile finds the earlier one. Raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=".mlflow-health-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # CI servers often read as another user than the one who wrote.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o644 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
