# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judgements of what a server answers, one a check. Everything here is pure."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_errors, mlflow_versions
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

# In the order in which they run.
READ_CHECKS = (
    "liveness",
    "auth_required",
    "wrong_password_refused",
    "default_passwords_refused",
    "admin_login",
    "version",
    "wrong_host_refused",
    "default_experiment",
)
WRITE_CHECKS = ("tracking_write_read", "artifact_round_trip")
CHECKS = READ_CHECKS + WRITE_CHECKS
# Added to what was chosen whenever something was written.
CLEANUP = "cleanup"

WRONG_HOST = "mlflow-health.invalid"
AUTH_REMEDY = "start the server with --app-name basic-auth"
SHIPPED_REMEDY = "change that user's password at once, for example with mlops.mlflow_aws.mlflow_user"


class Verdict(t.NamedTuple):
    """message says what was seen; remedy what to do about it, empty unless the check failed."""

    status: str
    message: str
    remedy: str = ""


class Result(t.NamedTuple):
    """A check as the module returns it; latency in ms, None when nothing was sent."""

    name: str
    status: str
    latency_ms: float | None
    message: str
    remedy: str


def seen(answer: Answer) -> str:
    """An answer in a few words."""
    _kind, _code, message = mlflow_errors.describe(answer.status, answer.text, answer.headers.get("location", ""))
    return f"HTTP {answer.status}" if answer.status in (200, 401) else f"HTTP {answer.status}: {message}"


def _unexpected(answer: Answer, wanted: str) -> Verdict:
    kind, code, message = mlflow_errors.describe(answer.status, answer.text, answer.headers.get("location", ""))
    error = mlflow_errors.MlflowError(answer.status, code, message, "", "", kind)
    return Verdict(
        FAILED,
        f"{seen(answer)} instead of {wanted}",
        mlflow_errors.remedy(error) or "check that tracking_uri is MLflow",
    )


def liveness(answer: Answer) -> Verdict:
    """GET /health."""
    if answer.status == 200 and answer.text.strip() == "OK":
        return Verdict(PASSED, "the server is alive")
    if answer.status == 200:
        return Verdict(
            FAILED,
            "/health answers 200 but not OK, so it is not MLflow's",
            "check host, port and prefix of tracking_uri",
        )
    return _unexpected(answer, "200 OK from /health")


def auth_required(answer: Answer) -> Verdict:
    """An API call without credentials."""
    if answer.status == 200:
        return Verdict(FAILED, "authentication is off: the API answers without a password", AUTH_REMEDY)
    if answer.status != 401:
        return _unexpected(answer, "401")
    if not answer.headers.get("www-authenticate", "").lower().startswith("basic"):
        return Verdict(FAILED, "401 without WWW-Authenticate: Basic, so browsers never ask for a password", AUTH_REMEDY)
    return Verdict(PASSED, "the API refuses requests without a password")


def wrong_password(answer: Answer) -> Verdict:
    """An API call with a password made up on the spot."""
    if answer.status == 401:
        return Verdict(PASSED, "the API refuses a wrong password")
    if answer.status == 200:
        return Verdict(FAILED, "a wrong password is accepted: passwords are not checked", AUTH_REMEDY)
    return _unexpected(answer, "401")


def shipped_password(username: str, answer: Answer) -> Verdict:
    """An API call with a password that MLflow was shipped with."""
    if answer.status == 401:
        return Verdict(PASSED, "the passwords that MLflow was shipped with are refused")
    if answer.status == 200:
        return Verdict(
            FAILED, f"user {username!r} has a password that MLflow was shipped with and everybody knows", SHIPPED_REMEDY
        )
    return _unexpected(answer, "401")


def admin_login(answer: Answer) -> Verdict:
    """experiments/search with the credentials given; it needs the user store and the database."""
    if answer.status == 200 and isinstance(answer.json(), dict):
        return Verdict(PASSED, "the credentials are accepted and the database answers")
    return _unexpected(answer, "experiments in JSON")


def version(answer: Answer, wanted: str | None) -> Verdict:
    """GET /version."""
    found = answer.text.strip()
    if answer.status != 200 or mlflow_versions.parse(found) is None:
        return _unexpected(answer, "a version from /version")
    if not wanted:
        return Verdict(PASSED, f"the server is MLflow {found}; no version was asked for")
    if found == wanted:
        return Verdict(PASSED, f"the server is MLflow {found}")
    return Verdict(
        FAILED,
        f"the server is MLflow {found}, not {wanted}",
        "deploy the wanted version, or see why the old tasks still serve",
    )


def wrong_host(answer: Answer, found_version: str | None) -> Verdict:
    """An API call with correct credentials and a Host that nobody uses."""
    if answer.status == 403 and mlflow_errors.INVALID_HOST in answer.text:
        return Verdict(PASSED, "MLflow refuses a Host that is not its own")
    checks = mlflow_versions.checks_host(found_version)
    if checks is False:
        return Verdict(SKIPPED, f"MLflow {found_version} does not check Host; 3.5 and newer do")
    if answer.status in (400, 403, 404, 421) and mlflow_errors.body_kind(answer.text) != "json":
        return Verdict(PASSED, f"what stands in front refuses a Host that is not its own (HTTP {answer.status})")
    if answer.status == 401:
        return Verdict(SKIPPED, "cannot be told while the credentials are refused")
    if checks is None:
        return Verdict(SKIPPED, "cannot be told while the version is unknown")
    remedy = "set the server's allowed hosts (MLFLOW_SERVER_ALLOWED_HOSTS) and leave its security middleware on"
    return Verdict(
        FAILED, f"a request with Host {WRONG_HOST} is taken ({seen(answer)}), which allows DNS rebinding", remedy
    )


def default_experiment(answer: Answer) -> Verdict:
    """experiments/get of number 0."""
    parsed = answer.json()
    experiment = parsed.get("experiment") if answer.status == 200 and isinstance(parsed, dict) else None
    if not isinstance(experiment, dict):
        return _unexpected(answer, "experiment 0")
    name, stage = experiment.get("name"), experiment.get("lifecycle_stage")
    if stage != "active":
        return Verdict(
            FAILED, f"experiment 0, {name!r}, is {stage}", "restore it, because runs without an experiment go there"
        )
    return Verdict(PASSED, f"experiment 0, {name!r}, exists")


def difference(written: dict[str, t.Any], found: dict[str, t.Any]) -> str:
    """Which of the things written do not come back equal, in a few words; empty if all do."""
    wrong = [name for name, value in written.items() if found.get(name) != value]
    return "" if not wrong else f"{', '.join(wrong)} did not come back as written"


def summary(base: str, results: t.Sequence[Result]) -> str:
    """One line about the failed checks with their remedies."""
    failed = [one for one in results if one.status == FAILED]
    told = [f"{one.name}: {one.message}" + (f" ({one.remedy})" if one.remedy else "") for one in failed]
    return f"MLflow at {base} fails {len(failed)} of {len(results)} checks: " + "; ".join(told)
