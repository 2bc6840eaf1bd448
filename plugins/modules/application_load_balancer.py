#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: application_load_balancer
version_added: "0.1.0"
short_description: Make, change or remove an application load balancer with one target group
description:
  - Keeps a load balancer, its listeners, and a target group of IP addresses, all called by the same name. Nothing is
    awaited when they are made; M(mlops.mlflow_aws.application_load_balancer_info) waits.
  - The load balancer drops header fields that are not valid.
  - Everything carries its tags from its first moment, so that an interrupted run is known as ours. In check mode,
    unlike M(amazon.aws.elb_application_lb) and M(community.aws.elb_target_group), the result holds what is known.
  - Wraps C(CreateLoadBalancer), C(CreateTargetGroup), C(CreateListener) and their kin of the Elastic Load Balancing
    API, version 2.
options:
  name:
    description: Name of the load balancer and of the target group, 32 characters at most.
    type: str
    required: true
  state:
    description:
      - V(present) starts making or changing the load balancer.
      - V(absent) removes it and waits until it is gone.
    type: str
    choices: [present, absent]
    default: present
  scheme:
    description: Whether it has public addresses. AWS cannot change it.
    type: str
    choices: [internet-facing, internal]
    default: internet-facing
  vpc_id:
    description: VPC of the target group. AWS cannot change it.
    type: str
  subnet_ids:
    description: Subnets of the load balancer, in two zones at least.
    type: list
    elements: str
    default: []
  security_group_ids:
    description: Security groups of the load balancer.
    type: list
    elements: str
    default: []
  listeners:
    description: Listeners, which forward to the target group or redirect to another listener. Others are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: TCP port.
        type: int
        required: true
      protocol:
        description: Protocol.
        type: str
        choices: [HTTP, HTTPS]
        default: HTTP
      certificate_arn:
        description: ARN of the certificate, of an HTTPS listener. AWS wants it issued.
        type: str
        default: ""
      ssl_policy:
        description: Security policy, of an HTTPS listener, which decides on versions of TLS and cipher suites.
        type: str
        default: ELBSecurityPolicy-TLS13-1-2-Res-2021-06
      redirect_port:
        description:
          - Port of the HTTPS listener to which clients are redirected with status code 301, with V(0) they are not.
        type: int
        default: 0
      sign_on:
        description:
          - Where users sign on before the load balancer forwards what they ask for, on an HTTPS listener. Requests with basic
            authentication pass by a rule of their own, for the target to judge.
          - An OpenID Connect provider is given by its issuer, its endpoints and the load balancer's login at it, a Cognito user pool
            by its ARN, its app client and its domain.
          - AWS shows the client secret of a provider to nobody, so a fingerprint of it is kept as the tag C(mlflow-sign-on).
        type: dict
        suboptions:
          issuer:
            description: The provider's issuer, an HTTPS URL.
            type: str
          authorization_endpoint:
            description: Where users sign on.
            type: str
          token_endpoint:
            description: Where the load balancer gets tokens.
            type: str
          user_info_endpoint:
            description: Where the load balancer learns who somebody is.
            type: str
          client_id:
            description: ID of the load balancer at the provider.
            type: str
          client_secret:
            description: Secret of the load balancer at the provider.
            type: str
          user_pool_arn:
            description: ARN of a Cognito user pool.
            type: str
          user_pool_client_id:
            description: ID of its app client for the load balancer, which has a secret.
            type: str
          user_pool_domain:
            description: Its domain, a prefix or a domain of one's own.
            type: str
          scope:
            description: What the load balancer asks to know.
            type: str
            default: openid
          session_timeout:
            description: Seconds until users must sign on again, 1 to 604800.
            type: int
            default: 43200
  domain_name:
    description:
      - Name by which clients reach the load balancer; without one it is the load balancer's own. Redirects lead to it.
        It is kept as the tag C(mlflow-domain).
    type: str
    default: ""
  target_port:
    description: TCP port of the targets. AWS cannot change it.
    type: int
    default: 5000
  health_check_path:
    description: Path of the health check.
    type: str
    default: /health
  health_check_codes:
    description: HTTP status codes that are healthy, such as V(200) or V(200-299).
    type: str
    default: "200"
  health_check_interval:
    description: Seconds between two health checks, 5 to 300.
    type: int
    default: 10
  health_check_timeout:
    description: Seconds within which a health check must be answered.
    type: int
    default: 5
  healthy_threshold:
    description: Successful checks in a row that make a target healthy, 2 to 10.
    type: int
    default: 2
  unhealthy_threshold:
    description: Failed checks in a row that make a target unhealthy, 2 to 10.
    type: int
    default: 2
  deregistration_delay:
    description: Seconds for which a target that leaves may finish its requests, 0 to 3600.
    type: int
    default: 30
  idle_timeout:
    description: Seconds for which a connection may be silent, 1 to 4000.
    type: int
    default: 60
  desync_mitigation_mode:
    description: How requests that servers may read in different ways are treated.
    type: str
    choices: [monitor, defensive, strictest]
    default: defensive
  deletion_protection:
    description: Whether AWS refuses to delete the load balancer.
    type: bool
    default: false
  access_logs_bucket:
    description: Bucket for access logs; empty for none. Its policy must let Elastic Load Balancing write.
    type: str
    default: ""
  access_logs_prefix:
    description: Prefix of the access logs in the bucket.
    type: str
    default: ""
  delete_protected:
    description: With O(state=absent), whether to lift the deletion protection first.
    type: bool
    default: false
  wait_timeout:
    description: With O(state=absent), seconds until all is gone.
    type: int
    default: 600
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
- name: Start the load balancer
  mlops.mlflow_aws.application_load_balancer:
    name: web
    vpc_id: vpc-0a1b2c3d4e5f60718
    subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0f1e2d3c4b5a69788]
    security_group_ids: [sg-0a1b2c3d4e5f60718]
    listeners:
      - port: 80
    owner_tags:
      team: web
    tags:
      team: web

- name: Serve HTTPS, and send those who come by HTTP there
  mlops.mlflow_aws.application_load_balancer:
    name: web
    vpc_id: vpc-0a1b2c3d4e5f60718
    subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0f1e2d3c4b5a69788]
    security_group_ids: [sg-0a1b2c3d4e5f60718]
    domain_name: web.example.com
    listeners:
      - port: 443
        protocol: HTTPS
        certificate_arn: arn:aws:acm:eu-west-2:123456789012:certificate/0a1b2c3d-4e5f-6071-8a9b-0c1d2e3f4a5b
      - port: 80
        redirect_port: 443
    owner_tags:
      team: web
    tags:
      team: web
"""

RETURN = r"""
load_balancer:
  description:
    - What there is; null for what does not exist, and in check mode for what a run would create. RV(load_balancer) has
      C(origins) and C(hosts), what browsers send as Origin and clients as Host; in check mode they are those that a run
      would leave. C(access_logs) is where access logs go, such as V(s3://team-logs/web).
  returned: success
  type: dict
  sample:
    alb_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:loadbalancer/app/web/50dc6c495c0c9188
    alb_dns_name: web-1234567890.eu-west-2.elb.amazonaws.com
    domain_name: null
    alb_hosted_zone_id: ZHURV8PSTC4K8
    state: provisioning
    target_group_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:targetgroup/web/73e2d6bc24d8a067
    listener_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2
    certificate_arn: null
    access_logs: null
    tracking_uri: http://web-1234567890.eu-west-2.elb.amazonaws.com
    origins: [http://web-1234567890.eu-west-2.elb.amazonaws.com]
    hosts: [web-1234567890.eu-west-2.elb.amazonaws.com]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, elb_load_balancer, elb_rules

OIDC = ("issuer", "authorization_endpoint", "token_endpoint", "user_info_endpoint", "client_id", "client_secret")
COGNITO = ("user_pool_arn", "user_pool_client_id", "user_pool_domain")


def argument_spec() -> dict:
    sign_on = {
        **{name: {"type": "str"} for name in (*OIDC, *COGNITO)},
        "token_endpoint": {"type": "str", "no_log": False},
        "client_secret": {"type": "str", "no_log": True},
        "scope": {"type": "str", "default": "openid"},
        "session_timeout": {"type": "int", "default": 43200},
    }
    listener = {
        "port": {"type": "int", "required": True},
        "protocol": {"type": "str", "choices": ["HTTP", "HTTPS"], "default": "HTTP"},
        "certificate_arn": {"type": "str", "default": ""},
        "ssl_policy": {"type": "str", "default": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"},
        "redirect_port": {"type": "int", "default": 0},
        "sign_on": {
            "type": "dict",
            "options": sign_on,
            "required_together": [OIDC, COGNITO],
            "required_one_of": [("issuer", "user_pool_arn")],
            "mutually_exclusive": [("issuer", "user_pool_arn")],
        },
    }
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "scheme": {"type": "str", "choices": ["internet-facing", "internal"], "default": "internet-facing"},
        "vpc_id": {"type": "str"},
        "subnet_ids": {"type": "list", "elements": "str", "default": []},
        "security_group_ids": {"type": "list", "elements": "str", "default": []},
        "listeners": {"type": "list", "elements": "dict", "default": [], "options": listener},
        "domain_name": {"type": "str", "default": ""},
        "target_port": {"type": "int", "default": 5000},
        "health_check_path": {"type": "str", "default": "/health"},
        "health_check_codes": {"type": "str", "default": "200"},
        "health_check_interval": {"type": "int", "default": 10},
        "health_check_timeout": {"type": "int", "default": 5},
        "healthy_threshold": {"type": "int", "default": 2},
        "unhealthy_threshold": {"type": "int", "default": 2},
        "deregistration_delay": {"type": "int", "default": 30},
        "idle_timeout": {"type": "int", "default": 60},
        "desync_mitigation_mode": {
            "type": "str",
            "choices": ["monitor", "defensive", "strictest"],
            "default": "defensive",
        },
        "deletion_protection": {"type": "bool", "default": False},
        "access_logs_bucket": {"type": "str", "default": ""},
        "access_logs_prefix": {"type": "str", "default": ""},
        "delete_protected": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 600},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule) -> None:
    domain_name = module.params["domain_name"]
    domain = {elb_rules.DOMAIN_TAG: domain_name} if domain_name else {}
    params = dict(module.params, tags=aws_changes.text_tags(module.params["tags"]) | domain)
    found = elb_load_balancer.LoadBalancer(elb_load_balancer.connect(module), params["name"])
    found.find()
    found.check_owner(aws_changes.text_tags(params["owner_tags"]))
    if params["state"] == "present":
        changes = found.plan_present(params)
    else:
        changes = found.plan_absent(params["delete_protected"], params["wait_timeout"])
    if changes and not module.check_mode:
        changes.apply()
        found.find()
    predicting = module.check_mode and params["state"] == "present"
    told = found.predicted(params) if predicting else found.summary()
    module.exit_json(changed=bool(changes), load_balancer=told, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    name = module.params["name"]
    with aws_changes.one_line_failures(module, "elasticloadbalancing", f"Load balancer {name}"):
        run(module)


if __name__ == "__main__":
    main()
