# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations of secrets, against an in-process AWS."""

from __future__ import annotations

import json
import typing as t

import boto3
import pytest
from hypothesis import given, strategies
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import secret_rotations
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    secretsmanager_rotation,
    secretsmanager_rotation_info,
    secretsmanager_secret_value,
)

OWNER = {"owner": "us"}
NAME, OLD = "web/database", "canary-old-password"
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def client(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="eu-west-2")
        content = json.dumps({"username": "web", "password": OLD})
        client.create_secret(Name=NAME, SecretString=content, Tags=[{"Key": "owner", "Value": "us"}])
        yield client


@pytest.fixture
def rotate(run_module: t.Callable[..., dict], client: t.Any) -> t.Callable[..., dict]:
    """rotate(state, check=False, ...) answers what the module would print, in which no password may show."""

    def run(state: str, check: bool = False, **others: t.Any) -> dict:
        options = {"secret_id": NAME, "state": state, "owner_tags": OWNER, **others}
        result = run_module(secretsmanager_rotation, options, check)
        for label in ("AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"):
            found = stored(client, label)
            assert not found or str(found.get("password")) not in json.dumps(result)
        return result

    return run


def stored(client: t.Any, label: str) -> dict | None:
    """The content of the version with the label, by its ID: what GetSecretValue answers by label is not for moto to say."""
    stages = client.describe_secret(SecretId=NAME).get("VersionIdsToStages", {})
    version = next((one for one, labels in stages.items() if label in labels), None)
    return json.loads(client.get_secret_value(SecretId=NAME, VersionId=version)["SecretString"]) if version else None


def standing(run_module: t.Callable[..., dict]) -> dict:
    options = {"secrets": [{"secret_id": NAME}], "owner_tags": OWNER}
    return run_module(secretsmanager_rotation_info, options)["rotations"][0]


def test_a_rotation_goes_through_its_stages_and_each_step_is_safe_to_repeat(client, rotate, run_module):
    assert standing(run_module) == {"secret_id": NAME, "stage": "settled", "current": {"username": "web"}, "pending": None}
    for state, stage in (("pending", "pending"), ("current", "current"), ("applied", "settled")):
        predicted = rotate(state, check=True)
        done = rotate(state)
        assert predicted["changed"] and done["changed"] and predicted["diff"] == done["diff"]
        assert done["stage"] == predicted["stage"] == stage == standing(run_module)["stage"]
        if state != "current":
            continue
        assert not rotate(state)["changed"]
    assert not rotate("applied")["changed"]
    assert stored(client, "AWSPENDING") is None
    new = stored(client, "AWSCURRENT")
    assert new["username"] == "web" and new["password"] != OLD and len(new["password"]) == 40
    assert stored(client, "AWSPREVIOUS") == {"username": "web", "password": OLD}


def test_a_value_that_waits_is_kept_and_one_that_is_current_is_followed_by_another(client, rotate):
    rotate("pending", fields={"username": "companion"}, length=12)
    waiting = stored(client, "AWSPENDING")
    assert waiting["username"] == "companion" and len(waiting["password"]) == 12
    assert stored(client, "AWSCURRENT")["password"] == OLD
    assert not rotate("pending", fields={"username": "companion"})["changed"]
    refused = rotate("pending", fields={"username": "web"})
    assert refused["failed"] and refused["msg"] == (
        "Secret web/database: a value waits whose username is companion, not web; end that rotation first"
    )
    # A run would have made it the current one before.
    assert rotate("pending", check=True, fields={"username": "web"})["changed"]
    rotate("current")
    assert stored(client, "AWSCURRENT") == stored(client, "AWSPENDING") == waiting
    rotate("pending", fields={"username": "web"})
    assert stored(client, "AWSPENDING")["username"] == "web" and stored(client, "AWSCURRENT") == waiting
    rotate("applied")
    assert stored(client, "AWSCURRENT")["username"] == "web" and stored(client, "AWSPENDING") is None


def test_steps_out_of_order(rotate):
    assert "no value is pending; store one with state = pending first" in rotate("current")["msg"]
    assert rotate("current", check=True)["changed"]
    assert not rotate("applied")["changed"]


def test_applied_ends_what_is_pending_in_one_step(client, rotate):
    rotate("pending")
    waiting = stored(client, "AWSPENDING")
    done = rotate("applied")
    assert done["stage"] == "settled" and stored(client, "AWSCURRENT") == waiting


def test_what_is_no_secret_of_ours_is_refused(client, rotate, run_module):
    assert "there is no such secret" in rotate("pending", secret_id="web/other")["msg"]
    assert "it exists but does not carry the tags owner=them" in rotate("pending", owner_tags={"owner": "them"})["msg"]
    assert "a value has 12 to 128 characters" in rotate("pending", length=8)["msg"]
    client.create_secret(Name="web/empty", Tags=[{"Key": "owner", "Value": "us"}])
    assert "it has no current value to be replaced" in rotate("pending", secret_id="web/empty")["msg"]
    client.create_secret(Name="web/text", SecretString="canary", Tags=[{"Key": "owner", "Value": "us"}])
    refused = rotate("pending", secret_id="web/text")
    assert "not a JSON object with the key password" in refused["msg"] and "canary" not in refused["msg"]
    client.delete_secret(SecretId=NAME)
    assert "it is scheduled for deletion; deploy again" in run_module(
        secretsmanager_rotation, {"secret_id": NAME, "state": "pending", "owner_tags": OWNER}
    )["msg"]


def test_a_version_is_read_by_its_label(client, rotate, run_module):
    rotate("pending")
    read = {"secret_id": NAME, "key": "password", "version_stage": "AWSPENDING"}
    assert run_module(secretsmanager_secret_value, read)["value"] == stored(client, "AWSPENDING")["password"]
    missing = run_module(secretsmanager_secret_value, {**read, "version_stage": "AWSPREVIOUS"})
    assert "it has no version AWSPREVIOUS" in missing["msg"]


def test_the_verifier_is_of_the_value_that_waits(client, rotate):
    first, second = rotate("pending", verifier=True), rotate("pending", verifier=True)
    password = stored(client, "AWSPENDING")["password"]
    assert first["changed"] and not second["changed"]
    for result in (first, second):
        salt = secret_rotations.base64.b64decode(result["verifier"].split("$")[1].split(":")[1])
        assert result["verifier"] == secret_rotations.scram_verifier(password, salt)
    assert rotate("pending", check=True, verifier=True)["verifier"].startswith("SCRAM-SHA-256$4096:")


def test_a_verifier_is_what_postgresql_makes_of_a_password():
    """RFC 7677, 3: the example's exchange proves itself by the keys that the verifier holds."""
    salt = secret_rotations.base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = secret_rotations.scram_verifier("pencil", salt)
    assert verifier == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@given(strategies.sampled_from("abc"), strategies.one_of(strategies.none(), strategies.sampled_from("abc")))
def test_the_stage_follows_from_the_labels(current: str, pending: str | None):
    stage = secret_rotations.stage(current, pending)
    assert (stage == "settled") == (pending is None) and (stage == "current") == (pending == current)


def test_a_second_value_waits_beside_the_first_and_is_forgotten(client, rotate):
    rotate("pending", fields={"username": "web"})
    waiting = stored(client, "AWSPENDING")
    rotate("pending", label="COMPANION", fields={"username": "companion"})
    companion = stored(client, "COMPANION")
    assert companion["username"] == "companion" and stored(client, "AWSPENDING") == waiting
    assert not rotate("pending", label="COMPANION", fields={"username": "companion"})["changed"]
    assert rotate("current", label="COMPANION")["stage"] == "current"
    assert stored(client, "AWSCURRENT") == companion and stored(client, "AWSPENDING") == waiting
    rotate("current")
    assert stored(client, "AWSCURRENT") == waiting
    predicted, done = rotate("forgotten", check=True, label="COMPANION"), rotate("forgotten", label="COMPANION")
    assert predicted["changed"] and predicted["diff"] == done["diff"]
    assert stored(client, "COMPANION") is None and stored(client, "AWSCURRENT") == waiting
    assert not rotate("forgotten", label="COMPANION")["changed"]


def test_the_version_that_secrets_manager_has_reserved_gets_the_next_value(client, rotate, run_module):
    token = "3" * 32
    from moto.secretsmanager.models import secretsmanager_backends

    secret = secretsmanager_backends["123456789012"]["eu-west-2"].secrets[NAME]
    secret.versions[token] = {"createdate": 0, "version_id": token, "version_stages": ["AWSPENDING"]}
    assert standing(run_module)["stage"] == "settled"
    rotate("pending")
    assert "AWSPENDING" in client.describe_secret(SecretId=NAME)["VersionIdsToStages"][token]
    rotate("applied")
    assert client.describe_secret(SecretId=NAME)["VersionIdsToStages"][token] == ["AWSCURRENT"]
