# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from local_aws.credentials import PATH, Credentials

ROLE = "arn:aws:iam::123456789012:role/demo-task"


def test_an_access_key_tells_the_role_it_was_given_for():
    credentials = Credentials()
    path = credentials.issue(ROLE)
    given = [json.loads(credentials.answer(path) or b"{}") for _twice in range(2)]
    assert given[0]["RoleArn"] == ROLE and given[0]["AccessKeyId"] != given[1]["AccessKeyId"]
    assert {credentials.role_of(one["AccessKeyId"]) for one in given} == {ROLE}
    assert credentials.role_of("AKIAIOSFODNN7EXAMPLE") is None
    assert credentials.answer(PATH + "guessed") is None


def test_functions_are_told_from_tasks():
    credentials = Credentials()
    task = json.loads(credentials.answer(credentials.issue(ROLE)) or b"{}")["AccessKeyId"]
    function = credentials.of_function(ROLE)["AccessKeyId"]
    assert (credentials.role_of(function), credentials.function_role_of(function)) == (ROLE, ROLE)
    assert (credentials.role_of(task), credentials.function_role_of(task)) == (ROLE, None)
