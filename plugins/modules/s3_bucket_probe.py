#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_bucket_probe
version_added: "0.1.0"
short_description: Tell whether a bucket is there, in this region, readable and writable, without changing it
description:
  - Reads with C(HeadBucket) and C(ListObjectsV2).
  - Asks for the permission to write with a C(PutObject) that cannot succeed. It carries C(If-Match) for a key that
    does not exist, which Amazon S3 refuses with 404 or 412 to those who may write and with 403 to those who may not.
    See U(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
  - Fails with one line for each problem. The permission to write that is tested is the one of the caller.
options:
  bucket:
    description: Name of the bucket.
    type: str
    required: true
  prefix:
    description: Prefix under which to list and write, without slashes at its ends.
    type: str
    default: ""
  must_exist:
    description: >-
      Whether a missing bucket is a problem. When V(false), its name only has to be free or its owner the caller.
    type: bool
    default: true
  variable_names:
    description: What to call options in messages, as option to variable.
    type: dict
    default: {}
  variable_prefix:
    description: What to put before the name of every other option in messages.
    type: str
    default: ""
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Make sure that artifacts can be stored
  mlops.mlflow_aws.s3_bucket_probe:
    bucket: fraud-models-test
    prefix: mlflow-artifacts
    region: eu-west-2
"""

RETURN = r"""
exists:
  description: Whether the bucket exists.
  returned: success
  type: bool
bucket_region:
  description: Region of the bucket, null if it does not exist.
  returned: success
  type: str
  sample: eu-west-2
"""

import uuid
from typing import Any

try:
    import botocore.exceptions
except ImportError:
    pass  # handled by AnsibleAWSModule

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.aws_errors import error_code, explain
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure

# What PutObject with If-Match answers to those who may write: no such key, or none with this ETag.
REFUSED_BY_CONDITION = ("NoSuchKey", "PreconditionFailed", "404", "412")
NO_OBJECT_HAS_THIS_ETAG = '"00000000000000000000000000000000"'


class Probe:
    """Asks S3 about one bucket and collects what is wrong with it."""

    def __init__(self, client: Any, region: str, params: dict[str, Any]) -> None:
        self.client = client
        self.region = region
        self.bucket = params["bucket"]
        self.prefix = f"{params['prefix']}/" if params["prefix"] else ""
        self.must_exist = params["must_exist"]
        self.found = Findings(params["variable_names"], params["variable_prefix"])
        self.exists = False
        self.bucket_region: str | None = None

    def run(self) -> None:
        if self._head():
            self._read()
            self._write()

    def _head(self) -> bool:
        """Whether there is a bucket to go on with."""
        status, headers, error = self._answer("head_bucket")
        self.exists = status != 404
        self.bucket_region = headers.get("x-amz-bucket-region") if self.exists else None
        if status is None:
            self.found.problems.append(explain(error, "s3:HeadBucket"))
        elif not self.exists:
            if self.must_exist:
                self._refuse("there is no such bucket", "create it, correct the name, or let the deployment create it")
        elif self.bucket_region and self.bucket_region != self.region:
            self._refuse(
                f"the bucket is in {self.bucket_region}, the deployment in {self.region}",
                f"use a bucket in {self.region}, or deploy to {self.bucket_region}",
            )
        elif status == 403 and not self.must_exist:
            self._refuse(
                "the name is taken, or these credentials may not look (HeadBucket answers 403)",
                "choose another name; bucket names are unique in the world",
            )
        elif status == 403:
            self._refuse(
                "the bucket is not accessible to these credentials (HeadBucket answers 403)",
                "use a bucket of this account, or allow s3:ListBucket on it",
            )
        elif status != 200:
            self._refuse(f"HeadBucket answers {status}", "check the bucket in the S3 console")
        else:
            return True
        return False

    def _read(self) -> None:
        status, _headers, error = self._answer("list_objects_v2", Prefix=self.prefix, MaxKeys=1)
        if status == 403:
            self._refuse(
                f"listing {self._where()} is denied (ListObjectsV2 answers 403)",
                "allow s3:ListBucket on the bucket and look at its policy",
            )
        elif status != 200:
            self.found.problems.append(explain(error, "s3:ListObjectsV2"))

    def _write(self) -> None:
        key = f"{self.prefix}.write-probe-{uuid.uuid4().hex}"
        status, _headers, error = self._answer("put_object", Key=key, Body=b"", IfMatch=NO_OBJECT_HAS_THIS_ETAG)
        if error is not None and error_code(error) in REFUSED_BY_CONDITION:
            return
        if status == 200:
            # Not Amazon S3, which honours the condition. Leave nothing behind.
            self.client.delete_object(Bucket=self.bucket, Key=key)
        elif status == 403:
            self._refuse(
                f"writing to {self._where()} is denied (PutObject answers 403)",
                "allow s3:PutObject and s3:GetObject there, and look at the bucket's policy and key",
            )
        else:
            self.found.problems.append(explain(error, "s3:PutObject"))

    def _answer(self, operation: str, **arguments: Any) -> tuple[int | None, dict[str, str], Exception | None]:
        """HTTP status (None if S3 did not answer), headers and error of one call."""
        try:
            answer = getattr(self.client, operation)(Bucket=self.bucket, **arguments)
        except botocore.exceptions.ClientError as error:
            metadata = error.response.get("ResponseMetadata", {})
            return metadata.get("HTTPStatusCode"), metadata.get("HTTPHeaders", {}), error
        except botocore.exceptions.BotoCoreError as error:
            return None, {}, error
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["ResponseMetadata"].get("HTTPHeaders", {}), None

    def _where(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def _refuse(self, reason: str, remedy: str) -> None:
        self.found.refuse("bucket", self.bucket, reason, remedy)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "prefix": {"type": "str", "default": ""},
            "must_exist": {"type": "bool", "default": True},
            "variable_names": {"type": "dict", "default": {}},
            "variable_prefix": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    # PutObject takes IfMatch from this version on.
    module.require_botocore_at_least("1.35.69", reason="to ask for the permission to write without writing")
    probe = Probe(module.client("s3"), module.region, module.params)
    probe.run()
    if probe.found.problems:
        module.fail_json(msg=failure(probe.found.problems))
    module.exit_json(changed=False, exists=probe.exists, bucket_region=probe.bucket_region)


if __name__ == "__main__":
    main()
