# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What prowler finds in an account, by check and by control of AWS's Foundational Security Best Practices (FSBP)."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import typing as t
from pathlib import Path

from tests.integration.aws import ROOT

FRAMEWORK = "aws_foundational_security_best_practices_aws"
ENVIRONMENT = ROOT / ".venv/audit"
HEAD = """\
# Security controls

What [prowler](https://github.com/prowler-cloud/prowler), an outside scanner, says of a deployment: the controls of AWS's Foundational
Security Best Practices that it can judge there, how each is met, or why it is waived. The deployment has the profile `standard`, with
TLS, WAF, logs, alarms and what else is named below. `make audit` makes it on the local AWS, fails on any finding that
[controls.yml](controls.yml) does not waive and on any waiver that is not needed, and writes this page; then it switches these settings
off one by one, and each must be missed by its own control and no other. {passing} of {judged} controls are met.

| control | what it asks | severity | state | how, or why not |
|---|---|---|---|---|
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    check: str
    severity: str
    passed: bool
    resource: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Control:
    """A control such as RDS.8, and the checks that prowler has for it."""

    name: str
    title: str
    checks: frozenset[str]


def scan(environment: dict[str, str], region: str, folder: Path, checks: t.Iterable[str] = ()) -> list[Finding]:
    """Let prowler look at the account that `environment` leads to, with all checks of the framework or with these."""
    what = ["--checks", *sorted(checks)] if checks else ["--compliance", FRAMEWORK]
    command = [
        str(ENVIRONMENT / "bin/prowler"), "aws", "--region", region, *what, "--no-banner",
        "--output-formats", "json-ocsf", "--output-directory", str(folder), "--output-filename", "found",
        "--ignore-exit-code-3", "--log-level", "CRITICAL",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [
        Finding(
            check=one["metadata"]["event_code"],
            severity=one["severity"].lower(),
            passed=one["status_code"] == "PASS",
            resource=one["resources"][0]["uid"],
            detail=one["status_detail"],
        )
        for one in json.loads((folder / "found.ocsf.json").read_text())
        if one["status_code"] in ("PASS", "FAIL")
    ]


def controls() -> list[Control]:
    """The controls of the framework for which prowler has checks, in their own order."""
    (path,) = ENVIRONMENT.glob(f"lib/python3.*/site-packages/prowler/compliance/aws/{FRAMEWORK}.json")
    found = [
        Control(one["Id"], one["Name"], frozenset(one["Checks"]))
        for one in json.loads(path.read_text())["Requirements"]
        if one["Checks"]
    ]
    return sorted(found, key=lambda one: [int(part) if part.isdigit() else part for part in re.split(r"\.", one.name)])


def failing(findings: list[Finding], known: dict[str, t.Any]) -> set[str]:
    """Names of the controls that a failed check belongs to and judges."""
    failed = {one.check for one in findings if not one.passed}
    return {control.name for control in controls() if control.checks & failed and control.name not in known["mistaken"]}


def table(findings: list[Finding], known: dict[str, t.Any]) -> str:
    """docs/controls.md: every control that could be judged, with how it is met or why it is not."""
    met, waived = known["met"], known["waived"]
    judged = {one.check for one in findings}
    failed = {one.check for one in findings if not one.passed}
    severities = {one.check: one.severity for one in findings}
    lines, passing = [], 0
    for control in controls():
        checks = sorted(control.checks & judged)
        if not checks or control.name in known["mistaken"]:
            continue
        bad = [check for check in checks if check in failed]
        passing += not bad
        words = [f"waived on {waived[check]['date']}: {waived[check]['reason']}" for check in bad]
        words = words or [met[check] for check in checks]
        severity = severities[checks[0]]
        state = "waived" if bad else "met"
        lines.append(f"| {control.name} | {control.title} | {severity} | {state} | {'; '.join(dict.fromkeys(words))} |")
    return HEAD.format(passing=passing, judged=len(lines)) + "\n".join(lines) + "\n"
