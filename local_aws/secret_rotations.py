# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets Manager's rotations: it calls a secret's Lambda function, step by step, when asked to and by the clock.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_how.html
A rotation that fails is tried again from its first step; AWS does not say how often.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from . import functions
from .ecs_records import now

log = logging.getLogger(__name__)
SERVICE = "secretsmanager.amazonaws.com"
CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
# How long after each failure it is tried again.
RETRY_SECONDS = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0)


class Refused(Exception):
    """What RotateSecret answers: a code of AWS and one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Failed(Exception):
    """Why a rotation did not get to its end."""


@dataclass
class Attempt:
    """A rotation of a secret to the version `token` that has not ended well yet."""

    token: str
    steps: tuple[str, ...]
    failures: int = 0
    not_before: float = 0.0
    running: bool = False


def labelled(secret: Any, label: str) -> str | None:
    """The ID of the version that carries a label."""
    return next((one for one, version in secret.versions.items() if label in version["version_stages"]), None)


def unfinished(secret: Any) -> str | None:
    """The version that waits, if one does: AWS then starts no other rotation."""
    pending = labelled(secret, PENDING)
    return pending if pending != labelled(secret, CURRENT) else None


def next_date(days: int, since: datetime) -> datetime:
    """AWS rotates on that day, at a moment of its own choice: here at its end."""
    return (since + timedelta(days=days)).replace(hour=23, minute=59, second=59, microsecond=0)


def check_rules(rules: dict[str, Any]) -> int:
    unserved = sorted(set(rules) - {"AutomaticallyAfterDays"})
    if unserved:
        raise Refused("InvalidParameterException", f"RotationRules.{unserved[0]} is not supported by the local AWS.")
    days = rules.get("AutomaticallyAfterDays")
    if not isinstance(days, int) or not 1 <= days <= 1000:
        raise Refused("InvalidParameterException", "RotationRules.AutomaticallyAfterDays must be within 1-1000.")
    return days


class SecretRotations:
    """Looks each second which rotations are due; each runs in a thread of its own."""

    interval = 1.0

    def __init__(self, invoke: Callable[[Any, Any], functions.Answer], clock: Callable[[], datetime] = now) -> None:
        self._invoke, self._clock = invoke, clock
        self._attempts: dict[str, Attempt] = {}
        self._lock = threading.RLock()

    # --- what is asked ---

    def rotate(
        self, backend: Any, secret: Any, token: str | None, function_arn: str | None, rules: dict[str, Any] | None, at_once: bool
    ) -> str:
        """RotateSecret: the version that the secret is going to have."""
        arn = function_arn or secret.rotation_lambda_arn
        if not arn:
            raise Refused("InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.")
        self._function(backend, secret, arn)
        days = check_rules(rules) if rules else secret.auto_rotate_after_days
        if not days:
            raise Refused("InvalidParameterException", "RotationRules.AutomaticallyAfterDays must be within 1-1000.")
        with self._lock:
            waiting = unfinished(secret)
            if waiting:
                self._again(secret, waiting)
                raise Refused("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
            secret.rotation_requested = secret.rotation_enabled = True
            secret.rotation_lambda_arn, secret.auto_rotate_after_days = arn, days
            secret.next_rotation_date = next_date(days, self._clock()).timestamp()
            return self._begin(secret, token or str(uuid.uuid4()), STEPS if at_once else ("testSecret",))

    def cancel(self, secret: Any) -> None:
        """CancelRotateSecret: a step that runs is not ended, and the labels stay as they are."""
        with self._lock:
            self._attempts.pop(secret.arn, None)
            secret.next_rotation_date = None

    def _begin(self, secret: Any, token: str, steps: tuple[str, ...]) -> str:
        version: dict[str, Any] = {"createdate": int(time.time()), "version_id": token, "version_stages": [PENDING]}
        if steps != STEPS:
            # The trial is made with a copy, which goes again.
            current = secret.versions.get(labelled(secret, CURRENT), {})
            version |= {key: current[key] for key in ("secret_string", "secret_binary") if key in current}
        secret.remove_version_stages_from_old_versions([PENDING])
        secret.versions[token] = version
        self._attempts[secret.arn] = Attempt(token, steps)
        return token

    def _again(self, secret: Any, token: str) -> None:
        attempt = self._attempts.get(secret.arn)
        if attempt is not None and attempt.steps != STEPS:
            return  # a trial, which is soon over
        if attempt is None or attempt.token != token:
            self._attempts[secret.arn] = Attempt(token, STEPS)
        elif not attempt.running:
            attempt.failures, attempt.not_before = 0, 0.0

    @staticmethod
    def _function(backend: Any, secret: Any, arn: str) -> Any:
        from moto.awslambda.models import lambda_backends

        try:
            function = lambda_backends[backend.account_id][backend.region_name].get_function(arn)
        except Exception:  # moto's error classes
            raise Refused("ResourceNotFoundException", f"Lambda does not have the function {arn}.") from None
        if not functions.lets(function.policy.statements, SERVICE, backend.account_id, secret.arn):
            raise Refused(
                "AccessDeniedException",
                "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the "
                f"principal {SERVICE}.",
            )
        return function

    # --- what is due ---

    def run_once(self) -> None:
        for backend, secret in _rotating():
            with self._lock:
                self._look_at_the_clock(secret)
                attempt = self._attempts.get(secret.arn)
                if attempt is None or attempt.running or time.monotonic() < attempt.not_before:
                    continue
                attempt.running = True
            name = f"rotation-{secret.name}"
            threading.Thread(target=self._carry_out, args=[backend, secret, attempt], daemon=True, name=name).start()

    def _look_at_the_clock(self, secret: Any) -> None:
        due = secret.next_rotation_date
        if due is None or self._clock().timestamp() < due:
            return
        secret.next_rotation_date = next_date(secret.auto_rotate_after_days, self._clock()).timestamp()
        waiting = unfinished(secret)
        if waiting:
            self._again(secret, waiting)
        elif secret.arn not in self._attempts:
            self._begin(secret, str(uuid.uuid4()), STEPS)

    def _carry_out(self, backend: Any, secret: Any, attempt: Attempt) -> None:
        try:
            for step in attempt.steps:
                if self._attempts.get(secret.arn) is not attempt:
                    raise Failed("it was cancelled")
                self._step(backend, secret, attempt.token, step)
            if attempt.steps == STEPS and unfinished(secret):
                raise Failed(f"version {unfinished(secret)} still carries {PENDING}")
            failure = ""
        except (Failed, Refused, functions.BadFunction) as error:
            failure = str(error)
        except Exception as error:  # one bad rotation must not end the thread unheard
            log.exception("rotation of %s failed", secret.name)
            failure = str(error)
        with self._lock:
            self._end(secret, attempt, failure)

    def _step(self, backend: Any, secret: Any, token: str, step: str) -> None:
        function = self._function(backend, secret, secret.rotation_lambda_arn)
        log.info("rotation of %s: %s", secret.name, step)
        answer = self._invoke(function, {"Step": step, "SecretId": secret.arn, "ClientRequestToken": token})
        if answer.error:
            raise Failed(f"{step}: {json.loads(answer.payload).get('errorMessage')}")

    def _end(self, secret: Any, attempt: Attempt, failure: str) -> None:
        attempt.running = False
        trial = attempt.steps != STEPS
        if trial:
            secret.versions.pop(attempt.token, None)
        if failure:
            log.error("rotation of %s: %s", secret.name, failure)
        if self._attempts.get(secret.arn) is not attempt:
            return  # cancelled meanwhile
        if not failure and not trial:
            secret.last_rotation_date = int(self._clock().timestamp())
            secret.next_rotation_date = next_date(secret.auto_rotate_after_days, self._clock()).timestamp()
        if not failure or trial or attempt.failures >= len(RETRY_SECONDS):
            del self._attempts[secret.arn]
            return
        attempt.not_before = time.monotonic() + RETRY_SECONDS[attempt.failures]
        attempt.failures += 1


def _rotating() -> Iterator[tuple[Any, Any]]:
    from moto.secretsmanager.models import ReplicaSecret, secretsmanager_backends

    for account in list(secretsmanager_backends.values()):
        for backend in list(account.values()):
            for secret in list(backend.secrets.values()):
                if not isinstance(secret, ReplicaSecret) and secret.rotation_enabled and not secret.is_deleted():
                    yield backend, secret
