# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The local AWS coming up and going down: a real daemon, as root and as anybody, also after a crash."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import psycopg2
import pytest

from tests.integration.aws import ROOT, LocalAws, free_port, local_aws
from tests.integration.local_aws.databases import PASSWORD, connect, create_database

NOBODY = 65534


def listening(aws: LocalAws) -> set[str]:
    """Addresses on which processes of the instance listen."""
    found = set()
    for process in aws.processes():
        with contextlib.suppress(psutil.Error):
            found |= {one.laddr.ip for one in process.net_connections(kind="inet") if one.status == psutil.CONN_LISTEN}
    return found


def assert_nothing_is_left(aws: LocalAws, address: str) -> None:
    assert aws.processes() == []
    assert not aws.directory.exists()
    for place in (("127.0.0.1", aws.port), (address, 5432)):
        with socket.socket() as probe:
            assert probe.connect_ex(place) != 0, f"{place} still listens"


def test_down_ends_everything_at_once_though_a_client_is_connected(tmp_path):
    with local_aws(tmp_path / "state") as aws:
        assert aws.command("up").stdout == f"The local AWS is up already at {aws.endpoint_url}\n"
        address = create_database(aws, "demo-db")["Endpoint"]["Address"]
        status = json.loads(json_status(aws))
        assert [(one["id"], one["status"]) for one in status["databases"]] == [("demo-db", "available")]
        assert listening(aws) <= {"127.0.0.1", address}
        client = connect(address)
        started = time.monotonic()
        down = aws.command("down")
        assert (down.returncode, down.stdout) == (0, "The local AWS is down\n")
        assert time.monotonic() - started < 8
        assert_nothing_is_left(aws, address)
        with pytest.raises(psycopg2.Error), client.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert aws.command("down").stdout == "The local AWS is down already\n"


def json_status(aws: LocalAws) -> str:
    return subprocess.run(
        [sys.executable, "-m", "local_aws", "status", "--json"],
        cwd=ROOT, env=aws.environment, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip


def test_down_after_the_daemon_was_killed(tmp_path):
    with local_aws(tmp_path / "state") as aws:
        address = create_database(aws, "demo-db")["Endpoint"]["Address"]
        os.kill(json.loads((aws.directory / "instance.json").read_text())["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 5
        while aws.command("status").returncode != 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert connect(address), "the database outlives the daemon"
        assert aws.command("down").returncode == 0
        assert_nothing_is_left(aws, address)


def test_up_after_the_daemon_was_killed_starts_afresh(tmp_path):
    with local_aws(tmp_path / "state") as aws:
        create_database(aws, "demo-db")
        os.kill(json.loads((aws.directory / "instance.json").read_text())["pid"], signal.SIGKILL)
        up = aws.command("up")
        assert (up.returncode, up.stdout) == (0, f"The local AWS is up at {aws.endpoint_url}\n"), up.stderr
        assert aws.client("rds").describe_db_instances()["DBInstances"] == []


def test_down_when_the_folder_was_removed_under_it(tmp_path):
    with local_aws(tmp_path / "state") as aws:
        (aws.directory / "instance.json").unlink()
        assert aws.command("down").stdout == "The local AWS is down, though its folder was gone\n"
        assert aws.processes() == []


def test_two_at_once_start_one(tmp_path):
    aws = LocalAws(free_port(), tmp_path / "state")
    command = [sys.executable, "-m", "local_aws", "up"]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=aws.environment, stdout=subprocess.PIPE, text=True)
        for _each in range(2)
    ]
    try:
        told = sorted(one.communicate(timeout=60)[0] for one in both)
        assert [one.returncode for one in both] == [0, 0]
        assert told == [
            f"The local AWS is up already at {aws.endpoint_url}\n",
            f"The local AWS is up at {aws.endpoint_url}\n",
        ]
        assert len(aws.processes()) == 1
    finally:
        aws.command("down")


def test_a_port_of_somebody_else_is_a_line_on_stderr(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        aws = LocalAws(taken.getsockname()[1], tmp_path / "state")
        up = aws.command("up")
    assert up.returncode == 1
    assert up.stderr.startswith(f"local_aws: port {aws.port} cannot be taken") and up.stderr.count("\n") == 1
    assert not aws.directory.exists()


def test_what_it_keeps_is_its_owners_only(tmp_path):
    with local_aws(tmp_path / "state") as aws:
        create_database(aws, "demo-db")
        assert aws.directory.stat().st_mode & 0o777 == 0o700
        open_to_others = [
            path
            for path in aws.directory.rglob("*")
            if not path.is_symlink() and path.stat().st_mode & 0o077 and path.name != "instance.json"
        ]
        assert open_to_others == []
        text = (aws.directory / "daemon.log").read_text() + (aws.directory / "api.jsonl").read_text()
        assert PASSWORD not in text


def test_the_pages_of_moto_are_hidden(tmp_path):
    with local_aws(tmp_path / "state") as aws:
        for path in ("/moto-api/", "/moto-api/data.json", "/moto-api/reset", "/local-aws/credentials/guess"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(aws.endpoint_url + path, timeout=10)


class AwsOfNobody(LocalAws):
    """Commands run as `nobody`, who may read every file here but has no other right of root's."""

    def command(self, word: str) -> subprocess.CompletedProcess[str]:
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        # The interpreter and the checkout may lie in a home that is closed to others.
        become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        return subprocess.run(
            [*become, sys.executable, "-m", "local_aws", word],
            cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
            env={**self.environment, "HOME": str(self.directory.parent)},
        )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all of the other tests")
def test_an_ordinary_user_can_run_it():
    with _folder_of_nobody() as folder:
        aws = AwsOfNobody(free_port(), folder / "state")
        up = aws.command("up")
        assert up.returncode == 0, up.stderr
        try:
            address = create_database(aws, "demo-db")["Endpoint"]["Address"]
            with connect(address).cursor() as cursor:
                cursor.execute("SELECT 1")
            assert {process.uids().real for process in aws.processes()} == {NOBODY}
        finally:
            assert aws.command("down").returncode == 0
        assert_nothing_is_left(aws, address)


@contextlib.contextmanager
def _folder_of_nobody() -> t.Iterator[Path]:
    """pytest's folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="local-aws-"))
    os.chown(folder, NOBODY, NOBODY)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
