# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requests a web ACL blocks, as routes of the proxy; pure functions.

What AWS's managed rules look for is AWS's secret, but for those that judge by a size or by a missing header. These are
served here; the others and the rate of requests are let pass.
https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html
"""

from __future__ import annotations

from typing import Any

from .access_logs import told
from .load_balancer_rules import Unsupported

COMMON = "AWSManagedRulesCommonRuleSet"
# Groups that may be declared.
GROUPS = {
    COMMON,
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesAnonymousIpList",
    "AWSManagedRulesKnownBadInputsRuleSet",
    "AWSManagedRulesLinuxRuleSet",
    "AWSManagedRulesUnixRuleSet",
    "AWSManagedRulesSQLiRuleSet",
    "AWSManagedRulesAdminProtectionRuleSet",
}


def _longer(placeholder: str, limit: int) -> dict[str, Any]:
    return {"expression": f"size({{http.request.{placeholder}}}) > {limit}"}


# Rules of the common group, and how the proxy finds the requests that they block.
MATCHERS: dict[str, dict[str, Any]] = {
    "NoUserAgent_HEADER": {"header": {"User-Agent": None}},
    "SizeRestrictions_QUERYSTRING": _longer("uri.query", 2048),
    "SizeRestrictions_Cookie_HEADER": _longer("header.Cookie", 10240),
    # More than 8 KB, as the request declares it: a body in chunks is let pass.
    "SizeRestrictions_BODY": {
        "header_regexp": {"Content-Length": {"pattern": r"^0*(819[3-9]|8[2-9]\d\d|9\d{3}|[1-9]\d{4,})$"}}
    },
    "SizeRestrictions_URIPATH": _longer("uri.path", 1024),
}
FORBIDDEN = (
    "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n"
    "<center><h1>403 Forbidden</h1></center>\r\n</body>\r\n</html>\r\n"
)


def check(rules: list[dict[str, Any]], default_action: dict[str, Any]) -> None:
    """Unsupported if a web ACL with these rules cannot be declared here."""
    if list(default_action) != ["Allow"]:
        raise Unsupported("web ACLs that block by default are not supported by the local AWS: allow by default")
    for rule in rules:
        kind = next(iter(rule["Statement"]))
        if kind not in ("ManagedRuleGroupStatement", "RateBasedStatement"):
            raise Unsupported(
                f"web ACL rule {rule['Name']}: {kind} is not supported by the local AWS: use ManagedRuleGroupStatement "
                "or RateBasedStatement"
            )
        group = rule["Statement"].get("ManagedRuleGroupStatement", {})
        if group and (group["VendorName"] != "AWS" or group["Name"] not in GROUPS):
            raise Unsupported(
                f"web ACL rule {rule['Name']}: the group {group['VendorName']} {group['Name']} is not supported by the "
                f"local AWS: use one of AWS's {', '.join(sorted(GROUPS))}"
            )
        if "ScopeDownStatement" in rule["Statement"][kind] or group.get("ManagedRuleGroupConfigs"):
            raise Unsupported(
                f"web ACL rule {rule['Name']}: scope-down statements and settings of groups are not supported by the "
                "local AWS: leave them out"
            )


def blocked(rules: list[dict[str, Any]]) -> tuple[str, ...]:
    """Names of the rules, of those served here, that block under a web ACL with these rules."""
    names: list[str] = []
    for rule in rules:
        group = rule["Statement"].get("ManagedRuleGroupStatement")
        if group and group["Name"] == COMMON and "Count" not in (rule.get("OverrideAction") or {}):
            others = {
                one["Name"] for one in group.get("RuleActionOverrides") or [] if "Block" not in one["ActionToUse"]
            }
            others |= {one["Name"] for one in group.get("ExcludedRules") or []}
            names += [name for name in MATCHERS if name not in others]
    return tuple(names)


def routes(names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Routes of the proxy that refuse what these rules block; to be tried before any other."""
    refusal = {
        "handler": "static_response",
        "status_code": 403,
        "body": FORBIDDEN,
        "headers": {"Content-Type": ["text/html"], "Server": ["awselb/2.0"]},
    }
    handlers = [*told(action="waf"), refusal]
    return [{"match": [MATCHERS[name]], "handle": handlers, "terminal": True} for name in names]
