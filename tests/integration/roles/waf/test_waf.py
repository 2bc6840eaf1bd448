# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role waf on a local AWS, before a load balancer that answers by itself."""

from __future__ import annotations

import typing as t

import pytest
import requests
from urllib3.util import SKIP_HEADER

COMMON = "AWSManagedRulesCommonRuleSet"
PORT = 8080
# More than WAF reads of a request to a load balancer.
UPLOAD = b"x" * 20_000


@pytest.fixture(scope="module")
def load_balancer(local_aws: t.Any) -> dict[str, str]:
    ec2, elb = local_aws.client("ec2"), local_aws.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.8.{number}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("ab")
    ]
    made = elb.create_load_balancer(Name="protected", Subnets=subnets)["LoadBalancers"][0]
    answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "MessageBody": "here"}}
    elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=PORT, DefaultActions=[answer]
    )
    return {"arn": made["LoadBalancerArn"], "url": f"http://{made['DNSName']}:{PORT}/"}


def answers(url: str) -> dict[str, int]:
    """Status by what is sent."""
    asked: dict[str, dict[str, t.Any]] = {
        "ordinary": {},
        "upload": {"data": UPLOAD},
        "nobody": {"headers": {"User-Agent": SKIP_HEADER}},
        "long query": {"params": {"run_id": "0" * 3000}},
        "long path": {},
        "long cookie": {"headers": {"Cookie": "a=" + "b" * 11_000}},
    }
    paths = {"long path": "a" * 1500}
    return {
        name: requests.post(url + paths.get(name, ""), timeout=10, **request).status_code
        for name, request in asked.items()
    }


OPEN = dict.fromkeys(("ordinary", "upload", "nobody", "long query", "long path", "long cookie"), 200)


def test_life_of_a_web_acl(run_role: t.Callable, local_aws: t.Any, load_balancer: dict[str, str]) -> None:
    waf = local_aws.client("wafv2")
    variables = {"waf_name": "edge", "waf_load_balancer_arn": load_balancer["arn"], "waf_tags": {"team": "a"}}
    assert answers(load_balancer["url"]) == OPEN
    check = run_role("waf", variables, ("check", "main"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 2, []), check.stdout
    made = run_role("waf", variables, ("check", "main"))
    assert (made.rc, made.changed) == (0, 2), made.stdout
    assert {one for one in made.writes if one.startswith("wafv2:")} == {
        "wafv2:CreateWebACL", "wafv2:PutLoggingConfiguration", "wafv2:AssociateWebACL"
    }  # fmt: skip
    # Uploads and long queries get through; what no client of MLflow sends does not.
    protected = {**OPEN, "nobody": 403, "long path": 403, "long cookie": 403}
    assert answers(load_balancer["url"]) == protected
    for checking in (True, False):
        again = run_role("waf", variables, check=checking)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == made.outputs
    assert run_role("waf", {"waf_name": "edge"}, "info").outputs == made.outputs
    log = waf.get_logging_configuration(ResourceArn=made.outputs["web_acl_arn"])["LoggingConfiguration"]
    redacted = {one["SingleHeader"]["Name"] for one in log["RedactedFields"]}
    assert {"authorization", "cookie"} <= redacted and log["LoggingFilter"]["DefaultBehavior"] == "DROP"

    # Each option by itself: tests/unit/plugins/test_waf_web_acl.py.
    other = {**variables, "waf_rate_limit": 0, "waf_tags": {"team": "b"}, "waf_log_retention_days": 0}
    predicted, changed = run_role("waf", other, check=True), run_role("waf", other)
    assert predicted.changed == changed.changed == 1, changed.stdout
    assert {"wafv2:UpdateWebACL", "wafv2:TagResource", "wafv2:DeleteLoggingConfiguration"} <= set(changed.writes)
    back = run_role("waf", variables)
    assert back.changed == 1 and run_role("waf", variables).writes == [], back.stdout

    gone = run_role("waf", variables, "absent")
    assert (gone.rc, gone.changed) == (0, 2), gone.stdout
    assert answers(load_balancer["url"]) == OPEN
    twice = run_role("waf", variables, "absent")
    assert (twice.rc, twice.changed, twice.writes) == (0, 0, []), twice.stdout


def test_rules_that_block_uploads_are_refused_and_would_block_them(
    run_role: t.Callable, load_balancer: dict[str, str]
) -> None:
    variables = {
        "waf_name": "strict",
        "waf_load_balancer_arn": load_balancer["arn"],
        "waf_rule_groups": [{"name": COMMON}],
    }
    refused = run_role("waf", variables, "check")
    said = " ".join(refused.stdout.split())
    assert refused.rc == 2 and refused.writes == [] and "nobody could upload an artifact" in said, refused.stdout
    assert "bodies of up to 1024 MiB must pass (waf_largest_body_mib; in a deployment it follows from mlflow_largest_artifact_gib" in said
    assert run_role("waf", {**variables, "waf_largest_body_mib": 0}, "check").rc == 0
    made = run_role("waf", variables)
    assert made.rc == 0, made.stdout
    assert answers(load_balancer["url"]) == {**dict.fromkeys(OPEN, 403), "ordinary": 200}
    assert run_role("waf", variables, "absent").rc == 0


def test_bad_input_and_what_is_somebody_elses(
    run_role: t.Callable, local_aws: t.Any, load_balancer: dict[str, str]
) -> None:
    waf = local_aws.client("wafv2")
    seen = {"SampledRequestsEnabled": False, "CloudWatchMetricsEnabled": False, "MetricName": "theirs"}
    theirs = waf.create_web_acl(Name="theirs", Scope="REGIONAL", DefaultAction={"Allow": {}}, VisibilityConfig=seen)
    arn = theirs["Summary"]["ARN"]
    waf.associate_web_acl(WebACLArn=arn, ResourceArn=load_balancer["arn"])
    groups = [{"name": COMMON, "counted_rules": ["SizeRestrictions_BODY", "SizeRestriction_QUERYSTRING"]}]
    for variables, reason in (
        ({"waf_rate_limit": 9}, "say 10 to 2000000000"),
        ({"waf_rule_groups": [{"name": "AWSManagedRulesCommonRules"}]}, f"did you mean {COMMON}"),
        ({"waf_rule_groups": groups}, "did you mean SizeRestrictions_QUERYSTRING"),
        ({"waf_load_balancer_arn": load_balancer["arn"]}, "is not ours to replace"),
    ):
        run = run_role("waf", {"waf_name": "bad", **variables}, "check")
        assert run.rc == 2 and run.writes == [] and reason in " ".join(run.stdout.split()), run.stdout
    taken = run_role("waf", {"waf_name": "theirs"}, "absent")
    assert taken.rc == 2 and taken.writes == [] and "not ours to touch" in taken.stdout
    waf.disassociate_web_acl(ResourceArn=load_balancer["arn"])
    waf.delete_web_acl(Name="theirs", Scope="REGIONAL", Id=theirs["Summary"]["Id"], LockToken=theirs["Summary"]["LockToken"])
