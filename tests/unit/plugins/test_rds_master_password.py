# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The password of a database's master user: each test lists the calls it expects; botocore checks arguments and answers.

That the password is the only one that works afterwards is tested on the local AWS.
"""

from __future__ import annotations

import itertools
import json
import typing as t

import boto3
import pytest
from botocore.stub import Stubber

from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import rds_client
from ansible_collections.mlops.mlflow_aws.plugins.modules import rds_master_password

PASSWORD = "canary-password"
OPTIONS = {
    "db_instance_identifier": "web-db", "secret_id": "web/database", "version_stage": "AWSPENDING", "owner_tags": {"owner": "us"},
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def stubs(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, Stubber]]:
    stubs = {name: Stubber(boto3.client(name, region_name="eu-west-2")) for name in ("rds", "secretsmanager")}
    retry = AWSRetry.jittered_backoff(retries=1)
    monkeypatch.setattr(
        rds_client, "connect", lambda _module, name="rds": RetryingBotoClientWrapper(stubs[name].client, retry)
    )
    for stub in stubs.values():
        stub.activate()
    yield stubs
    for stub in stubs.values():
        stub.assert_no_pending_responses()


def describes(stubs: dict[str, Stubber], status: str = "available", tags: str = "us", **more: t.Any) -> None:
    instance = {"DBInstanceIdentifier": "web-db", "DBInstanceStatus": status, "MasterUsername": "web",
                "TagList": [{"Key": "owner", "Value": tags}], **more}  # fmt: skip
    stubs["rds"].add_response("describe_db_instances", {"DBInstances": [instance]})


def reads(stubs: dict[str, Stubber], username: str = "web") -> None:
    content = {"SecretString": json.dumps({"username": username, "password": PASSWORD})}
    stubs["secretsmanager"].add_response(
        "get_secret_value", content, {"SecretId": "web/database", "VersionStage": "AWSPENDING"}
    )


def modifies(stubs: dict[str, Stubber]) -> None:
    wanted = {"DBInstanceIdentifier": "web-db", "MasterUserPassword": PASSWORD, "ApplyImmediately": True}
    stubs["rds"].add_response("modify_db_instance", {"DBInstance": {}}, wanted)


def test_the_password_is_set_and_awaited(stubs, run_module, monkeypatch):
    monkeypatch.setattr(rds_master_password.time, "sleep", lambda _seconds: None)
    describes(stubs)
    reads(stubs)
    describes(stubs, status="backing-up")
    describes(stubs)
    modifies(stubs)
    describes(stubs, PendingModifiedValues={"MasterUserPassword": "****"})
    describes(stubs, status="resetting-master-credentials", PendingModifiedValues={"MasterUserPassword": "****"})
    describes(stubs)
    result = run_module(rds_master_password, OPTIONS)
    assert result["changed"] and PASSWORD not in json.dumps(result)
    assert result["diff"]["after"] == {"password of the master user": "a new one"}


def test_check_mode_reads_no_secret(stubs, run_module):
    describes(stubs)
    assert run_module(rds_master_password, OPTIONS, check=True)["changed"]


def test_what_is_not_there_or_not_ours_is_refused(stubs, run_module):
    stubs["rds"].add_client_error("describe_db_instances", "DBInstanceNotFound")
    assert "Database web-db: there is no such instance; deploy first" == run_module(rds_master_password, OPTIONS)["msg"]
    describes(stubs, tags="them")
    assert "it is not ours to touch" in run_module(rds_master_password, OPTIONS)["msg"]


def test_a_secret_of_another_user_is_refused(stubs, run_module):
    describes(stubs)
    reads(stubs, "somebody")
    refused = run_module(rds_master_password, OPTIONS)
    assert refused["msg"] == "Secret web/database: its username is not 'web'; repair it by hand or remove it"


def test_a_version_that_is_not_there_is_named(stubs, run_module):
    describes(stubs)
    stubs["secretsmanager"].add_client_error("get_secret_value", "ResourceNotFoundException")
    assert "it has no version AWSPENDING; store one first" in run_module(rds_master_password, OPTIONS)["msg"]


def test_a_password_that_is_never_applied_is_an_error(stubs, run_module, monkeypatch):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(rds_master_password.time, "monotonic", lambda: next(clock))
    describes(stubs)
    reads(stubs)
    describes(stubs)
    modifies(stubs)
    describes(stubs, PendingModifiedValues={"MasterUserPassword": "****"})
    refused = run_module(rds_master_password, {**OPTIONS, "wait_timeout": 5})
    assert "RDS has not applied the password after 5 s; run again" in refused["msg"]
