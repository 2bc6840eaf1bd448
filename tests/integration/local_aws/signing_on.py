# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer that signs users on, and a client with cookies."""

from __future__ import annotations

import http.client
import http.cookies
import os
import socket
import ssl
import typing as t
from urllib.parse import urlencode, urlsplit

from tests.certificates import Authority
from tests.integration.local_aws.load_balancing import Account, Target

DOMAIN, PORT = "mlflow.example.com", 8443
POLICY = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"


class Browser:
    """Follows what it is told with the cookies it was given, host by host."""

    def __init__(self, balancer: str, trusted: str) -> None:
        self.balancer = balancer
        self.context = ssl.create_default_context(cafile=trusted)
        self.cookies: dict[str, dict[str, str]] = {}

    def ask(self, url: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, t.Any, bytes]:
        parts = urlsplit(url)
        address = self.balancer if parts.hostname == DOMAIN else parts.hostname
        jar = self.cookies.setdefault(parts.netloc, {})
        head = {"Host": parts.netloc, "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), **headers}
        body = urlencode(form) if form else None
        with (
            socket.create_connection((address, parts.port), timeout=20) as raw,
            self.context.wrap_socket(raw, server_hostname=parts.hostname) as connection,
        ):
            client = http.client.HTTPConnection(parts.netloc)
            client.sock = connection
            client.request("POST" if form else "GET", f"{parts.path or '/'}?{parts.query}", body, head)
            answer = client.getresponse()
            for line in answer.headers.get_all("Set-Cookie", []):
                for name, morsel in http.cookies.SimpleCookie(line).items():
                    jar[name] = morsel.value
            return answer.status, answer.headers, answer.read()


class Guarded:
    """A load balancer whose default action signs users on, and lets requests with basic authentication pass."""

    def __init__(self, account: Account, acm: t.Any, authority: Authority, sign_on: dict[str, t.Any]) -> None:
        self.elb = account.elb
        certificate, key = authority.issue(DOMAIN)
        arn = acm.import_certificate(Certificate=certificate.read_bytes(), PrivateKey=key.read_bytes())["CertificateArn"]
        group, self.plain, self.balancer, self.address = account.served()
        self.forward = {"Type": "forward", "Order": 2, "TargetGroupArn": group}
        self.target = Target(f"127.10.{249 - os.getpid() % 40}.9")
        self.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": self.target.server_address[0]}])
        made = self.elb.create_listener(
            LoadBalancerArn=self.balancer, Protocol="HTTPS", Port=PORT, SslPolicy=POLICY,
            Certificates=[{"CertificateArn": arn}], DefaultActions=[sign_on, self.forward],
        )  # fmt: skip
        self.created = made["Listeners"][0]
        self.listener = self.created["ListenerArn"]
        basic = {"HttpHeaderName": "Authorization", "Values": ["Basic *"]}
        self.elb.create_rule(
            ListenerArn=self.listener, Priority=1, Actions=[self.forward],
            Conditions=[{"Field": "http-header", "HttpHeaderConfig": basic}],
        )  # fmt: skip
        account.await_states(group, {self.target.server_address[0]: "healthy"})
        self.url = f"https://{DOMAIN}:{PORT}"
