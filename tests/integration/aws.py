# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local AWS of a test's own, with its own port and folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import boto3
import psutil

from scripts.operator_policy import kept_operations

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-west-2"


def free_port() -> int:
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclasses.dataclass(frozen=True)
class LocalAws:
    port: int
    directory: Path
    more_environment: dict[str, str] = dataclasses.field(default_factory=dict)
    # A command that runs the daemon, such as one that gives it namespaces of its own.
    wrapper: tuple[str, ...] = ()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """All that a process needs to use this account and no other."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ANSIBLE_"))}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LOCAL_AWS_PORT": str(self.port),
            "LOCAL_AWS_DIR": str(self.directory),
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            # Ansible masks credentials in every result: short ones would mask half of it.
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "a-secret-access-key-for-the-tests-only",
        }

    def command(self, word: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*(self.wrapper if word == "up" else ()), sys.executable, "-m", "local_aws", word],
            cwd=ROOT, env={**self.environment, **self.more_environment}, capture_output=True, text=True, timeout=180,
            check=False,
        )  # fmt: skip

    def client(self, service: str, region: str = REGION) -> t.Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def api_calls(self) -> list[dict]:
        """Every API call so far, as recorded: service, action, kind (read or write), data_plane, resource, status."""
        return [json.loads(line) for line in (self.directory / "api.jsonl").read_text().splitlines()]

    def writes(self, since: int = 0) -> list[str]:
        """The accepted writes to AWS's resources after the first `since` calls; objects in buckets are not resources."""
        return [
            f"{one['service']}:{one['action']}"
            for one in self.api_calls()[since:]
            if one["kind"] == "write" and not one["data_plane"] and one["status"] < 400
        ]

    def unforeseen(self) -> list[str]:
        """What roles and modules have asked of AWS though docs/iam/ does not allow it."""
        asked = {f"{one['service']}:{one['action']}" for one in self.api_calls() if "Ansible/" in one["agent"]}
        return sorted(asked - set(kept_operations()))

    def processes(self) -> list[psutil.Process]:
        """Every process of this instance: they all carry its folder in their environment."""
        ours = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("LOCAL_AWS_INSTANCE") == str(self.directory):
                    ours.append(process)
        return ours

    def kill_a_task(self, cluster: str) -> str:
        """SIGKILL the process group of one running task of the cluster; its address."""
        ecs = self.client("ecs")
        arns = ecs.list_tasks(cluster=cluster)["taskArns"]
        task = ecs.describe_tasks(cluster=cluster, tasks=arns[:1])["tasks"][0]
        address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if any(one.laddr and one.laddr.ip == address for one in process.net_connections(kind="tcp")):
                    os.killpg(os.getpgid(process.pid), signal.SIGKILL)
                    return address
        raise AssertionError(f"nothing listens on {address}")

    def kill_a_database(self, address: str) -> None:
        """SIGKILL the server at the address with all its processes, as when a machine is out of memory."""
        (server,) = (one for one in self.processes() if f"listen_addresses={address}" in one.cmdline())
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                process.kill()


@contextlib.contextmanager
def local_aws(directory: Path, *wrapper: str, **environment: str) -> t.Iterator[LocalAws]:
    """Up on entry, down on exit; `environment` is that of the daemon in addition, `wrapper` a command that runs it."""
    aws = LocalAws(free_port(), directory, environment, wrapper)
    up = aws.command("up")
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        yield aws
        # A test may have taken it down by itself.
        unforeseen = aws.unforeseen() if (aws.directory / "api.jsonl").exists() else []
        assert not unforeseen, f"add {', '.join(unforeseen)} to docs/iam/operations.txt, then make operator-policy"
    finally:
        down = aws.command("down")
        assert down.returncode == 0, down.stdout + down.stderr
