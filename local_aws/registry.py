# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ECR as who pulls an image sees it: the image that a reference names, if the puller may have it.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from . import image_store
from .ecs_permissions import Role
from .images import Environment, ImageError

REFERENCE = re.compile(
    r"(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<repository>[a-z0-9][a-z0-9._/-]*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
PULLING = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
# What ECS calls the architectures of images.
ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}


def is_own(reference: str) -> bool:
    """Whether a reference names an image in an ECR repository."""
    return REFERENCE.fullmatch(reference) is not None


def pull(store: Path, reference: str, account_id: str, role: Role | None, session: str, architecture: str) -> Environment:
    """The environment of an image in ECR. ImageError, the task's stopped reason, if it cannot be had."""
    named = REFERENCE.fullmatch(reference)
    assert named is not None
    arn = f"arn:aws:ecr:{named['region']}:{named['account']}:repository/{named['repository']}"
    _require(role, session, "ecr:GetAuthorizationToken", "*", reference)
    for action in PULLING:
        _require(role, session, action, arn, reference)
    image = _find(named, account_id)
    if image is None:
        raise ImageError(
            f"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {reference}: "
            f"{reference}: not found"
        )
    image_id = json.loads(image.image_manifest)["config"]["digest"]
    found = image_store.config(store, image_id)
    wanted = ARCHITECTURES.get(architecture or "X86_64", architecture)
    if found is not None and found["architecture"] != wanted:
        raise ImageError(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): image Manifest does not contain "
            f"descriptor matching platform 'linux/{wanted}'"
        )
    return image_store.environment(store, image_id)


def _find(named: re.Match[str], account_id: str) -> Any | None:
    from moto.ecr.models import ecr_backends

    if named["account"] != account_id:
        return None
    repository = ecr_backends[account_id][named["region"]].repositories.get(named["repository"])
    for image in repository.images if repository else []:
        if named["digest"] in (None, image.image_digest) and (
            named["digest"] or (named["tag"] or "latest") in image.image_tags
        ):
            return image
    return None


def _require(role: Role | None, session: str, action: str, resource: str, reference: str) -> None:
    if role is not None and role.may(action, resource):
        return
    who = role.session_arn(session) if role else "(no execution role)"
    denied = (
        f"AccessDeniedException: User: {who} is not authorized to perform: {action} on resource: {resource} because no "
        f"identity-based policy allows the {action} action"
    )
    if action == "ecr:GetAuthorizationToken":
        raise ImageError(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
            f"unable to retrieve ecr registry auth: service call has been retried 1 time(s): {denied}"
        )
    raise ImageError(
        f"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {reference}: "
        f"pulling from host failed with status code [manifests]: 403 Forbidden ({denied})"
    )
