# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role secrets on a local AWS."""

from __future__ import annotations

import json
import typing as t

import pytest

CANARY = "Canary%&+$\\'`{}[]=,~42"


@pytest.fixture
def secret(local_aws: t.Any) -> t.Callable[[str], dict]:
    client = local_aws.client("secretsmanager")
    return lambda name: json.loads(client.get_secret_value(SecretId=name)["SecretString"])


def test_made_once_kept_and_recovered(run_role: t.Callable, secret: t.Callable) -> None:
    variables = {"secrets_name": "keep", "secrets_tags": {"team": "a", "cost-centre": 42}}

    check = run_role("secrets", variables, check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    assert check.outputs == {
        "admin_secret_arn": None,
        "db_secret_arn": None,
        "server_key_secret_arn": None,
        "admin_username": "admin",
        "db_username": "mlflow",
    }

    create = run_role("secrets", variables)
    assert (create.rc, create.changed) == (0, 1), create.stdout
    assert create.writes == ["secretsmanager:CreateSecret"] * 3
    made = {kind: secret(f"keep/{kind}") for kind in ("database", "admin", "server-key")}
    assert made["database"]["username"] == "mlflow" and made["admin"]["username"] == "admin"
    values = {made["database"]["password"], made["admin"]["password"], made["server-key"]["secret_key"]}
    assert len(values) == 3 and all(len(value) == 40 and value.isalnum() for value in values)
    assert not any(value in create.stdout for value in values)

    for again in (run_role("secrets", variables, check=True), run_role("secrets", variables)):
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == create.outputs
    info = run_role("secrets", variables, "info")
    assert info.outputs == create.outputs and info.writes == []

    gone = run_role("secrets", variables, "absent")
    assert (gone.rc, gone.changed) == (0, 1) and gone.writes == ["secretsmanager:DeleteSecret"] * 3
    again = run_role("secrets", variables, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])
    assert set(run_role("secrets", variables, "info").outputs.values()) == {None}

    back = run_role("secrets", variables)
    assert (back.rc, back.changed) == (0, 1), back.stdout
    assert back.writes == ["secretsmanager:RestoreSecret"] * 3
    assert {kind: secret(f"keep/{kind}") for kind in made} == made


def test_given_password_is_stored_and_never_shown(run_role: t.Callable, secret: t.Callable) -> None:
    variables = {"secrets_name": "given", "secrets_db_password": CANARY, "secrets_admin_password": CANARY + 'ü "@/'}
    runs = [run_role("secrets", variables, check=check, verbosity=3) for check in (True, False, True, False)]
    assert [run.changed for run in runs] == [1, 1, 0, 0], runs[-1].stdout
    assert secret("given/database")["password"] == CANARY
    assert secret("given/admin")["password"] == variables["secrets_admin_password"]
    other = run_role("secrets", {**variables, "secrets_db_password": CANARY + "2"}, verbosity=3)
    assert other.rc == 2 and other.writes == []
    assert "Secret given/database: the password given differs from the one that is stored" in other.stdout
    for run in [*runs, other]:
        for written in (CANARY, json.dumps(CANARY)[1:-1]):
            assert written not in run.stdout
    assert secret("given/database")["password"] == CANARY


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"secrets_db_password": "short"},
            "The password given for bad/database: it has 5 characters, allowed are 8 to 128",
        ),
        ({"secrets_db_password": "with space"}, "it has a character that is not allowed"),
        ({"secrets_db_password": "pässwörter"}, "characters that are not printable ASCII"),
        (
            {"secrets_admin_password": "elevenchars"},
            "The password given for bad/admin: it has 11 characters, allowed are 12 to",
        ),
    ],
)
def test_bad_passwords_are_refused_before_the_first_write(run_role: t.Callable, given: dict, message: str) -> None:
    run = run_role("secrets", {"secrets_name": "bad", **given})
    assert run.rc == 2 and run.writes == []
    assert message in run.stdout
    assert next(iter(given.values())) not in run.stdout


def test_another_user_name_is_refused(run_role: t.Callable) -> None:
    assert run_role("secrets", {"secrets_name": "user"}).rc == 0
    run = run_role("secrets", {"secrets_name": "user", "secrets_db_username": "other"})
    assert run.rc == 2 and run.writes == []
    assert "Secret user/database: its username is mlflow, not other" in run.stdout


def test_what_is_not_ours_is_not_touched(run_role: t.Callable, local_aws: t.Any, secret: t.Callable) -> None:
    client = local_aws.client("secretsmanager")
    client.create_secret(Name="foreign/admin", SecretString="theirs", Tags=[{"Key": "mlflow-deployment", "Value": "x"}])
    for entry in ("main", "absent"):
        run = run_role("secrets", {"secrets_name": "foreign"}, entry)
        assert run.rc == 2 and run.writes == [], run.stdout
        assert "Secret foreign/admin: it exists but does not carry the tags" in run.stdout
    assert client.get_secret_value(SecretId="foreign/admin")["SecretString"] == "theirs"


def test_half_made_is_completed_and_tags_follow(run_role: t.Callable, local_aws: t.Any) -> None:
    assert run_role("secrets", {"secrets_name": "half"}).rc == 0
    local_aws.client("secretsmanager").delete_secret(SecretId="half/admin", ForceDeleteWithoutRecovery=True)
    run = run_role("secrets", {"secrets_name": "half", "secrets_tags": {"team": "b"}})
    assert run.rc == 0, run.stdout
    assert sorted(run.writes) == ["secretsmanager:CreateSecret"] + ["secretsmanager:TagResource"] * 2
    gone = run_role("secrets", {"secrets_name": "half", "secrets_recovery_window_days": 0}, "absent")
    assert gone.rc == 0, gone.stdout
    assert run_role("secrets", {"secrets_name": "half", "secrets_recovery_window_days": 0}, "absent").changed == 0
