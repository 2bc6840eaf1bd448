# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's Secrets Manager, in which a secret marked for deletion is out of use until it is restored.

moto lets it be written and tagged, and wraps its errors in a client's words.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html

And in which moving AWSCURRENT changes what GetSecretValue answers; moto goes on answering the earlier version.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html

And which rotates secrets in the background and by the clock; moto calls the function while it is asked, and once.
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html

And whose secrets cannot be read while their KMS key cannot be used; moto only remembers which key it is.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from moto.secretsmanager.exceptions import InvalidRequestException, SecretNotFoundException, SecretsManagerClientError
from moto.secretsmanager.models import SecretsManagerBackend

from .. import kms_keys, secret_rotations
from ..runtime import Runtime
from . import replace

MARKED = "You can't perform this operation on the secret because it was marked for deletion."
SCHEDULED = "You can't create this secret because a secret with this name is already scheduled for deletion."
# Operation to the parameter that names the secret.
GUARDED = {
    "get_secret_value": "secret_id",
    "put_secret_value": "secret_id",
    "update_secret": "secret_id",
    "rotate_secret": "secret_id",
    "update_secret_version_stage": "secret_id",
    "put_resource_policy": "secret_id",
    "tag_resource": "arn",
    "untag_resource": "arn",
}


def apply(runtime: Runtime) -> None:
    _current_moves()
    _rotate(runtime)
    _keys_are_used()
    for name, parameter in GUARDED.items():
        _guard(name, parameter, lambda *_arguments: MARKED)
    _guard("create_secret", "name", lambda *_arguments: SCHEDULED)
    _guard(
        "delete_secret", "secret_id", lambda arguments: None if arguments["force_delete_without_recovery"] else MARKED
    )


def _current_moves() -> None:
    plain = SecretsManagerBackend.update_secret_version_stage
    signature = inspect.signature(plain)

    @functools.wraps(plain)
    def moved(self: Any, *arguments: Any, **more: Any) -> Any:
        given = signature.bind(self, *arguments, **more).arguments
        answer = plain(self, *arguments, **more)
        if given["version_stage"] == "AWSCURRENT" and given.get("move_to_version_id"):
            self.secrets[given["secret_id"]].set_default_version_id(given["move_to_version_id"])
        return answer

    replace(SecretsManagerBackend, "update_secret_version_stage", moved)


def _rotate(runtime: Runtime) -> None:
    def invoke(function: Any, event: Any) -> Any:
        # The patch of Lambda, which brings it, comes when it likes.
        return runtime.invoke_function(function, event)

    rotations = secret_rotations.SecretRotations(invoke)
    plain_cancel = SecretsManagerBackend.cancel_rotate_secret

    def rotate_secret(
        self: Any, secret_id: str, client_request_token: str | None = None, rotation_lambda_arn: str | None = None,
        rotation_rules: dict[str, Any] | None = None, rotate_immediately: bool = True,
    ) -> str:  # fmt: skip
        secret = self.secrets.get(secret_id)
        if secret is None:
            raise SecretNotFoundException()
        if client_request_token:
            self._client_request_token_validator(client_request_token)
        try:
            version = rotations.rotate(
                self, secret, client_request_token, rotation_lambda_arn, rotation_rules, rotate_immediately
            )
        except secret_rotations.Refused as error:
            raise SecretsManagerClientError(error.code, str(error)) from None
        return secret.to_short_dict(version_id=version)

    def cancel_rotate_secret(self: Any, secret_id: str) -> str:
        answer = plain_cancel(self, secret_id)
        rotations.cancel(self.secrets[secret_id])
        return answer

    parameters = ("self", "secret_id", "client_request_token", "rotation_lambda_arn", "rotation_rules", "rotate_immediately")
    replace(SecretsManagerBackend, "rotate_secret", rotate_secret, parameters)
    replace(SecretsManagerBackend, "cancel_rotate_secret", cancel_rotate_secret, ("self", "secret_id"))
    runtime.reconcilers.append(rotations)


def _keys_are_used() -> None:
    def using(name: str, failure: str, verb: str) -> None:
        plain = getattr(SecretsManagerBackend, name)
        signature = inspect.signature(plain)

        @functools.wraps(plain)
        def used(self: Any, *arguments: Any, **more: Any) -> Any:
            given = signature.bind(self, *arguments, **more).arguments
            # An empty one is the key of AWS again (UpdateSecret, KmsKeyId).
            if given.get("kms_key_id") == "":
                given["kms_key_id"] = self.DEFAULT_KMS_KEY_ALIAS
            secret = self.secrets.get(given.get("secret_id") or given.get("name"))
            key = given.get("kms_key_id") or (secret.kms_key_id if secret is not None else None)
            if kms_keys.is_own(key) and (reason := kms_keys.unusable(self.account_id, self.region_name, key)):
                text = f"Secrets Manager can't {verb} the protected secret text using the provided KMS key: {reason}"
                raise SecretsManagerClientError(failure, text)
            return plain(**given)

        replace(SecretsManagerBackend, name, used)

    using("get_secret_value", "DecryptionFailure", "decrypt")
    for name in ("create_secret", "put_secret_value", "update_secret"):
        using(name, "EncryptionFailure", "encrypt")


def _guard(name: str, parameter: str, refusal: Callable[[dict[str, Any]], str | None]) -> None:
    """Have an operation on a secret marked for deletion answer InvalidRequestException with what `refusal` says."""
    plain = getattr(SecretsManagerBackend, name)
    signature = inspect.signature(plain)
    if parameter not in signature.parameters:
        raise TypeError(f"SecretsManagerBackend.{name} takes no {parameter} now: the patch must be looked at")

    def guarded(self: Any, *arguments: Any, **more: Any) -> Any:
        given = signature.bind(self, *arguments, **more).arguments
        # `get` of moto's store takes names and ARNs, and answers None for an unknown one.
        secret = self.secrets.get(given[parameter])
        message = refusal(given) if secret is not None and secret.is_deleted() else None
        if message:
            raise InvalidRequestException(message)
        return plain(self, *arguments, **more)

    replace(SecretsManagerBackend, name, guarded)
