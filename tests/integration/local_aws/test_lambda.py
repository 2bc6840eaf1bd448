# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lambda and the rotations of Secrets Manager on a local AWS: functions really run, with the rights of their role."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
import typing as t
import zipfile

import botocore.exceptions
import psutil
import pytest

from tests.integration import aws

HANDLER = '''
import json, os, sys, time
import boto3

def handler(event, context):
    print("called with", event, flush=True)
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("exit"):
        os._exit(event["exit"])
    if event.get("fail"):
        raise ValueError("it was asked to")
    if event.get("secret"):
        return boto3.client("secretsmanager").get_secret_value(SecretId=event["secret"])["SecretString"]
    if event.get("buckets"):
        return boto3.client("s3").list_buckets()["Buckets"]
    return {"name": context.function_name, "left": context.get_remaining_time_in_millis(), "region": os.environ["AWS_REGION"],
            "own": os.environ["OWN"], "endpoint": os.environ["AWS_ENDPOINT_URL"], "event": event}
'''
# AWS's own template, https://github.com/aws-samples/aws-secrets-manager-rotation-lambdas, that fails at first where it is told to.
ROTATOR = '''
import boto3, json

manager = boto3.client("secretsmanager")

def handler(event, context):
    arn, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    stages = manager.describe_secret(SecretId=arn)["VersionIdsToStages"]
    print(step, token, sorted(stages[token]), flush=True)
    if "AWSCURRENT" in stages[token]:
        return
    if step == "createSecret":
        try:
            manager.get_secret_value(SecretId=arn, VersionId=token, VersionStage="AWSPENDING")
        except manager.exceptions.ResourceNotFoundException:
            manager.put_secret_value(SecretId=arn, ClientRequestToken=token, SecretString="new", VersionStages=["AWSPENDING"])
    elif step == "setSecret" and "mood" in stages[next(one for one in stages if "AWSCURRENT" in stages[one])]:
        raise RuntimeError("not in the mood")
    elif step == "finishSecret":
        old = next(one for one in stages if "AWSCURRENT" in stages[one])
        manager.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=old)
'''
SECRETS = "arn:aws:secretsmanager:eu-west-2:123456789012:secret"


def packed(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.py", source)
    return buffer.getvalue()


class Account:
    def __init__(self, running: aws.LocalAws) -> None:
        self.running, self.client = running, running.client
        self.functions, self.iam, self.manager, self.logs = (running.client(one) for one in ("lambda", "iam", "secretsmanager", "logs"))
        self.role = self.make_role("caller", "lambda.amazonaws.com")
        self.logs.create_log_group(logGroupName="/aws/lambda/caller")
        self.make("caller", HANDLER, self.role, Environment={"Variables": {"OWN": "mine"}}, Timeout=4)

    def make_role(self, name: str, service: str) -> str:
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        return self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]

    def allow(self, role: str, *actions: str, on: str) -> None:
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": on}]}
        name = actions[0].partition(":")[0]
        self.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    def make(self, name: str, source: str, role: str, **more: t.Any) -> str:
        return self.functions.create_function(
            FunctionName=name, Runtime="python3.13", Role=role, Handler="index.handler", Code={"ZipFile": packed(source)}, **more
        )["FunctionArn"]

    def call(self, **event: t.Any) -> tuple[t.Any, str | None]:
        answer = self.functions.invoke(FunctionName="caller", Payload=json.dumps(event))
        return json.loads(answer["Payload"].read()), answer.get("FunctionError")

    def logged(self, group: str) -> str:
        events = self.logs.filter_log_events(logGroupName=group)["events"]
        return "\n".join(event["message"] for event in events)

    def stages(self, name: str) -> dict[str, list[str]]:
        return self.manager.describe_secret(SecretId=name)["VersionIdsToStages"]

    def until(self, probe: t.Callable[[], t.Any], seconds: float = 60) -> t.Any:
        deadline = time.monotonic() + seconds
        while not (found := probe()):
            assert time.monotonic() < deadline, (self.running.directory / "daemon.log").read_text()[-3000:]
            time.sleep(0.2)
        return found


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Account]:
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state") as running:
        yield Account(running)


def test_a_function_runs_with_its_environment_and_logs_if_its_role_may(account: Account) -> None:
    answer, error = account.call(greeting="hello")
    assert error is None and 3000 < answer.pop("left") <= 4000
    assert answer == {
        "name": "caller", "region": "eu-west-2", "own": "mine", "endpoint": account.running.endpoint_url, "event": {"greeting": "hello"},
    }  # fmt: skip
    assert account.logged("/aws/lambda/caller") == ""
    account.allow("caller", "logs:CreateLogStream", "logs:PutLogEvents", on="*")
    account.call(greeting="again")
    logged = account.logged("/aws/lambda/caller")
    assert "called with {'greeting': 'again'}" in logged and "START RequestId" in logged and "hello" not in logged


def test_what_goes_wrong_in_a_function_is_told_as_lambda_tells_it(account: Account) -> None:
    answer, error = account.call(fail=True)
    assert error == "Unhandled" and (answer["errorType"], answer["errorMessage"]) == ("ValueError", "it was asked to")
    assert "raise ValueError" in "".join(answer["stackTrace"])
    answer, error = account.call(exit=3)
    assert error == "Unhandled" and answer["errorType"] == "Runtime.ExitError" and "exit status 3" in answer["errorMessage"]
    started = time.monotonic()
    answer, error = account.call(sleep=60)
    assert error == "Unhandled" and "Task timed out after 4.00 seconds" in answer["errorMessage"]
    assert time.monotonic() - started < 15
    assert [one for one in account.running.processes() if "function_process" in " ".join(one.cmdline())] == []


def test_a_function_may_what_its_role_may_and_no_more(account: Account) -> None:
    for name in ("one", "two"):
        account.manager.create_secret(Name=f"vault/{name}", SecretString=f"content of {name}")
    account.allow("caller", "secretsmanager:GetSecretValue", on=f"{SECRETS}:vault/one-??????")
    assert account.call(secret="vault/one") == ("content of one", None)
    answer, error = account.call(secret="vault/two")
    assert error == "Unhandled" and "not authorized to perform: secretsmanager:GetSecretValue" in answer["errorMessage"]
    answer, error = account.call(buckets=True)
    assert error == "Unhandled" and "cannot judge whether a function may s3:ListBuckets" in answer["errorMessage"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"Runtime": "nodejs22.x"}, "Runtime nodejs22.x is not supported"),
        ({"Layers": ["arn:aws:lambda:eu-west-2:123456789012:layer:more:1"]}, "Layers of functions is not supported"),
        ({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}, "VpcConfig of functions is not supported"),
        ({"Role": "arn:aws:iam::123456789012:role/nobody"}, "cannot be assumed by Lambda"),
    ],
)
def test_what_is_not_served_is_refused(account: Account, settings: dict, words: str) -> None:
    wanted = {"FunctionName": "other", "Runtime": "python3.13", "Role": account.role, "Handler": "index.handler",
              "Code": {"ZipFile": packed("")}}  # fmt: skip
    with pytest.raises(botocore.exceptions.ClientError, match=words):
        account.functions.create_function(**(wanted | settings))
    with pytest.raises(botocore.exceptions.ClientError, match="Calls not waited for"):
        account.functions.invoke(FunctionName="caller", InvocationType="Event")


@pytest.fixture(scope="module")
def rotator(account: Account) -> str:
    role = account.make_role("rotator", "lambda.amazonaws.com")
    account.allow("rotator", "secretsmanager:*", on=f"{SECRETS}:turning/*")
    account.allow("rotator", "logs:CreateLogStream", "logs:PutLogEvents", on="*")
    account.logs.create_log_group(logGroupName="/aws/lambda/rotator")
    arn = account.make("rotator", ROTATOR, role, Timeout=30)
    account.manager.create_secret(Name="turning/first", SecretString="old")
    rules = {"AutomaticallyAfterDays": 30}
    with pytest.raises(botocore.exceptions.ClientError, match="Secrets Manager cannot invoke the specified Lambda function"):
        account.manager.rotate_secret(SecretId="turning/first", RotationLambdaARN=arn, RotationRules=rules)
    with pytest.raises(botocore.exceptions.ClientError, match="Lambda does not have the function"):
        account.manager.rotate_secret(SecretId="turning/first", RotationLambdaARN=f"{arn}-other", RotationRules=rules)
    account.functions.add_permission(
        FunctionName="rotator", StatementId="invoke", Action="lambda:InvokeFunction", Principal="secretsmanager.amazonaws.com",
        SourceAccount="123456789012", SourceArn=f"{SECRETS}:turning/*",
    )  # fmt: skip
    return arn


def test_a_rotation_is_tried_when_it_is_switched_on_and_done_when_it_is_asked_for(account: Account, rotator: str) -> None:
    before = account.stages("turning/first")
    rules = {"AutomaticallyAfterDays": 30}
    asked = {"SecretId": "turning/first", "RotationLambdaARN": rotator, "RotationRules": rules}
    account.manager.rotate_secret(**asked, RotateImmediately=False)
    account.until(lambda: "testSecret" in account.logged("/aws/lambda/rotator"))
    account.until(lambda: account.stages("turning/first") == before)
    found = account.manager.describe_secret(SecretId="turning/first")
    assert found["RotationEnabled"] and found["RotationRules"]["AutomaticallyAfterDays"] == 30
    days = found["NextRotationDate"].timestamp() - time.time()
    assert 29 * 86400 < days < 31 * 86400
    version = account.manager.rotate_secret(SecretId="turning/first")["VersionId"]
    account.until(lambda: "AWSCURRENT" in account.stages("turning/first").get(version, []))
    assert account.manager.get_secret_value(SecretId="turning/first")["SecretString"] == "new"
    account.until(lambda: f"finishSecret {version}" in account.logged("/aws/lambda/rotator"))
    logged = account.logged("/aws/lambda/rotator")
    assert [logged.index(f"{step} {version}") for step in ("createSecret", "setSecret", "testSecret", "finishSecret")] == sorted(
        logged.index(f"{step} {version}") for step in ("createSecret", "setSecret", "testSecret", "finishSecret")
    )
    account.until(lambda: account.manager.describe_secret(SecretId="turning/first").get("LastRotatedDate"))


def test_a_rotation_that_fails_is_tried_again_and_no_other_begins(account: Account, rotator: str) -> None:
    account.manager.create_secret(Name="turning/second", SecretString="old")
    before = next(iter(account.stages("turning/second")))
    account.manager.update_secret_version_stage(SecretId="turning/second", VersionStage="mood", MoveToVersionId=before)
    asked = {"RotationLambdaARN": rotator, "RotationRules": {"AutomaticallyAfterDays": 1}}
    version = account.manager.rotate_secret(SecretId="turning/second", **asked)["VersionId"]
    log = account.running.directory / "daemon.log"
    account.until(lambda: "rotation of turning/second: setSecret: not in the mood" in log.read_text())
    assert account.manager.get_secret_value(SecretId="turning/second")["SecretString"] == "old"
    with pytest.raises(botocore.exceptions.ClientError, match="A previous rotation isn't complete. That rotation will be reattempted"):
        account.manager.rotate_secret(SecretId="turning/second")
    account.manager.update_secret_version_stage(SecretId="turning/second", VersionStage="mood", RemoveFromVersionId=before)
    account.until(lambda: "AWSCURRENT" in account.stages("turning/second")[version])
    account.manager.cancel_rotate_secret(SecretId="turning/second")
    found = account.manager.describe_secret(SecretId="turning/second")
    assert not found["RotationEnabled"] and found.get("NextRotationDate") is None


def test_down_leaves_no_function(tmp_path: t.Any) -> None:
    with aws.local_aws(tmp_path / "state") as running:
        account = Account(running)
        account.functions.update_function_configuration(FunctionName="caller", Timeout=300)
        client = running.client("lambda")

        def call() -> None:
            with contextlib.suppress(Exception):
                client.invoke(FunctionName="caller", Payload=json.dumps({"sleep": 200}))

        threading.Thread(target=call, daemon=True).start()
        process = account.until(lambda: next((one for one in running.processes() if "function_process" in " ".join(one.cmdline())), None))
        assert running.command("down").returncode == 0
        assert not psutil.pid_exists(process.pid)
