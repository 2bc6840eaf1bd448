# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key of KMS: who may use it, what is refused, what keeps it, and what a second run and check mode see."""

from __future__ import annotations

import json

import boto3
import botocore.config
import botocore.exceptions
import pytest
from moto import mock_aws
from moto.kms.models import KmsBackend
from moto.kms.responses import KmsResponse
from moto.logs.models import LogsBackend
from moto.logs.responses import LogsResponse

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import kms_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    cloudwatchlogs_group_keys,
    kms_deployment_key,
    kms_deployment_key_info,
)
from local_aws import kms_keys
from local_aws.patches import kms as kms_patch
from local_aws.patches import logs as logs_patch

pytestmark = pytest.mark.usefixtures("aws_environment", "patched")
REGION, ACCOUNT = "eu-west-2", "123456789012"
OURS = {"team": "web"}
WANTED = {
    "name": "web", "owner_tags": OURS, "tags": OURS, "region": REGION, "description": "for web", "rotation_days": 180,
    "log_groups": ["/ecs/web"], "publishers": ["cloudwatch.amazonaws.com"], "bucket": "web-artifacts",
}  # fmt: skip
GONE = {"name": "web", "owner_tags": OURS, "region": REGION, "state": "absent"}
INFO = {"name": "web", "owner_tags": OURS, "region": REGION}
NOWHERE = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def patched():
    """moto as the local AWS has it, for one test."""
    classes = (KmsBackend, KmsResponse, LogsBackend, LogsResponse)
    before = {one: dict(vars(one)) for one in classes}
    kms_patch.apply(None)
    logs_patch.apply(None)
    yield
    for one, attributes in before.items():
        for name in set(vars(one)) - set(attributes):
            delattr(one, name)
        for name, value in attributes.items():
            if vars(one)[name] is not value:
                setattr(one, name, value)


def client(service: str = "kms"):
    # What AWS would refuse is for it to refuse.
    return boto3.client(service, region_name=REGION, config=botocore.config.Config(parameter_validation=False))


# --- the rules ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rotation_days": 89}, "rotation_days = 89: KMS rotates a key after 90 to 2560 days"),
        ({"rotation_days": 2561}, "rotation_days = 2561"),
        ({"deletion_window_days": 6}, "deletion_window_days = 6: KMS deletes a key after 7 to 30 days"),
        ({"deletion_window_days": 31}, "deletion_window_days = 31"),
    ],
)
@mock_aws
def test_what_is_refused(run_module, change, reason):
    answer = run_module(kms_deployment_key, {**WANTED, **change})
    assert answer["failed"] and reason in answer["msg"] and "\n" not in answer["msg"]
    assert client().list_keys()["Keys"] == []


def test_the_policy_has_no_wildcards_and_lets_nobody_else_in():
    policy = kms_rules.policy("aws-cn", "cn-north-1", ACCOUNT, ["/ecs/web"], ["cloudwatch.amazonaws.com"])
    by_sid = {one["Sid"]: one for one in policy["Statement"]}
    assert all("*" not in action for one in by_sid.values() for action in one["Action"])
    root = {"AWS": f"arn:aws-cn:iam::{ACCOUNT}:root"}
    assert {sid for sid, one in by_sid.items() if one["Principal"] == root} == {
        "Administration", "UseThroughServices", "GrantToDatabase", "GrantToRegistry",
    }  # fmt: skip
    # Whoever administers the key cannot decrypt with it but through a service.
    assert not set(kms_rules.USE) & set(by_sid["Administration"]["Action"])
    assert {sid for sid, one in by_sid.items() if "Condition" not in one} == {"Administration"}
    assert by_sid["Logs"]["Condition"]["ArnLike"] == {
        "kms:EncryptionContext:aws:logs:arn": [f"arn:aws-cn:logs:cn-north-1:{ACCOUNT}:log-group:/ecs/web"]
    }
    bare = kms_rules.policy("aws", REGION, ACCOUNT, [], [])
    assert {one["Sid"] for one in bare["Statement"]} == set(by_sid) - {"Logs", "Alarms"}


@pytest.mark.parametrize(
    ("arn", "reason"),
    [
        ("alias/web", "it is not the ARN of a KMS key"),
        (f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/web", "it is not the ARN of a KMS key"),
        (NOWHERE.replace(REGION, "us-east-1"), "the key is in us-east-1 (aws), the deployment is in eu-west-2 (aws)"),
        (NOWHERE.replace("arn:aws:", "arn:aws-cn:"), "the key is in eu-west-2 (aws-cn)"),
        (NOWHERE, "there is no such key"),
    ],
)
@mock_aws
def test_a_given_key_that_is_not_there_is_refused(run_module, arn, reason):
    answer = run_module(kms_deployment_key_info, {**INFO, "key_arn": arn})
    assert answer["failed"] and reason in answer["msg"] and "\n" not in answer["msg"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"KeyManager": "AWS"}, "a key of AWS's"),
        ({"KeySpec": "RSA_2048"}, "RSA_2048 for ENCRYPT_DECRYPT"),
        ({"KeyUsage": "GENERATE_VERIFY_MAC"}, "SYMMETRIC_DEFAULT for GENERATE_VERIFY_MAC"),
        ({"KeyState": "Disabled"}, "the key is Disabled"),
        ({"KeyState": "PendingDeletion"}, "the key is PendingDeletion"),
        ({}, None),
    ],
)
def test_which_given_key_can_be_used(change, reason):
    good = {
        "KeyManager": "CUSTOMER", "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled"
    }  # fmt: skip
    found = kms_rules.metadata_problem(NOWHERE, {**good, **change})
    assert found is None if reason is None else reason in found


# --- the life of a key ---


@mock_aws
def test_life_of_a_key(run_module):
    kms = client()
    check = run_module(kms_deployment_key, WANTED, check=True)
    assert check["changed"] and check["key_arn"].endswith(f"key/{kms_rules.UNMADE}") and check["key_state"] == "Enabled"
    assert kms.list_keys()["Keys"] == []
    made = run_module(kms_deployment_key, WANTED)
    assert made["changed"] and made["diff"] == check["diff"] and made["key_state"] == "Enabled"
    key = kms.describe_key(KeyId="alias/web")["KeyMetadata"]
    assert key["Arn"] == made["key_arn"] and key["Description"] == "for web"
    rotation = kms.get_key_rotation_status(KeyId=key["KeyId"])
    assert rotation["KeyRotationEnabled"] and rotation["RotationPeriodInDays"] == 180
    for checking in (True, False):
        again = run_module(kms_deployment_key, WANTED, check=checking)
        assert not again["changed"] and again["key_arn"] == made["key_arn"]
    shown = run_module(kms_deployment_key_info, INFO)["key"]
    assert shown == {
        "key_arn": made["key_arn"], "own_key_arn": made["key_arn"], "state": "Enabled", "deletion_date": None
    }  # fmt: skip
    given = run_module(kms_deployment_key_info, {**INFO, "name": "other", "key_arn": made["key_arn"]})["key"]
    assert (given["key_arn"], given["own_key_arn"]) == (made["key_arn"], None)

    changes = {
        "rotation_days": 365, "description": "else", "tags": {**OURS, "more": 1}, "log_groups": [], "bucket": "new",
    }  # fmt: skip
    predicted = run_module(kms_deployment_key, {**WANTED, **changes}, check=True)
    changed = run_module(kms_deployment_key, {**WANTED, **changes})
    assert predicted["diff"] == changed["diff"]
    assert set(changed["diff"]["after"]) == {"rotation_days", "description", "tags", "policy"}
    # A bucket that it has once encrypted keeps the key for good.
    assert set(changed["diff"]["after"]["tags"]) == {"team", "more", "mlflow-encrypts/web-artifacts", "mlflow-encrypts/new"}
    # What AWS may have made of the policy is the same policy.
    policy = json.loads(kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
    policy["Statement"][0]["Action"].reverse()
    kms.put_key_policy(KeyId=key["KeyId"], PolicyName="default", Policy=json.dumps(policy))
    assert not run_module(kms_deployment_key, {**WANTED, **changes})["changed"]
    fewer = run_module(kms_deployment_key, {**WANTED, **changes, "tags": OURS})
    assert fewer["changed"] and "more" not in fewer["diff"]["after"]["tags"]

    predicted, gone = run_module(kms_deployment_key, GONE, check=True), run_module(kms_deployment_key, GONE)
    assert predicted["diff"] == gone["diff"] and gone["changed"] and gone["needed_by"] == []
    assert gone["key_state"] == predicted["key_state"] == "PendingDeletion" and gone["deletion_date"]
    assert not run_module(kms_deployment_key, GONE)["changed"]

    # Made again, it is the same key.
    predicted, back = run_module(kms_deployment_key, WANTED, check=True), run_module(kms_deployment_key, WANTED)
    assert predicted["diff"] == back["diff"] and {"deletion", "state"} <= set(back["diff"]["after"])
    assert back["key_arn"] == made["key_arn"] and back["key_state"] == "Enabled"
    assert not run_module(kms_deployment_key, WANTED)["changed"]
    kms.disable_key(KeyId=key["KeyId"])
    enabled = run_module(kms_deployment_key, WANTED)
    assert enabled["diff"]["before"] == {"state": "Disabled"} and enabled["key_state"] == "Enabled"
    assert not run_module(kms_deployment_key, {**GONE, "name": "never", "owner_tags": {"team": "never"}})["changed"]


@mock_aws
def test_a_key_without_an_alias_is_found_by_its_tags(run_module):
    """A run was interrupted after CreateKey."""
    kms = client()
    tags = [{"TagKey": "team", "TagValue": "web"}]
    kept, doomed = (kms.create_key(Tags=tags)["KeyMetadata"]["Arn"] for _key in range(2))
    kms.schedule_key_deletion(KeyId=doomed.rpartition("/")[2], PendingWindowInDays=7)
    made = run_module(kms_deployment_key, WANTED)
    assert made["changed"] and made["key_arn"] == kept
    assert len(kms.list_keys()["Keys"]) == 2 and kms.describe_key(KeyId="alias/web")["KeyMetadata"]["Arn"] == kept
    assert not run_module(kms_deployment_key, WANTED)["changed"]


@mock_aws
def test_what_is_somebody_elses_is_not_touched(run_module):
    kms = client()
    theirs = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/web", TargetKeyId=theirs)
    for options in (WANTED, GONE):
        answer = run_module(kms_deployment_key, options)
        assert answer["failed"] and "not ours to touch" in answer["msg"]
    assert run_module(kms_deployment_key_info, INFO)["key"]["key_arn"] is None


@mock_aws
def test_a_key_is_kept_for_what_needs_it(run_module):
    made = run_module(kms_deployment_key, WANTED)
    rds, s3 = client("rds"), client("s3")
    where = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    for name in ("web-artifacts", "unrelated"):
        s3.create_bucket(Bucket=name, **where)
    for name, key in (("web-db", made["key_arn"]), ("other-db", None)):
        rds.create_db_instance(
            DBInstanceIdentifier=name, Engine="postgres", DBInstanceClass="db.t3.micro", MasterUsername="mlflow",
            MasterUserPassword="not-a-secret", AllocatedStorage=20, StorageEncrypted=True,
            **({"KmsKeyId": key} if key else {}),
        )  # fmt: skip
        rds.create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier=f"{name}-final")
    kept = run_module(kms_deployment_key, {**GONE, "kept_for": ["the logs"]})
    assert not kept["changed"] and kept["key_state"] == "Enabled" and kept["needed_by"] == [
        "the logs", "the database web-db", "the snapshot web-db-final", "the bucket web-artifacts"
    ]  # fmt: skip
    rds.delete_db_instance(DBInstanceIdentifier="web-db", SkipFinalSnapshot=True)
    rds.delete_db_snapshot(DBSnapshotIdentifier="web-db-final")
    assert run_module(kms_deployment_key, GONE)["needed_by"] == ["the bucket web-artifacts"]
    forced = run_module(kms_deployment_key, {**GONE, "force": True}, check=True)
    assert forced["changed"] and forced["needed_by"] == ["the bucket web-artifacts"]
    s3.delete_bucket(Bucket="web-artifacts")
    gone = run_module(kms_deployment_key, {**GONE, "deletion_window_days": 7})
    assert gone["changed"] and gone["needed_by"] == [] and gone["key_state"] == "PendingDeletion"


def test_a_bucket_that_cannot_be_seen_counts(monkeypatch):
    from ansible_collections.mlops.mlflow_aws.plugins.module_utils import kms_keys as finding

    class S3:
        def __init__(self, code):
            self.code = code

        def head_bucket(self, **_arguments):
            raise botocore.exceptions.ClientError({"Error": {"Code": self.code}}, "HeadBucket")

    assert [finding._exists(S3(code), "web-artifacts") for code in ("404", "403", "301")] == [False, True, True]
    with pytest.raises(botocore.exceptions.ClientError):
        finding._exists(S3("500"), "web-artifacts")


# --- log groups ---


@mock_aws
def test_log_groups_take_the_key_and_give_it_back(run_module):
    logs, key = client("logs"), run_module(kms_deployment_key, WANTED)["key_arn"]
    wanted = {"log_groups": ["/ecs/web"], "kms_key": key, "region": REGION}
    early = run_module(cloudwatchlogs_group_keys, wanted, check=True)
    assert early["changed"] and early["encrypted"] == ["/ecs/web"]
    late = run_module(cloudwatchlogs_group_keys, wanted)
    assert late["failed"] and "Log group /ecs/web: there is none" in late["msg"]
    for name in ("/ecs/web", "/ecs/web-other"):
        logs.create_log_group(logGroupName=name)
    assert run_module(cloudwatchlogs_group_keys, wanted, check=True)["changed"]
    assert run_module(cloudwatchlogs_group_keys, wanted)["changed"]
    groups = {one["logGroupName"]: one.get("kmsKeyId") for one in logs.describe_log_groups()["logGroups"]}
    assert groups == {"/ecs/web": key, "/ecs/web-other": None}
    assert not run_module(cloudwatchlogs_group_keys, wanted)["changed"]
    # The key's policy names the groups that it is for.
    refused = run_module(cloudwatchlogs_group_keys, {**wanted, "log_groups": ["/ecs/web-other"]})
    assert refused["failed"] and "is not allowed to be used with LogGroup" in refused["msg"]
    back = run_module(cloudwatchlogs_group_keys, {**wanted, "kms_key": ""})
    assert back["changed"] and back["encrypted"] == []
    assert "kmsKeyId" not in logs.describe_log_groups(logGroupNamePrefix="/ecs/web")["logGroups"][0]


# --- the local AWS's KMS ---


def error(call, **arguments) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


@mock_aws
def test_the_state_of_a_key_decides_what_can_be_done_with_it():
    kms = client()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    secret = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert not kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert error(kms.enable_key_rotation, KeyId=key, RotationPeriodInDays=89) == "ValidationException"
    kms.enable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 365
    assert error(kms.cancel_key_deletion, KeyId=key) == "KMSInvalidStateException"
    assert error(kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=31) == "ValidationException"
    assert error(kms.put_key_policy, KeyId=key, PolicyName="default", Policy="x") == "MalformedPolicyDocumentException"
    assert error(kms.create_key, Policy="{}") == "MalformedPolicyDocumentException"

    kms.disable_key(KeyId=key)
    for call, more in (
        (kms.encrypt, {"Plaintext": b"x"}), (kms.decrypt, {"CiphertextBlob": secret}),
        (kms.generate_data_key, {"KeySpec": "AES_256"}), (kms.enable_key_rotation, {}),
    ):  # fmt: skip
        assert error(call, KeyId=key, **more) == "DisabledException"
    assert "is disabled" in kms_keys.unusable(ACCOUNT, REGION, key)
    scheduled = kms.schedule_key_deletion(KeyId=key)
    assert (scheduled["KeyState"], scheduled["PendingWindowInDays"]) == ("PendingDeletion", 30)
    tag = {"Tags": [{"TagKey": "a", "TagValue": "b"}]}
    for call, more in (
        (kms.decrypt, {"CiphertextBlob": secret}), (kms.enable_key, {}), (kms.get_key_rotation_status, {}),
        (kms.tag_resource, tag), (kms.schedule_key_deletion, {}),
    ):  # fmt: skip
        assert error(call, KeyId=key, **more) == "KMSInvalidStateException"
    assert error(kms.create_alias, AliasName="alias/a", TargetKeyId=key) == "KMSInvalidStateException"
    assert "is pending deletion" in kms_keys.unusable(ACCOUNT, REGION, key)
    kms.cancel_key_deletion(KeyId=key)
    kms.enable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=secret)["Plaintext"] == b"x"
    assert kms_keys.unusable(ACCOUNT, REGION, key) is None
    assert "does not exist" in kms_keys.unusable(ACCOUNT, REGION, NOWHERE)
    assert kms_keys.find(ACCOUNT, "us-east-1", NOWHERE) is None


class PolicyOnly:
    def __init__(self, *statements):
        self.policy = json.dumps({"Statement": list(statements)})


def test_a_key_policy_is_read_as_kms_reads_it():
    service, context = "logs.eu-west-2.amazonaws.com", {"aws:logs:arn": "arn:aws:logs:x:1:log-group:/ecs/web"}
    allow = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "kms:Encrypt", "Resource": "*"}
    name = "kms:EncryptionContext:aws:logs:arn"

    def lets(*statements):
        return kms_keys.lets_service(PolicyOnly(*statements), service, "kms:Encrypt", context)

    assert lets(allow) and lets({**allow, "Action": ["kms:Encrypt*"]}) and lets({**allow, "Principal": "*"})
    assert not lets({**allow, "Action": "kms:Decrypt"}) and not lets({**allow, "Principal": {"AWS": "*"}})
    assert lets({**allow, "Condition": {"ArnLike": {name: ["arn:*:/ecs/*"]}}})
    assert lets({**allow, "Condition": {"StringEquals": {name: context["aws:logs:arn"]}}})
    assert not lets({**allow, "Condition": {"StringEquals": {name: "arn:*"}}})
    assert not lets({**allow, "Condition": {"StringEquals": {"aws:SourceAccount": "1"}}})
    assert not lets({**allow, "Condition": {"ArnNotLike": {name: "arn:other"}}})
    assert not lets(allow, {**allow, "Effect": "Deny"})
