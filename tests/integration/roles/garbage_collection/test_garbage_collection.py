# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role garbage_collection on a local AWS."""

from __future__ import annotations

import typing as t

import pytest

NAME = "tidy-mlflow"
VARIABLES = {
    "garbage_collection_name": NAME,
    "garbage_collection_tags": {"team": "a"},
    "garbage_collection_account_id": "123456789012",
    "garbage_collection_partition": "aws",
    "garbage_collection_region": "eu-west-2",
    "garbage_collection_schedule": "cron(0 3 ? * SUN *)",
    "garbage_collection_timezone": "Europe/London",
    "garbage_collection_subnet_ids": ["subnet-0a1b2c3d4e5f60718"],
    "garbage_collection_security_group_ids": ["sg-0a1b2c3d4e5f60718"],
}
NOTHING = {"schedule_arn": None, "schedule": None, "timezone": None, "older_than_days": None}


@pytest.mark.long
def test_life_of_the_garbage_collection(run_role: t.Callable, local_aws: t.Any) -> None:
    check = run_role("garbage_collection", VARIABLES, ("check", "main"), check=True)
    assert (check.rc, check.changed, check.writes, check.outputs) == (0, 1, [], NOTHING), check.stdout
    create = run_role("garbage_collection", VARIABLES)
    assert (create.rc, create.changed) == (0, 1), create.stdout
    assert create.outputs == {
        "schedule_arn": f"arn:aws:scheduler:eu-west-2:123456789012:schedule/{NAME}-gc/run",
        "schedule": "cron(0 3 ? * SUN *)", "timezone": "Europe/London", "older_than_days": 30,
    }  # fmt: skip
    group = f"arn:aws:scheduler:eu-west-2:123456789012:schedule-group/{NAME}-gc"
    tags = local_aws.client("scheduler").list_tags_for_resource(ResourceArn=group)["Tags"]
    assert {one["Key"]: one["Value"] for one in tags} == {
        "mlflow-deployment": NAME, "managed-by": "mlops.mlflow_aws", "team": "a"
    }  # fmt: skip
    for checking in (True, False):
        again = run_role("garbage_collection", VARIABLES, check=checking)
        assert (again.rc, again.changed, again.writes, again.outputs) == (0, 0, [], create.outputs), again.stdout
    change = run_role("garbage_collection", {**VARIABLES, "garbage_collection_older_than_days": 90})
    assert (change.changed, change.writes) == (1, ["scheduler:UpdateSchedule"]), change.stdout
    assert change.outputs["older_than_days"] == 90

    # What is found by its tags is what site.yml switches off by.
    found = local_aws.client("resourcegroupstaggingapi").get_resources(ResourceTypeFilters=["scheduler"])
    assert group in [one["ResourceARN"] for one in found["ResourceTagMappingList"]]
    would = run_role("garbage_collection", VARIABLES, "absent", check=True)
    assert (would.changed, would.writes) == (1, [])
    gone = run_role("garbage_collection", VARIABLES, ("absent", "info"))
    assert (gone.rc, gone.changed, gone.outputs) == (0, 1, NOTHING), gone.stdout
    again = run_role("garbage_collection", VARIABLES, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])


def test_what_cannot_work_or_is_not_ours_is_refused_before_the_first_write(run_role: t.Callable, local_aws: t.Any) -> None:
    for wrong, message in (
        ({"garbage_collection_older_than_days": 0}, "garbage_collection_older_than_days = 0: is not from 1 to 3650 days"),
        ({"garbage_collection_schedule": "weekly"}, "garbage_collection_schedule = 'weekly': is not a schedule"),
    ):
        run = run_role("garbage_collection", {**VARIABLES, **wrong}, "check")
        assert run.rc == 2 and run.writes == [] and message in " ".join(run.stdout.split()), run.stdout
    local_aws.client("scheduler").create_schedule_group(Name="foreign-gc")
    for entry in ("main", "absent"):
        run = run_role("garbage_collection", {**VARIABLES, "garbage_collection_name": "foreign"}, entry)
        assert run.rc == 2 and run.writes == [], run.stdout
        assert "Schedule group foreign-gc: it exists but does not carry the tags" in run.stdout
