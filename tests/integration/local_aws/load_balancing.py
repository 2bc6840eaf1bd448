# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of load balancers share: servers that do as they are told, an account, clients."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import itertools
import os
import threading
import time
import typing as t

import botocore.exceptions
import pytest

PORT = 8080
# A load balancer acts a moment after it says so.
SETTLE_SECONDS = 0.2
BIG = 100 * 1024 * 1024
BLOCK = os.urandom(1024 * 1024)
CHECK = {
    "HealthCheckPath": "/health",
    "HealthCheckIntervalSeconds": 5,
    "HealthCheckTimeoutSeconds": 2,
    "HealthyThresholdCount": 2,
    "UnhealthyThresholdCount": 2,
    "Matcher": {"HttpCode": "200-204,301"},
}


class Target(http.server.ThreadingHTTPServer):
    """A server that does as its attributes say; `seen` are the headers of requests other than health checks."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address):
        super().__init__((address, 5000), Answer)
        self.code, self.health_delay, self.seen, self.checks = 200, 0.0, [], []
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that goes away is not worth a trace."""

    def end(self):
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/health":
            self.server.checks.append(self.headers)
            time.sleep(self.server.health_delay)
            return self.answer(self.server.code, b"")
        self.server.seen.append(self.headers)
        if self.path.startswith("/sleep/"):
            time.sleep(float(self.path.rpartition("/")[2]))
        elif self.path == "/big":
            return self.send_big()
        elif self.headers.get("Upgrade") == "websocket":
            return self.talk()
        return self.answer(200, self.server.server_address[0].encode())

    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            part = self.rfile.read(min(left, 1 << 20))
            digest.update(part)
            left -= len(part)
        self.answer(200, digest.hexdigest().encode())

    def answer(self, code, body):
        self.send_response(code)
        if code == 301:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_big(self):
        self.send_response(200)
        self.send_header("Content-Length", str(BIG))
        self.end_headers()
        for _unused in range(BIG // len(BLOCK)):
            self.wfile.write(BLOCK)

    def talk(self):
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while line := self.rfile.readline():
            self.wfile.write(line.upper())
        self.close_connection = True

    def log_message(self, *_arguments):
        """Keep the test's output readable."""


class Account:
    """A VPC, and load balancers with one target group and one listener each."""

    def __init__(self, client: t.Callable[[str], t.Any]):
        """`client` makes the client of a service."""
        self.elb, ec2 = client("elbv2"), client("ec2")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{one}.0/24", AvailabilityZone=f"eu-west-2{zone}")["Subnet"][
                "SubnetId"
            ]
            for one, zone in enumerate("ab")
        ]
        self.security_group = ec2.create_security_group(GroupName="alb", Description="alb", VpcId=self.vpc)["GroupId"]
        self.names = (f"lb-{one}" for one in itertools.count())

    def group(self, **options):
        created = self.elb.create_target_group(
            Name=next(self.names), Protocol="HTTP", Port=5000, VpcId=self.vpc, TargetType="ip", **CHECK | options
        )
        return created["TargetGroups"][0]["TargetGroupArn"]

    def balancer(self):
        found = self.elb.create_load_balancer(
            Name=next(self.names), Subnets=self.subnets, SecurityGroups=[self.security_group]
        )["LoadBalancers"][0]
        return found["LoadBalancerArn"], found["DNSName"]

    def served(self, targets=(), attributes=None, balancer_attributes=None):
        """(group ARN, listener ARN, balancer ARN, address) of a load balancer that forwards to `targets`."""
        group, (balancer, address) = self.group(), self.balancer()
        self.elb.modify_target_group_attributes(
            TargetGroupArn=group, Attributes=pairs(attributes or {"deregistration_delay.timeout_seconds": "3"})
        )
        if balancer_attributes:
            self.elb.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=pairs(balancer_attributes))
        listener = self.elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol="HTTP",
            Port=PORT,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Listeners"][0]["ListenerArn"]
        if targets:
            self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": one} for one in targets])
        return group, listener, balancer, address

    def health(self, group):
        """{address: (state, reason, description)}"""
        found = self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return {
            one["Target"]["Id"]: tuple(one["TargetHealth"].get(key) for key in ("State", "Reason", "Description"))
            for one in found
        }

    def await_states(self, group, wanted, seconds=25):
        start = time.monotonic()
        while {one: said[0] for one, said in self.health(group).items()} != wanted:
            assert time.monotonic() - start < seconds, f"{self.health(group)} is not {wanted} after {seconds} s"
            time.sleep(0.1)
        took = time.monotonic() - start
        time.sleep(SETTLE_SECONDS)
        return took


def pairs(attributes):
    return [{"Key": key, "Value": value} for key, value in attributes.items()]


def get(address, path="/", headers=None, port=PORT, timeout=20):
    """(status, headers, body) of one request on a connection of its own."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class Load:
    """Steady requests from several clients, half of them on connections that are kept; `failed` are (time, why)."""

    def __init__(self, address, clients=4):
        self.address, self.count, self.failed = address, 0, []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[one % 2 == 0]) for one in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_problem):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, keep):
        connection = None
        while not self._stop.wait(0.01):
            try:
                connection = connection or http.client.HTTPConnection(self.address, PORT, timeout=20)
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                why = "" if answer.status == 200 else str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                why = repr(error)
            self.count += 1
            if why:
                self.failed.append((time.monotonic(), why))
            if why or not keep:
                connection.close()
                connection = None


def code_of(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"], refused.value.response["Error"]["Message"]
