# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One JSON line for each API call, so that a test can say how many writes a run made."""

from __future__ import annotations

import datetime
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import requests

LARGEST_BODY = 4 * 1024 * 1024


class Recorder:
    """WSGI middleware. What a line has is told in README.md."""

    def __init__(self, application: Callable[..., Iterable[bytes]], path: Path) -> None:
        self._application = application
        self._file = open(path, "a", encoding="utf-8", opener=_private, buffering=1)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.monotonic()
        headers = requests.headers_of(environ)
        path, query = environ.get("PATH_INFO", "/"), environ.get("QUERY_STRING", "")
        scope = requests.scope(headers, query)
        operation = requests.identify(environ["REQUEST_METHOD"], path, query, headers, body_of(environ))
        access_key = scope.access_key if scope else ""
        # For what is inside.
        environ["local_aws.operation"], environ["local_aws.access_key"] = operation, access_key
        line = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "service": operation.service,
            "action": operation.action,
            "kind": operation.kind,
            "data_plane": operation.data_plane,
            "resource": operation.resource,
            "status": 0,
            "access_key": access_key,
            "agent": headers.get("user-agent", "")[:60],
        }

        def responded(status: str, *rest: Any) -> Any:
            line["status"] = int(status.split()[0])
            return start_response(status, *rest)

        try:
            return self._application(environ, responded)
        finally:
            line["milliseconds"] = round((time.monotonic() - started) * 1000)
            with self._lock:
                self._file.write(json.dumps(line) + "\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def body_of(environ: dict[str, Any]) -> bytes:
    """The body of a request whose operation is in it, put back for the application; empty for objects, often large."""
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    if not form and "HTTP_X_AMZ_TARGET" not in environ:
        return b""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST_BODY:
        return b""
    body = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    return body
