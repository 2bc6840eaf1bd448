# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of playbooks that are measured, each account a local AWS of its own."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from local_aws.latency import Latency
from local_aws.settings import Settings
from tests.integration.aws import ROOT, LocalAws, local_aws

# A line that ansible.posix.profile_tasks ends with: the task's name, a run of dashes, seconds.
TASK_SECONDS = re.compile(r"^(?P<name>\S.*?) -+ +(?P<seconds>[\d.]+)s$", re.MULTILINE)


class Run(t.NamedTuple):
    seconds: float
    tasks: int
    reads: int
    writes: int
    # By the name of the task; what a loop or several roles ran under one name is added up.
    seconds_of: dict[str, float]


class Account:
    """An account with a latency scale, and the deployments in it."""

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self._aws, self._folder = aws, folder

    def play(self, playbook: str, *options: str) -> Run:
        """One run; the benchmark ends if it fails."""
        before = len(self._aws.api_calls())
        variables = {"mlflow_deployments_directory": str(self._folder)}
        environment = {
            **self._aws.environment,
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
            "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all",
        }
        command = ["ansible-playbook", f"playbooks/{playbook}.yml", "-e", json.dumps(variables), *options]
        started = time.monotonic()
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if run.returncode:
            sys.exit(run.stdout[-4000:] + run.stderr)
        calls = [one for one in self._aws.api_calls()[before:] if not one["data_plane"]]
        writes = sum(one["kind"] == "write" for one in calls)
        seconds_of: dict[str, float] = {}
        for line in TASK_SECONDS.finditer(run.stdout):
            seconds_of[line["name"]] = seconds_of.get(line["name"], 0.0) + float(line["seconds"])
        return Run(seconds, run.stdout.count("\nTASK ["), len(calls) - writes, writes, seconds_of)

    def outputs(self) -> dict[str, str]:
        """Those of the default inventory's deployment."""
        return json.loads((self._folder / "mlflow-demo/outputs.json").read_text())

    def admin(self) -> tuple[str, str]:
        secret = self._aws.client("secretsmanager").get_secret_value(SecretId=self.outputs()["admin_secret_arn"])
        login = json.loads(secret["SecretString"])
        return login["username"], login["password"]


@contextlib.contextmanager
def account(scale: float = 0.0) -> t.Iterator[Account]:
    """An empty one, where AWS takes `scale` times as long to make things as it does."""
    with tempfile.TemporaryDirectory() as folder:
        with local_aws(Path(folder, "state"), LOCAL_AWS_LATENCY_SCALE=str(scale)) as aws:
            yield Account(aws, Path(folder))


def chain_seconds(scale: float, *kinds: str) -> float:
    """How long things of these kinds take that can only be made one after the other."""
    latency = Latency(Settings.from_environment({"LOCAL_AWS_LATENCY_SCALE": str(scale)}))
    return sum(latency.duration(kind) for kind in kinds)
