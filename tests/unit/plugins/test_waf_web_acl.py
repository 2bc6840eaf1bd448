# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web ACL: what is refused, and what a second run, check mode and another owner see."""

from __future__ import annotations

import json

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from moto.wafv2.responses import WAFV2Response

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import waf_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import waf_web_acl
from local_aws import web_acls
from local_aws.load_balancer_rules import Unsupported

pytestmark = pytest.mark.usefixtures("aws_environment", "listed_resources")
COMMON = "AWSManagedRulesCommonRuleSet"
BALANCER = "arn:aws:elasticloadbalancing:eu-west-2:123456789012:loadbalancer/app/web/73e2d6bc24d8a067"
OTHER = BALANCER.replace("/web/", "/other/")
LOG = "arn:aws:logs:eu-west-2:123456789012:log-group:aws-waf-logs-web"
OURS = {"team": "web"}
GROUPS = [{"name": COMMON, "counted_rules": ["SizeRestrictions_BODY"]}]
WANTED = {
    "name": "web", "owner_tags": OURS, "tags": OURS, "region": "eu-west-2", "load_balancer_arn": BALANCER,
    "rate_limit": 2000, "managed_rule_groups": GROUPS, "log_group_arn": LOG,
}  # fmt: skip
GONE = {"name": "web", "owner_tags": OURS, "region": "eu-west-2", "state": "absent"}


@pytest.fixture
def listed_resources(monkeypatch):
    """moto has no such operation; its own state answers."""

    def answer(self):
        found = self.wafv2_backend.get_web_acl(self._get_param("WebACLArn"), None, None).associated_resources
        return 200, {}, json.dumps({"ResourceArns": found})

    monkeypatch.setattr(WAFV2Response, "list_resources_for_web_acl", answer, raising=False)


def client():
    return boto3.client("wafv2", region_name="eu-west-2")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "web acl"}, "name: 'web acl' cannot name a web ACL"),
        ({"rate_limit": 9}, "rate_limit: 9 requests in five minutes"),
        ({"rate_limit": 0, "managed_rule_groups": []}, "protects nobody"),
        ({"managed_rule_groups": GROUPS * 2}, "is named twice"),
        ({"managed_rule_groups": [{"name": "AWSManagedRulesCommon"}]}, f"did you mean {COMMON}"),
        ({"managed_rule_groups": [{"name": "x"}]}, f"use {COMMON}"),
        ({"managed_rule_groups": [{"name": COMMON, "counted_rules": ["Size_BODY"]}]}, "counted_rules of"),
    ],
)
@mock_aws
def test_what_is_refused(run_module, change, reason):
    answer = run_module(waf_web_acl, {**WANTED, **change})
    assert answer["failed"] and reason in answer["msg"] and "\n" not in answer["msg"]
    assert client().list_web_acls(Scope="REGIONAL")["WebACLs"] == []


@mock_aws
def test_life_of_a_web_acl(run_module):
    check = run_module(waf_web_acl, WANTED, check=True)
    assert check["changed"] and check["web_acl_arn"] is None
    assert check["diff"]["after"]["rules"] == [
        "rate-limit: 2000 requests in 300 s from one address",
        f"{COMMON}: only counts SizeRestrictions_BODY",
    ]
    made = run_module(waf_web_acl, WANTED)
    assert made["changed"] and {**made["diff"]} == check["diff"]
    waf = client()
    assert waf.get_web_acl_for_resource(ResourceArn=BALANCER)["WebACL"]["ARN"] == made["web_acl_arn"]
    for checking in (True, False):
        again = run_module(waf_web_acl, WANTED, check=checking)
        assert not again["changed"] and again["web_acl_arn"] == made["web_acl_arn"]

    changes = {"load_balancer_arn": OTHER, "rate_limit": 0, "log_group_arn": "", "tags": {**OURS, "more": 1}}
    predicted = run_module(waf_web_acl, {**WANTED, **changes}, check=True)
    changed = run_module(waf_web_acl, {**WANTED, **changes})
    assert predicted["diff"] == changed["diff"] and set(changed["diff"]["after"]) == {
        "rules", "tags", "log", f"protects {BALANCER}", f"protects {OTHER}",
    }  # fmt: skip
    assert waf.get_web_acl_for_resource(ResourceArn=OTHER)["WebACL"]["ARN"] == made["web_acl_arn"]
    back = run_module(waf_web_acl, WANTED)
    assert back["diff"]["before"] == changed["diff"]["after"] and back["diff"]["after"] == changed["diff"]["before"]

    gone = run_module(waf_web_acl, GONE)
    assert gone["changed"] and gone["web_acl_arn"] is None
    assert waf.list_web_acls(Scope="REGIONAL")["WebACLs"] == []
    assert not run_module(waf_web_acl, GONE)["changed"]


@mock_aws
def test_what_somebody_else_changed_is_put_right(run_module):
    made = run_module(waf_web_acl, WANTED)
    waf = client()
    summary = waf.list_web_acls(Scope="REGIONAL")["WebACLs"][0]
    web_acl = waf.get_web_acl(Name="web", Id=summary["Id"], Scope="REGIONAL")["WebACL"]
    theirs = {
        "Name": "countries", "Priority": 9, "Statement": {"GeoMatchStatement": {"CountryCodes": ["NZ"]}},
        "Action": {"Block": {}}, "VisibilityConfig": waf_rules.visibility("countries"),
    }  # fmt: skip
    for rules in (
        [*map(waf_rules.told, web_acl["Rules"]), theirs],
        # A difference that the lines do not show.
        [{**waf_rules.told(one), "VisibilityConfig": waf_rules.visibility("else")} for one in web_acl["Rules"]],
    ):
        token = waf.get_web_acl(Name="web", Id=summary["Id"], Scope="REGIONAL")["LockToken"]
        waf.update_web_acl(
            Name="web", Id=summary["Id"], Scope="REGIONAL", LockToken=token, DefaultAction={"Allow": {}}, Rules=rules,
            VisibilityConfig=web_acl["VisibilityConfig"],
        )  # fmt: skip
        answer = run_module(waf_web_acl, WANTED)
        assert answer["changed"] and answer["diff"]["before"]["rules"] != answer["diff"]["after"]["rules"]
        assert not run_module(waf_web_acl, WANTED)["changed"] and answer["web_acl_arn"] == made["web_acl_arn"]


@mock_aws
def test_what_is_somebody_elses_is_not_touched(run_module):
    waf, seen = client(), waf_rules.visibility("web")
    theirs = waf.create_web_acl(Name="web", Scope="REGIONAL", DefaultAction={"Allow": {}}, VisibilityConfig=seen)
    for options in (WANTED, GONE):
        answer = run_module(waf_web_acl, options)
        assert answer["failed"] and "not ours to touch" in answer["msg"]
    waf.associate_web_acl(WebACLArn=theirs["Summary"]["ARN"], ResourceArn=BALANCER)
    answer = run_module(waf_web_acl, {**WANTED, "name": "mine"})
    assert answer["failed"] and "not ours to replace" in answer["msg"]


@given(st.sets(st.sampled_from(waf_rules.RULES_BY_GROUP[COMMON])))
def test_a_rule_blocks_here_unless_it_only_counts(counted):
    rules = waf_rules.rules(100, [{"name": COMMON, "counted_rules": list(counted)}])
    web_acls.check(rules, {"Allow": {}})
    blocking = web_acls.blocked(rules)
    assert set(blocking) == set(web_acls.MATCHERS) - counted
    assert len(web_acls.routes(blocking)) == len(blocking)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ({"GeoMatchStatement": {"CountryCodes": ["NZ"]}}, "GeoMatchStatement is not supported"),
        ({"ManagedRuleGroupStatement": {"VendorName": "AWS", "Name": "AWSManagedRulesATPRuleSet"}}, "the group AWS"),
        ({"RateBasedStatement": {"Limit": 10, "ScopeDownStatement": {}}}, "scope-down"),
    ],
)
def test_what_the_local_aws_cannot_judge_is_refused(statement, words):
    with pytest.raises(Unsupported, match=words):
        web_acls.check([{"Name": "one", "Statement": statement}], {"Allow": {}})
    with pytest.raises(Unsupported, match="block by default"):
        web_acls.check([], {"Block": {}})


def test_a_group_that_only_counts_blocks_nothing_here():
    group = {"ManagedRuleGroupStatement": {"VendorName": "AWS", "Name": COMMON}}
    assert web_acls.blocked([{"Name": COMMON, "Statement": group, "OverrideAction": {"Count": {}}}]) == ()
