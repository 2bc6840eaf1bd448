# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's WAF, whose web ACLs protect load balancers that exist.

moto 5.2.5 associates anything with any number of web ACLs, cannot list what one protects, deletes what is in use, keeps what
an update with no rules should remove, and lets the Resource Groups Tagging API find nothing.
The API: https://docs.aws.amazon.com/waf/latest/APIReference/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.elbv2.models import elbv2_backends
from moto.wafv2.exceptions import WAFNonexistentItemException, WAFv2ClientError
from moto.wafv2.models import WAFV2Backend as BACKEND
from moto.wafv2.models import wafv2_backends
from moto.wafv2.responses import WAFV2Response

from .. import web_acls
from ..load_balancer_rules import Unsupported
from ..runtime import Runtime
from . import replace

# "The name of the log group must start with aws-waf-logs-":
# https://docs.aws.amazon.com/waf/latest/developerguide/logging-cw-logs.html
LOG_GROUP = re.compile(r"arn:[\w-]+:logs:[\w-]+:\d{12}:log-group:aws-waf-logs-[\w./#-]+")


class TaggableWaf(BACKEND, TaggableResourcesMixin):
    SERVICE_NAMESPACE = "wafv2"
    # moto finds a service's addresses by where its backend is defined.
    __module__ = BACKEND.__module__

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for arn in self.wacls:
            yield TaggedResource(arn, self.tagging_service.get_tag_dict_for_resource(arn), "wafv2:regional/webacl")


def apply(_runtime: Runtime) -> None:
    _patch_web_acls()
    _patch_associations()
    _patch_logging()
    replace(wafv2_backends, "backend", TaggableWaf)


def _invalid(message: str) -> WAFv2ClientError:
    return WAFv2ClientError("WAFInvalidParameterException", message)


def _check(rules: list[dict[str, Any]], default_action: dict[str, Any]) -> None:
    names = [rule["Name"] for rule in rules]
    priorities = [rule["Priority"] for rule in rules]
    if len({*names}) < len(names) or len({*priorities}) < len(priorities):
        raise _invalid("Error reason: rule names and priorities must be unique in a web ACL, field: RULE")
    for rule in rules:
        limit = rule["Statement"].get("RateBasedStatement", {}).get("Limit")
        if limit is not None and not 10 <= limit <= 2_000_000_000:
            raise _invalid(f"Error reason: the limit must be 10 to 2000000000, field: RATE_BASED, parameter: {limit}")
    try:
        web_acls.check(rules, default_action)
    except Unsupported as error:
        raise WAFv2ClientError("WAFInvalidOperationException", str(error)) from None


def _used(backend: Any, web_acl: Any) -> list[str]:
    """ARNs of the load balancers that it protects; a deleted one is protected no more."""
    balancers = elbv2_backends[backend.account_id][backend.region_name].load_balancers
    return [arn for arn in web_acl.associated_resources if arn in balancers]


def _patch_web_acls() -> None:
    def create_web_acl(
        self: Any,
        name: str,
        visibility_config: dict[str, Any],
        default_action: dict[str, Any],
        scope: str,
        *more: Any,
    ) -> Any:
        # https://docs.aws.amazon.com/waf/latest/APIReference/API_CreateWebACL.html
        if scope != "REGIONAL":
            raise _invalid(f"scope {scope} is not supported by the local AWS: use REGIONAL")
        _check(more[2], default_action)
        return plain_create(self, name, visibility_config, default_action, scope, *more)

    def update_web_acl(
        self: Any, name: str, _id: str, default_action: dict[str, Any], rules: list[dict[str, Any]], *more: Any
    ) -> str:
        # https://docs.aws.amazon.com/waf/latest/APIReference/API_UpdateWebACL.html
        _check(rules or [], default_action)
        token = plain_update(self, name, _id, default_action, rules, *more)
        if not rules:
            self.get_web_acl(None, name, _id).rules = []
        return token

    def delete_web_acl(self: Any, name: str, scope: str, _id: str, lock_token: str) -> None:
        # https://docs.aws.amazon.com/waf/latest/APIReference/API_DeleteWebACL.html
        web_acl = self.get_web_acl(None, name, _id)
        if _used(self, web_acl):
            raise WAFv2ClientError(
                "WAFAssociatedItemException",
                "AWS WAF couldn't perform the operation because your resource is being used by another resource or "
                "it's associated with another resource.",
            )
        plain_delete(self, name, scope, _id, lock_token)
        self.logging_configurations.pop(web_acl.arn, None)

    plain_create = replace(BACKEND, "create_web_acl", create_web_acl)
    plain_update = replace(BACKEND, "update_web_acl", update_web_acl)
    plain_delete = replace(BACKEND, "delete_web_acl", delete_web_acl, ("self", "name", "scope", "_id", "lock_token"))


def _patch_associations() -> None:
    def associate_web_acl(self: Any, web_acl_arn: str, resource_arn: str) -> None:
        # https://docs.aws.amazon.com/waf/latest/APIReference/API_AssociateWebACL.html
        web_acl = self.get_web_acl(web_acl_arn, None, None)
        if resource_arn not in elbv2_backends[self.account_id][self.region_name].load_balancers:
            raise WAFNonexistentItemException
        for other in self.wacls.values():
            if resource_arn in other.associated_resources:
                other.associated_resources.remove(resource_arn)
        web_acl.associated_resources.append(resource_arn)

    def get_web_acl_for_resource(self: Any, resource_arn: str) -> Any:
        return next((one for one in self.wacls.values() if resource_arn in _used(self, one)), None)

    def list_resources_for_web_acl(self: Any) -> tuple[int, dict[str, str], str]:
        # https://docs.aws.amazon.com/waf/latest/APIReference/API_ListResourcesForWebACL.html
        web_acl = self.wafv2_backend.get_web_acl(self._get_param("WebACLArn"), None, None)
        kind = self._get_param("ResourceType") or "APPLICATION_LOAD_BALANCER"
        arns = _used(self.wafv2_backend, web_acl) if kind == "APPLICATION_LOAD_BALANCER" else []
        return 200, {}, json.dumps({"ResourceArns": arns})

    if hasattr(WAFV2Response, "list_resources_for_web_acl"):
        raise TypeError("moto has WAFV2Response.list_resources_for_web_acl now: the patch for it must be looked at")
    WAFV2Response.list_resources_for_web_acl = list_resources_for_web_acl
    replace(BACKEND, "associate_web_acl", associate_web_acl, ("self", "web_acl_arn", "resource_arn"))
    replace(BACKEND, "get_web_acl_for_resource", get_web_acl_for_resource, ("self", "resource_arn"))


def _patch_logging() -> None:
    def put_logging_configuration(self: Any, arn: str, log_destination_configs: list[str], *more: Any) -> Any:
        # https://docs.aws.amazon.com/waf/latest/APIReference/API_PutLoggingConfiguration.html
        self.get_web_acl(arn, None, None)
        for destination in log_destination_configs:
            if not LOG_GROUP.fullmatch(destination):
                raise _invalid(
                    "Error reason: The ARN isn't valid. A valid ARN begins with arn: and includes other information "
                    f"separated by colons or slashes., field: LOG_DESTINATION, parameter: {destination}"
                )
        return plain(self, arn, log_destination_configs, *more)

    plain = replace(BACKEND, "put_logging_configuration", put_logging_configuration)
