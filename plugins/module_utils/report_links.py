# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the AWS console shows a resource, and where the collection's documentation tells of a job."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

DOCUMENTATION = "https://github.com/mlops/mlflow_aws/blob/main"
# https://docs.aws.amazon.com/general/latest/gr/managementconsole.html; isolated partitions have theirs elsewhere.
CONSOLES = {"aws": "console.aws.amazon.com", "aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
# The same partition, by the beginning of its regions' names.
PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("us-iso", "aws-iso"), ("eu-isoe-", "aws-iso"), ("eusc-", "aws-eusc"))


def partition_of(region: str) -> str:
    return next((partition for beginning, partition in PARTITIONS if region.startswith(beginning)), "aws")


def part(text: object) -> str:
    """`text` as one segment of an address."""
    return quote(str(text), safe="")


class Console:
    """Addresses in the console of one region; None where there is no console, or nothing to show."""

    def __init__(self, region: str, wanted: bool = True) -> None:
        host = CONSOLES.get(partition_of(region)) if wanted else None
        # The console of AWS has a name for each region, those of the other partitions one for all.
        self._root = f"https://{region + '.' if partition_of(region) == 'aws' else ''}{host}" if host and region else ""
        self._region = part(region)

    def _home(self, service: str, fragment: str, *shown: str | None) -> str | None:
        known = all(shown) and self._root
        return f"{self._root}/{service}/home?region={self._region}#{fragment}" if known else None

    def _page(self, path: str, *shown: str | None) -> str | None:
        known = all(shown) and self._root
        return f"{self._root}/{path}{'&' if '?' in path else '?'}region={self._region}" if known else None

    def service(self, cluster: str | None, service: str | None) -> str | None:
        return self._page(f"ecs/v2/clusters/{part(cluster)}/services/{part(service)}/health", cluster, service)

    def task(self, cluster: str | None, task: str | None) -> str | None:
        return self._page(f"ecs/v2/clusters/{part(cluster)}/tasks/{part(task)}/configuration", cluster, task)

    def load_balancer(self, arn: str | None) -> str | None:
        return self._home("ec2", f"LoadBalancer:loadBalancerArn={arn}", _fragment(arn))

    def database(self, name: str | None) -> str | None:
        return self._home("rds", f"database:id={part(name)};is-cluster=false", name)

    def vpc(self, vpc_id: str | None) -> str | None:
        return self._home("vpcconsole", f"VpcDetails:VpcId={part(vpc_id)}", vpc_id)

    def nat_gateway(self, gateway: str | None) -> str | None:
        return self._home("vpcconsole", f"NatGatewayDetails:natGatewayId={part(gateway)}", gateway)

    def bucket(self, name: str | None) -> str | None:
        return self._page(f"s3/buckets/{part(name)}", name)

    def secret(self, arn: str | None) -> str | None:
        """By its name: an ARN ends in `secret:<name>-<six characters>`."""
        name = (arn or "").partition(":secret:")[2][: -len("-AbCdEf")]
        return self._page(f"secretsmanager/secret?name={part(name)}", name)

    def log_group(self, name: str | None) -> str | None:
        # The console decodes it twice, and writes the percent sign as a dollar.
        return self._home("cloudwatch", f"logsV2:log-groups/log-group/{part(part(name)).replace('%', '$')}", name)

    def alarm(self, name: str | None) -> str | None:
        return self._home("cloudwatch", f"alarmsV2:alarm/{part(name)}", name)

    def dashboard(self, name: str | None) -> str | None:
        return self._home("cloudwatch", f"dashboards/dashboard/{part(name)}", name)

    def vault(self, arn: str | None) -> str | None:
        name = (arn or "").rpartition(":backup-vault:")[2]
        return self._home("backup", f"/backupvaults/details/{part(name)}", name)

    def certificate(self, arn: str | None) -> str | None:
        return self._home("acm", f"/certificates/{part((arn or '').rpartition('/')[2])}", arn)

    def web_acl(self, arn: str | None) -> str | None:
        """arn:…:regional/webacl/<name>/<id>"""
        name, _slash, identifier = (arn or "").partition("/webacl/")[2].partition("/")
        return self._page(f"wafv2/homev2/web-acl/{part(name)}/{part(identifier)}/overview", name, identifier)


def _fragment(arn: str | None) -> str | None:
    """An ARN that can stand in a fragment as it is."""
    return arn if arn and quote(arn, safe=":/-") == arn else None


def documentation(page: str) -> str:
    return f"{DOCUMENTATION}/{page}"


def web_address(address: str | None) -> str | None:
    """`address` if it is one of the web, else None: a page may link nothing else."""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.hostname else None
