# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tasks, MLflow, PostgreSQL and AWS say when something is wrong, and what it means. Everything here is pure.

Each text is as it is printed by ECS ("Stopped tasks error messages" in its developer guide), by PostgreSQL, SQLAlchemy, pip, MLflow
2.18 to 3.17, or by the launcher in the task.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import diagnosis_symptoms
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.diagnosis_cause import Cause

# What a server that still runs has said may be about something that is over.
RUNNING_LESS = 30


class Text(t.NamedTuple):
    """likelihood, pattern, cause and remedy of one cause; {name} in both stands for a group of the pattern."""

    id: str
    likelihood: int
    pattern: str
    cause: str
    remedy: str


NETWORK = (
    r"(i/o timeout|dial tcp|context deadline exceeded|deadline exceeded|[Cc]onnection timed out|no such host|connection refused"
    r"|Client\.Timeout|connection issue between the task|[Nn]ame or service not known|[Tt]emporary failure in name resolution"
    r"|[Nn]etwork is unreachable|NewConnectionError|error sending request|dns error|ConnectTimeout)"
)
WAY_OUT = (
    "give the subnets of the tasks a default route to a NAT gateway, or interface endpoints (network_nat_mode), and let the tasks'"
    " security group out on port 443"
)
SCHEMA_REMEDY = "deploy the version that the databases were migrated to (mlflow_version), or restore the snapshot from before the upgrade"

# Of those that a line fits, the first counts: what says most comes first.
TEXTS = (
    # The image
    Text(
        "image_rate_limit", 90, r"toomanyrequests|pull rate limit|429 Too Many Requests",
        "The registry of the image gives no more pulls: a rate limit, as of Docker Hub for anonymous pulls",
        "take the image from public.ecr.aws/docker/library or from your own ECR repository (ecs_mlflow_image); until then wait for"
        " the limit to end (Docker Hub: 6 hours)",
    ),
    Text(
        "image_wrong_platform", 89, r"does not contain descriptor matching platform|exec format error",
        "The image is not made for the processor architecture of the tasks",
        "use an image of that architecture, or set ecs_mlflow_cpu_architecture to the image's",
    ),
    Text(
        "no_way_to_registry", 86, r"CannotPull\w*.*" + NETWORK,
        "Tasks cannot reach the registry of the image", f"{WAY_OUT}; for an image in ECR the endpoints ecr.api, ecr.dkr and s3",
    ),
    Text(
        "image_denied", 88, r"CannotPull\w*.*(no basic auth credentials|403 Forbidden|not authorized to perform: ecr:|pull access denied)",
        "The registry of the image refuses the tasks",
        "correct the name of the image (ecs_mlflow_image); for ECR let the execution role pull it and the repository's policy allow it",
    ),
    Text(
        "image_not_found", 87, r"CannotPull\w*",
        "The image cannot be pulled: it is not in its registry under this name",
        "correct ecs_mlflow_image to an image and a tag that exist (mlflow_image: built: run image.yml), then deploy again",
    ),
    Text(
        "image_without_program", 86, r'exec: "(?P<program>[^"]+)": (executable file not found|stat )',
        "The image has no program {program}", "use an image with Python, such as the default of ecs_mlflow_image",
    ),
    # Secrets, roles, log
    Text(
        "secret_deleted", 94, r"secret\b.*marked for deletion|marked for deletion.*secret",
        "A secret that the tasks need is scheduled for deletion",
        "restore it (aws secretsmanager restore-secret --secret-id <name>); ECS then starts the tasks by itself",
    ),
    Text(
        "secret_without_key", 93, r"did not contain json key (?P<key>\S+)|so it has no key (?P<other>\S+)",
        "A secret that the tasks need lacks the key {key}{other}",
        "put it back: the value is JSON with username and password (of the server key: secret_key)",
    ),
    Text(
        "secret_missing", 92, r"can't find the specified secret|ResourceNotFoundException.*secret",
        "A secret that the tasks need does not exist", "make it again with site.yml, or correct the task definition",
    ),
    Text(
        "secret_key_denied", 91, r"Access to KMS is not allowed|KMS\w*Exception|kms:Decrypt",
        "The KMS key of a secret, of the artifacts or of the log cannot be used",
        "enable the key, cancel its deletion, and let the roles of the tasks use it (site.yml sets their policies)",
    ),
    Text(
        "secret_denied", 91, r"not authorized to perform: secretsmanager:GetSecretValue",
        "The execution role may not read a secret of the tasks",
        "allow secretsmanager:GetSecretValue on it; site.yml sets the policy of the role",
    ),
    Text(
        "role_not_assumed", 92, r"unable to assume the role '(?P<role>[^']+)'",
        "ECS cannot assume the role {role}: it is gone, or does not trust ecs-tasks.amazonaws.com",
        "deploy again: site.yml makes the role and its trust",
    ),
    Text(
        "no_way_to_secrets", 86, r"(unable to pull secrets or registry auth|unable to retrieve secret).*" + NETWORK,
        "Tasks cannot reach Secrets Manager", f"{WAY_OUT}; without the internet the endpoint secretsmanager",
    ),
    Text(
        "log_group_missing", 88, r"(log group does not exist|ResourceNotFoundException.*log group|failed to create Cloudwatch log stream)",
        "Tasks cannot write their log: its log group is gone or denied", "deploy again: site.yml makes it",
    ),
    # Capacity
    Text(
        "no_capacity", 88, r"Capacity is unavailable at this time|limit on the number of (vCPUs|tasks)|Spot Task was interrupted",
        "Fargate has no capacity for the tasks, or the account's quota of it is used up",
        "ask for a higher quota of Fargate vCPUs, use on-demand capacity (ecs_mlflow_spot: false), or try again later",
    ),
    Text(
        "no_free_address", 88, r"InsufficientFreeAddressesInSubnet|insufficient free addresses|does not have enough free",
        "The subnets of the tasks have no free address", "use larger subnets, or remove what else is in them",
    ),
    Text(
        "out_of_memory", 90, r"OutOfMemory|Cannot allocate memory|MemoryError",
        "The task has too little memory for its workers and is killed",
        "raise ecs_mlflow_memory, or lower mlflow_workers (0 takes as many as fit)",
    ),
    Text(
        "database_disk_full", 93, r"could not (extend|write).*[Nn]o space left|DiskFull",
        "The storage of the database is full", "raise rds_allocated_storage, or set rds_max_allocated_storage",
    ),
    Text(
        "disk_full", 88, r"[Nn]o space left on device",
        "The storage of the task is full",
        "raise ecs_mlflow_ephemeral_storage_gib; it must hold the artifacts that travel at the same time",
    ),
    # The database
    Text(
        "database_port_twice", 93,
        r"""could not translate host name "(?P<host>[^"]*:\d+)"|literal for int\(\) with base 10: '(?P<port>\d+:\d+)'""",
        "The address of the database has its port twice ({host}{port})",
        "give the host without the port (LAUNCHER_DB_HOST, ecs_mlflow_db_host); DescribeDBInstances' Endpoint.Address is the host",
    ),
    Text(
        "database_name_unknown", 84, r'could not translate host name "(?P<host>[^"]*)"',
        "The host of the database, {host}, has no address",
        "set it to the endpoint of the database (site.yml does), and switch DNS on in the VPC",
    ),
    Text(
        "database_tls", 91, r"no pg_hba.conf entry for .*(no encryption|SSL off)|server does not support SSL",
        "The database refuses the connection for want of encryption, or for its address or user",
        "set ecs_mlflow_db_sslmode to require (the parameter rds.force_ssl wants TLS)",
    ),
    Text(
        "database_password", 90, r"password authentication failed for user|refuses the login",
        "The database refuses the user name and password that the tasks have",
        "put the password that the database has into the secret, or give the database the secret's"
        " (aws rds modify-db-instance --master-user-password), then replace the tasks",
    ),
    Text(
        "too_many_connections", 89, r"too many clients already|remaining connection slots|too many connections for",
        "The database has no connection left",
        "run fewer tasks or workers, a smaller pool (ecs_mlflow_db_pool_size), or a larger rds_instance_class; then see who else"
        " is connected (pg_stat_activity)",
    ),
    Text(
        "pool_exhausted", 70, r"QueuePool limit of size \d+ overflow \d+ reached",
        "The requests of a worker wait for each other's connections: its pool is too small",
        "raise ecs_mlflow_db_pool_size as far as the database bears it, or run more tasks",
    ),
    Text(
        "database_starting", 75, r"the database system is (starting up|shutting down|in recovery mode)",
        "The database is starting or stopping", "wait some minutes; see the events of the database if it stays so",
    ),
    Text(
        "database_unreachable", 80,
        r"no answer from the database|(connection to server|could not connect to server).*(timeout expired|timed out|refused|No route to host)",
        "Tasks get no answer from the database",
        "check that it is available, and that its security group lets the tasks' in on its port",
    ),
    Text(
        "database_missing_inside", 85, r'database "(?P<database>[^"]+)" does not exist',
        "The server has no database {database}",
        "correct the name (ecs_mlflow_db_name, ecs_mlflow_auth_db_name), or deploy again: the preparation makes it",
    ),
    Text(
        "schema_newer", 91, r"is newer than MLflow (?P<version>[\w.]+)|Can't locate revision identified by",
        "The schema of the databases is newer than MLflow {version}: it was upgraded before", SCHEMA_REMEDY,
    ),
    Text(
        "schema_old", 90, r"Detected out-of-date database schema|the schema of database .* is (older|empty) for MLflow",
        "The schema of the databases is older than this MLflow wants", "deploy again: the preparation migrates both databases",
    ),
    Text(
        "migration_race", 88, r"pg_type_typname_nsp_index|UniqueViolation|duplicate key value violates unique constraint|DuplicateTable",
        "Several servers made the tables of an empty database at the same time",
        "deploy with site.yml, which prepares the databases with one task under a lock, then restart the tasks",
    ),
    Text(
        "migration_locked", 88, r"another (?P<work>migration|collection) of .* still runs",
        "Another {work} of the databases holds the lock", "wait for its task to end, or stop it, then try again",
    ),
    # MLflow and its packages
    Text(
        "sqlalchemy_too_new", 91, r"FallbackAsyncAdaptedQueuePool",
        "SQLAlchemy is too new for this version of MLflow, which it installed without a bound",
        "install the pinned dependencies (ecs_mlflow_install: true), or sqlalchemy<2.1 in the image",
    ),
    Text(
        "driver_missing", 91, r"No module named '?(?P<driver>psycopg2?)\b",
        "The Python driver for PostgreSQL, {driver}, is not installed",
        "install psycopg2-binary and write postgresql+psycopg2:// in the URI; the pinned dependencies have it",
    ),
    Text(
        "auth_extra_missing", 91, r"No module named '?flask_wtf",
        "MLflow's packages for authentication are not installed",
        "install mlflow[auth]; the pinned dependencies have it (ecs_mlflow_install: true)",
    ),
    Text(
        "module_missing", 80, r"ModuleNotFoundError: No module named '?(?P<module>[\w.]+)",
        "The Python module {module} is not installed", "add it to the image, or install the pinned dependencies (ecs_mlflow_install: true)",
    ),
    Text(
        "no_way_to_package_index", 87, r"(pip could not install|pip failed).*" + NETWORK,
        "Tasks cannot reach the Python package index", f"{WAY_OUT}; or use an image with MLflow in it (ecs_mlflow_install: false)",
    ),
    Text(
        "packages_not_found", 86, r"pip could not install|pip failed",
        "The packages of MLflow cannot be installed",
        "correct the pinned dependencies (LAUNCHER_REQUIREMENTS) or the package index; or use an image with MLflow in it",
    ),
    Text(
        "wrong_mlflow_in_image", 90, r"LAUNCHER_MLFLOW_VERSION is (?P<wanted>\S+), but MLflow (?P<found>\S+) is installed",
        "The image has MLflow {found}, not {wanted}", "use an image with that version, or set ecs_mlflow_install to true",
    ),
    Text(
        "wrong_environment", 89, r"launcher: error: (?P<what>(LAUNCHER_|MLFLOW_)\w+[^:]*): (?P<how>.*)",
        "The environment of the task is wrong: {what}", "{how}; then deploy again",
    ),
    Text(
        "address_in_use", 86, r"[Aa]ddress already in use|[Cc]annot assign requested address",
        "The server cannot listen at its address", "correct LAUNCHER_HOST and LAUNCHER_PORT: 0.0.0.0 and the port of the target group",
    ),
    Text(
        "host_refused", 88, r"Invalid Host header|DNS rebinding|Rejected request with invalid Host header: (?P<host>\S+)",
        "MLflow refuses the host name that clients use {host}",
        "add it, with its port, to mlflow_allowed_hosts and deploy again",
    ),
    # Artifacts
    Text(
        "bucket_missing", 86, r"NoSuchBucket",
        "The artifact bucket does not exist", "create it (artifacts_create_bucket: true) or correct artifacts_bucket, then deploy again",
    ),
    Text(
        "bucket_in_another_region", 86, r"PermanentRedirect|AuthorizationHeaderMalformed|must be addressed using the specified endpoint",
        "The artifact bucket is in another region", "use a bucket in the region of the deployment",
    ),
    Text(
        "bucket_denied", 85, r"\(AccessDenied\) when calling the \w*(Object|Part|Multipart)\w* operation",
        "The task role may not use the artifact bucket",
        "correct the bucket's policy and key, and the policy of the task role (site.yml sets it)",
    ),
    # Health checks
    Text(
        "servers_hang", 46, r"is unhealthy in .*(Request timed out|Target\.Timeout)",
        "The servers do not answer the health check in time: they hang, are overloaded, or the way to them is closed",
        "look at CPU and memory of the service and at the log; give the tasks more CPU or run more of them; stop a task that hangs,"
        " ECS replaces it",
    ),
    Text(
        "health_check_refused", 44, r"is unhealthy in .*(with these codes|Target\.ResponseCodeMismatch)",
        "MLflow answers the health check with an error", "read the log of the tasks (make logs)",
    ),
    Text(
        "health_checks_failed", 42, r"failed (ELB|container) health checks",
        "ECS stops tasks because they fail their health checks",
        "read the log of the tasks (make logs); where they only need longer to start raise ecs_mlflow_health_check_grace_period",
    ),
    Text(
        "killed", 45, r"exited with code 137\b",
        "A task was killed (signal 9), as when its memory is used up or it does not stop in time",
        "compare MemoryUtilization with the memory of the task; raise ecs_mlflow_memory if it is near 100 %",
    ),
)  # fmt: skip
_PATTERNS = [(text, re.compile(text.pattern)) for text in TEXTS]
LAUNCHER_ERROR = "launcher: error: "
# Characters of a line that a diagnosis shows whole, and how many come before what tells the cause in a longer one.
SHOWN, BEFORE = 250, 60


def cause(name: str, evidence: list[str], likelihood: int | None = None) -> Cause:
    """A cause that has a text, found in another way."""
    text = next(text for text in TEXTS if text.id == name)
    return Cause(name, text.likelihood if likelihood is None else likelihood, text.cause, text.remedy, evidence)


def said(line: str) -> Cause | None:
    """The cause that a line speaks of."""
    for text, pattern in _PATTERNS:
        found = pattern.search(line)
        if found:
            words = {name: value or "" for name, value in found.groupdict().items()}
            # format() leaves the words themselves alone, whatever is in them.
            return Cause(text.id, text.likelihood, text.cause.format(**words), text.remedy.format(**words), [_excerpt(line, found)])
    return None


def _excerpt(line: str, found: re.Match[str]) -> str:
    """Of a line too long to be shown, the part from a little before what tells the cause."""
    start = max(found.start() - BEFORE, found.end() - SHOWN)
    return line if found.end() < SHOWN or start <= 0 else f"...{line[start:]}"


def causes(facts: dict[str, t.Any]) -> t.Iterator[Cause]:
    """What failed tasks, the service's events and, where clients get errors, the servers have said."""
    for number, task in enumerate(diagnosis_symptoms.culprits(facts)):
        # The newest failure tells most.
        yield from _heard(task, last_words(task), number)
    if diagnosis_symptoms.is_whole(facts) and not diagnosis_symptoms.failed_checks(facts):
        return
    yield from filter(None, map(said, _events(facts)))
    # A health check at another path than /health is refused by its host, which is the target's address. Its path is the cause.
    health_checks = tuple(f"invalid Host header: {target['id']}:{target['port']}" for target in facts["targets"])
    for task in facts["tasks"]:
        yield from _heard(task, [line for line in task["log"] if not line.endswith(health_checks)], RUNNING_LESS)


def _heard(task: dict[str, t.Any], lines: list[str], less: int) -> t.Iterator[Cause]:
    for line in lines:
        heard = said(line)
        if heard:
            evidence = [f"task {task['id'][:8]}: {text}" for text in heard.evidence]
            yield heard._replace(likelihood=max(1, heard.likelihood - less), evidence=evidence)


def last_words(task: dict[str, t.Any]) -> list[str]:
    """Why a task ended: its stopped reason, and what the launcher says of it or else all its last lines."""
    errors = [line for line in task["log"] if LAUNCHER_ERROR in line]
    return [task["failure"], *(errors[-1:] or task["log"])]


def _events(facts: dict[str, t.Any]) -> list[str]:
    """The service's events since it was last steady; only those of placement and health say more than the tasks do."""
    told = []
    for event in (facts["service"] or {"events": []})["events"]:
        if diagnosis_symptoms.STEADY in event["message"]:
            break
        if "unable to place" in event["message"] or "is unhealthy in" in event["message"]:
            told.append(event["message"])
    return told
