# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role automatic_rotation on a local AWS."""

from __future__ import annotations

import json
import time
import typing as t

import pytest

NAME = "turning-mlflow"
FUNCTION = f"arn:aws:lambda:eu-west-2:123456789012:function:{NAME}-rotation"
SECRETS = [f"{NAME}/{one}" for one in ("database", "admin", "server-key")]
VARIABLES = {
    "automatic_rotation_name": NAME,
    "automatic_rotation_tags": {"team": "a"},
    "automatic_rotation_account_id": "123456789012",
    "automatic_rotation_partition": "aws",
    "automatic_rotation_region": "eu-west-2",
    "automatic_rotation_db_instance_id": f"{NAME}-db",
}
NOTHING = {"function_arn": None, "log_group": None, "days": None, "next_rotations": dict.fromkeys(SECRETS)}
OWNER = {"mlflow-deployment": NAME, "managed-by": "mlops.mlflow_aws"}


def rotating(local_aws: t.Any) -> list[bool]:
    return [local_aws.client("secretsmanager").describe_secret(SecretId=one).get("RotationEnabled", False) for one in SECRETS]


def waiting(local_aws: t.Any) -> bool:
    manager = local_aws.client("secretsmanager")
    stages = [manager.describe_secret(SecretId=one)["VersionIdsToStages"].values() for one in SECRETS]
    return any("AWSPENDING" in labels for versions in stages for labels in versions)


@pytest.mark.long
def test_life_of_the_automatic_rotation(run_role: t.Callable, local_aws: t.Any) -> None:
    early = run_role("automatic_rotation", VARIABLES, ("check", "main"), check=True)
    assert (early.rc, early.writes, early.outputs) == (0, [], NOTHING), early.stdout
    manager, functions, logs = (local_aws.client(one) for one in ("secretsmanager", "lambda", "logs"))
    tags = [{"Key": key, "Value": value} for key, value in OWNER.items()]
    for name in SECRETS:
        manager.create_secret(Name=name, SecretString=json.dumps({"username": "mlflow", "password": "canary"}), Tags=tags)
    create = run_role("automatic_rotation", VARIABLES)
    assert (create.rc, rotating(local_aws)) == (0, [True] * 3), create.stdout
    assert create.outputs["function_arn"] == FUNCTION and create.outputs["days"] == 90
    assert set(create.outputs["next_rotations"]) == set(SECRETS) and all(create.outputs["next_rotations"].values())
    found = functions.get_function(FunctionName=f"{NAME}-rotation")
    assert found["Tags"] == {**OWNER, "team": "a"} and found["Configuration"]["Timeout"] == 900
    # Secrets Manager has tried it: there is no deployment, which the function says, and nothing is left of that.
    deadline = time.monotonic() + 120
    while not any("ERROR" in one["message"] for one in logs.filter_log_events(logGroupName=create.outputs["log_group"])["events"]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    while waiting(local_aws):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for checking in (True, False):
        again = run_role("automatic_rotation", VARIABLES, check=checking)
        assert (again.rc, again.changed, again.writes, again.outputs) == (0, 0, [], create.outputs), again.stdout
    change = run_role("automatic_rotation", {**VARIABLES, "automatic_rotation_days": 30})
    assert (change.changed, change.writes) == (1, ["secretsmanager:RotateSecret"] * 3), change.stdout
    assert change.outputs["days"] == 30

    # What is found by its tags is what site.yml switches off by.
    found = local_aws.client("resourcegroupstaggingapi").get_resources(ResourceTypeFilters=["lambda"])
    assert any(one["ResourceARN"].startswith(FUNCTION) for one in found["ResourceTagMappingList"])
    would = run_role("automatic_rotation", VARIABLES, "absent", check=True)
    assert (would.rc, would.writes, rotating(local_aws)) == (0, [], [True] * 3) and would.changed == 4, would.stdout
    gone = run_role("automatic_rotation", VARIABLES, ("absent", "info"))
    assert (gone.rc, gone.changed, gone.outputs, rotating(local_aws)) == (0, 4, NOTHING, [False] * 3), gone.stdout
    again = run_role("automatic_rotation", VARIABLES, "absent")
    assert (again.rc, again.changed, again.writes) == (0, 0, [])


def test_what_cannot_work_or_is_not_ours_is_refused_before_the_first_write(run_role: t.Callable, local_aws: t.Any) -> None:
    run = run_role("automatic_rotation", {**VARIABLES, "automatic_rotation_days": 1001}, "check")
    assert run.rc == 2 and run.writes == [] and "automatic_rotation_days = 1001: is not from 1 to 1000 days" in " ".join(run.stdout.split())
    local_aws.client("logs").create_log_group(logGroupName="/aws/lambda/foreign-rotation")
    run = run_role("automatic_rotation", {**VARIABLES, "automatic_rotation_name": "foreign"}, "absent")
    assert run.rc == 2 and run.writes == [] and "it is not ours to remove" in run.stdout, run.stdout
