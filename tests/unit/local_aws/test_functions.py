# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may call functions, what functions may do, and when rotations are due."""

from __future__ import annotations

import datetime
import io
import json
import threading
import time
import types
import typing as t
import zipfile
from pathlib import Path

import pytest
from moto import mock_aws
from moto.logs.models import logs_backends

from local_aws import function_permissions, functions, secret_rotations
from local_aws.credentials import Credentials
from local_aws.processes import Processes
from local_aws.secret_rotations import Attempt, SecretRotations, next_date, unfinished

ACCOUNT, REGION = "123456789012", "eu-west-2"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:web/one-AbCdEf"
SERVICE = "secretsmanager.amazonaws.com"
LETS = {
    "Effect": "Allow",
    "Principal": {"Service": SERVICE},
    "Action": "lambda:InvokeFunction",
    "Condition": {
        "StringEquals": {"AWS:SourceAccount": ACCOUNT},
        "ArnLike": {"AWS:SourceArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:web/*"},
    },
}
NOW = datetime.datetime(2026, 11, 29, 12, 0, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({}, True),
        ({"Condition": {}}, True),
        ({"Action": "lambda:*"}, True),
        ({"Action": "lambda:GetFunction"}, False),
        ({"Principal": {"Service": "events.amazonaws.com"}}, False),
        ({"Principal": "*"}, False),
        ({"Condition": {"StringEquals": {"AWS:SourceAccount": "999999999999"}}}, False),
        ({"Condition": {"ArnLike": {"AWS:SourceArn": SECRET.replace("web/", "other/")}}}, False),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
    ],
)
def test_a_function_is_called_by_whom_its_policy_lets_in(change: dict, allowed: bool) -> None:
    assert functions.lets([LETS | change], SERVICE, ACCOUNT, SECRET) is allowed
    assert not functions.lets([], SERVICE, ACCOUNT, SECRET)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"Runtime": "python3.8"}, "Runtime python3.8 is not supported"),
        ({"Runtime": None}, "Runtime None is not supported"),
        ({"Layers": ["layer"], "VpcConfig": {"SubnetIds": ["subnet-1"]}}, "Layers, VpcConfig of functions is not supported"),
        ({"PackageType": "Image"}, "Images and tracing"),
        ({"TracingConfig": {"Mode": "Active"}}, "Images and tracing"),
        ({"Code": {"S3Bucket": "b"}}, "Code other than a ZipFile"),
        ({"Timeout": 901}, "at 'timeout'"),
    ],
)
def test_what_functions_cannot_be_here_is_named(asked: dict, words: str) -> None:
    functions.check(ACCOUNT, {"Runtime": "python3.13", "Code": {"ZipFile": "UEs="}, "Timeout": 900, "Layers": []})
    with pytest.raises(functions.BadFunction, match=words):
        functions.check(ACCOUNT, asked)


HANDLER = """
import os, time

def handler(event, context):
    print("handling", event["do"], flush=True)
    if event["do"] == "sleep":
        time.sleep(60)
    if event["do"] == "exit":
        os._exit(3)
    if event["do"] == "fail":
        raise ValueError("it was asked to")
    return {"name": context.function_name, "left": context.get_remaining_time_in_millis(), "own": os.environ["OWN"],
            "key": os.environ["AWS_ACCESS_KEY_ID"], "place": os.getcwd() == os.environ["LAMBDA_TASK_ROOT"]}
"""


class Role:
    """One that may write logs."""

    def trusts(self, service: str) -> bool:
        return service == "lambda.amazonaws.com"

    def may(self, action: str, _resource: str) -> bool:
        return action.startswith("logs:")


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Callable[[str], tuple[t.Any, str]]]:
    """caller(what to do) calls a function, which may not sleep for long: its answer, its kind of error."""
    monkeypatch.setattr(functions.Role, "find", lambda _account, _arn: Role())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("index.py", HANDLER)
    function = types.SimpleNamespace(
        account_id=ACCOUNT, region=REGION, role="role", function_name="web", version="$LATEST", code_bytes=buffer.getvalue(),
        handler="index.handler", run_time="python3.13", timeout=120, memory_size=128, environment_vars={"OWN": "mine"},
        function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:web",
    )  # fmt: skip
    runtime = types.SimpleNamespace(
        settings=types.SimpleNamespace(folder=tmp_path, endpoint_url="http://127.0.0.1:1"), processes=Processes(tmp_path),
        credentials=Credentials(), stopping=threading.Event(),
    )  # fmt: skip
    service = functions.Functions(runtime)

    def call(do: str) -> tuple[t.Any, str]:
        function.timeout = 2 if do == "sleep" else 120
        answer = service.invoke(function, {"do": do})
        assert list((tmp_path / "functions").iterdir()) == [] and runtime.processes.started("function") == []
        return json.loads(answer.payload), answer.error

    with mock_aws():
        logs_backends[ACCOUNT][REGION].create_log_group("/aws/lambda/web", {})
        yield call


def logged() -> str:
    group = logs_backends[ACCOUNT][REGION].groups["/aws/lambda/web"]
    return "\n".join(event.message for stream in group.streams.values() for event in stream.events)


def test_a_handler_runs_in_a_process_of_its_own(caller: t.Callable[[str], tuple[t.Any, str]]) -> None:
    answer, error = caller("answer")
    assert (error, answer["name"], answer["own"], answer["place"]) == ("", "web", "mine", True)
    assert 0 < answer["left"] <= 120_000 and answer["key"].startswith("ASIA")
    assert "handling answer" in logged() and "START RequestId" in logged() and "REPORT RequestId" in logged()


def test_how_a_handler_ends_is_told_as_lambda_tells_it(caller: t.Callable[[str], tuple[t.Any, str]]) -> None:
    answer, error = caller("fail")
    assert (error, answer["errorType"], answer["errorMessage"]) == ("Unhandled", "ValueError", "it was asked to")
    assert "raise ValueError" in "".join(answer["stackTrace"]) and "[ERROR] ValueError: it was asked to" in logged()
    for do, kind, words in (
        ("exit", "Runtime.ExitError", "exit status 3"),
        ("sleep", "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
    ):
        answer, error = caller(do)
        assert (error, answer["errorType"]) == ("Unhandled", kind) and words in answer["errorMessage"] and words in logged()


BASE = f"arn:aws:ecs:{REGION}:{ACCOUNT}"


@pytest.mark.parametrize(
    ("operation", "asked", "needed"),
    [
        ("sts:GetCallerIdentity", {}, []),
        ("ecs:DescribeServices", {"cluster": "web", "services": ["web"]}, [("ecs:DescribeServices", f"{BASE}:service/web/web")]),
        ("ecs:UpdateService", {"cluster": f"{BASE}:cluster/web", "service": "api"}, [("ecs:UpdateService", f"{BASE}:service/web/api")]),
        ("ecs:DescribeClusters", {"clusters": ["web"]}, [("ecs:DescribeClusters", f"{BASE}:cluster/web")]),
        ("ecs:ListTasks", {"cluster": "web"}, [("ecs:ListTasks", f"{BASE}:container-instance/web/any")]),
        ("ecs:DescribeTasks", {"cluster": "web", "tasks": ["1"]}, [("ecs:DescribeTasks", f"{BASE}:task/web/1")]),
        ("ecs:TagResource", {"resourceArn": f"{BASE}:cluster/web"}, [("ecs:TagResource", f"{BASE}:cluster/web")]),
        (
            "rds:ModifyDBInstance", {"DBInstanceIdentifier": "web-db"},
            [("rds:ModifyDBInstance", f"arn:aws:rds:{REGION}:{ACCOUNT}:db:web-db")],
        ),
    ],
)  # fmt: skip
def test_what_an_operation_needs(operation: str, asked: dict, needed: list) -> None:
    assert function_permissions.needs(operation, asked, ACCOUNT, REGION) == needed


def test_what_cannot_be_judged_is_not_allowed() -> None:
    for operation in ("s3:ListBuckets", "ecs:DeleteService", "rds:DeleteDBInstance"):
        with pytest.raises(function_permissions.Unknown):
            function_permissions.needs(operation, {}, ACCOUNT, REGION)


def test_parameters_are_json_or_a_form() -> None:
    assert function_permissions.parameters(b'{"cluster": "web"}') == {"cluster": "web"}
    assert function_permissions.parameters(b"Action=A&DBInstanceIdentifier=web-db")["DBInstanceIdentifier"] == "web-db"
    assert function_permissions.parameters(b"[]") == function_permissions.parameters(b"") == {}


# --- rotations ---------------------------------------------------------------------------------------------------------


class Secret(types.SimpleNamespace):
    """What moto keeps of a secret, as far as a rotation is concerned."""

    def __init__(self, **versions: list[str]) -> None:
        made = {one: {"version_id": one, "version_stages": labels} for one, labels in versions.items()}
        super().__init__(
            arn=SECRET, name="web/one", versions=made, next_rotation_date=None, auto_rotate_after_days=30,
            last_rotation_date=None, rotation_enabled=True, rotation_lambda_arn="",
        )  # fmt: skip

    def remove_version_stages_from_old_versions(self, labels: list[str]) -> None:
        for version in self.versions.values():
            version["version_stages"] = [one for one in version["version_stages"] if one not in labels]


def rotations(moment: datetime.datetime = NOW) -> SecretRotations:
    def invoke(_function: t.Any, _event: t.Any) -> t.Any:
        raise AssertionError("nothing is called here")

    return SecretRotations(invoke, lambda: moment)


@pytest.mark.parametrize(
    ("versions", "waiting"),
    [
        ({"a": ["AWSCURRENT"]}, None),
        ({"a": ["AWSCURRENT", "AWSPENDING"]}, None),
        ({"a": ["AWSCURRENT"], "b": ["AWSPENDING"]}, "b"),
        ({"a": ["AWSPREVIOUS"], "b": ["AWSPENDING"]}, "b"),
    ],
)
def test_a_rotation_is_over_when_nothing_but_the_current_version_is_pending(versions: dict, waiting: str | None) -> None:
    assert unfinished(Secret(**versions)) == waiting


def test_the_next_date_is_the_end_of_the_day() -> None:
    assert next_date(90, NOW) == datetime.datetime(2027, 2, 27, 23, 59, 59, tzinfo=datetime.timezone.utc)


def test_the_clock_starts_what_is_due_and_nothing_twice() -> None:
    ours, secret = rotations(), Secret(a=["AWSCURRENT"])
    ours._look_at_the_clock(secret)
    secret.next_rotation_date = NOW.timestamp() + 1
    ours._look_at_the_clock(secret)
    assert ours._attempts == {}
    secret.next_rotation_date = NOW.timestamp()
    ours._look_at_the_clock(secret)
    attempt = ours._attempts[secret.arn]
    assert attempt.steps == secret_rotations.STEPS and secret.versions[attempt.token]["version_stages"] == ["AWSPENDING"]
    assert secret.next_rotation_date == next_date(30, NOW).timestamp()
    secret.next_rotation_date = NOW.timestamp()
    ours._look_at_the_clock(secret)
    assert ours._attempts[secret.arn] is attempt and len(secret.versions) == 2


def test_what_waits_is_gone_on_with_when_it_is_due() -> None:
    ours, secret = rotations(), Secret(a=["AWSCURRENT"], b=["AWSPENDING"])
    secret.next_rotation_date = NOW.timestamp()
    ours._look_at_the_clock(secret)
    assert ours._attempts[secret.arn].token == "b" and set(secret.versions) == {"a", "b"}


def test_a_rotation_that_fails_is_tried_again_for_a_while() -> None:
    ours, secret = rotations(), Secret(a=["AWSCURRENT"], b=["AWSPENDING"])
    attempt = ours._attempts[secret.arn] = Attempt("b", secret_rotations.STEPS)
    for number in range(len(secret_rotations.RETRY_SECONDS)):
        ours._end(secret, attempt, "it failed")
        assert attempt.failures == number + 1 and attempt.not_before > time.monotonic()
    ours._end(secret, attempt, "it failed")
    assert ours._attempts == {} and secret.last_rotation_date is None
    attempt = ours._attempts[secret.arn] = Attempt("b", secret_rotations.STEPS)
    ours._end(secret, attempt, "")
    assert ours._attempts == {} and secret.last_rotation_date == int(NOW.timestamp())
    assert secret.next_rotation_date == next_date(30, NOW).timestamp()


def test_a_trial_leaves_nothing_and_is_not_repeated() -> None:
    ours, secret = rotations(), Secret(a=["AWSCURRENT"])
    secret.versions["a"]["secret_string"] = "value"
    token = ours._begin(secret, "t" * 32, ("testSecret",))
    assert secret.versions[token]["secret_string"] == "value"
    ours._end(secret, ours._attempts[secret.arn], "it failed")
    assert set(secret.versions) == {"a"} and ours._attempts == {} and secret.last_rotation_date is None


def test_what_is_cancelled_is_not_tried_again() -> None:
    ours, secret = rotations(), Secret(a=["AWSCURRENT"], b=["AWSPENDING"])
    attempt = ours._attempts[secret.arn] = Attempt("b", secret_rotations.STEPS)
    ours.cancel(secret)
    ours._end(secret, attempt, "it failed")
    assert ours._attempts == {} and secret.next_rotation_date is None


@pytest.mark.parametrize("rules", [{}, {"AutomaticallyAfterDays": 0}, {"AutomaticallyAfterDays": 1001}, {"ScheduleExpression": "rate(4 hours)"}])
def test_rules_are_days(rules: dict) -> None:
    assert secret_rotations.check_rules({"AutomaticallyAfterDays": 30}) == 30
    with pytest.raises(secret_rotations.Refused):
        secret_rotations.check_rules(rules)
