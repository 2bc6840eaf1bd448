# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Secrets Manager modules against an in-process AWS."""

from __future__ import annotations

import json
import typing as t

import boto3
import pytest
from hypothesis import given, strategies
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import secret_values
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    secretsmanager_generated_secrets,
    secretsmanager_secret_value,
    secretsmanager_secrets_info,
)

OWNER = {"owner": "us"}
KEY = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def client(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        yield boto3.client("secretsmanager", region_name="eu-west-2")


def options(*secrets: dict, **others: t.Any) -> dict:
    return {"secrets": list(secrets), "owner_tags": OWNER, "tags": {**OWNER, "cost": 12}, **others}


def stored(client: t.Any, name: str) -> t.Any:
    return json.loads(client.get_secret_value(SecretId=name)["SecretString"])


# --- values ----------------------------------------------------------------------------------------------------------


@given(strategies.integers(min_value=1, max_value=200))
def test_generated_values_have_the_length_and_need_no_quoting(length: int) -> None:
    value = secret_values.generate(length)
    assert len(value) == length and value.isalnum() and value.isascii()


def test_generated_values_differ() -> None:
    assert len({secret_values.generate(40) for _attempt in range(100)}) == 100


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1234567", "7 characters, allowed are 8 to 12"),
        ("1234567890123", "13 characters"),
        ("12345678é", "not printable ASCII"),
        ("1234567\t8", "not printable ASCII"),
        ("1234 5678", r"any of / space"),
        ("1234/5678", r"any of / space"),
    ],
)
def test_given_values_keep_the_rules(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        secret_values.check("The password", value, minimum=8, maximum=12, forbidden="/ ", ascii_only=True)
    assert value not in str(refusal.value)


def test_unicode_is_a_value_where_it_is_allowed() -> None:
    secret_values.check("The password", "pässwört @/", minimum=8, maximum=12, forbidden="", ascii_only=False)


# --- generated secrets -----------------------------------------------------------------------------------------------


def test_make_once_then_leave_alone(client: t.Any, run_module: t.Callable) -> None:
    wanted = options(
        {"name": "web/database", "fields": {"username": "web"}}, {"name": "web/key", "key": "k", "length": 7}
    )
    module = secretsmanager_generated_secrets
    check = run_module(module, wanted, check=True)
    assert check["changed"] and check["arns"] == {"web/database": None, "web/key": None}
    assert client.list_secrets()["SecretList"] == []
    made = run_module(module, wanted)
    assert made["changed"] and all(arn.startswith("arn:aws:") for arn in made["arns"].values())
    database = stored(client, "web/database")
    assert database["username"] == "web" and len(database["password"]) == 40
    assert len(stored(client, "web/key")["k"]) == 7
    assert database["password"] not in json.dumps(made)
    again = run_module(module, wanted)
    assert not again["changed"] and again["arns"] == made["arns"] and again["diff"] == {"before": {}, "after": {}}
    assert stored(client, "web/database") == database


def test_deleted_is_recovered_with_its_value(client: t.Any, run_module: t.Callable) -> None:
    module, wanted = secretsmanager_generated_secrets, options({"name": "web/database"})
    run_module(module, wanted)
    before = stored(client, "web/database")
    gone = run_module(module, options({"name": "web/database"}, state="absent"))
    assert gone["changed"] and gone["arns"] == {"web/database": None}
    assert not run_module(module, options({"name": "web/database"}, state="absent"))["changed"]
    assert run_module(module, wanted, check=True)["diff"]["before"] == {"web/database": "scheduled for deletion"}
    assert run_module(module, wanted)["changed"]
    assert stored(client, "web/database") == before


def test_delete_for_good(client: t.Any, run_module: t.Callable) -> None:
    module = secretsmanager_generated_secrets
    run_module(module, options({"name": "web/database"}))
    doomed = options({"name": "web/database"}, state="absent", recovery_window_days=0)
    assert run_module(module, doomed)["diff"]["after"] == {"web/database": "absent"}
    assert not run_module(module, doomed)["changed"]
    assert client.list_secrets(IncludePlannedDeletion=True)["SecretList"] == []


def test_given_value_is_stored_and_another_one_refused(client: t.Any, run_module: t.Callable) -> None:
    module, given_value = secretsmanager_generated_secrets, "correct horse battery"
    wanted = options({"name": "web/admin", "value": given_value})
    result = run_module(module, wanted)
    assert stored(client, "web/admin")["password"] == given_value and given_value not in json.dumps(result)
    assert not run_module(module, wanted)["changed"]
    refused = run_module(module, options({"name": "web/admin", "value": "another horse battery"}))
    assert refused["failed"] and "differs from the one that is stored" in refused["msg"]
    assert "horse" not in refused["msg"]
    assert stored(client, "web/admin")["password"] == given_value


def test_all_are_checked_before_the_first_is_written(client: t.Any, run_module: t.Callable) -> None:
    wanted = options({"name": "web/database"}, {"name": "web/admin", "value": "short", "minimum_length": 12})
    refused = run_module(secretsmanager_generated_secrets, wanted)
    assert refused["msg"] == (
        "The password given for web/admin: it has 5 characters, allowed are 12 to 4096; give another one"
    )
    assert client.list_secrets()["SecretList"] == []


def test_other_fields_are_refused(client: t.Any, run_module: t.Callable) -> None:
    run_module(secretsmanager_generated_secrets, options({"name": "web/admin", "fields": {"username": "admin"}}))
    refused = run_module(
        secretsmanager_generated_secrets, options({"name": "web/admin", "fields": {"username": "root"}})
    )
    assert refused["msg"].startswith("Secret web/admin: its username is admin, not root")


def test_a_secret_that_is_being_rotated_is_not_taken_for_another_ones(client: t.Any, run_module: t.Callable) -> None:
    module = secretsmanager_generated_secrets
    wanted = options({"name": "web/database", "fields": {"username": "web"}})
    run_module(module, wanted)
    content = json.dumps({"username": "companion", "password": "x"})
    stages = ["AWSCURRENT", "AWSPENDING"]
    version = client.put_secret_value(SecretId="web/database", SecretString=content, VersionStages=stages)["VersionId"]
    unfinished = "Secret web/database: its rotation is unfinished; complete that first, then run this again"
    assert run_module(module, wanted)["msg"] == unfinished
    assert not run_module(module, options({"name": "web/database", "fields": {"username": "companion"}}))["changed"]
    client.update_secret_version_stage(SecretId="web/database", VersionStage="AWSPENDING", RemoveFromVersionId=version)
    assert "its username is companion, not web" in run_module(module, wanted)["msg"]


@pytest.mark.parametrize("text", ["not json", "[]", '{"password": ""}', '{"username": "x"}'])
def test_what_is_no_such_secret_is_refused(client: t.Any, run_module: t.Callable, text: str) -> None:
    client.create_secret(Name="web/admin", SecretString=text, Tags=[{"Key": "owner", "Value": "us"}])
    refused = run_module(secretsmanager_generated_secrets, options({"name": "web/admin"}))
    assert refused["msg"].startswith("Secret web/admin: its value is not a JSON object with the key password")


@pytest.mark.parametrize("state", ["present", "absent"])
def test_foreign_secret_is_refused(client: t.Any, run_module: t.Callable, state: str) -> None:
    client.create_secret(Name="web/admin", SecretString="theirs")
    refused = run_module(secretsmanager_generated_secrets, options({"name": "web/admin"}, state=state))
    assert refused["msg"].startswith("Secret web/admin: it exists but does not carry the tags owner=us")
    assert client.get_secret_value(SecretId="web/admin")["SecretString"] == "theirs"


def test_tags_follow(client: t.Any, run_module: t.Callable) -> None:
    run_module(
        secretsmanager_generated_secrets, options({"name": "web/admin"}, tags={**OWNER, "old": "1", "kept": "2"})
    )
    changed = run_module(secretsmanager_generated_secrets, options({"name": "web/admin"}, tags={**OWNER, "kept": 3}))
    assert changed["changed"]
    tags = {one["Key"]: one["Value"] for one in client.describe_secret(SecretId="web/admin")["Tags"]}
    assert tags == {"owner": "us", "kept": "3"}


def test_the_key_follows(client: t.Any, run_module: t.Callable) -> None:
    def key() -> str | None:
        return client.describe_secret(SecretId="web/admin").get("KmsKeyId") or None

    def run(**others: t.Any) -> dict:
        predicted = run_module(module, options({"name": "web/admin"}, **others), check=True)
        done = run_module(module, options({"name": "web/admin"}, **others))
        assert predicted["diff"] == done["diff"]
        return done

    module = secretsmanager_generated_secrets
    run(kms_key=KEY)
    assert key() == KEY and not run(kms_key=KEY)["changed"] and not run()["changed"]
    before = stored(client, "web/admin")
    assert run(kms_key="")["diff"] == {"before": {"web/admin key": KEY}, "after": {"web/admin key": ""}}
    assert key() is None and not run(kms_key="")["changed"]
    assert run(kms_key=KEY)["changed"] and key() == KEY and stored(client, "web/admin") == before


def test_secret_without_a_value_gets_one(client: t.Any, run_module: t.Callable) -> None:
    client.create_secret(Name="web/admin", Tags=[{"Key": "owner", "Value": "us"}])
    assert run_module(secretsmanager_generated_secrets, options({"name": "web/admin"}))["changed"]
    assert len(stored(client, "web/admin")["password"]) == 40


def test_deleted_secret_without_a_value_gets_one(client: t.Any, run_module: t.Callable) -> None:
    client.create_secret(Name="web/admin", Tags=[{"Key": "owner", "Value": "us"}])
    client.delete_secret(SecretId="web/admin")
    assert run_module(secretsmanager_generated_secrets, options({"name": "web/admin"}))["changed"]
    assert len(stored(client, "web/admin")["password"]) == 40


def test_illegal_recovery_window_is_refused(client: t.Any, run_module: t.Callable) -> None:
    refused = run_module(
        secretsmanager_generated_secrets, options({"name": "web/admin"}, state="absent", recovery_window_days=3)
    )
    assert refused["msg"].startswith("recovery_window_days = 3: ")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_read_a_secret_and_a_key(client: t.Any, run_module: t.Callable) -> None:
    text = json.dumps({"username": "web", "password": "p/w"})
    arn = client.create_secret(Name="web/admin", SecretString=text)["ARN"]
    module = secretsmanager_secret_value
    whole = run_module(module, {"secret_id": "web/admin"})
    assert (whole["value"], whole["arn"], whole["changed"]) == (text, arn, False)
    for check in (True, False):
        assert run_module(module, {"secret_id": arn, "key": "password"}, check=check)["value"] == "p/w"
    missing = run_module(module, {"secret_id": "web/admin", "key": "token"})
    assert missing["msg"] == (
        "key = token: secret web/admin has no such key (it has: password, username); name one of its keys"
    )


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        ({"SecretBinary": b"\x00"}, None, "the secret is binary"),
        ({"SecretString": "canary"}, "password", "the secret is not a JSON object; leave out key = password"),
        ({"SecretString": "[1]"}, "password", "the secret is not a JSON object"),
        ({"SecretString": "{}"}, "password", r"it has: none"),
    ],
)
def test_unreadable(client: t.Any, run_module: t.Callable, content: dict, key: str | None, message: str) -> None:
    client.create_secret(Name="web/admin", **content)
    refused = run_module(secretsmanager_secret_value, {"secret_id": "web/admin", "key": key})
    assert refused["failed"] and message in refused["msg"] and "canary" not in refused["msg"]


def test_missing_and_deleted(client: t.Any, run_module: t.Callable) -> None:
    missing = run_module(secretsmanager_secret_value, {"secret_id": "web/admin"})
    assert "there is no such secret, or it has no version AWSCURRENT, in eu-west-2" in missing["msg"]
    client.create_secret(Name="web/admin", SecretString="x")
    client.delete_secret(SecretId="web/admin")
    deleted = run_module(secretsmanager_secret_value, {"secret_id": "web/admin"})
    assert "scheduled for deletion" in deleted["msg"]


def test_unreachable_aws_is_one_line(client: t.Any, run_module: t.Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for module, options_ in (
        (secretsmanager_secret_value, {"secret_id": "web/admin"}),
        (secretsmanager_secrets_info, {"prefix": "web/"}),
        (secretsmanager_generated_secrets, options({"name": "web/admin"})),
    ):
        with mock_aws(config={"core": {"mock_credentials": False, "passthrough": {"urls": [r".*127\.0\.0\.1:9.*"]}}}):
            refused = run_module(module, options_)
        assert refused["failed"] and "\n" not in refused["msg"]


def test_find_by_prefix_and_tags(client: t.Any, run_module: t.Callable) -> None:
    ours = [{"Key": "owner", "Value": "us"}]
    arn = client.create_secret(Name="web/admin", SecretString="x", Tags=ours)["ARN"]
    client.create_secret(Name="web/foreign", SecretString="x")
    client.create_secret(Name="other/web/admin", SecretString="x", Tags=ours)
    client.create_secret(Name="web/gone", SecretString="x", Tags=ours)
    client.delete_secret(SecretId="web/gone")
    found = run_module(secretsmanager_secrets_info, {"prefix": "web/", "tags": OWNER}, check=True)
    assert found["arns"] == {"web/admin": arn} and not found["changed"]
