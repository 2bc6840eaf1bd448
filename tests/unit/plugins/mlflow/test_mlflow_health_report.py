# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Latency budgets, the table and the JUnit file."""

from __future__ import annotations

import json
import os
import stat
import xml.etree.ElementTree as tree

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_health_budget, mlflow_health_report
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import Result, Verdict
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_budget import Budget
from ansible_collections.mlops.mlflow_aws.plugins.modules import mlflow_health
from hypothesis import given
from hypothesis import strategies as st

from .conftest import LikeMlflow, Reply

RESULTS = [
    Result("liveness", "passed", 2.14, "the server is alive", ""),
    Result("tls", "skipped", None, "tracking_uri is not https", ""),
    Result("admin_login", "warned", 900.0, "slow", "raise the budget"),
    Result("version", "failed", 31.0, 'HTTP 404: an HTML page titled "<&>"', "check the prefix"),
]


def test_the_table_is_aligned():
    assert mlflow_health_report.table(RESULTS) == [
        "CHECK        STATUS    MS  SEEN",
        "liveness     passed     2  the server is alive",
        "tls          skipped    -  tracking_uri is not https",
        "admin_login  warned   900  slow",
        "                           -> raise the budget",
        'version      failed    31  HTTP 404: an HTML page titled "<&>"',
        "                           -> check the prefix",
    ]


def test_the_junit_file_is_what_ci_servers_read():
    root = tree.fromstring(mlflow_health_report.junit("https://h/<&>", RESULTS, "2026-01-02T03:04:05"))
    assert root.tag == "testsuites" and [suite.tag for suite in root] == ["testsuite"]
    suite = root[0]
    counted = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time", "timestamp", "name")}
    assert counted == {
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "0.933",
        "timestamp": "2026-01-02T03:04:05",
        "name": "mlflow_health",
    }
    assert suite.find("properties/property").attrib == {"name": "tracking_uri", "value": "https://h/<&>"}
    cases = {one.get("name"): one for one in suite.findall("testcase")}
    assert [one.get("classname") for one in cases.values()] == ["mlflow_health"] * 4
    assert cases["version"].find("failure").get("message") == 'HTTP 404: an HTML page titled "<&>"'
    assert cases["version"].find("failure").text.endswith("; check the prefix")
    assert cases["tls"].find("skipped").get("message") == "tracking_uri is not https"
    assert cases["admin_login"].findtext("system-out") == "warned: slow; raise the budget"
    assert cases["liveness"].get("time") == "0.002" and cases["liveness"].find("failure") is None


def test_any_message_makes_good_xml():
    @given(said=st.text())
    def holds(said):
        from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_errors

        masked = mlflow_errors.mask(said, [])
        content = mlflow_health_report.junit("http://h", [Result("ui", "failed", 1.0, masked, masked)], "now")
        assert tree.fromstring(content).find(".//failure").get("message") == masked

    holds()


@pytest.fixture
def health(run_module, connection, http):
    LikeMlflow(http)

    def run(check=False, **options):
        return run_module(mlflow_health, connection | {"checks": ["liveness", "admin_login"]} | options, check=check)

    return run


def test_the_file_is_written_also_on_failure(health, http, tmp_path):
    path = tmp_path / "health.xml"
    path.write_text("earlier")
    assert "failed" not in health(junit_path=str(path)) and 'failures="0"' in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600
    http.behave = lambda request: Reply(500, b"broken")
    result = health(junit_path=str(path), retry_timeout=0)
    assert result["failed"] and 'failures="2"' in path.read_text() and os.listdir(tmp_path) == ["health.xml"]
    assert health(check=True, junit_path=str(tmp_path / "none.xml"))["failed"]
    assert os.listdir(tmp_path) == ["health.xml"]


def test_a_file_that_cannot_be_written(health, tmp_path, monkeypatch):
    assert "is a folder" in health(junit_path=str(tmp_path))["msg"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not be written to" in health(junit_path=str(tmp_path / "x.xml"))["msg"]
    monkeypatch.undo()


def test_a_disk_that_is_full_loses_no_result(health, http, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = health(junit_path=str(tmp_path / "x.xml"))
    assert result["failed"] and "cannot be written: No space left on device" in result["msg"]
    assert [one["status"] for one in result["checks"]] == ["passed", "passed"] and os.listdir(tmp_path) == []
    http.behave = lambda request: Reply(500, b"broken")
    assert "fails 2 of 2 checks" in health(junit_path=str(tmp_path / "x.xml"), retry_timeout=0)["msg"]


# Budgets


def test_whose_budget_counts():
    found = mlflow_health_budget.budgets(100, 200, {"ui": {"fail_ms": "900"}, "cleanup": {"warn_ms": 5}})
    assert found["liveness"] == Budget(100, 200) and found["ui"] == Budget(100, 900)
    assert found["cleanup"] == Budget(5, None)
    assert "cleanup" not in mlflow_health_budget.budgets(None, None, None)


@pytest.mark.parametrize(
    ("warn", "fail", "single", "reason"),
    [
        (0, None, None, "warn_ms: 0 is no number"),
        (None, -5, None, "fail_ms: -5 is no number"),
        (300, 200, None, "warn_ms: warns after 300 ms, later than it fails (200 ms)"),
        (300, None, {"ui": {"fail_ms": 200}}, "latency_budgets.ui: warns after 300 ms"),
        (None, None, {"everything": {"fail_ms": 1}}, "there is no such check; name one of liveness, tls"),
        (None, None, {"ui": 5}, "latency_budgets.ui: it holds no budget"),
        (None, None, {"ui": {}}, "it holds no budget"),
        (None, None, {"ui": {"ms": 5}}, "it holds no budget"),
        (None, None, {"ui": {"warn_ms": "soon"}}, "latency_budgets.ui.warn_ms: 'soon' is no number"),
        (None, None, {"ui": {"warn_ms": True}}, "True is no number"),
        (None, None, {"ui": {"warn_ms": [1]}}, "is no number"),
    ],
)
def test_budgets_that_cannot_be(warn, fail, single, reason):
    with pytest.raises(ValueError, match=".") as refused:
        mlflow_health_budget.budgets(warn, fail, single)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("verdict", "latency", "budget", "status", "message"),
    [
        (Verdict("passed", "fine"), 50.0, Budget(100, 200), "passed", "fine"),
        (Verdict("passed", "fine"), 100.0, Budget(100, 200), "passed", "fine"),
        (Verdict("passed", "fine"), 150.0, Budget(100, 200), "warned", "fine, but it took 150 ms, more than 100 ms"),
        (Verdict("passed", "fine"), 250.0, Budget(100, 200), "failed", "fine, but it took 250 ms, more than 200 ms"),
        (Verdict("warned", "odd", "look"), 250.0, Budget(None, 200), "failed", "odd, but it took"),
        (Verdict("failed", "bad", "mend"), 250.0, Budget(100, 200), "failed", "bad"),
        (Verdict("skipped", "no"), None, Budget(100, 200), "skipped", "no"),
        (Verdict("passed", "fine"), 1e9, None, "passed", "fine"),
    ],
)
def test_what_takes_too_long(verdict, latency, budget, status, message):
    found = mlflow_health_budget.judge(verdict, latency, budget)
    assert found.status == status and found.message.startswith(message)
    assert bool(found.remedy) == (status in ("warned", "failed")) and found.remedy.startswith(verdict.remedy)


def test_a_slow_server_is_warned_of_or_fails(health, http):
    answer = http.behave
    http.behave = lambda request: answer(request)._replace(delay=0.05)
    result = health(warn_ms=20)
    assert "failed" not in result and [one["status"] for one in result["checks"]] == ["warned", "warned"]
    told = json.dumps(result["warnings"])
    assert "liveness: the server is alive, but it took" in told and "more than 20 ms" in told
    result = health(warn_ms=20, latency_budgets={"admin_login": {"fail_ms": 30}})
    assert [one["status"] for one in result["checks"]] == ["warned", "failed"] and "more than 30 ms" in result["msg"]
