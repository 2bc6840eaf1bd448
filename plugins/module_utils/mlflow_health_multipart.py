# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check that stores an artifact in parts at addresses that the server signs, past the server: what MLflow's client
does with MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=true (mlflow/store/artifact/http_artifact_repo.py)."""

from __future__ import annotations

import copy
import secrets
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils import urls
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_address,
    mlflow_errors,
    mlflow_health_artifacts,
    mlflow_traces,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import PASSED, SKIPPED, Verdict, Wrong
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_artifacts import ARTIFACTS, PROXY
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import MIB, Session

# What S3 wants of every part but the last.
PART = 5 * MIB
FILE_NAME = "mlflow-health-parts.bin"
UNSUPPORTED = "Multipart upload is not supported"
CLIENTS_ONLY = (
    "clients upload in parts only where MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=true; say multipart=true to check it"
)


def round_trip(session: Session) -> Verdict:
    """An upload of at least two parts, completed, and fetched through the server."""
    if not session.settings.multipart:
        return Verdict(SKIPPED, CLIENTS_ONLY)
    folder = mlflow_health_artifacts.root(session)
    content = secrets.token_bytes(session.settings.multipart_size)
    parts = [content[start : start + PART] for start in range(0, len(content), PART)]
    upload = _create(session, folder, len(parts))
    if upload is None:
        return Verdict(SKIPPED, "the server's artifact store takes no uploads in parts")
    upload_id, addresses = upload
    # Whoever comes after a kill finds the parts through the run.
    tag = {"run_id": session.trace().run_id, "key": mlflow_traces.UPLOAD_TAG, "value": f"{folder} {upload_id}"}
    session.client.call("POST", "runs/set-tag", body=tag, repeatable=True)
    try:
        sent = [_send_part(session.client, address, part) for address, part in zip(addresses, parts)]
        body = {"path": FILE_NAME, "upload_id": upload_id, "parts": sent}
        _call(session.client, "complete", folder, body)
    except (MlflowError, Wrong):
        abort(session.client, folder, upload_id)
        raise
    mlflow_health_artifacts.compare(session, f"{ARTIFACTS}/{mlflow_address.artifact_path(folder)}/{FILE_NAME}", content)
    how = f"with the same SHA-256 after an upload in {len(parts)} parts"
    return Verdict(PASSED, f"{len(content)} bytes came back {how}")


def abort(client: Client, folder: str, upload_id: str) -> None:
    """Throw away the parts; an upload that is complete or gone is fine."""
    path = f"{PROXY}mpu/abort/{mlflow_address.artifact_path(folder)}"
    client.send("POST", path, body={"path": FILE_NAME, "upload_id": upload_id}, login=client.login, repeatable=True)


def _call(client: Client, act: str, folder: str, body: dict[str, t.Any]) -> dict[str, t.Any]:
    path = f"{PROXY}mpu/{act}/{mlflow_address.artifact_path(folder)}"
    # Done twice, "create" would leave an upload that nobody knows.
    answer = client.send("POST", path, body=body, login=client.login, repeatable=False)
    parsed = answer.json()
    if answer.status == 200 and isinstance(parsed, dict):
        return parsed
    raise mlflow_health_artifacts.refused(client, answer, "POST", path)


def _create(session: Session, folder: str, count: int) -> tuple[str, list[dict[str, t.Any]]] | None:
    """(upload id, where each part goes); None where the server does not offer it."""
    try:
        answer = _call(session.client, "create", folder, {"path": FILE_NAME, "num_parts": count})
    except Wrong as wrong:
        if UNSUPPORTED in wrong.verdict.message:
            return None
        raise
    upload_id, addresses = answer.get("upload_id"), answer.get("credentials")
    known = isinstance(addresses, list) and all(
        isinstance(one, dict) and isinstance(one.get("url"), str) for one in addresses
    )
    if not isinstance(upload_id, str) or not known or len(addresses) != count:
        raise Wrong("the server signs no address for each part", "check what stands between you and MLflow")
    return upload_id, addresses


class Storage(Client):
    """Where the signed addresses lead: no login goes there, and its certificate is the system's matter as much as
    ca_path's."""

    def __init__(self, client: Client, url: str) -> None:
        self.__dict__.update(copy.copy(client).__dict__)
        parts = urlsplit(url)
        self.base = f"{parts.scheme}://{parts.netloc}"
        self._context = urls.make_context(validate_certs=self.validate_certs)
        if self.ca_path and self.validate_certs:
            self._context.load_verify_locations(cafile=self.ca_path)


def _send_part(client: Client, address: dict[str, t.Any], part: bytes) -> dict[str, t.Any]:
    url = address["url"]
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise Wrong("the server signs an address that is none", "check MLFLOW_S3_ENDPOINT_URL of the server")
    storage = Storage(client, url)
    headers = {str(key): str(value) for key, value in (address.get("headers") or {}).items()}
    path = parts.path or "/"
    # urllib would call a body of bytes a form.
    signed = dict(mlflow_health_artifacts.OCTETS, **headers)
    remedy = (
        f"let clients reach {parts.netloc}, and check that bucket policy and the server's role allow signed uploads"
    )
    try:
        answer = storage.send("PUT", f"{path}?{parts.query}", data=part, headers=signed, repeatable=True)
    except MlflowError as error:
        raise Wrong(f"PUT {storage.base}{path}: {error.message}", remedy) from None
    etag = answer.headers.get("etag", "")
    if answer.status != 200 or not etag:
        said = mlflow_errors.one_line(answer.text) if answer.status != 200 else "no ETag"
        raise Wrong(f"PUT {storage.base}{path}: HTTP {answer.status}: {said}", remedy)
    return {"part_number": address.get("part_number"), "etag": etag, "url": url}
