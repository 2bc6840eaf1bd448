# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import types

import pytest
from moto.rds.exceptions import RDSClientError

from local_aws import rds_parameters, rds_requests
from local_aws.ec2_addresses import free_private_address
from local_aws.patches import logs, s3


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("rds.force_ssl", "1", True),
        ("rds.force_ssl", "on", False),
        ("log_min_duration_statement", "-1", True),
        ("log_min_duration_statement", "-2", False),
        ("log_min_duration_statement", "2147483647", True),
        ("log_min_duration_statement", "2147483648", False),
        ("log_min_duration_statement", "", False),
        ("log_min_duration_statement", "1 day", False),
        ("log_statement", "ddl", True),
        ("log_statement", "everything", False),
        ("max_connections", "6", True),
        ("max_connections", "5", False),
        ("max_connections", rds_parameters.MEMORY_FORMULA, True),
        ("shared_preload_libraries", "pg_stat_statements", False),
    ],
)
def test_parameter_values(name, value, good):
    assert (rds_parameters.problem(name, value, immediate=False) is None) is good


def test_a_static_parameter_cannot_be_applied_at_once():
    assert rds_parameters.problem("max_connections", "50", immediate=True)[0] == "InvalidParameterCombination"
    assert rds_parameters.problem("log_connections", "1", immediate=True) is None


@pytest.mark.parametrize(
    ("family", "forced"), [("postgres13", False), ("postgres14", False), ("postgres15", True), ("postgres17", True)]
)
def test_tls_is_forced_by_default_since_15(family, forced):
    assert rds_parameters.effective({}, family, "db.t3.micro")[1] is forced


def test_what_a_group_says_is_what_the_server_gets():
    values, forced = rds_parameters.effective(
        {"rds.force_ssl": "0", "log_statement": "ddl"}, "postgres15", "db.t3.micro"
    )
    assert (values["log_statement"], values["max_connections"], forced) == ("ddl", "112", False)
    assert "rds.force_ssl" not in values
    assert (
        rds_parameters.effective({"max_connections": "40"}, "postgres15", "db.t3.micro")[0]["max_connections"] == "40"
    )


@pytest.mark.parametrize("password", ["eight-ch", "x" * 128, "!#$%&'()*+,-.:;<=>?[]^_`{|}~", None])
def test_passwords_that_rds_takes(password):
    rds_requests.check_password(password)


@pytest.mark.parametrize(
    "password",
    ["seven-c", "x" * 129, "with space", "with/slash", 'with"quote', "with@sign", "ümlaut-in-it", "tab\tin-it"],
)
def test_passwords_that_rds_refuses(password):
    with pytest.raises(RDSClientError, match="MasterUserPassword"):
        rds_requests.check_password(password)


@pytest.mark.parametrize("name", ["mlflow", "postgres", "A1_b", "x" * 63])
def test_master_users_that_rds_takes(name):
    rds_requests.check_master_user(name, "a-password")


@pytest.mark.parametrize("name", [None, "", "admin", "rdsadmin", "1st", "with-dash", "x" * 64, 'in"jection'])
def test_master_users_that_rds_refuses(name):
    with pytest.raises(RDSClientError, match="MasterUsername"):
        rds_requests.check_master_user(name, "a-password")


@pytest.mark.parametrize("name", ["a-bucket", "abc", "1.bucket.of-ours", "x" * 63])
def test_bucket_names(name):
    assert s3.BUCKET_NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["ab", "x" * 64, "A-bucket", "a_bucket", "-bucket", "bucket-", "a..b", "192.168.0.1", "xn--bucket"]
)
def test_what_is_no_bucket_name(name):
    assert not s3.BUCKET_NAME.fullmatch(name)


def test_retentions():
    assert 30 in logs.RETENTION_DAYS and 31 not in logs.RETENTION_DAYS and 0 not in logs.RETENTION_DAYS


def interface(subnet: str, address: str) -> types.SimpleNamespace:
    return types.SimpleNamespace(private_ip_address=address, subnet=types.SimpleNamespace(id=subnet))


def test_the_lowest_free_address_of_a_subnet():
    taken = {"a": interface("one", "10.0.0.4"), "b": interface("one", "10.0.0.6"), "c": interface("other", "10.0.0.5")}
    backend, subnet = types.SimpleNamespace(enis=taken), types.SimpleNamespace(id="one", cidr_block="10.0.0.0/28")
    assert free_private_address(backend, subnet) == "10.0.0.5"
    full = {str(number): interface("one", f"10.0.0.{number}") for number in range(16)}
    with pytest.raises(ValueError, match="no address is left in one"):
        free_private_address(types.SimpleNamespace(enis=full), subnet)
