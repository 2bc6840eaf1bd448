# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The APIs on loopback: moto with our patches, recorded, and a few paths of our own under /local-aws/."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from .function_permissions import FunctionPermissions
from .metrics import MetricError
from .operator_permissions import OperatorPermissions
from .recorder import Recorder
from .regions import Regions
from .runtime import Runtime

OWN = "/local-aws/"


def make(runtime: Runtime) -> Any:
    """A threaded WSGI server, bound but not yet serving. OSError if the port is taken."""
    # Read by moto when it is imported.
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    os.environ["MOTO_ACCOUNT_ID"] = runtime.settings.account_id
    # What browsers may do is a matter of a bucket's own rules.
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    os.environ["MOTO_PORT"] = str(runtime.settings.api_port)
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    from . import patches

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_arguments: Any) -> None:
            """The recorder does it."""

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    patches.apply_all(runtime)
    aws: Any = Regions(DomainDispatcherApplication(create_backend_app))
    if runtime.settings.operator_policies:
        aws = OperatorPermissions(aws, runtime.settings.operator_policies, runtime.settings.account_id)
    aws = FunctionPermissions(aws, runtime.credentials, runtime.settings.account_id)
    application = own_paths(Recorder(aws, runtime.settings.api_log), runtime)
    server = make_server("127.0.0.1", runtime.settings.api_port, application, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    return server


def own_paths(application: Callable[..., Iterable[bytes]], runtime: Runtime) -> Callable[..., Iterable[bytes]]:
    """Answer what is not AWS's: credentials of tasks, metrics for tests, the state of the instance.

    moto's own pages stay hidden.
    """

    def dispatch(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path.startswith("/moto-api"):
            return _answer(start_response, "404 Not Found", b"{}")
        if not path.startswith(OWN):
            return application(environ, start_response)
        if path == OWN + "status":
            return _answer(start_response, "200 OK", json.dumps(runtime.report()).encode())
        if path == OWN + "metrics":
            return _push_metrics(runtime, environ, start_response)
        document = runtime.pages.get(path.removeprefix(OWN)) or runtime.credentials.answer(path)
        if document is None:
            return _answer(start_response, "404 Not Found", b"{}")
        return _answer(start_response, "200 OK", document)

    return dispatch


def _push_metrics(runtime: Runtime, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    if environ["REQUEST_METHOD"] != "POST":
        return _answer(start_response, "405 Method Not Allowed", b"{}")
    try:
        kept = runtime.metrics.push(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    except MetricError as error:
        return _answer(start_response, "400 Bad Request", json.dumps({"message": str(error)}).encode())
    return _answer(start_response, "200 OK", json.dumps({"values": kept}).encode())


def _answer(start_response: Callable[..., Any], status: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
