# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which objects come back, decided over pages as S3 answers them, and brought back on moto's S3."""

from __future__ import annotations

import datetime
import typing as t

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import s3_deletions
from ansible_collections.mlops.mlflow_aws.plugins.modules import s3_deleted_objects

THEN = datetime.datetime(2026, 11, 28, 2, 0, tzinfo=datetime.timezone.utc)
pytestmark = pytest.mark.usefixtures("aws_environment")


def at(minutes: int) -> datetime.datetime:
    return THEN + datetime.timedelta(minutes=minutes)


# Of one object, from old to new: minutes after the moment, and whether it was deleted then.
HISTORY = st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=5).map(sorted)


def pages_of(histories: list[list[tuple[int, bool]]], size: int) -> list[dict]:
    """As S3 lists them: keys in order, each from new to old, cut into pages."""
    entries = []
    for number, history in enumerate(histories):
        for index, (minutes, deleted) in enumerate(reversed(history)):
            entry = {"Key": f"k{number:03}", "VersionId": f"v{number}-{index}", "IsLatest": index == 0, "LastModified": at(minutes)}
            entries.append(("DeleteMarkers" if deleted else "Versions", entry))
    pages: list[dict] = []
    for start in range(0, len(entries), size):
        page: dict = {}
        for kind, entry in entries[start : start + size]:
            page.setdefault(kind, []).append(entry)
        pages.append(page)
    return pages


@given(histories=st.lists(HISTORY, max_size=6), size=st.integers(1, 7))
def test_what_was_there_at_the_moment_and_is_deleted_now_comes_back(histories: list[list[tuple[int, bool]]], size: int) -> None:
    found = {one["Key"]: one["VersionId"] for one in s3_deletions.deleted_since(pages_of(histories, size), THEN)}
    expected = {
        f"k{number:03}": f"v{number}-0"
        for number, history in enumerate(histories)
        if history[-1][1] and history[-1][0] >= 0 and any(minutes <= 0 and not deleted for minutes, deleted in history)
    }
    assert found == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-28", "2026-11-28T02:00:00"])
def test_times_that_are_none(run_module: t.Callable, text: str) -> None:
    with mock_aws():
        refused = run_module(s3_deleted_objects, {"name": "artifacts", "deleted_since": text, "region": "us-east-1"})
    assert refused["msg"].startswith(f"deleted_since = {text}: is not a time with a zone")


@pytest.fixture
def s3() -> t.Iterator[t.Any]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="artifacts")
        client.put_bucket_versioning(Bucket="artifacts", VersioningConfiguration={"Status": "Enabled"})
        yield client


WANTED = {"name": "artifacts", "prefix": "mlflow/", "region": "us-east-1"}


def test_objects_come_back_in_portions(s3: t.Any, run_module: t.Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_deleted_objects, "OBJECTS_PER_CALL", 2)
    keys = [f"mlflow/{number}" for number in range(5)]
    for key in [*keys, "other/1"]:
        s3.put_object(Bucket="artifacts", Key=key, Body=key.encode())
    between = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    # moto keeps whole seconds.
    wanted = {**WANTED, "deleted_since": between.replace(microsecond=0).isoformat().replace("+00:00", "Z")}
    while datetime.datetime.now(datetime.timezone.utc) < between:
        pass
    for key in [*keys, "other/1"]:
        s3.delete_object(Bucket="artifacts", Key=key)
    check = run_module(s3_deleted_objects, wanted, check=True)
    assert check["changed"] and check["restored"] == 5
    done = run_module(s3_deleted_objects, wanted)
    assert done["changed"] and done["diff"] == {"before": {"deleted_objects": 5}, "after": {"deleted_objects": 0}}
    seen = s3.list_objects_v2(Bucket="artifacts")["Contents"]
    assert [one["Key"] for one in seen] == keys
    assert s3.get_object(Bucket="artifacts", Key="mlflow/3")["Body"].read() == b"mlflow/3"
    again = run_module(s3_deleted_objects, wanted)
    assert not again["changed"] and again["restored"] == 0


class Refusing:
    """Two pages, and a bucket that lets nobody delete a version."""

    def list_object_versions(self, aws_retry: bool, KeyMarker: str = "", **_where: str) -> dict:
        marker = {"Key": "a", "VersionId": "m", "IsLatest": True, "LastModified": at(1)}
        if not KeyMarker:
            return {"DeleteMarkers": [marker], "IsTruncated": True, "NextKeyMarker": "a", "NextVersionIdMarker": "m"}
        return {"Versions": [{**marker, "VersionId": "v", "IsLatest": False, "LastModified": at(-1)}]}

    def delete_objects(self, **_arguments: t.Any) -> dict:
        return {"Errors": [{"Key": "a", "Code": "AccessDenied"}]}


def test_what_cannot_come_back_is_told(run_module: t.Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnsibleAWSModule, "client", lambda *_args, **_options: Refusing())
    refused = run_module(s3_deleted_objects, {**WANTED, "deleted_since": "2026-11-28T02:00:00Z"})
    assert "1 objects could not be brought back, such as a (AccessDenied); allow s3:DeleteObjectVersion" in refused["msg"]
