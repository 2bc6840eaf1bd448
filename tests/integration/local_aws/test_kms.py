# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is encrypted with a key of one's own can be read as long as the key can be used, and by whom IAM lets use it."""

from __future__ import annotations

import json
import time
import typing as t

import boto3
import botocore.exceptions
import pytest

from tests.integration.aws import REGION, LocalAws, local_aws
from tests.integration.local_aws.test_bucket_policies import IMAGE, credentials_of_a_task

BUCKET = "sealed"
VERSION = {"Version": "2012-10-17"}
NOWHERE = f"arn:aws:kms:{REGION}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


class Account(t.NamedTuple):
    aws: LocalAws
    # S3 with the credentials of a task.
    task: t.Any
    role: str
    key: str

    def let(self, *statements: dict) -> None:
        policy = json.dumps({**VERSION, "Statement": [{"Effect": "Allow", **one} for one in statements]})
        name = self.role.rpartition("/")[2]
        self.aws.client("iam").put_role_policy(RoleName=name, PolicyName="mlflow", PolicyDocument=policy)


@pytest.fixture(scope="module")
def account(tmp_path_factory) -> t.Iterator[Account]:
    folder = tmp_path_factory.mktemp("aws")
    with local_aws(folder / "state") as aws:
        role, given = credentials_of_a_task(aws, folder / "credentials.json")
        task = boto3.client(
            "s3", region_name=REGION, endpoint_url=aws.endpoint_url, aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"], aws_session_token=given["Token"],
        )  # fmt: skip
        yield Account(aws, task, role, aws.client("kms").create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def key(account: Account) -> t.Iterator[str]:
    yield account.key
    kms = account.aws.client("kms")
    if kms.describe_key(KeyId=account.key)["KeyMetadata"]["KeyState"] == "PendingDeletion":
        kms.cancel_key_deletion(KeyId=account.key.rpartition("/")[2])
    kms.enable_key(KeyId=account.key.rpartition("/")[2])


def error(call: t.Callable[..., t.Any], **arguments: t.Any) -> str:
    """The code of the error, empty for none."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as failed:
        return failed.response["Error"]["Code"]
    return ""


def stopped_reason(account: Account, secret: str) -> str:
    """Why a task with this secret ended; empty if it ended well."""
    ecs, ec2 = account.aws.client("ecs"), account.aws.client("ec2")
    subnet = ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.0.0.0/24"]}])["Subnets"][0]["SubnetId"]
    container = {
        "name": "main", "image": IMAGE, "command": ["python", "-c", "import os; assert os.environ['A'] == 'value'"],
        "essential": True, "secrets": [{"name": "A", "valueFrom": secret}],
    }  # fmt: skip
    definition = ecs.register_task_definition(
        family="read", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        executionRoleArn=account.role, containerDefinitions=[container],
    )["taskDefinition"]["taskDefinitionArn"]  # fmt: skip
    task = ecs.run_task(
        cluster="demo", taskDefinition=definition, launchType="FARGATE", startedBy="test",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )["tasks"][0]["taskArn"]  # fmt: skip
    deadline = time.monotonic() + 120
    while True:
        found = ecs.describe_tasks(cluster="demo", tasks=[task])["tasks"][0]
        if found["lastStatus"] == "STOPPED":
            return "" if found["containers"][0].get("exitCode") == 0 else found["stoppedReason"]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_secret_is_read_by_who_may_use_its_key_and_while_it_can_be_used(account, key):
    kms, secrets = account.aws.client("kms"), account.aws.client("secretsmanager")
    read = {"Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    secret = secrets.create_secret(Name="sealed/one", SecretString="value", KmsKeyId=key)["ARN"]
    assert secrets.describe_secret(SecretId=secret)["KmsKeyId"] == key
    assert error(secrets.create_secret, Name="sealed/two", SecretString="x", KmsKeyId=NOWHERE) == "EncryptionFailure"
    account.let(read)
    assert "AccessDeniedException: Access to KMS is not allowed" in stopped_reason(account, secret)
    account.let(read, {"Action": "kms:Decrypt", "Resource": key})
    assert stopped_reason(account, secret) == ""
    kms.disable_key(KeyId=key.rpartition("/")[2])
    reason = stopped_reason(account, secret)
    assert "ResourceInitializationError" in reason and "DecryptionFailure" in reason and "is disabled" in reason
    assert error(secrets.get_secret_value, SecretId=secret) == "DecryptionFailure"
    assert error(secrets.put_secret_value, SecretId=secret, SecretString="x") == "EncryptionFailure"
    kms.schedule_key_deletion(KeyId=key.rpartition("/")[2], PendingWindowInDays=7)
    assert "is pending deletion" in stopped_reason(account, secret)
    kms.cancel_key_deletion(KeyId=key.rpartition("/")[2])
    kms.enable_key(KeyId=key.rpartition("/")[2])
    # Back with AWS's own key nobody needs to be let use it.
    secrets.update_secret(SecretId=secret, KmsKeyId="")
    assert "KmsKeyId" not in secrets.describe_secret(SecretId=secret)
    account.let(read)
    assert stopped_reason(account, secret) == ""


def test_objects_are_written_and_read_by_who_may_use_their_key(account, key):
    kms, s3 = account.aws.client("kms"), account.aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=BUCKET, Key="before", Body=b"x")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert s3.put_object(Bucket=BUCKET, Key="after", Body=b"x")["SSEKMSKeyId"] == key

    def everything(client: t.Any) -> dict[str, str]:
        at = {"Bucket": BUCKET}
        return {
            "before": error(client.get_object, **at, Key="before"),
            "get": error(client.get_object, **at, Key="after"),
            "put": error(client.put_object, **at, Key="new", Body=b"x"),
            "parts": error(client.create_multipart_upload, **at, Key="large"),
            "copy": error(client.copy_object, **at, Key="copy", CopySource=f"{BUCKET}/after"),
        }

    objects = {"Action": "s3:*", "Resource": "*"}
    denied = {"before": "", **dict.fromkeys(("get", "put", "parts", "copy"), "AccessDenied")}
    account.let(objects)
    assert everything(account.task) == denied and not any(everything(s3).values())
    account.let(objects, {"Action": "kms:Decrypt", "Resource": key})
    assert everything(account.task) == {**denied, "get": ""}
    account.let(objects, {"Action": "kms:GenerateDataKey", "Resource": key})
    assert everything(account.task) == {**denied, "put": "", "parts": ""}
    account.let(objects, {"Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key})
    assert not any(everything(account.task).values())
    # An upload in parts, to its end.
    upload = account.task.create_multipart_upload(Bucket=BUCKET, Key="large")["UploadId"]
    part = account.task.upload_part(Bucket=BUCKET, Key="large", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"ETag": part, "PartNumber": 1}]}
    account.task.complete_multipart_upload(Bucket=BUCKET, Key="large", UploadId=upload, MultipartUpload=parts)
    assert account.task.head_object(Bucket=BUCKET, Key="large")["SSEKMSKeyId"] == key

    kms.disable_key(KeyId=key.rpartition("/")[2])
    assert everything(s3) == {"before": "", **dict.fromkeys(("get", "put", "parts", "copy"), "KMS.DisabledException")}


def test_log_groups_and_databases_take_only_a_key_that_can_be_used(account, key):
    kms, logs, rds = (account.aws.client(one) for one in ("kms", "logs", "rds"))
    # The key that a key policy does not let CloudWatch Logs use.
    assert error(logs.create_log_group, logGroupName="sealed", kmsKeyId=key) == "InvalidParameterException"
    logs.create_log_group(logGroupName="sealed")
    assert error(logs.associate_kms_key, logGroupName="sealed", kmsKeyId=key) == "InvalidParameterException"
    allow = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    statements = [
        {**allow, "Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {**allow, "Principal": {"Service": f"logs.{REGION}.amazonaws.com"}},
    ]
    policy = json.dumps({**VERSION, "Statement": statements})
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
    logs.associate_kms_key(logGroupName="sealed", kmsKeyId=key)
    assert logs.describe_log_groups(logGroupNamePrefix="sealed")["logGroups"][0]["kmsKeyId"] == key
    logs.disassociate_kms_key(logGroupName="sealed")
    assert "kmsKeyId" not in logs.describe_log_groups(logGroupNamePrefix="sealed")["logGroups"][0]
    assert error(logs.associate_kms_key, logGroupName="none", kmsKeyId=key) == "ResourceNotFoundException"

    instance = {
        "DBInstanceIdentifier": "sealed", "Engine": "postgres", "DBInstanceClass": "db.t3.micro", "AllocatedStorage": 20,
        "MasterUsername": "mlflow", "MasterUserPassword": "not-a-secret", "StorageType": "gp3",
    }  # fmt: skip
    sealed = {"StorageEncrypted": True, "KmsKeyId": key}
    assert error(rds.create_db_instance, **instance, KmsKeyId=key) == "InvalidParameterCombination"
    kms.disable_key(KeyId=key.rpartition("/")[2])
    assert error(logs.associate_kms_key, logGroupName="sealed", kmsKeyId=key) == "InvalidParameterException"
    assert error(rds.create_db_instance, **instance, **sealed) == "KMSKeyNotAccessibleFault"
    kms.enable_key(KeyId=key.rpartition("/")[2])
    rds.create_db_instance(**instance, **{**sealed, "KmsKeyId": key.rpartition("/")[2]}, EnablePerformanceInsights=True,
                           PerformanceInsightsKMSKeyId=key)  # fmt: skip
    found = rds.describe_db_instances(DBInstanceIdentifier="sealed")["DBInstances"][0]
    assert (found["StorageEncrypted"], found["KmsKeyId"], found["PerformanceInsightsKMSKeyId"]) == (True, key, key)
