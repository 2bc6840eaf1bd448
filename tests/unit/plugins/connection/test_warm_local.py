# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection warm_local: which commands it takes, where its socket is, what it does with answers of any kind."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.connection import local
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.connection import warm_local
from ansible_collections.mlops.mlflow_aws.plugins.plugin_utils import warm_server

MODULE = b"#!/usr/bin/python\n_ANSIBALLZ_WRAPPER = True\n"
PROMISED = yaml.safe_load(warm_local.DOCUMENTATION)


def shell(inner: str) -> str:
    return f"/bin/sh -c {shlex.quote(inner)}"


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), st.text(st.characters(blacklist_characters="\0"))))
def test_any_environment_is_understood(environment):
    words = "".join(f"{name}={shlex.quote(value)} " for name, value in environment.items())
    assert warm_local.pipelined_interpreter(shell(f"{words}/opt/venv/bin/python3.11 && sleep 0"), MODULE) == "/opt/venv/bin/python3.11"


@pytest.mark.parametrize(
    "command",
    [
        shell("python && sleep 0"),
        shell("/usr/bin/env python && sleep 0"),
        shell("nice /usr/bin/python && sleep 0"),
        shell("/usr/bin/python"),
        shell("/usr/bin/python -m x && sleep 0"),
        shell("cd /tmp && /usr/bin/python && sleep 0"),
        shell("A=$HOME /usr/bin/python && sleep 0"),
        shell("A=`id` /usr/bin/python && sleep 0"),
        shell("A=b; /usr/bin/python && sleep 0"),
        shell("1A=b /usr/bin/python && sleep 0"),
        shell("A-B=c /usr/bin/python && sleep 0"),
        shell("~/venv/bin/python && sleep 0"),
        shell("$HOME/python && sleep 0"),
        shell("/usr/bin/python && sleep 0 && sleep 0"),
        "/bin/sh -c /usr/bin/python",
        "/bin/sh -x '/usr/bin/python && sleep 0'",
        "/bin/sh  -c '/usr/bin/python && sleep 0'",
        "/bin/sh -c '/usr/bin/python && sleep 0' extra",
        "/bin/sh -c 'unclosed",
        "sudo -u other /bin/sh -c '/usr/bin/python && sleep 0'",
        "",
    ],
)
def test_any_other_command_is_left_alone(command):
    assert warm_local.pipelined_interpreter(command, MODULE) is None


@pytest.mark.parametrize("module", [None, b"", b"#!/usr/bin/perl\n", b"print(1)"])
def test_what_is_no_python_module_is_left_alone(module):
    assert warm_local.pipelined_interpreter(shell("/usr/bin/python && sleep 0"), module) is None


@pytest.mark.parametrize("name", ["HOME", "PATH", "PYTHONPATH", "LC_ALL", "LANG", "LANGUAGE", "LD_PRELOAD"])
def test_what_shapes_an_interpreter_is_known(name):
    assert warm_local.SHAPING.match(name)


@pytest.mark.parametrize("name", ["HOMEBREW_X", "AWS_SECRET_ACCESS_KEY", "A_PYTHON", "PATHS", "PGPASSWORD"])
def test_what_shapes_no_interpreter_is_kept_from_the_server(name):
    assert not warm_local.SHAPING.match(name)


def test_it_has_every_option_of_local():
    options = yaml.safe_load(local.DOCUMENTATION)["options"]
    assert set(options) | {"pipelining"} <= set(PROMISED["options"])
    for name, option in options.items():
        assert (option["default"], option["vars"]) == (PROMISED["options"][name]["default"], PROMISED["options"][name]["vars"])


def test_no_option_has_the_name_of_a_tasks_keyword():
    """Ansible gives such an option the keyword's value, which is empty mostly."""
    assert set(PROMISED["options"]) & set(Task.fattributes) == set()


def test_nothing_of_ansible_is_imported_beforehand():
    assert not any(name.startswith("ansible") for name in PROMISED["options"]["preload"]["default"])


def test_sources_are_those_of_what_is_installed():
    folders = warm_local.source_folders(["mlops.mlflow_aws", "no.such"])
    assert {Path(folder).parts[-2:] for folder in folders} == {("ansible", "module_utils"), ("plugins", "module_utils")}


class TestPrivateFolder:
    @pytest.fixture(autouse=True)
    def folders(self, tmp_path, monkeypatch):
        (tmp_path / "run").mkdir()
        (tmp_path / "tmp").mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        self.first = tmp_path / "run/ansible-warm"
        self.second = tmp_path / f"tmp/ansible-warm-{os.geteuid()}"

    def test_is_made_in_the_run_time_directory(self):
        assert warm_local.private_folder() == self.first == warm_local.private_folder()
        assert self.first.stat().st_mode & 0o777 == 0o700

    def test_is_a_temporary_one_without_a_run_time_directory(self, monkeypatch):
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert warm_local.private_folder() == self.second

    def test_is_another_if_others_can_enter_it(self):
        self.first.mkdir()
        self.first.chmod(0o750)
        assert warm_local.private_folder() == self.second

    def test_is_never_a_link(self, tmp_path):
        for path in (self.first, self.second):
            path.symlink_to(tmp_path)
        with pytest.raises(warm_local.NotBegun, match="no private folder"):
            warm_local.private_folder()

    def test_is_not_anothers(self, monkeypatch):
        self.first.mkdir(mode=0o700)
        self.second.mkdir(mode=0o700)
        second = self.second
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
        with pytest.raises(warm_local.NotBegun):
            warm_local.private_folder()
        assert second.exists()

    def test_leftovers_of_plays_that_have_ended_are_removed(self):
        folder = warm_local.private_folder()
        for name in ("4194305-gone", "4194305-gone.lock", f"{os.getpid()}-here", "of-others"):
            (folder / name).touch()
        warm_local.remove_leftovers(folder)
        assert {path.name for path in folder.iterdir()} == {f"{os.getpid()}-here", "of-others"}


class TestStart:
    @pytest.mark.parametrize(
        ("script", "reason"),
        [("exit 3", "ended with 3"), ("echo one >&2; echo two >&2; echo >&2; exit 1", "two"), ("echo other", "ended with"), ("cat >/dev/null", "")],
    )
    def test_tells_why_there_is_no_server(self, script, reason):
        assert reason in warm_local.start(["/bin/sh", "-c", script], {})

    def test_does_not_wait_for_ever(self, monkeypatch):
        monkeypatch.setattr(warm_local, "START_SECONDS", 0.1)
        assert "ended with -9" in warm_local.start(["sleep", "60"], {})


class TestConnection:
    @pytest.fixture
    def connection(self, monkeypatch):
        # pytest's own folders may be too deep for a socket.
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            yield self.connected(monkeypatch, Path(folder))

    def connected(self, monkeypatch, folder):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        self.folder = folder
        self.warnings = []
        monkeypatch.setattr(warm_local.display, "warning", self.warnings.append)
        connection = warm_local.Connection(PlayContext(), ansible_playbook_pid=str(os.getpid()))
        options = {"idle_seconds": 1, "preload": ["json"], "services": [], "source_collections": [], "pipelining": True}
        monkeypatch.setattr(connection, "get_option", lambda name, hostvars=None: options[name])
        return connection

    def run(self, connection, text=b"print('pong')"):
        return connection.exec_command(shell(f"{sys.executable} && sleep 0"), in_data=MODULE + text)

    def test_runs_a_module_in_a_fork(self, connection):
        assert self.run(connection, b"import sys; print('pong'); sys.exit(3)") == (3, b"pong\n", b"")
        assert self.run(connection, b"import os; os.kill(os.getpid(), 9)")[0] == 137
        assert self.warnings == []

    def test_become_goes_the_way_of_local(self, connection, monkeypatch):
        connection.become = object()
        monkeypatch.setattr(warm_local.LocalConnection, "exec_command", lambda *arguments, **options: "local")
        assert self.run(connection) == "local"

    def test_pipelining_is_implied(self, connection, monkeypatch):
        assert connection.is_pipelining_enabled()
        assert not connection.is_pipelining_enabled(wrap_async=True)

    def test_a_path_that_is_too_long_for_a_socket_is_told(self, connection, monkeypatch):
        long = self.folder / ("x" * 100)
        long.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
        assert self.run(connection) == (0, b"pong\n", b"")
        assert "too long for a socket" in self.warnings[0]

    def test_a_shell_that_does_not_tell_the_environment(self, connection, monkeypatch):
        monkeypatch.setattr(warm_local, "ENV", "/bin/false")
        assert self.run(connection) == (0, b"pong\n", b"")
        assert "does not tell the environment" in self.warnings[0]

    @pytest.mark.parametrize("answers", [[b""], [b"", b""], [b"\1", b"\1"]])
    def test_a_server_that_ends_before_it_forks_is_asked_no_more_than_twice(self, connection, monkeypatch, answers):
        asked = []

        def reach(_self, path):
            ours, theirs = socket.socketpair()
            theirs.sendall(answers[len(asked) % len(answers)])
            theirs.close()
            asked.append(path)
            return ours

        monkeypatch.setattr(warm_local.Connection, "_reach", reach)
        assert self.run(connection) == (0, b"pong\n", b"")
        assert len(asked) == 2
        assert "ends as soon as it is asked" in self.warnings[0]

    def test_another_users_server_is_not_used(self, connection, monkeypatch):
        assert self.run(connection) == (0, b"pong\n", b"")
        monkeypatch.setattr(warm_server, "peer_uid", lambda _connection: 4242)
        assert self.run(connection) == (0, b"pong\n", b"")
        assert "another user's" in self.warnings[0]

    def test_a_server_that_ends_during_the_hand_over_has_run_nothing(self, connection, monkeypatch):
        ours, theirs = socket.socketpair()
        theirs.close()
        monkeypatch.setattr(warm_local.Connection, "_new_fork", lambda *_arguments: (ours, 4194305))
        assert self.run(connection) == (0, b"pong\n", b"")
        assert "its server has ended" in self.warnings[0]

    def test_a_server_that_ends_after_it_may_have_run_something(self, connection, monkeypatch):
        killed = []
        monkeypatch.setattr(warm_local.Connection, "_new_fork", lambda *_arguments: (socket.socket(), 4194305))
        monkeypatch.setattr(socket, "send_fds", lambda *_arguments: None)
        monkeypatch.setattr(socket.socket, "sendall", lambda *_arguments: None)
        monkeypatch.setattr(warm_local, "receive", lambda *_arguments: (None, b"", b""))
        monkeypatch.setattr(os, "killpg", lambda *arguments: killed.append(arguments))
        with pytest.raises(AnsibleConnectionFailure, match="may or may not have done its work"):
            self.run(connection)
        assert killed == [(4194305, 9)]
        assert self.warnings == []
