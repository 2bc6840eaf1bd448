# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module aws_account_check and the decisions behind it."""

from __future__ import annotations

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_offers
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.aws_errors import explain
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.modules import aws_account_check

pytestmark = pytest.mark.usefixtures("aws_environment")
VPC = "vpc-0123456789abcdef0"
OFFERED = ["14.12", "15.7", "15.8", "15.10", "16.3"]


def refusal(code):
    return ClientError({"Error": {"Code": code, "Message": "some\ntext"}}, "Call")


class AWS:
    """Stands for every client; answers are by operation, errors are raised."""

    def __init__(self, **answers):
        self.answers = {
            "get_caller_identity": {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/ops"},
            "describe_availability_zones": {
                "AvailabilityZones": [
                    zone("b"),
                    zone("a"),
                    zone("c", State="impaired"),
                    zone("lhr", ZoneType="local-zone"),
                ]
            },
            "describe_vpcs": {"Vpcs": [{"VpcId": VPC}]},
            "describe_subnets": {"Subnets": [subnet(1, "a"), subnet(2, "b"), subnet(3, "a"), subnet(4, "b")]},
            "describe_db_engine_versions": {"DBEngineVersions": [{"EngineVersion": version} for version in OFFERED]},
            "describe_orderable_db_instance_options": lambda arguments: {
                "OrderableDBInstanceOptions": [
                    option
                    for option in (orderable("db.t3.micro"), orderable("db.t3.small"))
                    if option["DBInstanceClass"] == arguments.get("DBInstanceClass", option["DBInstanceClass"])
                ]
            },
            **answers,
        }

    def can_paginate(self, operation):
        return operation not in ("get_caller_identity", "describe_availability_zones")

    def get_paginator(self, operation):
        return Pages(lambda **arguments: self._answer(operation, arguments))

    def __getattr__(self, operation):
        return lambda aws_retry, **arguments: self._answer(operation, arguments)

    def _answer(self, operation, arguments):
        answer = self.answers[operation]
        if isinstance(answer, Exception):
            raise answer
        return answer(arguments) if callable(answer) else answer


class Pages:
    def __init__(self, ask):
        self.paginate = lambda **arguments: type("Page", (), {"build_full_result": lambda _self: ask(**arguments)})()


def zone(letter, **more):
    return {"ZoneName": f"eu-west-2{letter}", "State": "available", **more}


def subnet(number, letter, vpc=VPC):
    return {"SubnetId": f"subnet-0000000{number}", "AvailabilityZone": f"eu-west-2{letter}", "VpcId": vpc}


def orderable(instance_class, zones="ab"):
    return {
        "DBInstanceClass": instance_class,
        "AvailabilityZones": [{"Name": f"eu-west-2{letter}"} for letter in zones],
    }


@pytest.fixture
def check(run_module, monkeypatch):
    def run(aws=None, **options):
        monkeypatch.setattr(aws_account_check.AccountCheck, "_client", lambda _self, _service, **_options: aws or AWS())
        return run_module(aws_account_check, {"region": "eu-west-2", "variable_prefix": "preflight_", **options})

    return run


DATABASE = {"db_engine_version": "15", "db_instance_class": "db.t3.micro"}
EXISTING = {
    "vpc_id": VPC,
    "public_subnet_ids": ["subnet-00000001", "subnet-00000002"],
    "private_subnet_ids": ["subnet-00000003", "subnet-00000004"],
}


def tagged(arn, **tags):
    return {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def test_which_parts_of_a_deployment_exist(check):
    balancer = "arn:aws:elasticloadbalancing:eu-west-2:123456789012:loadbalancer/app/web/1"
    found = [
        tagged(balancer, **{"mlflow-domain": "mlflow.example.com"}),
        tagged("arn:aws:acm:eu-west-2:123456789012:certificate/1"),
        tagged("arn:aws:acm:eu-west-2:123456789012:certificate/2", **{"mlflow-domain": "not told by a certificate"}),
    ]
    asked = []

    def answer(arguments):
        asked.append(arguments["TagFilters"])
        elsewhere = "ResourceTypeFilters" in arguments
        return {"ResourceTagMappingList": [tagged("arn:aws:budgets::123456789012:budget/web")] if elsewhere else found}

    result = check(AWS(get_resources=answer), deployment_tags={"owner": 1})
    assert result["deployed_services"] == ["acm", "budgets", "elasticloadbalancing"]
    assert result["deployed_domain_name"] == "mlflow.example.com"
    assert asked == [[{"Key": "owner", "Values": ["1"]}]] * 2
    assert check()["deployed_services"] == [] and check()["deployed_domain_name"] is None


def test_where_what_has_no_region_is_not_shown_nothing_of_it_is_known(check):
    def answer(arguments):
        if "ResourceTypeFilters" in arguments:
            raise refusal("AccessDeniedException")
        return {"ResourceTagMappingList": [tagged("arn:aws:acm:eu-west-2:123456789012:certificate/1")]}

    assert check(AWS(get_resources=answer), deployment_tags={"owner": 1})["deployed_services"] == ["acm"]


def test_in_the_region_of_what_has_none_one_question_is_enough(check, monkeypatch):
    monkeypatch.setattr(aws_account_check, "GLOBAL_REGIONS", {"aws": "eu-west-2"})
    asked = []
    aws = AWS(get_resources=lambda arguments: asked.append(arguments) or {"ResourceTagMappingList": []})
    check(aws, deployment_tags={"owner": 1})
    assert [list(one) for one in asked] == [["TagFilters"]]


def test_what_is_found_and_chosen(check):
    result = check(**DATABASE)
    assert {
        key: result[key]
        for key in ("account_id", "caller_arn", "partition", "region", "availability_zones", "db_engine_version")
    } == {
        "account_id": "123456789012",
        "caller_arn": "arn:aws:iam::123456789012:user/ops",
        "partition": "aws",
        "region": "eu-west-2",
        "availability_zones": ["eu-west-2a", "eu-west-2b"],
        "db_engine_version": "15.10",
    }
    assert result["changed"] is False


def test_a_full_version_given_zones_and_an_existing_network_are_kept(check):
    assert check(db_engine_version="15.7")["db_engine_version"] == "15.7"
    assert check(availability_zones=["eu-west-2b"])["availability_zones"] == ["eu-west-2b"]
    assert check(**EXISTING)["availability_zones"] == ["eu-west-2a", "eu-west-2b"]
    assert check()["db_engine_version"] is None


CASES = [
    ({}, {"region": "eu-west-9"}, "preflight_region = 'eu-west-9': is not a region of AWS; did you mean"),
    ({}, {"region": "nowhere"}, "preflight_region = 'nowhere': is not a region of AWS; choose one such as eu-west-2"),
    ({}, {"region": "eu-west-1"}, "the environment says AWS_REGION=eu-west-2"),
    (
        {"get_caller_identity": refusal("ExpiredToken")},
        {},
        "AWS credentials: they have expired (ExpiredToken from sts:GetCallerIdentity)",
    ),
    (
        {"get_caller_identity": exceptions.NoCredentialsError()},
        {},
        "AWS credentials: Unable to locate credentials; set AWS_PROFILE",
    ),
    (
        {"describe_availability_zones": refusal("UnauthorizedOperation")},
        {},
        "AWS permissions: ec2:DescribeAvailabilityZones is denied",
    ),
    (
        {},
        {"availability_zones": ["eu-west-2x"]},
        "is not a zone of this region and account; choose among eu-west-2a, eu-west-2b",
    ),
    ({}, {"availability_zones": ["eu-west-2c"]}, "the zone's state is impaired"),
    ({}, {"zone_count": 3}, "the region has 2 usable zones, 3 are needed"),
    (
        {},
        {"db_engine_version": "15.9"},
        "RDS does not offer this version of PostgreSQL here; the nearest on offer: 15.7, 15.8, 15.10, 16.3",
    ),
    ({}, {"db_engine_version": "99"}, "preflight_db_engine_version = '99': RDS does not offer"),
    ({"describe_db_engine_versions": refusal("Throttling")}, DATABASE, "AWS: rds:DescribeDBEngineVersions failed: "),
    ({}, {**DATABASE, "db_instance_class": "db.t3.mikro"}, "the nearest on offer: db.t3.micro"),
    (
        {"describe_orderable_db_instance_options": {"OrderableDBInstanceOptions": []}},
        DATABASE,
        "the nearest on offer: none",
    ),
    (
        {"describe_orderable_db_instance_options": {"OrderableDBInstanceOptions": [orderable("db.t3.micro", "c")]}},
        DATABASE,
        "RDS offers it in none of eu-west-2a, eu-west-2b; choose zones among eu-west-2c",
    ),
    (
        {"describe_orderable_db_instance_options": refusal("AccessDenied")},
        DATABASE,
        "rds:DescribeOrderableDBInstanceOptions is denied",
    ),
    ({"describe_vpcs": {"Vpcs": []}}, EXISTING, f"preflight_vpc_id = '{VPC}': there is no such VPC"),
    (
        {"describe_vpcs": refusal("AccessDenied"), "describe_subnets": refusal("AccessDenied")},
        EXISTING,
        "ec2:DescribeSubnets is denied",
    ),
    ({"describe_subnets": {"Subnets": []}}, EXISTING, "there is no such subnet in this region"),
    (
        {"describe_subnets": {"Subnets": [subnet(1, "a", "vpc-other"), subnet(2, "b")]}},
        EXISTING,
        f"belongs to vpc-other, not to {VPC}",
    ),
    (
        {"describe_subnets": {"Subnets": [subnet(1, "a"), subnet(2, "a")]}},
        EXISTING,
        "all lie in eu-west-2a, two zones are needed",
    ),
]


@pytest.mark.parametrize(("answers", "options", "expected"), CASES, ids=lambda value: str(value)[:50])
def test_refusals_are_one_line_each(check, answers, options, expected):
    result = check(AWS(**answers), **options)
    assert result["failed"]
    assert [line for line in result["msg"].splitlines() if expected in line], result["msg"]
    assert all(line.startswith("- ") for line in result["msg"].splitlines()[1:])


def test_problems_of_zones_and_database_come_together(check):
    message = check(availability_zones=["eu-west-2x"], db_engine_version="9.6")["msg"]
    assert message.startswith("2 problems, nothing was changed:")


def test_a_missing_profile_is_named(check, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    message = check(profile="nope")["msg"]
    assert message.startswith("AWS credentials: there is no profile 'nope' (AWS_PROFILE)") and "\n" not in message


def test_no_region_at_all():
    found = Findings()
    assert not aws_offers.check_region(None, ["eu-west-2"], None, found)
    assert "no region is set" in found.problems[0]


def test_clients_are_made_for_the_region(monkeypatch):
    made = []
    module = type(
        "Module",
        (),
        {
            "params": {"variable_names": {}, "variable_prefix": ""},
            "client": lambda _self, service, retry_decorator: made.append(service),
        },
    )()
    aws_account_check.AccountCheck(module)._client("ec2")
    assert made == ["ec2"]


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (refusal("InvalidClientTokenId"), "AWS credentials: AWS does not know them"),
        (refusal("SignatureDoesNotMatch"), "AWS credentials: the secret key does not belong"),
        (refusal("OptInRequired"), "AWS region: "),
        (refusal("InternalError"), "AWS: sts:GetCallerIdentity failed: "),
        (exceptions.PartialCredentialsError(provider="env", cred_var="secret"), "AWS credentials: "),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="old"), "AWS credentials: "),
        (exceptions.ConnectTimeoutError(endpoint_url="http://x"), "AWS endpoint: "),
    ],
)
def test_errors_are_explained_in_one_line(error, start):
    line = explain(error, "sts:GetCallerIdentity")
    assert line.startswith(start) and "; " in line and "\n" not in line


@given(
    st.lists(st.tuples(st.integers(10, 19), st.integers(0, 30)), unique=True), st.integers(10, 19), st.integers(0, 30)
)
def test_a_chosen_version_is_on_offer_and_a_refusal_names_near_ones(versions, major, minor):
    offered = [f"{one}.{two}" for one, two in versions]
    found = Findings()
    chosen = aws_offers.choose_engine_version(f"{major}.{minor}", offered, found)
    assert (chosen in offered) == (not found.problems)
    nearest = aws_offers.nearest_versions(f"{major}.{minor}", offered)
    assert len(nearest) == min(4, len(offered)) and set(nearest) <= set(offered)
    same = [version for version in offered if version.startswith(f"{major}.")]
    assert len(set(nearest) & set(same)) == min(4, len(same))
    newest = aws_offers.choose_engine_version(str(major), offered, Findings())
    assert newest == max(same, key=aws_offers.version_key, default=None)
