# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_user on real servers: every change as check, run, check, run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_client,
    mlflow_users,
    mlflow_users_api,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health, mlflow_user

from .conftest import ADMIN_PASSWORD

ROOT = Path(__file__).parents[3]
PASSWORD = "a-fine-passphrase"
HOSTILE = "%@:/#?&+$\\\"' `{}[];=,~<>|^!*()é😀"


@pytest.fixture
def client(server):
    return mlflow_client.Client(server.connection | {"validate_certs": True, "timeout": 30, "retry_timeout": 5})


@pytest.fixture
def quartet(run_module, server, client):
    """Run as check, run, check, run: predicted = done, then nothing left; the first check must not have changed
    anything."""

    def run(**options):
        options = server.connection | options
        before = mlflow_users_api.read(client, options["name"])
        predicted = run_module(mlflow_user, options, check=True)
        assert mlflow_users_api.read(client, options["name"]) == before
        done = run_module(mlflow_user, options)
        assert "failed" not in done, done["msg"]
        assert (
            predicted["changed"]
            and done["changed"]
            and predicted["changes"] == done["changes"]
            and predicted["diff"] == done["diff"]
        )
        for check in (True, False):
            again = run_module(mlflow_user, options, check=check)
            assert not again["changed"] and again["changes"] == [] and again["user"] == done["user"]
        return done

    return run


def works(client, name, password):
    return mlflow_users_api.password_works(client, name, password)


def test_a_life(quartet, client):
    name = "ada/lovelace of ünits"
    made = quartet(name=name, user_password=PASSWORD)
    assert made["user"]["username"] == name and made["user"]["is_admin"] is False and made["user"]["id"] > 1
    assert works(client, name, PASSWORD)
    assert quartet(name=name, admin=True)["user"]["is_admin"] is True
    changed = quartet(name=name, user_password=HOSTILE, update_password="always")
    assert changed["changes"] == [{"action": "set_password"}] and changed["user"]["is_admin"] is True
    assert works(client, name, HOSTILE) and not works(client, name, PASSWORD)
    assert quartet(name=name, admin=False)["user"]["is_admin"] is False
    assert quartet(name=name, state="absent")["user"] is None
    assert not works(client, name, HOSTILE)


def test_an_admin_from_the_start(quartet, client):
    made = quartet(name="grace", user_password=PASSWORD, admin=True, update_password="always")
    assert [change["action"] for change in made["changes"]] == ["create", "set_admin"] and made["user"]["is_admin"]
    quartet(name="grace", state="absent")


def test_a_user_with_permissions_can_be_deleted(quartet, run_module, server, client):
    run_module(mlflow_user, server.connection | {"name": "owner", "user_password": PASSWORD})
    owner = mlflow_client.Login("owner", PASSWORD)
    # Whoever makes an experiment or a model may manage it.
    experiment = client.call("POST", "experiments/create", body={"name": "of the owner"}, login=owner)["experiment_id"]
    client.call("POST", "registered-models/create", body={"name": "model of the owner"}, login=owner)
    gone = quartet(name="owner", state="absent")
    removed = [change.get("resource_id") for change in gone["changes"]]
    # Grants go with their user; permissions of single resources do not.
    has_grants = mlflow_versions.parse(server.version) >= mlflow_versions.GRANTS
    assert removed == ([None] if has_grants else [experiment, "model of the owner", None])
    client.call("POST", "experiments/delete", body={"experiment_id": experiment})


def test_hostile_passwords_arrive_whole(run_module, server, client):
    """30 generated passwords; every second one has characters beyond ASCII."""
    run_module(mlflow_user, server.connection | {"name": "hostile", "user_password": PASSWORD})
    random_source = random.Random(2718)
    for number in range(30):
        letters = HOSTILE + ("\u00df\u4e2d\u05d0" if number % 2 else "") + "aZ0"
        password = "".join(random_source.choice(letters) for _letter in range(12 + number))
        mlflow_users_api.apply(client, "hostile", password, mlflow_users.Change(mlflow_users.SET_PASSWORD))
        assert works(client, "hostile", password)
    assert not works(client, "hostile", password + "x")
    again = {"name": "hostile", "user_password": password, "update_password": "always"}
    assert not run_module(mlflow_user, server.connection | again)["changed"]
    run_module(mlflow_user, server.connection | {"name": "hostile", "state": "absent"})


def test_beyond_ascii_newer_servers_let_users_in_but_not_to_artifacts(run_module, server):
    """A limit of MLflow 3.15 and newer (their FastAPI routes read the Authorization header as ASCII), told in words by
    both modules."""
    options = {"name": "admin two", "user_password": "beyond-ascii-ü", "admin": True}
    warnings = run_module(mlflow_user, server.connection | options).get("warnings", [])
    login = server.connection | {"username": options["name"], "password": options["user_password"]}
    result = run_module(mlflow_health, login | {"checks": ["admin_login", "artifact_round_trip"]})
    if mlflow_versions.parse(server.version) < mlflow_versions.ASCII_LOGIN:
        assert "failed" not in result and "only ASCII" not in str(warnings)
    else:
        assert [one["status"] for one in result["checks"]] == ["passed", "failed", "passed"] and "only ASCII" in result[
            "msg"
        ]
        assert "only ASCII" in str(warnings)
    run_module(mlflow_user, server.connection | {"name": options["name"], "state": "absent"})


def test_the_admins_own_password_and_back(run_module, server):
    other = "another-%-passphrase"
    options = server.connection | {"name": "admin", "user_password": other, "update_password": "always"}
    changed = run_module(mlflow_user, options)
    assert changed["changes"] == [{"action": "set_password"}] and changed["user"]["is_admin"]
    assert "HTTP 401" in run_module(mlflow_user, options)["msg"]
    assert not run_module(mlflow_user, options | {"password": other})["changed"]
    back = run_module(mlflow_user, options | {"password": other, "user_password": ADMIN_PASSWORD})
    assert (
        back["changed"] and not run_module(mlflow_user, server.connection | {"name": "admin", "admin": True})["changed"]
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "a:b", "user_password": PASSWORD}, "holds a colon"),
        ({"name": "admin", "state": "absent"}, "nobody may delete themselves"),
        ({"name": "admin", "admin": False}, "lock itself out"),
        ({"name": "new"}, "user_password: missing"),
        ({"name": "new", "user_password": "password1234"}, "everybody knows"),
        (
            {"name": "new", "user_password": PASSWORD, "password": "wrong"},
            "HTTP 401: the server refuses this user name and password",
        ),
    ],
)
def test_refusals(run_module, server, client, options, reason):
    result = run_module(mlflow_user, server.connection | options)
    assert result["failed"] and reason in result["msg"] and "\n" not in result["msg"]
    assert mlflow_users_api.read(client, "new") is None


def test_short_passwords_are_refused_where_the_server_refuses_them(run_module, server, client):
    result = run_module(mlflow_user, server.connection | {"name": "brief", "user_password": "elevenchars"})
    if server.version.startswith("2."):
        assert result["changed"] and works(client, "brief", "elevenchars")
        run_module(mlflow_user, server.connection | {"name": "brief", "state": "absent"})
    else:
        assert "wants at least 12" in result["msg"] and mlflow_users_api.read(client, "brief") is None


def test_a_new_user_is_no_admin_and_manages_nobody(run_module, server):
    run_module(mlflow_user, server.connection | {"name": "plain", "user_password": PASSWORD})
    plain = {"tracking_uri": server.url, "username": "plain", "password": PASSWORD}
    assert (
        "'plain' is not an admin" in run_module(mlflow_user, plain | {"name": "other", "user_password": PASSWORD})[
            "msg"
        ]
    )
    denied = run_module(mlflow_health, plain | {"checks": ["tracking_write_read"]})
    assert "HTTP 403" in denied["msg"]
    own = run_module(mlflow_user, plain | {"name": "plain", "user_password": HOSTILE, "update_password": "always"})
    assert own["changed"]
    run_module(mlflow_user, server.connection | {"name": "plain", "state": "absent"})


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/mlops.mlflow_aws.mlflow:
      tracking_uri: "{{ uri }}"
      username: admin
      password: "{{ admin_password }}"
  tasks:
    - name: Make the user
      mlops.mlflow_aws.mlflow_user:
        name: from-a-playbook
        user_password: "{{ user_password }}"
    - name: Verify the server
      mlops.mlflow_aws.mlflow_health:
        checks: [liveness, admin_login]
"""


def test_a_playbook_sets_the_connection_once_and_shows_no_password(server, tmp_path):
    (tmp_path / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    secrets = {"uri": server.url, "admin_password": ADMIN_PASSWORD, "user_password": "canary-in-the-playbook"}
    (tmp_path / "vars.json").write_text(json.dumps(secrets), encoding="utf-8")
    ansible = str(Path(sys.executable).with_name("ansible-playbook"))
    interpreter = f"ansible_python_interpreter={sys.executable}"
    command = [
        ansible,
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        interpreter,
        "-e",
        f"@{tmp_path}/vars.json",
        "-vvv",
        "--diff",
    ]

    def play(*options):
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
        }
        done = subprocess.run(
            [*command, *options, str(tmp_path / "play.yml")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        shown = done.stdout + done.stderr
        assert done.returncode == 0, shown
        assert "canary-in-the-playbook" not in shown and ADMIN_PASSWORD not in shown and "[WARNING]" not in shown
        return done.stdout

    assert "changed=1" in play("--check")
    assert "changed=1" in play()
    assert "changed=0" in play("--check")
    assert "changed=0" in play()
