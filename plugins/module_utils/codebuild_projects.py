# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project of CodeBuild that builds images and pushes them to one repository, its role, and its builds.

https://docs.aws.amazon.com/codebuild/latest/userguide/sample-docker.html
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, service_role
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import one_line

POLL_SECONDS = 2.0
# A new role takes some seconds to be known everywhere.
SETTLE_SECONDS = 60.0
# Environments of CodeBuild with Docker in them, by the architecture of what they build.
# https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-available.html
ENVIRONMENTS = {
    "X86_64": ("LINUX_CONTAINER", "aws/codebuild/amazonlinux-x86_64-standard:5.0"),
    "ARM64": ("ARM_CONTAINER", "aws/codebuild/amazonlinux-aarch64-standard:3.0"),
}
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
PUSHING = (
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage",
    "ecr:UploadLayerPart",
)  # fmt: skip
# CodeBuild wants a buildspec of every project without a source.
NO_BUILDSPEC = """version: 0.2
phases:
  build:
    commands:
      - echo 'Each build is started with a buildspec of its own.' && false
"""
MAX_MESSAGE = 200


def connect(module: t.Any, service: str) -> t.Any:
    return module.client(service, retry_decorator=AWSRetry.jittered_backoff(retries=8))


def trust_policy(account_id: str, project_arn: str) -> dict[str, t.Any]:
    """Only builds of this project may act with the role."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "codebuild.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account_id, "aws:SourceArn": project_arn}},
            }
        ],
    }


def access_policy(repository_arn: str, log_group_arn: str) -> dict[str, t.Any]:
    """Write the log and push to the repository; nothing else."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            # GetAuthorizationToken knows no resource.
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Action": list(PUSHING), "Resource": repository_arn},
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": f"{log_group_arn}:log-stream:*",
            },
        ],
    }


def project(options: dict[str, t.Any], role_arn: str) -> dict[str, t.Any]:
    """CreateProject's parameters but for name and tags; `options` are those of M(mlops.mlflow_aws.codebuild_image_project)."""
    kind, image = ENVIRONMENTS[options["cpu_architecture"]]
    return {
        "description": options["description"],
        "source": {"type": "NO_SOURCE", "buildspec": NO_BUILDSPEC},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": kind,
            "image": image,
            "computeType": options["compute_type"],
            # Docker needs it.
            "privilegedMode": True,
        },
        "serviceRole": role_arn,
        "timeoutInMinutes": options["timeout_minutes"],
        "logsConfig": {"cloudWatchLogs": {"status": "ENABLED", "groupName": options["log_group"]}},
    }


def comparable(found: dict[str, t.Any] | None, wanted: dict[str, t.Any]) -> t.Any:
    """Of a project, what is wanted of it: AWS tells more than it was given."""
    if found is None:
        return "absent"
    return {key: _part(found.get(key), value) for key, value in wanted.items()}


def _part(found: t.Any, wanted: t.Any) -> t.Any:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {key: _part(found.get(key), value) for key, value in wanted.items()}
    return found


class ImageProject:
    """The project and its role, both called `name`."""

    def __init__(self, codebuild: t.Any, iam: t.Any, name: str) -> None:
        self.codebuild, self.name = codebuild, name
        self.role = service_role.ServiceRole(iam, name, "build", f"CodeBuild builds the images of {name} with it")
        self.found: dict[str, t.Any] | None = None

    @property
    def tags(self) -> dict[str, str]:
        return {one["key"]: one["value"] for one in (self.found or {}).get("tags") or []}

    def find(self) -> None:
        self.role.find()
        found = self.codebuild.batch_get_projects(names=[self.name], aws_retry=True)["projects"]
        self.found = found[0] if found else None

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        """ValueError if the project or the role is somebody else's."""
        remedy = "choose another deployment name, or remove it by hand"
        for kind, found, tags in (
            (f"CodeBuild project {self.name}", self.found, self.tags),
            (f"IAM role {self.name}", self.role.found, self.role.tags),
        ):
            if found and not aws_changes.carries(tags, owner_tags):
                raise ValueError(aws_changes.not_ours(kind, owner_tags, remedy))

    def plan_present(self, options: dict[str, t.Any], tags: dict[str, str]) -> aws_changes.Changes:
        _arn, partition, _ecr, region, account, _name = options["repository_arn"].split(":", 5)
        here = f"{region}:{account}"
        wanted = project(options, f"arn:{partition}:iam::{account}:role/{self.name}")
        changes = aws_changes.Changes()
        self.role.plan_present(
            changes,
            trust_policy(account, f"arn:{partition}:codebuild:{here}:project/{self.name}"),
            access_policy(options["repository_arn"], f"arn:{partition}:logs:{here}:log-group:{options['log_group']}"),
            tags,
        )
        listed = [{"key": key, "value": value} for key, value in sorted(tags.items())]
        changes.want(
            "project",
            comparable(self.found, wanted) if self.found is None else {**comparable(self.found, wanted), "tags": self.tags},
            {**comparable(wanted, wanted), "tags": tags},
            lambda: self._put({**wanted, "tags": listed}),
        )
        return changes

    def _put(self, wanted: dict[str, t.Any]) -> None:
        operation = self.codebuild.update_project if self.found else self.codebuild.create_project
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                operation(name=self.name, **wanted, aws_retry=True)
                return
            except is_boto3_error_code("InvalidInputException") as error:
                if "sts:AssumeRole" not in str(error) or time.monotonic() + POLL_SECONDS > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.found:
            changes.want(
                "project", "present", "absent", lambda: self.codebuild.delete_project(name=self.name, aws_retry=True)
            )
        self.role.plan_absent(changes)
        return changes

    def described(self) -> dict[str, str] | None:
        return {"name": self.name, "arn": self.found["arn"], "role_arn": self.found["serviceRole"]} if self.found else None


# --- builds ------------------------------------------------------------------------------------------------------------


def packed(files: dict[str, str]) -> str:
    """Text files as base64 of a compressed archive; always the same for the same files."""
    archive, compressed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in sorted(files.items()):
            entry, content = tarfile.TarInfo(name), text.encode("utf-8")
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    with gzip.GzipFile(fileobj=compressed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(archive.getvalue())
    return base64.b64encode(compressed.getvalue()).decode()


def with_files(buildspec: dict[str, t.Any], files: dict[str, str]) -> str:
    """The buildspec as StartBuild takes it, whose first command puts the files into the folder of the build. JSON is YAML."""
    phases = dict(buildspec.get("phases") or {})
    first = dict(phases.get("pre_build") or {})
    unpack = [f"echo {packed(files)} | base64 -d | tar -xz"] if files else []
    phases["pre_build"] = {**first, "commands": unpack + list(first.get("commands") or [])}
    # CodeBuild takes text with several lines for a buildspec, and one line for the path of one.
    return json.dumps({**buildspec, "phases": phases}, indent=1)


def failure(build: dict[str, t.Any]) -> str | None:
    """Why an ended build did not succeed, in one line; None if it did."""
    if build["buildStatus"] == "SUCCEEDED":
        return None
    bad = next((one for one in build.get("phases", []) if one.get("phaseStatus", "SUCCEEDED") != "SUCCEEDED"), {})
    said = [one["message"] for one in bad.get("contexts") or [] if one.get("message")]
    where = f" in phase {bad['phaseType']}" if bad else ""
    return f"{build['buildStatus']}{where}" + (f": {_shortened(one_line('; '.join(said)))}" if said else "")


def _shortened(text: str) -> str:
    """Both ends of a message: what ran, which may be long, and how it ended."""
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 2]} ... {text[-MAX_MESSAGE // 2 :]}"


def describe_build(build: dict[str, t.Any]) -> dict[str, t.Any]:
    """What others need to know of one of BatchGetBuilds' builds."""
    logs, ended = build.get("logs") or {}, build.get("endTime")
    return {
        "id": build["id"],
        "status": build["buildStatus"],
        "phase": build.get("currentPhase"),
        "log_group": logs.get("groupName"),
        "log_stream": logs.get("streamName"),
        "seconds": round((ended - build["startTime"]).total_seconds(), 1) if ended else None,
    }


def running_build(codebuild: t.Any, name: str, buildspec: str) -> dict[str, t.Any] | None:
    """A build of the project that does the same and has not ended. Wraps ListBuildsForProject and BatchGetBuilds."""
    ids = codebuild.list_builds_for_project(projectName=name, sortOrder="DESCENDING", aws_retry=True)["ids"][:10]
    builds = codebuild.batch_get_builds(ids=ids, aws_retry=True)["builds"] if ids else []
    return next((one for one in builds if not one.get("buildComplete") and one["source"].get("buildspec") == buildspec), None)


def find_build(codebuild: t.Any, build_id: str) -> dict[str, t.Any] | None:
    """Wraps BatchGetBuilds."""
    builds = codebuild.batch_get_builds(ids=[build_id], aws_retry=True)["builds"]
    return builds[0] if builds else None
