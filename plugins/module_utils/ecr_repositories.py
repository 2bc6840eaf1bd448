# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository of ECR for the images of a deployment, and the images in it: what there is, what is to be done.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes

MIB = 1024 * 1024


def connect(module: t.Any) -> t.Any:
    return module.client("ecr", retry_decorator=AWSRetry.jittered_backoff(retries=8))


def lifecycle_policy(keep_images: int) -> dict[str, t.Any] | None:
    """The policy that removes all but the newest images; None for all of them."""
    if not keep_images:
        return None
    return {
        "rules": [
            {
                "rulePriority": 1,
                "description": f"Keep the newest {keep_images} images",
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": keep_images},
                "action": {"type": "expire"},
            }
        ]
    }


def encryption(kms_key: str) -> dict[str, str]:
    """CreateRepository's encryptionConfiguration."""
    return {"encryptionType": "KMS", "kmsKey": kms_key} if kms_key else {"encryptionType": "AES256"}


def encryption_problem(name: str, found: dict[str, str], wanted: dict[str, str]) -> str | None:
    """Why a repository that is there cannot have this encryption: ECR never changes it."""
    if found == wanted:
        return None
    before, after = (one.get("kmsKey", "AWS's own key") for one in (found, wanted))
    return (
        f"ECR repository {name}: it is encrypted with {before}, not with {after}, which ECR cannot change; "
        "remove it with its images (image.yml -e image_state=absent) and build them again, or give the key that it has"
    )


def describe_image(repository_uri: str, found: dict[str, t.Any], tag: str) -> dict[str, t.Any]:
    """What others need to know of one of DescribeImages' images."""
    counts = (found.get("imageScanFindingsSummary") or {}).get("findingSeverityCounts")
    return {
        "tag": tag,
        "digest": found["imageDigest"],
        "uri": f"{repository_uri}@{found['imageDigest']}",
        "pushed_at": found["imagePushedAt"].isoformat(),
        "size_mib": round((found.get("imageSizeInBytes") or 0) / MIB),
        "scan_status": (found.get("imageScanStatus") or {}).get("status"),
        "findings": dict(counts) if counts is not None else None,
    }


def find_repository(ecr: t.Any, name: str) -> dict[str, t.Any] | None:
    """Wraps DescribeRepositories."""
    try:
        return ecr.describe_repositories(repositoryNames=[name], aws_retry=True)["repositories"][0]
    except is_boto3_error_code("RepositoryNotFoundException"):
        return None


def find_images(ecr: t.Any, name: str) -> list[dict[str, t.Any]]:
    """All images of a repository that is there. Wraps DescribeImages."""
    images: list[dict[str, t.Any]] = []
    more: dict[str, str] = {}
    while True:
        answer = ecr.describe_images(repositoryName=name, aws_retry=True, **more)
        images += answer["imageDetails"]
        if not answer.get("nextToken"):
            return images
        more = {"nextToken": answer["nextToken"]}


class Repository:
    """The repository `name`."""

    def __init__(self, ecr: t.Any, name: str) -> None:
        self.ecr, self.name = ecr, name
        self.found: dict[str, t.Any] | None = None
        self.tags: dict[str, str] = {}
        self.policy: dict[str, t.Any] | None = None

    def find(self) -> None:
        self.found = find_repository(self.ecr, self.name)
        self.tags, self.policy = {}, None
        if self.found:
            arn = self.found["repositoryArn"]
            self.tags = boto3_tag_list_to_ansible_dict(self.ecr.list_tags_for_resource(resourceArn=arn, aws_retry=True)["tags"])
            try:
                answer = self.ecr.get_lifecycle_policy(repositoryName=self.name, aws_retry=True)
                self.policy = json.loads(answer["lifecyclePolicyText"])
            except is_boto3_error_code("LifecyclePolicyNotFoundException"):
                pass

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        if self.found and not aws_changes.carries(self.tags, owner_tags):
            remedy = "choose another deployment name, or remove it by hand"
            raise ValueError(aws_changes.not_ours(f"ECR repository {self.name}", owner_tags, remedy))

    def plan_present(self, options: dict[str, t.Any], tags: dict[str, str]) -> aws_changes.Changes:
        """`options` are those of M(mlops.mlflow_aws.ecr_repository)."""
        changes = aws_changes.Changes()
        scan = {"scanOnPush": options["scan_on_push"]}
        mutability = "IMMUTABLE" if options["immutable_tags"] else "MUTABLE"
        if self.found is None:
            changes.want(
                "repository", "absent", "present",
                lambda: self.ecr.create_repository(
                    repositoryName=self.name, imageScanningConfiguration=scan, imageTagMutability=mutability,
                    encryptionConfiguration=encryption(options["kms_key"]), tags=ansible_dict_to_boto3_tag_list(tags),
                    aws_retry=True,
                ),
            )  # fmt: skip
        else:
            refused = encryption_problem(self.name, self.found["encryptionConfiguration"], encryption(options["kms_key"]))
            if refused:
                raise ValueError(refused)
            self._plan_settings(changes, scan, mutability, tags)
        wanted = lifecycle_policy(options["keep_images"])
        changes.want("lifecycle policy", self.policy, wanted, lambda: self._put_policy(wanted))
        return changes

    def _plan_settings(self, changes: aws_changes.Changes, scan: dict[str, bool], mutability: str, tags: dict[str, str]) -> None:
        found = self.found or {}
        arn = found["repositoryArn"]
        changes.want(
            "scanning", found["imageScanningConfiguration"], scan,
            lambda: self.ecr.put_image_scanning_configuration(
                repositoryName=self.name, imageScanningConfiguration=scan, aws_retry=True
            ),
        )  # fmt: skip
        changes.want(
            "tags of images", found["imageTagMutability"], mutability,
            lambda: self.ecr.put_image_tag_mutability(
                repositoryName=self.name, imageTagMutability=mutability, aws_retry=True
            ),
        )  # fmt: skip
        changes.want_tags(
            "tags", self.tags, tags,
            lambda new: self.ecr.tag_resource(resourceArn=arn, tags=ansible_dict_to_boto3_tag_list(new), aws_retry=True),
            lambda keys: self.ecr.untag_resource(resourceArn=arn, tagKeys=keys, aws_retry=True),
        )  # fmt: skip

    def _put_policy(self, policy: dict[str, t.Any] | None) -> None:
        if policy is None:
            self.ecr.delete_lifecycle_policy(repositoryName=self.name, aws_retry=True)
        else:
            self.ecr.put_lifecycle_policy(repositoryName=self.name, lifecyclePolicyText=json.dumps(policy), aws_retry=True)

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.found:
            changes.want(
                "repository", "present", "absent",
                lambda: self.ecr.delete_repository(repositoryName=self.name, force=True, aws_retry=True),
            )  # fmt: skip
        return changes

    def described(self) -> dict[str, str] | None:
        if self.found is None:
            return None
        return {"name": self.name, "arn": self.found["repositoryArn"], "uri": self.found["repositoryUri"]}
