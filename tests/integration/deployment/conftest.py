# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment made by the playbooks on a local AWS of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import boto3
import psutil
import pytest
from selenium import webdriver

ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclasses.dataclass
class LocalAws:
    """A local AWS of a test's own, with its own port and folder."""

    port: int
    directory: Path

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ANSIBLE_"))}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LOCAL_AWS_PORT": str(self.port),
            "LOCAL_AWS_DIR": str(self.directory),
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "a-secret-access-key-for-the-tests-only",
        }

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local_aws", *words],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip

    def api_calls(self) -> list[dict]:
        return [json.loads(line) for line in (self.directory / "api.jsonl").read_text().splitlines()]

    def processes(self) -> list[psutil.Process]:
        """Every process of this instance: they all carry its folder in their environment."""
        ours = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.directory) in " ".join(process.environ().values()) and process.pid != os.getpid():
                    ours.append(process)
        return ours

    def kill_task_of(self, service: str) -> str:
        """SIGKILL the process group of one running task; its address."""
        client = boto3.client(
            "ecs", region_name="eu-west-2", endpoint_url=self.endpoint_url,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        arns = client.list_tasks(cluster=service, serviceName=service)["taskArns"]
        task = client.describe_tasks(cluster=service, tasks=arns[:1])["tasks"][0]
        address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(one.laddr.ip == address for one in process.net_connections(kind="tcp") if one.laddr):
                    os.killpg(os.getpgid(process.pid), signal.SIGKILL)
                    return address
        raise AssertionError(f"nothing listens on {address}")


@contextlib.contextmanager
def local_aws(directory: Path) -> t.Iterator[LocalAws]:
    aws = LocalAws(free_port(), directory)
    up = aws.command("up")
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        yield aws
    finally:
        down = aws.command("down")
        assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture(scope="session")
def local_aws_factory(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[], t.ContextManager[LocalAws]]:
    return lambda: local_aws(tmp_path_factory.mktemp("local_aws") / "state")


@pytest.fixture
def browser(tmp_path: Path) -> t.Iterator[webdriver.Chrome]:
    """Headless Chromium. Its driver comes from the system: nothing is downloaded."""
    driver = shutil.which("chromedriver")
    assert driver, "chromedriver is not on the PATH: install Chromium and its driver (Debian: chromium chromium-driver)"
    options = webdriver.ChromeOptions()
    for option in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--window-size=1280,800", f"--user-data-dir={tmp_path / 'chromium'}",
    ):  # fmt: skip
        options.add_argument(option)
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield session
    session.quit()


@dataclasses.dataclass
class Deployment:
    """One inventory on one local AWS; `aws` is the fixture local_aws."""

    aws: t.Any
    inventory: str
    name: str
    directory: Path

    @property
    def options(self) -> list[str]:
        return ["-i", f"inventories/{self.inventory}", "-e", f"mlflow_deployments_directory={self.directory}"]

    def command(self, playbook: str, *options: str) -> list[str]:
        return ["ansible-playbook", f"playbooks/{playbook}.yml", *self.options, *options]

    def play(
        self, playbook: str, *options: str, timeout: int = 900, credentials: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = self.aws.environment
        if not credentials:
            environment = {key: value for key, value in environment.items() if not key.startswith("AWS_")}
            environment["AWS_EC2_METADATA_DISABLED"] = "true"
        return subprocess.run(
            self.command(playbook, *options),
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )

    def outputs(self) -> dict:
        return json.loads((self.directory / self.name / "outputs.json").read_text())

    def client(self, service: str) -> t.Any:
        return boto3.client(
            service,
            region_name="eu-west-2",
            endpoint_url=self.aws.endpoint_url,
            aws_access_key_id=self.aws.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.aws.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def admin(self) -> tuple[str, str]:
        secret = self.client("secretsmanager").get_secret_value(SecretId=f"{self.name}/admin")
        credentials = json.loads(secret["SecretString"])
        return credentials["username"], credentials["password"]

    def control_plane_writes(self) -> list[dict]:
        """Writes to AWS but for the objects that MLflow keeps in its bucket."""
        return [one for one in self.aws.api_calls() if one["kind"] == "write" and not one.get("data_plane")]

    def tagged(self) -> list[str]:
        pages = self.client("resourcegroupstaggingapi").get_paginator("get_resources")
        wanted = [{"Key": "mlflow-deployment", "Values": [self.name]}]
        return [one["ResourceARN"] for page in pages.paginate(TagFilters=wanted) for one in page["ResourceTagMappingList"]]


def changed(run: subprocess.CompletedProcess[str]) -> int:
    """The sum of changed= in the play's recap."""
    recap = run.stdout.rsplit("PLAY RECAP", 1)[1]
    return sum(int(word.split("=")[1]) for word in recap.split() if word.startswith("changed="))


@pytest.fixture(scope="session", name="changed")
def changed_in_recap() -> t.Callable[[subprocess.CompletedProcess[str]], int]:
    return changed


@pytest.fixture(scope="session")
def run_ad_hoc() -> t.Callable[[str, dict], dict]:
    """Run one module on this machine: run_ad_hoc(name, options) answers its result."""

    def run(module: str, options: dict) -> dict:
        command = ["ansible", "localhost", "-i", "localhost,", "-m", module, "-a", json.dumps(options)]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment.update(ANSIBLE_LOAD_CALLBACK_PLUGINS="1", ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]

    return run


@pytest.fixture(scope="module")
def demo(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    """The default inventory, deployed."""
    with local_aws_factory() as aws:
        deployment = Deployment(aws, "local", "mlflow-demo", tmp_path_factory.mktemp("deployments"))
        run = deployment.play("site")
        assert run.returncode == 0, run.stdout[-6000:]
        yield deployment


@pytest.fixture
def empty_account(local_aws_factory: t.Callable, tmp_path: Path) -> t.Iterator[Deployment]:
    """The default inventory on an account with nothing in it."""
    with local_aws_factory() as aws:
        yield Deployment(aws, "local", "mlflow-demo", tmp_path)


@pytest.fixture(scope="module")
def account_without_deployment(
    local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Deployment]:
    """The default inventory on an account that stays empty, for tests that are refused."""
    with local_aws_factory() as aws:
        yield Deployment(aws, "local", "mlflow-demo", tmp_path_factory.mktemp("deployments"))


@pytest.fixture(scope="module")
def fraud_scoring(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    """The reference deployment, with the bucket that its team already has."""
    with local_aws_factory() as aws:
        deployment = Deployment(aws, "fraud_scoring", "fraud-scoring-mlflow", tmp_path_factory.mktemp("deployments"))
        deployment.client("s3").create_bucket(
            Bucket="fraud-models-test", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"}
        )
        # Port 80 belongs to root.
        port = [] if os.geteuid() == 0 else ["-e", "alb_listener_port=8080"]
        run = deployment.play("site", *port)
        assert run.returncode == 0, run.stdout[-6000:]
        yield deployment
