# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles run by plain playbooks against a local AWS of the tests' own.

`local_aws` is the account, `run_playbook` runs one playbook on one local host, `run_role` writes that playbook.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.integration import aws
from tests.integration.aws import ROOT, LocalAws

RECAP = re.compile(r"^(\S+)\s+: (ok=.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class PlaybookRun:
    rc: int
    stdout: str
    # host -> {"ok": 3, "changed": 1, ...}
    stats: dict[str, dict[str, int]]
    # What the play wrote down as JSON with `run_role`: the role's outputs, null when it did not get so far.
    outputs: dict | None
    writes: list[str]

    @property
    def changed(self) -> int:
        return sum(host["changed"] for host in self.stats.values())


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[LocalAws]:
    """One account for all roles: each test uses names of its own."""
    with aws.local_aws(tmp_path_factory.mktemp("local_aws") / "state") as running:
        yield running


@pytest.fixture
def run_playbook(local_aws: LocalAws, tmp_path: Path) -> t.Callable[..., PlaybookRun]:
    """Run a playbook from the repository's root on one local host; asserts nothing."""

    def run(
        path: Path,
        extra_vars: dict | None = None,
        check: bool = False,
        tags: str | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 300,
        verbosity: int = 0,
    ) -> PlaybookRun:
        inventory = tmp_path / "inventory.yml"
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"local": host}}}))
        command = ["ansible-playbook", "-i", str(inventory), str(path), "--diff"]
        command += ["--check"] if check else []
        command += ["--tags", tags] if tags else []
        command += ["-" + "v" * verbosity] if verbosity else []
        if extra_vars:
            given = tmp_path / "extra_vars.json"
            given.write_text(json.dumps(extra_vars))
            command += ["--extra-vars", f"@{given}"]
        outputs = tmp_path / "outputs.json"
        outputs.unlink(missing_ok=True)
        calls = len(local_aws.api_calls())
        done = subprocess.run(
            command, cwd=ROOT, env={**local_aws.environment, **(env or {})}, text=True, timeout=timeout, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        stats = {
            host: {key: int(value) for key, value in (word.split("=") for word in words.split())}
            for host, words in RECAP.findall(done.stdout)
        }
        found = json.loads(outputs.read_text()) if outputs.exists() else None
        return PlaybookRun(done.returncode, done.stdout, stats, found, local_aws.writes(calls))

    return run


@pytest.fixture
def run_role(run_playbook: t.Callable[..., PlaybookRun], tmp_path: Path) -> t.Callable[..., PlaybookRun]:
    """Run one entry point of one role with these variables; its `<role>_outputs` come back in `.outputs`."""

    def run(role: str, variables: dict, entry: str | tuple[str, ...] = "main", **options: t.Any) -> PlaybookRun:
        entries = (entry,) if isinstance(entry, str) else entry
        tasks: list[dict] = [
            {
                "name": f"Run {role} {one}",
                "ansible.builtin.import_role": {"name": f"mlops.mlflow_aws.{role}", "tasks_from": one},
                "vars": variables,
            }
            for one in entries
        ]
        tasks.append(
            {
                "name": "Write the outputs down",
                "ansible.builtin.copy": {
                    "content": f"{{{{ {role}_outputs | default(none) | to_json }}}}",
                    "dest": str(tmp_path / "outputs.json"),
                    "mode": "0600",
                },
                # What the test writes down is no change of the role's.
                "changed_when": False,
                "check_mode": False,
                "diff": False,
            }
        )
        playbook = tmp_path / "playbook.yml"
        play = {"name": f"Test {role}", "hosts": "all", "gather_facts": False, "tasks": tasks}
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        return run_playbook(playbook, **options)

    return run
