# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_own_password and mlflow_refused_login over real HTTP, against a server that answers as MLflow 2.18 and 3.17 do."""

from __future__ import annotations

import json
import time
import types

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_own_password, mlflow_refused_login

NEW = "canary-%@:/#?-pässword"


@pytest.fixture
def change(run_module, connection):
    def run(check=False, **options):
        result = run_module(mlflow_own_password, connection | {"new_password": NEW} | options, check=check)
        shown = json.dumps(result, ensure_ascii=False)
        assert connection["password"] not in shown and NEW not in shown
        return result

    return run


def test_check_run_check_run(change, mlflow, connection):
    predicted = change(check=True)
    assert predicted["changed"] and mlflow.calls == []
    done = change()
    assert done["changes"] == predicted["changes"] == [{"action": "set_password"}] and done["diff"] == predicted["diff"]
    assert mlflow.users[connection["username"]]["password"] == NEW
    for check in (True, False):
        assert change(check=check)["changes"] == []


def test_neither_password_works(change, mlflow, connection):
    mlflow.users[connection["username"]]["password"] = "yet-another-password"
    refused = change()
    assert refused["failed"] and refused["status"] == 401 and refused["changes"] == []


def test_a_password_that_the_server_would_not_take_is_refused_before(change, mlflow):
    refused = change(new_password="password1234")
    assert refused["msg"].startswith("new_password: ") and mlflow.calls == []


def test_a_login_that_is_refused_is_proved_by_many_refusals(run_module, connection, mlflow):
    result = run_module(mlflow_refused_login, connection | {"password": "an-old-password", "refusals": 5})
    assert (result["changed"], result["accepted"]) == (False, 0)


def test_a_login_that_is_accepted_for_a_while_is_waited_for(run_module, connection, mlflow, monkeypatch):
    user, naps = mlflow.users[connection["username"]], []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            user["password"] = NEW

    monkeypatch.setattr(mlflow_refused_login, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=nap))
    result = run_module(mlflow_refused_login, connection | {"refusals": 3})
    assert result["accepted"] == 2 == len(naps)


def test_a_login_that_stays_is_an_error(run_module, connection, mlflow):
    result = run_module(mlflow_refused_login, connection | {"wait_timeout": 0})
    assert "The server still lets" in result["msg"] and "raise wait_timeout" in result["msg"]
    assert connection["password"] not in json.dumps(result)
    assert "that proves nothing" in run_module(mlflow_refused_login, connection | {"refusals": 0})["msg"]
