# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections as a task's worker has them, with a run-time directory of the test's own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import tempfile
import typing as t
from pathlib import Path

import psutil
import pytest
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.utils.display import Display

ROOT = Path(__file__).resolve().parents[3]
WARM = "mlops.mlflow_aws.warm_local"
# What a pipelined module carries, and what else runs here never does.
MARK = "_ANSIBALLZ_WRAPPER = True\n"


def command(interpreter: str = sys.executable, **environment: str) -> str:
    """A pipelined module's command line, as ansible-core makes it."""
    words = [f"{name}={shlex.quote(value)}" for name, value in environment.items()] + [interpreter]
    return f"/bin/sh -c {shlex.quote(' '.join(words) + ' && sleep 0')}"


class Connections:
    """`warm()` and `local()` make connections; `servers()` are the running ones of this test."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.warnings: list[str] = []

    def local(self, name: str = "ansible.builtin.local", play: int | None = None, **options: t.Any) -> t.Any:
        connection = connection_loader.get(name, PlayContext(), ansible_playbook_pid=str(play or os.getpid()))
        connection.set_options(direct=options)
        connection.cwd = os.fsencode(self.folder)
        return connection

    def warm(self, play: int | None = None, **options: t.Any) -> t.Any:
        return self.local(WARM, play, **{"idle_seconds": 20, "preload": ["json"], "source_collections": [], **options})

    def servers(self) -> list[psutil.Process]:
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if len(words) > 2 and words[1] == "-" and str(self.folder) in words[2]:
                    found[process] = process.ppid()
        # Forks look like their server.
        servers = {process.pid for process in found}
        return [process for process, parent in found.items() if parent not in servers]


@contextlib.contextmanager
def made() -> t.Iterator[Connections]:
    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader([str(ROOT / "playbooks/collections")])
    # pytest's own folders may be too deep for a socket.
    with tempfile.TemporaryDirectory(prefix="warm-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        found = Connections(Path(folder))
        patch.setenv("XDG_RUNTIME_DIR", folder)
        patch.setattr(Display, "warning", lambda _self, message, *_more, **_options: found.warnings.append(str(message)))
        try:
            yield found
        finally:
            for server in found.servers():
                with contextlib.suppress(psutil.Error):
                    server.send_signal(signal.SIGTERM)
                    server.wait(5)


@pytest.fixture
def connections() -> t.Iterator[Connections]:
    with made() as found:
        yield found


@pytest.fixture(scope="module")
def lasting() -> t.Iterator[Connections]:
    """The same for all tests of a file, with one server."""
    with made() as found:
        yield found
