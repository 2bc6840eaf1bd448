# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rule of the diagnosis says."""

from __future__ import annotations

import typing as t


class Cause(t.NamedTuple):
    """id: a name for programs. likelihood: 0 to 100, by which causes are ordered. cause, remedy: one line each.
    evidence: where it was seen."""

    id: str
    likelihood: int
    cause: str
    remedy: str
    evidence: list[str]
