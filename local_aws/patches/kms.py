# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's KMS, whose keys rotate after a period, and which minds the state of a key.

moto knows no period, encrypts with keys that are disabled or pending deletion, takes any text for a policy, says nothing of
the usage of a key that is made without one, and knows keys by their ARNs in some operations only.
https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html
https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.kms.exceptions import ValidationException
from moto.kms.models import KmsBackend
from moto.kms.responses import KmsResponse

from ..kms_keys import STATES
from ..runtime import Runtime
from . import replace

DEFAULT_DAYS = 365
ROTATION_DAYS = (90, 2560)
WINDOW_DAYS = (7, 30)
PENDING = "PendingDeletion"
# What cannot be done in a state, by the table of key states.
NOT_DISABLED = {"enable_key_rotation", "disable_key_rotation", "create_grant", "rotate_key_on_demand"}
NOT_PENDING = NOT_DISABLED | {
    "enable_key",
    "disable_key",
    "get_key_rotation_status",
    "tag_resource",
    "untag_resource",
    "update_key_description",
    "create_alias",
    "update_alias",
    "schedule_key_deletion",
}


def _refuse(key: Any) -> None:
    code = "DisabledException" if key.key_state == "Disabled" else "KMSInvalidStateException"
    raise JsonRESTError(code, f"{key.arn} {STATES[key.key_state]}.")


def apply(_runtime: Runtime) -> None:
    _patch_usage()
    _patch_arns()
    _patch_states()
    _patch_rotation()
    _patch_policies()


def _patch_usage() -> None:
    def create(self: Any, policy: Any, key_usage: str | None, *others: Any, **more: Any) -> Any:
        return plain(self, policy, key_usage or "ENCRYPT_DECRYPT", *others, **more)

    parameters = ("self", "policy", "key_usage", "key_spec", "description", "tags", "multi_region", "origin")
    plain = replace(KmsBackend, "create_key", create, parameters)


def _patch_arns() -> None:
    def by_any_id(plain: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, key_id, *others, **more: plain(self, self.get_key_id(key_id), *others, **more)

    for name, more in (
        ("disable_key", ()), ("enable_key", ()), ("cancel_key_deletion", ()),
        ("schedule_key_deletion", ("pending_window_in_days",)),
    ):  # fmt: skip
        replace(KmsBackend, name, by_any_id(getattr(KmsBackend, name)), ("self", "key_id", *more))


def _patch_states() -> None:
    def guarded(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def guard(self: Any) -> Any:
            given = self._get_param("TargetKeyId" if name.endswith("_alias") else "KeyId")
            key = self.kms_backend.keys.get(self.kms_backend.any_id_to_key_id(given))
            refused = (PENDING,) if name not in NOT_DISABLED else (PENDING, "Disabled")
            if key is not None and key.key_state in refused:
                _refuse(key)
            return plain(self)

        return guard

    for name in sorted(NOT_PENDING):
        replace(KmsResponse, name, guarded(name, getattr(KmsResponse, name)), ("self",))

    def encrypt(self: Any, key_id: str, plaintext: bytes, encryption_context: dict[str, str]) -> Any:
        key = self.keys[self.any_id_to_key_id(key_id)]
        if key.key_state != "Enabled":
            _refuse(key)
        return plain_encrypt(self, key_id, plaintext, encryption_context)

    def decrypt(
        self: Any, ciphertext_blob: bytes, encryption_context: dict[str, str], key_id: str | None = None
    ) -> Any:
        plaintext, arn = plain_decrypt(self, ciphertext_blob, encryption_context, key_id)
        key = self.keys[self.get_key_id(arn)]
        if key.key_state != "Enabled":
            _refuse(key)
        return plaintext, arn

    def cancel(self: Any) -> str:
        key = self.kms_backend.keys.get(self.kms_backend.get_key_id(self._get_param("KeyId")))
        if key is not None and key.key_state != PENDING:
            raise JsonRESTError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
        return plain_cancel(self)

    plain_schedule = KmsResponse.schedule_key_deletion

    def schedule(self: Any) -> str:
        days = self._get_param("PendingWindowInDays", WINDOW_DAYS[1])
        _check(days, WINDOW_DAYS, "pendingWindowInDays")
        answer = json.loads(plain_schedule(self))
        return json.dumps({**answer, "KeyState": PENDING, "PendingWindowInDays": days})

    plain_encrypt = replace(KmsBackend, "encrypt", encrypt, ("self", "key_id", "plaintext", "encryption_context"))
    plain_decrypt = replace(
        KmsBackend, "decrypt", decrypt, ("self", "ciphertext_blob", "encryption_context", "key_id")
    )
    plain_cancel = replace(KmsResponse, "cancel_key_deletion", cancel, ("self",))
    replace(KmsResponse, "schedule_key_deletion", schedule, ("self",))


def _check(value: int, bounds: tuple[int, int], name: str) -> None:
    if not bounds[0] <= value <= bounds[1]:
        raise ValidationException(
            f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have "
            f"value between {bounds[0]} and {bounds[1]}"
        )


def _patch_rotation() -> None:
    def key_of(response: Any) -> Any:
        return response.kms_backend.keys[response.kms_backend.get_key_id(response._get_param("KeyId"))]

    def enable(self: Any) -> str:
        given = self._get_param("RotationPeriodInDays")
        if given is not None:
            _check(given, ROTATION_DAYS, "rotationPeriodInDays")
        answer = plain_enable(self)
        key = key_of(self)
        key.local_rotation = (given or DEFAULT_DAYS, datetime.datetime.now(datetime.timezone.utc))
        return answer

    def status(self: Any) -> str:
        answer = json.loads(plain_status(self))
        key = key_of(self)
        answer["KeyId"] = key.arn
        if answer["KeyRotationEnabled"]:
            days, since = key.local_rotation
            answer["RotationPeriodInDays"] = days
            answer["NextRotationDate"] = (since + datetime.timedelta(days=days)).timestamp()
        return json.dumps(answer)

    plain_enable = replace(KmsResponse, "enable_key_rotation", enable, ("self",))
    plain_status = replace(KmsResponse, "get_key_rotation_status", status, ("self",))


def _patch_policies() -> None:
    def checked(plain: Callable[..., str]) -> Callable[..., str]:
        def check(self: Any) -> str:
            policy = self._get_param("Policy")
            try:
                statements = json.loads(policy)["Statement"] if policy else [{}]
            except (ValueError, KeyError, TypeError):
                statements = None
            if not statements:
                raise JsonRESTError("MalformedPolicyDocumentException", "Policy document is not valid.")
            return plain(self)

        return check

    for name in ("create_key", "put_key_policy"):
        replace(KmsResponse, name, checked(getattr(KmsResponse, name)), ("self",))
