#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_private_bucket_info
version_added: "0.1.0"
short_description: Tell whether a bucket is there, and whose it is
description:
  - Looks at one bucket by name. It needs no permission to list all buckets of the account.
  - Fails when the bucket is in another region or not accessible.
  - Wraps C(HeadBucket), C(GetBucketTagging) and C(GetBucketEncryption) of the Amazon S3 API.
options:
  name:
    description: Name of the bucket.
    type: str
    required: true
  owner_tags:
    description: Tags that make the bucket ours.
    type: dict
    required: true
  must_exist:
    description: Whether to fail when there is no such bucket.
    type: bool
    default: false
  cors_origins:
    description:
      - Origins of pages whose scripts must read and write objects at signed addresses. What a CORS rule of the bucket does not
        let them do becomes a warning, with the rule that would.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Look at the bucket
  mlops.mlflow_aws.s3_private_bucket_info:
    name: team-artifacts
    owner_tags:
      team: web
  register: bucket
"""

RETURN = r"""
exists:
  description: Whether the bucket is there.
  returned: success
  type: bool
owned:
  description: Whether it is there and carries O(owner_tags).
  returned: success
  type: bool
arn:
  description: ARN of the bucket, null when there is none.
  returned: success
  type: str
  sample: arn:aws:s3:::team-artifacts
cors_missing:
  description: The O(cors_origins) that no CORS rule of the bucket serves, all of them where the rules cannot be read.
  returned: success
  type: list
  elements: str
kms_key:
  description:
    - ARN, ID or alias of the KMS key that new objects are encrypted with; empty for keys of AWS's own, and where these credentials may not
      ask.
  returned: success
  type: str
versioning:
  description: V(Enabled), V(Suspended) or V(Disabled); null when there is no bucket, and where these credentials may not ask.
  returned: success
  type: str
  sample: Enabled
region:
  description: Region that was asked.
  returned: success
  type: str
  sample: eu-west-2
"""

import json
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, s3_buckets, s3_cors


def browsers(bucket: s3_buckets.Bucket, origins: list[str], warn: t.Callable[[str], None]) -> list[str]:
    """The origins that the bucket's CORS rules do not serve, warned of."""
    rules = bucket.cors_if_allowed() if origins else []
    missing = s3_cors.unserved(rules or [], origins)
    if missing:
        reason = "its CORS rules cannot be read (allow s3:GetBucketCORS)" if rules is None else "no CORS rule lets them"
        warn(
            f"Bucket {bucket.name}: scripts of pages at {', '.join(missing)} cannot use signed addresses, {reason}; the bucket is not"
            f" ours to change, so let its owner add the rule {json.dumps(s3_cors.rule(origins))}"
        )
    return missing


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "owner_tags": {"type": "dict", "required": True},
            "must_exist": {"type": "bool", "default": False},
            "cors_origins": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    client = module.client("s3", retry_decorator=AWSRetry.jittered_backoff(retries=8))
    bucket = s3_buckets.Bucket(client, module.params["name"], module.region)
    with aws_changes.one_line_failures(module, "s3", f"Bucket {bucket.name}"):
        exists = bucket.exists()
        tags = bucket.tags_if_allowed() if exists else {}
        missing = browsers(bucket, module.params["cors_origins"], module.warn) if exists else []
        kms_key = bucket.kms_key_if_allowed() if exists else ""
        versioning = bucket.versioning_if_allowed() if exists else None
    if module.params["must_exist"] and not exists:
        module.fail_json(
            msg=f"Bucket {bucket.name}: there is no such bucket; create it, correct the name,"
            " or let the deployment create it (artifacts_create_bucket)"
        )
    owned = exists and aws_changes.carries(tags, aws_changes.text_tags(module.params["owner_tags"]))
    module.exit_json(
        changed=False,
        exists=exists,
        owned=owned,
        arn=bucket.arn if exists else None,
        kms_key=kms_key,
        versioning=versioning,
        region=module.region,
        cors_missing=missing,
    )


if __name__ == "__main__":
    main()
