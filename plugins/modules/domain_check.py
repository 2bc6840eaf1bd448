#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: domain_check
version_added: "0.1.0"
short_description: Check a domain, its hosted zone and its certificate before anything is written
description:
  - Reports every problem at once, each as one line with the variable, its value, the reason and the remedy.
  - Wraps C(ListHostedZones) of Route 53 and C(DescribeCertificate) of Certificate Manager.
options:
  domain_name:
    description: Name by which clients reach the load balancer; empty if the certificate is all there is.
    type: str
    default: ""
  alternative_names:
    description: Other names of a certificate to be requested.
    type: list
    elements: str
    default: []
  hosted_zone_id:
    description: Hosted zone of the domain; when empty it is found by the name.
    type: str
    default: ""
  zone_needed:
    description: Whether records are to be written.
    type: bool
    default: true
  certificate_arn:
    description: ARN of a certificate that exists, instead of one that is requested or imported.
    type: str
    default: ""
  certificate:
    description: Certificate in PEM, to be imported.
    type: str
    default: ""
  private_key:
    description: Private key of O(certificate) in PEM.
    type: str
    default: ""
  variable_names:
    description: What to call options in messages, as option to variable.
    type: dict
    default: {}
  variable_prefix:
    description: What to put before the name of every other option in messages.
    type: str
    default: ""
requirements:
  - cryptography, to check a certificate that is to be imported
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Check the domain
  mlops.mlflow_aws.domain_check:
    domain_name: mlflow.example.com
  register: domain
"""

RETURN = r"""
hosted_zone_id:
  description: The hosted zone to use, null if no records are to be written.
  returned: success
  type: str
  sample: Z0123456789ABCDEFGHIJ
"""

import datetime

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    domain_certificates,
    domain_names,
    domain_pem,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure


def check_given(module: AnsibleAWSModule, findings: Findings) -> None:
    """A certificate that exists: in this region, issued, for this name."""
    arn = module.params["certificate_arn"]
    parts = arn.split(":")
    if len(parts) != 6 or parts[2] != "acm" or not parts[5].startswith("certificate/"):
        findings.refuse(
            "certificate_arn", arn, "it is no ARN of a certificate", "copy it from Certificate Manager (arn:aws:acm:...)"
        )
        return
    if parts[3] != module.region:
        findings.refuse(
            "certificate_arn", arn, f"it is in {parts[3]}, load balancers take those of their own region",
            f"give one of {module.region}",
        )  # fmt: skip
        return
    found = domain_certificates.find(domain_certificates.connect(module), arn)
    if found is None:
        findings.refuse("certificate_arn", arn, "this account has no such certificate", "copy its ARN again")
        return
    if found["Status"] not in (domain_certificates.USABLE, "EXPIRED"):
        findings.refuse(
            "certificate_arn", arn, f"its status is {found['Status']}, load balancers take issued ones",
            "complete its validation first",
        )  # fmt: skip
        return
    names = found.get("SubjectAlternativeNames") or [found["DomainName"]]
    domain_names.check_certificate(
        "certificate_arn", arn, names, found["NotBefore"], found["NotAfter"], module.params["domain_name"],
        datetime.datetime.now(datetime.timezone.utc), findings,
    )  # fmt: skip


def check_imported(module: AnsibleAWSModule, findings: Findings) -> None:
    if not domain_pem.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"))
    pem, shown = module.params["certificate"], "-----BEGIN CERTIFICATE-----..."
    try:
        found = domain_pem.read(pem)
    except ValueError:
        findings.refuse("certificate", shown, "it is no certificate in PEM", "give the content of the .pem or .crt file")
        return
    domain_names.check_certificate(
        "certificate", shown, found.names, found.begins, found.ends, module.params["domain_name"],
        datetime.datetime.now(datetime.timezone.utc), findings,
    )  # fmt: skip
    try:
        belongs = domain_pem.key_belongs(pem, module.params["private_key"])
    except ValueError as error:
        findings.refuse("private_key", "(not shown)", str(error), "give the key that the certificate was made with")
        return
    if not belongs:
        findings.refuse("private_key", "(not shown)", "it is not the key of the certificate", "give the key that is")


def run(module: AnsibleAWSModule) -> None:
    params = module.params
    findings = Findings(params["variable_names"], params["variable_prefix"])
    if params["domain_name"]:
        domain_names.check_names(params["domain_name"], params["alternative_names"], findings)
    zone_id = None
    if params["zone_needed"] and params["domain_name"] and not findings.problems:
        route53 = domain_certificates.connect(module, "route53")
        zones = route53.get_paginator("list_hosted_zones").paginate().build_full_result()["HostedZones"]
        names = [params["domain_name"]]
        if not params["certificate_arn"] and not params["certificate"]:
            names += params["alternative_names"]
        zone_id = domain_names.check_zone(params["domain_name"], names, params["hosted_zone_id"], zones, findings)
    if params["certificate_arn"] and params["certificate"]:
        findings.refuse(
            "certificate_arn", params["certificate_arn"], "a certificate to import is given too", "give one of them"
        )
    elif params["certificate_arn"]:
        check_given(module, findings)
    elif params["certificate"]:
        check_imported(module, findings)
    if findings.problems:
        module.fail_json(msg=failure(findings.problems))
    module.exit_json(changed=False, hosted_zone_id=zone_id)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "domain_name": {"type": "str", "default": ""},
            "alternative_names": {"type": "list", "elements": "str", "default": []},
            "hosted_zone_id": {"type": "str", "default": ""},
            "zone_needed": {"type": "bool", "default": True},
            "certificate_arn": {"type": "str", "default": ""},
            "certificate": {"type": "str", "default": ""},
            "private_key": {"type": "str", "default": "", "no_log": True},
            "variable_names": {"type": "dict", "default": {}},
            "variable_prefix": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    with aws_changes.one_line_failures(module, "route53", f"Domain {module.params['domain_name']}"):
        run(module)


if __name__ == "__main__":
    main()
