# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations by the clock, against a Secrets Manager that keeps what it is told."""

from __future__ import annotations

import datetime
import typing as t

import botocore.exceptions
import pytest
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.mlops.mlflow_aws.plugins.modules import secretsmanager_rotation_schedule as schedule

OWNER = {"owner": "us"}
FUNCTION = "arn:aws:lambda:eu-west-2:123456789012:function:web-rotation"
WANTED = {"secret_ids": ["web/one", "web/two"], "function_arn": FUNCTION, "days": 90, "owner_tags": OWNER}
ABSENT = {"secret_ids": ["web/one", "web/two"], "state": "absent", "owner_tags": OWNER}
NEXT = datetime.datetime(2027, 2, 27, 23, 59, 59, tzinfo=datetime.timezone.utc)
pytestmark = pytest.mark.usefixtures("aws_environment")


class Manager:
    """As DescribeSecret tells it: what rotated a secret is remembered when it does no more."""

    def __init__(self) -> None:
        tags = [{"Key": "owner", "Value": "us"}]
        self.secrets = {name: {"Tags": tags, "VersionIdsToStages": {"1": ["AWSCURRENT"]}} for name in WANTED["secret_ids"]}
        self.values, self.writes = {"1"}, []

    def describe_secret(self, SecretId: str, aws_retry: bool) -> dict:
        self._find(SecretId in self.secrets)
        return dict(self.secrets[SecretId])

    @staticmethod
    def _find(there: bool) -> None:
        if not there:
            raise botocore.exceptions.ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeSecret")

    def get_secret_value(self, SecretId: str, VersionId: str, aws_retry: bool) -> dict:
        self._find(VersionId in self.values)
        return {"SecretString": "canary"}

    def rotate_secret(self, SecretId: str, RotationLambdaARN: str, RotationRules: dict, RotateImmediately: bool, aws_retry: bool) -> None:
        assert RotateImmediately is False
        self.writes.append(f"rotate {SecretId}")
        self.secrets[SecretId] |= {"RotationEnabled": True, "RotationLambdaARN": RotationLambdaARN, "RotationRules": RotationRules,
                                   "NextRotationDate": NEXT}  # fmt: skip

    def cancel_rotate_secret(self, SecretId: str, aws_retry: bool) -> None:
        self.writes.append(f"cancel {SecretId}")
        self.secrets[SecretId] |= {"RotationEnabled": False, "NextRotationDate": None}

    def update_secret_version_stage(self, SecretId: str, VersionStage: str, RemoveFromVersionId: str, aws_retry: bool) -> None:
        self.writes.append(f"unlabel {SecretId} {VersionStage} {RemoveFromVersionId}")


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    made = Manager()
    monkeypatch.setattr(AnsibleAWSModule, "client", lambda *_arguments, **_more: made)
    return made


def test_life(run_module: t.Callable, manager: Manager) -> None:
    predicted = run_module(schedule, WANTED, check=True)
    assert predicted["changed"] and manager.writes == []
    assert [one["function_arn"] for one in predicted["secrets"]] == [None, None]
    made = run_module(schedule, WANTED)
    assert made["diff"] == predicted["diff"] and manager.writes == ["rotate web/one", "rotate web/two"]
    assert made["secrets"][0] == {"secret_id": "web/one", "function_arn": FUNCTION, "days": 90, "next_rotation": NEXT.isoformat()}
    for check in (True, False):
        assert not run_module(schedule, WANTED, check=check)["changed"]
    manager.secrets["web/two"]["RotationRules"] = {"AutomaticallyAfterDays": 30}
    assert list(run_module(schedule, WANTED)["diff"]["before"]) == ["rotation of web/two"]
    predicted = run_module(schedule, ABSENT, check=True)
    manager.writes.clear()
    gone = run_module(schedule, ABSENT)
    assert gone["diff"] == predicted["diff"] and manager.writes == ["cancel web/one", "cancel web/two"]
    assert gone["secrets"][1] == {"secret_id": "web/two", "function_arn": None, "days": None, "next_rotation": None}
    assert not run_module(schedule, ABSENT)["changed"]


def test_a_version_without_a_value_loses_its_label_and_one_with_a_value_keeps_it(run_module: t.Callable, manager: Manager) -> None:
    run_module(schedule, WANTED)
    manager.secrets["web/one"]["VersionIdsToStages"] = {"1": ["AWSCURRENT"], "2": ["AWSPENDING"]}
    manager.secrets["web/two"]["VersionIdsToStages"] = {"1": ["AWSCURRENT", "AWSPENDING"]}
    manager.writes.clear()
    run_module(schedule, ABSENT)
    assert manager.writes == ["cancel web/one", "unlabel web/one AWSPENDING 2", "cancel web/two"]


def test_what_is_not_there_is_made_first_and_what_is_not_ours_is_left_alone(run_module: t.Callable, manager: Manager) -> None:
    del manager.secrets["web/two"]
    assert "Secret web/two: there is no such secret, or it is scheduled for deletion" in run_module(schedule, WANTED)["msg"]
    assert run_module(schedule, WANTED, check=True)["changed"]
    assert not run_module(schedule, ABSENT)["changed"]
    manager.secrets["web/one"]["DeletedDate"] = NEXT
    assert "Secret web/one: there is no such secret, or it is scheduled for deletion" in run_module(schedule, WANTED)["msg"]
    manager.secrets["web/one"] = {"Tags": []}
    for options in (WANTED, ABSENT):
        assert "Secret web/one: it exists but does not carry the tags owner=us" in run_module(schedule, options)["msg"]
    assert manager.writes == []
    assert "days = 0: is not from 1 to 1000" in run_module(schedule, {**WANTED, "days": 0})["msg"]
