# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers, forks and clients that die, at every moment: no module is run twice, none goes on without its task."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from ansible.errors import AnsibleConnectionFailure

from tests.integration.warm_local.conftest import MARK, command

PING = (MARK + "print('pong')").encode()
PONG = (0, b"pong\n", b"")
# Counts its runs, tells its process, and takes its time.
SLOW = """import os, time
with open('runs', 'a') as runs:
    print(os.getpid(), file=runs, flush=True)
time.sleep({seconds})
print('done')
"""


def slow(seconds: float = 60) -> bytes:
    return (MARK + SLOW.format(seconds=seconds)).encode()


def runs(connections) -> list[int]:
    path = connections.folder / "runs"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def in_background(connection, module: bytes) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1).submit(connection.exec_command, command(), module)


def forked(work) -> int:
    """The process ID of a fork that does this and nothing else, and ends with 0 if the answer is true."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return child


def test_a_server_killed_in_the_middle_fails_the_task_and_ends_the_module(connections):
    future = in_background(connections.warm(), slow())
    module = until(lambda: runs(connections))[0]
    connections.servers()[0].kill()
    with pytest.raises(AnsibleConnectionFailure, match="may or may not have done its work"):
        future.result(20)
    until(lambda: gone(module))
    assert runs(connections) == [module]
    # The next task finds the dead server's socket, and starts another server.
    assert connections.warm().exec_command(command(), in_data=PING) == PONG
    assert connections.warnings == []


def test_a_server_that_ends_properly_waits_for_its_modules(connections):
    future = in_background(connections.warm(idle_seconds=0.1), slow(3))
    assert future.result(20) == (0, b"done\n", b"")
    until(lambda: not connections.servers())
    assert list((connections.folder / "ansible-warm").glob("*[0-9a-f]")) == []


def test_the_module_ends_with_its_task(connections):
    play, text = os.getpid(), (MARK + "import os\nif os.fork(): os.wait()\n").encode() + slow()
    child = forked(lambda: connections.warm(play).exec_command(command(), in_data=text))
    module = until(lambda: runs(connections))[0]
    # The module, and the process that it waits for.
    group = os.getpgid(module)
    assert group != module
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(lambda: gone(module) and gone(group))
    assert len(connections.servers()) == 1


def test_the_module_ends_when_the_task_times_out(connections):
    class TimedOut(Exception):
        pass

    def time_out(*_arguments):
        raise TimedOut

    before = signal.signal(signal.SIGALRM, time_out)
    try:
        warm = connections.warm()
        warm.exec_command(command(), in_data=PING)
        signal.setitimer(signal.ITIMER_REAL, 2)
        with pytest.raises(TimedOut):
            warm.exec_command(command(), in_data=slow())
    finally:
        signal.signal(signal.SIGALRM, before)
    until(lambda: gone(runs(connections)[0]))
    assert warm.exec_command(command(), in_data=PING) == PONG


def test_a_module_that_ignores_to_be_terminated_is_killed(connections):
    play, text = os.getpid(), (MARK + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n").encode() + slow()
    child = forked(lambda: connections.warm(play).exec_command(command(), in_data=text))
    module = until(lambda: runs(connections))[0]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(lambda: gone(module))


def test_the_server_ends_when_idle(connections):
    assert connections.warm(idle_seconds=1).exec_command(command(), in_data=PING) == PONG
    assert connections.servers()
    until(lambda: not connections.servers())


def test_the_server_ends_with_the_play(connections):
    play = subprocess.Popen(["sleep", "60"])
    assert connections.warm(play.pid).exec_command(command(), in_data=PING) == PONG
    play.kill()
    play.wait()
    until(lambda: not connections.servers())
    # What it has left is cleared away by the next play.
    assert connections.warm().exec_command(command(), in_data=PING) == PONG
    assert not list((connections.folder / "ansible-warm").glob(f"{play.pid}-*"))


def test_two_plays_have_two_servers(connections):
    play = subprocess.Popen(["sleep", "60"])
    try:
        for number in (play.pid, os.getpid()):
            assert connections.warm(number).exec_command(command(), in_data=PING) == PONG
        assert len(connections.servers()) == 2
    finally:
        play.kill()
        play.wait()


def test_many_workers_share_one_server(connections):
    """As Ansible has them: processes that fork at once, each with its own connection."""
    play, module = os.getpid(), (MARK + "import os; print(os.environ['HOST'])").encode()

    def works(host: int) -> bool:
        return connections.warm(play).exec_command(command(HOST=str(host)), in_data=module) == (0, f"{host}\n".encode(), b"")

    children = [forked(lambda host=host: works(host)) for host in range(10)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 10
    assert len(connections.servers()) == 1


def test_an_interpreter_that_does_not_work_is_asked_once(connections):
    broken = connections.folder / "python-broken"
    broken.write_text(f"#!/bin/sh\necho x >> {connections.folder}/starts\n[ $# = 0 ] && exec {sys.executable}\necho no such luck >&2\nexit 3\n")
    broken.chmod(0o700)
    for _task in range(3):
        assert connections.warm().exec_command(command(str(broken)), in_data=PING) == PONG
    assert set(connections.warnings) == {"The connection warm_local runs modules as local does: its server does not start: no such luck"}
    # Three times the module, once the server.
    assert (connections.folder / "starts").read_text().count("x") == 4


def test_a_folder_that_others_can_enter_is_not_used(connections, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(connections.folder / "tmp"))
    (connections.folder / "tmp").mkdir()
    (connections.folder / "ansible-warm").mkdir()
    (connections.folder / "ansible-warm").chmod(0o755)
    assert connections.warm().exec_command(command(), in_data=PING) == PONG
    assert [path.name for path in (connections.folder / "tmp").iterdir()] == [f"ansible-warm-{os.geteuid()}"]
    assert connections.warnings == []


def test_an_installed_package_takes_effect(connections):
    site = connections.folder / "site"
    site.mkdir()
    (site / "fruit.py").write_text("NAME = 'apple'")
    module = (MARK + "import fruit; print(fruit.NAME)").encode()
    line = command(PYTHONPATH=str(site), PYTHONDONTWRITEBYTECODE="1")
    warm = connections.warm(preload=["fruit"])
    assert warm.exec_command(line, in_data=module)[1] == b"apple\n"
    (site / "fruit.py").rename(site / "fruit.old")
    (site / "fruit.py").write_text("NAME = 'pear or so'")
    assert warm.exec_command(line, in_data=module)[1] == b"pear or so\n"
    assert connections.warnings == []


def test_nothing_of_a_module_reaches_the_next(connections):
    spoil = """
import builtins, gc, json, logging, os, random, signal, sys, tempfile, threading, warnings
assert not hasattr(json, 'spoilt'), 'a module reached the next'
assert not any(isinstance(one, str) and one.startswith('a secret of') and len(one) == 15 for one in gc.get_objects())
json.spoilt = builtins.spoilt = True
json.loads = None
sys.path.insert(0, '/spoilt'); sys.modules['spoilt'] = json; sys.argv.append('spoilt')
os.environ['SPOILT'] = '1'; os.chdir('/tmp'); os.umask(0o777); os.open('/dev/null', os.O_RDONLY)
signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGCHLD, signal.SIG_IGN)
tempfile.tempdir = '/spoilt'; logging.getLogger().setLevel(1); warnings.simplefilter('error')
os.setpriority(os.PRIO_PROCESS, 0, 19)
threading.Thread(target=lambda: None).start()
"""
    look = """
import builtins, json, logging, os, random, signal, sys, tempfile, warnings
print(hasattr(builtins, 'spoilt'), json.loads('1'), sys.path, 'spoilt' in sys.modules, sys.argv, 'SPOILT' in os.environ, os.getcwd(),
      os.umask(0), os.listdir('/proc/self/fd'), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGCHLD), tempfile.tempdir,
      logging.getLogger().level, warnings.filters, os.getpriority(os.PRIO_PROCESS, 0))
"""
    warm = connections.warm(preload=["json", "logging", "random", "tempfile", "warnings"])
    expected = connections.local().exec_command(command(), in_data=(MARK + look).encode())
    for _time in range(3):
        assert warm.exec_command(command(), in_data=(MARK + spoil).encode()) == (0, b"", b"")
        assert warm.exec_command(command(), in_data=(MARK + look).encode()) == expected
    numbers = {warm.exec_command(command(), in_data=(MARK + "import random; print(random.random())").encode())[1] for _time in range(3)}
    assert len(numbers) == 3


def test_a_secret_of_a_module_stays_in_its_fork(connections):
    secret = "a-canary-secret-" + os.urandom(8).hex()
    warm = connections.warm()
    module = (MARK + f"secret = '{secret}'; print(len(secret))").encode()
    assert warm.exec_command(command(AWS_SECRET_ACCESS_KEY=secret), in_data=module)[0] == 0
    server = connections.servers()[0]
    assert secret not in str(server.cmdline()) + str(server.environ())
    for path in connections.folder.rglob("*"):
        assert not path.is_file() or secret not in path.read_text(errors="replace"), path
    found = False
    with open(f"/proc/{server.pid}/maps", encoding="utf-8") as maps, open(f"/proc/{server.pid}/mem", "rb", 0) as memory:
        for line in maps:
            area, rights, *_rest, name = (line.split() + [""])[:7] if line.split()[5:] else (*line.split()[:5], "")
            if rights.startswith("rw") and name != "[vvar]":
                begin, end = (int(number, 16) for number in area.split("-"))
                memory.seek(begin)
                found = found or secret.encode() in memory.read(end - begin)
    assert not found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_strangers_are_turned_away(connections):
    warm = connections.warm()
    assert warm.exec_command(command(), in_data=PING) == PONG
    path = next(one for one in (connections.folder / "ansible-warm").iterdir() if one.is_socket())

    def is_refused() -> bool:
        # The folder would already refuse a stranger: here it is held open.
        os.chdir(path.parent)
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX) as stranger:
            try:
                stranger.connect(f"/proc/self/cwd/{path.name}")
                return stranger.recv(4) == b""
            except PermissionError:
                return True

    assert os.waitpid(forked(is_refused), 0)[1] == 0
    assert warm.exec_command(command(), in_data=PING) == PONG


def test_clients_that_say_nothing_or_half_do_no_harm(connections):
    warm = connections.warm()
    assert warm.exec_command(command(), in_data=PING) == PONG
    server = connections.servers()[0]
    path = next(one for one in (connections.folder / "ansible-warm").iterdir() if one.is_socket())
    silent = [socket.socket(socket.AF_UNIX) for _one in range(3)]
    for one in silent:
        one.connect(str(path))
    silent[1].sendall(b"x" * 7)
    socket.send_fds(silent[2], [b"\xff" * 16], [1, 2])
    assert warm.exec_command(command(), in_data=PING) == PONG
    for one in silent:
        one.close()
    until(lambda: not server.children())
    assert warm.exec_command(command(), in_data=PING) == PONG
    assert connections.servers() == [server]


@pytest.mark.long
def test_killed_at_any_moment_a_module_runs_once_or_never(connections):
    """The server is killed at sixty moments around the hand-over of the module."""
    ends = {"done": 0, "failed": 0}
    for moment in range(60):
        (connections.folder / "runs").unlink(missing_ok=True)
        warm = connections.warm()
        assert warm.exec_command(command(), in_data=PING) == PONG
        server = connections.servers()[0]
        killer = threading.Timer(moment / 2000, server.kill)
        killer.start()
        try:
            assert warm.exec_command(command(), in_data=slow(0.01)) == (0, b"done\n", b"")
            assert len(runs(connections)) == 1
            ends["done"] += 1
        except AnsibleConnectionFailure:
            assert len(runs(connections)) <= 1
            ends["failed"] += 1
        killer.join()
    assert ends["done"] and ends["failed"]


@pytest.mark.long
def test_a_thousand_modules_leave_nothing_behind(connections):
    warm = connections.warm()
    warm.exec_command(command(), in_data=PING)
    server = connections.servers()[0]
    descriptors, memory = server.num_fds(), server.memory_info().rss
    for _task in range(1000):
        assert warm.exec_command(command(), in_data=PING) == PONG
    assert server.num_fds() == descriptors
    assert server.memory_info().rss < memory + (1 << 20)
    assert server.children() == []
