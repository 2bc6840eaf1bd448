# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check that stores an artifact through the server and fetches it, and what the checks of artifacts share."""

from __future__ import annotations

import hashlib
import secrets

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_errors,
    mlflow_traces,
    mlflow_versions,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import PASSED, Verdict, Wrong
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer, Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import Session

PROXY = "/api/2.0/mlflow-artifacts/"
ARTIFACTS = PROXY + "artifacts"
FILE_NAME = "mlflow-health.bin"
OCTETS = {"Content-Type": "application/octet-stream"}
BUCKET_REMEDY = (
    "check that the bucket exists and that its policy and the server's role allow s3:PutObject, s3:GetObject,"
    " s3:DeleteObject and s3:ListBucket on the artifact prefix; the server's log has the reason"
)


def round_trip(session: Session) -> Verdict:
    """An artifact in one request each way."""
    path = f"{ARTIFACTS}/{mlflow_address.artifact_path(root(session))}/{FILE_NAME}"
    content = secrets.token_bytes(session.settings.artifact_size)
    client = session.client
    stored = client.send("PUT", path, data=content, headers=OCTETS, login=client.login, repeatable=True)
    if stored.status != 200:
        _refuse_beyond_ascii(session, stored)
        raise refused(client, stored, "PUT", path)
    compare(session, path, content)
    return Verdict(PASSED, f"{len(content)} bytes came back from the artifact store with the same SHA-256")


def root(session: Session) -> str:
    """The folder below the proxy's root in which the run keeps its artifacts."""
    uri = session.trace().artifact_uri
    found = mlflow_traces.artifact_root(uri)
    if found is None:
        scheme = uri.split(":", 1)[0]
        remedy = (
            "start it with --artifacts-destination and without --default-artifact-root, or leave the checks of"
            " artifacts out"
        )
        raise Wrong(f"the server sends clients to {scheme}: for artifacts and is no proxy for them", remedy)
    return found


def compare(session: Session, path: str, content: bytes) -> None:
    """Fetch what was stored at `path`; it must be `content`."""
    client = session.client
    largest = len(content) + mlflow_errors.LONGEST * 100
    fetched = client.send("GET", path, login=client.login, largest=largest)
    if fetched.status != 200:
        raise refused(client, fetched, "GET", path)
    if hashlib.sha256(fetched.data).digest() != hashlib.sha256(content).digest():
        raise Wrong(
            f"{len(content)} bytes were stored, {len(fetched.data)} others came back",
            "check what stands between server and bucket",
        )


def refused(client: Client, answer: Answer, method: str, path: str) -> Wrong:
    """A request for an artifact that failed, with what is most likely to blame."""
    error = client.error(answer, method, path)
    if answer.status == 413:
        remedy = "raise the limit of request bodies in what stands in front of MLflow (nginx: client_max_body_size)"
    elif answer.status == 500:
        # MLflow answers so whatever the bucket says, mostly without a reason.
        remedy = BUCKET_REMEDY
    else:
        remedy = mlflow_errors.remedy(error)
    return Wrong(str(error), remedy)


def _refuse_beyond_ascii(session: Session, answer: Answer) -> None:
    if answer.status == 401:
        if session.found_version is None:
            session.ask_version()
        limit = mlflow_versions.login_limit(*session.client.login, session.found_version)
        if limit:
            raise Wrong(limit, "give the user a name and a password of ASCII characters")
