#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment_upgrade_check
version_added: "0.1.0"
short_description: Tell whether and how a deployment can go to another version of MLflow
description:
  - Looks at the service of a deployment and compares the version that it runs with the one that is wanted, by a table of what
    changes between versions of MLflow, and tells what that does to this deployment.
  - Refuses a version that is not supported, an older one that cannot read the database, a deployment that is not steady, and
    another version than the one that an unfinished upgrade goes to.
  - An unfinished upgrade is known by the tag C(mlflow-upgrade) of the service.
  - Wraps C(DescribeServices) and C(DescribeTaskDefinition) of the Amazon ECS API.
options:
  name:
    description: Name of the service.
    type: str
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    required: true
  version:
    description: Version of MLflow that is wanted, all three numbers.
    type: str
    required: true
  supported_versions:
    description: Versions of MLflow that can be deployed.
    type: list
    elements: str
    required: true
  db_status:
    description: Status of the database, as C(DescribeDBInstances) has it. Required with O(planned).
    type: str
  snapshot:
    description: Whether a snapshot is wanted even where the schema of the database stays as it is.
    type: bool
    default: false
  planned:
    description:
      - V(true) where this is an upgrade and nothing else.
      - V(false) where the version changes along with other things. Then a version with another schema is refused, and so is any
        while an upgrade is not over; a service that does not exist yet is fine.
    type: bool
    default: true
  allowed_hosts:
    description: Names by which the server is reached.
    type: list
    elements: str
    default: []
  default_permission:
    description: What a user may do with what nobody granted.
    type: str
    default: NO_PERMISSIONS
  variable_names:
    description: What to call options in messages, as option to variable.
    type: dict
    default: {}
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Find out what an upgrade means
  mlops.mlflow_aws.deployment_upgrade_check:
    name: team-mlflow
    cluster: team-mlflow
    version: 3.17.2
    supported_versions: [2.18.0, 3.17.2]
    db_status: available
    allowed_hosts: [mlflow.example.com]
  register: upgrade

- name: Show what changes
  ansible.builtin.debug:
    msg: "{{ upgrade.changes | map(attribute='change') }}"
"""

RETURN = r"""
action:
  description: V(upgrade), V(finish) where only the end of an upgrade is missing, V(none) where the version runs.
  returned: success
  type: str
  sample: upgrade
running_version:
  description: Version of MLflow in the task definition in force, null without a service.
  returned: success
  type: str
  sample: 2.18.0
from_version:
  description: Version that the upgrade goes from, which an unfinished one has left already.
  returned: with O(planned)
  type: str
  sample: 2.18.0
task_definition_arn:
  description: ARN of the task definition in force, null without a service.
  returned: success
  type: str
schema_moves:
  description: Whether the database gets another schema, on which the version before cannot start.
  returned: with O(planned)
  type: bool
snapshot:
  description: Whether a snapshot of the database is to be taken first.
  returned: with O(planned)
  type: bool
snapshot_id:
  description: Snapshot that an unfinished upgrade has taken, empty for none.
  returned: with O(planned)
  type: str
settles:
  description: Whether permissions become grants, so that both versions' are kept in step until no older task runs.
  returned: with O(planned)
  type: bool
tag:
  description: Value of the tag C(mlflow-upgrade) during the upgrade, without the snapshot that is still to be taken.
  returned: with O(planned)
  type: str
  sample: from=2.18.0 to=3.17.2 snapshot=none
changes:
  description: What changes between the two versions, oldest first.
  returned: with O(planned)
  type: list
  elements: dict
  contains:
    since:
      description: Version that brought it.
      type: str
      sample: "3.5"
    concerns:
      description: Whom it concerns.
      type: str
      sample: clients
    change:
      description: What changes.
      type: str
    effect:
      description: What that does to this deployment.
      type: str
findings:
  description: The warnings, also shown as warnings of the task.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    ecs_client,
    ecs_rules,
    mlflow_breaking_changes,
    mlflow_upgrade_plan,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure


def look(module: AnsibleAWSModule) -> tuple[dict, dict]:
    """The service and the task definition in force as ECS has them, both empty where there is no service."""
    ecs = ecs_client.connect(module, "ecs")
    service = ecs_client.describe_service(ecs, module.params["cluster"], module.params["name"])
    if service is None:
        return {}, {}
    return service, ecs_client.describe_task_definition(ecs, service["taskDefinition"]) or {}


def state_of(name: str, service: dict, environment: dict[str, str], db_status: str | None) -> mlflow_upgrade_plan.State:
    primary = next((one for one in service.get("deployments", []) if one["status"] == "PRIMARY"), {})
    return mlflow_upgrade_plan.State(
        name=name,
        version=environment.get("LAUNCHER_MLFLOW_VERSION"),
        rollout_state=primary.get("rolloutState"),
        desired_count=service.get("desiredCount", 0),
        running_count=service.get("runningCount", 0),
        db_status=db_status,
        tag=ecs_rules.tags_from_api(service.get("tags")).get(mlflow_upgrade_plan.TAG),
    )


def check(params: dict, service: dict, definition: dict, found: Findings) -> dict:
    """What the module returns, as far as nothing speaks against it."""
    containers = definition.get("containerDefinitions") or [{}]
    environment = {one["name"]: one["value"] for one in containers[0].get("environment", [])}
    state = state_of(params["name"], service, environment, params["db_status"])
    result = {"running_version": state.version, "task_definition_arn": service.get("taskDefinition")}
    wanted = params["version"]
    if not params["planned"]:
        mlflow_upgrade_plan.refuse_unplanned(state, wanted, found)
        return dict(result, action="none" if state.version == wanted else "upgrade")
    result.update(mlflow_upgrade_plan.decide(state, wanted, params["supported_versions"], params["snapshot"], found))
    if found.problems:
        return result
    deployment = mlflow_breaking_changes.Deployment(
        workers=int(environment.get("LAUNCHER_WORKERS", 1)),
        task_memory=int(definition["memory"]),
        default_permission=params["default_permission"],
        allowed_hosts=tuple(params["allowed_hosts"]),
    )
    old, new = mlflow_versions.parse(result["from_version"]), mlflow_versions.parse(wanted)
    result["tag"] = mlflow_upgrade_plan.Begun(result["from_version"], wanted, result["snapshot_id"]).tag()
    result["changes"] = mlflow_breaking_changes.between(old, new, deployment)
    return result


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "cluster": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "supported_versions": {"type": "list", "elements": "str", "required": True},
            "db_status": {"type": "str"},
            "snapshot": {"type": "bool", "default": False},
            "planned": {"type": "bool", "default": True},
            "allowed_hosts": {"type": "list", "elements": "str", "default": []},
            "default_permission": {"type": "str", "default": "NO_PERMISSIONS"},
            "variable_names": {"type": "dict", "default": {}},
        },
        required_if=[("planned", True, ["db_status"])],
        supports_check_mode=True,
    )
    found = Findings(module.params["variable_names"])
    with aws_changes.one_line_failures(module, "ecs", f"Service {module.params['name']} in cluster {module.params['cluster']}"):
        service, definition = look(module)
    result = check(module.params, service, definition, found)
    for warning in found.warnings:
        module.warn(warning)
    if found.problems:
        module.fail_json(msg=failure(found.problems))
    module.exit_json(changed=False, findings=found.warnings, **result)


if __name__ == "__main__":
    main()
