#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cognito_sign_on
version_added: "0.1.0"
short_description: Keep a Cognito user pool at which a load balancer signs users on
description:
  - Keeps a user pool, an app client with a secret for the load balancer, and the domain of Cognito's sign-in pages. Client and domain
    belong to the pool and carry no tags of their own.
  - Only administrators make users, who sign in with their e-mail address. A password has capitals, small letters, digits and symbols.
  - The client secret stays between AWS and this process; a load balancer gets it from Cognito by itself.
  - What the options do not speak of, such as the texts of messages, stays as somebody has set it.
  - Only a pool that carries the owner's tags is touched. Wraps C(CreateUserPool), C(CreateUserPoolClient), C(CreateUserPoolDomain),
    C(SetUserPoolMfaConfig) and their kin of Amazon Cognito.
options:
  name:
    description: Name of the user pool and of its app client.
    type: str
    required: true
  state:
    description:
      - V(present) keeps pool, client and domain as told.
      - V(absent) removes all three, and with them the users of the pool.
    type: str
    choices: [present, absent]
    default: present
  domain_prefix:
    description:
      - Beginning of the domain of the sign-in pages, C(https://<prefix>.auth.<region>.amazoncognito.com). Nobody else may have it in the
        region, and V(aws), V(amazon) and V(cognito) are no part of it.
      - Needed with O(state=present).
    type: str
  address:
    description:
      - Host, or host and port, by which browsers come to the load balancer, such as V(mlflow.example.com) or V(mlflow.example.com:8443).
      - Needed with O(state=present).
    type: str
  scope:
    description: What the load balancer may ask to know of users; V(openid) is part of it.
    type: str
    default: openid email
  identity_providers:
    description: Where users sign on, V(COGNITO) for the pool itself, or names of providers that the pool has.
    type: list
    elements: str
    default: [COGNITO]
  password_min_length:
    description: Characters of a password at least, 8 to 99.
    type: int
    default: 14
  mfa:
    description:
      - Whether users give a code of an authenticator app besides. With V(on) all must, with V(optional) those who have registered one.
    type: str
    choices: ["off", "optional", "on"]
    default: "off"
  deletion_protection:
    description: Whether AWS refuses to delete the pool.
    type: bool
    default: true
  delete_protected:
    description: With O(state=absent), whether to lift the deletion protection first.
    type: bool
    default: false
  wait_timeout:
    description: Seconds until a new domain must be active.
    type: int
    default: 120
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Let people sign on at a user pool
  mlops.mlflow_aws.cognito_sign_on:
    name: web
    domain_prefix: web-example
    address: web.example.com
    mfa: "on"
    tags:
      team: web
    owner_tags:
      team: web

- name: Remove the pool and its users
  mlops.mlflow_aws.cognito_sign_on:
    name: web
    state: absent
    delete_protected: true
    owner_tags:
      team: web
"""

RETURN = r"""
sign_on:
  description: What a listener needs to know; null for what does not exist, and in check mode for what a run would make.
  returned: success
  type: dict
  sample:
    user_pool_arn: arn:aws:cognito-idp:eu-west-2:123456789012:userpool/eu-west-2_AbCdEfGhI
    user_pool_client_id: 1h57kf5cpq17m0eml12EXAMPLE
    user_pool_domain: web-example
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, cognito_pools, cognito_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure


def argument_spec() -> dict:
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "domain_prefix": {"type": "str"},
        "address": {"type": "str"},
        "scope": {"type": "str", "default": "openid email"},
        "identity_providers": {"type": "list", "elements": "str", "default": ["COGNITO"]},
        "password_min_length": {"type": "int", "default": 14, "no_log": False},
        "mfa": {"type": "str", "choices": ["off", "optional", "on"], "default": "off"},
        "deletion_protection": {"type": "bool", "default": True},
        "delete_protected": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 120},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule) -> None:
    params = dict(module.params, tags=aws_changes.text_tags(module.params["tags"]))
    present = params["state"] == "present"
    if present:
        problems = Findings(prefix="cognito_")
        cognito_rules.check_wanted(params, problems)
        if problems.problems:
            module.fail_json(msg=failure(problems.problems))
    cognito, owner_tags = cognito_pools.connect(module), aws_changes.text_tags(params["owner_tags"])
    found = cognito_pools.UserPool(cognito, params["name"], owner_tags)
    found.find()
    if present:
        found.check_domain(params["domain_prefix"])
    changes = found.plan_present(params) if present else found.plan_absent(params["delete_protected"])
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    told = found.summary()
    if module.check_mode and present:
        told["user_pool_domain"] = params["domain_prefix"]
    module.exit_json(changed=bool(changes), sign_on=told, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ("domain_prefix", "address"))],
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "cognito-idp", f"User pool {module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
