# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases on a small file system of their own, which only their local AWS sees, to be filled to the last byte."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

from local_aws.daemon import INSTANCE_FILE

if t.TYPE_CHECKING:
    from tests.integration.aws import LocalAws

# What a local AWS must be started with.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
# Snapshots take no storage of an instance.
MOUNT = """
mkdir --parents "$1/rds" "$1/snapshots" && mount --types tmpfs --options size="$2"m tmpfs "$1/rds" &&
mkdir "$1/rds/snapshots" && mount --bind "$1/snapshots" "$1/rds/snapshots"
"""


class DatabaseDisk:
    def __init__(self, aws: LocalAws, mebibytes: int) -> None:
        daemon = json.loads((aws.directory / INSTANCE_FILE).read_text())["pid"]
        enter = ["nsenter", "--target", str(daemon), "--user", "--mount", "--preserve-credentials"]
        subprocess.run([*enter, "sh", "-c", MOUNT, "sh", str(aws.directory), str(mebibytes)], check=True, timeout=30)
        self._folder = Path(f"/proc/{daemon}/root{aws.directory}/rds")

    @contextlib.contextmanager
    def full(self) -> t.Iterator[None]:
        ballast = self._folder / "ballast"
        try:
            with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            assert os.statvfs(self._folder).f_bavail == 0
            yield
        finally:
            ballast.unlink(missing_ok=True)
