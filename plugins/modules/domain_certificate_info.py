#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: domain_certificate_info
version_added: "0.1.0"
short_description: Look at a certificate in Certificate Manager, or wait until it is issued
description:
  - Finds the certificate with an ARN, or the newest one that carries tags. A missing one is no error.
  - Wraps C(ListCertificates), C(ListTagsForCertificate) and C(DescribeCertificate) of Certificate Manager.
options:
  certificate_arn:
    description: ARN of the certificate; when empty it is found by O(owner_tags).
    type: str
    default: ""
  owner_tags:
    description: Tags that the certificate carries.
    type: dict
    default: {}
  wait:
    description: Whether to wait until the certificate is issued. Check mode does not wait.
    type: bool
    default: false
  wait_timeout:
    description: Seconds until the certificate must be issued.
    type: int
    default: 900
extends_documentation_fragment:
  - mlops.mlflow_aws.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Wait until the certificate is issued
  mlops.mlflow_aws.domain_certificate_info:
    owner_tags:
      team: web
    wait: true
    wait_timeout: 1800
"""

RETURN = r"""
certificate:
  description: The certificate; null for what does not exist.
  returned: success
  type: dict
  sample:
    certificate_arn: arn:aws:acm:eu-west-2:123456789012:certificate/0a1b2c3d-4e5f-6071-8a9b-0c1d2e3f4a5b
    status: ISSUED
    names: [mlflow.example.com]
    not_after: "2027-12-23T12:00:00+00:00"
    validation_records: []
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, domain_certificates


def run(module: AnsibleAWSModule) -> None:
    acm, arn = domain_certificates.connect(module), module.params["certificate_arn"]
    if arn:
        found = domain_certificates.find(acm, arn)
    else:
        newest = domain_certificates.ours(acm, aws_changes.text_tags(module.params["owner_tags"]))
        found = newest[0] if newest else None
    if module.params["wait"] and not module.check_mode:
        if found is None:
            raise ValueError(f"Certificate {arn or 'with these tags'}: there is none to wait for; deploy it first")
        found = domain_certificates.await_issued(acm, found["CertificateArn"], module.params["wait_timeout"])
    module.exit_json(changed=False, certificate=domain_certificates.summary(found))


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "certificate_arn": {"type": "str", "default": ""},
            "owner_tags": {"type": "dict", "default": {}},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    if not module.params["certificate_arn"] and not module.params["owner_tags"]:
        module.fail_json(msg="certificate_arn and owner_tags are both empty: nothing says which certificate; give one")
    with aws_changes.one_line_failures(module, "acm", "Certificate"):
        run(module)


if __name__ == "__main__":
    main()
