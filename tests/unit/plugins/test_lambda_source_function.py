# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Lambda function of its source, against an in-process Lambda."""

from __future__ import annotations

import io
import json
import typing as t
import zipfile

import boto3
import botocore.exceptions
import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import lambda_functions
from ansible_collections.mlops.mlflow_aws.plugins.modules import lambda_source_function
from hypothesis import given, strategies
from moto import mock_aws

OWNER = {"owner": "us"}
ROLE = "arn:aws:iam::123456789012:role/web"
ARN = "arn:aws:lambda:eu-west-2:123456789012:function:web"
INVOKER = {"service": "secretsmanager.amazonaws.com", "source_account": "123456789012",
           "source_arn": "arn:aws:secretsmanager:eu-west-2:123456789012:secret:web/*"}  # fmt: skip
WANTED = {
    "name": "web", "files": {"index.py": "def handler(event, context): pass\n"}, "handler": "index.handler", "runtime": "python3.13",
    "role_arn": ROLE, "environment": {"DAYS": 3}, "invoker": INVOKER, "owner_tags": OWNER, "tags": OWNER,
}  # fmt: skip
ABSENT = {"name": "web", "state": "absent", "owner_tags": OWNER}
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def client(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Any]:
    monkeypatch.setattr(lambda_functions, "POLL_SECONDS", 0.01)
    with mock_aws():
        boto3.client("iam", region_name="eu-west-2").create_role(RoleName="web", AssumeRolePolicyDocument="{}")
        yield boto3.client("lambda", region_name="eu-west-2")


def settings(client: t.Any) -> dict:
    found = client.get_function(FunctionName="web")
    kept = ("Description", "Handler", "Runtime", "Role", "Timeout", "MemorySize", "CodeSha256", "Environment")
    return {**{key: found["Configuration"].get(key) for key in kept}, "Tags": found["Tags"]}


def test_life(run_module: t.Callable, client: t.Any) -> None:
    predicted = run_module(lambda_source_function, WANTED, check=True)
    assert predicted["changed"] and predicted["function"] is None
    with pytest.raises(botocore.exceptions.ClientError):
        client.get_function(FunctionName="web")
    made = run_module(lambda_source_function, WANTED)
    assert made["diff"] == predicted["diff"] and made["function"]["arn"] == ARN
    assert made["function"]["code_sha256"] == lambda_functions.digest(lambda_functions.archive(WANTED["files"]))
    statements = json.loads(client.get_policy(FunctionName="web")["Policy"])["Statement"]
    assert statements == [lambda_functions.statement(ARN, INVOKER)]
    for check in (True, False):
        again = run_module(lambda_source_function, WANTED, check=check)
        assert not again["changed"] and again["diff"] == {"before": {}, "after": {}} and again["function"] == made["function"]
    for change, words in (
        ({"files": {"index.py": "other = 1\n"}}, {"code"}),
        ({"timeout": 60, "environment": {}}, {"settings"}),
        ({"tags": {**OWNER, "more": 1}}, {"tags"}),
        ({"tags": OWNER}, {"tags"}),
        ({"invoker": {**INVOKER, "source_arn": INVOKER["source_arn"] + "x"}}, {"policy"}),
        ({"invoker": None}, {"policy"}),
    ):
        before, wanted = settings(client), {**WANTED, **change}
        would = run_module(lambda_source_function, wanted, check=True)
        assert settings(client) == before
        did = run_module(lambda_source_function, wanted)
        assert would["diff"] == did["diff"] and set(did["diff"]["after"]) >= words, did
        assert not run_module(lambda_source_function, wanted)["changed"]
    predicted = run_module(lambda_source_function, ABSENT, check=True)
    gone = run_module(lambda_source_function, ABSENT)
    assert predicted["changed"] and predicted["diff"] == gone["diff"] and gone["function"] is None
    assert not run_module(lambda_source_function, ABSENT)["changed"]


def test_what_is_not_ours_is_left_alone(run_module: t.Callable, client: t.Any) -> None:
    run_module(lambda_source_function, {**WANTED, "tags": {"owner": "them"}, "owner_tags": {"owner": "them"}})
    for options in (WANTED, ABSENT):
        assert "Lambda function web: it exists but does not carry the tags owner=us" in run_module(lambda_source_function, options)["msg"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "a b"}, "name = a b: give 1 to 64 letters"),
        ({"files": {}}, "files: there is none"),
        ({"files": {"../up.py": ""}}, "'../up.py' is not the name of a file"),
        ({"role_arn": "web"}, "role_arn = web: is not the ARN of an IAM role"),
        ({"timeout": 901}, "timeout = 901: is not from 1 to 900 seconds"),
        ({"memory_size": 64}, "memory_size = 64: is not from 128 to 10240 MiB"),
    ],
)
def test_what_lambda_would_refuse_is_refused(run_module: t.Callable, client: t.Any, wrong: dict, message: str) -> None:
    assert message in run_module(lambda_source_function, {**WANTED, **wrong})["msg"]


@given(strategies.dictionaries(strategies.sampled_from(["a.py", "b.py", "c/d.json"]), strategies.text(strategies.characters(codec="utf-8"))))
def test_an_archive_holds_the_files_and_is_the_same_each_time(files: dict[str, str]) -> None:
    packed = lambda_functions.archive(files)
    assert packed == lambda_functions.archive(dict(reversed(list(files.items()))))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files


class Slow:
    """A Lambda in which a new role is known, and a function ready, at the third look."""

    def __init__(self, states: list[dict], refusals: int, message: str = "The role defined cannot be assumed by Lambda.") -> None:
        self.states, self.refusals, self.message = states, refusals, message
        self.created = 0

    def create_function(self, **_arguments: t.Any) -> None:
        self.created += 1
        if self.created <= self.refusals:
            error = {"Error": {"Code": "InvalidParameterValueException", "Message": self.message}}
            raise botocore.exceptions.ClientError(error, "CreateFunction")

    def get_function_configuration(self, **_arguments: t.Any) -> dict:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def made(client: Slow) -> None:
    function = lambda_functions.Function(client, "web")
    options = {**WANTED, "timeout": 3, "memory_size": 128, "description": "", "invoker": None}
    function.plan_present(options, ARN, OWNER).apply()


def test_a_new_role_and_a_new_function_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_functions, "POLL_SECONDS", 0.001)
    client = Slow([{"State": "Pending"}, {"State": "Active"}], refusals=2)
    made(client)
    assert client.created == 3
    with pytest.raises(ValueError, match="it is not ready: no memory"):
        made(Slow([{"State": "Failed", "StateReason": "no memory"}], refusals=0))
    monkeypatch.setattr(lambda_functions, "SETTLE_SECONDS", 0.0)
    with pytest.raises(ValueError, match="it is not ready after 0 s; run again"):
        made(Slow([{"State": "Pending"}], refusals=0))
    for message in ("The role defined cannot be assumed by Lambda.", "The runtime is unknown"):
        with pytest.raises(botocore.exceptions.ClientError):
            made(Slow([{}], refusals=1, message=message))
