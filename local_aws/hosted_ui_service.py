# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves the hosted UI of each domain of a user pool over TLS, on a loopback address of its own.

On AWS a domain is https://<prefix>.auth.<region>.amazoncognito.com, a name that leads nowhere here: load balancers send
browsers to the address instead.
https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html
"""

from __future__ import annotations

import http.cookies
import http.server
import ssl
import tempfile
import threading
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .addresses import Addresses
from .certificates import Authority
from .hosted_ui import Asked, HostedUi
from .sign_on import Provider

PORT = 8443
MOST_BYTES = 64 * 1024


class HostedUis:
    """Every domain of the instance, by (account, region, domain)."""

    def __init__(self, addresses: Addresses, authority: Authority) -> None:
        self._addresses = addresses
        self._authority = authority
        self._servers: dict[tuple[str, str, str], HostedUiServer] = {}

    def open(self, backend: Any, pool_id: str, domain: str) -> None:
        """Serve a domain from now on."""
        address = self._addresses.allocate("hosted_ui", PORT)
        server = HostedUiServer(HostedUi(backend, pool_id), address, self._authority)
        self._servers[backend.account_id, backend.region_name, domain] = server

    def close(self, backend: Any, domain: str) -> None:
        self._servers.pop((backend.account_id, backend.region_name, domain)).end()

    def close_all(self) -> None:
        while self._servers:
            self._servers.popitem()[1].end()

    def report(self) -> list[dict[str, str]]:
        """For people."""
        return [
            {"name": domain, "region": region, "pool": server.ui.pool_id, "address": server.url}
            for (_account, region, domain), server in list(self._servers.items())
        ]

    def provider(self, config: dict[str, Any]) -> Provider:
        """What a load balancer must know for an AuthenticateCognitoActionConfig.

        A domain that is not there, or is another pool's, leads to its name on AWS, and so to nowhere.
        """
        partition, _service, region, account, resource = config["UserPoolArn"].split(":", 5)[1:]
        pool_id, domain = resource.removeprefix("userpool/"), config["UserPoolDomain"]
        server = self._servers.get((account, region, domain))
        pool = server.ui.backend.user_pools.get(pool_id) if server and server.ui.pool_id == pool_id else None
        client = pool.clients.get(config["UserPoolClientId"]) if pool else None
        base = server.url if server and client else f"https://{domain}.auth.{region}.amazoncognito.com"
        suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
        return Provider.from_api(
            {
                **config,
                "Issuer": f"https://cognito-idp.{region}.{suffix}/{pool_id}",
                "AuthorizationEndpoint": f"{base}/oauth2/authorize",
                "TokenEndpoint": f"{base}/oauth2/token",
                "UserInfoEndpoint": f"{base}/oauth2/userInfo",
                "ClientId": config["UserPoolClientId"],
                "ClientSecret": client.secret if client else "",
            },
            ca_path=str(self._authority.path),
        )


class HostedUiServer(http.server.ThreadingHTTPServer):
    """Answers from the moment it is made until its end."""

    daemon_threads = True

    def __init__(self, ui: HostedUi, address: str, authority: Authority) -> None:
        super().__init__((address, PORT), Handler)
        self.ui = ui
        self.url = f"https://{address}:{PORT}"
        # In the thread of each request: a client that says nothing must not keep the others waiting.
        self.socket = _context(authority, address).wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True, name="HostedUi").start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or trusts nobody, is not worth a trace."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()


def _context(authority: Authority, address: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate, key = authority.issue(address, [])
    # The standard library reads certificates from files only.
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: HostedUiServer

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= MOST_BYTES:
            self.close_connection = True
            self.send_error(413 if length > 0 else 400)
            return
        self._answer(dict(parse_qsl(self.rfile.read(length).decode("utf-8", "replace"))))

    def _answer(self, form: dict[str, str]) -> None:
        parts = urlsplit(self.path)
        try:
            cookies = http.cookies.SimpleCookie(self.headers.get("Cookie", ""))
        except http.cookies.CookieError:
            cookies = http.cookies.SimpleCookie()
        answer = self.server.ui.answer(
            Asked(
                method=self.command,
                path=parts.path,
                query=dict(parse_qsl(parts.query)),
                form=form,
                cookies={name: morsel.value for name, morsel in cookies.items()},
                authorization=self.headers.get("Authorization", ""),
            )
        )
        body = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """URLs hold codes."""
