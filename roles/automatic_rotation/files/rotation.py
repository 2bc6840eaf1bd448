# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotate a secret of an MLflow deployment, step by step, as Secrets Manager asks for it.

https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
Labels of the secrets' versions tell how far a rotation is, here as in the role `rotation`, so that each finishes what the
other left: AWSPENDING is the next value, until everything uses it; COMPANION is the login that tasks work with while
the password of the database's master user changes. Every step may be repeated, and interrupted anywhere.
Standard library and boto3 only: it runs as it is in AWS Lambda.
"""
from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import os
import secrets
import string
import time
import typing as t

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

CURRENT, PENDING, COMPANION = "AWSCURRENT", "AWSPENDING", "COMPANION"
COMPANION_USERNAME = "mlflow_companion"
# Secrets by the ends of their names: the key of the value, and its length.
KINDS = {"database": ("password", 40), "admin": ("password", 40), "server-key": ("secret_key", 64)}
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
ALPHABET = string.ascii_letters + string.digits
POLL_SECONDS = 3.0
# What is left for giving the lock back before Lambda ends the function.
RESERVE_SECONDS = 15.0
LOCK = "mlflow-lock:"
LOCK_WAIT_SECONDS = 60.0
# Lambda ends a function after 15 minutes: what holds a lock for longer is dead.
LONGEST = datetime.timedelta(minutes=15)
# In which RDS takes changes; a stopped instance takes none.
TAKING_CHANGES = {
    "available", "configuring-enhanced-monitoring", "configuring-log-exports", "maintenance", "storage-config-upgrade",
    "storage-initialization", "storage-optimization",
}  # fmt: skip


class Problem(Exception):
    """Why the step cannot be done now, in one line. Secrets Manager tries again."""


class Labels(t.NamedTuple):
    """IDs of the versions of a secret that carry a label, None for none."""

    current: str | None
    pending: str | None
    companion: str | None

    @classmethod
    def of(cls, stages: t.Mapping[str, t.Sequence[str]]) -> Labels:
        found = {label: version for version, labels in stages.items() for label in labels}
        return cls(found.get(CURRENT), found.get(PENDING), found.get(COMPANION))


# What follows once new tasks get the new value.
ENDINGS = {
    "admin": ("settle",),
    "server-key": ("replace_tasks", "settle"),
    "database": ("replace_tasks", "drop_companion", "forget_companion", "settle"),
}


def acts(kind: str, step: str, token: str, labels: Labels, stored: bool) -> tuple[str, ...]:
    """What a step, but testSecret, has to do; each act is a method of Rotation. `stored`: the token's version has a value.

    Problem if that version does not wait, or an earlier step is missing.
    """
    if labels.current == token:
        # All but what follows has been done, by an earlier call or by the playbook.
        return ENDINGS[kind] if labels.pending == token and step == "finishSecret" else ()
    if labels.pending != token and (step != "createSecret" or labels.pending is not None):
        raise Problem(f"version {token} does not wait, {labels.pending or 'none'} does: another rotation has taken its place")
    on_companion = labels.companion is not None and labels.current == labels.companion
    if step == "createSecret":
        making = () if stored else ("look", "store")
        return (*making, *(("make_companion",) if kind == "database" and not on_companion else ()))
    if not stored:
        raise Problem(f"version {token} has no value: createSecret comes first")
    if step == "setSecret":
        if kind != "database":
            return ("set_password",) if kind == "admin" else ()
        making = ("make_companion",) if labels.companion is None else ()
        switching = () if on_companion else (*making, "promote_companion")
        return (*switching, "replace_tasks", "set_master_password")
    if kind == "database" and not on_companion:
        raise Problem("the master user still has the earlier password: setSecret comes first")
    return ("promote", *ENDINGS[kind])


def scram_verifier(password: str, salt: bytes, iterations: int = 4096) -> str:
    """What PostgreSQL stores of an ASCII password (RFC 5803): it lets nobody in."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [base64.b64encode(one).decode() for one in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def mlflow_hash(password: str, version: str) -> str:
    """What MLflow stores of a password, in werkzeug's form; the same for the same version, so that repeating changes nothing."""
    salt = hashlib.sha256(version.encode()).hexdigest()[:16]
    cost, block, lanes = 32768, 8, 1
    key = hashlib.scrypt(password.encode(), salt=salt.encode(), n=cost, r=block, p=lanes, maxmem=132 * cost * block * lanes)
    return f"scrypt:{cost}:{block}:{lanes}${salt}${key.hex()}"


def holders(tags: t.Mapping[str, str], token: str, function: str, now: datetime.datetime) -> tuple[list[str], list[str]]:
    """Who else holds the deployment's lock, in words, and the keys of locks that calls of this function left that are dead."""
    others, dead = [], []
    for key, value in tags.items():
        if not key.startswith(LOCK) or key == LOCK + token:
            continue
        owner, _found, since = value.rpartition(" since ")
        try:
            began = datetime.datetime.strptime(since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
        except ValueError:
            began = now
        if owner == f"rotate by {function}" and now - began > LONGEST:
            dead.append(key)
        else:
            others.append(value)
    return others, dead


class Clock:
    """How long this call may still take."""

    def __init__(self, context: t.Any) -> None:
        self._context = context

    @property
    def left(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS

    def wait(self, what: str, probe: t.Callable[[], t.Any]) -> t.Any:
        """The first true answer of `probe`; Problem if time is up before."""
        while not (answer := probe()):
            if self.left < POLL_SECONDS:
                raise Problem(f"{what} takes longer than this call may: the next one goes on")
            time.sleep(POLL_SECONDS)
        return answer


def client(service: str) -> t.Any:
    return boto3.client(service, config=Config(retries={"mode": "standard", "total_max_attempts": 8}))


class Deployment:
    """The deployment whose secret rotates: its cluster and its service are called after it."""

    def __init__(self, name: str, db_instance_id: str, clock: Clock) -> None:
        self.name, self.db_instance_id, self.clock = name, db_instance_id, clock
        self.ecs, self.rds = client("ecs"), client("rds")

    def service(self) -> dict[str, t.Any]:
        found = self.ecs.describe_services(cluster=self.name, services=[self.name])["services"]
        if not found or found[0]["status"] != "ACTIVE":
            raise Problem(f"service {self.name} does not run: deploy it first")
        return found[0]

    def instance(self) -> dict[str, t.Any]:
        return self.rds.describe_db_instances(DBInstanceIdentifier=self.db_instance_id)["DBInstances"][0]

    def look(self) -> None:
        """Problem where a rotation should not begin."""
        deployments, status = self.service()["deployments"], self.instance()["DBInstanceStatus"]
        if len(deployments) > 1 or deployments[0].get("rolloutState", "COMPLETED") != "COMPLETED":
            raise Problem(f"service {self.name}: its last deployment is not completed")
        if status not in TAKING_CHANGES:
            raise Problem(f"database {self.db_instance_id}: it is {status}")

    def run(self, command: list[str], environment: dict[str, str]) -> None:
        """A task of the service's own definition, until it has ended well."""
        service = self.service()
        override = {"name": "mlflow", "command": command,
                    "environment": [{"name": key, "value": value} for key, value in environment.items()]}  # fmt: skip
        answer = self.ecs.run_task(
            cluster=self.name, taskDefinition=service["taskDefinition"], launchType="FARGATE", count=1,
            networkConfiguration=service["networkConfiguration"], overrides={"containerOverrides": [override]},
            startedBy=f"rotate {self.name}"[:36], propagateTags="TASK_DEFINITION",
        )  # fmt: skip
        if not answer["tasks"]:
            reasons = "; ".join(failure.get("reason", "no reason given") for failure in answer["failures"])
            raise Problem(f"no task could be started in cluster {self.name}: {reasons}")
        arn = answer["tasks"][0]["taskArn"]

        def ended() -> dict[str, t.Any] | None:
            found = self.ecs.describe_tasks(cluster=self.name, tasks=[arn])["tasks"]
            return found[0] if found and found[0]["lastStatus"] == "STOPPED" else None

        what = f"task {arn.rsplit('/', 1)[-1]} ({' '.join(command)})"
        task = self.clock.wait(what, ended)
        codes = [one.get("exitCode") for one in task["containers"]]
        if codes != [0]:
            reason = task["containers"][0].get("reason") or task.get("stoppedReason", "it did not start")
            code = "" if codes[0] is None else f", exit code {codes[0]}"
            raise Problem(f"{what} failed ({reason}{code}): its log in /ecs/{self.name} says why")

    def replace_tasks(self) -> None:
        """All tasks by tasks that read their secrets anew, until the last one of before has ended."""
        where = {"cluster": self.name, "service": self.name}
        answer = self.ecs.update_service(**where, forceNewDeployment=True)["service"]
        ours = next(one["id"] for one in answer["deployments"] if one["status"] == "PRIMARY")

        def completed() -> bool:
            deployments = self.service()["deployments"]
            found = next((one for one in deployments if one["id"] == ours), {"rolloutState": "FAILED"})
            if found["rolloutState"] == "FAILED" or found["status"] != "PRIMARY":
                raise Problem(f"service {self.name}: its tasks could not be replaced; those of before go on")
            return len(deployments) == 1 and found["rolloutState"] == "COMPLETED"

        def ended() -> bool:
            arns = self.ecs.list_tasks(cluster=self.name, serviceName=self.name, desiredStatus="STOPPED")["taskArns"]
            tasks = self.ecs.describe_tasks(cluster=self.name, tasks=arns)["tasks"] if arns else []
            return all(one["lastStatus"] in ("DEPROVISIONING", "STOPPED") for one in tasks)

        self.clock.wait("replacing the tasks", completed)
        # They still answer, with what they began with, until they have drained.
        self.clock.wait("draining the replaced tasks", ended)

    def set_master_password(self, password: str) -> None:
        self.clock.wait(f"database {self.db_instance_id}", lambda: self.instance()["DBInstanceStatus"] in TAKING_CHANGES)
        self.rds.modify_db_instance(
            DBInstanceIdentifier=self.db_instance_id, MasterUserPassword=password, ApplyImmediately=True
        )
        self.clock.wait("changing the master user's password", self.has_applied_password)

    def has_applied_password(self) -> bool:
        instance = self.instance()
        pending = "MasterUserPassword" in instance.get("PendingModifiedValues", {})
        return not pending and instance["DBInstanceStatus"] in TAKING_CHANGES

    # --- the lock that the playbooks take too: a tag of the cluster ---

    def _tags(self) -> tuple[str, dict[str, str]]:
        cluster = self.ecs.describe_clusters(clusters=[self.name], include=["TAGS"])["clusters"][0]
        return cluster["clusterArn"], {one["key"]: one["value"] for one in cluster.get("tags", [])}

    def lock(self, token: str) -> None:
        """Hold the lock in the name of a rotation, which may hold it already: an earlier call of it was ended."""
        function, key, deadline = f"{self.name}-rotation", LOCK + token, time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            now = datetime.datetime.now(datetime.timezone.utc)
            arn, tags = self._tags()
            others, dead = holders(tags, token, function, now)
            if dead:
                self.ecs.untag_resource(resourceArn=arn, tagKeys=dead)
            if not others and key in tags:
                return
            if not others:
                value = f"rotate by {function} since {now:%Y-%m-%dT%H:%M:%SZ}"
                self.ecs.tag_resource(resourceArn=arn, tags=[{"key": key, "value": value}])
                # Of two at once the one that looks last sees both.
                time.sleep(0.5)
                continue
            if key in tags:
                self.ecs.untag_resource(resourceArn=arn, tagKeys=[key])
            if time.monotonic() > deadline or self.clock.left < POLL_SECONDS:
                raise Problem(f"deployment {self.name} is locked ({'; '.join(others)})")
            time.sleep(POLL_SECONDS * (1 + secrets.randbelow(100) / 100))

    def unlock(self, token: str) -> None:
        arn, tags = self._tags()
        if LOCK + token in tags:
            self.ecs.untag_resource(resourceArn=arn, tagKeys=[LOCK + token])


class Rotation:
    """The rotation of one secret to the version `token`."""

    def __init__(self, deployment: Deployment, secret_id: str, token: str) -> None:
        self.deployment, self.secret_id, self.token = deployment, secret_id, token
        self.manager = client("secretsmanager")
        self.kind = self._described()["Name"].removeprefix(f"{deployment.name}/")
        if self.kind not in KINDS:
            raise Problem(f"no secret of {deployment.name} that rotates: it has {', '.join(KINDS)}")
        self.key, self.length = KINDS[self.kind]

    def _described(self) -> dict[str, t.Any]:
        found = self.manager.describe_secret(SecretId=self.secret_id)
        self.labels = Labels.of(found.get("VersionIdsToStages", {}))
        return found

    def read(self, version: str | None) -> dict[str, t.Any] | None:
        """The content of a version; None without one, and of one that Secrets Manager has only reserved."""
        if version is None:
            return None
        try:
            text = self.manager.get_secret_value(SecretId=self.secret_id, VersionId=version).get("SecretString")
        except self.manager.exceptions.ResourceNotFoundException:
            return None
        try:
            content = json.loads(text or "")
        except ValueError:
            content = None
        if not isinstance(content, dict) or not isinstance(content.get(self.key), str):
            raise Problem(f"version {version} is not a JSON object with the key {self.key}") from None
        return content

    def step(self, name: str) -> None:
        if name == "testSecret":
            self.test()
        elif not self.todo(name):
            # A call that was ended may have left it.
            self.deployment.unlock(self.token)
        else:
            self.deployment.lock(self.token)
            try:
                # The playbook may have gone on with it until now.
                self._described()
                for act in self.todo(name):
                    getattr(self, act)()
                    print(f"{self.kind} {self.token}: {act}", flush=True)
            finally:
                self.deployment.unlock(self.token)

    def todo(self, step: str) -> tuple[str, ...]:
        return acts(self.kind, step, self.token, self.labels, self.read(self.token) is not None)

    def test(self) -> None:
        """RDS says when a password counts, and MLflow's task has read back what it stored.

        When rotation is switched on, Secrets Manager tries this with a copy of the current version.
        """
        if self.labels.current == self.token:
            return
        waiting = self.read(self.token)
        if waiting in (None, self.read(self.labels.current)):
            self.look()
        elif self.kind == "database" and not self.deployment.has_applied_password():
            raise Problem("RDS has not applied the master user's password")

    def look(self) -> None:
        self.deployment.look()

    def store(self) -> None:
        self._put({self.key: self._new()}, PENDING, ClientRequestToken=self.token)

    def make_companion(self) -> None:
        """One that waits is kept: tasks may log in with it."""
        content = self.read(self.labels.companion)
        if content is None:
            content = self._put({"username": COMPANION_USERNAME, self.key: self._new()}, COMPANION)
        verifier = scram_verifier(content[self.key], os.urandom(16))
        self.deployment.run(
            ["companion", "create"],
            {"LAUNCHER_COMPANION_USERNAME": COMPANION_USERNAME, "LAUNCHER_COMPANION_VERIFIER": verifier},
        )

    def promote_companion(self) -> None:
        self._move(CURRENT, self.labels.companion, self.labels.current)

    def replace_tasks(self) -> None:
        self.deployment.replace_tasks()

    def set_master_password(self) -> None:
        self.deployment.set_master_password(self._next()[self.key])

    def set_password(self) -> None:
        """The hash lets nobody in, so that it may show in the task."""
        content = self._next()
        self.deployment.run(
            ["password", "set"],
            {
                "LAUNCHER_PASSWORD_USERNAME": content["username"],
                "LAUNCHER_PASSWORD_HASH": mlflow_hash(content[self.key], self.token),
            },
        )

    def promote(self) -> None:
        self._move(CURRENT, self.token, self.labels.current)

    def drop_companion(self) -> None:
        self.deployment.run(["companion", "drop"], {"LAUNCHER_COMPANION_USERNAME": COMPANION_USERNAME})

    def forget_companion(self) -> None:
        if self.labels.companion:
            self._move(COMPANION, None, self.labels.companion)

    def settle(self) -> None:
        self._move(PENDING, None, self.token)

    def _new(self) -> str:
        return "".join(secrets.choice(ALPHABET) for _position in range(self.length))

    def _next(self) -> dict[str, t.Any]:
        content = self.read(self.token)
        assert content is not None
        return content

    def _put(self, changes: dict[str, str], label: str, **more: t.Any) -> dict[str, t.Any]:
        content = self.read(self.labels.current)
        if content is None:
            raise Problem("it has no current value to be replaced: deploy again")
        if self.kind == "database" and label == PENDING:
            # The companion's while an earlier rotation is unfinished.
            content["username"] = self.deployment.instance()["MasterUsername"]
        content |= changes
        put = self.manager.put_secret_value(
            SecretId=self.secret_id, SecretString=json.dumps(content), VersionStages=[label], **more
        )
        self.labels = self.labels._replace(**{"pending" if label == PENDING else "companion": put["VersionId"]})
        return content

    def _move(self, label: str, to: str | None, away: str | None) -> None:
        moves = {"MoveToVersionId": to, "RemoveFromVersionId": away}
        self.manager.update_secret_version_stage(
            SecretId=self.secret_id, VersionStage=label, **{key: value for key, value in moves.items() if value}
        )


def handler(event: dict[str, t.Any], context: t.Any) -> None:
    """What Secrets Manager calls, with Step, SecretId and ClientRequestToken."""
    secret_id, step = event.get("SecretId", ""), event.get("Step", "")
    try:
        if step not in STEPS:
            raise Problem(f"step {step!r} is none of {', '.join(STEPS)}")
        clock = Clock(context)
        deployment = Deployment(os.environ["DEPLOYMENT"], os.environ["DB_INSTANCE_ID"], clock)
        Rotation(deployment, secret_id, event["ClientRequestToken"]).step(step)
    except (Problem, ClientError, BotoCoreError) as error:
        raise RuntimeError(f"Secret {secret_id}: {step}: {' '.join(str(error).split())}") from None
