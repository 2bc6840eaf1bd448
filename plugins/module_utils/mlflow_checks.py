# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judgements of what a server answers, one a check. Everything here is pure."""

from __future__ import annotations

import typing as t
from urllib.parse import parse_qs, urlsplit

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_errors, mlflow_versions
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer

PASSED, WARNED, FAILED, SKIPPED = "passed", "warned", "failed", "skipped"

# In the order in which they run.
READ_CHECKS = (
    "liveness",
    "tls",
    "http_redirect",
    "auth_required",
    "wrong_password_refused",
    "default_passwords_refused",
    "admin_login",
    "version",
    "wrong_host_refused",
    "ui",
    "default_experiment",
)
WRITE_CHECKS = (
    "tracking_write_read",
    "artifact_round_trip",
    "artifact_multipart",
    "stranger_denied",
    "reader_denied",
)
CHECKS = READ_CHECKS + WRITE_CHECKS
# Added to what was chosen whenever something was written.
CLEANUP = "cleanup"

WRONG_HOST = "mlflow-health.invalid"
AUTH_REMEDY = "start the server with --app-name basic-auth"
SIGN_ON_REMEDY = "let the load balancer's listener authenticate before it forwards"
SHIPPED_REMEDY = "change that user's password at once, for example with mlops.mlflow_aws.mlflow_user"
PREFIX_REMEDY = "check the path prefix at the end of tracking_uri"
SAME_DATABASE = "check that all tasks use the same database"


class Verdict(t.NamedTuple):
    """message says what was seen; remedy what to do about it, empty unless the check failed or warns."""

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


class Wrong(Exception):
    """A check that ends early; holds its verdict."""

    def __init__(self, message: str, remedy: str, status: str = FAILED) -> None:
        super().__init__(message)
        self.verdict = Verdict(status, message, remedy)


def as_error(answer: Answer) -> mlflow_errors.MlflowError:
    """An answer that was not hoped for."""
    kind, code, message = mlflow_errors.describe(answer.status, answer.text, answer.headers.get("location", ""))
    return mlflow_errors.MlflowError(answer.status, code, message, "", "", kind)


def seen(answer: Answer) -> str:
    """An answer in a few words."""
    if answer.status == 401 or (answer.status == 200 and is_json(answer)):
        return f"HTTP {answer.status}"
    return f"HTTP {answer.status}: {as_error(answer).message}"


def is_json(answer: Answer) -> bool:
    """Whether MLflow's API may have answered this: a proxy's page of status 200 is no API."""
    return isinstance(answer.json(), dict)


def unexpected(answer: Answer, wanted: str) -> Verdict:
    remedy = mlflow_errors.remedy(as_error(answer)) or "check that tracking_uri is MLflow"
    return Verdict(FAILED, f"{wanted} expected, got {seen(answer)}", remedy)


def liveness(answer: Answer, with_login: Answer | None = None) -> Verdict:
    """GET /health, and once more with credentials if they were asked for."""
    if answer.status == 200 and answer.text.strip() == "OK":
        return Verdict(PASSED, "the server is alive")
    if answer.status == 401 and with_login is not None:
        # MLflow asks for a password on every path but /health, so this /health is not where MLflow has it.
        if with_login.status == 404:
            return Verdict(FAILED, "/health is not at this path (HTTP 404 once the password is given)", PREFIX_REMEDY)
        what = f"/health asks for a password, as MLflow's never does, and then gives {seen(with_login)}"
        return Verdict(FAILED, what, f"{PREFIX_REMEDY}, and what else in front of MLflow wants a password")
    if answer.status == 200 and mlflow_errors.body_kind(answer.text) != "html":
        return Verdict(
            FAILED,
            "/health answers 200 but not OK, so it is not MLflow's",
            "check host, port and prefix of tracking_uri",
        )
    if answer.status == 404:
        return Verdict(FAILED, f"200 OK from /health expected, got {seen(answer)}", PREFIX_REMEDY)
    return unexpected(answer, "200 OK from /health")


def sign_on_required(answer: Answer) -> Verdict:
    """An API call without credentials, where a load balancer sends those who bring none to an identity provider."""
    location = answer.headers.get("location", "")
    asked = parse_qs(urlsplit(location).query)
    if answer.status == 302 and {"client_id", "redirect_uri", "response_type"} <= asked.keys():
        return Verdict(PASSED, f"who brings no password is sent to sign on at {urlsplit(location).netloc}")
    if answer.status == 401:
        return Verdict(FAILED, "nobody is sent to sign on: MLflow itself answers (HTTP 401)", SIGN_ON_REMEDY)
    if answer.status == 200 and is_json(answer):
        return Verdict(FAILED, "authentication is off: the API answers without sign-on and password", SIGN_ON_REMEDY)
    return unexpected(answer, "a redirect to the identity provider")


def auth_required(answer: Answer) -> Verdict:
    """An API call without credentials."""
    if answer.status == 200 and is_json(answer):
        return Verdict(FAILED, "authentication is off: the API answers without a password", AUTH_REMEDY)
    if answer.status != 401:
        return unexpected(answer, "401")
    if not answer.headers.get("www-authenticate", "").lower().startswith("basic"):
        return Verdict(FAILED, "401 without WWW-Authenticate: Basic, so browsers never ask for a password", AUTH_REMEDY)
    return Verdict(PASSED, "the API refuses requests without a password")


def wrong_password(answer: Answer) -> Verdict:
    """An API call with a password made up on the spot."""
    if answer.status == 401:
        return Verdict(PASSED, "the API refuses a wrong password")
    if answer.status == 200 and is_json(answer):
        return Verdict(FAILED, "a wrong password is accepted: passwords are not checked", AUTH_REMEDY)
    return unexpected(answer, "401")


def shipped_password(username: str, answer: Answer) -> Verdict:
    """An API call with a password that MLflow was shipped with."""
    if answer.status == 401:
        return Verdict(PASSED, "the passwords that MLflow was shipped with are refused")
    if answer.status == 200 and is_json(answer):
        return Verdict(
            FAILED, f"user {username!r} has a password that MLflow was shipped with and everybody knows", SHIPPED_REMEDY
        )
    return unexpected(answer, "401")


def admin_login(answer: Answer) -> Verdict:
    """experiments/search with the credentials given; it needs the user store and the database."""
    if answer.status == 200 and is_json(answer):
        return Verdict(PASSED, "the credentials are accepted and the database answers")
    verdict = unexpected(answer, "experiments in JSON")
    if answer.status == 401:
        also = ", and that what stands in front passes the Authorization header on"
        return verdict._replace(remedy=verdict.remedy + also)
    if answer.status == 404:
        return verdict._replace(remedy=PREFIX_REMEDY)
    return verdict


def version(answer: Answer, wanted: str | None) -> Verdict:
    """GET /version."""
    found = answer.text.strip()
    if answer.status != 200 or mlflow_versions.parse(found) is None:
        return unexpected(answer, "a version from /version")
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
        return unexpected(answer, "experiment 0")
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
    """One line about the failed checks with their remedies; empty if none failed."""
    failed = [one for one in results if one.status == FAILED]
    if not failed:
        return ""
    told = [f"{one.name}: {one.message}" + (f" ({one.remedy})" if one.remedy else "") for one in failed]
    return f"MLflow at {base} fails {len(failed)} of {len(results)} checks: " + "; ".join(told)
