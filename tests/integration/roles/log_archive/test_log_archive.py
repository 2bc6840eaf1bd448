# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role log_archive on a local AWS."""

from __future__ import annotations

import json
import typing as t

import pytest

VARIABLES = {"log_archive_name": "logs", "log_archive_bucket": "logs-archive", "log_archive_account_id": "123456789012"}


def long(*values: t.Any) -> t.Any:
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.fixture
def s3(local_aws: t.Any) -> t.Any:
    return local_aws.client("s3")


def test_life_of_a_log_bucket(run_role: t.Callable, s3: t.Any) -> None:
    variables = {**VARIABLES, "log_archive_tags": {"team": "a"}, "log_archive_prefix": "/team//logs/"}
    entries = [("check", "main")] * 3 + [("check", "main", "info")]
    checks = (True, False, True, False)
    runs = [run_role("log_archive", variables, entry, check=check) for entry, check in zip(entries, checks, strict=True)]
    assert [run.rc for run in runs] == [0] * 4, runs[1].stdout
    assert [run.changed for run in runs] == [1, 1, 0, 0], runs[3].stdout
    assert [bool(run.writes) for run in runs] == [False, True, False, False]
    wanted = {"bucket": "logs-archive", "bucket_arn": "arn:aws:s3:::logs-archive", "prefix": "team/logs"}
    assert [run.outputs for run in runs] == [wanted] * 4
    rule = s3.get_bucket_lifecycle_configuration(Bucket="logs-archive")["Rules"][0]
    assert rule["Expiration"] == {"Days": 90}
    statements = json.loads(s3.get_bucket_policy(Bucket="logs-archive")["Policy"])["Statement"]
    assert statements[1]["Resource"] == "arn:aws:s3:::logs-archive/team/logs/AWSLogs/123456789012/*"
    assert all(s3.get_public_access_block(Bucket="logs-archive")["PublicAccessBlockConfiguration"].values())

    fewer = {**variables, "log_archive_kinds": ["access_logs"], "log_archive_retention_days": 7}
    change = run_role("log_archive", fewer, ("main", "absent"))
    assert sorted(change.writes) == ["s3:PutBucketLifecycleConfiguration", "s3:PutBucketPolicy"], change.stdout
    off = {**variables, "log_archive_bucket": "", "log_archive_delete_bucket": True}
    run = run_role("log_archive", off, ("main", "info", "absent"))
    assert (run.rc, run.changed, run.writes) == (0, 0, []), run.stdout
    assert set(run.outputs.values()) == {None}
    s3.head_bucket(Bucket="logs-archive")

    doomed = {**variables, "log_archive_delete_bucket": True}
    assert run_role("log_archive", doomed, "absent").changed == 1
    again = run_role("log_archive", doomed, ("absent", "info"))
    assert (again.rc, again.changed, again.writes) == (0, 0, [])
    assert set(again.outputs.values()) == {None}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"log_archive_artifacts_bucket": "logs-archive"}, "it is the bucket of the artifacts"),
        ({"log_archive_bucket": "others-logs"}, "Bucket others-logs: it exists but does not carry the tags"),
        long({"log_archive_bucket": "Logs"}, "Bucket Logs: the name holds something other than lower-case letters"),
        long({"log_archive_bucket": "paris-logs"}, "it is in eu-west-3, the deployment is in eu-west-2"),
        long({"log_archive_kinds": ["dns"]}, "value of log_archive_kinds must be one or more of"),
        long({"log_archive_retention_days": -1}, "expire_days = -1: it is no number of days"),
        long({"log_archive_prefix": "AWSLogs"}, "adds AWSLogs itself"),
    ],
)
def test_bad_input_is_refused_before_the_first_write(
    run_role: t.Callable, s3: t.Any, local_aws: t.Any, wrong: dict, message: str
) -> None:
    bucket = wrong.get("log_archive_bucket")
    if bucket in ("others-logs", "paris-logs"):
        region = "eu-west-3" if bucket == "paris-logs" else "eu-west-2"
        where = {"LocationConstraint": region}
        local_aws.client("s3", region).create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    run = run_role("log_archive", {**VARIABLES, **wrong}, ("check", "main"))
    assert run.rc == 2 and run.writes == []
    assert message in run.stdout.replace("\n", " "), run.stdout
