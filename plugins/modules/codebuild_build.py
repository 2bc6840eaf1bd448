#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: codebuild_build
version_added: "0.1.0"
short_description: Run a build of CodeBuild, or wait for one
description:
  - Starts a build with a buildspec and small text files that travel in it. A build of the same that runs already is joined.
  - Waits until it has ended, unless told not to, and fails with the phase that failed, its reason and the last lines of the log.
  - There is no other module that runs builds; M(community.aws.codebuild_project) keeps projects.
  - Wraps C(StartBuild), C(ListBuildsForProject) and C(BatchGetBuilds) of the AWS CodeBuild API and C(GetLogEvents) of CloudWatch Logs.
options:
  project:
    description: Name of the project. Required unless O(build_id) is given.
    type: str
  buildspec:
    description: The buildspec, as a dictionary. Required unless O(build_id) is given. Nothing secret belongs here.
    type: dict
  files:
    description: Text files that the build finds in its folder, by name. Nothing secret belongs here.
    type: dict
    default: {}
  build_id:
    description: ID of a build to wait for instead of starting one.
    type: str
  wait:
    description: Whether to wait until the build has ended.
    type: bool
    default: true
  wait_timeout:
    description: Seconds until the build must have ended. It is not stopped then.
    type: int
    default: 1800
  log_lines:
    description: How many of the last lines of the log to return.
    type: int
    default: 20
attributes:
  check_mode:
    description: Reports a change and starts nothing. A build given by O(build_id) is waited for.
    support: full
  diff_mode:
    description: A build leaves nothing to compare.
    support: none
  idempotent:
    description: Each call starts a build, unless one of the same runs.
    support: partial
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Build and say so
  mlops.mlflow_aws.codebuild_build:
    project: web-image
    files:
      greeting.txt: Hello
    buildspec:
      version: 0.2
      phases:
        build:
          commands: [cat greeting.txt]
    wait_timeout: 600
"""

RETURN = r"""
build:
  description: The build, null in check mode.
  returned: success, and when the build failed or took too long
  type: dict
  sample:
    id: web-image:0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0
    status: SUCCEEDED
    phase: COMPLETED
    log_group: /aws/codebuild/web-image
    log_stream: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0
    seconds: 214.6
log_tail:
  description: The last lines of its log, also returned on failure.
  returned: when the build was waited for
  type: list
  elements: str
  sample: ["[Container] 2026/11/29 08:00:00 Phase complete: BUILD State: SUCCEEDED"]
"""

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, codebuild_projects, ecs_client


def log_tail(logs, build: dict, lines: int) -> list:
    """The last lines of a build's log; empty if it has none. Wraps GetLogEvents."""
    found = codebuild_projects.describe_build(build)
    if not found["log_group"] or not found["log_stream"]:
        return []
    try:
        events = logs.get_log_events(
            logGroupName=found["log_group"], logStreamName=found["log_stream"], limit=lines, startFromHead=False, aws_retry=True
        )["events"]
    except is_boto3_error_code("ResourceNotFoundException"):
        return []
    return [event["message"].rstrip() for event in events][-lines:]


def start(module: AnsibleAWSModule, codebuild) -> tuple:
    """The build, and whether it was started here."""
    params = module.params
    if params["build_id"]:
        found = codebuild_projects.find_build(codebuild, params["build_id"])
        if found is None:
            raise ValueError(f"Build {params['build_id']}: there is none of this ID; start one by naming its project")
        return found, False
    buildspec = codebuild_projects.with_files(params["buildspec"], params["files"])
    found = codebuild_projects.running_build(codebuild, params["project"], buildspec)
    if found:
        return found, False
    answer = codebuild.start_build(projectName=params["project"], buildspecOverride=buildspec, aws_retry=True)
    return answer["build"], True


def run(module: AnsibleAWSModule) -> None:
    codebuild = codebuild_projects.connect(module, "codebuild")
    build, started = start(module, codebuild)
    if not module.params["wait"]:
        module.exit_json(changed=started, build=codebuild_projects.describe_build(build))

    def ended() -> dict | None:
        found = codebuild_projects.find_build(codebuild, build["id"])
        return found if found and found.get("buildComplete") else None

    in_time, last = ecs_client.poll(ended, module.params["wait_timeout"], codebuild_projects.POLL_SECONDS)
    last = last or codebuild_projects.find_build(codebuild, build["id"]) or build
    tail = log_tail(codebuild_projects.connect(module, "logs"), last, module.params["log_lines"])
    told = {"build": codebuild_projects.describe_build(last), "log_tail": tail}
    if not in_time:
        reason = (
            f"Build {build['id']}: it is in phase {told['build']['phase']} after {module.params['wait_timeout']} s and goes on;"
            " run again to join it, or raise wait_timeout"
        )
        module.fail_json(msg=ecs_client.explain(reason, tail), **told)
    failed = codebuild_projects.failure(last)
    if failed:
        module.fail_json(msg=ecs_client.explain(f"Build {build['id']} ended as {failed}", tail), **told)
    module.exit_json(changed=started, **told)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str"},
            "buildspec": {"type": "dict"},
            "files": {"type": "dict", "default": {}},
            "build_id": {"type": "str"},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 1800},
            "log_lines": {"type": "int", "default": 20},
        },
        required_one_of=[("project", "build_id")],
        mutually_exclusive=[("project", "build_id")],
        required_by={"project": ("buildspec",)},
        supports_check_mode=True,
    )
    if module.check_mode and not module.params["build_id"]:
        module.exit_json(changed=True, build=None)
    with aws_changes.one_line_failures(module, "codebuild", f"Build of {module.params['project'] or module.params['build_id']}"):
        run(module)


if __name__ == "__main__":
    main()
