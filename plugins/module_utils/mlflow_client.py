# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to an MLflow server with basic authentication, through Ansible's own URL library.

API: https://mlflow.org/docs/latest/rest-api.html and mlflow/server/auth (users); no MLflow package is needed.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
import typing as t
import urllib.error

from ansible.module_utils import urls
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_address, mlflow_errors, mlflow_retry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError

AGENT = "mlops.mlflow_aws"
API = "/api/2.0/mlflow/"
# Grants and roles, from MLflow 3.13 on.
API_3 = "/api/3.0/mlflow/"
LARGEST_JSON = 32 * 1024 * 1024
# Bytes per second that an answer must reach once it has taken longer than the timeout.
SLOWEST = 10000
_CHUNK = 65536


def argument_spec() -> dict[str, dict[str, t.Any]]:
    """The options of the doc fragment mlops.mlflow_aws.mlflow."""
    return {
        "tracking_uri": {"type": "str", "required": True},
        "username": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "timeout": {"type": "int", "default": 30},
        "retry_timeout": {"type": "int", "default": 30},
    }


class Login(t.NamedTuple):
    username: str
    password: str


class Answer(t.NamedTuple):
    """What came back, whatever its status. `headers` has lower-case names."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    def json(self) -> t.Any:
        """The parsed body, None if it is not JSON."""
        return mlflow_errors.parse_json(self.text)


class Client:
    """One server, one login. `params` are a module's params; raises ValueError on bad ones.

    `until` (monotonic seconds), when set, ends all repeating, whatever retry_timeout would still allow.
    """

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self.base = mlflow_address.base_url(params["tracking_uri"])
        self.login = self._login(params)
        for option, least in (("timeout", 1), ("retry_timeout", 0)):
            if params[option] < least:
                raise ValueError(f"{option}: {params[option]} seconds is too short; give {least} or more")
        self.ca_path = params.get("ca_path")
        if self.ca_path and not os.path.isfile(self.ca_path):
            raise ValueError(f"ca_path: {self.ca_path} is no file; give a file with certificates in PEM")
        self.validate_certs = params["validate_certs"]
        self.timeout = params["timeout"]
        self.retry_timeout = params["retry_timeout"]
        self.until: float | None = None
        # Called before each request, to hold it back.
        self.pace: t.Callable[[], None] = lambda: None
        # Requests sent so far; several threads may share a client.
        self.requests = 0
        self._counting = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._secrets: set[str] = set()
        if self.login:
            self.keep_secret(self.login.username, self.login.password)

    def _login(self, params: t.Mapping[str, t.Any]) -> Login:
        mlflow_address.refuse_username("username", params["username"])
        mlflow_address.refuse_password("password", params["password"])
        return Login(params["username"], params["password"])

    def keep_secret(self, username: str, password: str | None) -> None:
        """From now on no error shows this password, or the login made of it."""
        self._secrets |= mlflow_errors.login_secrets(username, password)

    def mask(self, text: str) -> str:
        return mlflow_errors.mask(text, self._secrets)

    def call(
        self,
        method: str,
        path: str,
        query: t.Mapping[str, str] | None = None,
        body: t.Any = None,
        login: Login | None = None,
        repeatable: bool | None = None,
        api: str = API,
    ) -> dict[str, t.Any]:
        """The JSON object that API call `path` (such as "users/get") answers; anything else raises MlflowError.

        `repeatable`: doing it twice does no more than doing it once; default: GET is, everything else is not.
        """
        answer = self.send(method, api + path, query, body, login=login or self.login, repeatable=repeatable)
        parsed = answer.json()
        if answer.status == 200 and isinstance(parsed, dict):
            return parsed
        raise self.error(answer, method, api + path)

    def send(
        self,
        method: str,
        path: str,
        query: t.Mapping[str, str] | None = None,
        body: t.Any = None,
        data: bytes | t.BinaryIO | None = None,
        headers: t.Mapping[str, str] | None = None,
        login: Login | None = None,
        repeatable: bool | None = None,
        largest: int | None = LARGEST_JSON,
        into: t.BinaryIO | None = None,
        timeout: int | None = None,
    ) -> Answer:
        """The answer, whatever its status, after repeating what may be repeated; MlflowError when there is none.

        `path` begins with a slash and is quoted already; `body` is sent as JSON, `data` as it is, a file from its
        beginning and with the Content-Length in `headers`; without `login` no credentials are sent; an answer of more
        than `largest` bytes is an error. What comes with status 200 is written to the file `into`, if given, instead of
        being held in memory. `timeout` (s) counts instead of the client's own.
        """
        sent_headers = dict(headers or {})
        if body is not None:
            data = json.dumps(body).encode("ascii")
            sent_headers["Content-Type"] = "application/json"
        url = mlflow_address.with_query(self.base + path, query)
        again = method == "GET" if repeatable is None else repeatable
        deadline = time.monotonic() + self.retry_timeout
        if self.until is not None:
            deadline = min(deadline, self.until)
        attempt = 0
        while True:
            if hasattr(data, "seek"):
                data.seek(0)
            outcome = self._once(method, url, data, sent_headers, login, largest, into, timeout or self.timeout)
            pause = _pause(outcome, again, attempt)
            if pause is not None and time.monotonic() + pause < deadline:
                time.sleep(pause)
                attempt += 1
                continue
            if isinstance(outcome, Answer):
                return outcome
            if attempt:
                outcome.message += f" ({attempt + 1} tries)"
            raise outcome

    def error(self, answer: Answer, method: str, path: str) -> MlflowError:
        """The error that `answer` is."""
        kind, code, message = mlflow_errors.describe(answer.status, answer.text, answer.headers.get("location", ""))
        if answer.status == 200 and kind != "html":
            message = "the answer is no JSON object"
        return MlflowError(answer.status, code, self.mask(message), method, self.base + path, kind)

    def _tls(self) -> ssl.SSLContext:
        # open_url would read the system's certificates for every request, at 25 ms each.
        if self._context is None:
            self._context = urls.make_context(cafile=self.ca_path, validate_certs=self.validate_certs)
        return self._context

    def _once(
        self,
        method: str,
        url: str,
        data: t.Any,
        headers: dict[str, str],
        login: Login | None,
        largest: int | None,
        into: t.BinaryIO | None,
        timeout: int,
    ) -> Answer | MlflowError:
        self.pace()
        with self._counting:
            self.requests += 1
        try:
            try:
                response = urls.Request().open(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    timeout=timeout,
                    context=self._tls(),
                    url_username=login.username if login else None,
                    url_password=login.password if login else None,
                    force_basic_auth=login is not None,
                    follow_redirects="none",
                    http_agent=AGENT,
                    use_netrc=False,
                    decompress=False,
                )
            except urllib.error.HTTPError as error:
                response = error
            with response:
                received = {name.lower(): value for name, value in response.headers.items()}
                parts = _parts(response, largest, timeout)
                if into is None or response.status != 200:
                    return Answer(response.status, received, b"".join(parts))
                into.seek(0)
                into.truncate()
                for part in parts:
                    into.write(part)
                return Answer(response.status, received, b"")
        except (OSError, http.client.HTTPException, urls.ConnectionError) as error:
            kind, message = classify(error)
            # The query may hold a user name; the path says enough.
            return MlflowError(None, "", self.mask(message), method, url.split("?", 1)[0], kind)


def _pause(outcome: Answer | MlflowError, repeatable: bool, attempt: int) -> float | None:
    """Seconds until the next try, None if there shall be none."""
    if isinstance(outcome, MlflowError):
        again = mlflow_retry.may_repeat(None, outcome.kind, repeatable)
        asked = None
    else:
        again = mlflow_retry.may_repeat(outcome.status, "", repeatable)
        asked = mlflow_retry.retry_after(outcome.headers.get("retry-after"), time.time())
    return mlflow_retry.pause(attempt, asked, random.random()) if again else None


def _parts(response: t.Any, largest: int | None, timeout: float) -> t.Iterator[bytes]:
    """The body. Sockets time out only between two parts, so an answer that trickles is given up here."""
    started = time.monotonic()
    size = 0
    while True:
        part = response.read1(_CHUNK)
        if not part:
            break
        size += len(part)
        if largest is not None and size > largest:
            raise http.client.HTTPException(f"the answer is larger than {largest} bytes")
        if time.monotonic() - started > timeout + size / SLOWEST:
            raise TimeoutError
        yield part
    # Reading in parts does not raise when the connection ends early.
    missing = getattr(response, "length", None)
    if missing:
        raise http.client.IncompleteRead(b"", missing)


def classify(error: BaseException) -> tuple[str, str]:
    """(kind, message) of an exception that stands for no answer; kinds as in MlflowError."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return classify(error.reason)
    said = mlflow_errors.one_line(str(error)) or type(error).__name__
    if isinstance(error, (ssl.SSLError, urls.SSLValidationError)):
        return "tls", f"no TLS connection: {said}"
    if isinstance(error, ConnectionRefusedError):
        return "refused", "the connection is refused"
    if isinstance(error, socket.gaierror):
        return "name", f"the host name does not resolve: {said}"
    if isinstance(error, (TimeoutError, socket.timeout)):
        return "timeout", "no answer in time"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return "connection", f"the answer breaks off or is not HTTP: {said}"
    return "connection", f"the connection fails: {said}"
