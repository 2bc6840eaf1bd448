# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The server to copy from; source_spec() in module_utils/mlflow_copy_servers.py is the same in code."""

    DOCUMENTATION = r"""
options:
  source_tracking_uri:
    description:
      - Address of the MLflow server to copy from, V(http(s\)://host[:port][/prefix]). It is only read.
    type: str
    required: true
  source_username:
    description:
      - Name of the user to log in as at the source, where it wants one.
    type: str
  source_password:
    description:
      - Password of that user.
    type: str
  source_token:
    description:
      - Bearer token that the source takes instead of name and password.
    type: str
  source_validate_certs:
    description:
      - Whether the certificate of the source is checked.
    type: bool
    default: true
  source_ca_path:
    description:
      - File with the certificates, in PEM, that the certificate of the source is checked against, instead of those of
        the system.
    type: path
  source_name:
    description:
      - What the copies' tags call the source, the same in every run. Without it O(source_tracking_uri).
    type: str
  requests_per_second:
    description:
      - The most requests a second that each of the two servers gets. V(0) sets no limit.
    type: float
    default: 0
  max_parallel:
    description:
      - Number of runs that are carried at a time, 1 to 64.
    type: int
    default: 4
notes:
  - What is copied carries the tags C(migration.source), C(migration.id) with its ID at the source, and
    C(migration.complete), which is set last. A run that was ended anywhere goes on from there the next time.
"""
