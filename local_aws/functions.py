# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Lambda: a call of a function runs its handler in a process of its own.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
The Python is the local AWS's own, whatever minor version the runtime is, with its boto3. Each call starts cold, and memory is
not limited.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import shutil
import sys
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from .container_logs import LogPump
from .ecs_container import SYSTEM_PATH
from .ecs_permissions import Role, listed, matches
from .ecs_records import now

log = logging.getLogger(__name__)
SERVICE = "lambda.amazonaws.com"
RUNTIME = re.compile(r"python3\.(9|1[0-4])")
# Parameters of CreateFunction and UpdateFunctionConfiguration that are not served.
UNSERVED = (
    "CapacityProviderConfig", "DeadLetterConfig", "DurableConfig", "FileSystemConfigs", "ImageConfig", "KMSKeyArn", "Layers",
    "LoggingConfig", "SnapStart", "TenancyConfig", "VpcConfig",
)  # fmt: skip
PROCESS = Path(__file__).with_name("function_process.py")
LOOK_SECONDS = 0.05
# How long the handler's modules may take to load before the time of the call counts.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
INIT_SECONDS = 10


class BadFunction(ValueError):
    """What AWS refuses or this instance does not do, in one line."""


class Answer(NamedTuple):
    """`error` is empty, `Handled` is not said any more: https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html"""

    payload: bytes
    error: str
    request_id: str


def check(account_id: str, asked: dict[str, Any]) -> None:
    """BadFunction for what is asked of CreateFunction or UpdateFunctionConfiguration and cannot be."""
    unserved = sorted(one for one in UNSERVED if asked.get(one))
    if unserved:
        raise BadFunction(f"{', '.join(unserved)} of functions is not supported by the local AWS.")
    if asked.get("PackageType", "Zip") != "Zip" or (asked.get("TracingConfig") or {}).get("Mode", "PassThrough") != "PassThrough":
        raise BadFunction("Images and tracing of functions are not supported by the local AWS.")
    if "Code" in asked and not asked["Code"].get("ZipFile"):
        raise BadFunction("Code other than a ZipFile is not supported by the local AWS.")
    if "Runtime" in asked and not RUNTIME.fullmatch(asked["Runtime"] or ""):
        raise BadFunction(f"Runtime {asked['Runtime']} is not supported by the local AWS: use python3.9 to python3.14.")
    if not 1 <= int(asked.get("Timeout", 3)) <= 900:
        raise BadFunction(f"Value '{asked['Timeout']}' at 'timeout' failed to satisfy constraint: 1 to 900.")
    if "Role" in asked:
        role_of(account_id, asked["Role"])


def role_of(account_id: str, arn: str) -> Role:
    role = Role.find(account_id, arn)
    if role is None or not role.trusts(SERVICE):
        raise BadFunction("The role defined for the function cannot be assumed by Lambda.")
    return role


def lets(statements: list[dict[str, Any]], service: str, account_id: str, source_arn: str) -> bool:
    """Whether a function's policy lets a service of AWS call it for a resource of an account."""
    facts = {"aws:sourceaccount": account_id, "aws:sourcearn": source_arn}
    for statement in statements:
        principal = statement.get("Principal")
        if not isinstance(principal, dict) or service not in listed(principal.get("Service")):
            continue
        if not any(matches(one, "lambda:InvokeFunction", True) for one in listed(statement.get("Action"))):
            continue
        conditions = [
            (facts.get(key.lower()), values)
            for tests in (statement.get("Condition") or {}).values() for key, values in tests.items()
        ]  # fmt: skip
        if all(fact is not None and any(matches(one, fact) for one in listed(values)) for fact, values in conditions):
            return True
    return False


class FunctionLogs:
    """The stream of one call; what a role may not write is lost, as on AWS."""

    def __init__(self, account_id: str, region: str, group: str, stream: str, role: Role) -> None:
        from moto.logs.models import logs_backends

        self._backend, self._group, self._stream = logs_backends[account_id][region], group, stream
        arn = f"arn:aws:logs:{region}:{account_id}:log-group:{group}"
        if group not in self._backend.groups and role.may("logs:CreateLogGroup", arn):
            self._backend.create_log_group(group, {})
        actions = ("logs:CreateLogStream", "logs:PutLogEvents")
        allowed = all(role.may(action, f"{arn}:log-stream:{stream}") for action in actions)
        self._open = allowed and group in self._backend.groups
        if self._open:
            self._backend.ensure_log_stream(group, stream)

    def put(self, lines: list[str], at: float) -> None:
        events = [{"timestamp": int(at * 1000), "message": line} for line in lines if line]
        if self._open and events:
            # Lost if the group was deleted meanwhile.
            with contextlib.suppress(Exception):
                self._backend.put_log_events(self._group, self._stream, events)


class Functions:
    """Calls functions of moto's Lambda."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._folder = runtime.settings.folder / "functions"

    def invoke(self, function: Any, event: Any) -> Answer:
        """Run the handler to its end or its time limit. BadFunction if its role cannot be assumed."""
        role = role_of(function.account_id, function.role)
        request_id = str(uuid.uuid4())
        folder = self._folder / request_id
        group = f"/aws/lambda/{function.function_name}"
        stream = f"{now():%Y/%m/%d}/[{function.version}]{uuid.uuid4().hex}"
        logs = FunctionLogs(function.account_id, function.region, group, stream, role)
        logs.put([f"START RequestId: {request_id} Version: {function.version}"], time.time())
        (folder / "tmp").mkdir(mode=0o700, parents=True)
        try:
            with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as packed:
                packed.extractall(folder / "task")
            (folder / "event.json").write_text(json.dumps(event), encoding="utf-8")
            environment = self._environment(function, folder, group, stream, request_id)
            started = time.monotonic()
            answer = self._run(function, folder, environment, logs, request_id)
            milliseconds = 1000 * (time.monotonic() - started)
            report = f"REPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms"
            logs.put([f"END RequestId: {request_id}", report], time.time())
            return answer
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _environment(self, function: Any, folder: Path, group: str, stream: str, request_id: str) -> dict[str, str]:
        keys = self._runtime.credentials.of_function(function.role)
        given = {str(key): str(value) for key, value in (function.environment_vars or {}).items()}
        return given | {
            "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder / "tmp"),
            "LAMBDA_TASK_ROOT": str(folder / "task"),
            "_HANDLER": function.handler,
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["Token"],
            "AWS_ENDPOINT_URL": self._runtime.settings.endpoint_url,
            "LOCAL_AWS_REQUEST_ID": request_id,
            "LOCAL_AWS_FUNCTION_ARN": function.function_arn,
        }

    def _run(self, function: Any, folder: Path, environment: dict[str, str], logs: FunctionLogs, request_id: str) -> Answer:
        limit, answered, initialised = int(function.timeout), folder / "answer.json", folder / "initialised"
        command = [sys.executable, str(PROCESS), str(folder / "event.json"), str(answered), str(initialised), str(limit)]
        read_fd, write_fd = os.pipe()
        try:
            process = self._runtime.processes.start(
                f"function-{function.function_name}-{request_id}", command, environment=environment,
                folder=folder / "task", output=write_fd,
            )  # fmt: skip
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        pump = LogPump(read_fd, logs, request_id)  # type: ignore[arg-type]
        pump.start()
        deadline, counting = time.monotonic() + INIT_SECONDS + limit, False
        while process.poll() is None and time.monotonic() < deadline and not self._runtime.stopping.is_set():
            if not counting and initialised.exists():
                deadline, counting = time.monotonic() + limit, True
            time.sleep(LOOK_SECONDS)
        ended = process.poll()
        self._runtime.processes.terminate(process, grace=0)
        pump.finish()
        if answered.exists() and ended == 0:
            document = json.loads(answered.read_text(encoding="utf-8"))
            if "answer" in document:
                return Answer(document["answer"].encode(), "", request_id)
            return Answer(json.dumps(document["error"]).encode(), "Unhandled", request_id)
        if ended is None:
            kind, message = "Sandbox.Timedout", f"Error: Task timed out after {limit}.00 seconds"
        else:
            how = f"signal: {-ended}" if ended < 0 else f"exit status {ended}"
            kind, message = "Runtime.ExitError", f"Error: Runtime exited with error: {how}"
        logs.put([f"RequestId: {request_id} {message}"], time.time())
        failure = {"errorType": kind, "errorMessage": f"RequestId: {request_id} {message}"}
        return Answer(json.dumps(failure).encode(), "Unhandled", request_id)
