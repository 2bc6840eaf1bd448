# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses, user names and passwords are taken, and how they are spelled in a URL."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_address
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("given_uri", "base"),
    [
        ("http://localhost:5000", "http://localhost:5000"),
        ("http://localhost:5000/", "http://localhost:5000"),
        ("https://mlflow.example.com/team a/".replace(" ", "%20"), "https://mlflow.example.com/team%20a"),
        ("https://mlflow.example.com/a/b//", "https://mlflow.example.com/a/b"),
        ("http://[::1]:5000/x", "http://[::1]:5000/x"),
        ("https://xn--bcher-kva.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
    ],
)
def test_good_addresses(given_uri, base):
    assert mlflow_address.base_url(given_uri) == base


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "scheme is 'missing'"),
        ("localhost:5000", "scheme is 'localhost'"),
        ("databricks", "scheme"),
        ("file:///tmp/x", "scheme is 'file'"),
        ("http://", "host ''"),
        ("http://:5000", "host ''"),
        ("http://h:port", "not valid"),
        ("http://h:99999", "not valid"),
        ("http://h:0", "port 0"),
        ("http://[::1", "not valid"),
        ("http://[zz]", "host"),
        ("http://bücher.example", "punycode"),
        ("http://h/ path", "space"),
        ("http://h/\npath", "control"),
        ("http://h/?a=b", "query"),
        ("http://h/?", "query"),
        ("http://h/#x", "fragment"),
        ("http://admin:s3cret@h/", "give them as username and password"),
    ],
)
def test_bad_addresses_are_refused_in_one_line(uri, reason):
    with pytest.raises(ValueError) as caught:
        mlflow_address.base_url(uri)
    message = str(caught.value)
    assert (
        message.startswith("tracking_uri: ") and reason in message and "\n" not in message and "s3cret" not in message
    )


@given(uri=st.one_of(st.text(), st.text().map("http://".__add__), st.text().map("https://h/".__add__)))
def test_any_address_is_either_safe_or_refused(uri):
    try:
        base = mlflow_address.base_url(uri)
    except ValueError as error:
        assert str(error).startswith("tracking_uri: ") and str(error).isprintable()
        return
    parts = urlsplit(base)
    assert base.isascii() and base.isprintable() and " " not in base
    assert parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    assert not parts.query and not parts.fragment and not base.endswith("/")


@given(name=st.text(st.characters(codec="utf-8")))
def test_a_query_gives_back_what_was_put_in(name):
    url = mlflow_address.with_query("http://h/p", {"username": name})
    assert url.isascii() and url.count("?") == 1 and "#" not in url
    assert parse_qsl(urlsplit(url).query, keep_blank_values=True) == [("username", name)]


def test_no_query_no_question_mark():
    assert mlflow_address.with_query("http://h/p", None) == "http://h/p"


def test_artifact_paths_are_quoted_but_for_slashes():
    assert mlflow_address.artifact_path("/0/a b#?/ü/") == "0/a%20b%23%3F/%C3%BC"
    assert unquote(mlflow_address.artifact_path("0/%41")) == "0/%41"


@pytest.mark.parametrize("name", ["ada", "ada lovelace", "team/ada", "ädä", "a" * 255, "a@b.example", "'\"\\"])
def test_user_names_that_can_log_in(name):
    mlflow_address.refuse_username("name", name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("a:b", "colon"),
        ("a\nb", "control"),
        ("a\x00", "control"),
        ("a\x7f", "control"),
        ("a" * 256, "256 characters"),
        ("a\udcff", "UTF-8"),
    ],
)
def test_user_names_that_cannot(name, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        mlflow_address.refuse_username("name", name)
    assert str(caught.value).isprintable()


@given(name=st.text())
def test_a_user_name_taken_survives_basic_authentication(name):
    try:
        mlflow_address.refuse_username("name", name)
    except ValueError as error:
        assert str(error).startswith("name: ")
        return
    assert f"{name}:x:y".encode().decode().partition(":") == (name, ":", "x:y")


@pytest.mark.parametrize(("password", "reason"), [("", "empty"), ("geheim\udc80", "UTF-8")])
def test_passwords_that_cannot_be_sent(password, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        mlflow_address.refuse_password("password", password)
    assert "geheim" not in str(caught.value)


def test_any_other_password_can():
    mlflow_address.refuse_password("password", "%@:/#?&+$\\\"' `{}[];=,~\n\tü😀")
