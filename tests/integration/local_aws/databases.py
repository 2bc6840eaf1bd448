# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database of the local AWS, made and reached as a test wants it."""

from __future__ import annotations

import time
import typing as t

import psycopg2

from tests.integration.aws import LocalAws

PASSWORD = "geheimes-Passwort-17"


def settled(
    aws: LocalAws, identifier: str, *, during: tuple[str, ...] = ("creating", "backing-up"), seconds: float = 60
) -> dict:
    """The instance, once it is in none of the states `during`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        (instance,) = aws.client("rds").describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"]
        if instance["DBInstanceStatus"] not in during:
            return instance
        time.sleep(0.1)
    raise AssertionError(f"{identifier} is still {instance['DBInstanceStatus']} after {seconds} s")


def create_database(aws: LocalAws, identifier: str, **more: t.Any) -> dict:
    """An available instance."""
    options = {
        "DBInstanceIdentifier": identifier,
        "Engine": "postgres",
        "EngineVersion": "15",
        "DBInstanceClass": "db.t3.micro",
        "AllocatedStorage": 20,
        "MasterUsername": "mlflow",
        "MasterUserPassword": PASSWORD,
        "DBName": "mlflow_db",
    }
    aws.client("rds").create_db_instance(**{**options, **more})
    instance = settled(aws, identifier)
    assert instance["DBInstanceStatus"] == "available"
    return instance


def connect(address: str, password: str = PASSWORD, sslmode: str = "require", user: str = "mlflow") -> t.Any:
    return psycopg2.connect(
        host=address, port=5432, user=user, password=password, dbname="mlflow_db", sslmode=sslmode, connect_timeout=5
    )


def ask(address: str, question: str, **more: t.Any) -> t.Any:
    """The first column of the first row."""
    connection = connect(address, **more)
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchone()[0]
    finally:
        connection.close()
