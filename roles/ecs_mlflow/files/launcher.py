# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run MLflow in a container, from environment variables and injected secrets alone.

  python -c <this file> serve      install, check the databases, then become the MLflow server
  python -c <this file> migrate    install, prepare both databases and the admin user, then end

It travels inside an ECS task definition, hence one file of standard library; what it imports beyond that is there
only after the installation. VARIABLES below lists its environment. It is the only place where passwords are encoded.
Exit codes: 64 wrong use, 65 wrong schema, 69 database or package index unavailable, 70 MLflow failed,
75 another migration is still running, 77 the database refuses the login, 78 wrong environment.
"""
from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlencode

USAGE, DATA, UNAVAILABLE, SOFTWARE, TRY_AGAIN, DENIED, CONFIG = 64, 65, 69, 70, 75, 77, 78
REQUIRED = object()
# name: default. All carry the prefix LAUNCHER_.
VARIABLES = {
    "MLFLOW_VERSION": REQUIRED,
    "REQUIREMENTS": "",  # pinned, a line each; empty: the image has them
    "DB_HOST": REQUIRED,
    "DB_PORT": "5432",
    "DB_NAME": REQUIRED,
    "AUTH_DB_NAME": REQUIRED,
    "DB_SSLMODE": "require",
    "DB_USERNAME": REQUIRED,
    "DB_PASSWORD": REQUIRED,
    "DB_WAIT_SECONDS": "120",
    "DB_POOL_SIZE": "5",
    "DB_MAX_OVERFLOW": "0",
    "ARTIFACT_ROOT": REQUIRED,
    "ADMIN_USERNAME": "admin",
    "ADMIN_PASSWORD": REQUIRED,
    "SERVER_KEY": REQUIRED,
    "DEFAULT_PERMISSION": "NO_PERMISSIONS",
    "AUTH_CACHE_TTL_SECONDS": "60",
    "WORKERS": "2",
    "HOST": "0.0.0.0",
    "PORT": "5000",
    "ALLOWED_HOSTS": "",
    "CORS_ORIGINS": "",
    "LOCK_WAIT_SECONDS": "900",
    "GRACEFUL_TIMEOUT_SECONDS": "50",  # less than the task's stop timeout
    "KEEP_ALIVE_SECONDS": "620",  # more than the load balancer's idle timeout, or it answers 502 now and then
}
SECRETS = ("DB_PASSWORD", "ADMIN_PASSWORD", "SERVER_KEY")
INTEGERS = {  # name: least, most
    "DB_PORT": (1, 65535), "DB_WAIT_SECONDS": (1, 86400), "DB_POOL_SIZE": (1, 1000), "DB_MAX_OVERFLOW": (0, 1000),
    "AUTH_CACHE_TTL_SECONDS": (0, 86400), "WORKERS": (1, 64), "PORT": (1, 65535), "LOCK_WAIT_SECONDS": (1, 86400),
    "GRACEFUL_TIMEOUT_SECONDS": (1, 86400), "KEEP_ALIVE_SECONDS": (1, 86400),
}
CHOICES = {
    "DB_SSLMODE": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "DEFAULT_PERMISSION": ("READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS"),
}

# What MLflow does since which version. Later versions get the newest behaviour.
OLDEST = (2, 18)
SINCE = {
    "uvicorn": (3, 3),  # before: gunicorn
    "host_check": (3, 5),
    "own_auth_version_table": (3, 6),  # before: both stores count in `alembic_version`, so never in one database
    "ascii_native_routes": (3, 0),
}
LOCK = 0x6D6C666C6F77  # "mlflow"


class Problem(Exception):
    """What stops the launcher: one line, and the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def say(message: str) -> None:
    print(f"launcher: {message}", flush=True)


class Settings:
    """The checked environment; each variable is an attribute in lower case, integers as int."""

    def __init__(self, environment: dict[str, str]) -> None:
        for name, default in VARIABLES.items():
            setattr(self, name.lower(), self._read(environment, name, default))
        match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)([a-z]+\d+)?", self.mlflow_version)
        if not match or (int(match[1]), int(match[2])) < OLDEST:
            raise Problem(CONFIG, f"LAUNCHER_MLFLOW_VERSION is {self.mlflow_version!r}: give a full version "
                                  f"from {'.'.join(map(str, OLDEST))}.0 on, such as 3.17.2")
        self.version = (int(match[1]), int(match[2]))
        if self.db_name == self.auth_db_name:
            raise Problem(CONFIG, f"LAUNCHER_AUTH_DB_NAME is {self.auth_db_name!r} like LAUNCHER_DB_NAME: MLflow's two "
                                  "stores would take each other's schema version for their own; give it another name")
        if ":" in self.admin_username:
            raise Problem(CONFIG, f"LAUNCHER_ADMIN_USERNAME is {self.admin_username!r}: a name with a colon can never "
                                  "log in by basic authentication; remove the colon")
        if not re.match(r"[a-z0-9]+:/?/?.", self.artifact_root) and not self.artifact_root.startswith("/"):
            raise Problem(CONFIG, f"LAUNCHER_ARTIFACT_ROOT is {self.artifact_root!r}: give a URI such as s3://bucket/prefix")
        if self.db_pool_size + self.db_max_overflow < 2:
            raise Problem(CONFIG, "LAUNCHER_DB_POOL_SIZE is 1 and LAUNCHER_DB_MAX_OVERFLOW is 0: MLflow takes an overflow "
                                  "of 0 for unset, which is 10; give a pool of at least 2")
        if environment.get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "").lower() in ("true", "1"):
            raise Problem(CONFIG, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION is true: this launcher starts no job runner; remove it")

    @staticmethod
    def _read(environment: dict[str, str], name: str, default: object) -> str | int:
        variable = f"LAUNCHER_{name}"
        value = environment.get(variable, "")
        if value == "":
            if default is REQUIRED:
                raise Problem(CONFIG, f"{variable} is missing or empty: set it in the task definition")
            value = str(default)
        if name == "REQUIREMENTS":
            return value
        # Not even an INI can carry these through, and a lone surrogate is no text at all.
        if any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in value):
            raise Problem(CONFIG, f"{variable} has a control character or is not UTF-8: remove line ends and the like")
        if name in INTEGERS:
            least, most = INTEGERS[name]
            if not re.fullmatch("[0-9]{1,9}", value) or not least <= int(value) <= most:
                raise Problem(CONFIG, f"{variable} is {value!r}: give a whole number from {least} to {most}")
            return int(value)
        if name in CHOICES and value not in CHOICES[name]:
            raise Problem(CONFIG, f"{variable} is {value!r}: give one of {', '.join(CHOICES[name])}")
        return value

    def has(self, feature: str) -> bool:
        return self.version >= SINCE[feature]

    def database_uri(self, database: str) -> str:
        """The SQLAlchemy URI of a database. The driver is named because SQLAlchemy 2.1 would take another."""
        host = f"[{self.db_host}]" if ":" in self.db_host else self.db_host
        login = f"{quote(self.db_username, safe='')}:{quote(self.db_password, safe='')}"
        options = urlencode({"sslmode": self.db_sslmode, "connect_timeout": 10})
        return f"postgresql+psycopg2://{login}@{host}:{self.db_port}/{quote(database, safe='')}?{options}"

    def redact(self, text: str) -> str:
        for name in SECRETS:
            secret = getattr(self, name.lower())
            for shape in (secret, quote(secret, safe=""), repr(secret)[1:-1]):
                text = text.replace(shape, "***")
        return text


# Installation

def install(settings: Settings) -> None:
    """Install the pinned packages, if any are given, and check that MLflow is the wanted one."""
    if settings.requirements.strip():
        start = time.monotonic()
        lines = [line for line in settings.requirements.splitlines() if re.match("[A-Za-z0-9]", line)]
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write(settings.requirements + "\n")
            file.flush()
            _pip_with_retries(file.name)
        say(f"installed {len(lines)} packages for MLflow {settings.mlflow_version} in {time.monotonic() - start:.0f} s")
    from importlib import invalidate_caches, metadata
    invalidate_caches()
    try:
        found = metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != settings.mlflow_version:
        raise Problem(CONFIG, f"LAUNCHER_MLFLOW_VERSION is {settings.mlflow_version}, but MLflow {found} is installed: "
                              "use an image with that version, or have LAUNCHER_REQUIREMENTS install it")


def _pip_with_retries(file: str, pauses: tuple[float, ...] = (2, 5, 15, 30)) -> None:
    command = ["pip", "install", "--quiet", "--no-deps", "--no-input", "--disable-pip-version-check", "-r", file]
    # No secret is for pip. Compiling what is never imported would take longer than the download.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCHER_")}
    environment |= {"PIP_NO_CACHE_DIR": "1", "PIP_NO_COMPILE": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    for attempt, pause in enumerate((*pauses, None), 1):
        try:
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  errors="replace", check=False)
        except OSError as error:
            raise Problem(CONFIG, f"cannot run pip ({error.strerror}): use an image that has it") from None
        if done.returncode == 0:
            return
        output = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        reason = next((line for line in reversed(output) if "error" in line.lower()), (output or ["no output"])[-1])[:300]
        if pause is None:
            raise Problem(UNAVAILABLE, f"pip could not install LAUNCHER_REQUIREMENTS in {attempt} tries ({reason}): "
                                       "check the way to the package index (NAT, proxy), or use a prebuilt image")
        say(f"pip failed ({reason}); trying again in {pause:g} s")
        time.sleep(pause)


# Databases

def connect(settings: Settings, database: str, deadline: float):
    """Connect with psycopg2 in autocommit, waiting for a server that is not there yet."""
    import psycopg2
    said = False
    where = f"database {database!r} at {settings.db_host}:{settings.db_port}"
    while True:
        try:
            connection = psycopg2.connect(
                host=settings.db_host, port=settings.db_port, dbname=database, user=settings.db_username,
                password=settings.db_password, sslmode=settings.db_sslmode, connect_timeout=10, keepalives_idle=60,
                application_name="mlflow-launcher", client_encoding="utf8")
            connection.autocommit = True
            return connection
        except psycopg2.OperationalError as error:
            reason = settings.redact(" ".join(str(error).split()))[:300]
        if "authentication failed" in reason or "no pg_hba.conf entry" in reason:
            raise Problem(DENIED, f"the {where} refuses the login ({reason}): make LAUNCHER_DB_USERNAME, LAUNCHER_DB_PASSWORD "
                                  "and LAUNCHER_DB_SSLMODE those of the database")
        if "does not exist" in reason:
            raise Problem(DATA, f"no {where} ({reason}): correct its name, or run `migrate` first")
        if time.monotonic() >= deadline:
            raise Problem(UNAVAILABLE, f"no answer from the {where} in {settings.db_wait_seconds} s ({reason}): "
                                       "check its state, LAUNCHER_DB_HOST and the security groups")
        if not said:
            say(f"waiting up to {settings.db_wait_seconds} s for the {where}: {reason}")
            said = True
        time.sleep(1)


def schema_state(connection, settings: Settings, store: str) -> str:
    """Compare the schema of a store ("tracking" or "auth") with the installed MLflow: empty, older, current, newer."""
    from importlib.util import find_spec
    package = Path(find_spec("mlflow").origin).parent  # found without importing it, which takes seconds
    scripts = package / ("store/db_migrations" if store == "tracking" else "server/auth/db/migrations")
    known, parents = set(), set()
    for script in (scripts / "versions").glob("*.py"):
        text = script.read_text(encoding="utf-8")
        for name, value in re.findall(r"^(revision|down_revision)(?:\s*:[^=\n]+)?\s*=\s*(.+)$", text, re.MULTILINE):
            value = ast.literal_eval(value)
            (known if name == "revision" else parents).update([value] if isinstance(value, str) else value or [])
    own_table = store == "auth" and settings.has("own_auth_version_table")
    cursor = connection.cursor()
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = {name for (name,) in cursor.fetchall()}
    if store == "auth" and not own_table and "alembic_version_auth" in tables:
        return "newer"
    table = "alembic_version_auth" if own_table else "alembic_version"
    if table not in tables:
        return "older" if own_table and "users" in tables else "empty"
    cursor.execute(f"SELECT version_num FROM {table}")
    revisions = {revision for (revision,) in cursor.fetchall()}
    if not revisions:
        return "empty"
    if not revisions <= known:
        return "newer"
    return "current" if revisions == known - parents else "older"


def refuse_newer(settings: Settings, states: dict[str, str]) -> None:
    for database, state in states.items():
        if state == "newer":
            raise Problem(DATA, f"the schema of database {database!r} is newer than MLflow {settings.mlflow_version}: deploy "
                                "the newer version again, or restore the snapshot taken before the upgrade")


def take_lock(connection, settings: Settings) -> None:
    """One migration at a time: the lock lives and dies with this connection."""
    cursor = connection.cursor()
    deadline = time.monotonic() + settings.lock_wait_seconds
    said = False
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
        if cursor.fetchone()[0]:
            return
        if time.monotonic() >= deadline:
            raise Problem(TRY_AGAIN, f"another migration of {settings.db_name!r} still holds the lock after "
                                     f"{settings.lock_wait_seconds} s: wait for its task to end, then deploy again")
        if not said:
            say("another migration is running; waiting for it to end")
            said = True
        time.sleep(0.5)


def create_database(connection, name: str) -> bool:
    from psycopg2 import sql
    cursor = connection.cursor()
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    if cursor.fetchone():
        return False
    # template0: nobody can be connected to it, and it allows UTF8 whatever the cluster's default is.
    cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
    return True


def migrate(settings: Settings) -> None:
    """Bring both stores to this version's schema and make the admin user. Safe to run again and twice at once."""
    install(settings)
    start = time.monotonic()

    def step(message: str) -> None:
        say(f"{message} ({time.monotonic() - start:.1f} s)")

    connection = connect(settings, settings.db_name, time.monotonic() + settings.db_wait_seconds)
    take_lock(connection, settings)
    step(f"connected to {settings.db_host}:{settings.db_port} and locked {settings.db_name!r}")
    if create_database(connection, settings.auth_db_name):
        step(f"created database {settings.auth_db_name!r}")
    auth_connection = connect(settings, settings.auth_db_name, time.monotonic() + settings.db_wait_seconds)
    tracking = schema_state(connection, settings, "tracking")
    auth = schema_state(auth_connection, settings, "auth")
    auth_connection.close()
    refuse_newer(settings, {settings.db_name: tracking, settings.auth_db_name: auth})

    prepare_imports(settings)
    _migrate_tracking(settings, tracking)
    step(f"tracking store: schema was {tracking}, is current")
    _migrate_auth(settings)
    step(f"user store: schema was {auth}, is current")
    step(_make_admin(settings))
    connection.close()


def prepare_imports(settings: Settings) -> None:
    """Set what MLflow reads when it is imported, and keep it quiet."""
    import logging
    os.environ.update(private_environment(settings))
    logging.disable(logging.INFO)


def _migrate_tracking(settings: Settings, state: str) -> None:
    uri = settings.database_uri(settings.db_name)
    if state == "older":
        from mlflow.db import commands
        # The command itself, but in this process: its argument is a URI with the password.
        commands(["upgrade", uri], standalone_mode=False)
    # `mlflow db upgrade` of 2.x fails on an empty database: there the store itself makes the schema. It also makes
    # the default experiment, which servers started together would race for.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    SqlAlchemyStore(uri, "mlflow-artifacts:/").engine.dispose()


def _migrate_auth(settings: Settings) -> None:
    from mlflow.server.auth.db.cli import commands
    commands(["upgrade", "--url", settings.database_uri(settings.auth_db_name)], standalone_mode=False)


def _make_admin(settings: Settings) -> str:
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    store = SqlAlchemyStore()
    store.init_db(settings.database_uri(settings.auth_db_name))
    name = settings.admin_username
    try:
        if not store.has_user(name):
            store.create_user(name, settings.admin_password, is_admin=True)
            return f"created the admin user {name!r}"
        if not store.get_user(name).is_admin:
            return f"WARNING: user {name!r} exists and is no admin; left alone: make it one through another admin"
        return f"the admin user {name!r} exists"
    except MlflowException as error:
        raise Problem(CONFIG, f"MLflow {settings.mlflow_version} refuses LAUNCHER_ADMIN_USERNAME or LAUNCHER_ADMIN_PASSWORD: "
                              f"{' '.join(str(error).split())[:200]}: change the admin's secret") from None
    finally:
        store.engine.dispose()


# Server

def ini_value(value: str) -> str:
    """Encode for configparser with interpolation; %(empty)s keeps blanks at the ends from being stripped."""
    return "%(empty)s" + value.replace("%", "%%") + "%(empty)s"


def auth_ini(settings: Settings) -> str:
    """The configuration of basic authentication. Versions that do not know a key ignore it."""
    function = "mlflow.server.auth:authenticate_request_basic_auth"
    if settings.has("ascii_native_routes") and not settings.admin_password.isascii():
        function = "launcher_auth:authenticate"
    values = {
        "default_permission": settings.default_permission,
        "database_uri": settings.database_uri(settings.auth_db_name).replace("%", "%%"),
        "admin_username": ini_value(settings.admin_username),
        "admin_password": ini_value(settings.admin_password),
        "authorization_function": function,
        "auth_cache_ttl_seconds": settings.auth_cache_ttl_seconds,
        "empty": "",
    }
    return "[mlflow]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


# 3.x reads passwords on its native routes (artifacts, traces) as ASCII and refuses all others. A custom function is
# asked on all routes, so it is the same function under another name. (The UI then hides "change password".)
AUTH_MODULE = '''
def authenticate():
    from mlflow.server.auth import authenticate_request_basic_auth
    return authenticate_request_basic_auth()
'''


def private_environment(settings: Settings) -> dict[str, str]:
    """Write the private folder and name it in what the server needs for authentication and engines."""
    folder = Path(tempfile.mkdtemp(prefix="mlflow-"))  # mode 0700
    for name, text in (("auth.ini", auth_ini(settings)), ("launcher_auth.py", AUTH_MODULE)):
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    # MLflow ignores an overflow of 0, and SQLAlchemy then takes 10: move one connection from the pool to it.
    borrowed = 1 if settings.db_max_overflow == 0 else 0
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": settings.server_key,
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": str(settings.db_pool_size - borrowed),
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": str(settings.db_max_overflow + borrowed),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
        "PYTHONUTF8": "1",  # the INI is read in the locale's encoding
    }


def server_environment(settings: Settings, inherited: dict[str, str]) -> dict[str, str]:
    """The environment of the server: what is inherited without the launcher's own, and what `mlflow server` would set.

    The names with an underscore are those that `mlflow server` hands to its workers; an integration test compares
    them with a real `mlflow server` of each supported version.
    """
    uri = settings.database_uri(settings.db_name)
    environment = {name: value for name, value in inherited.items() if not name.startswith("LAUNCHER_")}
    environment.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    environment.pop("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", None)
    environment |= private_environment(settings)
    environment |= {
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_REGISTRY_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": settings.artifact_root,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    if settings.has("uvicorn"):
        environment |= {
            "_MLFLOW_SGI_NAME": "uvicorn",
            "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
            "_MLFLOW_IN_JOB_EXECUTOR": "false",
        }
    if settings.has("host_check"):
        for name, value in (("ALLOWED_HOSTS", settings.allowed_hosts), ("CORS_ALLOWED_ORIGINS", settings.cors_origins)):
            if value:
                environment[f"MLFLOW_SERVER_{name}"] = value
    return environment


# The master imports MLflow once and its workers share that memory; what holds connections is made in each worker.
GUNICORN = "import mlflow.server.auth, mlflow.store.tracking.sqlalchemy_store; from gunicorn.app.wsgiapp import run; run()"


def server_command(settings: Settings) -> list[str]:
    """The real server instead of `mlflow server`: it gets SIGTERM itself, drains, and no idle parent takes memory."""
    host, port, workers = settings.host, settings.port, str(settings.workers)
    drain, keep_alive = str(settings.graceful_timeout_seconds), str(settings.keep_alive_seconds)
    if not settings.has("uvicorn"):
        # Threads: one slow upload must not hold up health checks, nor be killed by the workers' timeout.
        return [sys.executable, "-c", GUNICORN, "--bind", f"{host}:{port}", "--workers", workers,
                "--worker-class", "gthread", "--threads", "8", "--timeout", "120", "--graceful-timeout", drain,
                "--keep-alive", keep_alive, "mlflow.server.auth:create_app()"]
    return [sys.executable, "-m", "uvicorn", "--host", host, "--port", str(port), "--workers", workers,
            "--timeout-graceful-shutdown", drain, "--timeout-keep-alive", keep_alive,
            # The default of 5 s kills workers that are still importing on a small task.
            "--timeout-worker-healthcheck", "60", "--no-server-header", "--factory", "mlflow.server.auth:create_app"]


def serve(settings: Settings) -> None:
    """Install, check that `migrate` has been here, and become the server."""
    install(settings)
    deadline = time.monotonic() + settings.db_wait_seconds
    states = {}
    for store, database in (("tracking", settings.db_name), ("auth", settings.auth_db_name)):
        connection = connect(settings, database, deadline)
        states[database] = schema_state(connection, settings, store)
        connection.close()
    refuse_newer(settings, states)
    # A server would migrate by itself, and two of them would race.
    for database, state in states.items():
        if state != "current":
            raise Problem(DATA, f"the schema of database {database!r} is {state} for MLflow {settings.mlflow_version}: "
                                "run `migrate` first")
    environment = server_environment(settings, dict(os.environ))
    if (settings.allowed_hosts or settings.cors_origins) and not settings.has("host_check"):
        say(f"MLflow {settings.mlflow_version} checks neither hosts nor origins: those settings have no effect")
    say(f"starting MLflow {settings.mlflow_version} on {settings.host}:{settings.port} with {settings.workers} workers")
    os.chdir(Path(environment["MLFLOW_AUTH_CONFIG_PATH"]).parent)
    command = server_command(settings)
    os.execve(command[0], command, environment)


def main(arguments: list[str]) -> int:
    settings = None
    try:
        if arguments not in (["serve"], ["migrate"]):
            raise Problem(USAGE, f"the command is {' '.join(arguments)!r}: give `serve` or `migrate`")
        settings = Settings(dict(os.environ))
        (serve if arguments == ["serve"] else migrate)(settings)
        return 0
    except Problem as problem:
        code, message = problem.code, str(problem)
    except Exception as error:  # the log of a stopped task must end with a reason
        trace = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        code, message = SOFTWARE, f"{type(error).__name__} in {place}: {' '.join(str(error).split())[:500]}"
    print(f"launcher: error: {settings.redact(message) if settings else message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
