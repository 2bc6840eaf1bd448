#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: waf_web_acl
version_added: "0.1.0"
short_description: Protect a load balancer by a web ACL of AWS WAF
description:
  - Keeps a regional web ACL of a rate limit and of AWS's managed rule groups, its association with one Application Load
    Balancer and the log of the requests that it blocks. Requests that no rule blocks are allowed.
  - In the log, and nowhere else, requests can be read. Headers by which somebody could log in are redacted there, and samples of
    requests, in which they are not, are switched off.
  - Unlike M(community.aws.wafv2_web_acl) it predicts in check mode exactly what a run would change, and touches only web ACLs that
    carry the owner's tags.
  - Wraps C(CreateWebACL), C(UpdateWebACL), C(DeleteWebACL), C(AssociateWebACL), C(DisassociateWebACL),
    C(PutLoggingConfiguration) and the tagging of AWS WAF.
options:
  name:
    description: Name of the web ACL.
    type: str
    required: true
  state:
    description:
      - V(present) keeps the web ACL as told.
      - V(absent) takes it from what it protects and deletes it.
    type: str
    choices: [present, absent]
    default: present
  load_balancer_arn:
    description:
      - ARN of the load balancer that it protects; empty for none yet.
      - A load balancer that a web ACL of somebody else protects is refused.
    type: str
    default: ""
  rate_limit:
    description:
      - Requests in five minutes, V(10) to V(2000000000), above which an address is blocked until it sends fewer; V(0) for no limit.
      - All clients behind one NAT gateway or proxy have one address.
    type: int
    default: 0
  managed_rule_groups:
    description: AWS's rule groups, in the order in which requests meet them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group, such as V(AWSManagedRulesCommonRuleSet).
        type: str
        required: true
      counted_rules:
        description: Rules of the group that count requests instead of blocking them.
        type: list
        elements: str
        default: []
  log_group_arn:
    description:
      - ARN of the log group, whose name begins with V(aws-waf-logs-), for the blocked requests; empty for no log.
    type: str
    default: ""
extends_documentation_fragment:
  - mlops.mlflow_aws.owned
  - mlops.mlflow_aws.planned
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The mlops.mlflow_aws contributors (@mlops)
"""

EXAMPLES = r"""
- name: Protect the web servers
  mlops.mlflow_aws.waf_web_acl:
    name: web
    load_balancer_arn: arn:aws:elasticloadbalancing:eu-west-2:123456789012:loadbalancer/app/web/73e2d6bc24d8a067
    rate_limit: 2000
    managed_rule_groups:
      - name: AWSManagedRulesAmazonIpReputationList
      - name: AWSManagedRulesCommonRuleSet
        counted_rules: [SizeRestrictions_BODY]
    tags:
      team: web
    owner_tags:
      team: web
"""

RETURN = r"""
web_acl_arn:
  description: ARN of the web ACL; null when it is absent or, in check mode, yet to be made.
  returned: success
  type: str
  sample: arn:aws:wafv2:eu-west-2:123456789012:regional/webacl/web/1c5d1f2e-7a3b-4a52-9a3c-0d2f6c1b8e47
"""

import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, waf_rules

SCOPE = "REGIONAL"
# "AWS WAF couldn't retrieve a resource that you specified": it has just been made.
PASSING = ["WAFUnavailableEntityException", "WAFTagOperationException"]


class WebAcl:
    """The web ACL as AWS has it, what it protects and its log."""

    def __init__(self, waf: t.Any, params: dict[str, t.Any]) -> None:
        self._waf = waf
        self.params = params
        self.arn: str | None = None
        self.found: dict[str, t.Any] | None = None
        self.tags: dict[str, str] = {}
        self.log: dict[str, t.Any] | None = None
        self.protects: list[str] = []
        # Of the load balancer asked for: the ARN of the web ACL that protects it.
        self.protector: str | None = None

    def find(self) -> None:
        summary = next((one for one in self._listed() if one["Name"] == self.params["name"]), None)
        if self.params["load_balancer_arn"]:
            self.protector = self._protector(self.params["load_balancer_arn"])
        if summary is None:
            return
        self.arn = summary["ARN"]
        answer = self._waf.get_web_acl(Name=summary["Name"], Id=summary["Id"], Scope=SCOPE, aws_retry=True)
        self.found = {**answer["WebACL"], "LockToken": answer["LockToken"]}
        listed = self._waf.list_tags_for_resource(ResourceARN=self.arn, aws_retry=True)
        self.tags = boto3_tag_list_to_ansible_dict(listed["TagInfoForResource"]["TagList"])
        self.log = self._logging()
        self.protects = self._waf.list_resources_for_web_acl(
            WebACLArn=self.arn, ResourceType="APPLICATION_LOAD_BALANCER", aws_retry=True
        )["ResourceArns"]

    def _listed(self) -> t.Iterator[dict[str, t.Any]]:
        # No paginator in botocore.
        more: dict[str, str] = {}
        while True:
            page = self._waf.list_web_acls(Scope=SCOPE, aws_retry=True, **more)
            yield from page["WebACLs"]
            if not page.get("NextMarker"):
                return
            more = {"NextMarker": page["NextMarker"]}

    def _protector(self, load_balancer: str) -> str | None:
        try:
            answer = self._waf.get_web_acl_for_resource(ResourceArn=load_balancer, aws_retry=True)
        except is_boto3_error_code("WAFNonexistentItemException"):
            return None
        return (answer.get("WebACL") or {}).get("ARN")

    def _logging(self) -> dict[str, t.Any] | None:
        try:
            answer = self._waf.get_logging_configuration(ResourceArn=self.arn, aws_retry=True)
        except is_boto3_error_code("WAFNonexistentItemException"):
            return None
        kept = ("LogDestinationConfigs", "RedactedFields", "LoggingFilter")
        return {key: value for key, value in answer["LoggingConfiguration"].items() if key in kept}

    def check_owner(self, owner_tags: dict[str, str]) -> None:
        if self.found is not None and not aws_changes.carries(self.tags, owner_tags):
            raise ValueError(aws_changes.not_ours(f"Web ACL {self.arn}", owner_tags, "choose another name"))
        if self.params["state"] == "present" and self.protector not in (None, self.arn):
            raise ValueError(
                f"Load balancer {self.params['load_balancer_arn']}: the web ACL {self.protector} protects it, which is "
                "not ours to replace; disassociate it, or leave the load balancer to it"
            )

    # --- what is to be done ---

    def plan_present(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        wanted = waf_rules.rules(self.params["rate_limit"], self.params["managed_rule_groups"])
        tags, balancer = self.params["tags"], self.params["load_balancer_arn"]
        if self.found is None:
            changes.want("rules", [], waf_rules.shown(wanted), lambda: self._create(wanted))
        else:
            before = [waf_rules.told(one) for one in self.found.get("Rules", [])]
            same = before == wanted and list(self.found["DefaultAction"]) == ["Allow"]
            after = waf_rules.shown(wanted)
            # Differences that people cannot see in the lines are told as structures.
            if not same and waf_rules.shown(before) == after:
                changes.want("rules", before, wanted, lambda: self._update(wanted))
            elif not same:
                changes.want("rules", waf_rules.shown(before), after, lambda: self._update(wanted))
            changes.want_tags("tags", self.tags, tags, self._tag, self._untag)
        log = waf_rules.logging(self.params["log_group_arn"]) if self.params["log_group_arn"] else None
        changes.want("log", self.log, log, (lambda: self._log(log)) if log else self._stop_log)
        for arn in self.protects:
            changes.want(f"protects {arn}", True, arn == balancer, lambda arn=arn: self._disassociate(arn))
        if balancer and balancer not in self.protects:
            changes.want(f"protects {balancer}", False, True, lambda: self._associate(balancer))
        return changes

    def plan_absent(self) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        for arn in self.protects:
            changes.want(f"protects {arn}", True, False, lambda arn=arn: self._disassociate(arn))
        changes.want("web ACL", self.arn, None, self._delete)
        return changes

    def _create(self, rules: list[dict[str, t.Any]]) -> None:
        name = self.params["name"]
        self.arn = self._waf.create_web_acl(
            Name=name,
            Scope=SCOPE,
            DefaultAction={"Allow": {}},
            Rules=rules,
            VisibilityConfig=waf_rules.visibility(name),
            Tags=ansible_dict_to_boto3_tag_list(self.params["tags"]),
            aws_retry=True,
        )["Summary"]["ARN"]

    def _update(self, rules: list[dict[str, t.Any]]) -> None:
        found = t.cast(dict, self.found)
        self._waf.update_web_acl(
            Name=found["Name"],
            Id=found["Id"],
            LockToken=found["LockToken"],
            Scope=SCOPE,
            DefaultAction={"Allow": {}},
            Rules=rules,
            VisibilityConfig=waf_rules.visibility(found["Name"]),
            aws_retry=True,
        )

    def _delete(self) -> None:
        found = t.cast(dict, self.found)
        self._waf.delete_web_acl(
            Name=found["Name"], Id=found["Id"], LockToken=found["LockToken"], Scope=SCOPE, aws_retry=True
        )

    def _log(self, configuration: dict[str, t.Any]) -> None:
        whole = {"ResourceArn": self.arn, **configuration}
        self._waf.put_logging_configuration(LoggingConfiguration=whole, aws_retry=True)

    def _stop_log(self) -> None:
        self._waf.delete_logging_configuration(ResourceArn=self.arn, aws_retry=True)

    def _associate(self, load_balancer: str) -> None:
        self._waf.associate_web_acl(WebACLArn=self.arn, ResourceArn=load_balancer, aws_retry=True)

    def _disassociate(self, load_balancer: str) -> None:
        self._waf.disassociate_web_acl(ResourceArn=load_balancer, aws_retry=True)

    def _tag(self, tags: dict[str, str]) -> None:
        self._waf.tag_resource(ResourceARN=self.arn, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True)

    def _untag(self, keys: list[str]) -> None:
        self._waf.untag_resource(ResourceARN=self.arn, TagKeys=keys, aws_retry=True)


def argument_spec() -> dict[str, t.Any]:
    group = {
        "name": {"type": "str", "required": True},
        "counted_rules": {"type": "list", "elements": "str", "default": []},
    }
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "load_balancer_arn": {"type": "str", "default": ""},
        "rate_limit": {"type": "int", "default": 0},
        "managed_rule_groups": {"type": "list", "elements": "dict", "default": [], "options": group},
        "log_group_arn": {"type": "str", "default": ""},
        "tags": {"type": "dict", "default": {}},
        "owner_tags": {"type": "dict", "required": True},
    }


def run(module: AnsibleAWSModule) -> None:
    params = dict(module.params, tags=aws_changes.text_tags(module.params["tags"]))
    present = params["state"] == "present"
    if present:
        refused = waf_rules.problem(params["name"], params["rate_limit"], params["managed_rule_groups"])
        if refused:
            raise ValueError(refused)
    retry = AWSRetry.jittered_backoff(retries=8, catch_extra_error_codes=PASSING)
    web_acl = WebAcl(module.client("wafv2", retry_decorator=retry), params)
    web_acl.find()
    web_acl.check_owner(aws_changes.text_tags(params["owner_tags"]))
    changes = web_acl.plan_present() if present else web_acl.plan_absent()
    if changes and not module.check_mode:
        changes.apply()
    module.exit_json(changed=bool(changes), web_acl_arn=web_acl.arn if present else None, diff=changes.diff)


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(), supports_check_mode=True)
    with aws_changes.one_line_failures(module, "wafv2", f"Web ACL {module.params['name']}"):
        run(module)


if __name__ == "__main__":
    main()
