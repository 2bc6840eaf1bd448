# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosted UI of a Cognito user pool decides: who may come in, which code and which tokens a client gets.

Users, passwords and clients are moto's. Passwords are the only way in here: other factors, other providers, sign-up and
forgotten passwords answer 501.
https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-userpools-server-contract-reference.html
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .sign_on import Answer, Sealed

# "The session cookie is valid for an hour", "codes are valid for five minutes": the page above.
SESSION_COOKIE = "cognito"
SESSION_SECONDS = 3600
CODE_SECONDS = 300
# AuthSessionValidity of an app client, by default: API_CreateUserPoolClient.html
CHALLENGE_SECONDS = 180
NOT_SERVED = (
    "/signup",
    "/forgotPassword",
    "/confirmUser",
    "/passkeys/add",
    "/oauth2/revoke",
    "/oauth2/idpresponse",
    "/saml2/idpresponse",
    "/saml2/logout",
)
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body><h1>{title}</h1>
{problem}{content}</body></html>
"""
LOGIN = """<form method="post" action="{action}">
<p><label>User name or email <input name="username" autocomplete="username" required></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button name="signInSubmitButton">Sign in</button></p></form>"""
NEW_PASSWORD = """<p>Your administrator wants you to choose a password of your own.</p>
<form method="post" action="{action}"><input type="hidden" name="challenge" value="{challenge}">
<p><label>New password <input name="new_password" type="password" autocomplete="new-password" required></label></p>
<p><label>Again <input name="confirm_password" type="password" autocomplete="new-password" required></label></p>
<p><button name="reset_password">Send</button></p></form>"""


@dataclass(frozen=True)
class Asked:
    """One request of a browser or a client."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    cookies: dict[str, str]
    authorization: str = ""


@dataclass(frozen=True)
class Grant:
    """What a code stands for; `until` is a moment of the clock that only goes forward."""

    username: str
    client_id: str
    redirect_uri: str
    scope: str
    until: float


class Refused(Exception):
    """A request that gets no further; `answer` goes to whoever asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class HostedUi:
    """The hosted UI of one domain. `backend` is moto's of the region, which has the pool."""

    def __init__(self, backend: Any, pool_id: str) -> None:
        self.backend = backend
        self.pool_id = pool_id
        self._sealed = Sealed()
        self._codes: dict[str, Grant] = {}
        # Value of the cookie to (user, until when).
        self._sessions: dict[str, tuple[str, float]] = {}
        self._routes: dict[tuple[str, str], Callable[[Asked], Answer]] = {
            ("GET", "/oauth2/authorize"): self._authorize,
            ("GET", "/login"): self._login,
            ("POST", "/login"): self._log_in,
            ("POST", "/changePassword"): self._change_password,
            ("GET", "/logout"): self._log_out,
            ("GET", "/error"): self._error,
            ("POST", "/oauth2/token"): self._token,
            ("GET", "/oauth2/userInfo"): self._user_info,
        }

    def answer(self, asked: Asked) -> Answer:
        if self.pool_id not in self.backend.user_pools:
            return _page(404, "Not found")
        if asked.path in NOT_SERVED:
            return _not_served(asked.path)
        route = self._routes.get((asked.method, asked.path))
        if route is None:
            return _page(404, "Not found")
        try:
            return route(asked)
        except Refused as refused:
            return refused.answer

    @property
    def _pool(self) -> Any:
        return self.backend.user_pools[self.pool_id]

    # --- browsers --------------------------------------------------------------------------------------------------

    def _authorize(self, asked: Asked) -> Answer:
        self._check(asked)
        username = self._signed_on(asked)
        if username is not None:
            return self._give_code(username, asked)
        return _redirect("/login", asked.query)

    def _login(self, asked: Asked) -> Answer:
        self._check(asked)
        return _login_page(asked)

    def _log_in(self, asked: Asked) -> Answer:
        self._check(asked)
        name, password = asked.form.get("username", ""), asked.form.get("password", "")
        user = self._user(name)
        if user is None or not user.password or not secrets.compare_digest(user.password, password):
            return _login_page(asked, "Incorrect username or password.")
        if not user.enabled:
            return _login_page(asked, "User is disabled.")
        if user.status == "FORCE_CHANGE_PASSWORD":
            return self._ask_for_new_password(user, asked)
        if user.status != "CONFIRMED":
            return _not_served(f"signing in as a user whose status is {user.status.value}")
        return self._come_in(user, asked)

    def _ask_for_new_password(self, user: Any, asked: Asked, problem: str = "") -> Answer:
        challenge = self._sealed.seal({"user": user.id, "password": user.password})
        content = NEW_PASSWORD.format(action=_action("/changePassword", asked.query), challenge=challenge)
        return _page(200, "Change password", content, problem)

    def _change_password(self, asked: Asked) -> Answer:
        from moto.cognitoidp.exceptions import InvalidPasswordException

        self._check(asked)
        told = self._sealed.open(asked.form.get("challenge", ""), CHALLENGE_SECONDS) or {}
        user = next((one for one in self._pool.users.values() if one.id == told.get("user")), None)
        # The challenge is good for once: the password has changed after that.
        if user is None or not user.enabled or user.password != told["password"]:
            return _login_page(asked, "Your session has ended; sign in again.")
        password = asked.form.get("new_password", "")
        if password != asked.form.get("confirm_password"):
            return self._ask_for_new_password(user, asked, "The passwords do not match.")
        try:
            self.backend._validate_password(self.pool_id, password)
        except InvalidPasswordException:
            return self._ask_for_new_password(user, asked, "Password does not conform to policy.")
        user.password, user.status = password, type(user.status).CONFIRMED
        return self._come_in(user, asked)

    def _come_in(self, user: Any, asked: Asked) -> Answer:
        """Of a user whose password was right."""
        if self._pool.mfa_config == "ON" or user.software_token_mfa_enabled or user.sms_mfa_enabled:
            return _not_served("multi-factor authentication")
        name, session = self._name_of(user), secrets.token_urlsafe(32)
        self._sessions[session] = (name, time.monotonic() + SESSION_SECONDS)
        cookie = f"{SESSION_COOKIE}={session}; Path=/; Max-Age={SESSION_SECONDS}; Secure; HttpOnly; SameSite=Lax"
        given = self._give_code(name, asked)
        return Answer(given.status, (*given.headers, ("Set-Cookie", cookie)))

    def _give_code(self, username: str, asked: Asked) -> Answer:
        code, now = secrets.token_urlsafe(24), time.monotonic()
        self._codes = {one: grant for one, grant in self._codes.items() if grant.until > now}
        client, redirect_uri = self._client(asked.query), asked.query["redirect_uri"]
        self._codes[code] = Grant(username, client.id, redirect_uri, _scope(client, asked.query), now + CODE_SECONDS)
        state = {"state": asked.query["state"]} if "state" in asked.query else {}
        return _redirect(redirect_uri, {"code": code, **state})

    def _log_out(self, asked: Asked) -> Answer:
        # https://docs.aws.amazon.com/cognito/latest/developerguide/logout-endpoint.html
        client = self._client(asked.query)
        self._sessions.pop(asked.cookies.get(SESSION_COOKIE, ""), None)
        gone = ("Set-Cookie", f"{SESSION_COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
        target = asked.query.get("logout_uri", "")
        if target and target in client.extended_config.get("LogoutURLs", []):
            return Answer(302, (("Location", target), gone))
        if target or "redirect_uri" not in asked.query:
            return _page(400, "An error was encountered with the requested page.")
        self._check(asked)
        again = _redirect("/login", {name: value for name, value in asked.query.items() if name != "logout_uri"})
        return Answer(again.status, (*again.headers, gone))

    def _error(self, asked: Asked) -> Answer:
        return _page(400, "An error was encountered with the requested page.", "", asked.query.get("error", ""))

    def _signed_on(self, asked: Asked) -> str | None:
        """Who has signed on here with this browser and still may."""
        name, until = self._sessions.get(asked.cookies.get(SESSION_COOKIE, ""), ("", 0.0))
        user = self._user(name) if until > time.monotonic() else None
        return name if user is not None and user.enabled and user.status == "CONFIRMED" else None

    def _check(self, asked: Asked) -> None:
        """Refused for what must not lead to a code.

        https://docs.aws.amazon.com/cognito/latest/developerguide/authorization-endpoint.html
        """
        query = asked.query
        client = self._client(query)
        config = client.extended_config
        target = query.get("redirect_uri", "")
        # Whoever is not registered must get nothing, not even an error.
        if target not in config.get("CallbackURLs", []):
            raise Refused(_redirect("/error", {"error": "redirect_mismatch", "client_id": client.id}))
        state = {"state": query["state"]} if "state" in query else {}
        for given in ("code_challenge", "identity_provider", "idp_identifier"):
            if query.get(given) not in (None, "COGNITO"):
                raise Refused(_not_served(f"'{given}'"))
        if "COGNITO" not in config.get("SupportedIdentityProviders", ["COGNITO"]):
            raise Refused(_not_served("an app client without the provider COGNITO"))
        problem = ""
        if query.get("response_type") != "code":
            problem = "invalid_request"
        elif not config.get("AllowedOAuthFlowsUserPoolClient") or "code" not in config.get("AllowedOAuthFlows", []):
            problem = "unauthorized_client"
        elif not set(_scope(client, query).split()) <= set(config.get("AllowedOAuthScopes", [])):
            problem = "invalid_scope"
        if problem:
            raise Refused(_redirect(target, {"error": problem, **state}))

    def _client(self, query: dict[str, str]) -> Any:
        client = self._pool.clients.get(query.get("client_id", ""))
        if client is None:
            raise Refused(_redirect("/error", {"error": "unauthorized_client"}))
        return client

    def _user(self, name: str) -> Any:
        """A user by the name that is signed in with; pools may overlook its case."""
        if (self._pool.extended_config.get("UsernameConfiguration") or {}).get("CaseSensitive", True):
            return self._pool._get_user(name)
        return next((one for one in self._pool.users.values() if self._name_of(one).lower() == name.lower()), None)

    def _name_of(self, user: Any) -> str:
        if "email" in self._pool.extended_config.get("UsernameAttributes", []):
            return user.attribute_lookup.get("email", user.username)
        return user.username

    # --- clients ---------------------------------------------------------------------------------------------------

    def _token(self, asked: Asked) -> Answer:
        # https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html
        form = asked.form
        name, secret = _login_of(asked)
        client = self._pool.clients.get(name)
        if client is None or (client.generate_secret and not secrets.compare_digest(client.secret, secret)):
            return _json(400, {"error": "invalid_client"})
        if form.get("grant_type") != "authorization_code":
            return _json(400, {"error": "unsupported_grant_type"})
        # A code is good for one try.
        grant = self._codes.pop(form.get("code", ""), None)
        good = grant is not None and grant.until > time.monotonic() and grant.client_id == client.id
        user = self._user(grant.username) if good else None
        if grant is None or user is None or not user.enabled or grant.redirect_uri != form.get("redirect_uri"):
            return _json(400, {"error": "invalid_grant"})
        pool = self._pool
        refresh_token, origin = pool.create_refresh_token(client.id, grant.username)
        more = {"origin_jti": origin, "scope": grant.scope}
        access_token, seconds = pool.create_jwt(client.id, grant.username, "access", extra_data=more)
        pool.access_tokens[access_token] = (client.id, grant.username)
        id_token, _seconds = pool.create_id_token(client.id, grant.username, origin)
        return _json(
            200,
            {
                "id_token": id_token,
                "access_token": access_token,
                "refresh_token": refresh_token,
                "expires_in": seconds,
                "token_type": "Bearer",
            },
        )

    def _user_info(self, asked: Asked) -> Answer:
        # https://docs.aws.amazon.com/cognito/latest/developerguide/userinfo-endpoint.html
        token = asked.authorization.removeprefix("Bearer ")
        _client, username = self._pool.access_tokens.get(token, ("", ""))
        user = self._user(username) if username else None
        claims = _claims(token) if user is not None else {}
        scopes = claims.get("scope", "").split()
        if user is None or not user.enabled or claims.get("exp", 0) < time.time() or "openid" not in scopes:
            return _json(401, {"error": "invalid_token", "error_description": "Invalid access token"})
        told = {"sub": user.id, "username": user.username}
        for scope, names in {"email": ("email", "email_verified"), "phone": ("phone_number", "phone_number_verified")}.items():
            if scope in scopes:
                told |= {name: user.attribute_lookup[name] for name in names if name in user.attribute_lookup}
        return _json(200, told)


def _scope(client: Any, query: dict[str, str]) -> str:
    """What is asked to be known; everything that the client may if nothing is named."""
    return query.get("scope") or " ".join(client.extended_config.get("AllowedOAuthScopes", []))


def _login_of(asked: Asked) -> tuple[str, str]:
    """(ID, secret) of a client, in the header or in the form."""
    if not asked.authorization.startswith("Basic "):
        return asked.form.get("client_id", ""), asked.form.get("client_secret", "")
    try:
        name, _colon, secret = base64.b64decode(asked.authorization[6:], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _claims(token: str) -> dict[str, Any]:
    """Of a token that the pool has given, so that its signature need not be looked at."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def _redirect(target: str, query: dict[str, str]) -> Answer:
    joint = "&" if "?" in target else "?"
    return Answer(302, (("Location", f"{target}{joint}{urlencode(query)}"),))


def _action(path: str, query: dict[str, str]) -> str:
    return html.escape(f"{path}?{urlencode(query)}", quote=True)


def _login_page(asked: Asked, problem: str = "") -> Answer:
    return _page(200, "Sign in", LOGIN.format(action=_action("/login", asked.query)), problem)


def _not_served(what: str) -> Answer:
    return _page(501, "Not implemented", "", f"{what} is not supported by the local AWS: sign in with a user name and a password")


def _page(status: int, title: str, content: str = "", problem: str = "") -> Answer:
    told = f'<p id="problem">{html.escape(problem)}</p>\n' if problem else ""
    page = PAGE.format(title=html.escape(title), problem=told, content=content)
    return Answer(status, (("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")), page)


def _json(status: int, content: dict[str, Any]) -> Answer:
    headers = (("Content-Type", "application/json;charset=UTF-8"), ("Cache-Control", "no-store"))
    return Answer(status, headers, json.dumps(content))
