# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service beside the proxies that signs users on: the proxy asks it about each request of a rule that wants that.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html
"""

from __future__ import annotations

import base64
import http.client
import http.cookies
import http.server
import json
import logging
import secrets
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from .sign_on import (
    CALLBACK_PATH,
    Answer,
    Provider,
    Request,
    Sealed,
    Signer,
    session_of,
    signed_on,
    state_of,
    to_provider,
)

PROVIDER_SECONDS = 10
# What ELB answers when the provider is not as it should be: load-balancer-troubleshooting.html#http-561-issues
NO_PROVIDER = Answer(561, body="Unauthorized: the identity provider returned an error")
NO_STATE = Answer(401, body="Unauthorized: this sign-on was not begun here, or took too long")
log = logging.getLogger(__name__)


class ProviderError(Exception):
    """The identity provider did not do what it should; the message is one line without a secret."""


class SignOnService:
    """Answers on loopback from the moment it is made until it is closed. The URLs are secret."""

    def __init__(self) -> None:
        self._rules: Mapping[str, tuple[Provider, str]] = {}
        self._secret = secrets.token_urlsafe(32)
        self._sealed = Sealed()
        self.signer = Signer(secrets.token_hex(16))
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer = service._answer(self.path, self.headers)
                body = answer.body.encode()
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """The URL must not be written down."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True, name="SignOnService").start()

    def place(self, rule: str) -> tuple[str, str]:
        """(host:port, path) where the proxy asks about requests of a rule."""
        return f"127.0.0.1:{self._server.server_port}", f"/{self._secret}/{rule}"

    def publish(self, rules: Mapping[str, tuple[Provider, str]]) -> None:
        """Replace all: name of a rule to its provider and the ARN of its load balancer."""
        self._rules = dict(rules)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, headers: Any) -> Answer:
        # The proxy leaves the query of the client's request at the end.
        secret, _slash, rule = path.partition("?")[0].removeprefix("/").partition("/")
        found = self._rules.get(rule) if secrets.compare_digest(secret, self._secret) else None
        if found is None:
            return Answer(404)
        provider, balancer_arn = found
        cookies = http.cookies.SimpleCookie(headers.get("Cookie", ""))
        request = Request(
            origin=f"{headers['X-Forwarded-Proto']}://{headers['X-Forwarded-Host']}",
            uri=headers["X-Forwarded-Uri"],
            cookies={name: morsel.value for name, morsel in cookies.items()},
        )
        if request.path == CALLBACK_PATH:
            return self._callback(request, provider)
        session = session_of(request, provider, self._sealed)
        if session is None:
            return to_provider(request, provider, self._sealed)
        return Answer(
            200,
            (
                ("X-Amzn-Oidc-Identity", session["claims"]["sub"]),
                ("X-Amzn-Oidc-Accesstoken", session["access_token"]),
                ("X-Amzn-Oidc-Data", self.signer.sign(session["claims"], provider, balancer_arn)),
            ),
        )

    def _callback(self, request: Request, provider: Provider) -> Answer:
        state = state_of(request, provider, self._sealed)
        if state is None or not request.parameter("code"):
            return NO_STATE
        try:
            access_token = _exchange(request, provider)
            claims = _ask(urllib.request.Request(provider.user_info_endpoint, headers=_bearer(access_token)), provider)
            if not isinstance(claims.get("sub"), str):
                raise ProviderError("its user information has no 'sub'")
        except ProviderError as error:
            log.warning("sign-on with %s failed: %s", provider.issuer, error)
            return NO_PROVIDER
        return signed_on({"claims": claims, "access_token": access_token}, state["uri"], request, provider, self._sealed)


def _exchange(request: Request, provider: Provider) -> str:
    """The access token for the code that the client brings."""
    form = {
        "grant_type": "authorization_code",
        "code": request.parameter("code"),
        "redirect_uri": request.origin + CALLBACK_PATH,
    }
    login = base64.b64encode(f"{provider.client_id}:{provider.client_secret}".encode()).decode()
    answer = _ask(
        urllib.request.Request(
            provider.token_endpoint,
            data=urllib.parse.urlencode(form).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/x-www-form-urlencoded"},
        ),
        provider,
    )
    if not isinstance(answer.get("access_token"), str):
        raise ProviderError("its token endpoint gave no access token")
    return answer["access_token"]


def _bearer(access_token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access_token}"}


def _ask(request: urllib.request.Request, provider: Provider) -> dict[str, Any]:
    trust = ssl.create_default_context()
    if provider.ca_path:
        trust.load_verify_locations(provider.ca_path)
    try:
        with urllib.request.urlopen(request, timeout=PROVIDER_SECONDS, context=trust) as answer:
            content = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise ProviderError(f"{request.full_url} answered {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ProviderError(f"{request.full_url} did not answer as it should: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise ProviderError(f"{request.full_url} answered no JSON object")
    return content
