# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords of users in Secrets Manager, against an in-process AWS."""

from __future__ import annotations

import json
import re
import typing as t

import boto3
import pytest
from hypothesis import given, strategies
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import user_secrets
from ansible_collections.mlops.mlflow_aws.plugins.modules import secretsmanager_user_passwords as module

OWNER = {"owner": "us"}
PREFIX = "web/users/"
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def client(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        yield boto3.client("secretsmanager", region_name="eu-west-2")


@pytest.fixture
def keep(run_module: t.Callable[..., dict]) -> t.Callable[..., dict]:
    """keep(users, state=..., check=False, ...) answers what the module would print."""

    def run(users: list[str] | None, check: bool = False, **others: t.Any) -> dict:
        given_users = {} if users is None else {"users": users}
        options = {"prefix": PREFIX, "owner_tags": OWNER, "tags": {**OWNER, "cost": 12}, **given_users, **others}
        return run_module(module, options, check)

    return run


def stages(client: t.Any, user: str) -> list[list[str]]:
    versions = client.describe_secret(SecretId=PREFIX + user).get("VersionIdsToStages", {})
    return sorted(sorted(labels) for labels in versions.values())


def value(client: t.Any, user: str, label: str) -> dict:
    return json.loads(client.get_secret_value(SecretId=PREFIX + user, VersionStage=label)["SecretString"])


# --- names -----------------------------------------------------------------------------------------------------------


@given(strategies.text(min_size=1, max_size=60).filter(lambda text: text.isprintable()))
def test_every_user_has_a_legal_name_that_tells_the_user(user: str) -> None:
    name = user_secrets.secret_name(PREFIX, user)
    assert re.fullmatch(r"[A-Za-z0-9/_+=.@-]+", name) and user_secrets.user_name(PREFIX, name) == user


def test_names_of_two_users_differ() -> None:
    names = [user_secrets.secret_name("p/", user) for user in ("a b", "a=20b", "a/b", "a%b", "ä")]
    assert names == ["p/a=20b", "p/a=3D20b", "p/a=2Fb", "p/a=25b", "p/=C3=A4"]


@pytest.mark.parametrize("name", ["other/ada", PREFIX, PREFIX + "a=zz", PREFIX + "=FF", PREFIX + "a/b", PREFIX + "=61"])
def test_a_name_that_is_nobodys(name: str) -> None:
    assert user_secrets.user_name(PREFIX, name) is None


def test_a_name_too_long_for_aws() -> None:
    with pytest.raises(ValueError, match="would have a name of 609 characters, AWS takes 512"):
        user_secrets.secret_name("web/users", "x" * 600)


@pytest.mark.parametrize("stored", [None, "", "no json", "[]", "{}", '{"username": "ada", "password": ""}'])
def test_a_secret_without_password_is_refused_without_showing_it(stored: str | None) -> None:
    with pytest.raises(ValueError, match="Secret n: its value is not a JSON object with the key password"):
        user_secrets.password_in("n", "ada", stored)


def test_a_secret_of_another_user_is_refused() -> None:
    with pytest.raises(ValueError, match="its username is not 'ada'") as refusal:
        user_secrets.password_in("n", "ada", user_secrets.text("bob", "correct horse"))
    assert "correct horse" not in str(refusal.value)


# --- the module ------------------------------------------------------------------------------------------------------


def test_a_password_is_pending_until_it_is_applied(client: t.Any, keep: t.Callable) -> None:
    predicted = keep(["ada", "bob"], check=True)
    assert predicted["changed"] and predicted["pending"] == ["ada", "bob"] and predicted["arns"]["ada"] is None
    assert client.list_secrets()["SecretList"] == []

    made = keep(["ada", "bob"], length=20)
    assert made["diff"] == predicted["diff"] and made["pending"] == ["ada", "bob"]
    assert stages(client, "ada") == [["AWSCURRENT", "AWSPENDING"]]
    assert value(client, "ada", "AWSCURRENT") == {"username": "ada", "password": made["passwords"]["ada"]}
    assert len(made["passwords"]["ada"]) == 20 and made["passwords"]["ada"] != made["passwords"]["bob"]

    again = keep(["ada", "bob"])
    assert not again["changed"] and again["pending"] == ["ada", "bob"] and again["passwords"] == made["passwords"]

    assert keep(["ada", "bob"], check=True, state="applied")["changed"]
    assert keep(["ada", "bob"], state="applied")["changed"]
    assert stages(client, "ada") == [["AWSCURRENT"]]
    assert not keep(["ada", "bob"], state="applied")["changed"]

    settled = keep(["ada", "bob"])
    assert not settled["changed"] and settled["pending"] == [] and settled["passwords"] == made["passwords"]


def test_rotation_tells_the_new_password_and_keeps_the_old_one_current(client: t.Any, keep: t.Callable) -> None:
    old = keep(["ada", "bob"])["passwords"]
    keep(["ada", "bob"], state="applied")
    rotated = keep(["ada", "bob"], rotate=["ada"])
    assert rotated["pending"] == ["ada"] and rotated["passwords"]["bob"] == old["bob"]
    assert value(client, "ada", "AWSCURRENT")["password"] == old["ada"] != rotated["passwords"]["ada"]

    # Interrupted here: the next run goes on with the same password.
    assert keep(["ada", "bob"], rotate=["ada"])["passwords"] == rotated["passwords"]
    keep(["ada"], state="applied")
    assert value(client, "ada", "AWSCURRENT")["password"] == rotated["passwords"]["ada"]
    assert value(client, "ada", "AWSPREVIOUS")["password"] == old["ada"]


def test_a_secret_left_without_a_value_gets_one(client: t.Any, keep: t.Callable) -> None:
    client.create_secret(Name=PREFIX + "ada", Tags=[{"Key": "owner", "Value": "us"}])
    kept = keep(["ada"])
    assert kept["changed"] and kept["pending"] == ["ada"] and stages(client, "ada") == [["AWSCURRENT", "AWSPENDING"]]
    tags = {one["Key"]: one["Value"] for one in client.describe_secret(SecretId=PREFIX + "ada")["Tags"]}
    assert tags == {"owner": "us", "cost": "12"}


def test_absent_and_back(client: t.Any, keep: t.Callable) -> None:
    old = keep(["ada", "bob"])["passwords"]
    keep(["ada", "bob"], state="applied")
    client.create_secret(Name=PREFIX + "carl", SecretString="x")
    assert keep(["ada"], check=True, state="absent")["diff"] == keep(["ada"], state="absent")["diff"]
    assert not keep(["ada"], state="absent")["changed"]
    gone = keep(None, state="absent")
    assert list(gone["diff"]["after"]) == [PREFIX + "bob"] and not keep(None, state="absent")["changed"]
    assert [one["Name"] for one in client.list_secrets()["SecretList"]] == [PREFIX + "carl"]

    back = keep(["ada"])
    assert back["pending"] == ["ada"] and back["passwords"]["ada"] != old["ada"]
    assert keep(["ada"], state="absent", recovery_window_days=0)["diff"]["after"] == {PREFIX + "ada": "absent"}


def test_tags_are_kept_as_given(client: t.Any, keep: t.Callable) -> None:
    keep(["ada"], tags={**OWNER, "team": "a"})
    assert keep(["ada"], check=True)["diff"] == keep(["ada"])["diff"] and not keep(["ada"])["changed"]
    tags = {one["Key"]: one["Value"] for one in client.describe_secret(SecretId=PREFIX + "ada")["Tags"]}
    assert tags == {"owner": "us", "cost": "12"}


def test_what_was_never_finished_can_be_removed(client: t.Any, keep: t.Callable) -> None:
    keep(["ada"])
    client.create_secret(Name=PREFIX + "bob", Tags=[{"Key": "owner", "Value": "us"}])
    gone = keep(["ada", "bob"], state="absent")
    assert gone["diff"]["before"] == {
        PREFIX + "ada": "with a pending password",
        PREFIX + "bob": "without a password",
    }


def test_hundreds_of_users(client: t.Any, keep: t.Callable) -> None:
    users = [f"user-{number}" for number in range(130)]
    made = keep(users)
    keep(users, state="applied")
    settled = keep(users)
    assert settled["passwords"] == made["passwords"] and not settled["changed"]


def test_a_secret_of_somebody_else_is_not_touched(client: t.Any, keep: t.Callable) -> None:
    client.create_secret(Name=PREFIX + "ada", SecretString="theirs")
    for state in ("present", "applied", "absent"):
        assert "does not carry the tags owner=us" in keep(["ada"], state=state)["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recovery_window_days": 3}, "recovery_window_days = 3"),
        ({"length": 11}, "length = 11"),
        ({"rotate": ["eve"]}, "rotate: 'eve' is not one of users"),
    ],
)
def test_refusals(client: t.Any, keep: t.Callable, options: dict, message: str) -> None:
    refused = keep(["ada"], **options)
    assert refused["failed"] and message in refused["msg"]


def test_users_may_be_left_out_only_to_remove_them(client: t.Any, keep: t.Callable) -> None:
    assert "users: missing, and state = present needs it" in keep(None)["msg"]


def test_a_secret_that_cannot_be_read(client: t.Any, keep: t.Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(["ada"])
    keep(["ada"], state="applied")
    denied = {"SecretValues": [], "Errors": [{"SecretId": PREFIX + "ada", "ErrorCode": "AccessDeniedException"}]}
    monkeypatch.setattr(
        "moto.secretsmanager.models.SecretsManagerBackend.batch_get_secret_value",
        lambda *_arguments, **_more: (denied["SecretValues"], denied["Errors"], None),
    )
    assert "it cannot be read (AccessDeniedException); allow secretsmanager:GetSecretValue" in keep(["ada"])["msg"]


def test_the_key_follows(client: t.Any, keep: t.Callable[..., dict]) -> None:
    key = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

    def keys() -> dict[str, str | None]:
        return {user: client.describe_secret(SecretId=PREFIX + user).get("KmsKeyId") or None for user in ("ada", "bob")}

    keep(["ada"], kms_key="")
    assert keep(["ada", "bob"], kms_key=key)["generated"] == ["bob"]
    assert keys() == {"ada": key, "bob": key}
    for options in ({"kms_key": key}, {}):
        assert keep(["ada", "bob"], **options)["diff"]["after"] == {}
    back = keep(["ada", "bob"], kms_key="")
    assert back["diff"]["before"] == {f"{PREFIX}{user} key": key for user in ("ada", "bob")}
    assert keys() == {"ada": None, "bob": None}
