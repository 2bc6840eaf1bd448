# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from answers, and that no error ever shows a password."""

from __future__ import annotations

import json
import string
from urllib.parse import quote

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_errors
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from hypothesis import given, settings
from hypothesis import strategies as st

ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
PASSWORDS = st.text(st.characters(codec="utf-8"), min_size=6, max_size=40).filter(lambda text: len(set(text)) > 5)


@pytest.mark.parametrize(
    ("body", "kind", "code", "message"),
    [
        (
            '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no\\nuser"}',
            "json",
            "RESOURCE_DOES_NOT_EXIST",
            "RESOURCE_DOES_NOT_EXIST: no user",
        ),
        ('{"detail": "Artifact serving is disabled."}', "json", "", "Artifact serving is disabled."),
        ('{"error": {"deep": 1}}', "json", "", "JSON without error_code and message"),
        ('{"error_code": 17, "message": "m"}', "json", "", "m"),
        ("[1, 2]", "json", "", "a JSON list instead of an object"),
        ("Permission denied", "text", "", "Permission denied"),
        ("  \n", "empty", "", "an empty answer"),
        ("<!DOCTYPE html><title>Sign <b>in</b></title>", "html", "", 'an HTML page titled "Sign in" instead of JSON'),
        (
            "<html><body><h1>503 Service Temporarily Unavailable</h1>",
            "html",
            "",
            'an HTML page titled "503 Service Temporarily Unavailable" instead of JSON',
        ),
        ("<html><body>nothing", "html", "", "an HTML page instead of JSON"),
    ],
)
def test_each_kind_of_error_body_is_named(body, kind, code, message):
    assert mlflow_errors.describe(500, body) == (kind, code, message)


def test_a_redirect_says_where_to():
    kind, _code, message = mlflow_errors.describe(302, "<html>", "https://login.example.com/\r\nx")
    assert kind == "redirect"
    assert message == "the server redirects elsewhere, not to be followed with a password: https://login.example.com/ x"


def test_a_refused_password_is_said_in_plain_words():
    assert (
        mlflow_errors.describe(401, "You are not authenticated. See https://…")[2]
        == "the server refuses this user name and password"
    )


def test_what_the_database_said_with_the_password_hash_is_left_out():
    said = (
        "User (username=x) already exists. Error: (IntegrityError) [SQL: INSERT INTO users] [parameters: {'h':"
        " 'scrypt:32768:8:1$s$h'}]"
    )
    for text in (said, "oops scrypt:32768:8:1$salt$hash", json.dumps({"error_code": "A", "message": said})):
        message = mlflow_errors.describe(400, text)[2]
        assert "$h" not in message and "INSERT" not in message and "$salt" not in message


@given(body=ANY_TEXT, status=st.integers(200, 599), location=ANY_TEXT)
def test_any_body_gives_one_short_line(body, status, location):
    kind, code, message = mlflow_errors.describe(status, body, location)
    assert kind in ("json", "text", "html", "empty", "redirect")
    assert message and message.isprintable() and len(mlflow_errors.mask(message, ())) <= mlflow_errors.LONGEST
    assert len(code) <= 60


@given(depth=st.integers(1000, 100000))
@settings(max_examples=5)
def test_deeply_nested_json_is_not_fatal(depth):
    assert mlflow_errors.describe(400, "[" * depth)[0] in ("text", "json")


@given(password=PASSWORDS, around=st.text(string.digits, max_size=5))
def test_no_spelling_of_a_secret_survives(password, around):
    spellings = [
        password,
        json.dumps(password),
        json.dumps(password, ensure_ascii=False),
        repr(password),
        quote(password, safe=""),
    ]
    text = mlflow_errors.mask(around + " | ".join(spellings) + around, {password})
    for spelling in spellings:
        bare = spelling.strip("\"'") if spelling != password else spelling
        assert bare not in text or bare.strip() == "" or set(bare) <= set(" |*" + around)


@given(username=st.text(max_size=10), password=PASSWORDS)
def test_the_authorization_header_is_a_secret_too(username, password):
    secrets = mlflow_errors.login_secrets(username, password)
    assert password in secrets and len(secrets) == 2


def test_a_secret_is_never_cut_in_two():
    secret = "correct-horse-battery-staple"
    for before in range(mlflow_errors.LONGEST - 40, mlflow_errors.LONGEST + 5):
        assert "corr" not in mlflow_errors.mask("x" * before + secret, {secret})


def test_without_a_password_there_is_nothing_to_hide():
    assert mlflow_errors.login_secrets("ada", None) == set()
    assert mlflow_errors.mask("plain", {""}) == "plain"


def test_an_error_names_method_address_and_status():
    error = MlflowError(404, "X", "no such thing", "GET", "http://h/p", "json")
    assert str(error) == "GET http://h/p: HTTP 404: no such thing"
    assert (
        str(MlflowError(None, "", "the connection is refused", "GET", "http://h/p", "refused"))
        == "GET http://h/p: the connection is refused"
    )


@pytest.mark.parametrize(
    ("status", "kind", "message", "advice"),
    [
        (403, "text", "Invalid Host header - possible DNS rebinding attack detected", "allowed hosts"),
        (401, "text", "", "check username and password"),
        (403, "text", "Permission denied", "log in as an admin"),
        (200, "html", "", "is MLflow itself"),
        (302, "redirect", "", "scheme, host and path"),
        (None, "refused", "", "listens on that port"),
        (None, "name", "", "name service"),
        (None, "tls", "", "ca_path"),
        (None, "timeout", "", "raise timeout"),
        (None, "connection", "", "server's log"),
        (503, "json", "", "database"),
    ],
)
def test_each_error_has_its_remedy(status, kind, message, advice):
    error = MlflowError(status, "", message, "GET", "http://h", kind)
    assert advice in mlflow_errors.remedy(error)
    assert mlflow_errors.explain(error).endswith(mlflow_errors.remedy(error))


def test_an_error_that_explains_itself_needs_no_remedy():
    error = MlflowError(
        400, "INVALID_PARAMETER_VALUE", "Password must be at least 12 characters.", "POST", "http://h", "json"
    )
    assert mlflow_errors.explain(error) == str(error)
