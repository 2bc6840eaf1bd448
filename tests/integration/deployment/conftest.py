# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment made by the playbooks on a local AWS of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import typing as t
from pathlib import Path

import certifi
import pytest
from selenium import webdriver

from tests.certificates import Authority
from tests.integration.aws import ROOT, LocalAws, local_aws


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the local AWS trusts, as AWS trusts public ones; for identity providers of tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def local_aws_factory(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> t.Callable[..., t.ContextManager[LocalAws]]:
    trusted = authority.folder / "trusted.pem"
    # Besides whom this machine trusts: tasks install packages, maybe through a company's proxy.
    usual = ssl.get_default_verify_paths().cafile or certifi.where()
    trusted.write_bytes(Path(usual).read_bytes() + authority.path.read_bytes())
    return lambda *wrapper: local_aws(tmp_path_factory.mktemp("local_aws") / "state", *wrapper, SSL_CERT_FILE=str(trusted))


@pytest.fixture
def browser(open_browser: t.Callable[..., webdriver.Chrome]) -> webdriver.Chrome:
    return open_browser()


@pytest.fixture
def open_browser(tmp_path: Path) -> t.Iterator[t.Callable[..., webdriver.Chrome]]:
    """open_browser(*options) is a headless Chromium. Its driver comes from the system: nothing is downloaded."""
    sessions: list[webdriver.Chrome] = []

    def start(*more: str) -> webdriver.Chrome:
        sessions.append(_chromium(tmp_path, *more))
        return sessions[-1]

    yield start
    for session in sessions:
        session.quit()


def _chromium(folder: Path, *more: str) -> webdriver.Chrome:
    driver = shutil.which("chromedriver")
    assert driver, "chromedriver is not on the PATH: install Chromium and its driver (Debian: chromium chromium-driver)"
    options = webdriver.ChromeOptions()
    for option in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--window-size=1280,800", f"--user-data-dir={folder / 'chromium'}",
        *more,
    ):  # fmt: skip
        options.add_argument(option)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


# One worker starts in half the time; a short cache lets a changed password count soon.
LIVE = {"mlflow_workers": 1, "ecs_mlflow_auth_cache_ttl_seconds": 5}


@dataclasses.dataclass
class Deployment:
    """One inventory on one local AWS."""

    aws: LocalAws
    inventory: str
    name: str
    directory: Path
    # What the first run printed and asked of AWS, and the passwords it was given.
    first_output: str = ""
    first_calls: list[dict] = dataclasses.field(default_factory=list)
    canaries: tuple[str, ...] = ()
    # Extra variables of every run.
    variables: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    # A hosts file that every run sees as /etc/hosts: what public DNS would say.
    hosts_file: Path | None = None

    @property
    def options(self) -> list[str]:
        variables = {"mlflow_deployments_directory": str(self.directory), **self.variables}
        return ["-i", f"inventories/{self.inventory}", "-e", json.dumps(variables)]

    def command(self, playbook: str, *options: str) -> list[str]:
        return self.resolving(["ansible-playbook", f"playbooks/{playbook}.yml", *self.options, *options])

    def resolving(self, command: list[str]) -> list[str]:
        """A command that sees the hosts file, in a mount namespace of its own."""
        if self.hosts_file is None:
            return command
        mount = f'mount --bind "{self.hosts_file}" /etc/hosts && exec "$@"'
        return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *command]

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
        return self.aws.client(service)

    def admin(self) -> tuple[str, str]:
        secret = self.client("secretsmanager").get_secret_value(SecretId=f"{self.name}/admin")
        credentials = json.loads(secret["SecretString"])
        return credentials["username"], credentials["password"]

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
        command = ["ansible", "localhost", "-i", "localhost,", "-c", "local", "-m", module, "-a", json.dumps(options)]
        command += ["-e", f"ansible_python_interpreter={sys.executable}"]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment.update(ANSIBLE_LOAD_CALLBACK_PLUGINS="1", ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]

    return run


@pytest.fixture(scope="module")
def demo(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    """The default inventory, deployed at the highest verbosity with passwords that are given."""
    with local_aws_factory() as aws:
        canaries = tuple(f"canary{secrets.token_hex(12)}" for _password in range(2))
        folder = tmp_path_factory.mktemp("deployments")
        deployment = Deployment(aws, "local", "mlflow-demo", folder, canaries=canaries)
        given = tmp_path_factory.mktemp("vault") / "vault.json"
        given.touch(mode=0o600)
        given.write_text(json.dumps(dict(zip(("secrets_admin_password", "secrets_db_password"), canaries))))
        run = deployment.play("site", "-vvv", "-e", f"@{given}", "-e", "timeline=true")
        given.unlink()
        assert run.returncode == 0, run.stdout[-6000:]
        deployment.first_output, deployment.first_calls = run.stdout, aws.api_calls()
        yield deployment


@pytest.fixture(scope="session")
def live(local_aws_factory: t.Callable, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    """Two small tasks, for tests that break and mend them."""
    with local_aws_factory() as aws:
        deployment = Deployment(aws, "local", "mlflow-demo", tmp_path_factory.mktemp("deployments"), variables=LIVE)
        made = deployment.play("site")
        assert made.returncode == 0, made.stdout[-6000:]
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
