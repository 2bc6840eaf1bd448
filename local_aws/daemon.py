# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing an instance up and down. The folder of an instance holds everything it keeps; `down` removes it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from . import processes
from .runtime import Runtime
from .settings import Settings

READY_SECONDS = 60
STOP_SECONDS = 90
INSTANCE_FILE = "instance.json"


class DaemonError(Exception):
    """What an operator can mend, in one line."""


def report(settings: Settings) -> dict | None:
    """What the instance tells of itself, None if it does not answer."""
    try:
        with urllib.request.urlopen(f"{settings.endpoint_url}/local-aws/status", timeout=10) as answer:
            return json.loads(answer.read())
    except (OSError, ValueError):
        return None


def running_port(settings: Settings) -> int | None:
    """The port of the daemon that lives in the folder, None if none does."""
    try:
        instance = json.loads((settings.folder / INSTANCE_FILE).read_text())
        process = psutil.Process(instance["pid"])
        alive = process.environ().get(processes.MARK) == str(settings.folder) and process.is_running()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return instance["port"] if alive else None


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Let no other `up` or `down` of this folder run meanwhile. The lock is on the folder around it."""
    settings.folder.parent.mkdir(parents=True, exist_ok=True)
    around = os.open(settings.folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(around, fcntl.LOCK_EX)
        yield
    finally:
        os.close(around)


def up(settings: Settings) -> str:
    """Start the daemon and wait until it answers. Returns what to tell; DaemonError if it cannot be."""
    with _alone(settings):
        return _up(settings)


def _up(settings: Settings) -> str:
    port = running_port(settings)
    if port == settings.api_port and report(settings) is not None:
        return f"The local AWS is up already at {settings.endpoint_url}"
    if port is not None:
        raise DaemonError(
            f"an instance in {settings.folder} runs at port {port}: run down first, or set LOCAL_AWS_PORT={port}"
        )
    _clear(settings)
    _refuse_taken_port(settings)
    settings.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    settings.folder.chmod(0o700)
    (settings.folder / INSTANCE_FILE).write_text("{}")
    environment = {**os.environ, processes.MARK: str(settings.folder), "LOCAL_AWS_DIR": str(settings.folder)}
    with open(settings.folder / "daemon.log", "ab") as log:
        os.fchmod(log.fileno(), 0o600)
        daemon = subprocess.Popen(
            [sys.executable, "-m", "local_aws", "serve"], cwd=Path(__file__).resolve().parents[1], env=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    wait(settings, READY_SECONDS, daemon)
    return f"The local AWS is up at {settings.endpoint_url}"


def _refuse_taken_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.api_port))
        except OSError as error:
            raise DaemonError(
                f"port {settings.api_port} cannot be taken ({error.strerror}): end what listens there, "
                "or set LOCAL_AWS_PORT to another"
            ) from None


def _clear(settings: Settings) -> None:
    """End and remove what an instance left that crashed, or whose folder was removed under it."""
    if settings.folder.exists() and any(settings.folder.iterdir()) and not (settings.folder / INSTANCE_FILE).exists():
        raise DaemonError(
            f"{settings.folder} holds something that is not a local AWS: set LOCAL_AWS_DIR to an empty folder"
        )
    processes.reap_all(settings.folder)
    if settings.folder.exists():
        shutil.rmtree(settings.folder)


def wait(settings: Settings, seconds: float, daemon: subprocess.Popen[bytes] | None = None) -> None:
    """Until the API answers; DaemonError with the log's last line if it does not."""
    deadline = time.monotonic() + seconds
    while report(settings) is None:
        ended = daemon is not None and daemon.poll() is not None
        if ended or time.monotonic() > deadline:
            log = settings.folder / "daemon.log"
            lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            last = lines[-1] if lines else "it wrote nothing"
            raise DaemonError(f"the local AWS does not answer at {settings.endpoint_url}: {last} (all of it: {log})")
        time.sleep(0.1)


def down(settings: Settings) -> str:
    """End the daemon and everything it started, also after a crash, and remove its folder."""
    with _alone(settings):
        return _down(settings)


def _down(settings: Settings) -> str:
    if not (settings.folder / INSTANCE_FILE).exists():
        left = processes.reap_all(settings.folder)
        return "The local AWS is down, though its folder was gone" if left else "The local AWS is down already"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
        daemon = psutil.Process(json.loads((settings.folder / INSTANCE_FILE).read_text())["pid"])
        if daemon.environ().get(processes.MARK) == str(settings.folder):
            daemon.terminate()
            with contextlib.suppress(psutil.TimeoutExpired):
                daemon.wait(timeout=STOP_SECONDS)
    processes.reap_all(settings.folder)
    shutil.rmtree(settings.folder, ignore_errors=True)
    if settings.folder.exists():
        shutil.rmtree(settings.folder)
    return "The local AWS is down"


def serve(settings: Settings) -> None:
    """The daemon itself: until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.umask(0o077)
    # Large objects of buckets are kept in temporary files: they belong to the folder too.
    temporary = settings.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary)
    from . import server

    runtime = Runtime.create(settings)
    api = server.make(runtime)

    def stop(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    (settings.folder / INSTANCE_FILE).write_text(json.dumps({"pid": os.getpid(), "port": settings.api_port}))
    runtime.start()
    logging.info("serving at %s", settings.endpoint_url)
    try:
        api.serve_forever()
    except SystemExit:
        pass
    finally:
        api.server_close()
        runtime.close()
        logging.info("closed")
    # Python would take longer than everything before to free moto's objects one by one.
    sys.stderr.flush()
    os._exit(0)
