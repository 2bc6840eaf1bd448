# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of a temporary server of MLflow: started, found again by a later run, ended with all that it started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import typing as t
import urllib.request

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import temporary_server

STOPPING_SECONDS = 10


def executable(given: str) -> str:
    """Path of the command; ValueError if there is none."""
    candidates = [os.path.join(given, "bin", "mlflow")] if os.path.isdir(given) else [given]
    found = shutil.which(candidates[0])
    if not found:
        raise ValueError(
            f"mlflow: there is no command {candidates[0]!r}; install MLflow of the version that wrote the store, and give its"
            " virtual environment"
        )
    return os.path.abspath(found)


def version(path: str) -> str:
    try:
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"mlflow: {path} does not run: {error}; check the environment that it belongs to") from None
    if asked.returncode != 0 or "version" not in asked.stdout:
        reason = temporary_server.reason(asked.stderr + asked.stdout)
        raise ValueError(f"mlflow: {path} --version fails: {reason}; check the environment that it belongs to")
    return asked.stdout.strip()


def started_at(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((temporary_server.HOST, 0))
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{temporary_server.HOST}:{port}/health", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


class Server:
    """The server of one store, with a folder of its own that says which process it is."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.folder = os.path.join(tempfile.gettempdir(), temporary_server.folder_name(uri, os.getuid()))
        self.note = os.path.join(self.folder, "server.json")
        self.log = os.path.join(self.folder, "log")

    def running(self) -> dict[str, t.Any] | None:
        """The note of a server that runs."""
        try:
            if os.lstat(self.folder).st_uid != os.getuid():
                raise ValueError(f"store_uri: {self.folder} belongs to somebody else; remove it")
            with open(self.note, encoding="utf-8") as file:
                found = json.load(file)
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return found if started_at(found["pid"]) == found["started_at"] else None

    def start(self, path: str, artifacts: str | None, workers: int, wait_timeout: int) -> int:
        """The port of a server that answers."""
        self.stop()
        found = temporary_server.store(self.uri)
        temporary_server.refuse(found)
        os.mkdir(self.folder, 0o700)
        copy = os.path.join(self.folder, "mlflow.db")
        if found.kind == temporary_server.SQLITE:
            copy_database(found.path, copy)
        served, port = temporary_server.served_uri(self.uri, found, copy), free_port()
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                temporary_server.command(path, port, artifacts, workers),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd=temporary_server.working_folder(found),
                env=temporary_server.environment(os.environ, served, path),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        with open(f"{self.note}.new", "w", encoding="utf-8") as file:
            json.dump({"pid": process.pid, "started_at": started_at(process.pid), "port": port}, file)
        os.replace(f"{self.note}.new", self.note)
        self._wait(process, port, wait_timeout)
        return port

    def _wait(self, process: subprocess.Popen[bytes], port: int, wait_timeout: int) -> None:
        deadline = time.monotonic() + wait_timeout
        while not answers(port):
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8", errors="replace") as file:
                    said = temporary_server.reason(file.read())
                self.stop()
                how = "ends at once" if ended else f"does not answer within {wait_timeout} s"
                raise ValueError(
                    f"store_uri: the server of MLflow for it {how}: {said}; give an MLflow of the version that wrote the"
                    " store, or raise wait_timeout"
                )
            time.sleep(0.2)

    def stop(self) -> bool:
        """Whether there was one."""
        found = self.running()
        if found:
            end_group(found["pid"])
        existed = os.path.isdir(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        return existed


def end_group(pid: int) -> None:
    """The whole group: workers of MLflow 2 outlive their parent otherwise."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOPPING_SECONDS
        try:
            os.killpg(pid, number)
            while time.monotonic() < deadline:
                # A child of this process stays in the group until it is waited for.
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
                os.killpg(pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:
            return


def copy_database(path: str, copy: str) -> None:
    """A consistent copy, whoever writes meanwhile; only this user may read it."""
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT, 0o600))
    try:
        source = sqlite3.connect(f"file:{urllib.request.pathname2url(path)}?mode=ro", uri=True)
        try:
            target = sqlite3.connect(copy)
            try:
                source.backup(target)
            finally:
                target.close()
        finally:
            source.close()
    except sqlite3.Error as error:
        raise ValueError(f"store_uri: {path} cannot be read as a database of SQLite: {error}; check the file") from None
