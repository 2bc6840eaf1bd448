# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's Lambda, whose functions run as processes, and which refuses what the local AWS does not do.

moto 5.2.5 runs functions in Docker, and keeps layers, function URLs, event sources and destinations that lead nowhere.
The API: https://docs.aws.amazon.com/lambda/latest/api/
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError
from moto.awslambda.models import LambdaBackend as BACKEND
from moto.awslambda.models import LambdaFunction

from .. import functions
from ..runtime import Runtime
from . import replace

# What would have to do something when something happens.
UNSERVED = (
    "create_alias", "update_alias", "create_event_source_mapping", "create_function_url_config", "publish_layer_version",
    "publish_version", "put_function_event_invoke_config", "update_function_event_invoke_config",
)  # fmt: skip


def apply(runtime: Runtime) -> None:
    service = functions.Functions(runtime)
    runtime.invoke_function = service.invoke
    _patch_settings()
    _patch_calls(service)
    for name in UNSERVED:
        replace(BACKEND, name, _refusing(name))


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*_arguments: Any, **_more: Any) -> Any:
        raise InvalidParameterValueException(f"{name.replace('_', ' ')} is not supported by the local AWS.")

    return refuse


def _patch_settings() -> None:
    plain_create, plain_update = BACKEND.create_function, BACKEND.update_function_configuration
    plain_code = BACKEND.update_function_code

    def create_function(self: Any, spec: dict[str, Any]) -> Any:
        _check(self, spec | {"Runtime": spec.get("Runtime")})
        return plain_create(self, spec)

    def update_function_configuration(self: Any, function_name: str, qualifier: str, body: dict[str, Any]) -> Any:
        _check(self, body)
        return plain_update(self, function_name, qualifier, body)

    def update_function_code(self: Any, function_name: str, qualifier: str, body: dict[str, Any]) -> Any:
        _check(self, {"Code": body})
        return plain_code(self, function_name, qualifier, body)

    replace(BACKEND, "create_function", create_function, ("self", "spec"))
    parameters = ("self", "function_name", "qualifier", "body")
    replace(BACKEND, "update_function_configuration", update_function_configuration, parameters)
    replace(BACKEND, "update_function_code", update_function_code, parameters)


def _check(backend: Any, asked: dict[str, Any]) -> None:
    if asked.get("Publish"):
        raise InvalidParameterValueException("Versions of functions are not supported by the local AWS.")
    try:
        functions.check(backend.account_id, asked)
    except functions.BadFunction as error:
        raise InvalidParameterValueException(str(error)) from None


def _patch_calls(service: functions.Functions) -> None:
    def invoke(self: Any, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        kind = request_headers.get("X-Amz-Invocation-Type") or "RequestResponse"
        if kind == "DryRun":
            return b""
        if kind != "RequestResponse" or request_headers.get("X-Amz-Log-Type", "None") != "None":
            raise InvalidParameterValueException("Calls not waited for, and tails of logs, are not supported by the local AWS.")
        try:
            event = json.loads(body or b"{}")
        except ValueError:
            raise LambdaClientError("InvalidRequestContentException", "Could not parse request body into json.") from None
        try:
            answer = service.invoke(self, event)
        except functions.BadFunction as error:
            raise LambdaClientError("AccessDeniedException", str(error)) from None
        if answer.error:
            response_headers["x-amz-function-error"] = answer.error
        response_headers["x-amzn-requestid"] = answer.request_id
        response_headers["x-amz-executed-version"] = str(self.version)
        return answer.payload

    replace(LambdaFunction, "invoke", invoke, ("self", "body", "request_headers", "response_headers"))
