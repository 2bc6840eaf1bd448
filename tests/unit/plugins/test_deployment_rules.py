# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The refusals of a deployment that need no AWS."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import deployment_sizes as sizes
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings, failure, shown
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_names import (
    bucket_fault,
    name_fault,
    prefix_fault,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_ranges import parse_cidr
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_rules import check, version_key

REFERENCE = {
    "name": "fraud-scoring-mlflow",
    "mlflow_version": "2.18.0",
    "supported_versions": ["2.18.0", "3.17.2"],
    "mlflow_workers": 4,
    "task_cpu": 512,
    "task_memory": 1024,
    "desired_count": 2,
    "log_retention_days": 30,
    "container_port": 5000,
    "listener_port": 80,
    "client_cidrs": ["203.0.113.0/24"],
    "vpc_id": "",
    "vpc_cidr": "10.0.0.0/16",
    "availability_zones": ["eu-west-2a", "eu-west-2b"],
    "public_subnet_cidrs": ["10.0.0.0/24", "10.0.1.0/24"],
    "private_subnet_cidrs": ["10.0.10.0/24", "10.0.11.0/24"],
    "public_subnet_ids": [],
    "private_subnet_ids": [],
    "nat_mode": "single",
    "interface_endpoints": [],
    "image": "public.ecr.aws/docker/library/python:3.11-slim",
    "install": True,
    "db_engine_version": "15.7",
    "db_instance_class": "db.t3.micro",
    "db_allocated_storage": 20,
    "db_max_allocated_storage": 100,
    "db_backup_retention_days": 7,
    "db_pool_size": 0,
    "db_max_overflow": 0,
    "db_name": "mlflow_db",
    "db_username": "mlflow",
    "database_port": 5432,
    "admin_username": "admin",
    "bucket": "fraud-models-test",
    "artifact_prefix": "mlflow-artifacts",
}
EXISTING = {
    "vpc_id": "vpc-0123456789abcdef0",
    "public_subnet_ids": ["subnet-00000001", "subnet-00000002"],
    "private_subnet_ids": ["subnet-00000003", "subnet-00000004"],
}


# Tasks that never talk to the internet.
CLOSED = {
    "nat_mode": "none",
    "interface_endpoints": ["ecr.api", "ecr.dkr", "logs", "secretsmanager"],
    "image": "123456789012.dkr.ecr.eu-west-2.amazonaws.com/mlflow@sha256:" + "0" * 64,
    "install": False,
}


def judge(**changes):
    found = Findings(prefix="preflight_")
    return found, check({**REFERENCE, **changes}, found)


def test_the_reference_deployment_is_accepted_with_warnings():
    found, derived = judge()
    assert found.problems == []
    warned = [line.split(" = ")[0] for line in found.warnings]
    assert warned == ["preflight_mlflow_version", "preflight_task_memory", "preflight_db_instance_class"]
    assert "1016 of 1024 MiB" in found.warnings[1] and "3.11" in found.warnings[0]
    assert derived == {"mlflow_workers": 4, "db_pool_size": 1, "db_max_overflow": 1, "db_max_connections": 80, "transfer": None}


def test_an_existing_network_is_accepted():
    assert judge(**EXISTING, vpc_cidr="nonsense is not looked at", nat_mode="none")[0].problems == []


def test_a_closed_network_is_accepted():
    found, _derived = judge(**CLOSED)
    assert found.problems == [] and not any("nat_mode" in line for line in found.warnings)


def test_nothing_given_is_nothing_refused():
    found = Findings()
    assert check({}, found) == dict.fromkeys(
        ["mlflow_workers", "db_pool_size", "db_max_overflow", "db_max_connections", "transfer"]
    )
    assert found.problems == found.warnings == []


# changes, the variable named, a part of the reason, a part of the remedy
BAD = [
    ({"name": ""}, "name", "is empty", "choose"),
    ({"name": "a" * 33}, "name", "has 33 characters", "at most 32"),
    ({"name": "Fraud"}, "name", "lower-case", "choose"),
    ({"name": "1fraud"}, "name", "start with a letter", "choose"),
    ({"name": "fraud-"}, "name", "ends with a hyphen", "choose"),
    ({"name": "fraud--x"}, "name", "two hyphens", "choose"),
    ({"name": "internal-fraud"}, "name", '"internal-"', "choose"),
    ({"name": 12}, "name", "is not text", "quotes"),
    ({"bucket": "ab"}, "bucket", "2 characters", "naming rules"),
    ({"bucket": "Fraud_models"}, "bucket", "lower-case", "naming rules"),
    ({"bucket": "a..b"}, "bucket", "two dots", "naming rules"),
    ({"bucket": "10.0.0.1"}, "bucket", "IP address", "naming rules"),
    ({"bucket": "xn--bucket"}, "bucket", '"xn--"', "naming rules"),
    ({"bucket": "bucket-s3alias"}, "bucket", '"-s3alias"', "naming rules"),
    ({"artifact_prefix": "/a"}, "artifact_prefix", "slash", "mlflow-artifacts"),
    ({"artifact_prefix": "a b"}, "artifact_prefix", "not safe", "mlflow-artifacts"),
    ({"artifact_prefix": "a/../b"}, "artifact_prefix", '".."', "mlflow-artifacts"),
    ({"artifact_prefix": "a" * 513}, "artifact_prefix", "513", "mlflow-artifacts"),
    ({"db_name": "1db"}, "db_name", "not a name RDS accepts", "letter"),
    ({"db_name": "postgres"}, "db_name", "keeps for itself", "letter"),
    ({"db_username": "pg_me"}, "db_username", "not a name RDS accepts", "letter"),
    ({"db_username": "admin"}, "db_username", "keeps for itself", "letter"),
    ({"admin_username": " "}, "admin_username", "is empty", "colon"),
    ({"admin_username": "a:b"}, "admin_username", "colon", "colon"),
    ({"mlflow_version": 3.1}, "mlflow_version", "is not text", "quotes"),
    ({"mlflow_version": "3.17"}, "mlflow_version", "full MLflow version", "2.18.0, 3.17.2"),
    ({"mlflow_version": "3.99.0"}, "mlflow_version", "not supported", "2.18.0, 3.17.2"),
    ({"supported_versions": [], "mlflow_version": "three"}, "mlflow_version", "full MLflow version", "three numbers"),
    (
        {"supported_versions": [f"3.{n}.0" for n in range(8)], "mlflow_version": "3.7.1"},
        "mlflow_version",
        "not supported",
        "nearest: 3.7.0",
    ),
    ({"db_engine_version": "15.7.1"}, "db_engine_version", "not a PostgreSQL version", '"15"'),
    ({"db_engine_version": 15.7}, "db_engine_version", "is not text", "quotes"),
    ({"task_cpu": 500}, "task_cpu", "not a CPU size", "256, 512"),
    ({"task_cpu": "many"}, "task_cpu", "not a whole number", "digits"),
    ({"task_memory": True}, "task_memory", "not a whole number", "digits"),
    (
        {"task_cpu": 256, "task_memory": 4096},
        "task_memory",
        "does not combine 256",
        "preflight_task_cpu to 512 or 1024 or 2048",
    ),
    ({"task_cpu": 512, "task_memory": 1500}, "task_memory", "does not combine", "1024 or 2048 or 3072 or 4096 MiB"),
    ({"task_cpu": 8192, "task_memory": 16000}, "task_memory", "does not combine", "16384 to 61440 in steps of 4096"),
    (
        {"mlflow_version": "3.17.2"},
        "task_memory",
        "4 workers of MLflow 3.17.2 need about 1346 MiB, the task has 1024",
        "raise it to 2048, or set preflight_mlflow_workers to 2",
    ),
    (
        {"mlflow_version": "3.17.2", "mlflow_workers": 0, "task_cpu": 256, "task_memory": 512},
        "task_memory",
        "1 worker of MLflow 3.17.2",
        "raise it to 1024",
    ),
    ({"mlflow_workers": -1}, "mlflow_workers", "not a number of workers", "0 to have it chosen"),
    ({"mlflow_workers": 1000}, "task_memory", "1000 workers", "raise it to 122880"),
    ({"desired_count": 0}, "desired_count", "at least one task", "1 or more"),
    ({"desired_count": 20}, "db_instance_class", "20 tasks x 4 workers x 3 stores x 2 are 480 connections", "larger"),
    ({"db_pool_size": 5, "db_max_overflow": 10}, "db_pool_size", "up to 360 connections", "lower it"),
    ({"db_pool_size": 1}, "db_pool_size", "needs 2 connections", "choose 2"),
    ({"db_pool_size": -1}, "db_pool_size", "not a number of connections", "0 or more"),
    ({"db_max_overflow": -1}, "db_max_overflow", "not a number of connections", "0 or more"),
    ({"db_allocated_storage": 19}, "db_allocated_storage", "20 to 65536", "in between"),
    ({"db_max_allocated_storage": 65537}, "db_max_allocated_storage", "20 to 65536", "in between"),
    ({"db_allocated_storage": 200}, "db_max_allocated_storage", "less than the 200 GiB", "200 or more"),
    ({"db_backup_retention_days": 36}, "db_backup_retention_days", "0 to 35 days", "in between"),
    ({"log_retention_days": 31}, "log_retention_days", "not a retention", "nearest it offers is 30"),
    ({"vpc_cidr": "10.0.0.0"}, "vpc_cidr", "CIDR notation", "10.0.0.0/16"),
    ({"vpc_cidr": "10.0.300.0/16"}, "vpc_cidr", "CIDR notation", "10.0.0.0/16"),
    ({"vpc_cidr": "10.0.0.0/40"}, "vpc_cidr", "0 to 32", "10.0.0.0/16"),
    ({"vpc_cidr": "10.0.0.1/16"}, "vpc_cidr", "host bits set, the range is 10.0.0.0/16", "10.0.0.0/16"),
    ({"vpc_cidr": "10.0.0.0/8"}, "vpc_cidr", "is a /8", "another size"),
    ({"public_subnet_cidrs": ["10.0.0.0/28", "10.0.1.0/24"]}, "public_subnet_cidrs", "/16 to /27", "another size"),
    (
        {"public_subnet_cidrs": ["10.1.0.0/24", "10.0.1.0/24"]},
        "public_subnet_cidrs",
        "outside the VPC's range 10.0.0.0/16",
        "preflight_vpc_cidr",
    ),
    (
        {"private_subnet_cidrs": ["10.0.1.0/25", "10.0.11.0/24"]},
        "private_subnet_cidrs",
        "overlaps 10.0.1.0/24 of preflight_public_subnet_cidrs",
        "own range",
    ),
    ({"public_subnet_cidrs": ["10.0.0.0/24"]}, "public_subnet_cidrs", "two zones", "two ranges"),
    (
        {"private_subnet_cidrs": ["10.0.10.0/24", "10.0.11.0/24", "10.0.12.0/24"]},
        "private_subnet_cidrs",
        "3 private and 2 public",
        "as many as",
    ),
    ({"public_subnet_cidrs": "10.0.0.0/24"}, "public_subnet_cidrs", "not a list", "YAML list"),
    ({"availability_zones": ["eu-west-2a", "eu-west-2a"]}, "availability_zones", "twice", "once"),
    ({"availability_zones": ["eu-west-2a"]}, "availability_zones", "names 1 zones for 2", "one zone for each"),
    ({"client_cidrs": []}, "client_cidrs", "nobody could reach", "at least one"),
    (
        {"client_cidrs": ["203.0.113.0/24"], "load_balancer_scheme": "internal"},
        "client_cidrs", "do not reach an internal load balancer", "private networks",
    ),
    ({"https": "perhaps"}, "https", "neither true nor false", "true or false"),
    ({"client_cidrs": ["everyone"]}, "client_cidrs", "CIDR notation", "203.0.113.0/24"),
    ({"listener_port": 0}, "listener_port", "1 to 65535", "another port"),
    ({"container_port": 80}, "container_port", "1024 to 65535", "another port"),
    ({"database_port": 1024}, "database_port", "1150 to 65535", "another port"),
    ({"nat_mode": "many"}, "nat_mode", "reach the internet", "single, per_zone, none"),
    ({"nat_mode": "none"}, "interface_endpoints", "ecr.api, ecr.dkr, logs, secretsmanager", "preflight_nat_mode to single"),
    (
        {"nat_mode": "none", "interface_endpoints": ["ecr.api", "ecr.dkr", "logs"]},
        "interface_endpoints", "do not reach secretsmanager", "add what is missing",
    ),
    ({**CLOSED, "image": "public.ecr.aws/docker/library/python:3.11-slim"}, "image", "cannot pull", "in your ECR"),
    ({**CLOSED, "install": True}, "install", "no package index", "MLflow inside"),
    ({"interface_endpoints": ["com.amazonaws/logs"]}, "interface_endpoints", "not the end", '"logs"'),
    ({**EXISTING, "interface_endpoints": ["logs"]}, "interface_endpoints", "own only", "yourself"),
    ({"public_subnet_ids": ["subnet-00000001"]}, "public_subnet_ids", "without their VPC", "preflight_vpc_id"),
    ({**EXISTING, "vpc_id": "mine"}, "vpc_id", "not the id of a VPC", "vpc-0123456789abcdef0"),
    (
        {**EXISTING, "public_subnet_ids": ["subnet-00000001"]},
        "public_subnet_ids",
        "two subnets of each kind",
        "name the subnets",
    ),
    (
        {**EXISTING, "private_subnet_ids": ["a", "subnet-00000001"]},
        "private_subnet_ids",
        "not the id of a subnet",
        "give ids",
    ),
]


@pytest.mark.parametrize(("changes", "variable", "reason", "remedy"), BAD, ids=lambda value: str(value)[:40])
def test_refusals_are_one_line_with_variable_value_reason_and_remedy(changes, variable, reason, remedy):
    found, _derived = judge(**changes)
    lines = [line for line in found.problems if line.startswith(f"preflight_{variable} = ") and reason in line]
    assert len(lines) == 1, found.problems
    assert remedy in lines[0].split("; ", 1)[1]
    assert "\n" not in lines[0]


def test_all_problems_come_at_once():
    found, _derived = judge(name="X", task_cpu=1, vpc_cidr="x", desired_count=0, bucket="B")
    assert len(found.problems) == 5
    message = failure(found.problems)
    assert message.startswith("5 problems, nothing was changed:\n- ") and message.count("\n") == 5
    assert failure(found.problems[:1]) == found.problems[0]


def test_messages_use_the_names_that_the_reader_knows():
    found = Findings({"task_cpu": "ecs_mlflow_cpu"}, prefix="preflight_")
    check({"task_cpu": 1, "task_memory": 1, "desired_count": 0}, found)
    assert [line.split(" = ")[0] for line in found.problems] == ["preflight_desired_count", "ecs_mlflow_cpu"]


WARNED = [
    ({"desired_count": 1}, "desired_count", "not highly available"),
    ({"client_cidrs": ["0.0.0.0/0"]}, "client_cidrs", "plain HTTP"),
    ({"db_instance_class": "db.x9.huge"}, "db_instance_class", "not known here"),
    ({"db_instance_class": "micro"}, "db_instance_class", "not known here"),
    ({"db_backup_retention_days": 0}, "db_backup_retention_days", "no backups"),
    ({"bucket": "a.b.c"}, "bucket", "breaks TLS"),
    (
        {"desired_count": 2, "mlflow_workers": 4, "db_pool_size": 2},
        "db_pool_size",
        "2 x 2 tasks x 4 workers x 3 stores x 2",
    ),
    ({}, "db_instance_class", "96 connections, and the database has about 70"),
]


@pytest.mark.parametrize(("changes", "variable", "text"), WARNED, ids=lambda value: str(value)[:40])
def test_warnings_do_not_refuse(changes, variable, text):
    found, _derived = judge(**changes)
    assert found.problems == []
    assert [line for line in found.warnings if line.startswith(f"preflight_{variable} = ") and text in line]


@pytest.mark.parametrize(
    "clients",
    [
        {"client_cidrs": ["203.0.113.0/24"]},
        {"client_cidrs": ["0.0.0.0/0"], "https": True},
        {"client_cidrs": ["0.0.0.0/0"], "load_balancer_scheme": "internal"},
        {"client_cidrs": ["203.0.113.0/24", "192.168.7.0/24"], "load_balancer_scheme": "internal"},
    ],
)
def test_no_warning_about_known_clients_and_new_versions(clients):
    found, _derived = judge(**clients, mlflow_version="3.17.2", mlflow_workers=2)
    assert found.warnings == []


def test_numbers_may_be_text():
    found, derived = judge(task_cpu="512", task_memory=" 1024 ", mlflow_workers="4", db_engine_version=15)
    assert found.problems == [] and derived["mlflow_workers"] == 4


@pytest.mark.parametrize(
    ("version", "memory", "workers"),
    [
        ("2.18.0", 1024, 3),
        ("3.17.2", 1024, 2),
        ("3.17.2", 2048, 4),
        ("2.18.0", 4096, 4),
        ("1.30.0", 1024, 3),
        ("4.0.0", 1024, 2),
    ],
)
def test_workers_are_chosen_from_memory(version, memory, workers):
    found, derived = judge(mlflow_version=version, supported_versions=[], task_memory=memory, mlflow_workers=0)
    assert found.problems == [] and derived["mlflow_workers"] == workers


def test_workers_are_left_alone_without_memory_or_version():
    assert judge(task_memory=None)[1]["mlflow_workers"] == 4
    assert judge(mlflow_version=None, mlflow_workers=0)[1]["mlflow_workers"] is None
    assert judge(mlflow_workers=None)[1] == {
        "mlflow_workers": None,
        "db_pool_size": None,
        "db_max_overflow": None,
        "db_max_connections": 80,
        "transfer": None,
    }


def test_a_given_pool_is_kept_where_nothing_can_be_said():
    derived = judge(db_instance_class=None, db_pool_size=7, db_max_overflow=2)[1]
    assert (derived["db_pool_size"], derived["db_max_overflow"], derived["db_max_connections"]) == (7, 2, None)


@pytest.mark.parametrize(
    ("instance_class", "gib"),
    [
        ("db.t3.micro", 1),
        ("db.t4g.medium", 4),
        ("db.t3.huge", None),
        ("db.m6i.large", 8),
        ("db.m7g.24xlarge", 384),
        ("db.r6g.2xlarge", 64),
        ("db.r6g.micro", None),
        ("db.z1.large", None),
        ("t3.micro", None),
    ],
)
def test_instance_memory(instance_class, gib):
    assert sizes.instance_memory(instance_class) == gib


def test_max_connections_grow_with_memory_up_to_5000():
    figures = [sizes.max_connections(gib) for gib in (1, 2, 4, 8, 16, 64, 384)]
    assert figures == sorted(figures) and figures[0] == 80 and figures[-1] == 5000


@given(st.integers(1, 40), st.integers(1, 8), st.sampled_from(["db.t3.micro", "db.t3.large", "db.r6g.large"]))
def test_a_chosen_pool_fits_or_is_said_not_to(tasks, workers, instance_class):
    found = Findings()
    derived = check({"desired_count": tasks, "mlflow_workers": workers, "db_instance_class": instance_class}, found)
    usable = derived["db_max_connections"] - sizes.RESERVED_CONNECTIONS
    if found.problems:
        assert tasks * workers * sizes.STORES * sizes.LEAST_CONNECTIONS > usable and derived["db_pool_size"] is None
        return
    used = tasks * workers * sizes.STORES * (derived["db_pool_size"] + derived["db_max_overflow"])
    assert derived["db_pool_size"] >= 1 and derived["db_max_overflow"] >= 0 and used <= usable
    assert used * sizes.ROLLING <= usable or any("rolling" in line for line in found.warnings)


@given(st.text(max_size=40))
def test_accepted_names_are_legal_for_load_balancer_database_and_roles(name):
    if name_fault(name) is None:
        assert 1 <= len(name) <= 32 and name.isascii() and name == name.lower()
        assert name.replace("-", "").isalnum() and name[0].isalpha() and name[-1] != "-"
        assert not name.startswith("internal-") and "--" not in f"{name}-db" and len(f"{name}-execution") <= 64


@given(st.from_regex(r"[a-z](-?[a-z0-9])*", fullmatch=True))
def test_legal_names_are_accepted(name):
    assert (name_fault(name) is None) == (len(name) <= 32 and not name.startswith("internal-"))


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_ranges_are_parsed_exactly(address, length):
    text = f"{ipaddress.IPv4Address(address)}/{length}"
    network = ipaddress.IPv4Network((address, length), strict=False)
    if network.network_address == ipaddress.IPv4Address(address):
        assert parse_cidr(text) == network
    else:
        with pytest.raises(ValueError, match=str(network)):
            parse_cidr(text)


@given(st.text())
def test_anything_else_is_refused_as_a_range_or_bucket_without_crashing(text):
    bucket_fault(text), prefix_fault(text)
    try:
        parse_cidr(text)
    except ValueError as fault:
        assert str(fault)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(sorted(REFERENCE)),
)
def test_no_value_of_any_type_crashes_the_check(value, option):
    found, _derived = judge(**{option: value})
    assert all("\n" not in line for line in found.problems + found.warnings)


def test_values_are_shown_short_and_on_one_line():
    assert shown("a\nb") == "'a\\nb'" and len(shown("x" * 500)) == 80 and shown(["a"]) == "['a']"


def test_versions_are_compared_as_numbers():
    assert version_key("3.9.0") < version_key("3.11.0")
