# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two servers of a copy: one that is only read, maybe without a login or with a token, and the destination."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_versions
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer, Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError

MOST_PARALLEL = 64
# MLflow 3.0 and newer have logged models.
LOGGED_MODELS = (3, 0)
One = t.TypeVar("One")


def source_spec() -> dict[str, dict[str, t.Any]]:
    """The options of the doc fragment mlops.mlflow_aws.mlflow_source."""
    return {
        "source_tracking_uri": {"type": "str", "required": True},
        "source_username": {"type": "str"},
        "source_password": {"type": "str", "no_log": True},
        "source_token": {"type": "str", "no_log": True},
        "source_validate_certs": {"type": "bool", "default": True},
        "source_ca_path": {"type": "path"},
        "source_name": {"type": "str"},
        "requests_per_second": {"type": "float", "default": 0},
        "max_parallel": {"type": "int", "default": 4},
    }


class Pace:
    """Holds requests back, so that there are no more than so many a second; 0 holds back none."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        if not self._interval:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        time.sleep(turn - now)


class Reader(Client):
    """A server that is only read: with name and password, with a token, or with neither."""

    def _login(self, params: t.Mapping[str, t.Any]) -> t.Any:
        self.token = params.get("token")
        if self.token is not None and (params.get("username") or params.get("password")):
            raise ValueError("token: it is given along with a name or password; give the one or the other")
        if self.token is not None and (not self.token or not self.token.isascii() or not self.token.isprintable()):
            raise ValueError("token: it is empty or holds other characters than ASCII; check where it comes from")
        if params.get("username") is None and params.get("password") is None:
            return None
        if params.get("username") is None or params.get("password") is None:
            raise ValueError("username: name and password belong together; give both or neither")
        return super()._login(params)

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        super().__init__(params)
        if self.token:
            self.keep_secret("", self.token)

    def _once(self, method: str, url: str, data: t.Any, headers: dict[str, str], *more: t.Any) -> t.Any:
        if self.token:
            headers = {**headers, "Authorization": f"Bearer {self.token}"}
        return super()._once(method, url, data, headers, *more)

    def error(self, answer: Answer, method: str, path: str) -> MlflowError:
        error = super().error(answer, method, path)
        # MLflow's own login by name and password breaks on a token, with a page of status 500.
        if self.token and (answer.status == 401 or (answer.status == 500 and error.kind == "html")):
            error.message, error.kind = "the server refuses this token", "token"
        elif answer.status == 401 and not self.login:
            error.message = "the server wants a user name and a password, or a token"
        return error


def source(params: t.Mapping[str, t.Any]) -> Reader:
    """The source of a copy; ValueError on bad options, named as the user gave them."""
    names = ("tracking_uri", "username", "password", "token", "validate_certs", "ca_path")
    given = {name: params[f"source_{name}"] for name in names}
    try:
        client = Reader({**given, "timeout": params["timeout"], "retry_timeout": params["retry_timeout"]})
    except ValueError as error:
        text = str(error)
        raise ValueError(f"source_{text}" if text.startswith(names) else text) from None
    client.pace = pace(params)
    return client


def destination(params: t.Mapping[str, t.Any]) -> Client:
    client = Client(params)
    client.pace = pace(params)
    return client


def pace(params: t.Mapping[str, t.Any]) -> Pace:
    if params["requests_per_second"] < 0:
        raise ValueError(f"requests_per_second: {params['requests_per_second']} is less than none; give 0 for no limit")
    if not 1 <= params["max_parallel"] <= MOST_PARALLEL:
        raise ValueError(f"max_parallel: {params['max_parallel']} requests at a time; give 1 to {MOST_PARALLEL}")
    return Pace(params["requests_per_second"])


def source_name(params: t.Mapping[str, t.Any], client: Client) -> str:
    """What the marks call the source."""
    return params["source_name"] or client.base


def version(client: Client) -> tuple[int, int]:
    """(major, minor) of a server; MlflowError if it does not say, as no server that could be copied."""
    answer = client.send("GET", "/version", login=client.login)
    parsed = mlflow_versions.parse(answer.text) if answer.status == 200 else None
    if parsed is None:
        error = client.error(answer, "GET", "/version")
        if answer.status == 200:
            error.message = "the answer is no version of MLflow; check that the address is that of MLflow"
        raise error
    return parsed


def has_logged_models(client: Client) -> bool:
    return version(client) >= LOGGED_MODELS


def in_parallel(act: t.Callable[[One], t.Any], items: t.Iterable[One], at_once: int) -> list[t.Any]:
    """What `act` answers for each, in order. After the first failure nothing more is begun, and it is raised."""
    failed = threading.Event()

    def guarded(item: One) -> t.Any:
        if failed.is_set():
            return None
        try:
            return act(item)
        except BaseException:
            failed.set()
            raise

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(guarded, item) for item in items]
    return [future.result() for future in futures]
