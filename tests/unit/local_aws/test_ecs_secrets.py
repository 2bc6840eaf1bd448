# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from local_aws import ecs_permissions, ecs_secrets
from local_aws.ecs_secrets import SecretError, SecretReference

ARN = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:demo/db-AbCdEf"


@pytest.mark.parametrize(("value_from", "reference"), [
    (ARN, SecretReference(ARN)),
    (f"{ARN}:password::", SecretReference(ARN, "password")),
    (f"{ARN}::AWSPREVIOUS:", SecretReference(ARN, "", "AWSPREVIOUS")),
    (f"{ARN}:password::v-1", SecretReference(ARN, "password", "", "v-1")),
    ("demo/db", SecretReference("demo/db")),
])
def test_value_from_is_taken_apart(value_from, reference):
    assert ecs_secrets.parse(value_from) == reference


def test_one_key_of_a_json_secret():
    text = json.dumps({"password": "p%@:'\"", "port": 5432})
    assert ecs_secrets.pick(text, SecretReference(ARN, "password")) == "p%@:'\""
    assert ecs_secrets.pick(text, SecretReference(ARN, "port")) == "5432"
    assert ecs_secrets.pick(text, SecretReference(ARN)) == text


@pytest.mark.parametrize("text", ['{"other": "canary-value"}', "canary-value", '["canary-value"]'])
def test_a_missing_key_is_named_and_the_value_is_not_shown(text):
    with pytest.raises(SecretError) as refusal:
        ecs_secrets.pick(text, SecretReference(ARN, "password"))
    assert str(refusal.value).startswith("ResourceInitializationError: unable to pull secrets or registry auth: ")
    assert "password" in str(refusal.value) and "canary" not in str(refusal.value)


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect, action, resource):
    return {"Effect": effect, "Action": action, "Resource": resource}


GET = "secretsmanager:GetSecretValue"


@pytest.mark.parametrize(("policies", "allowed"), [
    ([], False),
    ([policy(statement("Allow", GET, ARN))], True),
    ([policy(statement("Allow", ["s3:*", "SecretsManager:get*"], [f"{ARN[:-3]}???"]))], True),
    ([policy(statement("Allow", "*", "*"))], True),
    ([policy(statement("Allow", GET, ARN + "x"))], False),
    ([policy(statement("Allow", "secretsmanager:DescribeSecret", "*"))], False),
    ([policy(statement("Allow", "*", "*")), policy(statement("Deny", "secretsmanager:*", "*"))], False),
    ([policy({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"})], True),
    ([policy({"Effect": "Allow", "NotAction": "secretsmanager:*", "Resource": "*"})], False),
    ([policy({"Effect": "Allow", "Action": GET, "NotResource": ARN})], False),
    ([json.dumps({"Statement": statement("Allow", GET, "*")})], True),
])
def test_policies_are_read_as_iam_reads_them(policies, allowed):
    assert ecs_permissions.allowed(policies, GET, ARN) is allowed


TASKS = "ecs-tasks.amazonaws.com"


def test_a_role_must_trust_the_service_that_acts_with_it():
    def trust(principal):
        return policy({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})

    assert ecs_permissions.trusts(trust({"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]}), TASKS)
    assert not ecs_permissions.trusts(trust({"Service": "ec2.amazonaws.com"}), TASKS)
    assert not ecs_permissions.trusts(trust({"AWS": "arn:aws:iam::123456789012:root"}), TASKS)
