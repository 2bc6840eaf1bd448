# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which delete markers of a bucket hide objects that were there at a moment: pure, over the pages of ListObjectVersions."""

from __future__ import annotations

import datetime
import typing as t


def moment_of(text: str) -> datetime.datetime:
    """An ISO 8601 time with a zone; ValueError of one line otherwise."""
    try:
        # Python 3.10 and older know no Z.
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"deleted_since = {text}: is not a time with a zone; write one such as 2026-11-28T02:00:00Z")
    return moment


def deleted_since(pages: t.Iterable[dict], moment: datetime.datetime) -> t.Iterator[dict[str, str]]:
    """`Key` and `VersionId` of each marker that was set at or after the moment on an object that was there then.

    S3 lists keys in order and the versions of each from new to old: a marker comes before what it hides, maybe a page before.
    """
    hidden: dict[str, str] = {}
    for page in pages:
        for marker in page.get("DeleteMarkers", []):
            if marker["IsLatest"] and marker["LastModified"] >= moment:
                hidden[marker["Key"]] = marker["VersionId"]
        for version in page.get("Versions", []):
            if version["Key"] in hidden and version["LastModified"] <= moment:
                yield {"Key": version["Key"], "VersionId": hidden.pop(version["Key"])}
