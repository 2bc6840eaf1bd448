# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about the database."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given, strategies

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import rds_rules

OFFERED = ["15.2", "15.14", "15.7", "16.1", "17.0", "18beta1"]
GIB = strategies.integers(min_value=20, max_value=1000)


@pytest.mark.parametrize(("wanted", "version"), [("15", "15.14"), ("15.7", "15.7"), ("17", "17.0")])
def test_newest_minor_version(wanted: str, version: str) -> None:
    assert rds_rules.newest(OFFERED, wanted, "eu-west-2") == version


def test_unknown_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="RDS offers no PostgreSQL 14 in eu-west-2"):
        rds_rules.newest(OFFERED, "14", "eu-west-2")
    for wrong in ("latest", "15.7.1", "", "15."):
        with pytest.raises(ValueError, match="not a PostgreSQL version"):
            rds_rules.family(wrong)
    assert rds_rules.family("15.7") == "postgres15"


@pytest.mark.parametrize(
    ("current", "wanted", "auto", "upgrade"),
    [
        ("15.7", "15", True, None),
        ("15.7", "15.7", False, None),
        ("15.8", "15.7", True, None),
        ("15.7", "15.14", False, "15.14"),
    ],
)
def test_engine_change(current: str, wanted: str, auto: bool, upgrade: str | None) -> None:
    assert rds_rules.engine_change(current, wanted, auto) == upgrade


@pytest.mark.parametrize(("wanted", "message"), [("16", "another major version"), ("15.7", "RDS cannot go back")])
def test_engine_change_refused(wanted: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rds_rules.engine_change("15.8", wanted, False)


@given(GIB, GIB, GIB)
def test_storage_never_shrinks_and_grows_by_a_tenth_at_least(current: int, wanted: int, maximum: int) -> None:
    try:
        change = rds_rules.storage_change(current, wanted, maximum)
    except ValueError as refusal:
        assert "\n" not in str(refusal)
        assert current < wanted < current * 1.1 or wanted < current > maximum
    else:
        assert change is None and wanted <= current or change == wanted >= current * 1.1


def test_same_storage_is_left_alone() -> None:
    assert rds_rules.storage_change(20, 20, 0) is None


@pytest.mark.parametrize(
    ("current", "allocated", "wanted", "change"),
    [
        (None, 20, 0, None), (None, 20, 100, 100), (100, 20, 100, None), (100, 20, 200, 200),
        (100, 20, 0, 20), (20, 20, 0, None),
    ],
)  # fmt: skip
def test_maximum(current: int | None, allocated: int, wanted: int, change: int | None) -> None:
    assert rds_rules.maximum_change(current, allocated, wanted) == change


def instance(**attributes: t.Any) -> dict:
    return {
        "EngineVersion": "15.7",
        "AllocatedStorage": 20,
        "MaxAllocatedStorage": 100,
        "DBInstanceClass": "db.t3.micro",
        "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1", "Status": "active"}],
        "DBParameterGroups": [{"DBParameterGroupName": "web-db"}],
        **attributes,
    }


WANTED = {
    "LogExports": [],
    "EngineVersion": "15",
    "AutoMinorVersionUpgrade": None,
    "AllocatedStorage": 20,
    "MaxAllocatedStorage": 100,
    "DBInstanceClass": "db.t3.micro",
    "VpcSecurityGroupIds": ["sg-1"],
    "DBParameterGroupName": "web-db",
}


@pytest.mark.parametrize(
    ("has", "wanted", "former", "reason"),
    [
        ("one", "one", "", None),
        ("one", "", "", None),
        ("one", "", "two", None),
        ("one", "two", "", "encrypted with one, and RDS cannot change that to two; leave the database out"),
        (None, "two", "", "encrypted with no key"),
        ("one", "", "one", "so the key cannot go; leave mlflow_encryption on"),
    ],
)
def test_a_database_keeps_its_key(has: str | None, wanted: str, former: str, reason: str | None) -> None:
    live = {"DBInstanceIdentifier": "web-db", **({"KmsKeyId": has} if has else {})}
    found = rds_rules.key_problem(live, wanted, former)
    assert found is None if reason is None else reason in str(found) and "\n" not in str(found)
    assert rds_rules.key_problem(None, wanted, former) is None


def test_nothing_to_change() -> None:
    assert rds_rules.modifications(instance(), WANTED) == ({}, {})


def test_what_is_under_way_counts_as_done() -> None:
    pending = instance(DBInstanceClass="db.t3.nano", PendingModifiedValues={"DBInstanceClass": "db.t3.micro"})
    assert rds_rules.modifications(pending, WANTED) == ({}, {})


def test_changes_with_what_they_replace() -> None:
    wanted = {
        **WANTED, "IAMDatabaseAuthenticationEnabled": True, "PerformanceInsightsEnabled": True, "AllocatedStorage": 40, "MaxAllocatedStorage": 0,
        "VpcSecurityGroupIds": ["sg-2"], "EngineVersion": "15.9",
    }  # fmt: skip
    now = instance(IAMDatabaseAuthenticationEnabled=False, PerformanceInsightsEnabled=False, DBParameterGroups=[])
    assert rds_rules.modifications(now, wanted) == (
        {
            "EnableIAMDatabaseAuthentication": True,
            "EnablePerformanceInsights": True,
            "VpcSecurityGroupIds": ["sg-2"],
            "DBParameterGroupName": "web-db",
            "EngineVersion": "15.9",
            "AllocatedStorage": 40,
            "MaxAllocatedStorage": 40,
        },
        {
            "EnableIAMDatabaseAuthentication": False,
            "EnablePerformanceInsights": False,
            "VpcSecurityGroupIds": ["sg-1"],
            "DBParameterGroupName": None,
            "EngineVersion": "15.7",
            "AllocatedStorage": 20,
            "MaxAllocatedStorage": 100,
        },
    )


def test_logs_are_exported_and_not_any_more() -> None:
    exported = instance(EnabledCloudwatchLogsExports=["upgrade"])
    change, before = rds_rules.modifications(exported, {**WANTED, "LogExports": ["postgresql"]})
    assert change["CloudwatchLogsExportConfiguration"] == {
        "EnableLogTypes": ["postgresql"], "DisableLogTypes": ["upgrade"],
    }  # fmt: skip
    assert before == {"CloudwatchLogsExportConfiguration": ["upgrade"]}
    pending = {"LogTypesToEnable": ["postgresql"], "LogTypesToDisable": ["upgrade"]}
    under_way = {**exported, "PendingCloudwatchLogsExports": pending}
    assert rds_rules.modifications(under_way, {**WANTED, "LogExports": ["postgresql"]}) == ({}, {})


def test_summary_of_nothing() -> None:
    assert set(rds_rules.summary(None).values()) == {None}
