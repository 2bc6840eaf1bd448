# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers the facts of a diagnosis. It only reads, goes on where something is missing, and notes what it may not read."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import typing as t
from urllib.parse import urlsplit

try:
    import botocore.exceptions
except ImportError:
    pass  # handled by AnsibleAWSModule

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    aws_errors,
    diagnosis_answers,
    diagnosis_symptoms,
    ecs_client,
    elb_load_balancer,
    mlflow_client,
    mlflow_errors,
    mlflow_health_run,
    mlflow_health_session,
    rds_client,
    s3_buckets,
)

MOST_STOPPED, MOST_RUNNING = 5, 4
RECENT_SECONDS = 300
METRIC_SECONDS = 900
MINUTE = 60
EVENT_MINUTES = 24 * 60
# Without credentials that work nothing can be told at all.
HOPELESS = aws_errors.EXPIRED | aws_errors.UNKNOWN | aws_errors.MISSIGNED
SECRETS = ("database", "admin", "server-key")
CHECKS = ("liveness", "tls", "auth_required", "admin_login", "default_experiment")
SECONDS_TO_ANSWER, SECONDS_TO_REPEAT = 10, 3
Facts = dict[str, t.Any]


class Reader:
    """`connect(service)` gives a client of boto3; `options` are those of the module deployment_diagnosis_info."""

    def __init__(
        self, connect: t.Callable[[str], t.Any], region: str, options: t.Mapping[str, t.Any], now: float
    ) -> None:
        self._connect = functools.cache(connect)
        self._options = options
        self._name: str = options["name"]
        self._definitions: dict[str, dict[str, t.Any] | None] = {}
        self._passwords: set[str] = set()
        self._admin: dict[str, t.Any] = {}
        self.facts: Facts = {
            "name": self._name, "region": region, "now": now, "unread": [], "unread_parts": [],
            "service": None, "definition": None, "newest_revision": 0, "tasks": [], "stopped": [], "targets": [],
            "target_group": None, "load_balancer": None, "database": None,
            "wanted_engine_version": options["db_engine_version"], "offered_engine_versions": None,
            "secrets": [], "roles": [], "bucket": None, "network": None, "certificate": None,
            "certificate_days": options["certificate_days"], "http": [],
        }  # fmt: skip

    def read(self) -> Facts:
        for part, api, look in (
            ("service", "ecs", self._service),
            ("tasks", "ecs", self._tasks),
            ("load balancer", "elasticloadbalancing", self._load_balancer),
            ("targets", "elasticloadbalancing", self._targets),
            ("database", "rds", self._database),
            ("metrics of the database", "cloudwatch", self._metrics),
            ("secrets", "secretsmanager", self._secrets),
            ("roles", "iam", self._roles),
            ("bucket", "s3", self._bucket),
            ("network", "ec2", self._network),
            ("certificate", "acm", self._certificate),
        ):
            with self._part(part, api):
                look()
        self._ask_server()
        return t.cast(Facts, self._masked(self.facts))

    @contextlib.contextmanager
    def _part(self, name: str, api: str) -> t.Iterator[None]:
        """Go on without a part that may not be read. `api` is the prefix of its actions in policies."""
        try:
            yield
        except botocore.exceptions.ClientError as error:
            if aws_errors.error_code(error) in HOPELESS:
                raise
            self.facts["unread_parts"].append(name)
            self.facts["unread"].append(f"{name}: {aws_errors.explain(error, f'{api}:{error.operation_name}')}")

    def _masked(self, value: t.Any) -> t.Any:
        """Passwords that were read, wherever somebody has written them."""
        if isinstance(value, str):
            return mlflow_errors.mask(value, self._passwords) if any(one in value for one in self._passwords) else value
        if isinstance(value, dict):
            return {key: self._masked(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._masked(one) for one in value]
        return value

    # --- ECS

    def _service(self) -> None:
        ecs = self._connect("ecs")
        found = ecs_client.describe_service(ecs, self._name, self._name)
        newest = self._definition(self._name)
        self.facts["newest_revision"] = (newest or {}).get("revision", 0)
        if found is None:
            self.facts["definition"] = diagnosis_answers.definition(newest) if newest else None
            return
        self.facts["service"] = diagnosis_answers.service(found)
        in_force = self._definition(found["taskDefinition"])
        self.facts["definition"] = diagnosis_answers.definition(in_force) if in_force else None

    def _definition(self, name: str) -> dict[str, t.Any] | None:
        if name not in self._definitions:
            self._definitions[name] = ecs_client.describe_task_definition(self._connect("ecs"), name)
        return self._definitions[name]

    def _tasks(self) -> None:
        ecs, logs = self._connect("ecs"), self._connect("logs")
        found = {status: self._described(ecs, status) for status in ("RUNNING", "STOPPED")}
        now = self.facts["now"]
        running = sorted(found["RUNNING"], key=lambda task: -task["started_at"])
        for task in running[:MOST_RUNNING]:
            task["log"] = self._log(logs, task, now - RECENT_SECONDS)
        stopped = sorted(found["STOPPED"], key=lambda task: -task["stopped_at"])
        for task in [one for one in stopped if one["failure"]][:MOST_STOPPED]:
            task["log"] = self._log(logs, task)
        self.facts["tasks"], self.facts["stopped"] = running, stopped

    def _described(self, ecs: t.Any, status: str) -> list[dict[str, t.Any]]:
        try:
            pages = ecs.get_paginator("list_tasks").paginate(cluster=self._name, desiredStatus=status)
            arns = [arn for page in pages for arn in page["taskArns"]]
        except is_boto3_error_code("ClusterNotFoundException"):
            return []
        described: list[dict[str, t.Any]] = []
        for start in range(0, len(arns), 100):
            described += ecs.describe_tasks(cluster=self._name, tasks=arns[start : start + 100], aws_retry=True)[
                "tasks"
            ]
        return [diagnosis_answers.task(one) for one in described]

    def _log(self, logs: t.Any, task: dict[str, t.Any], since: float | None = None) -> list[str]:
        with self._part(f"log of task {task['id']}", "logs"):
            return ecs_client.log_tail(logs, self._definition(task["task_definition"]), task["arn"], since=since)
        return []

    # --- load balancer

    def _load_balancer(self) -> None:
        found = elb_load_balancer.LoadBalancer(self._connect("elbv2"), self._name)
        found.find()
        balancer = found.load_balancer or {}
        self.facts["load_balancer"] = {
            **found.summary(),
            "security_groups": balancer.get("SecurityGroups") or [],
            "subnets": [zone.get("SubnetId", "") for zone in balancer.get("AvailabilityZones") or []],
        }
        self.facts["target_group"] = diagnosis_answers.target_group(found.group) if found.group else None

    def _targets(self) -> None:
        arn = (self.facts["service"] or {}).get("target_group_arn")
        if not arn:
            return
        try:
            answer = self._connect("elbv2").describe_target_health(TargetGroupArn=arn, aws_retry=True)
        except is_boto3_error_code("TargetGroupNotFound"):
            return
        self.facts["targets"] = [diagnosis_answers.target(one) for one in answer["TargetHealthDescriptions"]]

    def _certificate(self) -> None:
        arn = (self.facts["load_balancer"] or {}).get("certificate_arn")
        if arn:
            answer = self._connect("acm").describe_certificate(CertificateArn=arn, aws_retry=True)
            self.facts["certificate"] = diagnosis_answers.certificate(answer["Certificate"])

    # --- database

    def _database(self) -> None:
        rds, identifier = self._connect("rds"), f"{self._name}-db"
        found = rds_client.describe_instance(rds, identifier)
        if found is None:
            if self._options["db_engine_version"]:
                pages = rds.get_paginator("describe_db_engine_versions").paginate(Engine="postgres")
                self.facts["offered_engine_versions"] = [
                    one["EngineVersion"] for page in pages for one in page["DBEngineVersions"]
                ]
            return
        self.facts["database"] = diagnosis_answers.database(found)
        events = rds.describe_events(
            SourceIdentifier=identifier, SourceType="db-instance", Duration=EVENT_MINUTES, aws_retry=True
        )["Events"]
        self.facts["database"]["events"] = [
            {"at": diagnosis_answers.seconds(one.get("Date")), "message": str(one.get("Message", ""))} for one in events
        ]

    def _metrics(self) -> None:
        database = self.facts["database"]
        if database is None:
            return
        cloudwatch, now = self._connect("cloudwatch"), self.facts["now"]
        # Whole minutes, as the data are published.
        end = datetime.datetime.fromtimestamp(now - now % MINUTE + MINUTE, datetime.timezone.utc)
        for fact, metric in (("connections", "DatabaseConnections"), ("free_storage", "FreeStorageSpace")):
            points = cloudwatch.get_metric_statistics(
                Namespace="AWS/RDS", MetricName=metric, Dimensions=[{"Name": "DBInstanceIdentifier", "Value": database["id"]}],
                StartTime=end - datetime.timedelta(seconds=METRIC_SECONDS), EndTime=end, Period=MINUTE, Statistics=["Average"],
                aws_retry=True,
            )["Datapoints"]  # fmt: skip
            latest = max(points, key=lambda one: one["Timestamp"], default=None)
            database[fact] = latest["Average"] if latest else None

    # --- secrets, roles, bucket

    def _secrets(self) -> None:
        wanted: dict[str, dict[str, t.Any]] = {}
        for reference in (self.facts["definition"] or {"secrets": []})["secrets"]:
            identifier, key = diagnosis_answers.secret_reference(reference["value_from"])
            # A parameter of Systems Manager is none.
            if identifier.startswith("arn:") and ":secretsmanager:" not in identifier:
                continue
            secret = wanted.setdefault(identifier, {"variables": [], "wanted_keys": []})
            secret["variables"].append(reference["name"])
            secret["wanted_keys"] += [key] if key else []
        if not wanted:
            wanted = {f"{self._name}/{kind}": {"variables": [], "wanted_keys": []} for kind in SECRETS}
        for identifier, secret in wanted.items():
            self.facts["secrets"].append({**secret, "id": identifier, **self._secret(identifier)})

    def _secret(self, identifier: str) -> dict[str, t.Any]:
        client = self._connect("secretsmanager")
        told = {"name": identifier, "exists": False, "deleted": False, "keys": None}
        try:
            found = client.describe_secret(SecretId=identifier, aws_retry=True)
        except is_boto3_error_code("ResourceNotFoundException"):
            return told
        told.update(name=found["Name"], exists=True, deleted=bool(found.get("DeletedDate")))
        if not told["deleted"]:
            with self._part(f"value of secret {found['Name']}", "secretsmanager"):
                told["keys"] = self._keys(client, identifier, found["Name"])
        return told

    def _keys(self, client: t.Any, identifier: str, name: str) -> list[str]:
        """The keys of a secret's JSON. The values stay here: one logs in, all are masked."""
        try:
            value = json.loads(client.get_secret_value(SecretId=identifier, aws_retry=True).get("SecretString") or "")
        except is_boto3_error_code("ResourceNotFoundException"):
            return []  # it has no version
        except ValueError:
            return []
        if not isinstance(value, dict):
            return []
        self._passwords |= {str(one) for key, one in value.items() if key != "username" and one}
        if name == f"{self._name}/admin":
            self._admin = value
        return sorted(value)

    def _roles(self) -> None:
        definition = self.facts["definition"]
        if not definition:
            return
        root = urlsplit(definition["environment"].get("LAUNCHER_ARTIFACT_ROOT", ""))
        arn = f"arn:{s3_buckets.partition_of(self.facts['region'])}:s3:::{root.netloc}"
        inside = "/".join(filter(None, (arn, root.path.strip("/"), "artifact")))
        artifacts = [("s3:ListBucket", arn), *((f"s3:{what}Object", inside) for what in ("Get", "Put", "Delete"))]
        secrets = [("secretsmanager:GetSecretValue", one["id"]) for one in self.facts["secrets"] if one["exists"]]
        for kind, role, needs in (
            ("task", definition["task_role_arn"], artifacts if root.scheme == "s3" else []),
            ("execution", definition["execution_role_arn"], secrets),
        ):
            if role:
                with self._part(f"policies of the {kind} role", "iam"):
                    self._role(kind, role.rsplit("/", 1)[-1], needs)

    def _role(self, kind: str, name: str, needs: list[tuple[str, str]]) -> None:
        policies = self._policies(name)
        attached = self._attached(name) if policies is not None else []
        if attached:
            self.facts["unread"].append(f"policies of the {kind} role: {', '.join(attached)} are attached to it")
            needs = []
        self.facts["roles"].append(
            {"kind": kind, "name": name, "exists": policies is not None, "policies": policies or [], "needs": needs}
        )

    def _policies(self, role: str) -> list[t.Any] | None:
        """The inline policies of a role; None if there is no such role."""
        iam = self._connect("iam")
        try:
            inline = iam.list_role_policies(RoleName=role, aws_retry=True)["PolicyNames"]
        except is_boto3_error_code("NoSuchEntity"):
            return None
        return [iam.get_role_policy(RoleName=role, PolicyName=one, aws_retry=True)["PolicyDocument"] for one in inline]

    def _attached(self, role: str) -> list[str]:
        """Managed policies may allow what the inline ones do not."""
        answer = self._connect("iam").list_attached_role_policies(RoleName=role, aws_retry=True)
        return [one["PolicyName"] for one in answer["AttachedPolicies"]]

    def _bucket(self) -> None:
        definition = self.facts["definition"] or {"environment": {}}
        root = urlsplit(definition["environment"].get("LAUNCHER_ARTIFACT_ROOT") or f"s3://{self._options['bucket']}")
        if root.scheme != "s3" or not root.netloc:
            return
        client = self._connect("s3")
        bucket = s3_buckets.Bucket(client, root.netloc, self.facts["region"])
        status, region = self._head(client, root.netloc)
        found = {
            "name": bucket.name,
            "arn": bucket.arn,
            "prefix": root.path.strip("/"),
            "status": status,
            "region": region,
            "policy": None,
        }
        self.facts["bucket"] = found
        if status == 200:
            with self._part(f"policy of bucket {bucket.name}", "s3"):
                found["policy"] = bucket.policy()

    @staticmethod
    def _head(client: t.Any, bucket: str) -> tuple[int, str]:
        """(HTTP status, region) of HeadBucket, whatever the status."""
        try:
            answer = client.head_bucket(Bucket=bucket, aws_retry=True)
        except botocore.exceptions.ClientError as error:
            if aws_errors.error_code(error) in HOPELESS:
                raise
            answer = error.response
        metadata = answer.get("ResponseMetadata", {})
        return metadata.get("HTTPStatusCode", 0), metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region", "")

    # --- network

    def _network(self) -> None:
        service, database = self.facts["service"], self.facts["database"] or {"security_groups": [], "subnets": []}
        balancer = self.facts["load_balancer"] or {"security_groups": [], "subnets": []}
        if not service or not service["subnets"]:
            return
        groups = {*service["security_groups"], *database["security_groups"], *balancer["security_groups"]}
        subnets = {*service["subnets"], *database["subnets"], *balancer["subnets"]}
        ec2 = self._connect("ec2")

        def by(name: str, values: t.Iterable[str]) -> list[dict[str, t.Any]]:
            return [{"Name": name, "Values": sorted(set(values) - {""})}]

        found = ec2.describe_subnets(Filters=by("subnet-id", subnets), aws_retry=True)["Subnets"]
        vpcs = [one["VpcId"] for one in found]
        if not vpcs:
            return
        self.facts["network"] = {
            "subnets": found,
            "groups": ec2.describe_security_groups(Filters=by("group-id", groups), aws_retry=True)["SecurityGroups"],
            "route_tables": ec2.describe_route_tables(Filters=by("vpc-id", vpcs), aws_retry=True)["RouteTables"],
            "nat_gateways": ec2.describe_nat_gateways(Filter=by("vpc-id", vpcs), aws_retry=True)["NatGateways"],
            "endpoints": ec2.describe_vpc_endpoints(Filters=by("vpc-id", vpcs), aws_retry=True)["VpcEndpoints"],
        }

    # --- MLflow

    def _ask_server(self) -> None:
        """What clients get, by the checks of mlflow_health that only read."""
        address = (self.facts["load_balancer"] or {}).get("tracking_uri")
        if not self._options["ask_server"] or not address:
            self.facts["unread"].append(
                "the answers of MLflow: " + ("there is no address" if not address else "ask_server is false")
            )
            return
        username, password = self._admin.get("username"), self._admin.get("password")
        known = isinstance(username, str) and isinstance(password, str) and username and password
        if not known:
            self.facts["unread"].append(f"what MLflow answers the admin: secret {self._name}/admin gives no login")
        if not diagnosis_symptoms.healthy_targets(self.facts):
            # It would say what the targets say.
            self.facts["unread"].append("the answers of MLflow: no target is healthy")
            return
        params = {
            "tracking_uri": address, "username": username if known else "nobody", "password": password if known else "none",
            "validate_certs": True, "ca_path": self._options["ca_path"] or None,
            "timeout": SECONDS_TO_ANSWER, "retry_timeout": SECONDS_TO_REPEAT,
        }  # fmt: skip
        try:
            client = mlflow_client.Client(params)
        except ValueError as error:
            self.facts["unread"].append(f"the answers of MLflow: {error}")
            return
        settings = mlflow_health_session.Settings(
            write=False, sign_on=self._options["sign_on"], certificate_days=self._options["certificate_days"]
        )
        results = mlflow_health_run.HealthRun(client, settings).run(CHECKS if known else CHECKS[:3])
        self.facts["http"] = [one._asdict() for one in results]
