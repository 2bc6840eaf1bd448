# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags and aliases: dictionaries of text that are set key by key. Everything here is pure."""

from __future__ import annotations

import typing as t

# The server's own tags begin like this.
RESERVED = "mlflow."


def text(values: t.Mapping[t.Any, t.Any] | None) -> dict[str, str]:
    """MLflow keeps text; YAML reads `year: 2026` as a number and `live: true` as a boolean."""
    return {str(key): str(value) for key, value in (values or {}).items()}


def to_set(has: t.Mapping[str, str], wants: t.Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wants.items() if has.get(key) != value}


def to_purge(has: t.Mapping[str, str], wants: t.Mapping[str, str]) -> list[str]:
    """What is not wanted, but for the server's own."""
    return [key for key in has if key not in wants and not key.startswith(RESERVED)]


def after(has: t.Mapping[str, str], wants: t.Mapping[str, str], purge: bool) -> dict[str, str]:
    gone = to_purge(has, wants) if purge else []
    return {key: value for key, value in {**has, **wants}.items() if key not in gone}
