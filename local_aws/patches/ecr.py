# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's ECR, which keeps the images that were built here and no others.

moto 5.2.5 takes any manifest, makes digests up, answers 500 for a push to a repository that is not there, finds the same
vulnerability in every image that it scans, and lets the Resource Groups Tagging API find nothing.
The API: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.ecr.exceptions import InvalidParameterException, ScanNotFoundException
from moto.ecr.models import ECRBackend as BACKEND
from moto.ecr.models import Image, ecr_backends
from moto.ecr.responses import ECRResponse as RESPONSE

from .. import image_store, kms_keys, requests
from ..ecs_permissions import Role
from ..runtime import Runtime
from . import replace


class TaggableEcr(BACKEND, TaggableResourcesMixin):
    SERVICE_NAMESPACE = "ecr"
    # moto finds a service's addresses by where its backend is defined.
    __module__ = BACKEND.__module__

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for repository in list(self.repositories.values()):
            tags = self.tagger.get_tag_dict_for_resource(repository.arn)
            yield TaggedResource(repository.arn, tags, "ecr:repository")


class Refused(ServiceException):
    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def apply(runtime: Runtime) -> None:
    replace(ecr_backends, "backend", TaggableEcr)
    _patch_repositories()
    _patch_images(runtime)
    _patch_scans()
    _patch_permissions(runtime)


def _patch_repositories() -> None:
    plain_create = BACKEND.create_repository

    def create_repository(self: Any, *args: Any, **kwargs: Any) -> Any:
        key = (kwargs.get("encryption_config") or {}).get("kmsKey")
        if key and (reason := kms_keys.unusable(self.account_id, self.region_name, key)):
            raise Refused("KmsException", f"The KMS key cannot be used: {reason}")
        return plain_create(self, *args, **kwargs)

    replace(BACKEND, "create_repository", create_repository)


def _patch_images(runtime: Runtime) -> None:
    plain_put, store = BACKEND.put_image, image_store.folder_of(runtime.settings.folder)

    def put_image(
        self: Any, repository_name: str, image_manifest: str, image_tag: str, image_manifest_mediatype: str | None = None,
        digest: str | None = None,
    ) -> Any:  # fmt: skip
        self._get_repository(repository_name)
        computed = f"sha256:{hashlib.sha256(image_manifest.encode()).hexdigest()}"
        if digest not in (None, computed):
            raise Refused("ImageDigestDoesNotMatchException", f"The digest '{digest}' does not match '{computed}'")
        try:
            image_id = json.loads(image_manifest)["config"]["digest"]
        except (ValueError, KeyError, TypeError):
            raise InvalidParameterException("Invalid parameter at 'ImageManifest': no configuration") from None
        if image_store.config(store, str(image_id)) is None:
            raise Refused(
                "LayersNotFoundException",
                f"The layers with digests '[{image_id}]' do not exist: the local AWS keeps images that its CodeBuild has built",
            )
        return plain_put(self, repository_name, image_manifest, image_tag, image_manifest_mediatype, computed)

    def size(self: Any) -> int:
        manifest = json.loads(self.image_manifest)
        return sum(layer["size"] for layer in manifest["layers"])

    replace(
        BACKEND, "put_image", put_image,
        ("self", "repository_name", "image_manifest", "image_tag", "image_manifest_mediatype", "digest"),
    )  # fmt: skip
    replace(Image, "get_image_size_in_bytes", size, ("self",))


def _patch_scans() -> None:
    def start_image_scan(self: Any, registry_id: str, repository_name: str, image_id: dict[str, str]) -> Any:
        raise Refused("UnsupportedImageTypeException", "The local AWS scans no images.")

    def describe_image_scan_findings(self: Any, registry_id: str, repository_name: str, image_id: dict[str, str]) -> Any:
        repository = self._get_repository(repository_name, registry_id)
        repository._get_image(image_id.get("imageTag"), image_id.get("imageDigest"))
        raise ScanNotFoundException(image_id=str(image_id), repository_name=repository_name, registry_id=repository.registry_id)

    parameters = ("self", "registry_id", "repository_name", "image_id")
    replace(BACKEND, "start_image_scan", start_image_scan, parameters)
    replace(BACKEND, "describe_image_scan_findings", describe_image_scan_findings, parameters)


def _patch_permissions(runtime: Runtime) -> None:
    """Who calls with the credentials of a role, as a build does, may do what the role may."""

    def guarded(operation: str, action: str) -> None:
        plain = getattr(RESPONSE, operation)

        def answer(self: Any) -> Any:
            scope = requests.scope({key.lower(): value for key, value in self.headers.items()}, "")
            role_arn = runtime.credentials.role_of(scope.access_key) if scope else None
            name = self._get_param("repositoryName")
            resource = f"arn:aws:ecr:{self.region}:{self.current_account}:repository/{name}" if name else "*"
            role = Role.find(self.current_account, role_arn) if role_arn else None
            if role_arn and (role is None or not role.may(action, resource)):
                raise Refused(
                    "AccessDeniedException",
                    f"User: {role_arn} is not authorized to perform: {action} on resource: {resource} because no "
                    f"identity-based policy allows the {action} action",
                )
            return plain(self)

        replace(RESPONSE, operation, answer, ("self",))

    guarded("get_authorization_token", "ecr:GetAuthorizationToken")
    guarded("put_image", "ecr:PutImage")
