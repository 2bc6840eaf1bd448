# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from local_aws import processes
from local_aws.processes import Processes

# A leader that ignores SIGTERM with a child in the same group.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
time.sleep(60)
"""


@pytest.fixture
def ours(tmp_path):
    started = Processes(tmp_path)
    yield started
    started.terminate_all(grace=0)


def start(ours, tmp_path, code: str) -> subprocess.Popen[bytes]:
    return ours.start(
        "test", [sys.executable, "-c", code], environment=dict(os.environ), folder=tmp_path, output=subprocess.DEVNULL
    )


def wait_for(condition, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_group_ends_as_a_whole_even_if_it_ignores_sigterm(ours, tmp_path):
    process = start(ours, tmp_path, STUBBORN)
    assert wait_for(lambda: len(ours.members(process)) == 2)
    ours.terminate(process, grace=0.5)
    assert ours.members(process) == []
    assert process.returncode == -signal.SIGKILL


def test_a_polite_process_ends_by_sigterm(ours, tmp_path):
    process = start(ours, tmp_path, "import time; time.sleep(60)")
    ours.terminate(process, grace=5)
    assert process.returncode == -signal.SIGTERM


def test_what_was_left_behind_is_found_by_its_mark_and_nothing_else_is(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    left = start(Processes(mine), tmp_path, "import time; time.sleep(60)")
    foreign = start(Processes(other), tmp_path, "import time; time.sleep(60)")
    try:
        assert wait_for(lambda: [one.pid for one in processes.marked(mine)] == [left.pid])
        assert processes.reap_all(mine, grace=2) == 1
        assert left.wait(timeout=5) is not None
        assert psutil.pid_exists(foreign.pid)
    finally:
        processes.reap_all(other, grace=2)
        foreign.wait(timeout=5)


def test_nothing_left_behind_is_nothing_to_do(tmp_path):
    assert processes.reap_all(tmp_path) == 0
