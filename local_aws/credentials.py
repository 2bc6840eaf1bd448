# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary credentials of tasks, as the ECS container credentials endpoint hands them out, and of Lambda functions.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
"""

from __future__ import annotations

import datetime
import json
import secrets
import threading

PATH = "/local-aws/credentials/"
LIFETIME = datetime.timedelta(hours=6)


class Credentials:
    """Tokens, each for one role; who has the token gets the role's credentials."""

    def __init__(self) -> None:
        self._roles: dict[str, str] = {}
        self._access_keys: dict[str, str] = {}
        self._of_functions: set[str] = set()
        self._lock = threading.Lock()

    def issue(self, role_arn: str) -> str:
        """The path at which a task with `role_arn` finds its credentials."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._roles[token] = role_arn
        return PATH + token

    def answer(self, path: str) -> bytes | None:
        """The JSON document at `path`, None if nobody was given that path."""
        role = self._roles.get(path.removeprefix(PATH))
        return None if role is None else json.dumps(self._keys(role)).encode()

    def of_function(self, role_arn: str) -> dict[str, str]:
        """Credentials that a Lambda function finds in its environment."""
        keys = self._keys(role_arn)
        with self._lock:
            self._of_functions.add(keys["AccessKeyId"])
        return keys

    def _keys(self, role: str) -> dict[str, str]:
        expiration = datetime.datetime.now(datetime.timezone.utc) + LIFETIME
        # Access keys of temporary credentials begin with ASIA; the recorder tells tasks from operators by it.
        access_key = "ASIA" + secrets.token_hex(8).upper()
        with self._lock:
            self._access_keys[access_key] = role
        return {
            "RoleArn": role,
            "AccessKeyId": access_key,
            "SecretAccessKey": secrets.token_urlsafe(30),
            "Token": secrets.token_urlsafe(60),
            "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def role_of(self, access_key: str) -> str | None:
        """The ARN of the role that an access key was given for, None if it is neither a task's nor a function's."""
        return self._access_keys.get(access_key)

    def function_role_of(self, access_key: str) -> str | None:
        """Likewise, None if it is not a Lambda function's."""
        return self._access_keys.get(access_key) if access_key in self._of_functions else None
