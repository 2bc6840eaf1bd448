# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Cognito user pool with one app client and one domain: what there is, and what is to be done."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code, is_boto3_error_message
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import aws_changes, cognito_rules

POLL_SECONDS = 2
MOST_ON_A_PAGE = 60
TAKEN = "Domain already associated with another user pool"


def connect(module: t.Any) -> t.Any:
    passing = ["TooManyRequestsException", "ConcurrentModificationException", "InternalErrorException"]
    retry = AWSRetry.jittered_backoff(retries=8, catch_extra_error_codes=passing)
    return module.client("cognito-idp", retry_decorator=retry)


def described_client(cognito: t.Any, pool_id: str, client_id: str) -> dict[str, t.Any]:
    """An app client; instead of its secret, which goes no further, `has_secret`."""
    found = dict(cognito.describe_user_pool_client(UserPoolId=pool_id, ClientId=client_id, aws_retry=True)["UserPoolClient"])
    secret = found.pop("ClientSecret", "")
    return {**found, "has_secret": bool(secret)}


class UserPool:
    """The pool of a name that carries the owner's tags, as AWS has it. Names of pools and clients are not unique."""

    def __init__(self, cognito: t.Any, name: str, owner_tags: dict[str, str]) -> None:
        self._cognito = cognito
        self.name = name
        self._owner_tags = owner_tags
        self.pool: dict[str, t.Any] | None = None
        self.client: dict[str, t.Any] | None = None
        self.mfa = "off"

    def find(self) -> None:
        """ValueError if there is one that is not ours, or more than one."""
        pages = self._cognito.get_paginator("list_user_pools").paginate(PaginationConfig={"PageSize": MOST_ON_A_PAGE})
        named = [self._described(one["Id"]) for page in pages for one in page["UserPools"] if one["Name"] == self.name]
        ours = [one for one in named if aws_changes.carries(one.get("UserPoolTags") or {}, self._owner_tags)]
        if named and not ours:
            what = f"User pool {named[0]['Arn']}"
            raise ValueError(aws_changes.not_ours(what, self._owner_tags, "choose another name, or remove it by hand"))
        if len(ours) > 1:
            raise ValueError(f"User pools {', '.join(one['Arn'] for one in ours)}: one is enough; remove the others by hand")
        self.pool = ours[0] if ours else None
        self.client = self._found_client() if self.pool else None
        if self.pool and self.pool.get("MfaConfiguration", "OFF") != "OFF":
            self.mfa = cognito_rules.mfa_told(self._call("get_user_pool_mfa_config"))

    def _described(self, pool_id: str) -> dict[str, t.Any]:
        return self._cognito.describe_user_pool(UserPoolId=pool_id, aws_retry=True)["UserPool"]

    def _found_client(self) -> dict[str, t.Any] | None:
        pages = self._cognito.get_paginator("list_user_pool_clients").paginate(
            UserPoolId=self.pool_id, PaginationConfig={"PageSize": MOST_ON_A_PAGE}
        )
        named = (one["ClientId"] for page in pages for one in page["UserPoolClients"] if one["ClientName"] == self.name)
        found = (described_client(self._cognito, self.pool_id, one) for one in named)
        # Load balancers take none without a secret, and none can be given one later.
        return next((one for one in found if one["has_secret"]), None)

    @property
    def pool_id(self) -> str:
        return t.cast(dict, self.pool)["Id"]

    @property
    def domain(self) -> str | None:
        return (self.pool or {}).get("Domain")

    def summary(self) -> dict[str, t.Any]:
        return cognito_rules.summary(self.pool, self.client, self.domain)

    def check_domain(self, prefix: str) -> None:
        """ValueError if the domain is known to be another pool's. Those of other accounts are seen when it is made."""
        if prefix == self.domain:
            return
        try:
            told = self._cognito.describe_user_pool_domain(Domain=prefix, aws_retry=True)["DomainDescription"]
        except is_boto3_error_code("ResourceNotFoundException"):
            return
        if told.get("UserPoolId"):
            raise ValueError(_taken(prefix))

    # --- present ---------------------------------------------------------------------------------------------------

    def plan_present(self, params: dict[str, t.Any]) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        settings, client = cognito_rules.pool_settings(params), cognito_rules.client_settings(params)
        if self.pool is None:
            told = cognito_rules.flat({**settings, **cognito_rules.POOL_IDENTITY})
            changes.want("user pool", None, told, lambda: self._create(settings, params["tags"]))
        else:
            before, after = cognito_rules.differing(self.pool, settings)
            changes.want("user pool", before, after, lambda: self._update(settings, params["mfa"]))
        changes.want("mfa", self.mfa, params["mfa"], lambda: self._set_mfa(params["mfa"]))
        if self.client is None:
            changes.want("app client", None, cognito_rules.flat(client), lambda: self._create_client(client))
        else:
            before, after = cognito_rules.differing(self.client, client)
            changes.want("app client", before, after, lambda: self._update_client(client))
        prefix, timeout = params["domain_prefix"], params["wait_timeout"]
        changes.want("domain", self.domain, prefix, lambda: self._change_domain(prefix, timeout))
        if self.pool is not None:
            changes.want_tags("tags", self.pool.get("UserPoolTags") or {}, params["tags"], self._tag, self._untag)
        return changes

    def _create(self, settings: dict[str, t.Any], tags: dict[str, str]) -> None:
        self.pool = self._cognito.create_user_pool(
            PoolName=self.name, UserPoolTags=tags, aws_retry=True, **settings, **cognito_rules.POOL_IDENTITY
        )["UserPool"]

    def _update(self, settings: dict[str, t.Any], mfa: str) -> None:
        pool = t.cast(dict, self.pool)
        self._call("update_user_pool", **cognito_rules.update(pool, settings, self._taken_by("UpdateUserPool")))
        if mfa != "off":
            # The update has switched it off, and takes it only where text messages are set up.
            self._set_mfa(mfa)

    def _set_mfa(self, mode: str) -> None:
        self._call("set_user_pool_mfa_config", **cognito_rules.mfa_settings(mode))

    def _create_client(self, settings: dict[str, t.Any]) -> None:
        self._call("create_user_pool_client", GenerateSecret=True, **settings)

    def _update_client(self, settings: dict[str, t.Any]) -> None:
        client = t.cast(dict, self.client)
        self._call("update_user_pool_client", **cognito_rules.update(client, settings, self._taken_by("UpdateUserPoolClient")))

    def _change_domain(self, prefix: str, timeout: float) -> None:
        """A pool has one prefix at a time, so the old one goes first."""
        if self.domain:
            self._call("delete_user_pool_domain", Domain=self.domain)
        try:
            # Version 2 would want a branding style besides: the classic pages work by themselves.
            self._call("create_user_pool_domain", Domain=prefix, ManagedLoginVersion=1)
        except is_boto3_error_message(TAKEN):
            raise ValueError(_taken(prefix)) from None
        deadline = time.monotonic() + timeout
        while (status := self._domain_status(prefix)) != "ACTIVE":
            if status == "FAILED" or time.monotonic() > deadline:
                raise ValueError(f"Domain {prefix} of user pool {self.name}: it is {status} and not ACTIVE; run again")
            time.sleep(POLL_SECONDS)

    def _domain_status(self, prefix: str) -> str:
        told = self._cognito.describe_user_pool_domain(Domain=prefix, aws_retry=True)["DomainDescription"]
        return told.get("Status", "CREATING")

    def _tag(self, tags: dict[str, str]) -> None:
        self._cognito.tag_resource(ResourceArn=t.cast(dict, self.pool)["Arn"], Tags=tags, aws_retry=True)

    def _untag(self, keys: list[str]) -> None:
        self._cognito.untag_resource(ResourceArn=t.cast(dict, self.pool)["Arn"], TagKeys=keys, aws_retry=True)

    def _taken_by(self, operation: str) -> t.Collection[str]:
        """Names of the parameters that an operation takes."""
        return self._cognito.meta.service_model.operation_model(operation).input_shape.members

    def _call(self, operation: str, **arguments: t.Any) -> dict[str, t.Any]:
        """An operation on the pool, which exists by now."""
        return getattr(self._cognito, operation)(aws_retry=True, **{**arguments, "UserPoolId": self.pool_id})

    # --- absent ----------------------------------------------------------------------------------------------------

    def plan_absent(self, delete_protected: bool) -> aws_changes.Changes:
        changes = aws_changes.Changes()
        if self.pool is None:
            return changes
        if self.pool.get("DeletionProtection") == "ACTIVE":
            if not delete_protected:
                raise ValueError(
                    f"User pool {self.name}: its deletion protection is on, and its users would be gone for good;"
                    " say cognito_delete_protected=true to lift it and delete"
                )
            lifted = {"DeletionProtection": "INACTIVE"}
            changes.want("deletion_protection", True, False, lambda: self._update(lifted, self.mfa))
        for domain in [self.pool[key] for key in ("Domain", "CustomDomain") if self.pool.get(key)]:
            changes.want(
                f"domain {domain}", "present", "absent",
                lambda domain=domain: self._call("delete_user_pool_domain", Domain=domain),
            )  # fmt: skip
        changes.want("user pool", self.pool["Arn"], None, lambda: self._call("delete_user_pool"))
        return changes


def _taken(prefix: str) -> str:
    return (
        f"cognito_domain_prefix = '{prefix}': another user pool of this region has it, perhaps in another account;"
        " choose another"
    )
