# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded load balancer from outside: a real daemon, boto3, real HTTP servers. Takes about a minute."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import psutil
import pytest

from tests.integration.local_aws.load_balancing import (
    BIG, BLOCK, PORT, SETTLE_SECONDS, Account, Load, Target, code_of, get, pairs,
)  # fmt: skip

REPOSITORY = Path(__file__).parents[3]
REGION = "eu-west-2"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIALOCALAWS00000000",
    "AWS_SECRET_ACCESS_KEY": "local-aws-secret-access-key-0000000000000",
}
API_LOGS: dict[str, Path] = {}


def free_port():
    """A port that nothing listens on; below the kernel's range for outgoing connections."""
    for port in range(4640, 4660):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port from 4640 to 4659")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local_aws")
    port = free_port()
    environment = os.environ | {"LOCAL_AWS_PORT": str(port), "LOCAL_AWS_DIR": str(folder / "state")}

    def local_aws(command):
        return subprocess.run(
            [sys.executable, "-m", "local_aws", command],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    started = local_aws("up")
    assert started.returncode == 0, started.stdout + started.stderr
    API_LOGS[f"http://127.0.0.1:{port}"] = folder / "state" / "api.jsonl"
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        ended = local_aws("down")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def account(endpoint):
    session = boto3.Session(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
    return Account(lambda service: session.client(service, endpoint_url=endpoint))


@pytest.fixture(scope="module")
def addresses():
    """Loopback addresses of this run alone."""
    return (f"127.10.{250 - os.getpid() % 40}.{one}" for one in range(1, 250))


@pytest.fixture
def target(addresses):
    with contextlib.ExitStack() as ending:

        def start():
            server = Target(next(addresses))
            server.address = server.server_address[0]
            ending.callback(server.end)
            return server

        yield start


def api_calls(endpoint):
    with open(API_LOGS[endpoint], encoding="utf-8") as log:
        return [json.loads(line) for line in log]


def test_each_target_is_judged_by_its_own_answers(account, target, addresses):
    good, wrong, slow, gone = target(), target(), target(), next(addresses)
    good.code, wrong.code, slow.health_delay = 301, 500, 4.0
    group, listener, balancer, address = account.served([good.address, wrong.address, slow.address, gone])
    account.await_states(
        group, {good.address: "healthy", wrong.address: "initial", slow.address: "initial", gone: "initial"}, 3
    )
    assert account.health(group)[wrong.address][1] == "Elb.InitialHealthChecking"
    assert {get(address)[2].decode() for _unused in range(6)} == {good.address}, "an initial target got a request"
    account.await_states(
        group, {good.address: "healthy", wrong.address: "unhealthy", slow.address: "unhealthy", gone: "unhealthy"}
    )
    assert account.health(group) == {
        good.address: ("healthy", None, None),
        wrong.address: ("unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"),
        slow.address: ("unhealthy", "Target.Timeout", "Request timed out"),
        gone: ("unhealthy", "Target.FailedHealthChecks", "Health checks failed"),
    }
    assert good.checks[0]["User-Agent"] == "ELB-HealthChecker/2.0"
    assert good.checks[0]["Host"] == f"{good.address}:5000"
    wrong.code = 204
    took = account.await_states(
        group, {good.address: "healthy", wrong.address: "healthy", slow.address: "unhealthy", gone: "unhealthy"}
    )
    assert took > 4, "one success was enough for a target that had been unhealthy"
    assert {get(address)[2].decode() for _unused in range(6)} == {good.address, wrong.address}
    # Nobody uses the group any more.
    account.elb.delete_listener(ListenerArn=listener)
    assert {said[1] for said in account.health(group).values()} == {"Target.NotInUse"}
    with pytest.raises(ConnectionRefusedError):
        get(address)
    account.elb.delete_load_balancer(LoadBalancerArn=balancer)
    account.elb.delete_target_group(TargetGroupArn=group)


def test_a_killed_target_is_taken_out_when_its_checks_fail(account, target, addresses, tmp_path):
    (tmp_path / "health").touch()
    (tmp_path / "index.html").touch()
    doomed = next(addresses)
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "5000", "--bind", doomed, "--directory", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        staying = target()
        group, *_unused, address = account.served([staying.address, doomed])
        account.await_states(group, {staying.address: "healthy", doomed: "healthy"})
        with Load(address) as load:
            time.sleep(1)
            assert load.failed == []
            killed = time.monotonic()
            server.kill()
            account.await_states(group, {staying.address: "healthy", doomed: "unhealthy"})
            unhealthy = time.monotonic()
            time.sleep(1)
    finally:
        server.kill()
        server.wait()
    assert load.failed and {why for _unused, why in load.failed} == {"502"}
    assert unhealthy - killed < 2 * 5 + 2, "two checks, five seconds apart"
    assert max(when for when, _unused in load.failed) < unhealthy + 0.5
    print(
        f"\nkilled target: {len(load.failed)} of {load.count} requests failed, "
        f"for {max(when for when, _unused in load.failed) - killed:.1f} s"
    )


def test_no_request_is_lost_while_targets_come_and_go(account, target):
    staying, moving = target(), target()
    group, *_unused, address = account.served([staying.address], {"deregistration_delay.timeout_seconds": "1"})
    account.await_states(group, {staying.address: "healthy"})
    with Load(address) as load:
        for _unused in range(3):
            account.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": moving.address}])
            account.await_states(group, {staying.address: "healthy", moving.address: "healthy"})
            time.sleep(0.3)
            account.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": moving.address}])
            seen = len(moving.seen)
            assert account.health(group)[moving.address][:2] == ("draining", "Target.DeregistrationInProgress")
            account.await_states(group, {staying.address: "healthy"})
            assert len(moving.seen) == seen, "a draining target got a new request"
    assert moving.seen and load.failed == []
    print(f"\ntargets come and go: 0 of {load.count} requests failed")


def test_a_draining_target_finishes_what_it_began(account, target):
    leaving, staying = target(), target()
    group, *_unused, address = account.served([leaving.address])
    account.await_states(group, {leaving.address: "healthy"})
    answers = []
    slow = threading.Thread(target=lambda: answers.append(get(address, "/sleep/2")))
    slow.start()
    time.sleep(0.3)
    account.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": staying.address}])
    start = time.monotonic()
    account.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": leaving.address}])
    account.await_states(group, {leaving.address: "draining", staying.address: "healthy"})
    assert get(address)[2].decode() == staying.address
    slow.join()
    assert [answer[0] for answer in answers] == [200]
    account.await_states(group, {staying.address: "healthy"})
    assert 2.5 < time.monotonic() - start < 5, "it drains for the whole delay of 3 s"
    asked = account.elb.describe_target_health(TargetGroupArn=group, Targets=[{"Id": leaving.address, "Port": 5000}])
    assert asked["TargetHealthDescriptions"][0]["TargetHealth"]["Reason"] == "Target.NotRegistered"


def test_a_crashed_proxy_comes_back_and_no_client_is_refused(account, endpoint, target):
    server = target()
    group, *_unused, address = account.served([server.address])
    account.await_states(group, {server.address: "healthy"})
    folder = API_LOGS[endpoint].parent / "load_balancers" / f"{address}-{PORT}"
    proxies = [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)]
    assert len(proxies) == 1
    proxies[0].kill()
    proxies[0].wait(5)
    assert get(address)[0] == 200


def test_errors_are_those_of_a_load_balancer(account, target, addresses):
    gone = next(addresses)
    group, *_unused, address = account.served([], balancer_attributes={"idle_timeout.timeout_seconds": "1"})
    status, headers, body = get(address)
    assert (status, headers["Server"], headers["Content-Type"]) == (503, "awselb/2.0", "text/html")
    assert b"<center><h1>503 Service Temporarily Unavailable</h1></center>" in body
    account.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": gone}])
    assert get(address)[0] == 502, "with no healthy target every registered one gets requests"
    silent = target()
    silent.code = 500
    account.elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": gone}])
    account.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": silent.address}])
    assert get(address)[0] == 200, "an initial target gets requests if there is no healthy one"
    start = time.monotonic()
    assert get(address, "/sleep/5")[0] == 504
    assert 0.9 < time.monotonic() - start < 2.5
    assert len(silent.seen) == 2, "a request was sent twice"


def test_bodies_of_any_size_pass_unchanged(account, target):
    server = target()
    group, *_unused, address = account.served([server.address])
    account.await_states(group, {server.address: "healthy"})
    expected = hashlib.sha256(BLOCK * (BIG // len(BLOCK))).hexdigest()
    connection = http.client.HTTPConnection(address, PORT, timeout=60)
    connection.request("POST", "/upload", iter([BLOCK] * (BIG // len(BLOCK))), {"Content-Length": str(BIG)})
    assert connection.getresponse().read().decode() == expected
    connection = http.client.HTTPConnection(address, PORT, timeout=60)
    connection.request("GET", "/big")
    answer, digest = connection.getresponse(), hashlib.sha256()
    while part := answer.read(1 << 20):
        digest.update(part)
    assert digest.hexdigest() == expected


def test_headers_and_websockets_pass_as_a_load_balancer_passes_them(account, target):
    server = target()
    group, listener, _unused, address = account.served(
        [server.address], balancer_attributes={"routing.http.drop_invalid_header_fields.enabled": "true"}
    )
    _unused, answered, _unused = get(
        address,
        headers={
            "Host": f"mlflow.example.com:{PORT}",
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Proto": "https",
            "Bad_Name": "1",
            "Authorization": "Basic eDp5",
        },
    )
    seen = server.seen[-1]
    assert seen["Host"] == f"mlflow.example.com:{PORT}"
    assert seen["X-Forwarded-For"] == "203.0.113.7, 127.0.0.1"
    assert (seen["X-Forwarded-Proto"], seen["X-Forwarded-Port"]) == ("http", str(PORT))
    assert seen["Authorization"] == "Basic eDp5"
    assert [name for name in ("Bad_Name", "X-Forwarded-Host", "Via") if seen[name] is not None] == []
    assert answered["Via"] is None and answered["Server"].startswith("BaseHTTP")
    get(address, headers={"Host": "mlflow.example.com", "X-Forwarded-Host": "evil.example.com"})
    assert server.seen[-1]["Host"] == f"mlflow.example.com:{PORT}"
    assert server.seen[-1]["X-Forwarded-Host"] == "evil.example.com"
    with socket.create_connection((address, PORT), timeout=10) as raw, raw.makefile("rwb") as stream:
        stream.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        stream.flush()
        assert stream.readline().startswith(b"HTTP/1.1 101 ")
        while stream.readline().strip():
            pass
        for word in (b"one\n", b"two\n"):
            stream.write(word)
            stream.flush()
            assert stream.readline() == word.upper()
            # A new configuration must not cut it.
            account.elb.create_rule(
                ListenerArn=listener,
                Priority=len(word) + int(word == b"two\n"),
                Conditions=[{"Field": "path-pattern", "Values": [f"/{word.decode().strip()}"]}],
                Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
            )


def test_rules_are_tried_by_priority(account, target):
    server, other = target(), target()
    _unused, listener, balancer, address = account.served([server.address])
    second = account.group()

    def rule(priority, field, config, action):
        return account.elb.create_rule(
            ListenerArn=listener, Priority=priority, Conditions=[{"Field": field, **config}], Actions=[action]
        )

    body = '{"home": "{env.HOME}"}'
    rule(20, "path-pattern", {"Values": ["/api/*"]}, {"Type": "forward", "TargetGroupArn": second})
    rule(
        10,
        "path-pattern",
        {"Values": ["/api/down"]},
        {
            "Type": "fixed-response",
            "FixedResponseConfig": {"StatusCode": "503", "ContentType": "application/json", "MessageBody": body},
        },
    )
    rule(
        30,
        "host-header",
        {"HostHeaderConfig": {"Values": ["old.*"]}},
        {
            "Type": "redirect",
            "RedirectConfig": {"StatusCode": "HTTP_301", "Protocol": "HTTPS", "Port": "443", "Host": "new.example.com"},
        },
    )
    assert second in [
        one["TargetGroupArn"] for one in account.elb.describe_target_groups(LoadBalancerArn=balancer)["TargetGroups"]
    ]
    account.elb.register_targets(TargetGroupArn=second, Targets=[{"Id": other.address}])
    assert get(address, "/api/x")[2].decode() == other.address
    status, headers, answered = get(address, "/api/down")
    assert (status, headers["Content-Type"], answered.decode()) == (503, "application/json", body)
    status, headers, _unused = get(address, "/a/b?c=d", {"Host": "old.example.com"})
    assert (status, headers["Location"]) == (301, "https://new.example.com/a/b?c=d")
    assert get(address, "/other")[2].decode() == server.address
    assert code_of(account.elb.delete_target_group, TargetGroupArn=second)[0] == "ResourceInUse"


def test_requests_are_spread_over_groups_by_their_weights(account, target):
    servers = [target() for _unused in range(3)]
    _unused, listener, _balancer, address = account.served()
    groups = [account.group() for _unused in servers]
    for group, server in zip(groups, servers, strict=True):
        account.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": server.address}])

    def spread(weights, requests):
        tuples = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in zip(groups, weights, strict=True)]
        actions = [{"Type": "forward", "ForwardConfig": {"TargetGroups": tuples}}]
        account.elb.modify_listener(ListenerArn=listener, DefaultActions=actions)
        told = account.elb.describe_listeners(ListenerArns=[listener])["Listeners"][0]["DefaultActions"][0]
        assert {one["TargetGroupArn"]: one["Weight"] for one in told["ForwardConfig"]["TargetGroups"]} == dict(
            zip(groups, weights, strict=True)
        )
        time.sleep(SETTLE_SECONDS)
        answers = [get(address)[2].decode() for _unused in range(requests)]
        return [answers.count(server.address) for server in servers]

    assert spread((0, 7, 0), 40) == [0, 40, 0]
    # Five standard deviations of 600 requests at a quarter, and none by mistake.
    few, many, none = spread((1, 3, 0), 600)
    assert none == 0 and abs(few - 150) < 54 and few + many == 600, (few, many)
    tuples = [{"TargetGroupArn": groups[0], "Weight": 1000}, {"TargetGroupArn": groups[1], "Weight": 1}]
    wrong = [{"Type": "forward", "ForwardConfig": {"TargetGroups": tuples}}]
    assert code_of(account.elb.modify_listener, ListenerArn=listener, DefaultActions=wrong)[0] == "ValidationError"
    sticky = {"TargetGroups": tuples[1:], "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60}}
    wrong = [{"Type": "forward", "ForwardConfig": sticky}]
    assert "stickiness" in code_of(account.elb.modify_listener, ListenerArn=listener, DefaultActions=wrong)[1]


def test_what_is_protected_or_not_served_is_refused(account, addresses):
    group, listener, balancer, address = account.served()
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    elb = account.elb
    assert (
        code_of(elb.create_listener, LoadBalancerArn=balancer, Protocol="HTTP", Port=PORT, DefaultActions=forward)[0]
        == "DuplicateListener"
    )
    with socket.socket() as taken:
        taken.bind((address, 8081))
        taken.listen()
        code, message = code_of(
            elb.create_listener, LoadBalancerArn=balancer, Protocol="HTTP", Port=8081, DefaultActions=forward
        )
    assert code == "InvalidConfigurationRequest" and "8081" in message and address in message
    assert len(elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]) == 1
    code, message = code_of(
        elb.modify_load_balancer_attributes,
        LoadBalancerArn=balancer,
        Attributes=pairs({"connection_logs.s3.enabled": "true"}),
    )
    assert code == "UnsupportedFeature" and "connection_logs.s3.enabled" in message
    assert code_of(elb.create_target_group, Name="lambda", TargetType="lambda")[0] == "UnsupportedFeature"
    assert code_of(elb.delete_target_group, TargetGroupArn=group)[0] == "ResourceInUse"
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=balancer, Attributes=pairs({"deletion_protection.enabled": "true"})
    )
    assert code_of(elb.delete_load_balancer, LoadBalancerArn=balancer)[0] == "OperationNotPermitted"
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=balancer, Attributes=pairs({"deletion_protection.enabled": "false"})
    )
    elb.modify_listener(ListenerArn=listener, Port=8082)
    assert get(address, port=8082)[0] == 503
    elb.delete_load_balancer(LoadBalancerArn=balancer)
    for port in (PORT, 8082):
        with pytest.raises(ConnectionRefusedError):
            get(address, port=port)
    elb.delete_target_group(TargetGroupArn=group)


PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - &group
      community.aws.elb_target_group:
        {state: present, name: demo, target_type: ip, protocol: http, port: 5000, vpc_id: "{{ vpc }}",
         modify_targets: false,
         health_check_protocol: http, health_check_path: /health, health_check_interval: 10, health_check_timeout: 5,
         healthy_threshold_count: 2, unhealthy_threshold_count: 3, successful_response_codes: "200",
         health_check_port: traffic-port, deregistration_delay_timeout: 30, stickiness_enabled: false,
         load_balancing_algorithm_type: least_outstanding_requests, stickiness_lb_cookie_duration: 86400,
         stickiness_app_cookie_duration: 86400, tags: {a: b}}
    - &balancer
      amazon.aws.elb_application_lb:
        {state: present, name: demo, subnets: "{{ subnets }}", security_groups: ["{{ group }}"], wait: true,
         scheme: internet-facing, idle_timeout: 120, deletion_protection: false, http2: true, waf_fail_open: false,
         http_desync_mitigation_mode: strictest, http_drop_invalid_header_fields: true, http_xff_client_port: false,
         http_x_amzn_tls_version_and_cipher_suite: false, access_logs_enabled: false, access_logs_s3_bucket: "",
         tags: {a: b},
         listeners: [{Protocol: HTTP, Port: 8080, DefaultActions: [{Type: forward, TargetGroupName: demo}]}]}
    - *group
    - *balancer
    - amazon.aws.elb_application_lb_info: {names: [demo]}
    - community.aws.elb_target_group_info: {names: [demo], collect_targets_health: true}
    - &no_balancer
      amazon.aws.elb_application_lb: {state: absent, name: demo, wait: true}
    - &no_group
      community.aws.elb_target_group: {state: absent, name: demo}
    - *no_balancer
    - *no_group
"""


def test_the_ansible_modules_create_find_unchanged_and_remove(account, endpoint, tmp_path):
    variables = {"vpc": account.vpc, "subnets": account.subnets, "group": account.security_group}
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    (tmp_path / "play.yml").write_text(PLAY)
    environment = (
        os.environ
        | KEYS
        | {
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint,
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }
    )
    before = len(api_calls(endpoint))
    ran = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "localhost,",
            "play.yml",
            "-e",
            "@variables.json",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    tasks = json.loads(ran.stdout[ran.stdout.index("{") :])["plays"][0]["tasks"]
    changed = [task["hosts"]["localhost"]["changed"] for task in tasks]
    assert changed == [True, True, False, False, False, False, True, True, False, False]
    writes = [call["action"] for call in api_calls(endpoint)[before:] if call["kind"] == "write"]
    assert writes == [
        "CreateTargetGroup",
        "ModifyTargetGroupAttributes",
        "AddTags",
        "CreateLoadBalancer",
        "ModifyLoadBalancerAttributes",
        "CreateListener",
        "DeleteListener",
        "DeleteLoadBalancer",
        "DeleteTargetGroup",
    ], "the second run wrote something"
