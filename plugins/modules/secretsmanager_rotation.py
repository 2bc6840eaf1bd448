#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secretsmanager_rotation
version_added: "0.1.0"
short_description: Bring the rotation of a secret in AWS Secrets Manager one step further
description:
  - A rotation has three steps, each a task with its O(state), and what is to know the new value is told in between. The staging
    label C(AWSPENDING) says that it has not ended, so that a run that is interrupted anywhere is finished by the next one.
  - New values are made inside the module and stored at once; they pass through no variable, result, diff or log.
  - Wraps C(DescribeSecret), C(GetSecretValue), C(PutSecretValue) and C(UpdateSecretVersionStage) of the AWS Secrets Manager
    API.
options:
  secret_id:
    description: Name or ARN of a secret that is a JSON object.
    type: str
    required: true
  key:
    description: Key of the JSON object that holds the value to be replaced.
    type: str
    default: password
  state:
    description:
      - V(pending) stores a new value under the label C(AWSPENDING). One that waits already is kept.
      - V(current) makes the pending version the current one. It stays pending too, as long as not everything uses it.
      - V(applied) ends the rotation. The pending version becomes the current one if it is not yet, and is pending no more.
      - V(forgotten) takes the O(label) from the version that has it, which nobody needs any more.
    type: str
    choices: [pending, current, applied, forgotten]
    required: true
  label:
    description:
      - Staging label of the new value.
      - With another one than V(AWSPENDING), a second value for the time of a rotation, such as the login of another user.
    type: str
    default: AWSPENDING
  fields:
    description:
      - With O(state=pending), further keys of the JSON object that get another value, such as the name of another user. They are
        not secret.
      - A value that waits with others is an error.
    type: dict
    default: {}
  length:
    description: With O(state=pending), number of letters and digits of the new value, 12 to 128.
    type: int
    default: 40
  verifier:
    description: With O(state=pending), whether to return RV(verifier).
    type: bool
    default: false
  owner_tags:
    description: Tags that the secret must carry for the module to touch it.
    type: dict
    required: true
attributes:
  check_mode:
    description:
      - Predicts what a run would change, of a step that follows others as if these had been taken. Nothing pending is no error for
        O(state=current), nor is a value that waits with other O(fields).
    support: full
  diff_mode:
    description: Shows how far the rotation is, before and after, never a value.
    support: full
  idempotent:
    description: With the exception of O(state=pending) after the end of a rotation, which begins another one.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: mlops.mlflow_aws.secretsmanager_rotation_info
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Store a new signing key
  mlops.mlflow_aws.secretsmanager_rotation:
    secret_id: web/signing-key
    key: secret_key
    state: pending
    owner_tags:
      team: web

- name: Let what starts from now on have it
  mlops.mlflow_aws.secretsmanager_rotation:
    secret_id: web/signing-key
    key: secret_key
    state: current
    owner_tags:
      team: web

# Here a task replaces what still has the old one.

- name: End the rotation
  mlops.mlflow_aws.secretsmanager_rotation:
    secret_id: web/signing-key
    key: secret_key
    state: applied
    owner_tags:
      team: web
"""

RETURN = r"""
arn:
  description: ARN of the secret.
  returned: success
  type: str
  sample: arn:aws:secretsmanager:eu-west-2:123456789012:secret:web/signing-key-AbCdEf
stage:
  description:
    - How far the rotation is after the run, V(pending), V(current) or, when it has ended, V(settled).
    - In check mode as it would be.
  returned: success
  type: str
  sample: pending
verifier:
  description:
    - What PostgreSQL stores of the pending value (SCRAM-SHA-256). It can be given in place of a password in C(CREATE ROLE),
      and nobody can log in with it.
  returned: when O(verifier=true)
  type: str
  sample: SCRAM-SHA-256$4096:...
"""

import os
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, secret_rotations
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.secret_rotations import Rotation


def plan_pending(
    changes: aws_changes.Changes, rotation: Rotation, params: dict[str, t.Any], check_mode: bool
) -> dict[str, t.Any]:
    """The content that is pending after the run."""
    if rotation.stage == secret_rotations.PENDING:
        waiting = rotation.read(rotation.pending) or {}
        others = [field for field, wanted in params["fields"].items() if waiting.get(field) != wanted]
        if not others:
            return waiting
        if not check_mode:
            raise ValueError(
                f"Secret {rotation.secret_id}: a value waits whose {others[0]} is {waiting.get(others[0])}, not"
                f" {params['fields'][others[0]]}; end that rotation first"
            )
        rotation.current = rotation.pending
    current = rotation.read(rotation.current)
    if current is None:
        raise ValueError(f"Secret {rotation.secret_id}: it has no current value to be replaced; deploy again")
    document = secret_rotations.next_content(current, params["key"], params["fields"], params["length"])
    changes.want("rotation", rotation.stage, secret_rotations.PENDING, lambda: rotation.store(document))
    return document


def plan_current(changes: aws_changes.Changes, rotation: Rotation, check_mode: bool) -> None:
    if rotation.stage == secret_rotations.SETTLED and not check_mode:
        raise ValueError(f"Secret {rotation.secret_id}: no value is pending; store one with state = pending first")
    changes.want("rotation", rotation.stage, secret_rotations.CURRENT, rotation.promote)


def plan_applied(changes: aws_changes.Changes, rotation: Rotation) -> None:
    if rotation.stage == secret_rotations.PENDING:
        changes.want("rotation", secret_rotations.PENDING, secret_rotations.CURRENT, rotation.promote)
    if rotation.stage != secret_rotations.SETTLED:
        changes.want("rotation", rotation.stage, secret_rotations.SETTLED, rotation.settle)


def plan_forgotten(changes: aws_changes.Changes, rotation: Rotation) -> None:
    if rotation.pending is not None:
        changes.want("rotation", rotation.stage, secret_rotations.SETTLED, rotation.settle)


def run(module: AnsibleAWSModule) -> None:
    params, changes = module.params, aws_changes.Changes()
    if not 12 <= params["length"] <= 128:
        raise ValueError(f"length = {params['length']}: a value has 12 to 128 characters here; give such a number")
    client = module.client("secretsmanager", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    rotation = Rotation(client, params["secret_id"], params["key"], params["label"])
    rotation.find(aws_changes.text_tags(params["owner_tags"]))
    result: dict[str, t.Any] = {}
    if params["state"] == "pending":
        document = plan_pending(changes, rotation, params, module.check_mode)
        if params["verifier"]:
            result["verifier"] = secret_rotations.scram_verifier(document[params["key"]], os.urandom(16))
    elif params["state"] == "current":
        plan_current(changes, rotation, module.check_mode)
    elif params["state"] == "forgotten":
        plan_forgotten(changes, rotation)
    else:
        plan_applied(changes, rotation)
    after = changes.diff["after"].get("rotation", rotation.stage)
    if not module.check_mode:
        changes.apply()
    module.exit_json(changed=bool(changes), arn=rotation.arn, stage=after, diff=changes.diff, **result)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "secret_id": {"type": "str", "required": True, "no_log": False},
            "key": {"type": "str", "default": "password", "no_log": False},
            "state": {"type": "str", "choices": ["pending", "current", "applied", "forgotten"], "required": True},
            "label": {"type": "str", "default": "AWSPENDING"},
            "fields": {"type": "dict", "default": {}},
            "length": {"type": "int", "default": 40},
            "verifier": {"type": "bool", "default": False},
            "owner_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "secretsmanager", f"Secret {module.params['secret_id']}"):
        run(module)


if __name__ == "__main__":
    main()
