# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lets services of AWS write logs to a bucket: pure functions."""

from __future__ import annotations

import re
import typing as t

ACCESS_LOGS, FLOW_LOGS = "access_logs", "flow_logs"
KINDS = (ACCESS_LOGS, FLOW_LOGS)
# Flow logs look for statements with AWS's own names, and append them where they are missing.
SIDS = ("AccessLogDelivery", "AWSLogDeliveryWrite", "AWSLogDeliveryAclCheck")


def check(params: dict[str, t.Any]) -> None:
    """ValueError for options that AWS would refuse half way, or that would let nobody write."""
    account, prefix = params["account_id"], params["log_prefix"]
    if params["log_delivery"] and not re.fullmatch(r"\d{12}", account):
        raise ValueError(f"account_id = '{account}': it has not 12 digits; give the account whose logs are delivered")
    if "AWSLogs" in prefix or not re.fullmatch(r"([\w.-]+(/[\w.-]+)*)?", prefix, re.ASCII):
        raise ValueError(
            f"log_prefix = '{prefix}': AWS takes parts of letters, digits, dots, hyphens and underscores between slashes,"
            " and adds AWSLogs itself; write it like 'team/logs', or leave it empty"
        )


def statements(params: dict[str, t.Any], arn: str, region: str) -> list[dict[str, t.Any]]:
    """The statements of the bucket's policy, by which each kind of logs is let in, of one account only.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
    https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-permissions.html
    """
    account, kinds = params["account_id"], params["log_delivery"]
    objects = "/".join(part for part in (arn, params["log_prefix"], "AWSLogs", account, "*") if part)
    found: list[dict[str, t.Any]] = []
    if ACCESS_LOGS in kinds:
        # Elastic Load Balancing tells no aws:SourceAccount; it writes below the account that owns the load balancer.
        found.append(_allow(SIDS[0], "logdelivery.elasticloadbalancing.amazonaws.com", "s3:PutObject", objects))
    if FLOW_LOGS in kinds:
        sources = {"aws:SourceArn": f"{arn.partition(':s3:')[0]}:logs:{region}:{account}:*"}
        of_account = {"StringEquals": {"aws:SourceAccount": account}, "ArnLike": sources}
        whole = {"aws:SourceAccount": account, "s3:x-amz-acl": "bucket-owner-full-control"}
        service = "delivery.logs.amazonaws.com"
        found.append(
            {**_allow(SIDS[1], service, "s3:PutObject", objects), "Condition": {**of_account, "StringEquals": whole}}
        )
        found.append({**_allow(SIDS[2], service, "s3:GetBucketAcl", arn), "Condition": of_account})
    return found


def _allow(sid: str, service: str, action: str, resource: str) -> dict[str, t.Any]:
    return {"Sid": sid, "Effect": "Allow", "Principal": {"Service": service}, "Action": action, "Resource": resource}
