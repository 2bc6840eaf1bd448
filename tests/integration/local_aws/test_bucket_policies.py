# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket policy denies is denied to those it names and to nobody else. The task's credentials are a task's."""

from __future__ import annotations

import json
import sys
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions
import pytest

from tests.integration.aws import REGION, LocalAws, local_aws

IMAGE = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
ASK = "import os; from urllib.request import urlretrieve as get; get(os.environ['{}'], os.environ['OUT'])".format(
    "AWS_CONTAINER_CREDENTIALS_FULL_URI"
)
BUCKET = "judged"


class Store(t.NamedTuple):
    operator: t.Any
    task: t.Any
    nobody: t.Any
    role: str

    def deny(self, **given: t.Any) -> None:
        statement = {
            "Effect": "Deny",
            "Principal": {"AWS": self.role},
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [{**statement, **given}]}
        self.operator.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


def credentials_of_a_task(aws: LocalAws, out: Path) -> tuple[str, dict[str, str]]:
    """The ARN of a role, and what a task with it gets."""
    ecs, ec2 = aws.client("ecs"), aws.client("ec2")
    trust = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = aws.client("iam").create_role(
        RoleName="task", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=f"{REGION}a")["Subnet"]["SubnetId"]
    ecs.create_cluster(clusterName="demo")
    container = {"name": "main", "image": IMAGE, "command": ["python", "-c", ASK], "essential": True}
    definition = ecs.register_task_definition(
        family="ask", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        taskRoleArn=role,
        containerDefinitions=[{**container, "environment": [{"name": "OUT", "value": str(out)}]}],
    )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip
    task = ecs.run_task(
        cluster="demo", taskDefinition=definition, launchType="FARGATE", startedBy="test",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )["tasks"][0]["taskArn"]  # fmt: skip
    deadline = time.monotonic() + 60
    while ecs.describe_tasks(cluster="demo", tasks=[task])["tasks"][0]["lastStatus"] != "STOPPED":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return role, json.loads(out.read_text())


@pytest.fixture(scope="module")
def account(tmp_path_factory) -> t.Iterator[Store]:
    folder = tmp_path_factory.mktemp("aws")
    with local_aws(folder / "state") as aws:
        role, given = credentials_of_a_task(aws, folder / "credentials.json")
        keys = {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["Token"],
        }
        place = {"region_name": REGION, "endpoint_url": aws.endpoint_url}
        unsigned = botocore.config.Config(signature_version=botocore.UNSIGNED)
        operator = aws.client("s3")
        operator.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield Store(operator, boto3.client("s3", **place, **keys), boto3.client("s3", config=unsigned, **place), role)


@pytest.fixture
def store(account: Store) -> t.Iterator[Store]:
    account.operator.put_object(Bucket=BUCKET, Key="kept", Body=b"kept")
    yield account
    account.operator.delete_bucket_policy(Bucket=BUCKET)


def answers(call: t.Callable[..., t.Any], **arguments: t.Any) -> str:
    """"done", or the code of the error."""
    try:
        call(Bucket=BUCKET, **arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return "done"


def everything(client: t.Any) -> dict[str, str]:
    return {
        "put": answers(client.put_object, Key="new", Body=b"new"),
        "get": answers(client.get_object, Key="kept"),
        # HEAD has no body to tell the code in.
        "head": answers(client.head_object, Key="kept"),
        "list": answers(client.list_objects_v2),
        "parts": answers(client.create_multipart_upload, Key="large"),
        "copy": answers(client.copy_object, Key="copy", CopySource=f"{BUCKET}/kept"),
        "delete": answers(client.delete_object, Key="new"),
    }


DONE = dict.fromkeys(("put", "get", "head", "list", "parts", "copy", "delete"), "done")
DENIED = {**dict.fromkeys(DONE, "AccessDenied"), "head": "403"}


def test_the_task_role_is_denied_everything_and_its_owner_nothing(store):
    assert everything(store.task) == DONE
    store.deny()
    assert everything(store.task) == DENIED
    assert everything(store.operator) == DONE
    store.operator.delete_bucket_policy(Bucket=BUCKET)
    assert everything(store.task) == DONE


@pytest.mark.parametrize(
    ("action", "denied"),
    [
        ("s3:PutObject", {"put", "parts", "copy"}),
        ("s3:GetObject", {"get", "head", "copy"}),
        ("s3:ListBucket", {"list"}),
        (["s3:Delete*"], {"delete"}),
    ],
)
def test_one_permission_is_denied(store, action, denied):
    store.deny(Action=action)
    assert everything(store.task) == {key: DENIED[key] if key in denied else "done" for key in DONE}


def test_several_objects_are_deleted_but_for_those_denied(store):
    for key in ("mine/a", "theirs/a"):
        store.operator.put_object(Bucket=BUCKET, Key=key, Body=b"")
    store.deny(Resource=f"arn:aws:s3:::{BUCKET}/theirs/*", Action="s3:DeleteObject")
    answer = store.task.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "mine/a"}, {"Key": "theirs/a"}]})
    assert [one["Key"] for one in answer["Deleted"]] == ["mine/a"]
    assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [("theirs/a", "AccessDenied")]


def test_signed_addresses_are_judged_too(store):
    address = store.task.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "kept"})
    assert urllib.request.urlopen(address, timeout=10).read() == b"kept"
    store.deny()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address, timeout=10)


def test_nobody_gets_what_only_strangers_are_allowed(store):
    store.deny(Effect="Allow", Principal="*", Action="s3:GetObject")
    assert answers(store.nobody.get_object, Key="kept") == "done"
    store.deny(Principal="*", Condition={"StringNotLike": {"aws:PrincipalArn": [store.role, "*:root"]}})
    assert answers(store.nobody.get_object, Key="kept") == "AccessDenied"
    assert answers(store.task.get_object, Key="kept") == "done"


def test_the_owner_can_always_mend_the_policy(store):
    store.deny(Principal="*")
    assert everything(store.operator) == DENIED
    assert answers(store.task.delete_bucket_policy) == "AccessDenied"
    assert answers(store.operator.get_bucket_policy) == "done"
    assert answers(store.operator.delete_bucket_policy) == "done"


def test_what_is_no_policy_is_refused(store):
    with pytest.raises(botocore.exceptions.ClientError, match="MalformedPolicy"):
        store.operator.put_bucket_policy(Bucket=BUCKET, Policy="[]")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:role/nowhere"}}, "Invalid principal in policy"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, "cannot judge .* IpAddress aws:SourceIp"),
    ],
)
def test_what_cannot_be_judged_is_refused(store, given, text):
    with pytest.raises(botocore.exceptions.ClientError, match=text):
        store.deny(**given)
