# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server for a store, with a small command in the place of MLflow's; the integration tests start MLflow itself."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import temporary_server, temporary_server_process
from ansible_collections.mlops.mlflow_aws.plugins.modules import temporary_mlflow_server as module

COMMAND = """#!{python}
import http.server, os, signal, subprocess, sys
if sys.argv[1:] == ["--version"]:
    print("mlflow, version 2.18.0")
    sys.exit(0)
if os.environ.get("ENDS"):
    sys.exit("Traceback\\nValueError: out of date schema")
if os.environ.get("HANGS"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pause()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        said = {{**os.environ, "CWD": os.getcwd(), "ARGV": " ".join(sys.argv[1:])}}
        self.wfile.write(b"OK" if self.path == "/health" else repr(said).encode())
    def log_message(self, *args):
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """An environment with the command; everything temporary stays in the test's folder."""
    monkeypatch.setattr(temporary_server_process.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary_server_process, "STOPPING_SECONDS", 2)
    command = tmp_path / "env" / "bin" / "mlflow"
    command.parent.mkdir(parents=True)
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)
    return tmp_path / "env"


@pytest.fixture
def serve(run_module, mlflow):
    """serve(store, **options) starts a server; all are stopped in the end."""
    stores = []

    def start(store, **options):
        stores.append(store)
        return run_module(module, {"store_uri": store, "mlflow": str(mlflow), "wait_timeout": 20} | options)

    yield start
    for store in stores:
        run_module(module, {"store_uri": store, "state": "stopped"})


def said(result):
    with urllib.request.urlopen(f"{result['tracking_uri']}/said", timeout=5) as answer:
        return eval(answer.read().decode(), {})  # pylint: disable=eval-used


def test_the_life_of_a_server(serve, run_module, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    store = tmp_path / "mlruns"
    store.mkdir()
    first = serve(str(store), artifacts="/artifacts", workers=3)
    assert first["changed"] and first["version"] == "mlflow, version 2.18.0"
    seen = said(first)
    assert seen["MLFLOW_BACKEND_STORE_URI"] == str(store) and seen["MLFLOW_ALLOW_FILE_STORE"] == "true"
    assert seen["CWD"] == str(tmp_path) and "MLFLOW_TRACKING_URI" not in seen
    assert "--host 127.0.0.1" in seen["ARGV"] and seen["ARGV"].endswith(
        "--workers 3 --artifacts-destination /artifacts"
    )
    again = serve(str(store))
    assert not again["changed"] and again["tracking_uri"] == first["tracking_uri"]
    note = json.loads(next(tmp_path.glob("mlflow-temporary-server-*/server.json")).read_text())
    stopped = run_module(module, {"store_uri": str(store), "state": "stopped"}, check=True)
    assert (stopped["changed"], stopped["tracking_uri"], stopped["version"]) == (True, None, None)
    assert temporary_server_process.started_at(note["pid"]) is None and not list(
        tmp_path.glob("mlflow-temporary-server-*")
    )
    assert not run_module(module, {"store_uri": str(store), "state": "stopped"})["changed"]


def test_a_server_that_was_killed_is_replaced(serve, tmp_path):
    store = tmp_path / "mlruns"
    store.mkdir()
    first = serve(str(store))
    note = next(tmp_path.glob("mlflow-temporary-server-*/server.json"))
    os.kill(json.loads(note.read_text())["pid"], 9)
    deadline = time.monotonic() + 5
    while temporary_server_process.started_at(json.loads(note.read_text())["pid"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    second = serve(str(store))
    assert second["changed"] and second["tracking_uri"] != first["tracking_uri"]
    lost = json.loads(note.read_text())["pid"]
    note.write_text("{")
    assert serve(str(store))["changed"]
    temporary_server_process.end_group(lost)


def test_a_database_of_sqlite_is_served_from_a_copy(serve, tmp_path):
    path = tmp_path / "a folder" / "mlflow.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (7)")
    database.close()
    seen = said(serve(f"sqlite:///{path}"))
    copy = Path(seen["MLFLOW_BACKEND_STORE_URI"].removeprefix("sqlite:///"))
    assert copy != path and seen["CWD"] == str(path.parent) and copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT a FROM t").fetchall() == [(7,)]
    database.close()
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    broken = serve(f"sqlite:///{path}?a")
    assert "cannot be read as a database of SQLite" in broken["msg"]


@pytest.mark.parametrize(
    ("how", "message"),
    [("ENDS", "ends at once: ValueError: out of date schema"), ("HANGS", "does not answer within 1 s")],
)
def test_a_server_that_does_not_come_up(serve, tmp_path, monkeypatch, how, message):
    monkeypatch.setenv(how, "1")
    (tmp_path / "mlruns").mkdir()
    assert message in serve(str(tmp_path / "mlruns"), wait_timeout=1)["msg"]
    assert not list(tmp_path.glob("mlflow-temporary-server-*"))


def test_bad_stores_and_commands(serve, tmp_path, mlflow):
    (tmp_path / "mlruns").mkdir()
    store = str(tmp_path / "mlruns")
    assert "is no folder" in serve(str(tmp_path / "nothing"))["msg"]
    assert "is no file" in serve(f"sqlite:///{tmp_path}/nothing.db")["msg"]
    assert "there is no command 'nothing-like-it'" in serve(store, mlflow="nothing-like-it")["msg"]
    command = mlflow / "bin" / "mlflow"
    command.write_text("#!/bin/sh\necho 'ImportError: x' >&2; exit 1\n")
    assert "--version fails: ImportError: x" in serve(store)["msg"]
    command.write_text("not a program")
    assert "does not run" in serve(store)["msg"]


def test_a_folder_of_somebody_else_is_not_used(serve, tmp_path, monkeypatch):
    (tmp_path / "mlruns").mkdir()
    store = str(tmp_path / "mlruns")
    user = os.getuid()
    folder = tmp_path / temporary_server.folder_name(store, user + 1)
    folder.mkdir()
    monkeypatch.setattr(temporary_server_process.os, "getuid", lambda: user + 1)
    assert "belongs to somebody else" in serve(store)["msg"]
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("uri", "kind", "path"),
    [
        ("/a/mlruns", "files", "/a/mlruns"),
        ("file:///a%20b/mlruns", "files", "/a b/mlruns"),
        ("sqlite:////a/b.db?timeout=1", "sqlite", "/a/b.db"),
        ("postgresql://u:p@h/d", "other", ""),
    ],
)
def test_stores(uri, kind, path):
    found = temporary_server.store(uri)
    assert found == (kind, path)
    assert temporary_server.working_folder(found) == (os.path.dirname(path) or None)
    assert temporary_server.served_uri(uri, found, "/copy") == ("sqlite:////copy" if kind == "sqlite" else uri)


@pytest.mark.parametrize("uri", ["http://a", "sqlite://", "sqlite:///"])
def test_stores_that_are_none(uri):
    with pytest.raises(ValueError, match="store_uri: "):
        temporary_server.store(uri)


def test_reasons():
    assert temporary_server.reason("a\nValueError: b\nc\n") == "ValueError: b"
    assert temporary_server.reason("a\n\nc\n") == "c" and temporary_server.reason("") == "it said nothing"


def test_a_process_that_is_not_ours_is_left_alone():
    assert temporary_server_process.started_at(0) is None
    with subprocess.Popen(["true"]) as process:
        process.wait()
    temporary_server_process.end_group(process.pid)
    # Not a child of this process, as after a run that was ended.
    command = [
        sys.executable,
        "-c",
        "import subprocess as s; print(s.Popen(['sleep', '60'], start_new_session=True, stdout=-3, stderr=-3).pid)",
    ]
    pid = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert temporary_server_process.started_at(pid)
    temporary_server_process.end_group(pid)
    assert temporary_server_process.started_at(pid) is None
