#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: domain_alias_record
version_added: "0.1.0"
short_description: Let a name in Route 53 lead to a load balancer
description:
  - Keeps an alias record of type A. Records carry no tags, so one that leads elsewhere counts as somebody else's and is
    refused, unless O(replace) says otherwise; and only a record that leads to the load balancer is removed.
  - In check mode, unlike with M(amazon.aws.route53), the zone may be as empty as it likes.
  - Wraps C(ListResourceRecordSets) and C(ChangeResourceRecordSets) of Route 53.
options:
  name:
    description: Name of the record.
    type: str
    required: true
  hosted_zone_id:
    description: Hosted zone of the record; when empty the public one of this account that answers for O(name).
    type: str
    default: ""
  state:
    description: Whether there is a record that leads to the load balancer.
    type: str
    choices: [present, absent]
    default: present
  load_balancer_dns_name:
    description: DNS name of the load balancer; empty in check mode, where it does not exist yet.
    type: str
    default: ""
  load_balancer_hosted_zone_id:
    description: ID of the hosted zone that AWS has for load balancers of the region, as DescribeLoadBalancers tells it.
    type: str
    default: ""
  replace:
    description: Whether a record that leads elsewhere is replaced.
    type: bool
    default: false
extends_documentation_fragment:
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Let mlflow.example.com lead to the load balancer
  mlops.mlflow_aws.domain_alias_record:
    name: mlflow.example.com
    hosted_zone_id: Z0123456789ABCDEFGHIJ
    load_balancer_dns_name: web-1234567890.eu-west-2.elb.amazonaws.com
    load_balancer_hosted_zone_id: ZHURV8PSTC4K8
"""

RETURN = r"""
target:
  description: Where the record leads, null if there is none.
  returned: success
  type: str
  sample: alias of web-1234567890.eu-west-2.elb.amazonaws.com
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_changes,
    domain_certificates,
    domain_records,
)


def plan(zone: domain_records.Zone | None, params: dict[str, Any], changes: aws_changes.Changes) -> None:
    """ValueError if the record is not ours to change."""
    name = params["name"]
    if zone is None:
        if params["state"] == "present":
            raise ValueError(f"Record {name}: no public hosted zone of this account answers for it; give hosted_zone_id")
        return
    record = zone.record(name, "A")
    wanted = domain_records.alias(name, params["load_balancer_dns_name"], params["load_balancer_hosted_zone_id"])
    before, after = domain_records.target(record), domain_records.target(wanted)
    if params["state"] == "absent":
        if before == after:
            changes.want(f"record {name}", before, None, lambda: zone.change("DELETE", record))
        return
    if before not in (None, after) and not params["replace"]:
        raise ValueError(
            f"Record {name}: it leads elsewhere ({before}), so it is not ours to touch; remove it, or set"
            " tls_replace_record=true"
        )
    changes.want(f"record {name}", before, after, lambda: zone.change("UPSERT", wanted))


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "hosted_zone_id": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "load_balancer_dns_name": {"type": "str", "default": ""},
            "load_balancer_hosted_zone_id": {"type": "str", "default": ""},
            "replace": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    route53 = domain_certificates.connect(module, "route53")
    changes = aws_changes.Changes()
    with aws_changes.one_line_failures(module, "route53", f"Record {module.params['name']}"):
        zone = domain_records.Zones(route53, module.params["hosted_zone_id"]).of(module.params["name"])
        plan(zone, module.params, changes)
        if changes and not module.check_mode:
            changes.apply()
        found = domain_records.target(zone.record(module.params["name"], "A")) if zone else None
    module.exit_json(changed=bool(changes), target=found, diff=changes.diff)


if __name__ == "__main__":
    main()
