# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every text of the diagnosis, with words as AWS, PostgreSQL, pip, MLflow and the launcher print them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import diagnosis, diagnosis_texts

from tests.unit.plugins import diagnosed

SECRET = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:web/database-AbCdEf"
RETRIEVAL = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve"
    " secret from asm: service call has been retried 1 time(s): "
)
FETCH = RETRIEVAL + f"failed to fetch secret {SECRET} from secrets manager: "
LAUNCHER = "launcher: error: "
DATABASE = "'mlflow_db' at web-db.example:5432"

SAID = [
    ("image_rate_limit", "CannotPullContainerError: inspect image has been retried 5 time(s): httpReadSeeker: failed open: unexpected status"
     " code https://registry-1.docker.io/v2/library/python/manifests/sha256:0: 429 Too Many Requests - Server message: toomanyrequests: You"
     " have reached your pull rate limit. You may increase the limit by authenticating and upgrading:"
     " https://www.docker.com/increase-rate-limit"),
    ("image_rate_limit", "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to copy: toomanyrequests: You have"
     " reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"),
    ("image_wrong_platform", "CannotPullContainerError: pull image manifest has been retried 7 time(s): image Manifest does not contain"
     " descriptor matching platform 'linux/amd64'"),
    ("image_wrong_platform", "exec /usr/local/bin/python: exec format error"),
    ("no_way_to_registry", "CannotPullContainerError: The task cannot pull registry-1.docker.io/library/python:3.11-slim from the registry"
     " registry-1.docker.io/library/python:3.11-slim. There is a connection issue between the task and the registry. Check your task network"
     " configuration. : failed to copy: httpReadSeeker: failed open: failed to do request: dial tcp 34.226.69.105:443: i/o timeout"),
    ("image_denied", "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref"
     " 123456789012.dkr.ecr.eu-west-2.amazonaws.com/mlflow:3: pull access denied, repository does not exist or may require authorization"),
    ("image_denied", "ResourceInitializationError: unable to pull secrets or registry auth: CannotPullECRContainerError: AccessDeniedException:"
     " User: arn:aws:sts::123456789012:assumed-role/web-execution/0 is not authorized to perform: ecr:GetAuthorizationToken on resource: *"),
    ("image_not_found", "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref"
     " docker.io/library/python:2.99: docker.io/library/python:2.99: not found"),
    ("image_without_program", 'CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: failed to'
     ' create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "python": executable file'
     " not found in $PATH"),
    ("secret_deleted", FETCH + "InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion."
     " status code: 400, request id: 0"),
    ("secret_without_key", RETRIEVAL + "retrieved secret from Secrets Manager did not contain json key password"),
    ("secret_missing", FETCH + "ResourceNotFoundException: Secrets Manager can't find the specified secret. status code: 400"),
    ("secret_denied", FETCH + "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/web-execution/0 is not authorized to"
     f" perform: secretsmanager:GetSecretValue on resource: {SECRET} because no identity-based policy allows it"),
    ("secret_key_denied", FETCH + "AccessDeniedException: Access to KMS is not allowed status code: 400"),
    ("secret_key_denied", "botocore.errorfactory.KMSInvalidStateException: arn:aws:kms:eu-west-2:1:key/0 is pending deletion."),
    ("role_not_assumed", "ECS was unable to assume the role 'arn:aws:iam::123456789012:role/web-task' that was provided for this task. Please"
     " verify that the role being passed has the proper trust relationship and permissions"),
    ("no_way_to_secrets", RETRIEVAL + f"failed to fetch secret {SECRET} from secrets manager: RequestCanceled: request context canceled caused"
     " by: context deadline exceeded. Please check your task network configuration."),
    ("log_group_missing", "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to"
     " create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1"),
    ("no_capacity", "(service web) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a"
     " different availability zone."),
    ("no_capacity", "(service web) was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run"
     " concurrently."),
    ("no_free_address", "(service web) was unable to place a task. Reason: InsufficientFreeAddressesInSubnet: The specified subnet does not"
     " have enough free addresses to satisfy the request."),
    ("out_of_memory", "OutOfMemoryError: Container killed due to memory usage; container mlflow exited with code 137"),
    ("disk_full", "OSError: [Errno 28] No space left on device: '/tmp/tmp8c0'"),
    ("database_port_twice", LAUNCHER + f"no answer from the database {DATABASE}:5432 in 120 s (could not translate host name"
     ' "web-db.example:5432" to address: Name or service not known): check its state'),
    ("database_port_twice", "ValueError: invalid literal for int() with base 10: '5432:5432'"),
    ("database_name_unknown", 'sqlalchemy.exc.OperationalError: (psycopg2.OperationalError) could not translate host name "web-db.gone.example"'
     " to address: Name or service not known"),
    ("database_password", LAUNCHER + f"the database {DATABASE} refuses the login (connection to server at \"10.0.0.9\", port 5432 failed:"
     ' FATAL: password authentication failed for user "mlflow"): correct LAUNCHER_DB_USERNAME, LAUNCHER_DB_PASSWORD or LAUNCHER_DB_SSLMODE'),
    ("database_password", 'psycopg2.OperationalError: FATAL:  password authentication failed for user "mlflow_user"'),
    ("database_tls", 'psycopg2.OperationalError: FATAL: no pg_hba.conf entry for host "10.0.0.7", user "mlflow", database "mlflow_db", no'
     " encryption"),
    ("too_many_connections", "psycopg2.OperationalError: FATAL:  sorry, too many clients already"),
    ("too_many_connections", "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute"),
    ("too_many_connections", "FATAL: remaining connection slots are reserved for non-replication superuser and rds_superuser connections"),
    ("pool_exhausted", "sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00"),
    ("database_disk_full", 'psycopg2.errors.DiskFull: could not extend file "base/16384/2619": No space left on device'),
    ("database_starting", "psycopg2.OperationalError: FATAL:  the database system is starting up"),
    ("database_unreachable", LAUNCHER + f"no answer from the database {DATABASE} in 120 s (connection to server at \"10.0.0.9\", port 5432"
     " failed: timeout expired): check its state, LAUNCHER_DB_HOST and the security groups"),
    ("database_unreachable", 'psycopg2.OperationalError: connection to server at "10.0.0.9", port 5432 failed: Connection refused'),
    ("database_missing_inside", LAUNCHER + f"no database {DATABASE} (connection to server failed: FATAL: database \"mlflow_db\" does not exist):"
     " correct its name, or run `migrate` first"),
    ("schema_newer", LAUNCHER + "the schema of database 'mlflow_db' is newer than MLflow 2.18.0: deploy the newer version again"),
    ("schema_newer", "alembic.util.exc.CommandError: Can't locate revision identified by 'a5b4ad421736'"),
    ("schema_old", "mlflow.exceptions.MlflowException: Detected out-of-date database schema (found version 0584bdc529eb, but expected"
     " 5d2d30f0abce). Take a backup of your database, then run 'mlflow db upgrade <database_uri>'"),
    ("schema_old", LAUNCHER + "the schema of database 'mlflow_auth' is empty for MLflow 3.17.2: run `migrate` first"),
    ("migration_race", 'sqlalchemy.exc.IntegrityError: (psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint'
     ' "pg_type_typname_nsp_index"'),
    ("migration_locked", LAUNCHER + "another migration of 'mlflow_db' still runs after 900 s: wait for its task to end, then try again"),
    ("sqlalchemy_too_new", "ImportError: cannot import name 'FallbackAsyncAdaptedQueuePool' from 'sqlalchemy.pool'"),
    ("driver_missing", "ModuleNotFoundError: No module named 'psycopg'"),
    ("driver_missing", "ModuleNotFoundError: No module named 'psycopg2'"),
    ("auth_extra_missing", "ModuleNotFoundError: No module named 'flask_wtf'"),
    ("module_missing", "ModuleNotFoundError: No module named 'boto3'"),
    ("no_way_to_package_index", LAUNCHER + "pip could not install LAUNCHER_REQUIREMENTS in 5 tries (ERROR: Could not find a version that"
     " satisfies the requirement alembic (NewConnectionError: [Errno 101] Network is unreachable)): check the way to the package index"),
    ("packages_not_found", LAUNCHER + "pip could not install LAUNCHER_REQUIREMENTS in 5 tries (ERROR: No matching distribution found for"
     " mlflow==0.0.99): check the way to the package index (NAT, proxy), or use a prebuilt image"),
    ("wrong_mlflow_in_image", LAUNCHER + "LAUNCHER_MLFLOW_VERSION is 3.17.2, but MLflow 3.4.0 is installed: use an image with that version"),
    ("wrong_environment", LAUNCHER + "MLFLOW_SERVER_ENABLE_JOB_EXECUTION is true: remove it, no job runner is started"),
    ("wrong_environment", LAUNCHER + "LAUNCHER_WORKERS is 'many': give a whole number from 1 to 64"),
    ("address_in_use", "ERROR: [Errno 98] error while attempting to bind on address ('0.0.0.0', 5000): address already in use"),
    ("host_refused", "WARNING mlflow.server.fastapi_security: Rejected request with invalid Host header: web-1.elb.amazonaws.com"),
    ("host_refused", "Invalid Host header - possible DNS rebinding attack detected"),
    ("bucket_missing", "botocore.errorfactory.NoSuchBucket: An error occurred (NoSuchBucket) when calling the PutObject operation: The specified"
     " bucket does not exist"),
    ("bucket_in_another_region", "botocore.exceptions.ClientError: An error occurred (PermanentRedirect) when calling the PutObject operation:"
     " The bucket you are attempting to access must be addressed using the specified endpoint."),
    ("bucket_denied", "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the PutObject operation: Access Denied"),
    ("servers_hang", "(service web) (port 5000) is unhealthy in (target-group arn:aws:elasticloadbalancing:eu-west-2:1:targetgroup/web/1) due to"
     " (reason Request timed out)"),
    ("health_check_refused", "(service web) (port 5000) is unhealthy in (target-group arn:1) due to (reason Health checks failed with these"
     " codes: [500])"),
    ("health_checks_failed", "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:eu-west-2:1:targetgroup/web/1)"),
    ("health_checks_failed", "Task failed container health checks"),
    ("killed", "Essential container in task exited; container mlflow exited with code 137"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "line"), SAID, ids=[f"{wanted}-{number}" for number, (wanted, _line) in enumerate(SAID)])
def test_a_text_is_understood(wanted, line):
    """Said by a task that failed, in its stopped reason or its log, it comes first."""
    stopped_for_it = diagnosed.failing(line)
    logged = diagnosed.failing("Essential container in task exited; container mlflow exited with code 1", "Traceback:", line)
    event = diagnosed.facts(service__running=1, service__events=[{"at": diagnosed.NOW, "message": line}])
    for facts in [event] if line.startswith("(service web)") else [stopped_for_it, logged]:
        found = diagnosis.diagnose(facts)
        assert not found.healthy and found.causes[0].id == wanted, found.causes
        assert "{" not in found.causes[0].cause + found.causes[0].remedy
        # However long the line is, what told the cause is shown, to its end.
        told = re.search(next(text.pattern for text in diagnosis_texts.TEXTS if text.id == wanted), line)
        assert told and " ".join(told[0].split())[-20:] in found.causes[0].evidence[0]
    # What is over makes nothing sick.
    over = diagnosed.facts(stopped=[diagnosed.stopped(line, stopped_at=diagnosed.NOW - 8500, task_definition=diagnosed.OLDER)])
    assert diagnosis.diagnose(over).healthy


def test_every_text_has_its_test():
    assert {text.id for text in diagnosis_texts.TEXTS} == {wanted for wanted, _line in SAID}


def test_what_the_launcher_says_last_counts_more_than_what_it_said_on_the_way():
    facts = diagnosed.failing(
        "Essential container in task exited; container mlflow exited with code 65",
        'launcher: waiting up to 120 s for the database: connection to server at "10.0.0.9", port 5432 failed: Connection refused',
        "launcher: error: the schema of database 'mlflow_db' is newer than MLflow 2.18.0: deploy the newer version again",
    )
    assert [cause.id for cause in diagnosis.diagnose(facts).causes] == ["schema_newer"]


def test_a_running_server_is_heard_only_where_something_is_wrong():
    line = "WARNING mlflow.server.fastapi_security: Rejected request with invalid Host header: other.example.com"
    task = diagnosed.stopped("", [line], status="RUNNING")
    assert diagnosis.diagnose(diagnosed.facts(tasks=[task])).healthy
    failed = [{"name": "admin_login", "status": "failed", "latency_ms": 1.0, "message": "HTTP 500", "remedy": ""}]
    found = diagnosis.diagnose(diagnosed.facts(tasks=[task], http=failed))
    assert [cause.id for cause in found.causes] == ["host_refused"] and found.causes[0].likelihood < 60
    # Health checks have the address of their target for a host.
    checks = [diagnosed.stopped("", [line.replace("other.example.com", "10.0.0.4:5000")], status="RUNNING")]
    assert [cause.id for cause in diagnosis.diagnose(diagnosed.facts(tasks=checks, http=failed)).causes] == ["unknown"]


@given(st.lists(st.text(), max_size=5), st.text())
def test_no_text_breaks_it(log, failure):
    found = diagnosis.diagnose(diagnosed.failing(failure, *log))
    assert not found.healthy and found.causes
    assert all("\n" not in line for line in diagnosis.report(diagnosed.failing(failure, *log), found))
