#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: oidc_provider_info
version_added: "0.1.0"
short_description: Ask an OpenID Connect provider where users sign on
description:
  - Reads the provider's C(/.well-known/openid-configuration) and refuses what a load balancer could not sign users on
    with, before anything is written. Endpoints that are given are not asked for.
options:
  issuer:
    description: The provider's issuer, such as V(https://accounts.google.com) or V(https://example.eu.auth0.com/).
    type: str
    required: true
  client_id:
    description: ID of the load balancer at the provider.
    type: str
    required: true
  client_secret:
    description: Secret of the load balancer at the provider.
    type: str
    required: true
  scope:
    description: What is asked to be known of users; V(openid) is part of it.
    type: str
    default: openid
  session_timeout:
    description: Seconds until users must sign on again, 1 to 604800.
    type: int
    default: 43200
  authorization_endpoint:
    description: Where users sign on; empty to ask the provider.
    type: str
    default: ""
  token_endpoint:
    description: Where tokens are given; empty to ask the provider.
    type: str
    default: ""
  user_info_endpoint:
    description: Where it is told who somebody is; empty to ask the provider.
    type: str
    default: ""
  ca_path:
    description: File with the certificates, in PEM, that the provider's certificate is checked against.
    type: path
  timeout:
    description: Seconds within which the provider must answer.
    type: int
    default: 15
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Ask Google where users sign on
  mlops.mlflow_aws.oidc_provider_info:
    issuer: https://accounts.google.com
    client_id: 0123456789-web.apps.googleusercontent.com
    client_secret: "{{ sign_on_client_secret }}"
    scope: openid email
"""

RETURN = r"""
provider:
  description: What a listener needs to know, but for the client secret.
  returned: success
  type: dict
  sample:
    issuer: https://accounts.google.com
    authorization_endpoint: https://accounts.google.com/o/oauth2/v2/auth
    token_endpoint: https://oauth2.googleapis.com/token
    user_info_endpoint: https://openidconnect.googleapis.com/v1/userinfo
    client_id: 0123456789-web.apps.googleusercontent.com
    scope: openid email
    session_timeout: 43200
"""

import json
import urllib.error
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as NoConnection
from ansible.module_utils.urls import SSLValidationError, open_url
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure, one_line

# Option to its name in OpenID Connect Discovery 1.0, section 3.
ENDPOINTS = {
    "authorization_endpoint": "authorization_endpoint",
    "token_endpoint": "token_endpoint",
    "user_info_endpoint": "userinfo_endpoint",
}
LONGEST_SESSION_SECONDS = 604800


def check_given(params: dict, found: Findings) -> None:
    for name in ("issuer", *ENDPOINTS):
        if params[name] and (urlsplit(params[name]).scheme != "https" or not urlsplit(params[name]).hostname):
            found.refuse(name, params[name], "load balancers take HTTPS URLs only", "give one that begins with https://")
    for name in ("client_id", "client_secret"):
        if not params[name]:
            found.refuse(name, "", "it is empty", "register an application at the provider, and give what it tells")
    if "openid" not in params["scope"].split():
        found.refuse("scope", params["scope"], "it does not hold openid", "write it like 'openid email'")
    if not 1 <= params["session_timeout"] <= LONGEST_SESSION_SECONDS:
        found.refuse(
            "session_timeout", params["session_timeout"], f"AWS takes 1 to {LONGEST_SESSION_SECONDS} seconds",
            "give a number between them",
        )  # fmt: skip


def discover(params: dict, found: Findings) -> dict[str, str]:
    """The provider's endpoints by option; {} after a problem was noted."""
    url = params["issuer"].rstrip("/") + "/.well-known/openid-configuration"
    remedy = "correct the issuer, or give the three endpoints"
    try:
        answer = open_url(url, ca_path=params["ca_path"], timeout=params["timeout"], follow_redirects="safe")
        told = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        found.refuse("issuer", params["issuer"], f"{url} answers {error.code}", remedy)
        return {}
    except (OSError, NoConnection, SSLValidationError) as error:
        found.refuse("issuer", params["issuer"], f"{url} cannot be reached ({one_line(error)})", remedy)
        return {}
    except ValueError:
        told = None
    if not isinstance(told, dict):
        found.refuse("issuer", params["issuer"], f"{url} is no JSON object", remedy)
        return {}
    if told.get("issuer") != params["issuer"]:
        found.refuse(
            "issuer", params["issuer"], f"the provider calls itself {told.get('issuer')!r}", "give exactly that"
        )
        return {}
    missing = [name for name in ENDPOINTS.values() if not str(told.get(name, "")).startswith("https://")]
    if missing:
        found.refuse("issuer", params["issuer"], f"it tells no {' and no '.join(missing)}", remedy)
        return {}
    return {option: told[name] for option, name in ENDPOINTS.items()}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "issuer": {"type": "str", "required": True},
            "client_id": {"type": "str", "required": True},
            "client_secret": {"type": "str", "required": True, "no_log": True},
            "scope": {"type": "str", "default": "openid"},
            "session_timeout": {"type": "int", "default": 43200},
            "authorization_endpoint": {"type": "str", "default": ""},
            "token_endpoint": {"type": "str", "default": "", "no_log": False},
            "user_info_endpoint": {"type": "str", "default": ""},
            "ca_path": {"type": "path"},
            "timeout": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    params = module.params
    found = Findings(prefix="sign_on_")
    check_given(params, found)
    endpoints = {name: params[name] for name in ENDPOINTS}
    if not all(endpoints.values()) and not found.problems:
        endpoints = {**discover(params, found), **{name: url for name, url in endpoints.items() if url}}
    if found.problems:
        module.fail_json(msg=failure(found.problems))
    kept = {name: params[name] for name in ("issuer", "client_id", "scope", "session_timeout")}
    module.exit_json(changed=False, provider={**kept, **endpoints})


if __name__ == "__main__":
    main()
