# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every process that the local AWS starts: in a group of its own, marked, and never left behind.

The mark is a variable in the environment, which descendants inherit; by it `reap_all` finds them after a crash.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

MARK = "LOCAL_AWS_INSTANCE"
LOOK_SECONDS = 0.05
# A killed process ends at once, unless the kernel is busy with it.
KILL_SECONDS = 10


class Processes:
    """Starts and ends process groups."""

    def __init__(self, instance: Path) -> None:
        self._mark = str(instance)
        self._groups: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(
        self,
        label: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: int | IO[bytes],
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start `command` as the leader of a new group; `output` takes stdout and stderr. OSError if it cannot."""
        process = subprocess.Popen(
            list(command),
            env={**environment, MARK: self._mark},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
        process.label = label  # type: ignore[attr-defined]
        with self._lock:
            self._groups[process.pid] = process
        return process

    def started(self, prefix: str) -> list[subprocess.Popen[bytes]]:
        """The leaders, not yet ended by us, of the groups whose label begins so."""
        with self._lock:
            return [one for one in self._groups.values() if one.label.startswith(prefix)]  # type: ignore[attr-defined]

    def members(self, process: subprocess.Popen[bytes]) -> list[int]:
        """PIDs alive in the session that `process` leads."""
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(pid) == process.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    found.append(pid)
        return found

    def terminate(self, process: subprocess.Popen[bytes], grace: float) -> None:
        """SIGTERM to the whole group, SIGKILL after `grace` seconds (0: at once); returns when it is gone."""
        if grace > 0:
            _signal_group(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline and (process.poll() is None or self.members(process)):
                time.sleep(LOOK_SECONDS)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + KILL_SECONDS
        # What left the group but not the session is ours all the same.
        while (left := self.members(process)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_SECONDS)
        with self._lock:
            self._groups.pop(process.pid, None)

    def terminate_all(self, grace: float) -> None:
        """End every group that is left, side by side."""
        with self._lock:
            left = list(self._groups.values())
        for process in left:
            _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        for process in left:
            self.terminate(process, max(0.0, deadline - time.monotonic()))


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def marked(instance: Path) -> list[psutil.Process]:
    """The living processes of an instance, whoever started them."""
    found: dict[int, psutil.Process] = {}
    others: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                ours = process.environ().get(MARK) == str(instance)
                (found if ours else others)[process.pid] = process
    # Some write a title over their environment, as PostgreSQL's children do, but not over who started them.
    while children := {pid for pid, process in others.items() if _parent(process) in found}:
        found.update({pid: others.pop(pid) for pid in children})
    return list(found.values())


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def reap_all(instance: Path, grace: float = 10.0) -> int:
    """End what an instance left behind: SIGTERM, SIGKILL after `grace` seconds. Returns how many there were."""
    left = marked(instance)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + grace
    # Their parent is gone: who took them over may leave them as zombies for a while.
    while marked(instance) and time.monotonic() < deadline:
        time.sleep(2 * LOOK_SECONDS)
    while (stubborn := marked(instance)) and time.monotonic() < deadline + KILL_SECONDS:
        for process in stubborn:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(2 * LOOK_SECONDS)
    return len(left)
