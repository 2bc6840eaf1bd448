# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small OpenID Connect provider on loopback, over TLS: a login form, codes, tokens, user information, logout."""

from __future__ import annotations

import base64
import html
import http.cookies
import http.server
import json
import secrets
import ssl
import threading
import typing as t
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.certificates import Authority

FORM = """<html><body><h1>Sign on</h1><form method="post"><p>{problem}</p>
<input name="username"><input name="password" type="password"><button id="sign-on">Sign on</button></form></body></html>"""


class OidcProvider(http.server.ThreadingHTTPServer):
    """`users` are name to password; whoever has signed on stays so until /logout."""

    daemon_threads = True

    def __init__(self, authority: Authority, users: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        certificate, key = authority.issue("127.0.0.1")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.users = users
        self.client_id, self.client_secret = "mlflow", secrets.token_urlsafe(24)
        self.url = f"https://127.0.0.1:{self.server_port}"
        self.broken = False
        self.sessions: dict[str, str] = {}
        # code to (user, redirect URI), access token to user
        self.codes: dict[str, tuple[str, str]] = {}
        self.tokens: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()

    @property
    def endpoints(self) -> dict[str, str]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
        }

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that goes away is not worth a trace."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OidcProvider

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/.well-known/openid-configuration":
            self.answer_json(200, self.server.endpoints)
        elif path == "/authorize":
            user = self.server.sessions.get(self.cookie("provider_session"))
            self.give_code(user) if user else self.show_form()
        elif path == "/userinfo":
            user = self.server.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
            claims = {"sub": f"id-of-{user}", "email": f"{user}@example.com"}
            self.answer_json(200, claims) if user else self.answer_json(401, {"error": "invalid_token"})
        elif path == "/logout":
            self.server.sessions.pop(self.cookie("provider_session"), None)
            self.answer(200, b"signed off", {"Content-Type": "text/plain"})
        else:
            self.answer(404, b"", {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if urlsplit(self.path).path == "/authorize":
            user = form.get("username", "")
            if self.server.users.get(user) == form.get("password"):
                self.give_code(user)
            else:
                self.show_form("Wrong user name or password")
        else:
            self.give_token(form)

    def cookie(self, name: str) -> str:
        found = http.cookies.SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return found.value if found else ""

    def show_form(self, problem: str = "") -> None:
        page = FORM.format(problem=html.escape(problem)).encode()
        self.answer(200, page, {"Content-Type": "text/html"})

    def give_code(self, user: str) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        assert asked["client_id"] == self.server.client_id and asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        code, session = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self.server.codes[code] = (user, asked["redirect_uri"])
        self.server.sessions[session] = user
        target = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        self.answer(302, b"", {"Location": target, "Set-Cookie": f"provider_session={session}; Path=/; Secure"})

    def give_token(self, form: dict[str, str]) -> None:
        server = self.server
        login = base64.b64encode(f"{server.client_id}:{server.client_secret}".encode()).decode()
        user, redirect_uri = server.codes.pop(form.get("code", ""), ("", ""))
        if server.broken or self.headers.get("Authorization") != f"Basic {login}":
            self.answer_json(401, {"error": "invalid_client"})
        elif not user or redirect_uri != form.get("redirect_uri"):
            self.answer_json(400, {"error": "invalid_grant"})
        else:
            token = secrets.token_urlsafe(16)
            server.tokens[token] = user
            self.answer_json(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def answer_json(self, status: int, content: dict) -> None:
        self.answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: t.Any) -> None:
        """Keep the test's output readable."""
