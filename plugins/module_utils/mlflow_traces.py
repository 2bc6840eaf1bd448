# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verification writes: a run, marked, and a user named after the mark, so that the run tells which user there may
be. Decides what a killed verification left behind. Everything here is pure."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit

# Every check marks its run with this tag: value "<host> <pid> <nonce>".
TAG = "mlflow_health"
RUN_NAME = "mlflow-health"
# Added to the run while a multipart upload is open: value "<path> <upload id>".
UPLOAD_TAG = "mlflow_health_upload"
USER_PREFIX = "mlflow-health-"
# ms. No check takes this long; older marked runs were left behind wherever they came from.
LONGEST_CHECK = 15 * 60 * 1000

_NONCE = re.compile(r"^([0-9a-f]{8})-[0-9a-f]{16}$")
_ANCHOR = "/api/2.0/mlflow-artifacts/artifacts/"


def nonce(now: float, random: str) -> str:
    """What tells one verification from another, and its age; `now` in seconds."""
    return f"{int(now):08x}-{random}"


def mark(host: str, pid: int, nonce: str) -> str:
    """The value of the tag; only characters that need no quoting in a search."""
    return f"{re.sub('[^A-Za-z0-9.-]', '-', host)[:100] or 'unknown'} {pid} {nonce}"


def search_filter() -> str:
    """The filter of runs/search that finds every marked run."""
    return f"tags.{TAG} LIKE '%'"


def tag_of(run: dict[str, t.Any], key: str = TAG) -> str:
    tags = run.get("data", {}).get("tags", [])
    return next((str(one.get("value", "")) for one in tags if one.get("key") == key), "")


def user_of(tag: str) -> str | None:
    """The name of the user that the verification with this mark may have made; None if the mark is none."""
    parts = tag.split(" ")
    return USER_PREFIX + parts[2] if len(parts) == 3 and _NONCE.match(parts[2]) else None


def is_old_user(username: str, now: int) -> bool:
    """Whether a verification made this user and has ended since, however. `now` in ms."""
    found = _NONCE.match(username[len(USER_PREFIX) :]) if username.startswith(USER_PREFIX) else None
    return found is not None and now - int(found.group(1), 16) * 1000 > LONGEST_CHECK


def is_left_behind(run: dict[str, t.Any], mine: str, now: int, alive: t.Callable[[int], bool]) -> bool:
    """Whether nobody works with this marked run any more. `now` in ms; `alive` tells whether a process of this machine
    runs."""
    owner, my = tag_of(run).split(" "), mine.split(" ")
    if now - int(run["info"].get("start_time", 0)) > LONGEST_CHECK:
        return True
    if len(owner) != 3 or owner[0] != my[0] or not owner[1].isdigit():
        return False
    return owner[1] == my[1] or not alive(int(owner[1]))


def artifact_root(artifact_uri: str) -> str | None:
    """The path below the proxy's root where a run keeps its artifacts; None if clients reach them in another way."""
    parts = urlsplit(artifact_uri)
    if parts.scheme == "mlflow-artifacts":
        return parts.path.strip("/") or None
    if parts.scheme in ("http", "https") and _ANCHOR in parts.path:
        return parts.path.split(_ANCHOR, 1)[1].strip("/") or None
    return None


def folder_to_remove(root: str, run_id: str) -> str:
    """What to delete of a run: its whole folder if that is its own, else only its artifacts.

    MLflow 2 deletes every object whose key begins with the path given; a run's ID is long enough to begin no other key.
    """
    parent, _slash, last = root.rpartition("/")
    return parent if last == "artifacts" and parent.split("/")[-1] == run_id else root
