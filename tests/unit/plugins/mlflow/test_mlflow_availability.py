# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a server did not answer: the sums, and a module that measures a real HTTP server."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_outages
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_outages import Sample
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_availability
from tests.unit.plugins.mlflow.conftest import HttpServer, Reply, Request, json_reply

FOUND = json_reply({"experiment": {"experiment_id": "0"}})


@pytest.fixture
def asked(http: HttpServer, tmp_path: Path) -> dict:
    return {"tracking_uri": http.url, "username": "admin", "password": "the-admin-has-this-one", "interval": 0.01,
            "stop_file": str(tmp_path / "measured" / "stop")}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "measured"
    made.mkdir()
    return made


# --- The sums


def test_an_outage_lasts_from_one_good_answer_to_the_next():
    samples = [
        Sample(0.0, 0.1, ""), Sample(0.5, 0.6, "HTTP 503"), Sample(1.0, 3.0, "no answer"), Sample(3.0, 3.4, ""),
        Sample(3.5, 3.6, ""), Sample(4.0, 4.1, "HTTP 502"), Sample(4.5, 4.7, ""),
    ]  # fmt: skip
    assert mlflow_outages.summary(samples) == {
        "requests": 7,
        "failures": 3,
        "downtime_seconds": 4.4,
        "longest_seconds": 3.3,
        "slowest_seconds": 0.4,
        "outages": [
            {"since": 0.1, "requests": 2, "error": "HTTP 503", "seconds": 3.3},
            {"since": 3.6, "requests": 1, "error": "HTTP 502", "seconds": 1.1},
        ],
    }


def test_an_outage_may_be_all_there_is():
    assert mlflow_outages.summary([])["slowest_seconds"] is None
    result = mlflow_outages.summary([Sample(0.0, 2.0, "refused"), Sample(2.0, 5.0, "refused")])
    assert (result["failures"], result["downtime_seconds"], result["outages"][0]["since"]) == (2, 5.0, 0.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5), st.booleans())))
def test_no_more_is_lost_than_there_was(steps):
    samples, now = [], 0.0
    for pause, length, good in steps:
        samples.append(Sample(now + pause, now + pause + length, "" if good else "error"))
        now += pause + length
    result = mlflow_outages.summary(samples)
    assert result["requests"] == len(steps)
    assert result["failures"] == sum(not good for _pause, _length, good in steps)
    assert 0 <= result["longest_seconds"] <= result["downtime_seconds"] <= now + 0.01 * len(steps)
    assert (result["downtime_seconds"] > 0) <= (result["failures"] > 0)


# --- The module


def test_it_counts_until_it_is_told_to_stop(http: HttpServer, asked: dict, folder: Path, run_module):
    replies = [FOUND, Reply(503, b"no target"), Reply(reset=True), FOUND]

    def behave(request: Request) -> Reply:
        assert request.login == ("admin", "the-admin-has-this-one") and request.query == {"experiment_id": "0"}
        reply = replies.pop(0)
        if not replies:
            (folder / "stop").touch()
        return reply

    http.behave = behave
    result = run_module(mlflow_availability, asked)
    assert (result["requests"], result["failures"], len(result["outages"]), result["changed"]) == (4, 2, 1, False)
    assert "503" in result["outages"][0]["error"] and "the-admin" not in str(result)


def test_it_ends_when_its_folder_is_gone(http: HttpServer, asked: dict, folder: Path, run_module):
    http.behave = lambda request: FOUND
    threading.Timer(0.2, folder.rmdir).start()
    assert run_module(mlflow_availability, asked)["failures"] == 0


def test_it_ends_by_itself_in_the_end(http: HttpServer, asked: dict, folder: Path, run_module):
    http.behave = lambda request: FOUND
    result = run_module(mlflow_availability, dict(asked, interval=0.4, duration=1))
    assert 1 <= result["requests"] <= 3


def test_a_slow_server_is_asked_again_at_once(http: HttpServer, asked: dict, folder: Path, run_module):
    http.behave = lambda request: FOUND._replace(delay=0.1)
    result = run_module(mlflow_availability, dict(asked, duration=1))
    assert 2 <= result["requests"] <= 10 and result["slowest_seconds"] >= 0.1


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"interval": 0}, "interval: 0.0 seconds is no time"), ({"username": "a:b"}, "username"), ({"ca_path": "/none"}, "is no file")],
)
def test_bad_input_is_refused(asked: dict, run_module, change, reason):
    assert reason in run_module(mlflow_availability, {**asked, **change})["msg"]
