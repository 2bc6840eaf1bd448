# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What a module supports whose check mode, diff and run come from one plan."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts from the same plan that a run carries out.
    support: full
  diff_mode:
    description: Shows the state before and after.
    support: full
  idempotent:
    description: A second run makes no change.
    support: full
"""
