# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository of ECR and the images in it, against an in-process ECR."""

from __future__ import annotations

import datetime
import json
import typing as t

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import ecr_repositories
from ansible_collections.mlops.mlflow_aws.plugins.modules import ecr_image_info, ecr_repository

OWNER = {"owner": "us"}
WANTED = {"name": "web", "keep_images": 10, "owner_tags": OWNER, "tags": OWNER}
ABSENT = {"name": "web", "state": "absent", "owner_tags": OWNER}
URI = "123456789012.dkr.ecr.eu-west-2.amazonaws.com/web"
pytestmark = pytest.mark.usefixtures("aws_environment")


class Client:
    """A client that keeps a list of its writes."""

    def __init__(self, client: t.Any) -> None:
        self.client, self.writes = client, []

    def __getattr__(self, operation: str) -> t.Callable:
        def call(aws_retry: bool, **arguments: t.Any) -> t.Any:
            if not operation.startswith(("describe_", "get_", "list_")):
                self.writes.append(operation)
            return getattr(self.client, operation)(**arguments)

        return call


@pytest.fixture
def ecr(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Client]:
    with mock_aws():
        made = Client(boto3.client("ecr", region_name="eu-west-2"))
        monkeypatch.setattr(ecr_repositories, "connect", lambda _module: made)
        yield made


def test_life(run_module: t.Callable, ecr: Client) -> None:
    predicted = run_module(ecr_repository, WANTED, check=True)
    assert predicted["changed"] and ecr.writes == [] and predicted["repository"] is None
    made = run_module(ecr_repository, WANTED)
    assert made["diff"] == predicted["diff"] and ecr.writes == ["create_repository", "put_lifecycle_policy"]
    assert made["repository"] == {"name": "web", "arn": "arn:aws:ecr:eu-west-2:123456789012:repository/web", "uri": URI}
    found = ecr.client.describe_repositories(repositoryNames=["web"])["repositories"][0]
    assert found["imageTagMutability"] == "IMMUTABLE" and found["imageScanningConfiguration"] == {"scanOnPush": True}
    ecr.writes.clear()
    for check in (True, False):
        assert not run_module(ecr_repository, WANTED, check=check)["changed"]
    assert run_module(ecr_repository, ABSENT, check=True)["changed"] and ecr.writes == []
    assert run_module(ecr_repository, ABSENT)["repository"] is None
    assert ecr.writes == ["delete_repository"] and not run_module(ecr_repository, ABSENT)["changed"]


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"scan_on_push": False}, ["put_image_scanning_configuration"]),
        ({"immutable_tags": False}, ["put_image_tag_mutability"]),
        ({"keep_images": 3}, ["put_lifecycle_policy"]),
        ({"keep_images": 0}, ["delete_lifecycle_policy"]),
        ({"tags": {**OWNER, "cost": 12}}, ["tag_resource"]),
    ],
)
def test_each_change_writes_what_it_must(run_module: t.Callable, ecr: Client, change: dict, written: list) -> None:
    run_module(ecr_repository, {**WANTED, "tags": {**OWNER}})
    ecr.writes.clear()
    predicted = run_module(ecr_repository, {**WANTED, **change}, check=True)
    assert predicted["changed"] and ecr.writes == []
    assert run_module(ecr_repository, {**WANTED, **change})["diff"] == predicted["diff"]
    assert ecr.writes == written and not run_module(ecr_repository, {**WANTED, **change})["changed"]


def test_a_tag_that_is_not_wanted_any_more_goes(run_module: t.Callable, ecr: Client) -> None:
    run_module(ecr_repository, {**WANTED, "tags": {**OWNER, "cost": "12"}})
    ecr.writes.clear()
    run_module(ecr_repository, WANTED)
    assert ecr.writes == ["untag_resource"]


def test_what_is_not_ours_or_cannot_be_changed_is_refused(run_module: t.Callable, ecr: Client) -> None:
    assert "give 0 for all" in run_module(ecr_repository, {**WANTED, "keep_images": -1})["msg"]
    ecr.client.create_repository(repositoryName="web")
    for options in (WANTED, ABSENT):
        assert "does not carry the tags owner=us" in run_module(ecr_repository, options)["msg"]
    ecr.client.delete_repository(repositoryName="web")
    run_module(ecr_repository, WANTED)
    ecr.writes.clear()
    refused = run_module(ecr_repository, {**WANTED, "kms_key": "arn:aws:kms:eu-west-2:123456789012:key/1"})["msg"]
    assert "encrypted with AWS's own key, not with arn:aws:kms" in refused and "image_state=absent" in refused
    assert ecr.writes == []


def test_with_a_key(run_module: t.Callable, ecr: Client) -> None:
    key = {"kms_key": "arn:aws:kms:eu-west-2:123456789012:key/1"}
    run_module(ecr_repository, {**WANTED, **key})
    found = ecr.client.describe_repositories(repositoryNames=["web"])["repositories"][0]
    assert found["encryptionConfiguration"] == {"encryptionType": "KMS", "kmsKey": key["kms_key"]}
    assert not run_module(ecr_repository, {**WANTED, **key})["changed"]


def test_images_are_found_by_tag(run_module: t.Callable, ecr: Client) -> None:
    asked = {"repository": "web", "tag": "1.4"}
    nothing = run_module(ecr_image_info, asked)
    assert (nothing["repository"], nothing["image"], nothing["tags"], nothing["changed"]) == (None, None, [], False)
    run_module(ecr_repository, WANTED)
    assert run_module(ecr_image_info, asked)["image"] is None
    layer = {"size": 5 << 20, "digest": "sha256:" + "1" * 64, "mediaType": "a/layer"}
    manifest = {"schemaVersion": 2, "mediaType": "a/manifest", "config": {"size": 5 << 20, "digest": "sha256:0"}, "layers": [layer]}
    ecr.client.put_image(repositoryName="web", imageTag="1.4", imageManifest=json.dumps(manifest))
    found = run_module(ecr_image_info, asked)
    assert found["tags"] == ["1.4"] and found["image"]["uri"] == f"{URI}@{found['image']['digest']}"
    assert found["image"]["size_mib"] == 5 and found["image"]["findings"] is None
    assert run_module(ecr_image_info, {**asked, "tag": "1.5"})["image"] is None


def test_what_a_scan_found_is_told() -> None:
    found = {
        "imageDigest": "sha256:1",
        "imagePushedAt": datetime.datetime(2026, 11, 29, tzinfo=datetime.timezone.utc),
        "imageScanStatus": {"status": "COMPLETE"},
        "imageScanFindingsSummary": {"findingSeverityCounts": {"MEDIUM": 2}},
    }
    told = ecr_repositories.describe_image(URI, found, "1.4")
    assert told["scan_status"] == "COMPLETE" and told["findings"] == {"MEDIUM": 2} and told["size_mib"] == 0
    assert told["pushed_at"] == "2026-11-29T00:00:00+00:00"


def test_images_are_read_page_by_page() -> None:
    class Pages:
        @staticmethod
        def describe_images(repositoryName: str, aws_retry: bool, nextToken: str = "") -> dict:  # pylint: disable=invalid-name
            return {"imageDetails": [2]} if nextToken else {"imageDetails": [1], "nextToken": "more"}

    assert ecr_repositories.find_images(Pages(), "web") == [1, 2]
