# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server behind the connection C(warm_local): it has imported what modules import, and runs each module in a fork of itself.

The connection feeds this text to the task's interpreter on standard input, as Ansible feeds it a pipelined module: so both find
C(sys.path) and the standard streams alike. Python's standard library only; it never sees a module or its options: the fork that runs
the module reads them.

A conversation: the client connects; the server sends the process ID of the fork; the client sends C(HEAD) with the two write ends
of the module's output, then environment, working directory and module; the server sends the exit status when the fork has ended.
Before the client has sent the last byte the module cannot have begun.
"""

from __future__ import annotations

import _imp
import contextlib
import gc
import importlib
import json
import math
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import types
import typing as t
import zipimport

# Lengths of environment, working directory and module, and the umask.
HEAD = struct.Struct("=IIII")
# A process ID, then an exit status as of waitpid.
NUMBER = struct.Struct("=i")
READY = b"ready"
TICK_SECONDS = 1.0
# How long a module whose task has gone may take to end by itself.
GRACE_SECONDS = 2.0


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the kernel knows it."""
    if hasattr(socket, "SO_PEERCRED"):
        return struct.unpack("=3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    # macOS and FreeBSD: LOCAL_PEERCRED (1) at level 0 answers a struct xucred, which begins with version and user.
    return struct.unpack_from("=II", connection.getsockopt(0, 1, 128))[1]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def installed() -> list[tuple[str, int]]:
    """Changes when a package is installed or removed: what has been imported may then be another version's."""
    return [(path, os.stat(path).st_mtime_ns) for path in sys.path if os.path.isdir(path)]


def share_descriptions(services: list[str]) -> None:
    """Parse botocore's descriptions of these services once, and look once which services it knows.

    Each file is handed out once in a fork: two sessions of one module share nothing that they would not share otherwise.
    """
    loaders = sys.modules.get("botocore.loaders")
    if not loaders:
        return
    builtin = loaders.Loader.BUILTIN_DATA_PATH
    kinds = ("service-2", "endpoint-rule-set-1", "waiters-2", "paginators-1")
    parsed: dict[str, t.Any] = {}

    class WarmLoader(loaders.JSONFileLoader):
        def load_file(self, file_path: str) -> t.Any:
            return parsed.pop(file_path, None) or super().load_file(file_path)

    cold = loaders.JSONFileLoader()
    files = ["endpoints", "partitions", "sdk-default-configuration", "_retry"]
    for service in services:
        with contextlib.suppress(OSError):
            version = max(os.listdir(os.path.join(builtin, service)))
            files += [os.path.join(service, version, kind) for kind in kinds]
    # Only what is installed with botocore: a user's own descriptions (~/.aws/models) may change at any time.
    for path in [os.path.join(builtin, file) for file in files]:
        parsed[path] = cold.load_file(path)
        # The names of a client's methods, which botocore remembers.
        for operation in (parsed[path] or {}).get("operations", ()):
            sys.modules["botocore"].xform_name(operation)
    loaders.Loader.FILE_LOADER_CLASS = WarmLoader

    known = {kind: loaders.Loader([builtin], include_default_search_paths=False).list_available_services(kind) for kind in kinds}
    cold_list = loaders.Loader.list_available_services

    def list_available_services(self: t.Any, type_name: str) -> list[str]:
        others = [path for path in self.search_paths if path != builtin]
        if type_name not in known or len(others) == len(self.search_paths):
            return cold_list(self, type_name)
        rest = loaders.Loader(others, include_default_search_paths=False)
        return sorted({*known[type_name], *cold_list(rest, type_name)})

    loaders.Loader.list_available_services = list_available_services


def share_code(folders: list[str]) -> None:
    """Compile the Python files below these folders once.

    A module brings its own copies of them in a ZIP archive. Where a copy is equal byte for byte, and only there, it is not compiled again.
    """
    if not hasattr(zipimport, "_compile_source") or not hasattr(_imp, "_fix_co_filename"):
        return
    cold = zipimport._compile_source
    codes: dict[bytes, types.CodeType] = {}
    paths: dict[bytes, str] = {}
    for folder in folders:
        for directory, _folders, files in os.walk(folder):
            for path in [os.path.join(directory, file) for file in files if file.endswith(".py")]:
                with contextlib.suppress(OSError, SyntaxError, ValueError), open(path, "rb") as file:
                    source = file.read()
                    codes[source] = cold(path, source)

    def compile_source(path: str, source: bytes) -> types.CodeType:
        # Code knows its path: the second of two equal files is compiled for itself.
        if paths.setdefault(source, path) != path:
            return cold(path, source)
        # Of a file in an archive, too, Python asks twice: for its path and for its code.
        if source not in codes:
            codes[source] = cold(path, source)
        _imp._fix_co_filename(codes[source], path)
        return codes[source]

    zipimport._compile_source = compile_source


class Server:
    """Accepts connections at a path until it has been idle for so many seconds, or the play has ended."""

    def __init__(self, path: str, play: int, idle: float):
        self.path, self.play, self.idle = path, play, idle
        self.installed = installed()
        self.running: dict[int, socket.socket] = {}  # the connections by their forks
        self.abandoned: dict[int, float] = {}  # forks whose client has gone, until when they may end by themselves
        self.poller = select.poll()
        self.wakes = os.pipe()
        for end in self.wakes:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.wakes[1], warn_on_full_buffer=False)
        self.child_handler = signal.signal(signal.SIGCHLD, lambda *_arguments: None)
        self.listener: socket.socket | None = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(128)
        self.poller.register(self.listener, select.POLLIN)
        self.poller.register(self.wakes[0], select.POLLIN)

    def serve(self) -> socket.socket | None:
        """In the server: None, at its end. In a fork: the connection to read the module from."""
        last = time.monotonic()
        while self.listener or self.running:
            events = self.poller.poll(TICK_SECONDS * 1000)
            if self.running or events:
                last = time.monotonic()
            for descriptor, _event in events:
                if self.listener and descriptor == self.listener.fileno():
                    connection = self.accept()
                    if connection:
                        return connection
                elif descriptor == self.wakes[0]:
                    os.read(descriptor, 4096)
                else:
                    self.abandon(descriptor)
            self.reap()
            if self.listener and (time.monotonic() - last > self.idle or not alive(self.play)):
                self.close()
        return None

    def accept(self) -> socket.socket | None:
        connection, _address = self.listener.accept()
        if peer_uid(connection) != os.geteuid():
            connection.close()
            return None
        if installed() != self.installed:
            # The client, who has no answer, starts another server: it must not find this one again.
            self.close()
            connection.close()
            return None
        try:
            pid = os.fork()
        except OSError:
            connection.close()
            return None
        if pid == 0:
            self.forget()
            return connection
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # the fork does so, too: whoever comes first
        self.running[pid] = connection
        self.poller.register(connection, 0)  # only the end of it: the fork reads it
        with contextlib.suppress(OSError):
            connection.sendall(NUMBER.pack(pid))
        return None

    def forget(self) -> None:
        """In a fork: leave nothing of the server, so that no descriptor closes behind the module's back."""
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, self.child_handler)
        for one in (self.listener, *self.running.values()):
            one.close()
        for end in self.wakes:
            os.close(end)

    def abandon(self, descriptor: int) -> None:
        for pid, connection in self.running.items():
            if connection.fileno() == descriptor:
                self.poller.unregister(connection)
                self.abandoned[pid] = time.monotonic() + GRACE_SECONDS
                self.kill(pid, signal.SIGTERM)

    def kill(self, pid: int, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(pid, number)

    def reap(self) -> None:
        for pid in list(self.running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                if time.monotonic() > self.abandoned.get(pid, math.inf):
                    self.kill(pid, signal.SIGKILL)
                continue
            connection = self.running.pop(pid)
            if pid in self.abandoned:
                del self.abandoned[pid]
                self.kill(pid, signal.SIGKILL)
            else:
                self.poller.unregister(connection)
                with contextlib.suppress(OSError):
                    connection.sendall(NUMBER.pack(status))
            connection.close()

    def close(self) -> None:
        # In this order: whoever finds the path gone starts another server, and none takes another's path away.
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.poller.unregister(self.listener)
        self.listener.close()
        self.listener = None


def read(connection: socket.socket) -> bytes:
    """Become the process that the client asks for; the module that it shall run."""
    head, descriptors, _flags, _address = socket.recv_fds(connection, HEAD.size, 2)
    if len(head) < HEAD.size or len(descriptors) < 2:
        os._exit(0)  # the client went away
    *lengths, umask = HEAD.unpack(head)
    with connection, connection.makefile("rb") as stream:
        parts = [stream.read(length) for length in lengths]
    if [len(part) for part in parts] != lengths:
        os._exit(0)
    for target, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, target)
        os.close(descriptor)
    environment, directory, module = parts
    # An interpreter that starts in the C locale sets this one itself (PEP 538).
    coerced = os.environ.get("LC_CTYPE")
    os.environ.clear()
    for assignment in environment.split(b"\0"):
        name, found, value = assignment.partition(b"=")
        if found:
            os.environb[name] = value
    if coerced:
        os.environ.setdefault("LC_CTYPE", coerced)
    time.tzset()
    os.umask(umask)
    os.chdir(directory)
    return module


def run(module: bytes) -> int:
    """Run the text as an interpreter runs its standard input."""
    main = types.ModuleType("__main__")
    # What an interpreter gives to its standard input, it has given to this text: names differ by version.
    given = globals()
    vars(main).update({name: given[name] for name in ("__builtins__", "__cached__", "__file__", "__loader__") if name in given})
    if "__annotations__" in given:
        main.__annotations__ = {}
    sys.modules["__main__"] = main
    sys.argv[:] = [""]
    sys.orig_argv[:] = sys.orig_argv[:1]
    try:
        exec(compile(module, "<stdin>", "exec", dont_inherit=True), vars(main))  # pylint: disable=exec-used
    except SystemExit:
        raise
    except BaseException as error:  # pylint: disable=broad-exception-caught
        # Without the frame of this function.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            # So does Python, that a shell may know.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        return 1
    return 0


def main(settings: dict[str, t.Any]) -> None:
    search = list(sys.path)
    sys.path[:] = [entry for entry in search if entry]
    for name in settings["modules"]:
        # What is missing here is missed by the module that needs it, with its own words.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    share_descriptions(settings["services"])
    share_code(settings["sources"])
    server = Server(settings["path"], settings["play"], settings["idle"])
    sys.path[:] = search
    if threading.active_count() > 1:
        raise RuntimeError("what is imported beforehand has started a thread, which no fork would have")
    os.chdir("/")
    gc.collect()
    gc.freeze()
    os.write(1, READY)
    connection = server.serve()
    if connection:
        sys.exit(run(read(connection)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
