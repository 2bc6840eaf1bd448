#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_lock
version_added: "0.1.0"
short_description: Keep two runs from changing a deployment at the same time
description:
  - A lock is a tag of the deployment's ECS cluster, C(mlflow-lock:<token>), that says what for, by whom and since when.
  - Tags cannot be set on a condition. A run sets a tag of its own and then looks for others; if there is one it takes its own
    away and fails. So two runs at the same moment never both go on, but both may fail.
  - That rests on C(DescribeClusters) showing a tag as soon as C(TagResource) has answered. ECS promises that only eventually, so
    the module waits until it sees its own.
  - A run that is killed leaves its lock behind. Nothing expires by itself, since nobody can tell a dead run from a slow one.
  - Wraps C(DescribeClusters), C(TagResource) and C(UntagResource) of the Amazon ECS API.
options:
  cluster:
    description: Name of the cluster of the deployment.
    type: str
    required: true
  state:
    description:
      - V(held) takes the lock, and fails with who holds it if somebody else does.
      - V(released) gives it back.
      - V(free) fails if somebody holds it, changes nothing, and does not mind that there is no such cluster.
    type: str
    choices: [held, released, free]
    default: held
  token:
    description: What RV(token) was when the lock was taken. Required with O(state=released).
    type: str
  purpose:
    description: What the lock is taken for, in one word. Required with O(state=held).
    type: str
  owner:
    description: Who takes it, as others are told. If not given, the user and the host that the module runs as and on.
    type: str
  break_lock:
    description: With O(state=held), whether to remove the locks of others instead of failing.
    type: bool
    default: false
  owner_tags:
    description: Tags that the cluster must carry for the module to touch it.
    type: dict
    required: true
attributes:
  check_mode:
    description: Fails where a run would fail, and takes no lock.
    support: full
  diff_mode:
    description: Shows the locks before and after.
    support: full
  idempotent:
    description: Each O(state=held) takes a lock of its own; releasing one that is gone changes nothing.
    support: partial
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Change something that nobody else may change meanwhile
  block:
    - name: Take the lock
      mlops.mlflow_aws.deployment_lock:
        cluster: team-mlflow
        purpose: rotate
        owner_tags:
          mlflow-deployment: team-mlflow
      register: lock

    - name: Do the work
      ansible.builtin.debug:
        msg: Nobody else does

  always:
    - name: Give the lock back
      mlops.mlflow_aws.deployment_lock:
        cluster: team-mlflow
        state: released
        token: "{{ lock.token }}"
        owner_tags:
          mlflow-deployment: team-mlflow
      when: lock.token | default('', true) | length > 0
"""

RETURN = r"""
token:
  description: With O(state=held), what releases the lock again; null in check mode.
  returned: success
  type: str
  sample: 0f1e2d3c4b5a69788796a5b4c3d2e1f0
broken:
  description: Whose locks were removed.
  returned: success
  type: list
  elements: dict
  contains:
    purpose:
      description: What it was taken for.
      type: str
      sample: upgrade
    owner:
      description: Who took it.
      type: str
      sample: ada@laptop
    age:
      description: For how long it had been held.
      type: str
      sample: 3 hours
"""

import datetime
import getpass
import socket
import typing as t
import uuid

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, deployment_locks, ecs_client, ecs_rules

SEEN_WITHIN = 30.0


class Locks:
    """The locks of one cluster."""

    def __init__(self, ecs: t.Any, cluster: str, owner_tags: dict[str, str]) -> None:
        self.ecs, self.cluster, self.owner_tags = ecs, cluster, owner_tags
        self.arn = ""

    def read(self) -> list[deployment_locks.Lock]:
        """Who holds one; ValueError if the cluster is not ours. Without a cluster nobody does, and there is no `arn`."""
        answer = self.ecs.describe_clusters(clusters=[self.cluster], include=["TAGS"], aws_retry=True)
        cluster = next((one for one in answer["clusters"] if one["status"] != "INACTIVE"), None)
        if cluster is None:
            return []
        tags = ecs_rules.tags_from_api(cluster.get("tags"))
        if not aws_changes.carries(tags, self.owner_tags):
            remedy = "correct the name of the deployment"
            raise ValueError(aws_changes.not_ours(f"Cluster {self.cluster}", self.owner_tags, remedy))
        self.arn = cluster["clusterArn"]
        return deployment_locks.found(tags)

    def add(self, token: str, text: str) -> None:
        tags = ecs_rules.tags_to_api({deployment_locks.key(token): text})
        self.ecs.tag_resource(resourceArn=self.arn, tags=tags, aws_retry=True)

    def remove(self, *tokens: str) -> None:
        keys = [deployment_locks.key(token) for token in tokens]
        self.ecs.untag_resource(resourceArn=self.arn, tagKeys=keys, aws_retry=True)

    def others(self, token: str) -> list[deployment_locks.Lock]:
        """The locks of others, once our own is seen."""

        def seen() -> list[deployment_locks.Lock] | None:
            locks = self.read()
            return locks if token in [lock.token for lock in locks] else None

        in_time, locks = ecs_client.poll(seen, SEEN_WITHIN, 1.0)
        if not in_time:
            self.remove(token)
            raise ValueError(f"Deployment {self.cluster}: ECS does not show the lock that was just set; run again")
        return [lock for lock in locks if lock.token != token]


def take(locks: Locks, params: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    now = datetime.datetime.now(datetime.timezone.utc)
    before = locks.read()
    if before and not params["break_lock"]:
        raise ValueError(deployment_locks.refusal(locks.cluster, before, now))
    if not locks.arn:
        raise ValueError(f"Deployment {locks.cluster}: there is no such cluster; deploy first")
    token: str | None = None
    if not check_mode:
        if before:
            locks.remove(*(lock.token for lock in before))
        token = uuid.uuid4().hex
        owner = params["owner"] or f"{getpass.getuser()}@{socket.gethostname()}"
        locks.add(token, deployment_locks.value(params["purpose"], owner, now))
        others = locks.others(token)
        if others:
            locks.remove(token)
            raise ValueError(deployment_locks.refusal(locks.cluster, others, now))
    broken = [{"purpose": one.purpose, "owner": one.owner, "age": deployment_locks.age(one, now)} for one in before]
    return {
        "changed": True,
        "token": token,
        "broken": broken,
        "diff": {"before": {"locks": broken}, "after": {"locks": [params["purpose"]]}},
    }


def release(locks: Locks, token: str, check_mode: bool) -> dict[str, t.Any]:
    ours = token in [lock.token for lock in locks.read()]
    if ours and not check_mode:
        locks.remove(token)
    diff = {"before": {"locks": ["ours"] if ours else []}, "after": {"locks": []}}
    return {"changed": ours, "token": None, "broken": [], "diff": diff}


def see(locks: Locks) -> dict[str, t.Any]:
    held = locks.read()
    if held:
        now = datetime.datetime.now(datetime.timezone.utc)
        raise ValueError(deployment_locks.refusal(locks.cluster, held, now))
    return {"changed": False, "token": None, "broken": [], "diff": {"before": {}, "after": {}}}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["held", "released", "free"], "default": "held"},
            # It opens nothing.
            "token": {"type": "str", "no_log": False},
            "purpose": {"type": "str"},
            "owner": {"type": "str"},
            "break_lock": {"type": "bool", "default": False},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_if=[("state", "held", ("purpose",)), ("state", "released", ("token",))],
        supports_check_mode=True,
    )
    params = module.params
    with aws_changes.one_line_failures(module, "ecs", f"Deployment {params['cluster']}"):
        ecs = ecs_client.connect(module, "ecs")
        locks = Locks(ecs, params["cluster"], aws_changes.text_tags(params["owner_tags"]))
        if params["state"] == "held":
            result = take(locks, params, module.check_mode)
        elif params["state"] == "released":
            result = release(locks, params["token"], module.check_mode)
        else:
            result = see(locks)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
