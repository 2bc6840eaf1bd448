# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach an MLflow server; argument_spec() in module_utils/mlflow_client.py is the same in code."""

    DOCUMENTATION = r"""
options:
  tracking_uri:
    description:
      - Address of the MLflow server, V(http(s\)://host[:port][/prefix]), without user name and password.
    type: str
    required: true
  username:
    description:
      - Name of the user to log in as.
    type: str
    required: true
  password:
    description:
      - Password of the user to log in as.
    type: str
    required: true
  validate_certs:
    description:
      - Whether the certificate of the server is checked.
    type: bool
    default: true
  ca_path:
    description:
      - File with the certificates, in PEM, that the server's certificate is checked against, instead of those of the
        system.
    type: path
  timeout:
    description:
      - Seconds to wait for the server to take a connection and for each part of an answer.
    type: int
    default: 30
  retry_timeout:
    description:
      - Seconds during which a request that failed in passing (HTTP 429, 502, 503, 504, or no connection) is sent again.
        A request that could be done twice is only sent again when it surely was not done.
      - V(0) sends everything once.
    type: int
    default: 30
notes:
  - Needs no MLflow client library.
  - Redirects are not followed and C(~/.netrc) is not read, so that a password goes nowhere else. Proxies are taken from
    the environment.
"""
