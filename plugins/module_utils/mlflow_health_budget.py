# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each check may take. Everything here is pure."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import (
    CHECKS,
    CLEANUP,
    FAILED,
    PASSED,
    WARNED,
    Verdict,
)

_SLOW = "see how busy server and database are, or raise the budget"


class Budget(t.NamedTuple):
    """In ms; None is no limit."""

    warn_ms: int | None = None
    fail_ms: int | None = None


def budgets(warn_ms: int | None, fail_ms: int | None, single: t.Mapping[str, t.Any] | None) -> dict[str, Budget]:
    """The budget of each check; raises ValueError with one line.

    single: check -> warn_ms, fail_ms, which count instead of those for all. The clean-up, which may have more to do
    than remove what is its own, has a budget only there.
    """
    common = Budget(_positive("warn_ms", warn_ms), _positive("fail_ms", fail_ms))
    _in_order("warn_ms", common)
    found = {name: common for name in CHECKS}
    for name, given in (single or {}).items():
        option = f"latency_budgets.{name}"
        if name not in (*CHECKS, CLEANUP):
            raise ValueError(f"{option}: there is no such check; name one of {', '.join((*CHECKS, CLEANUP))}")
        if not isinstance(given, dict) or not given or not given.keys() <= set(Budget._fields):
            raise ValueError(f"{option}: it holds no budget; give warn_ms, fail_ms or both, in milliseconds")
        limits = {key: _positive(f"{option}.{key}", value) for key, value in given.items()}
        found[name] = found.get(name, Budget())._replace(**limits)
        _in_order(option, found[name])
    return found


def _positive(option: str, value: t.Any) -> int | None:
    if value is None:
        return None
    try:
        number = -1 if isinstance(value, (bool, float)) else int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 1:
        raise ValueError(f"{option}: {value!r} is no number of milliseconds; give 1 or more")
    return number


def _in_order(option: str, budget: Budget) -> None:
    if budget.warn_ms and budget.fail_ms and budget.warn_ms > budget.fail_ms:
        raise ValueError(
            f"{option}: warns after {budget.warn_ms} ms, later than it fails ({budget.fail_ms} ms); lower warn_ms"
        )


def judge(verdict: Verdict, latency_ms: float | None, budget: Budget | None) -> Verdict:
    """The verdict with the time it took; what has failed or was skipped stays as it is."""
    if latency_ms is None or budget is None or verdict.status not in (PASSED, WARNED):
        return verdict
    for status, limit in ((FAILED, budget.fail_ms), (WARNED, budget.warn_ms)):
        if limit is not None and latency_ms > limit:
            message = f"{verdict.message}, but it took {latency_ms:.0f} ms, more than {limit} ms"
            return Verdict(status, message, f"{verdict.remedy}; {_SLOW}" if verdict.remedy else _SLOW)
    return verdict
