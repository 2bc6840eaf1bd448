# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: warm_local
version_added: "0.1.0"
short_description: Execute on the controller, modules in forks of a process that has imported boto3
description:
  - Does what P(ansible.builtin.local#connection) does, more than twice as fast where modules use boto3.
  - A server process of the play imports boto3 and its like once, and runs each pipelined Python module in a fork of itself.
    It is started by the first task that needs it.
  - Everything that is not a pipelined Python module goes the way of P(ansible.builtin.local#connection), and so does everything if
    the server cannot be started; a warning tells why.
author:
  - The mlops.mlflow_aws contributors (@mlops)
options:
  idle_seconds:
    description: After how many seconds without a module the server ends. It ends with the play, too.
    type: float
    default: 60
    vars:
      - name: ansible_warm_local_idle_seconds
    env:
      - name: ANSIBLE_WARM_LOCAL_IDLE_SECONDS
    ini:
      - section: warm_local
        key: idle_seconds
  preload:
    description:
      - Python modules to import beforehand. What is not installed is left out.
      - Never name C(ansible) or C(ansible_collections) here, since a module brings its own copies of them.
    type: list
    elements: str
    default: [boto3, boto3.s3.inject, ctypes, distro, encodings.idna, packaging.version, syslog, typing_extensions]
    vars:
      - name: ansible_warm_local_preload
  services:
    description: AWS services, as boto3 names them, whose descriptions to read beforehand.
    type: list
    elements: str
    default: [application-autoscaling, cloudwatch, ec2, ecs, elbv2, iam, kms, logs, rds, s3, secretsmanager, sts]
    vars:
      - name: ansible_warm_local_services
  # Not `collections`: a plugin's option with the name of a task's keyword gets the keyword's value.
  source_collections:
    description:
      - Collections whose C(module_utils) to compile beforehand, beside those of ansible-core.
      - A module still runs its own copies; only what is equal byte for byte is not compiled again.
    type: list
    elements: str
    default: [amazon.aws, community.aws, mlops.mlflow_aws]
    vars:
      - name: ansible_warm_local_collections
  pipelining:
    description: As of P(ansible.builtin.local#connection), but on unless it is switched off. Without it no module is run by the server.
    type: bool
    default: true
    env:
      - name: ANSIBLE_PIPELINING
    ini:
      - section: defaults
        key: pipelining
      - section: connection
        key: pipelining
    vars:
      - name: ansible_pipelining
  become_success_timeout:
    description: As of P(ansible.builtin.local#connection).
    type: int
    default: 10
    vars:
      - name: ansible_local_become_success_timeout
  become_strip_preamble:
    description: As of P(ansible.builtin.local#connection).
    type: bool
    default: true
    vars:
      - name: ansible_local_become_strip_preamble
notes:
  - The remote user is ignored, the user with which the ansible CLI was executed is used instead.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import select
import selectors
import shlex
import signal
import socket
import stat
import subprocess
import tempfile
import typing as t
from pathlib import Path

import ansible.module_utils
from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as LocalConnection
from ansible.utils.display import Display

from ansible_collections.mlops.mlflow_aws.plugins.plugin_utils import warm_server

display = Display()

# How Ansible pipelines a module: assignments, an interpreter by its path, a pause; quoted for a shell.
PIPELINED = re.compile(r"(?P<assignments>.*?)(?P<interpreter>/[\w@%+=:,./-]+) && sleep 0", re.DOTALL)
MARK = b"_ANSIBALLZ_WRAPPER = True"
# What an interpreter, its libraries or boto3 look at while they start. A server has these variables only, and serves no others.
SHAPING = re.compile(r"PYTHON|LC_|LANG|LD_|DYLD_|MALLOC_|GLIBC_|OPENSSL_|BOTO_|UNIX|PYENV_|(HOME|PATH)$")
ENV = "/usr/bin/env"
# No shell can end itself by a signal that a play in the background ignores.
DIE = "import os, signal; {0} == signal.SIGKILL or signal.signal({0}, signal.SIG_DFL); os.kill(os.getpid(), {0})"
START_SECONDS = 60
# A path of a Unix socket is shorter than 104 bytes on every system.
LONGEST_PATH = 103


class NotBegun(Exception):
    """The server did not run the module, and never will."""


def pipelined_interpreter(command: str, module: bytes | None) -> str | None:
    """The interpreter of a command that is nothing but a pipelined Python module."""
    if not module or MARK not in module:
        return None
    try:
        shell, option, inner = shlex.split(command)
        found = PIPELINED.fullmatch(inner)
        assignments = [word.split("=", 1) for word in shlex.split(found["assignments"])] if found else []
        understood = found and "".join(f"{name}={shlex.quote(value)} " for name, value in assignments)
    except ValueError:
        return None
    if not found or option != "-c" or command != f"{shell} -c {shlex.quote(inner)}":
        return None
    if understood != found["assignments"] or not all(re.fullmatch(r"[A-Za-z_]\w*", name) for name, _value in assignments):
        return None
    return found["interpreter"]


def source_folders(collections: list[str]) -> list[str]:
    """Where the module_utils of ansible-core and of these collections are, as far as they are installed."""
    folders = list(ansible.module_utils.__path__)
    for collection in collections:
        with contextlib.suppress(ImportError):
            found = importlib.util.find_spec(f"ansible_collections.{collection}.plugins.module_utils")
            folders += list(found.submodule_search_locations or []) if found else []
    return folders


def private_folder() -> Path:
    """A folder that only this user can enter, in the user's run-time directory if there is one."""
    folders = [Path(tempfile.gettempdir(), f"ansible-warm-{os.geteuid()}")]
    if os.environ.get("XDG_RUNTIME_DIR"):
        folders.insert(0, Path(os.environ["XDG_RUNTIME_DIR"], "ansible-warm"))
    for folder in folders:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return folder
    raise NotBegun(f"there is no private folder for its socket, or others can enter {folder}")


def remove_leftovers(folder: Path) -> None:
    """Of plays that have ended, such as the socket of a server that was killed."""
    for leftover in folder.iterdir():
        play = leftover.name.partition("-")[0]
        if play.isdigit() and not warm_server.alive(int(play)):
            leftover.unlink(missing_ok=True)


def start(command: list[str], environment: dict[str, str]) -> str:
    """Start a server that outlives this process; why it does not start, or nothing."""
    # Its standard streams are pipes as a module's are: Python remembers what they can do.
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    with process.stdout as stdout, process.stderr as stderr:
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(Path(warm_server.__file__).read_bytes())
        ready, _write, _error = select.select([stdout], [], [], START_SECONDS)
        if ready and stdout.read(len(warm_server.READY)) == warm_server.READY:
            return ""
        process.kill()
        words = stderr.read().decode(errors="replace").split("\n")
        process.wait()
    return ([word for word in words if word.strip()] or [f"{command[0]} ended with {process.returncode}"])[-1]


def receive(server: socket.socket, stdout: int, stderr: int) -> tuple[int | None, bytes, bytes]:
    """What the module writes, up to its end and that of all who share its output; its status, None if the server ends before."""
    received: dict[t.Any, bytearray] = {stdout: bytearray(), stderr: bytearray(), server: bytearray()}
    with selectors.DefaultSelector() as selector:
        for source in received:
            selector.register(source, selectors.EVENT_READ)
        while selector.get_map():
            for key, _events in selector.select():
                source = key.fileobj
                try:
                    chunk = server.recv(64) if source is server else os.read(source, 1 << 16)
                except ConnectionError:
                    chunk = b""
                received[source] += chunk
                if not chunk:
                    selector.unregister(source)
                    if source is server and len(received[server]) < warm_server.NUMBER.size:
                        return None, b"", b""
    return warm_server.NUMBER.unpack(received[server])[0], bytes(received[stdout]), bytes(received[stderr])


class Connection(LocalConnection):
    """Local, with a warm interpreter for pipelined modules.

    The transport stays that of the parent: Ansible asks it where a task's working directory matters.
    """

    has_pipelining = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._play = int(kwargs.get("ansible_playbook_pid") or os.getppid())

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        interpreter = None if self.become else pipelined_interpreter(cmd, in_data)
        if interpreter:
            try:
                request = self._request(cmd, interpreter, in_data)
                server, pid = self._new_fork(interpreter, request[1])
                with server:
                    return self._run_warm(cmd, interpreter, request, server, pid)
            except NotBegun as error:
                display.warning(f"The connection warm_local runs modules as local does: {error}")
        return super().exec_command(cmd, in_data=in_data, sudoable=sudoable)

    def _like_local(self, cmd: str, interpreter: str, instead: str) -> tuple[int, bytes, bytes]:
        """Run another program where the module would run: same shell, same environment, same place."""
        shell, option, inner = shlex.split(cmd)
        inner = f"{inner[: -len(interpreter + ' && sleep 0')]}{instead} && sleep 0"
        return super().exec_command(f"{shell} {option} {shlex.quote(inner)}", sudoable=False)

    def _request(self, cmd: str, interpreter: str, module: bytes) -> tuple[bytes, ...]:
        """What the fork needs: head, environment, working directory, module."""
        # The shell itself tells what it would hand to the module: shells set variables of their own.
        status, environment, _errors = self._like_local(cmd, interpreter, f"{ENV} -0")
        if status:
            raise NotBegun(f"{ENV} -0 does not tell the environment")
        environment = environment.replace(f"\0_={ENV}\0".encode(), f"\0_={interpreter}\0".encode())
        umask = os.umask(0o077)
        os.umask(umask)
        parts = (environment, os.fsencode(self.cwd or os.getcwd()), module)
        return warm_server.HEAD.pack(*map(len, parts), umask), *parts

    def _new_fork(self, interpreter: str, environment: bytes) -> tuple[socket.socket, int]:
        """A connection to a new fork of the server, and its process ID."""
        shaping = dict(word.split("=", 1) for word in os.fsdecode(environment).split("\0") if SHAPING.match(word.split("=")[0]))
        settings = {
            "play": self._play,
            "idle": self.get_option("idle_seconds"),
            "modules": self.get_option("preload"),
            "services": self.get_option("services"),
            "sources": source_folders(self.get_option("source_collections")),
        }
        # The temporary folder is this play's alone, even if its process ID comes again.
        identity = json.dumps([interpreter, shaping, settings, C.DEFAULT_LOCAL_TMP], sort_keys=True)
        name = f"{self._play}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        folder = private_folder()
        path = folder / name
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise NotBegun(f"{path} is too long for a socket")
        # Twice: the first server may have been about to end.
        for _attempt in range(2):
            try:
                server = self._reach(path) or self._start_server(path, interpreter, shaping, settings)
                with contextlib.suppress(ConnectionError):
                    answer = server.recv(warm_server.NUMBER.size, socket.MSG_WAITALL)
                    if len(answer) == warm_server.NUMBER.size:
                        server.settimeout(None)
                        return server, warm_server.NUMBER.unpack(answer)[0]
            except OSError as error:
                raise NotBegun(f"its server: {error}") from error
            server.close()
        raise NotBegun("its server ends as soon as it is asked")

    def _reach(self, path: Path) -> socket.socket | None:
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(START_SECONDS)
        try:
            server.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            server.close()
            return None
        if warm_server.peer_uid(server) != os.geteuid():
            server.close()
            raise NotBegun(f"{path} is another user's")
        return server

    def _start_server(self, path: Path, interpreter: str, shaping: dict[str, str], settings: dict) -> socket.socket:
        failed = path.with_name(f"{path.name}.failed")
        with open(path.with_name(f"{path.name}.lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another host's task may have started it meanwhile, or tried to.
            if failed.exists():
                raise NotBegun(failed.read_text(encoding="utf-8"))
            server = self._reach(path)
            if server:
                return server
            path.unlink(missing_ok=True)  # of a server that was killed
            remove_leftovers(path.parent)
            command = [interpreter, "-", json.dumps({**settings, "path": os.fspath(path)})]
            reason = start(command, shaping)
            if reason:
                failed.write_text(f"its server does not start: {reason}", encoding="utf-8")
                raise NotBegun(failed.read_text(encoding="utf-8"))
            server = self._reach(path)
            if not server:
                raise NotBegun("its server has ended at once")
            return server

    def _run_warm(
        self, cmd: str, interpreter: str, request: tuple[bytes, ...], server: socket.socket, pid: int
    ) -> tuple[int, bytes, bytes]:
        display.vvv(f"RUN IN A FORK OF A WARM {interpreter}: {pid}", host=self._play_context.remote_addr)
        outputs = os.pipe(), os.pipe()
        readers, writers = zip(*outputs)
        try:
            try:
                socket.send_fds(server, [request[0]], writers)
                for part in request[1:]:
                    server.sendall(part)
            except OSError as error:
                raise NotBegun(f"its server has ended: {error}") from error
            finally:
                for descriptor in writers:
                    os.close(descriptor)
            status, stdout, stderr = receive(server, *readers)
        finally:
            for descriptor in readers:
                os.close(descriptor)
        if status is None:
            # Nobody is left to end the fork, and to tell how it ended.
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            raise AnsibleConnectionFailure(
                f"The server of the connection warm_local ended while it ran a module (process {pid}), which may or may not have done its"
                " work: look at what it was to change, or run the play again."
            )
        status = os.waitstatus_to_exitcode(status)
        if status < 0:
            # The shell has its own code, and its own words, for a signal.
            status, _stdout, words = self._like_local(cmd, interpreter, f"{interpreter} -ISc {shlex.quote(DIE.format(-status))}")
            stderr += words
        return status, stdout, stderr
