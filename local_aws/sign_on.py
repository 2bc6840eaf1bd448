# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Application Load Balancer does to sign users on with OpenID Connect, Cognito's too: decisions, cookies and tokens.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CALLBACK_PATH = "/oauth2/idpresponse"
STATE_COOKIE = "AWSALBAuthNonce"
# A cookie holds 4 KiB: a session is cut into shards, AWSELBAuthSessionCookie-0 and so on.
SHARD_BYTES = 3800
# "Client login timeout: 15 minutes": the page above.
LOGIN_SECONDS = 15 * 60
# The signed claims end after two minutes: a target that keeps them must ask again.
CLAIMS_SECONDS = 120


@dataclass(frozen=True)
class Provider:
    """AuthenticateOidcActionConfig: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/"""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    user_info_endpoint: str
    client_id: str
    client_secret: str
    scope: str = "openid"
    session_cookie_name: str = "AWSELBAuthSessionCookie"
    session_timeout: int = 604800
    on_unauthenticated: str = "authenticate"
    # File with what the provider's certificate is checked against beside the system's; empty for nothing more.
    ca_path: str = ""

    @classmethod
    def from_api(cls, config: dict[str, Any], ca_path: str = "") -> Provider:
        return cls(
            issuer=config["Issuer"],
            authorization_endpoint=config["AuthorizationEndpoint"],
            token_endpoint=config["TokenEndpoint"],
            user_info_endpoint=config["UserInfoEndpoint"],
            client_id=config["ClientId"],
            client_secret=config.get("ClientSecret", ""),
            scope=config.get("Scope") or "openid",
            session_cookie_name=config.get("SessionCookieName") or "AWSELBAuthSessionCookie",
            session_timeout=int(config.get("SessionTimeout") or 604800),
            on_unauthenticated=config.get("OnUnauthenticatedRequest") or "authenticate",
            ca_path=ca_path,
        )


@dataclass(frozen=True)
class Request:
    """What a client asked for: `origin` is scheme://host[:port], `uri` path and query."""

    origin: str
    uri: str
    cookies: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.uri).path

    def parameter(self, name: str) -> str:
        return parse_qs(urlsplit(self.uri).query).get(name, [""])[0]


@dataclass(frozen=True)
class Answer:
    """Status 200 lets the request pass, with `headers` added to it; anything else goes to the client."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


class Sealed:
    """Cookies and states that only this instance can read, in the cookies of one rule."""

    def __init__(self) -> None:
        self._fernet = Fernet(Fernet.generate_key())

    def seal(self, content: dict[str, Any]) -> str:
        return self._fernet.encrypt(json.dumps(content).encode()).decode()

    def open(self, text: str, seconds: int) -> dict[str, Any] | None:
        """None for what is older than `seconds`, or was not sealed here."""
        try:
            return json.loads(self._fernet.decrypt(text.encode(), ttl=seconds))
        except (InvalidToken, ValueError):
            return None


class Signer:
    """Signs the claims that targets may trust. Its public key is served where its `key_id` tells."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, claims: dict[str, Any], provider: Provider, balancer_arn: str) -> str:
        """A JSON web token (ES256). Unlike others, a load balancer's keeps the padding of its base64."""
        expires = int(time.time()) + CLAIMS_SECONDS
        header = {
            "typ": "JWT",
            "kid": self.key_id,
            "alg": "ES256",
            "iss": provider.issuer,
            "client": provider.client_id,
            "signer": balancer_arn,
            "exp": expires,
        }
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, {**claims, "exp": expires}))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()


def session_of(request: Request, provider: Provider, sealed: Sealed) -> dict[str, Any] | None:
    """What is known of the user who asks; None without a valid session."""
    shards = []
    while (shard := request.cookies.get(f"{provider.session_cookie_name}-{len(shards)}")) is not None:
        shards.append(shard)
    session = sealed.open("".join(shards), provider.session_timeout)
    if session is None or (session["issuer"], session["client"]) != (provider.issuer, provider.client_id):
        return None
    return session


def to_provider(request: Request, provider: Provider, sealed: Sealed) -> Answer:
    """Send a client without a session to where it can sign on."""
    if provider.on_unauthenticated == "allow":
        return Answer(200)
    if provider.on_unauthenticated == "deny":
        return Answer(401, body="Unauthorized")
    nonce = sealed.seal({"uri": request.uri, "client": provider.client_id})
    query = urlencode(
        {
            "client_id": provider.client_id,
            "redirect_uri": request.origin + CALLBACK_PATH,
            "response_type": "code",
            "scope": provider.scope,
            "state": nonce,
        }
    )
    joint = "&" if "?" in provider.authorization_endpoint else "?"
    headers = (
        ("Location", f"{provider.authorization_endpoint}{joint}{query}"),
        ("Set-Cookie", f"{STATE_COOKIE}={nonce}; Path=/; Max-Age={LOGIN_SECONDS}; Secure; HttpOnly; SameSite=None"),
    )
    return Answer(302, headers)


def state_of(request: Request, provider: Provider, sealed: Sealed) -> dict[str, Any] | None:
    """The state that a client brings back from the provider; None if it is not the one that was given to it."""
    state = request.parameter("state")
    if not state or request.cookies.get(STATE_COOKIE) != state:
        return None
    content = sealed.open(state, LOGIN_SECONDS)
    return content if content and content["client"] == provider.client_id else None


def signed_on(session: dict[str, Any], uri: str, request: Request, provider: Provider, sealed: Sealed) -> Answer:
    """Send a client that has signed on back to what it asked for, with its session."""
    content = sealed.seal({**session, "issuer": provider.issuer, "client": provider.client_id})
    shards = [content[start : start + SHARD_BYTES] for start in range(0, len(content), SHARD_BYTES)]
    cookies = tuple(
        (
            "Set-Cookie",
            f"{provider.session_cookie_name}-{number}={shard}; Path=/; Max-Age={provider.session_timeout}; Secure; HttpOnly",
        )
        for number, shard in enumerate(shards)
    )
    return Answer(302, (("Location", request.origin + uri), *cookies))
