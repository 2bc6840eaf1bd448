# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role preflight on the local AWS: what it finds, and that it refuses before the first write."""

from __future__ import annotations

import boto3
import pytest

BUCKET = "preflight-models-test"
ELSEWHERE = "preflight-models-elsewhere"
VARIABLES = {
    "preflight_name": "fraud-scoring-mlflow",
    "preflight_region": "eu-west-2",
    "preflight_mlflow_version": "2.18.0",
    "preflight_supported_versions": ["2.18.0", "3.17.2"],
    "preflight_mlflow_workers": 4,
    "preflight_task_cpu": 512,
    "preflight_task_memory": 1024,
    "preflight_db_engine_version": "15.7",
    "preflight_bucket": BUCKET,
}
NO_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module", autouse=True)
def buckets(local_aws):
    keys = {
        "aws_access_key_id": local_aws.environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": local_aws.environment["AWS_SECRET_ACCESS_KEY"],
    }
    regions = {BUCKET: "eu-west-2", ELSEWHERE: "eu-west-1"}
    clients = {
        bucket: boto3.client("s3", region_name=region, endpoint_url=local_aws.environment["AWS_ENDPOINT_URL"], **keys)
        for bucket, region in regions.items()
    }
    for bucket, s3 in clients.items():
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": regions[bucket]})
    yield
    for bucket, s3 in clients.items():
        s3.delete_bucket(Bucket=bucket)


@pytest.fixture
def preflight(run_role, local_aws):
    """Runs the role and insists that nothing was written: a call that AWS refused wrote nothing."""

    def run(env=None, check=False, **changes):
        before = len(local_aws.api_calls())
        done = run_role("preflight", {**VARIABLES, **changes}, env=env, check=check)
        calls = local_aws.api_calls()[before:]
        assert [call for call in calls if call["kind"] == "write" and call["status"] < 400] == []
        assert done.changed == 0
        return done

    return run


@pytest.mark.parametrize("check", [True, False])
def test_the_reference_deployment_passes(preflight, local_aws, check):
    done = preflight(check=check)
    assert done.rc == 0, done.stdout
    outputs = done.outputs
    assert len(outputs["account_id"]) == 12 and outputs["caller_arn"].startswith("arn:aws:")
    assert (outputs["partition"], outputs["region"]) == ("aws", "eu-west-2")
    assert outputs["availability_zones"] == ["eu-west-2a", "eu-west-2b"]
    assert (outputs["db_engine_version"], outputs["mlflow_workers"]) == ("15.7", 4)
    assert (outputs["db_pool_size"], outputs["db_max_overflow"], outputs["db_max_connections"]) == (1, 1, 80)
    assert any("known security holes" in warning for warning in outputs["warnings"])
    assert "KeyCount" in (listed := local_aws.client("s3").list_objects_v2(Bucket=BUCKET)) and listed["KeyCount"] == 0


def test_choices_are_made(preflight):
    done = preflight(
        preflight_mlflow_version="3.17.2",
        preflight_mlflow_workers=0,
        preflight_db_engine_version="15",
        preflight_bucket="preflight-free-name",
        preflight_create_bucket=True,
    )
    assert done.rc == 0, done.stdout
    assert done.outputs["mlflow_workers"] == 2 and done.outputs["db_engine_version"].startswith("15.")


# What the variables say, and what one line of the failure says.
BAD = {
    "unknown region": (
        {"preflight_region": "eu-west-9"},
        "preflight_region = 'eu-west-9': is not a region of AWS; did you mean",
    ),
    "engine version": (
        {"preflight_db_engine_version": "15.99"},
        "preflight_db_engine_version = '15.99': RDS does not offer this version of PostgreSQL here; ",
    ),
    "instance class": (
        {"preflight_db_instance_class": "db.t3.mikro"},
        "preflight_db_instance_class = 'db.t3.mikro': RDS does not offer it",
    ),
    "zone": (
        {"preflight_availability_zones": ["eu-west-2a", "eu-west-2z"]},
        "preflight_availability_zones = 'eu-west-2z': is not a zone",
    ),
    "existing vpc": (
        {
            "preflight_vpc_id": "vpc-00000000000000001",
            "preflight_public_subnet_ids": ["subnet-00000001", "subnet-00000002"],
            "preflight_private_subnet_ids": ["subnet-00000003", "subnet-00000004"],
        },
        "preflight_vpc_id = 'vpc-00000000000000001': there is no such VPC in this region",
    ),
    "bucket missing": (
        {"preflight_bucket": "preflight-no-such-bucket"},
        "'preflight-no-such-bucket': there is no such bucket; create it",
    ),
    "bucket elsewhere": (
        {"preflight_bucket": ELSEWHERE},
        f"'{ELSEWHERE}': the bucket is in eu-west-1, the deployment in eu-west-2",
    ),
    "name too long": ({"preflight_name": "a" * 33}, "has 33 characters, a load balancer's name has at most 32"),
    "overlap": (
        {"preflight_private_subnet_cidrs": ["10.0.1.0/24", "10.0.11.0/24"]},
        "overlaps 10.0.1.0/24 of preflight_public_subnet_cidrs",
    ),
    "outside": (
        {"preflight_public_subnet_cidrs": ["10.1.0.0/24", "10.0.1.0/24"]},
        "lies outside the VPC's range 10.0.0.0/16",
    ),
    "one zone": (
        {"preflight_public_subnet_cidrs": ["10.0.0.0/24"], "preflight_private_subnet_cidrs": ["10.0.10.0/24"]},
        "two zones at least",
    ),
    "cpu and memory": ({"preflight_task_memory": 8192}, "Fargate does not combine 512 CPU units with 8192 MiB"),
    "four workers of 3.x": (
        {"preflight_mlflow_version": "3.17.2"},
        "4 workers of MLflow 3.17.2 need about 1346 MiB, the task has 1024",
    ),
    "unsupported version": (
        {"preflight_mlflow_version": "2.17.0"},
        "preflight_mlflow_version = '2.17.0': is not supported",
    ),
    "no task": ({"preflight_desired_count": 0}, "preflight_desired_count = 0: a deployment has at least one task"),
    "wrong type": (
        {"preflight_task_memory": "abc"},
        "preflight_task_memory = 'abc': is not a whole number; write digits only",
    ),
}


@pytest.mark.parametrize(("changes", "line"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line_before_any_write(preflight, changes, line):
    # The region must agree with the environment's, else that is what is refused.
    done = preflight(**changes)
    assert done.rc != 0
    assert [one for one in done.stdout.splitlines() if line in one], done.stdout


def test_missing_credentials_are_named(preflight):
    done = preflight(env=NO_CREDENTIALS)
    assert done.rc != 0 and "AWS credentials: Unable to locate credentials; set AWS_PROFILE" in done.stdout


def test_several_problems_are_reported_at_once(preflight):
    done = preflight(preflight_name="Fraud", preflight_desired_count=0, preflight_task_cpu=1)
    assert done.rc != 0 and "3 problems, nothing was changed:" in done.stdout
