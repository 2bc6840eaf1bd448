# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a deployment is sick: all rules over the facts that were gathered, most likely first. Everything here is pure.

`facts` are what diagnosis_reader.Reader gathers; None stands for what does not exist, `unread` tells what could not be read.
"""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    diagnosis_access,
    diagnosis_network,
    diagnosis_rules,
    diagnosis_symptoms,
    diagnosis_texts,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.diagnosis_cause import Cause
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import one_line

MOST_EVIDENCE = 3
# What no rule judges, so that nobody takes silence for health.
NEVER_READ = (
    "network ACLs, the DNS of the VPC, firewalls beyond the VPC, the contents of the databases, and whether artifacts can be written"
    " (verify.yml tries it)"
)

RULES: tuple[t.Callable[[dict[str, t.Any]], t.Iterable[Cause]], ...] = (
    *diagnosis_rules.RULES,
    *diagnosis_access.RULES,
    diagnosis_network.causes,
    diagnosis_texts.causes,
)


class Diagnosis(t.NamedTuple):
    """healthy: nothing that was read is wrong. symptoms: what is not as it should be. causes: why, most likely first.
    notes: what is worth knowing though it makes nothing sick. unread: what was not looked at."""

    healthy: bool
    symptoms: list[str]
    causes: list[Cause]
    notes: list[str]
    unread: list[str]


def diagnose(facts: dict[str, t.Any]) -> Diagnosis:
    symptoms = [one_line(text) for text in diagnosis_symptoms.symptoms(facts)]
    causes = ordered([cause for rule in RULES for cause in rule(facts)])
    if symptoms and not causes:
        causes = ordered([diagnosis_symptoms.unknown(facts, symptoms)])
    notes = [one_line(text) for text in diagnosis_symptoms.notes(facts)]
    return Diagnosis(
        not symptoms and not causes, symptoms, causes, notes, [*map(one_line, facts["unread"]), NEVER_READ]
    )


def ordered(causes: t.Iterable[Cause]) -> list[Cause]:
    """Most likely first; the same cause found in several ways once, with the evidence of all of them."""
    found: dict[str, Cause] = {}
    for cause in sorted(causes, key=lambda one: -one.likelihood):
        known = found.get(cause.id)
        if known is None:
            found[cause.id] = cause
        else:
            found[cause.id] = known._replace(evidence=[*known.evidence, *cause.evidence])
    return [
        cause._replace(
            cause=one_line(cause.cause),
            remedy=one_line(cause.remedy),
            evidence=[one_line(text) for text in dict.fromkeys(cause.evidence)][:MOST_EVIDENCE],
        )
        for cause in found.values()
    ]


def report(facts: dict[str, t.Any], diagnosis: Diagnosis) -> list[str]:
    """The diagnosis in lines for people."""
    name = facts["name"]
    if diagnosis.healthy:
        lines = [f"{name} is healthy: {diagnosis_symptoms.health(facts)}"]
    else:
        count = len(diagnosis.causes)
        lines = [f"{name} is sick: {count} cause{'' if count == 1 else 's, most likely first'}"]
        for number, cause in enumerate(diagnosis.causes, 1):
            lines.append(f"{number}. {cause.cause}")
            lines.append(f"   remedy: {cause.remedy}")
            lines += [f"   seen: {text}" for text in cause.evidence]
    lines += [f"Not as it should be: {text}" for text in diagnosis.symptoms]
    lines += [f"Worth knowing: {text}" for text in diagnosis.notes]
    return lines + [f"Not looked at: {text}" for text in diagnosis.unread]
