# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's Cognito user pools, with domains that are served, tags, and the protection that they are told to have.

moto 5.2.5 serves no domain, gives one to any number of pools, forgets on an update what cannot be changed, keeps what an update
leaves out of an app client, deletes what is protected and has no tags.
The API: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

from moto.cognitoidp import models
from moto.cognitoidp.exceptions import InvalidParameterException, ResourceNotFoundError
from moto.cognitoidp.models import cognitoidp_backends
from moto.cognitoidp.responses import CognitoIdpResponse
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.core.responses import ActionResult, EmptyResult

from ..addresses import AddressesExhausted
from ..runtime import Runtime
from . import replace

BACKEND = models.CognitoIdpBackend
POOL = models.CognitoIdpUserPool
CLIENT = models.CognitoIdpUserPoolClient
DOMAIN = models.CognitoIdpUserPoolDomain
# Decided when a pool is made: API_UpdateUserPool.html has none of them.
FIXED = ("UsernameAttributes", "AliasAttributes", "UsernameConfiguration")
PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html
RESERVED_WORDS = ("aws", "amazon", "cognito")
SMS_MISSING = "SMS configuration and Auto verification for phone_number are required when MFA is required/optional"


class TaggableCognito(BACKEND, TaggableResourcesMixin):
    SERVICE_NAMESPACE = "cognito-idp"
    # moto finds a service's addresses by where its backend is defined.
    __module__ = BACKEND.__module__

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for pool in list(self.user_pools.values()):
            yield TaggedResource(pool.arn, pool.extended_config.get("UserPoolTags") or {}, "cognito-idp:userpool")


def apply(runtime: Runtime) -> None:
    _patch_pools()
    _patch_clients()
    _patch_domains(runtime)
    _patch_tags()
    replace(cognitoidp_backends, "backend", TaggableCognito)
    runtime.closers.append(runtime.hosted_uis.close_all)
    runtime.reporters["user pool domains"] = runtime.hosted_uis.report


def _patch_pools() -> None:
    def create_user_pool(self: Any, name: str, extended_config: dict[str, Any]) -> Any:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPool.html
        _check_mfa(extended_config)
        made = plain_create(self, name, {"DeletionProtection": "INACTIVE", "UserPoolTags": {}, **extended_config})
        made.extended_config.pop("MfaConfiguration", None)
        return made

    def update_user_pool(self: Any, user_pool_id: str, extended_config: dict[str, Any]) -> None:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UpdateUserPool.html
        pool = self.describe_user_pool(user_pool_id)
        _check_mfa(extended_config)
        policy = extended_config.get("Policies", {}).get("PasswordPolicy", {})
        if "UnusedAccountValidityDays" in extended_config.get("AdminCreateUserConfig", {}) and policy:
            raise InvalidParameterException(
                "Please use TemporaryPasswordValidityDays in PasswordPolicy instead of UnusedAccountValidityDays"
            )
        given = {key: value for key, value in extended_config.items() if key not in ("UserPoolId", "PoolName")}
        kept = {key: pool.extended_config[key] for key in (*FIXED, "UserPoolTags") if key in pool.extended_config}
        # "If you don't provide a value for an attribute, Amazon Cognito sets it to its default value": MFA is off then.
        pool.mfa_config = given.pop("MfaConfiguration", "OFF")
        plain_update(self, user_pool_id, {"DeletionProtection": "INACTIVE", **kept, **given})

    def delete_user_pool(self: Any, user_pool_id: str) -> None:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_DeleteUserPool.html
        pool = self.describe_user_pool(user_pool_id)
        if pool.extended_config["DeletionProtection"] == "ACTIVE":
            raise InvalidParameterException(
                "The user pool cannot be deleted because deletion protection is activated. Deletion protection must be "
                "inactivated first."
            )
        if pool.domain:
            raise InvalidParameterException(
                "User pool cannot be deleted. It has a domain configured that should be deleted first."
            )
        plain_delete(self, user_pool_id)

    plain_create = replace(BACKEND, "create_user_pool", create_user_pool, ("self", "name", "extended_config"))
    plain_update = replace(BACKEND, "update_user_pool", update_user_pool, ("self", "user_pool_id", "extended_config"))
    plain_delete = replace(BACKEND, "delete_user_pool", delete_user_pool, ("self", "user_pool_id"))


def _check_mfa(config: dict[str, Any]) -> None:
    """Software tokens are switched on by SetUserPoolMfaConfig only; see AWS's own roadmap, issue 769."""
    if config.get("MfaConfiguration", "OFF") != "OFF" and not config.get("SmsConfiguration"):
        raise InvalidParameterException(SMS_MISSING)


def _patch_clients() -> None:
    def create(self: Any, user_pool_id: str, generate_secret: bool, extended_config: dict[str, Any] | None) -> None:
        plain_create(self, user_pool_id, generate_secret, extended_config)
        # As long as AWS's, and of its characters.
        self.secret = secrets.token_hex(26)

    def update_user_pool_client(
        self: Any, user_pool_id: str, client_id: str, extended_config: dict[str, Any]
    ) -> Any:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UpdateUserPoolClient.html
        found = self.describe_user_pool_client(user_pool_id, client_id)
        name = {"ClientName": found.extended_config.get("ClientName")}
        found.extended_config = CLIENT(user_pool_id, found.generate_secret, name).extended_config
        return plain_update(self, user_pool_id, client_id, extended_config)

    def to_json(self: Any, extended: bool = False) -> dict[str, Any]:
        told = plain_json(self, extended)
        # ListUserPoolClients tells names only: API_UserPoolClientDescription.html
        return told if extended else {key: value for key, value in told.items() if key != "ClientSecret"}

    plain_create = replace(CLIENT, "__init__", create, ("self", "user_pool_id", "generate_secret", "extended_config"))
    plain_json = replace(CLIENT, "to_json", to_json, ("self", "extended"))
    plain_update = replace(
        BACKEND, "update_user_pool_client", update_user_pool_client, ("self", "user_pool_id", "client_id", "extended_config")
    )


def _patch_domains(runtime: Runtime) -> None:
    def create_user_pool_domain(
        self: Any, user_pool_id: str, domain: str, custom_domain_config: dict[str, str] | None = None
    ) -> Any:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPoolDomain.html
        pool = self.describe_user_pool(user_pool_id)
        if custom_domain_config:
            raise InvalidParameterException("custom domains are not supported by the local AWS: use a prefix")
        if not PREFIX.fullmatch(domain):
            raise InvalidParameterException(
                "The domain name contains an invalid character. Domain names can only contain lower-case letters, numbers, "
                f"and hyphens. Please enter a different name that follows this format: ^{PREFIX.pattern}$"
            )
        for word in RESERVED_WORDS:
            if word in domain:
                raise InvalidParameterException(f"Domain cannot contain reserved word: {word}")
        if pool.domain:
            raise InvalidParameterException("User pool already has domain configured.")
        if any(domain in account[self.region_name].user_pool_domains for account in cognitoidp_backends.values()):
            raise InvalidParameterException("Domain already associated with another user pool.")
        made = plain_create(self, user_pool_id, domain)
        made.account_id = self.account_id
        try:
            runtime.hosted_uis.open(self, user_pool_id, domain)
        except (OSError, AddressesExhausted) as error:
            del self.user_pool_domains[domain]
            raise InvalidParameterException(f"the domain cannot be served here: {error}") from None
        return made

    def delete_user_pool_domain(self: Any, domain: str) -> None:
        plain_delete(self, domain)
        runtime.hosted_uis.close(self, domain)

    def update_user_pool_domain(self: Any, domain: str, custom_domain_config: dict[str, str]) -> Any:
        raise InvalidParameterException("custom domains are not supported by the local AWS: use a prefix")

    def to_json(self: Any, extended: bool = True) -> dict[str, Any]:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_DomainDescriptionType.html
        told = plain_json(self, extended)
        if not extended:
            return {}
        return {**told, "AWSAccountId": self.account_id, "ManagedLoginVersion": 1}

    plain_create = replace(
        BACKEND, "create_user_pool_domain", create_user_pool_domain, ("self", "user_pool_id", "domain", "custom_domain_config")
    )
    plain_delete = replace(BACKEND, "delete_user_pool_domain", delete_user_pool_domain, ("self", "domain"))
    replace(BACKEND, "update_user_pool_domain", update_user_pool_domain, ("self", "domain", "custom_domain_config"))
    plain_json = replace(DOMAIN, "to_json", to_json, ("self", "extended"))


def _patch_tags() -> None:
    def tags_of(response: Any) -> dict[str, str]:
        arn = response._get_param("ResourceArn")
        pool = next((one for one in response.backend.user_pools.values() if one.arn == arn), None)
        if pool is None:
            raise ResourceNotFoundError(f"Resource not found for resource ARN: {arn}")
        return pool.extended_config.setdefault("UserPoolTags", {})

    def tag_resource(self: Any) -> ActionResult:
        # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_TagResource.html
        tags_of(self).update(self._get_param("Tags"))
        return EmptyResult()

    def untag_resource(self: Any) -> ActionResult:
        tags = tags_of(self)
        for key in self._get_param("TagKeys"):
            tags.pop(key, None)
        return EmptyResult()

    def list_tags_for_resource(self: Any) -> ActionResult:
        return ActionResult({"Tags": tags_of(self)})

    for name, operation in (
        ("tag_resource", tag_resource),
        ("untag_resource", untag_resource),
        ("list_tags_for_resource", list_tags_for_resource),
    ):
        if hasattr(CognitoIdpResponse, name):
            raise TypeError(f"moto has CognitoIdpResponse.{name} now: the patch for it must be looked at")
        setattr(CognitoIdpResponse, name, operation)
