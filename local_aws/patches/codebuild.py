# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's CodeBuild, whose builds are carried out.

moto 5.2.5 says of any build that it has succeeded, refuses projects without a source, and knows no UpdateProject. Here builds
run (builds.py); projects are those that such a build can be of. The API: https://docs.aws.amazon.com/codebuild/latest/APIReference/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from moto.codebuild.exceptions import InvalidInputException, ResourceNotFoundException
from moto.codebuild.models import CodeBuildBackend as BACKEND
from moto.codebuild.models import codebuild_backends
from moto.codebuild.responses import CodeBuildResponse as RESPONSE
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.core.responses import ActionResult

from ..builds import SERVICE, Builds
from ..ecs_permissions import Role
from ..runtime import Runtime
from . import add, replace

# Of a project's parts, what is known of each.
KNOWN = {
    "project": {
        "name", "description", "source", "artifacts", "environment", "serviceRole", "timeoutInMinutes",
        "queuedTimeoutInMinutes", "tags", "logsConfig", "cache",
    },
    "source": {"type", "buildspec"},
    "artifacts": {"type"},
    "environment": {
        "type", "image", "computeType", "privilegedMode", "environmentVariables", "imagePullCredentialsType",
    },
    "logsConfig": {"cloudWatchLogs"},
    "cache": {"type"},
}  # fmt: skip
TYPES = ("LINUX_CONTAINER", "ARM_CONTAINER")
OVERRIDES = {"projectName", "buildspecOverride", "timeoutInMinutesOverride"}


class TaggableCodeBuild(BACKEND, TaggableResourcesMixin):
    SERVICE_NAMESPACE = "codebuild"
    # moto finds a service's addresses by where its backend is defined.
    __module__ = BACKEND.__module__

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for project in list(self.codebuild_projects.values()):
            tags = {one["key"]: one["value"] for one in project.project_metadata["tags"] or []}
            yield TaggedResource(project.arn, tags, "codebuild:project")


def apply(runtime: Runtime) -> None:
    builds = Builds(runtime)
    replace(codebuild_backends, "backend", TaggableCodeBuild)
    _patch_projects()
    _patch_builds(builds)
    runtime.closers.append(builds.close)


def _checked(account_id: str, asked: dict[str, Any]) -> None:
    """InvalidInputException for what AWS refuses or this instance does not do."""
    for part, known in KNOWN.items():
        given = asked if part == "project" else asked.get(part) or {}
        unknown = sorted(key for key, value in given.items() if key not in known and value)
        if unknown:
            raise InvalidInputException(f"{part}: {', '.join(unknown)}: not supported by the local AWS")
    source, environment = asked["source"], asked["environment"]
    if source["type"] != "NO_SOURCE" or asked["artifacts"]["type"] != "NO_ARTIFACTS" or environment["type"] not in TYPES:
        raise InvalidInputException(
            f"The local AWS builds from a buildspec alone: source NO_SOURCE, artifacts NO_ARTIFACTS, environment {' or '.join(TYPES)}"
        )
    if "\n" not in source.get("buildspec", ""):
        raise InvalidInputException("Project source with type NO_SOURCE requires an inline buildspec")
    if any(one.get("type", "PLAINTEXT") != "PLAINTEXT" for one in environment.get("environmentVariables") or []):
        raise InvalidInputException("environmentVariables: the local AWS knows the type PLAINTEXT only")
    if not 5 <= asked.get("timeoutInMinutes", 60) <= 2160:
        raise InvalidInputException("Invalid timeout: timeoutInMinutes must be between 5 and 2160")
    role = Role.find(account_id, asked["serviceRole"])
    if role is None or not role.trusts(SERVICE):
        raise InvalidInputException(f"CodeBuild is not authorized to perform: sts:AssumeRole on {asked['serviceRole']}")


def _patch_projects() -> None:
    plain_create = RESPONSE.create_project

    def create_project(self: Any) -> ActionResult:
        asked = json.loads(self.body)
        _checked(self.current_account, asked)
        # moto wants a location of every source.
        self._params_of_source = {**asked["source"], "location": "none"}
        created = plain_create(self)._result["project"]
        created["source"] = asked["source"]
        created["timeoutInMinutes"] = asked.get("timeoutInMinutes", 60)
        created["queuedTimeoutInMinutes"] = asked.get("queuedTimeoutInMinutes", 480)
        return ActionResult({"project": created})

    plain_param = RESPONSE._get_param

    def get_param(self: Any, name: str, *default: Any) -> Any:
        if name == "source" and hasattr(self, "_params_of_source"):
            return self._params_of_source
        return plain_param(self, name, *default)

    def update_project(self: Any) -> ActionResult:
        asked = json.loads(self.body)
        found = _project(self, asked["name"])
        changed = {**{key: found[key] for key in KNOWN["project"] if key in found}, **asked}
        _checked(self.current_account, changed)
        found.update(asked)
        return ActionResult({"project": found})

    def batch_get_projects(self: Any) -> ActionResult:
        names = self._get_param("names")
        found = self.codebuild_backend.batch_get_projects(names)
        known = {one[key] for one in found for key in ("name", "arn")}
        return ActionResult({"projects": found, "projectsNotFound": [name for name in names if name not in known]})

    replace(RESPONSE, "create_project", create_project, ("self",))
    replace(RESPONSE, "_get_param", get_param)
    replace(RESPONSE, "batch_get_projects", batch_get_projects, ("self",))
    add(RESPONSE, "update_project", update_project)


def _project(response: Any, name: str) -> dict[str, Any]:
    project = response.codebuild_backend.codebuild_projects.get(name)
    if project is None:
        arn = f"arn:aws:codebuild:{response.region}:{response.current_account}:project/{name}"
        raise ResourceNotFoundException(f"Project cannot be found: {arn}")
    return project.project_metadata


def _patch_builds(builds: Builds) -> None:
    def start_build(self: Any) -> ActionResult:
        asked = json.loads(self.body)
        unknown = sorted(set(asked) - OVERRIDES)
        if unknown:
            raise InvalidInputException(f"{', '.join(unknown)}: not supported by the local AWS")
        project = _project(self, asked["projectName"])
        build = builds.start(
            self.current_account, project, self.region, asked.get("buildspecOverride") or project["source"]["buildspec"],
            asked.get("timeoutInMinutesOverride") or project["timeoutInMinutes"],
        )  # fmt: skip
        return ActionResult({"build": build.described()})

    def batch_get_builds(self: Any) -> ActionResult:
        found = {name: builds.find(name) for name in self._get_param("ids")}
        return ActionResult({
            "builds": [build.described() for build in found.values() if build],
            "buildsNotFound": [name for name, build in found.items() if build is None],
        })  # fmt: skip

    def stop_build(self: Any) -> ActionResult:
        build = builds.find(self._get_param("id"))
        if build is None:
            raise ResourceNotFoundException(f"Build {self._get_param('id')} does not exist")
        builds.stop(build)
        return ActionResult({"build": build.described()})

    def list_builds_for_project(self: Any) -> ActionResult:
        name = self._get_param("projectName")
        _project(self, name)
        return ActionResult({"ids": [build.id for build in builds.of(name)]})

    for operation in (start_build, batch_get_builds, stop_build, list_builds_for_project):
        replace(RESPONSE, operation.__name__, operation, ("self",))
