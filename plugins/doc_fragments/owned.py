# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How a module tells what is its own from what only has the same name."""

    DOCUMENTATION = r"""
options:
  tags:
    description: All tags of what the module makes.
    type: dict
    default: {}
  owner_tags:
    description: Tags that what exists must carry for the module to touch it.
    type: dict
    required: true
"""
