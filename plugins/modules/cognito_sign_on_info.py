#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cognito_sign_on_info
version_added: "0.1.0"
short_description: Look at a Cognito user pool at which a load balancer signs users on
description:
  - Finds the pool that M(mlops.mlflow_aws.cognito_sign_on) keeps under a name, or looks at one that is given and refuses what a load
    balancer could not sign users on with, before anything is written.
options:
  name:
    description: Name of a pool that M(mlops.mlflow_aws.cognito_sign_on) keeps.
    type: str
  owner_tags:
    description: Tags that the pool called O(name) must carry.
    type: dict
    default: {}
  user_pool_arn:
    description: ARN of a pool that somebody else keeps.
    type: str
  client_id:
    description: ID of its app client for the load balancer.
    type: str
    default: ""
  domain:
    description: Its domain, a prefix or a domain of one's own.
    type: str
    default: ""
  address:
    description: Host, or host and port, by which browsers come to the load balancer; empty if it is not known.
    type: str
    default: ""
  scope:
    description: What is asked to be known of users; V(openid) is part of it.
    type: str
    default: openid email
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: See to it that a load balancer can sign users on at the company's pool
  mlops.mlflow_aws.cognito_sign_on_info:
    user_pool_arn: arn:aws:cognito-idp:eu-west-2:123456789012:userpool/eu-west-2_AbCdEfGhI
    client_id: 1h57kf5cpq17m0eml12EXAMPLE
    domain: login.example.com
    address: web.example.com
"""

RETURN = r"""
sign_on:
  description: What a listener needs to know; null for what does not exist.
  returned: success
  type: dict
  sample:
    user_pool_arn: arn:aws:cognito-idp:eu-west-2:123456789012:userpool/eu-west-2_AbCdEfGhI
    user_pool_client_id: 1h57kf5cpq17m0eml12EXAMPLE
    user_pool_domain: login.example.com
"""

import re

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, cognito_pools, cognito_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure

ARN = re.compile(r"arn:[\w-]+:cognito-idp:(?P<region>[\w-]+):\d{12}:userpool/(?P<pool_id>[\w-]+)")


def given(module: AnsibleAWSModule) -> dict:
    """A pool of somebody else's, with its client and domain."""
    params, found = module.params, Findings(prefix="cognito_")
    arn = ARN.fullmatch(params["user_pool_arn"])
    if arn is None:
        found.refuse("user_pool_arn", params["user_pool_arn"], "it is not the ARN of a user pool", "copy it from Cognito")
    elif arn["region"] != module.region:
        found.refuse(
            "user_pool_arn", params["user_pool_arn"], f"the pool is in {arn['region']}, the deployment in {module.region}",
            f"give a pool in {module.region}",
        )  # fmt: skip
    for name in ("client_id", "domain"):
        if not params[name]:
            found.refuse(name, "", "it is empty", "give all three of a user pool: ARN, app client ID and domain")
    if arn is None or found.problems:
        module.fail_json(msg=failure(found.problems))
        return {}
    cognito = cognito_pools.connect(module)
    try:
        pool = cognito.describe_user_pool(UserPoolId=arn["pool_id"], aws_retry=True)["UserPool"]
    except is_boto3_error_code("ResourceNotFoundException"):
        raise ValueError(f"cognito_user_pool_arn = '{params['user_pool_arn']}': there is no such pool; correct it") from None
    try:
        client = cognito_pools.described_client(cognito, arn["pool_id"], params["client_id"])
    except is_boto3_error_code("ResourceNotFoundException"):
        raise ValueError(
            f"cognito_client_id = '{params['client_id']}': the user pool has no such app client; correct it"
        ) from None
    cognito_rules.check_given(params, pool, client, found)
    if found.problems:
        module.fail_json(msg=failure(found.problems))
    return cognito_rules.summary(pool, client, params["domain"])


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    if params["user_pool_arn"]:
        module.exit_json(changed=False, sign_on=given(module))
        return
    found = cognito_pools.UserPool(
        cognito_pools.connect(module), params["name"], aws_changes.text_tags(params["owner_tags"])
    )
    found.find()
    module.exit_json(changed=False, sign_on=found.summary())


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str"},
            "owner_tags": {"type": "dict", "default": {}},
            "user_pool_arn": {"type": "str"},
            "client_id": {"type": "str", "default": ""},
            "domain": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "scope": {"type": "str", "default": "openid email"},
        },
        mutually_exclusive=[("name", "user_pool_arn")],
        required_one_of=[("name", "user_pool_arn")],
        supports_check_mode=True,
    )
    what = module.params["user_pool_arn"] or module.params["name"]
    with aws_changes.one_line_failures(module, "cognito-idp", f"User pool {what}"):
        run(module)


if __name__ == "__main__":
    main()
