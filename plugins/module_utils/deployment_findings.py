# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rule of the preflight says: problems that refuse a deployment, warnings that do not."""

from __future__ import annotations

from typing import Any

MAX_SHOWN = 80


class Findings:
    """Collects problems and warnings, each one line: variable, value, reason, remedy.

    ``names`` translates an option into the variable that the reader can change, for example
    ``{"task_memory": "ecs_mlflow_task_memory"}``; options without an entry get ``prefix`` before their own name.
    """

    def __init__(self, names: dict[str, str] | None = None, prefix: str = "") -> None:
        self._names = names or {}
        self._prefix = prefix
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def name(self, option: str) -> str:
        return self._names.get(option, self._prefix + option)

    def refuse(self, option: str, value: Any, reason: str, remedy: str) -> None:
        self.problems.append(self._line(option, value, reason, remedy))

    def warn(self, option: str, value: Any, reason: str, remedy: str) -> None:
        self.warnings.append(self._line(option, value, reason, remedy))

    def _line(self, option: str, value: Any, reason: str, remedy: str) -> str:
        return f"{self.name(option)} = {shown(value)}: {one_line(reason)}; {one_line(remedy)}"


def one_line(text: Any) -> str:
    """``text`` without line breaks or runs of blanks."""
    return " ".join(str(text).split())


def shown(value: Any) -> str:
    """``value`` as a message shows it: quoted, on one line, at most ``MAX_SHOWN`` characters."""
    text = one_line(repr(value))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def failure(problems: list[str]) -> str:
    """The one message a module fails with: a line for each problem."""
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{len(problems)} problems, nothing was changed:"] + [f"- {problem}" for problem in problems])
