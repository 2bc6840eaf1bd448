#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: domain_certificate
version_added: "0.1.0"
short_description: Keep the certificate of a domain in Certificate Manager
description:
  - Requests a certificate and writes the records that prove the domain into a hosted zone, or imports a certificate.
    Waits for nothing; M(mlops.mlflow_aws.domain_certificate_info) does.
  - The certificate is known again by its tags. A certificate for other names is requested beside it, because AWS cannot
    change one; O(state=current) removes what is not in use any more.
  - An imported certificate keeps its ARN when it is replaced, so that load balancers show the new one by themselves.
  - Wraps C(RequestCertificate), C(ImportCertificate), C(DeleteCertificate) and their kin of Certificate Manager, and
    C(ChangeResourceRecordSets) of Route 53.
options:
  domain_name:
    description: Name that the certificate is for.
    type: str
    required: true
  alternative_names:
    description: Other names that it is for; a wildcard may stand for the first label.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) requests or imports the certificate.
      - V(current) removes the certificates that it has replaced, where no listener uses them.
      - V(absent) removes all that carry O(owner_tags), and their validation records.
    type: str
    choices: [present, current, absent]
    default: present
  hosted_zone_id:
    description:
      - Hosted zone into which the records go that prove the domain. When empty, RV(certificate) tells
        what to write elsewhere.
      - Records are removed from this zone, or when empty from the zones of this account that answer for their names.
    type: str
    default: ""
  certificate:
    description: Certificate in PEM, to be imported instead of requested.
    type: str
    default: ""
  private_key:
    description: Private key of O(certificate) in PEM, without a passphrase.
    type: str
    default: ""
  certificate_chain:
    description: Certificates in PEM that lead from O(certificate) to its authority.
    type: str
    default: ""
  wait_timeout:
    description: With O(state=absent), seconds until AWS no longer counts a certificate as in use.
    type: int
    default: 600
attributes:
  check_mode:
    description: Predicts exactly what a run would change.
    support: full
  diff_mode:
    description: Shows what changes, before and after; of an imported certificate its SHA-256 fingerprint.
    support: full
  idempotent:
    description: Writes nothing when all is as asked for.
    support: full
requirements:
  - cryptography, to import a certificate
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Request a certificate and prove the domain
  mlops.mlflow_aws.domain_certificate:
    domain_name: mlflow.example.com
    hosted_zone_id: Z0123456789ABCDEFGHIJ
    owner_tags:
      team: web
    tags:
      team: web

- name: Wait until it is issued
  mlops.mlflow_aws.domain_certificate_info:
    owner_tags:
      team: web
    wait: true
"""

RETURN = r"""
certificate:
  description: The certificate; null for what does not exist, and in check mode for what a run would create.
  returned: success
  type: dict
  sample:
    certificate_arn: arn:aws:acm:eu-west-2:123456789012:certificate/0a1b2c3d-4e5f-6071-8a9b-0c1d2e3f4a5b
    status: PENDING_VALIDATION
    names: [mlflow.example.com]
    not_after: null
    validation_records:
      - name: _0a1b2c3d4e5f60718a9b0c1d2e3f4a5b.mlflow.example.com
        value: _b5a4f3e2d1c0b9a8.xlfgrmvvlj.acm-validations.aws
"""

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, domain_certificates, domain_pem


def run(module: AnsibleAWSModule) -> None:
    keeper = domain_certificates.Keeper(module)
    keeper.find()
    state = module.params["state"]
    changes = keeper.plan_present() if state == "present" else keeper.plan_absent(keep_current=state == "current")
    if changes and not module.check_mode:
        changes.apply()
        keeper.find()
    module.exit_json(
        changed=bool(changes), certificate=domain_certificates.summary(keeper.current), diff=changes.diff
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "domain_name": {"type": "str", "required": True},
            "alternative_names": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "current", "absent"], "default": "present"},
            "hosted_zone_id": {"type": "str", "default": ""},
            "certificate": {"type": "str", "default": ""},
            "private_key": {"type": "str", "default": "", "no_log": True},
            "certificate_chain": {"type": "str", "default": ""},
            "wait_timeout": {"type": "int", "default": 600},
            "tags": {"type": "dict", "default": {}},
            "owner_tags": {"type": "dict", "required": True},
        },
        required_together=[("certificate", "private_key")],
        supports_check_mode=True,
    )
    if module.params["certificate"] and not domain_pem.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"))
    with aws_changes.one_line_failures(module, "acm", f"Certificate of {module.params['domain_name']}"):
        run(module)


if __name__ == "__main__":
    main()
