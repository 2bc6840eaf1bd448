# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL instance, its subnet group and its parameter group: what there is, and what is to be done about it."""

from __future__ import annotations

import datetime
import json
import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import (
    is_boto3_error_code,
    is_boto3_error_message,
)
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, rds_client, rds_rules

# The error codes of RDS, with and without the ending that its API and its documentation disagree about.
NO_SUBNET_GROUP = ["DBSubnetGroupNotFoundFault", "DBSubnetGroupNotFound"]
NO_PARAMETER_GROUP = ["DBParameterGroupNotFound", "DBParameterGroupNotFoundFault"]
# RDS takes 20 parameters a call.
PARAMETERS_PER_CALL = 20
# A new role is known to RDS within seconds, but not at once.
ROLE_SECONDS, ROLE_PAUSE = 60, 5


def batches(items: list[dict]) -> t.Iterator[list[dict]]:
    for start in range(0, len(items), PARAMETERS_PER_CALL):
        yield items[start : start + PARAMETERS_PER_CALL]


class Database:
    """`params` are the options of M(mlops.mlflow_aws.rds_postgres); tags and parameters are text already."""

    def __init__(self, rds: t.Any, secrets: t.Any, params: dict[str, t.Any], region: str, check_mode: bool) -> None:
        self.rds = rds
        self.secrets = secrets
        self.params = params
        self.region = region
        self.check_mode = check_mode
        self.name: str = params["db_instance_identifier"]
        # Of the subnet group and the parameter group.
        self.group_name: str = params["group_name"] or self.name
        self.instance: dict | None = None
        self.subnet_group: dict | None = None
        self.parameter_group: dict | None = None
        self.parameters: dict[str, str] = {}
        self.final_snapshot_id: str | None = None
        # ARN -> tags
        self.tags: dict[str, dict[str, str]] = {}

    def find(self) -> None:
        """Read what there is; ValueError if some of it is not ours."""
        self.instance = rds_client.describe_instance(self.rds, self.name)
        if self.instance:
            self._know_owner("Database", self.instance["DBInstanceArn"], rds_rules.tags_of(self.instance))
        try:
            answer = self.rds.describe_db_subnet_groups(DBSubnetGroupName=self.group_name, aws_retry=True)
            self.subnet_group = answer["DBSubnetGroups"][0]
            self._read_owner("DB subnet group", self.subnet_group["DBSubnetGroupArn"])
        except is_boto3_error_code(NO_SUBNET_GROUP):
            pass
        try:
            answer = self.rds.describe_db_parameter_groups(DBParameterGroupName=self.group_name, aws_retry=True)
            self.parameter_group = answer["DBParameterGroups"][0]
            self._read_owner("DB parameter group", self.parameter_group["DBParameterGroupArn"])
        except is_boto3_error_code(NO_PARAMETER_GROUP):
            pass

    def _read_owner(self, kind: str, arn: str) -> None:
        answer = self.rds.list_tags_for_resource(ResourceName=arn, aws_retry=True)
        self._know_owner(kind, arn, boto3_tag_list_to_ansible_dict(answer["TagList"]))

    def _know_owner(self, kind: str, arn: str, tags: dict[str, str]) -> None:
        owner_tags = self.params["owner_tags"]
        if not aws_changes.carries(tags, owner_tags):
            remedy = "choose another deployment name, or remove it by hand"
            raise ValueError(aws_changes.not_ours(f"{kind} {self.name}", owner_tags, remedy))
        self.tags[arn] = tags

    @property
    def _boto3_tags(self) -> list[dict[str, str]]:
        return ansible_dict_to_boto3_tag_list(self.params["tags"])

    # --- present ---------------------------------------------------------------------------------------------------

    def plan_present(self) -> aws_changes.Changes:
        """What to do, in order; waits first (but not in check mode) until RDS takes changes."""
        self._settle()
        changes = aws_changes.Changes()
        self._plan_subnet_group(changes)
        self._plan_parameter_group(changes)
        snapshot = self.params["snapshot_identifier"]
        if self.instance is None and snapshot:
            changes.want("instance", "absent", f"restored from {snapshot}", self._restore_instance)
        elif self.instance is None:
            self._check_left()
            changes.want("instance", "absent", "present", self._create_instance)
        elif rds_client.status_of(self.instance) != "creating":
            self._plan_modifications(changes)
        for arn, tags in self.tags.items():
            kind, wanted = arn.split(":")[5], self.params["tags"]
            if kind == "db":
                wanted = rds_rules.wanted_tags(t.cast(dict, self.instance), wanted)
            changes.want_tags(f"tags of {kind} {self.name}", tags, wanted, self._tag(arn), self._untag(arn))
        return changes

    def _left_by_restores(self) -> list[dict]:
        everything = rds_client.describe_instances(self.rds)
        return rds_rules.left_by_restores(everything, self.name, self.params["owner_tags"])

    def _check_left(self) -> None:
        """An empty database must not take the place of one that is only on its way there."""
        left = self._left_by_restores()
        if left:
            names = ", ".join(one["DBInstanceIdentifier"] for one in left)
            raise ValueError(
                f"Database {self.name}: there is none, but a restore has left {names}; run restore.yml again, or delete what"
                " is left if an empty database is what you want"
            )

    def _settle(self) -> None:
        """A deletion under way is awaited and the instance made anew; other work of RDS is awaited, except creation."""
        status = rds_client.status_of(self.instance)
        if status == "deleting":
            if not self.check_mode:
                rds_client.await_absent(self.rds, self.name, self.params["wait_timeout"])
            self.tags.pop(self.instance["DBInstanceArn"])
            self.instance = None
        elif status not in {"absent", "creating", "storage-full"} | rds_rules.USABLE and not self.check_mode:
            self.instance = rds_client.await_usable(self.rds, self.name, self.params["wait_timeout"])

    def _plan_subnet_group(self, changes: aws_changes.Changes) -> None:
        wanted = sorted(self.params["subnet_ids"])
        group = {"DBSubnetGroupName": self.group_name, "SubnetIds": wanted, "aws_retry": True}
        description = f"Subnets of {self.name}"
        if self.subnet_group is None:
            changes.want(
                "subnet_ids", None, wanted,
                lambda: self.rds.create_db_subnet_group(
                    DBSubnetGroupDescription=description, Tags=self._boto3_tags, **group
                ),
            )  # fmt: skip
        else:
            current = sorted(one["SubnetIdentifier"] for one in self.subnet_group["Subnets"])
            changes.want("subnet_ids", current, wanted, lambda: self.rds.modify_db_subnet_group(**group))

    def _plan_parameter_group(self, changes: aws_changes.Changes) -> None:
        version = self.instance["EngineVersion"] if self.instance else self.params["engine_version"]
        family = rds_rules.family(version)
        if self.parameter_group and self.parameter_group["DBParameterGroupFamily"] != family:
            if self.instance:
                raise ValueError(
                    f"DB parameter group {self.name}: it is for {self.parameter_group['DBParameterGroupFamily']}, the"
                    f" database has {version}; remove the group by hand, or correct rds_engine_version"
                )
            # Left by a deployment of another major version whose database is gone: nothing uses it.
            old = self.parameter_group
            changes.want("old parameter_group", old["DBParameterGroupFamily"], None, self._delete_parameter_group)
            self.tags.pop(old["DBParameterGroupArn"])
            self.parameter_group = None
        if self.parameter_group is None:
            changes.want("parameter_group", None, family, lambda: self._create_parameter_group(family))
        else:
            self.parameters = self._read_parameters()
        current = {**dict.fromkeys(self.params["parameters"]), **self.parameters}
        changes.want("parameters", current, self.params["parameters"], self._set_parameters)

    def _create_parameter_group(self, family: str) -> None:
        self.rds.create_db_parameter_group(
            DBParameterGroupName=self.group_name,
            DBParameterGroupFamily=family,
            Description=f"Parameters of {self.name}",
            Tags=self._boto3_tags,
            aws_retry=True,
        )

    def _all_parameters(self, **which: str) -> list[dict]:
        found: list[dict] = []
        while True:
            page = self.rds.describe_db_parameters(DBParameterGroupName=self.group_name, aws_retry=True, **which)
            found += page["Parameters"]
            if not page.get("Marker"):
                return found
            which["Marker"] = page["Marker"]

    def _read_parameters(self) -> dict[str, str]:
        """The parameters that somebody set, by name."""
        return {one["ParameterName"]: one["ParameterValue"] for one in self._all_parameters(Source="user")}

    def _set_parameters(self) -> None:
        wanted = self.params["parameters"]
        # A new instance starts with them; a running one takes dynamic ones at once and the others at its next restart.
        kinds = {one["ParameterName"]: one.get("ApplyType") for one in self._all_parameters()} if self.instance else {}

        def item(name: str) -> dict[str, str]:
            return {"ParameterName": name, "ApplyMethod": "immediate" if kinds.get(name) == "dynamic" else "pending-reboot"}

        changed = sorted(name for name, value in wanted.items() if self.parameters.get(name) != value)
        for some in batches([{**item(name), "ParameterValue": wanted[name]} for name in changed]):
            self.rds.modify_db_parameter_group(DBParameterGroupName=self.group_name, Parameters=some, aws_retry=True)
        for some in batches([item(name) for name in sorted(set(self.parameters) - set(wanted))]):
            self.rds.reset_db_parameter_group(
                DBParameterGroupName=self.group_name, ResetAllParameters=False, Parameters=some, aws_retry=True
            )

    def _wanted(self) -> dict[str, t.Any]:
        params = self.params
        return {
            "DBInstanceClass": params["instance_class"],
            "MultiAZ": params["multi_az"],
            "BackupRetentionPeriod": params["backup_retention_days"],
            "DeletionProtection": params["deletion_protection"],
            "AutoMinorVersionUpgrade": params["auto_minor_version_upgrade"],
            "CopyTagsToSnapshot": True,
            "IAMDatabaseAuthenticationEnabled": params["iam_authentication"],
            "PubliclyAccessible": False,
            "StorageType": "gp3",
            "PerformanceInsightsEnabled": params["performance_insights"],
            "MonitoringInterval": params["monitoring_interval"],
            "MonitoringRoleArn": params["monitoring_role_arn"] if params["monitoring_interval"] else None,
            "LogExports": sorted({*params["log_exports"]}),
            "CACertificateIdentifier": params["ca_certificate_identifier"] or None,
            "PreferredBackupWindow": params["backup_window"] or None,
            "PreferredMaintenanceWindow": params["maintenance_window"] or None,
            "EngineVersion": params["engine_version"],
            "AllocatedStorage": params["allocated_storage"],
            "MaxAllocatedStorage": params["max_allocated_storage"],
            "VpcSecurityGroupIds": params["security_group_ids"],
            "DBParameterGroupName": self.group_name,
        }

    def _plan_modifications(self, changes: aws_changes.Changes) -> None:
        refused = rds_rules.key_problem(self.instance, self.params["kms_key"], "")
        if refused:
            raise ValueError(refused)
        if self.instance.get("DBName") != self.params["database_name"]:
            raise ValueError(
                f"database_name = {self.params['database_name']}: the instance was made with"
                f" {self.instance.get('DBName')}, and RDS does not rename databases; set it back"
            )
        change, before = rds_rules.modifications(self.instance, self._wanted())
        # What is collected already keeps its key.
        if change.get("EnablePerformanceInsights") and not self.instance.get("PerformanceInsightsKMSKeyId"):
            change.update(self._insights_key())
        if rds_rules.UNFINISHED in rds_rules.tags_of(self.instance):
            # Never the password itself: this shows in a diff.
            before, after = {**before, "password": "the snapshot's"}, {**change, "password": "the secret's"}
            changes.want("instance", before, after, lambda: self._finish_restore(change))
            return
        changes.want("instance", before, change, lambda: self._modify(change))

    def _finish_restore(self, change: dict[str, t.Any]) -> None:
        """What RDS takes only of an instance that is there, and the password, until it works."""
        username, password = self._master_user()
        found = t.cast(dict, self.instance)["MasterUsername"]
        if found != username:
            raise ValueError(
                f"Database {self.name}: its master user is {found}, in the secret it is {username}, and RDS cannot change that;"
                " correct the user name in the secret, or restore another snapshot"
            )
        self._modify({**change, "MasterUserPassword": password})
        rds_client.await_applied(self.rds, self.name, self.params["wait_timeout"])

    def _insights_key(self) -> dict[str, str]:
        return {"PerformanceInsightsKMSKeyId": self.params["kms_key"]} if self.params["kms_key"] else {}

    def _modify(self, change: dict[str, t.Any]) -> None:
        self._with_role(self.rds.modify_db_instance, DBInstanceIdentifier=self.name, ApplyImmediately=True, **change)

    @staticmethod
    def _with_role(call: t.Callable[..., t.Any], **arguments: t.Any) -> None:
        """Try again for a while where RDS does not know the monitoring role yet."""
        deadline = time.monotonic() + ROLE_SECONDS
        while True:
            try:
                call(aws_retry=True, **arguments)
                return
            except is_boto3_error_message("ENHANCED_MONITORING"):
                if time.monotonic() >= deadline:
                    raise
            time.sleep(ROLE_PAUSE)

    def _offered_versions(self) -> list[str]:
        wanted = self.params["engine_version"]
        pages = self.rds.get_paginator("describe_db_engine_versions").paginate(
            Engine=rds_rules.ENGINE, EngineVersion=wanted
        )
        return [one["EngineVersion"] for page in pages for one in page["DBEngineVersions"]]

    def _creation(self) -> dict[str, t.Any]:
        """What an instance is made with, whether empty or of a snapshot."""
        wanted = {name: value for name, value in self._wanted().items() if value is not None}
        for attribute in ("PerformanceInsightsEnabled", "IAMDatabaseAuthenticationEnabled"):
            wanted[rds_rules.SAME_VALUE[attribute]] = wanted.pop(attribute)
        if exports := wanted.pop("LogExports"):
            wanted["EnableCloudwatchLogsExports"] = exports
        return {
            **wanted,
            "DBInstanceIdentifier": self.name,
            "DBSubnetGroupName": self.group_name,
            "Port": self.params["port"],
        }

    def _restore_instance(self) -> None:
        snapshot = self.params["snapshot_identifier"]
        given = {name: value for name, value in self._creation().items() if name not in rds_rules.NOT_OF_A_RESTORE}
        marks = {rds_rules.RESTORED_FROM: snapshot, rds_rules.UNFINISHED: "true"}
        self.rds.restore_db_instance_from_db_snapshot(
            **given,
            DBSnapshotIdentifier=snapshot,
            Tags=ansible_dict_to_boto3_tag_list({**self.params["tags"], **marks}),
            aws_retry=True,
        )

    def _create_instance(self) -> None:
        wanted = self._creation()
        if wanted["MaxAllocatedStorage"] <= wanted["AllocatedStorage"]:
            del wanted["MaxAllocatedStorage"]
        if "." not in wanted["EngineVersion"]:
            wanted["EngineVersion"] = rds_rules.newest(self._offered_versions(), wanted["EngineVersion"], self.region)
        if self.params["kms_key"]:
            wanted["KmsKeyId"] = self.params["kms_key"]
        if wanted["EnablePerformanceInsights"]:
            wanted.update(self._insights_key())
        username, password = self._master_user()
        self._with_role(
            self.rds.create_db_instance,
            Engine=rds_rules.ENGINE,
            DBName=self.params["database_name"],
            MasterUsername=username,
            MasterUserPassword=password,
            StorageEncrypted=True,
            Tags=self._boto3_tags,
            **wanted,
        )

    def _master_user(self) -> tuple[str, str]:
        secret_id = self.params["master_secret_id"]
        if not secret_id:
            raise ValueError("master_secret_id: not given, but needed to make the instance; name a JSON secret")
        text = self.secrets.get_secret_value(SecretId=secret_id, aws_retry=True).get("SecretString")
        try:
            user = json.loads(text or "")
            return user["username"], user["password"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"master_secret_id = {secret_id}: the secret is not JSON with username and password; name one that is"
            ) from None

    def _tag(self, arn: str) -> t.Callable[[dict[str, str]], t.Any]:
        return lambda tags: self.rds.add_tags_to_resource(
            ResourceName=arn, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True
        )

    def _untag(self, arn: str) -> t.Callable[[list[str]], t.Any]:
        return lambda keys: self.rds.remove_tags_from_resource(ResourceName=arn, TagKeys=keys, aws_retry=True)

    # --- absent ----------------------------------------------------------------------------------------------------

    def plan_absent(self) -> aws_changes.Changes:
        """The instance, what restores have left beside it, and then the groups that they share."""
        changes = aws_changes.Changes()
        for instance in self._left_by_restores():
            self._check_deletion(instance)
            changes.want(instance["DBInstanceIdentifier"], "present", "absent", self._deletion(instance))
        if self.instance:
            self._check_deletion(self.instance)
            changes.want("instance", "present", "absent", lambda: self._delete_instance(t.cast(dict, self.instance)))
        if self.subnet_group:
            changes.want("subnet_group", "present", "absent", self._delete_subnet_group)
        if self.parameter_group:
            changes.want("parameter_group", "present", "absent", self._delete_parameter_group)
        return changes

    def _check_deletion(self, instance: dict) -> None:
        status, name = instance["DBInstanceStatus"], instance["DBInstanceIdentifier"]
        if status == "deleting":
            return
        if instance.get("DeletionProtection") and not self.params["delete_protected"]:
            raise ValueError(f"Database {name}: its deletion protection is on; say rds_delete_protected=true to lift it")
        if self.params["final_snapshot"] and status in rds_rules.WITHOUT_SNAPSHOT:
            raise ValueError(
                f"Database {name}: RDS makes no final snapshot of a database that is {status};"
                " set rds_final_snapshot to false to delete it without one"
            )

    def _deletion(self, instance: dict) -> t.Callable[[], None]:
        return lambda: self._delete_instance(instance)

    def _delete_instance(self, instance: dict) -> None:
        timeout, name = self.params["wait_timeout"], instance["DBInstanceIdentifier"]
        if instance["DBInstanceStatus"] != "deleting":
            keep: dict[str, t.Any] = {"SkipFinalSnapshot": True}
            if self.params["final_snapshot"]:
                # RDS takes a snapshot only of an instance that it has finished making.
                if instance["DBInstanceStatus"] not in rds_rules.USABLE | {"stopped", "storage-full"}:
                    rds_client.await_usable(self.rds, name, timeout)
                now = datetime.datetime.now(datetime.timezone.utc)
                self.final_snapshot_id = f"{name}-final-{now:%Y%m%d-%H%M%S}"
                keep = {"SkipFinalSnapshot": False, "FinalDBSnapshotIdentifier": self.final_snapshot_id}
            if instance.get("DeletionProtection"):
                self.rds.modify_db_instance(
                    DBInstanceIdentifier=name, ApplyImmediately=True, DeletionProtection=False, aws_retry=True
                )
            self.rds.delete_db_instance(DBInstanceIdentifier=name, aws_retry=True, **keep)
        rds_client.await_absent(self.rds, name, timeout)

    def _delete_subnet_group(self) -> None:
        try:
            self.rds.delete_db_subnet_group(DBSubnetGroupName=self.group_name, aws_retry=True)
        except is_boto3_error_code(NO_SUBNET_GROUP):
            pass

    def _delete_parameter_group(self) -> None:
        try:
            self.rds.delete_db_parameter_group(DBParameterGroupName=self.group_name, aws_retry=True)
        except is_boto3_error_code(NO_PARAMETER_GROUP):
            pass
