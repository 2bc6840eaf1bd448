# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases whose servers have ended by themselves."""

from __future__ import annotations

from typing import Any


class Recovery:
    interval = 1.0

    def __init__(self, instances: Any) -> None:
        self._instances = instances

    def run_once(self) -> None:
        self._instances.recover()
