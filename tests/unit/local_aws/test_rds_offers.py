# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from local_aws import rds_offers
from local_aws.database import identifier, literal


@pytest.mark.parametrize(
    ("asked", "resolved"),
    [("15", "15.15"), ("15.7", "15.7"), ("15.99", None), ("9", None), ("15.", None), (None, "17.7"), ("", "17.7")],
)
def test_resolve(asked, resolved):
    assert rds_offers.resolve(asked) == resolved


def test_connections_follow_the_memory_of_the_class():
    assert rds_offers.max_connections("db.t3.micro") == 112
    assert rds_offers.max_connections("db.r7g.24xlarge") == 5000


def test_what_is_asked_for_is_what_is_offered():
    (one,) = rds_offers.engine_versions("15.7")
    assert one["DBParameterGroupFamily"] == "postgres15"
    assert {"Engine": "postgres", "EngineVersion": "16.3", "IsMajorVersionUpgrade": True} in one["ValidUpgradeTarget"]
    (option,) = rds_offers.orderable("15.7", "db.t3.micro", ["eu-west-2a"])
    assert option["AvailabilityZones"] == [{"Name": "eu-west-2a"}]
    assert rds_offers.orderable("15.7", "db.x.none", []) == []


def test_sql_quoting():
    assert literal("it's") == "'it''s'"
    assert identifier('a"b') == '"a""b"'
