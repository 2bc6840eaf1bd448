# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that change an MLflow server share: logging in as an admin, and how they end."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_client, mlflow_errors, mlflow_users_api

# What a run has changed so far, as the module returns it.
Done = t.List[t.Dict[str, t.Any]]


def admin(client: mlflow_client.Client, what: str) -> str:
    """The name of the user logged in as, who must be an admin to manage `what`."""
    me = mlflow_users_api.who_am_i(client)
    if not me.is_admin:
        raise ValueError(f"username: {me.username!r} is not an admin, so it may not manage {what}; log in as an admin")
    return me.username


def finish(module: AnsibleModule, run: t.Callable[[AnsibleModule, Done], dict[str, t.Any]]) -> None:
    """End the module with what `run` returns, or with one line about its failure and what had been done before."""
    done: Done = []
    try:
        result = run(module, done)
    except ValueError as error:
        module.fail_json(msg=str(error), changes=done, changed=bool(done))
    except mlflow_errors.MlflowError as error:
        module.fail_json(msg=mlflow_errors.explain(error), status=error.status, changes=done, changed=bool(done))
    module.exit_json(**result)


class Step(t.NamedTuple):
    """One change: what it is in words that a module returns, and the call that makes it."""

    facts: dict[str, t.Any]
    make: t.Callable[[], t.Any]


def carry_out(module: AnsibleModule, steps: t.Sequence[Step], done: Done) -> dict[str, t.Any]:
    """`changed` and `changes` of a plan; made one after the other unless it is check mode."""
    if not module.check_mode:
        for step in steps:
            step.make()
            done.append(step.facts)
    return {"changed": bool(steps), "changes": [step.facts for step in steps]}
