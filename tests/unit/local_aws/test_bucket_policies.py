# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from local_aws import bucket_policies
from local_aws.bucket_policies import ALLOW, DENY, NEITHER, Caller, NotUnderstood

ACCOUNT = "123456789012"
TASK = Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:role/demo-task")
OTHER = Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:role/demo-task-2")
ROOT = Caller(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")
NOBODY = Caller(ACCOUNT, None)
OBJECT = "arn:aws:s3:::models/mlflow/0/a.bin"


DELIVERY = Caller("", None, "logdelivery.elasticloadbalancing.amazonaws.com")


def statement(**more):
    plain = {"Principal": {"AWS": TASK.arn}, "Action": "s3:*", "Resource": "arn:aws:s3:::models/*"}
    return {"Effect": "Deny", **plain, **more}


def verdict(one, caller=TASK, action="s3:PutObject", resource=OBJECT):
    return bucket_policies.verdict(json.dumps({"Statement": one}), caller, action, resource)


@pytest.mark.parametrize(
    ("principal", "denied"),
    [
        ({"AWS": TASK.arn}, {TASK}),
        ({"AWS": [OTHER.arn, TASK.arn], "Service": "logging.s3.amazonaws.com"}, {TASK, OTHER}),
        ({"Service": "logging.s3.amazonaws.com"}, set()),
        ({"AWS": ACCOUNT}, {TASK, OTHER, ROOT}),
        ({"AWS": ROOT.arn}, {TASK, OTHER, ROOT}),
        ({"AWS": "999999999999"}, set()),
        ({"AWS": "*"}, {TASK, OTHER, ROOT, NOBODY}),
        ("*", {TASK, OTHER, ROOT, NOBODY}),
    ],
)
def test_who_is_meant(principal, denied):
    callers = (TASK, OTHER, ROOT, NOBODY)
    assert {one for one in callers if verdict(statement(Principal=principal), one) == DENY} == denied


@pytest.mark.parametrize(
    ("given", "action", "resource", "said"),
    [
        ({"Action": "s3:PutObject"}, "s3:PutObject", OBJECT, DENY),
        ({"Action": ["S3:get*", "s3:put*"]}, "s3:PutObject", OBJECT, DENY),
        ({"Action": "s3:GetObject"}, "s3:PutObject", OBJECT, NEITHER),
        ({"NotAction": "s3:GetObject", "Action": None}, "s3:PutObject", OBJECT, DENY),
        ({}, "s3:ListBucket", "arn:aws:s3:::models", NEITHER),
        ({"Resource": ["arn:aws:s3:::models", "arn:aws:s3:::models/?lflow/*"]}, "s3:PutObject", OBJECT, DENY),
        ({"Resource": "arn:aws:s3:::models/mlflow"}, "s3:PutObject", OBJECT, NEITHER),
        ({"Effect": "Allow"}, "s3:PutObject", OBJECT, ALLOW),
    ],
)
def test_what_is_meant(given, action, resource, said):
    given = {key: value for key, value in statement(**given).items() if not (key == "Action" and "NotAction" in given)}
    assert verdict(given, TASK, action, resource) == said


def test_a_deny_wins_wherever_it_stands():
    assert verdict([statement(Effect="Allow"), statement()]) == DENY
    assert verdict([statement(), statement(Effect="Allow")]) == DENY


@pytest.mark.parametrize(
    ("condition", "denied"),
    [
        ({}, {TASK, ROOT, NOBODY}),
        ({"Bool": {"aws:SecureTransport": "false"}}, set()),
        ({"Bool": {"aws:SecureTransport": ["true", "false"]}}, {TASK, ROOT, NOBODY}),
        ({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, set()),
        ({"NumericLessThan": {"s3:TlsVersion": 1.4}}, {TASK, ROOT, NOBODY}),
        ({"ArnEquals": {"aws:PrincipalArn": TASK.arn}}, {TASK}),
        ({"StringLike": {"AWS:PrincipalArn": "arn:aws:iam::*:role/demo-*"}}, {TASK}),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, {ROOT, NOBODY}),
        ({"StringNotEquals": {"aws:PrincipalArn": [ROOT.arn, TASK.arn]}}, {NOBODY}),
        ({"StringEquals": {"aws:PrincipalArn": TASK.arn}, "Bool": {"aws:SecureTransport": "false"}}, set()),
    ],
)
def test_conditions_are_judged(condition, denied):
    given = statement(Principal="*", Condition=condition)
    assert {one for one in (TASK, ROOT, NOBODY) if verdict(given, one) == DENY} == denied


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, "condition IpAddress aws:SourceIp"),
        ({"Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}, "condition StringEquals aws:SourceVpce"),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}}}, "condition StringEquals aws:SourceAccount"),
        ({"Condition": {"Bool": {"aws:PrincipalArn": "true"}}}, "condition Bool aws:PrincipalArn"),
        ({"Condition": {"StringEqualsIfExists": {"aws:PrincipalArn": "x"}}}, "condition StringEqualsIfExists"),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/anna"}}, "Principal .*:user/anna"),
        ({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/*"}}, r"Principal .*:role/\*"),
        ({"Principal": {"Federated": "accounts.google.com"}}, "Principal Federated accounts.google.com"),
    ],
)
def test_what_cannot_be_judged_is_named(given, named):
    with pytest.raises(NotUnderstood, match=named):
        bucket_policies.check(json.dumps({"Statement": [statement(**given)]}))


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"Statement": []}', '{"Statement": ["Deny"]}'])
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(ValueError):
        bucket_policies.check(text)


def test_a_statement_without_principal_is_refused():
    given = statement()
    del given["Principal"]
    with pytest.raises(NotUnderstood, match="without a Principal"):
        bucket_policies.check(json.dumps({"Statement": given}))
    with pytest.raises(NotUnderstood, match="NotPrincipal"):
        bucket_policies.check(json.dumps({"Statement": {**given, "NotPrincipal": "*"}}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ALLOW),
        ({"Principal": {"Service": ["s3.amazonaws.com", DELIVERY.service]}}, ALLOW),
        ({"Principal": {"Service": "delivery.logs.amazonaws.com"}}, NEITHER),
        ({"Principal": {"AWS": ACCOUNT}}, NEITHER),
        # It is not documented to tell for whom it works.
        ({"Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}}}, NEITHER),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:elasticloadbalancing:*"}}}, NEITHER),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, ALLOW),
    ],
)
def test_services_are_told_from_each_other(given, said):
    one = statement(**{"Effect": "Allow", "Principal": {"Service": DELIVERY.service}, **given})
    bucket_policies.check(json.dumps({"Statement": one}))
    assert verdict(one, DELIVERY) == said
    assert verdict(statement(Principal="*"), DELIVERY) == DENY


def test_the_roles_that_must_exist():
    given = [statement(), statement(Principal="*"), statement(Principal={"AWS": [ROOT.arn, OTHER.arn]})]
    assert bucket_policies.roles(json.dumps({"Statement": given})) == {TASK.arn, OTHER.arn}


@pytest.mark.parametrize(
    ("operation", "version", "needed"),
    [
        ("PutObject", "", "s3:PutObject"),
        ("UploadPart", "", "s3:PutObject"),
        ("HeadObject", "", "s3:GetObject"),
        ("GetObject", "v", "s3:GetObjectVersion"),
        ("DeleteObject", "v", "s3:DeleteObjectVersion"),
        ("ListObjectsV2", "", "s3:ListBucket"),
        ("HeadBucket", "", "s3:ListBucket"),
        ("GetBucketPolicy", "v", "s3:GetBucketPolicy"),
    ],
)
def test_the_permission_of_an_operation(operation, version, needed):
    assert bucket_policies.permission(operation, version) == needed
