# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from local_aws import daemon
from local_aws.credentials import PATH, Credentials
from local_aws.settings import Settings


def settings(folder: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Settings(probe.getsockname()[1], folder)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(daemon.DaemonError, match="holds something that is not a local AWS"):
        daemon.up(settings(tmp_path))
    assert daemon.down(settings(tmp_path)) == "The local AWS is down already"
    assert (tmp_path / "thesis.txt").exists()


def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(daemon.DaemonError, match=f"port {port} cannot be taken"):
            daemon.up(Settings(port, tmp_path / "state"))
    assert not (tmp_path / "state").exists()


def test_down_where_nothing_is_up(tmp_path):
    assert daemon.down(settings(tmp_path / "state")) == "The local AWS is down already"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": 1, "port": 2}', '{"pid": 99999999, "port": 2}'])
def test_an_instance_file_that_tells_no_living_daemon(tmp_path, content):
    (tmp_path / daemon.INSTANCE_FILE).write_text(content)
    assert daemon.running_port(settings(tmp_path)) is None


def test_credentials_are_for_who_was_given_the_path():
    credentials = Credentials()
    path = credentials.issue("arn:aws:iam::1:role/web-task")
    assert path.startswith(PATH)
    document = json.loads(credentials.answer(path))
    assert document["AccessKeyId"].startswith("ASIA") and document["RoleArn"].endswith("web-task")
    assert credentials.answer(PATH + "guess") is None
