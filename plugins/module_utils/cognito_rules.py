# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about a Cognito user pool at which a load balancer signs users on: pure functions over the API's dictionaries."""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html
CALLBACK_PATH = "/oauth2/idpresponse"
NAME = re.compile(r"[\w\s+=,.@-]{1,128}")
# https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPoolDomain.html
PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html
RESERVED_WORDS = ("aws", "amazon", "cognito")
SCOPES = ("openid", "email", "profile", "phone", "aws.cognito.signin.user.admin")
LONGEST_SESSION_SECONDS = 604800
PASSWORD_LENGTHS = (8, 99)
# Days until a password that an administrator has given must have been changed.
TEMPORARY_PASSWORD_DAYS = 7
# Texts that DescribeUserPool tells once more, in VerificationMessageTemplate.
TOLD_TWICE = ("SmsVerificationMessage", "EmailVerificationMessage", "EmailVerificationSubject")


def check_scope(scope: str, known: t.Sequence[str], found: Findings) -> None:
    words = scope.split()
    if "openid" not in words:
        found.refuse("scope", scope, "it does not hold openid", "write it like 'openid email'")
    unknown = [word for word in words if word not in known]
    if unknown:
        found.refuse("scope", scope, f"{', '.join(unknown)} cannot be asked for", f"use {', '.join(known) or 'nothing'}")


def check_session(seconds: int, found: Findings) -> None:
    if not 1 <= seconds <= LONGEST_SESSION_SECONDS:
        found.refuse(
            "session_timeout", seconds, f"AWS takes 1 to {LONGEST_SESSION_SECONDS} seconds", "give a number between them"
        )


def check_wanted(params: dict[str, t.Any], found: Findings) -> None:
    """Note what AWS would refuse half way."""
    prefix = params["domain_prefix"] or ""
    reserved = [word for word in RESERVED_WORDS if word in prefix]
    if not NAME.fullmatch(params["name"]):
        found.refuse("name", params["name"], "it cannot name a user pool", "use letters, digits and hyphens")
    if not PREFIX.fullmatch(prefix):
        found.refuse(
            "domain_prefix", prefix, "a domain has 1 to 63 lower-case letters, digits and hyphens, none at its ends",
            "write it like team-mlflow",
        )  # fmt: skip
    elif reserved:
        found.refuse("domain_prefix", prefix, f"AWS keeps the word {reserved[0]} for itself", "choose one without it")
    if not PASSWORD_LENGTHS[0] <= params["password_min_length"] <= PASSWORD_LENGTHS[1]:
        low, high = PASSWORD_LENGTHS
        found.refuse("password_min_length", params["password_min_length"], f"it must be {low} to {high}", f"use {low} or more")
    if not params["identity_providers"]:
        found.refuse("identity_providers", [], "nobody could sign on", "name COGNITO, or a provider of the pool")
    check_scope(params["scope"], SCOPES, found)


def callback_url(address: str) -> str:
    """Where the load balancer takes users back; `address` is what browsers call it, host or host:port."""
    return f"https://{address.lower()}{CALLBACK_PATH}"


def pool_settings(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The part of CreateUserPool and UpdateUserPool that is kept as told."""
    return {
        "Policies": {
            "PasswordPolicy": {
                "MinimumLength": params["password_min_length"],
                "RequireUppercase": True,
                "RequireLowercase": True,
                "RequireNumbers": True,
                "RequireSymbols": True,
                "TemporaryPasswordValidityDays": TEMPORARY_PASSWORD_DAYS,
            }
        },
        "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": True},
        "AutoVerifiedAttributes": ["email"],
        "AccountRecoverySetting": {"RecoveryMechanisms": [{"Name": "verified_email", "Priority": 1}]},
        "DeletionProtection": "ACTIVE" if params["deletion_protection"] else "INACTIVE",
    }


# What AWS cannot change later: people sign on with their address, in any case.
POOL_IDENTITY = {"UsernameAttributes": ["email"], "UsernameConfiguration": {"CaseSensitive": False}}


def client_settings(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """CreateUserPoolClient and UpdateUserPoolClient, without the pool."""
    callback = callback_url(params["address"])
    return {
        "ClientName": params["name"],
        "AllowedOAuthFlowsUserPoolClient": True,
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthScopes": sorted({*params["scope"].split()}),
        "CallbackURLs": [callback],
        "LogoutURLs": [callback.removesuffix(CALLBACK_PATH) + "/"],
        "SupportedIdentityProviders": sorted({*params["identity_providers"]}),
        # Passwords are given to Cognito's own pages only, never to an API by this client.
        "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH"],
        # Nobody learns from an error whether somebody has an account.
        "PreventUserExistenceErrors": "ENABLED",
        "EnableTokenRevocation": True,
    }


def flat(structure: t.Any, name: str = "") -> dict[str, t.Any]:
    """An API structure as one level, `Policies.PasswordPolicy.MinimumLength` -> 14; the order of names does not matter."""
    if isinstance(structure, dict):
        return {key: value for word, part in structure.items() for key, value in flat(part, f"{name}.{word}").items()}
    if isinstance(structure, list) and all(isinstance(one, str) for one in structure):
        structure = sorted(structure)
    return {name.removeprefix("."): structure}


def differing(current: dict[str, t.Any], wanted: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """(what it is now, what is wanted), of what differs."""
    now, then = flat(current), flat(wanted)
    after = {key: value for key, value in then.items() if now.get(key) != value}
    return {key: now.get(key) for key in after}, after


def merged(current: dict[str, t.Any], wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    """`wanted` in `current`, level by level."""
    made = dict(current)
    for key, value in wanted.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = merged(made[key], value) if both else value
    return made


def update(current: dict[str, t.Any], wanted: dict[str, t.Any], taken: t.Collection[str]) -> dict[str, t.Any]:
    """An update that changes `wanted` and nothing else: Cognito sets to its default what an update leaves out.

    `taken` are the parameters that the operation takes. MFA is not among what is kept: it has an operation of its own.
    """
    kept = {key: value for key, value in current.items() if key in taken and value is not None}
    kept.pop("MfaConfiguration", None)
    if "VerificationMessageTemplate" in kept:
        for key in TOLD_TWICE:
            kept.pop(key, None)
    made = merged(kept, wanted)
    if "AdminCreateUserConfig" in made:
        # Cognito refuses it beside TemporaryPasswordValidityDays: API_AdminCreateUserConfigType.html
        made["AdminCreateUserConfig"] = {
            key: value for key, value in made["AdminCreateUserConfig"].items() if key != "UnusedAccountValidityDays"
        }
    return made


def mfa_told(config: dict[str, t.Any]) -> str:
    """GetUserPoolMfaConfig in the words of the option `mfa`."""
    mode = config.get("MfaConfiguration", "OFF").lower()
    if mode != "off" and not (config.get("SoftwareTokenMfaConfiguration") or {}).get("Enabled"):
        return f"{mode}, without software tokens"
    return mode


def mfa_settings(mode: str) -> dict[str, t.Any]:
    """SetUserPoolMfaConfig, without the pool."""
    if mode == "off":
        return {"MfaConfiguration": "OFF"}
    return {"MfaConfiguration": mode.upper(), "SoftwareTokenMfaConfiguration": {"Enabled": True}}


def check_given(params: dict[str, t.Any], pool: dict[str, t.Any], client: dict[str, t.Any], found: Findings) -> None:
    """Note what a load balancer could not sign users on with. The client's secret is told by `has_secret` only."""
    remedy = "correct the app client in Cognito"
    client_id = params["client_id"]
    if not client["has_secret"]:
        found.refuse("client_id", client_id, "the app client has no secret", "give one that was made with a secret")
    if not client.get("AllowedOAuthFlowsUserPoolClient") or "code" not in client.get("AllowedOAuthFlows", []):
        found.refuse("client_id", client_id, "the app client may not use the authorization code grant", remedy)
    if params["address"]:
        callback = callback_url(params["address"])
        if callback not in client.get("CallbackURLs", []):
            found.refuse("client_id", client_id, f"{callback} is none of the app client's callback URLs", "add it there")
    check_scope(params["scope"], client.get("AllowedOAuthScopes", []), found)
    domains = [pool[key] for key in ("Domain", "CustomDomain") if pool.get(key)]
    if params["domain"] not in domains:
        found.refuse(
            "domain", params["domain"], "it is not a domain of the user pool", f"use {' or '.join(domains) or 'a pool with one'}"
        )


def summary(pool: dict[str, t.Any] | None, client: dict[str, t.Any] | None, domain: str | None) -> dict[str, t.Any]:
    """What a listener must know; null for what does not exist. Never the client secret."""
    return {
        "user_pool_arn": (pool or {}).get("Arn"),
        "user_pool_client_id": (client or {}).get("ClientId"),
        "user_pool_domain": domain or None,
    }
