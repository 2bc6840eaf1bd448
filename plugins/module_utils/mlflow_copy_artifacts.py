# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts of runs and logged models: what there is, and the way of each from one server to another or to a hash.

API: artifacts/list, /get-artifact, logged-models/<id>/artifacts (mlflow/server/handlers.py), which read any store that
the server reaches, and mlflow-artifacts, the proxy that stores them at the destination.
"""

from __future__ import annotations

import hashlib
import tempfile
import typing as t
from urllib.parse import quote, unquote, urlparse, urlunparse

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import artifact_transfer, mlflow_address, mlflow_traces
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import File, LoggedModel, Run

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
OCTETS = "application/octet-stream"
# Larger ones are held on disk.
IN_MEMORY = 4 * 1024 * 1024
_CHUNK = 1024 * 1024

Owner = t.Union[Run, LoggedModel]


def files(client: Client, owner: Owner) -> list[File]:
    """All artifacts of a run or a logged model; folders that no server can look into end with a slash."""
    found: list[File] = []
    folders = [""]
    while folders:
        for one in _list(client, owner, folders.pop()):
            if one.get("is_dir") and is_readable(str(one["path"])):
                folders.append(str(one["path"]))
            elif one.get("is_dir"):
                found.append(File(f"{one['path']}/", 0))
            else:
                found.append(File(str(one["path"]), int(one.get("file_size") or 0)))
    return sorted(found)


def is_readable(path: str) -> bool:
    """Whether servers take the path as it is (mlflow/utils/uri.py, validate_path_is_safe)."""
    return "#" not in path and urlunparse(urlparse(unquote(path))) == path and path.isprintable()


def _list(client: Client, owner: Owner, folder: str) -> list[dict[str, t.Any]]:
    if isinstance(owner, Run):
        path, query = "artifacts/list", {"run_id": owner.run_id}
        name = "path"
    else:
        path, query = f"logged-models/{quote(owner.model_id, safe='')}/artifacts/directories", {}
        name = "artifact_directory_path"
    if folder:
        query[name] = folder
    found: list[dict[str, t.Any]] = []
    while True:
        answer = client.call("GET", path, query=query)
        found += answer.get("files") or []
        token = answer.get("next_page_token")
        if not token:
            return found
        query["page_token"] = token


def download(client: Client, owner: Owner, file: File, into: t.BinaryIO, timeout: int) -> None:
    """Writes the artifact to `into`. ValueError if it is not as long as the server said."""
    if isinstance(owner, Run):
        path, query = "/get-artifact", {"run_id": owner.run_id, "path": file.path}
    else:
        path = f"/ajax-api/2.0/mlflow/logged-models/{quote(owner.model_id, safe='')}/artifacts/files"
        query = {"artifact_file_path": file.path}
    answer = client.send("GET", path, query, login=client.login, largest=None, into=into, timeout=timeout)
    if answer.status != 200:
        error = client.error(answer, "GET", path)
        error.message = f"artifact {file.path!r} of {identity(owner)}: {error.message}"
        raise error
    size = into.seek(0, 2)
    if file.size and size != file.size:
        raise ValueError(
            f"artifact {file.path!r} of {identity(owner)} has {file.size} bytes and {size} came; check the server's log and"
            " its artifact store, and run again"
        )


def identity(owner: Owner) -> str:
    return f"run {owner.run_id}" if isinstance(owner, Run) else f"logged model {owner.model_id}"


def root(artifact_uri: str) -> str:
    """The folder of the destination's proxy that an address stands for; ValueError where there is no proxy."""
    found = mlflow_traces.artifact_root(artifact_uri)
    if found is None:
        scheme = artifact_uri.split(":", 1)[0] or "nowhere"
        raise ValueError(
            f"tracking_uri: the destination sends clients to {scheme}: for artifacts and is no proxy for them; start it with"
            " --artifacts-destination and without --default-artifact-root"
        )
    return found


def upload(client: Client, owner: Owner, file: File, data: t.BinaryIO, timeout: int) -> None:
    """Stores the artifact at the destination."""
    size = data.seek(0, 2)
    path = f"{PROXY}/{mlflow_address.artifact_path(root(owner.artifact_uri) + '/' + file.path)}"
    headers = {"Content-Type": OCTETS, "Content-Length": str(size)}
    answer = client.send("PUT", path, data=data, headers=headers, login=client.login, repeatable=True, timeout=timeout)
    if answer.status != 200:
        error = client.error(answer, "PUT", path)
        error.message = f"artifact {file.path!r} of {identity(owner)}, {size} bytes: {error.message}"
        raise error


def seconds(file: File, timeout: int) -> int:
    """For how long a connection may be silent while a server copies the file."""
    return max(timeout, artifact_transfer.silent_seconds(-(-file.size // (1024 * 1024))))


def copy(source: Client, target: Client, of: Owner, to: Owner, found: t.Iterable[File], folder: str) -> None:
    """Stores artifacts of the source at the destination; `folder` takes what is too large for memory."""
    for file in found:
        with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder) as held:
            download(source, of, file, held, seconds(file, source.timeout))
            upload(target, to, file, held, seconds(file, target.timeout))


def hashes(client: Client, owner: Owner, found: t.Iterable[File], folder: str) -> list[tuple[str, int, str]]:
    """(path, bytes, SHA-256) of each artifact."""
    rows = []
    for file in found:
        with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder) as held:
            download(client, owner, file, held, seconds(file, client.timeout))
            size, summed = held.seek(0, 2), hashlib.sha256()
            held.seek(0)
            while chunk := held.read(_CHUNK):
                summed.update(chunk)
        rows.append((file.path, size, summed.hexdigest()))
    return rows
