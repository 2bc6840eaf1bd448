# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""List prices of AWS in US dollars, on demand, without tax, free tiers and discounts: dated, each with its source.

A price that nobody has seen in a source is not here; the estimate then names it as missing. The prices were looked up
on ``LOOKED_UP`` in public copies of AWS's own price list (Price List Bulk API, the data that AWS bills from) and, where
there is none, in the publications named. To bring them up to date, open the offer files of ``SOURCES`` and change date,
price and source together. Where two sources disagree, the newer one counts.
"""

from __future__ import annotations

LOOKED_UP = "2026-11-23"
CURRENCY = "USD"

_OFFERS = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws"
_SHEET = "as quoted in a public cost sheet of 2026-10-06"
_SNAPSHOT = "as trimmed in https://github.com/mooncitizen/togen internal/cost/prices/aws.json of 2026-09-06"
_INFRACOST = "Infracost output for eu-central-1 (README of a project on Terraform 1.14.6); reads AWS's price list"

# What a source is, its address, and how old it is.
SOURCES: dict[str, str] = {
    "ecs-london": f"{_OFFERS}/AmazonECS/current/eu-west-2/index.json, published 2026-09-11, {_SHEET}",
    "elb-london": f"{_OFFERS}/AWSELB/current/eu-west-2/index.json, published 2026-09-11, {_SHEET}",
    "rds-london": f"{_OFFERS}/AmazonRDS/current/eu-west-2/index.json, published 2026-10-06, {_SHEET}",
    "ec2-london": f"{_OFFERS}/AmazonEC2/current/eu-west-2/index.csv, published 2026-09-25, {_SHEET}",
    "vpc-london": f"{_OFFERS}/AmazonVPC/current/eu-west-2/index.json, published 2026-09-17, {_SHEET}",
    "secrets-london": f"{_OFFERS}/AWSSecretsManager/current/eu-west-2/index.json, published 2026-09-11, {_SHEET}",
    "cloudwatch-london": f"{_OFFERS}/AmazonCloudWatch/current/eu-west-2/index.json, published 2026-09-22, {_SHEET}",
    "s3-london": f"{_OFFERS}/AmazonS3/current/eu-west-2/index.json, published 2026-09-28, {_SHEET}",
    "transfer-london": f"{_OFFERS}/AWSDataTransfer/current/eu-west-2/index.json, published 2026-09-16, {_SHEET}",
    "kms-london": f"{_OFFERS}/awskms/current/eu-west-2/index.json, published 2026-09-11, {_SHEET}",
    "kms-page": "https://aws.amazon.com/kms/pricing/, each key that you create, of every region",
    "rds-offer-london": f"{_OFFERS}/AmazonRDS/20260904172716/eu-west-2/index.json, {_SNAPSHOT}",
    "rds-offer-virginia": f"{_OFFERS}/AmazonRDS/20260904172716/us-east-1/index.json, {_SNAPSHOT}",
    "rds-offer-frankfurt": f"{_OFFERS}/AmazonRDS/20260904172716/eu-central-1/index.json, {_SNAPSHOT}",
    "ec2-offer-virginia": f"{_OFFERS}/AmazonEC2/20260904231117/us-east-1/index.json, {_SNAPSHOT}",
    "ec2-offer-frankfurt": f"{_OFFERS}/AmazonEC2/20260904231117/eu-central-1/index.json, {_SNAPSHOT}",
    "rds-sku-virginia": "AWS Price List, SKU TGN7QDJF2AGFU9XA (InstanceUsage:db.t3.micro), "
    "as checked in a public price table",
    "rds-sku-frankfurt": "AWS Price List, SKU VJNEKAFRR6K9PXWQ (EUC1-InstanceUsage:db.t3.micro), "
    "as checked in a public price table",
    "rds-guide-virginia": "https://infratally.com/articles/aws-rds-pricing-explained-2026.html, of 2026",
    "rds-storage-virginia": "https://www.usage.ai/blogs/aws/reserved-instances/rds/pricing-calculator/, of June 2026",
    "rds-copy-virginia": "https://aws.amazon.com/rds/postgresql/pricing/, as copied in public code of January 2025",
    "fargate-virginia": "https://www.vantage.sh/blog/fargate-pricing",
    "rules-virginia": "https://github.com/srdjanrist/get-infra-done references/cost-rules.md (us-east-1), undated",
    "fargate-frankfurt": "AWS Price List, EUC1-Fargate-vCPU-Hours:perCPU and EUC1-Fargate-GB-Hours, effective "
    "2026-07-07, as in a public rate card",
    "infracost-frankfurt": _INFRACOST,
    "vpc-frankfurt": f"{_OFFERS}/AmazonVPC/current/eu-central-1/index.json, EUC1-VpcEndpoint-*, "
    "as read on 2026-09-22 in a public cost report",
    "ipv4": "https://www.techpartner.news/news/aws-to-charge-for-ipv4-addresses-598672, all regions since 2024-02-01",
    "waf": "https://c3x.dev/blog/aws-waf-cost-explained/, of 2026; the same in all regions according to "
    "https://aws.amazon.com/blogs/networking-and-content-delivery/"
    "cost-effective-ways-for-securing-your-web-applications-using-aws-waf/",
    "route53": f"{_OFFERS}/AmazonRoute53/current/index.json (global), published 2026-09-11, {_SHEET}",
    "dashboard": "commonly published figure (https://aws.amazon.com/cloudwatch/pricing/), not in regional price lists",
}

# Units: hour and month are of one thing; gib is a GB in AWS's price list, which means 2^30 bytes.
EVERYWHERE: dict[str, tuple[float, str]] = {
    "public-ipv4-hour": (0.005, "ipv4"),
    "waf-acl-month": (5.00, "waf"),
    "waf-rule-month": (1.00, "waf"),
    "waf-million-requests": (0.60, "waf"),
    "hosted-zone-month": (0.50, "route53"),
    "dashboard-month": (3.00, "dashboard"),
}

PRICES: dict[str, dict[str, tuple[float, str]]] = {
    "eu-west-2": {
        "fargate-x86_64-vcpu-hour": (0.04656, "ecs-london"),
        "fargate-x86_64-gib-hour": (0.00511, "ecs-london"),
        "fargate-arm64-vcpu-hour": (0.03725, "ecs-london"),
        "fargate-arm64-gib-hour": (0.00409, "ecs-london"),
        "fargate-storage-gib-hour": (0.000129, "ecs-london"),
        "alb-hour": (0.02646, "elb-london"),
        "alb-lcu-hour": (0.0084, "elb-london"),
        "nat-hour": (0.05, "ec2-london"),
        "nat-gib": (0.05, "ec2-london"),
        "endpoint-hour": (0.011, "vpc-london"),
        "endpoint-gib": (0.01, "vpc-london"),
        "rds-db.t3.micro-hour": (0.021, "rds-london"),
        "rds-db.t4g.micro-hour": (0.018, "rds-london"),
        "rds-db.t4g.micro-multi-az-hour": (0.036, "rds-offer-london"),
        "rds-db.t4g.small-hour": (0.036, "rds-london"),
        "rds-db.t4g.medium-hour": (0.072, "rds-offer-london"),
        "rds-db.t4g.medium-multi-az-hour": (0.145, "rds-offer-london"),
        "rds-db.r6g.large-hour": (0.264, "rds-offer-london"),
        "rds-db.r6g.large-multi-az-hour": (0.529, "rds-offer-london"),
        "rds-gp3-gib-month": (0.133, "rds-london"),
        "rds-backup-gib-month": (0.10, "rds-london"),
        "secret-month": (0.40, "secrets-london"),
        "secret-10k-calls": (0.05, "secrets-london"),
        "logs-gib": (0.5985, "cloudwatch-london"),
        "logs-gib-month": (0.0315, "cloudwatch-london"),
        "alarm-month": (0.10, "cloudwatch-london"),
        "metric-month": (0.30, "cloudwatch-london"),
        "s3-gib-month": (0.024, "s3-london"),
        "s3-1k-writes": (0.0053, "s3-london"),
        "s3-1k-reads": (0.00042, "s3-london"),
        "transfer-out-gib": (0.09, "transfer-london"),
        "kms-key-month": (1.00, "kms-london"),
    },
    "us-east-1": {
        "fargate-x86_64-vcpu-hour": (0.04048, "fargate-virginia"),
        "fargate-x86_64-gib-hour": (0.004445, "fargate-virginia"),
        "fargate-arm64-vcpu-hour": (0.03238, "fargate-virginia"),
        "fargate-arm64-gib-hour": (0.00356, "fargate-virginia"),
        "fargate-storage-gib-hour": (0.000111, "fargate-virginia"),
        "alb-hour": (0.0225, "rules-virginia"),
        "alb-lcu-hour": (0.008, "rules-virginia"),
        "nat-hour": (0.045, "ec2-offer-virginia"),
        "nat-gib": (0.045, "rules-virginia"),
        "endpoint-hour": (0.01, "rules-virginia"),
        "endpoint-gib": (0.01, "rules-virginia"),
        "rds-db.t3.micro-hour": (0.018, "rds-sku-virginia"),
        "rds-db.t3.small-hour": (0.036, "rds-copy-virginia"),
        "rds-db.t4g.micro-hour": (0.016, "rds-offer-virginia"),
        "rds-db.t4g.micro-multi-az-hour": (0.032, "rds-offer-virginia"),
        "rds-db.t4g.small-hour": (0.032, "rds-guide-virginia"),
        "rds-db.t4g.small-multi-az-hour": (0.064, "rds-guide-virginia"),
        "rds-db.t4g.medium-hour": (0.065, "rds-offer-virginia"),
        "rds-db.t4g.medium-multi-az-hour": (0.129, "rds-offer-virginia"),
        "rds-db.t4g.large-hour": (0.129, "rds-copy-virginia"),
        "rds-db.r6g.large-hour": (0.225, "rds-offer-virginia"),
        "rds-db.r6g.large-multi-az-hour": (0.45, "rds-offer-virginia"),
        "rds-gp3-gib-month": (0.115, "rds-storage-virginia"),
        "rds-backup-gib-month": (0.095, "rds-storage-virginia"),
        "secret-month": (0.40, "rules-virginia"),
        "kms-key-month": (1.00, "kms-page"),
        "secret-10k-calls": (0.05, "rules-virginia"),
        "logs-gib": (0.50, "rules-virginia"),
        "logs-gib-month": (0.03, "rules-virginia"),
        "alarm-month": (0.10, "rules-virginia"),
        "metric-month": (0.30, "rules-virginia"),
        "s3-gib-month": (0.023, "rules-virginia"),
        "s3-1k-writes": (0.005, "rules-virginia"),
        "s3-1k-reads": (0.0004, "rules-virginia"),
        "transfer-out-gib": (0.09, "rules-virginia"),
    },
    "eu-central-1": {
        "fargate-x86_64-vcpu-hour": (0.04656, "fargate-frankfurt"),
        "fargate-x86_64-gib-hour": (0.00511, "fargate-frankfurt"),
        "alb-hour": (0.027, "infracost-frankfurt"),
        "alb-lcu-hour": (0.008, "infracost-frankfurt"),
        "nat-hour": (0.052, "ec2-offer-frankfurt"),
        "nat-gib": (0.052, "infracost-frankfurt"),
        "endpoint-hour": (0.012, "vpc-frankfurt"),
        "endpoint-gib": (0.01, "vpc-frankfurt"),
        "rds-db.t3.micro-hour": (0.021, "rds-sku-frankfurt"),
        "rds-db.t4g.micro-hour": (0.019, "rds-offer-frankfurt"),
        "rds-db.t4g.micro-multi-az-hour": (0.037, "rds-offer-frankfurt"),
        "rds-db.t4g.medium-hour": (0.074, "rds-offer-frankfurt"),
        "rds-db.t4g.medium-multi-az-hour": (0.149, "rds-offer-frankfurt"),
        "rds-db.r6g.large-hour": (0.274, "rds-offer-frankfurt"),
        "rds-db.r6g.large-multi-az-hour": (0.549, "rds-offer-frankfurt"),
        "logs-gib": (0.63, "infracost-frankfurt"),
        "logs-gib-month": (0.0324, "infracost-frankfurt"),
        "s3-gib-month": (0.0245, "infracost-frankfurt"),
        "s3-1k-writes": (0.0054, "infracost-frankfurt"),
        "s3-1k-reads": (0.00043, "infracost-frankfurt"),
        "kms-key-month": (1.00, "infracost-frankfurt"),
    },
}
