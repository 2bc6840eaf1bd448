#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_image_build
version_added: "0.1.0"
short_description: Build an image with Docker or Podman and push it to ECR
description:
  - Builds an image from a Dockerfile and small text files with the Docker or Podman of the machine on which the module runs, on a base
    that it resolves to its digest, and pushes it to a private repository of ECR.
  - The password for ECR goes to the program's standard input and into a folder of this run alone, which is removed; the user's own
    logins stay as they are.
  - Wraps C(GetAuthorizationToken) of the Amazon ECR API.
options:
  builder:
    description: The program.
    type: str
    choices: [docker, podman]
    required: true
  image:
    description: Address of the repository, and tag, of the image.
    type: str
    required: true
  base:
    description: The image that the Dockerfile's C(ARG BASE) stands for.
    type: str
    required: true
  files:
    description: The files to build from by name, with one called C(Dockerfile).
    type: dict
    required: true
  platform:
    description: Platform of the image.
    type: str
    choices: [linux/amd64, linux/arm64]
    default: linux/amd64
  build_args:
    description: Further build arguments. Nothing secret belongs here.
    type: dict
    default: {}
  builder_name:
    description: What users call O(builder), for messages.
    type: str
    default: builder
attributes:
  check_mode:
    description: Looks whether the program works, reports a change, and builds nothing.
    support: full
  diff_mode:
    description: A build leaves nothing to compare.
    support: none
  idempotent:
    description: Each call builds.
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Build the image of this release
  mlops.mlflow_aws.ecr_image_build:
    builder: podman
    image: 123456789012.dkr.ecr.eu-west-2.amazonaws.com/web:1.4
    base: public.ecr.aws/docker/library/python:3.11-slim
    files:
      Dockerfile: |
        ARG BASE
        FROM ${BASE}
        COPY web.py /opt/web/
        USER 10001:10001
        ENTRYPOINT ["python", "/opt/web/web.py"]
      web.py: print("Hello")
"""

RETURN = r"""
base:
  description: The base with its digest, null in check mode.
  returned: success
  type: str
  sample: public.ecr.aws/docker/library/python@sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0
"""

import base64
import os
import shutil
import tempfile

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, ecr_repositories
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import one_line

OTHERWISE = "or set {name} to codebuild, which needs nothing here"
DIGEST = "{{index .RepoDigests 0}}"


class Builder:
    """Docker or Podman, with logins in `folder` alone."""

    def __init__(self, module: AnsibleAWSModule, folder: str) -> None:
        self.module, self.folder = module, folder
        self.name = module.params["builder"]
        otherwise = OTHERWISE.format(name=module.params["builder_name"])
        what = f"{module.params['builder_name']} = {self.name}"
        self.path = module.get_bin_path(self.name)
        if self.path is None:
            raise ValueError(f"{what}: there is no {self.name} on this machine; install it, {otherwise}")
        code, _out, said = module.run_command([self.path, "info"])
        if code:
            raise ValueError(f"{what}: it does not work here ({last_line(said)}); start its service, {otherwise}")

    def environment(self) -> dict:
        """Where it is to keep logins. With it Docker forgets its context, which says where its daemon is."""
        if self.name == "podman":
            return {"REGISTRY_AUTH_FILE": os.path.join(self.folder, "auth.json")}
        given = {"DOCKER_CONFIG": self.folder}
        code, host, _said = self.module.run_command([self.path, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
        return given if code or not host.strip() else {**given, "DOCKER_HOST": host.strip()}

    def run(self, *arguments: str, **more) -> str:
        code, out, said = self.module.run_command([self.path, *arguments], **more)
        if code:
            raise ValueError(f"{self.name} {arguments[0]} failed: {last_line(said or out)}; see its output with -v, and build again")
        return out.strip()


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(lines[-1])[:300] if lines else "it said nothing"


def log_in(module: AnsibleAWSModule, builder: Builder, registry: str, environment: dict) -> None:
    answer = ecr_repositories.connect(module).get_authorization_token(aws_retry=True)
    password = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode().partition(":")[2]
    module.no_log_values.add(password)
    arguments = ("login", "--username", "AWS", "--password-stdin", registry)
    builder.run(*arguments, data=password, environ_update=environment)


def build(module: AnsibleAWSModule, folder: str) -> str:
    params = module.params
    builder = Builder(module, folder)
    if module.check_mode:
        module.exit_json(changed=True, base=None)
    context = os.path.join(folder, "context")
    os.mkdir(context)
    for name, text in params["files"].items():
        with open(os.path.join(context, name), "w", encoding="utf-8") as file:
            file.write(text)
    builder.run("pull", "--quiet", "--platform", params["platform"], params["base"])
    base = builder.run("image", "inspect", "--format", DIGEST, params["base"])
    given = [f"{name}={value}" for name, value in sorted({**params["build_args"], "BASE": base}.items())]
    arguments = [word for one in given for word in ("--build-arg", one)]
    builder.run("build", "--platform", params["platform"], *arguments, "--tag", params["image"], context)
    environment = builder.environment()
    log_in(module, builder, params["image"].split("/", 1)[0], environment)
    builder.run("push", "--quiet", params["image"], environ_update=environment)
    return base


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "builder": {"type": "str", "choices": ["docker", "podman"], "required": True},
            "image": {"type": "str", "required": True},
            "base": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
            "platform": {"type": "str", "choices": ["linux/amd64", "linux/arm64"], "default": "linux/amd64"},
            "build_args": {"type": "dict", "default": {}},
            "builder_name": {"type": "str", "default": "builder"},
        },
        supports_check_mode=True,
    )
    folder = tempfile.mkdtemp(prefix="image-")  # mode 0700
    try:
        with aws_changes.one_line_failures(module, "ecr", f"Image {module.params['image']}"):
            module.exit_json(changed=True, base=build(module, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
