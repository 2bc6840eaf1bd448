# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server of warm_local shares with its forks, and how it is served out."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import zipfile
import zipimport

import botocore.loaders
import botocore.session
import pytest

from ansible_collections.mlops.mlflow_aws.plugins.plugin_utils import warm_server

SOURCE = "def f():\n    def g():\n        raise ValueError\n    return g\n"


class TestCode:
    @pytest.fixture(autouse=True)
    def cold(self, monkeypatch):
        # Undone after the test.
        self.cold = zipimport._compile_source
        monkeypatch.setattr(zipimport, "_compile_source", self.cold)

    def imported(self, tmp_path, archive, source, module="warm_zipped"):
        path = tmp_path / archive
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr(f"{module}.py", source)
        spec = zipimport.zipimporter(str(path)).find_spec(module)
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    def test_of_an_equal_copy_is_shared_and_bears_its_path(self, tmp_path):
        (tmp_path / "installed").mkdir()
        (tmp_path / "installed/any.py").write_text(SOURCE)
        warm_server.share_code([str(tmp_path / "installed")])
        code = zipimport._compile_source("a.zip/any.py", SOURCE.encode())
        assert zipimport._compile_source("a.zip/any.py", SOURCE.encode()) is code
        assert code.co_filename == "a.zip/any.py"
        assert code == self.cold("a.zip/any.py", SOURCE.encode())
        inner = next(one for one in code.co_consts if hasattr(one, "co_filename"))
        assert inner.co_filename == "a.zip/any.py"

    def test_of_another_copy_is_its_own(self, tmp_path):
        (tmp_path / "installed").mkdir()
        (tmp_path / "installed/warm_zipped.py").write_text("VALUE = 'installed'\n")
        warm_server.share_code([str(tmp_path / "installed")])
        for value in ("brought", "installed", "brought too"):
            assert self.imported(tmp_path, f"{value}.zip", f"VALUE = '{value}'\n").VALUE == value

    def test_of_what_is_not_installed_is_compiled_once(self, tmp_path):
        warm_server.share_code([str(tmp_path)])
        code = zipimport._compile_source("a.zip/own.py", SOURCE.encode())
        assert zipimport._compile_source("a.zip/own.py", SOURCE.encode()) is code
        assert code == self.cold("a.zip/own.py", SOURCE.encode())

    def test_of_two_equal_files_bears_the_path_of_each(self, tmp_path):
        (tmp_path / "one.py").write_text(SOURCE)
        (tmp_path / "two.py").write_text(SOURCE)
        warm_server.share_code([str(tmp_path)])
        codes = [zipimport._compile_source(path, SOURCE.encode()) for path in ("x.zip/one.py", "x.zip/two.py", "x.zip/one.py")]
        assert [code.co_filename for code in codes] == ["x.zip/one.py", "x.zip/two.py", "x.zip/one.py"]

    def test_that_cannot_be_compiled_is_left_to_the_module(self, tmp_path):
        (tmp_path / "wrong.py").write_text("if True:\n")
        (tmp_path / "null.py").write_bytes(b"\0")
        (tmp_path / "data.txt").write_text("x")
        warm_server.share_code([str(tmp_path), str(tmp_path / "nowhere")])
        with pytest.raises(SyntaxError):
            zipimport._compile_source("x.zip/wrong.py", b"if True:\n")

    def test_is_compiled_as_ever_where_python_has_changed(self, tmp_path, monkeypatch):
        monkeypatch.delattr(zipimport, "_compile_source")
        warm_server.share_code([str(tmp_path)])
        assert not hasattr(zipimport, "_compile_source")


class TestDescriptions:
    @pytest.fixture(autouse=True)
    def loader_class(self, monkeypatch):
        for name in ("FILE_LOADER_CLASS", "list_available_services"):
            monkeypatch.setattr(botocore.loaders.Loader, name, getattr(botocore.loaders.Loader, name))

    def model(self, service):
        return botocore.session.Session().get_component("data_loader").load_service_model(service, "service-2")

    def test_are_the_same_and_shared_by_nobody(self, monkeypatch):
        expected = self.model("sts")
        warm_server.share_descriptions(["sts", "no-such-service"])
        parsed = []
        cold = botocore.loaders.JSONFileLoader.load_file

        def load_file(self, path):
            parsed.append(path)
            return cold(self, path)

        monkeypatch.setattr(botocore.loaders.JSONFileLoader, "load_file", load_file)
        first = self.model("sts")
        assert not any(path.endswith("service-2") for path in parsed)
        second = self.model("sts")
        assert any(path.endswith("service-2") for path in parsed)
        assert first == second == expected
        first["metadata"]["endpointPrefix"] = "spoilt"
        assert second == expected

    def test_are_of_the_services_that_there_are_and_of_the_users_own(self, tmp_path):
        (tmp_path / "own/2026-01-01").mkdir(parents=True)
        (tmp_path / "own/2026-01-01/service-2.json").write_text("{}")

        def listed():
            loader = botocore.loaders.Loader
            return [
                made.list_available_services(kind)
                for made in (loader(), loader([str(tmp_path)]), loader([str(tmp_path)], include_default_search_paths=False))
                for kind in ("service-2", "waiters-2", "examples-1")
            ]

        expected = listed()
        assert "own" in expected[3] and expected[6] == ["own"]
        warm_server.share_descriptions(["sts"])
        assert listed() == expected
        (tmp_path / "later/2026-01-01").mkdir(parents=True)
        (tmp_path / "later/2026-01-01/service-2.json").write_text("{}")
        assert "later" in listed()[3]

    def test_need_no_botocore(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "botocore.loaders")
        warm_server.share_descriptions(["sts"])
        assert botocore.loaders.Loader.FILE_LOADER_CLASS is botocore.loaders.JSONFileLoader


def test_the_user_at_the_other_end_is_known():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert warm_server.peer_uid(ours) == os.geteuid()


def test_a_process_is_alive_whoever_it_belongs_to(monkeypatch):
    assert warm_server.alive(os.getpid())
    assert not warm_server.alive(4194305)

    def refuse(*_arguments):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert warm_server.alive(1)


class TestServer:
    """The server runs in the test's process; clients, and forks that would run a module, are processes that end at once."""

    @pytest.fixture
    def server(self, tmp_path, monkeypatch):
        monkeypatch.setattr(warm_server, "TICK_SECONDS", 0.02)
        monkeypatch.setattr(warm_server, "GRACE_SECONDS", 0.1)
        before = signal.getsignal(signal.SIGCHLD)
        self.path = tmp_path / "socket"
        server = warm_server.Server(str(self.path), os.getpid(), 1)
        yield server
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
        for end in server.wakes:
            os.close(end)

    def client(self, act) -> int:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10)
                    client.connect(str(self.path))
                    status = 0 if act(client) else 1
            finally:
                os._exit(status)
        return pid

    def serve(self, server, in_fork) -> None:
        connection = server.serve()
        if connection:
            status = 70
            try:
                status = in_fork(connection)
            finally:
                os._exit(status)

    def test_tells_how_a_fork_has_ended(self, server):
        def act(client):
            pid = warm_server.NUMBER.unpack(client.recv(4))[0]
            client.sendall(b"go")
            return pid > 0 and os.waitstatus_to_exitcode(warm_server.NUMBER.unpack(client.recv(4))[0]) == 5 and client.recv(1) == b""

        client = self.client(act)
        self.serve(server, lambda connection: 5 if connection.recv(2) == b"go" else 6)
        assert os.waitpid(client, 0)[1] == 0
        assert not self.path.exists()

    def test_ends_a_fork_whose_client_has_gone(self, server):
        def stay(_connection):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
            return 0

        client = self.client(lambda client: bool(client.recv(4)))
        self.serve(server, stay)
        assert os.waitpid(client, 0)[1] == 0
        assert (server.running, server.abandoned) == ({}, {})

    def test_turns_a_stranger_away(self, server, monkeypatch):
        monkeypatch.setattr(warm_server, "peer_uid", lambda _connection: 4242)
        client = self.client(lambda client: client.recv(4) == b"")
        self.serve(server, lambda _connection: 0)
        assert os.waitpid(client, 0)[1] == 0

    def test_ends_when_a_package_has_been_installed(self, server):
        server.idle = 3600
        server.installed = []
        client = self.client(lambda client: client.recv(4) == b"")
        self.serve(server, lambda _connection: 0)
        assert os.waitpid(client, 0)[1] == 0
        assert not self.path.exists()

    def test_survives_that_it_cannot_fork(self, server, monkeypatch):
        client = self.client(lambda client: client.recv(4) == b"")

        def refuse():
            raise BlockingIOError

        monkeypatch.setattr(os, "fork", refuse)
        self.serve(server, lambda _connection: 0)
        assert os.waitpid(client, 0)[1] == 0

    def test_ends_with_the_play(self, server):
        server.idle, server.play = 3600, 4194305
        assert server.serve() is None
        assert not self.path.exists()
