# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the admin's password of a deployment: python scripts/admin_password.py deployments/<name>/outputs.json.

Credentials come from where boto3 finds them. The password goes to the terminal of whoever asked, and nowhere else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3


def main() -> None:
    path = Path(sys.argv[1])
    if not path.is_file():
        sys.exit(f"{path} does not exist: deploy first, or name the outputs.json of another deployment")
    outputs = json.loads(path.read_text())
    client = boto3.client("secretsmanager", region_name=outputs["region"], endpoint_url=outputs["aws_endpoint_url"])
    secret = json.loads(client.get_secret_value(SecretId=outputs["admin_secret_arn"])["SecretString"])
    print(secret["password"])


if __name__ == "__main__":
    main()
