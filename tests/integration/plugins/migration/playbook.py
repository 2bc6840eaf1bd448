# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the role migrate, by a playbook as its README has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


def command(folder: Path, variables: dict[str, t.Any], *options: str) -> list[str]:
    """What runs the role with these variables; they are in a file that only this user may read."""
    playbook, given = folder / "playbook.yml", folder / "variables.json"
    task = {"name": "Copy and compare", "ansible.builtin.import_role": {"name": "mlops.mlflow_aws.migrate"}}
    play = {"name": "Move in", "hosts": "localhost", "gather_facts": False, "tasks": [task]}
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    given.touch(mode=0o600)
    given.write_text(json.dumps(variables), encoding="utf-8")
    found = ["ansible-playbook", "-c", "local", "-i", "localhost,", "-e", f"@{given}", str(playbook)]
    return [*found, "-e", f"ansible_python_interpreter={sys.executable}", *options]


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}


def run(
    folder: Path, variables: dict[str, t.Any], *options: str, seconds: int = 1800
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, variables, *options), cwd=ROOT, env=environment(), text=True, timeout=seconds, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def begin(folder: Path, variables: dict[str, t.Any]) -> subprocess.Popen[bytes]:
    with (folder / "output").open("ab") as out:
        return subprocess.Popen(
            command(folder, variables), cwd=ROOT, env=environment(), stdout=out, stderr=out, start_new_session=True
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """At once, with the modules that run: they are groups of their own."""
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
