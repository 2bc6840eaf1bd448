# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a web ACL as WAF's API has them; no calls here."""

from __future__ import annotations

import difflib
import re
import typing as t

NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
RATE_RULE = "rate-limit"
RATE_LIMITS = (10, 2_000_000_000)
RATE_SECONDS = 300
# Headers by which somebody could log in; the load balancer puts those of a sign-on into the request.
REDACTED_HEADERS = ("authorization", "cookie", "x-amzn-oidc-accesstoken", "x-amzn-oidc-data")
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-list.html, 2026-11
RULES_BY_GROUP: dict[str, tuple[str, ...]] = {
    "AWSManagedRulesCommonRuleSet": (
        "NoUserAgent_HEADER",
        "UserAgent_BadBots_HEADER",
        "SizeRestrictions_QUERYSTRING",
        "SizeRestrictions_Cookie_HEADER",
        "SizeRestrictions_BODY",
        "SizeRestrictions_URIPATH",
        "EC2MetaDataSSRF_BODY",
        "EC2MetaDataSSRF_COOKIE",
        "EC2MetaDataSSRF_URIPATH",
        "EC2MetaDataSSRF_QUERYARGUMENTS",
        "GenericLFI_QUERYARGUMENTS",
        "GenericLFI_URIPATH",
        "GenericLFI_BODY",
        "RestrictedExtensions_URIPATH",
        "RestrictedExtensions_QUERYARGUMENTS",
        "GenericRFI_QUERYARGUMENTS",
        "GenericRFI_BODY",
        "GenericRFI_URIPATH",
        "CrossSiteScripting_COOKIE",
        "CrossSiteScripting_QUERYARGUMENTS",
        "CrossSiteScripting_BODY",
        "CrossSiteScripting_URIPATH",
    ),
    "AWSManagedRulesKnownBadInputsRuleSet": (
        "JavaDeserializationRCE_HEADER",
        "JavaDeserializationRCE_BODY",
        "JavaDeserializationRCE_URIPATH",
        "JavaDeserializationRCE_QUERYSTRING",
        "Host_localhost_HEADER",
        "PROPFIND_METHOD",
        "ExploitablePaths_URIPATH",
        "Log4JRCE_HEADER",
        "Log4JRCE_QUERYSTRING",
        "Log4JRCE_BODY",
        "Log4JRCE_URIPATH",
        "ReactJSRCE_BODY",
    ),
    "AWSManagedRulesAmazonIpReputationList": (
        "AWSManagedIPReputationList",
        "AWSManagedReconnaissanceList",
        "AWSManagedIPDDoSList",
    ),
    "AWSManagedRulesAnonymousIpList": ("AnonymousIPList", "HostingProviderIPList"),
}


def problem(name: str, rate_limit: int, groups: list[dict[str, t.Any]]) -> str | None:
    """Why there can be no such web ACL, in one line; None if there can."""
    if not NAME.fullmatch(name):
        return f"name: '{name}' cannot name a web ACL; use 1 to 128 letters, digits, hyphens and underscores"
    if rate_limit and not RATE_LIMITS[0] <= rate_limit <= RATE_LIMITS[1]:
        return (
            f"rate_limit: {rate_limit} requests in five minutes cannot be a limit; say {RATE_LIMITS[0]} to "
            f"{RATE_LIMITS[1]}, or 0 for none"
        )
    if not rate_limit and not groups:
        return "managed_rule_groups: a web ACL without any rule protects nobody; name a group or give rate_limit"
    names = [group["name"] for group in groups]
    for group in groups:
        if names.count(group["name"]) > 1:
            return f"managed_rule_groups: {group['name']} is named twice; name it once"
        if group["name"] not in RULES_BY_GROUP:
            return _unknown("managed_rule_groups", group["name"], RULES_BY_GROUP)
        for rule in group["counted_rules"]:
            if rule not in RULES_BY_GROUP[group["name"]]:
                return _unknown(f"counted_rules of {group['name']}", rule, RULES_BY_GROUP[group["name"]])
    return None


def _unknown(what: str, name: str, known: t.Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"{what}: '{name}' is not known; {'did you mean ' + ', '.join(near) if near else 'use ' + ', '.join(known)}"


def rules(rate_limit: int, groups: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The rules in the order in which requests meet them: the rate, then the groups as given."""
    made = []
    if rate_limit:
        statement = {
            "Limit": rate_limit,
            "EvaluationWindowSec": RATE_SECONDS,
            "AggregateKeyType": "IP",
        }
        made.append({"Name": RATE_RULE, "Statement": {"RateBasedStatement": statement}, "Action": {"Block": {}}})
    for group in groups:
        statement = {"VendorName": "AWS", "Name": group["name"]}
        if group["counted_rules"]:
            statement["RuleActionOverrides"] = [
                {"Name": rule, "ActionToUse": {"Count": {}}} for rule in sorted({*group["counted_rules"]})
            ]
        made.append(
            {
                "Name": group["name"],
                "Statement": {"ManagedRuleGroupStatement": statement},
                "OverrideAction": {"None": {}},
            }
        )
    return [
        {**rule, "Priority": place, "VisibilityConfig": visibility(rule["Name"])} for place, rule in enumerate(made)
    ]


def visibility(name: str) -> dict[str, t.Any]:
    # Samples would show whole headers, Authorization among them.
    return {"SampledRequestsEnabled": False, "CloudWatchMetricsEnabled": True, "MetricName": name}


def logging(log_group_arn: str) -> dict[str, t.Any]:
    """Where blocked requests are logged, without what somebody could log in by."""
    blocked = [{"ActionCondition": {"Action": "BLOCK"}}]
    return {
        "LogDestinationConfigs": [log_group_arn],
        "RedactedFields": [{"SingleHeader": {"Name": name}} for name in REDACTED_HEADERS],
        "LoggingFilter": {
            "DefaultBehavior": "DROP",
            "Filters": [{"Behavior": "KEEP", "Requirement": "MEETS_ANY", "Conditions": blocked}],
        },
    }


def told(structure: t.Any) -> t.Any:
    """An API structure without what is not set: an answer of AWS compares equal to what it was given."""
    if isinstance(structure, dict):
        return {key: told(value) for key, value in structure.items() if value is not None and value != []}
    return [told(one) for one in structure] if isinstance(structure, list) else structure


def shown(structures: list[dict[str, t.Any]]) -> list[str]:
    """The rules for people, one line each."""
    lines = []
    for rule in sorted(structures, key=lambda one: one["Priority"]):
        group = rule["Statement"].get("ManagedRuleGroupStatement")
        if "RateBasedStatement" in rule["Statement"]:
            limit = rule["Statement"]["RateBasedStatement"]["Limit"]
            lines.append(f"{rule['Name']}: {limit} requests in {RATE_SECONDS} s from one address")
        elif group:
            counted = [
                one["Name"] for one in group.get("RuleActionOverrides") or [] if "Count" in one["ActionToUse"]
            ]
            lines.append(f"{rule['Name']}{': only counts ' + ', '.join(counted) if counted else ''}")
        else:
            lines.append(f"{rule['Name']}: {next(iter(rule['Statement']))}")
    return lines
