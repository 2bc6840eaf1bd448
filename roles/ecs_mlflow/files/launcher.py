# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run MLflow in a container, from environment variables (VARIABLES below) and injected secrets alone.

  python -c <this file> serve      install, check the databases, then become the MLflow server
  python -c <this file> migrate    install, prepare both databases and the admin user, then end
                                   with --reset-admin the admin also gets the injected password back
  python -c <this file> settle     install, end what `migrate` keeps up while two versions run, then end
  python -c <this file> gc         install, remove for good what was deleted in MLflow long ago, then end;
                                   with --dry-run only tell what that would be
  python -c <this file> count      install, count what both databases hold, then end
  python -c <this file> companion create    install, make a second login that works with the data only, then end
  python -c <this file> companion drop      install, remove it again, then end
  python -c <this file> password set        install, give a user of MLflow the password with this hash, then end

It travels inside an ECS task definition, hence one file; what is not standard library is there after the installation.
Exit codes: 64 wrong use, 65 wrong schema, 69 database or package index unavailable, 70 MLflow failed,
75 another one still does the same, 77 the database refuses the login or S3 a removal, 78 wrong environment.
"""
from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

USAGE, DATA, UNAVAILABLE, SOFTWARE, TRY_AGAIN, DENIED, CONFIG = 64, 65, 69, 70, 75, 77, 78
REQUIRED = object()
# name: default. All carry the prefix LAUNCHER_.
VARIABLES = {
    "MLFLOW_VERSION": REQUIRED,
    "REQUIREMENTS": "",  # pinned, a line each; empty: the image has them
    "DB_HOST": REQUIRED,
    "DB_PORT": 5432,
    "DB_NAME": REQUIRED,
    "AUTH_DB_NAME": REQUIRED,
    "DB_SSLMODE": "require",
    "DB_USERNAME": REQUIRED,
    "DB_PASSWORD": REQUIRED,
    "DB_WAIT_SECONDS": 120,
    "DB_POOL_SIZE": 5,  # of each of a worker's three engines: tracking, registry, users
    "DB_MAX_OVERFLOW": 0,
    "ARTIFACT_ROOT": REQUIRED,
    "ARTIFACT_TRANSFER": "proxied",  # presigned: clients reach S3 themselves, with addresses that the server signs
    "ADMIN_USERNAME": "admin",
    "ADMIN_PASSWORD": REQUIRED,
    "SERVER_KEY": REQUIRED,
    "DEFAULT_PERMISSION": "NO_PERMISSIONS",
    "AUTH_CACHE_TTL_SECONDS": 60,  # 3.12 and newer
    "WORKERS": 2,
    "HOST": "0.0.0.0",
    "PORT": 5000,
    "ALLOWED_HOSTS": "",
    "CORS_ORIGINS": "",
    "LOCK_WAIT_SECONDS": 900,
    "GC_OLDER_THAN_DAYS": 30,
    "COMPANION_USERNAME": "",  # of the second login that lets servers go on while the first one's password changes
    "COMPANION_VERIFIER": "",  # SCRAM-SHA-256$...: what PostgreSQL is to store of its password
    "PASSWORD_USERNAME": "",  # whose password in MLflow is set
    "PASSWORD_HASH": "",  # scrypt:...: what MLflow is to store of it
    "GRACEFUL_TIMEOUT_SECONDS": 50,  # less than the task's stop timeout
    "KEEP_ALIVE_SECONDS": 620,  # more than the load balancer's idle timeout, or it answers 502 now and then
}
SECRETS = ("DB_PASSWORD", "ADMIN_PASSWORD", "SERVER_KEY")
LEAST = {"DB_MAX_OVERFLOW": 0, "AUTH_CACHE_TTL_SECONDS": 0}  # of whole numbers; else 1
MOST = {"DB_PORT": 65535, "PORT": 65535, "WORKERS": 64, "DB_POOL_SIZE": 1000, "DB_MAX_OVERFLOW": 1000,
        "GC_OLDER_THAN_DAYS": 3650}  # else a day
CHOICES = {
    "DB_SSLMODE": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "DEFAULT_PERMISSION": ("READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS"),
    "ARTIFACT_TRANSFER": ("proxied", "presigned"),
}
# What MLflow does since which version. Later versions are taken for the newest.
OLDEST = (2, 18)
SINCE = {
    "whole_deletion": (2, 21),  # before: 1,000 artifacts at a time, https://github.com/mlflow/mlflow/pull/14660
    "uvicorn": (3, 3),  # before: gunicorn
    "host_check": (3, 5),
    "own_auth_version_table": (3, 6),  # before: both stores count in `alembic_version`
    "ascii_native_routes": (3, 9),
    "refusing_grants": (3, 17),  # grants since 3.13, DENY among them since then; before: a table for each kind of resource
    "signed_downloads": (3, 17),  # and clients that ask for them by themselves
}
LOCKS = {"migration": 0x6D6C666C6F77, "collection": 0x6D6C66676331}  # "mlflow", "mlfgc1"


class Problem(Exception):
    """What stops the launcher: an exit code and one line."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def say(message: str) -> None:
    print(f"launcher: {message}", flush=True)


def one_line(text: object, limit: int = 300) -> str:
    return " ".join(str(text).split())[:limit]


class Settings:
    """The checked environment: each variable is an attribute in lower case, without the prefix."""

    def __init__(self, environment: dict[str, str]) -> None:
        for name, default in VARIABLES.items():
            setattr(self, name.lower(), self._read(environment, name, default))
        numbers = re.fullmatch(r"(\d+)\.(\d+)\.\d+", self.mlflow_version)
        self.version = tuple(map(int, numbers.groups())) if numbers else (0, 0)
        if self.version < OLDEST:
            self._refuse("MLFLOW_VERSION", "give a full version from 2.18.0 on, such as 3.17.2")
        for name in ("DB_NAME", "AUTH_DB_NAME"):
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,62}", getattr(self, name.lower())):
                self._refuse(name, "give letters, digits and _, at most 63, no digit first")
        if self.db_name == self.auth_db_name:
            self._refuse("AUTH_DB_NAME", "give another name than LAUNCHER_DB_NAME, or MLflow takes the schema version "
                                         "of one store for the other's")
        if ":" in self.admin_username:
            self._refuse("ADMIN_USERNAME", "remove the colon: basic authentication cannot carry it")
        if not re.match(r"[a-z0-9]+:/|/", self.artifact_root):
            self._refuse("ARTIFACT_ROOT", "give a URI such as s3://bucket/prefix")
        if self.artifact_transfer == "presigned" and not self.has("signed_downloads"):
            self._refuse("ARTIFACT_TRANSFER", f"give proxied, MLflow {self.mlflow_version} signs no downloads")
        if self.db_pool_size + self.db_max_overflow < 2:
            self._refuse("DB_POOL_SIZE", "give at least 2, for MLflow takes LAUNCHER_DB_MAX_OVERFLOW 0 for unset")
        if environment.get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "").lower() in ("true", "1"):
            raise Problem(CONFIG, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION is true: remove it, no job runner is started")

    def _refuse(self, name: str, remedy: str) -> None:
        raise Problem(CONFIG, f"LAUNCHER_{name} is {getattr(self, name.lower())!r}: {remedy}")

    def _read(self, environment: dict[str, str], name: str, default: object) -> str | int:
        value = environment.get(f"LAUNCHER_{name}", "")
        if value == "":
            if default is REQUIRED:
                raise Problem(CONFIG, f"LAUNCHER_{name} is missing: set it in the task definition")
            return default
        # No INI can carry control characters, and a lone surrogate is no text at all.
        if name != "REQUIREMENTS" and re.search("[\x00-\x1f\x7f\ud800-\udfff]", value):
            raise Problem(CONFIG, f"LAUNCHER_{name} has a control character or is not UTF-8: remove it (a line end?)")
        setattr(self, name.lower(), value)
        if isinstance(default, int):
            least, most = LEAST.get(name, 1), MOST.get(name, 86400)
            if not re.fullmatch("[0-9]{1,9}", value) or not least <= int(value) <= most:
                self._refuse(name, f"give a whole number from {least} to {most}")
            return int(value)
        if value not in CHOICES.get(name, (value,)):
            self._refuse(name, f"give one of {', '.join(CHOICES[name])}")
        return value

    def has(self, feature: str) -> bool:
        return self.version >= SINCE[feature]

    def database_uri(self, database: str) -> str:
        """The SQLAlchemy URI of a database. The driver is named because SQLAlchemy 2.1 would take another."""
        host = f"[{self.db_host}]" if ":" in self.db_host else self.db_host
        login = f"{quote(self.db_username, safe='')}:{quote(self.db_password, safe='')}"
        options = urlencode({"sslmode": self.db_sslmode, "connect_timeout": 10})
        return f"postgresql+psycopg2://{login}@{host}:{self.db_port}/{database}?{options}"

    def redact(self, text: str) -> str:
        for secret in (getattr(self, name.lower()) for name in SECRETS):
            for shape in (secret, quote(secret, safe=""), repr(secret)[1:-1]):
                text = text.replace(shape, "***")
        return text


# Installation

def install(settings: Settings) -> None:
    """Install the pinned packages, if any are given, and check that MLflow is the wanted one."""
    if settings.requirements.strip():
        start = time.monotonic()
        # The root file system may be read-only.
        packages = tempfile.mkdtemp(prefix="packages-")
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write(settings.requirements + "\n")
            file.flush()
            run_pip(file.name, packages)
        sys.path.insert(0, packages)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (packages, os.environ.get("PYTHONPATH"))))
        count = len(re.findall("^[A-Za-z0-9]", settings.requirements, re.MULTILINE))
        say(f"installed {count} packages for MLflow {settings.mlflow_version} in {time.monotonic() - start:.0f} s")
    from importlib import invalidate_caches, metadata
    invalidate_caches()
    try:
        found = metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != settings.mlflow_version:
        raise Problem(CONFIG, f"LAUNCHER_MLFLOW_VERSION is {settings.mlflow_version}, but MLflow {found} is installed: "
                              "use an image with that version, or have LAUNCHER_REQUIREMENTS install it")


def run_pip(file: str, target: str) -> None:
    command = ["pip", "install", "--quiet", "--no-deps", "--target", target, "-r", file]  # uv understands these too
    # No secret is for pip. To compile all that is never imported would take longer than the download.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCHER_")}
    environment |= {"PIP_NO_CACHE_DIR": "1", "PIP_NO_COMPILE": "1", "PIP_ROOT_USER_ACTION": "ignore",
                    "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    for pause in (2, 5, 15, 30, None):
        try:
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  errors="replace", check=False)
        except OSError as error:
            raise Problem(CONFIG, f"cannot run pip ({error.strerror}): use an image that has it") from None
        if done.returncode == 0:
            return
        lines = done.stdout.strip().splitlines() or ["no output"]
        reason = one_line(next((line for line in reversed(lines) if "error" in line.lower()), lines[-1]))
        if pause is None:
            raise Problem(UNAVAILABLE, f"pip could not install LAUNCHER_REQUIREMENTS in 5 tries ({reason}): "
                                       "check the way to the package index (NAT, proxy), or use a prebuilt image")
        say(f"pip failed ({reason}); trying again in {pause} s")
        time.sleep(pause)


# Databases

def connect(settings: Settings, database: str, deadline: float):
    """Connect with psycopg2 in autocommit; a server that is not there yet is waited for."""
    import psycopg2
    where = f"database {database!r} at {settings.db_host}:{settings.db_port}"
    said = False
    while True:
        try:
            connection = psycopg2.connect(
                host=settings.db_host, port=settings.db_port, dbname=database, user=settings.db_username,
                password=settings.db_password, sslmode=settings.db_sslmode, connect_timeout=10, keepalives_idle=60,
                application_name="mlflow-launcher", client_encoding="utf8")
            connection.autocommit = True
            return connection
        except psycopg2.OperationalError as error:
            reason = settings.redact(one_line(error))
        if "authentication failed" in reason or "no pg_hba.conf entry" in reason:
            raise Problem(DENIED, f"the {where} refuses the login ({reason}): correct LAUNCHER_DB_USERNAME, "
                                  "LAUNCHER_DB_PASSWORD or LAUNCHER_DB_SSLMODE")
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
    """Compare a store's ("tracking" or "auth") schema with the installed MLflow: empty, older, current or newer."""
    from importlib.util import find_spec
    package = Path(find_spec("mlflow").origin).parent  # found without the import, which takes seconds
    scripts = package / ("store/db_migrations" if store == "tracking" else "server/auth/db/migrations") / "versions"
    revisions = {"revision": set(), "down_revision": set()}
    for script in scripts.glob("*.py"):
        found = re.findall(r"^(revision|down_revision)\b[^=\n]*=\s*(.+)$", script.read_text("utf-8"), re.MULTILINE)
        for name, value in ((name, ast.literal_eval(value)) for name, value in found):
            revisions[name].update([value] if isinstance(value, str) else value or [])
    cursor = connection.cursor()
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = {name for (name,) in cursor.fetchall()}
    own_table = store == "auth" and settings.has("own_auth_version_table")
    if store == "auth" and not own_table and "alembic_version_auth" in tables:
        return "newer"
    table = "alembic_version_auth" if own_table else "alembic_version"
    if table not in tables:
        return "older" if own_table and "users" in tables else "empty"
    cursor.execute(f"SELECT version_num FROM {table}")
    applied = {revision for (revision,) in cursor.fetchall()}
    if not applied <= revisions["revision"]:
        return "newer"
    if not applied:
        return "empty"
    return "current" if applied == revisions["revision"] - revisions["down_revision"] else "older"


def refuse_newer(settings: Settings, database: str, state: str) -> None:
    if state == "newer":
        raise Problem(DATA, f"the schema of database {database!r} is newer than MLflow {settings.mlflow_version}: "
                            "deploy the newer version again, or restore the snapshot from before the upgrade")


def require_current(connection, settings: Settings, store: str, database: str) -> None:
    state = schema_state(connection, settings, store)
    refuse_newer(settings, database, state)
    if state != "current":  # a server would migrate by itself, and two of them would race
        raise Problem(DATA, f"the schema of database {database!r} is {state} for MLflow {settings.mlflow_version}: "
                            "run `migrate` first")


def take_lock(connection, settings: Settings, work: str) -> None:
    """One "migration" or "collection" at a time: the lock lives and dies with this connection."""
    cursor = connection.cursor()
    deadline = time.monotonic() + settings.lock_wait_seconds
    said = False
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (LOCKS[work],))
        if cursor.fetchone()[0]:
            return
        if time.monotonic() >= deadline:
            raise Problem(TRY_AGAIN, f"another {work} of {settings.db_name!r} still runs after "
                                     f"{settings.lock_wait_seconds} s: wait for its task to end, then try again")
        if not said:
            say(f"another {work} is running; waiting for it to end")
            said = True
        time.sleep(0.5)


def create_database(connection, name: str) -> bool:
    cursor = connection.cursor()
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
    if cursor.fetchone():
        return False
    # Nobody is ever connected to template0, and it allows UTF8 whatever the cluster's default is.
    cursor.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
    return True


def migrate(settings: Settings, reset_admin: bool = False) -> None:
    """Bring both stores to this version's schema and make the admin user. Safe again, and twice at once."""
    install(settings)
    start = time.monotonic()

    def step(message: str) -> None:
        say(f"{message} ({time.monotonic() - start:.1f} s)")

    connection = connect(settings, settings.db_name, start + settings.db_wait_seconds)
    take_lock(connection, settings, "migration")
    step(f"connected to {settings.db_host}:{settings.db_port} and locked {settings.db_name!r}")
    if create_database(connection, settings.auth_db_name):
        step(f"created database {settings.auth_db_name!r}")
    auth_connection = connect(settings, settings.auth_db_name, start + settings.db_wait_seconds)
    tracking = schema_state(connection, settings, "tracking")
    auth = schema_state(auth_connection, settings, "auth")
    refuse_newer(settings, settings.db_name, tracking)
    refuse_newer(settings, settings.auth_db_name, auth)

    import logging
    import warnings
    os.environ.update(private_environment(settings))  # MLflow reads it when it is imported
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    migrate_tracking(settings, tracking)
    step(f"tracking store: schema was {tracking}, is current")
    announce_mirror(auth_connection, settings)
    from mlflow.server.auth.db.cli import commands
    commands(["upgrade", "--url", settings.database_uri(settings.auth_db_name)], standalone_mode=False)
    step(f"user store: schema was {auth}, is current")
    start_mirror(auth_connection, connection)
    auth_connection.close()
    step(make_admin(settings, reset_admin))
    connection.close()
    tell_counts(settings)


def migrate_tracking(settings: Settings, state: str) -> None:
    uri = settings.database_uri(settings.db_name)
    if state == "older":
        from mlflow.db import commands
        # `mlflow db upgrade`, but in this process: its argument is a URI with the password.
        commands(["upgrade", uri], standalone_mode=False)
    # 2.x cannot upgrade an empty database: there the store itself makes the schema. It also makes the default
    # experiment, for which servers started together would race.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    SqlAlchemyStore(uri, "mlflow-artifacts:/").engine.dispose()


def migrate_restored(settings: Settings) -> None:
    """Databases out of a snapshot: the admin's password is that of its time, and maybe of another deployment."""
    migrate(settings, reset_admin=True)


def make_admin(settings: Settings, reset: bool) -> str:
    from mlflow.exceptions import MlflowException
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    store = SqlAlchemyStore()
    store.init_db(settings.database_uri(settings.auth_db_name))
    name = settings.admin_username
    try:
        if not store.has_user(name):
            store.create_user(name, settings.admin_password, is_admin=True)
            return f"created the admin user {name!r}"
        if reset and not store.authenticate_user(name, settings.admin_password):
            store.update_user(name, password=settings.admin_password)
            say(f"gave the admin user {name!r} its password back")
        if not store.get_user(name).is_admin:
            return f"WARNING: user {name!r} exists and is no admin, left alone: make it one through another admin"
        return f"the admin user {name!r} exists"
    except MlflowException as error:
        raise Problem(CONFIG, f"LAUNCHER_ADMIN_USERNAME or LAUNCHER_ADMIN_PASSWORD is refused by MLflow "
                              f"{settings.mlflow_version} ({one_line(error)}): change the admin's secret") from None


def ready_database(settings: Settings, store: str = "tracking"):
    """A connection to a store's database if its schema is this version's."""
    database = settings.db_name if store == "tracking" else settings.auth_db_name
    connection = connect(settings, database, time.monotonic() + settings.db_wait_seconds)
    require_current(connection, settings, store, database)
    return connection


# Permissions while versions before and since 3.13 run side by side

# MLflow copies permissions into grants once, but not those that refuse, and what older tasks write afterwards is lost.
# So each version's tables follow the other's until `settle`. `launcher_mirror` is made before the migration: a database
# that has it and no triggers is one that a killed `migrate` left.
MIRROR = """
LOCK TABLE experiment_permissions, registered_model_permissions IN SHARE ROW EXCLUSIVE MODE;
CREATE TABLE launcher_prompts (name text PRIMARY KEY);
CREATE FUNCTION launcher_grant(old_row jsonb, wanted text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_user integer; member integer := old_row->>'user_id'; own text := '__user_' || member || '__'; kind text := 'experiment';
    resource text := coalesce(old_row->>'experiment_id', old_row->>'name');
BEGIN
    IF old_row ? 'name' THEN
        kind := CASE WHEN EXISTS (SELECT FROM launcher_prompts WHERE name = resource) THEN 'prompt' ELSE 'registered_model' END;
    END IF;
    IF wanted IS NULL THEN
        DELETE FROM role_permissions WHERE resource_type = kind AND resource_pattern = resource
            AND role_id IN (SELECT id FROM roles WHERE name = own AND workspace = 'default');
        RETURN;
    END IF;
    INSERT INTO roles (name, workspace) VALUES (own, 'default') ON CONFLICT DO NOTHING;
    SELECT id INTO of_user FROM roles WHERE name = own AND workspace = 'default';
    INSERT INTO user_role_assignments (user_id, role_id) VALUES (member, of_user) ON CONFLICT DO NOTHING;
    INSERT INTO role_permissions (role_id, resource_type, resource_pattern, permission)
        VALUES (of_user, kind, resource, replace(wanted, 'NO_PERMISSIONS', 'DENY'))
        ON CONFLICT (role_id, resource_type, resource_pattern) DO UPDATE SET permission = EXCLUDED.permission;
END $$;
CREATE FUNCTION launcher_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        IF TG_OP <> 'INSERT' THEN PERFORM launcher_grant(to_jsonb(OLD), NULL); END IF;
        IF TG_OP <> 'DELETE' THEN PERFORM launcher_grant(to_jsonb(NEW), NEW.permission); END IF;
        INSERT INTO launcher_mirror (old_row, wanted) VALUES
            (CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END, NEW.permission);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION launcher_permit(one role_permissions, wanted text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE member integer; resource text := one.resource_pattern;
BEGIN
    SELECT substring(name FROM '^__user_([0-9]+)__$') INTO member FROM roles WHERE id = one.role_id AND workspace = 'default';
    IF member IS NULL OR resource = '*' THEN RETURN; END IF;
    wanted := CASE wanted WHEN 'DENY' THEN 'NO_PERMISSIONS' WHEN 'USE' THEN 'READ' ELSE wanted END;
    IF one.resource_type = 'experiment' THEN
        DELETE FROM experiment_permissions WHERE user_id = member AND experiment_id = resource;
        INSERT INTO experiment_permissions (user_id, experiment_id, permission)
            SELECT member, resource, wanted WHERE wanted IS NOT NULL;
    ELSIF one.resource_type IN ('registered_model', 'prompt') THEN
        DELETE FROM registered_model_permissions WHERE user_id = member AND name = resource;
        INSERT INTO registered_model_permissions (user_id, name, permission)
            SELECT member, resource, wanted WHERE wanted IS NOT NULL;
    END IF;
END $$;
CREATE FUNCTION launcher_backward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        IF TG_OP <> 'INSERT' THEN PERFORM launcher_permit(OLD, NULL); END IF;
        IF TG_OP <> 'DELETE' THEN PERFORM launcher_permit(NEW, NEW.permission); END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION launcher_leave() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE own text := '__user_' || OLD.id || '__';
BEGIN
    DELETE FROM user_role_assignments WHERE user_id = OLD.id;
    DELETE FROM role_permissions WHERE role_id IN (SELECT id FROM roles WHERE name = own);
    DELETE FROM roles WHERE name = own;
    RETURN OLD;
END $$;
"""
COPY = """
DELETE FROM role_permissions WHERE resource_type IN ('experiment', 'registered_model')
    AND role_id IN (SELECT id FROM roles WHERE name ~ '^__user_[0-9]+__$');
SELECT launcher_grant(to_jsonb(one), permission) FROM experiment_permissions AS one;
SELECT launcher_grant(to_jsonb(one), permission) FROM registered_model_permissions AS one;
CREATE TRIGGER launcher_forward AFTER INSERT OR UPDATE OR DELETE ON experiment_permissions
    FOR EACH ROW EXECUTE FUNCTION launcher_forward();
CREATE TRIGGER launcher_forward AFTER INSERT OR UPDATE OR DELETE ON registered_model_permissions
    FOR EACH ROW EXECUTE FUNCTION launcher_forward();
CREATE TRIGGER launcher_backward AFTER INSERT OR UPDATE OR DELETE ON role_permissions
    FOR EACH ROW EXECUTE FUNCTION launcher_backward();
CREATE TRIGGER launcher_leave BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION launcher_leave();
COMMIT;
"""
REFUSALS = """
SELECT username, resource_type, resource_pattern FROM role_permissions AS p
JOIN user_role_assignments AS a USING (role_id) JOIN users AS u ON u.id = a.user_id
WHERE permission = 'DENY' ORDER BY username, resource_type, resource_pattern"""
WRITTEN = """
SELECT username, CASE WHEN old_row ? 'name' THEN 'registered_model' ELSE 'experiment' END,
    coalesce(old_row->>'experiment_id', old_row->>'name'), coalesce(wanted, 'nothing')
FROM launcher_mirror AS m JOIN users AS u ON u.id = (old_row->>'user_id')::integer ORDER BY m.id"""
PROMPTS = "SELECT name FROM registered_model_tags WHERE key = 'mlflow.prompt.is_prompt' AND lower(value) = 'true'"
# MLflow does the same where both stores share a database. A grant that is there already stays.
TAKE_PROMPTS = """
UPDATE role_permissions AS p SET resource_type = 'prompt'
WHERE resource_type = 'registered_model' AND resource_pattern = ANY(%s) AND NOT EXISTS (
    SELECT FROM role_permissions AS o WHERE o.role_id = p.role_id AND o.resource_type = 'prompt'
    AND o.resource_pattern = p.resource_pattern)"""
END_MIRROR = """
DROP FUNCTION launcher_forward, launcher_backward, launcher_leave, launcher_grant, launcher_permit CASCADE;
DROP TABLE launcher_prompts, launcher_mirror;
COMMIT;
"""
MOST_LINES = 200


def ask(connection, statement: str, *values: object) -> list[tuple]:
    cursor = connection.cursor()
    cursor.execute(statement, values or None)
    return cursor.fetchall()


def announce_mirror(auth, settings: Settings) -> None:
    """Note in the user store, before its migration, that permissions are about to become grants."""
    ((before,),) = ask(auth, "SELECT to_regclass('users') IS NOT NULL AND to_regclass('roles') IS NULL")
    if before and settings.has("refusing_grants"):
        auth.cursor().execute("CREATE TABLE IF NOT EXISTS launcher_mirror (id serial PRIMARY KEY, old_row jsonb, wanted text)")


def mirror_state(auth) -> tuple[bool, bool]:
    """Whether permissions and grants are to follow each other, and whether they do."""
    ((announced, running),) = ask(
        auth, "SELECT to_regclass('launcher_mirror') IS NOT NULL, to_regclass('launcher_prompts') IS NOT NULL")
    return announced, running


def start_mirror(auth, tracking) -> None:
    """Carry refusals over, and let permissions and grants follow each other from here on."""
    announced, running = mirror_state(auth)
    if not announced:
        return
    if not running:
        cursor = auth.cursor()
        cursor.execute("BEGIN")
        cursor.execute(MIRROR)
        cursor.executemany("INSERT INTO launcher_prompts VALUES (%s) ON CONFLICT DO NOTHING", ask(tracking, PROMPTS))
        cursor.execute(COPY)
    refusals = ask(auth, REFUSALS)
    say(f"permissions follow those of the older version until `settle`; {len(refusals)} refusals are grants of DENY")
    for user, kind, resource in refusals[:MOST_LINES]:
        say(f"refused: {user!r} on {kind} {resource!r}")


def settle(settings: Settings) -> None:
    """End what `start_mirror` began, once no task of the older version runs, and tell what such tasks wrote meanwhile."""
    install(settings)
    deadline = time.monotonic() + settings.db_wait_seconds
    tracking = connect(settings, settings.db_name, deadline)
    auth = connect(settings, settings.auth_db_name, deadline)
    take_lock(tracking, settings, "migration")
    announced, running = mirror_state(auth)
    if announced and not running:
        raise Problem(DATA, f"the migration of {settings.auth_db_name!r} is not over: run `migrate` first")
    written = ask(auth, WRITTEN) if running else []
    if running:
        cursor = auth.cursor()
        cursor.execute("BEGIN")
        cursor.execute(TAKE_PROMPTS, ([name for (name,) in ask(tracking, PROMPTS)],))
        cursor.execute(END_MIRROR)
    say(f"settled; the older version wrote {len(written)} permissions while both ran, all of them kept")
    for user, kind, resource, permission in written[:MOST_LINES]:
        say(f"kept: {user!r} has {permission} on {kind} {resource!r}")


# Garbage collection

def collect_garbage(settings: Settings) -> None:
    """`mlflow gc` in this process: its argument is a URI with the password, and the artifacts are at hand here, so that
    it needs neither the server nor a login."""
    install(settings)
    connection = ready_database(settings)
    take_lock(connection, settings, "collection")
    import logging
    logging.disable(logging.INFO)
    import mlflow
    from mlflow.cli import gc
    from mlflow.store.artifact import artifact_repository_registry as registry

    class Artifacts:
        """Removes what the server would remove, all of it or with an error."""

        def __init__(self, uri: str, *_args: object, **_options: object) -> None:
            self.path = urlsplit(uri).path.strip("/")
            if not self.path:
                raise Problem(DATA, f"{uri} is no place of a run's own: nothing is removed")

        def delete_artifacts(self) -> None:
            repository = registry.get_artifact_repository(settings.artifact_root)
            # With a slash, or 2.x would take what begins alike too: experiment 10 with experiment 1.
            repository.delete_artifacts(f"{self.path}/")
            while repository.list_artifacts(self.path):
                if settings.has("whole_deletion"):  # it keeps to itself what S3 refused
                    raise Problem(DENIED, f"artifacts in {settings.artifact_root}/{self.path} could not be removed: "
                                          "allow the task role s3:DeleteObject there")
                repository.delete_artifacts(f"{self.path}/")

    registry._artifact_repository_registry.register("mlflow-artifacts", Artifacts)
    uri, days, cursor = settings.database_uri(settings.db_name), settings.gc_older_than_days, connection.cursor()
    mlflow.set_tracking_uri(uri)
    before = count_deleted(cursor)
    cursor.execute(OLD_EXPERIMENTS, (int(time.time() * 1000) - days * 86_400_000,))
    for experiment_id, location, in_use in cursor.fetchall():
        # `gc` leaves what does not belong to a run, such as traces; and 2.x fails where there are any.
        if not in_use and location.rstrip("/") == f"mlflow-artifacts:/{experiment_id}":
            Artifacts(location).delete_artifacts()
        if settings.version < (3, 0):
            cursor.execute("DELETE FROM trace_info WHERE experiment_id = %s", (experiment_id,))
    gc.main(["--backend-store-uri", uri, "--older-than", f"{days}d"], standalone_mode=False)
    runs, experiments = (old - new for old, new in zip(before, count_deleted(cursor)))
    say(f"removed {runs} runs and {experiments} experiments that were deleted more than {days} days ago")
    connection.close()


def preview_garbage(settings: Settings) -> None:
    """What `gc` would remove now: the oldest of it by name, all of it in figures."""
    install(settings)
    cursor, days = ready_database(settings).cursor(), settings.gc_older_than_days
    before, going = count_deleted(cursor), []
    cutoff = int(time.time() * 1000) - days * 86_400_000
    for kind, question in GOING.items():
        cursor.execute(question, (cutoff,))
        found = cursor.fetchall()
        going.append(len(found))
        for name, moment, place in found[:PREVIEWED]:
            when = time.strftime("%Y-%m-%d", time.gmtime(moment / 1000))
            say(f"would remove {kind} {one_line(name, 80)!r} ({place}), deleted on {when}")
        if len(found) > PREVIEWED:
            say(f"would remove {len(found) - PREVIEWED} more {kind}s")
    runs, experiments = going
    say(f"{before[0] - runs} runs and {before[1] - experiments} experiments were deleted since then and would stay")
    say(f"would remove {runs} runs and {experiments} experiments that were deleted more than {days} days ago")


# By the rules of `mlflow gc`: name, moment and what tells it from others of that name.
GOING = {
    "run": "SELECT name, deleted_time, run_uuid FROM runs WHERE lifecycle_stage = 'deleted' AND deleted_time <= %s "
           "ORDER BY deleted_time, run_uuid",
    "experiment": "SELECT name, last_update_time, experiment_id FROM experiments WHERE lifecycle_stage = 'deleted' "
                  "AND last_update_time < %s ORDER BY last_update_time, experiment_id",
}
PREVIEWED = 7

# In use: a registered model has its files there.
OLD_EXPERIMENTS = """
SELECT experiment_id, artifact_location, EXISTS (
    SELECT 1 FROM model_versions WHERE strpos(concat(source, ' ', storage_location), artifact_location || '/') > 0)
FROM experiments AS e
WHERE lifecycle_stage = 'deleted' AND last_update_time < %s AND NOT EXISTS (
    SELECT 1 FROM runs WHERE runs.experiment_id = e.experiment_id AND runs.lifecycle_stage = 'active')"""


def count_deleted(cursor) -> list[int]:
    counts = []
    for table in ("runs", "experiments"):
        cursor.execute(f"SELECT count(*) FROM {table} WHERE lifecycle_stage = 'deleted'")
        counts.append(cursor.fetchone()[0])
    return counts


# What there is

COUNTED = {"tracking": ("experiments", "runs", "params", "metrics", "registered_models", "model_versions"), "auth": ("users",)}


def count(settings: Settings) -> None:
    install(settings)
    tell_counts(settings)


def tell_counts(settings: Settings) -> None:
    """Rows of both databases, deleted ones too, in one line: two databases with the same content say the same."""
    counts = []
    for store, tables in COUNTED.items():
        connection = ready_database(settings, store)
        cursor = connection.cursor()
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table}")
            counts.append(f"{table}={cursor.fetchone()[0]}")
        connection.close()
    say(f"counts: {' '.join(counts)}")


# The second login, for the time in which the first one's password changes

# All that a server needs on databases of its schema; only an owner could change the schema.
COMPANION_RIGHTS = (
    "CONNECT ON DATABASE {database}",
    "USAGE ON SCHEMA public",
    "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public",
    "USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public",
)


def open_databases(settings: Settings) -> tuple[str, list]:
    """The name of the companion, and a connection to each database, with what may not run meanwhile locked out."""
    name = settings.companion_username
    if not name or name == settings.db_username:
        settings._refuse("COMPANION_USERNAME", "give the name of a login of its own")
    install(settings)
    deadline = time.monotonic() + settings.db_wait_seconds
    connections = [connect(settings, database, deadline) for database in (settings.db_name, settings.auth_db_name)]
    take_lock(connections[0], settings, "migration")
    return name, connections


def create_companion(settings: Settings) -> None:
    """Make the second login, or give it another password. It owns nothing, so that it can go without a trace."""
    if not re.fullmatch(r"SCRAM-SHA-256\$\d+:[\w+/=]+\$[\w+/=]+:[\w+/=]+", settings.companion_verifier, re.ASCII):
        raise Problem(CONFIG, "LAUNCHER_COMPANION_VERIFIER is not what PostgreSQL stores of a password: give SCRAM-SHA-256$...")
    name, connections = open_databases(settings)
    from psycopg2 import sql
    role, verifier = sql.Identifier(name), sql.Literal(settings.companion_verifier)
    cursor = connections[0].cursor()
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    verb = "ALTER" if cursor.fetchone() else "CREATE"
    cursor.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(role, verifier))
    for connection, right, database in companion_rights(settings, connections):
        connection.cursor().execute(sql.SQL("GRANT " + right + " TO {role}").format(database=database, role=role))
    say(f"{name!r} may log in and work with the data of {settings.db_name!r} and {settings.auth_db_name!r}")


def drop_companion(settings: Settings) -> None:
    name, connections = open_databases(settings)
    from psycopg2 import sql
    role = sql.Identifier(name)
    take_lock(connections[0], settings, "collection")  # one that began with this login may still run
    cursor = connections[0].cursor()
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    if not cursor.fetchone():
        say(f"there is no login {name!r}")
        return
    for connection, right, database in companion_rights(settings, connections):
        connection.cursor().execute(sql.SQL("REVOKE " + right + " FROM {role}").format(database=database, role=role))
    cursor.execute(sql.SQL("DROP ROLE {}").format(role))
    say(f"removed the login {name!r}")


def companion_rights(settings: Settings, connections: list):
    from psycopg2 import sql
    for connection, database in zip(connections, (settings.db_name, settings.auth_db_name)):
        for right in COMPANION_RIGHTS:
            yield connection, right, sql.Identifier(database)


# A password of MLflow, of which only the hash is known here

def set_password(settings: Settings) -> None:
    """Store the hash of a user's new password. Safe to repeat: the same hash is the same password."""
    if not re.fullmatch(r"scrypt:\d+:\d+:\d+\$\w+\$[0-9a-f]{128}", settings.password_hash, re.ASCII):
        raise Problem(CONFIG, "LAUNCHER_PASSWORD_HASH is not what MLflow stores of a password: give scrypt:...")
    name = settings.password_username
    install(settings)
    connection = ready_database(settings, "auth")
    connection.cursor().execute("UPDATE users SET password_hash = %s WHERE username = %s", (settings.password_hash, name))
    if not ask(connection, "SELECT 1 FROM users WHERE username = %s AND password_hash = %s", name, settings.password_hash):
        raise Problem(DATA, f"no user {name!r} in database {settings.auth_db_name!r}: correct LAUNCHER_PASSWORD_USERNAME")
    say(f"{name!r} has the new password")


# Server

def ini_value(value: str) -> str:
    """Encode for configparser with interpolation; %(empty)s keeps it from stripping blanks at the ends."""
    return "%(empty)s" + value.replace("%", "%%") + "%(empty)s"


def auth_ini(settings: Settings) -> str:
    """The configuration of basic authentication. Versions that do not know a key ignore it."""
    function = "mlflow.server.auth:authenticate_request_basic_auth"
    if settings.has("ascii_native_routes") and not settings.admin_password.isascii():
        function = "launcher_auth:authenticate"
    values = {
        "empty": "",
        "default_permission": settings.default_permission,
        "database_uri": ini_value(settings.database_uri(settings.auth_db_name)),
        "admin_username": ini_value(settings.admin_username),
        "admin_password": ini_value(settings.admin_password),
        "authorization_function": function,
        "auth_cache_ttl_seconds": settings.auth_cache_ttl_seconds,
    }
    return "[mlflow]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


# Native routes of 3.x (artifacts, traces) read a password as ASCII, or refuse it; a custom function is asked on all
# routes alike, so this is the same function under another name. (The UI then hides "change password".)
AUTH_MODULE = '''
def authenticate():
    from mlflow.server.auth import authenticate_request_basic_auth
    return authenticate_request_basic_auth()
'''


# A server signs addresses whether or not clients reach S3, and newer clients then take no other way; 2.18.0 asks those
# who upload so for no permission. The names by which its handlers ask whether the store can: now it never can.
PROXIED_MODULE = '''
from mlflow.server import handlers
from mlflow.server.auth import create_app


class Never:
    """No artifact store is one."""


handlers.MultipartUploadMixin
for name in ("MultipartUploadMixin", "MultipartDownloadMixin"):
    if hasattr(handlers, name):
        setattr(handlers, name, Never)
'''


def private_environment(settings: Settings) -> dict[str, str]:
    """Write the private folder; return what MLflow needs in its environment to use it, and its engines' settings."""
    folder = Path(tempfile.mkdtemp(prefix="mlflow-"))  # mode 0700
    files = {"auth.ini": auth_ini(settings), "launcher_auth.py": AUTH_MODULE, "launcher_proxied.py": PROXIED_MODULE}
    for name, text in files.items():
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    # MLflow takes an overflow of 0 for unset, and SQLAlchemy then 10: lend it one of the pool.
    lent = 0 if settings.db_max_overflow else 1
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": settings.server_key,
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": str(settings.db_pool_size - lent),
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": str(settings.db_max_overflow + lent),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
        "PYTHONUTF8": "1",  # MLflow reads the INI in the locale's encoding
    }


def server_environment(settings: Settings, inherited: dict[str, str]) -> dict[str, str]:
    """What is inherited, without the launcher's own, and what `mlflow server` would hand to its workers.

    An integration test compares the names with an underscore with a real `mlflow server` of each supported version.
    """
    uri = settings.database_uri(settings.db_name)
    environment = {name: value for name, value in inherited.items() if not name.startswith("LAUNCHER_")}
    environment.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    environment.pop("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", None)
    environment |= private_environment(settings) | {
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
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    if settings.has("host_check"):
        for name, value in (("ALLOWED_HOSTS", settings.allowed_hosts), ("CORS_ALLOWED_ORIGINS", settings.cors_origins)):
            if value:
                environment[f"MLFLOW_SERVER_{name}"] = value
    return environment


# The master imports MLflow once and its workers share that memory; all that holds connections is made in a worker.
GUNICORN = """
import mlflow.server.auth, mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
from gunicorn.app.wsgiapp import run
run()
"""


def server_command(settings: Settings) -> list[str]:
    """The real server instead of `mlflow server`, which imports MLflow once more, stays in memory as an idle parent,
    and in 2.x keeps SIGTERM from gunicorn."""
    host, port, workers = settings.host, settings.port, str(settings.workers)
    drain, keep_alive = str(settings.graceful_timeout_seconds), str(settings.keep_alive_seconds)
    app = ("launcher_proxied" if settings.artifact_transfer == "proxied" else "mlflow.server.auth") + ":create_app"
    if not settings.has("uvicorn"):
        # Threads: a slow upload must neither hold up health checks nor be killed by the workers' timeout.
        return [sys.executable, "-c", GUNICORN, "--bind", f"{host}:{port}", "--workers", workers,
                "--worker-class", "gthread", "--threads", "8", "--timeout", "120", "--graceful-timeout", drain,
                "--keep-alive", keep_alive, f"{app}()"]
    return [sys.executable, "-m", "uvicorn", "--host", host, "--port", str(port), "--workers", workers,
            "--timeout-graceful-shutdown", drain, "--timeout-keep-alive", keep_alive,
            # Its default of 5 s kills workers that are still importing on a small task.
            "--timeout-worker-healthcheck", "60", "--no-server-header", "--factory", app]


def serve(settings: Settings) -> None:
    """Install, check that `migrate` has been here, and become the server."""
    install(settings)
    deadline = time.monotonic() + settings.db_wait_seconds
    for store, database in (("tracking", settings.db_name), ("auth", settings.auth_db_name)):
        connection = connect(settings, database, deadline)
        require_current(connection, settings, store, database)
        connection.close()
    if (settings.allowed_hosts or settings.cors_origins) and not settings.has("host_check"):
        say(f"MLflow {settings.mlflow_version} checks neither hosts nor origins: what is allowed has no effect")
    environment, command = server_environment(settings, dict(os.environ)), server_command(settings)
    say(f"starting MLflow {settings.mlflow_version} on {settings.host}:{settings.port} with {settings.workers} workers")
    os.chdir(Path(environment["MLFLOW_AUTH_CONFIG_PATH"]).parent)
    os.execve(command[0], command, environment)


COMMANDS = {"serve": serve, "migrate": migrate, "migrate --reset-admin": migrate_restored, "settle": settle, "gc": collect_garbage,
            "gc --dry-run": preview_garbage, "count": count, "companion create": create_companion,
            "companion drop": drop_companion, "password set": set_password}


def main(arguments: list[str]) -> int:
    settings = None
    # The first process of a container ignores SIGTERM unless it handles it. (exec sets it back for the server.)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        command = COMMANDS.get(" ".join(arguments))
        if command is None:
            raise Problem(USAGE, f"the command is {' '.join(arguments)!r}: give one of {', '.join(COMMANDS)}")
        settings = Settings(dict(os.environ))
        command(settings)
        return 0
    except Problem as problem:
        code, message = problem.code, str(problem)
    except Exception as error:  # the log of a stopped task must end with a reason
        trace = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        code, message = SOFTWARE, f"{type(error).__name__} in {place}: {one_line(error)}"
    print(f"launcher: error: {settings.redact(message) if settings else message}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
