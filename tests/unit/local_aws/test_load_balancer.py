# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests to the load balancer API turn into, without a proxy."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws import elb_attributes, elb_requests, elb_targets
from local_aws.load_balancer_config import Listener, TargetGroup, proxy_config
from local_aws.load_balancer_rules import Rule, Unsupported, fixed_response, matcher, redirect, rule
from local_aws.target_directory import MOST_ADDRESSES, answer, name_of
from local_aws.target_health import DRAINING, HEALTHY, UNUSED

FORWARD = {"Type": "forward", "TargetGroupArn": "arn:group"}


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 1) + labels + b"\0" + struct.pack("!2H", kind, 1) + b"extra"


def addresses(message: bytes, name: str) -> list[str]:
    count = struct.unpack_from("!H", message, 6)[0]
    start = len(query(name)) - len(b"extra")
    assert len(message) == start + 16 * count
    return [socket.inet_ntoa(message[start + 16 * one + 12 : start + 16 * one + 16]) for one in range(count)]


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=MOST_ADDRESSES, unique=True), st.integers(1, 65535))
def test_the_directory_tells_the_receivers_in_their_order(receivers, port):
    name = name_of("arn:group", port)
    message = answer(query(name), {name: tuple(receivers)})
    assert addresses(message, name) == receivers
    assert len(message) <= 1232
    assert struct.unpack_from("!H", message)[0] == 7


def test_the_directory_knows_no_other_name_and_no_other_kind():
    name = name_of("arn:group", 80)
    assert answer(query("other.targets."), {name: ("127.0.0.1",)})[3] & 15 == 3
    no_ipv6 = answer(query(name, kind=28), {name: ("127.0.0.1",)})
    assert no_ipv6[3] & 15 == 0 and addresses(no_ipv6, name) == []


@given(st.binary(max_size=80))
def test_the_directory_survives_any_message(message):
    with contextlib.suppress(ValueError, IndexError, struct.error):
        answer(message, {})


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    st.text("ab/.?*-x", max_size=20),
)
def test_wildcards_mean_any_text_and_any_one_character(value, path):
    pattern = matcher(({"Field": "path-pattern", "Values": [value]},))["path_regexp"]["pattern"]

    def wild(rest: str, text: str) -> bool:
        if not rest:
            return not text
        if rest[0] == "*":
            return any(wild(rest[1:], text[start:]) for start in range(len(text) + 1))
        return bool(text) and rest[0] in ("?", text[0]) and wild(rest[1:], text[1:])

    if value.count("*") < 5:
        assert bool(re.search(pattern, path)) == wild(value, path)


def test_conditions_of_different_kinds_must_all_hold():
    found = matcher(
        (
            {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}},
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "x-team", "Values": ["a?"]}},
            {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET"]}},
            {"Field": "source-ip", "SourceIpConfig": {"Values": ["127.0.0.0/8"]}},
        )
    )
    assert set(found) == {"header_regexp", "method", "remote_ip"}
    assert set(found["header_regexp"]) == {"Host", "X-Team"}
    assert re.search(found["header_regexp"]["Host"]["pattern"], "A.Example.com:8080")
    assert not re.search(found["header_regexp"]["Host"]["pattern"], "example.com")


@pytest.mark.parametrize(
    ("actions", "conditions", "words"),
    [
        ([{"Type": "authenticate-oidc"}], [], "authenticate-oidc"),
        ([{"Type": "authenticate-cognito"}], [], "0 actions, and 1 that sign users on"),
        ([{"Type": "authenticate-oidc"}, {"Type": "authenticate-cognito"}, FORWARD], [], "2 that sign users on"),
        ([FORWARD, FORWARD], [], "2 actions"),
        (
            [
                {
                    "Type": "forward",
                    "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": one, "Weight": 0} for one in "ab"]},
                }
            ],
            [],
            "all have weight 0",
        ),
        ([{"Type": "forward"}], [], "no target group"),
        ([{**FORWARD, "ForwardConfig": {"TargetGroupStickinessConfig": {"Enabled": True}}}], [], "stickiness"),
        ([FORWARD], [{"Field": "query-string", "QueryStringConfig": {"Values": []}}], "query-string"),
        (
            [FORWARD],
            [{"Field": "path-pattern", "Values": ["/a"]}, {"Field": "path-pattern", "Values": ["/b"]}],
            "two 'path-pattern'",
        ),
        (
            [{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Path": "/x/#{path}/#{host}"}}],
            [],
            "redirect",
        ),
    ],
)
def test_what_cannot_be_served_exactly_is_refused_by_name(actions, conditions, words):
    with pytest.raises(Unsupported, match=re.escape(words)):
        rule(actions, conditions)


def test_a_redirect_keeps_what_it_does_not_name():
    plain = redirect({"StatusCode": "HTTP_302"}, 8080)
    assert plain["headers"]["Location"] == [
        "http://{http.request.host}:8080{http.request.uri.path}{http.request.uri.prefixed_query}"
    ]
    secure = redirect(
        {"StatusCode": "HTTP_301", "Protocol": "HTTPS", "Port": "443", "Path": "/{a}", "Query": "b=1&#{query}"}, 80
    )
    assert secure["headers"]["Location"] == ["https://{http.request.host}/\\{a}?b=1&{http.request.uri.query}"]


def test_what_a_user_wrote_is_no_placeholder_of_the_proxy():
    assert (
        fixed_response({"StatusCode": "200", "MessageBody": '{"home": "{env.HOME}"}'})["body"]
        == '\\{"home": "\\{env.HOME}"}'
    )


def test_a_listener_forwards_each_request_once_and_only_where_the_directory_says():
    listener = Listener(8080, 9, (Rule(FORWARD),), idle_timeout=7)
    config = proxy_config({}, listener, {"arn:group": TargetGroup("arn:group", (5000,))}, ("127.0.0.1", 53))
    server = config["apps"]["http"]["servers"]["listener"]
    assert server["listen"] == ["fd/9"]
    (group,) = server["routes"][-1]["handle"][0]["routes"]
    assert "match" not in group
    forward = group["handle"][0]["routes"][-1]["handle"][0]
    assert set(forward["load_balancing"]) == {"selection_policy"} and "upstreams" not in forward
    assert forward["dynamic_upstreams"]["name"] == name_of("arn:group", 5000)
    assert forward["transport"]["response_header_timeout"] == 7_000_000_000


@given(st.lists(st.integers(0, 999), min_size=2, max_size=5).filter(any))
def test_requests_are_spread_by_weights(weights):
    """Of all random numbers that a request can have, each group gets its part, to a part in 65,536 and a half."""
    arns = [f"arn:{one}" for one in range(len(weights))]
    tuples = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in zip(arns, weights, strict=True)]
    listener = Listener(8080, 9, (rule([{"Type": "forward", "ForwardConfig": {"TargetGroups": tuples}}], []),))
    groups = {arn: TargetGroup(arn, (5000,)) for arn in arns}
    config = proxy_config({}, listener, groups, ("127.0.0.1", 53))
    routes = config["apps"]["http"]["servers"]["listener"]["routes"][-1]["handle"][0]["routes"]
    patterns = [route["match"][0]["vars_regexp"]["{http.request.uuid}"]["pattern"] for route in routes[:-1]]
    assert len(routes) == sum(weight > 0 for weight in weights) and "match" not in routes[-1]
    positive = [weight for weight in weights if weight]
    below = 0
    for pattern, weight in zip(patterns, positive, strict=False):
        below += weight
        bound = round(below * 65536 / sum(weights))
        for number in (0, bound - 1, bound, min(bound + 1, 65535), 65535):
            assert bool(re.match(pattern, f"{number:04x}-89ab")) is (number < bound)


@pytest.mark.parametrize(
    ("action", "code", "words"),
    [
        ({"ForwardConfig": {"TargetGroups": [{"TargetGroupArn": str(one)} for one in range(6)]}}, "ValidationError", "at most 5"),
        ({"ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "a", "Weight": 1000}]}}, "ValidationError", "between 0 and 999"),
        ({"ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "a", "Weight": "-1"}]}}, "ValidationError", "'-1'"),
        ({"ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "a"}] * 2}}, "InvalidLoadBalancerAction", "twice"),
        ({"TargetGroupArn": "a", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "b"}]}}, "InvalidLoadBalancerAction", "same"),
    ],
)
def test_weights_that_aws_refuses_are_refused(action, code, words):
    with pytest.raises(elb_requests.InvalidRequest, match=words) as refused:
        elb_requests.check_weights({"Type": "forward", **action})
    assert refused.value.code == code


@pytest.mark.parametrize("known", [elb_attributes.LOAD_BALANCER_DEFAULTS, elb_attributes.TARGET_GROUP_DEFAULTS])
def test_the_defaults_are_values_that_are_served(known):
    elb_attributes.check(known, known)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("access_logs.s3.enabled", "on", ValueError),
        ("connection_logs.s3.enabled", "true", Unsupported),
        ("routing.http.xff_client_port.enabled", "true", Unsupported),
        ("idle_timeout.timeout_seconds", "0", ValueError),
        ("idle_timeout.timeout_seconds", "4001", ValueError),
        ("idle_timeout.timeout_seconds", "x", ValueError),
        ("routing.http.desync_mitigation_mode", "lax", ValueError),
        ("deletion_protection.enabled", "yes", ValueError),
        ("no.such.key", "true", ValueError),
    ],
)
def test_attributes_are_refused_by_name(key, value, error):
    with pytest.raises(error, match=re.escape(key)):
        elb_attributes.check({key: value}, elb_attributes.LOAD_BALANCER_DEFAULTS)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"healthcheck_interval_seconds": 4}, "between 5 and 300"),
        ({"healthcheck_interval_seconds": 5, "healthcheck_timeout_seconds": 5}, "smaller than the interval"),
        ({"unhealthy_threshold_count": 1}, "between 2 and 10"),
        ({"healthcheck_path": "health"}, "must begin with '/'"),
        ({"healthcheck_path": "/a\r\nHost: x"}, "must begin with '/'"),
        ({"healthcheck_port": "0"}, "Health check port"),
        ({"matcher": {"HttpCode": "200-"}}, "matcher"),
        ({"healthcheck_enabled": "false"}, "must be true"),
    ],
)
def test_health_checks_that_aws_refuses_are_refused(wanted, words):
    with pytest.raises(elb_requests.InvalidRequest, match=words):
        elb_requests.check_target_group({"target_type": "ip", **wanted})


def group(**attributes):
    return SimpleNamespace(port=5000, targets={}, attributes={**elb_attributes.TARGET_GROUP_DEFAULTS, **attributes})


def test_targets_are_told_apart_by_port_and_drain_for_the_delay():
    one = group()
    elb_targets.register(one, [{"Id": "127.10.0.1"}, {"Id": "127.10.0.1", "Port": 5001}])
    assert list(one.targets) == [("127.10.0.1", 5000), ("127.10.0.1", 5001)]
    elb_targets.deregister(one, [{"Id": "127.10.0.1", "Port": 5001}, {"Id": "127.10.0.9"}], in_use=True, now=100.0)
    draining = one.targets["127.10.0.1", 5001]
    assert draining.draining_until == 400.0
    assert elb_targets.health_of(draining, True).state == DRAINING
    assert elb_targets.receiving(one) == [("127.10.0.1", 5000)]
    elb_targets.register(one, [{"Id": "127.10.0.1", "Port": 5001}])
    assert one.targets["127.10.0.1", 5001].draining_until is None


@pytest.mark.parametrize(("in_use", "delay"), [(False, "300"), (True, "0")])
def test_a_target_that_need_not_drain_is_gone_at_once(in_use, delay):
    one = group(**{"deregistration_delay.timeout_seconds": delay})
    elb_targets.register(one, [{"Id": "127.10.0.1"}])
    elb_targets.deregister(one, [{"Id": "127.10.0.1"}], in_use, now=0.0)
    assert one.targets == {}
    assert elb_targets.health_of(None, in_use).state == UNUSED


def test_a_group_that_no_listener_uses_has_unused_targets():
    target = elb_targets.Target("127.10.0.1", 5000)
    assert elb_targets.health_of(target, False).reason == "Target.NotInUse"
    assert elb_targets.health_of(target, True).state != HEALTHY
