# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface endpoints module against an in-process AWS."""

from __future__ import annotations

import typing as t

import boto3
import pytest
from moto import mock_aws

from ansible_collections.mlops.mlflow_aws.plugins.modules import ec2_interface_endpoints as module

OWNER = {"owner": "us", "deployment": "web"}
pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
def ec2(aws_environment: None) -> t.Iterator[t.Any]:
    with mock_aws():
        yield boto3.client("ec2", region_name="eu-west-2")


@pytest.fixture
def want(ec2: t.Any) -> dict[str, t.Any]:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"] for number in range(2)
    ]
    groups = [
        ec2.create_security_group(VpcId=vpc, GroupName=name, Description=name)["GroupId"] for name in ("one", "two")
    ]
    return {
        "services": ["logs", "secretsmanager"],
        "vpc_id": vpc,
        "subnet_ids": subnets,
        "security_group_ids": groups[:1],
        "owner_tags": OWNER,
        "tags": {**OWNER, "cost": 12},
    }


def found(ec2: t.Any) -> dict[str, dict[str, t.Any]]:
    return {
        one["ServiceName"]: one for one in ec2.describe_vpc_endpoints()["VpcEndpoints"] if one["State"] != "deleted"
    }


LOGS, SECRETS = "com.amazonaws.eu-west-2.logs", "com.amazonaws.eu-west-2.secretsmanager"


def test_make_leave_alone_change_and_remove(ec2: t.Any, want: dict, run_module: t.Callable) -> None:
    check = run_module(module, want, check=True)
    assert check["changed"] and check["endpoints"] == {} and found(ec2) == {}
    assert set(check["diff"]["after"]) == {"endpoint logs", "endpoint secretsmanager"}
    made = run_module(module, want)
    there = found(ec2)
    assert made["diff"] == check["diff"] and set(there) == {LOGS, SECRETS}
    assert made["endpoints"] == {name.rpartition(".")[2]: one["VpcEndpointId"] for name, one in there.items()}
    for one in there.values():
        assert (one["VpcEndpointType"], one["PrivateDnsEnabled"]) == ("Interface", True)
        assert sorted(one["SubnetIds"]) == sorted(want["subnet_ids"])
        assert [group["GroupId"] for group in one["Groups"]] == want["security_group_ids"]
        assert {"Key": "cost", "Value": "12"} in one["Tags"]
    for checking in (True, False):
        again = run_module(module, want, check=checking)
        assert not again["changed"] and again["endpoints"] == made["endpoints"]

    other = want["subnet_ids"][:1]
    changed = run_module(module, {**want, "services": ["logs", "ec2"], "subnet_ids": other, "tags": OWNER})
    assert set(changed["diff"]["after"]) == {"endpoint secretsmanager", "endpoint logs", "tags of endpoint logs", "endpoint ec2"}
    there = found(ec2)
    assert set(there) == {LOGS, "com.amazonaws.eu-west-2.ec2"} and there[LOGS]["SubnetIds"] == other
    assert changed["endpoints"]["logs"] == made["endpoints"]["logs"]
    assert {tag["Key"] for tag in there[LOGS]["Tags"]} == set(OWNER)

    doomed = {"services": [], "owner_tags": OWNER}
    assert run_module(module, doomed, check=True)["changed"] and len(found(ec2)) == 2
    assert run_module(module, doomed)["endpoints"] == {} and found(ec2) == {}
    assert not run_module(module, doomed)["changed"]


def test_groups_change_in_place(ec2: t.Any, want: dict, run_module: t.Callable) -> None:
    made = run_module(module, want)
    groups = [one["GroupId"] for one in ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["two"]}])["SecurityGroups"]]
    moved = run_module(module, {**want, "security_group_ids": groups})
    assert moved["changed"] and moved["endpoints"] == made["endpoints"]
    assert [group["GroupId"] for group in found(ec2)[LOGS]["Groups"]] == groups
    assert not run_module(module, {**want, "security_group_ids": groups})["changed"]


def test_endpoints_of_others_stay(ec2: t.Any, want: dict, run_module: t.Callable) -> None:
    tags = [{"ResourceType": "vpc-endpoint", "Tags": [{"Key": "deployment", "Value": "web"}]}]
    ours = [{"ResourceType": "vpc-endpoint", "Tags": [{"Key": key, "Value": value} for key, value in OWNER.items()]}]
    ec2.create_vpc_endpoint(
        VpcId=want["vpc_id"], VpcEndpointType="Interface", ServiceName=LOGS, SubnetIds=want["subnet_ids"], TagSpecifications=tags
    )
    ec2.create_vpc_endpoint(
        VpcId=want["vpc_id"], VpcEndpointType="Gateway", ServiceName="com.amazonaws.eu-west-2.s3", TagSpecifications=ours
    )
    assert not run_module(module, {"services": [], "owner_tags": OWNER})["changed"]
    assert len(found(ec2)) == 2


def test_refusals_are_one_line_and_come_before_the_first_write(ec2: t.Any, want: dict, run_module: t.Callable) -> None:
    refused = run_module(module, {**want, "services": ["logs", "nonsense"]})
    assert refused["msg"].startswith("Interface endpoint com.amazonaws.eu-west-2.nonsense: AWS offers none of this name; see")
    refused = run_module(module, {**want, "subnet_ids": []})
    assert refused["msg"] == "subnet_ids is empty: interface endpoints need it; name it, or no services"
    assert found(ec2) == {}


class FakeEc2:
    """Answers as AWS does on the way from one endpoint to the next, which moto does not pass through."""

    def __init__(self, states: list[str]) -> None:
        self.states = states
        self.calls: list[str] = []

    def get_paginator(self, operation: str) -> t.Any:
        return type("Paginator", (), {"paginate": lambda _self, **more: self._pages(operation)})()

    def _pages(self, operation: str) -> t.Any:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        endpoint = {
            "VpcEndpointId": "vpce-1", "VpcEndpointType": "Interface", "ServiceName": LOGS, "State": state, "VpcId": "vpc-1",
            "SubnetIds": ["subnet-1"], "Groups": [{"GroupId": "sg-1"}], "PrivateDnsEnabled": False, "Tags": [],
        }  # fmt: skip
        answer = {"VpcEndpoints": [endpoint]} if operation == "describe_vpc_endpoints" else {"ServiceDetails": [{"ServiceName": LOGS}]}
        return type("Pages", (), {"build_full_result": lambda _self: answer})()

    def __getattr__(self, name: str) -> t.Callable:
        def call(**more: t.Any) -> dict:
            self.calls.append(name)
            if name == "create_vpc_endpoint":
                return {"VpcEndpoint": {"VpcEndpointId": "vpce-2"}}
            return {"Unsuccessful": [{"Error": {"Message": "it is busy"}}]} if name == "delete_vpc_endpoints" else {}

        return call


PARAMS = {"services": ["logs"], "vpc_id": "vpc-1", "subnet_ids": ["subnet-1"], "security_group_ids": ["sg-1"]}


def test_the_private_name_is_switched_on_again() -> None:
    ec2 = FakeEc2(["available"])
    changes = module.Endpoints(ec2, "eu-west-2", OWNER).plan(PARAMS, {})
    assert changes.diff["after"]["endpoint logs"]["private_dns"] is True
    changes.apply()
    assert ec2.calls == ["modify_vpc_endpoint"]


def test_an_endpoint_that_is_going_is_waited_for_before_its_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    ec2 = FakeEc2(["deleting", "deleting", "deleted"])
    endpoints = module.Endpoints(ec2, "eu-west-2", OWNER)
    changes = endpoints.plan(PARAMS, {})
    changes.apply()
    assert ec2.calls == ["create_vpc_endpoint"] and endpoints.ids == {"logs": "vpce-2"}

    clock = iter(range(0, 10000, 100))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    stuck = module.Endpoints(FakeEc2(["deleting"]), "eu-west-2", OWNER).plan(PARAMS, {})
    with pytest.raises(ValueError, match="the former one was not gone after 300 s; run again"):
        stuck.apply()


def test_a_deletion_that_aws_refuses_is_told() -> None:
    changes = module.Endpoints(FakeEc2(["available"]), "eu-west-2", OWNER).plan({**PARAMS, "services": []}, {})
    with pytest.raises(ValueError, match="Interface endpoint vpce-1: AWS does not remove it: it is busy; mend that and run again"):
        changes.apply()
