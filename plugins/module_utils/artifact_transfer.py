# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How artifacts travel, and every limit, time-out and size that follows from it: pure functions.

Proxied, a file goes through the load balancer and is held whole in the task's storage before it goes on, in either
direction: while the task copies it to or from S3, the connection to the client is silent (mlflow/server/artifact_router.py
3.17.2, mlflow/server/handlers.py 2.18.0). Presigned, clients reach S3 themselves with addresses that the server signs.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

PROXIED, PRESIGNED = "proxied", "presigned"
MODES = (PROXIED, PRESIGNED)
# The server signs downloads and tells clients so (mlflow/mlflow pull requests 20352 and 24341); seen to work in 3.17.2.
# 2.18.0 signs uploads only, and asks those who upload so for no permission on the experiment.
PRESIGNED_SINCE = (3, 17)

# What a task is taken to copy to or from S3, in MiB a second. AWS promises no figure; this is on the safe side.
TASK_RATE = 25
MARGIN_SECONDS = 10
# ModifyLoadBalancerAttributes, idle_timeout.timeout_seconds: 1 to 4000.
DEFAULT_IDLE, MOST_IDLE = 60, 4000
# The server keeps idle connections longer than the load balancer does, or that answers 502 now and then.
DEFAULT_KEEP_ALIVE = 620
KEEP_ALIVE_MORE = 20
# RegisterTaskDefinition, EphemeralStorage: 20 GiB without it, 21 to 200 with it.
DEFAULT_STORAGE, MOST_STORAGE = 20, 200
# GiB for the image and the installed packages.
TAKEN_STORAGE = 6

# MLflow's client: files from this size on are uploaded in parts, in parts of this size, each request waits so long
# (mlflow/environment_variables.py: MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE, MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE,
# MLFLOW_HTTP_REQUEST_TIMEOUT).
CLIENT_THRESHOLD_MIB = 500
CLIENT_PART_MIB = 10
CLIENT_TIMEOUT = 120
# Of an upload in parts (Amazon S3 user guide, "Amazon S3 multipart upload limits").
MOST_PARTS = 10000
MOST_PART_MIB = 5 * 1024
MOST_PRESIGNED_GIB = MOST_PARTS * MOST_PART_MIB // 1024
# For how long addresses of parts are good: botocore's ExpiresIn, which MLflow leaves alone.
PART_URL_SECONDS = 3600
# For how long those of downloads are: MLflow's own choice at least, and no longer than the credentials of a task surely
# live on. A client asks for another when one has run out.
URL_TTL = "MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS"
LEAST_URL_SECONDS, MOST_URL_SECONDS = 300, 3600
SIGNATURE_SECONDS = (1, 604800)
# Settings of clients that people give the server, on which they do nothing.
CLIENT_SWITCHES = ("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD")


def through_server_mib(mode: str, largest_gib: int) -> int:
    """MiB of the largest file that goes through load balancer and server."""
    largest = largest_gib * 1024
    return largest if mode == PROXIED else min(largest, CLIENT_THRESHOLD_MIB)


def silent_seconds(mib: int) -> int:
    """For how long a connection may be silent while a task copies ``mib`` MiB."""
    return -(-mib // TASK_RATE) + MARGIN_SECONDS


def storage_gib(mib: int, at_once: int) -> int:
    """GiB of storage that a task needs to hold ``at_once`` files of ``mib`` MiB."""
    return TAKEN_STORAGE + -(-mib * at_once // 1024)


def settings(mode: str, largest_gib: int, at_once: int, idle_timeout: int = 0, storage: int = 0) -> dict[str, Any]:
    """All that is set for a mode and the largest artifact; ``idle_timeout`` and ``storage`` are kept unless 0.

    Returns ``idle_timeout`` (s) of the load balancer, ``keep_alive`` (s) of the server, ``ephemeral_storage_gib`` of a task,
    ``url_seconds`` for which addresses to download from are good, ``client_environment`` (name to text) of MLflow's
    clients, ``largest_request_mib``, ``bucket_cors`` (whether browsers reach the bucket).
    """
    mib = through_server_mib(mode, largest_gib)
    idle = idle_timeout or max(DEFAULT_IDLE, silent_seconds(mib))
    # A client gives up before the load balancer does.
    client = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(idle)} if idle > CLIENT_TIMEOUT else {}
    if mode == PRESIGNED:
        # Newer clients find out by themselves; older ones are told.
        client.update(dict.fromkeys(CLIENT_SWITCHES, "true"))
        part = -(-largest_gib * 1024 // MOST_PARTS)
        if part > CLIENT_PART_MIB:
            client["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = str(part * 1024 * 1024)
    return {
        "idle_timeout": idle,
        "keep_alive": max(DEFAULT_KEEP_ALIVE, idle + KEEP_ALIVE_MORE),
        "ephemeral_storage_gib": storage or max(DEFAULT_STORAGE, storage_gib(mib, at_once)),
        "url_seconds": min(max(LEAST_URL_SECONDS, silent_seconds(largest_gib * 1024)), MOST_URL_SECONDS),
        "client_environment": dict(sorted(client.items())),
        "largest_request_mib": mib,
        "bucket_cors": mode == PRESIGNED,
    }


def check_transfer(desired: dict[str, Any], environment: dict[str, Any], found: Findings) -> dict[str, Any] | None:
    """Judges ``artifact_transfer``, the sizes and time-outs of ``desired``, and what the server's ``environment`` says.

    Returns ``settings()``; None where no mode is given, or something was refused.
    """
    mode = desired.get("artifact_transfer")
    if mode is None:
        return None
    if mode not in MODES:
        found.refuse("artifact_transfer", mode, "is not a way for artifacts", f"choose one of {', '.join(MODES)}")
        return None
    before = len(found.problems)
    largest, at_once = desired.get("largest_artifact_gib", 1), desired.get("transfers_at_once", 1)
    for option, value in (("largest_artifact_gib", largest), ("transfers_at_once", at_once)):
        if value < 1:
            found.refuse(option, value, "nothing could be transferred", "choose 1 or more")
    _check_version(desired, mode, found)
    if len(found.problems) > before:
        return None
    mib = through_server_mib(mode, largest)
    if mode == PRESIGNED:
        _check_presigned(largest, found)
    else:
        _check_proxied(largest, mib, found)
    if len(found.problems) == before:
        _check_storage(mode, largest, at_once, mib, found)
    if len(found.problems) == before:
        _check_given(desired, mib, at_once, largest, found)
    _check_environment(mode, largest, environment, found)
    if len(found.problems) > before:
        return None
    return settings(mode, largest, at_once, desired.get("idle_timeout", 0), desired.get("ephemeral_storage_gib", 0))


def _check_version(desired: dict[str, Any], mode: str, found: Findings) -> None:
    version = desired.get("mlflow_version")
    if mode == PRESIGNED and version and tuple(map(int, version.split(".")[:2])) < PRESIGNED_SINCE:
        found.refuse(
            "artifact_transfer",
            mode,
            f"MLflow {version} signs no addresses to download from, and lets everybody who can log in upload anywhere",
            f"choose {PROXIED}, or a {found.name('mlflow_version')} of {'.'.join(map(str, PRESIGNED_SINCE))} or newer",
        )


def _check_presigned(largest: int, found: Findings) -> None:
    if largest > MOST_PRESIGNED_GIB:
        found.refuse(
            "largest_artifact_gib",
            largest,
            f"S3 takes {MOST_PARTS} parts of {MOST_PART_MIB // 1024} GiB at most",
            f"choose {MOST_PRESIGNED_GIB} or less",
        )
        return
    rate = -(-largest * 1024 // PART_URL_SECONDS)
    if rate > TASK_RATE:
        found.warn(
            "largest_artifact_gib",
            largest,
            f"addresses of parts are good for an hour, so a client must upload {rate} MiB a second",
            "make sure that it can, or store such an artifact in several files",
        )


def _check_proxied(largest: int, mib: int, found: Findings) -> None:
    if silent_seconds(mib) > MOST_IDLE:
        most = (MOST_IDLE - MARGIN_SECONDS) * TASK_RATE // 1024
        found.refuse(
            "largest_artifact_gib",
            largest,
            f"to copy it takes a task about {silent_seconds(mib)} s, and a load balancer waits {MOST_IDLE} s at most",
            f"choose {most} or less, or set {found.name('artifact_transfer')} to {PRESIGNED} where clients reach S3",
        )


def _check_storage(mode: str, largest: int, at_once: int, mib: int, found: Findings) -> None:
    need = storage_gib(mib, at_once)
    if need <= MOST_STORAGE:
        return
    remedies = [f"lower {found.name('transfers_at_once')}"]
    if mode == PROXIED:
        most = (MOST_STORAGE - TAKEN_STORAGE) // at_once
        remedies = [f"choose {most} or less"] * bool(most) + remedies
        remedies.append(f"set {found.name('artifact_transfer')} to {PRESIGNED} where clients reach S3")
    found.refuse(
        "largest_artifact_gib",
        largest,
        f"a task that holds {at_once} files of {mib} MiB ({found.name('transfers_at_once')}) needs {need} GiB of storage, and Fargate "
        f"gives {MOST_STORAGE} at most",
        ", or ".join(remedies),
    )


def _check_given(desired: dict[str, Any], mib: int, at_once: int, largest: int, found: Findings) -> None:
    """What is given for the load balancer and the task must bear the largest artifact."""
    idle, storage = desired.get("idle_timeout", 0), desired.get("ephemeral_storage_gib", 0)
    asked = f"{found.name('largest_artifact_gib')} = {largest}"
    if idle and not 1 <= idle <= MOST_IDLE:
        found.refuse(
            "idle_timeout", idle, f"a load balancer waits 1 to {MOST_IDLE} s", "choose a number in between, or leave it out"
        )
    elif idle and idle < silent_seconds(mib):
        found.refuse(
            "idle_timeout",
            idle,
            f"connections are silent for about {silent_seconds(mib)} s while a task copies {mib} MiB ({asked})",
            f"raise it, leave it out to have it chosen, or lower {found.name('largest_artifact_gib')}",
        )
    if storage and not DEFAULT_STORAGE <= storage <= MOST_STORAGE:
        found.refuse(
            "ephemeral_storage_gib",
            storage,
            f"a task on Fargate has {DEFAULT_STORAGE} to {MOST_STORAGE} GiB",
            "choose a number in between, or leave it out",
        )
    elif storage and storage < storage_gib(mib, at_once):
        found.refuse(
            "ephemeral_storage_gib",
            storage,
            f"a task that holds {at_once} files of {mib} MiB ({asked}, {found.name('transfers_at_once')} = {at_once}) "
            f"needs {storage_gib(mib, at_once)} GiB",
            f"raise it, leave it out to have it chosen, or lower {found.name('transfers_at_once')}",
        )


def _check_environment(mode: str, largest: int, environment: dict[str, Any], found: Findings) -> None:
    contrary = ("true", "1") if mode == PROXIED else ("false", "0")
    for name in CLIENT_SWITCHES:
        if str(environment.get(name, "")).lower() in contrary:
            found.refuse(
                "server_environment",
                {name: environment[name]},
                f"it contradicts {found.name('artifact_transfer')} = {mode}, and MLflow reads it in clients only",
                f"remove it, or set {found.name('artifact_transfer')} to {PRESIGNED if mode == PROXIED else PROXIED}",
            )
    if URL_TTL not in environment:
        return
    given = {URL_TTL: environment[URL_TTL]}
    text = str(environment[URL_TTL])
    if not text.isdecimal() or not SIGNATURE_SECONDS[0] <= int(text) <= SIGNATURE_SECONDS[1]:
        found.refuse(
            "server_environment",
            given,
            f"S3 takes addresses that are good for {SIGNATURE_SECONDS[0]} to {SIGNATURE_SECONDS[1]} s",
            "remove it to have it chosen",
        )
    elif mode == PRESIGNED and int(text) > MOST_URL_SECONDS:
        found.warn(
            "server_environment",
            given,
            "an address is good no longer than the credentials of the task that signed it, which live some hours",
            f"say {MOST_URL_SECONDS} or less",
        )
    elif mode == PRESIGNED and int(text) < min(silent_seconds(largest * 1024), MOST_URL_SECONDS):
        found.warn(
            "server_environment",
            given,
            f"{found.name('largest_artifact_gib')} = {largest} may take longer to download, and clients must ask again",
            "remove it to have it chosen",
        )
