# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How somebody switches the hardening of a deployment off behind the playbooks' back, setting by setting."""

from __future__ import annotations

import dataclasses
import json
import time
import typing as t

ANYBODY = "0.0.0.0/0"
# In no use.
LOGIN = "postgresql://mlflow:tK9vXq2LmPz8@database.internal:5432/mlflow"


class Weakened:
    """A deployment, and what is needed to weaken it."""

    def __init__(self, client: t.Callable[[str], t.Any], name: str, outputs: dict[str, t.Any]) -> None:
        self.client = client
        self.name = name
        self.outputs = outputs
        self.by_tag = [{"Name": "tag:mlflow-deployment", "Values": [name]}]
        (balancer,) = client("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"]
        self.balancer_arn = balancer["LoadBalancerArn"]
        self._revisions: list[str] = []

    # --- EC2

    def vpc_id(self) -> str:
        return self.client("ec2").describe_vpcs(Filters=self.by_tag)["Vpcs"][0]["VpcId"]

    def group_id(self, kind: str) -> str:
        name = kind if kind == "default" else f"{self.name}-{kind}"
        filters = [{"Name": "vpc-id", "Values": [self.vpc_id()]}, {"Name": "group-name", "Values": [name]}]
        return self.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"]

    def open_group(self, kind: str, port: int | None) -> None:
        """Let anybody reach a port, or a group whatever is in it."""
        ec2, group_id = self.client("ec2"), self.group_id(kind)
        rule = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]}
        if port:
            rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": ANYBODY}]}
        ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[rule])

    def no_flow_logs(self) -> None:
        ec2 = self.client("ec2")
        ec2.delete_flow_logs(FlowLogIds=[one["FlowLogId"] for one in ec2.describe_flow_logs(Filter=self.by_tag)["FlowLogs"]])

    def no_endpoints(self) -> None:
        ec2, interface = self.client("ec2"), [*self.by_tag, {"Name": "vpc-endpoint-type", "Values": ["Interface"]}]

        def found() -> list[str]:
            return [one["VpcEndpointId"] for one in ec2.describe_vpc_endpoints(Filters=interface)["VpcEndpoints"]]

        ec2.delete_vpc_endpoints(VpcEndpointIds=found())
        _until(lambda: not found())
        ec2.delete_security_group(GroupId=self.group_id("endpoints"))

    def public_addresses(self) -> None:
        ec2 = self.client("ec2")
        subnet = ec2.describe_subnets(Filters=self.by_tag)["Subnets"][0]
        ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True})

    def open_network_acl(self) -> None:
        ec2 = self.client("ec2")
        (acl,) = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [self.vpc_id()]}])["NetworkAcls"]
        for entry in acl["Entries"]:
            if entry["RuleAction"] == "deny" and "PortRange" in entry:
                ec2.delete_network_acl_entry(NetworkAclId=acl["NetworkAclId"], RuleNumber=entry["RuleNumber"], Egress=False)

    # --- ECS

    def task_definition(self, change: t.Callable[[dict], None]) -> None:
        """Register a revision of the service's task definition with another container."""
        ecs = self.client("ecs")
        found = ecs.describe_task_definition(taskDefinition=self.name)["taskDefinition"]
        kept = ("family", "taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions", "volumes", "cpu", "memory",
                "requiresCompatibilities", "runtimePlatform")  # fmt: skip
        change(found["containerDefinitions"][0])
        made = ecs.register_task_definition(**{key: found[key] for key in kept if key in found})
        self._revisions.append(made["taskDefinition"]["taskDefinitionArn"])

    def deregister(self) -> None:
        """Take the revisions away again: no run touches those of others."""
        for arn in self._revisions:
            self.client("ecs").deregister_task_definition(taskDefinition=arn)

    # --- load balancer

    def balancer(self, **attributes: str) -> None:
        named = [{"Key": key.replace("__", "."), "Value": value} for key, value in attributes.items()]
        self.client("elbv2").modify_load_balancer_attributes(LoadBalancerArn=self.balancer_arn, Attributes=named)

    def no_redirect(self) -> None:
        elb = self.client("elbv2")
        for listener in elb.describe_listeners(LoadBalancerArn=self.balancer_arn)["Listeners"]:
            if listener["Protocol"] == "HTTP":
                forward = [{"Type": "forward", "TargetGroupArn": self.outputs["target_group_arn"]}]
                elb.modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=forward)

    def no_web_acl(self) -> None:
        self.client("wafv2").disassociate_web_acl(ResourceArn=self.balancer_arn)

    def no_web_acl_log(self) -> None:
        waf = self.client("wafv2")
        for one in waf.list_web_acls(Scope="REGIONAL")["WebACLs"]:
            waf.delete_logging_configuration(ResourceArn=one["ARN"])

    # --- database

    def database(self, **changes: t.Any) -> None:
        rds = self.client("rds")
        rds.modify_db_instance(DBInstanceIdentifier=f"{self.name}-db", ApplyImmediately=True, **changes)
        _until(lambda: _database(rds, self.name)["DBInstanceStatus"] == "available")

    def plain_connections(self) -> None:
        parameter = {"ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"}
        group = _database(self.client("rds"), self.name)["DBParameterGroups"][0]["DBParameterGroupName"]
        self.client("rds").modify_db_parameter_group(DBParameterGroupName=group, Parameters=[parameter])

    def public_database(self) -> None:
        """An address for everybody, and a way to it: its subnets lead to the internet, and its group lets everybody in."""
        ec2 = self.client("ec2")
        self.open_group("rds", _database(self.client("rds"), self.name)["Endpoint"]["Port"])
        (gateway,) = ec2.describe_internet_gateways(Filters=self.by_tag)["InternetGateways"]
        subnets = {one["SubnetIdentifier"] for one in _database(self.client("rds"), self.name)["DBSubnetGroup"]["Subnets"]}
        for table in ec2.describe_route_tables(Filters=self.by_tag)["RouteTables"]:
            if subnets & {one.get("SubnetId") for one in table["Associations"]}:
                where = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": ANYBODY}
                ec2.replace_route(**where, GatewayId=gateway["InternetGatewayId"])
        self.database(PubliclyAccessible=True)

    def no_events(self) -> None:
        self.client("rds").delete_event_subscription(SubscriptionName=f"{self.name}-database")

    # --- others

    @property
    def bucket(self) -> str:
        return self.outputs["bucket"]

    def no_tls_policy(self) -> None:
        self.client("s3").delete_bucket_policy(Bucket=self.bucket)

    def plain_topic(self) -> None:
        sns = self.client("sns")
        (arn,) = [one["TopicArn"] for one in sns.list_topics()["Topics"] if one["TopicArn"].endswith(f":{self.name}-alarms")]
        sns.set_topic_attributes(TopicArn=arn, AttributeName="KmsMasterKeyId", AttributeValue="")

    def no_rotation(self) -> None:
        self.client("secretsmanager").cancel_rotate_secret(SecretId=f"{self.name}/admin")

    def public_function(self) -> None:
        everybody = {"StatementId": "everybody", "Action": "lambda:InvokeFunction", "Principal": "*"}
        self.client("lambda").add_permission(FunctionName=f"{self.name}-rotation", **everybody)

    def mighty_task(self) -> None:
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        role = self.client("ecs").describe_task_definition(taskDefinition=self.name)["taskDefinition"]["taskRoleArn"]
        iam = self.client("iam")
        name = role.rpartition("/")[2]
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(everything))


def _database(rds: t.Any, name: str) -> dict:
    return rds.describe_db_instances(DBInstanceIdentifier=f"{name}-db")["DBInstances"][0]


def _until(condition: t.Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A hardening setting: the controls that say so when it is off, and how to switch it off."""

    name: str
    controls: frozenset[str]
    switch_off: t.Callable[[Weakened], t.Any]


def _setting(name: str, controls: str, switch_off: t.Callable[[Weakened], t.Any]) -> Setting:
    return Setting(name, frozenset(controls.split()), switch_off)


SETTINGS = [
    _setting("closed default group", "EC2.2", lambda it: it.open_group("default", None)),
    _setting("flow logs", "EC2.6", lambda it: it.no_flow_logs()),
    _setting("endpoint for EC2", "EC2.10", lambda it: it.no_endpoints()),
    _setting("no SSH", "EC2.13", lambda it: it.open_group("ecs", 22)),
    _setting("no RDP", "EC2.14", lambda it: it.open_group("ecs", 3389)),
    _setting("no ports of high risk", "EC2.19", lambda it: it.open_group("ecs", 445)),
    _setting("no public addresses", "EC2.15", lambda it: it.public_addresses()),
    _setting("network ACL", "EC2.21", lambda it: it.open_network_acl()),
    _setting("read-only root", "ECS.5", lambda it: it.task_definition(lambda one: one.pop("readonlyRootFilesystem"))),
    _setting(
        "no secret in the environment",
        "ECS.8",
        lambda it: it.task_definition(lambda one: one["environment"].append({"name": "DATABASE_URI", "value": LOGIN})),
    ),
    _setting("log of the tasks", "ECS.9", lambda it: it.task_definition(lambda one: one.pop("logConfiguration"))),
    _setting("redirect to HTTPS", "ELB.1", lambda it: it.no_redirect()),
    _setting("odd headers", "ELB.4", lambda it: it.balancer(routing__http__drop_invalid_header_fields__enabled="false")),
    _setting("access logs", "ELB.5", lambda it: it.balancer(access_logs__s3__enabled="false")),
    _setting("kept load balancer", "ELB.6", lambda it: it.balancer(deletion_protection__enabled="false")),
    _setting("desync mitigation", "ELB.12", lambda it: it.balancer(routing__http__desync_mitigation_mode="monitor")),
    _setting("web ACL", "ELB.16", lambda it: it.no_web_acl()),
    _setting("log of the web ACL", "WAF.11", lambda it: it.no_web_acl_log()),
    _setting("private function", "Lambda.1", lambda it: it.public_function()),
    _setting("rotation by the clock", "SecretsManager.1", lambda it: it.no_rotation()),
    _setting("private database", "RDS.2", lambda it: it.public_database()),
    _setting("Enhanced Monitoring", "RDS.6", lambda it: it.database(MonitoringInterval=0)),
    _setting("kept database", "RDS.8", lambda it: it.database(DeletionProtection=False)),
    _setting(
        "logs of the database",
        "RDS.9",
        lambda it: it.database(CloudwatchLogsExportConfiguration={"DisableLogTypes": ["postgresql", "upgrade"]}),
    ),
    _setting("IAM authentication", "RDS.10", lambda it: it.database(EnableIAMDatabaseAuthentication=False)),
    _setting("backups", "RDS.11", lambda it: it.database(BackupRetentionPeriod=0)),
    _setting("minor versions", "RDS.13", lambda it: it.database(AutoMinorVersionUpgrade=False)),
    _setting("tags of snapshots", "RDS.17", lambda it: it.database(CopyTagsToSnapshot=False)),
    _setting("events of the database", "RDS.20", lambda it: it.no_events()),
    _setting("TLS to the database", "RDS.38", lambda it: it.plain_connections()),
    _setting("TLS to the bucket", "S3.5", lambda it: it.no_tls_policy()),
    _setting("private bucket", "S3.8", lambda it: it.client("s3").delete_public_access_block(Bucket=it.bucket)),
    _setting("no ACLs", "S3.12", lambda it: it.client("s3").delete_bucket_ownership_controls(Bucket=it.bucket)),
    _setting("lifecycle", "S3.13", lambda it: it.client("s3").delete_bucket_lifecycle(Bucket=it.bucket)),
    _setting(
        "versions",
        "S3.14",
        lambda it: it.client("s3").put_bucket_versioning(Bucket=it.bucket, VersioningConfiguration={"Status": "Suspended"}),
    ),
    _setting("encrypted topic", "SNS.1", lambda it: it.plain_topic()),
    _setting("least rights", "IAM.1", lambda it: it.mighty_task()),
]
