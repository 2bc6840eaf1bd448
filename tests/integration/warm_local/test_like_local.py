# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module sees, and what is seen of it, is the same under warm_local as under local."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.integration.warm_local.conftest import MARK, ROOT, WARM, command

SCRIPTS = {
    "environment": "import os, json; print(json.dumps(dict(os.environ), sort_keys=True, indent=0))",
    "environment of a program": "import subprocess; subprocess.run(['/bin/sh', '-c', 'env | sort; pwd; umask; ulimit -a'])",
    "working directory": "import os; print(os.getcwd(), os.path.exists('of-the-test'))",
    "interpreter": "import sys; print(sys.argv, sys.orig_argv, sys.path, sys.executable, sys.flags, sys.prefix, sys.warnoptions)",
    "main": "import sys; print(sorted(globals()), __name__, __doc__, __spec__, __loader__, sys.modules['__main__'].__dict__ is globals())",
    "standard input": "import sys, os, stat; print(repr(sys.stdin.read()), stat.S_ISFIFO(os.fstat(0).st_mode), sys.stdin)",
    "streams": """import sys
for one in sys.stdin, sys.stdout, sys.stderr:
    print(one.name, one.mode, one.encoding, one.errors, one.line_buffering, one.isatty(), one.seekable(), one.fileno())""",
    "descriptors": "import os; print([one for one in range(100) if os.path.exists(f'/proc/self/fd/{one}')])",
    "signals": "import signal; print([(one, str(signal.getsignal(one))) for one in signal.valid_signals()], signal.pthread_sigmask(0, []))",
    "signals of a program": "import subprocess; subprocess.run(['grep', 'Sig[PBIC]', '/proc/self/status'])",
    "threads": "import threading, os; print([one.name for one in threading.enumerate()], len(os.listdir('/proc/self/task')))",
    "time zone": "import time; print(time.tzname)",
    "temporary folder": "import tempfile; print(tempfile.gettempdir())",
    "any bytes": "import sys; sys.stdout.buffer.write(bytes(range(256)) * 999); sys.stderr.buffer.write(b'\\xff\\0')",
    "much output on both": "import sys\nfor _ in range(3000):\n    print('o' * 99)\n    print('e' * 99, file=sys.stderr)",
    "nothing": "",
    "exit code": "import sys; sys.exit(37)",
    "exit with words": "import sys; sys.exit('words')",
    "exit with nothing": "import sys; print('left unflushed', end=''); sys.exit()",
    "exit at once": "import os; print('lost'); os._exit(5)",
    "exception": "def f():\n    raise ValueError('no')\ntry:\n    f()\nexcept ValueError as error:\n    raise KeyError('x') from error",
    "exception within": "class E(Exception):\n    pass\nimport json; json.loads('{')",
    "hook": "import sys; sys.excepthook = lambda *a: print('hook', a[:2]); 1 / 0",
    "syntax error": "if True:\nprint(1)",
    "interrupt": "raise KeyboardInterrupt()",
    "killed": "import os, signal; print('before', flush=True); os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "broken": "import os; os.abort()",
    "at exit": "import atexit; atexit.register(print, 'at exit')",
    "thread that goes on": "import threading, time; threading.Thread(target=lambda: (time.sleep(.2), print('late'))).start()",
    "program that goes on": "import subprocess; subprocess.Popen('sleep .3; echo late', shell=True)",
    "import of what is preloaded": "import json, sys; print(json.__file__, json.__spec__.name, sys.modules['json'] is json)",
    "pickle of main": "import pickle\nclass A: pass\nprint(pickle.dumps(A()))",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_module_is_run_alike(lasting, name):
    (lasting.folder / "of-the-test").touch()
    module = (MARK + SCRIPTS[name]).encode()
    line = command(NAME="va'l\n ue", EMPTY="", TZ="Asia/Tokyo", AWS_SECRET_ACCESS_KEY="secret", TMPDIR=str(lasting.folder))
    expected = lasting.local().exec_command(line, in_data=module)
    assert lasting.warm().exec_command(line, in_data=module) == expected
    assert lasting.warnings == []
    assert len(lasting.servers()) == 1


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {"PYTHONUTF8": "1"}, {"LANG": "", "LC_ALL": ""}, {"PYTHONHASHSEED": "1"}],
)
def test_what_shapes_an_interpreter_is_honoured(connections, environment):
    module = (MARK + "import sys, os, locale; print(sys.stdout.encoding, sys.stdout.errors, sys.getfilesystemencoding(), "
              "locale.setlocale(locale.LC_CTYPE), hash('a') if os.environ.get('PYTHONHASHSEED') == '1' else 0, dict(os.environ))").encode()  # fmt: skip
    line = command(**environment)
    assert connections.warm().exec_command(line, in_data=module) == connections.local().exec_command(line, in_data=module)


@pytest.mark.parametrize("name", ["interrupt", "signals", "signals of a program", "killed"])
def test_a_play_in_the_background_ignores_the_keyboard(connections, name):
    module = (MARK + SCRIPTS[name]).encode()
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)}
    try:
        expected = connections.local().exec_command(command(), in_data=module)
        assert connections.warm().exec_command(command(), in_data=module) == expected
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert connections.warnings == []


def test_the_umask_is_the_workers(lasting):
    warm, module = lasting.warm(), (MARK + "import os; print(os.umask(0))").encode()
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            assert warm.exec_command(command(), in_data=module)[1] == f"{mask}\n".encode()
        finally:
            os.umask(before)


def test_a_missing_working_directory_fails_alike(connections):
    for connection in (connections.local(), connections.warm()):
        connection.cwd = os.fsencode(connections.folder / "nowhere")
        with pytest.raises(FileNotFoundError):
            connection.exec_command(command(), in_data=MARK.encode())


def test_what_is_no_pipelined_module_never_meets_the_server(connections):
    warm = connections.warm()
    assert warm.exec_command("/bin/sh -c 'echo hello && sleep 0'") == (0, b"hello\n", b"")
    assert warm.exec_command(command(), in_data=b"print(1)") == (0, b"1\n", b"")
    assert warm.exec_command("/bin/sh -c 'cat && sleep 0'", in_data=MARK.encode()) == (0, MARK.encode(), b"")
    (connections.folder / "one").write_text("content")
    warm.put_file(str(connections.folder / "one"), str(connections.folder / "two"))
    warm.fetch_file(str(connections.folder / "two"), str(connections.folder / "three"))
    assert (connections.folder / "three").read_text() == "content"
    assert connections.servers() == []


PLAY = """
- hosts: all
  gather_facts: false
  environment:
    DEPLOYMENT: "{{ inventory_hostname }}"
  tasks:
    - ansible.builtin.setup:
        gather_subset: [env, user]
      no_log: true
    - ansible.builtin.command: sh -c 'echo $DEPLOYMENT; pwd; umask'
    - ansible.builtin.copy:
        content: "{{ inventory_hostname }}"
        dest: "{{ folder }}/{{ inventory_hostname }}"
        mode: "0600"
      diff: true
    - ansible.builtin.stat:
        path: "{{ folder }}/{{ inventory_hostname }}"
        get_attributes: false
      register: found
    - ansible.builtin.assert:
        that: found.stat.size == inventory_hostname | length
    - ansible.builtin.command: "true"
      async: 20
      poll: 1
    # A task that fails must look alike, too, and the play go on.
    - ansible.builtin.file:
        path: "{{ folder }}/{{ inventory_hostname }}"
        state: wrong
      ignore_errors: true
    - ansible.builtin.debug:
        var: found.stat.mode
"""


def play(connections, connection: str, hosts: int) -> str:
    """What a play prints, but for what differs from run to run."""
    folder = connections.folder / connection
    folder.mkdir()
    (connections.folder / "play.yml").write_text(PLAY)
    found = subprocess.run(
        [f"{os.path.dirname(sys.executable)}/ansible-playbook", "-i", ",".join(f"host-{one}" for one in range(hosts)) + ",",
         "-e", f"ansible_connection={connection} folder={folder} ansible_python_interpreter={sys.executable}", "-vv",
         str(connections.folder / "play.yml")],
        cwd=ROOT, env={**os.environ, "ANSIBLE_FORKS": "10", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"},
        capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert {path.name for path in folder.iterdir()} == {f"host-{one}" for one in range(hosts)}
    differing = ("start:", "end:", "delta:", "ansible_job_id:", "results_file:", "ctime:", "mtime:", "atime:", "inode:", "_ansible", "src:",
                 "ASYNC", "jobid", "started:", "task path")  # fmt: skip
    lines = [line.replace(str(folder), "FOLDER") for line in (found.stdout + found.stderr).splitlines()]
    return "\n".join(sorted(line for line in lines if not line.strip().startswith(differing)))


def test_a_play_prints_the_same(connections):
    assert play(connections, WARM, 1) == play(connections, "ansible.builtin.local", 1)
    assert not any(server.is_running() for server in connections.servers())


@pytest.mark.long
def test_ten_hosts_at_a_time_print_the_same(connections):
    assert play(connections, WARM, 10) == play(connections, "ansible.builtin.local", 10)
