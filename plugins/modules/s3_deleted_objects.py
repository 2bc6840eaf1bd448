#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations
DOCUMENTATION = r"""
module: s3_deleted_objects
version_added: "0.1.0"
short_description: Bring objects back that were deleted from a bucket with versions
description:
  - Removes the delete markers that were set since a moment on objects that were there at that moment, so that their last version is
    seen again. Objects that were deleted before, or made after it, and versions, are left alone.
  - What was deleted by version, or has been removed by a lifecycle rule meanwhile, cannot come back.
  - Wraps C(ListObjectVersions) and C(DeleteObjects) of the Amazon S3 API.
options:
  name:
    description: Name of the bucket.
    type: str
    required: true
  prefix:
    description: Beginning of the keys, with a slash at its end for a folder; empty for all objects.
    type: str
    default: ""
  deleted_since:
    description: ISO 8601 time with a zone, such as V(2026-11-28T02:00:00Z).
    type: str
    required: true
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Bring back what was deleted since the backup
  mlops.mlflow_aws.s3_deleted_objects:
    name: team-artifacts
    prefix: mlflow/
    deleted_since: "2026-11-28T02:00:00Z"
"""

RETURN = r"""
restored:
  description: Number of objects that are seen again, or would be in check mode.
  returned: success
  type: int
  sample: 1204
"""

import itertools
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, s3_deletions

# The most that DeleteObjects takes.
OBJECTS_PER_CALL = 1000


def pages(client: t.Any, name: str, prefix: str) -> t.Iterator[dict]:
    where: dict[str, str] = {"Bucket": name, "Prefix": prefix}
    while True:
        page = client.list_object_versions(aws_retry=True, **where)
        yield page
        if not page.get("IsTruncated"):
            return
        where = {**where, "KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}


def restore(client: t.Any, name: str, markers: list[dict[str, str]]) -> None:
    answer = client.delete_objects(Bucket=name, Delete={"Objects": markers, "Quiet": True}, aws_retry=True)
    if answer.get("Errors"):
        first = answer["Errors"][0]
        raise ValueError(
            f"Bucket {name}: {len(answer['Errors'])} objects could not be brought back, such as {first['Key']} ({first.get('Code')});"
            " allow s3:DeleteObjectVersion there and run again"
        )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "prefix": {"type": "str", "default": ""},
            "deleted_since": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    name, count = module.params["name"], 0
    client = module.client("s3", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    with aws_changes.one_line_failures(module, "s3", f"Bucket {name}"):
        moment = s3_deletions.moment_of(module.params["deleted_since"])
        found = s3_deletions.deleted_since(pages(client, name, module.params["prefix"]), moment)
        while some := list(itertools.islice(found, OBJECTS_PER_CALL)):
            if not module.check_mode:
                restore(client, name, some)
            count += len(some)
    difference = {"before": {"deleted_objects": count}, "after": {"deleted_objects": 0}}
    module.exit_json(changed=count > 0, restored=count, diff=difference if count else {"before": {}, "after": {}})


if __name__ == "__main__":
    main()
