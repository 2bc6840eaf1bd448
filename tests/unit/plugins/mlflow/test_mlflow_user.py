# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module mlflow_user over real HTTP, against a server that answers as MLflow 2.18 and 3.17 do."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_user

from .conftest import HTML_404, LikeMlflow, Reply, json_reply

PASSWORD = "adas-fine-passphrase"
CANARY = "canary-%@:/#?-pässword"


@pytest.fixture
def user(run_module, connection):
    """user(**options) runs the module; no result may show a password."""

    def run(check=False, **options):
        result = run_module(mlflow_user, connection | {"name": "ada"} | options, check=check)
        shown = json.dumps(result, ensure_ascii=False)
        for secret in (connection["password"], PASSWORD, CANARY):
            without_arguments = json.dumps(
                {key: value for key, value in result.items() if key != "invocation"}, ensure_ascii=False
            )
            assert secret not in without_arguments and secret not in shown
        return result

    return run


def test_check_run_check_run(user, mlflow):
    options = {"user_password": CANARY, "admin": True}
    predicted = user(check=True, **options)
    assert predicted["changed"] and mlflow.calls == []
    assert predicted["user"] == {"username": "ada", "id": None, "is_admin": True}
    made = user(**options)
    assert made["changed"] and made["changes"] == predicted["changes"] == [
        {"action": "create"},
        {"action": "set_admin", "admin": True},
    ]
    assert made["diff"] == predicted["diff"] and made["user"] == {"username": "ada", "id": 2, "is_admin": True}
    written = len(mlflow.calls)
    for check in (True, False):
        again = user(check=check, update_password="always", **options)
        assert not again["changed"] and again["changes"] == [] and again["user"] == made["user"]
    assert len(mlflow.calls) == written


def test_what_is_not_given_is_left_alone(user, mlflow):
    user(user_password=PASSWORD, admin=True)
    assert not user()["changed"]
    assert not user(user_password=CANARY)["changed"]
    assert mlflow.users["ada"]["password"] == PASSWORD and mlflow.users["ada"]["is_admin"]


def test_a_password_is_set_only_if_it_does_not_work(user, mlflow):
    user(user_password=PASSWORD)
    assert user(check=True, user_password=CANARY, update_password="always")["changed"]
    assert mlflow.users["ada"]["password"] == PASSWORD
    changed = user(user_password=CANARY, update_password="always")
    assert changed["changes"] == [{"action": "set_password"}] and mlflow.users["ada"]["password"] == CANARY
    assert not user(user_password=CANARY, update_password="always")["changed"]


def test_the_admin_flag_goes_both_ways(user, mlflow):
    user(user_password=PASSWORD)
    assert user(admin=True)["changes"] == [{"action": "set_admin", "admin": True}]
    assert not user(admin=True)["changed"]
    down = user(admin=False)
    assert down["changed"] and down["user"]["is_admin"] is False and not mlflow.users["ada"]["is_admin"]


def test_deletion_takes_the_permissions_along(user, mlflow):
    user(user_password=PASSWORD)
    mlflow.users["ada"]["permissions"] = [("e", "3"), ("m", "fraud/model ü")]
    assert user(check=True, state="absent")["user"] is None and "ada" in mlflow.users
    gone = user(state="absent")
    assert gone["changed"] and gone["user"] is None and "ada" not in mlflow.users
    removed = [change.get("resource_id") for change in gone["changes"]]
    assert removed == ([None] if mlflow.new else ["3", "fraud/model ü", None])
    for check in (True, False):
        assert not user(check=check, state="absent")["changed"]


def test_a_deletion_whose_answer_was_lost_is_still_a_deletion(user, mlflow, quick):
    user(user_password=PASSWORD)

    def lose(request):
        del mlflow.override["/api/2.0/mlflow/users/delete"]
        mlflow.answer(request)
        return Reply(502, b"bad gateway")

    mlflow.override["/api/2.0/mlflow/users/delete"] = lose
    assert user(state="absent")["changed"] and "ada" not in mlflow.users


def test_the_admins_own_password(user, mlflow, connection):
    changed = user(name="admin", user_password=CANARY, update_password="always")
    assert changed["changed"] and changed["user"]["is_admin"] and mlflow.users["admin"]["password"] == CANARY
    assert not user(name="admin", user_password=CANARY, update_password="always", password=CANARY)["changed"]


def test_a_plain_user_may_change_its_own_password_and_nothing_else(user, mlflow):
    user(user_password=PASSWORD)
    mine = {"username": "ada", "password": PASSWORD}
    assert "is not an admin" in user(name="grace", user_password=PASSWORD, **mine)["msg"]
    assert user(user_password=CANARY, update_password="always", **mine)["changed"]
    assert mlflow.users["ada"]["password"] == CANARY


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "a:b", "user_password": PASSWORD}, "name: 'a:b' holds a colon"),
        ({"name": "a\tb", "user_password": PASSWORD}, "control character"),
        ({"name": ""}, "name: it is empty"),
        ({"user_password": ""}, "user_password: it is empty"),
        ({"name": "admin", "state": "absent"}, "nobody may delete themselves"),
        ({"name": "admin", "admin": False}, "lock itself out"),
        ({"tracking_uri": "databricks"}, "tracking_uri"),
        ({}, "user_password: missing, and user 'ada' does not exist"),
        ({"user_password": "password1234"}, "user_password of 'ada': it is one of the"),
        (
            {"password": "wrong"},
            "HTTP 401: the server refuses this user name and password; check username and password",
        ),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_refusals_are_one_line_and_write_nothing(user, mlflow, options, reason, check):
    result = user(check=check, **options)
    assert result["failed"] and reason in result["msg"] and "\n" not in result["msg"]
    assert mlflow.calls == [] and result["changes"] == [] and not result["changed"]


def test_the_length_rule_of_version_3_is_named_before_anything_is_done(user, http):
    mlflow = LikeMlflow(http, "3.17.2")
    assert "MLflow 3.17.2 wants at least 12" in user(user_password="elevenchars")["msg"] and mlflow.calls == []
    mlflow.override["/version"] = Reply(404, b"")
    assert "INVALID_PARAMETER_VALUE: Password must be at least 12" in user(user_password="elevenchars")["msg"]
    mlflow.version = "2.18.0"
    assert user(user_password="elevenchars")["changed"]


def test_mlflow_without_authentication(user, mlflow):
    mlflow.auth = False
    assert f"MLflow {mlflow.version} runs without basic authentication" in user()["msg"]


def test_something_that_is_not_mlflow(user, http):
    http.behave = lambda request: HTML_404
    assert "not MLflow with basic authentication" in user()["msg"]
    http.behave = lambda request: json_reply({"everything": "fine"})
    assert "answers without a password" in user()["msg"]
    http.behave = lambda request: json_reply({"user": {}}) if request.login else Reply(401)
    assert "holds no user" in user()["msg"]
    http.behave = lambda request: Reply(302, b"", {"Location": "https://sso.example.com/"})
    assert "redirects elsewhere" in user()["msg"]


def test_a_login_that_vanishes_meanwhile(user, mlflow):
    missing = json_reply({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "x"}, 404)
    mlflow.override["/api/2.0/mlflow/users/get"] = lambda request: missing if request.login else None
    assert "has just been deleted" in user()["msg"]


def test_a_test_of_the_password_that_gives_no_answer(user, mlflow):
    user(user_password=PASSWORD)
    refusal = Reply(403, b"Permission denied")
    mlflow.override["/api/2.0/mlflow/users/get"] = lambda request: (
        refusal if request.login and request.login[0] == "ada" else None
    )
    assert "HTTP 403: Permission denied" in user(user_password=CANARY, update_password="always")["msg"]


def test_a_failure_half_way_tells_what_was_done_and_the_next_run_finishes(user, mlflow):
    mlflow.override["/api/2.0/mlflow/users/update-admin"] = Reply(500, b"Internal Server Error")
    failed = user(user_password=PASSWORD, admin=True)
    assert (
        failed["failed"]
        and failed["changed"]
        and failed["changes"] == [{"action": "create"}]
        and failed["status"] == 500
    )
    mlflow.override.clear()
    assert user(user_password=PASSWORD, admin=True)["changes"] == [{"action": "set_admin", "admin": True}]


def test_a_deletion_that_the_server_refuses(user, mlflow):
    user(user_password=PASSWORD)
    mlflow.override["/api/2.0/mlflow/users/delete"] = json_reply({"error_code": "BAD_REQUEST", "message": "no"}, 400)
    assert "BAD_REQUEST: no" in user(state="absent")["msg"]


def test_two_who_create_the_same_user_at_once(user, mlflow):
    missing = json_reply({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "x"}, 404)
    user(user_password=PASSWORD)
    mlflow.override["/api/2.0/mlflow/users/get"] = lambda request: (
        missing if request.query["username"] == "ada" else None
    )
    result = user(user_password=PASSWORD)
    assert "RESOURCE_ALREADY_EXISTS" in result["msg"] and "scrypt" not in str(result)
