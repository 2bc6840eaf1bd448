# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a password holds, it comes out of the URI and the INI as it went in."""
from __future__ import annotations

import configparser
from types import ModuleType
from urllib.parse import unquote, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

HOSTILE = "%@:/#?&+$\\\"'` {}[]();=,~"
# Everything but control characters and lone surrogates, which are refused.
REFUSED = [chr(code) for code in (*range(32), 127)]
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=REFUSED), min_size=1)
PASSWORD = st.one_of(st.text(HOSTILE, min_size=1), TEXT)
DATABASE = st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True)
NAME = TEXT.filter(lambda name: ":" not in name)


def read_ini(text: str) -> configparser.SectionProxy:
    """As MLflow reads its INI: with interpolation."""
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return parser["mlflow"]


@given(username=TEXT, password=PASSWORD, database=DATABASE)
@example(username="mlflow", password=HOSTILE, database="mlflow_db")
@example(username="mlflow", password="%40%%(x)s${y}", database="mlflow_db")
@example(username="mlflow", password="  blanks at both ends  ", database="mlflow_db")
def test_uri_parses_back(
        launcher: ModuleType, environment: dict[str, str], username: str, password: str, database: str):
    settings = launcher.Settings(environment | {"LAUNCHER_DB_USERNAME": username, "LAUNCHER_DB_PASSWORD": password})
    uri = settings.database_uri(database)
    url = make_url(uri)
    assert (url.username, url.password, url.database) == (username, password, database)
    assert (url.drivername, url.host, url.port) == ("postgresql+psycopg2", "db.example.internal", 5432)
    assert url.query["sslmode"] == "require"
    parts = urlsplit(uri)
    assert (unquote(parts.username), unquote(parts.password), parts.path[1:]) == (username, password, database)
    assert uri.isascii()


@given(username=NAME, admin=PASSWORD, password=PASSWORD)
@example(username="admin", admin="%40%%(x)s${y}", password="%")
@example(username="admin", admin=" \t;#=: ".replace("\t", " "), password="#;")
@example(username=" admin ", admin="\u00a0\u2028pa\u0085ss\u3000", password="\u00e9")
def test_ini_parses_back(launcher: ModuleType, environment: dict[str, str], username: str, admin: str, password: str):
    settings = launcher.Settings(environment | {
        "LAUNCHER_ADMIN_USERNAME": username, "LAUNCHER_ADMIN_PASSWORD": admin, "LAUNCHER_DB_PASSWORD": password})
    section = read_ini(launcher.auth_ini(settings))
    assert section["admin_username"] == username
    assert section["admin_password"] == admin
    assert make_url(section["database_uri"]).password == password
    assert make_url(section["database_uri"]).database == "mlflow_auth"


def test_alembic_takes_the_uri(launcher: ModuleType, environment: dict[str, str]):
    """Alembic keeps the URI in an INI of its own, with every % doubled once more."""
    uri = launcher.Settings(environment | {"LAUNCHER_DB_PASSWORD": HOSTILE}).database_uri("mlflow_db")
    parser = configparser.ConfigParser()
    parser.read_dict({"alembic": {"sqlalchemy.url": uri.replace("%", "%%")}})
    assert make_url(parser["alembic"]["sqlalchemy.url"]).password == HOSTILE


def test_an_ipv6_host_gets_brackets(launcher: ModuleType, environment: dict[str, str]):
    settings = launcher.Settings(environment | {"LAUNCHER_DB_HOST": "fd00::5"})
    assert make_url(settings.database_uri("mlflow_db")).host == "fd00::5"


@given(password=st.text(HOSTILE + "ab\u00e9", min_size=8))
def test_a_secret_is_cut_out_of_a_message_in_every_shape(
        launcher: ModuleType, environment: dict[str, str], password: str):
    settings = launcher.Settings(environment | {"LAUNCHER_DB_PASSWORD": password})
    message = f"cannot connect to {settings.database_uri('mlflow_db')} with {password} or {password!r}"
    redacted = settings.redact(message)
    assert password not in redacted
    assert launcher.quote(password, safe="") not in redacted
