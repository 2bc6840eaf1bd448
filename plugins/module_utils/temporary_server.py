# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of MLflow for a store of this machine, for as long as it is read: what it is started with. Pure functions."""

from __future__ import annotations

import hashlib
import os
import typing as t
from urllib.parse import unquote, urlsplit

FILES, SQLITE, OTHER = "files", "sqlite", "other"
HOST = "127.0.0.1"


class Store(t.NamedTuple):
    """kind: FILES, SQLITE or OTHER; path: of the folder or file, empty for OTHER."""

    kind: str
    path: str


def store(uri: str) -> Store:
    """What a store's URI stands for. ValueError with one line for one that cannot be served; no password is in it."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        raise ValueError("store_uri: it is the address of a server, which needs no other; copy from it as it is")
    if parts.scheme == "sqlite":
        path = unquote(uri.split(":///", 1)[1].split("?", 1)[0]) if ":///" in uri else ""
        if not path:
            raise ValueError(
                "store_uri: a database of SQLite is written sqlite:///<path>, with a fourth slash where it is absolute"
            )
        return Store(SQLITE, os.path.abspath(path))
    if parts.scheme in ("", "file"):
        return Store(FILES, os.path.abspath(unquote(parts.path)))
    return Store(OTHER, "")


def refuse(found: Store) -> None:
    """ValueError with one line for a store that is not there."""
    if found.kind == FILES and not os.path.isdir(found.path):
        raise ValueError(f"store_uri: {found.path} is no folder; give the folder mlruns, or another store")
    if found.kind == SQLITE and not os.path.isfile(found.path):
        raise ValueError(f"store_uri: {found.path} is no file; give the database of SQLite, or another store")


def folder_name(uri: str, user: int) -> str:
    """Where the server of a store keeps what belongs to it, the same in every run."""
    return f"mlflow-temporary-server-{user}-{hashlib.sha256(uri.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def served_uri(uri: str, found: Store, copy: str) -> str:
    """A database of SQLite is served from a copy: newer servers may change an older one as they start."""
    return f"sqlite:///{copy}" if found.kind == SQLITE else uri


def working_folder(found: Store) -> str | None:
    """Relative addresses of artifacts begin there, as they did for whoever wrote them."""
    return os.path.dirname(found.path) if found.path else None


def command(executable: str, port: int, artifacts: str | None, workers: int) -> list[str]:
    found = [executable, "server", "--host", HOST, "--port", str(port), "--workers", str(workers)]
    return found + (["--artifacts-destination", artifacts] if artifacts else [])


def environment(given: t.Mapping[str, str], uri: str, executable: str) -> dict[str, str]:
    # The address may hold a password, which a command line would show to everybody.
    found = {
        **given,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_AUTH_CONFIG_PATH"):
        found.pop(name, None)
    # It starts gunicorn or uvicorn by name.
    found["PATH"] = os.pathsep.join([os.path.dirname(executable), given.get("PATH", os.defpath)])
    return found


def reason(log: str) -> str:
    """Why a server ended, from the last lines of what it said."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line or "xception" in line]
    return (telling or lines or ["it said nothing"])[-1][:300]
